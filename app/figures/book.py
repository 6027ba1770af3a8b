"""A book through time: depth as a map with logarithmic colour, best prices, trades, own orders and fills; a ladder.

Times are milliseconds (or what suits) from the moment that is looked at: a browser's double would round stamps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from app import format as fmt
from app.figures import theme
from quantbot.book import BookInstrument, Depth, Ladder

UNITS = ((10**9, "s"), (10**6, "ms"), (10**3, "µs"))
COLOURS = "Viridis"
_MOST_FILLS = 300
_MOST_ORDERS = 400  # of a side and an end
_SIGNS = {"decided": "square", "at the exchange": "circle", "known": "diamond", "cancel sent": "square-open",
          "end known": "diamond-open"}  # fmt: skip
_SIDES = (
    (1, "buys", theme.SKY, "circle"),
    (-1, "sells", theme.ORANGE, "diamond"),
    (0, "side unknown", theme.GREY, "x"),
)


@dataclass(frozen=True, eq=False)
class Own:
    """What a trial did in the window.

    Attributes
    ----------
    orders
        Columns of equal length: `start_ns`, `end_ns` (rested at the exchange from, until), `price_ticks`, `side`,
        `filled` (whether it ended so).
    fills
        Columns of equal length: `ts_ns`, `price_ticks`, `lots`, `side`, `maker`, `reason` (text).
    queue
        Columns of equal length: `start_ns`, `end_ns`, `side`, `low`, `ahead`, `high`: lots ahead of an order of ours,
        as the model takes it, and what may be at least and at most.
    way
        Of one order: (what, time, price in ticks) of each of its legs' ends, in order of time.
    """

    orders: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    fills: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    queue: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    way: tuple[tuple[str, int, int], ...] = ()


def own_of(
    orders: Mapping[str, NDArray[Any]], lives: Mapping[str, NDArray[Any]], row: int | None = None,
    path: Mapping[str, NDArray[Any]] | None = None,
) -> Own:  # fmt: skip
    """Return what a trial did, from the fills and the table "lives" of its replay.

    Parameters
    ----------
    row, path
        Which order is looked at, and the lots ahead of all that rest, as `sweeps.queues.queue_path` gives them.
    """
    rested = np.asarray(lives["rested"], bool)
    maker = np.asarray(orders["maker"], bool)
    return Own(
        orders={
            "start_ns": lives["arrived_ns"][rested], "end_ns": lives["end_ns"][rested],
            "price_ticks": lives["ticks"][rested], "side": lives["side"][rested],
            "filled": lives["end"][rested] == "filled",
        },
        fills={
            "ts_ns": orders["ts_ns"], "price_ticks": orders["ticks"], "lots": orders["lots"], "side": orders["side"],
            "maker": maker, "reason": orders["reason"],
        },
        queue={} if row is None or path is None else _queue_of(lives, row, path),
        way=() if row is None else _way_of(lives, row),
    )  # fmt: skip


def _queue_of(
    lives: Mapping[str, NDArray[Any]], row: int, path: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Return the queue of one order: from each moment at which it was looked at until the next."""
    own = (path["placed_ns"] == lives["arrived_ns"][row]) & (path["side"] == lives["side"][row])
    own &= path["ticks"] == lives["ticks"][row]
    starts = path["ts_ns"][own]
    if not lives["rested"][row] or not starts.size:
        return {}
    columns = {name: path[name][own] for name in ("side", "low", "ahead", "high")}
    return {"start_ns": starts, "end_ns": np.append(starts[1:], max(lives["end_ns"][row], starts[-1])), **columns}


def _way_of(lives: Mapping[str, NDArray[Any]], row: int) -> tuple[tuple[str, int, int], ...]:
    """Return when an order was decided on, was at the exchange, was known of; and likewise its cancel and its end."""
    tick = int(lives["ticks"][row])
    legs = [("decided", "sent_ns"), ("at the exchange", "arrived_ns"), ("known", "heard_ns"),
            ("cancel sent", "cancel_ns"), (str(lives["end"][row]), "end_ns"), ("end known", "told_ns")]  # fmt: skip
    if lives["end"][row] in ("rests", "sent"):
        legs = legs[:4] if lives["end"][row] == "rests" else legs[:1]
    times = ((what, int(lives[name][row]), tick) for what, name in legs)
    return tuple(sorted((each for each in times if each[1] > 0), key=lambda each: each[1]))


def unit_of(span_ns: int) -> tuple[int, str]:
    """Return the unit of time that suits a window: nanoseconds of one, and its sign.

    Examples
    --------
    >>> unit_of(60 * 10**9), unit_of(10**8)
    ((1000000000, 's'), (1000000, 'ms'))
    """
    return next(((ns, sign) for ns, sign in UNITS if span_ns >= 2 * ns), UNITS[-1])


def depth_chart(seen: Depth, instrument: BookInstrument, at_ns: int, own: Own | None = None) -> go.Figure:
    """Draw the picture of a window around a moment; with `own`, what a trial did in it."""
    strip = own is not None and bool(own.queue)
    figure = make_subplots(
        rows=2 if strip else 1, cols=1, shared_xaxes=True, vertical_spacing=0.04,
        row_heights=[0.78, 0.22] if strip else [1.0],
    )  # fmt: skip
    end_ns = int(seen.ends_ns[-1])
    unit, sign = unit_of(end_ns - seen.start_ns)
    axis = _Axis(at_ns, unit, instrument.tick_size)
    figure.add_trace(_map(seen, axis), row=1, col=1)
    for ticks, name, colour, dash in (
        (seen.ask_ticks, "best ask", theme.VERMILLION, "solid"), (seen.bid_ticks, "best bid", theme.BLUE, "solid"),
    ):  # fmt: skip
        for ink, width, shown in (("white", 4, False), (colour, 2, True)):  # twice: one alone vanishes on the map
            figure.add_trace(
                go.Scatter(
                    x=axis.x(seen.ends_ns), y=axis.y(ticks), name=name, legendgroup=name, showlegend=shown,
                    mode="lines", line={"color": ink, "width": width, "dash": dash, "shape": "vh"}, hoverinfo="skip",
                ), row=1, col=1,
            )  # fmt: skip
    _trades(figure, seen, axis)
    if own is not None:
        own = _within(own, seen)
        _orders(figure, seen, axis, own)
        _fills(figure, axis, own)
        _way(figure, seen, axis, own)
        if strip:
            _queue(figure, axis, own)
    theme.base(figure, height=640 if strip else 540, top=40, bottom=46)
    low, high = (seen.low_ticks - 0.5) * instrument.tick_size, (seen.high_ticks + 0.5) * instrument.tick_size
    figure.update_yaxes(title_text=f"price ({instrument.currency})", range=[low, high], showgrid=False, row=1, col=1)
    ends = [(seen.start_ns - at_ns) / unit, (end_ns - at_ns) / unit]
    figure.update_xaxes(range=ends, showgrid=False)
    figure.update_xaxes(title_text=f"{sign} from {fmt.moment(at_ns)}", row=2 if strip else 1, col=1)
    figure.add_vline(x=0, line={"color": theme.GREY, "width": 1.5, "dash": "dot"})
    figure.update_layout(hovermode="closest", clickmode="event+select", dragmode=False)
    return figure


@dataclass(frozen=True)
class _Axis:
    """Times and prices as a browser gets them: short floats."""

    at_ns: int
    unit: int
    tick_size: float

    def x(self, ts_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.round((ts_ns - self.at_ns) / self.unit, 6)

    def y(self, ticks: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(ticks, np.float64) * self.tick_size


def _map(seen: Depth, axis: _Axis) -> go.Heatmap:
    """Lots by column and row; the colour is their logarithm, the tip has the number."""
    lots = np.ascontiguousarray(seen.lots.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        colour = np.where(lots > 0, np.log10(lots), np.nan).astype(np.float32)
    known = colour[np.isfinite(colour)]
    low, high = (0.0, 1.0) if not known.size else (float(np.quantile(known, 0.02)), float(np.quantile(known, 0.98)))
    high = max(high, low + 0.3)
    ticks = np.arange(np.ceil(low), np.floor(high) + 1)
    if ticks.size < 2:
        ticks = np.array([low, high])
    n_columns = seen.lots.shape[0]
    end = (int(seen.ends_ns[-1]) - axis.at_ns) / axis.unit
    width = (int(seen.ends_ns[-1]) - seen.start_ns) / axis.unit / n_columns
    return go.Heatmap(
        z=colour, x0=end - width * (n_columns - 0.5), dx=width,
        y0=(seen.low_ticks + (seen.row_ticks - 1) / 2) * axis.tick_size, dy=seen.row_ticks * axis.tick_size,
        zmin=low, zmax=high, colorscale=COLOURS, customdata=lots.astype(np.int32), name="depth",
        hovertemplate="%{y:.6~g}: %{customdata} lots<extra></extra>", hoverongaps=False,
        colorbar={"title": {"text": "lots"}, "tickvals": ticks.tolist(), "thickness": 12,
                  "ticktext": [fmt.count(round(10**tick)) for tick in ticks.tolist()]},
    )  # fmt: skip


def _trades(figure: go.Figure, seen: Depth, axis: _Axis) -> None:
    largest = max(int(seen.trade_lots.max(initial=1)), 1)
    size = 5 + (11 if len(seen.trade_ns) < 100 else 5) * np.sqrt(seen.trade_lots / largest)
    for side, name, colour, symbol in _SIDES:
        here = seen.trade_side == side
        if not here.any():
            continue
        figure.add_trace(
            go.Scatter(
                x=axis.x(seen.trade_ns[here]), y=axis.y(seen.trade_ticks[here]), mode="markers", name=f"trades: {name}",
                marker={"color": colour, "symbol": symbol, "size": np.round(size[here], 1),
                        "line": {"color": "black", "width": 1}},
                customdata=[[str(ts), lots] for ts, lots in
                            zip(seen.trade_ns[here].tolist(), seen.trade_lots[here].tolist(), strict=True)],
                hovertemplate="trade of %{customdata[1]} at %{y}<extra></extra>",
            ), row=1, col=1,
        )  # fmt: skip


def _orders(figure: go.Figure, seen: Depth, axis: _Axis, own: Own) -> None:
    """Draw own resting orders as thick lines, cut at the window's ends."""
    if not own.orders or not len(own.orders["start_ns"]):
        return
    begins, ends = own.orders["start_ns"], own.orders["end_ns"]
    within = (begins < seen.ends_ns[-1]) & (ends > seen.start_ns)
    for side, name, colour, filled in (
        (1, "own bids", theme.GREEN, True), (-1, "own asks", theme.PURPLE, True),
        (1, "own bids, not filled", theme.GREEN, False), (-1, "own asks, not filled", theme.PURPLE, False),
    ):  # fmt: skip
        here = within & (own.orders["side"] == side) & (own.orders["filled"] == filled)
        here[np.flatnonzero(here)[:-_MOST_ORDERS]] = False
        if not here.any():
            continue
        x = np.full((int(here.sum()), 3), np.nan)
        x[:, 0] = axis.x(np.maximum(begins[here], seen.start_ns))
        x[:, 1] = axis.x(np.minimum(ends[here], seen.ends_ns[-1]))
        y = np.repeat(axis.y(own.orders["price_ticks"][here]), 3)
        for ink, width, shown in (("white", 8 if filled else 5, False), (colour, 5 if filled else 2, True)):
            figure.add_trace(
                go.Scatter(x=x.ravel(), y=y, mode="lines", name=name, legendgroup=name, showlegend=shown,
                           line={"color": ink, "width": width}, hoverinfo="skip"), row=1, col=1,
            )  # fmt: skip


def _way(figure: go.Figure, seen: Depth, axis: _Axis, own: Own) -> None:
    """Draw the legs of the order that is looked at: decision, arrival, what was known when; dotted between."""
    here = [each for each in own.way if seen.start_ns <= each[1] <= int(seen.ends_ns[-1])]
    if not here:
        return
    x = axis.x(np.array([ts for _, ts, _ in here], np.int64)).tolist()
    y = axis.y(np.array([tick for _, _, tick in here])).tolist()
    symbols = [_SIGNS.get(what, "x") for what, _, _ in here]
    for ink, size, width in (("white", 13, 5), ("black", 9, 1.5)):
        figure.add_trace(
            go.Scatter(
                x=x, y=y, mode="lines+markers", name="the order's way", legendgroup="way", showlegend=False,
                line={"color": ink, "width": width, "dash": "dot"},
                marker={"symbol": symbols, "size": size, "color": ink, "line": {"color": "white", "width": 1}},
                customdata=[[str(ts), what] for what, ts, _ in here], hovertemplate="%{customdata[1]}<extra></extra>",
            ), row=1, col=1,
        )  # fmt: skip
    for what, symbol in zip(dict.fromkeys(what for what, _, _ in here), dict.fromkeys(symbols), strict=False):
        figure.add_trace(
            go.Scatter(x=[None], y=[None], mode="markers", name=what,
                       marker={"symbol": symbol, "size": 9, "color": theme.GREY}), row=1, col=1,
        )  # fmt: skip


def _within(own: Own, seen: Depth) -> Own:
    """Keep the fills of the window, the last of them where there are more than a picture shows."""
    if not own.fills:
        return own
    ts = own.fills["ts_ns"]
    here = np.flatnonzero((ts > seen.start_ns) & (ts <= seen.ends_ns[-1]))[-_MOST_FILLS:]
    return replace(own, fills={name: column[here] for name, column in own.fills.items()})


def _fills(figure: go.Figure, axis: _Axis, own: Own) -> None:
    if not own.fills:
        return
    for side, name, symbol in ((1, "own buys", "triangle-up-open"), (-1, "own sells", "triangle-down-open")):
        here = own.fills["side"] == side
        if not here.any():
            continue
        x, y = axis.x(own.fills["ts_ns"][here]).tolist(), axis.y(own.fills["price_ticks"][here]).tolist()
        for trace in theme.outlined(x, y, name, symbol, size=17):
            figure.add_trace(trace, row=1, col=1)
        told = [
            [str(ts), lots, "maker" if maker else "taker", reason]
            for ts, lots, maker, reason in zip(
                *(own.fills[each][here].tolist() for each in ("ts_ns", "lots", "maker", "reason")), strict=True
            )
        ]
        figure.add_trace(  # what is hovered and clicked
            go.Scatter(
                x=x, y=y, mode="markers", marker={"size": 18, "opacity": 0}, name=name, showlegend=False,
                customdata=told,
                hovertemplate="own fill of %{customdata[1]} at %{y}: %{customdata[2]}, %{customdata[3]}<extra></extra>",
            ), row=1, col=1,
        )  # fmt: skip


def _queue(figure: go.Figure, axis: _Axis, own: Own) -> None:
    """Draw what is ahead of an own order: the model's number, in a hatched band where it guesses."""
    queue = own.queue
    x = axis.x(np.append(queue["start_ns"], queue["end_ns"][-1:]))
    colour = theme.GREEN if queue["side"][0] > 0 else theme.PURPLE

    def line(name: str) -> NDArray[np.float64]:
        values: NDArray[np.float64] = np.append(queue[name], queue[name][-1:]).astype(np.float64)
        return np.round(values, 3)

    lines: list[tuple[str, str, dict[str, Any]]] = []
    if not (np.array_equal(queue["low"], queue["ahead"]) and np.array_equal(queue["high"], queue["ahead"])):
        hatched = {"fill": "tonexty", "fillcolor": "rgba(128,128,128,0.15)",
                   "fillpattern": {"shape": "/", "fgcolor": colour, "size": 6, "solidity": 0.25}}  # fmt: skip
        lines = [("low", "at least ahead", {}), ("high", "between the bounds", hatched)]
    for values, name, more in [*lines, ("ahead", "lots ahead", {})]:
        own_line = values == "ahead"
        figure.add_trace(
            go.Scatter(
                x=x, y=line(values), mode="lines", name=name, showlegend=bool(more) or own_line,
                line={"color": colour, "width": 2.5 if own_line else 1, "dash": "solid" if own_line else "dot",
                      "shape": "hv"},
                hovertemplate=f"{name}: %{{y}} lots<extra></extra>", **more,
            ), row=2, col=1,
        )  # fmt: skip
    figure.update_yaxes(title_text="lots ahead", rangemode="tozero", row=2, col=1)


def ladder_chart(ladder: Ladder, instrument: BookInstrument) -> go.Figure:
    """Draw the best levels as bars, asks above bids, at their prices; empty levels between them stay empty."""
    figure = go.Figure()
    for ticks, lots, orders, name, colour in (
        (ladder.ask_ticks, ladder.ask_lots, ladder.ask_orders, "asks", theme.VERMILLION),
        (ladder.bid_ticks, ladder.bid_lots, ladder.bid_orders, "bids", theme.BLUE),
    ):
        by_order = instrument.kind == "by_order"
        prices = [price_text(tick, instrument) for tick in ticks.tolist()]
        tip = "%{y}: %{x} lots" + (" in %{customdata} orders" if by_order else "") + "<extra></extra>"
        figure.add_bar(
            y=prices, x=lots, orientation="h", name=name, marker={"color": colour, "line": {"width": 0}},
            customdata=orders if by_order else None, hovertemplate=tip, textposition="auto",
            text=[fmt.count(each) for each in lots.tolist()],
        )  # fmt: skip
    shown = sorted({*ladder.ask_ticks.tolist(), *ladder.bid_ticks.tolist()})
    theme.base(figure, height=540, left=72, top=40, bottom=46)
    figure.update_yaxes(type="category", categoryorder="array", fixedrange=True,
                        categoryarray=[price_text(tick, instrument) for tick in shown])  # fmt: skip
    figure.update_xaxes(title_text="lots", fixedrange=True, rangemode="tozero")
    figure.update_layout(bargap=0.15, barmode="overlay")
    return figure


def price_text(tick: int, instrument: BookInstrument) -> str:
    """Write a price with the decimals of its tick.

    Examples
    --------
    >>> [price_text(tick, BookInstrument("X", 0.25, 1.0, "by_order")) for tick in (5853, -3)]
    ['1463.25', '-0.75']
    """
    size = f"{instrument.tick_size:.12f}".rstrip("0")
    return f"{tick * instrument.tick_size:.{len(size.partition('.')[2])}f}"


def depth_alt(seen: Depth, instrument: BookInstrument) -> str:
    """Say in words what the picture shows."""
    known = np.isfinite(seen.bid_ticks) & np.isfinite(seen.ask_ticks)
    if not known.any():
        return f"Depth of {instrument.symbol}: no book with both sides in this window"
    middle = 0.5 * (seen.bid_ticks[known] + seen.ask_ticks[known])
    ends = [price_text(round(each), instrument) for each in (middle[0], middle[-1])]
    spread = fmt.count(round(float(np.median(seen.ask_ticks[known] - seen.bid_ticks[known]))))
    return (
        f"Depth of {instrument.symbol}: the middle goes from {ends[0]} to {ends[1]}, the usual spread is {spread}"
        f" ticks, {fmt.plural(seen.n_events, 'event')}, {fmt.plural(seen.n_trades, 'trade')}"
    )
