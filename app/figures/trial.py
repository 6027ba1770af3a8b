"""One trial on a shared time axis: price with our fills, equity beside buy-and-hold, drawdown, exposure."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from app.figures import theme
from quantbot.engine import Replay

PRICES = frozenset({"open", "high", "low", "close", "volume", "mid"})
_OWN = PRICES | {
    "equity",
    "hold_equity",
    "drawdown",
    "hold_drawdown",
    "exposure",
    "target",
    "cash",
    "units",
    "position",
}
_SVG_MARKERS = 2_000


def trial_chart(
    replay: Replay, *, currency: str = "", window: tuple[int, int] | None = None, log: bool = False
) -> go.Figure:
    """Draw the four panels of a trial over one time axis.

    Parameters
    ----------
    window
        Nanoseconds: only steps with ``window[0] <= t <= window[1]`` are drawn, at full detail where they fit.
    log
        Draw price and equity on logarithmic axes.
    """
    steps = _steps(replay, window)
    figure = make_subplots(
        rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.035, row_heights=[0.4, 0.3, 0.15, 0.15]
    )
    panels = (_price(replay, steps), _equity(replay, steps), _drawdown(replay, steps), _exposure(replay, steps))
    for row, traces in enumerate(panels, start=1):
        for trace in traces:
            figure.add_trace(trace, row=row, col=1)
    theme.base(figure, height=760, right=20)
    unit = f" ({currency})" if currency else ""
    last = "exposure" if "exposure" in replay.curves else "position (lots)"
    titles = ("growth of 1" if replay.assets else f"price{unit}", f"equity{unit}", "drawdown", last)
    for row, title in enumerate(titles, start=1):
        figure.update_yaxes(title_text=title, row=row, col=1)
    figure.update_yaxes(type="log" if log else "linear", row=1, col=1)
    figure.update_yaxes(type="log" if log else "linear", row=2, col=1)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", row=3, col=1)
    if not replay.curves["drawdown"][steps].any():
        figure.update_yaxes(range=[-0.1, 0], row=3, col=1)  # else 0 lies at the foot of an axis up to 100 %
    if last == "exposure":
        figure.update_yaxes(tickformat=".0%", row=4, col=1)
    if not _held(replay)[steps].any():
        figure.update_yaxes(range=[0, 1], row=4, col=1)
    ends = theme.times(replay.ts_end_ns[steps][[0, -1]]).tolist() if steps.stop > steps.start else None
    figure.update_xaxes(type="date", range=ends)  # else markers at the ends would pad the axis
    figure.update_layout(hovermode="x unified")
    return figure


def price_trades(replay: Replay, *, currency: str = "", window: tuple[int, int] | None = None) -> go.Figure:
    """Draw the close with the strategy's indicators and our fills: buys point up, sells point down."""
    figure = _single(_price(replay, _steps(replay, window)), f"price ({currency})" if currency else "price")
    figure.update_layout(height=380)
    return figure


def equity(replay: Replay, *, currency: str = "", log: bool = False) -> go.Figure:
    """Draw the equity beside that of buying and holding the same instrument."""
    figure = _single(_equity(replay, _steps(replay, None)), f"equity ({currency})" if currency else "equity")
    figure.update_yaxes(type="log" if log else "linear")
    return figure


def drawdown(replay: Replay) -> go.Figure:
    """Draw the drawdown, filled downwards: -20 % is a fifth below the running peak."""
    figure = _single(_drawdown(replay, _steps(replay, None)), "drawdown")
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return figure


def exposure(replay: Replay) -> go.Figure:
    """Draw the position's value as a fraction of equity; negative is short."""
    figure = _single(_exposure(replay, _steps(replay, None)), "exposure")
    figure.update_yaxes(tickformat=".0%")
    return figure


def _single(traces: list[go.Scatter], title: str) -> go.Figure:
    figure = go.Figure(traces)
    theme.base(figure, height=260)
    figure.update_yaxes(title_text=title)
    figure.update_xaxes(type="date")
    figure.update_layout(hovermode="x unified")
    return figure


def _steps(replay: Replay, window: tuple[int, int] | None) -> slice:
    if window is None:
        return slice(0, replay.ts_end_ns.shape[0])
    start, stop = np.searchsorted(replay.ts_end_ns, window[0]), np.searchsorted(replay.ts_end_ns, window[1], "right")
    return slice(int(start), int(stop))


def _price(replay: Replay, steps: slice) -> list[Any]:
    if replay.assets:
        return _growths(replay, steps)
    name = "close" if "close" in replay.curves else "mid"
    times, close = replay.ts_end_ns[steps], replay.curves[name][steps]
    traces: list[Any] = [theme.line(times, close, name, theme.GREY)]
    shown = [name for name in replay.curves if name not in _OWN and _on_price_scale(replay.curves[name][steps], close)]
    for name, (colour, dash) in zip(shown, theme.EXTRA_LINES, strict=False):
        traces.append(theme.line(times, replay.curves[name][steps], name, colour, dash=dash))
    return traces + _fills(replay, steps)


def _growths(replay: Replay, steps: slice) -> list[Any]:
    """Draw what 1 in each of the assets of greatest weight became since the first step that is shown."""
    held = np.abs(replay.by_asset["weight"][steps]).mean(axis=0) if steps.stop > steps.start else np.empty(0)
    traces: list[Any] = []
    for asset, (colour, dash) in zip(np.argsort(-held, kind="stable").tolist(), theme.EXTRA_LINES, strict=False):
        close = replay.by_asset["close"][steps, asset]
        known = np.flatnonzero(np.isfinite(close))
        if known.size:
            name = replay.assets[asset]
            traces.append(theme.line(replay.ts_end_ns[steps], close / close[known[0]], name, colour, dash=dash))
    return traces


def _fills(replay: Replay, steps: slice) -> list[Any]:
    orders = replay.orders
    bars = np.asarray(orders["bar"])
    inside = (bars >= steps.start) & (bars < steps.stop)
    side = np.asarray(orders["side"])
    traces = []
    for sign, name, symbol, colour in (
        (1, "buy", "triangle-up", theme.GREEN),
        (-1, "sell", "triangle-down", theme.VERMILLION),
    ):
        rows = np.flatnonzero(inside & (side == sign))
        kind = go.Scatter if rows.size <= _SVG_MARKERS else go.Scattergl
        reasons = np.asarray(orders["reason"])[rows].astype(str) if "reason" in orders else np.full(rows.size, "")
        traces.append(
            kind(
                x=theme.times(np.asarray(orders["ts_ns"])[rows]),
                y=np.asarray(orders["price"])[rows],
                name=f"{name} ({rows.size})",
                mode="markers",
                marker={"symbol": symbol, "size": 9, "color": colour, "line": {"width": 1, "color": "white"}},
                customdata=np.column_stack(
                    [np.abs(np.asarray(orders["units"])[rows]), np.asarray(orders["fee"])[rows]]
                ),
                text=reasons,
                hovertemplate=name
                + " %{customdata[0]:,.4~f} at %{y:,.2f}, fee %{customdata[1]:,.2f} %{text}<extra></extra>",
            )
        )
    return traces


def _equity(replay: Replay, steps: slice) -> list[Any]:
    times = replay.ts_end_ns[steps]
    traces = [theme.line(times, replay.curves["equity"][steps], "equity", theme.BLUE)]
    if "hold_equity" in replay.curves:
        hold = replay.curves["hold_equity"][steps]
        name = "cash alone" if "mid" in replay.curves else "buy and hold"
        traces.append(theme.line(times, hold, name, theme.VERMILLION, dash="dash"))
    return traces


def _drawdown(replay: Replay, steps: slice) -> list[Any]:
    falls = -np.abs(replay.curves["drawdown"][steps])  # drawn below 0 whatever sign the curve has
    return [theme.line(replay.ts_end_ns[steps], falls, "drawdown", theme.PURPLE, fill="tozeroy", showlegend=False)]


def _exposure(replay: Replay, steps: slice) -> list[Any]:
    values, name = _held(replay)[steps], "exposure" if "exposure" in replay.curves else "position"
    return [theme.line(replay.ts_end_ns[steps], values, name, theme.SKY, fill="tozeroy", showlegend=False)]


def _held(replay: Replay) -> NDArray[np.float64]:
    """Return the position as a fraction of equity, of a book's trial in lots."""
    return replay.curves["exposure" if "exposure" in replay.curves else "position"]


def _on_price_scale(values: NDArray[np.float64], close: NDArray[np.float64]) -> bool:
    finite = values[np.isfinite(values)]
    if not finite.size or not close.size:
        return False
    return bool(0.5 * np.nanmin(close) <= np.median(finite) <= 2 * np.nanmax(close))
