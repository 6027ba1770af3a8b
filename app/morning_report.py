"""The morning report: what a scheduled job did and what is no longer what it was, as one sheet without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from app import format as fmt
from app import morning
from app.morning import number
from app.sheet import cells, notes, sheet, table

if TYPE_CHECKING:
    from quantbot.measures import Measure

_CHART = (900, 120)  # width and height of a trend, pixels
_LINE, _LUCK, _INK = "#0072B2", "#D55E00", "#4a5460"


def morning_report(record: Mapping[str, Any]) -> str:
    """Return the report as HTML; the same record gives the same bytes."""
    sections = [
        f"<h1>{escape(str(record['title']))}: {escape(fmt.day(record['due_ns']))}</h1>",
        f'<p class="scope">{escape(morning.scope(record))}</p>',
        notes(morning.remarks(record)),
        _tiles(record),
        _list("What changed", morning.changes(record), morning.unchanged(record)),
        _list("What failed", morning.failures(record), "Nothing failed."),
        _bests(record),
        _pins(record),
        _data(record),
        _cost(record),
        _warnings(record),
    ]  # fmt: skip
    return sheet(f"{record['title']} {fmt.day(record['due_ns'])}", sections, charts=False)


# ------------------------------------------------------------------------------------------------------------- answers


def _tiles(record: Mapping[str, Any]) -> str:
    runs = [*record["runs"], *record["pins"]]
    n_done = sum(run["state"] == "done" for run in runs)
    n_fresh = sum(entry["ok"] for entry in record["data"])
    told = f"{n_done} of {fmt.plural(len(runs), 'run')}, {n_fresh} of {fmt.plural(len(record['data']), 'ingest')}"
    n_changed = str(len(record["conclusions"])) if n_done or not runs else "unknown"
    best = next((run for run in record["runs"] if run["best"] is not None), None)
    cost = record["cost"]
    since = "since last time" if record["compared_with_ns"] else "nothing to compare with"
    return '<div class="tiles">' + "".join([
        tile("Outcome", morning.OUTCOMES[record["outcome"]], told),
        tile("Conclusions that changed", n_changed, since),
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
    declared = morning.declared(run)
    told = f"at {fmt.point(run['best']['point'])}; {morning.luck_words(run['luck'])}"
    return f"Best {declared.label}, {run['name']}", fmt.measure(run["best"]["value"], declared), told


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
            before = number(previous["best"]["value"], morning.declared(run)) if previous else ""
            rows.append(cells(columns, (run["name"], "none", before, *[""] * 7, run["state"])))
            continue
        declared, luck = morning.declared(run), run["luck"]
        was = previous["best"]["value"] if previous else None
        moved = None if was is None else run["best"]["value"] - was
        then = previous.get("value_now") if previous else None
        rows.append(cells(columns, (
            run["name"], fmt.measure(run["best"]["value"], declared), number(was, declared), number(moved, declared),
            f"{fmt.point(run['best']['point'])} ({run['best']['asset']}, fold {run['best']['fold']})",
            number(then, declared), *(_ratio(luck[name]) for name in ("deflated_sharpe", "luck_line", "pbo", "p")),
            "was there already" if run["reused"] else run["state"],
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
    rows = [cells(columns, tuple(morning.pin_row(pin).values())) for pin in record["pins"]]
    return f"<h2>Drift watch</h2>{table(columns, rows, css='wide')}{_small(morning.PINS_TOLD)}"


def _data(record: Mapping[str, Any]) -> str:
    if not record["data"]:
        return ""
    columns = ("dataset", "version", "n:bars", "until", "n:new", "n:restated", "n:removed", "n:errors", "n:warnings",
               "n:remarks")  # fmt: skip
    rows = [cells(columns, tuple(morning.data_row(entry).values())) for entry in record["data"]]
    lines = "".join(f"<li>{escape(line)}</li>" for line in morning.findings(record))
    return f"<h2>Data</h2>{table(columns, rows, css='wide')}{f'<ul>{lines}</ul>' if lines else ''}"


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


def _ratio(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _small(text: str) -> str:
    return f'<p class="scope">{escape(text)}</p>' if text else ""
