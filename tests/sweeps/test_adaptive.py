"""A search that learns gives the same trials and bits however it is driven, and looks at no test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.store import Store
from quantbot.engine import TrialStatus
from quantbot.errors import CorruptError, NotFoundError, RunError, SpecError
from sweeps.adaptive import phase_key, read_phase, scores
from sweeps.executors import Executor, dask_executor, serial
from sweeps.ledger import family_of, read_ledger
from sweeps.progress import Progress
from sweeps.results import Run, open_run, run_status
from sweeps.run import Outcome, drive
from sweeps.runstore import RunStore
from sweeps.submission import cancel
from sweeps.surface import CellStatus

ROOT = Path(__file__).parents[2]
SPACE = {
    "fast": {"low": 2, "high": 40},
    "slow": {"low": 5, "high": 200, "scale": "log"},
    "execution.fee_bps": {"values": [0, 5]},
}
BAYES = {"method": "bayes", "n": 32, "batch": 10, "seed": 3, "where": "fast < slow"}
HALVING = {"method": "halving", "n": 36, "eta": 3, "rungs": 3, "seed": 3, "where": "fast < slow"}
SEARCHES = {"bayes": BAYES, "halving": HALVING}
# A driver of its own that needs no cluster, and so can be killed after a moment.
DRIVER = """
import sys
from datasets.store import open_store
from sweeps.executors import serial
from sweeps.run import drive
with serial() as executor:
    drive(open_store(sys.argv[1]), sys.argv[2], executor, ttl_seconds=0.3)
"""


def spec_of(small: Any, search: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**small.spec, "parameters": SPACE, "search": search, **more}


@pytest.fixture(scope="module", params=list(SEARCHES))
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def finished(small: Any, method: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Outcome]:
    """The search, driven by the reference with one block a batch or rung."""
    root = small.root(tmp_path_factory.mktemp(method))
    with serial() as executor:
        outcome = drive(root, small.submit(root, spec_of(small, SEARCHES[method]), points=64), executor)
    return open_run(root, outcome.identity), outcome


@pytest.fixture
def start(root: Store, small: Any, method: str) -> Callable[..., str]:
    """Submit the search in blocks of so many points."""
    return lambda points=5: str(small.submit(root, spec_of(small, SEARCHES[method]), points=points))


def median(values: np.ndarray) -> np.ndarray:
    """Return the median over the assets that have a value, NaN where none has."""
    columns = [column[np.isfinite(column)] for column in values.T]
    return np.array([np.median(column) if column.size else np.nan for column in columns])


def phase_bytes(root: Store, identity: str) -> list[bytes]:
    run = RunStore(root, identity)
    return [run.read_sealed(key) for key in sorted(run.store.list("phases/"))]


# -- the same trials and bits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        serial,
        lambda: dask_executor(1, 4, processes=False),
        pytest.param(lambda: dask_executor(1), marks=pytest.mark.slow),
        pytest.param(lambda: dask_executor(4), marks=pytest.mark.slow),
    ],
    ids=["serial", "four threads", "one process", "four processes"],
)
def test_search__depends_neither_on_executor_nor_on_partition(
    root: Store, start: Callable[..., str], make: Callable[[], Executor], finished: tuple[Run, Outcome]
) -> None:
    reference, outcome = finished
    with make() as executor:  # type: ignore[attr-defined]
        found = drive(root, start(5), executor)
    assert found.n_blocks > outcome.n_blocks
    assert (found.identity, found.result_digest) == (outcome.identity, outcome.result_digest)
    there = reference._store
    assert phase_bytes(root, found.identity) == phase_bytes(there.root, outcome.identity)


@pytest.mark.slow
def test_killed_driver__is_followed_by_one_that_chooses_the_same(
    root: Store, start: Callable[..., str], finished: tuple[Run, Outcome]
) -> None:
    identity = start(3)
    run = RunStore(root, identity)
    n_phases = len(run.plan().phases)
    killed_at = []
    for wanted in range(1, n_phases):  # at each phase: while it is chosen, or while its first blocks run
        process = subprocess.Popen([sys.executable, "-c", DRIVER, root.url, identity], cwd=ROOT, env=os.environ)
        end = time.monotonic() + 60
        while len(run.store.list("phases/")) < wanted and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        killed_at.append(len(run.finished()))
        time.sleep(0.4)  # its lease runs out
    assert 0 < killed_at[0] < run.plan().n_blocks, "it was killed before it began, or after it had ended"
    with serial() as executor:
        found = drive(root, identity, executor)
    assert (found.n_reused, found.result_digest) == (killed_at[-1], finished[1].result_digest)
    assert phase_bytes(root, identity) == phase_bytes(finished[0]._store.root, identity)


@pytest.mark.slow
def test_killed_cluster__is_followed_by_one_that_chooses_the_same(
    root: Store, start: Callable[..., str], finished: tuple[Run, Outcome]
) -> None:
    identity = start(2)
    run = RunStore(root, identity)
    for wanted in range(1, len(run.plan().phases)):
        command = [sys.executable, "-m", "sweeps.run", root.url, identity, "--workers", "2"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while len(run.store.list("phases/")) < wanted and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.002)
        process.kill()
        process.wait(20)
        time.sleep(1)  # its workers notice
        newest = sorted(run.store.list("lease/"))[-1]
        dead = b'{"holder":"the dead","note":"","released":false,"token":"x","ttl_seconds":0.001}'
        run.store.put(newest, dead)
    assert len(run.finished()) < run.plan().n_blocks
    with dask_executor(4) as executor:
        assert drive(root, identity, executor).result_digest == finished[1].result_digest
    assert phase_bytes(root, identity) == phase_bytes(finished[0]._store.root, identity)


def test_cancelled_search__goes_on_where_it_was(
    root: Store, start: Callable[..., str], finished: tuple[Run, Outcome]
) -> None:
    identity = start(5)

    def stop(progress: Progress) -> None:
        if progress.note.startswith(("batch 2", "rung 2")):
            cancel(root, identity)
            time.sleep(1.1)  # the driver looks once a second

    with serial() as executor:
        stopped = drive(root, identity, executor, on_progress=stop)
        assert stopped.state == "cancelled"
        status = run_status(root, identity)
        assert 0 < status.n_done < status.n_trials
        found = drive(root, identity, executor)
    assert found.n_computed == found.n_blocks - stopped.n_computed
    assert found.result_digest == finished[1].result_digest


def test_damaged_block_of_an_earlier_phase__is_computed_again_before_anything_is_chosen(
    root: Store, start: Callable[..., str], finished: tuple[Run, Outcome]
) -> None:
    identity = start(36)
    run = RunStore(root, identity)

    def stop(progress: Progress) -> None:
        if progress.note.startswith(("batch 2", "rung 2")):
            cancel(root, identity)
            time.sleep(1.1)

    with serial() as executor:
        drive(root, identity, executor, on_progress=stop)
        damaged = int(run.plan().phase_blocks(0)[0])
        data = run.store.get(run.block_key(damaged))
        run.store.put(run.block_key(damaged), data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
        assert drive(root, identity, executor).result_digest == finished[1].result_digest


# -- what is chosen ---------------------------------------------------------------------------------------------------


def test_points__are_distinct_allowed_and_readable_at_random(finished: tuple[Run, Outcome]) -> None:
    run = finished[0]
    points = [run.plan.points.point(index) for index in range(run.plan.n_points)]
    assert len({tuple(point.items()) for point in points}) == run.plan.n_points
    assert all(2 <= point["fast"] < point["slow"] <= 200 for point in points)
    assert all(isinstance(point["fast"], int) for point in points)
    for trial in (0, run.plan.n_trials - 1, run.plan.n_trials // 2):
        assert run.row(trial)["point"] == points[trial % run.plan.n_points]


def test_search__never_looks_at_a_test(small: Any, tmp_path: Path, method: str, finished: tuple[Run, Outcome]) -> None:
    """Another future after the train fold changes no choice."""
    root = small.root(tmp_path / "plain")
    plan = small.plan(root, spec_of(small, SEARCHES[method]))
    cut = next(fold for fold in plan.folds if fold.role == "train").end_ns
    from datasets.bars import BarColumns, BarsMeta, write_bars

    other = small.root(tmp_path / "other")
    columns = {}
    for number, symbol in enumerate(("AAA", "BBB")):
        from datasets.catalog import open_dataset

        bars = open_dataset("test/small", root).bars(symbol)
        later = bars.ts_end_ns >= cut
        draws = np.random.default_rng(number).uniform(0.5, 2.0, len(later))
        factor = np.where(later, draws, 1.0)
        columns[symbol] = BarColumns(
            bars.ts_end_ns, bars.open * factor, bars.high * factor, bars.low * factor, bars.close * factor, bars.volume
        )
    write_bars(other, "test/small", columns, BarsMeta("A small market", "tests", "1d", 252.0, synthetic=True), {})
    with serial() as executor:
        outcome = drive(other, small.submit(other, spec_of(small, SEARCHES[method]), points=64), executor)
    assert outcome.result_digest != finished[1].result_digest, "the tests were meant to differ"
    assert phase_bytes(other, outcome.identity) == phase_bytes(finished[0]._store.root, finished[0].identity)


def test_scores__are_the_median_over_the_assets_on_the_guiding_fold(finished: tuple[Run, Outcome]) -> None:
    run = finished[0]
    fold = "train" if run.spec.search.method == "bayes" else "rung 1"
    values = run.surface("sharpe", fold=fold).values
    here = run.plan.phases.points(0)
    found = scores(run._store, run.plan, 0)
    np.testing.assert_array_equal(found.values, median(values)[here])
    assert not found.failed.any()


@pytest.mark.parametrize(("metric", "better"), [("sharpe", 1), ("max_drawdown", -1)])
def test_bayes__goes_where_the_objective_is_better_than_in_the_sample_it_begins_with(
    root: Store, small: Any, metric: str, better: int
) -> None:
    def found(search: dict[str, Any]) -> np.ndarray:
        spec = spec_of(small, search, objective={"metric": metric})
        with serial() as executor:
            outcome = drive(root, small.submit(root, spec, points=64), executor)
        return median(open_run(root, outcome.identity).surface(metric, fold="train").values)

    sample = {name: value for name, value in BAYES.items() if name != "batch"} | {"method": "sobol", "n": 60}
    learned, drawn = found({**BAYES, "n": 60}), found(sample)
    np.testing.assert_array_equal(learned[:10], drawn[:10])
    assert better * np.median(learned[20:]) > better * np.median(drawn[20:])


def test_bayes__a_longer_search_begins_like_a_shorter_one(
    root: Store, small: Any, finished: tuple[Run, Outcome]
) -> None:
    if finished[0].spec.search.method != "bayes":
        return
    with serial() as executor:
        outcome = drive(root, small.submit(root, spec_of(small, {**BAYES, "n": 40}), points=64), executor)
    longer = open_run(root, outcome.identity).plan.points[:32]
    for name, column in finished[0].plan.points.columns.items():
        np.testing.assert_array_equal(longer.columns[name], column)


def test_bayes__takes_all_of_a_small_space(root: Store, small: Any) -> None:
    spec = spec_of(small, {"method": "bayes", "n": 11, "batch": 4, "where": "fast < slow"})
    spec["parameters"] = {"fast": {"start": 2, "stop": 5}, "slow": {"values": [3, 4, 9, 30]}}
    with serial() as executor:
        outcome = drive(root, small.submit(root, spec), executor)
    plan = open_run(root, outcome.identity).plan
    assert len({tuple(plan.points.point(index).items()) for index in range(11)}) == 11
    with pytest.raises(SpecError, match="12 distinct points, but"):
        small.submit(root, {**spec, "search": {**spec["search"], "n": 12}})


def test_failed_points__are_told_as_failed_and_the_search_goes_on(
    root: Store, small: Any, strategy_file: Callable[..., str]
) -> None:
    reference = strategy_file("if fast > 20:\n    return 1 / (fast - fast)\nreturn 1.0 if close > mean else 0.0")
    for search in ({"method": "bayes", "n": 30, "batch": 10}, {"method": "halving", "n": 30, "rungs": 2}):
        spec = spec_of(small, search, strategy={"name": reference, "plain_python": True})
        spec["parameters"] = {"fast": {"low": 2, "high": 40}}
        with serial() as executor:
            outcome = drive(root, small.submit(root, spec), executor)
        run = open_run(root, outcome.identity)
        broken = run.plan.points.columns["fast"] > 20
        assert outcome.n_failed > 0
        assert scores(run._store, run.plan, 0).failed.tolist() == broken[run.plan.phases.points(0)].tolist()
        if search["method"] == "halving":
            promoted = read_phase(run._store, 1).promoted
            assert promoted is not None
            assert promoted.sum() == 10
            assert not promoted[broken].any()


# -- halving ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halved(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = small.root(tmp_path_factory.mktemp("halved"))
    with serial() as executor:
        return open_run(root, drive(root, small.submit(root, spec_of(small, HALVING)), executor).identity)


def test_halving__promotes_the_best_third_of_each_rung(halved: Run) -> None:
    alive = np.ones(36, np.bool_)
    for rung, n_alive, following in (("rung 1", 12, "rung 2"), ("rung 2", 4, "train")):
        score = median(halved.surface("sharpe", fold=rung).values)
        assert np.isfinite(score).sum() >= n_alive
        best = sorted(np.flatnonzero(alive & np.isfinite(score)), key=lambda index: (-score[index], index))[:n_alive]
        alive = np.isin(np.arange(36), best)
        for fold in (following, "test", "all") if following == "train" else (following,):
            slices = halved.state.reshape(2, len(halved.plan.folds), 36)
            states = slices[:, [found.name for found in halved.plan.folds].index(fold)]
            assert ((states == CellStatus.VALUE) == alive).all(), fold


def test_halving__rungs_end_where_train_ends_and_grow_backward(halved: Run) -> None:
    folds = {fold.name: fold for fold in halved.plan.folds}
    train = folds["train"]
    times = (12_000 + np.arange(600)) * 86_400 * 10**9
    sizes = {name: np.subtract(*reversed(folds[name].window(times))) for name in ("rung 1", "rung 2", "train")}
    assert sizes == {"rung 1": 50, "rung 2": 150, "train": 450}
    assert folds["rung 1"].end_ns == folds["rung 2"].end_ns == train.end_ns
    assert {folds[name].role for name in ("rung 1", "rung 2")} == {"rung"}


def test_not_promoted__is_neither_failed_nor_missing(halved: Run) -> None:
    counts = np.bincount(halved.state, minlength=5)
    skipped = 2 * ((36 - 12) + 3 * (36 - 4))
    assert counts.tolist() == [halved.plan.n_trials - skipped, 0, 0, 0, skipped]
    assert halved.status.n_failed == 0
    assert len(halved.failures()) == 0
    first = int(np.flatnonzero(halved.state == CellStatus.SKIPPED)[0])
    row = halved.row(first)
    assert (row["state"], row["reason"]) == ("not promoted", "")
    assert np.isnan(row["value"])
    table = halved.table(state="not promoted", limit=1000)
    assert len(table) == skipped
    data = halved.to_xarray()
    assert int((data["status"] == CellStatus.SKIPPED).sum()) == skipped
    assert "skipped" in data["status"].attrs["flag_meanings"]
    assert halved.replay(first).equal is None  # there is no row to compare with


def test_ledger__counts_what_a_search_evaluated_and_nothing_else(finished: tuple[Run, Outcome]) -> None:
    run = finished[0]
    ledger = read_ledger(run._store.root, family_of(run.plan))
    assert ledger.n_trials == np.count_nonzero(run.state == CellStatus.VALUE)
    assert (ledger.n_trials < run.plan.n_trials) == (run.spec.search.method == "halving")


def test_halving__of_a_grid_keeps_its_geometry(root: Store, small: Any) -> None:
    spec = {
        **small.spec,
        "search": {"method": "halving", "initial": "grid", "eta": 2, "rungs": 3, **small.spec["search"]},
    }
    with serial() as executor:
        run = open_run(root, drive(root, small.submit(root, spec), executor).identity)
    assert run.to_xarray()["sharpe"].dims == ("asset", "fold", "fast", "slow", "execution.fee_bps")
    states = run.plane("fast", "slow", fold="train").status
    assert {CellStatus.VALUE, CellStatus.SKIPPED} <= {CellStatus(int(code)) for code in states.ravel()}
    assert run.plateau(fold="rung 1") is not None


# -- plans and partial runs -------------------------------------------------------------------------------------------


def test_partial_search__opens_and_shows_what_is_there(root: Store, small: Any) -> None:
    identity = small.submit(root, spec_of(small, BAYES), points=10)
    run = open_run(root, identity)
    assert (run.plan.n_known, run.plan.n_points) == (10, 32)
    assert run.best() == []

    def stop(progress: Progress) -> None:
        if progress.note.startswith("batch 3"):
            cancel(root, identity)
            time.sleep(1.1)

    with serial() as executor:
        drive(root, identity, executor, on_progress=stop)
    run = open_run(root, identity)
    assert run.plan.n_known == 30
    assert not run.complete
    assert run.to_xarray().sizes["point"] == 30
    assert run.plane("fast", "slow", fold="train").n_planned.sum() == 2 * 30
    assert run.best(1, fold="train")[0]["point"]
    unknown = run.plan.trial_index(31)
    assert (run.row(unknown)["state"], run.row(unknown)["point"]) == ("not run yet", {})
    with pytest.raises(NotFoundError, match="not chosen yet"):
        run.replay(unknown)
    table = run.table(offset=unknown, limit=1)
    assert table["fast"].tolist() == [None]
    assert run.table(offset=2, limit=1)["fast"].tolist() == [run.plan.points.columns["fast"][2]]


def test_plan__with_phases_survives_its_bytes(root: Store, small: Any, method: str) -> None:
    from sweeps.plan import Plan

    plan = small.plan(root, spec_of(small, SEARCHES[method]))
    again = Plan.from_bytes(plan.to_bytes())
    assert again.to_bytes() == plan.to_bytes()
    assert (again.n_known, dict(again.searcher)) == (plan.n_known, dict(plan.searcher))
    assert len(again.phases) == {"bayes": 4, "halving": 3}[method]
    blocks = np.concatenate([again.phase_blocks(phase) for phase in range(len(again.phases))])
    assert sorted(blocks.tolist()) == list(range(plan.n_blocks))


def test_estimate__counts_only_what_halving_will_run(root: Store, small: Any) -> None:
    plan = small.plan(root, spec_of(small, HALVING))
    n_assets = 2
    assert plan.estimate.n_bars == n_assets * (36 * 50 + 12 * 150 + 4 * (600 + 450 + 150))


def test_phase_that_another_wrote__is_noticed(root: Store, start: Callable[..., str], method: str) -> None:
    identity = start(36)
    run = RunStore(root, identity)
    run.store.delete(phase_key(1))
    run.put_first(phase_key(1), b'{"format":1,"phase":2,"n_points":1,"promoted":"gA=="}')
    with serial() as executor, pytest.raises((RunError, CorruptError), match="must be phase 1 with"):
        drive(root, identity, executor)


def test_optuna_of_another_version__is_refused_with_both(
    root: Store, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = small.submit(root, spec_of(small, BAYES))
    monkeypatch.setattr("optuna.__version__", "0.1")
    with serial() as executor, pytest.raises(RunError, match=r"planned with optuna 5.*, here is optuna 0\.1"):
        drive(root, identity, executor)


def test_skipped_rows__have_a_digest_of_their_own(halved: Run) -> None:
    block = next(b for b in map(halved.plan.block, range(halved.plan.n_blocks)) if b.fold.role == "train")
    _, rows = halved._store.read_block(block)
    assert set(rows.status.tolist()) <= {TrialStatus.OK, TrialStatus.SKIPPED}
    assert not rows.reasons
