"""Where the points of a run lie on its axes: as a grid where they form one, by rank where they were drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Points
from quantbot.errors import InputError
from quantbot.parameters import Value, nearest
from quantbot.selection.plateau import Grid
from sweeps.grid import GridPoints
from sweeps.trial import Axis

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
        if isinstance(points, GridPoints):
            digits, values = tuple(points.columns.digits(axis.name) for axis in axes), tuple(a.values for a in axes)
            return cls(tuple(axes), points, digits, tuple(len(axis) for axis in axes), values, n_known)
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
        return not self.sampled and fills_grid(self.sizes, self.points.n_points)

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """Shape (n_points,): place of each point in the flattened grid, the last axis fastest."""
        if not self.axes:
            return np.zeros(self.points.n_points, np.int64)
        if isinstance(self.points, GridPoints):
            cells = self.points.cells
            return np.arange(self.points.n_points) if cells is None else cells.astype(np.int64)
        return np.asarray(np.ravel_multi_index(self.digits, self.sizes), dtype=np.int64)

    @cached_property
    def in_order(self) -> bool:
        """Whether the points are a grid, or what a condition left of one, in the order of its cells."""
        if not self.dense or self.n_known < self.points.n_points:
            return False
        return isinstance(self.points, GridPoints) or bool(np.all(np.diff(self.cells) > 0))

    def scale(self, name: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Return the place of each point on an axis of a map, shape (n_points,), and the axis's values.

        Places are indices of the values of a grid's axis; for drawn numbers they are ranks, so that a range of places
        holds the same number of points wherever it lies.
        """
        at = self.index(name)
        axis = self.axes[at]
        if not axis.sampled or axis.kind == "choice":
            return self.digits[at], self.labels[at]
        if name not in self._ranks:
            distinct, ranks = np.unique(self.points.columns[name][: self.n_known], return_inverse=True)
            unknown = np.zeros(self.points.n_points - self.n_known, np.int64)
            self._ranks[name] = np.concatenate([ranks.astype(np.int64), unknown]), distinct
        return self._ranks[name]

    @cached_property
    def _ranks(self) -> dict[str, tuple[NDArray[np.int64], NDArray[Any]]]:
        return {}

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


def fills_grid(sizes: Sequence[int], n_points: int) -> bool:
    """Return whether so many points fill enough of a grid for an array with one dimension per axis."""
    return math.prod(sizes) <= max(_MAX_SPARSENESS * n_points, 4096)


def _place(axis: Axis, column: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return the digit of each point on one axis, and the axis's labels."""
    if not axis.sampled:
        # In the axis's own order (a choice keeps the spec's), and with values that `where` left no point of.
        order = np.argsort(axis.values, kind="stable")
        at = np.searchsorted(axis.values, column, sorter=order)
        return order[at].astype(np.int64, copy=False), axis.values
    distinct, digits = np.unique(column, return_inverse=True)
    if axis.kind == "choice" or len(distinct) <= MAX_BINS:
        return digits.astype(np.int64, copy=False), distinct
    edges = np.unique(np.quantile(column, np.linspace(0, 1, MAX_BINS + 1)[1:-1]))
    digits = np.searchsorted(edges, column, side="right")
    middles = [
        np.median(column[digits == bin_]) if (digits == bin_).any() else np.nan for bin_ in range(len(edges) + 1)
    ]
    return digits.astype(np.int64, copy=False), np.array(middles)
