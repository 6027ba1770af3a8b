"""A slow, obvious exchange: one agent, plain Python, every order a dictionary, every level a number.

It follows `docs/concepts/book.md` word for word and shares no line with the kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from quantbot.book.events import Action, Events

Decide = Callable[[dict[str, Any]], tuple[dict[int, int], dict[int, int], tuple[int, int]]]


class Book:
    """Levels by price; the newer side is right where two sides meet."""

    def __init__(self) -> None:
        self.lots: dict[int, dict[int, int]] = {1: {}, -1: {}}
        self.best = {1: -math.inf, -1: math.inf}

    def set(self, side: int, tick: int, lots: int) -> bool:
        """Give a level its total; return whether its side's best improved."""
        self.lots[side].pop(tick, None)
        if lots:
            self.lots[side][tick] = lots
            if side * tick > side * self.best[side]:
                self.best[side] = tick
                if tick * side >= self.best[-side] * side:
                    self.best[-side] = self._next(-side, tick)
                return True
        elif tick == self.best[side]:
            self.best[side] = self._next(side, tick)
        return False

    def at(self, side: int, tick: float) -> int:
        """Return a level's total."""
        return self.lots[side].get(int(tick), 0) if math.isfinite(tick) else 0

    def clear(self, side: int) -> None:
        """Empty a side."""
        self.lots[side].clear()
        self.best[side] = -side * math.inf

    def _next(self, side: int, tick: int) -> float:
        worse = [price for price in self.lots[side] if side * price < side * tick]
        return (max(worse) if side > 0 else min(worse)) if worse else -side * math.inf


class Market(Book):
    """A book that also knows the market's orders, where events name them."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[int, list[Any]] = {}  # id -> [side, tick, lots, sequence]
        self.sequence = 0

    def changes(self, event: dict[str, int]) -> list[tuple[str, int, int, int, int]]:
        """Return what an event does: (set, more, less, trade or moved, side, tick, lots, sequence of the order)."""
        action, side, tick, size = event["action"], event["side"], event["price_ticks"], event["size_lots"]
        self.sequence += 1
        if action == Action.SET:
            return [("set", side, tick, size, -1)]
        if action == Action.TRADE:
            return [("trade", side, tick, size, -1)]
        known = self.orders.get(event["order_id"])
        if action == Action.ADD:
            self.orders[event["order_id"]] = [side, tick, size, self.sequence]
            return [("more", side, tick, size, self.sequence)]
        assert known is not None
        side, tick_of, lots, sequence = known
        if action == Action.MODIFY:
            known[1:3] = tick, size
            if tick == tick_of and size <= lots:
                return [("less", side, tick, lots - size, sequence)]
            known[3] = self.sequence
            if tick == tick_of:
                return [("moved", side, tick, lots, sequence), ("more", side, tick, size - lots, self.sequence)]
            return [("less", side, tick_of, lots, sequence), ("more", side, tick, size, self.sequence)]
        gone = lots if action == Action.DELETE else min(size, lots)
        known[2] -= gone
        if not known[2]:
            del self.orders[event["order_id"]]
        if action == Action.EXECUTE:
            return [("trade", -side, tick_of, gone, sequence), ("less", side, tick_of, gone, -1)]
        return [("less", side, tick_of, gone, sequence)]


class Exchange:
    """What the exchange does with one agent's orders; `fills` are (time, side, tick, lots, maker, reason)."""

    def __init__(self, queue: Callable[..., Any], *, partial: bool) -> None:
        self.market, self.queue, self.partial = Market(), queue, partial
        self.resting: dict[int, dict[str, Any]] = {}
        self.fills: list[tuple[int, int, int, int, int, str]] = []
        self.taken: dict[tuple[int, int], int] = {}

    def fill(self, order: dict[str, Any], ts: int, tick: int, lots: int, reason: str, tell: Any) -> None:
        """Book a fill and tell the agent."""
        order["leaves"] -= lots
        self.fills.append((ts, order["side"], tick, lots, int(reason != "taken"), reason))
        done = order["leaves"] == 0
        if done:
            self.resting.pop(order["id"], None)
        tell(ts, order, "filled" if done else "part", lots)

    def event(self, event: dict[str, int], ts: int, tell: Any) -> None:
        """Apply an event of the market."""
        for kind, side, tick, lots, sequence in self.market.changes(event):
            if kind == "trade":
                self.trade(side, tick, lots, sequence, ts, tell)
                continue
            if kind == "moved":
                for order in self.on(side, tick):
                    order["queue"].changed(lots, 0, sequence)
                continue
            before = self.market.at(side, tick)
            after = lots if kind == "set" else max(before + (lots if kind == "more" else -lots), 0)
            for order in self.on(side, tick):
                order["queue"].changed(before, after, sequence if kind == "less" else -1)
            if not after:
                self.taken.pop((side, tick), None)
            better = self.market.set(side, tick, after)
            if better:
                for order in list(self.resting.values()):
                    if order["side"] == -side and side * order["tick"] <= side * tick:
                        self.fill(order, ts, order["tick"], order["leaves"], "depth crossed", tell)

    def on(self, side: int, tick: int) -> list[dict[str, Any]]:
        """Return our orders on a level."""
        return [o for o in self.resting.values() if o["side"] == side and o["tick"] == tick]

    def trade(self, aggressor: int, tick: int, lots: int, sequence: int, ts: int, tell: Any) -> None:
        """Fill what a trade reaches: better prices first."""
        left = lots
        mine = [o for o in self.resting.values() if o["side"] == -aggressor]
        for order in sorted(mine, key=lambda o: (-o["side"] * o["tick"], o["id"])):
            if order["side"] * order["tick"] > order["side"] * tick:
                part = min(order["leaves"], left) if self.partial else order["leaves"]
                reason = "trade through"
            elif order["tick"] == tick:
                reached = order["queue"].traded(lots, sequence, self.market.at(order["side"], tick))
                part = min(order["leaves"], reached, left) if self.partial else (order["leaves"] if reached else 0)
                reason = "queue passed"
            else:
                continue
            if part > 0:
                left -= part
                self.fill(order, ts, order["tick"], part, reason, tell)

    def arrive(self, order: dict[str, Any], what: str, ts: int, tell: Any) -> None:
        """Match, rest or refuse an order; or cancel it."""
        if what == "cancel":
            if order["id"] in self.resting:
                del self.resting[order["id"]]
                tell(ts, order, "gone", 0)
            return
        side, best = order["side"], self.market.best[-order["side"]]
        meets = math.isfinite(best) and side * order["tick"] >= side * best
        if meets and order["kind"] != "post_only":
            if not self.partial:
                self.fill(order, ts, int(best), order["leaves"], "taken", tell)
                return
            for tick in sorted(self.market.lots[-side], reverse=side < 0):
                worse_than_best = side * tick >= side * best
                if worse_than_best and side * tick <= side * order["tick"] and order["leaves"]:
                    had = min(self.taken.get((-side, tick), 0), self.market.at(-side, tick))
                    part = min(order["leaves"], self.market.at(-side, tick) - had)
                    if part:
                        self.taken[-side, tick] = had + part
                        self.fill(order, ts, tick, part, "taken", tell)
        if meets or order["kind"] == "ioc":
            if order["leaves"]:
                tell(ts, order, "gone", 0)
            return
        self.market.sequence += 1
        order["queue"] = self.queue(self.market.at(side, order["tick"]), self.market.sequence, order["leaves"])
        self.resting[order["id"]] = order
        tell(ts, order, "live", 0)


class ByPrice:
    """hftbacktest's probability queue with `share(front, back)`, or the risk-averse one without."""

    def __init__(self, lots: int, share: Callable[[float, float], float] | None) -> None:
        self.front, self.cum, self.share = float(lots), 0.0, share

    def traded(self, lots: int, _: int, __: int) -> int:
        """Move by a trade at our price; return the lots that reached us."""
        self.front -= lots
        self.cum += lots
        if self.front <= -0.5:
            reached = math.floor(0.5 - self.front)
            self.front = 0.0
            return reached
        return 0

    def changed(self, before: int, after: int, _: int) -> None:
        """Move by a change of the level's total."""
        if self.share is None:
            self.front = min(self.front, after)
            return
        change, self.cum = before - after - self.cum, 0.0
        if change < 0:
            self.front = min(self.front, after)
            return
        back = before - self.front
        p = self.share(self.front, back)
        moved = self.front - (1 - p) * change + min(back - p * change, 0.0)
        self.front = float(after) if math.isnan(moved) else min(moved, after)


class Fifo:
    """Exact: every order that came before us is ahead."""

    def __init__(self, lots: int, sequence: int) -> None:
        self.front, self.sequence = float(lots), sequence

    def traded(self, lots: int, sequence: int, _: int) -> int:
        """Return the lots that an order behind us traded: it would have been ours."""
        if sequence > self.sequence:
            return lots
        self.front -= lots
        return 0

    def changed(self, before: int, after: int, sequence: int) -> None:
        """Move up when an order ahead leaves."""
        if 0 <= sequence < self.sequence and after < before:
            self.front -= before - after


def run(
    events: Events, decide: Decide, queue: Callable[..., Any], *, period: int, entry: int, answer: int, partial: bool,
    kind: str = "post_only",
) -> tuple[list[tuple[int, int, int, int, int, str]], list[tuple[int, int, int]]]:  # fmt: skip
    """Return (fills, decisions as (time, best bid, best ask seen)) of one agent that is asked every `period`."""
    names, columns = list(events.columns()), [column.tolist() for column in events.columns().values()]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    agent = Agent(Exchange(queue, partial=partial), rows, decide, period, entry, answer, kind)
    for row in rows:
        agent.until(row["ts_exchange_ns"])
        agent.exchange.event(row, row["ts_exchange_ns"], agent.tell)
    agent.until(agent.stop + 1)
    return agent.exchange.fills, agent.decisions


class Agent:
    """Our side: what was received, what was told, what is on its way."""

    def __init__(
        self, exchange: Exchange, rows: list[dict[str, int]], decide: Decide, period: int, entry: int, answer: int,
        kind: str,
    ) -> None:  # fmt: skip
        self.exchange, self.rows, self.decide = exchange, rows, decide
        self.period, self.entry, self.answer, self.kind = period, entry, answer, kind
        self.wake, self.stop = rows[0]["ts_exchange_ns"] + period, rows[-1]["ts_received_ns"] + 1
        self.seen, self.n_received, self.position, self.number = Market(), 0, 0, 0
        self.orders: dict[int, dict[str, Any]] = {}
        self.told: list[tuple[int, dict[str, Any], str, int]] = []
        self.sent: list[tuple[int, dict[str, Any], str]] = []
        self.decisions: list[tuple[int, int, int]] = []

    def tell(self, ts: int, order: dict[str, Any], what: str, lots: int) -> None:
        """Send an answer on its way."""
        self.told.append((ts + self.answer, order, what, lots))

    def until(self, ts: float) -> None:
        """Let arrivals and wake-ups happen that are due before `ts`; an arrival first where both are."""
        while True:
            arrives = self.sent[0][0] if self.sent else math.inf
            wakes = self.wake if self.wake < self.stop else math.inf
            if min(arrives, wakes) >= ts:
                return
            if arrives <= wakes:
                due, order, what = self.sent.pop(0)
                self.exchange.arrive(order, what, due, self.tell)
            else:
                self.ask(self.wake)
                self.wake += self.period

    def ask(self, now: int) -> None:
        """Look at what has come by `now`, decide, and send what follows."""
        while self.n_received < len(self.rows) and self.rows[self.n_received]["ts_received_ns"] <= now:
            for change, side, tick, lots, _ in self.seen.changes(self.rows[self.n_received]):
                if change not in ("trade", "moved"):
                    total = (
                        lots if change == "set" else self.seen.at(side, tick) + (lots if change == "more" else -lots)
                    )
                    self.seen.set(side, tick, total)
            self.n_received += 1
        while self.told and self.told[0][0] <= now:
            _, order, what, lots = self.told.pop(0)
            self.position += order["side"] * lots
            order["state"] = "live" if what in ("live", "part") and order["state"] != "asked" else order["state"]
            if what in ("filled", "gone"):
                self.orders.pop(order["id"])
        bid, ask = self.seen.best[1], self.seen.best[-1]
        buys: dict[int, int] = {}
        sells: dict[int, int] = {}
        take = (0, 0)
        if math.isfinite(bid) and math.isfinite(ask):
            self.decisions.append((now, int(bid), int(ask)))
            buys, sells, take = self.decide({"now": now, "bid": int(bid), "ask": int(ask), "position": self.position})
        for order in self.orders.values():
            if order["state"] == "live" and order["tick"] not in (buys if order["side"] > 0 else sells):
                order["state"] = "asked"
                self.sent.append((now + self.entry, order, "cancel"))
        for side, quotes in ((1, buys), (-1, sells)):
            for tick, lots in quotes.items():
                if not any(o["side"] == side and o["tick"] == tick for o in self.orders.values()):
                    self.send(now, side, tick, lots, self.kind)
        if take[1]:
            self.send(now, 1 if take[1] > 0 else -1, take[0], abs(take[1]), "ioc")

    def send(self, now: int, side: int, tick: int, lots: int, kind: str) -> None:
        """Send a new order."""
        self.number += 1
        order = {"id": self.number, "side": side, "tick": tick, "leaves": lots, "kind": kind, "state": "sent"}
        self.orders[self.number] = order
        self.sent.append((now + self.entry, order, "new"))
