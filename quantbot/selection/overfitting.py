"""Probability of backtest overfitting: how the best of one half of the bars does in the other half.

Combinatorially symmetric cross-validation (CSCV): the bars are cut into S slices; every choice of S / 2 of them is once
in sample, the rest out of sample. It needs no curves, only three numbers for each trial and slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError

Floats = NDArray[np.float64]

MOST_SLICES = 20  # 184,756 combinations
_CHUNK_BYTES = 32 * 2**20  # of one matrix of combinations by trials; about six of them live at once
_FLAT = 1e-12  # of the mean square: a variance below is what rounding leaves of none


@dataclass(frozen=True, eq=False)
class Overfitting:
    """What CSCV says of a sweep.

    Attributes
    ----------
    probability
        Share of combinations in which the best trial in sample is at or below the median out of sample: the
        probability of backtest overfitting (PBO). Noise gives about 0.5, an edge that one trial has alone near 0.
    logits
        Shape (n_combinations,): log odds of the relative rank out of sample of the best in sample; 0 is the median.
    best
        Shape (n_combinations,): the index of the best trial in sample.
    in_sample, out_of_sample
        Shape (n_combinations,): its Sharpe ratio per bar in either half; a half in which it never moves counts as 0.
    slope, intercept
        Of the line fitted to `out_of_sample` over `in_sample`: performance degradation. A slope below 0 says that what
        looked better did worse. Not a number where all combinations are equal.
    loss
        Share of combinations in which the best in sample lost money out of sample.
    n_trials
        Trials that took part: those that move in at least one slice.
    """

    probability: float
    logits: Floats
    best: NDArray[np.int64]
    in_sample: Floats
    out_of_sample: Floats
    slope: float
    intercept: float
    loss: float
    n_trials: int


def slice_sums(returns: ArrayLike, n_slices: int = 16) -> tuple[Floats, Floats, Floats]:
    """Return what `backtest_overfitting` needs: bars, sums and sums of squares of each trial in each slice.

    Parameters
    ----------
    returns
        Shape (n_trials, n_bars), simple returns per bar; NaN where a trial has no bar.
    n_slices
        Slices of equal length, but for one bar.

    Returns
    -------
    Each of shape (n_trials, n_slices).

    Examples
    --------
    >>> n, total, squares = slice_sums([[1.0, 2.0, 3.0, 4.0]], 2)
    >>> n.tolist(), total.tolist(), squares.tolist()
    ([[2.0, 2.0]], [[3.0, 7.0]], [[5.0, 25.0]])
    """
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 2:
        raise InputError(f"returns must be 2-D (n_trials, n_bars), was shape {values.shape}")
    _check_slices(n_slices)
    if values.shape[1] < 2 * n_slices:
        raise InputError(
            f"{n_slices} slices need at least {2 * n_slices} bars, found {values.shape[1]}; ask for fewer slices"
        )
    edges = np.linspace(0, values.shape[1], n_slices + 1).round().astype(np.intp)
    there = np.isfinite(values)
    values = np.where(there, values, 0.0)
    starts = edges[:-1]
    n = np.add.reduceat(there, starts, axis=1, dtype=np.float64)
    return n, np.add.reduceat(values, starts, axis=1), np.add.reduceat(np.square(values), starts, axis=1)


def backtest_overfitting(n_bars: ArrayLike, total: ArrayLike, squares: ArrayLike) -> Overfitting:
    """Estimate the probability of backtest overfitting from sums per slice.

    Parameters
    ----------
    n_bars, total, squares
        Shape (n_trials, n_slices): number of returns, their sum and the sum of their squares; `slice_sums` makes them
        of returns, and rows of equal folds carry them. `n_bars` may be (n_slices,) where all trials have the same.
        The number of slices is even, at most 20; 16 is the paper's.

    Notes
    -----
    Bailey, Borwein, Lopez de Prado & Zhu (2017), "The Probability of Backtest Overfitting", Journal of Computational
    Finance 20(4), the algorithm of section 2.2 with the Sharpe ratio as the measure. Departures: relative ranks are
    ``rank / (n_trials + 1)`` as theirs, of equals the mean rank; the best in sample of equals is the first; a logit of
    exactly 0 counts as overfit.

    Memory is bounded: combinations are taken in chunks, whatever the number of trials.

    Examples
    --------
    One trial with an edge among noise is best in either half.

    >>> rng = np.random.default_rng(0)
    >>> returns = rng.normal(0.0, 0.01, (50, 800))
    >>> returns[7] += 0.004
    >>> backtest_overfitting(*slice_sums(returns, 8)).probability
    0.0
    """
    sums, squared = np.asarray(total, dtype=np.float64), np.asarray(squares, dtype=np.float64)
    if sums.ndim != 2 or sums.shape != squared.shape:
        raise InputError(f"total and squares must be 2-D (n_trials, n_slices), were {sums.shape} and {squared.shape}")
    bars = np.broadcast_to(np.asarray(n_bars, dtype=np.float64), sums.shape)
    _check_slices(sums.shape[1])
    _, moves = _spread(bars.sum(axis=1), sums.sum(axis=1), squared.sum(axis=1))
    moves &= np.isfinite(sums).all(axis=1) & np.isfinite(squared).all(axis=1)
    chosen = np.flatnonzero(moves)
    if len(chosen) < 2:
        raise InputError(f"overfitting needs at least 2 trials that ever move, found {len(chosen)} of {len(moves)}")
    halves = _halves(sums.shape[1])
    parts = [_Subsets(np.ascontiguousarray(part[chosen].T)) for part in (bars, sums, squared)]
    everything = (1 << sums.shape[1]) - 1
    step = max(_CHUNK_BYTES // (8 * len(chosen)), 1)
    found = [_chunk(halves[start : start + step], everything, parts) for start in range(0, len(halves), step)]
    ranks, best, inside, outside = (np.concatenate(column) for column in zip(*found, strict=True))
    share = ranks / (len(chosen) + 1)
    logits = np.log(share / (1.0 - share))
    slope, intercept = _line(inside, outside)
    return Overfitting(
        float((logits <= 0.0).mean()),
        logits,
        chosen[best].astype(np.int64),
        inside,
        outside,
        slope,
        intercept,
        float((outside < 0.0).mean()),
        len(chosen),
    )


class _Subsets:
    """Sums over any subset of slices, from those over subsets of the first and of the second half of the slices.

    Additions alone, each element by itself, so that equal trials tie exactly and no library's product of matrices
    decides the last bit.
    """

    def __init__(self, values: Floats) -> None:
        self._half = values.shape[0] // 2
        self._sums = self._of(values[: self._half]), self._of(values[self._half :])

    def __getitem__(self, subsets: NDArray[np.intp]) -> Floats:
        """Return shape (n_subsets, n_trials): the sums over each subset of slices, a subset being a number's bits."""
        low, high = self._sums
        chosen: Floats = low[subsets % len(low)]
        chosen += high[subsets // len(low)]
        return chosen

    @staticmethod
    def _of(values: Floats) -> Floats:
        sums = np.zeros((1 << len(values), values.shape[1]))
        for i, own in enumerate(values):
            sums[1 << i : 2 << i] = sums[: 1 << i] + own
        return sums


def _chunk(
    subsets: NDArray[np.intp], everything: int, parts: list[_Subsets]
) -> tuple[Floats, NDArray[np.intp], Floats, Floats]:
    """Return (rank out of sample of the best in sample, its index, its ratio in and out of sample) per combination."""
    measure = _sharpe(*(part[subsets] for part in parts))
    best = measure.argmax(axis=1)
    rows = np.arange(len(best))
    chosen = measure[rows, best]
    measure = _sharpe(*(part[everything - subsets] for part in parts))
    own = measure[rows, best]
    below = (measure < own[:, None]).sum(axis=1)
    equal = (measure == own[:, None]).sum(axis=1)
    return below + 0.5 * (equal + 1.0), best, chosen, own


def _sharpe(n: Floats, total: Floats, squares: Floats) -> Floats:
    """Return the Sharpe ratio per bar (ddof 1) from sums; 0 where nothing moves."""
    spread, moves = _spread(n, total, squares)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(moves, total / n / np.sqrt(spread / (n - 1.0)), 0.0)


def _spread(n: Floats, total: Floats, squares: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return (sum of squares about the mean, whether that is more than rounding), from sums."""
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = squares - total * (total / n)
        moves = (spread > _FLAT * squares) & (n > 1)
        return np.where(moves, spread, 1.0), moves


def _halves(n_slices: int) -> NDArray[np.intp]:
    """Return shape (n_combinations,): the slices in sample as the bits of a number, in lexicographic order."""
    chosen = np.array(list(combinations(range(n_slices), n_slices // 2)))
    return np.asarray(np.left_shift(1, chosen).sum(axis=1), dtype=np.intp)


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    centred = x - x.mean()
    square = float(centred @ centred)
    if not square > _FLAT * float(x @ x):
        return float("nan"), float("nan")
    slope = float(centred @ (y - y.mean())) / square
    return slope, float(y.mean() - slope * x.mean())


def _check_slices(n_slices: int) -> None:
    if n_slices % 2 or not 2 <= n_slices <= MOST_SLICES:
        raise InputError(f"the number of slices must be even and from 2 to {MOST_SLICES}, was {n_slices}")
