"""CSCV against a slow, obvious version, and on designs whose answer is known."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.errors import InputError
from quantbot.selection import backtest_overfitting, slice_sums


def noise(n_trials: int, n_bars: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, (n_trials, n_bars))


def with_sharpe(returns: np.ndarray, sharpe: np.ndarray) -> np.ndarray:
    """Give each trial exactly this Sharpe ratio over the whole period, as the paper does for its planted designs."""
    scaled = (returns - returns.mean(axis=1, keepdims=True)) / returns.std(axis=1, ddof=1, keepdims=True)
    return np.asarray(0.01 * (scaled + np.broadcast_to(sharpe, len(returns))[:, None]))


def slow(returns: np.ndarray, n_slices: int) -> tuple[float, list[float], list[float], list[float]]:
    """Bailey et al. (2017), section 2.2, step by step."""
    slices = np.array_split(returns, n_slices, axis=1)
    logits, inside, outside = [], [], []
    for chosen in combinations(range(n_slices), n_slices // 2):
        train = np.concatenate([slices[i] for i in chosen], axis=1)
        test = np.concatenate([slices[i] for i in range(n_slices) if i not in chosen], axis=1)
        measure = [row.mean() / row.std(ddof=1) for row in train]
        held_out = [row.mean() / row.std(ddof=1) for row in test]
        best = int(np.argmax(measure))
        rank = sum(value < held_out[best] for value in held_out) + 1
        share = rank / (len(returns) + 1)
        logits.append(math.log(share / (1 - share)))
        inside.append(measure[best])
        outside.append(held_out[best])
    return float(np.mean([logit <= 0 for logit in logits])), logits, inside, outside


@given(st.integers(0, 10_000), st.sampled_from([2, 4, 6, 8]), st.integers(2, 12))
@settings(deadline=None, max_examples=25)
def test_overfitting__agrees_with_a_loop(seed: int, n_slices: int, n_trials: int) -> None:
    returns = noise(n_trials, 12 * n_slices, seed)
    found = backtest_overfitting(*slice_sums(returns, n_slices))
    probability, logits, inside, outside = slow(returns, n_slices)
    assert found.probability == probability
    np.testing.assert_allclose(found.logits, logits, rtol=1e-12)
    np.testing.assert_allclose(found.in_sample, inside, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.out_of_sample, outside, rtol=1e-9, atol=1e-12)
    assert found.loss == np.mean(np.array(outside) < 0)
    if len(logits) > 2:
        slope, intercept = np.polyfit(inside, outside, 1)
        assert (found.slope, found.intercept) == pytest.approx((slope, intercept), rel=1e-6, abs=1e-9)


def test_overfitting__is_certain_where_all_trials_are_equal_over_the_whole() -> None:
    # The paper's first Monte Carlo design (Sharpe ratio 0 for all, T = 1000, N = 100): what was best in one half must
    # be bad in the other; they report 1.000.
    returns = with_sharpe(noise(100, 1000), np.zeros(100))
    found = backtest_overfitting(*slice_sums(returns, 16))
    assert found.logits.shape == (12_870,)
    assert found.probability > 0.999
    assert found.slope == pytest.approx(-1.0, abs=0.1)  # the halves of each trial's bars sum to nothing
    assert found.loss > 0.999


def test_overfitting__is_nil_where_one_trial_has_an_edge() -> None:
    # The paper's other designs give one trial a Sharpe ratio and leave the rest at 0: at an annual 3 over 1000 days
    # little overfitting is left, at 1 much.
    for annual, low, high in ((3.0, 0.0, 0.05), (1.0, 0.2, 1.0)):
        sharpe = np.zeros(100)
        sharpe[31] = annual / math.sqrt(250)
        found = backtest_overfitting(*slice_sums(with_sharpe(noise(100, 1000, 5), sharpe), 16))
        assert low <= found.probability <= high
    assert found.n_trials == 100


def test_overfitting__of_pure_noise_is_a_coin_or_worse() -> None:
    found = [backtest_overfitting(*slice_sums(noise(50, 480, seed), 8)).probability for seed in range(40)]
    assert 0.45 < np.mean(found) < 0.9


def test_overfitting__falls_as_an_edge_grows() -> None:
    base = noise(60, 960, 3)
    base[5] -= base[5].mean()
    found = []
    for edge in (0.0, 0.001, 0.002, 0.004):
        returns = base.copy()
        returns[5] += edge
        found.append(backtest_overfitting(*slice_sums(returns, 12)).probability)
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.4
    assert found[-1] == 0.0


def test_overfitting__twins_share_a_rank_and_the_first_is_best() -> None:
    returns = noise(20, 320, 9)
    returns[4] += 0.01
    returns[11] = returns[4]
    found = backtest_overfitting(*slice_sums(returns, 8))
    assert (found.best == 4).all()
    # Ranks 19 and 20 of 20 are shared: 19.5 of 21.
    np.testing.assert_allclose(found.logits, math.log(19.5 / 21 / (1 - 19.5 / 21)))
    same = backtest_overfitting(*slice_sums(np.repeat(returns[:1], 7, axis=0), 8))
    assert (same.logits == 0.0).all()
    assert same.probability == 1.0  # nothing says that the choice is better than the median


def test_overfitting__leaves_out_trials_that_never_move() -> None:
    returns = noise(20, 320, 4)
    with_flat = np.insert(returns, [0, 7, 7, 20], 0.0, axis=0)
    with_flat[8] = np.nan
    found, expected = backtest_overfitting(*slice_sums(with_flat, 8)), backtest_overfitting(*slice_sums(returns, 8))
    assert found.n_trials == 20
    np.testing.assert_array_equal(found.logits, expected.logits)
    places = np.setdiff1d(np.arange(24), [0, 8, 9, 23])
    np.testing.assert_array_equal(found.best, places[expected.best])


def test_overfitting__the_size_of_chunks_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = slice_sums(noise(33, 400, 6), 10)
    whole = backtest_overfitting(*sums)
    monkeypatch.setattr("quantbot.selection.overfitting._CHUNK_BYTES", 33 * 8 * 5)
    parts = backtest_overfitting(*sums)
    for name in ("logits", "best", "in_sample", "out_of_sample"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_overfitting__takes_bars_common_to_all_trials() -> None:
    n, total, squares = slice_sums(noise(9, 100, 2), 4)
    np.testing.assert_array_equal(
        backtest_overfitting(n[0], total, squares).logits, backtest_overfitting(n, total, squares).logits
    )


def test_slice_sums__lose_no_bar() -> None:
    returns = noise(3, 101, 1)
    n, total, squares = slice_sums(returns, 8)
    assert n.sum(axis=1).tolist() == [101] * 3
    assert set(n.ravel()) == {12.0, 13.0}
    np.testing.assert_allclose(total.sum(axis=1), returns.sum(axis=1))
    np.testing.assert_allclose(squares.sum(axis=1), np.square(returns).sum(axis=1))


def test_errors__say_what_was_needed_and_found() -> None:
    with pytest.raises(InputError, match="even and from 2 to 20, was 7"):
        slice_sums(noise(2, 100), 7)
    with pytest.raises(InputError, match="16 slices need at least 32 bars, found 20"):
        slice_sums(noise(2, 20))
    with pytest.raises(InputError, match="at least 2 trials that ever move, found 1 of 3"):
        backtest_overfitting(*slice_sums(np.concatenate([noise(1, 100), np.zeros((2, 100))]), 4))
    with pytest.raises(InputError, match=r"must be 2-D \(n_trials, n_slices\)"):
        backtest_overfitting(5, [1.0, 2.0], [1.0, 4.0])
