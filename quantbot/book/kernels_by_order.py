"""Events that name an order of the market: which levels they change, and which queues."""

from __future__ import annotations

from typing import Any

from quantbot.book.events import Action
from quantbot.book.kernels_market import left_queue, set_level, trade
from quantbot.book.kernels_memory import market_at, ours, resolved_at, sizes
from quantbot.book.kernels_orders import find, remove, write
from quantbot.kernels import inner

ADD, DELETE, MODIFY, EXECUTE = int(Action.ADD), int(Action.DELETE), int(Action.MODIFY), int(Action.EXECUTE)


@inner
def lots_at(st: Any, side: int, tick: int) -> Any:
    """Return the total of a level."""
    return sizes(st, tick - st.base).bid if side > 0 else sizes(st, tick - st.base).ask


@inner
def note_last(st: Any, side: int, tick: int, sequence: int) -> None:
    """Remember which order stands last in a level's queue."""
    if side > 0:
        ours(st, tick - st.base).bid_add = sequence
    else:
        ours(st, tick - st.base).ask_add = sequence


@inner
def by_order_event(st: Any, e: int, act: int, side: int, tick: int, size: int, identity: Any, ts: int) -> bool:
    """Apply event `e`, and note what it does to which levels for those who receive it later.

    An order that was never added (it is older than the data) is taken at its word: it stood first in its queue.
    Return whether the touch left the ticks that are kept.
    """
    out = resolved_at(st, e)
    out.lots = 0
    out.lots2 = 0
    place = find(st, identity)
    row = market_at(st, place)
    known = row.sequence != 0
    if known and act == ADD:
        st.unknown += 1
        return False
    st.unknown += not known and act != ADD
    if not known and act == MODIFY:
        act = ADD
    tick_of, side_of, lots_of = (row.tick, row.side, row.lots) if known else (tick, side, size)
    sequence = row.sequence if known else 0
    n = st.n_ticks
    if not 0 <= tick_of - st.base < n or (act == MODIFY and not 0 <= tick - st.base < n):
        st.outside += 1
        out.tick = 0
        return act in (ADD, MODIFY) and (tick > st.best_bid if side > 0 else tick < st.best_ask)
    out.side = side_of
    out.tick = tick_of
    if act == ADD:
        st.sequence += 1
        st.table_n += 1
        write(st, place, identity, tick, size, st.sequence, side)
        note_last(st, side, tick, st.sequence)
        out.lots = size
        set_level(st, side, tick, lots_at(st, side, tick) + size, -1, ts)
    elif act == MODIFY:
        modify(st, out, row, tick, size, ts)
    else:
        gone = lots_of if act == DELETE else min(size, lots_of)
        if act == EXECUTE and not st.halted and (st.top_buy >= tick_of if side_of > 0 else st.top_sell <= tick_of):
            trade(st, -side_of, tick_of, gone, sequence, ts)
        if known:
            row.lots -= gone
            if row.lots <= 0:
                remove(st, place)
                st.table_n -= 1
        there = lots_at(st, side_of, tick_of)
        gone = min(gone, there)
        out.lots = -gone
        if gone > 0:
            set_level(st, side_of, tick_of, there - gone, -1 if act == EXECUTE else sequence, ts)
    return False


@inner
def modify(st: Any, out: Any, row: Any, tick: int, size: int, ts: int) -> None:
    """Give an order of the market a new price or size; it keeps its place only if it stays and does not grow."""
    tick_of, side, lots_of, sequence = row.tick, row.side, row.lots, row.sequence
    row.lots = size
    out.lots = size - lots_of
    if tick == tick_of:
        there = lots_at(st, side, tick)
        if size > lots_of:
            left_queue(st, side, tick, lots_of, sequence)
            set_level(st, side, tick, there + out.lots, -1, ts)
        else:
            set_level(st, side, tick, there + out.lots, sequence, ts)
            return
    else:
        row.tick = tick
        out.lots = -lots_of
        out.tick2 = tick
        out.lots2 = size
        set_level(st, side, tick_of, lots_at(st, side, tick_of) - lots_of, sequence, ts)
        set_level(st, side, tick, lots_at(st, side, tick) + size, -1, ts)
    st.sequence += 1
    row.sequence = st.sequence
    note_last(st, side, tick, st.sequence)
