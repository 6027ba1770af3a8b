"""The best of a run as a table: each trial with what lies around it, and with its test where there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from app import format as fmt
from app import terminal

if TYPE_CHECKING:
    from quantbot.parameters import Value
    from sweeps.results import Run
    from sweeps.trial import Axis

# Shown beside the objective, where the run has them.
_BESIDE = ("cagr", "max_drawdown", "n_trades")


def judged_fold(run: Run) -> str:
    """Return the fold on which a best is chosen: the train of a holdout, so that its test stays one; else the whole.

    A walk-forward has many trains; its whole period is what all its points share.
    """
    trains = [fold.name for fold in run.plan.folds if fold.role == "train"]
    return trains[0] if len(trains) == 1 else run.plan.folds[0].name


def best_trials(run: Run, n: int = 10) -> list[dict[str, Any]]:
    """Return the best trials as `Run.best` does, each with its neighbourhood and its test.

    Keys beyond those of `Run.row`: `around` (median of the objective over the trial and its grid neighbours),
    `worst_around`, `n_neighbours` (0 and NaN for sampled points), and `test` (the objective of the same point and
    asset in the test of a holdout, else NaN).
    """
    from sweeps.surface import neighbourhood

    best = run.best(n, fold=judged_fold(run))
    values = run.values().reshape(-1, run.plan.n_points)
    better = -1 if run.measures[run.objective].better < 0 else 1
    grid = not run.geometry.sampled and bool(run.plan.axes)
    around: dict[int, Any] = {}
    for row in best:
        where, point = divmod(row["trial"], run.plan.n_points)
        if grid and where not in around:
            around[where] = neighbourhood(run.geometry, values[where], better=better)
        median, worst, count = (column[point] for column in around[where]) if grid else (math.nan, math.nan, 0)
        row |= {"around": float(median), "worst_around": float(worst), "n_neighbours": int(count)}
        test = _test_of(run, row)
        row["test"] = math.nan if test is None else float(values[test, point])
    return best


def _test_of(run: Run, row: Mapping[str, Any]) -> int | None:
    """Return the slice (an asset in a fold) that tests a trial chosen on the train of a holdout."""
    if row["role"] != "train":
        return None
    tests = [index for index, fold in enumerate(run.plan.folds) if fold.role == "test"]
    return run.plan.assets.index(row["asset"]) * len(run.plan.folds) + tests[0]


def show_best(run: Run, n: int = 10) -> None:
    """Print the best trials with the plateau around them."""
    rows = best_trials(run, n)
    objective = run.measures[run.objective]
    if not rows:
        terminal.say("no trial has a value yet")
        return
    fold = "" if rows[0]["role"] == "all" else f" on fold {rows[0]['fold']}"
    n_looked = int(np.isfinite(run.values()).reshape(len(run.plan.assets), -1, run.plan.n_points)[:, _fold(run)].sum())
    title = f"best by {objective.label}{fold}, of {fmt.plural(n_looked, 'trial')} with a value"
    beside = [run.measures[name] for name in _BESIDE if name in run.measures and name != run.objective]
    names = [axis.name for axis in run.plan.axes]
    tested = rows[0]["role"] == "train"
    grid = any(row["n_neighbours"] for row in rows)
    columns = ["trial", *["asset"] * (len(run.plan.assets) > 1), *names, objective.label]
    columns += [*["around", "worst around"] * grid, *["test"] * tested, *(measure.label for measure in beside)]
    table = []
    for row in rows:
        shown = [row["value"], *[row["around"], row["worst_around"]] * grid, *[row["test"]] * tested]
        asset = [row["asset"]] * (len(run.plan.assets) > 1)
        settings = [fmt.value(row["point"][name]) for name in names]
        others = [fmt.measure(row["measures"][measure.name], measure) for measure in beside]
        cells = [str(row["trial"]), *asset, *settings, *(fmt.measure(value, objective) for value in shown), *others]
        table.append(cells)
    terminal.print_table(columns, table, title=title, right=[name for name in columns if name != "asset"])
    if (sentence := plateau_sentence(run)) is not None:
        terminal.say(sentence)
    if grid:
        terminal.note("around: the median over a trial and its neighbours on the grid, one step away on each axis")


def plateau_sentence(run: Run) -> str | None:
    """Say which point has the best neighbourhood; None for sampled points."""
    plateau = run.plateau(fold=judged_fold(run))
    if plateau is None:
        return None
    declared = run.measures[run.objective]
    median, worst = fmt.measure(plateau.score, declared), fmt.measure(plateau.worst, declared)
    at_edge = [axis.name for axis in run.plan.axes if _is_edge(axis, plateau.point[axis.name])]
    edge = f"; {' and '.join(at_edge)} at the edge of the grid: widen it" if at_edge else ""
    return (
        f"plateau: {fmt.point(plateau.point)} with {declared.label} {fmt.measure(plateau.value, declared)};"
        f" median of it and its {fmt.plural(plateau.n_neighbours, 'neighbour')} {median}, worst {worst}{edge}"
    )


def _is_edge(axis: Axis, value: Value) -> bool:
    """Whether a strategy's parameter is at an end of its values; a cost is often at its lowest and means nothing."""
    ranged = axis.kind != "choice" and "." not in axis.name and len(axis) > 2
    return ranged and value in (axis.values[0].item(), axis.values[-1].item())


def plateau_document(run: Run) -> dict[str, Any] | None:
    """Return the plateau for scripts."""
    plateau = run.plateau(fold=judged_fold(run))
    return None if plateau is None else {"fold": judged_fold(run), **asdict(plateau)}


def _fold(run: Run) -> int:
    return [fold.name for fold in run.plan.folds].index(judged_fold(run))
