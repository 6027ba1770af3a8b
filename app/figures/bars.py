"""An instrument's bars: candles (hollow up, filled down) over volume, joined where there are more than fit."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from app.figures import theme
from quantbot.market import Bars

CANDLES = 360


def bars_chart(bars: Bars, *, window: tuple[int, int] | None = None) -> go.Figure:
    """Draw the bars with ``window[0] <= ts_end_ns <= window[1]``; at most 360 candles, neighbours joined beyond.

    A joined candle has the first open, the highest high, the lowest low, the last close and the summed volume.
    """
    first, last = 0, len(bars)
    if window is not None:
        first = int(np.searchsorted(bars.ts_end_ns, window[0]))
        last = int(np.searchsorted(bars.ts_end_ns, window[1], "right"))
    starts = _starts(first, last)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.03, row_heights=[0.78, 0.22])
    if starts.size:
        ends = np.append(starts[1:], last) - 1
        stamps = theme.times(bars.ts_end_ns[ends])
        figure.add_trace(
            go.Candlestick(
                x=stamps,
                open=bars.open[starts],
                high=np.maximum.reduceat(bars.high[:last], starts),
                low=np.minimum.reduceat(bars.low[:last], starts),
                close=bars.close[ends],
                name="price",
                increasing={"line": {"color": theme.BLUE, "width": 1}, "fillcolor": theme.TRANSPARENT},
                decreasing={"line": {"color": theme.VERMILLION, "width": 1}, "fillcolor": theme.VERMILLION},
                showlegend=False,
            ),
            row=1,
            col=1,
        )
        volume = np.add.reduceat(bars.volume[:last], starts)
        figure.add_trace(
            go.Bar(
                x=stamps, y=volume, name="volume", marker={"color": theme.GREY, "line": {"width": 0}}, showlegend=False
            ),
            row=2,
            col=1,
        )
    theme.base(figure, height=520, top=12)
    figure.update_xaxes(type="date", rangeslider_visible=False)
    figure.update_yaxes(title_text=f"price ({bars.instrument.currency})", row=1, col=1)
    figure.update_yaxes(title_text="volume", row=2, col=1)
    figure.update_layout(hovermode="x unified", bargap=0.1)
    return figure


def bars_per_candle(n_bars: int) -> int:
    """Return how many bars one candle of `bars_chart` holds at most."""
    return max(-(-n_bars // CANDLES), 1)


def _starts(first: int, last: int) -> NDArray[np.intp]:
    return np.arange(first, last, bars_per_candle(last - first), dtype=np.intp)
