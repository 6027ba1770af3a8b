"""Indicator series: one for each distinct value of an indicator's arguments, shared by all trials that use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.bars.generate import INVERSE_VOLATILITY
from quantbot.errors import ParameterError
from quantbot.market import Bars, Floats
from quantbot.parameters import Value
from quantbot.strategies.contract import PERIODS_PER_YEAR, Indicator

BUDGET_BYTES = 64 * 2**20  # of the series that lie in memory at once

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Wanted:
    """What a group of points wants of one indicator.

    Attributes
    ----------
    arguments
        The distinct argument values.
    rows
        For each point, shape (n_points,), which of them it uses.
    """

    name: str
    indicator: Indicator
    arguments: tuple[tuple[float, ...], ...]
    rows: NDArray[np.intp]


class InverseVolatility:
    """One over the annualised deviation (ddof 1) of the last `window` returns; huge where nothing moved."""

    def __call__(self, close: Floats, window: int, periods_per_year: float) -> Floats:
        """Return the series, shape (n_bars,), NaN until `window` returns are known."""
        from quantbot.strategies.kernels import volatility

        values = volatility(close, window, periods_per_year)
        return 1.0 / np.where(values < 1e-300, 1e-300, values)


SCALE = Indicator(InverseVolatility(), ("close",), ("execution.volatility_window", PERIODS_PER_YEAR))


def wanted(
    names: tuple[str, ...],
    indicators: Mapping[str, Indicator],
    value: Callable[[str], NDArray[Any] | Value],
    n_points: int,
    periods_per_year: float,
) -> tuple[Wanted, ...]:
    """Return what points want of each indicator; `value` gives a setting as a column or as one value for all."""
    found = []
    for name in names:
        indicator = SCALE if name == INVERSE_VOLATILITY else indicators[name]
        columns = []
        for argument in indicator.arguments:
            if argument == PERIODS_PER_YEAR:
                columns.append(np.asarray(periods_per_year))
            elif isinstance(argument, str):
                columns.append(np.asarray(value(argument)))
            else:
                columns.append(np.asarray(argument))
        if any(column.dtype.kind not in "if" for column in columns):
            raise ParameterError(f"indicator {name} takes numbers; one of its arguments is a choice")
        varying = [column for column in columns if column.ndim]
        if not varying:
            arguments: tuple[tuple[float, ...], ...] = (tuple(column.item() for column in columns),)
            rows = np.zeros(n_points, dtype=np.intp)
        else:
            first, rows = _distinct(varying)
            arguments = tuple(
                tuple((column[i] if column.ndim else column).item() for column in columns) for i in first.tolist()
            )
        found.append(Wanted(name, indicator, arguments, rows))
    return tuple(found)


def _distinct(columns: list[NDArray[Any]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return (the first point of each distinct combination, each point's combination), combinations in order."""
    if len(columns) == 1:
        _, first, rows = np.unique(columns[0], return_index=True, return_inverse=True)
        return first, rows.astype(np.intp)
    order = np.lexsort(columns[::-1])
    changed = np.zeros(order.shape[0], dtype=bool)
    for column in columns:
        changed[1:] |= column[order][1:] != column[order][:-1]
    rows = np.empty(order.shape[0], dtype=np.intp)
    rows[order] = np.cumsum(changed)
    return order[np.concatenate([[True], changed[1:]])], rows


def batches(wants: tuple[Wanted, ...], n_points: int, n_bars: int, budget_bytes: int) -> Iterator[NDArray[np.intp]]:
    """Yield points in an order in which neighbours share series, cut where the budget for series is spent."""
    if not wants:
        yield np.arange(n_points)
        return
    # Fewest distinct values first: the last one then runs, and its rows lie beside each other.
    by_count = sorted(wants, key=lambda want: len(want.arguments))
    order = np.lexsort([want.rows for want in reversed(by_count)])
    most = max(budget_bytes // max(8 * n_bars, 1), len(wants))
    if sum(len(want.arguments) for want in wants) <= most:
        yield order
        return
    seen: set[tuple[int, int]] = set()
    start = 0
    for at, point in enumerate(order.tolist()):
        new = {(k, int(want.rows[point])) for k, want in enumerate(wants)} - seen
        if len(seen) + len(new) > most:
            yield order[start:at]
            start, seen = at, set()
            new = {(k, int(want.rows[point])) for k, want in enumerate(wants)}
        seen |= new
    yield order[start:]


class Series:
    """The series of one block of bars, kept while consecutive batches want them.

    Parameters
    ----------
    window
        The bars that kernels see; series are computed over all bars and cut to it.
    """

    def __init__(self, data: Bars, window: tuple[int, int]) -> None:
        self._data, self._window = data, window
        self._kept: dict[Key, tuple[Floats, int]] = {}

    def get(self, indicator: Indicator, arguments: tuple[float, ...]) -> tuple[Floats, int]:
        """Return (one series over the window, the window's first bar at which it is known)."""
        key = (indicator.function, indicator.inputs, arguments, tuple(type(argument) for argument in arguments))
        if key not in self._kept:
            from quantbot.bars.kernels import first_finite, series

            inputs = [getattr(self._data, field) for field in indicator.inputs]
            values = series(indicator.function, inputs, list(arguments))
            start, stop = self._window
            self._kept[key] = values[start:stop], max(first_finite(values) - start, 0)
        return self._kept[key]

    def matrix(self, want: Wanted, points: NDArray[np.intp]) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
        """Return the series that `points` want.

        Returns
        -------
        Shape (n_distinct, n_bars) the series; shape (n_points,) each point's row in it; shape (n_points,) the bar from
        which each point's series is known.
        """
        used, rows = np.unique(want.rows[points], return_inverse=True)
        found = [self.get(want.indicator, want.arguments[row]) for row in used.tolist()]
        warm = np.array([first for _, first in found], dtype=np.int64)[rows]
        if len(found) == 1:
            return found[0][0].reshape(1, -1), rows.astype(np.int64), warm
        matrix = np.empty((len(found), self._window[1] - self._window[0]))
        for row, (values, _) in enumerate(found):
            matrix[row] = values
        return matrix, rows.astype(np.int64), warm

    def forget(self) -> None:
        """Drop all series."""
        self._kept.clear()
