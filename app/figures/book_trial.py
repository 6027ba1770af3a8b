"""What a trial on an order book came to, as small bars; and its envelope as rows."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from app.figures import theme


def bars(values: Mapping[str, float], title: str) -> go.Figure:
    """Draw a few signed numbers, blue above 0 and vermillion below, each written at its bar."""
    numbers = [value + 0.0 for value in values.values()]  # no -0
    figure = go.Figure(
        go.Bar(
            x=list(values), y=numbers, text=[f"{value:+.4g}" for value in numbers], textposition="outside",
            marker={"color": [theme.BLUE if value >= 0 else theme.VERMILLION for value in numbers]},
            cliponaxis=False, hovertemplate="%{x}: %{y:+.6g}<extra></extra>",
        )
    )  # fmt: skip
    theme.base(figure, height=330, top=24)
    figure.add_hline(y=0, line={"color": theme.GREY, "width": 1})
    figure.update_yaxes(title_text=title)
    figure.update_xaxes(type="category")
    return figure


def envelope_rows(row: Mapping[str, float], labels: Mapping[str, str]) -> list[dict[str, object]]:
    """Return the measures that a row has under the worst and the best queue, beside the chosen one's.

    Examples
    --------
    >>> envelope_rows({"n_fills": 4.0, "n_fills_pessimistic": 1.0, "n_fills_optimistic": 9.0}, {"n_fills": "Fills"})
    [{'measure': 'Fills', 'pessimistic': 1.0, 'chosen': 4.0, 'optimistic': 9.0}]
    """
    return [
        {
            "measure": labels.get(name, name),
            "pessimistic": row[f"{name}_pessimistic"],
            "chosen": row[name],
            "optimistic": row[f"{name}_optimistic"],
        }
        for name in row
        if f"{name}_pessimistic" in row and f"{name}_optimistic" in row
    ]
