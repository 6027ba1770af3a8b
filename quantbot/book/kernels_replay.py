"""One pass over the events of a book, on which many agents ride."""

from __future__ import annotations

from typing import Any

from quantbot.book.events import Action, Flag
from quantbot.book.kernels_agents import ask, hear
from quantbot.book.kernels_arrivals import arrive, expire_all
from quantbot.book.kernels_by_order import by_order_event
from quantbot.book.kernels_feed import clear_side, look, note_trade, receive
from quantbot.book.kernels_heap import pop, ring_first, settle
from quantbot.book.kernels_looks import look_ahead, recall
from quantbot.book.kernels_market import cross, set_level, set_quietly, trade
from quantbot.book.kernels_memory import (
    feed_at,
    fill_at,
    group_at,
    message_at,
    put,
    resolved_at,
    timer_at,
    whole,
)
from quantbot.book.kernels_orders import forget_side
from quantbot.book.kernels_samples import mark, sample
from quantbot.book.layout import NEVER, Message, Status, Wake
from quantbot.kernels import inlined, inner, jit

EXECUTE, TRADE, SET, CLEAR = int(Action.EXECUTE), int(Action.TRADE), int(Action.SET), int(Action.CLEAR)
HALT, RESUME = int(Action.HALT), int(Action.RESUME)
SNAPSHOT, LAST, GAP, HIDDEN = int(Flag.SNAPSHOT), int(Flag.LAST), int(Flag.GAP), int(Flag.HIDDEN)
GROW, OUT_OF_WINDOW = int(Status.GROW), int(Status.OUT_OF_WINDOW)
WAKE, ON_BOOK, ON_TRADE = int(Message.WAKE), int(Wake.BOOK), int(Wake.TRADE)
ALL = NEVER // 2
MESSAGE, TIMER, MARK, SAMPLE, FEED = 1, 2, 3, 4, 5  # what is due; a feed's number is added to the last


@jit
def replay(
    ts_exchange: Any, ts_received: Any, action: Any, side: Any, price: Any, size: Any, identity: Any, flags: Any,
    order_of: Any, n_until: int, final: bool, state: Any,
) -> int:  # fmt: skip
    """Step the events `state.k <= k < n_until` (in the exchange's order) and all that falls due between them.

    With `final`, what is due up to `state.stop` follows. All state is behind `state`, so a day may come in any number
    of parts. Return a `Status`: after GROW (the log of fills is full) and OUT_OF_WINDOW nothing is half done.
    """
    st = state[0]
    permuted = order_of.shape[0] > 0
    margin = st.n_fill_rows - st.n_agents * st.n_slots - 64
    while True:
        k = st.k
        if k < n_until:
            e = order_of[k] if permuted else k
            ts = ts_exchange[e]
            ts = max(ts, st.now)
        elif final:
            e = 0
            ts = NEVER
        else:
            # Nobody will ask for an earlier moment: what was received need not be kept for the next part.
            for c in range(st.n_feeds):
                if st.ahead:
                    feed_at(st, c).at = k
                else:
                    receive(st, feed_at(st, c), ts_received, action, side, price, size, flags, st.now - 1, ALL)
            return 0
        while ts > st.next_due:
            if full(st, margin) or st.n_looks_free < st.n_groups:
                return GROW
            due, kind = next_due(st, ts_received)
            st.next_due = due
            if due >= ts:
                break
            st.next_due = due - 1  # look again
            if kind == MESSAGE:
                # Many at a time: until something else is due, or a fill's mark-out may be.
                had, limit = st.n_fills, min(other_due(st, ts_received), ts - 1)
                while st.ring_n + st.heap_n > 0 and st.n_fills == had:
                    in_ring = ring_first(st)
                    row = message_at(st, st.n_half + st.ring_head if in_ring else 0)
                    due, o, what = row.due, row.order, row.kind
                    if due > limit:
                        break
                    if in_ring:
                        st.ring_head = (st.ring_head + 1) & (st.n_half - 1)
                        st.ring_n -= 1
                    else:
                        pop(st)
                    if what != WAKE:
                        st.stamp += 1
                        arrive(st, o, what, due)
                    elif due < st.stop:
                        feed = feed_at(st, whole(st.at_feed_of, o))
                        receive(st, feed, ts_received, action, side, price, size, flags, due, ALL)
                        see(st, feed, due)
                        ask(st, o, due)
            elif kind == SAMPLE:
                sample(st)
                st.next_sample = due + st.sample_every
            elif kind == MARK:
                mark(st, due)
            elif kind == TIMER:
                timer = timer_at(st, 0)
                group = group_at(st, timer.group)
                timer.due += group.period
                settle(st.at_timers, st.timers_n)
                if st.ahead:
                    put(st.at_view, 0, due)
                    recall(st, group, due)
                else:
                    feed = feed_at(st, group.feed)
                    receive(st, feed, ts_received, action, side, price, size, flags, due, ALL)
                    see(st, feed, due)
                ask_group(st, group, due)
            else:
                feed = feed_at(st, kind - FEED)
                complete = flags[feed.at] & LAST
                receive(st, feed, ts_received, action, side, price, size, flags, due, 1)
                if complete:
                    if whole(st.at_view, 1) <= due < st.stop and (
                        ((st.wake & ON_BOOK) and feed.changed) or ((st.wake & ON_TRADE) and feed.traded)
                    ):
                        see(st, feed, due)
                        for g in range(st.n_groups):
                            if group_at(st, g).feed == kind - FEED:
                                ask_group(st, group_at(st, g), due)
                    feed.changed = 0
                    feed.traded = 0
        if k >= n_until:
            break
        if full(st, margin):
            return GROW
        if ts_received[e] > st.next_look:
            if st.n_looks_free < st.n_groups:
                return GROW
            look_ahead(st, ts_received[e])
        st.late += ts_exchange[e] < st.now
        st.now = ts
        st.k = k + 1
        act = action[e]
        if flags[e] & GAP:
            st.gaps += 1
            if st.on_gap_cancel:
                expire_all(st, ts)
        tick = price[e]
        if act == SET:
            t = tick - st.base
            if 0 <= t < st.n_ticks:
                if not set_quietly(st, side[e], tick, size[e], t):
                    set_level(st, side[e], tick, size[e], -1, ts)
            elif size[e] > 0 and (tick > st.best_bid if side[e] > 0 else tick < st.best_ask):
                st.k = k
                return OUT_OF_WINDOW
            else:
                st.outside += 1
        elif act == TRADE:
            if st.ahead and st.wants_trades and flags[e] & SNAPSHOT == 0 and (not st.by_order or flags[e] & HIDDEN):
                note_trade(feed_at(st, 0), tick, side[e], size[e], ts_received[e])
            if st.by_order == 0 and not st.halted and flags[e] & SNAPSHOT == 0:
                aggressor = side[e]
                if aggressor == 0:
                    st.unknown += 1
                    aggressor = 1 if tick >= st.best_ask else (-1 if tick <= st.best_bid else 0)
                if (aggressor < 0 and st.top_buy >= tick) or (aggressor > 0 and st.top_sell <= tick):
                    trade(st, aggressor, tick, size[e], -1, ts)
        elif act <= EXECUTE:
            row = 0 if st.ahead else e
            if by_order_event(st, row, act, side[e], tick, size[e], identity[e], ts):
                st.k = k
                return OUT_OF_WINDOW
            if act == EXECUTE and st.ahead and flags[e] & SNAPSHOT == 0:
                note_trade(feed_at(st, 0), resolved_at(st, 0).tick, -side[e], size[e], ts_received[e])
        else:
            change_of_state(st, act, side[e], ts)
    for a in range(st.n_agents):
        hear(st, a, NEVER)
    mark(st, NEVER)
    st.now = st.stop
    return 0


@inlined
def full(st: Any, margin: int) -> bool:
    """Return whether the log of fills must grow; where nobody will read it, it begins anew instead."""
    if st.n_fills <= margin:
        return False
    if st.forgets:
        st.n_fills = 0
        return False
    return True


@inner
def see(st: Any, feed: Any, ts: int) -> None:
    """Write what a strategy may see at `ts` of a feed's book into `view`."""
    put(st.at_view, 0, ts)
    look(st, feed, feed, st.at_view + 24)


@inner
def next_due(st: Any, ts_received: Any) -> tuple[int, int]:
    """Return (time, what) of what is due first.

    If tied: an arrival, what was received, a wake-up, a mark, a sample. After the end nothing is due, but arrivals
    where `drain` says so.
    """
    due, kind = NEVER, 0
    if st.ring_n > 0 or st.heap_n > 0:
        first = message_at(st, st.n_half + st.ring_head if ring_first(st) else 0).due
        if first <= st.stop or st.drain:
            due, kind = first, MESSAGE
    if st.eager:
        for c in range(st.n_feeds):
            heard = next_heard(st, feed_at(st, c), ts_received)
            if heard < due:
                due, kind = heard, FEED + c
    if st.timers_n > 0 and timer_at(st, 0).due < due and timer_at(st, 0).due < st.stop:
        due, kind = timer_at(st, 0).due, TIMER
    marks = next_mark(st)
    if marks < due:
        due, kind = marks, MARK
    if st.next_sample < due and st.next_sample <= st.stop:
        due, kind = st.next_sample, SAMPLE
    return due, kind


@inner
def other_due(st: Any, ts_received: Any) -> Any:
    """Return when something other than a message is due, or the end where messages stop there."""
    due = min(NEVER if st.drain else st.stop, next_mark(st))
    if st.eager:
        for c in range(st.n_feeds):
            due = min(due, next_heard(st, feed_at(st, c), ts_received))
    if st.timers_n > 0 and timer_at(st, 0).due < st.stop:
        due = min(due, timer_at(st, 0).due)
    return min(due, st.next_sample) if st.next_sample <= st.stop else due


@inner
def next_heard(st: Any, feed: Any, ts_received: Any) -> Any:
    """Return when a feed's next event is received, NEVER after the end."""
    if feed.at >= ts_received.shape[0]:
        return NEVER
    heard = ts_received[feed.at] + feed.extra
    return heard if heard <= st.stop else NEVER


@inner
def next_mark(st: Any) -> Any:
    """Return when the next mark-out is due, NEVER after the end."""
    due = NEVER
    for h in range(st.n_horizons):
        at = whole(st.at_marked, h)
        if at < st.n_fills:
            due = min(due, fill_at(st, at).ts_ns + whole(st.at_horizons, h))
    return due if due <= st.stop else NEVER


@inner
def ask_group(st: Any, group: Any, ts: int) -> None:
    """Let every agent of a group decide."""
    for m in range(group.first, group.first + group.n):
        ask(st, whole(st.at_members, m), ts)


@inner
def change_of_state(st: Any, act: int, side: int, ts: int) -> None:
    """Clear the book, halt or resume."""
    if act == CLEAR:
        st.clears += 1
        if side >= 0:
            clear_side(st, 1, st.base, st.n_ticks)
        if side <= 0:
            clear_side(st, -1, st.base, st.n_ticks)
        if st.by_order:
            forget_side(st, side)
    elif act == HALT:
        st.halts += 1
        st.halted = 1
    elif act == RESUME and st.halted:
        st.halted = 0
        if st.top_sell <= st.best_bid:  # the book came to what rests here while nothing traded
            cross(st, -1, ts)
        if st.top_buy >= st.best_ask:
            cross(st, 1, ts)
    if st.on_gap_cancel and act != RESUME:
        expire_all(st, ts)
