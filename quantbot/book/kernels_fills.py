"""Fills, and the answers that tell of them: what the exchange does to an agent's account."""

from __future__ import annotations

from typing import Any

import numpy as np

from quantbot.book.kernels_heap import push
from quantbot.book.kernels_memory import (
    agent_at,
    answer_at,
    cohort_at,
    fill_at,
    latency_at,
    order_at,
    ours,
    said_at,
    whole,
)
from quantbot.book.kernels_queue import leave
from quantbot.book.layout import ANSWERED, Answer, Latency, Local, Message, Reason, Wake
from quantbot.kernels import inlined, inner

CONSTANT, RECORDED = int(Latency.CONSTANT), int(Latency.RECORDED)
FILLED, PART = int(Answer.FILLED), int(Answer.PART)
ACCEPTED, EXPIRED, LIVE = int(Answer.ACCEPTED), int(Answer.EXPIRED), int(Local.LIVE)
WAKE, ANSWER_BIT = int(Message.WAKE), int(Wake.ANSWER)
TAKEN, CROSSED = int(Reason.TAKEN), int(Reason.DEPTH_CROSSED)
THROUGH, QUEUE = int(Reason.TRADE_THROUGH), int(Reason.QUEUE_PASSED)
SHIFT, MIX1, MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@inner
def uniform(key: int, counter: int) -> float:
    """Return a draw from [0, 1) that depends on `key` and `counter` alone: SplitMix64 (Steele et al., 2014)."""
    z = np.uint64(key) + np.uint64(counter + 1) * SHIFT
    z = (z ^ (z >> np.uint64(30))) * MIX1
    z = (z ^ (z >> np.uint64(27))) * MIX2
    z = z ^ (z >> np.uint64(31))
    return np.int64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@inner
def delay(st: Any, agent: Any, ts: int, entry: bool) -> Any:
    """Return the nanoseconds that a request sent (an answer made) at `ts` needs.

    Recorded: between the samples before and after `ts`, as hftbacktest's `IntpOrderLatency` does. Drawn: the table
    holds quantiles, from 0 to 1 in equal steps.
    """
    kind = agent.latency
    first, stop = whole(st.at_starts, agent.table), whole(st.at_starts, agent.table + 1)
    if kind == RECORDED:
        at = agent.entry_hint if entry else agent.answer_hint
        at = max(at, first)
        if entry:
            if ts < latency_at(st, first).request_ns:
                return latency_at(st, first).exchange_ns - latency_at(st, first).request_ns
            while at + 1 < stop and latency_at(st, at + 1).request_ns <= ts:
                at += 1
            agent.entry_hint = at
            x1, y1 = latency_at(st, at).request_ns, latency_at(st, at).exchange_ns - latency_at(st, at).request_ns
            if at + 1 == stop:
                return y1
            x2, y2 = (
                latency_at(st, at + 1).request_ns,
                latency_at(st, at + 1).exchange_ns - latency_at(st, at + 1).request_ns,
            )
        else:
            if ts < latency_at(st, first).exchange_ns:
                return latency_at(st, first).answer_ns - latency_at(st, first).exchange_ns
            while at + 1 < stop and latency_at(st, at + 1).exchange_ns <= ts:
                at += 1
            agent.answer_hint = at
            x1, y1 = latency_at(st, at).exchange_ns, latency_at(st, at).answer_ns - latency_at(st, at).exchange_ns
            if at + 1 == stop:
                return y1
            x2, y2 = (
                latency_at(st, at + 1).exchange_ns,
                latency_at(st, at + 1).answer_ns - latency_at(st, at + 1).exchange_ns,
            )
        return int(float(y2 - y1) / float(x2 - x1) * float(ts - x1)) + y1
    u = uniform(agent.key, agent.draws) * (stop - first - 1)
    agent.draws += 1
    at = int(u)
    low, high = latency_at(st, first + at), latency_at(st, first + at + 1)
    if entry:
        return low.request_ns + int((high.request_ns - low.request_ns) * (u - at))
    return low.answer_ns + int((high.answer_ns - low.answer_ns) * (u - at))


@inner
def make_room(st: Any, agent: Any, a: int) -> None:
    """Move the answers that are still on their way to the start of the agent's place for them."""
    first = a * st.n_answers
    n = agent.tail - agent.head
    for i in range(n):
        row, old = answer_at(st, first + i), answer_at(st, first + agent.head + i)
        row.due = old.due
        row.lots = old.lots
        row.value = old.value
        row.order = old.order
        row.kind = old.kind
    agent.head = 0
    agent.tail = n


@inner
def say(st: Any, o: int, what: int, lots: int, ts: int, due: int) -> None:
    """Keep a message about order `o`, made at `ts` and received at `due`, while there is room; count it anyway."""
    n = st.n_said
    st.n_said = n + 1
    if n < st.n_said_rows:
        row, order = said_at(st, n), order_at(st, o)
        row.ts = ts
        row.due = due
        row.tick = order.tick
        row.lots = lots
        row.front = cohort_at(st, order.cohort).front if order.resting else 0.0
        row.order = o
        row.what = what
        row.side = order.side


@inner
def answer(st: Any, o: int, kind: int, lots: int, value: int, ts: int) -> None:
    """Send an answer about order `o` on its way."""
    a = order_at(st, o).agent
    agent = agent_at(st, a)
    due = ts + (agent.answer_ns if agent.latency == CONSTANT else delay(st, agent, ts, False))
    due = max(due, agent.answer_last)
    agent.answer_last = due
    if agent.tail == st.n_answers and agent.head > 0:
        make_room(st, agent, a)
    if agent.tail == st.n_answers:
        agent.merged += 1
        agent.dead = 1
        return
    slot = answer_at(st, a * st.n_answers + agent.tail)
    agent.tail += 1
    slot.due = due
    slot.order = o
    slot.kind = kind
    slot.lots = lots
    slot.value = value
    if st.n_said_rows > 0:
        say(st, o, ANSWERED + kind, lots, ts, due)
    if st.wake & ANSWER_BIT:
        push(st, due, a, WAKE)


@inlined
def acknowledge(st: Any, o: int, order: Any, agent: Any, then: int, ts: int) -> None:
    """Let an agent take an order to be live, or gone, from when it is told.

    That needs no place among the answers: the agent looks at its orders anyway.
    """
    due = ts + (agent.answer_ns if agent.latency == CONSTANT else delay(st, agent, ts, False))
    due = max(due, agent.answer_last)
    agent.answer_last = due
    order.heard_ns = due
    order.then = then
    if st.n_said_rows > 0:
        say(st, o, ANSWERED + (ACCEPTED if then == LIVE else EXPIRED), order.leaves, ts, due)
    if st.wake & ANSWER_BIT:
        push(st, due, order.agent, WAKE)


@inner
def beyond(agent: Any, value: float, base_bps: float, bps: float, bps2: float) -> float:
    """Return the fees that a fill of `value` (ticks x lots, counted already) saves by the tiers that it lies in."""
    traded = float(agent.maker_value + agent.taker_value)
    first = min(max(traded - agent.tier_at, 0.0), value)
    second = min(max(traded - agent.tier2_at, 0.0), value) if agent.tiers > 1.0 else 0.0
    saved: float = (second * (base_bps - bps2) + max(first - second, 0.0) * (base_bps - bps)) * 1e-4
    return saved


@inner
def fill(st: Any, o: int, tick: int, lots: int, maker: int, reason: int, front: float, ts: int) -> None:
    """Book `lots` of order `o` at `tick` in its agent's account: all in integers, so nothing is lost."""
    order = order_at(st, o)
    agent = agent_at(st, order.agent)
    side = order.side
    agent.position += side * lots
    agent.cash -= side * lots * tick
    agent.abs_position_max = max(agent.abs_position_max, abs(agent.position))
    if maker:
        agent.maker_value += lots * tick
        agent.maker_lots += lots
        agent.n_maker += 1
        agent.queue_ns += ts - order.placed_ns
        if reason == THROUGH:
            agent.n_through += 1
        elif reason == QUEUE:
            agent.n_queue += 1
        else:
            agent.n_cross += 1
    else:
        agent.taker_value += lots * tick
        agent.taker_lots += lots
        agent.n_taker += 1
    if agent.tiers > 0.0:
        value = float(lots * tick)
        agent.tier_saved += (
            beyond(agent, value, agent.maker_bps, agent.tier_maker_bps, agent.tier2_maker_bps)
            if maker
            else beyond(agent, value, agent.taker_bps, agent.tier_taker_bps, agent.tier2_taker_bps)
        )
    agent.spread_sum2 += side * lots * (st.mid2 - 2 * tick)
    if order.touched == 0:
        order.touched = 1
        agent.filled_orders += 1
    order.leaves -= lots
    n = st.n_fills
    if n < st.n_fill_rows:
        row = fill_at(st, n)
        row.ts_ns = ts
        row.tick = tick
        row.lots = lots
        row.mid2 = st.mid2
        row.event = st.k
        row.front = front
        row.placed_ns = order.placed_ns
        row.agent = order.agent
        row.side = side
        row.maker = maker
        row.reason = reason
        row.kind = order.kind
        st.n_fills = n + 1
        if st.n_horizons > 0:  # the first of its mark-outs may be due before all that was known to be
            st.next_due = min(st.next_due, ts + whole(st.at_horizons, 0))
    else:
        st.fills_dropped += 1


@inner
def fill_cohort(st: Any, c: int, reached: int, whole: bool, reason: int, traded: int, ts: int) -> None:
    """Fill the orders of cohort `c` at their own price.

    `reached` lots came to them. With `whole` each is filled in full; else with what is left of `reached` after what
    its agent had of this very trade, of `traded` lots (0: not bounded by a trade).
    """
    cohort = cohort_at(st, c)
    tick, front = cohort.tick, cohort.front
    o = cohort.first
    left = cohort.n
    while left > 0:
        left -= 1
        order = order_at(st, o)
        following = order.next
        agent = agent_at(st, order.agent)
        lots = order.leaves
        if not whole:
            if agent.stamp != st.stamp:
                agent.stamp = st.stamp
                agent.taken = 0
            lots = min(lots, reached, traded - agent.taken)
            agent.taken += max(lots, 0)
        if lots > 0:
            fill(st, o, tick, lots, 1, reason, front, ts)
            if order.leaves == 0:
                agent.n_resting -= 1
                leave(st, o)
                answer(st, o, FILLED, lots, lots * tick, ts)
            else:
                answer(st, o, PART, lots, lots * tick, ts)
        o = following


@inner
def fill_level(st: Any, side: int, tick: int, whole: bool, reason: int, traded: int, ts: int) -> None:
    """Fill every order of ours on one side at `tick`."""
    level = ours(st, tick - st.base)
    c = level.buys if side > 0 else level.sells
    while c > 0:
        following = cohort_at(st, c).next
        fill_cohort(
            st,
            c,
            traded,
            whole,
            reason,
            traded,
            ts,
        )
        c = following
