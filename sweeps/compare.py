"""Two to six trials side by side: what is not the same, by how much they differ, and whether it is more than noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Points
from quantbot.errors import InputError, NotFoundError
from quantbot.measures import Measure
from quantbot.parameters import Value
from sweeps.surface import CellStatus, Geometry, How, Plane, plane
from sweeps.task import judged_folds
from sweeps.trial import Axis, is_condition

if TYPE_CHECKING:
    from sweeps.curves import TrialCurves
    from sweeps.results import Run

MOST = 6
_GRAVITY = np.zeros(max(CellStatus) + 1, np.int64)
_GRAVITY[[CellStatus.SKIPPED, CellStatus.NOT_RUN, CellStatus.FAILED, CellStatus.LOCKED]] = 1, 2, 3, 4


@dataclass(frozen=True, eq=False)
class Side:
    """One of the trials that are compared."""

    run: Run
    trial: int

    @cached_property
    def row(self) -> dict[str, Any]:
        """The trial as `Run.row` gives it."""
        return self.run.row(self.trial)

    @property
    def settings(self) -> dict[str, Value]:
        """Every setting in force: strategy parameters by name, the engine's dotted."""
        return {**self.run.plan.settings, **self.row["point"]}


@dataclass(frozen=True)
class Unlike:
    """Something that is not the same on all sides.

    Attributes
    ----------
    what
        "dataset", "data version", "asset", "strategy", "strategy source", "engine", "numeric profile", "fold",
        "period", "method of folds", or a setting of the engine ("execution.fee_bps").
    texts
        Each side's own.
    kind
        "data", "strategy", "engine", "costs" or "folds".
    """

    what: str
    texts: tuple[str, ...]
    kind: str


def side_of(run: Run, trial: int | None = None) -> Side:
    """Return a side: a trial, or a run's own choice where no trial is named: its plateau, else its best.

    Raises
    ------
    NotFoundError
        If the run has no such trial, or no trial with a value.
    """
    if trial is not None:
        if not 0 <= trial < run.plan.n_trials:
            raise NotFoundError(f"run {run.short} has trials 0 to {run.plan.n_trials - 1}, no trial {trial}")
        return Side(run, trial)
    asset, fold = run.plan.assets[0], judged_folds(run.plan)[0]
    found = run.plateau(fold=run.plan.folds[fold].name, asset=asset)
    if found is not None:
        return Side(run, run.plan.trial_index(found.point_index, 0, fold))
    best = run.best(1)
    if not best:
        raise NotFoundError(f"run {run.short} has no trial with a value yet")
    return Side(run, int(best[0]["trial"]))


def unlike(sides: Sequence[Side]) -> tuple[Unlike, ...]:
    """Return what is not the same beside the strategy's parameters; whoever compares should read it first."""
    found = []
    for kind, what, text in _ASPECTS:
        texts = tuple(text(side) for side in sides)
        if len(set(texts)) > 1:
            found.append(Unlike(what, texts, kind))
    settings = [side.settings for side in sides]
    for name in dict.fromkeys(name for own in settings for name in own if is_condition(name)):
        texts = tuple(_text(own.get(name)) for own in settings)
        if len(set(texts)) > 1:
            found.append(Unlike(name, texts, "costs"))
    return tuple(found)


def differing_parameters(sides: Sequence[Side]) -> dict[str, tuple[Value | None, ...]]:
    """Return the parameters of what decides that are not the same; None where a side has no such parameter."""
    settings = [side.settings for side in sides]
    names = dict.fromkeys(name for own in settings for name in own if not is_condition(name))
    found = {name: tuple(own.get(name) for own in settings) for name in names}
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def _is_rule(name: str) -> bool:
    """Return whether a setting says how orders are filled and what they cost, and nothing of what is wanted."""
    return name.startswith("execution.")


def common_measures(sides: Sequence[Side]) -> dict[str, tuple[Measure, tuple[float, ...]]]:
    """Return the measures that every side has: their declaration, and each side's value."""
    first, *others = (side.run.measures for side in sides)
    return {
        name: (declared, tuple(float(side.row["measures"][name]) for side in sides))
        for name, declared in first.items()
        if all(name in other for other in others)
    }


@dataclass(frozen=True, eq=False)
class Aligned:
    """Paths on the bars that all of them have.

    Attributes
    ----------
    ts_end_ns
        Shape (n_bars,): the common times.
    returns
        Shape (n_sides, n_bars): simple return from one common time to the next; the first one's from the bar before.
    n_left_out
        For each side, its bars that another side lacks.
    """

    ts_end_ns: NDArray[np.int64]
    returns: NDArray[np.float64]
    n_left_out: tuple[int, ...]

    @property
    def growth(self) -> NDArray[np.float64]:
        """What 1 of money became, shape (n_sides, n_bars)."""
        return np.asarray(np.cumprod(1.0 + self.returns, axis=1), dtype=np.float64)

    @property
    def ahead(self) -> NDArray[np.float64]:
        """How far each side is ahead of the first, as a share of the first's money, shape (n_sides, n_bars)."""
        growth = self.growth
        return np.asarray(growth / growth[0] - 1.0)


def aligned(curves: Sequence[TrialCurves]) -> Aligned:
    """Lay paths over each other; nothing is interpolated.

    Raises
    ------
    InputError
        If there is no common time.
    """
    times = reduce(np.intersect1d, [own.ts_end_ns for own in curves])
    if not times.size:
        raise InputError("these trials have no bar in common, so their paths can't be laid over each other")
    rows = []
    for own in curves:
        at = np.searchsorted(own.ts_end_ns, times)
        before = own.initial_cash if at[0] == 0 else float(own.equity[at[0] - 1])
        level = own.equity[at]
        rows.append(level / np.concatenate([[before], level[:-1]]) - 1.0)
    return Aligned(times, np.stack(rows), tuple(own.ts_end_ns.size - times.size for own in curves))


@dataclass(frozen=True, eq=False)
class Common:
    """The points that two runs share exactly.

    Attributes
    ----------
    axes
        Settings that both vary, with the values of the common points.
    points
        The common points.
    first, second
        Shape (n_points,): index of each in the first and in the second run.
    pinned
        Settings that only one of them varies, at the value that the other has.
    """

    axes: tuple[Axis, ...]
    points: Points
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    pinned: dict[str, Value]


def common_points(first: Run, second: Run) -> Common:
    """Match the points of two runs by their exact values: nothing is rounded, nothing is interpolated.

    Raises
    ------
    InputError
        If they vary nothing in common, or no point is in both.
    """
    a, b = first.plan, second.plan
    theirs = {axis.name: axis for axis in b.axes}
    axes = [axis for axis in a.axes if axis.name in theirs]
    if not axes:
        raise InputError("these runs vary no setting in common, so they share no point")
    pinned: dict[str, Value] = {}
    kept = []
    for own, other in ((a, b), (b, a)):
        mask = np.arange(own.n_points) < own.n_known
        for axis in own.axes:
            if axis.name not in other.points.columns:
                value = other.settings.get(axis.name)
                if value is None:
                    raise InputError(f"one run varies {axis.name}, which the other doesn't have at all")
                mask &= own.points.columns[axis.name] == value
                pinned[axis.name] = value
        kept.append(np.flatnonzero(mask))
    names = [axis.name for axis in axes]
    codes = _codes(
        [a.points.columns[name][kept[0]] for name in names], [b.points.columns[name][kept[1]] for name in names]
    )
    _, at, bt = np.intersect1d(codes[0], codes[1], return_indices=True)
    order = np.argsort(kept[0][at], kind="stable")
    rows, matches = kept[0][at][order], kept[1][bt][order]
    if not rows.size:
        told = ", ".join(f"{name} = {value}" for name, value in pinned.items())
        raise InputError(
            f"no point is in both runs: the values of {', '.join(names)} never meet{f' at {told}' if told else ''}"
        )
    columns = {name: a.points.columns[name][rows] for name in names}
    shown = tuple(Axis(axis.name, _kept(axis.values, columns[axis.name]), axis.kind, axis.sampled) for axis in axes)
    return Common(shown, Points(rows.size, columns), rows, matches, pinned)


def difference_plane(
    first: Run,
    second: Run,
    measure: str,
    x: str,
    y: str = "",
    *,
    how: How = "median",
    fold: str,
    asset: str,
    common: Common | None = None,
) -> Plane:
    """Reduce the difference of a measure, second minus first, to two of the common axes.

    Parameters
    ----------
    fold, asset
        Names that both runs have.

    Returns
    -------
    Its `argbest` counts trials of the second run.
    """
    found = common or common_points(first, second)
    values, states = [], []
    for run, points in ((first, found.first), (second, found.second)):
        trials = points + run.plan.trial_index(0, _index(run.plan.assets, asset, "asset"), _fold(run, fold))
        values.append(run.values(measure)[trials])
        states.append(run.state[trials])
    # A pair has a value only where both have one; else it is in the graver state of the two.
    worst = np.where(_GRAVITY[states[0]] >= _GRAVITY[states[1]], states[0], states[1]).astype(np.uint8)
    reduced = plane(
        Geometry.of(found.axes, found.points),
        (values[1] - values[0])[None],
        worst[None],
        np.zeros(1, np.int64),
        x=x,
        y=y,
        measure=measure,
        how=how,
        better=-1 if first.measures[measure].better < 0 else 1,
    )
    best = np.where(reduced.argbest >= 0, trials[reduced.argbest], -1)
    return replace(reduced, argbest=best)


def common_folds(first: Run, second: Run) -> list[str]:
    """Return the folds that both runs have by name, in the first one's order."""
    names = {fold.name for fold in second.plan.folds}
    return [fold.name for fold in first.plan.folds if fold.name in names]


def _codes(*columns: Sequence[NDArray[Any]]) -> tuple[NDArray[np.int64], ...]:
    """Return one number per point such that equal points, in whichever run, have equal numbers."""
    sizes = [own[0].shape[0] for own in columns]
    code = np.zeros(sum(sizes), np.int64)
    for parts in zip(*columns, strict=True):
        if len({part.dtype.kind == "U" for part in parts}) > 1:
            return tuple(
                np.arange(size) + 10**9 * number for number, size in enumerate(sizes)
            )  # text never is a number
        distinct, digits = np.unique(np.concatenate(parts), return_inverse=True)
        code = np.unique(code * distinct.size + digits, return_inverse=True)[1].astype(np.int64)
    return code[: sizes[0]], code[sizes[0] :]


def _kept(values: NDArray[Any], column: NDArray[Any]) -> NDArray[Any]:
    """Return the values of an axis that are left, in its own order."""
    return values[np.isin(values, column)]


def _fold(run: Run, name: str) -> int:
    return _index([fold.name for fold in run.plan.folds], name, "fold")


def _index(names: Sequence[str], name: str, noun: str) -> int:
    if name not in names:
        raise InputError(f"no {noun} {name!r} in one of the runs; it has {', '.join(names)}")
    return list(names).index(name)


def _day(ts_ns: int) -> str:
    return f"{datetime.fromtimestamp(ts_ns // 10**9, UTC):%Y-%m-%d}"


def _period(side: Side) -> str:
    fold = side.run.plan.trial(side.trial).fold
    return f"{_day(fold.start_ns)} to {_day(fold.end_ns - 1)}"


def _text(value: Value | None) -> str:
    return "not a setting of it" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _profile(side: Side) -> str:
    profile = side.run.plan.profile
    return ", ".join(f"{name} {profile[name]}" for name in sorted(profile) if isinstance(profile[name], str))


def _folded(side: Side) -> str:
    folds = side.run.plan.spec.folds
    return f"{folds.method}, purge {folds.purge}, embargo {folds.embargo}"


_ASPECTS: tuple[tuple[str, str, Callable[[Side], str]], ...] = (
    ("data", "dataset", lambda side: side.run.plan.dataset_name),
    ("data", "data version", lambda side: side.run.plan.dataset_version[:12]),
    ("data", "asset", lambda side: str(side.row["asset"])),
    ("strategy", "strategy", lambda side: side.run.plan.bundle.reference),
    ("strategy", "strategy source", lambda side: side.run.plan.bundle.digest[:12]),
    ("engine", "engine", lambda side: side.run.plan.engine),
    ("engine", "numeric profile", _profile),
    ("folds", "fold", lambda side: str(side.row["fold"])),
    ("folds", "period", _period),
    ("folds", "method of folds", _folded),
)
