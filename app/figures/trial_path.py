"""What a trial's path came to: a table of months, windows that roll, the distribution of returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from app import format as fmt
from app.figures import theme
from quantbot.paths import Distribution, Months, Rolling

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# The return at which a month's and a year's cell has the full colour: two deviations of an index's.
FULL_MONTH, FULL_YEAR = 0.08, 0.3
_ROW_PX = 27
# Text in a cell is black on pale and white on deep colours; a theme's own text colour would vanish on one of them.
_DEEP = 0.55


def months_table(months: Months) -> go.Figure:
    """Draw the returns of months and years as a table, blue up and red down, each cell with its number."""
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, column_widths=[12.2, 1.3], horizontal_spacing=0.012)
    # By row, not by year: an annotation at "2008" would stand 2008 rows down.
    rows = list(range(len(months.years)))
    for column, (names, values, full) in enumerate(
        ((MONTHS, months.returns, FULL_MONTH), (("Year",), months.totals[:, None], FULL_YEAR)), start=1
    ):
        figure.add_trace(
            go.Heatmap(
                x=list(names), y=rows, z=values.astype(np.float32), zmin=-full, zmax=full, zmid=0,
                colorscale=theme.DIVERGING, showscale=False, xgap=1, ygap=1, hoverongaps=False,
                customdata=[[year] * len(names) for year in months.years],
                hovertemplate="%{x} %{customdata}: %{z:+.2%}<extra></extra>",
            ),
            row=1, col=column,
        )  # fmt: skip
        for row in rows:
            for name, value in zip(names, values[row].tolist(), strict=True):
                if np.isfinite(value):
                    deep = abs(value) > _DEEP * full
                    figure.add_annotation(
                        x=name, y=row, text=fmt.percent(value, sign=True), showarrow=False, row=1, col=column,
                        font={"size": 11, "color": "white" if deep else "black"},
                    )  # fmt: skip
    theme.base(figure, height=len(rows) * _ROW_PX + 44, top=30, bottom=8, left=46)
    figure.update_xaxes(side="top", showgrid=False, fixedrange=True, type="category")
    figure.update_yaxes(
        range=[len(rows) - 0.5, -0.5], showgrid=False, fixedrange=True, tickvals=rows,
        ticktext=[str(year) for year in months.years],
    )  # fmt: skip
    return figure


def rolling_chart(ts_end_ns: NDArray[np.int64], found: Rolling, *, window: tuple[int, int] | None = None) -> go.Figure:
    """Draw Sharpe ratio, volatility and worst drawdown of each window, at the time of its last bar."""
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.05)
    stamps = ts_end_ns[found.last]
    keep = slice(None) if window is None else (stamps >= window[0]) & (stamps <= window[1])
    stamps = stamps[keep]
    for row, (values, name, colour) in enumerate(
        ((found.sharpe, "Sharpe ratio", theme.BLUE), (found.volatility, "volatility", theme.ORANGE),
         (-found.drawdown, "drawdown", theme.PURPLE)), start=1,
    ):  # fmt: skip
        filled = {"fill": "tozeroy"} if name == "drawdown" else {}
        figure.add_trace(theme.line(stamps, values[keep], name, colour, showlegend=False, **filled), row=row, col=1)
        figure.update_yaxes(title_text=name, row=row, col=1)
    theme.base(figure, height=470, top=10)
    figure.update_yaxes(tickformat="+.1f", row=1, col=1)
    figure.add_hline(y=0, line={"color": theme.GREY, "width": 1}, row=1, col=1)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", row=2, col=1)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", row=3, col=1)
    figure.update_xaxes(type="date")
    figure.update_layout(hovermode="x unified")
    return figure


def distribution_chart(found: Distribution) -> go.Figure:
    """Draw the histogram of returns per bar with a normal distribution of the same mean and deviation over it."""
    figure = go.Figure()
    if found.counts.size:
        middles = 0.5 * (found.edges[:-1] + found.edges[1:])
        figure.add_bar(
            x=middles, y=found.counts, width=np.diff(found.edges), name="bars",
            marker={"color": theme.BLUE, "line": {"width": 0.5, "color": "white"}},
            hovertemplate="%{y} bars near %{x:+.2%}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=middles, y=found.normal, name="normal, same mean and deviation", mode="lines",
            line={"color": theme.VERMILLION, "dash": "dash", "width": 2}, hoverinfo="skip",
        )  # fmt: skip
        for value, name in ((found.mean, "mean"), (-found.var_95, "worst 5 %")):
            figure.add_vline(x=value, line={"color": theme.GREY, "dash": "dot", "width": 1.5}, annotation_text=name,
                             annotation_font_size=11)  # fmt: skip
    theme.base(figure, height=380)
    figure.update_xaxes(tickformat="+.1%", title_text="return per bar, bars without a position left out")
    figure.update_yaxes(title_text="bars", rangemode="tozero")
    figure.update_layout(bargap=0)
    return figure


def months_alt(months: Months) -> str:
    """Say in words what the table of months shows."""
    known = [(float(total), year) for year, total in zip(months.years, months.totals, strict=True) if total == total]
    if not known:
        return "No month has a bar"
    (worst, worst_year), (best, best_year) = min(known), max(known)
    return (
        f"Returns by month and year; best year {best_year} {fmt.percent(best, sign=True)}, worst {worst_year}"
        f" {fmt.percent(worst, sign=True)}"
    )


def distribution_facts(found: Distribution) -> list[tuple[str, str]]:
    """Return what stands beside the histogram, as label and text."""

    def part(count: int) -> str:
        return f"{fmt.count(count)} of {fmt.count(found.n_bars)}"

    texts: list[tuple[str, Any]] = [
        ("Bars with a return", part(found.n_bars - found.n_flat)),
        ("Mean", fmt.percent(found.mean, 3, sign=True)),
        ("Deviation", fmt.percent(found.deviation, 2)),
        ("Skew", f"{found.skew:+.2f}".replace("-", fmt.MINUS) if np.isfinite(found.skew) else fmt.UNDEFINED),
        ("Kurtosis (normal: 3)", f"{found.kurtosis:.1f}" if np.isfinite(found.kurtosis) else fmt.UNDEFINED),
        ("Worst bar", fmt.percent(found.worst, 2, sign=True)),
        ("Best bar", fmt.percent(found.best, 2, sign=True)),
        ("Loss that 5 % exceed", fmt.percent(found.var_95, 2)),
    ]
    return texts
