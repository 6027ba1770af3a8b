"""A market drawn order by order, and any market by order degraded to one by price."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from quantbot.book import kernels_levels as book
from quantbot.book.events import Action, Flag
from quantbot.book.kernels_levels import Levels
from quantbot.book.kernels_rebuild import (
    ADD,
    CANCEL,
    CLEAR,
    DELETE,
    EXECUTE,
    LAST,
    MODIFY,
    N_ORDERS,
    N_SLOTS,
    ORDERS_FULL,
    SET,
    TRADE,
    Orders,
    apply,
    lookup,
)
from quantbot.kernels import plain, plain_inner

HALT, RESUME, CROSS = int(Action.HALT), int(Action.RESUME), int(Flag.CROSS)
DRAWS = 8  # random words of one step: so step k has the same whatever the blocks are
MOST_ROWS = 64  # of one step
EXCHANGE, RECEIVED, FAIR, NEXT_ID, TREND = 0, 1, 2, 3, 4  # of `state`: int64; the fair price in 1/65536 ticks
# Rows until now; whether trading is halted; the row from which that changes next; rows between halts, and of one.
ROWS, HALTED, TURN, BETWEEN, LASTS = 5, 6, 7, 8, 9
N_STATE, NO_TURN = 10, 2**62
SCALE = 65536
# Shares of 1024 of a step: what it does.
_ADDS, _DELETES, _CANCELS, _MODIFIES = 470, 340, 40, 60  # the rest are market orders
_FLOOR_TICKS = 1000
_LOOKS = 16  # slots tried for an order that rests


@plain
def draw(
    words: Any, gap_ns: int, latency_ns: int, target: int, volatility: int, levels: Levels, orders: Orders, state: Any,
    counts: Any, none: Any, nothing: Any, out: Any,
) -> tuple[int, int]:  # fmt: skip
    """Draw as many steps as `words` (n, DRAWS) has, or as `out` holds; return the steps and the rows made.

    Each step moves the fair price, then one order is added near it, deleted, cut, moved, or takes what rests: mostly
    on the side on which the fair price has left the book behind. While trading is halted nothing takes; the auction
    that ends it is a print within the spread, of orders that were never shown. `out` has a row for each column of
    events: exchange and received time, action, side, price, size, order id and flags, (n_rows,) each. `none` and
    `nothing` are empty looks, as `quantbot.book.kernels_rebuild.apply` takes them.
    """
    exchange, received, action, side, price, size, order_id, flags = out
    n = 0
    for step in range(words.shape[0]):
        if n + MOST_ROWS > action.shape[0]:
            state[ROWS] += n
            return step, n
        w = words[step]
        unit = np.float64(w[0] >> np.uint64(11)) * (1.0 / 9007199254740992.0)
        state[EXCHANGE] += 1 + np.int64(3.0 * unit * unit * gap_ns)  # 3 u^2 has mean 1, and bursts
        # A sum of four uniform numbers is near enough to normal; the trend turns rarely and gives flows a memory.
        noise = np.int64(0)
        for k in range(4):
            noise += np.int64((w[1] >> np.uint64(16 * k)) & np.uint64(0xFFFF)) - 32768
        if not w[2] & np.uint64(0xFFF):
            state[TREND] = np.int64((w[2] >> np.uint64(12)) & np.uint64(7)) - 3
        state[FAIR] = max(state[FAIR] + (noise + state[TREND] * 256) * volatility // 1024, _FLOOR_TICKS * SCALE)
        fair = state[FAIR] // SCALE
        bid, ask = levels.at[book.BEST], levels.at[book.BEST + 1]
        first = n
        kind = np.int64(w[3] & np.uint64(1023))
        sign = 1 if w[3] & np.uint64(1024) else -1
        amount = (
            1
            + np.int64(w[4] & np.uint64(7))
            + (np.int64((w[4] >> np.uint64(3)) & np.uint64(63)) if not w[4] & np.uint64(0xF00) else 0)
        )
        few = orders.at[N_ORDERS] < target // 8 or bid == book.NONE or ask == book.NONE
        many = orders.at[N_ORDERS] > target
        if state[ROWS] + n >= state[TURN]:
            if state[HALTED]:
                if bid != book.NONE and ask != book.NONE:
                    action[n], side[n], price[n] = TRADE, 0, min(max(fair, bid), ask)
                    size[n], order_id[n] = 10 * amount, 0
                    n += 1
                action[n] = RESUME
                state[TURN] += state[BETWEEN]
            else:
                action[n] = HALT
                state[TURN] += state[LASTS]
            side[n], price[n], size[n], order_id[n] = 0, 0, 0, 0
            n += 1
            state[HALTED] = 1 - state[HALTED]
        elif few or (kind < _ADDS and not many):
            if few and bid == book.NONE:
                sign = 1
            elif few and ask == book.NONE:
                sign = -1
            # Distances are geometric in steps of a few ticks: dense near the price, thin far from it.
            away = np.int64(trailing_zeros(w[5] | np.uint64(1 << 20))) * 3 + np.int64(
                (w[5] >> np.uint64(24)) & np.uint64(3)
            )
            tick = fair - away if sign > 0 else fair + 1 + away
            if sign > 0 and ask != book.NONE:
                tick = min(tick, ask - 1)
            if sign < 0 and bid != book.NONE:
                tick = max(tick, bid + 1)
            action[n], side[n], price[n], size[n], order_id[n] = ADD, sign, max(tick, 1), amount, state[NEXT_ID]
            state[NEXT_ID] += 1
            n += 1
        elif kind < _ADDS + _DELETES + _CANCELS + _MODIFIES:
            o = _resting(orders, w[6])
            if o >= 0:
                own = 1 - 2 * orders.side[o]
                left = orders.size[o]
                side[n], price[n], size[n], order_id[n] = own, orders.price[o], left, orders.ids[o]
                action[n] = DELETE
                if kind >= _ADDS + _DELETES and not many:
                    if kind < _ADDS + _DELETES + _CANCELS:
                        if left > 1:
                            action[n], size[n] = CANCEL, 1 + np.int64(w[7] % np.uint64(left - 1))
                    elif w[7] & np.uint64(1):
                        action[n], size[n] = MODIFY, 1 + np.int64(w[4] % np.uint64(left))
                    else:
                        tick = orders.price[o] + np.int64((w[7] >> np.uint64(1)) % np.uint64(7)) - 3
                        tick = min(tick, ask - 1) if own > 0 else max(tick, bid + 1)
                        action[n], price[n], size[n] = MODIFY, max(tick, 1), amount
                n += 1
        elif not state[HALTED]:
            if fair >= ask:
                sign = 1
            elif fair < bid:
                sign = -1
            rests = 1 if sign > 0 else 0  # the side that is taken
            left = amount
            tick = levels.at[book.BEST + rests]
            o = levels.head[rests, book.find(levels, rests, tick)]
            while left > 0 and o and n - first < MOST_ROWS - 1:
                taken = min(left, orders.size[o - 1])
                action[n], side[n], price[n], size[n], order_id[n] = EXECUTE, -sign, tick, taken, orders.ids[o - 1]
                n += 1
                left -= taken
                o = orders.after[o - 1]
                if not o and left > 0:
                    tick = book.next_up(levels, 1, tick + 1) if sign > 0 else book.next_down(levels, 0, tick - 1)
                    if tick == book.NONE:
                        break
                    o = levels.head[rests, book.find(levels, rests, tick)]
        state[RECEIVED] = max(
            state[RECEIVED], state[EXCHANGE] + latency_ns + np.int64(w[7] >> np.uint64(40)) * latency_ns // (1 << 25)
        )
        for k in range(first, n):
            exchange[k], received[k] = state[EXCHANGE], state[RECEIVED]
            flags[k] = CROSS if action[k] == TRADE else 0
        if n > first:
            flags[n - 1] = LAST
            status, _ = apply(
                action[first:n], side[first:n], price[first:n], size[first:n], order_id[first:n], flags[first:n], 0,
                levels, orders, counts, none, nothing,
            )  # fmt: skip
            if status:
                return step, -1 - status
    state[ROWS] += n
    return words.shape[0], n


@plain_inner
def _resting(orders: Orders, word: Any) -> Any:
    """Return the slot of some order that rests, or -1 after a few tries."""
    n_slots = orders.at[N_SLOTS]
    if n_slots == 0:
        return np.int64(-1)
    for k in range(_LOOKS):
        o = np.int64(((word >> np.uint64(2 * k)) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(16)) % np.uint64(n_slots))
        place = lookup(orders, orders.ids[o])
        if place >= 0 and orders.places[place] == o:
            return o
    return np.int64(-1)


@plain
def degrade(
    action: Any, side: Any, price: Any, size: Any, order_id: Any, flags: Any, start: int, levels: Levels,
    orders: Orders, counts: Any, none: Any, nothing: Any, out: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Turn events by order into events by price: the totals of the levels that each touches, and its trade.

    `out` has row, action, side, price, size and flags, int64, room for three an event. Returns why it stopped (0 at
    the end), the next event, and the rows made.
    """
    row, action_of, side_of, price_of, size_of, flags_of = out
    n = 0
    for i in range(start, action.shape[0]):
        act = action[i]
        before = n
        old_tick, old_side = np.int64(book.NONE), 0
        if act <= EXECUTE and act != ADD:
            k = lookup(orders, order_id[i])
            if k >= 0:
                o = orders.places[k]
                old_tick, old_side = orders.price[o], orders.side[o]
        known = act == ADD or old_tick != book.NONE
        status, _ = apply(
            action[i : i + 1], side[i : i + 1], price[i : i + 1], size[i : i + 1], order_id[i : i + 1],
            flags[i : i + 1], 0, levels, orders, counts, none, nothing,
        )  # fmt: skip
        if status:
            return status, i, n
        rest = flags[i] & ~LAST
        if act in (EXECUTE, TRADE):
            # The aggressor is on the other side of the resting order.
            row[n], action_of[n], price_of[n], size_of[n], flags_of[n] = i, TRADE, price[i], size[i], rest
            side_of[n] = -side[i] if act == EXECUTE else side[i]
            n += 1
        if act == CLEAR or act > CLEAR:
            row[n], action_of[n], side_of[n], price_of[n], size_of[n], flags_of[n] = i, act, side[i], 0, 0, rest
            n += 1
        elif act <= EXECUTE and known:
            if old_tick != book.NONE:
                row[n], action_of[n], side_of[n], price_of[n] = i, SET, 1 - 2 * old_side, old_tick
                size_of[n], flags_of[n] = _total(levels, old_side, old_tick), rest
                n += 1
            new_side = 0 if side[i] > 0 else 1
            if act == ADD or (act == MODIFY and (price[i] != old_tick or new_side != old_side)):
                row[n], action_of[n], side_of[n], price_of[n] = i, SET, side[i], price[i]
                size_of[n], flags_of[n] = _total(levels, new_side, price[i]), rest
                n += 1
        if flags[i] & LAST and n > 0 and (n > before or not flags_of[n - 1] & LAST):
            flags_of[n - 1] |= LAST
    return 0, action.shape[0], n


@plain_inner
def _total(levels: Levels, side: Any, tick: Any) -> Any:
    slot = book.find(levels, side, tick)
    return levels.total[side, slot] if slot >= 0 else np.int64(0)


__all__ = ["DRAWS", "MOST_ROWS", "ORDERS_FULL", "degrade", "draw"]
