"""An agent's own side: what it has been told, what it decides, and the messages that follow."""

from __future__ import annotations

from typing import Any

from quantbot.book.kernels_fills import CONSTANT, delay, say
from quantbot.book.kernels_heap import push
from quantbot.book.kernels_memory import agent_at, answer_at, decide_at, order_at, put, whole
from quantbot.book.layout import NEVER, NO_ASK, NO_BID, Answer, Local, Message, OrderKind
from quantbot.kernels import inlined, inner

FREE, SENT, LIVE, ASKED = int(Local.FREE), int(Local.SENT), int(Local.LIVE), int(Local.ASKED)
FILLED, PART = int(Answer.FILLED), int(Answer.PART)
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
        if kind in (FILLED, PART):
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
def learn(agent: Any, order: Any, ts: int) -> None:
    """Let an agent take an order to be what it has been told by `ts`."""
    if order.heard_ns <= ts:
        order.heard_ns = NEVER
        order.local = order.then
        agent.n_used -= order.then == FREE


@inner
def look_over(st: Any, agent: Any, a: int, ts: int) -> None:
    """Let agent `a` take every order to be what it has been told by `ts`."""
    left, o = agent.n_used, a * st.n_slots
    while left > 0:
        order = order_at(st, o)
        if order.local != FREE:
            left -= 1
            learn(agent, order, ts)
        o += 1


@inlined
def send(st: Any, agent: Any, order: Any, o: int, kind: int, ts: int) -> None:
    """Send a request about order `o` to the exchange; requests of one agent never overtake each other."""
    due = ts + (agent.entry_ns if agent.latency == CONSTANT else delay(st, agent, ts, True))
    due = max(due, agent.entry_last)
    agent.entry_last = due
    # What was sent when, as one number: the sentinel compares it.
    agent.trace = (agent.trace * 31 + ts) * 31 + (order.tick * 8 + order.side * 3 + kind) * 31 + order.leaves
    if st.n_said_rows > 0:
        say(st, o, kind, order.leaves, ts, due)
    push(st, due, o, kind)


@inner
def place(st: Any, a: int, side: int, kind: int, tick: int, lots: int, ts: int) -> bool:
    """Send a new order, cut to what the position limit leaves room for; return whether there is one."""
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
            return False
    for o in range(first, first + st.n_slots):
        if order_at(st, o).local == FREE:
            free = o
            break
    if free < 0:
        agent.n_full += 1
        return False
    order = order_at(st, free)
    order.tick = tick
    order.leaves = lots
    order.known = lots
    order.side = side
    order.kind = kind
    order.agent = a
    order.local = SENT
    order.heard_ns = NEVER
    agent.n_used += 1
    order.resting = 0
    order.touched = 0
    order.placed_ns = ts
    agent.n_orders += 1
    send(st, agent, order, free, NEW, ts)
    return True


@inlined
def lots_wanted(want: int, start: int, n_levels: int, order: Any) -> Any:
    """Return (lots, levels): the most lots that are wanted at an order's tick, and a bit for each such level."""
    if n_levels == 1:  # most strategies: no loop
        same = whole(want, start) == order.tick
        return (whole(want, start + 1), 1) if same else (0, 0)
    lots, levels = 0, 0
    for i in range(n_levels):
        if whole(want, start + i) == order.tick:
            lots = max(lots, whole(want, start + n_levels + i))
            levels |= 1 << i
    return lots, levels


@inlined
def same_wants(wants: int, want: int, n: int) -> Any:
    """Return whether an agent wants what it wanted before."""
    if n == 4:
        return (
            (whole(wants, 0) ^ whole(want, 0)) | (whole(wants, 1) ^ whole(want, 1))
            | (whole(wants, 2) ^ whole(want, 2)) | (whole(wants, 3) ^ whole(want, 3))
        ) == 0  # fmt: skip
    same = True
    for i in range(n):
        same &= whole(wants, i) == whole(want, i)
    return same


@inner
def kill(st: Any, agent: Any, a: int, ts: int) -> None:
    """Close the position of an agent that has lost too much, and let it trade no more."""
    mid2 = whole(st.at_view, 3) + whole(st.at_view, 4)
    if 0.5 * (2 * agent.known_cash + agent.known_position * mid2) <= -agent.kill_at:
        agent.killed = 1
        agent.quiet = 0
        if agent.known_position != 0:
            look_over(st, agent, a, ts)
            side = -1 if agent.known_position > 0 else 1
            limit, agent.limit_lots = agent.limit_lots, 0
            place(st, a, side, MARKET, 0, abs(agent.known_position), ts)
            agent.limit_lots = limit


@inner
def show_open(st: Any, a: int) -> None:
    """Write the lots that agent `a` has on their way or open into `view`."""
    buying, selling = 0, 0
    for o in range(a * st.n_slots, (a + 1) * st.n_slots):
        order = order_at(st, o)
        if order.local != FREE:
            if order.side > 0:
                buying += order.known
            else:
                selling += order.known
    put(st.at_view, 15, buying)
    put(st.at_view, 16, selling)


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
    n_levels, view, want = st.n_levels, st.at_view, st.at_want
    n = 4 * n_levels
    if whole(view, 3) > NO_BID and whole(view, 4) < NO_ASK:
        if agent.arrival2 == 0.0:
            agent.arrival2 = whole(view, 3) + whole(view, 4)
        if agent.kill_at > 0.0 and agent.killed == 0:
            kill(st, agent, a, ts)
    if agent.killed == 0:
        put(view, 14, agent.known_position)
        if st.wants_open:
            look_over(st, agent, a, ts)
            show_open(st, a)
        decide_at(
            st.at_decide, view, st.at_parameters + 8 * a * st.n_parameters, st.at_memory + 8 * a * st.n_memory, want
        )
    wants = st.at_wants + 8 * st.n_wants * a
    took = whole(want, n + 1)
    if not (agent.quiet and took == 0 and same_wants(wants, want, n)):
        agent.quiet = bring_about(st, agent, a, want, ts)
    for i in range(n + 2):
        put(wants, i, whole(want, i))
        put(want, i, 0)


@inner
def bring_about(st: Any, agent: Any, a: int, want: int, ts: int) -> int:
    """Send what brings the orders of agent `a` to what it wants; return 1 if that is nothing."""
    n_levels, first = st.n_levels, a * st.n_slots
    quiet = 1
    had_buys, had_sells = 0, 0  # a bit for each level at whose tick there is an order
    left, o = agent.n_used, first
    while left > 0:
        order = order_at(st, o)
        if order.local != FREE:
            left -= 1
            learn(agent, order, ts)
        if order.local != FREE:
            lots, levels = lots_wanted(want, 0 if order.side > 0 else 2 * n_levels, n_levels, order)
            if order.side > 0:
                had_buys |= levels
            else:
                had_sells |= levels
            if order.local != LIVE:
                quiet = 0
            elif lots == 0 or order.kind == MARKET:
                order.local = ASKED
                agent.n_cancels += 1
                quiet = 0
                send(st, agent, order, o, CANCEL, ts)
            elif lots < order.known:
                order.local = ASKED
                put(st.at_asked, o, order.known - lots)
                agent.n_modifies += 1
                quiet = 0
                send(st, agent, order, o, MODIFY, ts)
        o += 1
    for half in range(2):
        had, start = (had_buys, 0) if half == 0 else (had_sells, 2 * n_levels)
        for i in range(n_levels):
            lots = whole(want, start + n_levels + i)
            if lots > 0 and (had >> i) & 1 == 0:
                quiet = 0
                tick = whole(want, start + i)
                if place(st, a, 1 - 2 * half, st.quote_kind, tick, lots, ts):
                    for j in range(i + 1, n_levels):
                        had |= int(whole(want, start + j) == tick) << j
    took = whole(want, 4 * n_levels + 1)
    if took != 0:
        quiet = 0
        place(st, a, 1 if took > 0 else -1, st.take_kind, whole(want, 4 * n_levels), abs(took), ts)
    return quiet
