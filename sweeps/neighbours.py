"""What lies one step beside a trial, on each axis and in each fold: a plateau or a spike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quantbot.errors import NotFoundError
from quantbot.parameters import Value
from sweeps.trial import Axis, Role

if TYPE_CHECKING:
    from sweeps.results import Run


@dataclass(frozen=True)
class Neighbour:
    """The trial one step away on one axis.

    Attributes
    ----------
    step
        -1 or +1.
    value
        The axis's value there; None beyond the edge of the grid.
    trial
        Its index; None where there is none: beyond the edge, or left out by the run's condition.
    state
        As `Run.row` says it; "beyond the edge" or "left out" without a trial.
    measures
        Of the neighbour; empty without a row.
    deltas
        The neighbour's measures minus this trial's.
    """

    axis: str
    step: int
    value: Value | None
    trial: int | None
    state: str
    measures: Mapping[str, float]
    deltas: Mapping[str, float]


@dataclass(frozen=True)
class Spread:
    """A measure over all folds of one role: its median and range, of `n` folds with a value among `n_folds`."""

    role: Role
    median: float
    low: float
    high: float
    n: int
    n_folds: int


def neighbours(run: Run, trial: int, measures: Sequence[str] | None = None) -> tuple[Neighbour, ...]:
    """Return the neighbours of a trial in the same fold of the same asset: two for each axis with an order.

    Parameters
    ----------
    measures
        Which to compare; the objective where not said.

    Returns
    -------
    In the order of the axes, the step down first. Points that were drawn have no neighbours: none then.
    """
    own = run.row(trial)
    names = list(measures or (run.objective,))
    stepped = [axis for axis in run.plan.axes if not axis.sampled and axis.kind != "choice"]
    return tuple(_neighbour(run, own, axis, step, names) for axis in stepped for step in (-1, 1))


def _neighbour(run: Run, own: Mapping[str, object], axis: Axis, step: int, names: list[str]) -> Neighbour:
    point: Mapping[str, Value] = own["point"]  # type: ignore[assignment]
    values = axis.values.tolist()
    at = values.index(point[axis.name]) + step
    if not 0 <= at < len(values):
        return Neighbour(axis.name, step, None, None, "beyond the edge", {}, {})
    try:
        trial = run.trial_index({**point, axis.name: values[at]}, str(own["asset"]), str(own["fold"]))
    except NotFoundError:
        return Neighbour(axis.name, step, values[at], None, "left out", {}, {})
    row = run.row(trial)
    mine: Mapping[str, float] = own["measures"]  # type: ignore[assignment]
    found = {name: row["measures"][name] for name in names}
    deltas = {name: value - mine[name] for name, value in found.items()}
    return Neighbour(axis.name, step, values[at], trial, row["state"], found, deltas)


def fold_spread(run: Run, trial: int, measure: str | None = None) -> tuple[Spread, ...]:
    """Return how a measure of a trial's point and asset varies over the folds of each role, in the plan's order."""
    plan = run.plan
    where = plan.trial(trial)
    folds = range(len(plan.folds))
    values = run.values(measure)[[plan.trial_index(where.point_index, where.asset_index, fold) for fold in folds]]
    found = []
    for role in dict.fromkeys(fold.role for fold in plan.folds):
        own = values[[fold.role == role for fold in plan.folds]]
        known = own[np.isfinite(own)]
        low, median, high = (float(f(known)) if known.size else np.nan for f in (np.min, np.median, np.max))
        found.append(Spread(role, median, low, high, known.size, own.size))
    return tuple(found)
