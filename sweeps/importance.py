"""Which parameters a measure depends on, within the space of one run: shares of its variance.

Functional ANOVA: an axis's main effect is the variance of the measure's means at its values, an interaction the
variance of the means over two axes beyond both main effects (Hooker 2007, "Generalized functional ANOVA diagnostics";
Hutter, Hoos & Leyton-Brown 2014 for its use on tuning runs). A share says nothing about values that were not tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sweeps.overview import Ranges, kept, point_values

if TYPE_CHECKING:
    from sweeps.results import Run

Floats = NDArray[np.float64]
LEVEL = 0.9  # of the intervals
_BINS = 12  # of a drawn axis
_GROUPS, _DRAWS = 48, 400
_MOST_IN_PAIRS = 6  # axes whose interactions are looked at: those with the largest main effects
_MOST_IN_PAIR = 40  # values of an axis in an interaction; neighbouring ones go together beyond


@dataclass(frozen=True)
class Effect:
    """What one axis, or two together, explain.

    Attributes
    ----------
    axes
        One name, or two for what they explain together beyond what each explains.
    share
        Of the variance over all points, in [0, 1].
    low, high
        A 90 % interval of the share.
    """

    axes: tuple[str, ...]
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Importance:
    """All effects, the largest first.

    Attributes
    ----------
    rest
        The share that no effect here explains: interactions of three and more axes, and what varies within bins, which
        the drawn numbers of an axis, and long axes in an interaction, are put in.
    n_points
        Points with a value.
    binned
        Whether drawn numbers were binned.
    """

    effects: tuple[Effect, ...]
    rest: float
    n_points: int
    binned: bool


def importance(
    run: Run, measure: str, *, fold: str | None = None, asset: str | None = None, within: Ranges | None = None
) -> Importance:
    """Return how much of a measure's variance over a run's points each axis explains.

    Points count by their median over folds and assets.
    """
    values = point_values(run, measure, fold, asset)
    usable = np.isfinite(values)
    keep = kept(run, within, measure, fold, asset)
    if keep is not None:
        usable &= keep
    points = np.flatnonzero(usable)
    names, columns, sizes = [], [], []
    for axis, digits, size in zip(run.plan.axes, run.geometry.digits, run.geometry.sizes, strict=True):
        binned = axis.sampled and axis.kind != "choice" and size > _BINS
        column = digits[points]
        if binned:
            column = np.searchsorted(np.quantile(column, np.linspace(0, 1, _BINS + 1)[1:-1]), column, side="right")
        names.append(axis.name)
        columns.append(column)
        sizes.append(_BINS if binned else size)
    return shares(values[points], columns, sizes, names, binned=run.geometry.sampled)


def shares(
    values: Floats, columns: Sequence[NDArray[np.int64]], sizes: Sequence[int], names: Sequence[str], *,
    binned: bool = False, seed: int = 0,
) -> Importance:  # fmt: skip
    """Divide the variance of numbers among the columns that place them.

    Parameters
    ----------
    values
        Shape (n,), finite.
    columns, sizes, names
        For each axis the place of each number, shape (n,), how many places there are, and the axis's name.
    binned
        Whether places hold points that differ in the axis too: means of few numbers vary by themselves then, and what
        they would vary by is taken away (as epsilon squared does, Kelley 1935).

    Notes
    -----
    Intervals are those of a Bayesian bootstrap (Rubin 1981) over 48 random groups of points: exact shares of a grid
    have none, so they say how much a share hangs on which points were tried.

    Examples
    --------
    >>> first, second = (part.ravel() for part in np.indices((4, 5)))
    >>> found = shares(3.0 * first + second, [first, second], [4, 5], ["a", "b"])
    >>> [(effect.axes, round(effect.share, 3)) for effect in found.effects][:2]
    [(('a',), 0.849), (('b',), 0.151)]
    """
    n = len(values)
    if n < 2 or np.ptp(values) == 0:
        return Importance((), 0.0, n, binned)
    centred = values - values.mean()
    rng = np.random.default_rng(seed)
    n_groups = min(_GROUPS, n)
    groups = rng.permutation(n) % n_groups
    weights = rng.dirichlet(np.ones(n_groups), _DRAWS) * n_groups
    weights[0] = 1.0  # the first draw is the estimate itself
    squares = weights @ np.bincount(groups, centred**2, n_groups)
    sums, counts = weights @ np.bincount(groups, centred, n_groups), weights @ np.bincount(groups, minlength=n_groups)
    total = squares / counts - (sums / counts) ** 2
    draws = _Draws(centred, groups, weights, squares, total, binned)
    mains = [draws.explained(column, size) for column, size in zip(columns, sizes, strict=True)]
    found: dict[tuple[str, ...], Floats] = {(name,): share for name, share in zip(names, mains, strict=True)}
    coarse = [(column, size, main) if size <= _MOST_IN_PAIR else _coarse(draws, column, size)
              for column, size, main in zip(columns, sizes, mains, strict=True)]  # fmt: skip
    chosen = sorted(range(len(names)), key=lambda index: -mains[index][0])[:_MOST_IN_PAIRS]
    for one, two in combinations(sorted(chosen), 2):
        (first, _, main), (second, width, other) = coarse[one], coarse[two]
        both = draws.explained(first * width + second, coarse[one][1] * width)
        found[names[one], names[two]] = np.maximum(both - main - other, 0.0)
    effects = [Effect(axes, *_interval(share)) for axes, share in found.items()]
    effects.sort(key=lambda effect: (-effect.share, len(effect.axes), effect.axes))
    return Importance(tuple(effects), max(0.0, 1.0 - sum(effect.share for effect in effects)), n, binned)


@dataclass(frozen=True, eq=False)
class _Draws:
    """Numbers about their mean, the random group of each, and draws of weights for the groups."""

    centred: Floats
    groups: NDArray[np.int64]
    weights: Floats
    squares: Floats
    total: Floats
    binned: bool

    def explained(self, place: NDArray[np.int64], size: int) -> Floats:
        """Return for each draw the share of the variance that lies between places, shape (n_draws,)."""
        n_groups = self.weights.shape[1]
        at = self.groups * size + place
        sums = self.weights @ np.bincount(at, self.centred, n_groups * size).reshape(-1, size)
        held = self.weights @ np.bincount(at, minlength=n_groups * size).reshape(-1, size)
        n = held.sum(axis=1)
        mean = sums.sum(axis=1) / n
        between = (sums**2 / np.where(held > 0, held, 1.0)).sum(axis=1) / n - mean**2
        if self.binned:
            spare = (held > 0).sum(axis=1) - 1
            within = np.maximum(self.squares / n - mean**2 - between, 0.0) * n / np.maximum(n - spare - 1, 1)
            between = between - spare / n * within
        return np.asarray(np.clip(between / np.maximum(self.total, 1e-300), 0.0, 1.0))


def _coarse(draws: _Draws, column: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], int, Floats]:
    """Put the values of a long axis together; return their places, how many there are, and what they explain."""
    places = column * _MOST_IN_PAIR // size
    return places, _MOST_IN_PAIR, draws.explained(places, _MOST_IN_PAIR)


def _interval(draws: Floats) -> tuple[float, float, float]:
    share = float(draws[0])
    low, high = np.quantile(draws[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return share, min(float(low), share), max(float(high), share)
