"""What a store says about its schedules: jobs and their states, what is due next, and what nobody has taken up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from quantbot.errors import InputError
from sweeps.schedule.jobs import Job, JobState, Shelf, schedule_names
from sweeps.schedule.rules import NS, between
from sweeps.schedule.sections import rule_of

if TYPE_CHECKING:
    from datasets.store import Store

N_JOBS = 60  # of a schedule, the newest
N_NEXT = 5
PATIENCE_NS = 900 * NS  # after which a due time without a job means that no scheduler is alive
_KEPT = 4_096


@dataclass(frozen=True)
class JobLine:
    """One job; `record` is its morning report, None before there is one."""

    schedule: str
    key: str
    due_ns: int
    state: JobState
    record: Mapping[str, Any] | None


@dataclass(frozen=True)
class ScheduleView:
    """One schedule, as the last scheduler read it.

    Attributes
    ----------
    next_ns
        When it falls due next; empty where its rule can't be read.
    overdue_ns
        The first due time that no scheduler has taken up; None where there is none.
    jobs
        The newest, the newest first.
    problem
        Why it can't be shown in full; empty where it can.
    """

    name: str
    title: str
    rule: str
    zone: str
    paused: bool
    next_ns: tuple[int, ...]
    overdue_ns: int | None
    jobs: tuple[JobLine, ...]
    problem: str = ""


def overview(root: Store, now_ns: int, n_jobs: int = N_JOBS) -> list[ScheduleView]:
    """Return every schedule that a scheduler has seen, by name."""
    return [_view(Shelf(root, name), now_ns, n_jobs) for name in schedule_names(root)]


def _view(shelf: Shelf, now_ns: int, n_jobs: int) -> ScheduleView:
    told = shelf.read("schedule.json") or {}
    jobs = shelf.jobs()
    lines = tuple(_line(job) for job in reversed(jobs[-n_jobs:]))
    problem, overdue = "", None
    next_ns: tuple[int, ...] = ()
    paused = shelf.paused
    try:
        rule = rule_of(told.get("when", {}))
    except InputError as error:
        problem = f"its rule can't be read: {error}"
    else:
        next_ns = tuple(islice(rule.after(now_ns), N_NEXT))
        since = shelf.read("since.json")
        if since is not None and not paused:
            last = max(int(since["since_ns"]), jobs[-1].due_ns if jobs else 0)
            overdue = next(between(rule, last, now_ns - PATIENCE_NS), None)
    return ScheduleView(
        name=shelf.name,
        title=str(told.get("title", shelf.name)),
        rule=str(told.get("rule", "")),
        zone=str(told.get("zone", "UTC")),
        paused=paused,
        next_ns=next_ns,
        overdue_ns=overdue,
        jobs=lines,
        problem=problem,
    )


def _line(job: Job) -> JobLine:
    finished = _finished(job.root.url, job.schedule, job.due_ns)
    return finished or JobLine(job.schedule, job.key, job.due_ns, job.state, job.read("record.json"))


def _finished(root_url: str, schedule: str, due_ns: int) -> JobLine | None:
    try:
        return _remembered(root_url, schedule, due_ns)
    except _Open:
        return None


class _Open(Exception):  # keeps what may change out of the cache
    pass


@lru_cache(maxsize=_KEPT)
def _remembered(root_url: str, schedule: str, due_ns: int) -> JobLine:
    from datasets.store import open_store

    job = Job(open_store(root_url), schedule, due_ns)
    if job.read("done.json") is None:
        raise _Open
    return JobLine(schedule, job.key, due_ns, job.state, job.read("record.json"))
