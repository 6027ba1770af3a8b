"""A book rebuilt from events: levels by price, or orders in queues by id."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantbot.book import kernels_levels as book
from quantbot.book.kernels_levels import Levels
from quantbot.kernels import plain, plain_inlined, plain_inner

DONE, FAR_FULL, ORDERS_FULL = 0, 1, 2  # why `apply` came back; the event it names is not applied yet
ADD, CANCEL, DELETE, MODIFY, EXECUTE, TRADE, SET, CLEAR, HALT = 1, 2, 3, 4, 5, 6, 7, 8, 9
SNAPSHOT, LAST, GAP = 1, 2, 4
N_COUNTS = 16
# What is counted, as `quantbot.book.rebuild.Counts` names it.
(
    EVENTS, TRADES, EXECUTIONS, SNAPSHOTS, GAPS, HALTS, UNKNOWN_CANCELS, UNKNOWN_EXECUTIONS, UNKNOWN_MODIFIES,
    DUPLICATES, OVERSIZED, OTHER_PRICE, ABSENT_LEVELS, CROSSED, LOCKED, LOOKS,
) = range(N_COUNTS)  # fmt: skip

N_ORDERS, FREE, N_SLOTS = 0, 1, 2  # of `Orders.at`


class Orders(NamedTuple):
    """The orders of a book: a hash table of ids, and what each order is, in slots.

    Attributes
    ----------
    at
        int64: how many orders rest, the first free slot + 1 (chained through `after`), slots used so far.
    keys, places
        uint64 ids (0: empty) by linear probing, and their slots (int32); at most half full.
    ids, price, size, side
        By slot: uint64, int64 ticks, int64 lots, int8 (0 bid, 1 ask).
    before, after
        int32 by slot: the neighbours in the level's queue, slot + 1, 0 where none.
    """

    at: NDArray[np.int64]
    keys: NDArray[np.uint64]
    places: NDArray[np.int32]
    ids: NDArray[np.uint64]
    price: NDArray[np.int64]
    size: NDArray[np.int64]
    side: NDArray[np.int8]
    before: NDArray[np.int32]
    after: NDArray[np.int32]


@plain
def apply(
    action: Any,
    side: Any,
    price: Any,
    size: Any,
    order_id: Any,
    flags: Any,
    start: Any,
    levels: Levels,
    orders: Orders,
    counts: Any,
    wanted: Any,
    out: Any,
) -> tuple[int, int]:
    """Apply events from `start`; look at the book after each event in `wanted` (rising indices).

    `out` holds arrays (n_wanted, 2, n_levels) of ticks, lots and orders, and (n_wanted, 2) of how many levels there
    are. Returns why it stopped and the next event.
    """
    n_events = action.shape[0]
    look = 0
    while look < wanted.shape[0] and wanted[look] < start:
        look += 1
    next_look = wanted[look] if look < wanted.shape[0] else n_events
    for i in range(start, n_events):
        act = action[i]
        flag = flags[i]
        s = 0 if side[i] > 0 else 1
        tick = price[i]
        # What happens to the order in slot o, at place k of the table: each step stands once, since it is inlined.
        o, k = np.int32(-1), np.int64(-1)
        leaves, goes, enters = False, False, False
        if act == SET:
            if size[i] > 0:
                if not book.has_room(levels, s, tick):
                    return FAR_FULL, i
                levels.total[s, book.make(levels, s, tick)] = size[i]
            else:
                slot = book.find(levels, s, tick)
                if slot >= 0 and levels.total[s, slot] > 0:
                    book.remove(levels, s, tick)
                else:
                    counts[ABSENT_LEVELS] += 1
        elif act <= EXECUTE:
            k = lookup(orders, order_id[i])
            if act == ADD:
                if not book.has_room(levels, s, tick):
                    return FAR_FULL, i
                if 2 * (orders.at[N_ORDERS] + 1) > orders.keys.shape[0] or orders.at[N_ORDERS] >= orders.ids.shape[0]:
                    return ORDERS_FULL, i
                if size[i] <= 0:
                    counts[OVERSIZED] += 1
                elif k >= 0:
                    counts[DUPLICATES] += 1
                else:
                    o, enters = new(orders, order_id[i], s, tick, size[i]), True
            elif act == MODIFY:
                if k < 0:
                    counts[UNKNOWN_MODIFIES] += 1
                elif size[i] <= 0:
                    counts[OVERSIZED] += 1
                else:
                    o = orders.places[k]
                    if tick == orders.price[o] and s == orders.side[o] and size[i] <= orders.size[o]:
                        levels.total[s, book.find(levels, s, tick)] -= orders.size[o] - size[i]
                        orders.size[o] = size[i]
                    else:
                        if not book.has_room(levels, s, tick):
                            return FAR_FULL, i
                        leaves, enters = True, True
            else:
                if act == EXECUTE:
                    counts[EXECUTIONS] += 1
                if k < 0:
                    counts[UNKNOWN_EXECUTIONS if act == EXECUTE else UNKNOWN_CANCELS] += 1
                else:
                    o = orders.places[k]
                    # The id decides; where the event says another price, that is a wrong feed, or a better price.
                    if act == EXECUTE and tick != orders.price[o]:
                        counts[OTHER_PRICE] += 1
                    if act == DELETE or size[i] >= orders.size[o]:
                        if act != DELETE and size[i] > orders.size[o]:
                            counts[OVERSIZED] += 1
                        leaves, goes = True, True
                    else:
                        orders.size[o] -= size[i]
                        levels.total[orders.side[o], book.find(levels, orders.side[o], orders.price[o])] -= size[i]
            if leaves:
                _unlink(levels, orders, o)
            if goes:
                forget(orders, k)
            if enters:
                orders.side[o], orders.price[o], orders.size[o] = s, tick, size[i]
                _append(levels, orders, o)
        elif act == TRADE:
            counts[TRADES] += 1
        elif act == CLEAR:
            if side[i] >= 0:
                _clear(levels, orders, 0)
            if side[i] <= 0:
                _clear(levels, orders, 1)
        elif act == HALT:
            counts[HALTS] += 1
        counts[EVENTS] += 1
        if flag & (SNAPSHOT | GAP):
            counts[SNAPSHOTS] += flag & SNAPSHOT
            counts[GAPS] += (flag & GAP) // GAP
        if flag & LAST:
            counts[LOOKS] += 1
            bid, ask = levels.at[book.BEST], levels.at[book.BEST + 1]
            if bid >= ask and ask != book.NONE:
                counts[LOCKED if bid == ask else CROSSED] += 1
        if i == next_look:
            ticks, lots, resting, n_levels = out
            for each in range(2):
                n_levels[look, each] = book.read(levels, each, ticks[look, each], lots[look, each], resting[look, each])
            look += 1
            next_look = wanted[look] if look < wanted.shape[0] else n_events
    return DONE, n_events


@plain_inlined
def _home(orders: Orders, key: Any) -> Any:
    # Fibonacci hashing: ids rise by small steps, and the high bits of the product spread them.
    return np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & (orders.keys.shape[0] - 1)


@plain_inlined
def lookup(orders: Orders, key: Any) -> Any:
    """Return where `key` is in the table, or -1."""
    k = _home(orders, key)
    while orders.keys[k]:
        if orders.keys[k] == key:
            return k
        k = (k + 1) & (orders.keys.shape[0] - 1)
    return np.int64(-1)


@plain_inlined
def new(orders: Orders, key: Any, side: Any, tick: Any, size: Any) -> Any:
    """Return the slot of a new order; there is room."""
    if orders.at[FREE]:
        o = orders.at[FREE] - 1
        orders.at[FREE] = orders.after[o]
    else:
        o = orders.at[N_SLOTS]
        orders.at[N_SLOTS] += 1
    orders.ids[o], orders.side[o], orders.price[o], orders.size[o] = key, side, tick, size
    k = _home(orders, key)
    while orders.keys[k]:
        k = (k + 1) & (orders.keys.shape[0] - 1)
    orders.keys[k], orders.places[k] = key, o
    orders.at[N_ORDERS] += 1
    return o


@plain_inlined
def forget(orders: Orders, k: Any) -> None:
    """Free the order at place `k` of the table, and close the gap that it leaves in the probes."""
    o = orders.places[k]
    orders.after[o] = orders.at[FREE]
    orders.at[FREE] = o + 1
    orders.at[N_ORDERS] -= 1
    mask = orders.keys.shape[0] - 1
    gap = k
    probe = k
    while True:
        probe = (probe + 1) & mask
        if not orders.keys[probe]:
            break
        home = _home(orders, orders.keys[probe])
        if ((probe - home) & mask) >= ((probe - gap) & mask):
            orders.keys[gap], orders.places[gap] = orders.keys[probe], orders.places[probe]
            gap = probe
    orders.keys[gap] = 0


@plain
def rehash(keys: Any, places: Any, orders: Orders) -> None:
    """Put every key of an older table into the empty table of `orders`."""
    for old in range(keys.shape[0]):
        if keys[old]:
            k = _home(orders, keys[old])
            while orders.keys[k]:
                k = (k + 1) & (orders.keys.shape[0] - 1)
            orders.keys[k], orders.places[k] = keys[old], places[old]


@plain_inlined
def _append(levels: Levels, orders: Orders, o: Any) -> None:
    side = orders.side[o]
    slot = book.make(levels, side, orders.price[o])
    levels.total[side, slot] += orders.size[o]
    levels.resting[side, slot] += 1
    last = levels.tail[side, slot]
    orders.before[o], orders.after[o] = last, 0
    if last:
        orders.after[last - 1] = o + 1
    else:
        levels.head[side, slot] = o + 1
    levels.tail[side, slot] = o + 1


@plain_inlined
def _unlink(levels: Levels, orders: Orders, o: Any) -> None:
    side, tick = orders.side[o], orders.price[o]
    slot = book.find(levels, side, tick)
    if levels.resting[side, slot] == 1:
        book.remove(levels, side, tick)
        return
    before, after = orders.before[o], orders.after[o]
    if before:
        orders.after[before - 1] = after
    else:
        levels.head[side, slot] = after
    if after:
        orders.before[after - 1] = before
    else:
        levels.tail[side, slot] = before
    levels.total[side, slot] -= orders.size[o]
    levels.resting[side, slot] -= 1


@plain_inner
def _clear(levels: Levels, orders: Orders, side: Any) -> None:
    while levels.at[book.BEST + side] != book.NONE:
        tick = levels.at[book.BEST + side]
        o = levels.head[side, book.find(levels, side, tick)]
        while o:
            after = orders.after[o - 1]
            forget(orders, lookup(orders, orders.ids[o - 1]))
            o = after
        book.remove(levels, side, tick)


@plain
def dump_orders(levels: Levels, orders: Orders, ids: Any, side: Any, price: Any, size: Any) -> Any:
    """Fill arrays with every order, bids first, best levels first, each queue from its front; return their number."""
    n = 0
    for each in range(2):
        tick = levels.at[book.BEST + each]
        while tick != book.NONE:
            o = levels.head[each, book.find(levels, each, tick)]
            while o:
                ids[n], side[n], price[n], size[n] = orders.ids[o - 1], 1 - 2 * each, tick, orders.size[o - 1]
                n += 1
                o = orders.after[o - 1]
            tick = book.next_down(levels, 0, tick - 1) if each == 0 else book.next_up(levels, 1, tick + 1)
    return n
