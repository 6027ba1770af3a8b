"""Reductions of one path against pandas and slow, obvious twins."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.errors import InputError
from quantbot.paths import distribution, monthly_returns, rolling, round_trips, worst_drawdowns

DAY_NS = 86_400 * 10**9


def walk(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(3e-4, 0.01, n)


def days(n: int, first: str = "2019-11-20") -> np.ndarray:
    return np.datetime64(first, "ns").astype(np.int64) + DAY_NS * np.arange(n, dtype=np.int64)


def test_months__agree_with_pandas() -> None:
    returns, stamps = walk(900), days(900)
    equity = 1_000 * np.cumprod(1 + returns)
    found = monthly_returns(stamps, equity, 1_000.0)
    frame = pd.Series(returns, pd.to_datetime(stamps))
    by_month = (1 + frame).groupby([frame.index.year, frame.index.month]).prod() - 1
    for (year, month), value in by_month.items():
        assert found.returns[found.years.index(year), month - 1] == pytest.approx(value)
    assert np.isfinite(found.returns).sum() == len(by_month)
    by_year = (1 + frame).groupby(frame.index.year).prod() - 1
    np.testing.assert_allclose(found.totals, by_year.to_numpy())


def test_months__compound_to_the_whole_and_leave_silent_years_empty() -> None:
    stamps = np.array(["2018-03-01", "2020-06-01", "2020-06-02"], "datetime64[ns]").astype(np.int64)
    found = monthly_returns(stamps, [110.0, 121.0, 60.5], 100.0)
    assert found.years == (2018, 2019, 2020)
    assert math.isnan(found.totals[1])
    assert np.isnan(found.returns[1]).all()
    assert np.nanprod(1 + found.returns) == pytest.approx(0.605)


def test_months__of_nothing_are_an_empty_table() -> None:
    assert monthly_returns([], [], 1.0).years == ()
    with pytest.raises(InputError, match="a time for each equity"):
        monthly_returns([1, 2], [1.0], 1.0)


def test_rolling__agrees_with_pandas() -> None:
    returns = walk(400)
    returns[40:90] = 0.0
    found = rolling(returns, 30, 252.0)
    frame = pd.Series(returns)
    mean, deviation = frame.rolling(30).mean(), frame.rolling(30).std()
    np.testing.assert_array_equal(found.last, np.arange(29, 400))
    np.testing.assert_allclose(found.volatility, deviation[29:] * math.sqrt(252), atol=1e-12)
    flat = frame.rolling(30).apply(lambda window: float((window == 0).all()))[29:].to_numpy() == 1
    assert flat.sum() == 21
    assert np.isnan(found.sharpe[flat]).all()
    expected = (mean / deviation * math.sqrt(252))[29:].to_numpy()
    np.testing.assert_allclose(found.sharpe[~flat], expected[~flat])

    def fall(window: pd.Series) -> float:
        growth = np.concatenate([[1.0], np.cumprod(1 + window.to_numpy())])
        return float((1 - growth / np.maximum.accumulate(growth)).max())

    np.testing.assert_allclose(found.drawdown, frame.rolling(30).apply(fall)[29:], atol=1e-12)


def test_rolling__thins_a_long_path_and_keeps_its_last_window() -> None:
    found = rolling(walk(50_000), 250, 252.0, most=300)
    assert len(found.last) == 300
    assert (found.last[0], found.last[-1]) == (249, 49_999)
    whole = rolling(walk(50_000), 250, 252.0, most=10**6)
    np.testing.assert_array_equal(found.sharpe, whole.sharpe[found.last - 249])


def test_rolling__of_a_short_path_is_empty() -> None:
    assert rolling(walk(5), 6, 252.0).last.size == 0
    with pytest.raises(InputError, match="window of 2 bars"):
        rolling(walk(5), 1, 252.0)


def slow_drawdowns(equity: list[float], start: float) -> list[tuple[int, int, int | None, float]]:
    found, peak, at, low = [], start, -1, None
    for bar, level in enumerate(equity):
        if 1 - level / max(peak, level) > 1e-12:
            if low is None or level < equity[low]:
                low = bar
            continue
        if low is not None:
            found.append((at, low, bar, 1 - equity[low] / peak))
        low = None
        if level >= peak * (1 - 1e-12):
            peak, at = max(peak, level), bar
    if low is not None:
        found.append((at, low, None, 1 - equity[low] / peak))
    return sorted(found, key=lambda one: (-one[3], one[0]))


@given(st.lists(st.sampled_from([80.0, 90.0, 95.0, 100.0, 105.0, 120.0]), max_size=30))
@settings(deadline=None)
def test_drawdowns__agree_with_a_loop(equity: list[float]) -> None:
    found = [(one.peak, one.trough, one.recovery, one.depth) for one in worst_drawdowns(equity, 100.0, 99)]
    expected = slow_drawdowns(equity, 100.0)
    assert [one[:3] for one in found] == [one[:3] for one in expected]
    assert [one[3] for one in found] == pytest.approx([one[3] for one in expected])


def test_drawdowns__the_deepest_is_that_of_the_row() -> None:
    equity = 100 * np.cumprod(1 + walk(2_000))
    (worst,) = worst_drawdowns(equity, 100.0, 1)
    whole = np.concatenate([[100.0], equity])
    assert worst.depth == pytest.approx((1 - whole / np.maximum.accumulate(whole)).max())
    assert worst.n_bars > 0


def test_drawdowns__of_a_rising_path_are_none() -> None:
    assert worst_drawdowns([101.0, 102.0], 100.0) == ()
    assert worst_drawdowns([], 100.0) == ()


def test_distribution__agrees_with_pandas_and_counts_every_bar_once() -> None:
    returns = np.concatenate([walk(3_000), np.zeros(500), [np.nan]])
    found = distribution(returns)
    moved = pd.Series(walk(3_000))
    assert (found.n_bars, found.n_flat, int(found.counts.sum())) == (3_500, 500, 3_000)
    assert found.mean == pytest.approx(moved.mean())
    assert found.deviation == pytest.approx(moved.std())
    assert found.skew == pytest.approx(float(((moved - moved.mean()) ** 3).mean() / moved.std(ddof=0) ** 3))
    assert found.kurtosis == pytest.approx(3.0, abs=0.3)
    assert found.var_95 == pytest.approx(-moved.quantile(0.05))
    assert found.normal.sum() == pytest.approx(3_000, rel=0.01)
    assert 11 <= len(found.counts) <= 81


@pytest.mark.parametrize("returns", [[], [0.0, 0.0], [np.nan]])
def test_distribution__of_a_flat_path_has_no_bin(returns: list[float]) -> None:
    found = distribution(returns)
    assert found.counts.size == 0
    assert math.isnan(found.mean)


def test_distribution__of_one_value_stands() -> None:
    found = distribution([0.01, 0.01])
    assert int(found.counts.sum()) == 2
    assert math.isnan(found.skew)


@given(st.lists(st.sampled_from([-3.0, -1.0, 0.0, 2.0, 5.0]), max_size=25))
@settings(deadline=None)
def test_round_trips__agree_with_a_loop(pnl: list[float]) -> None:
    found = round_trips(pnl, [value / 100 for value in pnl])
    wins, losses = [value for value in pnl if value > 0], [-value for value in pnl if value < 0]
    streak = longest = 0
    for value in pnl:
        streak = streak + 1 if value > 0 else 0
        longest = max(longest, streak)
    assert (found.n, found.n_won, found.n_lost, found.most_won) == (len(pnl), len(wins), len(losses), longest)
    assert found.total == pytest.approx(sum(pnl))
    for value, of in ((found.mean, pnl), (found.mean_won, wins), (found.mean_lost, losses)):
        assert value == pytest.approx(sum(of) / len(of) if of else math.nan, nan_ok=True)
    expected = max(pnl) / sum(pnl) if pnl and sum(pnl) > 0 else math.nan
    assert found.best_share == pytest.approx(expected, nan_ok=True)
