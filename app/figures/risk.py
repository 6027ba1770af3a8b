"""Where a portfolio's risk is: weights through time, contributions, the frontier, factors, shocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from app import format as fmt
from app.figures import theme

if TYPE_CHECKING:
    from quantbot.portfolio import Frontier

Floats = NDArray[np.float64]
# Neighbours differ in lightness as well as in hue, and each band has a border: colour is never the only sign.
BANDS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A5195", "#B5BD00", "#5C4B33", "#F0A3B5",
    "#2F4B7C", "#8FD3C1", theme.GREY,
)  # fmt: skip
PATTERNS = ("", "/", "", "\\", "", "x", "", ".", "", "-", "", "|", "")
_ROW_PX = 24
_MOST_BARS = 25


def weights_area(
    ts_ns: NDArray[np.int64], weights: Floats, names: Sequence[str], *, kept: NDArray[np.int64] | None = None
) -> go.Figure:
    """Draw weights through time as stacked areas, long above 0 and short below; steps, as they are held.

    Parameters
    ----------
    weights
        Shape (n_times, n_names), shares of equity.
    kept
        Stamps of decisions without an answer, at which what was held was kept: a dotted line each.
    """
    figure = go.Figure()
    times = theme.times(ts_ns)
    for number, name in enumerate(names):
        values = weights[:, number]
        for stack, part in (("long", np.maximum(values, 0.0)), ("short", np.minimum(values, 0.0))):
            if stack == "short" and not part.any():
                continue
            figure.add_scatter(
                x=times, y=part, name=name, legendgroup=name, stackgroup=stack, mode="lines",
                showlegend=stack == "long" or not (values > 0).any(), line={"width": 0.5, "color": _colour(number)},
                fillcolor=_colour(number), fillpattern={"shape": PATTERNS[number % len(PATTERNS)], "solidity": 0.25},
                hovertemplate="%{y:.1%}", line_shape="hv",
            )  # fmt: skip
    for stamp in theme.times(np.asarray(kept, dtype=np.int64)).tolist() if kept is not None else ():
        figure.add_vline(x=stamp, line={"color": theme.GREY, "dash": "dot", "width": 1})
    theme.base(figure, height=420)
    figure.update_yaxes(tickformat=".0%", title_text="share of equity")
    figure.update_xaxes(type="date")
    figure.update_layout(hovermode="x unified")
    return figure


def contributions_bars(
    names: Sequence[str],
    component: Floats,
    *,
    low: Floats | None = None,
    high: Floats | None = None,
    weights: Floats | None = None,
    unit: str = "CVaR",
    less: str = "it hedges",
) -> go.Figure:
    """Draw what each part adds to the whole, greatest first, with its interval where there is one."""
    order = np.argsort(-component, kind="stable")
    order = order[np.abs(component[order]) > 0][:_MOST_BARS]
    values = component[order]
    error: dict[str, Any] | None = None
    if low is not None and high is not None:
        error = {
            "type": "data", "symmetric": False, "array": np.maximum(high[order] - values, 0.0),
            "arrayminus": np.maximum(values - low[order], 0.0), "color": theme.GREY, "thickness": 1.5, "width": 4,
        }  # fmt: skip
    held = np.full(len(order), np.nan) if weights is None else weights[order]
    figure = go.Figure(
        go.Bar(
            x=values, y=[names[at] for at in order.tolist()], orientation="h", error_x=error,
            marker={"color": [theme.VERMILLION if value > 0 else theme.BLUE for value in values.tolist()],
                    "pattern": {"shape": ["" if value > 0 else "/" for value in values.tolist()]}},
            customdata=held,
            hovertemplate="%{y}: %{x:.3%} of equity" + ("" if weights is None else ", weight %{customdata:.1%}")
            + "<extra></extra>",
        )
    )  # fmt: skip
    theme.base(figure, height=len(order) * _ROW_PX + 84, left=110, top=12)
    figure.update_yaxes(autorange="reversed", title_text="", type="category")
    figure.update_xaxes(tickformat=".2%", title_text=f"part of {unit}, share of equity; left of 0 {less}")
    figure.add_vline(x=0, line={"color": theme.GREY, "width": 1})
    return figure


def contributions_through_time(
    ts_ns: NDArray[np.int64], component: Floats, names: Sequence[str], total: Floats, *, unit: str = "CVaR"
) -> go.Figure:
    """Draw the parts of the risk as stacked areas, what hedges below 0, and their sum as a line."""
    figure = weights_area(ts_ns, component, names)
    for trace in figure.data:
        trace.update(line_shape="linear", hovertemplate="%{y:.3%}")
    figure.add_trace(theme.line(ts_ns, total, "sum", theme.GREY, dash="dash"))
    figure.update_yaxes(tickformat=".1%", title_text=f"{unit}, share of equity")
    return figure


def frontier_chart(
    front: Frontier,
    cloud: Sequence[Frontier],
    held: tuple[float, float],
    assets: Sequence[tuple[str, float, float]],
    *,
    periods_per_year: float,
    beta: float,
    bar: str,
    called: str = "long only",
) -> go.Figure:
    """Draw mean return against CVaR: the frontier, frontiers of resampled histories, each asset, what is held.

    Parameters
    ----------
    held
        CVaR per bar, and mean return per bar.
    assets
        Name, CVaR and mean return per bar of each alone.
    bar
        What a bar is called: "day".
    called
        What the frontier's weights may be.
    """
    figure = go.Figure()
    for number, one in enumerate(cloud):
        figure.add_scatter(
            x=one.cvar, y=one.mean * periods_per_year, mode="lines", name="of resampled histories", legendgroup="cloud",
            showlegend=number == 0, line={"color": "rgba(128,128,128,0.35)", "width": 1}, hoverinfo="skip",
        )  # fmt: skip
    figure.add_scatter(
        x=front.cvar, y=front.mean * periods_per_year, mode="lines", name=f"frontier, {called}",
        line={"color": theme.BLUE, "width": 3},
        hovertemplate="CVaR %{x:.2%}, mean %{y:+.1%} a year<extra>frontier</extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[risk for _, risk, _ in assets], y=[mean * periods_per_year for *_, mean in assets], mode="markers",
        text=[name for name, *_ in assets], name="each asset alone",
        marker={"symbol": "circle-open", "size": 8, "color": theme.ORANGE, "line": {"width": 2}},
        hovertemplate="%{text}: CVaR %{x:.2%}, mean %{y:+.1%} a year<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[held[0]], y=[held[1] * periods_per_year], mode="markers", name="held",
        marker={"symbol": "star", "size": 17, "color": theme.VERMILLION, "line": {"width": 1.5, "color": "white"}},
        hovertemplate="held: CVaR %{x:.2%}, mean %{y:+.1%} a year<extra></extra>",
    )  # fmt: skip
    theme.base(figure, height=440)
    reach = [*front.cvar.tolist(), held[0]]
    figure.update_xaxes(range=[min(reach) - 0.08 * max(reach), 1.08 * max(reach)])
    figure.update_xaxes(tickformat=".1%", title_text=f"CVaR {fmt.percent(beta, 0)}, loss per {bar}, share of equity")
    means = [*front.mean.tolist(), held[1], *(mean for _, risk, mean in assets if risk <= 1.08 * max(reach))]
    low, high = (edge * periods_per_year for edge in (min(means), max(means)))
    figure.update_yaxes(range=[low - 0.15 * (high - low), high + 0.25 * (high - low)])
    figure.update_yaxes(tickformat="+.0%", title_text="mean return a year")
    return figure


def profit_lines(ts_ns: NDArray[np.int64], profit: Floats, names: Sequence[str], unit: str) -> go.Figure:
    """Draw what each of some strategies has earned until each moment, shape (n_times, n_names), and their sum."""
    figure = go.Figure()
    dashes = ("solid", "dash", "dot", "dashdot", "longdash")
    for number, name in enumerate(names):
        colour = _colour(number)
        figure.add_trace(theme.line(ts_ns, profit[:, number], name, colour, dash=dashes[number % len(dashes)]))
    if len(names) > 1:
        figure.add_trace(theme.line(ts_ns, profit.sum(axis=1), "sum", theme.GREY))
    theme.base(figure, height=360)
    figure.update_yaxes(tickformat="+,.0f", title_text=f"profit after costs, {unit}")
    figure.update_xaxes(type="date")
    figure.update_layout(hovermode="x unified")
    return figure


def shocks_bars(names: Sequence[str], loss: Floats) -> go.Figure:
    """Draw what each shock would cost; losses to the left, as equity falls."""
    known = np.isfinite(loss)
    figure = go.Figure(
        go.Bar(
            x=-loss[known], y=[name for name, there in zip(names, known, strict=True) if there], orientation="h",
            marker={"color": [theme.VERMILLION if value > 0 else theme.BLUE for value in loss[known].tolist()]},
            hovertemplate="%{y}: %{x:+.1%} of equity<extra></extra>",
        )
    )  # fmt: skip
    theme.base(figure, height=int(known.sum()) * _ROW_PX + 84, left=190, top=12)
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(tickformat="+.0%", title_text="change of equity if it happened at once, weights as held")
    figure.add_vline(x=0, line={"color": theme.GREY, "width": 1})
    return figure


def sums_waterfall(names: Sequence[str], amounts: Sequence[float], *, total: str, percent: bool) -> go.Figure:
    """Draw how effects add up to a difference, or sources to a profit."""
    texts = [fmt.percent(amount, 2, sign=True) if percent else f"{amount:+,.0f}" for amount in (*amounts, sum(amounts))]
    figure = go.Figure(
        go.Waterfall(
            x=[*names, total], y=[*amounts, 0.0], measure=[*(["relative"] * len(amounts)), "total"], text=texts,
            textposition="outside", connector={"line": {"color": theme.GREY, "width": 1}},
            increasing={"marker": {"color": theme.BLUE}}, decreasing={"marker": {"color": theme.VERMILLION}},
            totals={"marker": {"color": theme.GREY}}, hovertemplate="%{x}: %{text}<extra></extra>",
        )
    )  # fmt: skip
    theme.base(figure, height=340)
    reach = np.cumsum([0.0, *amounts])
    margin = 0.18 * max(float(np.ptp(reach)), 1e-12)
    figure.update_yaxes(
        tickformat="+.1%" if percent else "+,.0f", range=[float(reach.min()) - margin, float(reach.max()) + margin]
    )
    return figure


def _colour(number: int) -> str:
    return BANDS[number % len(BANDS)]
