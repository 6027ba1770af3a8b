"""Plans: counted, costed, partitioned, refused early, and the same bytes everywhere."""

import contextlib
import json
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.bars import BarColumns, BarsMeta, write_bars
from datasets.catalog import open_dataset
from datasets.store import open_store
from datasets.synthetic_book import synthetic_book
from quantbot.engine import get_engine
from quantbot.errors import (
    CorruptError,
    FormatError,
    InputError,
    NotFoundError,
    QuantBotError,
    SpecError,
    TooLargeError,
)
from sweeps.feeds import open_feed
from sweeps.partition import block_starts
from sweeps.plan import Plan, make_plan
from sweeps.spec import load_spec, parse_spec
from sweeps.splits import splits_of

DAY = 86_400 * 10**9
STOCKS = (
    "AAPL", "AMD", "BAC", "BBY", "CVX", "GE", "HD", "JNJ", "JPM", "KO", "LLY", "MRK", "MSFT", "PEP", "PFE", "PG", "RRC",
    "UNH", "WMT", "XOM",
)  # fmt: skip
EXAMPLES = sorted((Path(__file__).parents[2] / "sweeps" / "examples").glob("*.toml"))
QUICK = ("sma-sp500", "cvar-sp500", "maker-synthetic")  # few kernels to compile
SPEC = {
    "version": 1,
    "run": {"name": "small"},
    "data": {"dataset": "test/two"},
    "strategy": {"name": "sma_cross"},
    "parameters": {
        "execution.fee_bps": {"values": [0, 5]},
        "slow": {"values": [30, 20, 40]},
        "fast": {"start": 5, "stop": 25, "step": 5},
    },
    "search": {"where": "fast < slow"},
    "folds": {"method": "holdout", "test": "25%"},
}


def columns(n_bars, seed, first_day=11_000, drift=0.0):
    generator = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(generator.normal(drift, 0.01, n_bars)))
    open_ = close * np.exp(generator.normal(0, 0.002, n_bars))
    return BarColumns(
        ts_end_ns=(first_day + np.arange(n_bars, dtype=np.int64)) * DAY,
        open=open_,
        high=np.maximum(open_, close) * 1.001,
        low=np.minimum(open_, close) * 0.999,
        close=close,
        volume=np.full(n_bars, 1000.0),
    )


def meta(**changed):
    return BarsMeta(**{"title": "Random", "source": "test", "interval": "1d", "periods_per_year": 252.0, **changed})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("store"))
    write_bars(store, "test/two", {"AAA": columns(400, 1), "BBB": columns(300, 2, 11_100)}, meta(), {})
    for name, assets in {
        "demo/sp500": {"SPX": (5000, 10_600)},
        "demo/nasdaq": {"IXIC": (5000, 10_600)},
        "demo/indices": {"IXIC": (5000, 10_600), "SPX": (5000, 10_600)},
        "demo/synthetic-minute": {"S000": (2000, 10_600), "S001": (2000, 10_600)},
        "vendor/sp500-stocks": dict.fromkeys(STOCKS, (6000, 11_000, 0.0005)),
    }.items():
        write_bars(
            store,
            name,
            {asset: columns(n, at, *rest) for at, (asset, (n, *rest)) in enumerate(assets.items(), 3)},
            meta(),
            {},
        )
    synthetic_book(store, "demo/synthetic-book", 5_000, n_sessions=2)
    return store


@pytest.fixture(scope="module")
def plan(root):
    return make_plan(parse_spec(SPEC), root, probe=False)


def changed(**sections):
    return parse_spec({**SPEC, **sections})


def test_plan__resolves_counts_and_orders(plan, root):
    assert plan.assets == ("AAA", "BBB")
    assert [fold.name for fold in plan.folds] == ["all", "train", "test"]
    assert [axis.name for axis in plan.axes] == ["fast", "slow", "execution.fee_bps"]  # as declared, not as written
    assert plan.axes[1].values.tolist() == [20, 30, 40]
    grid = [(f, s, c) for f in (5, 10, 15, 20, 25) for s in (20, 30, 40) for c in (0, 5) if f < s]
    assert [tuple(plan.points.point(row).values()) for row in range(plan.n_points)] == grid
    assert plan.n_trials == len(grid) * 2 * 3
    assert plan.dataset_name == "test/two"
    assert len(plan.dataset_version) == 64
    assert plan.dataset_root_url == root.url
    assert plan.settings["execution.fill"] == "next_open"
    assert plan.warnings == ()


def test_plan__job_has_every_setting(plan):
    job = plan.job()
    assert job.strategy.name == "sma_cross"
    assert set(job.settings) >= {"fast", "slow", "short", "execution.fee_bps", "execution.initial_cash"}
    assert job.groups == ("core", "path", "trades")
    assert plan.measures[0] == "total_return"
    assert plan.measures[-1].startswith("hold_")


def test_plan__trial_and_block_agree(plan):
    seen = []
    for index in range(plan.n_blocks):
        block = plan.block(index)
        for trial_index in range(block.trial_start, block.trial_stop):
            trial = plan.trial(trial_index)
            assert (trial.asset, trial.fold) == (block.asset, block.fold)
            assert block.point_start <= trial.point_index < block.point_stop
            assert trial_index == plan.trial_index(trial.point_index, trial.asset_index, trial.fold_index)
            assert trial.settings == plan.points.point(trial.point_index)
            assert plan.block_of(trial_index) == block
            seen.append(trial_index)
    assert seen == list(range(plan.n_trials))


def test_plan__has_no_trial_or_block_beyond_its_end(plan):
    for index in (-1, plan.n_trials):
        with pytest.raises(NotFoundError, match=f"no trial {index}; the plan has trials 0 to {plan.n_trials - 1}"):
            plan.trial(index)
    with pytest.raises(NotFoundError, match="no block"):
        plan.block(plan.n_blocks)


def test_plan__of_the_demo_is_worth_a_cluster(root):
    (path,) = (path for path in EXAMPLES if path.stem == "sma-sp500")
    assert make_plan(load_spec(path), root, probe=False).n_trials >= 5_000


def test_plan__without_probe_is_the_same_every_time(root):
    spec = parse_spec(SPEC)
    assert make_plan(spec, root, probe=False).to_bytes() == make_plan(spec, root, probe=False).to_bytes()


def test_plan__identity_does_not_depend_on_the_partition(root, plan):
    small = make_plan(parse_spec(SPEC), root, probe=False, block_points=1)
    assert small.identity == plan.identity
    assert small.n_blocks == small.n_trials
    assert small.block_starts.tolist() == list(range(small.n_trials + 1))


def test_plan__probes_the_engine(root):
    plan = make_plan(parse_spec(SPEC), root, workers=2)
    assert 0 < plan.estimate.core_seconds < 60
    sizes = {asset: sum(stop - start for start, stop in windows) for asset, windows in _windows(plan, root).items()}
    assert plan.estimate.n_bars == sum(sizes.values()) * plan.n_points
    assert plan.estimate.rows_bytes == plan.n_trials * (8 * len(plan.measures) + 1)
    assert plan.estimate.memory_bytes > plan.estimate.data_bytes > 400 * 48


def _windows(plan, root):
    dataset = open_dataset("test/two", root)
    return {asset: [fold.window(dataset.times(asset)) for fold in plan.folds] for asset in plan.assets}


def test_plan__history_before_its_start_lies_outside_every_fold(root):
    plan = make_plan(
        changed(data={"dataset": "test/two", "start": "2000-06-01", "end": "2000-12-31"}), root, probe=False
    )
    first, last = (np.datetime64(day, "ns").astype(np.int64) for day in ("2000-06-01", "2001-01-01"))
    assert (plan.folds[0].start_ns, plan.folds[0].end_ns) == (first + 1, last + 1)
    assert plan.folds[1].start_ns == first + 1


def test_plan__days_are_those_of_the_datasets_zone(root):
    write_bars(root, "test/tokyo", {"AAA": columns(400, 1)}, meta(zone="Asia/Tokyo"), {})
    plan = make_plan(changed(data={"dataset": "test/tokyo", "start": "2000-06-01"}), root, probe=False)
    midnight = np.datetime64("2000-05-31T15:00", "ns").astype(np.int64)
    assert plan.folds[0].start_ns == midnight + 1


# ---------------------------------------------------------------- warnings and refusals


def test_plan__says_what_collapsed_and_what_is_overridden(root):
    plan = make_plan(
        changed(
            parameters={"fast": {"values": [5, 5.0, 10]}, "execution.fee_bps": {"values": [1, 2]}},
            execution={"fee_bps": 3},
            data={"dataset": "test/two", "assets": ["BBB", "BBB"]},
            search={},
        ),
        root,
        probe=False,
    )
    assert plan.axes[0].values.tolist() == [5, 10]
    assert plan.assets == ("BBB",)
    text = "\n".join(plan.warnings)
    assert "parameters.fast: 1 duplicate collapsed, 2 distinct values left" in text
    assert "the 3 in [execution] is unused" in text
    assert "data.assets: 1 repeated" in text


def test_plan__of_one_value_an_axis_has_no_axis(root):
    plan = make_plan(changed(parameters={"fast": {"values": [7]}, "slow": 50}, search={}), root, probe=False)
    assert plan.axes == ()
    assert plan.n_points == 1
    assert (plan.settings["fast"], plan.settings["slow"]) == (7, 50)
    assert plan.trial(0).point == ()
    assert Plan.from_bytes(plan.to_bytes()).n_trials == plan.n_trials


def test_plan__windows_longer_than_the_data_are_refused_or_said(root):
    with pytest.raises(SpecError, match=r"parameters\.slow: 1,000 bars or more, but the data end after 400"):
        make_plan(changed(parameters={"slow": 1000}, search={}), root, probe=False)
    plan = make_plan(changed(parameters={"slow": {"values": [50, 350]}}, search={}), root, probe=False)
    assert "slow of up to 350 bars never warms up on BBB, which has 300" in plan.warnings


def test_plan__folds_without_bars_of_an_asset_are_said(root):
    plan = make_plan(changed(folds={"method": "walk_forward", "n": 5}), root, probe=False)
    assert any("BBB has no bar in fold train 1" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    ("sections", "error", "reason"),
    [
        ({"data": {"dataset": "test/twoo"}}, NotFoundError, "test/two"),
        ({"data": {"dataset": "test/two", "assets": ["AAB"]}}, SpecError, "no asset 'AAB'; did you mean 'AAA'"),
        ({"data": {"dataset": "http://x/y"}}, InputError, "http"),
        ({"data": {"dataset": "../../etc"}}, InputError, "etc"),
        ({"data": {"dataset": "test/two", "start": "2030-01-01"}}, SpecError, "holds 0 bars"),
        ({"folds": {"method": "holdout", "test": "2050-01-01"}}, SpecError, "no bar on one side"),
        ({"search": {"where": "fast > slow * 5"}}, SpecError, "leaves none of the 30 points"),
    ],
)
def test_plan__of_what_is_not_there_is_refused(root, sections, error, reason):
    with pytest.raises(error, match=reason):
        make_plan(changed(**sections), root, probe=False)


def test_plan__of_a_trillion_trials_is_refused_at_once(root):
    spec = changed(
        parameters={
            "fast": {"start": 2, "stop": 1000},
            "slow": {"start": 2, "stop": 5000},
            "execution.fee_bps": {"start": 0, "stop": 1000, "step": 0.005},
        },
        search={},
    )
    began = time.process_time()
    with pytest.raises(TooLargeError, match=r"points .*fast 999.*is the limit"):
        make_plan(spec, root, probe=False)
    assert time.process_time() - began < 1


def test_plan__counts_assets_and_folds_against_the_limit(root):
    with pytest.raises(TooLargeError, match=r"156 trials \(26 points x 3 folds x 2 assets\) but 100 is the limit"):
        make_plan(parse_spec(SPEC), root, probe=False, max_trials=100)


def test_plan__counts_drawn_points_before_it_draws(root):
    spec = changed(parameters={"fast": {"low": 2, "high": 900}}, search={"method": "random", "n": 200})
    with pytest.raises(TooLargeError, match=r"search\.n: 200 points, but 100 is the limit"):
        make_plan(spec, root, probe=False, max_trials=100)


def test_plan__that_does_not_fit_into_memory_is_refused(root):
    with pytest.raises(TooLargeError, match=r"a block of one trial over 400 bars needs .* MiB but a worker may take"):
        make_plan(parse_spec(SPEC), root, probe=False, memory_limit_bytes=10_000)


def test_plan__makes_smaller_blocks_where_memory_is_short(root):
    spec = changed(parameters={"fast": {"start": 2, "stop": 500}, "slow": {"start": 2, "stop": 200}}, search={})
    wide = make_plan(spec, root, probe=False, workers=1)
    least = make_plan(spec, root, probe=False, workers=1, block_points=1).estimate.memory_bytes
    limit = (least + wide.estimate.memory_bytes) // 2
    tight = make_plan(spec, root, probe=False, workers=1, memory_limit_bytes=limit)
    assert tight.n_blocks > wide.n_blocks
    assert tight.estimate.memory_bytes <= limit


def test_plan__gives_every_worker_blocks_where_there_is_enough_work(root):
    spec = changed(
        data={"dataset": "demo/sp500"},
        parameters={"fast": {"start": 2, "stop": 500}, "slow": {"start": 2, "stop": 200}},
        search={},
        folds={},
    )
    plan = make_plan(spec, root, probe=False, workers=2, block_seconds=1000)
    assert 8 <= plan.n_blocks <= 12


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"memory_limit_bytes": -1}, {"block_points": 0}])
def test_plan__senseless_arguments_are_refused(root, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        make_plan(parse_spec(SPEC), root, probe=False, **wrong)


@given(st.integers(1, 50), st.integers(1, 6), st.integers(1, 60))
def test_partition__covers_every_trial_once_and_crosses_no_fold(n_points, n_groups, size):
    starts = block_starts(n_points, n_groups, size)
    assert starts[0] == 0
    assert starts[-1] == n_points * n_groups
    sizes = np.diff(starts)
    assert sizes.min() >= 1
    assert sizes.max() <= size
    assert set(range(0, n_points * n_groups, n_points)) <= set(starts.tolist())


def test_plan__of_a_million_points_is_arrays(root):
    spec = changed(
        data={"dataset": "test/two", "assets": ["AAA"]},
        parameters={
            "fast": {"start": 2, "stop": 101},
            "slow": {"start": 102, "stop": 201},
            "execution.fee_bps": {"start": 0, "stop": 9.9, "step": 0.1},
        },
        search={"where": "fast < slow"},
        folds={},
    )
    tracemalloc.start()
    began = time.process_time()
    plan = make_plan(spec, root, probe=False)
    data = plan.to_bytes()
    again = Plan.from_bytes(data)
    seconds = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert plan.n_trials == again.n_trials == 1_000_000
    assert seconds < 3
    assert peak < 400 * 2**20
    assert len(data) < 200_000


# ---------------------------------------------------------------- bytes


def test_from_bytes__refuses_what_is_no_plan(plan):
    data = plan.to_bytes()
    for broken in (b"", b"{}", b"[]", b"null", data[:-1], data[: len(data) // 2], b"\xff" + data):
        with pytest.raises(CorruptError, match="no plan"):
            Plan.from_bytes(broken)


def test_from_bytes__refuses_a_newer_format(plan):
    document = json.loads(plan.to_bytes())
    document["format"] = 99
    with pytest.raises(FormatError, match="format 99; this version of QuantBot reads format 1"):
        Plan.from_bytes(json.dumps(document).encode())


def test_from_bytes__of_a_changed_field_is_a_plan_or_corrupt(plan):
    whole = json.loads(plan.to_bytes())
    for key in whole:
        for value in (None, 0, "x", [], {}, [1], {"a": 1}, -1, 1e300):
            with contextlib.suppress(CorruptError, FormatError):
                Plan.from_bytes(json.dumps({**whole, key: value}).encode())


def test_bytes__keep_sampled_points_exactly(root):
    spec = changed(
        parameters={"fast": {"low": 2, "high": 50}, "execution.fee_bps": {"low": 0.1, "high": 9, "scale": "log"}},
        search={"method": "sobol", "n": 100, "seed": 3},
    )
    plan = make_plan(spec, root, probe=False)
    again = Plan.from_bytes(plan.to_bytes())
    for name, column in plan.points.columns.items():
        assert again.points.columns[name].tobytes() == column.tobytes()
    assert all(axis.sampled for axis in again.axes)


def test_bytes__keep_choices(root):
    spec = changed(parameters={"execution.fill": {"values": ["same_close", "next_open"]}}, search={})
    again = Plan.from_bytes(make_plan(spec, root, probe=False).to_bytes())
    assert again.points.columns["execution.fill"].tolist() == ["same_close", "next_open"]
    assert again.trial(1).settings == {"execution.fill": "next_open"}


def test_plan__is_a_value(plan):
    assert replace(plan, warnings=("x",)).to_bytes() != plan.to_bytes()


# ---------------------------------------------------------------- whatever comes in


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[] if path.stem in QUICK else pytest.mark.slow) for path in EXAMPLES],
)
def test_examples__survive_their_bytes_and_are_small_enough_to_run_here(path, root):
    plan = make_plan(load_spec(path), root, probe=False)
    data = plan.to_bytes()
    again = Plan.from_bytes(data)
    assert again.to_bytes() == data
    assert again.spec == plan.spec
    assert again.n_trials == plan.n_trials
    for name, column in plan.points.columns.items():
        assert again.points.columns[name].dtype.kind == column.dtype.kind
        assert again.points.columns[name].tolist() == column.tolist()
    assert again.job().settings == plan.job().settings
    assert b"/work/" not in data and str(path.parent).encode() not in data  # noqa: PT018 - no place of this machine
    assert plan.estimate.core_seconds < 30
    engine, job = get_engine(plan.engine), plan.job()
    for index in sorted({0, plan.n_blocks - 1}):
        block = plan.block(index)
        feed = open_feed(plan.dataset_name, root)
        data = feed.panel(plan.members) if plan.members else feed.data(block.asset)
        window = block.fold.window(data.ts_end_ns)
        rows = engine.run(job, data, window, plan.points[block.point_start : block.point_stop])
        assert tuple(rows.measures) == plan.measures
        assert not rows.reasons


DATES = st.dates(np.datetime64("1999-01-01").astype(object), np.datetime64("2003-01-01").astype(object))
NUMBERS = st.sampled_from([2, 3, 5, 5.0, 10, 20, 60, 60.0, 250, 399, 1000, 7.5, -1])
ENDS = st.tuples(NUMBERS, NUMBERS).map(sorted)
LENGTHS = st.sampled_from(["20%", "99.9%", "30d", 2, 20, 60, 150, 10**9])


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(
    parameters=st.dictionaries(
        st.sampled_from(["fast", "slow", "execution.fee_bps", "execution.slippage_bps"]),
        NUMBERS
        | st.lists(NUMBERS, min_size=1, max_size=4).map(lambda values: {"values": values})
        | st.tuples(ENDS, NUMBERS).map(lambda v: dict(zip(("start", "stop", "step"), (*v[0], v[1]), strict=True)))
        | st.tuples(ENDS, st.sampled_from(["linear", "log"])).map(
            lambda v: dict(zip(("low", "high", "scale"), (*v[0], v[1]), strict=True))
        )
        | st.tuples(ENDS, st.integers(1, 9)).map(lambda v: dict(zip(("low", "high", "n"), (*v[0], v[1]), strict=True))),
        max_size=3,
    ),
    search=st.sampled_from(
        [
            {},
            {"where": "fast < slow"},
            {"where": "fast / (slow - 20) > 1 or execution.fee_bps % 5 == 0"},
            {"method": "random", "n": 30},
            {"method": "sobol", "n": 30, "where": "fast > 3"},
            {"method": "lhs", "n": 30, "where": "fast > 3"},
            {"method": "bayes", "n": 30, "batch": 7},
            {"method": "halving", "initial": "grid", "rungs": 3, "where": "fast < slow"},
            {"method": "halving", "n": 30, "eta": 2, "min_history": "10%"},
        ]
    ),
    folds=st.just({})
    | LENGTHS.map(lambda test: {"method": "holdout", "test": test})
    | DATES.map(lambda test: {"method": "holdout", "test": test})
    | st.tuples(LENGTHS, LENGTHS, st.integers(0, 30)).map(
        lambda v: {"method": "walk_forward", **dict(zip(("train", "test", "purge"), v, strict=True))}
    )
    | st.integers(1, 1000).map(lambda n: {"method": "walk_forward", "n": n}),
    period=st.dictionaries(st.sampled_from(["start", "end"]), DATES, max_size=2),
    assets=st.sampled_from([None, None, ["AAA"], ["BBB", "AAA"], ["CCC"]]),
)
def test_plan__of_any_spec_is_a_plan_or_an_error_of_ours(root, parameters, search, folds, period, assets):
    data = {"dataset": "test/two", **period, **({"assets": assets} if assets else {})}
    try:
        plan = make_plan(
            changed(parameters=parameters, search=search, folds=folds, data=data), root, probe=False, max_trials=20_000
        )
    except QuantBotError as error:
        plan, message = None, str(error)
        assert 0 < len(message) < 5_000
    if plan is not None:
        again = Plan.from_bytes(plan.to_bytes())
        assert again.to_bytes() == plan.to_bytes()
        assert plan.block_starts[-1] == plan.n_trials == plan.n_points * len(plan.folds) * len(plan.assets)


def test_bytes__of_a_plan_from_before_groups_are_still_read(plan):
    document = json.loads(plan.to_bytes())
    for fold in document["folds"]:
        del fold["group"], fold["trim"]
    read = Plan.from_bytes(json.dumps(document).encode())
    assert read.folds == plan.folds


def test_bytes__keep_groups_and_trims(root):
    folds = {"method": "cpcv", "groups": 5, "test_groups": 2, "purge": 2, "embargo": 1}
    plan = make_plan(parse_spec({**SPEC, "folds": folds}), root, probe=False)
    read = Plan.from_bytes(plan.to_bytes())
    assert read.folds == plan.folds
    assert {fold.trim for fold in read.folds} == {"", "start", "end", "both"}
    assert splits_of(read) == splits_of(plan)
    assert len(splits_of(read).splits) == 10
