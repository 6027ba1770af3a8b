"""Successive halving by length of history: many points on a little of it, the better ones on more and more.

    period    |------------------ the fold that guides the search ------------------|
    rung 1                                                                 |--------|   n points
    rung 2                                                  |-----------------------|   n / eta
    last      |---------------------------------------------------------------------|   n / eta^2

Every rung ends where the guiding fold ends and reaches eta times further back than the one before: the latest bars are
the ones most like those to come, and indicators have all the bars before a rung to warm up on. The last rung is the
guiding fold itself; its points are evaluated on all other folds too.

The guiding fold is the whole period, or, where the spec holds out tests, the first train fold that shares no bar with
any test: no search looks at a test. (Jamieson and Talwalkar, "Non-stochastic best arm identification and
hyperparameter optimization", AISTATS 2016, for halving itself.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import SpecError
from quantbot.market import Nanoseconds
from sweeps.folds import parse_length
from sweeps.sections import DEFAULT_ETA, Search
from sweeps.trial import Fold

_MIN_BARS = 2  # one return


def guide_fold(folds: Sequence[Fold]) -> int:
    """Return the fold whose results may guide a search.

    Raises
    ------
    SpecError
        If every train fold shares bars with some test.
    """
    tests = [fold for fold in folds if fold.role == "test"]
    if not tests:
        return next(index for index, fold in enumerate(folds) if fold.role == "all")
    for index, fold in enumerate(folds):
        if fold.role == "train" and not any(_overlap(fold, test) for test in tests):
            return index
    raise SpecError(
        "search.method: a search that learns from results needs a train fold that shares no bar with any test, and "
        'these folds have none; take folds.method "holdout" or "walk_forward", or search "lhs" or "sobol"'
    )


def rung_folds(search: Search, folds: Sequence[Fold], times: Nanoseconds) -> tuple[Fold, ...]:
    """Return the rungs before the last, the shortest first.

    Parameters
    ----------
    times
        Shape (n_bars,), rising: the end of every bar of any asset.

    Raises
    ------
    SpecError
        If the history is too short for them.

    Examples
    --------
    >>> search = Search(method="halving", n=9, rungs=3)
    >>> [rung.start_ns for rung in rung_folds(search, [Fold("all", "all", 0, 90)], np.arange(90))]
    [80, 60]
    """
    guide = folds[guide_fold(folds)]
    start, stop = guide.window(times)
    n_bars, eta = stop - start, search.eta or DEFAULT_ETA
    n_rungs = search.rungs or _n_rungs(search, times[start:stop], eta)
    lengths = [-(-n_bars // eta**power) for power in range(n_rungs - 1, 0, -1)]
    if lengths[0] < _MIN_BARS or len(set(lengths)) < len(lengths) or lengths[-1] >= n_bars:
        raise SpecError(
            f"search.rungs: fold {guide.name} has {n_bars:,} bars, so {n_rungs} rungs with eta {eta} would begin with "
            f"{lengths[0]:,}; take fewer rungs or a longer period"
        )
    return tuple(
        Fold(f"rung {number}", "rung", int(times[stop - length]), guide.end_ns)
        for number, length in enumerate(lengths, 1)
    )


def rung_sizes(n_points: int, eta: int, n_rungs: int) -> list[int]:
    """Return how many points each rung evaluates at most: one of eta goes on, and one always does.

    Examples
    --------
    >>> rung_sizes(100, 3, 4)
    [100, 33, 11, 3]
    """
    sizes = [n_points]
    for _ in range(n_rungs - 1):
        sizes.append(max(sizes[-1] // eta, 1))
    return sizes


def evaluated_points(search: Search, n_points: int, folds: Sequence[Fold]) -> NDArray[np.int64]:
    """Return how many points each fold evaluates at most, shape (n_folds,)."""
    n_rungs = sum(fold.role == "rung" for fold in folds) + 1
    sizes = rung_sizes(n_points, search.eta or DEFAULT_ETA, n_rungs)
    rungs = iter(sizes)
    return np.array([next(rungs) if fold.role == "rung" else sizes[-1] for fold in folds], np.int64)


def promote(scores: NDArray[np.float64], better: int, n_promoted: int) -> NDArray[np.bool_]:
    """Return which points go on: the best by `better`, the first of equals; never one without a score.

    Parameters
    ----------
    scores
        Shape (n_points,); NaN for points that failed, have no value or were not promoted before.

    Examples
    --------
    >>> promote(np.array([1.0, 3.0, np.nan, 3.0, 2.0]), 1, 2).tolist()
    [False, True, False, True, False]
    """
    signed = np.where(np.isnan(scores), np.inf, -scores if better >= 0 else scores)
    order = np.argsort(signed, kind="stable")
    promoted = np.zeros(scores.shape[0], np.bool_)
    promoted[order[: min(n_promoted, int(np.count_nonzero(~np.isnan(scores))))]] = True
    return promoted


def _n_rungs(search: Search, times: Nanoseconds, eta: int) -> int:
    """Return how many rungs there are when the first has at least `search.min_history`."""
    n_bars = times.shape[0]
    length = parse_length(search.min_history or 1)
    by_time = n_bars - int(np.searchsorted(times, int(times[-1]) - length.ns + 1))
    least = by_time if length.ns else length.advance(times, 0)
    n_rungs = 1
    while -(-n_bars // eta**n_rungs) >= max(least, _MIN_BARS):
        n_rungs += 1
    if n_rungs < 2:
        raise SpecError(
            f"search.min_history: {search.min_history} is {least:,} bars or more of {n_bars:,}, which with eta {eta} "
            "leaves no shorter rung; take less"
        )
    return n_rungs


def _overlap(one: Fold, other: Fold) -> bool:
    return one.start_ns < other.end_ns and other.start_ns < one.end_ns
