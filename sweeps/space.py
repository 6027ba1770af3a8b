"""The space of a search: axes become points, as columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from quantbot.engine import Points
from quantbot.errors import SpecError, TooLargeError
from sweeps.trial import Axis, Column

MAX_POINTS = 10_000_000  # reliability.md, 5.7: more only for whoever asks for it by name
_CHUNK = 1 << 20  # points a `where` sees at a time: temporaries stay under 100 MB


def grid_points(axes: Sequence[Axis], where: str = "", *, limit: int = MAX_POINTS) -> Points:
    """Lay out every combination of the axes' values, the last axis fastest.

    Parameters
    ----------
    where
        An expression of `sweeps.where` over the axes' names; points for which it is false are left out.
    limit
        Refuse a larger grid, counted before `where` is applied.

    Raises
    ------
    TooLargeError
        If the grid has more than `limit` points; nothing was built then.
    SpecError
        If an axis is empty or no point is left.

    Examples
    --------
    >>> fast, slow = Axis("fast", np.array([5, 9]), "integer"), Axis("slow", np.array([7, 8]), "integer")
    >>> {name: column.tolist() for name, column in grid_points([fast, slow], "fast < slow").columns.items()}
    {'fast': [5, 5], 'slow': [7, 8]}
    """
    n_points = check_size(axes, limit)
    if not where:
        return Points(n_points, _decode(axes, np.arange(n_points))) if axes else Points(1)
    from sweeps.where import parse_where

    condition = parse_where(where, [axis.name for axis in axes])
    kept = []
    for start in range(0, n_points, _CHUNK):
        columns = _decode(axes, np.arange(start, min(start + _CHUNK, n_points)))
        mask = condition(columns)
        kept.append({name: column[mask] for name, column in columns.items()})
    columns = {axis.name: np.concatenate([chunk[axis.name] for chunk in kept]) for axis in axes}
    n_kept = next(iter(columns.values())).shape[0]
    if n_kept == 0:
        raise SpecError(f"search.where: {where!r} leaves none of the {n_points:,} points of the grid; widen it")
    return Points(n_kept, columns)


def check_size(axes: Sequence[Axis], limit: int = MAX_POINTS) -> int:
    """Return the number of points of the grid, by arithmetic alone, or refuse it."""
    for axis in axes:
        if len(axis) == 0:
            raise SpecError(f"parameters.{axis.name}: has no value; give at least one")
    n_points = math.prod(len(axis) for axis in axes)
    if n_points > limit:
        sizes = " x ".join(f"{axis.name} {len(axis):,}" for axis in axes)
        raise TooLargeError(
            f"the grid has {n_points:,} points ({sizes}) but {limit:,} is the limit; take larger steps, fewer axes, "
            'or search.method = "sobol" with n points'
        )
    return n_points


def _decode(axes: Sequence[Axis], index: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, Column]:
    """Return the columns of the grid's points with these indices (last axis fastest)."""
    columns: dict[str, Column] = {}
    for axis in reversed(axes):
        index, digit = np.divmod(index, len(axis))
        columns[axis.name] = axis.values[digit]
    return {axis.name: columns[axis.name] for axis in axes}
