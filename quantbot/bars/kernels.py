"""Compiled bar kernels: the generated lane loop of one route, and the series of an indicator."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
from numba.core.errors import NumbaError, NumbaWarning, UnsupportedBytecodeError

from quantbot.bars import orders
from quantbot.bars.execution import Route
from quantbot.bars.generate import Layout, Signature, source
from quantbot.bars.kernels_tile import growth_factors, spread, transpose
from quantbot.bars.lanes import UserCodeError
from quantbot.errors import StrategyError
from quantbot.kernels import compiling, generated, inlined, jit
from quantbot.market import Floats
from quantbot.parameters import Value
from quantbot.strategies.contract import Strategy
from quantbot.strategies.indicators import Compiled
from quantbot.strategies.kernels import compilable

Kernel = Callable[..., Any]

_HELPERS = ("order", "stop", "round_trip", "average_entry")
_COMPILED_HELPERS = {name: inlined(getattr(orders, name)) for name in _HELPERS}
_COMPILED_HELPERS |= {"transpose": transpose, "spread": spread, "growth_factors": growth_factors}
_PLAIN_HELPERS = {name: getattr(orders, name) for name in _HELPERS} | {
    "growth_factors": growth_factors.py_func,  # type: ignore[attr-defined]
}
_KERNELS: dict[tuple[object, ...], tuple[Kernel, Layout]] = {}
_SERIES: dict[Callable[..., Any], Callable[..., Any]] = {}


def kernel(
    strategy: Strategy,
    signature: Signature,
    route: Route,
    groups: frozenset[str],
    words: tuple[tuple[str, Value], ...],
    form: str,
    *,
    plain_python: bool,
) -> tuple[Kernel, Layout]:
    """Return the kernel of one route, made once in a process, and the layout of its arguments."""
    key = (strategy.decide, signature, route, groups, words, form, plain_python)
    if key not in _KERNELS:
        made = source(route, groups, signature, words, form=form)
        if plain_python:
            decide = getattr(strategy.decide, "py_func", strategy.decide)
            function = guarded(strategy, generated("kernel", made.text, {"decide": decide, **_PLAIN_HELPERS}))
        else:
            decide = inlined(compilable(strategy.decide))
            function = guarded(strategy, jit(generated("kernel", made.text, {"decide": decide, **_COMPILED_HELPERS})))
        _KERNELS[key] = function, made.layout
    return _KERNELS[key]


def guarded(strategy: Strategy, dispatcher: Kernel) -> Kernel:
    """Return `dispatcher` with numba's refusals turned into a `StrategyError` and users' errors marked."""

    def call(*args: Any) -> Any:
        with compiling(dispatcher):
            try:
                return dispatcher(*args)
            except (NumbaError, UnsupportedBytecodeError) as error:
                raise StrategyError(cannot_compile(strategy, error)) from error
            except MemoryError:  # says what this process had left, which is nobody's result
                raise
            except Exception as error:  # whatever a function raises is its trial's end, not the run's
                raise UserCodeError(strategy.name) from error

    return call


def cannot_compile(strategy: Strategy, error: Exception) -> str:
    """Say in a few lines what numba can't compile, and where."""
    decide = getattr(strategy.decide, "py_func", strategy.decide)
    code = decide.__code__
    reason, place = "", ""
    for line in str(error).splitlines():
        text = line.strip()
        if text.startswith('File "') and "<quantbot" not in text:
            place = text.rstrip(":")
        plain = text.removeprefix("- ").removeprefix("During: ").strip()
        skipped = ("Failed in", "Overload", "There are", "This error", "File", "def ", "^", "<source", "[")
        if not reason and plain and not plain.startswith(skipped):
            reason = plain
    return (
        f"numba can't compile strategy {strategy.name} ({code.co_filename}, line {code.co_firstlineno}): {reason}"
        f"{f' ({place})' if place else ''}. Keep to numbers, comparisons, + - * /, min, max and abs, or run it as plain"
        " Python (plain_python = true), which is slow but decides the same"
    )


def series(
    function: Callable[..., Any], inputs: list[Floats], arguments: list[float], out: Floats | None = None
) -> Floats:
    """Return an indicator's series, shape (n_bars,): compiled where numba can, called as plain numpy where it can't.

    The indicators that ship write into `out` where it is given; another function's series is a new array.
    """
    if isinstance(function, Compiled):
        return function(*inputs, *arguments, out=out)
    if function not in _SERIES:
        if isinstance(function, FunctionType):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", NumbaWarning)
                    compiled = compilable(function)
                    with compiling(compiled):
                        values = compiled(*inputs, *arguments)
                _SERIES[function] = compiled
                return _checked(function, values, inputs)
            except Exception:  # numba has many ways to say no; if it is the function that fails, it fails again below
                pass
        _SERIES[function] = function
    try:
        values = _SERIES[function](*inputs, *arguments)
    except MemoryError:
        raise
    except Exception as error:
        raise UserCodeError(getattr(function, "__name__", "indicator")) from error
    return _checked(function, values, inputs)


def _checked(function: Callable[..., Any], values: Any, inputs: list[Floats]) -> Floats:
    shape = inputs[0].shape
    result = np.ascontiguousarray(values, dtype=np.float64)
    if result.shape != shape:
        name = getattr(function, "__name__", type(function).__name__)
        raise StrategyError(f"indicator {name} must return one value for each bar, shape {shape}; was {result.shape}")
    return result


@jit
def first_finite(values: Floats) -> int:
    """Return the index of the first finite value, `n_bars` when there is none."""
    n_bars = len(values)
    for row in range(n_bars):
        if np.isfinite(values[row]):
            return row
    return n_bars


@jit
def hold(close: Floats) -> tuple[float, float, float]:
    """Return (sum of returns, sum of their squares, smallest share of the running peak) of holding one unit."""
    total = 0.0
    squares = 0.0
    worst = 1.0
    peak = close[0]
    for row in range(1, close.shape[0]):
        gain = close[row] / close[row - 1] - 1.0
        total += gain
        squares += gain * gain
        peak = max(peak, close[row])
        worst = min(worst, close[row] / peak)
    return total, squares, worst
