"""A morning report in words: what the page of a job and its report for people both say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app import format as fmt

if TYPE_CHECKING:
    from quantbot.measures import Measure

OUTCOMES = {"ok": "all done", "partial": "done in part", "failed": "failed"}
CAUSES = {
    "code": "the code (engine, strategy or a library)",
    "data": "the data (old bars, or what they are scaled with, are not what they were)",
    "market": "the market (new bars)",
    "spec": "its own spec, which was edited",
    "engine": "the engine's source",
    "strategy": "the strategy's source",
    "libraries": "a library's version",
    "old data": "old bars that were restated",
    "new data": "new bars",
    "unknown": "a cause that could not be told",
}
PINS_TOLD = (
    "A pin is run again between the last job and this one: the new code on the old data, then on the new version cut "
    "where the old one ended, then on all of it. The three parts add up to the move."
)
_MOST_RESTATED = 20


def scope(record: Mapping[str, Any]) -> str:
    """Say in one line which job this is."""
    zone = record.get("zone")
    late = (record["made_ns"] - record["due_ns"]) / 1e9
    parts = [str(record["schedule"]), str(record["rule"]), f"due {fmt.instant(record['due_ns'], zone)}"]
    parts += [f"seen {fmt.duration(late)} later"] if late > 120 else []
    parts.append(f"ended {fmt.instant(record['ended_ns'], zone)}")
    before = record["compared_with_ns"]
    parts += [f"compared with {fmt.instant(before)}"] if before else []
    return "  ·  ".join(parts)


def remarks(record: Mapping[str, Any]) -> list[str]:
    """Say what a reader should know before the answer."""
    said = [str(record["problem"])] if record["problem"] else []
    left_out = record["left_out"]
    if left_out:
        said.append(
            f"{fmt.plural(left_out['n'], 'due time')} from {fmt.instant(left_out['first_ns'])} on had no job: no "
            "scheduler was alive, and the schedule's catch_up leaves them out."
        )
    return said


def changes(record: Mapping[str, Any]) -> list[str]:
    """Say which conclusions are others than last time, and why."""
    said = []
    for one in record["conclusions"]:
        why = " and ".join(CAUSES.get(cause, cause) for cause in one["causes"]) or CAUSES["unknown"]
        match one["kind"]:
            case "pin":
                verb = "holds now" if one["now"] else "no longer holds"
                pin = next((pin for pin in record["pins"] if pin["name"] == one["name"]), None)
                condition = (pin or {}).get("condition") or "better than 0"
                said.append(f"{one['name']}: {condition} {verb}; moved by {why}.")
            case "luck":
                verb = "is better than luck now" if one["now"] else "is no longer better than luck"
                said.append(f"{one['name']}: the best {verb} (deflated Sharpe ratio of 0.95); moved by {why}.")
            case "choice":
                said.append(
                    f"{one['name']}: one would take {fmt.point(one['now'])} now, not {fmt.point(one['before'])}; "
                    f"moved by {why}."
                )
    return said


def unchanged(record: Mapping[str, Any]) -> str:
    """Say why there is no change to tell of."""
    if not record["compared_with_ns"]:
        return "The first report: there is nothing to compare with."
    if not any(run["state"] == "done" for run in [*record["runs"], *record["pins"]]):
        return "Nothing ran, so nothing can be said."
    return "No conclusion is another than last time."


def failures(record: Mapping[str, Any]) -> list[str]:
    """Say what failed and why, one line each."""
    said = [
        f"{entry['dataset']} could not be refreshed in {fmt.plural(entry['n_tries'], 'try', 'tries')}: {entry['error']}"
        for entry in record["data"] if not entry["ok"]
    ]  # fmt: skip
    for run in [*record["runs"], *record["pins"]]:
        if run["state"] != "done":
            said.append(f"{run['name']}: {run['state']}" + (f": {run['error']}" if run["error"] else ""))
        for failure in run["failures"]:
            said.append(
                f"{run['name']}: {fmt.plural(failure['n'], 'trial')} failed ({failure['reason']}), "
                f"first at {fmt.point(failure['point'])}"
            )
    return said


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a webhook is told: small, and nothing that a chat shouldn't see."""
    return {
        "schedule": record["schedule"],
        "title": record["title"],
        "due": fmt.instant(record["due_ns"]),
        "outcome": record["outcome"],
        "changed": changes(record),
        "failed": failures(record),
        "best": [
            {"run": run["name"], "identity": run["identity"], "objective": run["objective"], **run["best"],
             "deflated_sharpe": run["luck"]["deflated_sharpe"]}
            for run in record["runs"] if run["best"] is not None
        ],
        "core_seconds": record["cost"]["core_seconds"],
    }  # fmt: skip


def luck_words(luck: Mapping[str, Any] | None) -> str:
    """Say in a few words how much of a best is luck."""
    if not luck or luck["deflated_sharpe"] is None:
        return "luck unknown"
    line = "" if luck["luck_line"] is None else f", noise alone reaches {fmt.signed(luck['luck_line'], 1)}"
    return f"deflated {luck['deflated_sharpe']:.2f}{line}"


def pin_row(pin: Mapping[str, Any]) -> dict[str, str]:
    """Return a pin as a row: what is concluded from it, and how much of its move each cause accounts for."""
    measure, previous = declared(pin), pin["previous"]
    row = {"pin": f"{pin['name']}: {fmt.point(pin['point'])}"}
    was = number(previous["value"], measure) if previous else ""
    if pin["value"] is None:
        reason = pin.get("reason") or pin["error"] or "no value"
        said = f"unknown: {pin['state']}, {reason}"
        return row | {
            "conclusion": said,
            "was": was,
            **dict.fromkeys(("now", "code", "data", "market", "moved by"), ""),
        }
    moved = pin["moved"] or {}
    cause = CAUSES.get(pin["cause"], pin["cause"]) if pin["cause"] else "nothing moved" if previous else "first time"
    cause = f"mostly {cause}" if sum(bool(part) for part in moved.values()) > 1 else cause
    return row | {
        "conclusion": _holds(pin),
        "was": was,
        "now": fmt.measure(pin["value"], measure),
        **{name: number(moved.get(name), measure, none="") for name in ("code", "data", "market")},
        "moved by": cause,
    }


def _holds(pin: Mapping[str, Any]) -> str:
    condition = pin["condition"] or f"{declared(pin).label} better than 0"
    word = {True: "holds", False: "does not hold", None: "unknown"}[pin["holds"]]
    previous = pin["previous"]
    before = previous["holds"] if previous and previous["condition"] == pin["condition"] else None
    was = "" if before is None or before == pin["holds"] else ", held before" if before else ", did not hold before"
    return f"{condition}: {word}{was}"


def data_row(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return a refreshed dataset as a row: what is new in it, and what was found."""
    names = ("bars", "until", "new", "restated", "removed", "errors", "warnings", "remarks")
    if not entry["ok"]:
        still = f", still {fmt.short(entry['previous_version'])}" if entry["previous_version"] else ""
        return {"dataset": entry["dataset"], "version": f"not refreshed{still}", **dict.fromkeys(names, "")}
    new, version = entry["changes"] or {}, fmt.short(entry["version"])
    if entry["previous_version"] and entry["previous_version"] != entry["version"]:
        version = f"{fmt.short(entry['previous_version'])} to {version}"
    elif entry["previous_version"]:
        version += ", unchanged"
    counts, before = entry["quality"]["counts"], entry["previous_quality"] or {}
    values = (
        fmt.count(entry["quality"]["n_bars"]),
        fmt.day(entry["end_ns"]),
        *(fmt.count(new.get(name, 0)) for name in ("n_added", "n_changed", "n_removed")),
        *(_was(counts[name], before.get(name)) for name in ("error", "warning", "info")),
    )
    return {"dataset": entry["dataset"], "version": version, **dict(zip(names, values, strict=True))}


def findings(record: Mapping[str, Any]) -> list[str]:
    """Say what is odd about the refreshed data: late, restated, and what the checks found."""
    late, restated, found = [], [], []
    for entry in record["data"]:
        if not entry["ok"]:
            continue
        name, new = entry["dataset"], entry["changes"] or {}
        if entry["n_tries"] > 1:
            late.append(f"{name}: came at try {entry['n_tries']}; before: {'; '.join(entry['errors'])}")
        restated += [_restated(name, change) for change in new.get("assets", ()) if new.get("past")]
        found += [f"{name}: {line}" for line in entry["quality"]["lines"]]
    return [*late, *restated[:_MOST_RESTATED], *found]


def _restated(dataset: str, change: Mapping[str, Any]) -> str:
    return (
        f"{dataset}: {change['asset']}: {fmt.count(change['n_changed'])} old bars changed, "
        f"{fmt.count(change['n_removed'])} removed, from {fmt.instant(change['first_ns'])} on"
    )


def _was(count: int, before: int | None) -> str:
    return fmt.count(count) + (f" (was {fmt.count(before)})" if before is not None and before != count else "")


def declared(run: Mapping[str, Any]) -> Measure:
    """Return the declaration of a run's objective."""
    from quantbot.engine import get_engine

    declared = {measure.name: measure for measure in get_engine(run["engine"]).measures}
    return declared[run["objective"]]


def number(value: float | None, declared: Measure, *, none: str = "unknown") -> str:
    """Write a measure's value, or `none` where there is none."""
    return none if value is None else fmt.measure(value, declared)
