"""Causal indicators: what a strategy may look at, each value from bars up to its own.

Each function returns an `Indicator`, a declaration: engines compute it once for each distinct value of its arguments.
An argument is the name of a parameter or a number: ``sma("window")``, ``sma(200)``. Values are NaN until enough bars
have passed, finite from then on, and computed with + - * / and the square root alone, in an order that does not
depend on how the series is cut: the same bars give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quantbot.buffers import empty
from quantbot.market import Floats
from quantbot.strategies.contract import PERIODS_PER_YEAR, Indicator

Argument = str | float


@dataclass(frozen=True)
class Compiled:
    """An indicator's kernel by name, imported when first called: declaring a strategy then needs no compiler."""

    kernel: str
    whole: int  # how many leading arguments are whole numbers

    @property
    def __name__(self) -> str:
        """The kernel's name, as a function has one."""
        return self.kernel

    def __call__(self, *values: Any, out: Floats | None = None) -> Floats:
        """Compute the series of arrays and arguments, into `out` where given: (n_bars,) float64."""
        from quantbot.strategies import kernels

        inputs = [value for value in values if hasattr(value, "shape") and value.shape]
        arguments = values[len(inputs) :]
        numbers = [int(a) if i < self.whole else float(a) for i, a in enumerate(arguments)]
        series = empty(inputs[0].shape[0]) if out is None else out
        getattr(kernels, self.kernel)(*inputs, *numbers, series)
        return series


def indicator(function: Callable[..., Any], *arguments: Argument, inputs: tuple[str, ...] = ("close",)) -> Indicator:
    """Declare an indicator of your own.

    Parameters
    ----------
    function
        ``function(*inputs, *arguments) -> (n_bars,) float64``, plain numpy or compiled. Element `t` may use
        ``inputs[: t + 1]`` only (`quantbot strategies check` finds out); NaN until it is warm.
    arguments
        Names of parameters, numbers, or `PERIODS_PER_YEAR`.
    inputs
        The fields of the bars that it takes.

    Examples
    --------
    >>> import numpy as np
    >>> def gap(open, close):
    ...     return open - np.concatenate([[np.nan], close[:-1]])
    >>> indicator(gap, inputs=("open", "close")).inputs
    ('open', 'close')
    """
    return Indicator(function, inputs, arguments)


def sma(window: Argument, *, field: str = "close") -> Indicator:
    """Take the simple moving average of the last `window` bars (this one too); first finite at bar ``window - 1``.

    Exactly independent of what has left the window, and within some `window` machine epsilons of the exact mean.
    """
    return Indicator(Compiled("mean", 1), (field,), (window,))


def ema(span: Argument, *, field: str = "close") -> Indicator:
    """Take the exponential moving average, weight ``2 / (span + 1)`` on the newest bar, started at the first bar.

    NaN for the first ``span - 1`` bars. It never forgets entirely: a bar `k` spans ago weighs about ``exp(-2 k)``.
    """
    return Indicator(Compiled("exponential", 0), (field,), (span,))


def stdev(window: Argument, *, ddof: int = 0, field: str = "close") -> Indicator:
    """Take the standard deviation of `window` bars, in units of the field; of the population unless `ddof` is 1."""
    return Indicator(Compiled("deviation", 2), (field,), (window, ddof))


def highest(window: Argument, *, field: str = "high") -> Indicator:
    """Take the highest of the `window` bars *before* this one; first finite at bar `window`.

    A close can break out of it; the high of its own bar would forbid that.
    """
    return Indicator(Compiled("highest", 1), (field,), (window,))


def lowest(window: Argument, *, field: str = "low") -> Indicator:
    """Take the lowest of the `window` bars *before* this one; first finite at bar `window`."""
    return Indicator(Compiled("lowest", 1), (field,), (window,))


def rsi(window: Argument, *, field: str = "close") -> Indicator:
    """Take the relative strength index in [0, 100], 50 where nothing moved; first finite at bar `window`.

    Wilder (1978), New Concepts in Technical Trading Systems, section VI: the first averages are plain means of
    `window` changes, later ones move by ``1 / window`` of the distance.
    """
    return Indicator(Compiled("relative_strength", 1), (field,), (window,))


def momentum(window: Argument, *, field: str = "close") -> Indicator:
    """Take the simple return over the last `window` bars, as a fraction; first finite at bar `window`."""
    return Indicator(Compiled("simple_return", 1), (field,), (window,))


def volatility(window: Argument, *, periods: Argument = PERIODS_PER_YEAR, field: str = "close") -> Indicator:
    """Take the standard deviation (ddof 1) of the last `window` simple returns; first finite at bar `window`.

    Per year by the dataset's own calendar; ``periods=1`` gives it per bar.
    """
    return Indicator(Compiled("volatility", 1), (field,), (window, periods))


def atr(window: Argument) -> Indicator:
    """Take the average true range in price points, by Wilder's smoothing; first finite at bar `window`.

    Wilder (1978), section III; the first bar has no previous close and takes no part.
    """
    return Indicator(Compiled("true_range", 1), ("high", "low", "close"), (window,))
