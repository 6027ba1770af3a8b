"""Differences against loops over rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.store import Store
from quantbot.errors import InputError, NotFoundError
from sweeps.compare import (
    aligned,
    common_measures,
    common_points,
    difference_plane,
    differing_parameters,
    side_of,
    unlike,
)
from sweeps.curves import curves_of, order_frame, trade_frame
from sweeps.executors import serial
from sweeps.neighbours import fold_spread, neighbours
from sweeps.results import Run, open_run
from sweeps.run import drive
from sweeps.surface import CellStatus
from sweeps.task import judged_folds

OTHER: dict[str, Any] = {
    "run": {"name": "other"},
    "parameters": {"fast": {"start": 5, "stop": 14, "step": 1}, "slow": {"values": [16, 24, 40]}},
    "execution": {"slippage_bps": 3, "fee_bps": 5},
}


@pytest.fixture(scope="module")
def runs(small: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    root: Store = small.root(tmp_path_factory.mktemp("compare") / "store")
    found = []
    for spec in (small.spec, small.spec | OTHER):
        identity = small.submit(root, spec)
        with serial() as executor:
            drive(root, identity, executor)
        found.append(open_run(root, identity))
    return found[0], found[1]


def test_neighbours__are_the_rows_one_step_away(runs: tuple[Run, Run]) -> None:
    run = runs[0]
    trial = run.trial_index({"fast": 7, "slow": 8, "execution.fee_bps": 0}, "AAA", "train")
    found = {(one.axis, one.step): one for one in neighbours(run, trial)}
    assert set(found) == {(axis.name, step) for axis in run.plan.axes for step in (-1, 1)}
    down = found["fast", -1]
    assert down.trial == run.trial_index({"fast": 6, "slow": 8, "execution.fee_bps": 0}, "AAA", "train")
    assert down.measures["sharpe"] == run.values()[down.trial]
    assert down.deltas["sharpe"] == run.values()[down.trial] - run.values()[trial]
    assert (found["fast", 1].state, found["fast", 1].trial) == ("left out", None)  # fast < slow
    assert found["slow", -1].state == "beyond the edge"
    assert found["execution.fee_bps", 1].value == 5


def test_fold_spread__is_the_range_over_the_folds_of_a_role(runs: tuple[Run, Run]) -> None:
    run = runs[0]
    trial = run.best(1)[0]["trial"]
    point, asset = run.row(trial)["point"], run.row(trial)["asset"]
    for spread in fold_spread(run, trial, "total_return"):
        (fold,) = [fold for fold in run.plan.folds if fold.role == spread.role]
        value = run.values("total_return")[run.trial_index(point, asset, fold.name)]
        assert (spread.low, spread.median, spread.high, spread.n) == (value, value, value, 1)


def test_curves__returns_make_the_row(runs: tuple[Run, Run]) -> None:
    run = runs[0]
    trial = run.best(1)[0]["trial"]
    curves = curves_of(run, run.replay(trial))
    row = run.row(trial)["measures"]
    scale = np.sqrt(curves.periods_per_year)
    assert curves.returns.mean() / curves.returns.std(ddof=1) * scale == pytest.approx(row["sharpe"])
    assert curves.drawdowns(1)[0].depth == pytest.approx(row["max_drawdown"])
    assert np.nanprod(1 + curves.months().returns) - 1 == pytest.approx(row["total_return"])
    assert curves.round_trips().n == row["n_trades"]
    assert len(trade_frame(curves.replay)) == row["n_trades"]
    assert set(order_frame(curves.replay)["side"]) == {"buy", "sell"}
    frame = curves.frame()
    assert list(frame.columns[:3]) == ["time", "return", "equity"]
    start, stop = curves.window_of(curves.drawdowns(1)[0])
    assert start < stop


def test_unlike__says_costs_and_periods_but_not_what_is_the_same(runs: tuple[Run, Run]) -> None:
    first, second = runs
    a = side_of(first, first.trial_index({"fast": 5, "slow": 16, "execution.fee_bps": 0}, "AAA", "all"))
    b = side_of(second, second.trial_index({"fast": 5, "slow": 24}, "AAA", "train"))
    found = {one.what: (one.kind, one.texts) for one in unlike([a, b])}
    assert found["execution.slippage_bps"] == ("costs", ("1", "3"))
    assert found["execution.fee_bps"] == ("costs", ("0", "5"))
    assert found["fold"] == ("folds", ("all", "train"))
    assert set(found) == {"execution.slippage_bps", "execution.fee_bps", "fold", "period"}
    assert differing_parameters([a, b]) == {"slow": (16, 24)}
    assert unlike([a, a]) == ()
    measure, values = common_measures([a, b])["sharpe"]
    assert (measure.name, values) == ("sharpe", (a.row["value"], b.row["value"]))


def test_side__of_a_run_is_its_plateau(runs: tuple[Run, Run]) -> None:
    side = side_of(runs[0])
    fold = runs[0].plan.folds[judged_folds(runs[0].plan)[0]].name
    plateau = runs[0].plateau(fold=fold, asset="AAA")
    assert plateau is not None
    assert side.row["point"] == plateau.point
    with pytest.raises(NotFoundError, match="has trials 0 to"):
        side_of(runs[0], 10**6)


def test_aligned__paths_have_the_common_bars_and_each_its_own_growth(runs: tuple[Run, Run]) -> None:
    run = runs[0]
    point = {"fast": 5, "slow": 16, "execution.fee_bps": 0}
    whole, test = (curves_of(run, run.replay(run.trial_index(point, "AAA", fold))) for fold in ("all", "test"))
    both = aligned([whole, test])
    np.testing.assert_array_equal(both.ts_end_ns, test.ts_end_ns)
    assert both.n_left_out == (whole.ts_end_ns.size - test.ts_end_ns.size, 0)
    np.testing.assert_allclose(both.returns[1], test.returns)
    np.testing.assert_allclose(both.returns[0], whole.returns[-test.ts_end_ns.size :])
    assert both.ahead[0] == pytest.approx(0)
    assert both.ahead[1, -1] == pytest.approx(both.growth[1, -1] / both.growth[0, -1] - 1)
    train = curves_of(run, run.replay(run.trial_index(point, "AAA", "train")))
    with pytest.raises(InputError, match="no bar in common"):
        aligned([train, test])


def test_difference__is_over_exactly_common_points(runs: tuple[Run, Run]) -> None:
    first, second = runs
    common = common_points(first, second)
    assert common.pinned == {"execution.fee_bps": 5}
    found = difference_plane(first, second, "sharpe", "fast", "slow", fold="train", asset="BBB", common=common)
    assert found.x_values.tolist() == list(range(5, 13))
    assert found.y_values.tolist() == [16, 24]
    for i, slow in enumerate([16, 24]):
        for j, fast in enumerate(range(5, 13)):
            theirs = second.trial_index({"fast": fast, "slow": slow}, "BBB", "train")
            own = first.trial_index({"fast": fast, "slow": slow, "execution.fee_bps": 5}, "BBB", "train")
            expected = second.values()[theirs] - first.values()[own]
            assert found.value[i, j] == expected
            assert found.argbest[i, j] == theirs
            assert found.status[i, j] == CellStatus.VALUE


def test_common__points_refuse_what_never_meets(runs: tuple[Run, Run], small: Any, tmp_path: Path) -> None:
    root = small.root(tmp_path / "store")
    spec = small.spec | {"parameters": {"fast": {"values": [99]}, "slow": {"values": [8, 200]}}}
    identity = small.submit(root, spec)
    lonely = open_run(root, identity)
    with pytest.raises(InputError, match="no point is in both"):
        common_points(runs[1], lonely)
    words = small.spec | {"parameters": {"execution.fill": {"values": ["next_open", "same_close"]}},
                          "search": {}}  # fmt: skip
    other = open_run(root, small.submit(root, words))
    with pytest.raises(InputError, match="vary no setting in common"):
        common_points(runs[1], other)
