"""A trial's bits depend on nothing but its own point and the bars."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from quantbot.bars import ENGINE, columns
from quantbot.engine import Job, Points, Rows
from quantbot.market import Bars
from quantbot.strategies.contract import Strategy

GROUPS = ("core", "path", "trades", "tail")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "shared": ("cross", {"fee_bps": 3.0}),
    "unfit for shared": ("tilt", {"fee_bps": 3.0, "slippage_bps": 1.0}),
    "stops": (
        "tilt",
        {"stop_loss": 0.02, "take_profit": 0.03, "trailing_stop": 0.025, "fee_fixed": 5.0, "fee_per_unit": 0.01,
         "lot_size": 1.0, "fill": "same_close", "stop_rule": "optimistic", "size": "fixed_cash", "size_value": 5e4},
    ),
    "volatility": (
        "tilt",
        {"size": "volatility_target", "size_value": 0.2, "volatility_window": 8, "fill": "next_close",
         "max_exposure": 2.0, "trailing_stop": 0.05},
    ),
}  # fmt: skip


def equal(rows: Rows, others: Rows, at: slice = slice(None)) -> None:
    """Assert that rows are the others' rows `at`, bit for bit."""
    np.testing.assert_array_equal(rows.status, others.status[at])
    for name, values in rows.measures.items():
        np.testing.assert_array_equal(values.view(np.int64), others.measures[name][at].view(np.int64), err_msg=name)


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name in ("unfit for shared", "volatility") else [])
        for name in CASES
    ]
)
def case(request: pytest.FixtureRequest, strategies: dict[str, Strategy], market: Callable[..., Bars]) -> Any:
    name, execution = CASES[request.param]
    job = Job(strategies[name], {f"execution.{k}": v for k, v in execution.items()}, GROUPS)
    rng = np.random.default_rng(3)
    n = 150  # two full batches of lanes and a rest
    columns: dict[str, Any] = {"fast": rng.integers(1, 9, n), "slow": rng.integers(2, 40, n)}
    columns["execution.fee_bps"] = rng.choice([0.0, 2.0, 20.0], n)
    if name == "tilt":
        columns["lean"] = rng.choice([-1.0, 0.0, 0.4, 1.0], n)
    return job, market(400, 5), Points(n, columns)


def test_run__a_point_alone_has_the_bits_it_has_in_a_crowd(case: Any) -> None:
    job, bars, points = case
    window = (17, 391)  # no multiple of a tile
    crowd = ENGINE.run(job, bars, window, points)
    for row in (0, 1, 63, 64, 149):
        equal(ENGINE.run(job, bars, window, points[row : row + 1]), crowd, slice(row, row + 1))


def test_run__the_order_and_number_of_points_do_not_matter(case: Any) -> None:
    job, bars, points = case
    crowd = ENGINE.run(job, bars, (0, 400), points)
    for cut in (slice(0, 9), slice(30, 101), slice(None, None, -1)):
        some = Points(len(range(*cut.indices(150))), {name: column[cut] for name, column in points.columns.items()})
        equal(ENGINE.run(job, bars, (0, 400), some), crowd, cut)


def test_run__a_small_budget_for_series_changes_no_bit(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job, bars, points = case
    crowd = ENGINE.run(job, bars, (0, 400), points)
    monkeypatch.setattr("quantbot.bars.engine.BUDGET_BYTES", 5 * 400 * 8)
    monkeypatch.setattr("quantbot.bars.engine.RETURNS_BYTES", 40 * 400 * 8)
    equal(ENGINE.run(job, bars, (0, 400), points), crowd)


def test_run__plain_python_has_the_bits_of_compiled(case: Any) -> None:
    job, bars, points = case
    plain = Job(job.strategy, job.settings, job.groups, plain_python=True)
    equal(ENGINE.run(plain, bars, (40, 390), points[:40]), ENGINE.run(job, bars, (40, 390), points[:40]))


def test_replay__has_the_row_of_run(case: Any) -> None:
    job, bars, points = case
    crowd = ENGINE.run(job, bars, (10, 400), points)
    for row in (3, 77):
        replayed = ENGINE.replay(job, bars, (10, 400), points.point(row))
        assert list(replayed.row) == list(crowd.measures)
        np.testing.assert_array_equal(list(replayed.row.values()), [values[row] for values in crowd.measures.values()])
        assert replayed.curves["equity"][-1] == crowd.measures["final_equity"][row]
        assert 1.0 - (1.0 - replayed.curves["drawdown"]).min() == crowd.measures["max_drawdown"][row]
        assert len(replayed.trades["pnl"]) == crowd.measures["n_trades"][row]


def test_run__a_choice_takes_its_word_to_each_point(
    strategies: dict[str, Strategy], market: Callable[..., Bars]
) -> None:
    bars = market(60, 1)
    words = np.array(["trend", "revert", "trend"])
    rows = ENGINE.run(Job(strategies["tilt"], {}, GROUPS, plain_python=True), bars, (0, 60), Points(3, {"mode": words}))
    for row, word in enumerate(words.tolist()):
        alone = ENGINE.run(Job(strategies["tilt"], {"mode": word}, GROUPS, plain_python=True), bars, (0, 60), Points(1))
        equal(alone, rows, slice(row, row + 1))
    assert rows.measures["total_return"][0] != rows.measures["total_return"][1]


@pytest.mark.parametrize("groups", [("core",), GROUPS])
def test_memory_bytes__is_an_upper_bound(
    strategies: dict[str, Strategy], market: Callable[..., Bars], groups: tuple[str, ...]
) -> None:
    bars = market(20_000, 1)
    job = Job(strategies["cross"], {}, groups)
    slow, fast = np.meshgrid(np.arange(10, 50), np.arange(2, 8))
    points = Points(240, {"fast": fast.ravel(), "slow": slow.ravel()})
    ENGINE.run(job, bars, (0, 20_000), points)  # compiles
    columns._SCRATCH = columns._Scratch()
    tracemalloc.start()
    try:
        ENGINE.run(job, bars, (0, 20_000), points)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= ENGINE.memory_bytes(job, 20_000, 240)


def test_import__needs_no_compiler() -> None:
    code = "import sys, quantbot.bars; print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
