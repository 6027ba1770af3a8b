"""What timers' wake-ups will see, noted as the exchange's book passes by.

What has been received by a moment is the exchange's book as it was some events ago, if nothing overtakes. So where a
strategy is asked by timer alone, no book of what was received is kept: at each event it is known which wake-ups come
before it is received, and they will see the book as it is just before it.
"""

from __future__ import annotations

from typing import Any

from quantbot.book.kernels_feed import look
from quantbot.book.kernels_heap import settle
from quantbot.book.kernels_memory import feed_at, group_at, look_at, put, timer_in, whole
from quantbot.book.layout import LOOK
from quantbot.kernels import inner

N_SEEN = len(LOOK.names or ()) - 3
N_BYTES = LOOK.itemsize


@inner
def look_ahead(st: Any, received: int) -> None:
    """Note the book for every wake-up that comes before something is received at `received`.

    There must be a free look for every group of agents.
    """
    timers, address = st.at_look_timers, 0
    while st.next_look < received:
        g = timer_in(timers, 0).group
        group = group_at(st, g)
        last = look_at(st, group.last_look)
        if group.look > 0 and last.event == st.k:
            last.n += 1
        else:
            place = st.look_free
            row = look_at(st, place)
            st.look_free = row.next
            st.n_looks_free -= 1
            seen = st.at_looks + place * N_BYTES
            if address == 0:
                look(st, st, feed_at(st, 0), seen)
                address = seen
            else:
                for i in range(N_SEEN):
                    put(seen, i, whole(address, i))
            row.event = st.k
            row.n = 1
            row.next = 0
            if group.look > 0:
                last.next = place
            else:
                group.look = place
            group.last_look = place
        timer_in(timers, 0).due += group.period
        settle(timers, st.timers_n)
        st.next_look = timer_in(timers, 0).due


@inner
def recall(st: Any, group: Any, ts: int) -> None:
    """Write what a group of agents sees at its wake-up at `ts` into `view`."""
    if group.look == 0:  # nothing has happened since that it hasn't received
        look_ahead(st, ts - feed_at(st, group.feed).extra + 1)
    row = look_at(st, group.look)
    seen = st.at_looks + group.look * N_BYTES
    for i in range(N_SEEN):
        put(st.at_view, 3 + i, whole(seen, i))
    row.n -= 1
    if row.n == 0:
        following = row.next
        row.next = st.look_free
        st.look_free = group.look
        st.n_looks_free += 1
        group.look = following
