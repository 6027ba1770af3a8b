"""The book as received: what a strategy may look at, brought up to date when somebody looks."""

from __future__ import annotations

from typing import Any

from quantbot.book.events import Action, Flag
from quantbot.book.kernels_market import touch
from quantbot.book.kernels_memory import put, resolved_at, sizes
from quantbot.book.layout import NO_ASK, NO_BID
from quantbot.kernels import inlined, inner, jit

SET, TRADE, CLEAR, EXECUTE = int(Action.SET), int(Action.TRADE), int(Action.CLEAR), int(Action.EXECUTE)
SNAPSHOT, HIDDEN = int(Flag.SNAPSHOT), int(Flag.HIDDEN)


@inner
def clear_side(book: Any, side: int, base: int, n_ticks: int) -> None:
    """Empty one side of a book."""
    if side > 0 and book.low_bid < NO_ASK:
        for t in range(book.low_bid - base, n_ticks):
            sizes(book, t).bid = 0
        book.best_bid = NO_BID
        book.low_bid = NO_ASK
    elif side < 0 and book.high_ask > NO_BID:
        for t in range(book.high_ask - base + 1):
            sizes(book, t).ask = 0
        book.best_ask = NO_ASK
        book.high_ask = NO_BID


@inner
def receive(
    st: Any,
    feed: Any,
    ts_received: Any,
    action: Any,
    side: Any,
    price: Any,
    size: Any,
    flags: Any,
    until: int,
    most: int,
) -> None:
    """Apply what was received by `until`, at most `most` events, to one feed's book."""
    at, n, base, n_ticks, at_sizes = feed.at, ts_received.shape[0], st.base, st.n_ticks, feed.at_sizes
    bid, ask, low, high = feed.best_bid, feed.best_ask, feed.low_bid, feed.high_ask
    latest = until - feed.extra
    stop = min(n, at + most)
    while at < stop and ts_received[at] <= latest:
        act = action[at]
        if act == SET:
            tick, lots, sign = price[at], size[at], side[at]
            t = tick - base
            if 0 <= t < n_ticks:
                buy = sign > 0
                put(at_sizes, 2 * t + (0 if buy else 1), lots)
                ahead = (tick - (bid if buy else ask)) * sign
                if ahead < 0 and (lots == 0 or (tick - (low if buy else high)) * sign >= 0):
                    at += 1  # behind the touch: most changes are
                    continue
                if ahead >= 0:
                    feed.changed = 1
                    if ahead == 0 and lots > 0:  # the touch stays where it is
                        at += 1
                        continue
                touch(feed, base, sign, tick, lots)
                bid, ask, low, high = feed.best_bid, feed.best_ask, feed.low_bid, feed.high_ask
        elif act != TRADE or st.wants_trades:
            receive_other(st, feed, at, act, side[at], price[at], size[at], flags[at], ts_received[at])
            bid, ask, low, high = feed.best_bid, feed.best_ask, feed.low_bid, feed.high_ask
        at += 1
    feed.at = at


@inner
def receive_other(
    st: Any, feed: Any, at: int, act: int, side: int, price: int, size: int, flags: int, ts: int
) -> None:  # fmt: skip
    """Apply a trade, an event by order or a clear to one feed's book."""
    base = st.base
    if act == CLEAR:
        if side >= 0:
            clear_side(feed, 1, base, st.n_ticks)
        if side <= 0:
            clear_side(feed, -1, base, st.n_ticks)
        feed.changed = 1
        return
    if st.by_order:
        row = resolved_at(st, at)
        for half in range(2):
            tick = row.tick if half == 0 else row.tick2
            change = row.lots if half == 0 else row.lots2
            t = tick - base
            if change != 0 and 0 <= t < st.n_ticks:
                if row.side > 0:
                    sizes(feed, t).bid += change
                    feed.changed |= tick >= feed.best_bid
                    touch(feed, base, 1, tick, sizes(feed, t).bid)
                else:
                    sizes(feed, t).ask += change
                    feed.changed |= tick <= feed.best_ask
                    touch(feed, base, -1, tick, sizes(feed, t).ask)
    traded = act == EXECUTE or (act == TRADE and (not st.by_order or flags & HIDDEN != 0))
    if traded and flags & SNAPSHOT == 0:
        aggressor = side if act == TRADE else -side
        tick = price if act == TRADE else resolved_at(st, at).tick
        note_trade(feed, tick, aggressor, size, ts)


@inlined
def note_trade(feed: Any, tick: int, aggressor: int, size: int, ts: int) -> None:
    """Remember a trade of the market for those who look at a feed."""
    feed.trade_tick = tick
    feed.trade_side = aggressor
    feed.volume += size
    feed.buy_volume += size if aggressor > 0 else 0
    feed.sell_volume += size if aggressor < 0 else 0
    feed.trade_ns = ts
    feed.traded = 1


@inner
def look(st: Any, book: Any, feed: Any, out: int) -> None:
    """Write what a strategy may see of a book, and of the trades that a feed told of, to an address."""
    base = st.base
    put(out, 0, book.best_bid)
    put(out, 1, book.best_ask)
    put(out, 2, sizes(book, book.best_bid - base).bid if book.best_bid > NO_BID else 0)
    put(out, 3, sizes(book, book.best_ask - base).ask if book.best_ask < NO_ASK else 0)
    put(out, 4, feed.trade_tick)
    put(out, 5, feed.trade_side)
    put(out, 6, feed.volume)
    put(out, 7, feed.buy_volume)
    put(out, 8, feed.sell_volume)
    if st.depth_levels > 0:
        found, total = 0, 0
        tick = book.best_bid
        while tick >= book.low_bid and tick > NO_BID and found < st.depth_levels:
            lots = sizes(book, tick - base).bid
            if lots > 0:
                found += 1
                total += lots
            tick -= 1
        put(out, 9, total)
        found, total = 0, 0
        tick = book.best_ask
        while tick <= book.high_ask and tick < NO_ASK and found < st.depth_levels:
            lots = sizes(book, tick - base).ask
            if lots > 0:
                found += 1
                total += lots
            tick += 1
        put(out, 10, total)


@jit
def in_order(ts_exchange: Any, ts_received: Any, last: int) -> bool:
    """Return whether nothing is received before the exchange's time of it, or before `last` or what came earlier."""
    n = ts_received.shape[0]
    wrong = n > 0 and ts_received[0] < last
    for i in range(n):  # to the end even so: without a way out, many are compared at once
        wrong |= ts_received[i] < ts_exchange[i]
    for i in range(1, n):
        wrong |= ts_received[i] < ts_received[i - 1]
    return not wrong
