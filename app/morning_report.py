"""The morning report: what a scheduled job did and what is no longer what it was, as one sheet without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from app import format as fmt
from app.sheet import cells, notes, sheet, table

if TYPE_CHECKING:
    from quantbot.measures import Measure

OUTCOMES = {"ok": "all done", "partial": "done in part", "failed": "failed"}
CAUSES = {
    "code": "the code (engine, strategy or a library)",
    "data": "the data (old bars or their description are not what they were)",
    "market": "the market (only new bars were added)",
    "spec": "its own spec, which was edited",
    "engine": "the engine's source",
    "strategy": "the strategy's source",
    "libraries": "a library's version",
    "old data": "old bars that were restated",
    "new data": "new bars",
    "unknown": "a cause that could not be told",
}
_CHART = (900, 120)  # width and height of a trend, pixels
_LINE, _LUCK, _INK = "#0072B2", "#D55E00", "#4a5460"


def morning_report(record: Mapping[str, Any]) -> str:
    """Return the report as HTML; the same record gives the same bytes."""
    sections = [
        f"<h1>{escape(str(record['title']))}: {escape(fmt.day(record['due_ns']))}</h1>",
        f'<p class="scope">{escape(scope(record))}</p>',
        notes(remarks(record)),
        _tiles(record),
        _list("What changed", changes(record), _unchanged(record)),
        _list("What failed", failures(record), "Nothing failed."),
        _bests(record),
        _pins(record),
        _data(record),
        _cost(record),
        _warnings(record),
    ]  # fmt: skip
    return sheet(f"{record['title']} {fmt.day(record['due_ns'])}", sections, charts=False)


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


def _unchanged(record: Mapping[str, Any]) -> str:
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


# ------------------------------------------------------------------------------------------------------------- answers


def _tiles(record: Mapping[str, Any]) -> str:
    runs = [*record["runs"], *record["pins"]]
    n_done = sum(run["state"] == "done" for run in runs)
    n_fresh = sum(entry["ok"] for entry in record["data"])
    told = f"{n_done} of {fmt.plural(len(runs), 'run')}, {n_fresh} of {fmt.plural(len(record['data']), 'ingest')}"
    n_changed = len(record["conclusions"])
    best = next((run for run in record["runs"] if run["best"] is not None), None)
    cost = record["cost"]
    since = "since last time" if record["compared_with_ns"] else "nothing to compare with"
    return '<div class="tiles">' + "".join([
        tile("Outcome", OUTCOMES[record["outcome"]], told),
        tile("Conclusions that changed", str(n_changed), since),
        tile(*_best_tile(best)),
        tile("Cost", f"{fmt.duration(cost['core_seconds'])} of cores" if cost["core_seconds"] else "none",
             f"{fmt.duration(cost['wall_seconds'])} of wall time, {fmt.plural(int(cost['n_blocks']), 'block')} computed"
             if cost["core_seconds"] else "everything was there" if n_done else "nothing ran"),
    ]) + "</div>"  # fmt: skip


def tile(title: str, value: str, told: str) -> str:
    """Return one tile."""
    return f'<div class="tile"><span>{escape(title)}</span><b>{escape(value)}</b><span>{escape(told)}</span></div>'


def _best_tile(run: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if run is None:
        return "Best", "none", "no run has a best"
    declared = _declared(run)
    told = f"at {fmt.point(run['best']['point'])}; {luck_words(run['luck'])}"
    return f"Best {declared.label}, {run['name']}", fmt.measure(run["best"]["value"], declared), told


def luck_words(luck: Mapping[str, Any] | None) -> str:
    """Say in a few words how much of a best is luck."""
    if not luck or luck["deflated_sharpe"] is None:
        return "luck unknown"
    line = "" if luck["luck_line"] is None else f", noise alone reaches {fmt.signed(luck['luck_line'], 1)}"
    return f"deflated {luck['deflated_sharpe']:.2f}{line}"


def _list(title: str, lines: Sequence[str], otherwise: str) -> str:
    body = "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else f"<p>{otherwise}</p>"
    return f"<h2>{title}</h2>{body}"


def _bests(record: Mapping[str, Any]) -> str:
    rows, charts = [], []
    columns = ("run", "n:best", "n:was", "n:moved", "at", "n:last best now", "n:deflated", "n:luck line", "n:overfit",
               "n:p", "state")  # fmt: skip
    for run in record["runs"]:
        previous = run["previous"]
        if run["best"] is None:
            before = _number(previous["best"]["value"], _declared(run)) if previous and run["identity"] else ""
            rows.append(cells(columns, (run["name"], "none", before, *[""] * 7, run["state"])))
            continue
        declared, luck = _declared(run), run["luck"]
        was = previous["best"]["value"] if previous else None
        moved = None if was is None else run["best"]["value"] - was
        then = previous.get("value_now") if previous else None
        rows.append(cells(columns, (
            run["name"], fmt.measure(run["best"]["value"], declared), _number(was, declared), _number(moved, declared),
            f"{fmt.point(run['best']['point'])} ({run['best']['asset']}, fold {run['best']['fold']})",
            _number(then, declared), _ratio(luck["deflated_sharpe"]), _ratio(luck["luck_line"]), _ratio(luck["pbo"]),
            _ratio(luck["p"]), "was there already" if run["reused"] else run["state"],
        )))  # fmt: skip
        if len(run["trend"]) > 1:
            label = f"Best {declared.label} of {run['name']} over {len(run['trend'])} jobs"
            charts.append(f"<p class='scope'>{escape(label)}: blue; the Sharpe ratio that luck would reach: orange</p>"
                          + trend_chart(run["trend"], declared, label))  # fmt: skip
    if not rows:
        return ""
    told = (
        "Deflated: the probability that the best has a Sharpe ratio above zero, counting every trial of the ledger. "
        "Last best now: what the last job's best point comes to today."
    )
    return f"<h2>Best trials</h2>{table(columns, rows, css='wide')}{_small(told)}{''.join(charts)}"


def _pins(record: Mapping[str, Any]) -> str:
    if not record["pins"]:
        return ""
    columns = ("pin", "conclusion", "n:was", "n:now", "n:code", "n:data", "n:market", "moved by")
    rows = []
    for pin in record["pins"]:
        declared, previous = _declared(pin), pin["previous"]
        if pin["value"] is None:
            reason = pin.get("reason") or pin["error"] or "no value"
            rows.append(cells(columns, (_pin_name(pin), f"unknown: {pin['state']}, {reason}", *[""] * 6)))
            continue
        moved = pin["moved"] or {}
        parts = (_number(moved.get(cause), declared, none="") for cause in ("code", "data", "market"))
        cause = (
            CAUSES.get(pin["cause"], pin["cause"]) if pin["cause"] else "nothing moved" if previous else "first time"
        )
        rows.append(cells(columns, (
            _pin_name(pin), _holds(pin), _number(previous["value"] if previous else None, declared),
            fmt.measure(pin["value"], declared), *parts, cause,
        )))  # fmt: skip
    told = (
        "A pin is run again between the last job and this one: the new code on the old data, then on the new version "
        "cut where the old one ended, then on all of it. The three parts add up to the move."
    )
    return f"<h2>Drift watch</h2>{table(columns, rows, css='wide')}{_small(told)}"


def _pin_name(pin: Mapping[str, Any]) -> str:
    return f"{pin['name']}: {fmt.point(pin['point'])}"


def _holds(pin: Mapping[str, Any]) -> str:
    condition = pin["condition"] or f"{_declared(pin).label} better than 0"
    word = {True: "holds", False: "does not hold", None: "unknown"}[pin["holds"]]
    before = pin["previous"]["holds"] if pin["previous"] else None
    was = "" if before is None or before == pin["holds"] else ", held before" if before else ", did not hold before"
    return f"{condition}: {word}{was}"


def _data(record: Mapping[str, Any]) -> str:
    if not record["data"]:
        return ""
    columns = ("dataset", "version", "n:bars", "until", "n:new", "n:restated", "n:removed", "n:errors", "n:warnings",
               "n:remarks")  # fmt: skip
    rows, findings, restated = [], [], []
    for entry in record["data"]:
        if not entry["ok"]:
            rows.append(cells(columns, (entry["dataset"], _stale(entry), *[""] * 8)))
            continue
        new = entry["changes"] or {}
        version = fmt.short(entry["version"])
        if entry["previous_version"] and entry["previous_version"] != entry["version"]:
            version = f"{fmt.short(entry['previous_version'])} to {version}"
        elif entry["previous_version"]:
            version += ", unchanged"
        counts, before = entry["quality"]["counts"], entry["previous_quality"] or {}
        rows.append(cells(columns, (
            entry["dataset"], version, fmt.count(entry["quality"]["n_bars"]), fmt.day(entry["end_ns"]),
            *(fmt.count(new.get(name, 0)) for name in ("n_added", "n_changed", "n_removed")),
            *(_was(counts[name], before.get(name)) for name in ("error", "warning", "info")),
        )))  # fmt: skip
        findings += [f"{entry['dataset']}: {line}" for line in entry["quality"]["lines"]]
        restated += [_restated(entry["dataset"], change) for change in new.get("assets", ()) if new.get("past")]
        if entry["n_tries"] > 1:
            findings.insert(0, f"{entry['dataset']}: came only at the {entry['n_tries']}. try; before: "
                            + "; ".join(entry["errors"]))  # fmt: skip
    lists = "".join(f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
                    for lines in (restated[:20], findings) if lines)  # fmt: skip
    return f"<h2>Data</h2>{table(columns, rows, css='wide')}{lists}"


def _stale(entry: Mapping[str, Any]) -> str:
    return "not refreshed" + (f", still {fmt.short(entry['previous_version'])}" if entry["previous_version"] else "")


def _restated(dataset: str, change: Mapping[str, Any]) -> str:
    return (
        f"{dataset}: {change['asset']}: {fmt.count(change['n_changed'])} old bars changed, "
        f"{fmt.count(change['n_removed'])} removed, from {fmt.instant(change['first_ns'])} on"
    )


def _was(count: int, before: int | None) -> str:
    return fmt.count(count) + (f" (was {fmt.count(before)})" if before is not None and before != count else "")


def _cost(record: Mapping[str, Any]) -> str:
    columns = ("run", "identity", "n:trials", "n:failed", "n:core time", "n:wall time", "n:blocks", "n:read")
    rows = []
    for run in [*record["runs"], *record["pins"]]:
        if not run["identity"]:
            continue
        cost = run["cost"]
        rows.append(cells(columns, (
            run["name"], fmt.short(run["identity"]), fmt.count(run["n_trials"]), fmt.count(run["n_failed"]),
            *(fmt.duration(cost[name]) if cost[name] else "none" for name in ("core_seconds", "wall_seconds")),
            fmt.count(cost["n_blocks"]), fmt.size(cost["bytes_read"]),
        )))  # fmt: skip
    refreshing = sum(entry["seconds"] for entry in record["data"])
    told = f"Refreshing the data took {fmt.duration(refreshing)}." if record["data"] else ""
    return f"<h2>Cost</h2>{table(columns, rows, css='wide') if rows else ''}{_small(told)}"


def _warnings(record: Mapping[str, Any]) -> str:
    lines = [f"{run['name']}: {warning}" for run in record["runs"] for warning in run["warnings"]]
    return _list("What a careful colleague would say", lines, "") if lines else ""


# -------------------------------------------------------------------------------------------------------------- pieces


def trend_chart(trend: Sequence[Mapping[str, Any]], declared: Measure, alt: str) -> str:
    """Return the best over the jobs so far as an SVG, with the luck line where the objective is the Sharpe ratio."""
    width, height = _CHART
    values = [float(one["value"]) for one in trend]
    lucks = [one["luck_line"] if declared.name == "sharpe" else None for one in trend]
    known = [*values, *(float(luck) for luck in lucks if luck is not None)]
    low, high = min(known), max(known)
    room = (high - low) or 1.0
    places = [8 + row * (width - 130) / max(len(trend) - 1, 1) for row in range(len(trend))]

    def y(value: float) -> float:
        return height - 22 - (value - low) / room * (height - 40)

    def line(numbers: Sequence[Any], colour: str, dash: str = "") -> str:
        points = " ".join(
            f"{x:.1f},{y(float(value)):.1f}" for x, value in zip(places, numbers, strict=True) if value is not None
        )
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>'

    grid = "".join(
        f'<line x1="{places[0]:.1f}" x2="{width - 50}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e3e7eb"/>'
        for value in (low, high)
    )
    ends = f'<circle cx="{places[-1]:.1f}" cy="{y(values[-1]):.1f}" r="3.5" fill="{_LINE}"/>'
    marks = "".join(
        f'<text x="{x:.1f}" y="{at:.1f}" fill="{_INK}" font-size="12"{anchor}>{escape(text)}</text>'
        for x, at, anchor, text in (
            (places[0], height - 4, "", fmt.day(trend[0]["due_ns"])),
            (places[-1], height - 4, ' text-anchor="end"', fmt.day(trend[-1]["due_ns"])),
            (places[-1] + 10, y(values[-1]) + 4, "", fmt.measure(values[-1], declared)),
            (width - 40, y(high) + 4, "", fmt.measure(high, declared)),
            (width - 40, y(low) + 4, "", fmt.measure(low, declared)),
        )
    )
    dashed = ' stroke-dasharray="5 4"'
    return (
        f'<figure role="img" aria-label="{escape(alt)}"><svg viewBox="0 0 {width} {height}" width="100%" '
        f'style="max-width:{width}px">{grid}{line(lucks, _LUCK, dashed)}{line(values, _LINE)}{ends}{marks}'
        "</svg></figure>"
    )


def _declared(run: Mapping[str, Any]) -> Measure:
    """Return the declaration of a run's objective."""
    from quantbot.engine import get_engine

    declared = {measure.name: measure for measure in get_engine(run.get("engine", "bars")).measures}
    return declared[run.get("objective", "sharpe")]


def _number(value: float | None, declared: Measure, *, none: str = "unknown") -> str:
    return none if value is None else fmt.measure(value, declared)


def _ratio(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _small(text: str) -> str:
    return f'<p class="scope">{escape(text)}</p>' if text else ""
