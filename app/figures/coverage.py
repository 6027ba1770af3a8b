"""Coverage as a map of assets over time: what is there, what is missing, and where something was found."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app import format as fmt
from app.figures import theme
from datasets.coverage import Coverage

_NONE, _SOME, _FULL, _BAD = range(4)
_SCALE = (theme.MISSING, theme.SKY, theme.BLUE, theme.VERMILLION)  # black would be a hole in a dark page
_WORDS = ("no bar", "some bars", "all bars", "a finding")
_FULL_SHARE = 0.98  # a missing bar of fifty is seen, a half day before a holiday is not
_ROW = 18


def coverage_figure(found: Coverage) -> go.Figure:
    """Draw a row an asset: grey none, light some, blue all, red where the quality report found something."""
    codes = states(found)
    days = [fmt.day(int(edge)) for edge in found.edges_ns]
    last = [fmt.day(int(edge) - 1) for edge in found.edges_ns[1:]]
    told = np.array([
        [f"{asset}<br>{days[column]} to {last[column]}<br>{fmt.plural(int(found.n_bars[row, column]), 'bar')}"
         for column in range(len(last))] for row, asset in enumerate(found.assets)
    ], dtype=object)  # fmt: skip
    n = len(_SCALE)
    scale = [[edge, colour] for at, colour in enumerate(_SCALE) for edge in (at / n, (at + 1) / n)]
    figure = go.Figure(
        go.Heatmap(
            x=days[:-1], y=list(found.assets), z=np.where(codes < 0, np.nan, codes), zmin=-0.5, zmax=n - 0.5,
            colorscale=scale, showscale=False, text=told, hovertemplate="%{text}<extra></extra>", ygap=1,
        )
    )  # fmt: skip
    for code, (colour, words) in enumerate(zip(_SCALE, _WORDS, strict=True)):
        if (codes == code).any():
            figure.add_scatter(x=[None], y=[None], mode="markers", name=words,
                               marker={"symbol": "square", "size": 11, "color": colour,
                                       "line": {"width": 1, "color": theme.GREY}})  # fmt: skip
    theme.base(figure, height=90 + _ROW * len(found.assets), left=110, right=8, top=30, bottom=28)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, fixedrange=True)
    figure.update_xaxes(type="date", range=[days[0], days[-1]], showgrid=False, fixedrange=True)
    return figure


def states(found: Coverage) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    """Return what stands in each cell, shape (n_assets, n_spans).

    -1 where no asset trades, 0 no bar, 1 some, 2 all, 3 a finding.
    """
    codes = np.full(found.share.shape, -1, np.int8)
    known = np.isfinite(found.share)
    codes[known] = _SOME
    codes[known & (found.share == 0)] = _NONE
    codes[known & (found.share >= _FULL_SHARE)] = _FULL
    codes[found.flagged] = _BAD
    return codes


def coverage_alt(found: Coverage) -> str:
    """Say in words what the map shows."""
    codes = states(found)
    rows = int((codes == _NONE).any(axis=1).sum())
    bad = int((codes == _BAD).any(axis=1).sum())
    return (
        f"Coverage of {fmt.plural(len(found.assets), 'asset')}: {fmt.count(rows)} with an empty span, "
        f"{fmt.count(bad)} with a finding"
    )
