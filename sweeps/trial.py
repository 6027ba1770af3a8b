"""What a plan is made of: folds, axes, blocks and trials; identity, never results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quantbot.parameters import Kind, Value

Role = Literal["all", "train", "test", "rung"]
Trim = Literal["", "start", "end", "both"]
_CONDITIONS = ("execution", "guards")  # sections
Column = NDArray[Any]  # int64, float64 or text


def is_condition(name: str) -> bool:
    """Return whether a setting says under which conditions a trial trades, costs for instance, not what it decides.

    Examples
    --------
    >>> is_condition("execution.fee_bps"), is_condition("optimise.beta"), is_condition("fast")
    (True, False, False)
    """
    return name.partition(".")[0] in _CONDITIONS


@dataclass(frozen=True, order=True)
class Fold:
    """A range of time in which trials are evaluated.

    Attributes
    ----------
    name
        Unique in its plan: "all", "train", "test", "train 1", "test 1", "train 1 before test", ..., "rung 1", ...
    start_ns, end_ns
        Nanoseconds UTC, half-open: a bar belongs to the fold if ``start_ns <= ts_end_ns < end_ns``.
    group
        Which of a k-fold's or a CPCV's neighbouring groups this is, counted from 1; 0 for other methods.
    trim
        Where a training group is cut because a test lies beside it (see `sweeps.folds`).
    """

    name: str
    role: Role
    start_ns: int
    end_ns: int
    group: int = 0
    trim: Trim = ""

    def window(self, ts_end_ns: NDArray[np.int64]) -> tuple[int, int]:
        """Return the half-open range of bars that belong to this fold.

        Examples
        --------
        >>> Fold("all", "all", 20, 40).window(np.array([10, 20, 30, 40]))
        (1, 3)
        """
        start, stop = np.searchsorted(ts_end_ns, [self.start_ns, self.end_ns])
        return int(start), int(stop)


@dataclass(frozen=True, eq=False)
class Axis:
    """One setting that varies between the points of a plan.

    Attributes
    ----------
    name
        A strategy's parameter ("fast") or a dotted setting of the engine ("execution.fee_bps").
    values
        Its distinct values, shape (n_values,): int64 or float64, rising, or text in the spec's order.
    kind
        As declared: "integer", "number" or "choice".
    sampled
        Whether the points were drawn (`values` are then what was drawn), not laid out on a grid.
    """

    name: str
    values: Column
    kind: Kind
    sampled: bool = False

    def __len__(self) -> int:
        return int(self.values.shape[0])


@dataclass(frozen=True)
class Block:
    """The unit of work, of commit and of retry: neighbouring points of one asset in one fold.

    Attributes
    ----------
    point_start, point_stop
        Half-open range of the plan's points.
    trial_start, trial_stop
        Half-open range of trial indices.
    """

    index: int
    asset: str
    fold: Fold
    point_start: int
    point_stop: int
    trial_start: int
    trial_stop: int
    asset_index: int = 0
    fold_index: int = 0

    @property
    def n_trials(self) -> int:
        """Number of trials in this block."""
        return self.trial_stop - self.trial_start


@dataclass(frozen=True)
class Trial:
    """One point in one fold of one asset; made on demand, since a plan of a million trials is arrays.

    Attributes
    ----------
    index
        Its place among all trials: ``(asset_index * n_folds + fold_index) * n_points + point_index``.
    point
        The settings that vary, by name, as plain values.
    """

    index: int
    asset: str
    fold: Fold
    point: tuple[tuple[str, Value], ...]
    asset_index: int = 0
    fold_index: int = 0
    point_index: int = 0

    @property
    def settings(self) -> dict[str, Value]:
        """The point as a mapping."""
        return dict(self.point)


@dataclass(frozen=True)
class Estimate:
    """What a plan will cost.

    Attributes
    ----------
    core_seconds
        Seconds of one core for the whole run, without the readers' and the cluster's overhead.
    memory_bytes
        Upper bound of what one block needs in a worker: its data, its kernel's state and its rows.
    data_bytes
        Decoded bytes of the largest asset's bars.
    rows_bytes
        Bytes of all rows in the run store.
    n_bars
        Bars that all trials step over, history before a fold not counted: the sum over trials.
    """

    core_seconds: float
    memory_bytes: int
    data_bytes: int
    rows_bytes: int
    n_bars: int
