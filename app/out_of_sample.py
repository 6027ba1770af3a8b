"""Train beside test for the command: what the best trials came to in tests, and what choosing was worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app import format as fmt
from quantbot.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from sweeps.results import Run
    from sweeps.validation import Validation

_MOST_ASSETS = 10  # each is chosen for by itself: more of them are the surface page's


def train_beside_test(run: Run, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Return for each row the objective of its point on trains and tests: the median of several, NaN without any."""
    from sweeps.validation import on_splits

    found = [{"train": math.nan, "test": math.nan} for _ in rows]
    for asset in dict.fromkeys(row["asset"] for row in rows) if _has_tests(run) else ():
        own = [place for place, row in enumerate(rows) if row["asset"] == asset]
        points = [rows[place]["trial"] % run.plan.n_points for place in own]
        try:
            train, test = on_splits(run, points, asset=asset)
        except (InputError, NotFoundError):  # rows don't determine it over several folds, or the data are gone
            continue
        for column, place in enumerate(own):
            found[place] = {"train": _median(train[:, column]), "test": _median(test[:, column])}
    return found


def sentences(run: Run) -> list[str]:
    """Say for each asset what the choice on trains came to in tests; nothing for a run without folds."""
    if not _has_tests(run):
        return []
    if run.locked:
        return [f"the test is locked: `quantbot sweep unlock {run.short}` shows it, and puts the look on record"]
    try:
        found = _validations(run)
    except (InputError, NotFoundError) as error:
        return [f"out of sample: {error}"]
    said = [_sentence(run, one) for one in found]
    left_out = len(run.plan.assets) - len(found)
    said += [f"out of sample: {fmt.plural(left_out, 'more asset')}"] * (left_out > 0)
    return said + [f"seen by {look.who} on {fmt.day(look.at_ns)}: the test is no longer unseen" for look in run.looks()]


def document(run: Run) -> list[dict[str, Any]]:
    """Return the same for scripts, split by split."""
    if not _has_tests(run):
        return []
    try:
        found = _validations(run)
    except (InputError, NotFoundError):
        return []
    return [
        {
            "asset": one.asset,
            "measure": one.measure,
            "rule": one.rule,
            "out_of_sample": one.out_of_sample,
            "paths": one.paths.tolist(),
            "locked": one.locked,
            "splits": [
                {
                    "name": name,
                    "point": run.plan.points.point(int(one.chosen[place])) if one.chosen[place] >= 0 else None,
                    **{
                        column: float(getattr(one, column)[place])
                        for column in ("train", "test", "degradation", "rank", "slope", "correlation")
                    },
                }
                for place, name in enumerate(one.names)
            ],
        }
        for one in found
    ]


def _validations(run: Run) -> list[Validation]:
    from sweeps.validation import validate

    return [validate(run, asset=asset) for asset in run.plan.assets[:_MOST_ASSETS]]


def _sentence(run: Run, found: Validation) -> str:
    declared = run.measures[found.measure]

    def shown(value: float) -> str:
        return fmt.measure(value, declared)

    asset = f", {found.asset}" if len(run.plan.assets) > 1 else ""
    rule = "the plateau" if found.rule == "plateau" else "the best"
    choice = f"{rule} of each train" if len(found.names) > 1 else f"{rule} of the train"
    paths = found.paths[np.isfinite(found.paths)]
    over = f" (median of {fmt.plural(len(paths), 'path')}, {shown(paths.min())} to {shown(paths.max())})"
    worth = shown(found.out_of_sample) + over * (len(paths) > 1)
    rank, slope = _median(found.rank), _median(found.slope)
    beat = f"; better than {fmt.percent(rank, 0)} of all points there" if math.isfinite(rank) else ""
    steepness = f"{slope:+.2f}".replace("-", fmt.MINUS)
    line = f"; slope of test on train over all points {steepness}" if math.isfinite(slope) else ""
    return (
        f"out of sample{asset}: choosing {choice} gives {declared.label} {worth}; "
        f"train {shown(_median(found.train))}, test {shown(_median(found.test))}{beat}{line}"
    )


def _has_tests(run: Run) -> bool:
    return any(fold.role == "test" for fold in run.plan.folds)


def _median(values: Any) -> float:
    finite = np.asarray(values)[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else math.nan
