"""Jobs over the days, and what they brought: a calendar, the best of a run with its luck line, the cost of each job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import plotly.graph_objects as go

from app import format as fmt
from app.figures import theme

if TYPE_CHECKING:
    from quantbot.measures import Measure
    from sweeps.schedule.overview import JobLine, ScheduleView

# Each state has a sign of its own: colour is never the only one. The worst of a day is drawn.
STATES = (
    ("failed", theme.VERMILLION, "x", "failed"),
    ("partial", theme.ORANGE, "diamond", "done in part"),
    ("interrupted", theme.GREY, "hourglass", "interrupted"),
    ("running", theme.SKY, "triangle-right", "running"),
    ("waiting", theme.GREY, "circle", "waiting"),
    ("ok", theme.BLUE, "square", "all done"),
)
_RANK = {state: place for place, (state, *_) in enumerate(STATES)}
_ROW = 34
_DAYS, _AHEAD = 42, 10  # before the newest job, and after it


def day_of(ns: int, zone: str) -> str:
    """Return the day of a moment in a zone: ``2026-03-09``."""
    return f"{datetime.fromtimestamp(ns // 10**9, UTC).astimezone(ZoneInfo(zone)):%Y-%m-%d}"


def calendar_figure(views: Sequence[ScheduleView], chosen: str = "") -> go.Figure:
    """Draw a row a schedule, a sign a day: the worst outcome of that day's jobs; rings are due times to come.

    A point's custom data are the schedule's name and the key of the job that a click means.

    Parameters
    ----------
    chosen
        Name and key of the job that is shown, joined by a blank.
    """
    shown = _window(views)
    cells = {place: own for view in views for place, own in _days(view).items() if place[1] >= shown[0]}
    figure = go.Figure()
    for state, colour, symbol, words in STATES:
        own = [(place, lines) for place, lines in cells.items() if _worst(lines).state == state]
        if not own:
            continue
        figure.add_scatter(
            x=[day for (_, day), _ in own],
            y=[name for (name, _), _ in own],
            mode="markers",
            name=words,
            marker={"symbol": symbol, "size": 15, "color": colour},
            customdata=[[name, _worst(lines).key] for (name, _), lines in own],
            text=[_told(lines) for _, lines in own],
            hovertemplate="%{text}<extra></extra>",
        )
    coming = [(view.name, day, due) for view in views for due in view.next_ns
              if not view.paused and (day := day_of(due, view.zone)) <= shown[1]]  # fmt: skip
    if coming:
        figure.add_scatter(
            x=[day for _, day, _ in coming], y=[name for name, _, _ in coming], mode="markers", name="due",
            marker={"symbol": "circle-open", "size": 11, "color": theme.GREY}, hoverinfo="text",
            text=[f"due {fmt.instant(due)}" for *_, due in coming],
        )  # fmt: skip
    marked = [place for place, lines in cells.items() if f"{place[0]} {_worst(lines).key}" == chosen]
    if marked:
        for trace in theme.outlined([marked[0][1]], [marked[0][0]], "shown", "square-open", size=24):
            figure.add_trace(trace)
    theme.base(figure, height=90 + _ROW * len(views), left=130, right=8, top=30, bottom=28)
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=[view.name for view in views][::-1],
                        range=[-0.6, len(views) - 0.4], showgrid=False, fixedrange=True)  # fmt: skip
    room = [f"{date.fromisoformat(day) + timedelta(days=step)}T12:00" for day, step in zip(shown, (-1, 0), strict=True)]
    figure.update_xaxes(type="date", range=room, fixedrange=True)
    figure.update_layout(dragmode=False, clickmode="event+select")
    return figure


def calendar_alt(views: Sequence[ScheduleView]) -> str:
    """Say in words what the calendar shows."""
    states = [line.state for view in views for line in view.jobs]
    counts = [f"{states.count(state)} {words}" for state, _, _, words in STATES if state in states]
    return f"Jobs of {fmt.plural(len(views), 'schedule')}: {', '.join(counts) or 'none yet'}"


def best_figure(trend: Sequence[Mapping[str, Any]], declared: Measure) -> go.Figure:
    """Draw the best of a run in each job, and the Sharpe ratio that noise alone would reach where it is comparable."""
    times = [_iso(one["due_ns"]) for one in trend]
    figure = go.Figure()
    figure.add_scatter(x=times, y=[one["value"] for one in trend], name=f"best {declared.label}",
                       mode="lines+markers", line={"color": theme.BLUE, "width": 1.8})  # fmt: skip
    if declared.name == "sharpe":
        figure.add_scatter(x=times, y=[one["luck_line"] for one in trend], name="luck line", mode="lines",
                           line={"color": theme.VERMILLION, "dash": "dash", "width": 1.5})  # fmt: skip
    theme.base(figure, height=230, left=60, bottom=30)
    return figure


def cost_figure(costs: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Draw what each job took."""
    figure = go.Figure(
        go.Bar(x=[_iso(one["due_ns"]) for one in costs], y=[one["core_seconds"] for one in costs],
               marker_color=theme.SKY, hovertemplate="%{x}<br>%{y:.1f} s of cores<extra></extra>")
    )  # fmt: skip
    theme.base(figure, height=230, left=60, top=12, bottom=30)
    figure.update_yaxes(title="core-seconds", rangemode="tozero")
    return figure


def _window(views: Sequence[ScheduleView]) -> tuple[str, str]:
    """Return the first and the last day of the calendar: the newest jobs', and those due soon after."""
    done = [day_of(line.due_ns, view.zone) for view in views for line in view.jobs]
    due = [day_of(moment, view.zone) for view in views for moment in view.next_ns]
    last = max(done or due or [day_of(0, "UTC")])
    soon = f"{date.fromisoformat(last) + timedelta(days=_AHEAD)}"
    end = max([last, *(day for day in due if day <= soon)])
    return f"{date.fromisoformat(last) - timedelta(days=_DAYS)}", end


def _days(view: ScheduleView) -> dict[tuple[str, str], list[JobLine]]:
    found: dict[tuple[str, str], list[JobLine]] = {}
    for line in view.jobs:
        found.setdefault((view.name, day_of(line.due_ns, view.zone)), []).append(line)
    return found


def _worst(lines: Sequence[JobLine]) -> JobLine:
    return min(lines, key=lambda line: (_RANK.get(line.state, 0), -line.due_ns))


def _told(lines: Sequence[JobLine]) -> str:
    line = _worst(lines)
    more = f" (the worst of {len(lines)} jobs that day)" if len(lines) > 1 else ""
    words = next(words for state, _, _, words in STATES if state == line.state)
    n_changed = len(line.record["conclusions"]) if line.record else 0
    changed = f"<br>{fmt.plural(n_changed, 'conclusion')} changed" if n_changed else ""
    return f"{line.schedule}<br>due {fmt.instant(line.due_ns)}<br>{words}{more}{changed}"


def _iso(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M}"
