"""An agent's own side: what it has been told, what it decides, and the messages that follow."""

from __future__ import annotations

from typing import Any

from quantbot.book.kernels_fills import CONSTANT, delay
from quantbot.book.kernels_heap import push
from quantbot.book.kernels_memory import agent_at, answer_at, decide_at, order_at, put, whole
from quantbot.book.layout import NO_ASK, NO_BID, Answer, Local, Message, OrderKind
from quantbot.kernels import inlined, inner

FREE, SENT, LIVE, ASKED = int(Local.FREE), int(Local.SENT), int(Local.LIVE), int(Local.ASKED)
ACCEPTED, FILLED, PART = int(Answer.ACCEPTED), int(Answer.FILLED), int(Answer.PART)
MODIFIED = int(Answer.MODIFIED)
NEW, CANCEL, MODIFY = int(Message.NEW), int(Message.CANCEL), int(Message.MODIFY)
MARKET = int(OrderKind.MARKET)


@inner
def hear(st: Any, a: int, ts: int) -> None:
    """Let agent `a` know what has come to it by `ts`."""
    agent = agent_at(st, a)
    first = a * st.n_answers
    while agent.head < agent.tail:
        told = answer_at(st, first + agent.head)
        if told.due > ts:
            return
        agent.head += 1
        agent.quiet = 0
        order = order_at(st, told.order)
        kind = told.kind
        if kind == ACCEPTED:
            order.local = LIVE
        elif kind in (FILLED, PART):
            agent.known_position += order.side * told.lots
            agent.known_cash -= order.side * told.value
            order.known -= told.lots
            if kind == FILLED:
                order.local = FREE
                agent.n_used -= 1
        elif kind == MODIFIED:
            order.known = told.lots
            order.local = LIVE
        else:
            order.local = FREE
            agent.n_used -= 1
    agent.head = 0  # the same few lines of memory again
    agent.tail = 0


@inlined
def send(st: Any, o: int, kind: int, ts: int) -> None:
    """Send a request about order `o` to the exchange; requests of one agent never overtake each other."""
    agent = agent_at(st, order_at(st, o).agent)
    due = ts + (agent.entry_ns if agent.latency == CONSTANT else delay(st, agent, ts, True))
    due = max(due, agent.entry_last)
    agent.entry_last = due
    # What was sent when, as one number: the sentinel compares it.
    order = order_at(st, o)
    agent.trace = (agent.trace * 31 + ts) * 31 + (order.tick * 8 + order.side * 3 + kind) * 31 + order.leaves
    push(st, due, o, kind)


@inner
def place(st: Any, a: int, side: int, kind: int, tick: int, lots: int, ts: int) -> None:
    """Send a new order, cut to what the position limit leaves room for."""
    agent = agent_at(st, a)
    first = a * st.n_slots
    free = -1
    if agent.limit_lots > 0:
        open_lots = 0
        for o in range(first, first + st.n_slots):
            if order_at(st, o).local != FREE and order_at(st, o).side == side:
                open_lots += order_at(st, o).known
        room = agent.limit_lots - side * agent.known_position - open_lots
        if lots > room:
            agent.n_clipped += 1
            lots = room
        if lots <= 0:
            return
    for o in range(first, first + st.n_slots):
        if order_at(st, o).local == FREE:
            free = o
            break
    if free < 0:
        agent.n_full += 1
        return
    order = order_at(st, free)
    order.tick = tick
    order.lots = lots
    order.leaves = lots
    order.known = lots
    order.side = side
    order.kind = kind
    order.agent = a
    order.local = SENT
    agent.n_used += 1
    order.resting = 0
    order.touched = 0
    order.placed_ns = ts
    agent.n_orders += 1
    send(st, free, NEW, ts)


@inner
def ask(st: Any, a: int, ts: int) -> None:
    """Let agent `a` decide at `ts`, and send what brings its orders to what it wants.

    A live order whose tick is no longer wanted is cancelled; one with more lots than wanted is made smaller; a wanted
    tick without an order of ours on its side gets a new one.
    """
    agent = agent_at(st, a)
    if agent.tail > 0:
        hear(st, a, ts)
    agent.n_wakes += 1
    n_levels, first, stop = st.n_levels, a * st.n_slots, (a + 1) * st.n_slots
    n_want, view, want = 4 * n_levels + 2, st.at_view, st.at_want
    wants = st.at_wants + 8 * n_want * a
    for i in range(n_want):
        put(want, i, 0)
    if agent.arrival2 == 0.0 and whole(view, 3) > NO_BID and whole(view, 4) < NO_ASK:
        agent.arrival2 = whole(view, 3) + whole(view, 4)
    if agent.killed == 0 and agent.kill_at > 0.0 and whole(view, 3) > NO_BID and whole(view, 4) < NO_ASK:
        equity2 = 2 * agent.known_cash + agent.known_position * (whole(view, 3) + whole(view, 4))
        if 0.5 * equity2 <= -agent.kill_at:
            agent.killed = 1
            agent.quiet = 0
            if agent.known_position != 0:
                side = -1 if agent.known_position > 0 else 1
                limit, agent.limit_lots = agent.limit_lots, 0
                place(st, a, side, MARKET, 0, abs(agent.known_position), ts)
                agent.limit_lots = limit
    if agent.killed == 0:
        put(view, 14, agent.known_position)
        if st.wants_open:
            buying, selling = 0, 0
            for o in range(first, stop):
                if order_at(st, o).local != FREE:
                    if order_at(st, o).side > 0:
                        buying += order_at(st, o).known
                    else:
                        selling += order_at(st, o).known
            put(view, 15, buying)
            put(view, 16, selling)
        decide_at(
            st.at_decide, view, st.at_parameters + 8 * a * st.n_parameters, st.at_memory + 8 * a * st.n_memory, want
        )
    took = whole(want, 4 * n_levels + 1)
    if agent.quiet and took == 0:
        same = True
        for i in range(4 * n_levels):
            same &= whole(wants, i) == whole(want, i)
        if same:
            return
    for i in range(4 * n_levels):
        put(wants, i, whole(want, i))
    quiet = True
    left = agent.n_used
    for o in range(first, stop):
        if left == 0:
            break
        order = order_at(st, o)
        if order.local == FREE:
            continue
        left -= 1
        start = 0 if order.side > 0 else 2 * n_levels
        lots = 0
        for i in range(start, start + n_levels):
            if whole(want, i) == order.tick:
                lots = max(lots, whole(want, i + n_levels))
        if order.local != LIVE:
            quiet = False
        elif lots == 0 or order.kind == MARKET:
            order.local = ASKED
            agent.n_cancels += 1
            quiet = False
            send(st, o, CANCEL, ts)
        elif lots < order.known:
            order.local = ASKED
            order.want = order.lots - order.known + lots
            agent.n_modifies += 1
            quiet = False
            send(st, o, MODIFY, ts)
    for half in range(2):
        side = 1 - 2 * half
        for i in range(2 * half * n_levels, (2 * half + 1) * n_levels):
            if whole(want, i + n_levels) <= 0:
                continue
            there = False
            left = agent.n_used
            for o in range(first, stop):
                if left == 0 or there:
                    break
                order = order_at(st, o)
                if order.local != FREE:
                    left -= 1
                    there = order.side == side and order.tick == whole(want, i)
            if not there:
                quiet = False
                place(st, a, side, st.quote_kind, whole(want, i), whole(want, i + n_levels), ts)
    if took != 0:
        quiet = False
        tick = whole(want, 4 * n_levels)
        side = 1 if took > 0 else -1
        place(st, a, side, st.take_kind, tick, abs(took), ts)
    agent.quiet = 1 if quiet else 0
