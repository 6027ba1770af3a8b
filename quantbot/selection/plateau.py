"""Choosing a point whose neighbours are good too: a lone best value is more often luck than a broad one.

Points lie on a grid: for each axis the index of a point's value. Neighbours are the points at most one step away on
each axis (with more than three axes, on one axis at a time). Words have no order, so an axis of words has no steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError

Floats = NDArray[np.float64]
Score = Literal["cvar", "worst", "mean", "median"]

CVAR_SHARE = 0.5  # of a neighbourhood: its worse half
_SPIKE_DEVIATIONS = 4.0  # of what points usually stand out by; noise alone reaches 3.2 once in a thousand points
_QUARTILE_DEVIATIONS = 3.1382  # standard deviations of normal noise per lower quartile of its absolute values
_SPIKE_SHARE = 0.5  # of its lead over the usual point that a spike has lost one step away
_CHUNK_POINTS = 1 << 16
_MOST_CELLS = 64  # per point: beyond, points are looked up by search, not in a table of cells


@dataclass(frozen=True, eq=False)
class Grid:
    """Where points lie.

    Attributes
    ----------
    digits
        For each axis, shape (n_points,) int64: the index of the point's value on it. No two points lie on one cell.
    sizes
        Number of values of each axis.
    ordered
        Whether the axis has an order, and so steps.
    """

    digits: tuple[NDArray[np.int64], ...]
    sizes: tuple[int, ...]
    ordered: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not len(self.digits) == len(self.sizes) == len(self.ordered):
            raise InputError(
                f"a grid needs digits, a size and an order for each axis; found {len(self.digits)},"
                f" {len(self.sizes)} and {len(self.ordered)}"
            )

    @classmethod
    def full(cls, *sizes: int) -> Grid:
        """Return the grid of every combination, the last axis fastest.

        Examples
        --------
        >>> Grid.full(2, 3).digits[1].tolist()
        [0, 1, 2, 0, 1, 2]
        """
        digits = tuple(part.ravel() for part in np.indices(sizes, dtype=np.int64))
        return cls(digits, sizes, (True,) * len(sizes))

    @property
    def n_points(self) -> int:
        """Number of points."""
        return len(self.digits[0]) if self.digits else 0

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """Shape (n_points,): place of each point in the flattened grid, the last axis fastest."""
        return np.asarray(np.ravel_multi_index(self.digits, self.sizes), dtype=np.int64)

    @cached_property
    def moves(self) -> tuple[tuple[int, ...], ...]:
        """Steps to the neighbours, one number an axis."""
        steps = [(-1, 0, 1) if ordered else (0,) for ordered in self.ordered]
        if len(self.sizes) > 3:
            zero = (0,) * len(self.sizes)
            return tuple(
                (*zero[:axis], step, *zero[axis + 1 :])
                for axis, ordered in enumerate(self.ordered)
                if ordered
                for step in (-1, 1)
            )
        return tuple(move for move in product(*steps) if any(move))

    def edges(self, point: int) -> tuple[int, ...]:
        """Return the axes on whose first or last value the point lies; of axes with an order and three values or more.

        Examples
        --------
        >>> Grid.full(3, 3).edges(1)
        (0,)
        """
        return tuple(
            axis
            for axis, (digits, size) in enumerate(zip(self.digits, self.sizes, strict=True))
            if self.ordered[axis] and size > 2 and digits[point] in (0, size - 1)
        )


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """What lies around each point, each of shape (n_points,).

    Attributes
    ----------
    score
        Over the point and its neighbours, as asked for.
    worst
        The worst of the point and its neighbours.
    around
        The median of the neighbours alone; not a number without any.
    n_neighbours
        Neighbours with a value.
    """

    score: Floats
    worst: Floats
    around: Floats
    n_neighbours: NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """The point with the best neighbourhood, and the best point beside it.

    Attributes
    ----------
    point, best
        Index of the chosen point, and of the one with the best value; of equals the first.
    value, score, worst
        Of the chosen point: its own value, its neighbourhood's score, the worst of itself and its neighbours.
    best_value, best_score, best_around
        Of the best point: its value, its neighbourhood's score, the median of its neighbours alone.
    n_neighbours
        Neighbours of the chosen point with a value.
    edges, best_edges
        Axes on whose edge the chosen, and the best, point lies: what lies beyond was not tried.
    best_is_spike
        Whether the best point stands alone: see `lone_spikes`.
    """

    point: int
    best: int
    value: float
    score: float
    worst: float
    n_neighbours: int
    best_value: float
    best_score: float
    best_around: float
    edges: tuple[int, ...]
    best_edges: tuple[int, ...]
    best_is_spike: bool


def neighbourhoods(
    grid: Grid, values: ArrayLike, *, better: int = 1, how: Score = "cvar", points: NDArray[np.int64] | None = None
) -> Neighbourhoods:
    """Score each point by itself and its neighbours.

    Parameters
    ----------
    values
        Shape (n_points,): a measure at each point; NaN where there is none, which is no neighbour either.
    better
        +1 when more is better, -1 when less is.
    how
        "cvar": the mean of the worse half, as Rockafellar & Uryasev (2002) split it; a good value of its own then
        helps a point little. "worst", "mean" and "median" are what they say.
    points
        Shape (n,): score these points alone, in this order; all where not said.

    Examples
    --------
    >>> neighbourhoods(Grid.full(5), [1.0, 1.0, 9.0, 1.0, 2.0], how="worst").score.tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    if how not in get_args(Score):
        raise InputError(f"how must be one of {', '.join(get_args(Score))}; found {how!r}")
    sign = -1.0 if better < 0 else 1.0
    signed = sign * np.asarray(values, dtype=np.float64)
    signed = np.where(np.isfinite(signed), signed, np.nan)
    n = len(signed) if points is None else len(points)
    score, worst, around = np.empty(n), np.empty(n), np.empty(n)
    n_neighbours = np.empty(n, dtype=np.int64)
    for chunk, own in _stacks(grid, signed, points):
        ordered = np.sort(own, axis=0)
        worst[chunk] = ordered[0]
        score[chunk] = _scored(ordered, how)
        n_neighbours[chunk] = np.isfinite(own[1:]).sum(axis=0)
        around[chunk] = _median(_without(ordered, own[0])) if len(own) > 1 else np.nan
    return Neighbourhoods(sign * score, sign * worst, sign * around, n_neighbours)


def choose(grid: Grid, values: ArrayLike, *, better: int = 1, how: Score = "cvar") -> Choice | None:
    """Return the point with the best neighbourhood, and the best point beside it; None where no point has a value.

    Parameters
    ----------
    values, better, how
        As `neighbourhoods` takes them.

    Notes
    -----
    A corner has few neighbours and would win by luck: points with less than half as many neighbours with a value as
    the best-surrounded point has are not chosen.

    Examples
    --------
    A spike at 1, a plateau around 5:

    >>> found = choose(Grid.full(8), [0.0, 9.0, 0.0, 2.0, 3.0, 3.1, 3.0, 2.0])
    >>> found.point, found.best, found.best_is_spike
    (5, 1, True)
    """
    given = np.asarray(values, dtype=np.float64)
    if grid.n_points and given.shape != (grid.n_points,):
        raise InputError(f"values must have shape ({grid.n_points},), one for each point; was {given.shape}")
    there = np.isfinite(given)
    if not grid.digits or not there.any():
        return None
    sign = -1.0 if better < 0 else 1.0
    found = neighbourhoods(grid, given, better=better, how=how)
    usable = there & (2 * found.n_neighbours >= found.n_neighbours[there].max())
    point = int(np.argmax(np.where(usable, sign * found.score, -np.inf)))
    best = int(np.argmax(np.where(there, sign * given, -np.inf)))
    return Choice(
        point,
        best,
        float(given[point]),
        float(found.score[point]),
        float(found.worst[point]),
        int(found.n_neighbours[point]),
        float(given[best]),
        float(found.score[best]),
        float(found.around[best]),
        grid.edges(point),
        grid.edges(best),
        bool(_spikes(given, found.around, sign)[best]),
    )


def lone_spikes(grid: Grid, values: ArrayLike, *, better: int = 1) -> NDArray[np.bool_]:
    """Return which of the good points are far better than their neighbours, shape (n_points,).

    Notes
    -----
    Three things must hold. The point is more than half way up from the median of all points to the best. Its lead over
    the median of its neighbours is more than four times what is usual on this surface: the deviation of normal noise
    with the same lower quartile of absolute leads (a spike, and what it does to the leads of its own neighbours, moves
    that little). And this lead is more than half of that over the median of all points: the top of a smooth hill has
    neighbours nearly as good, and is no spike.

    Examples
    --------
    >>> lone_spikes(Grid.full(6), [0.0, 0.1, 5.0, 0.0, 0.1, 0.0]).tolist()
    [False, False, True, False, False, False]
    """
    sign = -1.0 if better < 0 else 1.0
    given = np.asarray(values, dtype=np.float64)
    return _spikes(given, neighbourhoods(grid, given, better=better).around, sign)


def nanmedian(rows: Floats) -> Floats:
    """Return the median of each column over its numbers; NaN sorts last, so no warning and no slow path."""
    return _median(np.sort(rows, axis=0))


def _spikes(values: Floats, around: Floats, sign: float) -> NDArray[np.bool_]:
    lead = sign * (values - around)
    known = np.isfinite(lead)
    if not known.any():
        return np.zeros(len(values), dtype=np.bool_)
    usual = _QUARTILE_DEVIATIONS * float(np.quantile(np.abs(lead[known]), 0.25))
    above = sign * (values - float(np.median(values[np.isfinite(values)])))
    high = above > 0.5 * float(above[np.isfinite(above)].max())
    with np.errstate(invalid="ignore"):
        return known & high & (lead > _SPIKE_DEVIATIONS * usual) & (lead > _SPIKE_SHARE * above)


def _scored(ordered: Floats, how: Score) -> Floats:
    """Reduce columns that are sorted from worst to best, NaN last."""
    n = np.isfinite(ordered).sum(axis=0)
    if how == "worst":
        return np.asarray(ordered[0])
    if how == "median":
        return _median(ordered)
    columns = np.arange(ordered.shape[1])
    weight = n * (CVAR_SHARE if how == "cvar" else 1.0)
    whole = np.floor(weight).astype(np.intp)
    total = np.zeros(ordered.shape[1])
    for row, values in enumerate(ordered[: int(whole.max(initial=0))]):
        np.add(total, values, out=total, where=row < whole)
    part = weight - whole
    boundary = ordered[np.minimum(whole, ordered.shape[0] - 1), columns]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n > 0, (total + np.where(part > 0, part * boundary, 0.0)) / weight, np.nan)


def _without(ordered: Floats, own: Floats) -> Floats:
    """Take one value, `own`, out of each sorted column; NaN is the last one."""
    place = (ordered < own).sum(axis=0)
    place[np.isnan(own)] = len(ordered) - 1
    rest = np.arange(len(ordered) - 1)[:, None]
    return np.where(rest < place, ordered[:-1], ordered[1:])


def _median(ordered: Floats) -> Floats:
    """Return the median of columns that are sorted with NaN last."""
    n = np.isfinite(ordered).sum(axis=0)
    columns = np.arange(ordered.shape[1])
    low, high = np.maximum((n - 1) // 2, 0), np.minimum(n // 2, ordered.shape[0] - 1)
    return np.asarray(0.5 * (ordered[low, columns] + ordered[high, columns]))


def _stacks(grid: Grid, values: Floats, points: NDArray[np.int64] | None = None) -> Iterator[tuple[slice, Floats]]:
    """Yield, for some points at a time, shape (1 + n_moves, n): their values and those one step away, NaN for none."""
    n_cells = int(np.prod([float(size) for size in grid.sizes])) if grid.sizes else 1
    strides = [int(np.prod(grid.sizes[axis + 1 :], dtype=np.int64)) for axis in range(len(grid.sizes))]
    table = n_cells <= max(_MOST_CELLS * len(values), 4096)
    if table:
        at_cell = np.full(n_cells, np.nan)
        at_cell[grid.cells] = values
    else:
        order = np.argsort(grid.cells, kind="stable")
        sorted_cells = grid.cells[order]
    n = len(values) if points is None else len(points)
    for start in range(0, n, _CHUNK_POINTS):
        chunk = slice(start, min(start + _CHUNK_POINTS, n))
        chosen = chunk if points is None else points[chunk]
        digits, cells = [own[chosen] for own in grid.digits], grid.cells[chosen]
        own = np.full((1 + len(grid.moves), len(cells)), np.nan)
        own[0] = values[chosen]
        for row, move in zip(own[1:], grid.moves, strict=True):
            inside = np.ones(len(cells), np.bool_)
            for digit, step, size in zip(digits, move, grid.sizes, strict=True):
                if step:
                    inside &= digit < size - 1 if step > 0 else digit > 0
            wanted = cells[inside] + sum(step * stride for step, stride in zip(move, strides, strict=True))
            if table:
                row[inside] = at_cell[wanted]
            else:
                at = np.minimum(np.searchsorted(sorted_cells, wanted), len(values) - 1)
                row[inside] = np.where(sorted_cells[at] == wanted, values[order[at]], np.nan)
        yield chunk, own
