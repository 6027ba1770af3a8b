"""The plateau of a run: a point whose neighbours are good too, and how far it reaches on a map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantbot.parameters import Value
from quantbot.selection.plateau import Score, choose, neighbourhoods
from sweeps.geometry import Geometry

_SAMPLE = 1 << 16  # points, evenly over the run, whose scores say what is usual


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
        What the point was chosen for: the mean of the worse half of itself and its neighbours, or what was asked for.
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


def plateau(geometry: Geometry, values: NDArray[np.float64], *, better: int = 1, how: Score = "cvar") -> Plateau | None:
    """Return the point with the best neighbourhood, or None when no point has a value or the points are no grid.

    Parameters
    ----------
    values
        Shape (n_points,): one number per point; NaN where there is none.
    how
        Score a point by the CVaR (the mean of the worse half), the worst, the mean or the median of itself and its
        neighbours: see
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


def outline(
    geometry: Geometry, values: NDArray[np.float64], centre: int, *, x: str, y: str = "", better: int = 1,
    how: Score = "cvar",
) -> NDArray[np.int64]:  # fmt: skip
    """Return how far the plateau around a point reaches over two axes, the others held at the point's own values.

    A point belongs to it when its neighbourhood's score is nearer to the centre's than to the usual one of the run,
    and a chain of such points leads to the centre. Scores vary little between neighbours, so this is one patch, where
    a contour of the values themselves would be confetti.

    Parameters
    ----------
    values
        Shape (n_points,): one number per point; NaN where there is none.
    centre
        The index of the plateau's point.

    Returns
    -------
    Shape (n, 2): indices on x and y of the points that belong; y is 0 without a second axis.
    """
    if geometry.sampled or not np.isfinite(values[centre]):
        return np.empty((0, 2), np.int64)
    shown = [geometry.index(name) for name in (x, y) if name]
    here = np.isfinite(values)
    sample = np.flatnonzero(here)
    for axis, digits in enumerate(geometry.digits):
        if axis not in shown:
            here &= digits == digits[centre]
    points = np.flatnonzero(here)
    sample = sample[:: -(-len(sample) // _SAMPLE)]
    sign = -1.0 if better < 0 else 1.0
    grid = geometry.grid
    usual, score = (
        sign * neighbourhoods(grid, values, better=better, how=how, points=chosen).score for chosen in (sample, points)
    )
    level = 0.5 * (score[np.searchsorted(points, centre)] + float(np.median(usual)))
    points = points[score >= level]
    columns = [geometry.digits[axis][points] for axis in shown]
    start = [int(geometry.digits[axis][centre]) for axis in shown]
    mask = np.zeros([geometry.sizes[axis] + 2 for axis in shown] + [3] * (2 - len(shown)), np.bool_)
    if len(shown) == 1:
        columns.append(np.zeros_like(columns[0]))
        start.append(0)
    mask[columns[0] + 1, columns[1] + 1] = True
    return _patch(mask, start[0] + 1, start[1] + 1) - 1


def _patch(mask: NDArray[np.bool_], row: int, column: int) -> NDArray[np.int64]:
    """Return the cells of a mask with empty margins that hang together with one of them, side by side."""
    width = mask.shape[1]
    free = mask.ravel().copy()
    edge = np.array([row * width + column], np.int64)
    free[edge] = False
    found = [edge]
    while edge.size:
        around = np.unique(np.concatenate([edge + step for step in (-1, 1, -width, width)]))
        edge = around[free[around]]
        free[edge] = False
        found.append(edge)
    return np.column_stack(np.divmod(np.sort(np.concatenate(found)), width)).astype(np.int64)
