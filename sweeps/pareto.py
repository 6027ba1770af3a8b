"""Two measures at once: the points that no other point beats in both, and a sample of the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sweeps.overview import Floats, Ranges, better, kept, point_values

if TYPE_CHECKING:
    from sweeps.results import Run

SHOWN = 1_000  # points that a browser gets


@dataclass(frozen=True, eq=False)
class Pareto:
    """Points by two measures, each the median over the chosen folds and assets.

    Attributes
    ----------
    points
        Shape (n_shown,): indices of points: those of the front from the best by the first measure on, then the others.
    first, second
        Shape (n_shown,): the two measures.
    on_front
        Shape (n_shown,): whether no point is at least as good in both measures and better in one.
    n_points, n_front
        How many points have a number in both, and how many of them are on the front, shown or not.
    """

    points: NDArray[np.int64]
    first: Floats
    second: Floats
    on_front: NDArray[np.bool_]
    n_points: int
    n_front: int


def pareto(
    run: Run, measure: str, other: str, *, fold: str | None = None, asset: str | None = None,
    within: Ranges | None = None, most: int = SHOWN,
) -> Pareto:  # fmt: skip
    """Return the front of two measures, and others evenly by rank of the first; at most `most` points in all."""
    first, second = (point_values(run, name, fold, asset) for name in (measure, other))
    usable = np.isfinite(first) & np.isfinite(second)
    keep = kept(run, within, measure, fold, asset)
    points = np.flatnonzero(usable if keep is None else usable & keep)
    x, y = better(run, measure) * first[points], better(run, other) * second[points]
    order, on_front = front(x, y)
    members, rest = order[on_front], order[~on_front]
    chosen = np.concatenate([_evenly(members, most // 2), _evenly(rest, most - min(len(members), most // 2))])
    shown = points[chosen]
    n_members = min(len(members), most // 2)
    return Pareto(shown, first[shown], second[shown], np.arange(len(shown)) < n_members, len(points), len(members))


def front(x: Floats, y: Floats) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Order points from the best by `x`, and say which of them no other point beats; more is better in both.

    Parameters
    ----------
    x, y
        Shape (n,), finite.

    Returns
    -------
    The order, shape (n,), ties by `y` and then by index; and in that order whether a point is on the front. Equal
    points are on it together.

    Examples
    --------
    >>> order, on_front = front(np.array([1.0, 3.0, 2.0, 0.0]), np.array([5.0, 1.0, 1.0, 6.0]))
    >>> order[on_front].tolist()
    [1, 0, 3]
    """
    order = np.lexsort((np.arange(len(x)), -y, -x))
    if not len(order):
        return order, np.zeros(0, np.bool_)
    x, y = x[order], y[order]
    before = np.maximum.accumulate(np.concatenate([[-np.inf], y[:-1]]))
    on_front = y > before
    starts = np.flatnonzero(np.r_[True, (np.diff(x) != 0) | (np.diff(y) != 0)])
    return order, np.repeat(on_front[starts], np.diff(np.r_[starts, len(x)]))


def _evenly(indices: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return at most so many, from the first to the last."""
    if len(indices) <= most:
        return indices
    return indices[np.linspace(0, len(indices) - 1, most).astype(np.intp)]
