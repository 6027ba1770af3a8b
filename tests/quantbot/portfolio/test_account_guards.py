from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from quantbot.engine import Points
from quantbot.errors import NotFoundError
from quantbot.market import Panel
from quantbot.portfolio import Targets, account_returns, guard_cost, replay_account, run_accounts
from quantbot.portfolio.guards import GUARDS, SWITCHES

Make = Callable[..., Panel]
N_BARS, N_ASSETS = 80, 4
CLOSE = {"execution.fill": "same_close", "execution.initial_cash": 1000.0}
COSTS = {"execution.leverage": 3.0, "execution.fee_bps": 5.0, "execution.half_spread_bps": 3.0}
NEVER = {
    "max_drawdown": 0.99, "daily_loss": 0.99, "kill_loss": 0.99, "max_gross": 100.0, "max_net": 100.0,
    "max_weight": 100.0, "max_volatility": 10.0, "max_cvar": 1.0, "max_orders": 1_000_000, "max_turnover": 1000.0,
}  # fmt: skip


def drawn(maker: Make, seed: int, *, scale: float = 0.5) -> tuple[Panel, Targets]:
    panel = maker(seed, N_BARS, N_ASSETS, plain=True, a_day=4)
    rng = np.random.default_rng(seed)
    bars = np.sort(rng.choice(np.arange(N_BARS), 15, replace=False))
    return panel, Targets.one(bars, rng.normal(0.1, scale, (15, N_ASSETS)))


def test_every_switch__has_a_limit_that_is_never_met() -> None:
    assert set(NEVER) == set(SWITCHES)
    assert {p.name for p in GUARDS} - set(SWITCHES) == {"cool_off", "cvar_beta", "risk_window"}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), fill=st.sampled_from(["next_open", "same_close"]), guard=st.sampled_from(SWITCHES))
def test_a_guard_that_is_off_or_never_met__is_absent_bit_for_bit(
    random_panel: Make, seed: int, fill: str, guard: str
) -> None:
    panel, targets = drawn(random_panel, seed)
    plain = {**COSTS, "execution.fill": fill}
    window = (15, N_BARS)  # volatilities are known from the start
    assume("ruined" not in "".join(run_accounts(panel, window, targets, plain, Points(1)).reasons.values()))
    never = {f"guards.{guard}": NEVER[guard], "guards.risk_window": 10}
    absent, off, unmet = (
        account_returns(panel, window, targets, {**plain, **more}, Points(1))
        for more in ({}, {f"guards.{guard}": 0, "guards.cool_off": 3, "guards.risk_window": 9}, never)
    )
    assert absent.tobytes() == off.tobytes()
    assert absent.tobytes() == unmet.tobytes()


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    fill=st.sampled_from(["next_open", "same_close"]),
    limit=st.sampled_from([0.3, 0.7, 1.2]),
    guard=st.sampled_from(["max_gross", "max_net", "max_weight", "max_volatility", "max_cvar"]),
)
def test_a_limit__is_never_exceeded_but_by_the_last_bars_move(
    random_panel: Make, seed: int, fill: str, limit: float, guard: str
) -> None:
    """It holds at the prices of each fill, before its costs, which come out of equity after sizing."""
    panel, targets = drawn(random_panel, seed)
    limit = limit * {"max_volatility": 0.3, "max_cvar": 0.04}.get(guard, 1.0)
    chosen = {**COSTS, "execution.fill": fill, f"guards.{guard}": limit, "guards.risk_window": 10}
    assume(not np.isnan(account_returns(panel, (15, N_BARS), targets, chosen, Points(1))).any())
    path = replay_account(panel, (15, N_BARS), targets, chosen, {})
    past = panel.returns()
    traded = np.zeros(N_BARS - 15)
    np.add.at(traded, path.orders["bar"], path.orders["units"] * path.orders["market_price"])
    costs = {kind: path.costs[kind] for kind in ("fees", "spread")}
    same = fill == "same_close"
    for row in range(1, N_BARS - 15):
        t = row + 15
        prices = panel.close[t] if same else panel.open[t]
        worth = path.units[row] * prices
        paid = sum(own[row] for own in costs.values())
        equity = path.cash[row] + worth.sum() + paid  # before costs
        figure = measured(guard, worth / equity, past[t - 10 + same : t + same])
        # What nobody traded at an open may be beyond by the move since the close before, where it was looked at.
        looked = path.units[row - 1] * panel.close[t - 1]
        at_close = measured(guard, looked / (path.cash[row - 1] + looked.sum()), past[t - 10 : t])
        unmoved = not same and not traded[row] and at_close <= limit * (1 + 1e-6)
        assert figure <= limit * (1 + 1e-6) or unmoved


def measured(guard: str, weights: np.ndarray, past: np.ndarray) -> float:
    if guard == "max_volatility":
        return float((past @ weights).std(ddof=1) * np.sqrt(252.0))
    if guard == "max_cvar":
        worst = np.sort(past @ weights)
        return float(-worst[0])  # 5 % of 10 bars is half of the worst bar
    return {"max_gross": np.abs(weights).sum(), "max_net": abs(weights.sum()), "max_weight": np.abs(weights).max()}[
        guard
    ]


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    fill=st.sampled_from(["next_open", "same_close"]),
    limit=st.sampled_from([0.03, 0.1, 0.2]),
    guard=st.sampled_from(["max_drawdown", "daily_loss", "kill_loss"]),
)
@example(seed=1, fill="same_close", limit=0.03, guard="daily_loss")
def test_a_stop__loses_no_more_than_its_limit_and_the_bar_in_which_it_fills(
    random_panel: Make, seed: int, fill: str, limit: float, guard: str
) -> None:
    """From the first close beyond the limit on, what is held is closed at the next fill and nothing is bought."""
    panel, targets = drawn(random_panel, seed)
    chosen = {**COSTS, "execution.fill": fill, f"guards.{guard}": limit, "guards.cool_off": 7}
    assume(not np.isnan(account_returns(panel, (0, N_BARS), targets, chosen, Points(1))).any())
    path = replay_account(panel, (0, N_BARS), targets, chosen, {})
    level = np.concatenate([[1e5], path.equity])  # the window's start first
    same = fill == "same_close"
    peak, blocked = 1e5, -1
    for t in range(N_BARS):
        if t < blocked:
            assert not path.units[t].any()
            continue
        if guard == "daily_loss" and t % 4 == 0:
            peak = level[t]
        if guard == "max_drawdown" and t == blocked:
            peak = 0.0  # armed again, from here
        # Equity at the close, before what is traded at it.
        equity = level[t + 1] + (path.costs["fees"][t] + path.costs["spread"][t] if same else 0.0)
        if guard == "max_drawdown":
            peak = max(peak, equity)
        stopped = guard in path.interventions["guard"][path.interventions["bar"] == t]
        assert stopped == (equity <= peak * (1 - limit))
        if stopped:
            assert not same or not path.units[t].any()
            blocked = {"max_drawdown": t + 8, "daily_loss": t - t % 4 + 4, "kill_loss": N_BARS}[guard]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), most=st.integers(1, 3), turnover=st.sampled_from([0.2, 0.6]))
def test_rates__are_kept_by_planned_orders(random_panel: Make, seed: int, most: int, turnover: float) -> None:
    panel, targets = drawn(random_panel, seed)
    for chosen in ({"guards.max_orders": most}, {"guards.max_turnover": turnover}):
        settings_ = {"execution.leverage": 3.0, **chosen}
        assume(not np.isnan(account_returns(panel, (0, N_BARS), targets, settings_, Points(1))).any())
        path = replay_account(panel, (0, N_BARS), targets, settings_, {})
        if "guards.max_orders" in chosen:
            assert np.bincount(path.orders["bar"]).max() <= most
            continue
        traded = np.zeros(N_BARS)
        np.add.at(traded, path.orders["bar"], path.orders["units"] * path.orders["price"])
        for day in range(0, N_BARS, 4):
            values = path.value[day : day + 4][~np.isnan(path.value[day : day + 4])]
            if values.size:
                assert traded[day : day + 4].sum() <= turnover * values.max() * (1 + 1e-9)


def test_a_drawdown_stop__sells_waits_and_trades_again_at_the_next_target(panel_of: Make) -> None:
    panel = panel_of([[10.0], [8.9], [8.0], [8.0], [8.0], [16.0]])
    targets = Targets.one([0, 2, 4], [[1.0], [1.0], [1.0]])
    path = replay_account(panel, (0, 6), targets, {**CLOSE, "guards.max_drawdown": 0.1, "guards.cool_off": 2}, {})
    assert path.equity.tolist() == [1000.0, 890.0, 890.0, 890.0, 890.0, 1780.0]
    assert path.orders["reason"].tolist() == ["target", "max_drawdown", "target"]
    assert path.interventions["bar"].tolist() == [1, 2]
    assert path.interventions["wanted"].tolist() == [1.0, 1.0]
    assert path.row["on_max_drawdown"] == 2.0


def test_limits__scale_what_is_wanted_and_say_so(panel_of: Make) -> None:
    panel = panel_of([[10.0, 10.0]] * 2)
    chosen = {**CLOSE, "execution.leverage": 2.0, "guards.max_weight": 0.6, "guards.max_gross": 0.8}
    path = replay_account(panel, (0, 2), Targets.one([0], [[1.0, -0.2]]), chosen, {})
    assert path.weights[0].tolist() == pytest.approx([0.6, -0.2])
    path = replay_account(panel, (0, 2), Targets.one([0], [[1.0, -0.6]]), chosen, {})
    assert path.weights[0].tolist() == pytest.approx([0.4, -0.4])
    notes = path.interventions
    assert notes["guard"].tolist() == ["max_weight", "max_gross"]
    assert notes["wanted"].tolist() == pytest.approx([1.0, 1.2])
    assert notes["done"].tolist() == pytest.approx([0.6, 0.8])


def test_the_cost_of_a_guard__is_the_difference_to_the_same_trial_without_it(panel_of: Make) -> None:
    panel = panel_of([[10.0], [8.0], [16.0]])
    targets = Targets.one([0], [[1.0]])
    found = guard_cost(panel, (0, 3), targets, {**CLOSE, "guards.kill_loss": 0.1}, {}, "kill_loss")
    assert found.on["final_equity"] == 800.0
    assert found.off["final_equity"] == 1600.0
    assert found.cost == pytest.approx(800.0)
    with pytest.raises(NotFoundError, match="did you mean 'kill_loss'"):
        guard_cost(panel, (0, 3), targets, CLOSE, {}, "kill_los")


def test_volatility_and_cvar_limits__hold_nothing_until_their_window_is_full(random_panel: Make) -> None:
    panel = random_panel(3, 30, 2, plain=True)
    targets = Targets.one([0, 5, 12], [[0.5, 0.5]] * 3)
    for limit in ({"guards.max_volatility": 5.0}, {"guards.max_cvar": 0.9}):
        chosen: dict[str, Any] = {**CLOSE, **limit, "guards.risk_window": 10}
        path = replay_account(panel, (0, 30), targets, chosen, {})
        assert not path.units[:12].any()
        assert path.units[12].all()
