"""Seeded markets by order and by price, and agents that ride them: what the tests of the book engine share."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from quantbot.book.events import Action, BookInstrument, Events
from quantbot.book.layout import Queue
from quantbot.book.replay import Agents, BookReplay, Exchange
from quantbot.book.strategy import BookStrategy
from quantbot.book.window import tick_window

MS = 1_000_000


def random_market(
    seed: int, n: int = 400, *, kind: str = "by_order", late_us: int = 300, grows: bool = True
) -> Events:  # fmt: skip
    """Return a seeded market whose orders come, go and trade; degraded to levels where `kind` is by_price.

    With `grows` some orders become larger where they are: they lose their place, which no total shows.
    """
    draws = np.random.default_rng(seed)
    queues: dict[tuple[int, int], list[list[int]]] = {}
    rows: list[tuple[int, ...]] = []
    ts, last = 10**9, 0

    def best(side: int) -> int:
        ticks = [tick for (s, tick), queue in queues.items() if s == side and queue]
        return (max(ticks) if side > 0 else min(ticks)) if ticks else (1000 if side > 0 else 1001)

    while len(rows) < n:
        ts += int(draws.exponential(3 * MS)) * int(draws.random() < 0.9)
        side, u = int(draws.choice([1, -1])), draws.random()
        live = [(key, order) for key, queue in queues.items() for order in queue if key[0] == side]
        if u < 0.5 or len(live) < 4:
            tick = best(-side) - side * int(draws.integers(1, 6))
            if queues.get((-side, tick)):
                continue
            last += 1
            lots = int(draws.integers(1, 9))
            queues.setdefault((side, tick), []).append([last, lots])
            rows.append((ts, Action.ADD, side, tick, lots, last))
        elif u < 0.75:
            (_, tick), order = live[int(draws.integers(len(live)))]
            part = int(draws.integers(1, order[1] + 1))
            action = Action.DELETE if part == order[1] else Action.CANCEL
            rows.append((ts, action, side, tick, part, order[0]))
            order[1] -= part
            if not order[1]:
                queues[side, tick].remove(order)
        elif u < 0.8:
            (_, tick), order = live[int(draws.integers(len(live)))]
            to = tick if draws.random() < 0.5 else best(-side) - side * int(draws.integers(1, 5))
            if to == tick and not grows:
                continue
            queues[side, tick].remove(order)
            order[1] += int(draws.integers(1, 4))
            queues.setdefault((side, to), []).append(order)
            rows.append((ts, Action.MODIFY, side, to, order[1], order[0]))
        else:
            lots = int(draws.integers(1, 14))
            while lots and queues.get((side, best(side))):
                tick = best(side)
                order = queues[side, tick][0]
                part = min(lots, order[1])
                rows.append((ts, Action.EXECUTE, side, tick, part, order[0]))
                order[1] -= part
                lots -= part
                if not order[1]:
                    queues[side, tick].pop(0)
    received = np.maximum.accumulate([row[0] + int(draws.integers(0, 2 * late_us + 1)) * 1000 for row in rows])
    events = Events.of(BookInstrument("RND", 0.5, 0.1, "by_order"), "random", rows)
    object.__setattr__(events, "ts_received_ns", np.asarray(received, np.int64))
    return events if kind == "by_order" else degraded(events)


def degraded(events: Events) -> Events:
    """Return the events by price that a by-order market publishes."""
    totals: dict[tuple[int, int], int] = {}
    orders: dict[int, list[int]] = {}
    rows, received = [], []

    def add(side: int, tick: int, lots: int) -> None:
        totals[side, tick] = totals.get((side, tick), 0) + lots
        rows.append((ts, Action.SET, side, tick, totals[side, tick]))

    columns = [column.tolist() for column in events.columns().values()]
    for ts, heard, action, side, tick, lots, identity, _ in zip(*columns, strict=True):
        before = len(rows)
        if action == Action.ADD:
            orders[identity] = [tick, lots]
            add(side, tick, lots)
        elif action == Action.MODIFY:
            was, had = orders[identity]
            orders[identity] = [tick, lots]
            if was == tick:
                add(side, tick, lots - had)
            else:
                add(side, was, -had)
                add(side, tick, lots)
        else:
            gone = orders[identity][1] if action == Action.DELETE else lots
            orders[identity][1] -= gone
            if action == Action.EXECUTE:
                rows.append((ts, Action.TRADE, -side, tick, gone))
            add(side, tick, -gone)
        received += [heard] * (len(rows) - before)
    instrument = events.instrument
    made = Events.of(BookInstrument("RND", instrument.tick_size, instrument.lot_size, "by_price"), "random", rows)
    object.__setattr__(made, "ts_received_ns", np.asarray(received, np.int64))
    return made


def ride(
    events: Events, strategy: BookStrategy, points: list[dict[str, Any]], *, queue: str | list[str] = "risk_averse",
    power: float = 3.0, partial: bool = False, parts: list[int] | None = None, period_ms: float = 10,
    entry_us: Any = 500, answer_us: Any = 700, plain_python: bool = False, curves: bool = False, gap: bool = False,
    horizons: tuple[int, ...] = (), to_grid: bool = False, **columns: Any,
) -> BookReplay:  # fmt: skip
    """Return a replay of points, done; `parts` are where the day is cut."""
    n = len(points)
    names = [queue] * n if isinstance(queue, str) else queue
    kinds = [(int(Queue[name.upper()]), power) for name in names]
    models = list(dict.fromkeys(kinds))
    zero = np.zeros(n, np.int64)
    own = {
        "entry_ns": np.broadcast_to(np.asarray(entry_us) * 1000, n),
        "answer_ns": np.broadcast_to(np.asarray(answer_us) * 1000, n),
        "queue": np.array([models.index(kind) for kind in kinds]),
        "capital": np.full(n, 1e6),
    }
    matrix = np.array([[point[p.name] for p in strategy.parameters] for point in points], float).reshape(n, -1)
    periods = np.full(n, round(period_ms * MS)) if strategy.wake & 1 else zero
    agents = Agents(own | columns, matrix, periods, zero, zero, models=models)
    start_ns, stop_ns = int(events.ts_exchange_ns[0]), int(events.ts_received_ns[-1]) + 1
    if to_grid:
        stop_ns += (start_ns - stop_ns) % (50 * MS)
    replay = BookReplay(
        events.instrument,
        strategy,
        agents,
        Exchange(partial=partial, cancel_on_gap=gap),
        start_ns=start_ns,
        stop_ns=stop_ns,
        ticks=tick_window(events),
        sample_ns=50 * MS,
        record=True,
        curves=curves,
        horizons_ns=horizons,
        plain_python=plain_python,
    )
    cuts = [0, *(parts or []), len(events)]
    for start, stop in pairwise(cuts):
        replay.feed(events[start:stop])
    replay.feed(events[:0], final=True)
    return replay


def fills(replay: BookReplay, agent: int = 0) -> list[tuple[int, int, int, int, int]]:
    """Return (time, side, tick, lots, maker) of one agent's fills, in order of time."""
    log = replay.fills[: int(replay.state[0]["n_fills"])]
    log = log[log["agent"] == agent]
    return sorted(zip(*(log[name].tolist() for name in ("ts_ns", "side", "tick", "lots", "maker")), strict=True))
