"""Choosing again on each train, and what the choice was worth on its test.

A best trial says what was good in time that it was chosen on. Here every split chooses on its train alone, by one
rule, and its test says what that rule would have earned: per split, along the assembled path of all tests, and for
combinatorial purged cross-validation along each of its paths. Trains of several folds are pooled from rows
(`quantbot.selection.pooling`); nothing is run again, except for the curve of a path, which replays the chosen points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import get_engine
from quantbot.errors import InputError
from quantbot.selection.pooling import columns_of, pool
from sweeps.splits import FoldSplits, splits_of
from sweeps.surface import plateau
from sweeps.task import feed_of_plan, load_data, load_times

if TYPE_CHECKING:
    from sweeps.plan import Plan
    from sweeps.results import Run

Floats = NDArray[np.float64]
Rule = Literal["argmax", "plateau"] | Callable[[Floats], int | None]
_MAX_CELLS = 1 << 24  # of unions x points held at a time: 128 MB


@dataclass(frozen=True, eq=False)
class Validation:
    """What a rule of choice came to out of sample, on one asset.

    Arrays have shape (n_splits,) unless said otherwise; NaN where there is nothing to compare.

    Attributes
    ----------
    rule
        "argmax", "plateau", or the name of the function that chose.
    better
        +1 when more of the measure is better, -1 when less is.
    chosen
        Index of the point that each split chose on its train; -1 where no point has a value there.
    train, test
        The measure of the chosen point on the train that it was chosen on, and on the test.
    rank
        Share of the points with a value in the test that are worse there than the chosen one, ties by half: 0.5 is what
        a choice without skill comes to.
    slope, intercept, correlation
        Least squares over all points: test = intercept + slope * train. A slope near 0: what was better in the train
        was no better in the test.
    paths
        Shape (n_paths,): the measure of the whole path of tests, each bar once; NaN where rows don't determine it.
    locked
        Whether the test is hidden (see `Run.unlock`); what it says is NaN then.
    """

    asset: str
    measure: str
    better: int
    rule: str
    splits: FoldSplits
    chosen: NDArray[np.int64]
    train: Floats
    test: Floats
    rank: Floats
    slope: Floats
    intercept: Floats
    correlation: Floats
    paths: Floats
    locked: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What the splits are called."""
        return tuple(split.name for split in self.splits.splits)

    @property
    def degradation(self) -> Floats:
        """By how much the test is worse than the train, shape (n_splits,); negative where it is better."""
        return self.better * (self.train - self.test)

    @cached_property
    def out_of_sample(self) -> float:
        """The median of the measure over the paths; of one path its own."""
        found = self.paths[np.isfinite(self.paths)]
        return float(np.median(found)) if found.size else float("nan")


@dataclass(frozen=True, eq=False)
class OutOfSample:
    """One path through time, each bar traded with what was chosen without it.

    Attributes
    ----------
    ts_end_ns, returns
        Shape (n_bars,): the bars of all tests in time, and the simple return on equity of each.
    equity
        Shape (n_bars,): growth of 1, compounded over the tests; every test starts flat.
    split, point
        Shape (n_bars,): which split chose, and the index of its point.
    """

    ts_end_ns: NDArray[np.int64]
    returns: Floats
    equity: Floats
    split: NDArray[np.int64]
    point: NDArray[np.int64]


def validate(run: Run, *, asset: str | None = None, measure: str | None = None, rule: Rule | None = None) -> Validation:
    """Choose on the train of every split, and look at the tests.

    Parameters
    ----------
    asset
        Needed when the run has several: each is chosen for by itself.
    measure
        What is chosen by; the run's objective where not said.
    rule
        "argmax": the best point; of equals the first. "plateau": the point whose neighbourhood has the best worse
        half. A function of the values on the train, shape (n_points,), NaN where there is none, that returns a
        point's index or None. Where not said, the plateau on a grid and the argmax of drawn points, which have no
        neighbours.

    Raises
    ------
    InputError
        If the run has no train and test folds, or rows don't determine the measure over unions of folds.
    """
    asset = _the_asset(run, asset)
    measure = measure or run.objective
    splits = splits_of(run.plan)
    if not splits.splits:
        raise InputError(f"run {run.short} has no train and test; give its spec [folds], such as method = 'cpcv'")
    if rule is None:
        rule = "argmax" if run.geometry.sampled or not run.plan.axes else "plateau"
    table = _Rows(run, asset, measure)
    choose = _chooser(run, rule, table.better)
    n = len(splits.splits)
    chosen, own, lines = np.full(n, -1, np.int64), np.full((3, n), np.nan), np.full((3, n), np.nan)
    batch = max(1, _MAX_CELLS // (2 * run.plan.n_points))
    for start in range(0, n, batch):
        part = splits.splits[start : start + batch]
        trains = table.over([split.train for split in part])
        tests = table.over([split.test for split in part])
        for place, (train, test) in enumerate(zip(trains, tests, strict=True), start):
            point = choose(train)
            lines[:, place] = _regression(train, test)
            if point is not None:
                chosen[place] = point
                own[:, place] = train[point], test[point], _rank(test, point, table.better)
    return Validation(
        asset=asset,
        measure=measure,
        better=table.better,
        rule=rule if isinstance(rule, str) else getattr(rule, "__name__", "function"),
        splits=splits,
        chosen=chosen,
        train=own[0],
        test=own[1],
        rank=own[2],
        slope=lines[0],
        intercept=lines[1],
        correlation=lines[2],
        paths=_along(table, splits, chosen, refuse=False),
        locked=run.locked,
    )


def on_splits(
    run: Run, points: Sequence[int], *, asset: str | None = None, measure: str | None = None
) -> tuple[Floats, Floats]:
    """Return a measure of some points on the train and on the test of every split, chosen there or not.

    Returns
    -------
    Train and test, each of shape (n_splits, len(points)).
    """
    table = _Rows(run, _the_asset(run, asset), measure or run.objective, np.asarray(points, np.int64))
    splits = splits_of(run.plan).splits
    return table.over([split.train for split in splits]), table.over([split.test for split in splits])


def along_paths(run: Run, validation: Validation, measure: str = "sharpe") -> Floats:
    """Return a measure of each path of tests under the choices of `validation`, shape (n_paths,).

    Of a CPCV this is the distribution of the measure over backtest paths: Lopez de Prado (2018), section 12.4.

    Raises
    ------
    InputError
        If rows don't determine it over several folds.
    """
    return _along(_Rows(run, validation.asset, measure), validation.splits, validation.chosen, refuse=True)


def out_of_sample(run: Run, validation: Validation, paths: Sequence[int] | None = None) -> tuple[OutOfSample, ...]:
    """Return paths of tests bar by bar, by running the chosen points again on the folds that test them.

    Parameters
    ----------
    paths
        Which ones; all where not said. Splits that chose nothing leave a gap.

    Raises
    ------
    InputError
        If the holdout is locked.
    """
    if run.locked:
        raise InputError(f"the holdout of run {run.short} is locked; `quantbot sweep unlock {run.short}` opens it")
    wanted = range(len(validation.splits.paths)) if paths is None else paths
    followed = [[step for step in validation.splits.paths[path] if validation.chosen[step[0]] >= 0] for path in wanted]
    points_of: dict[int, set[int]] = {}
    for split, fold in (step for steps in followed for step in steps):
        points_of.setdefault(fold, set()).add(int(validation.chosen[split]))
    runs = {fold: _returns(run.plan, validation.asset, fold, sorted(points)) for fold, points in points_of.items()}
    return tuple(_laid_out(steps, validation.chosen, runs) for steps in followed)


def _returns(plan: Plan, asset: str, fold: int, points: list[int]) -> tuple[NDArray[np.int64], dict[int, Floats]]:
    """Return the ends of a fold's bars, and by point the return of each bar."""
    bars = load_data(plan, asset)
    window = plan.folds[fold].window(bars.ts_end_ns)
    chosen = plan.points.take(np.asarray(points, np.int64))
    found = get_engine(plan.engine).returns(plan.job(), bars, window, chosen)
    return bars.ts_end_ns[slice(*window)], dict(zip(points, found, strict=True))


def _laid_out(
    steps: Sequence[tuple[int, int]],
    chosen: NDArray[np.int64],
    runs: Mapping[int, tuple[NDArray[np.int64], Mapping[int, Floats]]],
) -> OutOfSample:
    times, returns = [np.empty(0, np.int64)], [np.empty(0)]
    split_of, point_of = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for split, fold in steps:
        ends, by_point = runs[fold]
        point = int(chosen[split])
        times.append(ends)
        returns.append(by_point[point])
        split_of.append(np.full(len(ends), split))
        point_of.append(np.full(len(ends), point))
    laid: Floats = np.concatenate(returns)
    return OutOfSample(
        np.concatenate(times),
        laid,
        np.asarray(np.cumprod(1.0 + laid)),
        np.concatenate(split_of),
        np.concatenate(point_of),
    )


class _Rows:
    """A measure of one asset's trials over unions of folds, of all points or of some."""

    def __init__(self, run: Run, asset: str, measure: str, points: NDArray[np.int64] | None = None) -> None:
        self._run, self._asset, self._measure, self._points = run, asset, measure, points
        self.values = self._column(measure)  # refuses a measure that rows don't have
        self.better = -1 if run.measures[measure].better < 0 else 1

    def over(self, unions: Sequence[tuple[int, ...]]) -> Floats:
        """Return the measure over each union of folds, shape (n_unions, n_points)."""
        if all(len(union) == 1 for union in unions):
            return np.asarray(self.values[[union[0] for union in unions]])
        return pool(self._measure, self._columns, self._n_bars, self._bars_per_year, unions)

    def along(self, steps: Sequence[tuple[int, int]], chosen: NDArray[np.int64]) -> float:
        """Return the measure of one path, its choices' rows on the folds that test them."""
        folds = [fold for _, fold in steps]
        points = [int(chosen[split]) for split, _ in steps]
        if min(points) < 0:
            return float("nan")
        if len(steps) == 1:
            return float(self.values[folds[0], points[0]])
        columns = {name: column[folds, points][:, None] for name, column in self._columns.items()}
        n_bars = self._n_bars[folds]
        return float(pool(self._measure, columns, n_bars, self._bars_per_year, [range(len(steps))])[0, 0])

    def _column(self, name: str) -> Floats:
        """Return a measure of this asset, shape (n_folds, n_points)."""
        plan = self._run.plan
        values = self._run.values(name).reshape(len(plan.assets), len(plan.folds), plan.n_points)
        own = values[plan.assets.index(self._asset)]
        return np.asarray(own if self._points is None else own[:, self._points])

    @cached_property
    def _columns(self) -> Mapping[str, Floats]:
        there = self._run.plan.measures
        return {name: self._column(name) for name in {*columns_of(self._measure), self._measure} if name in there}

    @cached_property
    def _n_bars(self) -> NDArray[np.int64]:
        windows = [fold.window(load_times(self._run.plan, self._asset)) for fold in self._run.plan.folds]
        return np.array([stop - start for start, stop in windows], np.int64)

    @cached_property
    def _bars_per_year(self) -> float:
        return feed_of_plan(self._run.plan).periods_per_year(self._asset)


def _along(table: _Rows, splits: FoldSplits, chosen: NDArray[np.int64], *, refuse: bool) -> Floats:
    try:
        return np.array([table.along(steps, chosen) for steps in splits.paths])
    except InputError:  # what a single test has may not be had over several
        if refuse:
            raise
        return np.full(len(splits.paths), np.nan)


def _chooser(run: Run, rule: Rule, better: int) -> Callable[[Floats], int | None]:
    if callable(rule):
        return rule
    if rule == "plateau":
        if run.geometry.sampled or not run.plan.axes:
            raise InputError(f"the points of run {run.short} are no grid, so they have no plateau; choose by argmax")

        def on_plateau(values: Floats) -> int | None:
            found = plateau(run.geometry, values, better=better, how="cvar")
            return None if found is None else found.point_index

        return on_plateau
    if rule != "argmax":
        raise InputError(f"rule must be argmax, plateau or a function, found {rule!r}")

    def best(values: Floats) -> int | None:
        there = np.isfinite(values)
        return int(np.argmax(np.where(there, better * values, -np.inf))) if there.any() else None

    return best


def _rank(test: Floats, point: int, better: int) -> float:
    there = better * test[np.isfinite(test)]
    own = better * test[point]
    if not np.isfinite(own):
        return float("nan")
    n_others = there.size - 1
    worse, equal = np.count_nonzero(there < own), np.count_nonzero(there == own) - 1
    return float((worse + 0.5 * equal) / n_others) if n_others else float("nan")


def _regression(train: Floats, test: Floats) -> tuple[float, float, float]:
    """Return slope, intercept and correlation of test on train over the points that have both."""
    there = np.isfinite(train) & np.isfinite(test)
    x, y = train[there], test[there]
    nothing = (float("nan"),) * 3
    if x.size < 3:
        return nothing
    dx, dy = x - x.mean(), y - y.mean()
    xx, xy, yy = float((dx * dx).sum()), float((dx * dy).sum()), float((dy * dy).sum())
    if not (xx > 0.0 and yy > 0.0):
        return nothing
    slope = xy / xx
    return slope, float(y.mean() - slope * x.mean()), xy / (xx * yy) ** 0.5


def _the_asset(run: Run, asset: str | None) -> str:
    assets = run.plan.assets
    if asset is None and len(assets) == 1:
        return assets[0]
    if asset not in assets:
        raise InputError(f"say which asset: {', '.join(assets[:20])}; found {asset!r}")
    return asset
