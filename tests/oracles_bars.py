"""The bar engine, slow and obvious: one trial, one bar after the other, everything kept, measured at the end.

Written from the sentences in `quantbot/bars/execution.py`, not from the kernels: an account with methods, a list of
equities, numpy over the whole list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Account:
    """Cash, units, and what has happened to them."""

    settings: Mapping[str, Any]
    multiplier: float
    cash: float
    units: float = 0.0
    entry: float = 0.0
    best: float = 0.0
    fees: float = 0.0
    traded: float = 0.0
    orders: list[tuple[int, float, float, float, str]] = field(default_factory=list)
    trips: list[dict[str, float]] = field(default_factory=list)
    trip_start: float = 0.0

    def moved(self, price: float, buying: bool) -> float:
        bps = self.settings["half_spread_bps"] + self.settings["slippage_bps"]
        return price * (1 + bps / 1e4) if buying else price * (1 - bps / 1e4)

    def fee_each(self, price: float) -> float:
        return self.settings["fee_bps"] / 1e4 * price * self.multiplier + self.settings["fee_per_unit"]

    def worth(self, price: float) -> float:
        return self.cash + self.units * price * self.multiplier

    def units_for(self, exposure: float, price: float) -> float:
        """How many units the exposure means at an executed price."""
        each = price * self.multiplier
        money = max(self.worth(price) - self.settings["fee_fixed"], 0.0)

        def all_cash(share: float) -> float:
            # (units after) * each = share * (money - fees), where fees count for orders that open or add
            plain = share * money / each - self.units
            if plain * share > 0:  # in the direction of the exposure: opens or adds
                order = (share * money - self.units * each) / (each + abs(share) * self.fee_each(price))
            else:
                order = plain
            return self.units + order

        size = self.settings["size"]
        if size in ("all_cash", "volatility_target"):
            return all_cash(exposure)
        fixed = exposure * self.settings["size_value"] / (each if size == "fixed_cash" else 1.0)
        limit = self.settings["max_exposure"]
        return min(fixed, all_cash(limit)) if exposure > 0 else max(fixed, all_cash(-limit))

    def send(self, bar: int, exposure: float, price: float) -> None:
        """Fill an order for the exposure at a market price."""
        if exposure == 0:
            if self.units:
                self.fill(bar, -self.units, self.moved(price, self.units < 0), "decision")
            return
        size, value = self.settings["size"], self.settings["size_value"]
        at_market = {
            "fixed_cash": exposure * value / (price * self.multiplier),
            "fixed_units": exposure * value,
        }.get(size, exposure * self.worth(price) / (price * self.multiplier))
        buying = at_market > self.units
        executed = self.moved(price, buying)
        delta = self.units_for(exposure, executed) - self.units
        if (delta > 0) != buying:
            return
        lot = self.settings["lot_size"]
        if lot:
            delta = math.copysign(math.floor(abs(delta) / lot + 1e-9) * lot, delta)
        if abs(delta) <= 1e-9 * abs(self.units) or abs(delta) < self.settings["minimum_units"]:
            return
        self.fill(bar, delta, executed, "decision")

    def fill(self, bar: int, delta: float, price: float, reason: str) -> None:
        fee = abs(delta) * self.fee_each(price) + self.settings["fee_fixed"]
        before, after = self.units, 0.0 if delta == -self.units else self.units + delta
        if before and before * after <= 0:
            closing = fee * abs(before) / abs(delta)
            worth = self.worth(price) - closing
            self.trips.append({"pnl": worth - self.trip_start, "bar": bar})
            self.trip_start = worth
        elif not before:
            self.trip_start = self.worth(price)
        if after * before > 0 and abs(after) > abs(before):
            self.entry = (self.entry * abs(before) + price * abs(delta)) / abs(after)
        elif after * before <= 0:
            self.entry = self.best = price
        self.cash -= delta * price * self.multiplier + fee
        self.units = after
        self.fees += fee
        self.traded += abs(delta) * price * self.multiplier
        self.orders.append((bar, delta, price, fee, reason))

    def stopped(self, bar: int, opened: float, high: float, low: float) -> bool:
        """Leave if a stop or the profit is reached in this bar."""
        if not self.units:
            return False
        s = self.settings
        side = 1 if self.units > 0 else -1
        adverse, favourable = (low, high) if side > 0 else (high, low)
        stops = []
        if s["stop_loss"]:
            stops.append(self.entry * (1 - side * s["stop_loss"]))
        if s["trailing_stop"]:
            stops.append(self.best * (1 - side * s["trailing_stop"]))
        stop = (max(stops) if side > 0 else min(stops)) if stops else None
        goal = self.entry * (1 + side * s["take_profit"]) if s["take_profit"] else None

        def beyond_stop(price: float) -> bool:
            return stop is not None and side * price <= side * stop

        def beyond_goal(price: float) -> bool:
            return goal is not None and side * price >= side * goal

        events: list[tuple[str, float]] = []
        if beyond_stop(opened):
            events = [("stop", opened)]
        elif beyond_goal(opened):
            events = [("take profit", opened)]
        else:
            if beyond_stop(adverse):
                events.append(("stop", stop))
            if beyond_goal(favourable):
                events.append(("take profit", goal))
            if s["stop_rule"] == "optimistic":
                events.reverse()
        if events:
            reason, price = events[0]
            self.fill(bar, -self.units, self.moved(price, side < 0) if reason == "stop" else price, reason)
            return True
        self.best = max(self.best, high) if side > 0 else min(self.best, low)
        return False


@dataclass
class Result:
    """What a trial did."""

    equity: list[float]
    orders: list[tuple[int, float, float, float, str]]
    pnl: list[float]
    measures: dict[str, float]
    failed: bool


def backtest(
    bars: Any,
    window: tuple[int, int],
    settings: Mapping[str, Any],
    decide: Callable[[int, float], float],
    known_from: int,
) -> Result:
    """Run one trial; `decide(t, position)` is asked at each close from bar `known_from` on."""
    start, stop = window
    account = Account(settings, bars.instrument.multiplier, settings["initial_cash"])
    low = 0.0 if settings["direction"] == "long_only" else -settings["max_exposure"]
    high = 0.0 if settings["direction"] == "short_only" else settings["max_exposure"]
    inverse = inverse_volatility(bars.close, settings["volatility_window"], bars.periods_per_year)
    target, waiting = 0.0, None
    equity: list[float] = []
    shares: list[float] = []
    in_market = 0
    ruined = undefined = False
    for t in range(start, stop):
        if settings["fill"] == "next_open" and waiting is not None:
            account.send(t, waiting, bars.open[t])
            waiting = None
        if account.stopped(t, bars.open[t], bars.high[t], bars.low[t]):
            target, waiting = 0.0, None
        if settings["fill"] == "next_close" and waiting is not None:
            account.send(t, waiting, bars.close[t])
            waiting = None
        known = t >= known_from and (settings["size"] != "volatility_target" or np.isfinite(inverse[t]))
        wanted = float(decide(t, target)) if known else 0.0
        if math.isnan(wanted):
            undefined, wanted = True, 0.0
        wanted = min(max(wanted, low), high)
        if abs(wanted - target) > settings["rebalance_band"]:
            target = waiting = wanted
            if settings["size"] == "volatility_target" and target:
                limit = settings["max_exposure"]
                waiting = min(max(target * settings["size_value"] * inverse[t], -limit), limit)
        if settings["fill"] == "same_close" and waiting is not None:
            account.send(t, waiting, bars.close[t])
            waiting = None
        equity.append(account.worth(bars.close[t]))
        shares.append(abs(account.units) * bars.close[t] * account.multiplier / equity[-1] if equity[-1] > 0 else 0.0)
        in_market += account.units != 0
        ruined = ruined or equity[-1] <= 0
    pnl = [trip["pnl"] for trip in account.trips]
    if account.units:
        pnl.append(equity[-1] - account.trip_start)
    failed = ruined or undefined
    measures = {} if failed else measure(account, np.array(equity), np.array(shares), pnl, in_market, bars, window)
    return Result(equity, account.orders, pnl, measures, failed)


def inverse_volatility(close: Any, window: int, periods_per_year: float) -> Any:
    out = np.full(len(close), np.nan)
    for t in range(window, len(close)):
        returns = close[t - window + 1 : t + 1] / close[t - window : t] - 1
        deviation = np.std(returns, ddof=1) if np.ptp(returns) else 0.0
        out[t] = 1 / max(deviation * math.sqrt(periods_per_year), 1e-300)
    return out


def measure(
    account: Account, equity: Any, shares: Any, pnl: list[float], in_market: int, bars: Any, window: tuple[int, int]
) -> dict[str, float]:
    cash, ppy, n = account.settings["initial_cash"], bars.periods_per_year, len(equity)
    whole = np.concatenate([[cash], equity])
    returns = whole[1:] / whole[:-1] - 1
    drawdowns = 1 - whole / np.maximum.accumulate(whole)
    drawdowns[drawdowns <= 1e-12] = 0.0
    deviation = np.std(returns, ddof=1) if n > 1 else np.nan
    downside = math.sqrt(np.mean(np.minimum(returns, 0) ** 2))
    years = n / ppy
    runs = "".join("x" if drawdown > 1e-12 else " " for drawdown in drawdowns).split()
    try:
        cagr = (equity[-1] / cash) ** (1 / years) - 1
    except OverflowError:
        cagr = math.inf
    losses = sorted(-returns, reverse=True)
    close = bars.close[window[0] : window[1]]
    held = np.concatenate([[0.0], close[1:] / close[:-1] - 1])
    held_deviation = np.std(held, ddof=1) if n > 1 else np.nan
    lost = -sum(p for p in pnl if p < 0)
    return {
        "total_return": equity[-1] / cash - 1,
        "final_equity": equity[-1],
        "cagr": cagr,
        "volatility": deviation * math.sqrt(ppy),
        "sharpe": np.mean(returns) / deviation * math.sqrt(ppy) if deviation else np.nan,
        "max_drawdown": drawdowns.max(),
        "sortino": np.mean(returns) / downside * math.sqrt(ppy) if downside else np.nan,
        "calmar": cagr / drawdowns.max() if drawdowns.max() else np.nan,
        "drawdown_bars": max((len(run) for run in runs), default=0),
        "exposure": shares.mean(),
        "turnover": account.traded / equity.mean() / years,
        "fees_paid": account.fees,
        "n_trades": len(pnl),
        "hit_rate": np.mean([p > 0 for p in pnl]) if pnl else np.nan,
        "profit_factor": sum(p for p in pnl if p > 0) / lost if lost else np.nan,
        "holding_bars": in_market / len(pnl) if pnl else np.nan,
        "var_95": losses[max(math.ceil(0.05 * n - 1e-9), 1) - 1],
        "cvar_95": expected_shortfall(losses, 0.05 * n),
        "hold_total_return": close[-1] / close[0] - 1,
        "hold_sharpe": held.mean() / held_deviation * math.sqrt(ppy) if held_deviation else np.nan,
        "hold_max_drawdown": (1 - close / np.maximum.accumulate(close)).max(),
    }


def expected_shortfall(losses: list[float], weight: float) -> float:
    """Mean of the worst `weight` losses, the last one taken in part."""
    total, left = 0.0, weight
    for loss in losses:
        part = min(1.0, left)
        total += part * loss
        left -= part
        if left <= 0:
            break
    return total / weight
