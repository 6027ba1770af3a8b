"""The figures of the Surface page's tabs: slices, the plane in three dimensions, importance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app import format as fmt
from app.figures import theme
from quantbot.measures import Measure

if TYPE_CHECKING:
    from sweeps.importance import Importance
    from sweeps.overview import Slice
    from sweeps.surface import Plane

_PER_ROW = 3


def slices_figure(slices: Sequence[Slice], *, measure: Measure, fold: str) -> go.Figure:
    """Draw a line a parameter through the selected point, with the range over folds as a band."""
    n_columns = min(len(slices), _PER_ROW)
    n_rows = -(-len(slices) // n_columns)
    figure = make_subplots(rows=n_rows, cols=n_columns, shared_yaxes=True, vertical_spacing=0.28 / n_rows,
                           horizontal_spacing=0.03)  # fmt: skip
    for place, one in enumerate(slices):
        at: dict[str, Any] = {"row": place // n_columns + 1, "col": place % n_columns + 1}
        words = one.values.dtype.kind == "U"
        values = [fmt.value(value) for value in one.values.tolist()] if words else one.values
        known = np.isfinite(one.low) & np.isfinite(one.high)
        if not words and (one.high > one.low).any():
            band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
            figure.add_trace(go.Scatter(x=one.values[known], y=one.low[known], showlegend=False, **band), **at)
            figure.add_trace(
                go.Scatter(x=one.values[known], y=one.high[known], fill="tonexty", fillcolor="rgba(86,180,233,0.28)",
                           name="range over folds" if one.through_point else "quartiles", showlegend=place == 0,
                           **band), **at,
            )  # fmt: skip
        hover = f"{one.axis} %{{x}}<br>{measure.label} %{{y:{fmt.axis_format(measure)}}}<extra></extra>"
        figure.add_trace(
            go.Scatter(
                x=values, y=one.middle, mode="markers" if words else "lines+markers", name=f"fold {fold}",
                showlegend=place == 0, hovertemplate=hover, line={"color": theme.BLUE, "width": 2},
                marker={"size": 5 if len(one.values) <= 80 else 2, "color": theme.BLUE},
            ), **at,
        )  # fmt: skip
        if one.selected >= 0 and np.isfinite(one.middle[one.selected]):
            spot = [values[one.selected] if words else one.values[one.selected].item()]
            for trace in theme.outlined(spot, [float(one.middle[one.selected])], "selected", "circle-open", size=12):
                trace.showlegend = trace.x == (None,) and place == 0
                figure.add_trace(trace, **at)
        figure.update_xaxes(title_text=one.axis, title_standoff=4, type="category" if words else "linear", **at)
    theme.base(figure, height=60 + 250 * n_rows, top=40, bottom=48)
    figure.update_yaxes(tickformat=fmt.axis_format(measure))
    figure.update_yaxes(title_text=measure.label, col=1)
    return figure


def surface_3d(plane: Plane, *, measure: Measure, limits: tuple[float, float], title: str) -> go.Figure:
    """Draw the plane as a relief: the same cells, joined only where neighbours have values."""
    low, high = limits
    names = [[fmt.value(value) for value in values.tolist()] for values in (plane.x_values, plane.y_values)]
    ticks = [_thinned(texts) for texts in names]
    figure = go.Figure(
        go.Surface(
            z=plane.value.astype(np.float32), cmin=low, cmax=high, connectgaps=False,
            colorscale=theme.DIVERGING if measure.signed else theme.SEQUENTIAL,
            colorbar={"title": {"text": title, "side": "right"}, "tickformat": fmt.axis_format(measure),
                      "thickness": 14, "len": 0.8},
            hovertemplate=f"{plane.x} %{{customdata[0]}}<br>{plane.y} %{{customdata[1]}}<br>{title} "
            f"%{{z:{fmt.axis_format(measure)}}}<extra></extra>",
            customdata=np.stack(np.meshgrid(np.array(names[0], object), np.array(names[1], object)), axis=-1),
        )
    )  # fmt: skip
    theme.base(figure, height=560, top=10, bottom=10, left=10)
    axis = {"backgroundcolor": theme.TRANSPARENT, "gridcolor": theme.GRID, "showbackground": False}
    figure.update_layout(
        scene={
            "xaxis": axis | {"title": {"text": plane.x}, "tickvals": ticks[0][0], "ticktext": ticks[0][1]},
            "yaxis": axis | {"title": {"text": plane.y}, "tickvals": ticks[1][0], "ticktext": ticks[1][1]},
            "zaxis": axis | {"title": {"text": measure.label}, "tickformat": fmt.axis_format(measure)},
            "aspectratio": {"x": 1.3, "y": 1.3, "z": 0.7},
            "camera": {"eye": {"x": 1.5, "y": -1.6, "z": 1.0}},
        },
        uirevision=f"{plane.x} {plane.y}",
    )
    return figure


def importance_figure(found: Importance) -> go.Figure:
    """Draw the shares of variance as bars with their intervals, the largest above."""
    effects = [effect for effect in found.effects if effect.share >= 0.0005][:15][::-1]
    names = [" x ".join(effect.axes) for effect in effects]
    mains = [len(effect.axes) == 1 for effect in effects]
    shares = np.array([effect.share for effect in effects])
    figure = go.Figure()
    for label, colour, shape, wanted in (
        ("main effect", theme.BLUE, "", True), ("interaction", theme.ORANGE, "/", False)
    ):  # fmt: skip
        rows = [row for row, main in enumerate(mains) if main is wanted]
        if not rows:
            continue
        figure.add_trace(
            go.Bar(
                x=shares[rows], y=[names[row] for row in rows], orientation="h", name=label,
                marker={"color": colour, "pattern": {"shape": shape}},
                error_x={
                    "type": "data", "symmetric": False, "color": theme.GREY, "thickness": 1.5,
                    "array": [effects[row].high - effects[row].share for row in rows],
                    "arrayminus": [effects[row].share - effects[row].low for row in rows],
                },
                hovertemplate="%{y}: %{x:.1%}<extra></extra>",
            )
        )  # fmt: skip
    theme.base(figure, height=90 + 30 * len(effects), left=180)
    figure.update_xaxes(tickformat=".0%", range=[0, min(1.05, max(0.1, 1.15 * float(shares.max(initial=0.0))))],
                        title_text="share of variance")  # fmt: skip
    figure.update_yaxes(categoryorder="array", categoryarray=names, automargin=True)
    figure.update_layout(barmode="overlay")
    return figure


def _thinned(texts: list[str], most: int = 8) -> tuple[list[int], list[str]]:
    step = max(1, -(-len(texts) // most))
    places = list(range(0, len(texts), step))
    return places, [texts[place] for place in places]
