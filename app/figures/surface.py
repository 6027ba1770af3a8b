"""The surface: a map of two axes, a line of one, or a scatter of sampled points; what is missing is seen as missing.

Cells, never interpolation. Values lie over a map of states, in which a cell without a value is grey (not run yet),
black (failed), violet (ran, but the measure is undefined), sand (not promoted by the search) or empty (excluded by a
constraint).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from app import format as fmt
from app.figures import theme
from quantbot.measures import Measure
from quantbot.parameters import Value
from sweeps.surface import CellStatus, Plane
from sweeps.surface import colour_limits as limits_of

MAX_X, MAX_Y = 200, 100  # cells that a browser draws and picks in half a second (measured: app.md, section 4)
_SVG_POINTS = 3_000  # beyond, only WebGL is quick enough; below, SVG also works where there is no WebGL
_LEGEND = {
    "not run yet": (theme.MISSING, 1),
    "failed": (theme.FAILED, 2),
    "undefined": (theme.UNDEFINED, 3),
    "not promoted": (theme.SKIPPED, 4),
    "locked": (theme.LOCKED, 5),
}


class CellState(IntEnum):
    """What stands in a cell."""

    VALUE = 0
    MISSING = 1
    FAILED = 2
    UNDEFINED = 3
    SKIPPED = 4
    LOCKED = 5
    EXCLUDED = 6


class Cells(Protocol):
    """What the map draws: `sweeps.surface.Plane`, as far as a figure needs it.

    Attributes
    ----------
    value
        Shape (n_y, n_x), NaN where there is none.
    n_trials, n_planned
        Shape (n_y, n_x): trials that the value was reduced from, and all that belong to the cell.
    """

    @property
    def x_values(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def y_values(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def value(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def n_trials(self) -> NDArray[Any]: ...  # noqa: D102
    @property
    def n_planned(self) -> NDArray[Any]: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Window:
    """Some rows and columns of a plane: as many cells as a browser can draw."""

    x_values: NDArray[Any]
    y_values: NDArray[Any]
    value: NDArray[np.float64]
    n_trials: NDArray[Any]
    n_planned: NDArray[Any]
    states: NDArray[np.uint8]
    argbest: NDArray[np.int64]


def window_of(plane: Plane, columns: slice = slice(None), rows: slice = slice(None)) -> Window:
    """Cut columns and rows out of a plane, and say the state of each cell."""
    states = trial_states(plane.value, plane.status)
    at = rows, columns
    return Window(
        plane.x_values[columns],
        plane.y_values[rows],
        plane.value[at],
        plane.n_trials[at],
        plane.n_planned[at],
        states[at],
        plane.argbest[at],
    )


@dataclass(frozen=True)
class Marks:
    """Cells to mark, each as its values on the two axes (or on one)."""

    best: tuple[Value, ...] | None = None
    plateau: tuple[Value, ...] | None = None
    selected: tuple[Value, ...] | None = None
    pinned: tuple[Value, ...] | None = None


def trial_states(values: NDArray[np.float64], status: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the `CellState` of cells or trials from their `CellStatus`: one that ran without a value is undefined."""
    states = np.where(np.isfinite(values), CellState.VALUE, CellState.UNDEFINED).astype(np.uint8)
    states[status == CellStatus.NOT_RUN] = CellState.MISSING
    states[status == CellStatus.LOCKED] = CellState.LOCKED
    states[status == CellStatus.FAILED] = CellState.FAILED
    states[status == CellStatus.EXCLUDED] = CellState.EXCLUDED
    states[status == CellStatus.SKIPPED] = CellState.SKIPPED
    return states


def colour_limits(values: NDArray[np.float64], measure: Measure) -> tuple[float, float]:
    """Return the ends of a measure's colour scale: see `sweeps.surface.colour_limits`."""
    return limits_of(values, signed=measure.signed)


def state_counts(states: NDArray[np.uint8]) -> dict[CellState, int]:
    """Return how many cells are in each state."""
    return {state: int((states == state).sum()) for state in CellState}


def surface_map(
    cells: Cells,
    states: NDArray[np.uint8],
    *,
    x: str,
    y: str,
    measure: Measure,
    limits: tuple[float, float],
    marks: Marks | None = None,
    value_name: str = "",
    height: int = 560,
) -> go.Figure:
    """Draw the plane as a heat map that can be clicked.

    Parameters
    ----------
    states
        Shape (n_y, n_x) of `CellState`.
    limits
        Of the colour scale, see `colour_limits`; what lies beyond has the end's colour, which the bar's labels say.
    value_name
        For example "median Sharpe".

    Notes
    -----
    A bare heat map reports no clicked point, so invisible markers lie over the cells (app.md, section 7.2).
    """
    figure = go.Figure()
    x_names, y_names = _names(cells.x_values), _names(cells.y_values)
    shape = (len(y_names), len(x_names))
    _add_states(figure, x_names, y_names, states)
    title = value_name or measure.label
    figure.add_trace(
        go.Heatmap(
            x=x_names,
            y=y_names,
            z=np.where(states == CellState.VALUE, cells.value, np.nan).astype(np.float32),
            zmin=limits[0],
            zmax=limits[1],
            colorbar=_colour_bar(measure, limits, title),
            colorscale=theme.DIVERGING if measure.signed else theme.SEQUENTIAL,
            hoverinfo="skip",
            showlegend=False,
            xgap=_gap(shape[1]),
            ygap=_gap(shape[0]),
        )
    )
    _add_pickers(figure, cells, states, x=x, y=y, measure=measure, title=title)
    for name, place, symbol in _placed(marks or Marks()):
        texts = [fmt.value(part) for part in place]
        if texts[0] in x_names and texts[1] in y_names:
            for trace in theme.outlined([texts[0]], [texts[1]], name, symbol):
                figure.add_trace(trace)
    theme.base(figure, height=height, top=46, right=10, bottom=52, left=70)
    figure.update_xaxes(_category_axis(x, x_names), showgrid=False)
    figure.update_yaxes(_category_axis(y, y_names), showgrid=False)
    figure.update_layout(hovermode="closest", clickmode="event+select", dragmode=False, hoverdistance=-1)
    return figure


def surface_line(
    values: NDArray[Any],
    results: Mapping[str, tuple[NDArray[np.float64], NDArray[np.uint8]]],
    *,
    x: str,
    measure: Measure,
    marks: Marks | None = None,
    value_name: str = "",
    height: int = 420,
) -> go.Figure:
    """Draw a measure against the only parameter that varies; one line for each series (a fold, for example).

    Parameters
    ----------
    values
        Shape (n_values,), the axis.
    results
        By the series' name: values and `CellState`, shape (n_values,) each. The first can be clicked.
    """
    figure = go.Figure()
    names = _names(values)
    numeric = values.dtype.kind != "U"
    places: Any = values if numeric else names
    lines = ((theme.BLUE, "solid"), (theme.VERMILLION, "dash"), *theme.EXTRA_LINES)
    for (series, (numbers, _)), (colour, dash) in zip(results.items(), lines, strict=False):
        figure.add_trace(
            go.Scatter(
                x=places,
                y=numbers,
                name=series,
                showlegend=len(results) > 1,
                mode="lines+markers" if numeric else "markers",
                line={"color": colour, "dash": dash, "width": 2},
                marker={"size": 7, "color": colour},
                connectgaps=False,
                hovertemplate=f"{_safe(x)} %{{x}}<br>{_safe(value_name or measure.label)} "
                f"%{{y:{fmt.axis_format(measure)}}}<extra>{_safe(series)}</extra>",
            )
        )
    if results:
        numbers, states = next(iter(results.values()))
        _add_strip(figure, places, numbers, states)
        for name, place, symbol in _placed(marks or Marks()):
            rows = [row for row, text in enumerate(names) if text == fmt.value(place[0])]
            if rows and np.isfinite(numbers[rows[0]]):
                at = [values[rows[0]].item() if numeric else names[rows[0]]]
                for trace in theme.outlined(at, [float(numbers[rows[0]])], name, symbol):
                    figure.add_trace(trace)
    theme.base(figure, height=height, top=46)
    figure.update_xaxes(title_text=x, **({} if numeric else _category_axis(x, names)))
    figure.update_yaxes(title_text=value_name or measure.label, tickformat=fmt.axis_format(measure))
    if measure.signed:
        figure.add_hline(y=0, line={"color": theme.GREY, "width": 1})
    figure.update_layout(hovermode="closest", clickmode="event+select", dragmode=False)
    return figure


def surface_scatter(
    x_values: NDArray[Any],
    y_values: NDArray[Any],
    values: NDArray[np.float64],
    states: NDArray[np.uint8],
    *,
    x: str,
    y: str,
    measure: Measure,
    limits: tuple[float, float],
    marks: Marks | None = None,
    height: int = 560,
) -> go.Figure:
    """Draw sampled points where they were drawn, coloured by a measure; failed ones are crosses, missing ones rings.

    Parameters
    ----------
    x_values, y_values, values, states
        Shape (n_points,). `customdata` of every marker is the point's index.
    """
    figure = go.Figure()
    kind = go.Scatter if values.size <= _SVG_POINTS else go.Scattergl
    rows = np.flatnonzero(states == CellState.VALUE)
    figure.add_trace(
        kind(
            x=x_values[rows],
            y=y_values[rows],
            mode="markers",
            showlegend=False,
            customdata=rows,
            marker={
                "color": values[rows].astype(np.float32),
                "cmin": limits[0],
                "cmax": limits[1],
                "colorscale": theme.DIVERGING if measure.signed else theme.SEQUENTIAL,
                "colorbar": _colour_bar(measure, limits, measure.label),
                "size": 9,
                "line": {"width": 0.6, "color": theme.GREY},
            },
            hovertemplate=f"{_safe(x)} %{{x}}<br>{_safe(y)} %{{y}}<br>{_safe(measure.label)} "
            f"%{{marker.color:{fmt.axis_format(measure)}}}<extra></extra>",
        )
    )
    looks = {
        CellState.MISSING: ("not run yet", "circle-open", theme.MISSING),
        CellState.FAILED: ("failed", "x", theme.FAILED),
        CellState.UNDEFINED: ("undefined", "diamond", theme.UNDEFINED),
        CellState.SKIPPED: ("not promoted", "circle", theme.SKIPPED),
        CellState.LOCKED: ("locked", "square", theme.LOCKED),
    }
    for state, (name, symbol, colour) in looks.items():
        rows = np.flatnonzero(states == state)
        if rows.size:
            figure.add_trace(
                kind(
                    x=x_values[rows],
                    y=y_values[rows],
                    mode="markers",
                    customdata=rows,
                    name=f"{name} {fmt.count(rows.size)}",
                    marker={"symbol": symbol, "size": 9, "color": colour, "line": {"width": 1, "color": theme.MISSING}},
                    hovertemplate=f"{_safe(x)} %{{x}}<br>{_safe(y)} %{{y}}<br>{name}<extra></extra>",
                )
            )
    for name, place, symbol in _placed(marks or Marks()):
        for trace in theme.outlined([place[0]], [place[1]], name, symbol):
            figure.add_trace(trace)
    theme.base(figure, height=height, top=46, right=10, bottom=52, left=70)
    figure.update_xaxes(title_text=x)
    figure.update_yaxes(title_text=y)
    figure.update_layout(hovermode="closest", clickmode="event+select", dragmode=False)
    return figure


def _add_states(figure: go.Figure, x_names: list[str], y_names: list[str], states: NDArray[np.uint8]) -> None:
    counts = state_counts(states)
    if any(counts[CellState(code)] for _, code in _LEGEND.values()):
        shown = np.where((states == CellState.VALUE) | (states == CellState.EXCLUDED), np.nan, states)
        steps = [colour for colour, _ in _LEGEND.values()]
        n_steps = len(steps)
        scale = [[edge, colour] for n, colour in enumerate(steps) for edge in (n / n_steps, (n + 1) / n_steps)]
        figure.add_trace(
            go.Heatmap(
                x=x_names,
                y=y_names,
                z=shown.astype(np.float32),
                zmin=0.5,
                zmax=n_steps + 0.5,
                colorscale=scale,
                showscale=False,
                hoverinfo="skip",
                showlegend=False,
                xgap=_gap(len(x_names)),
                ygap=_gap(len(y_names)),
            )
        )
    rows, columns = np.nonzero(states == CellState.FAILED)
    if 0 < rows.size <= _SVG_POINTS:  # black alone is lost on a dark page, and colour must not be the only sign
        figure.add_trace(
            go.Scatter(
                x=[x_names[column] for column in columns.tolist()],
                y=[y_names[row] for row in rows.tolist()],
                mode="markers",
                marker={"symbol": "x-thin-open", "size": 7, "color": theme.MISSING, "line": {"width": 1}},
                hoverinfo="skip",
                showlegend=False,
            )
        )
    for name, (colour, code) in _LEGEND.items():
        if counts[CellState(code)]:
            _add_legend(figure, f"{name} {fmt.count(counts[CellState(code)])}", colour)
    if counts[CellState.EXCLUDED]:
        _add_legend(figure, f"excluded {fmt.count(counts[CellState.EXCLUDED])}", theme.TRANSPARENT)


def _add_legend(figure: go.Figure, name: str, colour: str) -> None:
    marker = {"symbol": "square", "size": 11, "color": colour, "line": {"width": 1, "color": theme.MISSING}}
    figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker, hoverinfo="skip"))


def _add_pickers(
    figure: go.Figure, cells: Cells, states: NDArray[np.uint8], *, x: str, y: str, measure: Measure, title: str
) -> None:
    """Add the invisible markers, one a cell but the excluded ones, that catch hover and clicks."""
    rows, columns = np.nonzero(states != CellState.EXCLUDED)
    kind = go.Scatter if rows.size <= _SVG_POINTS else go.Scattergl
    x_names, y_names = np.array(_names(cells.x_values)), np.array(_names(cells.y_values))
    words = np.array(["", *_LEGEND, ""])
    has_value = bool((states == CellState.VALUE).any())
    figure.add_trace(
        kind(
            x=x_names[columns],
            y=y_names[rows],
            mode="markers",
            showlegend=False,
            opacity=0,
            marker={"size": 14},
            customdata=np.column_stack(
                [cells.value[rows, columns], cells.n_trials[rows, columns], cells.n_planned[rows, columns]]
            ).astype(np.float32)
            if has_value
            else None,
            text=words[states[rows, columns]] if (states[rows, columns] != CellState.VALUE).any() else None,
            hovertemplate=f"{_safe(x)} %{{x}}<br>{_safe(y)} %{{y}}<br>{_safe(title)} "
            f"%{{customdata[0]:{fmt.axis_format(measure)}}} %{{text}}<br>"
            "%{customdata[1]} of %{customdata[2]} trials<extra></extra>",
        )
    )


def _add_strip(figure: go.Figure, places: Any, numbers: NDArray[np.float64], states: NDArray[np.uint8]) -> None:
    """Add a strip of squares at the foot for what has no value."""
    finite = numbers[np.isfinite(numbers)]
    foot = float(finite.min()) - 0.08 * (float(np.ptp(finite)) or 1.0) if finite.size else 0.0
    for name, (colour, code) in _LEGEND.items():
        rows = np.flatnonzero(states == code)
        if rows.size:
            figure.add_trace(
                go.Scatter(
                    x=[places[row] for row in rows.tolist()],
                    y=[foot] * rows.size,
                    mode="markers",
                    name=f"{name} {fmt.count(rows.size)}",
                    marker={
                        "symbol": "square",
                        "size": 9,
                        "color": colour,
                        "line": {"width": 1, "color": theme.MISSING},
                    },
                    hovertemplate=f"%{{x}}: {name}<extra></extra>",
                )
            )


def _placed(marks: Marks) -> Sequence[tuple[str, tuple[Value, ...], str]]:
    looks = (
        ("best", marks.best, "circle-open"),
        ("plateau", marks.plateau, "square-open"),
        ("pinned", marks.pinned, "triangle-up-open"),
        ("selected", marks.selected, "x-thin-open"),
    )
    return [(name, place, symbol) for name, place, symbol in looks if place is not None]


def _colour_bar(measure: Measure, limits: tuple[float, float], title: str) -> dict[str, Any]:
    ticks = np.linspace(*limits, 5).tolist()
    texts = [fmt.measure(tick, measure) for tick in ticks]
    texts[0], texts[-1] = f"≤ {texts[0]}", f"≥ {texts[-1]}"
    side = {"text": title, "side": "right"}
    return {"tickvals": ticks, "ticktext": texts, "title": side, "thickness": 14, "len": 1, "outlinewidth": 0}


def _category_axis(name: str, names: list[str]) -> dict[str, Any]:
    """Return an axis that fits the cells exactly: otherwise a frame of background surrounds the map."""
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": names,
        "range": [-0.5, len(names) - 0.5],
        "title": {"text": name},
        "nticks": 25,
        "constrain": "domain",
    }


def _names(values: NDArray[Any]) -> list[str]:
    return [fmt.value(value) for value in values.tolist()]


def _gap(n_cells: int) -> int:
    return 1 if n_cells <= 60 else 0


def _safe(text: str) -> str:
    """Keep a name from being read as markup or as a placeholder of a hover template."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")
