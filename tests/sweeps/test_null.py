"""The noise test: the same sweep on prices without memory, and where the real best stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datasets.bars import BarColumns, BarsMeta, write_bars
from datasets.store import Store
from quantbot.errors import InputError, NotFoundError
from sweeps import null
from sweeps.executors import dask_executor, serial
from sweeps.ledger import family_of, read_ledger
from sweeps.null import NullTest, null_document, read_null, run_null
from sweeps.results import Run, open_run
from sweeps.run import drive

DAY_NS = 86_400 * 10**9


def driven(small: Any, root: Store, spec: dict[str, Any] | None = None) -> Run:
    identity: str = small.submit(root, spec)
    with serial() as executor:
        drive(root, identity, executor)
    return open_run(root, identity)


def noise(run: Run, **more: Any) -> NullTest:
    with serial() as executor:
        return run_null(run, executor, **more)


@pytest.fixture(scope="module")
def run(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return driven(small, small.root(tmp_path_factory.mktemp("null")))


def write_trend(root: Store, n_bars: int = 1500) -> None:
    """Write prices that trend: what a moving average foretells."""
    rng = np.random.default_rng(5)
    drift = np.repeat(rng.choice([-0.004, 0.004], n_bars // 50), 50)
    close = 100 * np.exp(np.cumsum(drift + rng.normal(0, 0.008, n_bars)))
    times = (12_000 + np.arange(n_bars, dtype=np.int64)) * DAY_NS
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    columns = {"AAA": BarColumns(times, open=opened, high=high, low=low, close=close, volume=np.ones(n_bars))}
    write_bars(root, "test/trend", columns, BarsMeta("Trends", "tests", "1d", 252.0, synthetic=True), {})


def test_null__of_random_prices_has_the_real_best_among_its_own(run: Run) -> None:
    found = noise(run, n=30)
    assert 0.05 < found.p_value <= 1.0
    assert found.p_value == (sum(best >= found.real for best in found.bests if best is not None) + 1) / 31
    assert found.real == run.best(1)[0]["value"]
    assert found.n_points == found.n_all_points == run.plan.n_points
    assert null_document(found)["median"] == np.median(found.bests)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["bootstrap", "phase"])
def test_null__of_trending_prices_stays_below_the_real_best(small: Any, root: Store, method: Any) -> None:
    write_trend(root)
    run = driven(small, root, {**small.spec, "data": {"dataset": "test/trend"}, "folds": {"method": "none"}})
    found = noise(run, n=25, method=method)
    limit = 1 / 26 if method == "bootstrap" else 1.0  # phases keep the autocorrelation that a trend is
    assert found.p_value <= limit
    assert found.quantile(0.5) < found.real


def test_null__is_no_look_at_the_data_and_changes_no_row(run: Run) -> None:
    before, digest = read_ledger(run.root, family_of(run.plan)), run.digest
    keys = set(run.root.list())
    noise(run, n=5)
    assert all("/null/" in key for key in set(run.root.list()) - keys)
    assert read_ledger(run.root, family_of(run.plan)).n_trials == before.n_trials
    assert open_run(run.root, run.identity).digest == digest


def test_null__goes_on_from_what_was_run_and_is_read_by_anybody(small: Any, root: Store) -> None:
    run = driven(small, root)
    with pytest.raises(NotFoundError, match="quantbot sweep null"):
        read_null(run)
    first = noise(run, n=4)
    done = list[int]()
    more = noise(run, n=6, on_progress=done.append)
    assert more.bests[:4] == first.bests
    assert done == [4, 5, 6]
    assert read_null(run) == more


@pytest.mark.slow
def test_null__is_the_same_on_two_processes(small: Any, root: Store, run: Run) -> None:
    other = driven(small, root)
    with dask_executor(2) as executor:
        assert run_null(other, executor, n=4).bests == noise(run, n=4).bests


def test_null__of_a_large_sweep_takes_a_sample_of_points_and_the_real_best_of_the_same(
    small: Any, root: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(null, "_STEPS", 450 * 2 * 12)
    run = driven(small, root)
    null._points.cache_clear()
    found = noise(run, n=3)
    null._points.cache_clear()
    assert found.n_points == 12
    assert found.real <= run.best(1)[0]["value"]


def test_null__keeps_assets_together(small: Any, root: Store) -> None:
    from sweeps.task import load_data

    plan = driven(small, root).plan
    made = [null._resampled(load_data(plan, asset), "bootstrap", 5.0, plan.identity, 0) for asset in plan.assets]
    real = [load_data(plan, asset) for asset in plan.assets]
    both = [np.corrcoef([np.diff(np.log(bars.close)) for bars in pair])[0, 1] for pair in (made, real)]
    assert both[0] == pytest.approx(both[1], abs=0.1)


def test_null__refuses_what_it_can_not_do(small: Any, root: Store, run: Run) -> None:
    with pytest.raises(InputError, match="not finished"):
        noise(open_run(root, small.submit(root)))
    with pytest.raises(InputError, match="method must be one of"):
        noise(run, method="magic")
    with pytest.raises(InputError, match="mean block"):
        noise(run, mean_block=0.5)
    with pytest.raises(InputError, match="from 1 to"):
        noise(run, n=0)
