"""Places in a queue: what trades and changed levels do to the lots ahead of a cohort of equal orders."""

from __future__ import annotations

import math
from typing import Any

from quantbot.book.kernels_memory import cohort_at, model_at, order_at, ours, sizes
from quantbot.book.layout import NO_ASK, NO_BID, Queue
from quantbot.kernels import inlined, inner

RISK_AVERSE, POWER, POWER2, POWER3 = int(Queue.RISK_AVERSE), int(Queue.POWER), int(Queue.POWER2), int(Queue.POWER3)
LOG, LOG2, FIFO, PRO_RATA = int(Queue.LOG), int(Queue.LOG2), int(Queue.FIFO), int(Queue.PRO_RATA)
OPTIMISTIC = int(Queue.OPTIMISTIC)


@inner
def behind(model: Any, front: float, back: float) -> Any:
    """Return the probability that lots leave behind us rather than ahead, (front, back) lots around us."""
    kind, n = model.kind, model.n
    if kind == POWER3:
        return 1.0 - (front / (front + back)) ** n
    if kind == POWER:
        f_back = back**n
        return f_back / (f_back + front**n)
    if kind == POWER2:
        return back**n / (back + front) ** n
    if kind == LOG:
        f_back = math.log(1.0 + back * model.scale)
        return f_back / (f_back + math.log(1.0 + front * model.scale))
    return math.log(1.0 + back * model.scale) / math.log(1.0 + (back + front) * model.scale)


@inner
def level_changed(cohort: Any, model: Any, previous: int, lots: int) -> None:
    """Move the place of `cohort` after its level went from `previous` to `lots` lots, (all sizes in lots).

    The share of a decrease that is not explained by the trades since the last change leaves partly ahead, partly
    behind: hftbacktest's `ProbQueueModel.depth`, after Rigtorp (2013), "Estimating order queue position". NaN and
    infinity count as there.
    """
    kind = model.kind
    if kind == RISK_AVERSE:
        cohort.front = min(cohort.front, float(lots))
        return
    if kind in (FIFO, PRO_RATA):
        return
    change = float(previous - lots) - cohort.traded
    cohort.traded = 0.0
    front = cohort.front
    if change < 0.0:
        cohort.front = min(front, float(lots))
        return
    back = previous - front
    share = 0.0 if kind == OPTIMISTIC else behind(model, front, back)
    if math.isinf(share):
        share = 1.0
    estimate = front - (1.0 - share) * change + min(back - share * change, 0.0)
    cohort.front = estimate if estimate < lots else float(lots)  # NaN: the whole level is ahead


@inlined
def traded_at(cohort: Any, kind: int, lots: int, level_lots: int) -> int:
    """Move the place of `cohort` after `lots` traded at its price; return the lots that reached it."""
    if kind == PRO_RATA:
        cohort.front += cohort.lots * lots / (level_lots + cohort.lots)
        reached = int(cohort.front + 1e-9)
        cohort.front -= reached
        return reached
    cohort.front -= lots
    if kind != RISK_AVERSE:
        cohort.traded += lots
    if cohort.front <= -0.5:  # half a lot, as hftbacktest rounds
        reached = int(0.5 - cohort.front)
        cohort.front = 0.0
        return reached
    return 0


@inlined
def join(st: Any, o: int, model: Any, sequence: int) -> None:
    """Put order `o` at the end of its level's queue: into the cohort that is in the same place, else a new one."""
    order = order_at(st, o)
    buy = order.side > 0
    t = order.tick - st.base
    level = ours(st, t)
    lots = sizes(st, t).bid if buy else sizes(st, t).ask
    head = level.buys if buy else level.sells
    kind = model_at(st, model).kind
    place = -1
    if head > 0:
        cohort = cohort_at(st, head)
        if cohort.model == model:
            if kind == FIFO:
                if cohort.sequence > (level.bid_add if buy else level.ask_add):
                    place = head
            elif kind == PRO_RATA:
                if cohort.front == 0.0 and cohort.lots == order.leaves:
                    place = head
            elif cohort.front == lots and cohort.traded == 0.0:
                place = head
    if place < 0:
        place = st.cohort_free
        st.cohort_free = cohort_at(st, place).next
        cohort = cohort_at(st, place)
        cohort.front = 0.0 if kind == PRO_RATA else float(lots)
        cohort.traded = 0.0
        cohort.sequence = sequence
        cohort.tick = order.tick
        cohort.side = order.side
        cohort.lots = order.leaves
        cohort.model = model
        cohort.first = -1
        cohort.n = 0
        cohort.prev = 0
        cohort.next = head
        if head > 0:
            cohort_at(st, head).prev = place
        if buy:
            level.buys = place
            st.n_buys += 1
            st.top_buy = max(st.top_buy, order.tick)
        else:
            level.sells = place
            st.n_sells += 1
            st.top_sell = min(st.top_sell, order.tick)
    cohort = cohort_at(st, place)
    order.cohort = place
    order.prev = -1
    order.next = cohort.first
    if cohort.first >= 0:
        order_at(st, cohort.first).prev = o
    cohort.first = o
    cohort.n += 1
    order.resting = 1


@inner
def leave(st: Any, o: int) -> None:
    """Take order `o` out of its queue."""
    order = order_at(st, o)
    cohort = cohort_at(st, order.cohort)
    if order.prev >= 0:
        order_at(st, order.prev).next = order.next
    else:
        cohort.first = order.next
    if order.next >= 0:
        order_at(st, order.next).prev = order.prev
    order.resting = 0
    cohort.n -= 1
    if cohort.n == 0:
        drop(st, order.cohort)


@inner
def drop(st: Any, c: int) -> None:
    """Take the empty cohort `c` off its level, and find the next best level with orders of ours."""
    cohort = cohort_at(st, c)
    buy = cohort.side > 0
    level = ours(st, cohort.tick - st.base)
    if cohort.prev > 0:
        cohort_at(st, cohort.prev).next = cohort.next
    elif buy:
        level.buys = cohort.next
    else:
        level.sells = cohort.next
    if cohort.next > 0:
        cohort_at(st, cohort.next).prev = cohort.prev
    cohort.next = st.cohort_free
    st.cohort_free = c
    if buy:
        st.n_buys -= 1
        if level.buys == 0 and cohort.tick == st.top_buy:
            if st.n_buys == 0:
                st.top_buy = NO_BID
            else:
                t = cohort.tick - st.base - 1
                while ours(st, t).buys == 0:
                    t -= 1
                st.top_buy = t + st.base
    else:
        st.n_sells -= 1
        if level.sells == 0 and cohort.tick == st.top_sell:
            if st.n_sells == 0:
                st.top_sell = NO_ASK
            else:
                t = cohort.tick - st.base + 1
                while ours(st, t).sells == 0:
                    t += 1
                st.top_sell = t + st.base
