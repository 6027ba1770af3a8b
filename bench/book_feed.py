"""Event streams for the book benchmarks: a seeded market by order, the same by price, and Binance's raw streams."""

# ruff: noqa: NPY002 - inside numba there is no other generator that is seeded from a number

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from quantbot.book.events import Action, BookInstrument, Events, Flag

ADD, CANCEL, DELETE, MODIFY, EXECUTE, TRADE, SET, CLEAR = range(1, 9)
N_TICKS, DEEP = 8192, 128
START_NS = 1_700_000_000_000_000_000


@njit
def best(counts: Any, tick: int, step: int) -> int:
    while 0 <= tick < counts.shape[0] and counts[tick] == 0:
        tick += step
    return tick


@njit
def market(n: int, seed: int, out: Any) -> int:
    """Write (action, side, tick, lots, id, new group) of n events: orders come, go and trade first in, first out."""
    np.random.seed(seed)
    queue = np.zeros((N_TICKS, DEEP), np.int64)
    counts = np.zeros((2, N_TICKS), np.int64)
    tick_of, lots_of, side_of = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    live, where = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    n_live, last, row = 0, 0, 0
    bids, asks, drift = N_TICKS // 2 - 1, N_TICKS // 2, 0.0
    while row < n:
        drift = 0.999 * drift + 0.02 * np.random.normal()
        u = np.random.random()
        bids = best(counts[0], min(bids + 8, N_TICKS - 1), -1)
        asks = best(counts[1], max(asks - 8, 0), 1)
        pull = ((bids + asks) / 2 - N_TICKS / 2) / 100
        side = 1 if np.random.random() < 0.5 + 0.2 * np.tanh(drift - pull) else -1
        s = 0 if side > 0 else 1
        thin = n_live < 200 or counts[s].sum() < 60
        if u < 0.46 or thin:
            away = np.random.geometric(0.25) - 1 + (3 if n_live < 100 else 0)
            if side > 0:
                tick = min(asks, N_TICKS - 1) - 1 - away if n_live else N_TICKS // 2 - 1 - away
            else:
                tick = max(bids, 0) + 1 + away if n_live else N_TICKS // 2 + away
            if not 1 <= tick < N_TICKS - 1 or counts[s, tick] >= DEEP or counts[1 - s, tick] > 0:
                continue
            last += 1
            lots = 1 + np.random.geometric(0.1)
            tick_of[last], lots_of[last], side_of[last] = tick, lots, side
            live[n_live], where[last] = last, n_live
            n_live += 1
            queue[tick, counts[s, tick]] = last
            counts[s, tick] += 1
            out[row] = (ADD, side, tick, lots, last, 1)
            row += 1
            if side > 0:
                bids = max(bids, tick)
            else:
                asks = min(asks, tick)
        elif u < 0.88:
            order = live[np.random.randint(n_live)]
            tick, so = tick_of[order], 0 if side_of[order] > 0 else 1
            v = np.random.random()
            if v < 0.1 and lots_of[order] > 1:
                lots = 1 + np.random.randint(lots_of[order] - 1)
                lots_of[order] -= lots
                out[row] = (CANCEL, side_of[order], tick, lots, order, 1)
                row += 1
                continue
            i = 0
            while queue[tick, i] != order:
                i += 1
            for j in range(i, counts[so, tick] - 1):
                queue[tick, j] = queue[tick, j + 1]
            if v < 0.15:
                lots_of[order] += 3
                queue[tick, counts[so, tick] - 1] = order
                out[row] = (MODIFY, side_of[order], tick, lots_of[order], order, 1)
                row += 1
                continue
            counts[so, tick] -= 1
            out[row] = (DELETE, side_of[order], tick, lots_of[order], order, 1)
            row += 1
            n_live -= 1
            live[where[order]] = live[n_live]
            where[live[n_live]] = where[order]
        else:
            lots, new = 1 + np.random.geometric(0.06), 1
            while lots > 0 and row < n:
                tick = asks if side > 0 else bids
                so = 1 - s
                if not 0 <= tick < N_TICKS or counts[so, tick] == 0:
                    break
                order = queue[tick, 0]
                part = min(lots, lots_of[order])
                out[row] = (EXECUTE, -side, tick, part, order, new)
                row, lots, new = row + 1, lots - part, 0
                lots_of[order] -= part
                if lots_of[order] == 0:
                    counts[so, tick] -= 1
                    for j in range(counts[so, tick]):
                        queue[tick, j] = queue[tick, j + 1]
                    n_live -= 1
                    live[where[order]] = live[n_live]
                    where[live[n_live]] = where[order]
                    if side > 0:
                        asks = best(counts[1], asks, 1)
                    else:
                        bids = best(counts[0], bids, -1)
    return row


@njit
def prices(rows: Any, out: Any, source: Any) -> int:
    """Write the events by price that a market by order gives: (action, side, tick, lots); `source`: of which row."""
    totals = np.zeros((2, N_TICKS), np.int64)
    lots_of = np.zeros(rows.shape[0] + 1, np.int64)
    n = 0
    for i in range(rows.shape[0]):
        action, side, tick, lots, order, _ = rows[i]
        s = 0 if side > 0 else 1
        if action == EXECUTE:
            out[n] = (TRADE, -side, tick, lots)
            source[n] = i
            n += 1
        before = lots_of[order]
        if action in (ADD, MODIFY):
            lots_of[order] = lots
        elif action == DELETE:
            lots_of[order] = 0
        else:
            lots_of[order] -= lots
        totals[s, tick] += lots_of[order] - before
        out[n] = (SET, side, tick, totals[s, tick])
        source[n] = i
        n += 1
    return n


def times(new: NDArray[np.int64], seed: int, gap_ns: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return exchange and received times: gaps in bursts, 0.2 ms and more on the way."""
    draws = np.random.default_rng(seed)
    gaps = draws.exponential(gap_ns, new.shape[0]) * draws.choice([0.1, 1.9], new.shape[0]) * new
    exchange = START_NS + np.cumsum(gaps).astype(np.int64)
    way = 200_000 + draws.exponential(100_000, new.shape[0]).astype(np.int64)
    return exchange, np.maximum.accumulate(exchange + way)


def synthetic(n: int, seed: int = 1, gap_ns: float = 1e6) -> tuple[Events, Events]:
    """Return a market of n events by order, and the same by price."""
    rows = np.zeros((n, 6), np.int64)
    rows = rows[: market(n, seed, rows)]
    exchange, received = times(rows[:, 5], seed, gap_ns)
    wide, source = np.zeros((2 * n, 4), np.int64), np.zeros(2 * n, np.int64)
    n_wide = prices(rows, wide, source)
    wide, source = wide[:n_wide], source[:n_wide]
    last = np.where(np.append(source[1:] != source[:-1], True), int(Flag.LAST), 0)
    kinds: tuple[tuple[Any, NDArray[np.int64], NDArray[Any], NDArray[np.int64], NDArray[np.int64]], ...] = (
        ("by_order", rows[:, :4], rows[:, 4], np.full(len(rows), int(Flag.LAST)), np.arange(len(rows))),
        ("by_price", wide, np.zeros(n_wide, np.int64), last, source),
    )
    made = []
    for kind, columns, identity, flags, at in kinds:
        action, side, tick, lots = columns.T
        made.append(
            Events(
                BookInstrument("SYN", 0.01, 1.0, kind),
                "synthetic",
                exchange[at].copy(),
                received[at].copy(),
                action.astype(np.uint8),
                side.astype(np.int8),
                np.ascontiguousarray(tick),
                np.ascontiguousarray(lots),
                identity.astype(np.uint64),
                flags.astype(np.uint8),
            )
        )
    return made[0], made[1]


def binance(path: Path) -> Events:
    """Return a raw stream file as events by price: snapshot, diffs and trades; the clock of the receiver set right."""
    rows: list[tuple[int, int, int, int, str, str]] = []
    symbol = path.name.split("_")[0].upper()
    started = 0
    with gzip.open(path, "rt") as lines:
        for line in lines:
            received, message = int(line[:19]), json.loads(line[20:])
            data = message.get("data", message)
            if "lastUpdateId" in data:
                started = data["lastUpdateId"]
                at = data.get("T", received // 10**6) * 10**6 if "T" in data else (rows[-1][0] if rows else received)
                rows = [(at, received, CLEAR, 0, "0", "0")]
                for side, name in ((1, "bids"), (-1, "asks")):
                    rows += [(at, received, SET, side, price, size) for price, size in data[name]]
            elif data.get("e") == "depthUpdate" and started and data["u"] > started:
                at = data.get("T", data["E"]) * 10**6
                for side, name in ((1, "b"), (-1, "a")):
                    rows += [(at, received, SET, side, price, size) for price, size in data[name]]
            elif data.get("e") == "trade" and data.get("X", "MARKET") == "MARKET" and started:
                rows.append((data["T"] * 10**6, received, TRADE, -1 if data["m"] else 1, data["p"], data["q"]))
    tick, lot = step([row[4] for row in rows]), step([row[5] for row in rows])
    exchange, received, action, side = (np.array([row[i] for row in rows], np.int64) for i in range(4))
    ticks = np.array([round(float(row[4]) / tick) for row in rows], np.int64)
    lots = np.array([round(float(row[5]) / lot) for row in rows], np.int64)
    shift = max(int((exchange - received).max()), 0) + 1_000_000
    instrument = BookInstrument(symbol, tick, lot, "by_price")
    n = len(rows)
    flags = np.where(np.append(received[1:] != received[:-1], True), int(Flag.LAST), 0).astype(np.uint8)
    return Events(
        instrument, path.name, exchange, received + shift, action.astype(np.uint8), side.astype(np.int8), ticks, lots,
        np.zeros(n, np.uint64), flags,
    )  # fmt: skip


def step(texts: list[str]) -> float:
    """Return the smallest power of ten that all of these decimals are multiples of."""
    places = max(len(text.rstrip("0").partition(".")[2]) for text in texts)
    return float(f"1e-{places}") if places else 1.0


def save(events: Events, path: Path) -> None:
    """Write what the peer reads."""
    names = ("ts_exchange_ns", "ts_received_ns", "action", "side", "price_ticks", "size_lots", "order_id")
    columns = {name: getattr(events, name) for name in names}
    np.savez(path, **columns, tick_size=events.instrument.tick_size, lot_size=events.instrument.lot_size)


def load(path: Path) -> Events:
    """Read events from an npz file with our columns, or a raw stream of Binance."""
    if path.suffix == ".gz":
        return binance(path)
    with np.load(path) as arrays:
        columns = {key: arrays[key] for key in arrays.files}
    tick, lot = float(columns.pop("tick_size")), float(columns.pop("lot_size"))
    orders = bool(np.isin(columns["action"], (Action.ADD, Action.EXECUTE)).any())
    columns.setdefault("flags", np.full(columns["action"].shape[0], int(Flag.LAST), np.uint8))
    return Events(BookInstrument(path.stem, tick, lot, "by_order" if orders else "by_price"), "file", **columns)
