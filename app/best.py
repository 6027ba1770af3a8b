"""The best of a run as a table: each trial with what lies around it, and with its test where there is one."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from app import format as fmt
from app import terminal

if TYPE_CHECKING:
    from sweeps.results import Run

# Shown beside the objective, where the run has them.
_BESIDE = ("cagr", "max_drawdown", "n_trades")


def judged_fold(run: Run) -> str:
    """Return the fold on which a best is chosen: the train of a holdout, so that its test stays one; else the whole."""
    from sweeps.task import judged_folds

    return run.plan.folds[judged_folds(run.plan)[0]].name


def best_trials(run: Run, n: int = 10) -> list[dict[str, Any]]:
    """Return the best trials as `Run.best` does, each with its neighbourhood and its test.

    Keys beyond those of `Run.row`: `around` (median of the objective over the trial and its grid neighbours),
    `worst_around`, `n_neighbours` (0 and NaN for sampled points), and `train` and `test` (the objective of the same
    point and asset there; the median where there are several; NaN where there is none).
    """
    from app.out_of_sample import train_beside_test
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
    for row, beside in zip(best, train_beside_test(run, best), strict=True):
        row |= beside
    return best


def show_best(run: Run, n: int = 10) -> None:
    """Print the best trials with the plateau around them, and what choosing like this came to out of sample."""
    from app.out_of_sample import sentences

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
    # A holdout's train is the value itself.
    beside_value = [role for role in ("train", "test") if any(fold.role == role for fold in run.plan.folds)]
    beside_value = [role for role in beside_value if role != rows[0]["role"]]
    grid = any(row["n_neighbours"] for row in rows)
    columns = ["trial", *["asset"] * (len(run.plan.assets) > 1), *names, objective.label]
    columns += [*["around", "worst around"] * grid, *beside_value, *(measure.label for measure in beside)]
    table = []
    for row in rows:
        shown = [row["value"], *[row["around"], row["worst_around"]] * grid, *(row[role] for role in beside_value)]
        asset = [row["asset"]] * (len(run.plan.assets) > 1)
        settings = [fmt.value(row["point"][name]) for name in names]
        others = [fmt.measure(row["measures"][measure.name], measure) for measure in beside]
        cells = [str(row["trial"]), *asset, *settings, *(fmt.measure(value, objective) for value in shown), *others]
        table.append(cells)
    terminal.print_table(columns, table, title=title, right=[name for name in columns if name != "asset"])
    for sentence in _chosen(run):
        terminal.say(sentence)
    for sentence in sentences(run):
        terminal.say(sentence)
    if len(beside_value) > 1:
        terminal.note("train, test: medians over the folds; the rank is by the whole period, which contains them all")
    if grid:
        terminal.note("around: the median over a trial and its neighbours on the grid, one step away on each axis")


def _chosen(run: Run) -> list[str]:
    """Say what to choose and how much of it is luck; of an unfinished run, where its best neighbourhood is so far."""
    from app.luck import luck_sentences

    if run.manifest is not None:
        return luck_sentences(run, run.luck(compute=False))
    sentence = plateau_sentence(run)
    return [*([sentence] if sentence else []), "luck: unknown till the run is finished"]


def plateau_sentence(run: Run) -> str | None:
    """Say which point has the best neighbourhood; None for sampled points."""
    plateau = run.plateau(fold=judged_fold(run))
    if plateau is None:
        return None
    declared = run.measures[run.objective]
    score, worst = fmt.measure(plateau.score, declared), fmt.measure(plateau.worst, declared)
    return (
        f"plateau: {fmt.point(plateau.point)} with {declared.label} {fmt.measure(plateau.value, declared)};"
        f" worse half of it and its {fmt.plural(plateau.n_neighbours, 'neighbour')} {score} on average, worst {worst}"
    )


def plateau_document(run: Run) -> dict[str, Any] | None:
    """Return the plateau for scripts."""
    plateau = run.plateau(fold=judged_fold(run))
    return None if plateau is None else {"fold": judged_fold(run), **asdict(plateau)}


def _fold(run: Run) -> int:
    return [fold.name for fold in run.plan.folds].index(judged_fold(run))
