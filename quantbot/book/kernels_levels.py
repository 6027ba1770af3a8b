"""The price levels of a book: a dense window of ticks under a tree of bits, and a sorted list for what lies outside.

A level is found, made and removed in constant time inside the window, wherever in the book it is; the next better or
worse one is two or three words of bits away. Side 0 is the bid, 1 the ask.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.cpython.unsafe.numbers import leading_zeros, trailing_zeros
from numpy.typing import NDArray

from quantbot.kernels import plain, plain_inlined, plain_inner

NONE = -(2**62)  # no tick
BASE, BEST, N_FAR, N_LEVELS = 0, 1, 3, 5  # of `Levels.at`: first tick of the window; two numbers each of the others


class Levels(NamedTuple):
    """The levels of both sides; arrays have the side first, and a slot a level next.

    Attributes
    ----------
    at
        int64: the window's first tick, each side's best tick (`NONE` where empty), levels outside, and all levels.
    total
        int64, lots of each slot: first the window's ticks, then the slots of levels outside.
    resting, head, tail
        int32: orders of the level, the first and the last in the queue (order slot + 1, 0 where none).
    bits, middle, top
        uint64: which ticks of the window have a level, which words of the row below are not 0.
    far_ticks, far_slots
        int64: levels outside the window by rising tick, and their slots; slots beyond the last level are free.
    """

    at: NDArray[np.int64]
    total: NDArray[np.int64]
    resting: NDArray[np.int32]
    head: NDArray[np.int32]
    tail: NDArray[np.int32]
    bits: NDArray[np.uint64]
    middle: NDArray[np.uint64]
    top: NDArray[np.uint64]
    far_ticks: NDArray[np.int64]
    far_slots: NDArray[np.int64]


@plain
def _place(ticks: Any, side: Any, n: Any, tick: Any) -> Any:
    """Return how many of the first `n` rising ticks are below `tick`."""
    low, high = np.int64(0), n
    while low < high:
        middle = (low + high) >> 1
        if ticks[side, middle] < tick:
            low = middle + 1
        else:
            high = middle
    return low


@plain_inner
def next_up(levels: Levels, side: Any, tick: Any) -> Any:
    """Return the lowest level at or above `tick`, or NONE."""
    found = np.int64(NONE)
    n_far = levels.at[N_FAR + side]
    if n_far:
        k = _place(levels.far_ticks, side, n_far, tick)
        if k < n_far:
            found = levels.far_ticks[side, k]
    base = levels.at[BASE]
    width = levels.bits.shape[1] * 64
    at = tick - base
    if at >= width:
        return found
    at = max(at, 0)
    near = _up(levels.bits, levels.middle, levels.top, side, at)
    if near >= 0 and (found == NONE or base + near < found):
        return base + near
    return found


@plain_inner
def next_down(levels: Levels, side: Any, tick: Any) -> Any:
    """Return the highest level at or below `tick`, or NONE."""
    found = np.int64(NONE)
    n_far = levels.at[N_FAR + side]
    if n_far:
        k = _place(levels.far_ticks, side, n_far, tick + 1) - 1
        if k >= 0:
            found = levels.far_ticks[side, k]
    base = levels.at[BASE]
    width = levels.bits.shape[1] * 64
    at = tick - base
    if at < 0:
        return found
    at = min(at, width - 1)
    near = _down(levels.bits, levels.middle, levels.top, side, at)
    if near >= 0 and base + near > found:
        return base + near
    return found


@plain_inner
def _up(bits: NDArray[np.uint64], middle: NDArray[np.uint64], top: NDArray[np.uint64], side: Any, at: Any) -> Any:
    word = at >> 6
    rest = bits[side, word] >> np.uint64(at & 63)
    if rest:
        return at + np.int64(trailing_zeros(rest))
    word += 1
    if word >= bits.shape[1]:
        return np.int64(-1)
    group = word >> 6
    rest = middle[side, group] >> np.uint64(word & 63)
    if not rest:
        group += 1
        while True:  # the next group that has anything
            row = group >> 6
            if row >= top.shape[1]:
                return np.int64(-1)
            rest = top[side, row] >> np.uint64(group & 63)
            if rest:
                group += np.int64(trailing_zeros(rest))
                break
            group = (row + 1) << 6
        word = group << 6
        rest = middle[side, group]
    word += np.int64(trailing_zeros(rest))
    return (word << 6) + np.int64(trailing_zeros(bits[side, word]))


@plain_inner
def _down(bits: NDArray[np.uint64], middle: NDArray[np.uint64], top: NDArray[np.uint64], side: Any, at: Any) -> Any:
    word = at >> 6
    rest = bits[side, word] << np.uint64(63 - (at & 63))
    if rest:
        return at - np.int64(leading_zeros(rest))
    word -= 1
    if word < 0:
        return np.int64(-1)
    group = word >> 6
    rest = middle[side, group] << np.uint64(63 - (word & 63))
    if not rest:
        group -= 1
        while True:
            if group < 0:
                return np.int64(-1)
            row = group >> 6
            rest = top[side, row] << np.uint64(63 - (group & 63))
            if rest:
                group -= np.int64(leading_zeros(rest))
                break
            group = (row << 6) - 1
        word = (group << 6) + 63
        rest = middle[side, group]
    word -= np.int64(leading_zeros(rest))
    return (word << 6) + 63 - np.int64(leading_zeros(bits[side, word]))


@plain_inlined
def find(levels: Levels, side: Any, tick: Any) -> Any:
    """Return the slot of the level at `tick`, or -1 where there is none outside the window."""
    at = tick - levels.at[BASE]
    if 0 <= at < levels.bits.shape[1] * 64:
        return at
    n_far = levels.at[N_FAR + side]
    k = _place(levels.far_ticks, side, n_far, tick)
    if k < n_far and levels.far_ticks[side, k] == tick:
        return levels.far_slots[side, k]
    return np.int64(-1)


@plain_inlined
def has_room(levels: Levels, side: Any, tick: Any) -> bool:
    """Return whether a level at `tick` can be made without more room outside the window."""
    at = tick - levels.at[BASE]
    return bool(0 <= at < levels.bits.shape[1] * 64 or levels.at[N_FAR + side] < levels.far_ticks.shape[1])


@plain_inlined
def make(levels: Levels, side: Any, tick: Any) -> Any:
    """Return the slot of the level at `tick`, made where it was not; the caller gives it a total above 0."""
    at = tick - levels.at[BASE]
    if 0 <= at < levels.bits.shape[1] * 64:
        if levels.total[side, at]:
            return at
        word = at >> 6
        levels.bits[side, word] |= np.uint64(1) << np.uint64(at & 63)
        levels.middle[side, word >> 6] |= np.uint64(1) << np.uint64(word & 63)
        levels.top[side, word >> 12] |= np.uint64(1) << np.uint64((word >> 6) & 63)
        slot = at
    else:
        n_far = levels.at[N_FAR + side]
        k = _place(levels.far_ticks, side, n_far, tick)
        if k < n_far and levels.far_ticks[side, k] == tick:
            return levels.far_slots[side, k]
        slot = levels.far_slots[side, n_far]
        for j in range(n_far, k, -1):
            levels.far_ticks[side, j], levels.far_slots[side, j] = (
                levels.far_ticks[side, j - 1],
                levels.far_slots[side, j - 1],
            )
        levels.far_ticks[side, k], levels.far_slots[side, k] = tick, slot
        levels.at[N_FAR + side] = n_far + 1
    levels.at[N_LEVELS + side] += 1
    best = levels.at[BEST + side]
    if best == NONE or (tick > best if side == 0 else tick < best):
        levels.at[BEST + side] = tick
    return slot


@plain_inlined
def remove(levels: Levels, side: Any, tick: Any) -> None:
    """Take away the level at `tick`, which is there."""
    at = tick - levels.at[BASE]
    if 0 <= at < levels.bits.shape[1] * 64:
        slot = at
        word = at >> 6
        levels.bits[side, word] &= ~(np.uint64(1) << np.uint64(at & 63))
        if not levels.bits[side, word]:
            group = word >> 6
            levels.middle[side, group] &= ~(np.uint64(1) << np.uint64(word & 63))
            if not levels.middle[side, group]:
                levels.top[side, group >> 6] &= ~(np.uint64(1) << np.uint64(group & 63))
    else:
        n_far = levels.at[N_FAR + side]
        k = _place(levels.far_ticks, side, n_far, tick)
        slot = levels.far_slots[side, k]
        for j in range(k, n_far - 1):
            levels.far_ticks[side, j], levels.far_slots[side, j] = (
                levels.far_ticks[side, j + 1],
                levels.far_slots[side, j + 1],
            )
        levels.far_slots[side, n_far - 1] = slot
        levels.at[N_FAR + side] = n_far - 1
    levels.total[side, slot] = 0
    levels.resting[side, slot] = 0
    levels.head[side, slot] = 0
    levels.tail[side, slot] = 0
    levels.at[N_LEVELS + side] -= 1
    if levels.at[BEST + side] == tick:
        if levels.at[N_LEVELS + side] == 0:
            levels.at[BEST + side] = NONE
        elif side == 0:
            levels.at[BEST] = next_down(levels, 0, tick - 1)
        else:
            levels.at[BEST + 1] = next_up(levels, 1, tick + 1)


@plain
def read(
    levels: Levels, side: Any, ticks: NDArray[np.int64], lots: NDArray[np.int64], orders: NDArray[np.int64]
) -> Any:
    """Fill arrays with the best levels of a side, best first; return how many there are of those."""
    tick = levels.at[BEST + side]
    n = 0
    while n < ticks.shape[0] and tick != NONE:
        slot = find(levels, side, tick)
        ticks[n], lots[n], orders[n] = tick, levels.total[side, slot], levels.resting[side, slot]
        n += 1
        tick = next_down(levels, 0, tick - 1) if side == 0 else next_up(levels, 1, tick + 1)
    return n
