"""The effective number of trials on families whose number is known, and on what sweeps really hand in."""

from __future__ import annotations

import time

import numpy as np
import pytest

from quantbot.errors import InputError
from quantbot.selection import effective_trials, expected_max_sharpe, moments


def independent(n_trials: int, n_bars: int = 1000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, (n_trials, n_bars))


@pytest.mark.parametrize(("n_bars", "within"), [(40, 0.4), (250, 0.2), (1000, 0.15)])
def test_effective__of_independent_trials_is_their_number(n_bars: int, within: float) -> None:
    found = effective_trials(independent(200, n_bars))
    assert found.n_effective == pytest.approx(200, rel=within)
    assert found.growth > 0.85
    assert abs(found.mean_correlation) < 0.01


def test_effective__of_one_trial_many_times_is_one() -> None:
    same = np.repeat(independent(1), 50, axis=0)
    for scale in (1.0, np.linspace(0.1, 3.0, 50)[:, None]):  # leverage is no other try
        found = effective_trials(same * scale, 10_000)
        assert found.n_effective == pytest.approx(1.0, abs=0.01)
        assert found.mean_correlation == pytest.approx(1.0)


def test_effective__of_clusters_is_their_number_however_many_trials_they_have() -> None:
    rng = np.random.default_rng(3)
    centres = independent(12, 1500, 1)
    sample = centres[rng.integers(0, 12, 200)] + 0.0005 * rng.normal(size=(200, 1500))
    for n_trials in (200, 5_000, 1_000_000):
        found = effective_trials(sample, n_trials)
        assert 11 < found.n_effective < 25, n_trials


def test_effective__gives_the_mean_best_of_correlated_noise() -> None:
    # A factor common to all: the best of N is expected at sqrt(1 - rho) times that of N independent ones.
    rng = np.random.default_rng(5)
    for rho in (0.2, 0.5, 0.8):
        sample = np.sqrt(1 - rho) * rng.normal(size=(250, 2000)) + np.sqrt(rho) * rng.normal(size=2000)
        for n_trials in (250, 2_000):
            line = float(expected_max_sharpe(effective_trials(sample, n_trials).n_effective))
            truth = np.sqrt(1 - rho) * rng.normal(size=(4000, n_trials)).max(axis=1).mean()
            assert line == pytest.approx(truth, rel=0.08), (rho, n_trials)


def test_effective__is_blind_to_edges() -> None:
    returns = independent(80, 500)
    edges = np.random.default_rng(1).normal(0.001, 0.001, (80, 1))
    assert moments(returns + edges).sharpe.std() > 2 * moments(returns).sharpe.std()
    assert effective_trials(returns + edges).n_effective == pytest.approx(effective_trials(returns).n_effective)


def test_effective__leaves_out_what_never_moves_and_counts_it_in_the_family() -> None:
    returns = independent(100)
    flat = np.concatenate([returns, np.zeros((60, 1000)), np.full((20, 1000), np.nan), np.full((20, 1000), 0.001)])
    found, expected = effective_trials(flat, 2_000), effective_trials(returns, 1_000)
    assert found.n_sampled == 100
    assert found.n_trials == expected.n_trials == 1_000
    assert found.n_effective == expected.n_effective
    nothing = effective_trials(np.zeros((5, 10)), 100)
    assert (nothing.n_effective, nothing.n_sampled) == (1.0, 0)


def test_effective__trials_on_different_bars_are_independent() -> None:
    one = independent(1, 500)
    apart = np.full((4, 2000), np.nan)
    for i in range(4):
        apart[i, 500 * i : 500 * (i + 1)] = one
    assert effective_trials(apart).n_effective == pytest.approx(4, rel=0.1)


def test_effective__never_exceeds_the_family_nor_falls_with_it() -> None:
    sample = independent(60, 300, 2)
    found = [effective_trials(sample, n).n_effective for n in (60, 100, 1_000, 100_000, 10_000_000)]
    assert found == sorted(found)
    assert (np.array(found) <= [60, 100, 1_000, 100_000, 10_000_000]).all()
    single = effective_trials(sample[:1])
    assert single.n_effective == 1.0


def test_effective__is_the_same_twice_and_near_the_same_for_another_seed() -> None:
    sample = independent(30, 300, 2) + independent(1, 300, 3)
    found = effective_trials(sample, 500)
    assert effective_trials(sample, 500) == found
    other = effective_trials(sample, 500, seed=1)
    assert float(expected_max_sharpe(other.n_effective)) == pytest.approx(
        float(expected_max_sharpe(found.n_effective)), abs=0.15
    )


def test_effective__has_a_bounded_cost() -> None:
    sample = independent(3000, 500)
    start = time.perf_counter()
    found = effective_trials(sample)
    assert time.perf_counter() - start < 10.0  # 0.6 s on two quiet cores
    assert found.n_sampled == 512
    assert found.n_effective == pytest.approx(3000, rel=0.3)


def test_errors__say_what_was_needed_and_found() -> None:
    with pytest.raises(InputError, match=r"must be 2-D \(n_sampled, n_bars\), was shape \(3,\)"):
        effective_trials([1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="at least the 5 trials of the sample, was 4"):
        effective_trials(independent(5, 20), 4)
