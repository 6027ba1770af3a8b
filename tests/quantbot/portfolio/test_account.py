from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quantbot.engine import Points, TrialStatus
from quantbot.errors import DataError, InputError, ParameterError
from quantbot.market import Instrument, Panel
from quantbot.portfolio import AccountPath, Targets, account_returns, pool, replay_account, run_accounts

Make = Callable[..., Panel]
CLOSE = {"execution.fill": "same_close", "execution.initial_cash": 1000.0}
NAN = float("nan")


def replayed(
    panel: Panel, bars: list[int], weights: Any, settings: dict[str, Any], kind: Any = "weights"
) -> AccountPath:
    return replay_account(panel, (0, len(panel)), Targets.one(bars, weights, kind=kind), settings, {})


def test_a_purchase__is_sized_at_the_next_open_and_cut_to_cash_with_its_fee(panel_of: Make) -> None:
    panel = panel_of([[10.0], [12.0], [15.0]], opened=[[10.0], [11.0], [13.0]])
    path = replayed(panel, [0], [[1.0]], {"execution.initial_cash": 1000.0, "execution.fee_bps": 100.0})
    units = 1000.0 / (11.0 * 1.01)
    np.testing.assert_allclose(path.units[:, 0], [0.0, units, units], rtol=1e-14)
    np.testing.assert_allclose(path.equity, [1000.0, units * 12.0, units * 15.0], rtol=1e-14)
    assert path.orders["bar"].tolist() == [1]
    assert path.orders["fee"][0] == pytest.approx(units * 0.11, rel=1e-14)


def test_sales__come_first_and_the_largest_purchase_is_the_one_that_is_cut(panel_of: Make) -> None:
    panel = panel_of([[10.0, 10.0, 10.0], [10.0, 10.0, 10.0]])
    path = replayed(panel, [0, 1], [[1.0, 0.0, 0.0], [0.0, 0.7, 0.3]], {**CLOSE, "execution.fee_bps": 1000.0})
    bought = 1000.0 / 1.1  # all of it in the first
    cash = bought * 0.9
    small = 0.3 * bought  # valued before the fees
    assert path.units[1].tolist() == pytest.approx([0.0, (cash - small * 1.1) / 1.1 / 10.0, small / 10.0])
    assert path.orders["asset"].tolist() == ["A", "A", "C", "B"]


def test_a_short__is_paid_dividends_by_charged_borrowing_and_valued_by_its_multiplier(panel_of: Make) -> None:
    dividend = np.array([[0.0], [0.5], [0.0]])
    panel = panel_of([[10.0], [9.0], [8.0]], multiplier=5.0, dividend=dividend)
    path = replayed(panel, [0], [[-0.5]], {**CLOSE, "execution.borrow_rate": 0.252})
    assert path.units[:, 0].tolist() == [-10.0] * 3
    borrow = 10.0 * 5.0 * (9.0 + 8.0) * 0.001
    assert path.equity[-1] == pytest.approx(1000.0 + 10.0 * 5.0 * 2.0 - 10.0 * 5.0 * 0.5 - borrow, rel=1e-14)
    assert path.row["dividends_earned"] == -25.0


def test_a_split__changes_units_and_not_equity_through_a_missing_bar(panel_of: Make) -> None:
    split = np.array([[1.0], [2.0], [1.0]])
    panel = panel_of([[10.0], [NAN], [5.5]], split=split)
    path = replayed(panel, [0], [[1.0]], CLOSE)
    assert path.units[:, 0].tolist() == [100.0, 200.0, 200.0]
    assert path.equity.tolist() == [1000.0, 1000.0, 1100.0]


@pytest.mark.parametrize(("rule", "units"), [("wait", [0.0, 0.0, 50.0, 50.0]), ("drop", [0.0, 0.0, 0.0, 0.0])])
def test_an_order_for_a_missing_bar__waits_or_is_dropped(panel_of: Make, rule: str, units: list[float]) -> None:
    panel = panel_of([[10.0], [NAN], [10.0], [20.0]])
    path = replayed(panel, [0], [[0.5]], {"execution.initial_cash": 1000.0, "execution.missing_bar": rule})
    assert path.units[:, 0].tolist() == units


@pytest.mark.parametrize(("rule", "units"), [("carry", [0.0, 4.0, 8.0, 10.0]), ("drop", [0.0, 4.0, 4.0, 4.0])])
def test_what_exceeds_the_volume__is_carried_or_dropped(panel_of: Make, rule: str, units: list[float]) -> None:
    panel = panel_of([[10.0]] * 4, volume=[[40.0]] * 4)
    settings = {"execution.initial_cash": 1000.0, "execution.participation": 0.1, "execution.leftover": rule}
    path = replayed(panel, [0], [[0.1]], settings)
    assert path.units[:, 0].tolist() == units


def test_impact__is_deviations_times_the_root_of_the_share_of_volume(panel_of: Make) -> None:
    close = [[100.0], [101.0], [100.0], [102.0], [101.0]]
    panel = panel_of(close, volume=[[400.0]] * 5)
    settings = {**CLOSE, "execution.impact": 0.5, "execution.impact_window": 3, "execution.initial_cash": 101_000.0}
    path = replayed(panel, [4], [[4 * 101.0 / 101_000.0]], settings)
    past = np.diff([row[0] for row in close[:4]]) / [row[0] for row in close[:3]]
    assert path.orders["units"].tolist() == pytest.approx([4.0])
    assert path.orders["impact"][0] == pytest.approx(4.0 * 101.0 * 0.5 * past.std(ddof=1) * 0.1, rel=1e-12)


def test_lots_and_the_least_fee__round_down_and_bind(panel_of: Make) -> None:
    settings = {**CLOSE, "execution.lot_size": 10.0, "execution.fee_minimum": 7.0, "execution.fee_per_unit": 0.01}
    path = replayed(panel_of([[9.0], [9.0]]), [0, 1], [[0.5], [0.0]], settings)
    assert path.orders["units"].tolist() == [50.0, 50.0]
    assert path.equity.tolist() == [993.0, 986.0]


def test_leverage__buys_on_a_loan_that_bears_interest_and_margin_sells_all(panel_of: Make) -> None:
    panel = panel_of([[10.0], [10.0], [6.0], [6.0]])
    settings = {**CLOSE, "execution.leverage": 2.0, "execution.loan_rate": 0.252, "execution.maintenance_margin": 0.3}
    path = replayed(panel, [0], [[2.0]], settings)
    assert path.cash[0] == -1000.0
    assert path.costs["interest"][1] == -1.0
    assert path.units[:, 0].tolist() == [200.0, 200.0, 0.0, 0.0]
    assert path.interventions["guard"].tolist() == ["maintenance_margin"]
    assert replayed(panel, [0], [[2.0]], CLOSE).units[0, 0] == 100.0


def test_a_band__leaves_alone_what_is_near_its_target_and_nan_what_is_not_named(panel_of: Make) -> None:
    panel = panel_of([[10.0, 10.0], [11.0, 10.0], [11.0, 10.0]])
    path = replayed(panel, [0, 1, 2], [[0.5, 0.3], [0.5, NAN], [0.5, 0.0]], {**CLOSE, "execution.rebalance_band": 0.03})
    assert path.orders["bar"].tolist() == [0, 0, 2]
    assert path.orders["asset"].tolist() == ["B", "A", "B"]  # the smaller purchase first


def test_orders_in_units__trade_what_they_say(panel_of: Make) -> None:
    path = replayed(panel_of([[10.0], [20.0], [5.0]]), [0, 1], [[7.0], [-3.0]], CLOSE, kind="units")
    assert path.units[:, 0].tolist() == [7.0, 4.0, 4.0]


def test_missing_funding__fails_the_trial_or_is_counted(panel_of: Make) -> None:
    panel = panel_of([[10.0], [10.0], [10.0]], funding=np.array([[0.01], [0.01], [NAN]]))
    targets = Targets.one([0], [[-0.5]])
    rows = run_accounts(panel, (0, 3), targets, CLOSE, Points(1))
    assert rows.status.tolist() == [TrialStatus.FAILED]
    assert "funding rate of A is not known at bar 2" in rows.reasons[0]
    flagged = run_accounts(panel, (0, 3), targets, {**CLOSE, "execution.missing_funding": "flag"}, Points(1))
    assert flagged.measures["funding_unknown"].tolist() == [1.0]
    assert flagged.measures["final_equity"].tolist() == [1005.0]


def test_ruin__is_a_failed_row_that_says_when(panel_of: Make) -> None:
    panel = panel_of([[10.0], [25.0]])
    rows = run_accounts(panel, (0, 2), Targets.one([0], [[-1.0]]), CLOSE, Points(1))
    assert np.isnan(rows.measures["sharpe"][0])
    assert "ruined: equity was zero or less at bar 1" in rows.reasons[0]


def test_a_pool__shares_profit_among_its_strategies(panel_of: Make) -> None:
    panel = panel_of([[10.0, 10.0], [12.0, 9.0], [12.0, 9.0]])
    first, second = Targets.one([0], [[1.0, 0.0]]), Targets.one([0], [[-0.5, 0.5]])
    both = pool({"first": first, "second": second}, {"first": 0.6, "second": 0.4})
    path = replay_account(panel, (0, 3), both, CLOSE, {})
    assert path.by_strategy["first"].sum() == pytest.approx(120.0)
    assert path.by_strategy["second"].sum() == pytest.approx(-40.0 - 20.0)
    assert path.row["final_equity"] == pytest.approx(1060.0)


def test_a_trial__does_not_depend_on_the_others_of_its_block(random_panel: Make) -> None:
    panel = random_panel(1, 80, 4)
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 0.4, (3, 10, 4))
    targets = Targets(np.arange(0, 80, 8), weights, np.array([0, 1, 2, 1]))
    columns = {
        "execution.fee_bps": np.array([0.0, 5.0, 10.0, 20.0]),
        "execution.fill": np.array(["next_open", "same_close", "same_close", "next_open"]),
        "guards.max_gross": np.array([0.0, 1.0, 0.5, 0.0]),
    }
    together = account_returns(panel, (5, 80), targets, {}, Points(4, columns))
    for i in range(4):
        alone = replace(targets, of=targets.of[i : i + 1])
        point = {name: column[i : i + 1] for name, column in columns.items()}
        assert np.array_equal(account_returns(panel, (5, 80), alone, {}, Points(1, point))[0], together[i])


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"settings": {"execution.fee_bp": 1.0}}, ParameterError, "did you mean 'execution.fee_bps'"),
        ({"settings": {"guards.max_gross": -1.0}}, ParameterError, "guards.max_gross must be a number from 0 to 100"),
        (
            {"points": Points(1, {"execution.fill": np.array(["dawn"])})},
            ParameterError,
            "execution.fill must be one of",
        ),
        ({"window": (0, 9)}, InputError, r"within the 3 bars .* \(0, 9\)"),
        ({"groups": ("cor",)}, ParameterError, "did you mean 'core'"),
        ({"targets": Targets.one([0], [[1.0]])}, InputError, "weights for 1 assets, the panel has 2: A, B"),
        ({"targets": Targets.one([7], [[1.0, 0.0]])}, InputError, "within the panel's 3; are 7 to 7"),
        ({"targets": Targets.one([0], [[1.0, 0.0]], n_points=2)}, InputError, "for 2 points, there are 1"),
    ],
)
def test_bad_input__is_named(panel_of: Make, change: dict[str, Any], error: type[Exception], named: str) -> None:
    panel = panel_of([[1.0, 2.0]] * 3)
    given = {"window": (0, 3), "targets": Targets.one([0], [[1.0, 0.0]]), "settings": {}, "points": Points(1)} | change
    with pytest.raises(error, match=named):
        run_accounts(panel, **given)


def test_bad_targets_and_prices__are_named(panel_of: Make) -> None:
    with pytest.raises(DataError, match="set 0 at bar 4 are infinite for asset 1"):
        Targets.one([4], [[0.0, np.inf]])
    with pytest.raises(InputError, match="3 comes after 3"):
        Targets.one([3, 3], [[0.0], [0.0]])
    for field, value, named in (
        ("open", NAN, "open of A must be above zero and finite where it closes; was nan at bar 1"),
        ("close", -1.0, "close of A must be above zero"),
        ("volume", -1.0, "volume of A must be 0 or more"),
    ):
        panel = panel_of([[1.0]] * 3)
        values = getattr(panel, field).copy()
        values[1, 0] = value
        with pytest.raises(DataError, match=named):
            run_accounts(replace(panel, **{field: values}), (0, 3), Targets.one([0], [[1.0]]), {}, Points(1))
    with pytest.raises(DataError, match="split of A must be above zero"):
        run_accounts(panel_of([[1.0]] * 2, split=np.zeros((2, 1))), (0, 2), Targets.one([0], [[1.0]]), {}, Points(1))
    assert Instrument("A").multiplier == 1.0
