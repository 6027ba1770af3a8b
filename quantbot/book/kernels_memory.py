"""Records and numbers by address: so that a function of the replay is called with one pointer, the state.

Passing each array costs seven machine words a call and most of the time to compile. Addresses live in the state; the
arrays that they point into are kept alive by `quantbot.book.replay.BookReplay`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import from_dtype, types
from numba.extending import intrinsic

from quantbot.book import layout
from quantbot.kernels import inlined


def _record(dtype: np.dtype[Any]) -> Callable[[int, int], Any]:
    """Return `at(address, i)`: element `i` of an array of records that starts at `address`."""
    kind, size = from_dtype(dtype), dtype.itemsize

    @intrinsic  # type: ignore[untyped-decorator]
    def at(typing: Any, address: Any, i: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            offset = builder.mul(arguments[1], ir.Constant(ir.IntType(64), size))
            return builder.inttoptr(builder.add(arguments[0], offset), context.get_value_type(kind))

        return kind(types.int64, types.int64), build

    return cast("Callable[[int, int], Any]", at)


_level, _ours, _agent, _order = (_record(d) for d in (layout.SIZES, layout.OURS, layout.AGENT, layout.ORDER))
_cohort, _answer, _message = (_record(d) for d in (layout.COHORT, layout.ANSWER, layout.MESSAGE))
_timer, _group, _feed, _model = (_record(d) for d in (layout.TIMER, layout.GROUP, layout.FEED, layout.MODEL))
_look = _record(layout.LOOK)
_fill, _taken, _row = (_record(d) for d in (layout.FILL, layout.TAKEN, layout.LATENCY_ROW))
_said = _record(layout.SAID)
_market, _resolved = _record(layout.MARKET_ORDER), _record(layout.RESOLVED)


@intrinsic  # type: ignore[untyped-decorator]
def whole(typing: Any, address: Any, i: Any) -> Any:
    """Return int64 number `i` from `address` on."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load(builder.gep(pointer, [arguments[1]]))

    return types.int64(types.int64, types.int64), build


@intrinsic  # type: ignore[untyped-decorator]
def put(typing: Any, address: Any, i: Any, value: Any) -> Any:
    """Write int64 number `i` from `address` on."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        builder.store(arguments[2], builder.gep(pointer, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), build


@intrinsic  # type: ignore[untyped-decorator]
def put_number(typing: Any, address: Any, i: Any, value: Any) -> Any:
    """Write float64 number `i` from `address` on."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.DoubleType().as_pointer())
        builder.store(arguments[2], builder.gep(pointer, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float64), build


@intrinsic  # type: ignore[untyped-decorator]
def decide_at(typing: Any, address: Any, view: Any, parameters: Any, memory: Any, wants: Any) -> Any:
    """Call the decision function at `address` with four addresses; it returns nothing."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer, number = ir.IntType(64).as_pointer(), ir.DoubleType().as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [integer, number, number, integer])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        pointers = [builder.inttoptr(a, k) for a, k in zip(arguments[1:], kind.args, strict=True)]
        builder.call(function, pointers)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, types.int64), build


@inlined
def sizes(book: Any, t: int) -> Any:
    """Return the lots on both sides at index `t` of a book (the exchange's, or a feed's)."""
    return _level(book.at_sizes, t)


@inlined
def ours(st: Any, t: int) -> Any:
    """Return our orders at index `t` of the exchange's book."""
    return _ours(st.at_ours, t)


@inlined
def agent_at(st: Any, a: int) -> Any:
    """Return agent `a`."""
    return _agent(st.at_agents, a)


@inlined
def order_at(st: Any, o: int) -> Any:
    """Return order `o`."""
    return _order(st.at_orders, o)


@inlined
def cohort_at(st: Any, c: int) -> Any:
    """Return cohort `c`; 0 is none."""
    return _cohort(st.at_cohorts, c)


@inlined
def answer_at(st: Any, i: int) -> Any:
    """Return answer `i`."""
    return _answer(st.at_answers, i)


@inlined
def message_at(st: Any, i: int) -> Any:
    """Return message `i`."""
    return _message(st.at_heap, i)


@inlined
def timer_at(st: Any, i: int) -> Any:
    """Return timer `i`."""
    return _timer(st.at_timers, i)


@inlined
def timer_in(timers: int, i: int) -> Any:
    """Return timer `i` of those at an address."""
    return _timer(timers, i)


@inlined
def look_at(st: Any, i: int) -> Any:
    """Return look `i`; 0 is none."""
    return _look(st.at_looks, i)


@inlined
def group_at(st: Any, g: int) -> Any:
    """Return group `g`."""
    return _group(st.at_groups, g)


@inlined
def feed_at(st: Any, c: int) -> Any:
    """Return feed `c`."""
    return _feed(st.at_feeds, c)


@inlined
def model_at(st: Any, m: int) -> Any:
    """Return queue model `m`."""
    return _model(st.at_models, m)


@inlined
def fill_at(st: Any, i: int) -> Any:
    """Return fill `i` of the log."""
    return _fill(st.at_fills, i)


@inlined
def said_at(st: Any, i: int) -> Any:
    """Return message `i` of those that are kept."""
    return _said(st.at_said, i)


@inlined
def taken_note(st: Any, i: int) -> Any:
    """Return note `i` of what agents took."""
    return _taken(st.at_taken, i)


@inlined
def latency_at(st: Any, i: int) -> Any:
    """Return sample `i` of the recorded delays."""
    return _row(st.at_rows, i)


@inlined
def market_at(st: Any, i: int) -> Any:
    """Return place `i` of the table of the market's orders."""
    return _market(st.at_table, i)


@inlined
def resolved_at(st: Any, e: int) -> Any:
    """Return what event `e` did to which levels."""
    return _resolved(st.at_resolved, e)
