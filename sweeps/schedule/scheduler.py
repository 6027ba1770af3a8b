"""The scheduler: sees what falls due, makes jobs of it, and brings open jobs to their end.

Any number of them may be alive. What falls due is made a job by put-if-absent, so each due time is one job whoever saw
it first; a job is worked at under a lease, and goes on where its last scheduler was killed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quantbot.errors import QuantBotError, StoreError
from sweeps.schedule.document import Schedule
from sweeps.schedule.jobs import Job, Shelf
from sweeps.schedule.rules import NS, between, iso
from sweeps.schedule.steps import Hands, advance

if TYPE_CHECKING:
    from datasets.store import Store

POLL_SECONDS = 30.0


@dataclass(frozen=True)
class Ticked:
    """What one look of a scheduler came to.

    Attributes
    ----------
    made
        Jobs that fell due, and that this scheduler saw first.
    finished
        Jobs that came to their end, with their outcomes.
    waiting
        Open jobs, and what each waits for.
    troubles
        Schedules that could not be looked after, and why.
    """

    made: tuple[Job, ...]
    finished: tuple[tuple[Job, str], ...]
    waiting: tuple[tuple[Job, str], ...]
    troubles: tuple[str, ...] = ()


def tick(root: Store, schedules: Iterable[Schedule], hands: Hands, *, at_once: bool = False) -> Ticked:
    """Make jobs of what fell due, and do as much of every open job as can be done now.

    The jobs of one schedule are done one after the other, the oldest first, since each is compared with the one before.

    Parameters
    ----------
    at_once
        Count this moment as a due time too, of every schedule.

    Raises
    ------
    StoreError
        If the store can't be reached; the next look goes on.
    """
    made: list[Job] = []
    finished: list[tuple[Job, str]] = []
    waiting: list[tuple[Job, str]] = []
    troubles: list[str] = []
    for schedule in schedules:
        try:
            _look(Shelf(root, schedule.name), schedule, hands, made, finished, waiting, at_once)
        except StoreError:
            raise
        except Exception as error:  # one schedule's trouble is no other's
            troubles.append(f"{schedule.name}: {type(error).__name__}: {error}")
    return Ticked(tuple(made), tuple(finished), tuple(waiting), tuple(troubles))


def _look(
    shelf: Shelf,
    schedule: Schedule,
    hands: Hands,
    made: list[Job],
    finished: list[tuple[Job, str]],
    waiting: list[tuple[Job, str]],
    at_once: bool,
) -> None:
    _show(shelf, schedule)
    now_ns = hands.now_ns()
    made += _make_due(shelf, schedule, now_ns)
    if at_once:  # after what fell due before, which would be taken for done
        made += _make(shelf, schedule, now_ns - now_ns % NS, now_ns)
    for job in shelf.open_jobs():
        waits = advance(job, schedule.folder, hands)
        if waits:
            waiting.append((job, waits))
            return
        finished.append((job, job.state))


def serve(
    root: Store,
    schedules: Callable[[], Iterable[Schedule]],
    hands: Hands,
    stop: threading.Event,
    *,
    say: Callable[[str], None] = print,
    poll_seconds: float = POLL_SECONDS,
) -> None:
    """Look again and again until `stop` is set; an outage of the store or a broken file is said, and waited out.

    Parameters
    ----------
    schedules
        Reads them; asked before every look, so that an edited file counts from the next one on.
    """
    known: list[Schedule] = []
    said = ""
    while not stop.is_set():
        try:
            known = list(schedules())
            trouble = ""
        except QuantBotError as error:  # the last good ones go on
            trouble = f"schedules can't be read, the last ones go on: {error}"
        try:
            looked = tick(root, known, hands)
            for line in lines_of(looked):
                say(line)
            trouble = "; ".join([*([trouble] if trouble else []), *looked.troubles])
        except QuantBotError as error:
            trouble = f"{type(error).__name__}: {error}"
        if trouble and trouble != said:
            say(trouble)
        said = trouble
        stop.wait(poll_seconds)


def lines_of(ticked: Ticked) -> list[str]:
    """Return what a look came to, a line each."""
    return [
        *(f"{job.schedule}: due {iso(job.due_ns)}" for job in ticked.made),
        *(f"{job.schedule}: job of {iso(job.due_ns)} ended {outcome}" for job, outcome in ticked.finished),
    ]


def missed(schedule: Schedule, after_ns: int, now_ns: int) -> tuple[list[int], int, int | None]:
    """Return which due times in ``(after_ns, now_ns]`` become jobs, how many don't, and the first of those."""
    limit = 1 if schedule.catch_up.policy == "last" else schedule.catch_up.limit
    taken: deque[int] = deque(maxlen=limit)
    n_all, first = 0, None
    for due in between(schedule.rule, after_ns, now_ns):
        first = due if first is None else first
        taken.append(due)
        n_all += 1
    n_left = n_all - len(taken)
    return list(taken), n_left, first if n_left else None


def _make_due(shelf: Shelf, schedule: Schedule, now_ns: int) -> list[Job]:
    since_ns = shelf.since_ns(now_ns)
    jobs = shelf.jobs()
    if jobs:
        shelf.mark(jobs[-1])  # whoever made it may have been killed before that
    if shelf.paused:
        return []
    due, n_left, first_left = missed(schedule, max(since_ns, jobs[-1].due_ns if jobs else since_ns), now_ns)
    made = []
    for place, due_ns in enumerate(due):  # the oldest first: killed here, the rest is seen again
        left_out = {"n": n_left, "first_ns": first_left} if n_left and not place else None
        made += _make(shelf, schedule, due_ns, now_ns, left_out)
    return made


def _make(
    shelf: Shelf, schedule: Schedule, due_ns: int, now_ns: int, left_out: dict[str, Any] | None = None
) -> list[Job]:  # fmt: skip
    """Make the job of a due time; return it, or nothing where somebody made it before."""
    body: dict[str, Any] = {
        "schedule": schedule.name,
        "title": schedule.title,
        "rule": str(schedule.rule),
        "zone": schedule.rule.zone,
        "due_ns": due_ns,
        "made_ns": now_ns,
        "text": schedule.text,
        "specs": schedule.specs(),
        "left_out": left_out,
    }
    return [shelf.job(due_ns)] if shelf.add(due_ns, body) else []


def _show(shelf: Shelf, schedule: Schedule) -> None:
    shelf.show(
        {
            "title": schedule.title,
            "rule": str(schedule.rule),
            "zone": schedule.rule.zone,
            "when": schedule.when.model_dump(exclude_none=True),
            "text": schedule.text,
        }
    )


__all__ = ["POLL_SECONDS", "Ticked", "lines_of", "missed", "serve", "tick"]
