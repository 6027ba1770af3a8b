"""Trials set into a kernel's arrays, stepped through the window, and taken out again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.bars.columns import arrange
from quantbot.bars.generate import ALONE_TILE, LANES, TILE, Layout
from quantbot.bars.template import STATE
from quantbot.market import BAR_FIELDS, Bars, Floats


class UserCodeError(Exception):
    """The user's function, or an indicator of theirs, raised what is this error's cause."""


@dataclass(frozen=True)
class Trials:
    """What a kernel needs to know of some trials.

    Attributes
    ----------
    matrices
        For each indicator: its series, shape (n_series, n_bars); each trial's row in them; each trial's first bar with
        a value.
    numbers, wholes
        The settings in the layout's order, each shape (n_trials,), float64 and int64.
    """

    n: int
    matrices: list[tuple[Floats, NDArray[np.int64], NDArray[np.int64]]]
    numbers: list[Floats]
    wholes: list[NDArray[np.int64]]
    initial_cash: Floats

    @property
    def warm(self) -> NDArray[np.int64]:
        """For each trial, the bar from which all its indicators have a value."""
        if not self.matrices:
            return np.zeros(self.n, dtype=np.int64)
        latest: NDArray[np.int64] = np.max([known for _, _, known in self.matrices], axis=0)
        return latest


@dataclass(frozen=True)
class Window:
    """The bars that a kernel steps through."""

    data: Bars
    start: int
    stop: int

    @property
    def n_bars(self) -> int:
        """Number of bars."""
        return self.stop - self.start

    def arguments(self) -> tuple[Any, ...]:
        """Return the kernel's first arguments: the fields of the bars, the close before them, the multiplier."""
        fields = [getattr(self.data, field)[self.start : self.stop] for field in BAR_FIELDS]
        before = float(self.data.close[max(self.start - 1, 0)])
        return *fields, before, float(self.data.instrument.multiplier)


def step_together(
    kernel: Callable[..., Any], layout: Layout, window: Window, trials: Trials, *, returns: bool
) -> tuple[dict[str, Floats], Floats | None]:
    """Step trials in lanes.

    Returns
    -------
    By name, shape (n_trials,), the states at the end; shape (n_trials, n_bars) the returns, where asked for.
    """
    lanes, kinds = arrange([rows for _, rows, _ in trials.matrices], trials.n)
    n_batches = lanes.shape[0] // LANES
    columns: list[Any] = []
    for (series, rows, _), kind in zip(trials.matrices, kinds, strict=True):
        columns += [series, rows[lanes], kind, aligned(series.shape[0] * TILE)]
    state = packed(list(start(layout, trials)[:, lanes]), n_batches)
    kept = np.empty(window.n_bars * lanes.shape[0] if returns else 1)
    kernel(
        *window.arguments(),
        *columns,
        packed([values[lanes] for values in trials.numbers], n_batches),
        packed([values[lanes] for values in trials.wholes], n_batches, np.int64),
        trials.warm[lanes],
        state,
        kept,
        aligned(max(len(trials.matrices), 1) * TILE * LANES),
        aligned(3 * TILE),
        n_batches,
    )
    lane_of = np.empty(trials.n, dtype=np.intp)
    lane_of[lanes] = np.arange(lanes.shape[0])  # where a trial has two lanes, both hold the same
    ends = state.reshape(n_batches, len(layout.states), LANES)
    sums = {name: ends[:, i].reshape(-1)[lane_of] for i, name in enumerate(layout.states)}
    return sums, kept.reshape(window.n_bars, -1).T[lane_of] if returns else None


def step_alone(
    kernel: Callable[..., Any], layout: Layout, window: Window, trials: Trials, *, returns: bool, plain_python: bool
) -> tuple[dict[str, Floats], Floats | None]:
    """Step trials one by one; returns what `step_together` does."""
    bars = window.arguments()
    if plain_python:
        bars = tuple(value.tolist() if isinstance(value, np.ndarray) else value for value in bars)
    states = start(layout, trials).T.copy()
    kept = np.empty((trials.n, window.n_bars if returns else 1))
    warm = trials.warm
    room = 3 * max(TILE, ALONE_TILE)  # for a tile's positions, growths and factors, whatever the form of the kernel
    for i in range(trials.n):
        arrays: list[Any] = []
        for series, rows, _ in trials.matrices:
            arrays += [series[rows[i] : rows[i] + 1], np.zeros(1, dtype=np.int64)]
        arrays.append(np.array([values[i] for values in trials.numbers], dtype=np.float64))
        arrays.append(np.array([values[i] for values in trials.wholes], dtype=np.int64))
        arrays += [warm[i : i + 1], states[i], kept[i], np.empty(room), np.empty(room)]
        if not plain_python:
            kernel(*bars, *arrays, 1)
            continue
        lists = [values.tolist() for values in arrays]
        kernel(*bars, *lists, 1)
        states[i], kept[i] = lists[-4], lists[-3]
    sums = {name: states[:, i].copy() for i, name in enumerate(layout.states)}
    return sums, kept if returns else None


def start(layout: Layout, trials: Trials) -> Floats:
    """Return each state at the window's start, shape (n_states, n_trials): flat, all in cash."""
    first: Mapping[str, tuple[float | None, bool]] = STATE
    states = np.empty((len(layout.states), trials.n))
    for state, name in zip(states, layout.states, strict=True):
        value = first[name][0]
        state[:] = trials.initial_cash if value is None else value
    return states


def packed(values: list[NDArray[Any]], n_batches: int, dtype: Any = np.float64) -> NDArray[Any]:
    """Return values per lane, flat from (n_batches, n_values, LANES): a batch's lanes beside each other."""
    out = aligned(max(len(values), 1) * n_batches * LANES, dtype)
    for i, own in enumerate(values):
        out.reshape(n_batches, len(values), LANES)[:, i] = own.reshape(n_batches, LANES)
    return out


def aligned(size: int, dtype: Any = np.float64) -> NDArray[Any]:
    """Return an empty array that starts on a cache line: a vector of eight that straddles two costs twice."""
    spare = np.empty(size + 8, dtype=dtype)
    skip = -spare.ctypes.data % 64 // 8
    return spare[skip : skip + size]
