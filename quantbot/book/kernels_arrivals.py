"""What the exchange does with an order, a cancel or a modify that has come to it."""

from __future__ import annotations

import math
from typing import Any

from quantbot.book.kernels_fills import CONSTANT, acknowledge, answer, delay, fill
from quantbot.book.kernels_memory import agent_at, order_at, ours, sizes, taken_note, whole
from quantbot.book.kernels_queue import join, leave
from quantbot.book.layout import NO_ASK, NO_BID, NOTES, Answer, Local, Message, OrderKind, Reason
from quantbot.kernels import inlined, inner

NEW, CANCEL = int(Message.NEW), int(Message.CANCEL)
FILLED, PART = int(Answer.FILLED), int(Answer.PART)
EXPIRED, MODIFIED = int(Answer.EXPIRED), int(Answer.MODIFIED)
FREE, LIVE = int(Local.FREE), int(Local.LIVE)
LIMIT, POST_ONLY, IOC = int(OrderKind.LIMIT), int(OrderKind.POST_ONLY), int(OrderKind.IOC)
FOK, MARKET = int(OrderKind.FOK), int(OrderKind.MARKET)
TAKEN = int(Reason.TAKEN)


@inner
def taken_at(st: Any, a: int, side: int, tick: int, ts: int) -> Any:
    """Return the lots of a level (side: the level's) that agent `a` took and that have not come back."""
    t = tick - st.base
    epoch = ours(st, t).bid_epoch if side > 0 else ours(st, t).ask_epoch
    lots = sizes(st, t).bid if side > 0 else sizes(st, t).ask
    for i in range(a * NOTES, (a + 1) * NOTES):
        row = taken_note(st, i)
        if row.tick == tick and row.side == side and row.lots > 0:
            if row.stamp < epoch or (st.recover_ns > 0 and ts - row.ts_ns >= st.recover_ns):
                row.lots = 0
                return 0
            return min(row.lots, lots)
    return 0


@inner
def take_note(st: Any, a: int, side: int, tick: int, lots: int, ts: int) -> Any:
    """Remember that agent `a` took `lots` at `tick`; the oldest note makes room."""
    place = a * NOTES
    for i in range(a * NOTES, (a + 1) * NOTES):
        row = taken_note(st, i)
        if row.tick == tick and row.side == side and row.lots > 0:
            t = tick - st.base
            row.lots = min(row.lots, sizes(st, t).bid if side > 0 else sizes(st, t).ask) + lots
            row.ts_ns = ts
            return
        if row.lots == 0 or (taken_note(st, place).lots > 0 and row.ts_ns < taken_note(st, place).ts_ns):
            place = i
    row = taken_note(st, place)
    row.tick = tick
    row.side = side
    row.lots = lots
    row.stamp = st.stamp
    row.ts_ns = ts


@inner
def within_reach(st: Any, order: Any, ts: int) -> int:
    """Return the lots that an order could take now, up to its own size."""
    buy = order.side > 0
    found = 0
    tick = st.best_ask if buy else st.best_bid
    last = st.high_ask if buy else st.low_bid
    if tick in (NO_ASK, NO_BID):
        return 0
    if order.kind != MARKET:
        last = min(last, order.tick) if buy else max(last, order.tick)
    step = 1 if buy else -1
    while (tick <= last if buy else tick >= last) and found < order.leaves:
        level = sizes(st, tick - st.base)
        lots = level.ask if buy else level.bid
        if lots > 0:
            found += lots - taken_at(st, order.agent, -order.side, tick, ts)
        tick += step
    return found


@inner
def sweep(st: Any, o: int, ts: int) -> None:
    """Take level by level what the order can have, and what the agent has not had before."""
    order = order_at(st, o)
    buy = order.side > 0
    tick = st.best_ask if buy else st.best_bid
    last = st.high_ask if buy else st.low_bid
    if order.kind != MARKET:
        last = min(last, order.tick) if buy else max(last, order.tick)
    step = 1 if buy else -1
    while (tick <= last if buy else tick >= last) and order.leaves > 0:
        level = sizes(st, tick - st.base)
        lots = level.ask if buy else level.bid
        if lots > 0:
            lots = min(lots - taken_at(st, order.agent, -order.side, tick, ts), order.leaves)
            if lots > 0:
                take_note(st, order.agent, -order.side, tick, lots, ts)
                fill(st, o, tick, lots, 0, TAKEN, 0.0, ts)
                kind = FILLED if order.leaves == 0 else PART
                answer(st, o, kind, lots, lots * tick, ts)
        tick += step


@inner
def push_price(agent: Any, lots: int, value: int) -> None:
    """Charge what the lots of an order that took move the price by: the square-root law (ticks x lots of value)."""
    if agent.impact > 0.0:
        agent.impact_cost += agent.impact * value * math.sqrt(lots)


@inlined
def arrive_new(st: Any, o: int, ts: int) -> None:
    """Match, rest or refuse an order; return nothing: the answer is on its way."""
    order = order_at(st, o)
    agent = agent_at(st, order.agent)
    buy = order.side > 0
    order.placed_ns = ts
    best = st.best_ask if buy else st.best_bid
    there = best < NO_ASK and best > NO_BID
    meets = there and (order.kind == MARKET or (order.tick >= best if buy else order.tick <= best))
    inside = 0 <= order.tick - st.base < st.n_ticks
    if st.halted or st.unreadable or (meets and order.kind == POST_ONLY) or not (inside or order.kind == MARKET):
        st.outside += not inside
        agent.n_rejected += 1
        acknowledge(st, o, order, agent, FREE, ts)
        return
    if meets:
        if not st.partial:
            lots = order.leaves
            fill(st, o, best, lots, 0, TAKEN, 0.0, ts)
            answer(st, o, FILLED, lots, lots * best, ts)
            push_price(agent, lots, lots * best)
            return
        if order.kind != FOK or within_reach(st, order, ts) >= order.leaves:
            cash, lots = agent.cash, order.leaves
            sweep(st, o, ts)
            push_price(agent, lots - order.leaves, abs(agent.cash - cash))
            if order.leaves == 0:
                return
    if order.kind >= IOC or meets:
        # What an immediate order left goes; so does the rest of a limit order, whose level our own size emptied.
        acknowledge(st, o, order, agent, FREE, ts)
        return
    st.sequence += 1
    join(st, o, agent.queue, st.sequence)
    agent.n_resting += 1
    agent.resting_orders += 1
    acknowledge(st, o, order, agent, LIVE, ts)


@inlined
def arrive(st: Any, o: int, kind: int, ts: int) -> None:
    """Process one message of an agent at the exchange."""
    order = order_at(st, o)
    agent = agent_at(st, order.agent)
    if kind == NEW:
        arrive_new(st, o, ts)
    elif order.resting == 0:
        # Filled before the cancel came: the answer says nothing that the fill's did not, but keeps its turn.
        due = ts + (agent.answer_ns if agent.latency == CONSTANT else delay(st, agent, ts, False))
        agent.answer_last = max(agent.answer_last, due)
    elif kind == CANCEL:
        agent.n_resting -= 1
        agent.open_orders_ns += ts - order.placed_ns
        leave(st, o)
        acknowledge(st, o, order, agent, FREE, ts)
    else:
        lots = max(order.leaves - whole(st.at_asked, o), 0)
        if lots == 0:
            agent.n_resting -= 1
            leave(st, o)
            acknowledge(st, o, order, agent, FREE, ts)
            return
        grows = lots > order.leaves
        order.leaves = lots
        if grows:
            leave(st, o)
            st.sequence += 1
            join(st, o, agent.queue, st.sequence)
        answer(st, o, MODIFIED, lots, 0, ts)


@inner
def expire_all(st: Any, ts: int) -> None:
    """Take every order of ours off the book: after a gap or a halt nobody knows where it stands."""
    for o in range(st.n_agents * st.n_slots):
        if order_at(st, o).resting:
            agent_at(st, order_at(st, o).agent).n_resting -= 1
            leave(st, o)
            answer(st, o, EXPIRED, 0, 0, ts)
