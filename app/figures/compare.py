"""Trials over each other: growth, how far each is ahead of the first, and where two runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app import format as fmt
from app.figures import theme
from quantbot.measures import Measure
from sweeps.compare import Aligned
from sweeps.surface import CellStatus, Plane

LINES = (
    (theme.BLUE, "solid"), (theme.VERMILLION, "dash"), (theme.GREEN, "dot"),
    (theme.PURPLE, "dashdot"), (theme.SKY, "longdash"), (theme.ORANGE, "longdashdot"),
)  # fmt: skip


def compare_chart(paths: Aligned, labels: Sequence[str], *, log: bool = False) -> go.Figure:
    """Draw what 1 became on each side over common bars, each drawdown, and how far each is ahead of the first."""
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.045, row_heights=[0.5, 0.2, 0.3])
    growth, ahead = paths.growth, paths.ahead
    fall = growth / np.maximum(np.maximum.accumulate(growth, axis=1), 1.0) - 1.0
    for side, (label, (colour, dash)) in enumerate(zip(labels, LINES, strict=False)):
        common = {"legendgroup": label, "dash": dash}
        figure.add_trace(theme.line(paths.ts_end_ns, growth[side], label, colour, **common), row=1, col=1)
        figure.add_trace(theme.line(paths.ts_end_ns, fall[side], label, colour, showlegend=False, **common),
                         row=2, col=1)  # fmt: skip
        if side:
            figure.add_trace(theme.line(paths.ts_end_ns, ahead[side], label, colour, showlegend=False, **common),
                             row=3, col=1)  # fmt: skip
    theme.base(figure, height=680)
    figure.update_yaxes(title_text="growth of 1", type="log" if log else "linear", row=1, col=1)
    figure.update_yaxes(title_text="drawdown", tickformat=".0%", rangemode="tozero", row=2, col=1)
    figure.update_yaxes(title_text=f"ahead of {labels[0].split()[0]}", tickformat="+.0%", row=3, col=1)
    figure.add_hline(y=0, line={"color": theme.GREY, "width": 1}, row=3, col=1)
    figure.update_xaxes(type="date", range=theme.times(paths.ts_end_ns[[0, -1]]).tolist())
    figure.update_layout(hovermode="x unified")
    return figure


def difference_map(plane: Plane, measure: Measure, labels: tuple[str, str]) -> go.Figure:
    """Draw second minus first over the common points: blue where the second is better, red where it is worse.

    Grey squares have no pair of values; nothing is interpolated.
    """
    sign = -1.0 if measure.better < 0 else 1.0  # blue is better, whichever way the measure points
    finite = np.abs(plane.value[np.isfinite(plane.value)])
    limit = float(np.quantile(finite, 0.98)) if finite.size and finite.max() > 0 else 1.0
    x, y = ([fmt.value(value) for value in values.tolist()] for values in (plane.x_values, plane.y_values))
    y = y if plane.y else [""]
    figure = go.Figure()
    lacking = np.where(np.isin(plane.status, (CellStatus.VALUE, CellStatus.EXCLUDED)) & np.isfinite(plane.value)
                       | (plane.status == CellStatus.EXCLUDED), np.nan, 0.0)  # fmt: skip
    figure.add_heatmap(x=x, y=y, z=lacking, colorscale=[[0, theme.MISSING], [1, theme.MISSING]], showscale=False,
                       hovertemplate="no pair of values<extra></extra>")  # fmt: skip
    tick = "+.2f" if measure.unit == "ratio" else "+.1%" if measure.unit.startswith("fraction") else "+,.4~g"
    bar: dict[str, Any] = {"title": {"text": "difference", "side": "right"}, "tickformat": tick, "thickness": 14}
    scale = theme.DIVERGING if sign > 0 else f"{theme.DIVERGING}_r"
    figure.add_heatmap(
        x=x, y=y, z=plane.value.astype(np.float32), zmin=-limit, zmax=limit, zmid=0, colorscale=scale, colorbar=bar,
        customdata=plane.n_trials, hoverongaps=False,
        hovertemplate=f"{plane.x} %{{x}}, {plane.y or 'all'} %{{y}}: %{{z:{tick}}} (%{{customdata}} pairs)"
        "<extra></extra>",
    )  # fmt: skip
    theme.base(figure, height=max(260, min(26 * len(y) + 120, 560)), top=12)
    figure.update_xaxes(title_text=plane.x, type="category", showgrid=False)
    figure.update_yaxes(title_text=plane.y, type="category", showgrid=False, visible=bool(plane.y))
    return figure
