"""The points of a grid, made of its axes as they are asked for: ten million of them are a few arrays of axis values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Points
from quantbot.parameters import Value
from sweeps.trial import Axis, Column


class GridColumns(Mapping[str, Column]):
    """The columns of a grid's points, each computed when it is asked for; the last axis is fastest.

    Parameters
    ----------
    cells
        Shape (n_points,), rising: the cells of the grid that are points; None where all are.

    Examples
    --------
    >>> columns = GridColumns([Axis("fast", np.array([5, 9]), "integer"), Axis("fee", np.array([0.0, 1.0]), "number")])
    >>> columns["fast"].tolist(), columns["fee"].tolist()
    ([5, 5, 9, 9], [0.0, 1.0, 0.0, 1.0])
    """

    def __init__(self, axes: Sequence[Axis], cells: NDArray[Any] | None = None) -> None:
        self.axes = tuple(axes)
        self.cells = cells
        self.sizes = tuple(len(axis) for axis in axes)
        self._names = {axis.name: index for index, axis in enumerate(axes)}

    def __getitem__(self, name: str) -> Column:
        index = self._names[name]
        values: Column = self.axes[index].values
        if self.cells is not None:
            column: Column = values[self._digit(index, self.cells)]
            return column
        before, after = math.prod(self.sizes[:index]), math.prod(self.sizes[index + 1 :])
        return np.broadcast_to(values[None, :, None], (before, len(values), after)).reshape(-1)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def digits(self, name: str) -> NDArray[np.int64]:
        """Return for each point the index of its value on an axis, shape (n_points,)."""
        index = self._names[name]
        if self.cells is not None:
            return self._digit(index, self.cells).astype(np.int64, copy=False)
        return GridColumns([Axis(a.name, np.arange(len(a)), a.kind) for a in self.axes])[name].astype(
            np.int64, copy=False
        )

    def of(self, rows: NDArray[np.int64]) -> dict[str, Column]:
        """Return the columns of these points alone."""
        cells = rows if self.cells is None else self.cells[rows].astype(np.int64, copy=False)
        return {axis.name: axis.values[self._digit(index, cells)] for index, axis in enumerate(self.axes)}

    def _digit(self, index: int, cells: NDArray[Any]) -> NDArray[Any]:
        after = cells.dtype.type(math.prod(self.sizes[index + 1 :]))
        digit: NDArray[Any] = cells // after
        return digit % cells.dtype.type(self.sizes[index]) if index else digit


@dataclass(frozen=True, eq=False)
class GridPoints(Points):
    """The points of a grid, or what a condition left of them, in the order of its cells."""

    columns: GridColumns

    def __getitem__(self, rows: slice) -> Points:
        start, stop, _ = rows.indices(self.n_points)
        return self.take(np.arange(start, max(start, stop)))

    def take(self, rows: NDArray[np.int64]) -> Points:
        """Return these points alone."""
        return Points(rows.shape[0], self.columns.of(rows))

    def point(self, row: int) -> dict[str, Value]:
        """Return one point as plain Python values."""
        return {name: column[0].item() for name, column in self.columns.of(np.array([row])).items()}

    @property
    def cells(self) -> NDArray[Any] | None:
        """Shape (n_points,), rising: each point's cell of the grid; None where every cell is a point."""
        return self.columns.cells
