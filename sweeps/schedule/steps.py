"""Bringing one job to its end: refresh, decide, submit, wait or drive, report, tell.

Every step writes what it came to put-if-absent and looks first whether that is there, so that a job which was killed
anywhere goes on from there, and two schedulers that work at one job do nothing twice that counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantbot.errors import QuantBotError, SpecError, StoreError
from sweeps.executors.base import ClusterError
from sweeps.lease import TTL_SECONDS, Lease, acquire, lease_state
from sweeps.runstore import RunStore
from sweeps.schedule.document import Schedule, parse_schedule
from sweeps.schedule.jobs import Job, Shelf
from sweeps.schedule.rules import duration_text, iso, parse_duration
from sweeps.schedule.tasks import make_tasks
from sweeps.status import run_status

if TYPE_CHECKING:
    from sweeps.schedule.sections import Refresh

_LONGEST_ERROR = 2_000  # characters that are kept of one
_ENDED = ("done", "failed", "cancelled", "budget spent")  # states of runs that no runner leaves by itself


@dataclass(frozen=True)
class Hands:
    """What a scheduler does jobs with.

    Attributes
    ----------
    now_ns
        The clock that times fall due by, ns UTC.
    driving
        Opens what brings submitted runs to their end, one call a run, which raises where it can't; None waits for
        whoever else drives them.
    publish
        Makes the report for people from a record and stores it; None makes none.
    post
        Tells the webhook of a record: gets the job, its schedule and the record, and returns what to wait for, or
        nothing when there is no more to do.
    """

    now_ns: Callable[[], int]
    driving: Callable[[], AbstractContextManager[Callable[[str], None]]] | None = None
    publish: Callable[[Job, Mapping[str, Any]], None] | None = None
    post: Callable[[Job, Schedule, Mapping[str, Any], int], str] | None = None
    ttl_seconds: float = TTL_SECONDS


def advance(job: Job, folder: Path, hands: Hands) -> str:
    """Do as much of a job as can be done now; return what it waits for, empty when it is finished.

    Raises
    ------
    StoreError
        If the store can't be reached; nothing is lost, and the next call goes on.
    """
    shelf, body = Shelf(job.root, job.schedule), job.read("job.json")
    if body is None or job.read("done.json") is not None:
        shelf.forget_mark(job)
        return ""
    lease = acquire(job.store, hands.ttl_seconds)
    if lease is None:
        return f"{lease_state(job.store).holder or 'another scheduler'} works at it"
    with lease:
        waits = _do(job, body, folder, hands, lease)
        lease.note = waits
    if not waits:
        shelf.forget_mark(job)
    return waits


def _do(job: Job, body: Mapping[str, Any], folder: Path, hands: Hands, lease: Lease) -> str:
    from sweeps.schedule.record import broken_record, make_record

    try:
        schedule = parse_schedule(body["text"], job.schedule, folder, body["specs"])
    except SpecError as error:  # a strategy's file is gone, or another version reads the text differently
        record = job.read("record.json") or job.put_first("record.json", broken_record(job, body, str(error), hands))
        return _finish(job, None, record, hands)
    record_or_none = job.read("record.json")
    if record_or_none is None:
        for step in (_refresh_all, _decide, _submit_all, _end_all):
            waits = step(job, schedule, hands)
            if waits:
                return waits
            if lease.lost.is_set():
                return "another scheduler took it over"
        record_or_none = job.put_first("record.json", make_record(job, body, schedule, hands.now_ns()))
    return _finish(job, schedule, record_or_none, hands)


def _finish(job: Job, schedule: Schedule | None, record: Mapping[str, Any], hands: Hands) -> str:
    if hands.publish is not None:
        hands.publish(job, record)
    if hands.post is not None and schedule is not None and schedule.webhook is not None:
        waits = hands.post(job, schedule, record, hands.now_ns())
        if waits:
            return waits
    job.put_first("done.json", {"outcome": record["outcome"], "at_ns": hands.now_ns()})
    return ""


# ------------------------------------------------------------------------------------------------------------- refresh


def refresh_tries(job: Job, index: int) -> list[dict[str, Any]]:
    """Return what each try of a job's ingest came to, the first one first."""
    keys = [key for key in job.store.list(f"refresh/{index}.") if key.endswith(".json")]
    return [job.read(key) or {} for key in sorted(keys, key=lambda key: int(key.split(".")[1]))]


def _refresh_all(job: Job, schedule: Schedule, hands: Hands) -> str:
    waits = [_refresh(job, index, entry, schedule, hands) for index, entry in enumerate(schedule.refreshes)]
    return "; ".join(wait for wait in waits if wait)


def _refresh(job: Job, index: int, entry: Refresh, schedule: Schedule, hands: Hands) -> str:
    tries = refresh_tries(job, index)
    if tries:
        if tries[-1].get("ok") or len(tries) > entry.retries:
            return ""
        again_ns = int(tries[-1]["at_ns"]) + parse_duration(entry.retry_after)
        if hands.now_ns() < again_ns:
            return f"{entry.dataset} is tried again at {iso(again_ns)}"
    found = _try(job, entry, schedule.folder) | {"at_ns": hands.now_ns()}
    if "error" in found:  # the report is read elsewhere, where this folder means nothing
        found["error"] = found["error"].replace(f"{schedule.folder}/", "")
    job.put_first(f"refresh/{index}.{len(tries) + 1}.json", found)
    return _refresh(job, index, entry, schedule, hands)


def _try(job: Job, entry: Refresh, folder: Path) -> dict[str, Any]:
    from sweeps.schedule.refresh import refresh

    started = time.monotonic()
    try:
        result = refresh(job.root, entry, folder)
    except StoreError:
        raise
    except Exception as error:  # whatever a vendor's file makes a parser do, the scheduler goes on
        return {"ok": False, "error": _short(error), "seconds": time.monotonic() - started}
    return {
        "ok": True,
        "name": result.dataset.name,
        "version": result.dataset.version,
        "created": result.created,
        "quality": result.report.to_dict(),
        "seconds": time.monotonic() - started,
    }


# ---------------------------------------------------------------------------------------------------------------- runs


def _decide(job: Job, schedule: Schedule, hands: Hands) -> str:
    if job.read("tasks.json") is None:
        failed = {
            entry.dataset
            for index, entry in enumerate(schedule.refreshes)
            if (tries := refresh_tries(job, index)) and not tries[-1].get("ok")
        }
        job.put_first("tasks.json", {"tasks": make_tasks(job, schedule, failed), "at_ns": hands.now_ns()})
    return ""


def tasks_of(job: Job) -> list[dict[str, Any]]:
    """Return the tasks of a job; empty before they are decided."""
    found = job.read("tasks.json") or {}
    return list(found.get("tasks", ()))


def _submit_all(job: Job, schedule: Schedule, hands: Hands) -> str:
    for index, task in enumerate(tasks_of(job)):
        if not task["left_out"] and job.read(f"submitted/{index}.json") is None:
            job.put_first(f"submitted/{index}.json", _submit(job, task, schedule, hands))
    return ""


def _submit(job: Job, task: Mapping[str, Any], schedule: Schedule, hands: Hands) -> dict[str, Any]:
    from sweeps.identity import engine_source_digest
    from sweeps.plan import make_plan
    from sweeps.spec import parse_spec
    from sweeps.submission import submit

    try:
        spec = parse_spec(task["toml"], source=task["spec"], folder=schedule.folder / task["folder"])
        plan = make_plan(spec, job.root)
        run = RunStore(job.root, plan.identity)
        reused = run.store.exists("manifest.json")
        identity = submit(
            spec, job.root, plan=plan, user=f"schedule:{job.schedule}", priority=int(task.get("priority", 0))
        )
    except StoreError:
        raise
    except QuantBotError as error:
        return {"error": _short(error), "at_ns": hands.now_ns()}
    return {
        "identity": identity,
        "reused": reused,
        "engine_digest": engine_source_digest(),
        "strategy_digest": plan.bundle.digest,
        "at_ns": hands.now_ns(),
    }


def _end_all(job: Job, schedule: Schedule, hands: Hands) -> str:
    """Drive every run, or look whether it ended; return how many have not."""
    left = {
        index: submitted["identity"]
        for index, _ in enumerate(tasks_of(job))
        if "identity" in (submitted := job.read(f"submitted/{index}.json") or {})
        and job.read(f"ended/{index}.json") is None
    }
    if not left:
        return ""
    decided = job.read("tasks.json") or {}
    deadline_ns = int(decided.get("at_ns", 0)) + schedule.within_ns
    waiting = 0
    with nullcontext() if hands.driving is None else hands.driving() as drive:
        for index, identity in left.items():
            ended = _ended(job, identity, drive)
            if not ended and hands.now_ns() >= deadline_ns:
                ended = {"state": "unfinished", "error": f"not finished within {duration_text(schedule.within_ns)}"}
            if ended:
                job.put_first(f"ended/{index}.json", ended | {"at_ns": hands.now_ns()})
            else:
                waiting += 1
    return f"{waiting} of its runs, till {iso(deadline_ns)}" if waiting else ""


def _ended(job: Job, identity: str, drive: Callable[[str], None] | None) -> dict[str, Any]:
    """Return how a run ended; empty while it hasn't."""
    if drive is not None:
        try:
            drive(identity)
        except StoreError:
            raise
        except ClusterError:  # says nothing about the run: the next look tries again
            return {}
        except QuantBotError as error:
            return {"state": "failed", "error": _short(error)}
    status = run_status(job.root, identity)
    if status.state in _ENDED:
        return {"state": status.state, "error": status.note[:_LONGEST_ERROR]}
    return {}


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
