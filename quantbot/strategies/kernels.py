"""The loops of the indicators, and how a strategy's function is compiled.

Windowed loops cut the series into blocks of one window's length. A window that ends at `t` is then the tail of one
block and the head of the next, so its sum (or maximum) is one suffix sum and one prefix sum: three additions an
element whatever the window, no error that grows along the series, and not a bit that depends on what has left the
window (van Herk 1992; Gil & Werman 1993, who do it for maxima). Sums are taken of differences from the value at the
seam, which lies in the window: a flat window's mean is its value exactly, its deviation exactly 0.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, FunctionType, ModuleType
from typing import Any

import numpy as np

from quantbot.kernels import jit
from quantbot.market import Floats
from quantbot.strategies.fingerprint import attributes, is_ours, plain, references


def compilable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` compiled, and with it every plain Python function that it calls, transitively.

    numba compiles no function that is merely named by another one's globals, so helpers are compiled first and a copy
    of `function` is made whose globals hold the compiled ones. Helpers may stand in the same module, in an imported
    one (``from my_means import mean``, or ``import my_means`` and ``my_means.mean(...)``) or in a closure. What is
    compiled already is left as it is.
    """
    kernel: Callable[..., Any] = _compiled(function, {})
    return kernel


def _compiled(function: Callable[..., Any], done: dict[int, Any]) -> Any:
    if hasattr(function, "py_func"):
        return function
    source = plain(function)
    if id(source) in done:
        return done[id(source)]
    scope = dict(source.__globals__)
    copy = FunctionType(
        source.__code__,
        scope,
        source.__name__,
        source.__defaults__,
        None if source.__closure__ is None else tuple(CellType() for _ in source.__closure__),
    )
    copy.__module__, copy.__qualname__, copy.__doc__ = source.__module__, source.__qualname__, source.__doc__
    done[id(source)] = kernel = jit(copy)
    for cell, original in zip(copy.__closure__ or (), source.__closure__ or (), strict=True):
        cell.cell_contents = _replaced(source, original.cell_contents, done)
    for name, value in references(source).items():
        if name in source.__globals__ and source.__globals__[name] is value:
            scope[name] = _replaced(source, value, done)
    return kernel


def _replaced(function: FunctionType, value: Any, done: dict[int, Any]) -> Any:
    """Return what a compiled copy of `function` should find in place of `value`."""
    if isinstance(value, FunctionType) and is_compilable(value):
        return _compiled(value, done)
    if isinstance(value, ModuleType) and is_ours(value):
        proxy = ModuleType(value.__name__, value.__doc__)
        proxy.__dict__.update(vars(value))
        for name, attribute in attributes(function, value).items():
            proxy.__dict__[name] = _replaced(function, attribute, done)
        return proxy
    return value


def is_compilable(function: FunctionType) -> bool:
    """Return whether `function` may be handed to numba; numpy's own Python functions are numba's business."""
    top = (function.__module__ or "").partition(".")[0]
    return top not in {"numpy", "math", "numba", "builtins", "scipy"}


@jit
def mean(values: Floats, window: int) -> Floats:
    """Return the mean of the last `window` values, shape (n,)."""
    n = values.shape[0]
    out = np.full(n, np.nan)
    if n < window:
        return out
    tail = np.zeros(window + 1)  # sums over the last block's tails, about its last value
    last = 0.0
    for start in range(0, n, window):
        size = min(window, n - start)
        first = values[start]
        step = last - first
        total = 0.0
        if start > 0:
            for i in range(size):
                total += values[start + i] - first
                out[start + i] = first + (tail[i + 1] + step * (window - 1 - i) + total) / window
        else:
            for i in range(size):
                total += values[i] - first
            out[window - 1] = first + total / window
        last = values[start + size - 1]
        if start + size < n:
            total = 0.0
            for i in range(window - 1, 0, -1):
                total += values[start + i] - last
                tail[i] = total
    return out


@jit
def deviation(values: Floats, window: int, ddof: int) -> Floats:
    """Return the standard deviation of the last `window` values, shape (n,).

    Both halves of a window are summed about a value of the window, so the relative error of the variance stays below
    some 4 `window` machine epsilons; they are joined by Chan, Golub & LeVeque (1983), equation 2.1.
    """
    n = values.shape[0]
    out = np.full(n, np.nan)
    if n < window or window <= ddof:
        return out
    tail = np.zeros(window + 1)
    tail_squares = np.zeros(window + 1)
    last = 0.0
    for start in range(0, n, window):
        size = min(window, n - start)
        first = values[start]
        step = last - first
        total = 0.0
        squares = 0.0
        for i in range(size):
            difference = values[start + i] - first
            total += difference
            squares += difference * difference
            head_count = i + 1.0
            tail_count = window - head_count
            if tail_count == 0.0:
                spread = squares - total * total / head_count
            elif start > 0:
                gap = step + tail[i + 1] / tail_count - total / head_count
                spread = max(squares - total * total / head_count, 0.0)
                spread += max(tail_squares[i + 1] - tail[i + 1] * tail[i + 1] / tail_count, 0.0)
                spread += gap * gap * (tail_count * head_count / window)
            else:
                continue
            out[start + i] = np.sqrt(max(spread, 0.0) / (window - ddof))
        last = values[start + size - 1]
        if start + size < n:
            total = 0.0
            squares = 0.0
            for i in range(window - 1, 0, -1):
                difference = values[start + i] - last
                total += difference
                squares += difference * difference
                tail[i] = total
                tail_squares[i] = squares
    return out


@jit
def highest(values: Floats, window: int) -> Floats:
    """Return the largest of the `window` values before each, itself left out, shape (n,)."""
    n = values.shape[0]
    out = np.full(n, np.nan)
    tail = np.full(window + 1, -np.inf)
    for start in range(0, n - 1, window):
        size = min(window, n - 1 - start)
        top = -np.inf
        for i in range(size):
            top = max(top, values[start + i])
            if start > 0 or i == window - 1:
                out[start + i + 1] = max(top, tail[i + 1])
        if size == window:
            top = -np.inf
            for i in range(window - 1, 0, -1):
                top = max(top, values[start + i])
                tail[i] = top
    return out


@jit
def lowest(values: Floats, window: int) -> Floats:
    """Return the smallest of the `window` values before each, itself left out, shape (n,)."""
    n = values.shape[0]
    out = np.full(n, np.nan)
    tail = np.full(window + 1, np.inf)
    for start in range(0, n - 1, window):
        size = min(window, n - 1 - start)
        bottom = np.inf
        for i in range(size):
            bottom = min(bottom, values[start + i])
            if start > 0 or i == window - 1:
                out[start + i + 1] = min(bottom, tail[i + 1])
        if size == window:
            bottom = np.inf
            for i in range(window - 1, 0, -1):
                bottom = min(bottom, values[start + i])
                tail[i] = bottom
    return out


@jit
def smooth(values: Floats, start: int, level: float, alpha: float) -> Floats:
    """Return ``level += alpha * (value - level)`` from `start` on, NaN before it, shape (n,).

    Eight steps are taken at once about the first value of the eight, so that the chain of dependent operations is an
    eighth as long; a flat series stays exactly where it is.
    """
    n = values.shape[0]
    out = np.full(n, np.nan)
    keep = 1.0 - alpha
    powers = np.empty(8)
    powers[0] = keep
    for k in range(1, 8):
        powers[k] = powers[k - 1] * keep
    for row in range(start, n, 8):
        reference = values[row]
        distance = level - reference
        moved = 0.0
        for k in range(min(8, n - row)):
            moved = keep * moved + alpha * (values[row + k] - reference)
            level = reference + (powers[k] * distance + moved)
            out[row + k] = level
    return out


@jit
def exponential(values: Floats, span: float) -> Floats:
    """Return the exponential mean with weight ``2 / (span + 1)``, NaN for the first ``span - 1`` values."""
    n = values.shape[0]
    if n == 0:
        return np.empty(0)
    out = smooth(values, 0, values[0], 2.0 / (span + 1.0))
    out[: min(n, int(np.ceil(span)) - 1)] = np.nan
    return out


@jit
def relative_strength(values: Floats, window: int) -> Floats:
    """Return Wilder's relative strength index in [0, 100], shape (n,); 50 where nothing moved."""
    n = values.shape[0]
    if n <= window:
        return np.full(n, np.nan)
    gains = np.zeros(n)
    losses = np.zeros(n)
    for row in range(1, n):
        change = values[row] - values[row - 1]
        gains[row] = max(change, 0.0)  # selects, not branches: the sign of a change can't be predicted
        losses[row] = max(-change, 0.0)
    gain = 0.0
    loss = 0.0
    for row in range(1, window + 1):
        gain += gains[row]
        loss += losses[row]
    gain /= window
    loss /= window
    out = smooth(gains, window + 1, gain, 1.0 / window)
    down = smooth(losses, window + 1, loss, 1.0 / window)
    out[window] = gain
    down[window] = loss
    for row in range(window, n):
        both = out[row] + down[row]
        share = 100.0 * out[row] / both
        out[row] = share if both > 0.0 else 50.0
    return out


@jit
def simple_return(values: Floats, window: int) -> Floats:
    """Return ``values[t] / values[t - window] - 1``, shape (n,)."""
    n = values.shape[0]
    out = np.full(n, np.nan)
    for row in range(window, n):
        out[row] = values[row] / values[row - window] - 1.0
    return out


@jit
def volatility(values: Floats, window: int, periods_per_year: float) -> Floats:
    """Return the annualised deviation (ddof 1) of the last `window` simple returns, shape (n,)."""
    n = values.shape[0]
    out = np.full(n, np.nan)
    if n < 2:
        return out
    out[1:] = deviation(simple_return(values, 1)[1:], window, 1) * np.sqrt(periods_per_year)
    return out


@jit
def true_range(high: Floats, low: Floats, close: Floats, window: int) -> Floats:
    """Return Wilder's average true range, shape (n,): the mean of `window` ranges first, smoothed from there."""
    n = close.shape[0]
    if n <= window:
        return np.full(n, np.nan)
    ranges = np.zeros(n)
    for row in range(1, n):
        ranges[row] = max(high[row], close[row - 1]) - min(low[row], close[row - 1])
    level = 0.0
    for row in range(1, window + 1):
        level += ranges[row]
    level /= window
    out = smooth(ranges, window + 1, level, 1.0 / window)
    out[window] = level
    return out
