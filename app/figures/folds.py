"""Folds as a strip of time: what a choice learns from, what tests it, and the gap of purge and embargo between them."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from app import format as fmt
from app.figures import theme
from sweeps.trial import Fold

MOST = 24
_INK = {"all": theme.GREY, "train": theme.BLUE, "test": theme.ORANGE, "rung": theme.SKY}
_HATCH = {"all": "", "train": "", "test": "/", "rung": "."}  # colour is never the only sign
_DAY_MS = 86_400_000


def folds_strip(folds: Sequence[Fold]) -> go.Figure:
    """Draw each fold as a bar over time; of more than 24 the first ones."""
    figure = go.Figure()
    shown = list(folds[:MOST])
    for role in dict.fromkeys(fold.role for fold in shown):
        own = [fold for fold in shown if fold.role == role]
        figure.add_bar(
            y=[fold.name for fold in own],
            x=[max((fold.end_ns - fold.start_ns) / 1e6, _DAY_MS) for fold in own],
            base=[fmt.day(fold.start_ns) for fold in own],
            orientation="h",
            name=role,
            marker={"color": _INK[role], "pattern": {"shape": _HATCH[role], "fgcolor": "white", "size": 6}},
            customdata=[[fmt.day(fold.start_ns), fmt.day(fold.end_ns - 1)] for fold in own],
            hovertemplate="%{y}: %{customdata[0]} to %{customdata[1]}<extra></extra>",
        )
    theme.base(figure, height=18 * len(shown) + 74, left=110, right=8, top=28, bottom=24)
    figure.update_xaxes(type="date", fixedrange=True)
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=[fold.name for fold in shown],
                        type="category", fixedrange=True, showgrid=False)  # fmt: skip
    figure.update_layout(bargap=0.25, barmode="overlay")
    return figure


def folds_alt(folds: Sequence[Fold]) -> str:
    """Say in words what the strip shows."""
    roles: dict[str, int] = {}
    for fold in folds:
        roles[fold.role] = roles.get(fold.role, 0) + 1
    told = ", ".join(f"{fmt.count(n)} {role}" for role, n in roles.items())
    return f"{fmt.plural(len(folds), 'fold')}: {told}"
