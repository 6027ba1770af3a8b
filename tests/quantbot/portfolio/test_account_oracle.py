from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from quantbot.engine import Points
from quantbot.market import Instrument, Panel
from quantbot.portfolio import AccountPath, Targets, account_returns, pool, replay_account
from quantbot.portfolio.execution import defaults

Make = Callable[..., Panel]
START, N_BARS, N_ASSETS = 6, 60, 4
CHOICES = {
    "execution.fill": ["next_open", "same_close"],
    "execution.fee_bps": [0.0, 10.0],
    "execution.fee_per_unit": [0.0, 0.05],
    "execution.fee_minimum": [0.0, 5.0],
    "execution.half_spread_bps": [0.0, 5.0],
    "execution.slippage_bps": [0.0, 3.0],
    "execution.participation": [0.0, 0.05, 0.5],
    "execution.leftover": ["drop", "carry"],
    "execution.impact": [0.0, 0.7],
    "execution.impact_window": [5, 60],
    "execution.lot_size": [0.0, 1.0, 7.0],
    "execution.direction": ["long_short", "long_only"],
    "execution.borrow_rate": [0.0, 0.1],
    "execution.leverage": [1.0, 1.7, 3.0],
    "execution.initial_margin": [0.0, 0.6, 1.0],
    "execution.maintenance_margin": [0.0, 0.6],
    "execution.cash_rate": [0.0, 0.05, -0.01],
    "execution.loan_rate": [0.0, 0.09],
    "execution.rebalance_band": [0.0, 0.05],
    "execution.missing_bar": ["wait", "drop"],
    "execution.missing_funding": ["error", "flag"],
    "guards.max_drawdown": [0.0, 0.05, 0.2],
    "guards.cool_off": [0, 1, 9],
    "guards.daily_loss": [0.0, 0.02],
    "guards.kill_loss": [0.0, 0.15],
    "guards.max_gross": [0.0, 0.8, 1.5],
    "guards.max_net": [0.0, 0.3, 1.0],
    "guards.max_weight": [0.0, 0.25],
    "guards.max_volatility": [0.0, 0.2],
    "guards.max_cvar": [0.0, 0.03],
    "guards.cvar_beta": [0.9, 0.95],
    "guards.risk_window": [5, 12],
    "guards.max_orders": [0, 1, 3],
    "guards.max_turnover": [0.0, 0.4],
}


@st.composite
def trials(draw: st.DrawFn) -> tuple[int, dict[str, Any], str, int, bool]:
    """Draw a seed, settings (mostly the first, which is off), what targets hold, bars a day, whether bars are plain."""
    chosen = {
        name: draw(st.sampled_from(values)) if draw(st.integers(0, 2)) == 0 else values[0]
        for name, values in CHOICES.items()
    }
    kind = draw(st.sampled_from(["weights", "weights", "units"]))
    return draw(st.integers(0, 10**6)), chosen, kind, draw(st.sampled_from([1, 4])), draw(st.booleans())


def drawn(
    panel_maker: Make, trial: tuple[int, dict[str, Any], str, int, bool]
) -> tuple[Panel, Targets, dict[str, Any]]:
    seed, chosen, kind, a_day, plain = trial
    panel = panel_maker(seed, N_BARS, N_ASSETS, plain=plain, a_day=a_day)
    rng = np.random.default_rng(seed)
    if chosen["execution.missing_funding"] == "flag" and panel.funding is not None:
        panel.funding[rng.random(panel.funding.shape) < 0.2] = np.nan
    bars = np.sort(rng.choice(np.arange(START - 2, N_BARS), 12, replace=False))
    values = rng.normal(0.1, 0.5, (12, N_ASSETS))
    values[rng.random(values.shape) < 0.15] = np.nan
    values[rng.random(values.shape) < 0.15] = 0.0
    if kind == "units":
        values *= 100.0
    return panel, Targets.one(bars, values, kind=kind), {**defaults(), **chosen}


def replayed(panel: Panel, targets: Targets, chosen: dict[str, Any]) -> AccountPath:
    failed = np.isnan(account_returns(panel, (START, N_BARS), targets, chosen, Points(1)))
    assume(not failed.any())
    return replay_account(panel, (START, N_BARS), targets, chosen, {})


@settings(max_examples=150, deadline=None)
@given(trial=trials())
def test_the_kernel__does_what_the_slow_account_does(
    random_panel: Make, account_oracle: ModuleType, trial: tuple[int, dict[str, Any], str, int, bool]
) -> None:
    panel, targets, chosen = drawn(random_panel, trial)
    path = replayed(panel, targets, chosen)
    slow = account_oracle.Slow(panel, chosen, targets.bars.tolist(), targets.weights[0], targets.kind == "units")
    slow.run(START, N_BARS)
    np.testing.assert_allclose(path.equity, slow.equity, rtol=1e-9)
    np.testing.assert_allclose(path.units, slow.units_path, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(path.cash, slow.cash_path, rtol=1e-9, atol=1e-4)
    index = {name: j for j, name in enumerate(panel.assets)}
    orders = zip(path.orders["bar"].tolist(), path.orders["asset"].tolist(), strict=True)
    assert [(bar + START, index[asset]) for bar, asset in orders] == [order[:2] for order in slow.orders]
    notes = zip(path.interventions["bar"].tolist(), path.interventions["guard"].tolist(), strict=True)
    assert [(bar + START, guard) for bar, guard in notes] == slow.notes
    for kind, earned in slow.earned.items():
        sign = -1.0 if kind in ("fees", "spread", "impact", "borrow") else 1.0
        assert path.costs[kind].sum() == pytest.approx(sign * earned, rel=1e-8, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(trial=trials())
def test_money__is_conserved_whatever_is_on(
    random_panel: Make, trial: tuple[int, dict[str, Any], str, int, bool]
) -> None:
    """Cash moves by trades at market prices and by named costs alone, and equity is cash and positions at the mark."""
    panel, targets, chosen = drawn(random_panel, trial)
    path = replayed(panel, targets, chosen)
    initial = 100_000.0
    multiplier = np.array([one.multiplier for one in panel.instruments])
    index = {name: j for j, name in enumerate(panel.assets)}
    cash, marks, units = initial, np.full(N_ASSETS, np.nan), np.zeros(N_ASSETS)
    orders = path.orders
    for t in range(START, N_BARS):
        row = t - START
        if panel.split is not None:
            units, marks = units * panel.split[t], marks / panel.split[t]
        for k in np.flatnonzero(orders["bar"] == row):
            j = index[orders["asset"][k]]
            bought = orders["side"][k] * orders["units"][k]
            units[j] += bought
            cash -= bought * orders["market_price"][k] * multiplier[j]
        for kind, amounts in path.costs.items():
            cash += amounts[row] * (-1.0 if kind in ("fees", "spread", "impact", "borrow") else 1.0)
        marks = np.where(np.isnan(panel.close[t]), marks, panel.close[t])
        worth = np.where(np.abs(units) < 1e-9, 0.0, units * marks * multiplier).sum()
        assert path.cash[row] == pytest.approx(cash, abs=1e-9 * initial)
        assert path.equity[row] == pytest.approx(cash + worth, abs=1e-9 * initial)
        np.testing.assert_allclose(path.units[row], units, rtol=1e-9, atol=1e-9)
    change = np.diff(path.equity, prepend=initial)
    explained = path.pnl.sum(axis=1) - path.asset_costs.sum(axis=1) + path.costs["interest"]
    np.testing.assert_allclose(change, explained, atol=1e-9 * initial)
    executed = orders["side"] * (orders["price"] - orders["market_price"])
    assert (executed >= -1e-9).all()
    assert path.row["final_equity"] == path.equity[-1]


@settings(max_examples=25, deadline=None)
@given(trial=trials(), cut=st.integers(START + 1, N_BARS - 1))
def test_equity__does_not_move_when_what_comes_after_is_changed(
    random_panel: Make, trial: tuple[int, dict[str, Any], str, int, bool], cut: int
) -> None:
    panel, targets, chosen = drawn(random_panel, trial)
    rng = np.random.default_rng(trial[0] + 2)
    factor = np.ones((N_BARS, N_ASSETS))
    factor[cut:] = rng.uniform(0.9, 1.1, (N_BARS - cut, N_ASSETS))
    late = np.where(np.arange(N_BARS)[:, None] < cut, 1.0, 2.0)
    changes = {name: getattr(panel, name) * factor for name in ("open", "high", "low", "close")}
    changes["volume"] = panel.volume * late
    for name in ("split", "dividend", "funding"):
        if getattr(panel, name) is not None:
            changes[name] = getattr(panel, name) * late
    values = targets.weights[0] * np.where(targets.bars < cut, 1.0, -2.0)[:, None]
    other = Targets.one(targets.bars, values, kind=targets.kind)
    first = account_returns(panel, (START, N_BARS), targets, chosen, Points(1))
    second = account_returns(replace(panel, **changes), (START, N_BARS), other, chosen, Points(1))
    assume(not np.isnan(first).any() and not np.isnan(second).any())
    assert first[0, : cut - START].tobytes() == second[0, : cut - START].tobytes()


@settings(max_examples=25, deadline=None)
@given(trial=trials(), share=st.floats(0.0, 1.0))
def test_the_profit_of_pooled_strategies__adds_up_to_the_accounts(
    random_panel: Make, trial: tuple[int, dict[str, Any], str, int, bool], share: float
) -> None:
    panel, first, chosen = drawn(random_panel, (*trial[:2], "weights", *trial[3:]))
    rng = np.random.default_rng(trial[0] + 1)
    second = Targets.one(np.arange(START, N_BARS, 9), rng.normal(0.0, 0.5, (6, N_ASSETS)))
    both = pool({"first": first, "second": second}, {"first": share, "second": 1.0 - share})
    path = replayed(panel, both, chosen)
    profit = sum(path.by_strategy.values())
    np.testing.assert_allclose(np.diff(path.equity, prepend=1e5), profit + path.costs["interest"], atol=1e-4)
    if share == 1.0:
        assert not path.by_strategy["second"].any()


def test_many_purchases__go_from_the_smallest_and_equal_ones_by_the_panels_order() -> None:
    rng = np.random.default_rng(5)
    n = 400
    close = rng.uniform(5.0, 50.0, (2, n))
    instruments = tuple(Instrument(f"A{j:03d}") for j in range(n))
    panel = Panel(instruments, np.arange(2), *[close] * 5, 252.0)
    weights = rng.choice([0.001, 0.002, 0.004, 0.008], n)
    path = replay_account(
        panel, (0, 2), Targets.one([0], weights[None]), {"execution.fill": "same_close", "execution.fee_bps": 5}, {}
    )
    expected = [instruments[j].symbol for j in np.argsort(weights, kind="stable")]
    assert path.orders["asset"].tolist() == expected[: path.orders["asset"].shape[0]]
    assert 1 < path.orders["asset"].shape[0] < n
    assert path.cash[0] == pytest.approx(0.0, abs=1e-9)
