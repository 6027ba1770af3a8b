"""Running sums of four values at a time, in LLVM's terms: numba leaves a running sum one addition after another.

The sum up to each of four values takes two additions of the vector to itself, shifted; what came before them is added
last. So a chain of additions has a quarter of the links, and an element's sum depends on nothing that comes after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

WIDTH = 4
_VECTOR = ir.VectorType(ir.DoubleType(), WIDTH)
_INDEX = ir.IntType(32)
_ORDER = ir.VectorType(_INDEX, WIDTH)
_ZEROS = ir.Constant(_VECTOR, [0.0] * WIDTH)


@intrinsic  # type: ignore[untyped-decorator]
def prefix_sums(typing: Any, values: Any, at: Any, reference: Any, before: Any, out: Any, out_at: Any) -> Any:
    """Write ``out[out_at + k] = before + sum(values[at : at + k + 1] - reference)`` for k < 4; return the last."""
    # Shifted by s, element j is element j - s, or one of the zeros, whose indices follow those of the values.
    shifts = [[j - s if j >= s else WIDTH + j for j in range(WIDTH)] for s in (1, 2)]
    return _signature(values, out), _maker(shifts, WIDTH - 1)


@intrinsic  # type: ignore[untyped-decorator]
def suffix_sums(typing: Any, values: Any, at: Any, reference: Any, after: Any, out: Any, out_at: Any) -> Any:
    """Write ``out[out_at + k] = after + sum(values[at + k : at + 4] - reference)`` for k < 4; return the first."""
    shifts = [[j + s if j + s < WIDTH else WIDTH + j for j in range(WIDTH)] for s in (1, 2)]
    return _signature(values, out), _maker(shifts, 0)


@intrinsic  # type: ignore[untyped-decorator]
def joined_means(
    typing: Any, tails: Any, tails_at: Any, heads: Any, heads_at: Any, step: Any, rest: Any, first: Any, share: Any,
    out: Any, out_at: Any,
) -> Any:  # fmt: skip
    """Write ``out[out_at + k] = first + (tails[tails_at + k] + step * (rest - k) + heads[heads_at + k]) * share``."""

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tails, tails_at, heads, heads_at, *numbers, out, out_at = arguments
        step, rest, first, share = (_all_of(builder, number) for number in numbers)
        tail = builder.load(_place(context, builder, signature.args[0], tails, tails_at))
        head = builder.load(_place(context, builder, signature.args[2], heads, heads_at))
        tail.align = head.align = 8
        left = builder.fsub(rest, ir.Constant(_VECTOR, [float(k) for k in range(WIDTH)]))
        joined = builder.fadd(builder.fadd(tail, builder.fmul(step, left)), head)
        means = builder.fadd(first, builder.fmul(joined, share))
        builder.store(means, _place(context, builder, signature.args[8], out, out_at)).align = 8
        return context.get_dummy_value()

    numbers = (types.float64,) * 4
    return types.none(tails, types.intp, heads, types.intp, *numbers, out, types.intp), make


def _signature(values: Any, out: Any) -> Any:
    return types.float64(values, types.intp, types.float64, types.float64, out, types.intp)


def _maker(shifts: Sequence[Sequence[int]], whole: int) -> Any:
    """Return what writes the code; element `whole` of the sums is that of all four."""

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, at, reference, carried, out, out_at = arguments

        loaded = builder.load(_place(context, builder, signature.args[0], values, at))
        loaded.align = 8
        sums = builder.fsub(loaded, _all_of(builder, reference))
        for shift in shifts:
            sums = builder.fadd(sums, builder.shuffle_vector(sums, _ZEROS, ir.Constant(_ORDER, shift)))
        total = builder.extract_element(sums, ir.Constant(_INDEX, whole))
        onto = _place(context, builder, signature.args[4], out, out_at)
        builder.store(builder.fadd(sums, _all_of(builder, carried)), onto).align = 8
        return builder.fadd(total, carried)

    return make


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


def _all_of(builder: Any, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_INDEX, 0))
    return builder.shuffle_vector(first, first, ir.Constant(_ORDER, [0] * WIDTH))
