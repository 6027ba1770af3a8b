"""What bars in another order would have shown: intervals of a trial's measures, and whether the best of many is luck.

Everything here calls the package `arch` (the extra ``quantbot[stats]``), imported when first needed. Blocks of bars are
drawn with the stationary bootstrap of Politis & Romano (1994), which keeps what is autocorrelated within a block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError

Floats = NDArray[np.float64]

MOST_BUCKETS = 512  # of bars, in tests across trials: arch's cost grows with the square of their number
_FLAT = 1e-12  # of the mean square: a variance below is what rounding leaves of none


@dataclass(frozen=True)
class Interval:
    """A measure and how far it may be off: `low` and `high` enclose the share `confidence` of the draws."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """Bootstrap intervals of one trial.

    Attributes
    ----------
    sharpe
        Annual.
    annual_return
        Compound annual growth, a fraction per year.
    max_drawdown
        Fraction of the running peak lost, 0 or more. A bootstrap knows only the falls that these bars can build.
    confidence
        Share of the draws within each interval.
    block_length
        Mean number of bars in a block.
    n_draws
        Number of draws.
    """

    sharpe: Interval
    annual_return: Interval
    max_drawdown: Interval
    confidence: float
    block_length: float
    n_draws: int


@dataclass(frozen=True)
class RealityCheck:
    """Whether the best of many trials beats the benchmark by more than the best of so many would by luck.

    Attributes
    ----------
    white
        The p-value of White's reality check: of the largest mean return. Small is evidence of an edge.
    lower, consistent, upper
        The p-values of Hansen's test of superior predictive ability, with every return in units of its trial's
        deviation, so that the best Sharpe ratio counts, not the highest leverage. `upper` supposes that no trial is
        worse than the benchmark, `lower` that all that look worse are; `consistent` lies between.
    best
        Index of the trial with the highest Sharpe ratio against the benchmark.
    n_trials
        Trials that took part: those that differ from the benchmark and have all bars.
    n_bars
        Bars, or buckets of bars, that were drawn from.
    block_length
        Mean number of them in a block.
    """

    white: float
    lower: float
    consistent: float
    upper: float
    best: int
    n_trials: int
    n_bars: int
    block_length: int

    @property
    def p(self) -> float:
        """The one number to show: the larger of White's and Hansen's consistent p-value.

        An edge should convince both: White's looks at money, in which high leverage drowns the rest, Hansen's at money
        per risk.
        """
        return max(self.white, self.consistent)


def bootstrap_intervals(
    returns: ArrayLike,
    periods_per_year: float,
    *,
    confidence: float = 0.95,
    n_draws: int = 1000,
    block_length: float | None = None,
    seed: int = 0,
) -> Intervals:
    """Return intervals of a trial's Sharpe ratio, annual return and maximum drawdown.

    Parameters
    ----------
    returns
        Shape (n_bars,), simple returns per bar, all finite.
    periods_per_year
        Bars per year.
    block_length
        Mean number of bars in a block; by default the larger of the optimal ones of the returns and of their squares
        (Politis & White 2004, corrected by Patton, Politis & White 2009), as ``arch.bootstrap.optimal_block_length``
        estimates them: volatility comes in clusters where returns do not.
    seed
        Of the draws; the same input and seed give the same intervals.

    Returns
    -------
    Percentile intervals; a measure that no draw has is not a number.

    Raises
    ------
    InputError
        If `arch` is not installed, or the returns are too few or not finite.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0.0005, 0.01, 2520)
    >>> found = bootstrap_intervals(noise, 252, n_draws=200)
    >>> found.sharpe.low < found.sharpe.value < found.sharpe.high
    True
    """
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 1 or len(values) < 10 or not np.isfinite(values).all():
        raise InputError(
            f"returns must be at least 10 finite numbers, shape (n_bars,); was shape {values.shape} with"
            f" {int(np.isfinite(values).sum())} finite ones"
        )
    _check_draws(n_draws)
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence must be between 0 and 1, was {confidence}")
    length = _trial_block_length(values) if block_length is None else float(block_length)
    sampler = _arch().StationaryBootstrap(length, values, seed=seed)
    draws = sampler.apply(lambda drawn: _measures(drawn, periods_per_year), n_draws)
    tails = [0.5 - 0.5 * confidence, 0.5 + 0.5 * confidence]
    own = _measures(values, periods_per_year)
    found = []
    for value, column in zip(own.tolist(), draws.T, strict=True):
        known = column[np.isfinite(column)]
        low, high = np.quantile(known, tails).tolist() if known.size else (math.nan, math.nan)
        found.append(Interval(low, value, high))
    sharpe, annual_return, max_drawdown = found
    return Intervals(sharpe, annual_return, max_drawdown, confidence, length, n_draws)


def reality_check(
    returns: ArrayLike,
    benchmark: ArrayLike | None = None,
    *,
    n_draws: int = 500,
    block_length: int | None = None,
    n_buckets: int = MOST_BUCKETS,
    seed: int = 0,
) -> RealityCheck:
    """Test whether the best of many trials beats a benchmark by more than luck, all trials taken together.

    Parameters
    ----------
    returns
        Shape (n_trials, n_bars), simple returns per bar. A sample of a run's trials does (256 cost about half a
        second), if the best is among them. The test knows no luck of trials that are left out: with the best of 1000
        moving averages among 256 of them, it rejected noise 9 times of 100 in place of 5.
    benchmark
        Shape (n_bars,), returns to be beaten; by default 0, that is cash.
    n_buckets
        Bars beyond so many are first summed in so many buckets of equal length: the statistics, means, stay the same.
    block_length
        Mean number of bars, or buckets, in a block; by default the larger of the optimal ones of the best trial and of
        the mean of all.

    Notes
    -----
    White (2000), "A Reality Check for Data Snooping", Econometrica 68(5), and Hansen (2005), "A Test for Superior
    Predictive Ability", Journal of Business & Economic Statistics 23(4), by ``arch.bootstrap.SPA`` with returns as
    negative losses. `arch` (8.0) leaves the statistic in the unit of the returns whatever its ``studentize`` says,
    which is White's; for Hansen's, returns are divided by their deviations first. p-values count the data themselves
    as one draw (Davison & Hinkley 1997, section 4.2), so that none is 0.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0, 0.01, (50, 500))
    >>> luck = reality_check(noise, n_draws=200)
    >>> noise[7] += 0.003
    >>> edge = reality_check(noise, n_draws=200)
    >>> luck.white > 0.05, edge.white < 0.05, edge.best
    (True, True, 7)
    """
    _check_draws(n_draws)
    excess, chosen = _excess(returns, benchmark, n_buckets)
    scaled = excess / excess.std(axis=1, keepdims=True)
    best = int(np.argmax(scaled.mean(axis=1)))
    length = _family_block_length(scaled, best) if block_length is None else block_length
    plain, hansen = (_spa(part, length, n_draws, seed) for part in (excess, scaled))
    return RealityCheck(
        plain["upper"],
        hansen["lower"],
        hansen["consistent"],
        hansen["upper"],
        int(chosen[best]),
        len(chosen),
        excess.shape[1],
        length,
    )


def stepm(
    returns: ArrayLike,
    benchmark: ArrayLike | None = None,
    *,
    level: float = 0.05,
    n_draws: int = 500,
    block_length: int | None = None,
    n_buckets: int = MOST_BUCKETS,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Return which trials beat the benchmark, wrongly naming any at all with probability `level` at most.

    Parameters
    ----------
    returns, benchmark, n_draws, block_length, n_buckets, seed
        As `reality_check` takes them.
    level
        Of the family-wise error, in (0, 1).

    Returns
    -------
    Indices of the trials, rising; empty when none is beyond luck.

    Notes
    -----
    Romano & Wolf (2005), "Stepwise Multiple Testing as Formalized Data Snooping", Econometrica 73(4), by
    ``arch.bootstrap.StepM``, with returns in units of their deviations.

    Examples
    --------
    >>> returns = np.random.default_rng(0).normal(0, 0.01, (50, 500))
    >>> returns[[7, 20]] += 0.003
    >>> stepm(returns, n_draws=200).tolist()
    [7, 20]
    """
    _check_draws(n_draws)
    if not 0.0 < level < 1.0:
        raise InputError(f"level must be between 0 and 1, was {level}")
    excess, chosen = _excess(returns, benchmark, n_buckets)
    scaled = excess / excess.std(axis=1, keepdims=True)
    best = int(np.argmax(scaled.mean(axis=1)))
    length = _family_block_length(scaled, best) if block_length is None else block_length
    # A trial equal to the benchmark: never superior, so that the last step of many never tests nothing.
    losses = -np.concatenate([scaled, np.zeros((1, scaled.shape[1]))]).T
    test = _arch().StepM(np.zeros(len(losses)), losses, size=level, block_size=length, reps=n_draws, seed=seed)
    test.compute()
    found: NDArray[np.int64] = chosen[np.array(test.superior_models, dtype=np.intp)]
    return found


def _arch() -> Any:
    try:
        import arch.bootstrap
    except ImportError as error:
        raise InputError("bootstrap tests need the package arch: pip install 'quantbot[stats]'") from error
    return arch.bootstrap


def _spa(excess: Floats, length: int, n_draws: int, seed: int) -> dict[str, float]:
    test = _arch().SPA(np.zeros(excess.shape[1]), -excess.T, block_size=length, reps=n_draws, seed=seed)
    test.compute()
    return {name: (p * n_draws + 1.0) / (n_draws + 1.0) for name, p in test.pvalues.items()}


def _excess(returns: ArrayLike, benchmark: ArrayLike | None, n_buckets: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return (returns over the benchmark in buckets, of trials that can be tested; their indices)."""
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 10:
        raise InputError(f"returns must be 2-D (n_trials, n_bars) with at least 10 bars, was shape {values.shape}")
    if n_buckets < 10:
        raise InputError(f"n_buckets must be at least 10, was {n_buckets}")
    if benchmark is not None:
        base = np.asarray(benchmark, dtype=np.float64)
        if base.shape != values.shape[1:] or not np.isfinite(base).all():
            raise InputError(f"benchmark must be {values.shape[1]} finite returns, was shape {base.shape}")
        values = values - base
    whole = np.isfinite(values).all(axis=1)
    if values.shape[1] > n_buckets:
        starts = np.linspace(0, values.shape[1], n_buckets + 1).round().astype(np.intp)[:-1]
        values = np.add.reduceat(values, starts, axis=1)
    with np.errstate(invalid="ignore"):
        whole &= values.var(axis=1) > _FLAT * np.square(values).mean(axis=1)
    chosen = np.flatnonzero(whole)
    if not chosen.size:
        raise InputError(
            f"none of the {len(values)} trials can be tested: each lacks bars or never differs from the benchmark"
        )
    return values[chosen], chosen.astype(np.int64)


def _trial_block_length(values: Floats) -> float:
    if not values.var() > _FLAT * np.square(values).mean():
        return 1.0
    found = _optimal(np.stack([values, np.square(values - values.mean())], axis=1))
    return min(max(found, 1.0), len(values) / 3.0)


def _family_block_length(scaled: Floats, best: int) -> int:
    mean = scaled.mean(axis=0)
    columns = [scaled[best]] + ([mean] if mean.var() > _FLAT else [])
    found = _optimal(np.stack(columns, axis=1))
    bounded: float = min(max(found, 1.0), scaled.shape[1] / 3.0)
    return math.ceil(bounded)


def _optimal(columns: Floats) -> float:
    """Return the largest of the optimal block lengths of some series; 1 where none can be told."""
    varying = columns[:, columns.var(axis=0) > 0.0]
    lengths = _arch().optimal_block_length(varying)["stationary"].to_numpy() if varying.shape[1] else np.ones(1)
    return float(np.max(lengths, where=np.isfinite(lengths), initial=1.0))


def _measures(returns: Floats, periods_per_year: float) -> Floats:
    """Return (annual Sharpe ratio, compound annual growth, maximum drawdown), as a row has them."""
    n = len(returns)
    mean = returns.mean()
    deviation = returns.std(ddof=1)
    flat = not deviation * deviation > _FLAT * np.square(returns).mean()
    sharpe = math.nan if flat else float(mean / deviation) * math.sqrt(periods_per_year)
    equity = np.cumprod(1.0 + returns)
    if equity.min() <= 0.0:  # ruined: what follows is no account any more
        return np.array([sharpe, -1.0, 1.0])
    growth = math.exp(math.log(float(equity[-1])) * periods_per_year / n) - 1.0
    drawdown = 1.0 - float((equity / np.maximum(np.maximum.accumulate(equity), 1.0)).min())
    return np.array([sharpe, growth, max(drawdown, 0.0)])


def _check_draws(n_draws: int) -> None:
    if n_draws < 20:
        raise InputError(f"n_draws must be at least 20, was {n_draws}")
