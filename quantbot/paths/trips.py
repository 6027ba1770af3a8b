"""What a trial's round trips say of it: how often it wins, how much, and whether a few of them make the result."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RoundTrips:
    """Statistics of profit and loss per round trip; NaN where there is none of the kind.

    Attributes
    ----------
    n, n_won, n_lost
        Round trips; those with a profit, and with a loss (one of exactly 0 is neither).
    total
        Sum of profits and losses after costs, in money.
    mean, median
        Per round trip, in money.
    mean_won, mean_lost
        Mean profit of winners, mean loss of losers (positive is bad), in money.
    payoff
        `mean_won` over `mean_lost`.
    best, worst
        The most profitable and the worst round trip, in money.
    best_share
        Share of the total that the best one made; NaN unless the total is a profit.
    most_won, most_lost
        Longest streak of winners, and of losers.
    mean_return
        Mean return on equity at the entry.
    """

    n: int
    n_won: int
    n_lost: int
    total: float
    mean: float
    median: float
    mean_won: float
    mean_lost: float
    payoff: float
    best: float
    worst: float
    best_share: float
    most_won: int
    most_lost: int
    mean_return: float


def round_trips(pnl: ArrayLike, returns: ArrayLike) -> RoundTrips:
    """Reduce round trips, in the order in which they ended.

    Parameters
    ----------
    pnl
        Shape (n,): profit after costs, in money.
    returns
        Shape (n,): the same over the equity at each entry.

    Examples
    --------
    >>> found = round_trips([10.0, -4.0, 6.0], [0.1, -0.04, 0.06])
    >>> found.payoff, found.most_won, round(found.best_share, 3)
    (2.0, 1, 0.833)
    """
    money, rates = np.asarray(pnl, dtype=np.float64), np.asarray(returns, dtype=np.float64)
    if money.ndim != 1 or money.shape != rates.shape:
        raise InputError(f"a return for each round trip is needed; found {money.shape} profits, {rates.shape} returns")
    won, lost = money > 0, money < 0
    total = float(money.sum())
    mean_won, mean_lost = _mean(money[won]), -_mean(money[lost])
    return RoundTrips(
        n=money.size,
        n_won=int(won.sum()),
        n_lost=int(lost.sum()),
        total=total,
        mean=_mean(money),
        median=float(np.median(money)) if money.size else math.nan,
        mean_won=mean_won,
        mean_lost=mean_lost,
        payoff=mean_won / mean_lost if won.any() and lost.any() else math.nan,
        best=float(money.max()) if money.size else math.nan,
        worst=float(money.min()) if money.size else math.nan,
        best_share=float(money.max()) / total if money.size and total > 0 else math.nan,
        most_won=_longest(won),
        most_lost=_longest(lost),
        mean_return=_mean(rates),
    )


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else math.nan


def _longest(flags: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of true values."""
    ends = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return int((ends[1::2] - ends[::2]).max()) if ends.size else 0
