"""What a page, a report or a notebook shows of a run: reduced to what a screen can take, whatever the run's size.

run = open_run("s3://bucket/prefix", "sma-sp500")
overview.plane(run, "fast", "slow", most=200)
overview.slices(run, point=1204)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import InputError
from quantbot.parameters import Value
from sweeps import surface
from sweeps.surface import How, Plane, Window

if TYPE_CHECKING:
    from sweeps.results import Run

Floats = NDArray[np.float64]
Ranges = Mapping[str, tuple[float, float]]
LINES = 1_000  # of parallel coordinates: at 5,000 they are a smear, at 20,000 a browser takes 12 s (app.md, section 5)


@dataclass(frozen=True)
class Slice:
    """A measure along one axis.

    Attributes
    ----------
    axis
        Its name.
    values
        Shape (n,): the axis's values.
    middle, low, high
        Shape (n,): the measure in the fold that is shown, and its range over all folds but the rungs of a search,
        which have a history of their own. For drawn points, which lie on no lines: median and quartiles of all points
        in a bin.
    trials
        Shape (n,): the trial at each value; -1 where there is none.
    selected
        Which value is the selected point's; -1 where none is.
    through_point
        Whether the other settings are held at the selected point's.
    """

    axis: str
    values: NDArray[Any]
    middle: Floats
    low: Floats
    high: Floats
    trials: NDArray[np.int64]
    selected: int
    through_point: bool


@dataclass(frozen=True, eq=False)
class Sample:
    """Points for parallel coordinates.

    Attributes
    ----------
    points
        Shape (n_lines,): indices of points, the worst first, so that the best are drawn on top.
    values
        Shape (n_lines,): the measure, the median over folds and assets.
    top
        Shape (n_lines,): whether the point is among the best tenth of the lines.
    n_points
        How many points with a value there are.
    """

    points: NDArray[np.int64]
    values: Floats
    top: NDArray[np.bool_]
    n_points: int


@dataclass(frozen=True)
class Degradation:
    """What the points of a run came to in test, beside their train.

    Attributes
    ----------
    n_points
        Points with a value in both.
    train, test
        The median over points.
    correlation
        Spearman's rank correlation; NaN with fewer than three points or no variety.
    worse
        Share of points that are worse in test.
    """

    n_points: int
    train: float
    test: float
    correlation: float
    worse: float


def plane(
    run: Run,
    x: str,
    y: str = "",
    measure: str | None = None,
    *,
    how: How = "median",
    q: float = 0.5,
    at: Mapping[str, Value] | None = None,
    within: Ranges | None = None,
    fold: str | None = None,
    asset: str | None = None,
    window: Window | None = None,
    most: int | None = surface.MAX_CELLS,
) -> Plane:
    """Reduce a run to two axes: `sweeps.surface.plane`, told by names.

    Parameters
    ----------
    measure
        The objective where not said.
    within
        Only points in these ranges count: see `kept`.
    fold, asset
        One of them, or all that a choice may be made on: see `sweeps.results.Run`.
    """
    name = measure or run.objective
    slices = run.slices(fold, asset)
    shape = (-1, run.plan.n_points)
    values, state = run.values(name).reshape(shape), run.state.reshape(shape)
    if len(slices) == 1:  # a view: no copy of a million numbers
        values, state = values[slices[0] : slices[0] + 1], state[slices[0] : slices[0] + 1]
    else:
        values, state = values[slices], state[slices]
    return surface.plane(
        run.geometry, values, state, np.array(slices, np.int64) * run.plan.n_points, x=x, y=y, measure=name, how=how,
        q=q, better=better(run, name), at=at, keep=kept(run, within, name, fold, asset), window=window, most=most,
    )  # fmt: skip


def limits(run: Run, measure: str, fold: str | None = None) -> tuple[float, float]:
    """Return the ends of the colour scale: of the whole run, in all folds of the same role.

    They stay put while axes, pins and reductions move; a year's test is another matter than twenty years.
    """
    folds = run.plan.folds
    role = next((other.role for other in folds if other.name == fold), folds[0].role)
    alike = [index for index, other in enumerate(folds) if other.role == role]
    values = run.values(measure).reshape(-1, len(folds), run.plan.n_points)
    chosen = values if len(alike) == len(folds) else values[:, alike]
    return surface.colour_limits(chosen, signed=run.measures[measure].signed)


def point_values(run: Run, measure: str, fold: str | None = None, asset: str | None = None) -> Floats:
    """Return the measure of each point, shape (n_points,): the median over folds and assets; NaN where there is none.

    What is infinite is no number here.
    """
    rows = run.values(measure).reshape(-1, run.plan.n_points)
    slices = run.slices(fold, asset)
    found = rows[slices[0]] if len(slices) == 1 else surface.nanmedian(rows[slices])
    if np.isinf(found).any():
        found = np.where(np.isfinite(found), found, np.nan)
    return found


def kept(
    run: Run, within: Ranges | None, measure: str, fold: str | None = None, asset: str | None = None
) -> NDArray[np.bool_] | None:
    """Return which points lie in all ranges, shape (n_points,); None where nothing is filtered.

    Parameters
    ----------
    within
        By the name of an axis, closed ranges of its values (of a choice: of the indices of its words); by the name of
        a measure, closed ranges of the value that `point_values` gives.

    Raises
    ------
    InputError
        If a name is neither an axis nor a measure of the run.
    """
    if not within:
        return None
    keep = np.ones(run.plan.n_points, np.bool_)
    axes = {axis.name: axis for axis in run.plan.axes}
    for name, (low, high) in within.items():
        if name in axes:
            words = axes[name].kind == "choice"
            column = run.geometry.digits[run.geometry.index(name)] if words else run.plan.points.columns[name]
        elif name in run.plan.measures:
            column = point_values(run, name, fold, asset)
        else:
            raise InputError(f"a range needs an axis or a measure of run {run.short}; found {name!r}")
        keep &= (column >= low) & (column <= high)
    return keep


def slices(
    run: Run,
    point: int,
    measure: str,
    *,
    fold: str | None = None,
    asset: str | None = None,
    within: Ranges | None = None,
) -> tuple[Slice, ...]:
    """Return the measure along each axis through a point; for drawn points over the bins of each axis."""
    if run.geometry.sampled:
        return _binned_slices(run, point, measure, fold, asset, within)
    rows = run.values(measure).reshape(len(run.plan.assets), len(run.plan.folds), run.plan.n_points)
    own = run.slices(fold, asset)[0]
    asset_index, fold_index = divmod(own, len(run.plan.folds))
    digits = run.geometry.digits
    ranged = np.array([fold.role != "rung" or index == fold_index for index, fold in enumerate(run.plan.folds)])
    found = []
    for index, axis in enumerate(run.plan.axes):
        same = np.ones(run.plan.n_points, np.bool_)
        for other, column in enumerate(digits):
            if other != index:
                same &= column == column[point]
        points = np.flatnonzero(same)
        places = digits[index][points]
        line = np.full((len(run.plan.folds), len(axis)), np.nan)
        line[:, places] = rows[asset_index][:, points]
        line[~np.isfinite(line)] = np.nan
        trials = np.full(len(axis), -1, np.int64)
        trials[places] = points + own * run.plan.n_points
        own_folds = line[ranged]
        there = np.isfinite(own_folds).any(axis=0)
        low, high = np.full(len(axis), np.nan), np.full(len(axis), np.nan)
        low[there], high[there] = np.nanmin(own_folds[:, there], axis=0), np.nanmax(own_folds[:, there], axis=0)
        found.append(
            Slice(axis.name, axis.values, line[fold_index], low, high, trials, int(digits[index][point]), True)
        )
    return tuple(found)


def _binned_slices(
    run: Run, point: int, measure: str, fold: str | None, asset: str | None, within: Ranges | None
) -> tuple[Slice, ...]:
    found = []
    for axis in run.plan.axes:
        low, middle, high = (
            plane(run, axis.name, "", measure, how="quantile", q=q, within=within, fold=fold, asset=asset,
                  most=surface.MAX_BINS)
            for q in (0.25, 0.5, 0.75)
        )  # fmt: skip
        at = int(run.geometry.scale(axis.name)[0][point])
        selected = int(np.searchsorted(middle.x_edges, at, side="right")) - 1
        found.append(
            Slice(axis.name, middle.x_values, middle.value[0], low.value[0], high.value[0], middle.argbest[0],
                  selected, False)
        )  # fmt: skip
    return tuple(found)


def parallel_sample(
    run: Run, measure: str, *, fold: str | None = None, asset: str | None = None, within: Ranges | None = None,
    most: int = LINES,
) -> Sample:  # fmt: skip
    """Choose lines for parallel coordinates: the best ones, and others evenly by rank among the rest.

    Up to `most` points are all of them, the best tenth marked; of more, a tenth of the lines are the very best points.
    """
    values = point_values(run, measure, fold, asset)
    usable = np.isfinite(values)
    keep = kept(run, within, measure, fold, asset)
    points = np.flatnonzero(usable if keep is None else usable & keep)
    order = points[np.lexsort((-points, better(run, measure) * values[points]))]  # the worst first, ties by index
    n_lines = min(len(order), most)
    n_top = -(-n_lines // 10) if n_lines else 0
    rest = order[: len(order) - n_top]
    n_rest = n_lines - n_top
    others = rest[(np.arange(n_rest) * len(rest)) // max(n_rest, 1)] if n_rest else rest[:0]
    chosen = np.concatenate([others, order[len(order) - n_top :]])
    top = np.arange(n_lines) >= n_rest
    return Sample(chosen, values[chosen], top, len(points))


def degradation(
    run: Run, measure: str, *, train: str, test: str, asset: str | None = None, within: Ranges | None = None
) -> Degradation:
    """Compare all points in a train with the same points in a test, both named folds or roles."""
    before, after = (point_values(run, measure, fold, asset) for fold in (train, test))
    both = np.isfinite(before) & np.isfinite(after)
    keep = kept(run, within, measure, train, asset)
    if keep is not None:
        both &= keep
    before, after = before[both], after[both]
    if not before.size:
        return Degradation(0, np.nan, np.nan, np.nan, np.nan)
    worse = float((better(run, measure) * (after - before) < 0).mean())
    correlation = np.nan
    if before.size > 2 and np.ptp(before) > 0 and np.ptp(after) > 0:
        correlation = float(np.corrcoef(_ranks(before), _ranks(after))[0, 1])
    return Degradation(int(before.size), float(np.median(before)), float(np.median(after)), correlation, worse)


def better(run: Run, measure: str) -> int:
    """Return -1 where less of a measure is better, else +1."""
    return -1 if run.measures[measure].better < 0 else 1


def _ranks(values: Floats) -> Floats:
    """Return ranks; equal values share the mean of theirs."""
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - 0.5 * (counts - 1))[inverse] if distinct.size else values)
