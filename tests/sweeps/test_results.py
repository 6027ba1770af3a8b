"""An opened run: labelled, honest about what is missing, and replayed bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datasets.publish import open_xarray
from datasets.store import Store
from quantbot.engine import get_engine
from quantbot.errors import DivergenceError, InputError, NotFoundError
from sweeps.executors import serial
from sweeps.results import Run, open_run
from sweeps.run import drive
from sweeps.runstore import RunStore
from sweeps.surface import CellStatus


@pytest.fixture(scope="module")
def store(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    root: Store = small.root(tmp_path_factory.mktemp("results"))
    with serial() as executor:
        drive(root, small.submit(root), executor)
    return root


@pytest.fixture(scope="module")
def run(store: Store) -> Run:
    return open_run(store, "small")


@pytest.fixture
def partial(root: Store, small: Any) -> Run:
    """A run of which every third block is there."""
    identity = small.submit(root)
    with serial() as executor:
        drive(root, identity, executor)
    objects = RunStore(root, identity).store
    objects.delete("manifest.json")
    for index in range(open_run(root, identity).plan.n_blocks):
        if index % 3:
            objects.delete(f"blocks/{index:08d}.rows")
    return open_run(root, identity)


def test_xarray__is_labelled_and_agrees_with_every_row(run: Run) -> None:
    data = run.to_xarray()
    assert data.sharpe.dims == ("asset", "fold", "fast", "slow", "execution.fee_bps")
    assert data.attrs["result_digest"] == run.manifest.result_digest  # type: ignore[union-attr]
    assert data.max_drawdown.attrs["units"] == "fraction"
    assert data.max_drawdown.attrs["better"] == -1
    assert data.role.values.tolist() == ["all", "train", "test"]
    for trial in range(0, run.plan.n_trials, 37):
        row = run.row(trial)
        cell = data.sel(asset=row["asset"], fold=row["fold"], **row["point"])
        assert int(cell["status"]) == CellStatus.VALUE
        for name, value in row["measures"].items():
            np.testing.assert_equal(float(cell[name]), value)


def test_xarray__marks_what_where_excluded(run: Run) -> None:
    data = run.to_xarray()
    excluded = data["status"].sel(fast=12, slow=8)
    assert (excluded == CellStatus.EXCLUDED).all()
    assert np.isnan(data.sharpe.sel(fast=12, slow=8)).all()
    assert int((data["status"] == CellStatus.VALUE).sum()) == run.plan.n_trials


def test_published_zarr__is_what_anybody_with_xarray_opens(store: Store, run: Run) -> None:
    import xarray as xr

    published = open_xarray(store, f"runs/{run.identity}/rows.zarr").load()
    ours = run.to_xarray()
    for name in ours.data_vars:
        np.testing.assert_array_equal(published[name].values, ours[name].values)
    for name in ("fast", "slow", "fold_start", "fold_end"):
        np.testing.assert_array_equal(published[name].values, ours[name].values)
    path = store.url.removeprefix("file://") + f"/runs/{run.identity}/rows.zarr"
    plain = xr.open_zarr(path, chunks=None, consolidated=True)
    assert plain.attrs["identity"] == run.identity
    assert plain.asset.values.tolist() == ["AAA", "BBB"]


def test_surface__picks_a_fold_and_an_asset(run: Run) -> None:
    surface = run.surface("cagr", fold="train", asset="BBB")
    assert surface.dims == ("fast", "slow", "execution.fee_bps")
    trial = run.trial_index({"fast": 5, "slow": 16, "execution.fee_bps": 5}, asset="BBB", fold="train")
    assert float(surface.sel({"fast": 5, "slow": 16, "execution.fee_bps": 5})) == run.row(trial)["measures"]["cagr"]
    assert run.surface().name == "sharpe"
    with pytest.raises(InputError, match="did you mean 'sharpe'"):
        run.surface("sharp")
    with pytest.raises(InputError, match="did you mean 'train'"):
        run.surface(fold="trian")


def test_plane__reduces_and_never_shows_a_test_fold_unasked(run: Run) -> None:
    data = run.to_xarray()
    plane = run.plane("fast", "slow", "sharpe", how="max")
    expected = data.sharpe.sel(fold="train").max(["asset", "execution.fee_bps"]).transpose("slow", "fast")
    np.testing.assert_array_equal(plane.value, expected)
    tested = run.plane("fast", "slow", "sharpe", how="max", fold="test")
    assert not np.array_equal(tested.value, plane.value, equal_nan=True)
    best = int(np.nanargmax(plane.value))
    row = run.row(int(plane.argbest.ravel()[best]))
    assert row["value"] == np.nanmax(plane.value)
    assert run.plane(at={"execution.fee_bps": 5}).n_planned.max() == 2


def test_best__follows_the_measures_direction_and_breaks_ties_by_trial(run: Run) -> None:
    sharpes = [row["measures"]["sharpe"] for row in run.best(20)]
    assert sharpes == sorted(sharpes, reverse=True)
    assert {row["role"] for row in run.best(20)} == {"train"}  # a holdout stays one
    drawdowns = run.best(20, "max_drawdown", fold="train")
    assert [row["measures"]["max_drawdown"] for row in drawdowns] == sorted(
        row["measures"]["max_drawdown"] for row in drawdowns
    )
    tied = run.best(500, "hold_sharpe")  # the same for all trials of an asset
    trials = [row["trial"] for row in tied if row["asset"] == tied[0]["asset"]]
    assert trials == sorted(trials)


def test_plateau__is_a_point_of_the_run(run: Run) -> None:
    found = run.plateau()
    assert found is not None
    values = run.surface(fold="train").median("asset")
    assert found.value == pytest.approx(float(values.sel(found.point)))
    assert found.worst <= found.score
    assert found.n_neighbours >= 8


def test_trial_index__finds_every_point_and_names_the_nearest(run: Run) -> None:
    for trial in range(0, run.plan.n_trials, 41):
        row = run.row(trial)
        assert run.trial_index(row["point"], row["asset"], row["fold"]) == trial
    with pytest.raises(NotFoundError, match=r"the nearest is fast=7, slow=16, execution\.fee_bps=5"):
        run.trial_index({"fast": 7, "slow": 17, "execution.fee_bps": 5})
    with pytest.raises(InputError, match=r"say execution.fee_bps too"):
        run.trial_index({"fast": 7, "slow": 16})
    with pytest.raises(InputError, match="doesn't vary 'fats'; did you mean 'fast'"):
        run.trial_index({"fats": 7})


def test_replay__is_the_stored_row_bit_for_bit(run: Run) -> None:
    for row in (*run.best(2), *run.best(1, fold="test"), run.row(0)):
        replayed = run.replay(row["trial"], strict=True)
        assert (replayed.equal, replayed.mismatch, replayed.trial) == (True, "", row["trial"])
        np.testing.assert_equal(dict(replayed.row), row["measures"])
        assert replayed.curves["equity"].shape == replayed.ts_end_ns.shape


def test_replay__of_another_row_is_a_loud_mismatch(run: Run) -> None:
    trial = run.best(1)[0]["trial"]
    stored = run._table.column("sharpe")
    kept = stored[trial]
    stored[trial] = np.nextafter(kept, np.inf)
    try:
        found = run.replay(trial)
        assert found.equal is False
        assert f"the replay of trial {trial} is not the stored row: sharpe: stored" in found.mismatch
        with pytest.raises(DivergenceError, match="is not the stored row"):
            run.replay(trial, strict=True)
    finally:
        stored[trial] = kept


def test_partial_run__opens_with_what_is_missing_marked(partial: Run, run: Run) -> None:
    assert not partial.complete
    done = partial.state == CellStatus.VALUE
    assert 0 < done.sum() < partial.plan.n_trials
    np.testing.assert_array_equal(partial.values()[done], run.values()[done])
    assert np.isnan(partial.values()[~done]).all()
    data = partial.to_xarray()
    assert int((data["status"] == CellStatus.NOT_RUN).sum()) == (~done).sum()
    missing = int(np.flatnonzero(~done)[0])
    assert partial.row(missing)["state"] == "not run yet"
    assert partial.replay(missing).equal is None
    assert (partial.plane("fast", "slow", asset="AAA", fold="train").status == CellStatus.NOT_RUN).any()


def test_opened_run__does_not_change_under_the_reader(partial: Run) -> None:
    before = partial.values().copy()
    with serial() as executor:
        drive(partial._store.root, partial.identity, executor)
    np.testing.assert_array_equal(partial.values(), before)
    assert open_run(partial._store.root, partial.identity).complete


def test_table__pages_sorts_and_filters(run: Run) -> None:
    first, second = run.table(0, 10), run.table(10, 10)
    assert first["trial"].tolist() == list(range(10))
    assert second["trial"].tolist() == list(range(10, 20))
    assert list(first.columns[:7]) == ["trial", "asset", "fold", "fast", "slow", "execution.fee_bps", "state"]
    by_sharpe = run.table(0, 5, sort="sharpe", fold="train")
    assert by_sharpe["trial"].tolist() == [row["trial"] for row in run.best(5)]
    assert run.table(limit=10_000, sort="fast", descending=True)["fast"].is_monotonic_decreasing
    assert run.table(state="failed").empty
    assert run.failures().empty
    with pytest.raises(InputError, match="state must be one of"):
        run.table(state="broken")


def test_sampled_run__has_one_dimension_of_points(root: Store, small: Any) -> None:
    spec = {
        **small.spec,
        "parameters": {"fast": {"low": 2, "high": 30}, "slow": {"low": 31, "high": 90}},
        "search": {"method": "sobol", "n": 64, "seed": 1},
    }
    with serial() as executor:
        drive(root, small.submit(root, spec), executor)
    run = open_run(root, "small")
    data = run.to_xarray()
    assert data.sharpe.dims == ("asset", "fold", "point")
    assert data.fast.dims == ("point",)
    assert run.plateau() is None
    plane = run.plane()
    assert plane.n_trials.sum() == 128
    assert run.replay(run.best(1)[0]["trial"]).equal


def test_run_with_one_axis_and_with_none(root: Store, small: Any) -> None:
    one = {
        **small.spec,
        "run": {"name": "one"},
        "parameters": {"fast": {"start": 3, "stop": 9, "step": 1}},
        "search": {},
    }
    none = {**small.spec, "run": {"name": "none"}, "parameters": {"fast": 5}, "search": {}}
    with serial() as executor:
        for spec in (one, none):
            drive(root, small.submit(root, spec), executor)
    run = open_run(root, "one")
    assert (run.plane().x, run.plane().y, run.plane().value.shape) == ("fast", "", (1, 7))
    assert run.to_xarray().sharpe.dims == ("asset", "fold", "fast")
    bare = open_run(root, "none")
    assert bare.to_xarray().sharpe.shape == (2, 3, 1)
    assert len(bare.best()) == 2
    assert bare.plateau() is None
    assert bare.trial_index({}, "BBB", "test") == 5
    with pytest.raises(InputError, match="varies nothing"):
        bare.plane()


def test_measures__are_the_engines_declarations(run: Run) -> None:
    declared = {measure.name: measure for measure in get_engine("bars").measures}
    assert list(run.measures) == list(run.plan.measures)
    assert all(run.measures[name] is declared[name] for name in run.measures)


@pytest.mark.slow
def test_users_strategy__is_replayed_from_the_runs_own_source(
    root: Store, small: Any, strategy_file: Callable[[str], str]
) -> None:
    spec = {
        "version": 1,
        "run": {"name": "mine"},
        "data": {"dataset": "test/small", "assets": ["AAA"]},
        "strategy": {"name": strategy_file("return 1.0 if close > mean else 0.0")},
        "parameters": {"fast": {"start": 3, "stop": 18, "step": 1}},
    }
    with serial() as executor:
        drive(root, small.submit(root, spec), executor)
    strategy_file("return -1.0")  # the file has changed since; the run has not
    assert open_run(root, "mine").replay(4).equal
