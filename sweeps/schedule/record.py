"""The morning report as plain values: what a job did, what came of it, and what is no longer what it was.

Whoever shows it computes nothing; `app.morning_report` makes the page for people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quantbot.errors import QuantBotError, StoreError
from sweeps.schedule.drift import changed_conclusions, pin_entry
from sweeps.schedule.jobs import Job
from sweeps.schedule.steps import refresh_tries, tasks_of
from sweeps.schedule.tasks import records_before

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from datasets.changes import Change
    from sweeps.luck import JudgedTrial, Luck
    from sweeps.results import Run
    from sweeps.schedule.document import Schedule

FORMAT = 1
LUCK_LEVEL = 0.95  # of the deflated Sharpe ratio, from which on a best counts as better than luck
_FAILURES, _FINDINGS, _CHANGES, _TREND = 10, 20, 50, 60  # that a record lists


def make_record(job: Job, body: Mapping[str, Any], schedule: Schedule, now_ns: int) -> dict[str, Any]:
    """Return the record of a job whose runs have all ended."""
    before = list(records_before(job))
    tasks = list(enumerate(tasks_of(job)))
    data = [_data(job, index, entry.dataset, before) for index, entry in enumerate(schedule.refreshes)]
    runs = [_run(job, index, task, before) for index, task in tasks if task["kind"] == "run"]
    pins = [
        pin_entry(job, schedule.pins[task["index"]], tasks, task["index"])
        for _, task in tasks
        if task["kind"] == "pin" and task["step"] == "now"
    ]
    cost = _total(job, [index for index, _ in tasks])
    for run in runs:
        run["trend"] = _trend(run, before, job.due_ns)
    return _head(job, body, now_ns) | {
        "compared_with_ns": before[0]["due_ns"] if before else None,
        "outcome": _outcome(data, [*runs, *pins]),
        "problem": "",
        "data": data,
        "runs": runs,
        "pins": pins,
        "conclusions": changed_conclusions(runs, pins),
        "cost": cost,
        "costs": [*_costs(before), {"due_ns": job.due_ns, **cost}][-_TREND:],
    }


def broken_record(job: Job, body: Mapping[str, Any], problem: str, hands: Any) -> dict[str, Any]:
    """Return the record of a job that can't be done."""
    return _head(job, body, hands.now_ns()) | {
        "compared_with_ns": None, "outcome": "failed", "problem": problem, "data": [], "runs": [], "pins": [],
        "conclusions": [], "cost": _total(job, []), "costs": [],
    }  # fmt: skip


def _head(job: Job, body: Mapping[str, Any], now_ns: int) -> dict[str, Any]:
    told = {name: body.get(name) for name in ("title", "rule", "zone", "made_ns", "left_out")}
    return {"format": FORMAT, "schedule": job.schedule, "due_ns": job.due_ns, "ended_ns": now_ns, **told}


def _outcome(data: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> str:
    """Return "ok", "failed" where nothing came to its end, else "partial"."""
    good = [entry["ok"] for entry in data] + [run["state"] == "done" for run in runs]
    if all(good) and not any(run.get("n_failed") for run in runs):
        return "ok"
    return "partial" if any(run["state"] == "done" for run in runs) or (any(good) and not runs) else "failed"


# ---------------------------------------------------------------------------------------------------------------- data


def _data(job: Job, index: int, name: str, before: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    tries = refresh_tries(job, index)
    last = tries[-1] if tries else {}
    previous = next(
        (one for record in before for one in record.get("data", ()) if one["dataset"] == name and one["ok"]), None
    )  # fmt: skip
    entry: dict[str, Any] = {
        "dataset": name,
        "ok": bool(last.get("ok")),
        "error": str(last.get("error", "")),
        "n_tries": len(tries),
        "errors": [str(one["error"]) for one in tries if not one.get("ok")],
        "seconds": sum(float(one.get("seconds", 0)) for one in tries),
        "version": last.get("version", ""),
        "created": bool(last.get("created")),
        "previous_version": previous["version"] if previous else "",
        "changes": None,
        "quality": None,
        "previous_quality": previous["quality"]["counts"] if previous and previous.get("quality") else None,
    }
    if not entry["ok"]:
        return entry
    entry["quality"] = _quality(last["quality"])
    return entry | _versions(job, name, entry["version"], entry["previous_version"])


def _quality(report: Mapping[str, Any]) -> dict[str, Any]:
    from datasets.quality import QualityReport

    found = QualityReport.from_dict(report)
    lines = found.summary(_FINDINGS)
    counts = {severity: found.count(severity) for severity in ("error", "warning", "info")}
    return {"counts": counts, "lines": lines[1:], "n_bars": found.n_bars or found.n_events}


def _versions(job: Job, name: str, version: str, previous: str) -> dict[str, Any]:
    """Return what the new version holds, and what of it is not as in the last one."""
    from datasets.bars import Dataset
    from datasets.changes import changes
    from datasets.versions import read_any

    newer = read_any(job.root, name, version)
    told: dict[str, Any] = {
        "kind": newer.kind, "n_assets": len(newer.assets), "n_times": newer.n_times,
        "start_ns": newer.start_ns, "end_ns": newer.end_ns,
    }  # fmt: skip
    if not previous or previous == version:
        return told
    try:
        older = read_any(job.root, name, previous)
    except StoreError:
        raise
    except QuantBotError:  # it was removed meanwhile
        return told
    if isinstance(older, Dataset) and isinstance(newer, Dataset):
        told["changes"] = change_counts(changes(older, newer), older.end_ns)
    return told


def change_counts(found: Sequence[Change], old_end_ns: int) -> dict[str, Any]:
    """Return how many bars are new, and how many old ones are not what they were."""
    past = [change for change in found if change.n_changed or change.n_removed or _backfilled(change, old_end_ns)]
    return {
        "n_added": sum(change.n_added for change in found),
        "n_changed": sum(change.n_changed for change in found),
        "n_removed": sum(change.n_removed for change in found),
        "n_assets": len(found),
        "past": bool(past),
        "assets": [
            {"asset": change.asset, "what": change.what, "n_added": change.n_added, "n_changed": change.n_changed,
             "n_removed": change.n_removed, "first_ns": change.first_ns}
            for change in [*past, *(change for change in found if change not in past)][:_CHANGES]
        ],
    }  # fmt: skip


def _backfilled(change: Change, old_end_ns: int) -> bool:
    return change.what == "changed" and change.first_ns <= old_end_ns


# ---------------------------------------------------------------------------------------------------------------- runs


def _run(job: Job, index: int, task: Mapping[str, Any], before: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    entry = task_entry(job, index, task)
    previous = next(
        (
            {**run, "due_ns": record["due_ns"]}
            for record in before
            for run in record.get("runs", ())
            if (run["spec"], run["name"]) == (task["spec"], task["name"]) and run.get("best") is not None
        ),
        None,
    )
    if previous is not None:
        entry["previous"] = {
            name: previous[name] for name in ("identity", "due_ns", "best", "chosen", "luck", "n_failed", "cost")
        }
    if entry["state"] != "done":
        return entry
    from sweeps.results import open_run

    run = open_run(job.root, entry["identity"])
    found = run.luck(compute=False)
    entry |= {
        "n_failed": run.status.n_failed,
        "failures": [
            {"reason": str(row["reason"]), "n": int(row["n_trials"]), "point": dict(row["first_point"])}
            for row in run.failures().head(_FAILURES).to_dict("records")
        ],
        "best": _best(run),
        "chosen": _chosen(found),
        "luck": _luck(found),
        "warnings": [*run.plan.warnings, *(advice.sentence for advice in found.warnings)],
    }
    if previous is not None:
        entry["changed"] = changed_parts(job, entry, previous)
        entry["previous"]["value_now"] = _value_at(run, previous["best"])
    return entry


def task_entry(job: Job, index: int, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of one task: which run it became, how that ended, what it cost."""
    submitted = job.read(f"submitted/{index}.json") or {}
    ended = job.read(f"ended/{index}.json") or {}
    identity = str(submitted.get("identity", ""))
    state = ended.get("state") or ("left out" if task["left_out"] else "refused")
    entry: dict[str, Any] = {
        "name": task["name"],
        "spec": task["spec"],
        "identity": identity,
        "state": state,
        "error": task["left_out"] or submitted.get("error", "") or ended.get("error", ""),
        "reused": bool(submitted.get("reused")),
        "spec_digest": task["spec_digest"],
        "engine_digest": submitted.get("engine_digest", ""),
        "strategy_digest": submitted.get("strategy_digest", ""),
        "data": dict(task["data"]),
        "cost": cost_of(job, identity) if identity and not submitted.get("reused") else dict(_FREE),
        "best": None, "chosen": None, "luck": None, "previous": None, "changed": [], "warnings": [], "failures": [],
        "n_failed": 0, "n_trials": 0, "engine": task["engine"], "objective": task["objective"], "strategy": "",
    }  # fmt: skip
    if identity:
        from sweeps.runstore import RunStore

        plan = RunStore(job.root, identity).plan()
        entry |= {"n_trials": plan.n_trials, "strategy": plan.bundle.reference}
    return entry


def _trend(run: Mapping[str, Any], before: Sequence[Mapping[str, Any]], due_ns: int) -> list[dict[str, Any]]:
    """Return the best of this run in the jobs so far, oldest first, each with its luck line."""
    found = [
        _moment(record["due_ns"], other)
        for record in reversed(before)
        for other in record.get("runs", ())
        if (other["spec"], other["name"]) == (run["spec"], run["name"]) and other.get("best") is not None
    ]
    return [*found, *([_moment(due_ns, run)] if run["best"] is not None else [])][-_TREND:]


def _moment(due_ns: int, run: Mapping[str, Any]) -> dict[str, Any]:
    luck = run["luck"] or {}
    told = {name: luck.get(name) for name in ("deflated_sharpe", "luck_line", "sharpe")}
    return {"due_ns": due_ns, "value": run["best"]["value"], **told}


def _best(run: Run) -> dict[str, Any] | None:
    rows = run.best(1)
    if not rows:
        return None
    row = rows[0]
    return {name: row[name] for name in ("trial", "asset", "fold", "point", "value")}


def _value_at(run: Run, best: Mapping[str, Any]) -> float | None:
    """Return what the last job's best came to in this run; None where this run has no such trial."""
    try:
        row = run.row(run.trial_index(best["point"], best["asset"], best["fold"]))
    except QuantBotError:
        return None
    return finite(row["value"])


def _chosen(found: Luck) -> dict[str, Any] | None:
    """Return what one would take: the plateau, else the best."""
    judged = found.plateau if found.plateau is not None else found.best
    if judged is None:
        return None
    return {"what": found.chosen, "point": dict(judged.point), "asset": judged.asset, "value": finite(judged.value)}


def _luck(found: Luck) -> dict[str, Any]:
    best: JudgedTrial | None = found.best
    names = ("deflated_sharpe", "luck_line", "pbo", "p", "n_trials", "n_effective")
    told: dict[str, Any] = {name: getattr(found, name) for name in names}
    told |= {"sharpe": best.sharpe if best else None, "spike": found.best_is_spike, "edges": list(found.best_edges)}
    told["interval"] = [best.interval.low, best.interval.high, best.interval.level] if best and best.interval else None
    told["unknown"] = {name: reason for name, reason in found.unknown.items() if name in names}
    return {name: finite(value) if isinstance(value, float) else value for name, value in told.items()}


def changed_parts(job: Job, now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Return which parts of a run's identity are others than last time.

    Of "spec", "engine", "strategy", "old data", "new data" and, where versions can't be compared, "data".
    """
    parts = [name for name in ("spec", "engine", "strategy") if now[f"{name}_digest"] != before[f"{name}_digest"]]
    if now["identity"] == before["identity"]:
        return []
    if now["data"].get("version") != before["data"].get("version"):
        parts += _changed_data(job, now["data"], before["data"])
    return parts or ["libraries"]  # of the strategy, or the format of rows: what else is in an identity


def _changed_data(job: Job, now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    from datasets.versions import read_any
    from sweeps.schedule.tasks import past_changed

    if now.get("name") != before.get("name"):
        return ["data"]
    try:
        older, newer = (read_any(job.root, each["name"], each["version"]) for each in (before, now))
    except StoreError:
        raise
    except QuantBotError:
        return ["data"]
    grown = newer.end_ns > older.end_ns
    return [*["old data"] * past_changed(older, newer), *["new data"] * grown] or ["data"]


# ---------------------------------------------------------------------------------------------------------------- cost

_FREE: Mapping[str, float] = {"core_seconds": 0.0, "wall_seconds": 0.0, "n_blocks": 0, "bytes_read": 0}


def cost_of(job: Job, identity: str) -> dict[str, float]:
    """Return what a run took in all its drives, as its meters have it."""
    from sweeps.runstore import RunStore
    from sweeps.service.metering import usage_of_run

    used = usage_of_run(RunStore(job.root, identity))
    return {name: getattr(used, name) for name in _FREE}


def _total(job: Job, indices: Sequence[int]) -> dict[str, float]:
    """Return what a job's runs took together; runs that were there before took nothing."""
    total, seen = dict(_FREE), set[str]()
    for index in indices:
        submitted = job.read(f"submitted/{index}.json") or {}
        identity = submitted.get("identity")
        if identity and identity not in seen and not submitted.get("reused"):
            seen.add(identity)
            total = {name: total[name] + value for name, value in cost_of(job, identity).items()}
    return total


def _costs(before: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"due_ns": record["due_ns"], **record["cost"]} for record in reversed(before)]


def finite(value: float | None) -> float | None:
    """Return a number as JSON has it: None for what is none."""
    return None if value is None or not math.isfinite(value) else float(value)
