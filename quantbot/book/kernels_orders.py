"""The market's own orders by id: a table with open addressing, so that an event finds its order at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from quantbot.book.kernels_memory import market_at
from quantbot.kernels import inlined, inner, jit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@inlined
def home(identity: Any, mask: int) -> Any:
    """Return where an id would like to stand."""
    z = identity * GOLDEN
    return np.int64((z ^ (z >> np.uint64(32))) & np.uint64(mask))


@inner
def find(st: Any, identity: Any) -> Any:
    """Return the place of an id: its own, or the free one where it would go (`sequence` 0)."""
    mask = st.n_table - 1
    at = home(identity, mask)
    while market_at(st, at).sequence != 0 and market_at(st, at).id != identity:
        at = (at + 1) & mask
    return at


@inner
def write(st: Any, at: int, identity: Any, tick: int, lots: int, sequence: int, side: int) -> None:
    """Write an order of the market at a place."""
    row = market_at(st, at)
    row.id = identity
    row.tick = tick
    row.lots = lots
    row.sequence = sequence
    row.side = side


@inner
def remove(st: Any, at: int) -> None:
    """Free a place and move up those that stand further from home than need be (Knuth, vol. 3, 6.4, algorithm R)."""
    mask = st.n_table - 1
    free = at
    while True:
        at = (at + 1) & mask
        row = market_at(st, at)
        if row.sequence == 0:
            break
        if ((at - home(row.id, mask)) & mask) >= ((at - free) & mask):
            write(st, free, row.id, row.tick, row.lots, row.sequence, row.side)
            free = at
    market_at(st, free).sequence = 0


@jit
def rehash(st: Any, table: Any) -> int:
    """Put every order of `table`, an array of records, into the state's own, which is empty; return how many."""
    n = 0
    for i in range(table.shape[0]):
        row = table[i]
        if row.sequence != 0:
            write(st, find(st, row.id), row.id, row.tick, row.lots, row.sequence, row.side)
            n += 1
    return n


@inner
def forget_side(st: Any, side: int) -> None:
    """Remove the market's orders on one side; 0: all of them."""
    again = True
    while again:  # removing moves others up, also around the end
        again = False
        for i in range(st.n_table):
            while market_at(st, i).sequence != 0 and (side == 0 or market_at(st, i).side == side):
                remove(st, i)
                st.table_n -= 1
                again = True
