"""The loops of the indicators, and how a strategy's function is compiled.

Windowed loops cut the series into blocks of one window's length. A window that ends at `t` is then the tail of one
block and the head of the next, so its sum (or maximum) is one suffix sum and one prefix sum: three additions an
element whatever the window, no error that grows along the series, and not a bit that depends on what has left the
window (van Herk 1992; Gil & Werman 1993, who do it for maxima). Sums are taken of differences from the value at the
seam, which lies in the window: a flat window's mean is its value exactly, its deviation exactly 0.

An indicator's kernel takes its inputs, its arguments and `out`, all series of shape (n,), and writes every element of
`out`: NaN until it is warm.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CellType, FunctionType, ModuleType
from typing import Any

import numpy as np

from quantbot.kernels import inlined, jit
from quantbot.market import Floats
from quantbot.strategies.fingerprint import attributes, is_ours, plain, references
from quantbot.strategies.kernels_scan import WIDTH, joined_means, prefix_sums, suffix_sums

LONG = 12  # windows from which it pays to add four values at a time
AHEAD = 2**62 - 1  # an index masked with it can't be negative: no test for Python's counting from the end


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


@inlined
def _block_sums(values: Floats, at: int, size: int, first: float, end: float, heads: Floats, tails: Floats) -> None:
    """Write the sums over a block's heads about its first value, and over its tails about its last."""
    head = 0.0
    back = 0.0
    for i in range(0, size, WIDTH):  # both chains of additions at once
        head = prefix_sums(values, at + i, first, head, heads, i)
        back = suffix_sums(values, at + size - WIDTH - i, end, back, tails, size - i)


@jit
def mean(values: Floats, window: int, out: Floats) -> None:
    """Write the mean of the last `window` values."""
    n = values.shape[0]
    out[: min(window - 1, n)] = np.nan
    share = 1.0 / window  # of a sum of differences: a product is as exact as a quotient there, and quicker
    if window < LONG:
        _short_mean(values, window, share, out)
        return
    # Room at the end for what is written four at a time, at the beginning of `tails` and `whole` too.
    heads = np.zeros(window + WIDTH)
    tails = np.zeros(window + 2 * WIDTH)  # sums over the tails of the last block, about its last value
    fresh = np.zeros(window + 2 * WIDTH)  # over those of this one
    whole = np.zeros(window + 2 * WIDTH)  # a block whose four values at either end may not be read where they are
    last = 0.0
    for start in range(0, n, window):
        size = min(window, n - start)
        first = values[start & AHEAD]
        end = values[(start + size - 1) & AHEAD]
        step = last - first
        if start > 0 and start + window + WIDTH <= n:
            _block_sums(values, start, size, first, end, heads, fresh)
            for i in range(0, size, WIDTH):  # what is written too far, the next block writes again
                rest = float(window - 1 - i)
                joined_means(tails, i + 1 + WIDTH, heads, i, step, rest, first, share, out, start + i)
        else:
            whole[WIDTH : WIDTH + size] = values[start : start + size]
            _block_sums(whole, WIDTH, size, first, end, heads, fresh)
            for i in range(size if start > 0 else 0):
                joined = tails[(i + 1 + WIDTH) & AHEAD] + step * (window - 1 - i) + heads[i]
                out[(start + i) & AHEAD] = first + joined * share
            if start == 0 and size == window:
                out[window - 1] = first + heads[window - 1] * share
        tails, fresh = fresh, tails
        last = end


@jit
def _short_mean(values: Floats, window: int, share: float, out: Floats) -> None:
    """Write the means of a window that is too short for four values at a time."""
    n = values.shape[0]
    tail = np.zeros(window + 1)
    last = 0.0
    for start in range(0, n, window):
        size = min(window, n - start)
        first = values[start & AHEAD]
        end = values[(start + size - 1) & AHEAD]
        step = last - first
        head = 0.0
        back = 0.0
        for i in range(size):
            head += values[(start + i) & AHEAD] - first
            joined = tail[(i + 1) & AHEAD] + step * (window - 1 - i) + head
            if start > 0 or i == window - 1:
                out[(start + i) & AHEAD] = first + joined * share
        for i in range(size - 1, 0, -1):
            back += values[(start + i) & AHEAD] - end
            tail[i & AHEAD] = back
        last = end


@jit
def deviation(values: Floats, window: int, ddof: int, out: Floats) -> None:
    """Write the standard deviation of the last `window` values; `out` may be `values`.

    Both halves of a window are summed about a value of the window, so the relative error of the variance stays below
    some 4 `window` machine epsilons; they are joined by Chan, Golub & LeVeque (1983), equation 2.1.
    """
    n = values.shape[0]
    if n < window or window <= ddof:
        out[:] = np.nan
        return
    sums = np.zeros((3, window + 1))  # of the block's heads, its tails, the last block's tails
    squares = np.zeros((3, window + 1))
    shares = np.zeros(window + 1)  # 1 / count, so that the loop over a block has a division less
    for i in range(1, window + 1):
        shares[i] = 1.0 / i
    last = 0.0
    for start in range(0, n, window):
        size = min(window, n - start)
        first = values[start]
        end = values[start + size - 1]
        step = last - first
        head = 0.0
        head_squares = 0.0
        tail = 0.0
        tail_squares = 0.0
        for i in range(size):
            difference = values[(start + i) & AHEAD] - first
            head += difference
            head_squares += difference * difference
            sums[0, i] = head
            squares[0, i] = head_squares
            difference = values[(start + size - 1 - i) & AHEAD] - end
            tail += difference
            tail_squares += difference * difference
            sums[1, (size - 1 - i) & AHEAD] = tail
            squares[1, (size - 1 - i) & AHEAD] = tail_squares
        whole = min(size, window - 1)
        if start > 0:
            for i in range(whole):
                after = sums[0, i] * shares[(i + 1) & AHEAD]
                before = sums[2, (i + 1) & AHEAD] * shares[(window - 1 - i) & AHEAD]
                gap = step + before - after
                spread = max(squares[0, i] - sums[0, i] * after, 0.0)
                spread += max(squares[2, (i + 1) & AHEAD] - sums[2, (i + 1) & AHEAD] * before, 0.0)
                spread += gap * gap * (shares[window] * (window - 1 - i) * (i + 1))
                out[(start + i) & AHEAD] = np.sqrt(spread / (window - ddof))
        else:
            out[:whole] = np.nan
        if size == window:
            spread = max(head_squares - head * head * shares[window], 0.0)
            out[start + window - 1] = np.sqrt(spread / (window - ddof))
        for i in range(size):
            sums[2, i] = sums[1, i]
            squares[2, i] = squares[1, i]
        last = end


@jit
def highest(values: Floats, window: int, out: Floats) -> None:
    """Write the largest of the `window` values before each, itself left out."""
    n = values.shape[0]
    out[: min(window, n)] = np.nan
    tail = np.full(window + 1, -np.inf)
    for start in range(0, n - 1, window):
        size = min(window, n - 1 - start)
        top = -np.inf
        for i in range(size):
            top = max(top, values[(start + i) & AHEAD])
            if start > 0 or i == window - 1:
                out[(start + i + 1) & AHEAD] = max(top, tail[(i + 1) & AHEAD])
        if size == window:
            top = -np.inf
            for i in range(window - 1, 0, -1):
                top = max(top, values[(start + i) & AHEAD])
                tail[i & AHEAD] = top


@jit
def lowest(values: Floats, window: int, out: Floats) -> None:
    """Write the smallest of the `window` values before each, itself left out."""
    n = values.shape[0]
    out[: min(window, n)] = np.nan
    tail = np.full(window + 1, np.inf)
    for start in range(0, n - 1, window):
        size = min(window, n - 1 - start)
        bottom = np.inf
        for i in range(size):
            bottom = min(bottom, values[(start + i) & AHEAD])
            if start > 0 or i == window - 1:
                out[(start + i + 1) & AHEAD] = min(bottom, tail[(i + 1) & AHEAD])
        if size == window:
            bottom = np.inf
            for i in range(window - 1, 0, -1):
                bottom = min(bottom, values[(start + i) & AHEAD])
                tail[i & AHEAD] = bottom


@jit
def smooth(values: Floats, start: int, level: float, alpha: float, out: Floats) -> None:
    """Write ``level += alpha * (value - level)`` from `start` on; `out` may be `values`.

    Eight steps are taken at once about the first value of the eight, so that the chain of dependent operations is an
    eighth as long; a flat series stays exactly where it is.
    """
    n = values.shape[0]
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
            moved = keep * moved + alpha * (values[(row + k) & AHEAD] - reference)
            level = reference + (powers[k] * distance + moved)
            out[(row + k) & AHEAD] = level


@jit
def exponential(values: Floats, span: float, out: Floats) -> None:
    """Write the exponential mean with weight ``2 / (span + 1)``, NaN for the first ``span - 1`` values."""
    n = values.shape[0]
    if n > 0:
        smooth(values, 0, values[0], 2.0 / (span + 1.0), out)
        out[: min(n, int(np.ceil(span)) - 1)] = np.nan


@jit
def relative_strength(values: Floats, window: int, out: Floats) -> None:
    """Write Wilder's relative strength index in [0, 100]; 50 where nothing moved."""
    n = values.shape[0]
    out[: min(window, n)] = np.nan
    if n <= window:
        return
    losses = np.empty(n)
    gain = 0.0
    loss = 0.0
    for row in range(1, n):
        change = values[row] - values[row - 1]
        up = max(change, 0.0)  # selects, not branches: the sign of a change can't be predicted
        down = max(-change, 0.0)
        if row <= window:
            gain += up
            loss += down
        else:
            out[row] = up
            losses[row] = down
    gain /= window
    loss /= window
    smooth(out, window + 1, gain, 1.0 / window, out)
    smooth(losses, window + 1, loss, 1.0 / window, losses)
    out[window] = gain
    losses[window] = loss
    for row in range(window, n):
        both = out[row] + losses[row]
        share = 100.0 * out[row] / both
        out[row] = share if both > 0.0 else 50.0


@jit
def simple_return(values: Floats, window: int, out: Floats) -> None:
    """Write ``values[t] / values[t - window] - 1``."""
    n = values.shape[0]
    out[: min(window, n)] = np.nan
    for row in range(window, n):
        out[row] = values[row] / values[row - window] - 1.0


@jit
def volatility(values: Floats, window: int, periods_per_year: float, out: Floats) -> None:
    """Write the annualised deviation (ddof 1) of the last `window` simple returns."""
    n = values.shape[0]
    simple_return(values, 1, out)
    if n > 1:
        deviation(out[1:], window, 1, out[1:])
    scale = np.sqrt(periods_per_year)
    for row in range(n):
        out[row] *= scale


@jit
def true_range(high: Floats, low: Floats, close: Floats, window: int, out: Floats) -> None:
    """Write Wilder's average true range: the mean of `window` ranges first, smoothed from there."""
    n = close.shape[0]
    out[: min(window, n)] = np.nan
    if n <= window:
        return
    level = 0.0
    for row in range(1, n):
        span = max(high[row], close[row - 1]) - min(low[row], close[row - 1])
        if row <= window:
            level += span
        else:
            out[row] = span
    level /= window
    smooth(out, window + 1, level, 1.0 / window, out)
    out[window] = level
