"""A run on order books is a run like any other: planned by session, the same however driven, resumed, replayed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.events import EventsMeta
from datasets.events_writer import EventsWriter
from datasets.store import Store, open_store
from quantbot.book import Action, BookInstrument, Events
from quantbot.errors import InputError, RunError, SpecError
from sweeps.executors import Executor, dask_executor, serial
from sweeps.ledger import family_of, read_ledger
from sweeps.null import run_null
from sweeps.plan import Plan, make_plan
from sweeps.results import open_run
from sweeps.run import Outcome, drive
from sweeps.runstore import RunStore
from sweeps.spec import parse_spec
from sweeps.submission import submit
from sweeps.trial_returns import trial_returns

S = 10**9
DAYS = {"2024-01-02": 1_704_205_800 * S, "2024-01-03": 1_704_292_200 * S}
SPEC: dict[str, Any] = {
    "version": 1,
    "run": {"name": "maker", "engine": "book"},
    "data": {"dataset": "test/books"},
    "strategy": {"name": "market_maker"},
    "execution": {"maker_bps": -0.1, "initial_cash": 10_000},
    "parameters": {
        "half_spread": {"values": [1, 2, 4]},
        "skew": {"values": [0, 0.5]},
        "execution.entry_us": {"values": [0, 20_000]},
    },
}


def quotes(symbol: str, session: str, seed: int, n: int = 1_500) -> Events:
    """A book by price around a walking middle; each fifth event is a trade through what rests near it."""
    rng = np.random.default_rng(seed)
    start, middle, rows = DAYS[session], 10_000, []
    for i in range(n):
        ts = start + i * 40_000_000
        if i % 100 == 0:
            middle += int(rng.integers(-1, 2))
            rows.append((ts, Action.CLEAR, 0, 0, 0))
            rows += [(ts, Action.SET, side, middle - side * k, 50) for side in (1, -1) for k in range(1, 12)]
        elif i % 5 == 0:
            aggressor = int(rng.choice([1, -1]))
            rows.append((ts, Action.TRADE, aggressor, middle + 3 * aggressor, int(rng.integers(1, 9))))
        else:
            side = 1 if i % 2 else -1
            rows.append((ts, Action.SET, side, middle - side * int(rng.integers(1, 12)), int(rng.integers(1, 99))))
    instrument = BookInstrument(symbol, 0.01, 1.0, "by_price", "EUR")
    events = Events.of(instrument, session, rows)
    return Events(instrument, session, **events.columns() | {"ts_received_ns": events.ts_exchange_ns + 300_000})


def write_books(root: Store) -> None:
    """Write the dataset `test/books`: two sessions of AAA, one of BBB."""
    with EventsWriter(root, "test/books", EventsMeta("Books", "tests", synthetic=True), chunk_events=1024,
                      snapshot_every=256) as writer:  # fmt: skip
        for seed, (symbol, session) in enumerate((("AAA", "2024-01-02"), ("AAA", "2024-01-03"), ("BBB", "2024-01-02"))):
            writer.add(quotes(symbol, session, seed))
        writer.finish()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("books") / "store"
    write_books(open_store(folder))
    return folder


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Store:
    shutil.copytree(written, tmp_path / "store")
    return open_store(tmp_path / "store")


def changed(**parts: Any) -> dict[str, Any]:
    return {**SPEC, **{name: {**SPEC.get(name, {}), **part} for name, part in parts.items()}}


def plan_of(root: Store, spec: dict[str, Any] = SPEC, points: int | None = None) -> Plan:
    return make_plan(parse_spec(spec), root, block_points=points, probe=False)


def submitted(root: Store, spec: dict[str, Any] = SPEC, points: int | None = None) -> str:
    return submit(parse_spec(spec), root, plan=plan_of(root, spec, points))


@pytest.fixture(scope="module")
def reference(written: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Outcome]:
    folder = tmp_path_factory.mktemp("reference") / "store"
    shutil.copytree(written, folder)
    store = open_store(folder)
    with serial() as executor:
        return store, drive(store, submitted(store, points=12), executor)


# -- the plan ---------------------------------------------------------------------------------------------------------


def test_plan__has_a_block_of_agents_for_each_session_of_each_instrument(root: Store) -> None:
    plan = plan_of(root, points=8)
    assert plan.assets == ("AAA 2024-01-02", "AAA 2024-01-03", "BBB 2024-01-02")
    assert plan.n_trials == 12 * 3
    assert [(plan.block(i).asset, plan.block(i).n_trials) for i in range(plan.n_blocks)] == [
        (asset, n) for asset in plan.assets for n in (8, 4)
    ]
    assert plan_of(root, changed(data={"assets": ["AAA"]})).assets == plan.assets[:2]
    assert plan_of(root, changed(data={"assets": ["BBB 2024-01-02"]})).assets == plan.assets[2:]


def test_plan__refuses_other_data_unknown_sessions_and_strategies_on_bars(root: Store) -> None:
    with pytest.raises(SpecError, match="engine bars needs bars, test/books has events"):
        plan_of(root, {**SPEC, "run": {"engine": "bars"}, "strategy": {"name": "sma_cross"}, "execution": {},
                       "parameters": {"fast": {"values": [3]}, "slow": {"values": [9]}}})  # fmt: skip
    with pytest.raises(SpecError, match="has no asset 'AAA 2024-01-04'; did you mean"):
        plan_of(root, changed(data={"assets": ["AAA 2024-01-04"]}))
    with pytest.raises(SpecError, match="queue: fifo needs events by order"):
        plan_of(root, changed(execution={"queue": "fifo"}))
    with pytest.raises(SpecError, match="delays: latency is recorded, which needs samples"):
        plan_of(root, changed(execution={"latency": "recorded"}))


def test_folds__divide_sessions_by_time(root: Store) -> None:
    plan = plan_of(root, changed(data={"assets": ["AAA"]}, folds={"method": "holdout", "test": "50%"}))
    assert [fold.name for fold in plan.folds] == ["all", "train", "test"]
    second = DAYS["2024-01-03"]
    assert plan.folds[1].end_ns <= second + S <= plan.folds[2].start_ns + S
    assert any("AAA 2024-01-03 has no bar in fold train" in warning for warning in plan.warnings)


# -- the same bits ----------------------------------------------------------------------------------------------------


def test_result__does_not_depend_on_the_partition(root: Store, reference: tuple[Store, Outcome]) -> None:
    with serial() as executor:
        found = drive(root, submitted(root, points=5), executor)
    assert found.n_blocks == 9
    assert reference[1].n_blocks == 3
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
        found = drive(root, submitted(root, points=4), executor)
    assert found.result_digest == reference[1].result_digest


def test_run__resumes_with_what_is_missing(root: Store, reference: tuple[Store, Outcome]) -> None:
    identity = submitted(root, points=4)
    with serial() as executor:
        drive(root, identity, executor)
        run = RunStore(root, identity).store
        for key in run.list():
            if key.startswith(("blocks/00000003", "manifest", "rows.zarr", "lease")):
                run.delete(key)
        again = drive(root, identity, executor)
    assert (again.n_computed, again.n_reused) == (1, 8)
    assert again.result_digest == reference[1].result_digest


# -- what is behind a row ---------------------------------------------------------------------------------------------


def test_surface__has_sessions_and_instruments_of_their_own(reference: tuple[Store, Outcome]) -> None:
    run = open_run(reference[0], reference[1].identity)
    cube = run.to_xarray()
    assert cube["session"].values.tolist() == ["2024-01-02", "2024-01-03", "2024-01-02"]
    assert cube["instrument"].values.tolist() == ["AAA", "AAA", "BBB"]
    fills = run.surface("n_fills")
    of_aaa, of_day = run.surface("n_fills", asset="AAA"), run.surface("n_fills", asset="2024-01-02")
    assert of_aaa.asset.values.tolist() == ["AAA 2024-01-02", "AAA 2024-01-03"]
    assert of_day.instrument.values.tolist() == ["AAA", "BBB"]
    assert run.plane(measure="n_fills", how="max", asset="AAA").value.max() == of_aaa.max()
    assert run.plane(measure="n_fills", how="max").value.max() == fills.max()
    assert run.best(1, asset="2024-01-03")[0]["asset"] == "AAA 2024-01-03"
    with pytest.raises(InputError, match="did you mean '2024-01-03'"):
        run.plane(asset="2024-01-3")


def test_replay__gives_the_stored_row_and_fills_that_make_its_position(reference: tuple[Store, Outcome]) -> None:
    run = open_run(reference[0], reference[1].identity)
    assert run.replay(35, strict=True).row["n_fills"] == 0  # quotes too far away
    for trial in (0, 5, 17):
        found = run.replay(trial, strict=True)
        assert found.equal
        fills = found.orders
        assert len(fills["ts_ns"]) == found.row["n_fills"] > 0
        assert fills["position"][-1] == found.curves["position"][-1]
        assert (fills["ts_ns"] >= fills["placed_ns"]).all()
        assert np.isin(fills["reason"], ["trade through", "queue passed", "depth crossed", "taken"]).all()


def test_returns__are_those_behind_the_rows(reference: tuple[Store, Outcome]) -> None:
    run = open_run(reference[0], reference[1].identity)
    pieces = list(trial_returns(run.plan, np.array([1, 14, 30])))
    assert sum(len(piece.places) for piece in pieces) == 3
    for piece in pieces:
        total = np.prod(1 + piece.returns, axis=1) - 1
        stored = [run.row(int(np.array([1, 14, 30])[place]))["measures"]["total_return"] for place in piece.places]
        assert np.allclose(total, stored, rtol=1e-9, atol=1e-12)


def test_run__is_counted_in_the_ledger_and_refuses_noise_of_bars(reference: tuple[Store, Outcome]) -> None:
    root, outcome = reference
    run = open_run(root, outcome.identity)
    assert run.luck().best is not None
    assert read_ledger(root, family_of(run.plan)).n_trials == 36
    with serial() as executor, pytest.raises(RunError, match="resamples bars; engine book runs on other data"):
        run_null(run, executor, n=2)
