"""Prices in another order: the same bars, and nothing that foretells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.errors import InputError
from quantbot.market import Bars, Instrument, Panel
from quantbot.selection.surrogates import bar_returns, bootstrap_order, phase_order, reordered, reordered_panel


def market(n: int = 2000, seed: int = 0, rho: float = 0.0) -> Bars:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0003, 0.01, n)
    for t in range(1, n):
        noise[t] += rho * noise[t - 1]
    close = 100 * np.exp(np.cumsum(noise))
    opened = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0, 0.002, n))
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    times = np.arange(n, dtype=np.int64)
    volume = rng.uniform(1, 9, n)
    return Bars(
        Instrument("A"), times, open=opened, high=high, low=low, close=close, volume=volume, periods_per_year=252
    )


def autocorrelation(values: np.ndarray) -> float:
    return float(np.corrcoef(values[1:], values[:-1])[0, 1])


@settings(deadline=None)
@given(st.integers(1, 300), st.floats(1, 50), st.integers(0, 99))
def test_bootstrap__draws_whole_blocks_of_what_there_is(n: int, mean_block: float, seed: int) -> None:
    order = bootstrap_order(n, mean_block, np.random.default_rng(seed))
    assert order.shape == (n,)
    assert order.min() >= 0
    assert order.max() < n
    np.testing.assert_array_equal(order, bootstrap_order(n, mean_block, np.random.default_rng(seed)))


def test_bootstrap__has_blocks_of_the_mean_length_and_draws_every_bar_alike() -> None:
    order = bootstrap_order(200_000, 8, np.random.default_rng(1))
    jumps = (np.diff(order) % 200_000 != 1).mean()
    assert jumps == pytest.approx(1 / 8, rel=0.03)
    few = np.concatenate([bootstrap_order(50, 8, np.random.default_rng(seed)) for seed in range(2000)])
    counts = np.bincount(few, minlength=50)
    assert counts.min() > 0.9 * counts.mean()


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 99))
def test_phases__are_a_permutation(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = phase_order(rng.normal(size=n), rng)
    assert sorted(order.tolist()) == list(range(n))


def test_phases__keep_the_autocorrelation_and_the_bootstrap_of_single_bars_loses_it() -> None:
    returns = bar_returns(market(rho=0.4))
    real = autocorrelation(returns)
    rng = np.random.default_rng(3)
    phases = np.mean([autocorrelation(returns[phase_order(returns, rng)]) for _ in range(20)])
    single = np.mean([autocorrelation(returns[bootstrap_order(len(returns), 1, rng)]) for _ in range(20)])
    assert real > 0.3
    assert phases == pytest.approx(real, abs=0.04)
    assert abs(single) < 0.02


def test_reordered__keeps_the_shape_of_every_bar() -> None:
    bars = market()
    order = bootstrap_order(len(bars), 5, np.random.default_rng(2))
    made = reordered(bars, order)
    np.testing.assert_allclose(bar_returns(made)[1:], bar_returns(bars)[order[1:]], atol=1e-12)
    assert made.close[0] / bars.open[0] == pytest.approx(1 + bar_returns(bars)[order[0]]), "the first price is kept"
    for name in ("open", "high", "low"):
        np.testing.assert_allclose(getattr(made, name) / made.close, (getattr(bars, name) / bars.close)[order])
    np.testing.assert_array_equal(made.volume, bars.volume[order])
    np.testing.assert_array_equal(made.ts_end_ns, bars.ts_end_ns)
    assert (made.high >= np.maximum(made.open, made.close) * (1 - 1e-12)).all()


def test_reordered__in_their_own_order_are_the_same_bars() -> None:
    bars = market()
    same = reordered(bars, np.arange(len(bars)))
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(getattr(same, name), getattr(bars, name))


def test_reordered__refuses_prices_without_returns() -> None:
    bars = market(10)
    bars.low[3] = 0.0
    with pytest.raises(InputError, match="prices of 0 or less"):
        reordered(bars, np.arange(10))


def test_panel__keeps_who_moves_with_whom_and_when_each_asset_is_there() -> None:
    rng = np.random.default_rng(2)
    n = 400
    market = rng.standard_normal((n, 1))
    close = 100 * np.exp(np.cumsum(0.01 * (market * [1.0, 1.5, 0.5] + 0.3 * rng.standard_normal((n, 3))), axis=0))
    opened = np.vstack([close[:1], close[:-1]]) * 1.001
    dividend = np.zeros((n, 3))
    dividend[200, 0] = 5.0
    for field in (close, opened):
        field[:120, 2] = np.nan
    volume = np.where(np.isnan(close), np.nan, 1e5)
    instruments = tuple(Instrument(name) for name in "ABC")
    prices = opened, np.fmax(opened, close), np.fmin(opened, close), close, volume
    panel = Panel(instruments, np.arange(n), *prices, 252.0, dividend=dividend)
    order = bootstrap_order(n, 4, rng)
    found = reordered_panel(panel, order)
    np.testing.assert_array_equal(np.isnan(found.close), np.isnan(panel.close))
    assert found.dividend is None
    own, made = panel.returns(), found.returns()
    later = np.flatnonzero(order > 0)[1:]  # the first of all bars has no close before it
    np.testing.assert_allclose(made[later, :2], own[order[later], :2], atol=1e-12)
    both = order >= 121  # of bars that the third asset has, it moves with the others as it did
    both[:121] = False
    np.testing.assert_allclose(made[both], own[order[both]], atol=1e-12)
    assert (found.low <= found.close + 1e-12)[120:].all()


def test_panel__of_impossible_prices_has_no_returns_to_reorder() -> None:
    one = np.array([[1.0], [-1.0]])
    panel = Panel((Instrument("A"),), np.arange(2), *[one] * 4, np.abs(one), 252.0)
    with pytest.raises(InputError, match="0 or less"):
        reordered_panel(panel, np.array([0, 1]))
