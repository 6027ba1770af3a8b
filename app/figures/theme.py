"""Colours, layout and small helpers that every figure shares; the same in light and dark.

Lines are Okabe-Ito colours that keep a contrast of 3 or more on white and on near-black, each with a dash of its own:
colour is never the only sign.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
GREY = "#808080"
MISSING, FAILED, UNDEFINED, SKIPPED = "#9a9a9a", "#000000", "#cbb9dd", "#dccf9f"
LOCKED = "#5f7186"
EXTRA_LINES = ((PURPLE, "dot"), (SKY, "dash"), (ORANGE, "dashdot"), (GREEN, "longdash"))
DIVERGING, SEQUENTIAL = "RdBu", "Cividis"
TRANSPARENT = "rgba(0,0,0,0)"
GRID = "rgba(128,128,128,0.25)"
COLUMNS_DRAWN = 700  # min and max of each: what a 1,400 px page can show of a long series


def base(figure: go.Figure, *, height: int, left: int = 64, right: int = 16, top: int = 34, bottom: int = 40) -> None:
    """Give a figure the common look: no background of its own, quiet grid, legend above."""
    figure.update_layout(
        height=height,
        margin={"l": left, "r": right, "t": top, "b": bottom},
        paper_bgcolor=TRANSPARENT,
        plot_bgcolor=TRANSPARENT,
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "bgcolor": TRANSPARENT},
        hoverlabel={"align": "left"},
        dragmode="zoom",
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)


def times(ts_ns: NDArray[np.int64]) -> NDArray[np.str_]:
    """Write stamps as ISO text in UTC: a browser's double would round an int64 of nanoseconds.

    To the minute, or to the millisecond where one of them isn't at a whole minute.
    """
    whole = not (ts_ns % (60 * 10**9)).any()
    return np.datetime_as_string(ts_ns.astype("datetime64[ns]"), unit="m" if whole else "ms")


def extremes(values: NDArray[np.float64], columns: int = COLUMNS_DRAWN) -> NDArray[np.intp]:
    """Return the rows that draw `values` in so many pixel columns: first, last, lowest and highest of each column.

    Examples
    --------
    >>> extremes(np.array([0.0, 5.0, 1.0, 2.0, -3.0, 0.0, 0.0, 1.0]), columns=1)
    array([0, 1, 4, 7])
    """
    n_rows = values.shape[0]
    if n_rows <= 4 * columns:
        return np.arange(n_rows)
    edges = np.linspace(0, n_rows, columns + 1).astype(np.intp)
    low, high = np.where(np.isnan(values), np.inf, values), np.where(np.isnan(values), -np.inf, values)
    rows = [edges[:-1], edges[1:] - 1]
    pairs = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    rows.append(np.array([start + int(low[start:stop].argmin()) for start, stop in pairs], dtype=np.intp))
    rows.append(np.array([start + int(high[start:stop].argmax()) for start, stop in pairs], dtype=np.intp))
    return np.unique(np.concatenate(rows))


def line(
    ts_ns: NDArray[np.int64], values: NDArray[np.float64], name: str, colour: str, *, dash: str = "solid", **more: Any
) -> go.Scatter:
    """Return one line over time, thinned to what a screen can show."""
    rows = extremes(values)
    return go.Scatter(
        x=times(ts_ns[rows]),
        y=values[rows].astype(np.float32) if more.pop("coarse", True) else values[rows],
        name=name,
        mode="lines",
        line={"color": colour, "dash": dash, "width": 1.5},
        **more,
    )


def outlined(
    x: list[Any], y: list[Any], name: str, symbol: str, *, size: int = 16, colour: str = "black"
) -> list[go.Scatter]:
    """Return a marker drawn twice, white under dark: a single ring vanishes on a dark cell.

    Parameters
    ----------
    symbol
        An open one ("circle-open"), whose line has the marker's colour.
    """
    ring: dict[str, Any] = {"x": x, "y": y, "mode": "markers", "hoverinfo": "skip", "legendgroup": name, "name": name}
    ring["cliponaxis"] = False  # a ring in a corner cell stays whole
    drawn = [
        go.Scatter(**ring, showlegend=False, marker=_open(symbol, size, ink, width))
        for ink, width in (("white", 5), (colour, 2))
    ]
    # Its legend entry stands on the page, which may be dark, not on the map.
    entry = go.Scatter(**ring | {"x": [None], "y": [None]}, marker=_open(symbol, size, GREY, 2))
    return [*drawn, entry]


def _open(symbol: str, size: int, colour: str, width: int) -> dict[str, Any]:
    return {"symbol": symbol, "size": size, "color": colour, "line": {"width": width}}
