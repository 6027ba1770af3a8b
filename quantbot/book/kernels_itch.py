"""NASDAQ TotalView-ITCH 5.0 messages as events by order."""

from __future__ import annotations

from typing import Any

import numpy as np

from quantbot.book.kernels_rebuild import N_ORDERS, Orders, forget, lookup, new
from quantbot.kernels import plain, plain_inner

FINE, CUT, UNKNOWN_TYPE, WRONG_LENGTH, FULL, ORDERS_FULL, NAME = 0, 1, 2, 3, 4, 5, 6
ADD, CANCEL, DELETE, EXECUTE, TRADE, HALT, RESUME = 1, 2, 3, 5, 6, 9, 10
LAST, HIDDEN, CROSS = 2, 8, 16
NUMBER_OF_ZERO = 2**62  # the id of an order whose reference is 0

# Length of each message type by its letter, 0 where there is none.
LENGTHS = np.zeros(256, np.int64)
for _letters, _length in (
    ("S", 12), ("R", 39), ("H", 25), ("Y", 20), ("L", 26), ("V", 35), ("W", 12), ("K", 28), ("J", 35), ("h", 21),
    ("A", 36), ("F", 40), ("E", 31), ("C", 36), ("X", 23), ("D", 19), ("U", 35), ("P", 44), ("Q", 40), ("B", 19),
    ("I", 50), ("N", 20), ("O", 48),
):  # fmt: skip
    LENGTHS[ord(_letters)] = _length

# Of `tally`: messages, executions and others of unknown orders, broken trades, executions that are not to be counted.
N_MESSAGES, N_UNKNOWN, N_BROKEN, N_UNPRINTED = 0, 1, 2, 3


@plain_inner
def _whole(text: Any, at: int, n: int) -> Any:
    value = np.int64(0)
    for k in range(at, at + n):
        value = (value << 8) | np.int64(text[k])
    return value


@plain_inner
def _reference(text: Any, at: int) -> Any:
    # 0 means that there is no order: who numbers from 0 gets another number for the first.
    value = _whole(text, at, 8)
    return value if value else np.int64(NUMBER_OF_ZERO)


@plain
def decode(
    text: Any, at: int, prefixed: bool, lengths: Any, wanted: Any, orders: Orders, out: Any, tally: Any
) -> tuple[int, int, int]:
    """Decode messages of `text` (uint8) from `at`, until the text or `out` ends.

    Parameters
    ----------
    prefixed
        Whether each message follows its length (2 bytes, big-endian). All-zero prefixes are taken as none known.
    wanted
        (65,536,) bool by stock locate: whose messages become events.
    orders
        The orders that rest, by reference: sides, prices and sizes that later messages leave out.
    out
        (n, 8) int64: byte, locate, ns since midnight, action, side, price, size, reference; and flags beside: (n, 9).

    Returns
    -------
    Why it stopped, where (the first byte not yet decoded), and how many rows of `out` there are.
    """
    n = text.shape[0]
    rows = 0
    while at < n:
        begin = at
        head = 2 if prefixed else 0
        if at + head >= n:
            return CUT, begin, rows
        kind = text[at + head]
        length = lengths[kind]
        if length == 0:
            return UNKNOWN_TYPE, begin, rows
        if prefixed:
            told = _whole(text, at, 2)
            if told != 0 and told != length:
                return WRONG_LENGTH, begin, rows
        m = at + head
        if m + length > n:
            return CUT, begin, rows
        if rows + 2 > out.shape[0]:
            return FULL, begin, rows
        if 2 * (orders.at[N_ORDERS] + 1) > orders.keys.shape[0] or orders.at[N_ORDERS] >= orders.ids.shape[0]:
            return ORDERS_FULL, begin, rows
        locate = _whole(text, m + 1, 2)
        at = m + length
        if kind == 82:  # R: a stock's directory entry, which Python reads
            tally[N_MESSAGES] += 1
            return NAME, at, rows
        tally[N_MESSAGES] += 1
        if not wanted[locate]:
            continue
        stamp = _whole(text, m + 5, 6)
        action, side, price, size, flags = 0, 0, np.int64(0), np.int64(0), LAST
        key = np.int64(0)
        if kind == 65 or kind == 70:  # A, F: a new order
            key = _reference(text, m + 11)
            side = 1 if text[m + 19] == 66 else -1
            size, price = _whole(text, m + 20, 4), _whole(text, m + 32, 4)
            action = ADD
            if key and size and lookup(orders, np.uint64(key)) < 0:
                new(orders, np.uint64(key), 0 if side > 0 else 1, price, size)
        elif kind == 69 or kind == 67 or kind == 88 or kind == 68:  # E, C, X, D
            key = _reference(text, m + 11)
            k = lookup(orders, np.uint64(key))
            if kind != 68:
                size = _whole(text, m + 19, 4)
            action = DELETE if kind == 68 else CANCEL if kind == 88 else EXECUTE
            if k >= 0:
                o = orders.places[k]
                side, price = 1 - 2 * orders.side[o], orders.price[o]
                if kind == 68 or size >= orders.size[o]:
                    if kind == 68:
                        size = orders.size[o]
                    forget(orders, k)
                else:
                    orders.size[o] -= size
            else:
                tally[N_UNKNOWN] += 1
            if kind == 67:
                price = _whole(text, m + 32, 4)
                if text[m + 31] == 78:  # N: reported again in a cross, so not to be counted as volume
                    flags |= CROSS
                    tally[N_UNPRINTED] += 1
        elif kind == 85:  # U: the order goes, another with its side comes
            key = _reference(text, m + 11)
            fresh = _reference(text, m + 19)
            k = lookup(orders, np.uint64(key))
            if k < 0:
                # The new order's side is the old one's, which nobody told: it can't rest in a book.
                tally[N_UNKNOWN] += 1
                action = DELETE
            else:
                o = orders.places[k]
                side = 1 - 2 * orders.side[o]
                out[rows, 0], out[rows, 1], out[rows, 2], out[rows, 3] = begin, locate, stamp, DELETE
                out[rows, 4], out[rows, 5], out[rows, 6] = side, orders.price[o], orders.size[o]
                out[rows, 7], out[rows, 8] = key, 0
                rows += 1
                forget(orders, k)
                size, price, key, action = _whole(text, m + 27, 4), _whole(text, m + 31, 4), fresh, ADD
                if key and size and lookup(orders, np.uint64(key)) < 0:
                    new(orders, np.uint64(key), 0 if side > 0 else 1, price, size)
        elif kind == 80:  # P: a trade with an order that was not shown; its side says nothing since 2014
            size, price, action = _whole(text, m + 20, 4), _whole(text, m + 32, 4), TRADE
            flags |= HIDDEN
        elif kind == 81:  # Q: an auction's trade
            size, price, action = _whole(text, m + 11, 8), _whole(text, m + 27, 4), TRADE
            flags |= CROSS
            if size == 0:
                continue
        elif kind == 72:  # H: a trading action
            state = text[m + 19]
            action = HALT if state == 72 or state == 80 else RESUME if state == 84 else 0
        elif kind == 66:
            tally[N_BROKEN] += 1
        if action:
            out[rows, 0], out[rows, 1], out[rows, 2], out[rows, 3] = begin, locate, stamp, action
            out[rows, 4], out[rows, 5], out[rows, 6], out[rows, 7], out[rows, 8] = side, price, size, key, flags
            rows += 1
    return FINE, at, rows
