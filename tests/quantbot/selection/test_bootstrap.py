"""Bootstrap intervals and tests across trials: they cover, they keep their level, they see an edge."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from quantbot.errors import InputError
from quantbot.selection import bootstrap_intervals, reality_check, stepm

pytest.importorskip("arch")


def noise(n_trials: int, n_bars: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, (n_trials, n_bars))


def test_intervals__cover_the_truth_about_as_often_as_they_say() -> None:
    covered = []
    for seed in range(60):
        returns = np.random.default_rng(seed).normal(0.0005, 0.01, 750)
        found = bootstrap_intervals(returns, 252, confidence=0.9, n_draws=200, block_length=2.0)
        covered.append(found.sharpe.low < 0.05 * np.sqrt(252) < found.sharpe.high)
    assert 0.78 < np.mean(covered) < 0.99


def test_intervals__values_are_those_of_a_row() -> None:
    returns = noise(1, 400, 2)[0]
    found = bootstrap_intervals(returns, 252, n_draws=50)
    equity = np.cumprod(1 + returns)
    peak = np.maximum(np.maximum.accumulate(equity), 1.0)
    assert found.sharpe.value == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(252))
    assert found.annual_return.value == pytest.approx(equity[-1] ** (252 / 400) - 1)
    assert found.max_drawdown.value == pytest.approx((1 - equity / peak).max())
    for interval in (found.sharpe, found.annual_return, found.max_drawdown):
        assert interval.low < interval.high
    assert found.max_drawdown.low >= 0.0


def test_intervals__are_the_same_twice_and_wider_with_more_confidence() -> None:
    returns = noise(1, 500, 3)[0]
    found = bootstrap_intervals(returns, 252, n_draws=100)
    assert bootstrap_intervals(returns, 252, n_draws=100) == found
    assert bootstrap_intervals(returns, 252, n_draws=100, seed=1) != found
    narrow = bootstrap_intervals(returns, 252, n_draws=100, confidence=0.5)
    assert found.sharpe.low < narrow.sharpe.low < narrow.sharpe.high < found.sharpe.high


def test_intervals__take_longer_blocks_where_bars_depend_on_each_other() -> None:
    shocks = noise(1, 3000, 4)[0]
    smooth = np.convolve(shocks, np.ones(20) / 20)[:3000]
    loud = shocks * (1 + 3 * (np.arange(3000) // 150 % 2))  # volatility in clusters, no autocorrelation
    plain = bootstrap_intervals(shocks, 252, n_draws=20).block_length
    assert bootstrap_intervals(smooth, 252, n_draws=20).block_length > 5 * plain
    assert bootstrap_intervals(loud, 252, n_draws=20).block_length > 5 * plain


def test_intervals__of_flat_and_ruined_equity_are_told() -> None:
    flat = bootstrap_intervals(np.zeros(50), 252, n_draws=20)
    assert np.isnan([flat.sharpe.low, flat.sharpe.value, flat.sharpe.high]).all()
    assert (flat.annual_return.value, flat.max_drawdown.high) == (0.0, 0.0)
    ruined = bootstrap_intervals(np.where(np.arange(50) == 20, -1.2, 0.01), 252, n_draws=20)
    assert (ruined.annual_return.value, ruined.max_drawdown.value) == (-1.0, 1.0)


def test_reality_check__rejects_noise_about_as_often_as_its_level() -> None:
    found = [reality_check(noise(40, 300, seed), n_draws=100, block_length=1) for seed in range(80)]
    for name in ("white", "consistent", "upper"):
        rejected = np.mean([getattr(one, name) <= 0.1 for one in found])
        assert 0.02 < rejected < 0.22, name  # 0.1, of 80 samples


def test_reality_check__sees_an_edge_among_noise_and_names_it() -> None:
    returns = noise(100, 1000, 1)
    returns[31] += 0.0018  # an annual Sharpe ratio of about 2.9 over four years
    found = reality_check(returns, n_draws=200)
    assert found.best == 31
    assert max(found.white, found.lower, found.consistent, found.upper) < 0.05
    assert found.lower <= found.consistent <= found.upper
    assert found.n_trials == 100


def test_reality_check__is_not_taken_in_by_leverage() -> None:
    returns = noise(60, 1000, 2)
    returns[5] += 0.0018
    returns[6:] *= 8.0  # their luck is loud: it drowns a mean return, and no Sharpe ratio
    found = reality_check(returns, n_draws=200)
    assert found.best == 5
    assert found.white > 0.3
    assert found.upper < 0.05


def test_reality_check__compares_with_a_benchmark() -> None:
    market = noise(1, 800, 3)[0] + 0.003
    returns = market + noise(30, 800, 4)
    assert reality_check(returns, n_draws=100).consistent < 0.05
    assert reality_check(returns, market, n_draws=100).consistent > 0.05


def test_reality_check__hardly_depends_on_buckets() -> None:
    returns = noise(50, 1500, 5)
    returns[3] += 0.0009
    whole = reality_check(returns, n_draws=400, n_buckets=1500)
    parts = reality_check(returns, n_draws=400, n_buckets=100)
    assert (whole.n_bars, parts.n_bars) == (1500, 100)
    assert parts.white == pytest.approx(whole.white, abs=0.1)
    assert parts.upper == pytest.approx(whole.upper, abs=0.1)


def test_reality_check__leaves_out_what_cannot_be_tested() -> None:
    returns = noise(20, 200, 6)
    more = np.concatenate([np.zeros((3, 200)), returns, np.full((2, 200), np.nan)])
    found, expected = reality_check(more, n_draws=50), reality_check(returns, n_draws=50)
    assert (found.n_trials, found.best) == (20, expected.best + 3)
    assert (found.white, found.consistent) == (expected.white, expected.consistent)


def test_stepm__names_the_trials_with_an_edge_and_no_other() -> None:
    returns = noise(60, 1000, 7)
    returns[[4, 40]] += 0.002
    assert stepm(returns, n_draws=200).tolist() == [4, 40]
    assert stepm(noise(60, 1000, 8), n_draws=200).size == 0


def test_stepm__ends_where_every_trial_has_an_edge() -> None:
    strong = noise(6, 400, 9) + np.array([0.02, 0.02, 0.02, 0.003, 0.003, 0.003])[:, None]
    assert stepm(strong, n_draws=100).tolist() == [0, 1, 2, 3, 4, 5]


def test_arch__is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arch.bootstrap", None)
    monkeypatch.setitem(sys.modules, "arch", None)
    for call in (lambda: bootstrap_intervals(noise(1, 50)[0], 252), lambda: reality_check(noise(5, 50))):
        with pytest.raises(InputError, match=r"need the package arch: pip install 'quantbot\[stats\]'"):
            call()


def test_errors__say_what_was_needed_and_found() -> None:
    with pytest.raises(InputError, match=r"at least 10 finite numbers, shape \(n_bars,\); was shape \(3,\)"):
        bootstrap_intervals([0.1, 0.2, np.nan], 252)
    with pytest.raises(InputError, match="none of the 3 trials can be tested"):
        reality_check(np.zeros((3, 50)))
    with pytest.raises(InputError, match=r"benchmark must be 50 finite returns, was shape \(49,\)"):
        reality_check(noise(3, 50), np.zeros(49))
    with pytest.raises(InputError, match="n_draws must be at least 20, was 5"):
        stepm(noise(3, 50), n_draws=5)
    with pytest.raises(InputError, match="level must be between 0 and 1"):
        stepm(noise(3, 50), level=1.0)
