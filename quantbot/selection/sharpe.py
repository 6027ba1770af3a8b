"""How far a Sharpe ratio can be trusted: its standard error, its probability, and what the best of many is by luck.

Sharpe ratios are per bar unless a name says annual: an annual one is the per-bar one times ``sqrt(bars per year)``.
Kurtosis is the plain one, 3 for a normal distribution. Everything broadcasts; not a number in, not a number out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from quantbot.errors import InputError

Floats = NDArray[np.float64]

_FLAT = 1e-12  # of the mean square: a variance below is what rounding leaves of none, as in a row's Sharpe ratio


@dataclass(frozen=True, eq=False)
class Moments:
    """What the formulas of this module need to know of returns.

    Attributes
    ----------
    n_bars
        Number of returns.
    mean, deviation
        Per bar; the deviation has ddof 1.
    sharpe
        Mean over deviation, per bar; not a number where equity never moves.
    skew, kurtosis
        Third and fourth standardised central moments (ddof 0): 0 and 3 for a normal distribution.
    """

    n_bars: Floats
    mean: Floats
    deviation: Floats
    sharpe: Floats
    skew: Floats
    kurtosis: Floats


def moments(returns: ArrayLike) -> Moments:
    """Return the moments of each trial's returns.

    Parameters
    ----------
    returns
        Shape (..., n_bars), simple returns per bar; NaN where a trial has no bar, which then does not count.

    Returns
    -------
    Each field of shape (...); not a number with fewer than two returns, or returns that are all the same.

    Examples
    --------
    >>> found = moments([0.01, -0.01, 0.03, 0.01])
    >>> round(float(found.sharpe), 6), round(float(found.kurtosis), 6)
    (0.612372, 2.0)
    """
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim == 0:
        raise InputError(f"returns must have shape (..., n_bars), was a single number: {values}")
    there = np.isfinite(values)
    n = there.sum(axis=-1).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(there, values, 0.0).sum(axis=-1) / n
        centred = np.where(there, values - mean[..., None], 0.0)
        square = np.square(centred)
        variance = square.sum(axis=-1) / n
        flat = ~(variance > _FLAT * (variance + np.square(mean)))
        variance = np.where(flat, np.nan, variance)
        deviation = np.sqrt(np.where(flat & (n > 1), 0.0, variance) * n / (n - 1))
        skew = (square * centred).sum(axis=-1) / n / variance**1.5
        kurtosis = np.square(square).sum(axis=-1) / n / np.square(variance)
        sharpe = np.where(flat, np.nan, mean / np.where(deviation > 0, deviation, np.nan))
    return Moments(*(_unwrapped(part) for part in (n, mean, deviation, sharpe, skew, kurtosis)))


def sharpe_standard_error(
    sharpe: ArrayLike, n_bars: ArrayLike, *, skew: ArrayLike = 0.0, kurtosis: ArrayLike = 3.0
) -> Floats:
    """Return the asymptotic standard error of a Sharpe ratio estimated from returns without autocorrelation.

    Notes
    -----
    ``sqrt((1 - skew SR + (kurtosis - 1) / 4 SR^2) / n)``: Mertens (2002), "Comments on variance of the IID estimator
    in Lo (2002)"; Christie (2005) finds the same for any stationary ergodic returns. With the defaults it is Lo (2002),
    "The Statistics of Sharpe Ratios", Financial Analysts Journal 58(4), equation 9: ``sqrt((1 + SR^2 / 2) / n)``.

    Examples
    --------
    Lo (2002), table 1: a Sharpe ratio of 1.50 from 60 returns.

    >>> round(float(sharpe_standard_error(1.5, 60)), 3)
    0.188
    """
    n = _bars(n_bars, 1)
    return _unwrapped(np.sqrt(_spread(sharpe, skew, kurtosis) / n))


def sharpe_standard_error_robust(returns: ArrayLike, *, n_lags: int | None = None) -> Floats:
    """Return the standard error of a Sharpe ratio whose returns may be autocorrelated, skewed and heteroskedastic.

    Parameters
    ----------
    returns
        Shape (..., n_bars), simple returns per bar, all finite.
    n_lags
        Autocovariances that count, with weights falling to 0 (Bartlett's). By default ``floor(4 (n / 100)^(2/9))``,
        the rule of thumb of Newey & West (1994).

    Notes
    -----
    Lo (2002), the section on non-IID returns and appendix A: generalised method of moments for mean and variance, with
    the covariance of Newey & West (1987). The influence of bar t on the ratio is
    ``z_t - SR / 2 (z_t^2 - 1)``, ``z`` the standardised return; its long-run variance over n is the squared error.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> noise = rng.normal(0.02, 1.0, 5001)
    >>> smooth = noise[1:] + noise[:-1]  # autocorrelation 0.5
    >>> bool(sharpe_standard_error_robust(smooth) > 1.3 * sharpe_standard_error_robust(noise))
    True
    """
    values = np.asarray(returns, dtype=np.float64)
    found = moments(values)
    n = values.shape[-1]
    lags = math.floor(4.0 * (n / 100.0) ** (2.0 / 9.0)) if n_lags is None else n_lags
    if not 0 <= lags < n:
        raise InputError(f"n_lags must be from 0 to {n - 1}, the number of returns less one; was {lags}")
    scale = found.deviation * math.sqrt((n - 1) / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (values - found.mean[..., None]) / scale[..., None]
        influence = z - 0.5 * np.asarray(found.mean / scale)[..., None] * (np.square(z) - 1.0)
        variance = np.square(influence).mean(axis=-1)
        for lag in range(1, lags + 1):
            covariance = (influence[..., lag:] * influence[..., :-lag]).sum(axis=-1) / n
            variance = variance + 2.0 * (1.0 - lag / (lags + 1)) * covariance
        return _unwrapped(np.sqrt(np.maximum(variance, 0.0) / n))


def autocorrelations(returns: ArrayLike, n_lags: int) -> Floats:
    """Return the autocorrelations at lags 1 to `n_lags`, shape (..., n_lags), of returns of shape (..., n_bars)."""
    values = np.asarray(returns, dtype=np.float64)
    n = values.shape[-1]
    if not 1 <= n_lags < n:
        raise InputError(f"n_lags must be from 1 to {n - 1}, the number of returns less one; was {n_lags}")
    centred = values - values.mean(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.square(centred).sum(axis=-1)
        parts = [(centred[..., lag:] * centred[..., :-lag]).sum(axis=-1) / whole for lag in range(1, n_lags + 1)]
    return np.stack(parts, axis=-1)


def aggregation_factor(n_periods: int, correlations: ArrayLike = ()) -> Floats:
    """Return what a Sharpe ratio per period is multiplied with to be one per `n_periods` periods.

    Parameters
    ----------
    correlations
        Shape (..., n_lags), autocorrelations at lags 1, 2, ...; lags that are not given count as 0. Without any, the
        factor is ``sqrt(n_periods)``, the usual annualisation.

    Notes
    -----
    Lo (2002), equation 20: ``eta(q) = q / sqrt(q + 2 sum_k (q - k) rho_k)``. The aggregate's standard error is the
    factor times that per period (the correlations taken as known), `sharpe_standard_error_robust` for that.

    Examples
    --------
    Lo (2002), table 2: monthly to annual, no autocorrelation and AR(1) with 0.2.

    >>> round(float(aggregation_factor(12)), 2), round(float(aggregation_factor(12, 0.2 ** np.arange(1, 12))), 2)
    (3.46, 2.88)
    """
    rho = np.asarray(correlations, dtype=np.float64)
    if n_periods < 1:
        raise InputError(f"n_periods must be at least 1, was {n_periods}")
    rho = rho[..., : n_periods - 1]
    weights = n_periods - np.arange(1, rho.shape[-1] + 1)
    variance = n_periods + 2.0 * (weights * rho).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _unwrapped(np.where(variance > 0, n_periods / np.sqrt(np.maximum(variance, 0.0)), np.nan))


def probabilistic_sharpe(
    sharpe: ArrayLike,
    n_bars: ArrayLike,
    *,
    benchmark: ArrayLike = 0.0,
    skew: ArrayLike = 0.0,
    kurtosis: ArrayLike = 3.0,
) -> Floats:
    """Return the probability that the true Sharpe ratio is above `benchmark`, in [0, 1].

    Parameters
    ----------
    sharpe, benchmark
        Per bar.

    Notes
    -----
    Bailey & Lopez de Prado (2012), "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2): the
    probabilistic Sharpe ratio, with their ``n - 1``. Returns without autocorrelation are assumed.

    Examples
    --------
    Their hedge fund: 24 months, a monthly Sharpe ratio of 0.458, far from normal.

    >>> round(float(probabilistic_sharpe(0.458, 24, skew=-2.448, kurtosis=10.164)), 3)
    0.913
    """
    n = _bars(n_bars, 2)
    distance = np.asarray(sharpe, dtype=np.float64) - np.asarray(benchmark, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _unwrapped(ndtr(distance * np.sqrt(n - 1.0) / np.sqrt(_spread(sharpe, skew, kurtosis))))


def null_variance(n_bars: ArrayLike) -> Floats:
    """Return the variance of a per-bar Sharpe ratio estimate whose true value is 0: ``1 / (n_bars - 1)``.

    At a true ratio of 0 neither skewness nor kurtosis enters (`sharpe_standard_error`). Bailey, Borwein, Lopez de Prado
    & Zhu (2014), "Pseudo-Mathematics and Financial Charlatanism", take the same: one per year for annual ratios.
    """
    return _unwrapped(1.0 / (_bars(n_bars, 2) - 1.0))


def expected_max_sharpe(n_trials: ArrayLike, variance: ArrayLike = 1.0) -> Floats:
    """Return what the best of `n_trials` independent trials is expected to show when none has an edge: the luck line.

    Parameters
    ----------
    n_trials
        At least 1; any real number (`effective_trials` gives one).
    variance
        Of the trials' Sharpe ratios, in the unit of the result squared. Either across (independent) trials, as in the
        paper, or `null_variance`: across trials it also holds the spread of true edges, which raises the line for a
        family in which many trials share an edge, and misses what is common to correlated trials, which lowers it.

    Notes
    -----
    Bailey & Lopez de Prado (2014), "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), equation 1:
    ``sqrt(V) ((1 - gamma) Z(1 - 1/N) + gamma Z(1 - 1/(N e)))``, gamma Euler's constant, Z the normal quantile. It is
    an approximation for large N, high by up to 2.5 % from 10 on; below two trials, where it falls below 0, a straight
    line from 0 at one trial stands for it.

    Examples
    --------
    Bailey et al. (2014): of 10 trials over one year, the best is expected at an annual Sharpe ratio of 1.57.

    >>> round(float(expected_max_sharpe(10)), 2)
    1.57
    """
    n = np.asarray(n_trials, dtype=np.float64)
    spread = np.asarray(variance, dtype=np.float64)
    if (n < 1).any():
        raise InputError(f"n_trials must be at least 1, was {n.min()}")
    if (spread < 0).any():
        raise InputError(f"variance must not be negative, was {spread.min()}")
    many = np.maximum(n, 2.0)
    # `-Z(p)` for `Z(1 - p)`: 1 - p loses the small p of very many trials.
    highest = -(1.0 - np.euler_gamma) * ndtri(1.0 / many) - np.euler_gamma * ndtri(1.0 / (many * math.e))
    highest = np.where(n < 2.0, (n - 1.0) * highest, highest)
    return _unwrapped(np.sqrt(spread) * highest)


def deflated_sharpe(
    sharpe: ArrayLike,
    n_bars: ArrayLike,
    *,
    n_trials: ArrayLike,
    variance: ArrayLike,
    skew: ArrayLike = 0.0,
    kurtosis: ArrayLike = 3.0,
) -> Floats:
    """Return the probability that the best of many trials has an edge: its Sharpe ratio against the luck line.

    Parameters
    ----------
    sharpe
        Of the chosen trial, per bar; `skew`, `kurtosis` and `n_bars` are this trial's.
    n_trials
        Independent trials among which it was chosen.
    variance
        Of the trials' Sharpe ratios, per bar squared; see `expected_max_sharpe`.

    Notes
    -----
    Bailey & Lopez de Prado (2014), equation 2: `probabilistic_sharpe` against `expected_max_sharpe`.

    Examples
    --------
    The paper's example: 2.5 a year over 1250 days of 250 a year, the best of 100 with an annual variance of 1/2.

    >>> sharpe = 2.5 / np.sqrt(250)
    >>> round(float(deflated_sharpe(sharpe, 1250, n_trials=100, variance=0.5 / 250, skew=-3, kurtosis=10)), 4)
    0.9004
    """
    line = expected_max_sharpe(n_trials, variance)
    return probabilistic_sharpe(sharpe, n_bars, benchmark=line, skew=skew, kurtosis=kurtosis)


def min_track_record_length(
    sharpe: ArrayLike,
    *,
    benchmark: ArrayLike = 0.0,
    skew: ArrayLike = 0.0,
    kurtosis: ArrayLike = 3.0,
    confidence: float = 0.95,
) -> Floats:
    """Return how many bars a track record needs for `sharpe` to be above `benchmark` with `confidence`.

    Returns
    -------
    Bars (not rounded); infinite where `sharpe` is not above `benchmark`.

    Notes
    -----
    Bailey & Lopez de Prado (2012), the minimum track record length: `probabilistic_sharpe` solved for ``n``.

    Examples
    --------
    Their example: an annual 2 against 1, daily returns: 2.73 years.

    >>> round(float(min_track_record_length(2 / 252**0.5, benchmark=1 / 252**0.5)) / 252, 2)
    2.73
    """
    if not 0.5 < confidence < 1.0:
        raise InputError(f"confidence must be between 0.5 and 1, was {confidence}")
    distance = np.asarray(sharpe, dtype=np.float64) - np.asarray(benchmark, dtype=np.float64)
    spread = _spread(sharpe, skew, kurtosis)
    with np.errstate(divide="ignore", invalid="ignore"):
        length = 1.0 + spread * np.square(ndtri(confidence) / distance)
    return _unwrapped(np.where(np.isnan(distance), np.nan, np.where(distance > 0, length, np.inf)))


def min_backtest_length(n_trials: ArrayLike, sharpe: ArrayLike = 1.0) -> Floats:
    """Return how long a backtest must be for luck alone to show no more than `sharpe` as the best of `n_trials`.

    Parameters
    ----------
    n_trials
        Independent trials.
    sharpe
        Above 0. An annual one gives years, one per bar gives bars.

    Notes
    -----
    Bailey, Borwein, Lopez de Prado & Zhu (2014), "Pseudo-Mathematics and Financial Charlatanism", Notices of the AMS
    61(5), the minimum backtest length: ``(E[max] / sharpe)^2``, below ``2 ln(N) / sharpe^2``.

    Examples
    --------
    Their example: with five years of data, no more than 45 trials.

    >>> [round(float(min_backtest_length(n)), 2) for n in (45, 46)]
    [5.0, 5.04]
    """
    target = np.asarray(sharpe, dtype=np.float64)
    if (target <= 0).any():
        raise InputError(f"sharpe must be above 0, was {target.min()}")
    return _unwrapped(np.square(expected_max_sharpe(n_trials) / target))


def _spread(sharpe: ArrayLike, skew: ArrayLike, kurtosis: ArrayLike) -> Floats:
    """Return n times the asymptotic variance of a Sharpe ratio: never below 0 for moments that a sample can have."""
    ratio = np.asarray(sharpe, dtype=np.float64)
    peaked = np.asarray(kurtosis, dtype=np.float64)
    spread = 1.0 - np.asarray(skew, dtype=np.float64) * ratio + (peaked - 1.0) / 4.0 * np.square(ratio)
    return np.asarray(np.maximum(spread, 0.0))


def _bars(n_bars: ArrayLike, least: int) -> Floats:
    n = np.asarray(n_bars, dtype=np.float64)
    if (n < least).any():
        raise InputError(f"n_bars must be at least {least}, was {n.min():g}")
    return n


def _unwrapped(values: ArrayLike) -> Floats:
    """Return a single number as a number."""
    array: Floats = np.asarray(values, dtype=np.float64)
    return array[()]
