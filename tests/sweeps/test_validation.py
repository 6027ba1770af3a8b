"""Choosing again on each train: against returns laid end to end, and on surfaces with a planted answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from datasets.store import Store
from quantbot.engine import get_engine
from quantbot.errors import InputError
from sweeps.executors import serial
from sweeps.results import Run, open_run
from sweeps.run import drive
from sweeps.task import load_data
from sweeps.validation import along_paths, out_of_sample, validate

METHODS: dict[str, dict[str, Any]] = {
    "holdout": {"method": "holdout", "test": "25%", "purge": 2},
    "walk_forward": {"method": "walk_forward", "n": 4, "window": "anchored", "purge": 2},
    "kfold": {"method": "kfold", "n": 4, "purge": 3, "embargo": 5},
    "cpcv": {"method": "cpcv", "groups": 6, "test_groups": 2, "purge": 3, "embargo": 5},
}


@pytest.fixture(scope="module")
def store(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    root: Store = small.root(tmp_path_factory.mktemp("validation"))
    with serial() as executor:
        for name, folds in METHODS.items():
            drive(root, small.submit(root, {**small.spec, "run": {"name": name}, "folds": folds}, 64), executor)
        whole = {**small.spec, "run": {"name": "whole"}, "folds": {"method": "none"}}
        drive(root, small.submit(root, whole, 64), executor)
    return root


def returns_of(run: Run, asset: str, folds: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Lay the returns of all points end to end over some folds: the slow, obvious twin."""
    bars = load_data(run.plan, asset)
    engine, job = get_engine(run.plan.engine), run.plan.job()
    windows = [run.plan.folds[fold].window(bars.ts_end_ns) for fold in folds]
    return np.concatenate([engine.returns(job, bars, window, run.plan.points) for window in windows], axis=1)


def sharpe_of(returns: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return returns.mean(axis=-1) / returns.std(axis=-1, ddof=1) * math.sqrt(252)


@pytest.mark.parametrize("method", METHODS)
def test_validate__chooses_on_the_train_alone_and_measures_on_the_test(store: Store, method: str) -> None:
    run = open_run(store, method)
    found = validate(run, asset="BBB", rule="argmax")
    assert len(found.names) == {"holdout": 1, "walk_forward": 4, "kfold": 4, "cpcv": 15}[method]
    for place, split in enumerate(found.splits.splits):
        train = sharpe_of(returns_of(run, "BBB", split.train))
        test = sharpe_of(returns_of(run, "BBB", split.test))
        chosen = int(found.chosen[place])
        assert chosen == int(np.nanargmax(train))
        assert found.train[place] == pytest.approx(train[chosen], rel=1e-10)
        assert found.test[place] == pytest.approx(test[chosen], rel=1e-10)
        worse, equal = (test < test[chosen]).sum(), (np.abs(test - test[chosen]) < 1e-12).sum() - 1
        assert found.rank[place] == pytest.approx((worse + equal / 2) / (len(test) - 1), abs=0.02)
        slope, intercept = np.polyfit(train, test, 1)
        assert found.slope[place] == pytest.approx(slope, rel=1e-8)
        assert found.intercept[place] == pytest.approx(intercept, rel=1e-8)
        assert found.correlation[place] == pytest.approx(np.corrcoef(train, test)[0, 1], rel=1e-8)
    assert np.array_equal(found.degradation, found.train - found.test)


@pytest.mark.parametrize("method", METHODS)
def test_paths__are_the_chosen_points_replayed_over_every_test_bar_once(store: Store, method: str) -> None:
    run = open_run(store, method)
    found = validate(run, asset="AAA")
    paths = out_of_sample(run, found)
    assert len(paths) == {"holdout": 1, "walk_forward": 1, "kfold": 1, "cpcv": 5}[method]
    times = load_data(run.plan, "AAA").ts_end_ns
    tested = [fold.window(times) for fold in run.plan.folds if fold.role == "test"]
    bars = np.concatenate([times[slice(*window)] for window in tested])
    sharpes = along_paths(run, found)
    for path, sharpe, value in zip(paths, sharpes, found.paths, strict=True):
        assert np.array_equal(path.ts_end_ns, bars)
        assert sharpe == value == pytest.approx(float(sharpe_of(path.returns)), rel=1e-10)
        assert path.equity[-1] == pytest.approx(np.prod(1.0 + path.returns), rel=1e-12)
        assert np.array_equal(path.point, found.chosen[path.split])
    assert found.out_of_sample == np.median(found.paths)
    grown = along_paths(run, found, "total_return")
    assert grown == pytest.approx([path.equity[-1] - 1.0 for path in paths], rel=1e-10)


def test_paths__of_a_test_are_what_its_stored_row_says(store: Store) -> None:
    run = open_run(store, "walk_forward")
    found = validate(run, asset="AAA")
    (path,) = out_of_sample(run, found)
    for split, fold in found.splits.paths[0]:
        trial = run.plan.trial_index(int(found.chosen[split]), 0, fold)
        replayed = run.replay(trial, strict=True)
        own = path.returns[path.split == split]
        equity = np.cumprod(1.0 + own) * replayed.curves["equity"][0] / (1.0 + own[0])
        np.testing.assert_allclose(equity, replayed.curves["equity"], rtol=1e-12)


def test_validate__is_deterministic(store: Store) -> None:
    one, two = (validate(open_run(store, "cpcv"), asset="AAA") for _ in range(2))
    for name in ("chosen", "train", "test", "rank", "slope", "paths"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


def planted(run: Run, train: np.ndarray[Any, Any], test: np.ndarray[Any, Any]) -> Run:
    """Put surfaces of our own in place of a run's rows."""
    plan = run.plan
    shape = (len(plan.assets), len(plan.folds), plan.n_points)
    values = np.empty(shape)
    for place, fold in enumerate(plan.folds):
        values[:, place] = test if fold.role == "test" else train
    run.values = lambda measure=None: values.ravel()  # type: ignore[method-assign,misc,assignment]
    return run


def test_validate__on_a_spike_beside_a_plateau_goes_where_the_rule_says(store: Store) -> None:
    run = open_run(store, "walk_forward")
    columns = run.plan.points.columns
    hill = -np.abs(columns["fast"] - 8.0)
    spike = (columns["fast"] == 3) & (columns["slow"] == 32) & (columns["execution.fee_bps"] == 0)
    run = planted(run, np.where(spike, 9.0, hill), np.where(spike, -20.0, hill))
    top = validate(run, asset="AAA", rule="argmax")
    assert spike[top.chosen].all()
    assert (top.degradation == 29.0).all()
    assert (top.rank == 0.0).all()
    broad = validate(run, asset="AAA")
    assert broad.rule == "plateau"
    assert (columns["fast"][broad.chosen] == 8).all()
    assert (broad.degradation == 0.0).all()


def test_validate__takes_a_rule_of_ones_own(store: Store) -> None:
    def third(values: Any) -> int:
        return 3

    found = validate(open_run(store, "kfold"), asset="AAA", rule=third)
    assert found.rule == "third"
    assert (found.chosen == 3).all()
    nothing = validate(open_run(store, "kfold"), asset="AAA", rule=lambda values: None)
    assert (nothing.chosen == -1).all()
    assert np.isnan([*nothing.train, *nothing.paths, nothing.out_of_sample]).all()
    assert out_of_sample(open_run(store, "kfold"), nothing)[0].returns.size == 0


def test_validate__knows_that_less_drawdown_is_better(store: Store) -> None:
    run = open_run(store, "kfold")
    found = validate(run, asset="AAA", measure="max_drawdown", rule="argmax")
    values = run.values("max_drawdown").reshape(2, -1, run.plan.n_points)[0]
    trains = [values[list(split.train)].max(axis=0) for split in found.splits.splits]
    assert found.chosen.tolist() == [int(np.argmin(train)) for train in trains]
    assert np.array_equal(found.degradation, found.test - found.train)


def test_validate__of_a_partial_run_has_no_value_where_a_fold_is_missing(store: Store) -> None:
    run = open_run(store, "kfold")
    whole = run.values

    def partial(measure: str | None = None) -> np.ndarray[Any, Any]:
        values = whole(measure).copy().reshape(2, len(run.plan.folds), -1)
        values[:, [fold.name == "train 2 before test" for fold in run.plan.folds]] = np.nan
        return values.ravel()

    run.values = partial  # type: ignore[method-assign]
    found = validate(run, asset="AAA")
    # Group 2 lies before the third one's test alone; that split has no train then, and the path has a hole.
    assert (found.chosen == -1).tolist() == [False, False, True, False]
    assert np.isnan(found.out_of_sample)
    assert len(out_of_sample(run, found)[0].returns) < 600


def test_validate__says_what_it_needs(store: Store) -> None:
    with pytest.raises(InputError, match="has no train and test"):
        validate(open_run(store, "whole"), asset="AAA")
    run = open_run(store, "kfold")
    with pytest.raises(InputError, match="say which asset: AAA, BBB"):
        validate(run)
    with pytest.raises(InputError, match="rule must be argmax, plateau or a function, found 'best'"):
        validate(run, asset="AAA", rule="best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="have no 'luck'"):
        validate(run, asset="AAA", measure="luck")
    with pytest.raises(InputError, match="no volatility of holding"):
        validate(run, asset="AAA", measure="hold_sharpe")


def test_validate__of_a_walk_forward_needs_no_pooling_but_for_its_path(store: Store) -> None:
    found = validate(open_run(store, "walk_forward"), asset="AAA", measure="hold_sharpe")
    assert np.isfinite(found.test).all()
    assert np.isnan(found.paths).all()
    with pytest.raises(InputError, match="no volatility of holding"):
        along_paths(open_run(store, "walk_forward"), found, "hold_sharpe")
