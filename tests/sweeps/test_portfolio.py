"""A portfolio's run is a run like any other: refused early, the same however it is driven, resumed, counted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.bars import BarColumns, BarsMeta, write_bars
from datasets.store import Store, open_store
from quantbot.errors import SpecError
from sweeps.executors import Executor, dask_executor, serial
from sweeps.ledger import family_of, read_ledger
from sweeps.null import run_null
from sweeps.plan import Plan, make_plan
from sweeps.results import open_run
from sweeps.retry import retry
from sweeps.run import Outcome, drive
from sweeps.runstore import RunStore
from sweeps.spec import parse_spec
from sweeps.submission import submit

DAY_NS = 86_400 * 10**9
ASSETS = ("AAA", "BBB", "CCC", "DDD")
SPEC: dict[str, Any] = {
    "version": 1,
    "run": {"name": "weights", "engine": "portfolio"},
    "data": {"dataset": "test/four"},
    "scenarios": {"window": 60},
    "constraints": {"max_weight": 0.6, "groups": {"ends": {"assets": ["AAA", "DDD"], "high": 0.7}}},
    "rebalance": {"calendar": "week_end"},
    "parameters": {
        "optimise.beta": {"values": [0.8, 0.9, 0.95]},
        "optimise.target_return": {"values": [-1, -0.2]},
        "execution.fee_bps": {"values": [0, 5]},
    },
    "guards": {"max_drawdown": 0.3},
    "folds": {"method": "holdout", "test": "25%"},
}


def changed(**parts: Any) -> dict[str, Any]:
    """Return the spec with fields of sections in place of its own; None takes a section away."""
    spec = {name: dict(part) if isinstance(part, dict) else part for name, part in SPEC.items()}
    for name, part in parts.items():
        if part is None:
            del spec[name]
        else:
            spec[name] = {**spec.get(name, {}), **part}
    return spec


def write_four(root: Store, n_bars: int = 400) -> None:
    """Write the dataset `test/four`: daily bars of four assets, of which the last is listed late."""
    columns = {}
    for number, symbol in enumerate(ASSETS):
        draws = np.random.default_rng(40 + number)
        close = 100 * np.exp(np.cumsum(draws.standard_t(4, n_bars) * 0.005 * (1 + number) + 0.0002))
        opened = close * np.exp(draws.normal(0, 0.002, n_bars))
        late = slice(100 if number == 3 else 0, None)
        times = (12_000 + np.arange(n_bars, dtype=np.int64)) * DAY_NS
        high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
        fields = (own[late] for own in (times, opened, high, low, close, np.full(n_bars, 1e6)))
        columns[symbol] = BarColumns(*fields)
    write_bars(root, "test/four", columns, BarsMeta("Four assets", "tests", "1d", 252.0, synthetic=True), {})


@pytest.fixture
def root(tmp_path: Path) -> Store:
    store = open_store(tmp_path / "store")
    write_four(store)
    return store


def plan_of(root: Store, spec: dict[str, Any] = SPEC, points: int | None = None) -> Plan:
    return make_plan(parse_spec(spec), root, block_points=points, probe=False)


def submitted(root: Store, spec: dict[str, Any] = SPEC, points: int | None = None) -> str:
    return submit(parse_spec(spec), root, plan=plan_of(root, spec, points))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Outcome]:
    store = open_store(tmp_path_factory.mktemp("reference") / "store")
    write_four(store)
    with serial() as executor:
        return store, drive(store, submitted(store, points=12), executor)


# -- the same bits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [1, 5])
def test_result__does_not_depend_on_the_partition(root: Store, points: int, reference: tuple[Store, Outcome]) -> None:
    with serial() as executor:
        found = drive(root, submitted(root, points=points), executor)
    assert found.n_blocks != reference[1].n_blocks
    assert (found.identity, found.result_digest) == (reference[1].identity, reference[1].result_digest)
    assert found.n_failed == 0


@pytest.mark.parametrize(
    "make",
    [lambda: dask_executor(1, 2, processes=False), pytest.param(lambda: dask_executor(2), marks=pytest.mark.slow)],
    ids=["threads", "two processes"],
)
def test_result__does_not_depend_on_the_executor(
    root: Store, make: Callable[[], Executor], reference: tuple[Store, Outcome]
) -> None:
    with make() as executor:  # type: ignore[attr-defined]
        found = drive(root, submitted(root, points=3), executor)
    assert found.result_digest == reference[1].result_digest


def test_resume__computes_what_is_missing_and_the_same_spec_nothing(
    root: Store, reference: tuple[Store, Outcome]
) -> None:
    identity = submitted(root, points=2)
    with serial() as executor:
        first = drive(root, identity, executor)
        run = RunStore(root, identity).store
        for key in run.list():
            if key.startswith(("manifest", "rows.zarr", "blocks/00000003", "blocks/00000007")):
                run.delete(key)
        again = drive(root, identity, executor)
        assert (again.n_computed, again.result_digest) == (2, first.result_digest)
        assert first.result_digest == reference[1].result_digest
        other = {**SPEC, "data": {"dataset": "test/four", "assets": None}, "run": {**SPEC["run"], "name": "other"}}
        del other["data"]["assets"]
        nothing = drive(root, submitted(root, other), executor)
    assert (nothing.identity, nothing.n_computed) == (identity, 0)


@pytest.mark.slow
def test_killed_driver__leaves_what_it_had_and_resume_computes_the_rest(root: Store) -> None:
    spec = changed(
        rebalance={"calendar": "bars", "every": 1},
        constraints={"turnover": 0.2},
        parameters={"optimise.beta": {"start": 0.8, "stop": 0.95, "step": 0.01}},
    )
    identity = submitted(root, spec, points=2)
    run = RunStore(root, identity)
    command = [sys.executable, "-m", "sweeps.run", root.url, identity, "--workers", "1"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], start_new_session=True) as process:
        end = time.monotonic() + 60
        while len(run.finished()) < 3:
            assert time.monotonic() < end
            time.sleep(0.01)
        process.kill()
    time.sleep(0.5)
    there = len(run.finished())
    expired = b'{"holder":"the dead","note":"","released":false,"token":"x","ttl_seconds":0.001}'
    run.store.put("lease/00000001.json", expired)
    time.sleep(0.01)
    with serial() as executor:
        found = drive(root, identity, executor)
        assert (found.n_reused, found.n_computed) == (there, found.n_blocks - there)
        assert found.n_computed > 0
        for key in run.store.list():
            if key.startswith(("manifest", "rows.zarr", "blocks/")):
                run.store.delete(key)
        assert drive(root, identity, executor).result_digest == found.result_digest


def test_replay__of_any_trial_is_its_row(reference: tuple[Store, Outcome]) -> None:
    run = open_run(reference[0], reference[1].identity)
    for trial in (0, 13, 35):
        found = run.replay(trial, strict=True)
        assert found.equal
        assert found.assets == ASSETS


# -- plan -------------------------------------------------------------------------------------------------------------


def test_plan__has_one_trial_for_all_assets_and_keeps_them(root: Store) -> None:
    plan = plan_of(root)
    assert (plan.assets, plan.members, plan.symbols) == (("portfolio",), ASSETS, ASSETS)
    assert plan.n_trials == 12 * 3
    again = Plan.from_bytes(plan.to_bytes())
    assert again.to_bytes() == plan.to_bytes()
    assert again.job().tables == {"constraints.groups": {"ends": {"assets": ("AAA", "DDD"), "high": 0.7}}}
    assert plan.bundle.reference == "portfolio/min_cvar"


def test_plan__keeps_points_of_one_chain_in_one_block(root: Store) -> None:
    many = changed(parameters={"execution.fee_bps": {"start": 0, "stop": 40}})
    plan = make_plan(parse_spec(many), root, probe=False, workers=2)
    assert plan.n_blocks > 3
    assert all(int(start) % plan.n_points % 41 == 0 for start in plan.block_starts)


def test_identity__changes_with_assets_and_groups_alone(root: Store) -> None:
    own = plan_of(root).identity
    swapped = {"groups": {"ends": {"high": 0.7, "assets": ["DDD", "AAA"]}}}
    assert plan_of(root, changed(constraints=swapped)).identity == own
    for other in (
        changed(constraints={"groups": {"ends": {"assets": ["AAA", "BBB"], "high": 0.7}}}),
        changed(constraints={"groups": {"ends": {"assets": ["AAA", "DDD"], "high": 0.8}}}),
        changed(data={"assets": ["AAA", "BBB", "DDD"]}),
    ):
        assert plan_of(root, other).identity != own


def test_spec__survives_its_toml() -> None:
    spec = parse_spec(SPEC)
    assert parse_spec(spec.to_toml()) == spec
    assert parse_spec(spec.to_toml()).canonical() == spec.canonical()
    assert spec.name == "weights"
    assert parse_spec(changed(run={"name": None})).name == "portfolio-four"


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (changed(optimise={"beta": 1.0}), r"optimise\.beta: must be a number from 0\.001 to 0\.9999; found 1\.0"),
        (changed(parameters={"optimise.beta": {"values": [0.9, 0]}}), r"parameters\.optimise\.beta"),
        (changed(optimise={"betta": 0.9}), r"optimise\.betta: .*did you mean 'beta'"),
        (changed(optimise={"method": "min_cvarr"}), "did you mean 'min_cvar'"),
        (changed(strategy={"name": "sma_cross"}), "strategy: engine portfolio decides by its own settings"),
        (changed(constraints={"groups": {"x": {"assets": ["AAA"]}}}), r"constraints\.groups\.x: at least one of low"),
        (changed(constraints={"groups": {"x": {"high": 1}}}), r"constraints\.groups\.x: assets is required"),
        (changed(constraints={"groups": {"x": {"assets": ["AAA"], "hihg": 1}}}), "did you mean 'high'"),
        (changed(constraints={"groups": {"x": 0.3}}), r"constraints\.groups\.x: must be a table"),
        (changed(constraints={"groups": {"x": {"assets": ["AAA"], "high": "a"}}}), "high must be a number"),
        (changed(constraints={"groups": [1]}), r"constraints\.groups: must be a table"),
        (changed(constraints={"max_weight": float("nan")}), r"constraints\.max_weight: .*finite"),
        (changed(search={"where": "optimise.beta < optimise.btea"}), "btea"),
    ],
)
def test_spec__refuses_by_place_and_says_what_to_do(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_spec(spec)


def test_spec__of_bars_wants_its_strategy() -> None:
    with pytest.raises(SpecError, match="strategy: is required"):
        parse_spec({"version": 1, "data": {"dataset": "x"}})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            changed(constraints={"groups": {"x": {"assets": ["AAA", "CDC"], "high": 1}}}),
            r"constraints\.groups\.x: 'CDC' .*did you mean 'CCC'",
        ),
        (changed(data={"assets": ["AAA", "BBB", "CCC"]}), r"constraints\.groups\.ends: 'DDD' is not among"),
        (changed(constraints={"assets": {"EEE": {"max_weight": 0.1}}}), r"constraints\.assets\.EEE: 'EEE'"),
        (changed(constraints={"max_weight": 0.2}), r"optimise: the first decision.*budget.*loosen"),
        (changed(optimise={"target_return": 9}, parameters=None), r"target_return"),
        (changed(scenarios={"window": 5000}), r"shorten scenarios\.window"),
        (
            changed(constraints={"groups": {"x": {"assets": ["AAA"], "low": 0.5, "high": 0.1}}}),
            r"constraints\.groups\.x: low must not be above high",
        ),
        (changed(optimise={"method": "equal_weight"}, constraints={"max_weight": 0.6}), "can't honour"),
    ],
)
def test_plan__refuses_what_the_data_show(root: Store, spec: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        plan_of(root, spec)


def test_plan__warns_of_settings_that_will_fail_and_runs_the_others(root: Store) -> None:
    spec = changed(parameters={"optimise.target_return": {"values": [-1, 9]}})
    plan = plan_of(root, spec)
    assert any("3 of 6 settings" in warning and "target_return" in warning for warning in plan.warnings)
    with serial() as executor:
        identity = submitted(root, spec)
        found = drive(root, identity, executor)
    assert found.n_failed == found.n_trials // 2
    run = open_run(root, identity)
    assert "target_return" in run.failures()["reason"][0]
    again = parse_spec(retry(run).spec)
    assert again.parameters["optimise.target_return"] == 9
    assert again.tables == parse_spec(spec).tables


# -- what looks at runs -----------------------------------------------------------------------------------------------


def test_luck__is_assessed_and_counted_in_a_family_of_the_method(reference: tuple[Store, Outcome]) -> None:
    root, outcome = reference
    run = open_run(root, outcome.identity)
    family = family_of(run.plan)
    assert (family.strategy, family.dataset) == ("portfolio/min_cvar", "test/four")
    assert read_ledger(root, family).n_trials == 36
    luck = run.luck()
    assert luck.best is not None
    assert luck.best.deflated_sharpe is not None
    assert 0.0 <= luck.best.deflated_sharpe <= 1.0
    assert not any("round trip" in advice.sentence for advice in luck.warnings)


def write_turns(root: Store, *, lasting: bool) -> None:
    """Write three assets of which one rises while the others fall, in turn for 25 bars, or for one at a time."""
    rng = np.random.default_rng(5)
    n_bars = 400
    leader = np.repeat(rng.integers(0, 3, n_bars // 25), 25) if lasting else rng.integers(0, 3, n_bars)
    times = (12_000 + np.arange(n_bars, dtype=np.int64)) * DAY_NS
    columns = {}
    for number, symbol in enumerate(ASSETS[:3]):
        close = 100 * np.exp(np.cumsum(np.where(leader == number, 0.008, -0.004) + rng.normal(0, 0.008, n_bars)))
        opened = np.append(100.0, close[:-1])
        fields = times, opened, np.maximum(opened, close), np.minimum(opened, close), close, np.ones(n_bars)
        columns[symbol] = BarColumns(*(own[100 * (number == 2) :] for own in fields))
    write_bars(root, "test/turns", columns, BarsMeta("Turns", "tests", "1d", 252.0, synthetic=True), {})


@pytest.mark.parametrize("lasting", [True, False])
def test_noise_test__tells_momentum_that_lasts_from_momentum_of_noise(tmp_path: Path, lasting: bool) -> None:
    root = open_store(tmp_path / "store")
    write_turns(root, lasting=lasting)
    spec = {"version": 1, "run": {"engine": "portfolio"}, "data": {"dataset": "test/turns"},
            "scenarios": {"window": 30}, "optimise": {"method": "momentum", "share": 0.4}, "rebalance": {"every": 2},
            "parameters": {"optimise.lookback": {"values": [5, 10, 20]}}}  # fmt: skip
    identity = submitted(root, spec)
    with serial() as executor:
        drive(root, identity, executor)
        found = run_null(open_run(root, identity), executor, n=24)
    assert found.n_points == 3
    assert (found.p_value == 1 / 25) == lasting
    assert found.p_value > 0.1 or lasting
    with serial() as executor:
        assert run_null(open_run(root, identity), executor, n=24).bests == found.bests


def test_search__by_bayes_learns_over_a_portfolios_settings(root: Store) -> None:
    spec = changed(
        parameters={"optimise.beta": {"low": 0.7, "high": 0.95}, "optimise.target_return": -1, "execution.fee_bps": 1},
        search={"method": "bayes", "n": 6, "batch": 3},
    )
    with serial() as executor:
        found = drive(root, submitted(root, spec), executor)
    assert found.n_failed == 0


CLOSES = Path(__file__).parents[3] / "shared" / "data" / "bars" / "skfolio" / "sp500_dataset.csv.gz"


@pytest.mark.slow
@pytest.mark.skipif(not CLOSES.is_file(), reason="the closes are not here")
def test_ten_thousand_optimisations__are_committed_within_a_minute_and_the_same_however_they_are_driven() -> None:
    script = Path(__file__).parents[2] / "bench" / "portfolio_sweep.py"
    done = subprocess.run([sys.executable, str(script), "--check", "60"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    n_problems = int(done.stdout.partition(" ")[0].replace(",", ""))
    assert n_problems >= 10_000
