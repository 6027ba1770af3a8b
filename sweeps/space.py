"""The space of a search: declared axes become values, values become points, points are columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Points
from quantbot.errors import ParameterError, SpecError, TooLargeError
from quantbot.parameters import Parameter, Value
from sweeps.grid import GridColumns, GridPoints
from sweeps.sections import AxisForm, Interval, Range, Values
from sweeps.trial import Axis, Column

MAX_POINTS = 10_000_000  # reliability.md, 5.7: more only for whoever asks for it by name
MAX_VALUES = 1_000_000  # of one axis
_CHUNK = 1 << 20  # points a `where` sees at a time: temporaries stay under 100 MB
_SPELLED_OUT = 100_000  # a longer range is identified by its ends
_DTYPES = {"integer": np.int64, "number": np.float64, "choice": np.str_}


def grid_points(
    axes: Sequence[Axis], where: str = "", *, constants: Mapping[str, Value] | None = None, limit: int = MAX_POINTS
) -> Points:
    """Lay out every combination of the axes' values, the last axis fastest.

    Parameters
    ----------
    where
        A condition (`sweeps.where`) over the axes' names; points for which it is false are left out.
    constants
        Settings that do not vary, which the condition may mention too.
    limit
        Refuse a larger grid, counted before `where` is applied.

    Raises
    ------
    TooLargeError
        If the grid has more than `limit` points; nothing was built then.
    SpecError
        If an axis is empty or no point is left.

    Examples
    --------
    >>> fast, slow = Axis("fast", np.array([5, 9]), "integer"), Axis("slow", np.array([7, 8]), "integer")
    >>> {name: column.tolist() for name, column in grid_points([fast, slow], "fast < slow").columns.items()}
    {'fast': [5, 5], 'slow': [7, 8]}
    """
    n_points = check_size({axis.name: len(axis) for axis in axes}, limit)
    if not axes:
        return Points(1)
    if not where:
        return GridPoints(n_points, GridColumns(axes))
    cells = _kept(axes, where, constants or {}, n_points)
    if not cells.shape[0]:
        raise SpecError(f"search.where: {where!r} leaves none of the {n_points:,} points of the grid; widen it")
    return GridPoints(cells.shape[0], GridColumns(axes, cells if cells.shape[0] < n_points else None))


def _kept(axes: Sequence[Axis], where: str, constants: Mapping[str, Value], n_cells: int) -> NDArray[Any]:
    """Return the cells of the grid that satisfy a condition, rising, in the smallest type that holds them."""
    from sweeps.where import bind_where

    condition = bind_where(where, axes, constants)
    grid, smallest = GridColumns(axes), np.min_scalar_type(n_cells)
    kept = []
    for start in range(0, n_cells, _CHUNK):
        cells = np.arange(start, min(start + _CHUNK, n_cells))
        kept.append(cells[condition(grid.of(cells), cells.shape[0])].astype(smallest))
    return np.concatenate(kept)


def check_size(sizes: Mapping[str, int], limit: int = MAX_POINTS) -> int:
    """Return the number of points of a grid with so many values on each axis, or refuse it, by arithmetic alone."""
    for name, size in sizes.items():
        if size == 0:
            raise SpecError(f"parameters.{name}: has no value; give at least one")
    n_points = math.prod(sizes.values())
    if n_points > limit:
        product = " x ".join(f"{name} {size:,}" for name, size in sizes.items() if size > 1)
        raise TooLargeError(
            f"the grid has {n_points:,} points ({product}) but {limit:,} is the limit; take larger steps, fewer axes, "
            'or search.method = "sobol" with n points'
        )
    return n_points


def axis_size(form: AxisForm) -> int:
    """Return how many values an axis has before duplicates collapse, without building them."""
    match form:
        case Values():
            return len(form.values)
        case Range():
            start, stop, step = map(_exact, (form.start, form.stop, form.step))
            return int((stop - start) / step) + 1
        case Interval():
            return form.n or 1
    return 1


def range_last(form: Range) -> float:
    """Return the last value that a range reaches: its stop, or less where the step does not divide it."""
    last = _exact(form.start) + (axis_size(form) - 1) * _exact(form.step)
    return int(last) if last.denominator == 1 else float(last)


def axis_values(form: AxisForm, parameter: Parameter) -> tuple[Column, int]:
    """Return the distinct values of an axis as its parameter's type, and how many duplicates collapsed.

    Numbers are sorted, choices keep their order. Ranges and linear intervals are exact decimal arithmetic, so that
    0.1 steps give 0.3 and not 0.30000000000000004.

    Raises
    ------
    SpecError
        With every value that the parameter refuses (the first few of them).

    Examples
    --------
    >>> from quantbot.parameters import number
    >>> axis_values(Range(start=0.1, stop=0.4, step=0.1), number("band", 1, 0, 5, "Width."))[0].tolist()
    [0.1, 0.2, 0.3, 0.4]
    """
    if axis_size(form) > MAX_VALUES:
        raise TooLargeError(
            f"{parameter.name} has {axis_size(form):,} values but {MAX_VALUES:,} is the limit of one axis; "
            "take a larger step"
        )
    raw = _expand(form, parameter)
    if isinstance(raw, np.ndarray):
        for end in (raw[0].item(), raw[-1].item()):
            _check(parameter, end)
        if parameter.kind == "integer" and raw.dtype != np.int64:
            for value in raw[raw != np.floor(raw)][:1].tolist():
                _check(parameter, value)
        column: Column = raw.astype(_DTYPES[parameter.kind])
    else:
        problems = []
        checked = []
        for value in raw:
            try:
                checked.append(parameter.check(value))
            except ParameterError as error:
                problems.append(f"parameters.{parameter.name}: {error}")
        if problems:
            raise SpecError(problems[:5] + [f"... and {len(problems) - 5:,} more values"] * (len(problems) > 5))
        column = np.array(checked, dtype=_DTYPES[parameter.kind])
    distinct: Column
    if parameter.kind == "choice":
        distinct = np.array(list(dict.fromkeys(column.tolist())), dtype=np.str_)
    else:
        distinct = np.unique(column)
        distinct = np.where(distinct == 0, np.zeros_like(distinct), distinct)  # minus zero is zero
    return distinct, int(column.shape[0] - distinct.shape[0])


def canonical_axis(form: AxisForm, method: str) -> Any:
    """Return what identifies an axis: its sorted values where they are spelled out, else its form."""
    if isinstance(form, Values):
        return _ordered(form.values)
    if isinstance(form, Range):
        if axis_size(form) > _SPELLED_OUT:
            return form.model_dump()
        return _ordered(_expand(form, None).tolist())
    if isinstance(form, Interval):
        return form.model_dump(exclude_none=True)
    return form


def _ordered(values: Sequence[Value]) -> list[Value] | Value:
    distinct = list(dict.fromkeys(values))  # 1 and 1.0 are one key
    if len(distinct) == 1:
        return distinct[0]  # the same as a fixed value
    return distinct if any(isinstance(value, str) for value in distinct) else sorted(distinct)


def _check(parameter: Parameter, value: Value) -> None:
    try:
        parameter.check(value)
    except ParameterError as error:
        raise SpecError(f"parameters.{parameter.name}: {error}") from None


def _expand(form: AxisForm, parameter: Parameter | None) -> Any:
    """Return the values of a form: an array where it is arithmetic, else what was written."""
    match form:
        case Values():
            return form.values
        case Range():
            return _range(_exact(form.start), _exact(form.step), axis_size(form))
        case Interval():
            values = _interval(form)
            return np.rint(values) if parameter is not None and parameter.kind == "integer" else values
    return (form,)


def _range(start: Fraction, step: Fraction, n_values: int) -> NDArray[Any]:
    """Return ``start + i * step``, each the float nearest to the exact value."""
    denominator = math.lcm(start.denominator, step.denominator)
    first, rise = int(start * denominator), int(step * denominator)
    last = first + rise * (n_values - 1)
    if max(abs(first), abs(last), denominator) < 2**53:  # quotient of two exact floats: rounded once
        numerators = first + rise * np.arange(n_values, dtype=np.int64)
        return numerators if denominator == 1 else numerators / denominator
    return np.array([float(start + step * index) for index in range(n_values)])


def _interval(form: Interval) -> NDArray[np.float64]:
    n_values = form.n or 1
    if n_values == 1:
        return np.array([float(form.low)])
    low, high = _exact(form.low), _exact(form.high)
    if form.scale == "linear":
        return np.array([float(low + (high - low) * index / (n_values - 1)) for index in range(n_values)])
    with localcontext() as context:  # decimal powers are the same on every machine, a libm's are not
        context.prec = 30
        first, ratio = Decimal(str(form.low)), Decimal(str(form.high)) / Decimal(str(form.low))
        powers = [first * ratio ** (Decimal(index) / (n_values - 1)) for index in range(n_values)]
    return np.array([float(f"{power:.11e}") for power in powers])


def _exact(value: float) -> Fraction:
    """Return the decimal number as which a float is written, exactly."""
    return Fraction(str(value))
