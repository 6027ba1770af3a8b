"""The drift watch: what became of pinned trials and of conclusions since last time, and what moved them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from quantbot.errors import QuantBotError
from sweeps.schedule.jobs import Job
from sweeps.schedule.pins import holds
from sweeps.schedule.tasks import last_pin

if TYPE_CHECKING:
    from sweeps.schedule.document import ScheduledSpec

CAUSES = ("code", "data", "market")


def pin_entry(
    job: Job, each: ScheduledSpec, tasks: Sequence[tuple[int, Mapping[str, Any]]], pin: int
) -> dict[str, Any]:
    """Return what a record says of one pin.

    `value`, `holds` and `measures` are the new ones; `previous` those of the last job that had some; `moved` by how
    much of the difference each cause accounts for ("code", "data": old bars or their description, "market": new bars),
    which add up to it, or None where there is nothing to compare; `cause` is the largest, empty where nothing moved.
    """
    from sweeps.schedule.record import task_entry

    own = {task["step"]: index for index, task in tasks if task["kind"] == "pin" and task["index"] == pin}
    task = dict(tasks)[own["now"]]
    entry = task_entry(job, own["now"], task)
    condition = getattr(each.entry, "holds", None)
    entry |= {
        "point": dict(getattr(each.entry, "point", {})), "condition": condition, "value": None, "holds": None,
        "measures": {}, "asset": "", "fold": "", "moved": None, "cause": "",
    }  # fmt: skip
    before = last_pin(job, task["name"])
    if before is not None:
        entry["previous"] = {
            name: before[name] for name in ("identity", "due_ns", "value", "holds", "data", "condition")
        }
    if entry["state"] != "done":
        return entry
    entry |= _judged(job, entry["identity"], condition)
    if before is None or entry["value"] is None:
        return entry
    if before["spec_digest"] != entry["spec_digest"]:
        entry["cause"] = "spec"
        return entry
    entry["moved"] = _moved(job, before["value"], entry["value"], own, condition)
    entry["cause"] = _cause(entry["moved"], entry["value"] - before["value"])
    return entry


def changed_conclusions(runs: Sequence[Mapping[str, Any]], pins: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return every conclusion that is another than last time, with its cause.

    `kind` is "pin" (its condition holds or not), "luck" (the best is better than luck or not) or "choice" (the point
    that one would take).
    """
    found = []
    for pin in pins:
        previous = pin["previous"]
        # A condition that was edited says nothing about the trial.
        same = previous and previous["condition"] == pin["condition"]
        if same and None not in (pin["holds"], previous["holds"]) and pin["holds"] != previous["holds"]:
            cause = pin["cause"] or "unknown"
            found.append({"kind": "pin", "name": pin["name"], "before": previous["holds"], "now": pin["holds"],
                          "causes": [cause]})  # fmt: skip
    for run in runs:
        previous = run["previous"]
        if not previous or run["best"] is None:
            continue
        now, before = better_than_luck(run["luck"]), better_than_luck(previous["luck"])
        if None not in (now, before) and now != before:
            found.append({"kind": "luck", "name": run["name"], "before": before, "now": now, "causes": run["changed"]})
        points = [(one or {}).get("point") for one in (previous["chosen"], run["chosen"])]
        if None not in points and points[0] != points[1]:
            found.append({"kind": "choice", "name": run["name"], "before": points[0], "now": points[1],
                          "causes": run["changed"]})  # fmt: skip
    return found


def better_than_luck(luck: Mapping[str, Any] | None) -> bool | None:
    """Return whether a best is better than luck: its deflated Sharpe ratio is 0.95 or more; None where it's unknown."""
    from sweeps.schedule.record import LUCK_LEVEL

    deflated = (luck or {}).get("deflated_sharpe")
    return None if deflated is None else bool(deflated >= LUCK_LEVEL)


def _judged(job: Job, identity: str, condition: str | None) -> dict[str, Any]:
    """Return value, conclusion and measures of a pin's run, on the fold that a choice is made on."""
    from sweeps.results import open_run
    from sweeps.schedule.record import finite
    from sweeps.task import judged_folds

    run = open_run(job.root, identity)
    row = run.row(run.plan.trial_index(0, 0, judged_folds(run.plan)[0]))
    measures = row["measures"]
    return {
        "value": finite(row["value"]),
        "holds": holds(condition, run.measures[run.objective], measures),
        "measures": {name: finite(value) for name, value in measures.items()},
        "asset": row["asset"],
        "fold": row["fold"],
        "n_failed": run.status.n_failed,
        "reason": row["reason"],
    }


def _moved(
    job: Job, before: float, now: float, steps: Mapping[str, int], condition: str | None
) -> dict[str, float] | None:
    """Return how much each cause moved the value, from the runs between the last one and the new one."""
    values = [before]
    for step in ("code", "data"):
        if step not in steps:
            values.append(values[-1])  # this step changed nothing, so no run was made for it
            continue
        submitted = job.read(f"submitted/{steps[step]}.json") or {}
        ended = job.read(f"ended/{steps[step]}.json") or {}
        if ended.get("state") != "done":
            return None
        try:
            value = _judged(job, submitted["identity"], condition)["value"]
        except QuantBotError:
            value = None
        if value is None:
            return None
        values.append(value)
    values.append(now)
    return {cause: after - first for cause, first, after in zip(CAUSES, values[:-1], values[1:], strict=True)}


def _cause(moved: Mapping[str, float] | None, whole: float) -> str:
    if moved is None:
        return "unknown" if whole else ""
    cause = max(moved, key=lambda name: abs(moved[name]))
    return cause if moved[cause] and math.isfinite(moved[cause]) else ""
