"""Messages in the order in which they are due: a ring for those that come in order, a heap for the rest."""

from __future__ import annotations

from typing import Any

from quantbot.book.kernels_memory import message_at, timer_in
from quantbot.kernels import inlined, inner


@inlined
def put_message(st: Any, i: int, due: int, sequence: int, order: Any, kind: int) -> None:
    """Write message `i`; the heap stands before the ring, each of `st.n_half` places."""
    row = message_at(st, i)
    row.due = due
    row.sequence = sequence
    row.order = order
    row.kind = kind


@inlined
def move_message(st: Any, to: int, i: int) -> None:
    """Copy message `i` to place `to`."""
    row = message_at(st, i)
    put_message(st, to, row.due, row.sequence, row.order, row.kind)


@inlined
def sooner(st: Any, i: int, due: int, sequence: int) -> Any:
    """Return whether message `i` comes before one with this time and number."""
    row = message_at(st, i)
    return row.due < due or (row.due == due and row.sequence < sequence)


@inner
def push(st: Any, due: int, order: Any, kind: int) -> None:
    """Add a message; equal times keep the order in which they were added."""
    sequence = st.sequence
    st.sequence = sequence + 1
    st.next_due = min(st.next_due, due)
    half = st.n_half
    n = st.ring_n
    mask = half - 1
    if n == 0:
        st.ring_head = 0  # the same few lines of memory again
    if n == 0 or message_at(st, half + ((st.ring_head + n - 1) & mask)).due <= due:
        put_message(st, half + ((st.ring_head + n) & mask), due, sequence, order, kind)
        st.ring_n = n + 1
        return
    at = st.heap_n
    st.heap_n = at + 1
    while at > 0:
        above = (at - 1) // 2
        if sooner(st, above, due, sequence):
            break
        move_message(st, at, above)
        at = above
    put_message(st, at, due, sequence, order, kind)


@inner
def ring_first(st: Any) -> Any:
    """Return whether the next message is the ring's."""
    if st.ring_n == 0:
        return False
    if st.heap_n == 0:
        return True
    other = message_at(st, 0)
    return sooner(st, st.n_half + st.ring_head, other.due, other.sequence)


@inner
def pop(st: Any) -> None:
    """Remove the heap's first message."""
    n = st.heap_n - 1
    st.heap_n = n
    if n == 0:
        return
    last = message_at(st, n)
    due, sequence = last.due, last.sequence
    at = 0
    while True:
        below = 2 * at + 1
        if below >= n:
            break
        if below + 1 < n and sooner(st, below + 1, message_at(st, below).due, message_at(st, below).sequence):
            below += 1
        if not sooner(st, below, due, sequence):
            break
        move_message(st, at, below)
        at = below
    move_message(st, at, n)


@inner
def settle(timers: int, n: int) -> None:
    """Let the first of `n` timers at an address, whose time has moved on, sink to its place."""
    due, group = timer_in(timers, 0).due, timer_in(timers, 0).group
    at = 0
    while True:
        below = 2 * at + 1
        if below >= n:
            break
        if below + 1 < n and timer_in(timers, below + 1).due < timer_in(timers, below).due:
            below += 1
        if due <= timer_in(timers, below).due:
            break
        timer_in(timers, at).due = timer_in(timers, below).due
        timer_in(timers, at).group = timer_in(timers, below).group
        at = below
    timer_in(timers, at).due = due
    timer_in(timers, at).group = group
