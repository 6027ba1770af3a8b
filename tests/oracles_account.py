"""One account, slow and obvious: a bar at a time, an asset at a time, everything worked out again from the panel."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantbot.market import Panel

DAY_NS = 86_400_000_000_000


@dataclass
class Slow:
    """An account of `settings` (every one, by dotted name) that trades rows of weights (or units) at bars."""

    panel: Panel
    settings: dict[str, Any]
    bars: list[int]
    rows: np.ndarray
    in_units: bool = False
    equity: list[float] = field(default_factory=list)
    cash_path: list[float] = field(default_factory=list)
    units_path: list[np.ndarray] = field(default_factory=list)
    orders: list[tuple[int, int, float]] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)
    earned: dict[str, float] = field(default_factory=dict)

    def run(self, start: int, stop: int) -> Slow:
        n = len(self.panel.instruments)
        self.n, self.start = n, start
        self.multiplier = np.array([one.multiplier for one in self.panel.instruments])
        self.past = np.nan_to_num(self.panel.returns())
        self.cash = self.initial = self["initial_cash"]
        self.units = np.zeros(n)
        self.marks = np.full(n, math.nan)
        self.wanted: dict[int, float] = {}  # target weights that wait
        self.left: dict[int, float] = {}  # units that wait
        self.leaving: set[int] = set()
        self.blocked_until, self.blocked_by = 0, ""
        self.stop_peak = self.day_start = last = self.initial
        self.traded_today = 0.0
        self.earned = dict.fromkeys(("fees", "spread", "impact", "borrow", "interest", "dividends", "funding"), 0.0)
        for t in range(start, stop):
            self.split_and_pay(t)
            if t == start or self.day(t) != self.day(t - 1):
                self.day_start, self.traded_today = last, 0.0
            if self["fill"] == "next_open":
                self.trade(t, self.panel.open[t], t - 1)
            self.marks = np.where(np.isnan(self.panel.close[t]), self.marks, self.panel.close[t])
            self.finance(t)
            worth = self.worth(self.marks)
            equity = self.cash + worth.sum()
            stopped = self.stops(t, equity, worth)
            if t in self.bars:
                self.decide(t, stopped)
            elif not stopped and self.beyond(t, worth / equity):
                self.enforce = True
            if self["fill"] == "same_close":
                self.trade(t, self.panel.close[t], t)
            last = self.cash + self.worth(self.marks).sum()
            self.equity.append(last)
            self.cash_path.append(self.cash)
            self.units_path.append(self.units.copy())
        return self

    enforce = False

    def __getitem__(self, name: str) -> Any:
        return self.settings[f"execution.{name}"]

    def guard(self, name: str) -> float:
        return float(self.settings[f"guards.{name}"])

    def day(self, t: int) -> int:
        return (int(self.panel.ts_end_ns[t]) - 1) // DAY_NS

    def worth(self, prices: np.ndarray) -> np.ndarray:
        return np.where(self.units == 0.0, 0.0, self.units * self.multiplier * prices)

    def split_and_pay(self, t: int) -> None:
        if self.panel.split is not None:
            self.units = self.units * self.panel.split[t]
            self.marks = self.marks / self.panel.split[t]
            self.left = {j: units * self.panel.split[t, j] for j, units in self.left.items()}
        if self.panel.dividend is not None:
            self.book("dividends", float((self.units * self.multiplier * self.panel.dividend[t]).sum()))

    def book(self, kind: str, money: float) -> None:
        self.cash += money
        self.earned[kind] += money

    def finance(self, t: int) -> None:
        ppy = self.panel.periods_per_year
        worth = self.worth(self.marks)
        interest = self.cash * (self["cash_rate"] if self.cash > 0 else self["loan_rate"]) / ppy
        self.book("borrow", -self["borrow_rate"] / ppy * -worth[worth < 0].sum())
        if self.panel.funding is not None:
            self.book("funding", -float((worth * np.nan_to_num(self.panel.funding[t])).sum()))
        self.book("interest", interest)

    def stops(self, t: int, equity: float, worth: np.ndarray) -> bool:
        """Return whether everything has to be closed from here on."""
        if self.blocked_by == "kill_loss":
            return False
        by = ""
        if self.guard("kill_loss") and equity <= self.initial * (1 - self.guard("kill_loss")):
            by, self.blocked_until = "kill_loss", 10**9
        elif self.guard("max_drawdown") and self.blocked_by == "max_drawdown" and t < self.blocked_until:
            return False
        elif self.guard("max_drawdown") and self.drawn_down(t, equity):
            by, self.blocked_until = "max_drawdown", t + 1 + int(self.guard("cool_off"))
        elif (
            self.guard("daily_loss")
            and t >= self.blocked_until
            and equity <= self.day_start * (1 - self.guard("daily_loss"))
        ):
            by = "daily_loss"
            self.blocked_until = next(
                (u for u in range(t, len(self.panel)) if self.day(u) != self.day(t)), len(self.panel)
            )
        if by:
            self.blocked_by = by
        elif self["maintenance_margin"] and equity < np.abs(worth).sum() * self["maintenance_margin"]:
            by = "maintenance_margin"
        if by:
            self.notes.append((t, by))
            self.wanted, self.left = {}, {}
            self.leaving = set(np.flatnonzero(self.units).tolist())
        return bool(by)

    def drawn_down(self, t: int, equity: float) -> bool:
        if self.blocked_by == "max_drawdown":
            self.stop_peak, self.blocked_by, self.blocked_until = equity, "", 0
        self.stop_peak = max(self.stop_peak, equity)
        return equity <= self.stop_peak * (1 - self.guard("max_drawdown"))

    def decide(self, t: int, stopped: bool) -> None:
        if stopped:
            return
        if t < self.blocked_until:
            self.notes.append((t, self.blocked_by))
            return
        for j, value in enumerate(self.rows[self.bars.index(t)].tolist()):
            if math.isnan(value) or j in self.leaving:
                continue
            if self.in_units and value == 0.0:
                continue
            if self.in_units:
                self.left[j] = self.left.get(j, 0.0) + value
            else:
                self.wanted[j] = value
                self.left.pop(j, None)
        self.enforce = True

    def beyond(self, t: int, weights: np.ndarray) -> bool:
        figures = {
            "max_gross": np.abs(weights).sum(),
            "max_net": abs(weights.sum()),
            "max_weight": np.abs(weights).max(),
            "max_volatility": self.volatility(weights, t) if self.guard("max_volatility") else 0.0,
            "max_cvar": self.cvar(weights, t) if self.guard("max_cvar") else 0.0,
        }
        return any(self.guard(name) and not figure <= self.guard(name) * (1 + 1e-9) for name, figure in figures.items())

    def history(self, weights: np.ndarray, seen: int) -> np.ndarray | None:
        window = int(self.guard("risk_window"))
        first = seen - window + 1
        return None if first < 1 else self.past[first : seen + 1] @ weights

    def volatility(self, weights: np.ndarray, seen: int) -> float:
        if not weights.any():
            return 0.0
        past = self.history(weights, seen)
        return math.nan if past is None else float(past.std(ddof=1)) * math.sqrt(self.panel.periods_per_year)

    def cvar(self, weights: np.ndarray, seen: int) -> float:
        if not weights.any():
            return 0.0
        past = self.history(weights, seen)
        if past is None:
            return math.nan
        share = (1 - self.guard("cvar_beta")) * len(past)
        parts = np.clip(share - np.arange(len(past)), 0, 1)
        return float(-(np.sort(past) * parts).sum() / share)

    def trade(self, t: int, prices: np.ndarray, seen: int) -> None:
        if not (self.wanted or self.left or self.leaving or self.enforce):
            return
        self.enforce = False
        self.wanted = {j: target for j, target in self.wanted.items() if target != 0.0 or self.units[j] != 0.0}
        here = np.where(np.isnan(self.panel.close[t]), self.marks, prices)
        value = self.cash + self.worth(here).sum()
        if value <= 0:
            return
        now = self.worth(here) / value
        can = ~np.isnan(prices)
        goal, why = self.goals(now, can, here, value)
        before = goal.copy()
        self.limit(goal, now, can, why, seen, t)
        wishes = self.wishes(goal, before, why, here, value)
        volume = self.panel.volume[t]
        fills = dict(wishes)
        if self["participation"] or self["impact"]:
            for j, units in wishes.items():
                most = 0.0 if not volume[j] > 0 else (self["participation"] * volume[j] or math.inf)
                fills[j] = max(-most, min(most, units))
        fills = self.rates(wishes, fills, why, np.abs(goal * value - self.worth(here)), here, value, t)
        fills = {j: self.lots(j, units) for j, units in fills.items()}
        rest = {j: wishes[j] - units for j, units in fills.items()}
        for j in sorted(fills):
            if fills[j] < 0:
                self.execute(t, j, fills[j], here[j])
        floor = (1 - self["leverage"]) * value
        for j in sorted((j for j in fills if fills[j] > 0), key=lambda j: (goal[j] * value - self.worth(here)[j], j)):
            bought = self.affordable(t, j, fills[j], here[j], self.cash - floor)
            if bought < fills[j]:
                bought = self.lots(j, bought) if bought > 1e-12 * fills[j] else 0.0
            if bought > 0:
                self.execute(t, j, bought, here[j])
        self.settle(can, why, wishes, rest)

    def goals(
        self, now: np.ndarray, can: np.ndarray, here: np.ndarray, value: float
    ) -> tuple[np.ndarray, dict[int, str]]:
        goal, why = now.copy(), {}
        for j in np.flatnonzero(can).tolist():
            if j in self.leaving:
                goal[j], why[j] = 0.0, "exit"
            elif j in self.wanted:
                target = max(self.wanted[j], 0.0) if self["direction"] == "long_only" else self.wanted[j]
                if abs(target - now[j]) >= self["rebalance_band"]:
                    goal[j], why[j] = target, "plan"
            elif self.left.get(j):
                if self["direction"] == "long_only":
                    self.left[j] = max(self.left[j], -self.units[j])
                goal[j], why[j] = now[j] + self.left[j] * self.multiplier[j] * here[j] / value, "plan"
        return goal, why

    def limit(self, goal: np.ndarray, now: np.ndarray, can: np.ndarray, why: dict[int, str], seen: int, t: int) -> None:
        """Change goals in place to what the limits allow."""
        slack = 1 + 1e-9

        def shrink(chosen: np.ndarray, factor: float) -> None:
            goal[chosen & can] *= factor

        before = goal.copy()
        most = self.guard("max_weight")
        if most and (np.abs(goal[can]) > most * slack).any():
            over = can & (np.abs(goal) > most * slack)
            goal[over] = np.sign(goal[over]) * most
            self.notes.append((t, "max_weight"))
        most = self.guard("max_net")
        if most and abs(goal.sum()) > most * slack:
            side = np.sign(goal) == np.sign(goal.sum())
            room = most + np.abs(goal[~side]).sum() - np.abs(goal[side & ~can]).sum()
            free = np.abs(goal[side & can]).sum()
            if free:
                shrink(side, max(room, 0.0) / free)
            self.notes.append((t, "max_net"))
        margin = 1 / self["initial_margin"] if self["initial_margin"] else math.inf
        gross = self.guard("max_gross") or math.inf
        adds = any(abs(goal[j]) > abs(now[j]) for j in set(why) | set(np.flatnonzero(goal != before).tolist()))
        most = min(gross, margin)
        if np.abs(goal).sum() > most * slack and (gross <= margin or adds):
            room = most - np.abs(goal[~can]).sum()
            if np.abs(goal[can]).sum():
                shrink(goal != 0, max(room, 0.0) / np.abs(goal[can]).sum())
            self.notes.append((t, "max_gross" if gross <= margin else "initial_margin"))
        for name, measure in (("max_volatility", self.volatility), ("max_cvar", self.cvar)):
            most = self.guard(name)
            if most and not (found := measure(goal, seen)) <= most * slack:
                shrink(goal != 0, 0.0 if math.isnan(found) else most / found)
                self.notes.append((t, name))
        for j in np.flatnonzero(goal != before).tolist():
            why.setdefault(j, "limit")

    def wishes(
        self, goal: np.ndarray, before: np.ndarray, why: dict[int, str], here: np.ndarray, value: float
    ) -> dict[int, float]:
        found = {}
        for j in why:
            if goal[j] == 0.0:
                found[j] = -self.units[j]
            elif j in self.left and j not in self.wanted and goal[j] == before[j]:
                found[j] = self.left[j]
            else:
                found[j] = goal[j] * value / here[j] / self.multiplier[j] - self.units[j]
        return {j: units for j, units in found.items() if abs(units) > 1e-12 * abs(self.units[j])}

    def rates(
        self,
        wishes: dict[int, float],
        fills: dict[int, float],
        why: dict[int, str],
        asked: np.ndarray,
        here: np.ndarray,
        value: float,
        t: int,
    ) -> dict[int, float]:
        """Return what the limits on orders and turnover leave of the planned orders, `wishes` scaled along."""
        planned = [j for j in fills if why[j] == "plan" and fills[j] != 0.0]
        most = int(self.guard("max_orders"))
        if most and len(planned) > most:
            grows = {j: abs(self.units[j] + fills[j]) >= abs(self.units[j]) for j in planned}
            kept = sorted(planned, key=lambda j: (grows[j], -asked[j], j))[:most]
            fills = {j: units for j, units in fills.items() if why[j] != "plan" or j in kept}
            self.notes.append((t, "max_orders"))
        limit = self.guard("max_turnover")
        total = sum(abs(fills[j] * here[j] * self.multiplier[j]) for j in fills if why[j] == "plan")
        room = max(limit * value - self.traded_today, 0.0)
        if limit and total > room:
            for j in fills:
                if why[j] == "plan":
                    fills[j] *= room / total
                    wishes[j] *= room / total
            self.notes.append((t, "max_turnover"))
        return fills

    def lots(self, j: int, units: float) -> float:
        lot = self["lot_size"]
        if not lot or units == -self.units[j]:
            return units
        return math.copysign(math.floor(abs(units) / lot + 1e-9) * lot, units)

    def cost(self, t: int, j: int, units: float, price: float) -> dict[str, float]:
        money = abs(units) * price * self.multiplier[j]
        spread = (self["half_spread_bps"] + self["slippage_bps"]) / 1e4
        impact = 0.0
        if self["impact"] and units:
            past = self.past[max(t - self["impact_window"], 1) : t, j]
            deviation = past.std(ddof=1) if len(past) > 1 else 0.0
            impact = min(self["impact"] * deviation * math.sqrt(abs(units) / self.panel.volume[t, j]), 1.0)
        executed = money * (1 + math.copysign(spread + impact, units))
        fee = max(self["fee_bps"] / 1e4 * executed + self["fee_per_unit"] * abs(units), self["fee_minimum"])
        return {"fees": fee, "spread": money * spread, "impact": money * impact}

    def affordable(self, t: int, j: int, units: float, price: float, cash: float) -> float:
        """Bisect for the largest purchase that the cash pays, whatever the costs look like."""

        def total(units: float) -> float:
            return units * price * self.multiplier[j] + sum(self.cost(t, j, units, price).values())

        if total(units) <= cash:
            return units
        low, high = 0.0, units
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if total(middle) <= cash else (low, middle)
        return low

    def execute(self, t: int, j: int, units: float, price: float) -> None:
        for kind, money in self.cost(t, j, units, price).items():
            self.book(kind, -money)
        money = units * price * self.multiplier[j]
        self.cash -= money
        self.traded_today += abs(money)
        self.units[j] += units
        if abs(self.units[j]) <= 1e-12 * abs(units):
            self.units[j] = 0.0
        self.orders.append((t, j, units))

    def settle(self, can: np.ndarray, why: dict[int, str], wishes: dict[int, float], rest: dict[int, float]) -> None:
        for j in range(self.n):
            if j in self.leaving:
                if self.units[j] == 0.0:
                    self.leaving.discard(j)
            elif can[j]:
                self.wanted.pop(j, None)
                if why.get(j):
                    self.left.pop(j, None)
                more = rest.get(j, 0.0)
                carries = self["leftover"] == "carry" and why.get(j) == "plan" and more != 0.0
                if carries and abs(more) >= max(self["lot_size"], 1e-12 * abs(wishes[j])):
                    self.left[j] = more
            elif self["missing_bar"] == "drop":
                self.wanted.pop(j, None)
                self.left.pop(j, None)
