"""Many rows become a plane: reduced to two axes, with what is missing, failed or excluded told apart.

Pure arrays; nothing here knows a store. A plane of more values than asked for pools neighbouring ones: the reduction is
then over all trials behind a square, never a reduction of reductions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import InputError
from quantbot.parameters import Value
from quantbot.selection.plateau import nanmedian as nanmedian  # a public name of this module too
from sweeps.geometry import MAX_BINS as MAX_BINS
from sweeps.geometry import CellStatus as CellStatus
from sweeps.geometry import Geometry as Geometry
from sweeps.plateau import Plateau as Plateau
from sweeps.plateau import neighbourhood as neighbourhood
from sweeps.plateau import outline as outline
from sweeps.plateau import plateau as plateau
from sweeps.reduction import Floats, Request, reduce_grid, reduce_points
from sweeps.reduction import How as How

Window = tuple[tuple[int, int], tuple[int, int]]
MAX_CELLS = 200  # values of an axis that a map shows one by one; more are pooled (app.md, section 3)


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
        Shape (n_x,) and (n_y,): numbers or text; of pooled neighbours the middle one.
    value
        Shape (n_y, n_x); NaN where no trial behind the cell has a value.
    n_trials, n_planned
        Shape (n_y, n_x): finished trials that did not fail, and all planned ones.
    status
        Shape (n_y, n_x), uint8 of `CellStatus`.
    argbest
        Shape (n_y, n_x): index of the best trial behind the cell by the measure's direction ("min" and "max": of the
        trial that is shown); the lowest of equals; -1 where there is none.
    x_edges, y_edges
        Shape (n_x + 1,) and (n_y + 1,): cell `i` holds the axis's values with index ``edges[i]`` up to, not with,
        ``edges[i + 1]``; of a drawn axis the ranks of its distinct values.
    x_axis, y_axis
        Every value of the axes, whatever the window.
    counts
        How many trials are in which state: all that are reduced, whatever the window. Points of the grid that `where`
        leaves out count as excluded.
    n_undefined
        How many of the trials with a row have no number.
    """

    x: str
    y: str
    measure: str
    how: How
    x_values: NDArray[Any]
    y_values: NDArray[Any]
    value: Floats
    n_trials: NDArray[np.int64]
    n_planned: NDArray[np.int64]
    status: NDArray[np.uint8]
    argbest: NDArray[np.int64]
    x_edges: NDArray[np.int64]
    y_edges: NDArray[np.int64]
    x_axis: NDArray[Any]
    y_axis: NDArray[Any]
    counts: Mapping[CellStatus, int]
    n_undefined: int

    @property
    def pooled(self) -> bool:
        """Whether a cell stands for several values of an axis."""
        return bool((np.diff(self.x_edges) > 1).any() or (np.diff(self.y_edges) > 1).any())


def plane(
    geometry: Geometry,
    values: Floats,
    state: NDArray[np.uint8],
    firsts: NDArray[np.int64],
    *,
    x: str,
    y: str = "",
    measure: str = "",
    how: How = "median",
    q: float = 0.5,
    better: int = 1,
    at: Mapping[str, Value] | None = None,
    keep: NDArray[np.bool_] | None = None,
    window: Window | None = None,
    most: int | None = None,
) -> Plane:
    """Reduce a measure to two axes.

    Parameters
    ----------
    values, state
        Shape (n_slices, n_points): the measure and the `CellStatus` of each trial; a slice is one asset in one fold.
    firsts
        Shape (n_slices,): the index of each slice's first trial.
    q
        Which quantile, in [0, 1], when `how` is "quantile"; between two numbers it is linear.
    at
        Values at which other axes are pinned; those not named are reduced over.
    keep
        Shape (n_points,): points that count; the others are treated as if they weren't there.
    window
        Half-open ranges of indices of x and y to show; all where not said.
    most
        Values of an axis that are shown one by one; more are pooled. All where not said, and always for words; drawn
        numbers are binned by quantile in `MAX_BINS` where not said.
    """
    if how not in get_args(How):
        raise InputError(f"how must be one of {', '.join(get_args(How))}; found {how!r}")
    if not 0 <= q <= 1:
        raise InputError(f"q must be between 0 and 1; found {q}")
    if x == y:
        raise InputError(f"x and y must be two axes, were both {x!r}")
    geometry.index(x)
    x_axis = geometry.scale(x)[1]
    y_axis = geometry.scale(y)[1] if y else np.zeros(1)
    x_edges, y_edges = (
        _edges(geometry, name, len(axis), part, most)
        for name, axis, part in zip((x, y), (x_axis, y_axis), window or (None, None), strict=True)
    )
    request = Request(geometry, values, state, firsts, x, y, how, q, better, at or {}, keep, x_edges, y_edges)
    cells = reduce_grid(request) if geometry.in_order else reduce_points(request)
    shape = len(y_edges) - 1, len(x_edges) - 1
    value, n_trials, n_planned, status, argbest = (array.reshape(shape) for array in cells.arrays)
    x_values, y_values = (
        axis[(edges[:-1] + edges[1:] - 1) // 2] for axis, edges in ((x_axis, x_edges), (y_axis, y_edges))
    )
    return Plane(
        x, y, measure, how, x_values, y_values, value, n_trials, n_planned, status, argbest,
        x_edges, y_edges, x_axis, y_axis, cells.counts, cells.n_undefined,
    )  # fmt: skip


def colour_limits(values: Floats, *, signed: bool) -> tuple[float, float]:
    """Return the ends of a measure's colour scale: the 2nd and 98th percentile, symmetric about 0 if it is signed.

    Parameters
    ----------
    values
        Every value of the whole run, so that colours stay put while controls move; NaN is left out.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return (-1.0, 1.0) if signed else (0.0, 1.0)
    low, high = (float(limit) for limit in np.percentile(finite, [2, 98]))
    if signed:
        reach = max(abs(low), abs(high)) or 1.0
        return -reach, reach
    if low == high:
        return low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    return low, high


def _edges(
    geometry: Geometry, name: str, n_values: int, part: tuple[int, int] | None, most: int | None
) -> NDArray[np.int64]:
    """Return where the cells of an axis begin and end."""
    start, stop = (0, n_values) if part is None else (max(part[0], 0), min(part[1], n_values))
    if stop <= start:
        raise InputError(f"the window of axis {name} must have a value of 0 to {n_values}; found {part}")
    axis = geometry.axes[geometry.index(name)] if name else None
    if axis is None or axis.kind == "choice":
        return np.arange(start, stop + 1)
    if axis.sampled:
        n_bins = min(MAX_BINS if most is None else most, stop - start)
        return start + np.arange(n_bins + 1) * (stop - start) // n_bins
    step = 1 if most is None else -(-(stop - start) // most)
    return np.append(np.arange(start, stop, step), stop)
