"""One trial in full: its curves, orders and round trips, from the same arithmetic as its row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.bars.columns import wanted
from quantbot.bars.engine import Run, reason
from quantbot.bars.execution import Route, routes
from quantbot.bars.lanes import UserCodeError
from quantbot.bars.orders import round_trip
from quantbot.engine import Job, Points, Replay
from quantbot.errors import DivergenceError, StrategyError
from quantbot.market import BAR_FIELDS, Bars
from quantbot.parameters import Value

REASONS = ("decision", "stop", "take profit")


def replay(job: Job, data: Bars, window: tuple[int, int], point: Mapping[str, Value]) -> Replay:
    """Return everything about one trial; see `quantbot.engine.Replay`.

    An order is stamped with the end of the bar within which it filled. Drawdown is a positive fraction; `target` is
    what was decided at each close, `exposure` what the position was worth at it, as a share of equity.

    Raises
    ------
    StrategyError
        If the strategy raises on this point.
    DivergenceError
        If the recorded equity is not bit for bit that of the row.
    """
    points = Points(1, {name: np.array([value]) for name, value in point.items()})
    run = Run(job, data, window, points)
    rows = run.rows()
    recording = _Recording(job, data, window, points)
    recorded, orders = recording.record()
    row = {name: float(values[0]) for name, values in rows.measures.items()}
    final = row.get("final_equity", np.nan)
    if not np.isnan(final) and final != recorded["equity"][-1]:
        raise DivergenceError(f"replayed equity ends at {recorded['equity'][-1]!r}, the row's at {final!r}")
    start, stop = window
    ts_end_ns = data.ts_end_ns[start:stop]
    cash = float(recording.run.prices["initial_cash"][0])
    close = data.close[start:stop]
    curves = {
        "equity": recorded["equity"],
        "hold_equity": cash * (close / close[0]),
        "drawdown": recorded["drawdown"],
        "exposure": recorded["exposure"],
        "target": recorded["target"],
        **{field: getattr(data, field)[start:stop] for field in BAR_FIELDS},
        **recording.indicators(),
    }
    return Replay(
        ts_end_ns,
        curves,
        {
            "bar": orders["bar"],
            "ts_ns": ts_end_ns[orders["bar"]],
            "side": np.sign(orders["units"]).astype(np.int64),
            "units": np.abs(orders["units"]),
            "price": orders["price"],
            "fee": orders["fee"],
            "reason": np.array([REASONS[kind] for kind in orders["kind"].tolist()], dtype=str),
        },
        trades(orders, cash, data.instrument.multiplier, ts_end_ns, close),
        row,
    )


class _Recording:
    """The same trial through the kernel that keeps every step."""

    def __init__(self, job: Job, data: Bars, window: tuple[int, int], points: Points) -> None:
        self.run = Run(job, data, window, points)
        self.data, self.window, self.n_bars = data, window, window[1] - window[0]

    def record(self) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[Any]]]:
        """Return (curves by name, orders by column), by the route that `Run` takes."""
        (route,) = routes(self.run.settings, self.run.points)
        curves, orders, unfit = self._record(route)
        if unfit:
            curves, orders, _ = self._record(Route(route.fill, route.size))
        return curves, orders

    def _record(self, route: Route) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[Any]], bool]:
        curves = {name: np.empty(self.n_bars) for name in ("equity", "drawdown", "exposure", "target")}
        most = 2 * self.n_bars  # within one bar: an order, and a stop
        orders: dict[str, NDArray[Any]] = {
            "bar": np.empty(most, dtype=np.int64),
            "units": np.empty(most),
            "price": np.empty(most),
            "fee": np.empty(most),
            "kind": np.empty(most, dtype=np.int64),
        }
        try:
            n_orders, unfit = self.run.record(route, (*curves.values(), *orders.values()))
        except UserCodeError as error:
            raise StrategyError(f"{self.run.strategy.name} failed: {reason(error.__cause__ or error)}") from error
        return curves, {name: column[:n_orders].copy() for name, column in orders.items()}, unfit

    def indicators(self) -> dict[str, NDArray[np.float64]]:
        """Return each indicator of the strategy over the window, by name."""
        run = self.run
        names = tuple(run.strategy.indicators)
        wants = wanted(names, run.strategy.indicators, run.value, 1, run.data.periods_per_year)
        return {want.name: run.series.get(want.indicator, want.arguments[0])[0] for want in wants}


def trades(
    orders: Mapping[str, NDArray[Any]],
    cash: float,
    multiplier: float,
    ts_end_ns: NDArray[np.int64],
    close: NDArray[np.float64],
) -> dict[str, NDArray[Any]]:
    """Return round trips as columns, from orders in the order in which they filled.

    `pnl` is after all costs and adds up to what the equity gained; `return` is of the equity at the entry; `units` is
    the largest position (negative when short), `entry_price` the first fill's and `exit_price` the last one's.
    """
    found: list[tuple[Any, ...]] = []
    units = started = most = entry_price = 0.0
    entry_bar = 0
    last = len(ts_end_ns) - 1
    for bar, delta, price, fee in zip(
        *(orders[name].tolist() for name in ("bar", "units", "price", "fee")), strict=True
    ):
        after = units + delta
        after = 0.0 if abs(after) <= 1e-12 * abs(delta) else after
        began = started
        ends, earned, started = round_trip(units, after, delta, price, fee, cash, started, multiplier)
        if ends:
            found.append((entry_bar, bar, entry_price, price, most, earned, earned / began, bar - entry_bar, 0))
        if after != 0.0 and (ends or units == 0.0):
            entry_bar, entry_price, most = bar, price, 0.0
        most = after if abs(after) > abs(most) else most
        cash = cash - delta * price * multiplier - fee
        units = after
    if units != 0.0:
        earned = cash + units * float(close[-1]) * multiplier - started
        found.append(
            (entry_bar, last, entry_price, float(close[-1]), most, earned, earned / started, last - entry_bar, 1)
        )
    kinds = (np.int64, np.int64, float, float, float, float, float, np.int64, np.int64)
    names = ("entry_bar", "exit_bar", "entry_price", "exit_price", "units", "pnl", "return", "n_bars", "open")
    columns = {
        name: np.array([trade[i] for trade in found], dtype=kind)
        for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
    }
    return {
        "entry_bar": columns["entry_bar"],
        "entry_ns": ts_end_ns[columns["entry_bar"]],
        "exit_bar": columns["exit_bar"],
        "exit_ns": ts_end_ns[columns["exit_bar"]],
        **{name: columns[name] for name in names[2:]},
    }
