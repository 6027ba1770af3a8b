"""The noise test as a figure: the bests of resampled prices, and where the real one stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from app import format as fmt
from app.figures import theme

if TYPE_CHECKING:
    from quantbot.measures import Measure
    from sweeps.null import NullTest


def null_chart(found: NullTest, declared: Measure) -> go.Figure:
    """Draw a histogram of the resamples' bests with the real best as a line."""
    bests = np.array([best for best in found.bests if best is not None])
    figure = go.Figure(go.Histogram(x=bests, marker_color=theme.BLUE, nbinsx=30, name="resampled prices"))
    figure.add_vline(x=found.real, line={"color": theme.VERMILLION, "width": 3})
    figure.add_annotation(
        x=found.real, y=1, yref="paper", showarrow=False, xanchor="left", yanchor="bottom",
        text=f"real best {fmt.measure(found.real, declared)}, p = {found.p_value:.3f}",
    )  # fmt: skip
    figure.update_xaxes(title_text=f"best {declared.label} of {fmt.plural(found.n_points, 'point')}")
    figure.update_yaxes(title_text="resamples")
    figure.update_layout(showlegend=False, height=320, margin={"l": 60, "r": 20, "t": 40, "b": 50}, bargap=0.05)
    return figure
