"""Indicator series: one for each distinct value of an indicator's arguments, shared by all trials that use it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.bars.alike import distinct
from quantbot.bars.generate import EACH, INVERSE_VOLATILITY, LANES, MIXED, RUN
from quantbot.errors import ParameterError
from quantbot.market import Bars, Floats
from quantbot.parameters import Value
from quantbot.strategies.contract import PERIODS_PER_YEAR, Indicator
from quantbot.strategies.indicators import volatility

BUDGET_BYTES = 64 * 2**20  # of the series that lie in memory at once

Key = tuple[Any, ...]
VOLATILITY = volatility("volatility_window").function


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
        values = VOLATILITY(close, window, periods_per_year)
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
        if n_points == 1 or not varying:
            arguments: tuple[tuple[float, ...], ...] = (tuple(column.item() for column in columns),)
            rows = np.zeros(n_points, dtype=np.intp)
        else:
            first, rows = distinct(varying)
            arguments = tuple(
                tuple((column[i] if column.ndim else column).item() for column in columns) for i in first.tolist()
            )
        found.append(Wanted(name, indicator, arguments, rows))
    return tuple(found)


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
    before = np.stack([_before(want.rows[order]) for want in wants])
    start = 0
    while start < n_points:
        stop = _cut(before, start, most)
        yield order[start:stop]
        start = stop


def _before(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each place the last one before it with the same row; -1 where there is none."""
    order = np.argsort(rows, kind="stable")
    before = np.full(rows.shape[0], -1, dtype=np.intp)
    same = rows[order][1:] == rows[order][:-1]
    before[order[1:][same]] = order[:-1][same]
    return before


def _cut(before: NDArray[np.intp], start: int, most: int) -> int:
    """Return the place before which a batch from `start` ends, so that it has no more than `most` series.

    Parameters
    ----------
    before
        Shape (n_wants, n_points): see `_before`. A place brings a new series where that lies before the batch.
    """
    n_points, size = int(before.shape[1]), 2 * most
    while True:
        stop = min(start + size, n_points)
        n_series = np.cumsum((before[:, start:stop] < start).sum(axis=0))
        if n_series[-1] > most:
            return start + int(np.searchsorted(n_series, most, side="right"))
        if stop == n_points:
            return n_points
        size *= 2


def arrange(rows: list[NDArray[np.int64]], n_points: int) -> tuple[NDArray[np.intp], list[NDArray[np.int64]]]:
    """Set points into lanes, eight by eight, so that eight lanes use one series or neighbouring ones where possible.

    Parameters
    ----------
    rows
        For each indicator, shape (n_points,), which series each point uses.

    Returns
    -------
    Shape (n_lanes,), each lane's point: every point at least once, a whole number of batches. For each indicator, shape
    (n_lanes / 8,), what each eight lanes have in common.
    """
    if n_points < 8 or not rows:
        lanes = np.arange(n_points)
    else:
        # A run: neighbouring points with the same or the next series of each indicator, in one way throughout.
        steps = np.stack([np.diff(own) for own in rows])
        broken = ((steps != 0) & (steps != 1)).any(axis=0)
        broken[1:] |= (steps[:, 1:] != steps[:, :-1]).any(axis=0) & ~broken[:-1]
        starts = np.concatenate([[0], np.flatnonzero(broken) + 1])
        lengths = np.diff(np.concatenate([starts, [n_points]]))
        rest = lengths % 8
        # What is left of a run joins its last eight (some lanes then do a trial twice), or, if little, other leftovers.
        joins = (rest >= 3) & (lengths >= 8)
        n_eights = lengths // 8
        within = np.arange(n_eights.sum()) - np.repeat(np.cumsum(n_eights) - n_eights, n_eights)
        firsts = np.repeat(starts, n_eights) + 8 * within
        ends = (starts + lengths)[joins] - 8
        groups = np.sort(np.concatenate([firsts, ends]))
        whole = (groups[:, None] + np.arange(8)).reshape(-1)
        left = np.ones(n_points, dtype=bool)
        left[whole] = False
        lanes = np.concatenate([whole, np.flatnonzero(left)])
    missing = -lanes.shape[0] % LANES
    lanes = np.concatenate([lanes, np.full(missing, lanes[-1])]).astype(np.intp)
    kinds = []
    for own in rows:
        by_eight = own[lanes].reshape(-1, 8)
        gaps = np.diff(by_eight, axis=1)
        kind = np.full(by_eight.shape[0], MIXED, dtype=np.int64)
        kind[(gaps == 1).all(axis=1)] = RUN
        kind[(gaps == 0).all(axis=1)] = EACH
        kinds.append(kind)
    return lanes, kinds


def _used(want: Wanted, points: NDArray[np.intp]) -> tuple[tuple[int, ...], NDArray[np.int64]]:
    """Return the rows of `want` that `points` use, rising, and each point's place among them."""
    if len(want.arguments) == 1:
        return (0,), np.zeros(points.shape[0], dtype=np.int64)
    used, rows = np.unique(want.rows[points], return_inverse=True)
    return tuple(used.tolist()), rows.astype(np.int64)


class Series:
    """The series of one block of bars, side by side for a kernel.

    Parameters
    ----------
    window
        The bars that kernels see; series are computed over all bars and cut to it.
    """

    def __init__(self, data: Bars, window: tuple[int, int]) -> None:
        self._data, self._window = data, window
        self._n_bars = window[1] - window[0]
        self._kept: dict[str, tuple[tuple[int, ...], Floats, NDArray[np.int64]]] = {}

    def get(self, indicator: Indicator, arguments: tuple[float, ...], out: Floats | None = None) -> tuple[Floats, int]:
        """Return (one series over the window, the window's first bar at which it is known).

        The series lies in `out`, shape (n_bars,), where that is given.
        """
        from quantbot.bars.kernels import first_finite, series

        inputs = [getattr(self._data, field) for field in indicator.inputs]
        start, stop = self._window
        whole = self._n_bars == len(self._data)
        values = series(indicator.function, inputs, list(arguments), out if whole else None)
        known = max(first_finite(values) - start, 0)
        if out is None:
            return values[start:stop], known
        if values is not out:
            out[:] = values[start:stop]
        return out, known

    def matrix(self, want: Wanted, points: NDArray[np.intp]) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
        """Return the series that `points` want; kept until another batch wants others.

        Returns
        -------
        Shape (n_distinct, n_bars) the series; shape (n_points,) each point's row in it; shape (n_points,) the bar from
        which each point's series is known.
        """
        names, rows = _used(want, points)
        kept = self._kept.get(want.name)
        if kept is None or kept[0] != names:
            self._kept.pop(want.name, None)
            kept = self._kept[want.name] = (names, *self._computed(want, names))
        return kept[1], rows, kept[2][rows]

    def _computed(self, want: Wanted, rows: tuple[int, ...]) -> tuple[Floats, NDArray[np.int64]]:
        matrix = _SCRATCH.take(len(rows) * self._n_bars).reshape(len(rows), self._n_bars)
        known_from = np.empty(len(rows), dtype=np.int64)
        for i, row in enumerate(rows):
            _, known_from[i] = self.get(want.indicator, want.arguments[row], matrix[i])
        return matrix, known_from

    def close(self) -> None:
        """Give the memory back."""
        for _, matrix, _ in self._kept.values():
            _SCRATCH.give(matrix.reshape(-1))
        self._kept.clear()


class _Scratch(threading.local):
    """Memory for series, kept from run to run by each thread: to be given fresh pages takes as long as to fill them."""

    def __init__(self) -> None:
        self._free: list[Floats] = []

    def take(self, size: int) -> Floats:
        """Return an array of `size` values."""
        for i, array in enumerate(self._free):
            if array.shape[0] >= size:
                return self._free.pop(i)[:size]
        self._free.clear()
        return np.empty(size)

    def give(self, array: Floats) -> None:
        """Take an array back."""
        whole = array.base if isinstance(array.base, np.ndarray) else array
        flat = np.asarray(whole, dtype=np.float64).reshape(-1)
        self._free = [flat, *self._free][:4]
        while sum(array.nbytes for array in self._free) > 2 * BUDGET_BYTES:
            self._free.pop()


_SCRATCH = _Scratch()
