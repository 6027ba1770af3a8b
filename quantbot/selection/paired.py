"""Whether one of two trials is better than the other by more than noise, on the bars that both have.

The two are drawn together, bar for bar, so that what moves both (the market) does not count as a difference. It calls
the package `arch` (the extra ``quantbot[stats]``), imported when first needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError

Floats = NDArray[np.float64]

_FLAT = 1e-12  # of the mean square: a variance below is what rounding leaves of none
_FEWEST = 20  # bars: with less, blocks say nothing


@dataclass(frozen=True)
class Paired:
    """A difference and how far it may be off.

    Attributes
    ----------
    sharpe, sharpe_low, sharpe_high
        Second trial's annual Sharpe ratio minus the first one's; NaN where one of them never moves.
    mean, mean_low, mean_high
        Second one's mean return minus the first one's, per year.
    sharpe_below
        Share of the draws in which the difference of Sharpe ratios is below 0; 0.5 says nothing either way.
    confidence
        Share of the draws within each interval.
    block_length
        Mean number of bars in a block.
    n_bars, n_draws
        Number of common bars, and of draws.
    """

    sharpe: float
    sharpe_low: float
    sharpe_high: float
    mean: float
    mean_low: float
    mean_high: float
    sharpe_below: float
    confidence: float
    block_length: float
    n_bars: int
    n_draws: int


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    periods_per_year: float,
    *,
    confidence: float = 0.9,
    n_draws: int = 500,
    seed: int = 0,
) -> Paired:
    """Return intervals of what the second trial has over the first.

    Parameters
    ----------
    first, second
        Shape (n_bars,): simple returns of the same bars, all finite.
    periods_per_year
        Bars per year.

    Raises
    ------
    InputError
        If `arch` is not installed, the shapes differ, or fewer than 20 bars are there.

    Notes
    -----
    Percentile intervals over the stationary bootstrap of pairs (Politis & Romano 1994; of a difference of Sharpe
    ratios: Ledoit & Wolf 2008, who studentise, which this does not). Blocks have the optimal mean length of the
    difference and of its square, the larger (Patton, Politis & White 2009).

    Examples
    --------
    >>> market, noise = np.random.default_rng(0).normal(0, 0.01, (2, 2520))
    >>> found = paired_difference(market, market + 0.001 + 0.1 * noise, 252, n_draws=100)
    >>> found.sharpe_low > 0
    True
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or a.size < _FEWEST or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(
            f"two paths of the same {_FEWEST} or more finite returns are needed; found shapes {a.shape} and {b.shape}"
        )
    if n_draws < 20 or not 0.0 < confidence < 1.0:
        raise InputError(f"20 draws or more and a confidence in (0, 1) are needed; found {n_draws} and {confidence}")
    bootstrap = _arch()
    length = _block_length(bootstrap, b - a)
    sampler = bootstrap.StationaryBootstrap(length, np.stack([a, b], axis=1), seed=seed)
    draws = sampler.apply(lambda drawn: _differences(drawn, periods_per_year), n_draws)
    sharpe, mean = _differences(np.stack([a, b], axis=1), periods_per_year).tolist()
    tails = (0.5 - 0.5 * confidence, 0.5 + 0.5 * confidence)
    (sharpe_low, sharpe_high), (mean_low, mean_high) = (_quantiles(column, tails) for column in draws.T)
    known = draws[np.isfinite(draws[:, 0]), 0]
    ties = 0.5 * np.mean(known == 0) if known.size else math.nan
    return Paired(
        sharpe, sharpe_low, sharpe_high, mean, mean_low, mean_high,
        float(np.mean(known < 0) + ties) if known.size else math.nan, confidence, length, a.size, n_draws,
    )  # fmt: skip


def _arch() -> Any:
    try:
        import arch.bootstrap
    except ImportError as error:
        raise InputError("bootstrap intervals need the package arch: pip install 'quantbot[stats]'") from error
    return arch.bootstrap


def _block_length(bootstrap: Any, difference: Floats) -> float:
    columns = np.stack([difference, np.square(difference - difference.mean())], axis=1)
    varying = columns[:, columns.var(axis=0) > _FLAT * np.square(columns).mean(axis=0)]
    if not varying.shape[1]:
        return 1.0
    lengths = bootstrap.optimal_block_length(varying)["stationary"].to_numpy()
    return min(max(float(np.max(lengths, where=np.isfinite(lengths), initial=1.0)), 1.0), len(difference) / 3.0)


def _differences(pairs: Floats, periods_per_year: float) -> Floats:
    """Return (difference of annual Sharpe ratios, of mean returns per year)."""
    means, deviations = pairs.mean(axis=0), pairs.std(axis=0, ddof=1)
    mean = float(means[1] - means[0]) * periods_per_year
    if not (deviations**2 > _FLAT * np.square(pairs).mean(axis=0)).all():
        return np.array([math.nan, mean])
    ratios = means / deviations
    return np.array([float(ratios[1] - ratios[0]) * math.sqrt(periods_per_year), mean])


def _quantiles(column: Floats, tails: tuple[float, float]) -> tuple[float, float]:
    known = column[np.isfinite(column)]
    if not known.size:
        return math.nan, math.nan
    low, high = np.quantile(known, tails).tolist()
    return low, high
