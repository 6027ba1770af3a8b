"""Indicator values on their way to the lanes: one tile of bars, its series side by side, each lane's own picked out.

Eight lanes are one vector, moved as such: numba leaves straight copies of eight neighbours scalar, so the moves are
written in LLVM's terms here.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from quantbot.bars.generate import EACH, LANES, RUN
from quantbot.kernels import jit

_VECTOR = ir.VectorType(ir.DoubleType(), 8)
_ORDER = ir.VectorType(ir.IntType(32), 8)
_POSITIVE = 2**62 - 1  # an index masked with it can't be negative: no test for Python's counting from the end


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


def _load(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    value = builder.load(_place(context, builder, array_type, array, index))
    value.align = 8
    return value


@intrinsic  # type: ignore[untyped-decorator]
def _copy8(typing: Any, to: Any, to_at: Any, source: Any, source_at: Any) -> Any:
    """Copy eight values: ``to[to_at : to_at + 8] = source[source_at : source_at + 8]``."""

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = _load(context, builder, signature.args[2], args[2], args[3])
        builder.store(value, _place(context, builder, signature.args[0], args[0], args[1]), align=8)
        return context.get_dummy_value()

    return types.none(to, types.intp, source, types.intp), make


@intrinsic  # type: ignore[untyped-decorator]
def _fill8(typing: Any, to: Any, to_at: Any, value: Any) -> Any:
    """Write one value eight times: ``to[to_at : to_at + 8] = value``."""

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), args[2], ir.Constant(ir.IntType(32), 0))
        eight = builder.shuffle_vector(first, first, ir.Constant(_ORDER, [0] * 8))
        builder.store(eight, _place(context, builder, signature.args[0], args[0], args[1]), align=8)
        return context.get_dummy_value()

    return types.none(to, types.intp, types.float64), make


@intrinsic  # type: ignore[untyped-decorator]
def _transpose8(typing: Any, source: Any, at: Any, stride: Any, to: Any, to_at: Any, to_stride: Any) -> Any:
    """Write the 8 x 8 values at `at` of `source` transposed to `to_at` of `to`; the strides are between rows."""

    def make(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from_array, from_at, from_stride, to_array, onto, onto_stride = args

        def row_at(start: Any, step: Any, i: int) -> Any:
            return builder.add(start, builder.mul(step, ir.Constant(step.type, i)))

        rows = [
            _load(context, builder, signature.args[0], from_array, row_at(from_at, from_stride, i)) for i in range(8)
        ]
        for size in (4, 2, 1):  # swap the off-diagonal blocks of each block of twice the size
            upper = ir.Constant(_ORDER, [j if not j & size else 8 + j - size for j in range(8)])
            lower = ir.Constant(_ORDER, [j + size if not j & size else 8 + j for j in range(8)])
            for i in range(8):
                if not i & size:
                    a, b = rows[i], rows[i + size]
                    rows[i] = builder.shuffle_vector(a, b, upper)
                    rows[i + size] = builder.shuffle_vector(a, b, lower)
        for i, row in enumerate(rows):
            place = _place(context, builder, signature.args[3], to_array, row_at(onto, onto_stride, i))
            builder.store(row, place, align=8)
        return context.get_dummy_value()

    return types.none(source, types.intp, types.intp, to, types.intp, types.intp), make


@jit
def growth_factors(
    opened: Any,
    close: Any,
    close_before: float,
    base: int,
    size: int,
    fills_at_open: bool,
    width: int,
    factors: Any,
) -> None:
    """Write how a tile's bars multiply equity: from close to close, from the fill to the close, from close to fill.

    The three stand one after the other, `width` apart; the first bar of all follows `close_before`.
    """
    fill = opened if fills_at_open else close
    at = base & _POSITIVE
    first = 0
    if at == 0:
        factors[0] = close[0] / close_before
        factors[width] = close[0] / fill[0]
        factors[2 * width] = fill[0] / close_before
        first = 1
    for b in range(first, size):
        last = close[at + b - 1]
        factors[b] = close[at + b] / last
        factors[(width & _POSITIVE) + b] = close[at + b] / fill[at + b]
        factors[2 * (width & _POSITIVE) + b] = fill[at + b] / last


@jit
def transpose(columns: Any, base: int, size: int, table: Any) -> None:
    """Write bars `base` to ``base + size`` of all series, (n_series, n_bars), into `table`, (size, n_series) flat."""
    n_rows, n_bars = columns.shape
    whole_rows = n_rows - n_rows % 8
    whole_bars = size - size % 8
    for row in range(0, whole_rows, 8):
        for b in range(0, whole_bars, 8):
            _transpose8(columns, row * n_bars + base + b, n_bars, table, b * n_rows + row, n_rows)
        for b in range(whole_bars, size):
            for r in range(row, row + 8):
                table[b * n_rows + r] = columns[r, base + b]
    for row in range(whole_rows, n_rows):
        for b in range(size):
            table[b * n_rows + row] = columns[row, base + b]


@jit
def spread(
    table: Any, n_rows: int, index: Any, kinds: Any, first_lane: int, size: int, tile: Any, tile_at: int
) -> None:
    """Write each lane's own values from `table` into `tile`, (size, LANES) flat from `tile_at` on.

    `index` says for each lane which series it uses, `kinds` for each eight lanes what these have in common.
    """
    for group in range(LANES // 8):
        lane = (first_lane + 8 * group) & _POSITIVE
        row = index[lane]
        to = tile_at + 8 * group
        kind = kinds[lane // 8]
        if kind == EACH:
            for b in range(size):
                _fill8(tile, to + b * LANES, table[(b * n_rows + row) & _POSITIVE])
        elif kind == RUN:
            for b in range(size):
                _copy8(tile, to + b * LANES, table, b * n_rows + row)
        else:
            for j in range(8):
                row = index[lane + j]
                for b in range(size):
                    tile[(to + b * LANES + j) & _POSITIVE] = table[(b * n_rows + row) & _POSITIVE]
