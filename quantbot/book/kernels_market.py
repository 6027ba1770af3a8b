"""The market's own book at the exchange: touch, and what its changes do to orders of ours."""

from __future__ import annotations

from typing import Any

from quantbot.book.kernels_fills import fill_cohort, fill_level
from quantbot.book.kernels_memory import agent_at, cohort_at, model_at, order_at, ours, put, sizes
from quantbot.book.kernels_queue import FIFO, level_changed, traded_at
from quantbot.book.layout import NO_ASK, NO_BID, Reason
from quantbot.kernels import inlined, inner

THROUGH, QUEUE, CROSSED = int(Reason.TRADE_THROUGH), int(Reason.QUEUE_PASSED), int(Reason.DEPTH_CROSSED)


@inner
def below(book: Any, base: int, tick: int, last: int) -> int:
    """Return the next bid level below `tick`, not below `last`."""
    t = tick - base - 1
    stop = last - base
    while t >= stop:
        if sizes(book, t).bid > 0:
            return t + base
        t -= 1
    return NO_BID


@inner
def above(book: Any, base: int, tick: int, last: int) -> int:
    """Return the next ask level above `tick`, not above `last`."""
    t = tick - base + 1
    stop = last - base
    while t <= stop:
        if sizes(book, t).ask > 0:
            return t + base
        t += 1
    return NO_ASK


@inner
def touch(book: Any, base: int, side: int, tick: int, lots: int) -> bool:
    """Keep best prices and extremes of `book` after a level's new total; return whether the best improved.

    A new best that meets the other side pushes that side back to its next level: the newer side is right.
    """
    if side > 0:
        if lots == 0:
            if tick == book.best_bid:
                book.best_bid = below(book, base, tick, book.low_bid)
                if book.best_bid == NO_BID:
                    book.low_bid = NO_ASK
        else:
            book.low_bid = min(book.low_bid, tick)
            if tick > book.best_bid:
                book.best_bid = tick
                if tick >= book.best_ask:
                    book.best_ask = above(book, base, tick, book.high_ask)
                return True
    elif lots == 0:
        if tick == book.best_ask:
            book.best_ask = above(book, base, tick, book.high_ask)
            if book.best_ask == NO_ASK:
                book.high_ask = NO_BID
    else:
        book.high_ask = max(book.high_ask, tick)
        if tick < book.best_ask:
            book.best_ask = tick
            if tick <= book.best_bid:
                book.best_bid = below(book, base, tick, book.low_bid)
            return True
    return False


@inner
def queue_moves(st: Any, c: int, previous: int, lots: int, sequence: int) -> None:
    """Tell our cohorts on a level that its total changed; `sequence`: of the market's order that left, else -1."""
    while c > 0:
        cohort = cohort_at(st, c)
        model = model_at(st, cohort.model)
        if model.kind == FIFO:
            if 0 <= sequence < cohort.sequence and lots < previous:
                cohort.front -= previous - lots
        else:
            level_changed(cohort, model, previous, lots)
        c = cohort.next


@inner
def cross(st: Any, side: int, ts: int) -> None:
    """Fill our orders on `side` that the other side's new best has come to."""
    if side < 0:
        while st.top_sell <= st.best_bid:
            fill_level(
                st,
                side,
                st.top_sell,
                True,
                CROSSED,
                0,
                ts,
            )
    else:
        while st.top_buy >= st.best_ask:
            fill_level(
                st,
                side,
                st.top_buy,
                True,
                CROSSED,
                0,
                ts,
            )


@inlined
def set_behind(book: Any, side: int, tick: int, lots: int, t: int) -> bool:
    """Give a level its new total if that does not move the touch; return whether it did.

    Most changes are of this kind, and on which side they are can't be foreseen: so no branch depends on the side.
    """
    buy = side > 0
    ahead = (tick - (book.best_bid if buy else book.best_ask)) * side
    if ahead > 0 or (ahead == 0 and lots == 0):
        return False
    put(book.at_sizes, 2 * t + (0 if buy else 1), lots)
    if lots > 0 and (tick - (book.low_bid if buy else book.high_ask)) * side < 0:
        if buy:
            book.low_bid = tick
        else:
            book.high_ask = tick
    return True


@inlined
def set_quietly(st: Any, side: int, tick: int, lots: int, t: int) -> bool:
    """Give a level its new total if that moves neither the touch nor an order of ours; return whether it did."""
    buy = side > 0
    if (tick - (st.top_buy if buy else st.top_sell)) * side <= 0 and (
        ours(st, t).buys if buy else ours(st, t).sells
    ) > 0:
        return False
    if not set_behind(st, side, tick, lots, t):
        return False
    if lots == 0 and st.partial:
        st.stamp += 1
        if buy:
            ours(st, t).bid_epoch = st.stamp
        else:
            ours(st, t).ask_epoch = st.stamp
    return True


@inner
def set_level(st: Any, side: int, tick: int, lots: int, sequence: int, ts: int) -> None:
    """Give a level its new total."""
    level, mine = sizes(st, tick - st.base), ours(st, tick - st.base)
    if side > 0:
        previous = level.bid
        level.bid = lots
        if mine.buys > 0:
            queue_moves(st, mine.buys, previous, lots, sequence)
        if lots == 0:
            st.stamp += 1
            mine.bid_epoch = st.stamp
    else:
        previous = level.ask
        level.ask = lots
        if mine.sells > 0:
            queue_moves(st, mine.sells, previous, lots, sequence)
        if lots == 0:
            st.stamp += 1
            mine.ask_epoch = st.stamp
    meets = lots > 0 and (tick >= st.best_ask if side > 0 else tick <= st.best_bid)
    st.crossed += meets
    better = touch(st, st.base, side, tick, lots)
    if st.best_bid > NO_BID and st.best_ask < NO_ASK:
        st.mid2 = st.best_bid + st.best_ask
    if better and not st.halted and (st.top_sell <= st.best_bid if side > 0 else st.top_buy >= st.best_ask):
        cross(st, -side, ts)


@inner
def trade(st: Any, aggressor: int, tick: int, lots: int, sequence: int, ts: int) -> None:
    """Fill what a trade of the market reaches: our better prices wholly, our orders at its price by their place.

    `sequence` is that of the market's order that traded where orders are known, else -1.
    """
    buy = aggressor < 0  # whose of our orders
    st.stamp += 1
    if (st.top_buy > tick) if buy else (st.top_sell < tick):
        if st.hft_fifo:
            through_as_hftbacktest(st, buy, tick, ts)
        else:
            whole = not st.partial
            at = st.top_buy if buy else st.top_sell
            while at > tick if buy else at < tick:
                level = ours(st, at - st.base)
                if level.buys > 0 if buy else level.sells > 0:
                    side = 1 if buy else -1
                    fill_level(
                        st,
                        side,
                        at,
                        whole,
                        THROUGH,
                        lots,
                        ts,
                    )
                if (st.n_buys if buy else st.n_sells) == 0:
                    break
                at += -1 if buy else 1
    t = tick - st.base
    if t < 0 or t >= st.n_ticks:
        return
    level, mine = sizes(st, t), ours(st, t)
    c = mine.buys if buy else mine.sells
    while c > 0:
        cohort = cohort_at(st, c)
        following = cohort.next
        kind = model_at(st, cohort.model).kind
        if kind == FIFO:
            reached = 0
            if sequence >= 0 and sequence < cohort.sequence:
                cohort.front = max(cohort.front - lots, 0.0)
            elif sequence >= 0:
                reached = lots
        else:
            reached = traded_at(cohort, kind, lots, level.bid if buy else level.ask)
        if reached > 0:
            fill_cohort(
                st,
                c,
                reached,
                not st.partial,
                QUEUE,
                lots,
                ts,
            )
        c = following


@inner
def through_as_hftbacktest(st: Any, buy: bool, tick: int, ts: int) -> None:
    """Fill what a trade goes through as hftbacktest's L3 exchange does.

    It looks between the market's best and the trade, so an order of ours inside the spread is passed over unless the
    agent has fewer orders than that range has ticks (`fill_bid_between` in its queue.rs). Kept for comparison only.
    """
    best = st.best_bid if buy else st.best_ask
    if (best <= tick) if buy else (best >= tick):
        return
    span = best - tick - 1 if buy else tick - best - 1
    at = st.top_buy if buy else st.top_sell
    while at > tick if buy else at < tick:
        level = ours(st, at - st.base)
        c = level.buys if buy else level.sells
        while c > 0:
            following = cohort_at(st, c).next
            agent = agent_at(st, order_at(st, cohort_at(st, c).first).agent)
            if agent.n_resting < span or (at <= best if buy else at >= best):
                fill_cohort(
                    st,
                    c,
                    0,
                    True,
                    THROUGH,
                    0,
                    ts,
                )
            c = following
        if (st.n_buys if buy else st.n_sells) == 0:
            break
        at += -1 if buy else 1


@inner
def left_queue(st: Any, side: int, tick: int, lots: int, sequence: int) -> None:
    """Tell our FIFO cohorts on a level that an order of the market gave up its place, whatever the total says."""
    mine = ours(st, tick - st.base)
    c = mine.buys if side > 0 else mine.sells
    while c > 0:
        cohort = cohort_at(st, c)
        if model_at(st, cohort.model).kind == FIFO and sequence < cohort.sequence:
            cohort.front -= lots
        c = cohort.next
