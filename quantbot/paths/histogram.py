"""How returns are distributed, beside a normal distribution of the same mean and deviation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_MOST_BINS, _LEAST_BINS = 81, 11


@dataclass(frozen=True, eq=False)
class Distribution:
    """A histogram and what stands beside it.

    Attributes
    ----------
    n_bars, n_flat
        Returns that are numbers, and those of them that are exactly 0 (no position): these are in no bin.
    edges, counts
        Shape (n_bins + 1,) and (n_bins,): bins of equal width, the last one closed.
    normal
        Shape (n_bins,): how many would lie in each bin if they were normal with this mean and deviation.
    mean, deviation, skew, kurtosis
        Of the returns that are not 0, per bar; deviation with ddof 1, the kurtosis of a normal distribution is 3.
    worst, best
        The extreme returns.
    var_95
        Loss that 5 % of these bars exceed, linearly interpolated; positive is bad.
    """

    n_bars: int
    n_flat: int
    edges: Floats
    counts: NDArray[np.int64]
    normal: Floats
    mean: float
    deviation: float
    skew: float
    kurtosis: float
    worst: float
    best: float
    var_95: float


def distribution(returns: ArrayLike) -> Distribution:
    """Return the distribution of returns per bar.

    Parameters
    ----------
    returns
        Shape (n_bars,), simple; NaN is left out.

    Notes
    -----
    The width of a bin is Freedman & Diaconis' (1981), ``2 IQR n**(-1/3)``, within 11 to 81 bins.

    Examples
    --------
    >>> found = distribution([0.0, 0.01, -0.01, 0.02])
    >>> found.n_bars, found.n_flat, int(found.counts.sum())
    (4, 1, 3)
    """
    values = np.asarray(returns, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    moved = values[values != 0.0]
    if not moved.size:
        empty = np.empty(0)
        nothing = (math.nan,) * 7
        return Distribution(values.size, values.size, empty, np.empty(0, np.int64), empty, *nothing)
    low, high = float(moved.min()), float(moved.max())
    counts, edges = np.histogram(moved, _n_bins(moved, low, high))
    mean = float(moved.mean())
    deviation = float(moved.std(ddof=1)) if moved.size > 1 else math.nan
    centred = moved - mean
    variance = float(np.mean(centred**2))
    known = variance > 0
    return Distribution(
        values.size,
        values.size - moved.size,
        edges,
        counts.astype(np.int64),
        _normal(edges, mean, deviation) * moved.size,
        mean,
        deviation,
        float(np.mean(centred**3)) / variance**1.5 if known else math.nan,
        float(np.mean(centred**4)) / variance**2 if known else math.nan,
        low,
        high,
        -float(np.quantile(moved, 0.05)),
    )


def _n_bins(values: Floats, low: float, high: float) -> int:
    quarter, three = np.quantile(values, [0.25, 0.75])
    width = 2.0 * float(three - quarter) * values.size ** (-1.0 / 3.0)
    wanted = math.ceil((high - low) / width) if width > 0 and (high - low) / width < _MOST_BINS else _MOST_BINS
    return max(wanted, _LEAST_BINS)


def _normal(edges: Floats, mean: float, deviation: float) -> Floats:
    """Return the probability of each bin."""
    if not deviation > 0:
        return np.full(edges.size - 1, np.nan)
    below = [0.5 * (1.0 + math.erf((edge - mean) / (deviation * math.sqrt(2.0)))) for edge in edges.tolist()]
    return np.diff(below)
