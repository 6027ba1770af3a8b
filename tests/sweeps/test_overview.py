"""What pages and notebooks show of a run, against loops over its rows."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from datasets.store import Store
from quantbot.errors import InputError
from sweeps import overview
from sweeps.executors import serial
from sweeps.export import export
from sweeps.importance import importance, shares
from sweeps.pareto import pareto
from sweeps.results import Run, open_run
from sweeps.run import drive


@pytest.fixture(scope="module")
def store(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    root: Store = small.root(tmp_path_factory.mktemp("overview") / "store")
    return root


@pytest.fixture(scope="module")
def run(store: Store, small: Any) -> Run:
    identity = small.submit(store)
    with serial() as executor:
        drive(store, identity, executor)
    return open_run(store, identity)


@pytest.fixture(scope="module")
def drawn(store: Store, small: Any) -> Run:
    spec = small.spec | {
        "run": {"name": "drawn"},
        "parameters": {"fast": {"low": 2, "high": 30}, "slow": {"low": 31, "high": 200}},
        "search": {"method": "sobol", "n": 64, "seed": 3},
        "folds": {"method": "none"},
    }
    identity = small.submit(store, spec)
    with serial() as executor:
        drive(store, identity, executor)
    return open_run(store, identity)


def rows_of(run: Run) -> pd.DataFrame:
    return run.table(0, run.plan.n_trials)


def test_plane__told_by_names_is_what_rows_say(run: Run) -> None:
    found = overview.plane(run, "fast", "slow", "sharpe", how="quantile", q=0.25, fold="test", asset="BBB",
                           at={"execution.fee_bps": 5}, within={"fast": (4, 9)})  # fmt: skip
    rows = rows_of(run).query("fold == 'test' and asset == 'BBB' and `execution.fee_bps` == 5 and 4 <= fast <= 9")
    for _, row in rows.iterrows():
        cell = found.y_values.tolist().index(row.slow), found.x_values.tolist().index(row.fast)
        assert found.value[cell] == row.sharpe
        assert found.argbest[cell] == row.trial
    assert int(found.n_trials.sum()) == len(rows)


def test_plane__of_all_assets_reduces_over_them(run: Run) -> None:
    found = overview.plane(run, "slow", "fast", "max_drawdown", how="max", fold="train")
    rows = rows_of(run).query("fold == 'train'")
    expected = rows.groupby(["fast", "slow"]).max_drawdown.max()
    for row in expected.reset_index().itertuples():
        cell = found.y_values.tolist().index(row.fast), found.x_values.tolist().index(row.slow)
        assert found.value[cell] == row.max_drawdown


def test_limits__are_those_of_all_folds_of_one_role(run: Run) -> None:
    test = rows_of(run).query("fold == 'test'").sharpe.to_numpy()
    reach = max(abs(np.percentile(test[np.isfinite(test)], [2, 98])))
    assert overview.limits(run, "sharpe", "test") == (-reach, reach)


def test_kept__filters_by_axis_and_by_measure_and_names_what_is_neither(run: Run) -> None:
    assert overview.kept(run, None, "sharpe") is None
    keep = overview.kept(run, {"slow": (16, 24), "sharpe": (0.0, 9.0)}, "sharpe", "train", "AAA")
    rows = rows_of(run).query("fold == 'train' and asset == 'AAA'")
    expected = rows.slow.between(16, 24) & rows.sharpe.between(0, 9)
    np.testing.assert_array_equal(keep, expected.to_numpy())
    with pytest.raises(InputError, match="a range needs an axis or a measure"):
        overview.kept(run, {"quick": (1, 2)}, "sharpe")


def test_slices__hold_the_other_settings_and_span_the_folds(run: Run) -> None:
    trial = run.trial_index({"fast": 6, "slow": 16, "execution.fee_bps": 5}, "BBB", "train")
    fast, slow, fee = overview.slices(run, trial % run.plan.n_points, "sharpe", fold="train", asset="BBB")
    rows = rows_of(run).query("asset == 'BBB' and slow == 16 and `execution.fee_bps` == 5")
    for place, value in enumerate(fast.values.tolist()):
        mine = rows[rows.fast == value]
        if mine.empty:  # `where` leaves it out
            assert np.isnan(fast.middle[place])
            assert fast.trials[place] == -1
            continue
        assert fast.middle[place] == mine.query("fold == 'train'").sharpe.item()
        assert (fast.low[place], fast.high[place]) == (mine.sharpe.min(), mine.sharpe.max())
        assert fast.trials[place] == mine.query("fold == 'train'").trial.item()
    assert (fast.values[fast.selected], slow.values[slow.selected], fee.values[fee.selected]) == (6, 16, 5)


def test_slices__of_drawn_points_are_medians_of_bins(drawn: Run) -> None:
    fast, _ = overview.slices(drawn, 5, "sharpe")
    assert not fast.through_point
    assert (np.isnan(fast.middle) | ((fast.low <= fast.middle) & (fast.middle <= fast.high))).all()
    place = drawn.plan.points.columns["fast"][5]
    assert abs(fast.values[fast.selected] - place) <= abs(fast.values - place).min() + 2


def test_sample__has_the_best_and_a_stratified_rest(run: Run) -> None:
    values = overview.point_values(run, "sharpe", "train", "AAA")
    sample = overview.parallel_sample(run, "sharpe", fold="train", asset="AAA", most=20)
    n_values = int(np.isfinite(values).sum())
    assert (len(sample.points), int(sample.top.sum()), sample.n_points) == (20, 2, n_values)
    best = np.sort(values[np.isfinite(values)])[-2:]
    np.testing.assert_array_equal(np.sort(values[sample.points[sample.top]]), best)
    others = np.sort(values[sample.points[~sample.top]])
    ranks = np.searchsorted(np.sort(values[np.isfinite(values)]), others)
    assert np.diff(ranks).max() <= -(-n_values // 18) + 1
    assert len(set(sample.points.tolist())) == 20
    everything = overview.parallel_sample(run, "sharpe", fold="train", asset="AAA")
    assert len(everything.points) == n_values
    filtered = overview.parallel_sample(run, "sharpe", fold="train", asset="AAA", within={"slow": (8, 8)})
    assert set(run.plan.points.columns["slow"][filtered.points].tolist()) == {8}


def test_degradation__compares_the_same_points(run: Run) -> None:
    found = overview.degradation(run, "sharpe", train="train", test="test", asset="AAA")
    wide = rows_of(run).query("asset == 'AAA'").pivot(index=["fast", "slow", "execution.fee_bps"], columns="fold",
                                                      values="sharpe").dropna()  # fmt: skip
    assert found.n_points == len(wide)
    assert found.correlation == pytest.approx(wide.train.rank().corr(wide.test.rank()))
    assert found.worse == pytest.approx((wide.test < wide.train).mean())
    assert (found.train, found.test) == (wide.train.median(), wide.test.median())


def test_pareto__front_of_a_run_minds_which_way_is_better(run: Run) -> None:
    found = pareto(run, "sharpe", "max_drawdown", fold="train", asset="AAA")
    rows = rows_of(run).query("fold == 'train' and asset == 'AAA'").dropna(subset=["sharpe", "max_drawdown"])
    own = run.slices("train", "AAA")[0] * run.plan.n_points
    better = {
        trial for trial, sharpe, fall in zip(rows.trial, rows.sharpe, rows.max_drawdown, strict=True)
        if not ((rows.sharpe >= sharpe) & (rows.max_drawdown <= fall)
                & ((rows.sharpe > sharpe) | (rows.max_drawdown < fall))).any()
    }  # fmt: skip
    assert set((found.points[found.on_front] + own).tolist()) == better
    assert (found.n_front, found.n_points) == (len(better), len(rows))
    few = pareto(run, "sharpe", "max_drawdown", fold="train", asset="AAA", most=6)
    assert len(few.points) == 6
    assert few.n_points == found.n_points


def test_importance__of_a_run_is_of_its_points(run: Run) -> None:
    found = importance(run, "sharpe", fold="train", asset="AAA")
    assert {axis for effect in found.effects for axis in effect.axes} <= {"fast", "slow", "execution.fee_bps"}
    assert all(0 <= effect.low <= effect.share <= effect.high <= 1 for effect in found.effects)
    assert importance(run, "sharpe", fold="train", asset="AAA", within={"slow": (8, 8)}).n_points < found.n_points


def by_loop(values: np.ndarray) -> dict[tuple[int, ...], float]:
    """Divide a full grid's variance, term by term: Hooker (2007), equation 2, with equal weights."""
    mean, total = values.mean(), values.var()
    found: dict[tuple[int, ...], float] = {}
    axes = range(values.ndim)
    main = {}
    for axis in axes:
        main[axis] = values.mean(axis=tuple(other for other in axes if other != axis)) - mean
        found[axis,] = float((main[axis] ** 2).mean() / total)
    for one in axes:
        for two in range(one + 1, values.ndim):
            both = values.mean(axis=tuple(other for other in axes if other not in (one, two))) - mean
            part = both - main[one][:, None] - main[two][None, :]
            found[one, two] = float((part**2).mean() / total)
    return found


def test_shares__are_those_of_a_loop_over_terms() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(size=(4, 5, 3)) + np.arange(4)[:, None, None]
    columns = [column.ravel() for column in np.indices(values.shape)]
    found = shares(values.ravel(), columns, values.shape, ["0", "1", "2"])
    expected = by_loop(values)
    for effect in found.effects:
        assert effect.share == pytest.approx(expected[tuple(int(axis) for axis in effect.axes)], abs=1e-9)
    assert found.rest == pytest.approx(1 - sum(expected.values()), abs=1e-9)


def test_shares__of_drawn_noise_explain_nothing_and_of_a_planted_axis_most() -> None:
    rng = np.random.default_rng(2)
    columns = [rng.integers(0, 12, 2000) for _ in range(3)]
    noise = shares(rng.normal(size=2000), columns, [12] * 3, ["a", "b", "c"], binned=True)
    assert sum(effect.share for effect in noise.effects) < 0.05
    planted = shares(columns[1] + rng.normal(size=2000), columns, [12] * 3, ["a", "b", "c"], binned=True)
    first = planted.effects[0]
    assert first.axes == ("b",)
    variance = 143 / 12
    assert first.low <= variance / (variance + 1) <= first.high or abs(first.share - variance / (variance + 1)) < 0.01


def test_shares__of_a_constant_are_none() -> None:
    assert shares(np.full(8, 2.0), [np.arange(8)], [8], ["a"]).effects == ()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_export__is_the_table(run: Run, kind: Any) -> None:
    keep = overview.kept(run, {"slow": (8, 16)}, "sharpe")
    data = io.BytesIO(export(run, kind, fold="train", asset="AAA", points=keep))
    found = pd.read_csv(data, keep_default_na=True) if kind == "csv" else pd.read_parquet(data)
    expected = rows_of(run).query("fold == 'train' and asset == 'AAA' and slow <= 16").reset_index(drop=True)
    assert list(found.columns) == list(expected.columns)
    for name in ("trial", "fast", "execution.fee_bps", "sharpe", "max_drawdown"):
        np.testing.assert_array_equal(found[name].to_numpy(float), expected[name].to_numpy(float))
    assert found["state"].tolist() == expected["state"].tolist()


def test_export__as_netcdf_is_the_labelled_cube(run: Run) -> None:
    with xr.open_dataset(io.BytesIO(export(run, "netcdf")), engine="scipy") as found:
        cube = run.to_xarray()
        assert found.sizes == {str(name).replace(".", "_"): size for name, size in cube.sizes.items()}
        np.testing.assert_array_equal(found["sharpe"].values, cube["sharpe"].values)
        np.testing.assert_array_equal(found["status"].values, cube["status"].values)
        assert found["fold_start"].values.tolist() == cube["fold_start"].values.tolist()


def test_export__knows_its_kinds(run: Run) -> None:
    with pytest.raises(InputError, match="csv, parquet or netcdf; found 'xls'"):
        export(run, "xls")  # type: ignore[arg-type]
