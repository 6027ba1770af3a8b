"""Measures over a window that rolls through time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError

Floats = NDArray[np.float64]

_FLAT = 1e-12  # of the mean square: a variance below is what rounding leaves of none, as in a row's Sharpe ratio
_CHUNK_NUMBERS = 1 << 21  # of windows laid out at a time: 16 MiB


@dataclass(frozen=True, eq=False)
class Rolling:
    """What each window came to.

    Attributes
    ----------
    n_bars
        Bars in a window.
    last
        Shape (n_windows,), rising: index of each window's last bar.
    sharpe
        Annual Sharpe ratio (ddof 1, no risk-free rate); NaN where equity never moves in the window.
    volatility
        Annual deviation of returns (ddof 1), a fraction.
    drawdown
        Largest fraction lost from a peak within the window (its start counts as one); >= 0.
    """

    n_bars: int
    last: NDArray[np.int64]
    sharpe: Floats
    volatility: Floats
    drawdown: Floats


def rolling(returns: ArrayLike, n_bars: int, periods_per_year: float, *, most: int = 2_000) -> Rolling:
    """Reduce every window of `n_bars` returns; of more than `most` windows evenly spaced ones, the last included.

    Parameters
    ----------
    returns
        Shape (n,), simple returns per bar.
    n_bars
        At least 2. Fewer returns than that have no window.

    Notes
    -----
    Each window is reduced by itself, not updated from the one before, so no rounding adds up along the path.

    Examples
    --------
    >>> found = rolling([0.1, -0.5, 1.0], 2, 1.0)
    >>> found.last.tolist(), found.drawdown.round(3).tolist()
    ([1, 2], [0.5, 0.5])
    """
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 1 or n_bars < 2 or most < 1:
        raise InputError(
            f"returns must be of one path and a window of 2 bars or more; found shape {values.shape}, {n_bars} bars"
        )
    n_windows = values.size - n_bars + 1
    if n_windows < 1:
        return Rolling(n_bars, np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0))
    firsts = np.unique(np.linspace(n_windows - 1, 0, min(n_windows, most)).round().astype(np.int64))
    windows = sliding_window_view(values, n_bars)
    step = max(_CHUNK_NUMBERS // n_bars, 1)
    parts = [_reduced(windows[firsts[at : at + step]]) for at in range(0, firsts.size, step)]
    mean, variance, square, drawdown = (np.concatenate(part) for part in zip(*parts, strict=True))
    deviation = np.sqrt(variance)
    with np.errstate(invalid="ignore", divide="ignore"):
        sharpe = np.where(variance > _FLAT * square, mean / deviation, np.nan)
    scale = np.sqrt(periods_per_year)
    return Rolling(n_bars, firsts + n_bars - 1, sharpe * scale, deviation * scale, drawdown)


def _reduced(windows: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    growth = np.cumprod(1.0 + windows, axis=1)
    peak = np.maximum(np.maximum.accumulate(growth, axis=1), 1.0)
    return (
        windows.mean(axis=1),
        windows.var(axis=1, ddof=1),
        np.square(windows).mean(axis=1),
        (1.0 - growth / peak).max(axis=1),
    )
