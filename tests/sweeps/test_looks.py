"""A locked holdout shows nothing of its test, anywhere, until somebody puts a name to a look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datasets.catalog import open_dataset
from datasets.publish import open_xarray
from datasets.store import Store
from quantbot.errors import CorruptError, InputError
from sweeps.executors import serial
from sweeps.results import Run, open_run, run_status
from sweeps.run import drive
from sweeps.runstore import RunStore
from sweeps.surface import CellStatus
from sweeps.validation import out_of_sample, validate

LOCKED = {"method": "holdout", "test": "25%", "locked": True}


@pytest.fixture
def run(root: Store, small: Any) -> Run:
    with serial() as executor:
        drive(root, small.submit(root, {**small.spec, "folds": LOCKED}, 64), executor)
    return open_run(root, "small")


def test_locked__hides_the_test_from_every_read(run: Run) -> None:
    assert [fold.name for fold in run.plan.folds] == ["train", "test"]
    assert run.locked
    test = run.trial_index({"fast": 3, "slow": 8, "execution.fee_bps": 0}, "AAA", "test")
    row = run.row(test)
    assert (row["state"], row["reason"]) == ("locked", "")
    assert np.isnan([row["value"], *row["measures"].values()]).all()
    for measure in run.measures:
        assert np.isnan(run.surface(measure, fold="test")).all()
        assert not np.isnan(run.surface(measure, fold="train")).all()
    data = run.to_xarray().sel(fold="test")
    assert all(np.isnan(data[name]).all() for name in run.measures)
    assert set(np.unique(data.status)) == {CellStatus.LOCKED, CellStatus.EXCLUDED}
    plane = run.plane("fast", "slow", fold="test")
    assert np.isnan(plane.value).all()
    assert (plane.status[plane.n_planned > 0] == CellStatus.LOCKED).all()
    assert run.best(5, fold="test") == []
    assert run.plateau(fold="test") is None
    assert set(run.table(limit=10_000, fold="test")["state"]) == {"locked"}
    assert run.table(state="locked", limit=10_000).shape[0] == run.plan.n_trials // 2
    with pytest.raises(InputError, match="tests a locked holdout; `quantbot sweep unlock"):
        run.replay(test)
    found = validate(run, asset="AAA")
    assert found.locked
    assert np.isfinite(found.train).all()
    assert np.isnan([*found.test, *found.rank, *found.slope, *found.paths]).all()
    with pytest.raises(InputError, match="is locked"):
        out_of_sample(run, found)


def test_locked__publishes_no_row_of_the_test(run: Run) -> None:
    data = open_xarray(RunStore(run._store.root, run.identity).store, "rows.zarr")
    for name in run.measures:
        assert np.isnan(data[name].sel(fold="test")).all()
        assert np.isfinite(data[name].sel(fold="train")).any()


def test_locked__shows_no_failure_of_the_test(root: Store, small: Any, strategy_file: Callable[[str], str]) -> None:
    price = float(open_dataset("test/small", root).bars("AAA").close[-3])
    late = strategy_file(f"if close == {price!r}:\n    raise ValueError('too late')\nreturn 1.0")
    spec = {
        **small.spec,
        "strategy": {"name": late, "plain_python": True},
        "parameters": {"fast": {"values": [5, 6]}},
        "search": {},
        "folds": LOCKED,
    }
    with serial() as executor:
        drive(root, small.submit(root, spec, 64), executor)
    run = open_run(root, "small")
    assert run.failures().empty
    assert set(run.table(fold="test")["reason"]) == {""}
    run.unlock("Ada")
    assert run.failures()["n_trials"].tolist() == [2]


def test_best__is_chosen_on_the_train(run: Run) -> None:
    assert {row["fold"] for row in run.best(5)} == {"train"}
    best = run_status(run._store.root, run.identity).best_trial
    assert best == run.best(1)[0]["trial"]


def test_unlock__shows_the_rows_that_an_open_holdout_has_and_writes_who_looked(
    run: Run, root: Store, small: Any
) -> None:
    assert run.looks() == ()
    look = run.unlock("  Ada   Lovelace ")
    assert (look.who, look.run) == ("Ada Lovelace", run.identity)
    assert not run.locked
    again = open_run(root, run.identity)
    assert not again.locked
    assert again.looks() == (look,)
    with serial() as executor:
        drive(root, small.submit(root, {**small.spec, "run": {"name": "open"}}, 64), executor)
    there = open_run(root, "open")
    for opened in (run, again):
        for measure in run.measures:
            ours, theirs = opened.surface(measure, fold="test"), there.surface(measure, fold="test")
            assert np.array_equal(ours.values, theirs.values, equal_nan=True)
    assert again.replay(run.plan.n_trials - 1, strict=True).equal


def test_looks__are_one_a_person_and_stay_what_they_were(run: Run) -> None:
    first = run.unlock("Ada")
    second = run.unlock("Bob")
    assert run.unlock("Ada") == first  # the first look counts, and is not replaced
    assert run.looks() == (first, second)


def test_unlock__refuses_what_is_not_locked_not_finished_or_nobody(run: Run, root: Store, small: Any) -> None:
    with pytest.raises(InputError, match="must have 1 to 200 characters, had 0"):
        run.unlock("  ")
    identity = small.submit(root, {**small.spec, "folds": {**LOCKED, "purge": 1}})
    with pytest.raises(InputError, match="is not finished"):
        open_run(root, identity).unlock("Ada")
    with pytest.raises(InputError, match="has no locked holdout"):
        open_run(root, small.submit(root)).unlock("Ada")


def test_looks__of_another_run_are_refused(run: Run) -> None:
    run._store.put_first("looks/0000.json", b'{"at_ns":1,"run":"00","who":"Eve"}')
    with pytest.raises(CorruptError, match="is a look at run 00"):
        run.looks()
    run._store.store.put("looks/0000.json", b'{"at_ns":1,"run":"00","who":"Eve"}')
    with pytest.raises(CorruptError, match=r"looks/0000\.json is not what was written there"):
        run.looks()
