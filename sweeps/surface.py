"""Many rows become a plane: reduced to two axes, with what is missing, failed or excluded told apart.

Pure arrays; nothing here knows a store. Values are numbers that trials have: nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Points
from quantbot.errors import InputError
from quantbot.parameters import Value, nearest
from quantbot.selection.plateau import Grid, Score, choose, neighbourhoods
from quantbot.selection.plateau import nanmedian as nanmedian  # a public name of this module too
from sweeps.trial import Axis

How = Literal["median", "mean", "min", "max"]
MAX_BINS = 24  # of a sampled axis: points are binned by quantile, since hardly two share a value
_MAX_SPARSENESS = 64  # cells per point beyond which a grid is laid out point by point


class CellStatus(IntEnum):
    """What a cell of a surface stands for."""

    VALUE = 0
    NOT_RUN = 1
    FAILED = 2
    EXCLUDED = 3  # by the spec's `where`
    SKIPPED = 4  # not promoted by the search: never run, and never will be
    LOCKED = 5  # the test of a locked holdout that nobody looked at


@dataclass(frozen=True, eq=False)
class Plane:
    """A measure over two axes, everything else reduced.

    Attributes
    ----------
    x, y
        Names of the axes; `y` is empty for a run with one axis.
    how
        The reduction over all trials behind a cell. "max" shows the best of many: title it so.
    x_values, y_values
        Shape (n_x,) and (n_y,): numbers or text; for sampled axes the middle of each bin.
    value
        Shape (n_y, n_x); NaN where no trial behind the cell has a value.
    n_trials, n_planned
        Shape (n_y, n_x): finished trials that did not fail, and all planned ones.
    status
        Shape (n_y, n_x), uint8 of `CellStatus`.
    argbest
        Shape (n_y, n_x): index of the best trial behind the cell by the measure's direction ("min" and "max": of the
        trial that is shown); the lowest of equals; -1 where there is none.
    """

    x: str
    y: str
    measure: str
    how: How
    x_values: NDArray[Any]
    y_values: NDArray[Any]
    value: NDArray[np.float64]
    n_trials: NDArray[np.int64]
    n_planned: NDArray[np.int64]
    status: NDArray[np.uint8]
    argbest: NDArray[np.int64]


@dataclass(frozen=True)
class Plateau:
    """A point whose neighbours are good too.

    Attributes
    ----------
    point_index, point
        The point, and its settings.
    value
        The measure at the point itself.
    score
        What the point was chosen for: the median, or what was asked for, over itself and its neighbours.
    worst
        The worst among itself and its neighbours.
    n_neighbours
        Neighbours with a value, one step away on any axis.
    """

    point_index: int
    point: dict[str, Value]
    value: float
    score: float
    worst: float
    n_neighbours: int


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the points of a plan lie on its axes.

    Attributes
    ----------
    digits
        For each axis, shape (n_points,): index of the point's value, or of its bin when the axis is sampled.
    sizes
        Number of values (or bins) of each axis.
    labels
        For each axis, the values, or the middles of the bins.
    n_known
        Points that are chosen already: all, but for a Bayesian search that is not finished.
    """

    axes: tuple[Axis, ...]
    points: Points
    digits: tuple[NDArray[np.int64], ...]
    sizes: tuple[int, ...]
    labels: tuple[NDArray[Any], ...]
    n_known: int

    @classmethod
    def of(cls, axes: Sequence[Axis], points: Points, n_known: int | None = None) -> Geometry:
        """Place the points.

        Parameters
        ----------
        n_known
            The points from this one on are not chosen yet: they lie nowhere.
        """
        n_known = points.n_points if n_known is None else n_known
        placed = [_place(axis, points.columns[axis.name][:n_known]) for axis in axes]
        unknown = np.zeros(points.n_points - n_known, np.int64)
        return cls(
            tuple(axes),
            points,
            tuple(np.concatenate([digits, unknown]) for digits, _ in placed),
            tuple(len(labels) for _, labels in placed),
            tuple(labels for _, labels in placed),
            n_known,
        )

    @property
    def grid(self) -> Grid:
        """The points as `quantbot.selection` takes them: a word has no neighbours."""
        return Grid(self.digits, self.sizes, tuple(axis.kind != "choice" for axis in self.axes))

    @property
    def sampled(self) -> bool:
        """Whether the points are draws, not a grid."""
        return any(axis.sampled for axis in self.axes)

    @property
    def dense(self) -> bool:
        """Whether the points fill enough of the grid for an array with one dimension per axis."""
        n_cells = float(np.prod([float(size) for size in self.sizes])) if self.sizes else 1.0
        return not self.sampled and n_cells <= max(_MAX_SPARSENESS * self.points.n_points, 4096)

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """Shape (n_points,): place of each point in the flattened grid, the last axis fastest."""
        if not self.axes:
            return np.zeros(self.points.n_points, np.int64)
        return np.asarray(np.ravel_multi_index(self.digits, self.sizes), dtype=np.int64)

    def index(self, name: str) -> int:
        """Return which axis is called `name`."""
        names = [axis.name for axis in self.axes]
        if name not in names:
            raise InputError(f"no axis {name!r}; this run varies {', '.join(names) or 'nothing'}{nearest(name, names)}")
        return names.index(name)

    def pinned(self, at: Mapping[str, Value]) -> NDArray[np.bool_]:
        """Return which points have these values; an axis that was sampled is pinned to a bin's middle."""
        mask = np.arange(self.points.n_points) < self.n_known
        for name, wanted in at.items():
            axis = self.index(name)
            found = np.flatnonzero(self.labels[axis] == wanted)
            if not found.size:
                some = ", ".join(str(value) for value in self.labels[axis][:8].tolist())
                raise InputError(
                    f"axis {name} has no value {wanted!r}; it has {some}{', ...' * (self.sizes[axis] > 8)}"
                )
            mask &= self.digits[axis] == found[0]
        return mask


def plane(
    geometry: Geometry,
    values: NDArray[np.float64],
    state: NDArray[np.uint8],
    trials: NDArray[np.int64],
    *,
    x: str,
    y: str = "",
    measure: str = "",
    how: How = "median",
    better: int = 1,
    at: Mapping[str, Value] | None = None,
) -> Plane:
    """Reduce a measure to two axes.

    Parameters
    ----------
    values, state, trials
        Shape (n_slices, n_points): the measure, the `CellStatus` and the index of each trial; a slice is one asset in
        one fold.
    at
        Values at which other axes are pinned; those not named are reduced over.
    """
    if how not in get_args(How):
        raise InputError(f"how must be one of {', '.join(get_args(How))}; found {how!r}")
    if x == y:
        raise InputError(f"x and y must be two axes, were both {x!r}")
    column, row = geometry.index(x), geometry.index(y) if y else -1
    n_x, n_y = geometry.sizes[column], geometry.sizes[row] if y else 1
    cell = geometry.digits[column] + (n_x * geometry.digits[row] if y else 0)
    keep = geometry.pinned(at or {})
    cells = np.broadcast_to(cell[keep], (values.shape[0], int(keep.sum()))).ravel()
    found = _reduce(
        cells, values[:, keep].ravel(), state[:, keep].ravel(), trials[:, keep].ravel(), n_y * n_x, how, better
    )
    value, n_trials, n_planned, status, argbest = (array.reshape(n_y, n_x) for array in found)
    y_values = geometry.labels[row] if y else np.zeros(1)
    return Plane(x, y, measure, how, geometry.labels[column], y_values, value, n_trials, n_planned, status, argbest)


def plateau(
    geometry: Geometry, values: NDArray[np.float64], *, better: int = 1, how: Score = "median"
) -> Plateau | None:
    """Return the point with the best neighbourhood, or None when no point has a value or the points are no grid.

    Parameters
    ----------
    values
        Shape (n_points,): one number per point; NaN where there is none.
    how
        Score a point by the median, the worst, the mean or the CVaR of itself and its neighbours: see
        `quantbot.selection.plateau`, which also says what a neighbour is and why a corner is not chosen.
    """
    if geometry.sampled:
        return None
    found = choose(geometry.grid, values, better=better, how=how)
    if found is None:
        return None
    point = geometry.points.point(found.point)
    return Plateau(found.point, point, found.value, found.score, found.worst, found.n_neighbours)


def neighbourhood(
    geometry: Geometry, values: NDArray[np.float64], *, better: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return for each point the median and the worst over itself and its neighbours, and how many neighbours count.

    Parameters
    ----------
    values
        Shape (n_points,): one number per point of a grid; NaN where there is none, and for no neighbour.

    Returns
    -------
    Each of shape (n_points,); what a neighbour is says `plateau`.
    """
    found = neighbourhoods(geometry.grid, values, better=better, how="median")
    return found.score, found.worst, found.n_neighbours


def _reduce(
    cells: NDArray[np.int64],
    values: NDArray[np.float64],
    state: NDArray[np.uint8],
    trials: NDArray[np.int64],
    n_cells: int,
    how: How,
    better: int,
) -> tuple[NDArray[Any], ...]:
    """Reduce trials to cells by one sort."""
    done = state == CellStatus.VALUE
    n_planned = np.bincount(cells, minlength=n_cells)
    n_trials = np.bincount(cells[done], minlength=n_cells)
    n_failed = np.bincount(cells[state == CellStatus.FAILED], minlength=n_cells)
    n_skipped = np.bincount(cells[state == CellStatus.SKIPPED], minlength=n_cells)
    n_locked = np.bincount(cells[state == CellStatus.LOCKED], minlength=n_cells)
    conditions = {
        CellStatus.VALUE: n_trials > 0,
        CellStatus.EXCLUDED: n_planned == 0,
        CellStatus.FAILED: n_failed == n_planned,
        CellStatus.SKIPPED: n_failed + n_skipped == n_planned,
        CellStatus.LOCKED: n_locked == n_planned,
    }
    status = np.select(list(conditions.values()), [int(code) for code in conditions], int(CellStatus.NOT_RUN))
    status = status.astype(np.uint8)
    value = np.full(n_cells, np.nan)
    argbest = np.full(n_cells, -1, np.int64)
    usable = done & np.isfinite(values)
    if usable.any():
        cells, values, trials = cells[usable], values[usable], trials[usable]
        sign = {"max": 1.0, "min": -1.0}.get(how, -1.0 if better < 0 else 1.0)
        order = np.lexsort((trials, -sign * values, cells))
        cells, values, trials = cells[order], values[order], trials[order]
        starts = np.flatnonzero(np.r_[True, cells[1:] != cells[:-1]])
        counts = np.diff(np.r_[starts, len(cells)])
        at = cells[starts]
        argbest[at] = trials[starts]
        if how == "mean":
            value[at] = np.add.reduceat(values, starts) / counts
        elif how == "median":
            value[at] = 0.5 * (values[starts + (counts - 1) // 2] + values[starts + counts // 2])
        else:
            value[at] = values[starts]
    return value, n_trials, n_planned, status, argbest


def _place(axis: Axis, column: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the digit of each point on one axis, and the axis's labels."""
    distinct, digits = np.unique(column, return_inverse=True)
    if axis.sampled and axis.kind != "choice" and len(distinct) > MAX_BINS:
        edges = np.unique(np.quantile(column, np.linspace(0, 1, MAX_BINS + 1)[1:-1]))
        digits = np.searchsorted(edges, column, side="right")
        middles = [
            np.median(column[digits == bin_]) if (digits == bin_).any() else np.nan for bin_ in range(len(edges) + 1)
        ]
        return digits.astype(np.int64), np.array(middles)
    if axis.sampled:
        return digits.astype(np.int64), distinct
    # In the axis's own order (a choice keeps the spec's), and with values that `where` left no point of.
    order = np.argsort(axis.values, kind="stable")
    at = np.searchsorted(axis.values, column, sorter=order)
    return order[at].astype(np.int64), axis.values
