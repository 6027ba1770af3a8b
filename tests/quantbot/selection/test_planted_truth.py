"""Sweeps over pure noise are called luck, sweeps over a planted edge are called real: the whole way, by the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from scipy.signal import lfilter

from quantbot.bars import ENGINE
from quantbot.engine import Job, Points
from quantbot.market import Bars, Instrument
from quantbot.selection import (
    deflated_sharpe,
    effective_trials,
    expected_max_sharpe,
    moments,
    null_variance,
    reality_check,
)
from quantbot.strategies.loader import load_strategy

pytest.importorskip("arch")

N_BARS = 2520  # ten years of days
FAST, SLOW, SHORT = np.meshgrid(np.arange(2, 27), np.arange(30, 230, 10), [0.0, 1.0], indexing="ij")
POINTS = Points(1000, {"fast": FAST.ravel(), "slow": SLOW.ravel(), "short": SHORT.ravel()})
SAMPLE = np.random.default_rng(99).permutation(1000)[:256]  # what a ledger keeps of a family
# A drift that comes and goes, with a half-life of 40 days and 0.24 of the noise's deviation. Whoever forecasts it as
# well as the past allows (Kalman's filter) and is long or short by its sign has an annual Sharpe ratio of 2.0.
HALF_LIFE, DRIFT = 40.0, 0.24


class Verdict(NamedTuple):
    sharpe: float
    n_effective: float
    deflated: float
    p: float

    @property
    def luck(self) -> bool:
        return self.deflated < 0.95 and self.p > 0.05

    @property
    def real(self) -> bool:
        return self.deflated >= 0.95 and self.p <= 0.05


def market(returns: np.ndarray) -> Bars:
    close = 100.0 * np.exp(np.cumsum(returns))
    opened = np.concatenate([[100.0], close[:-1]])
    ts = 86_400_000_000_000 * np.arange(1, len(close) + 1)
    ones = np.ones_like(close)
    return Bars(
        Instrument("TEST"), ts, opened, np.maximum(opened, close), np.minimum(opened, close), close, ones, 252.0
    )


def noise(seed: int, n: int = N_BARS) -> np.ndarray:
    return np.random.default_rng([7, seed]).normal(size=n)


def trend(seed: int, n: int = N_BARS) -> np.ndarray:
    rng = np.random.default_rng([7, seed])
    stay = 0.5 ** (1.0 / HALF_LIFE)
    drift = lfilter([DRIFT * np.sqrt(1.0 - stay**2)], [1.0, -stay], rng.normal(size=n))
    return np.asarray(drift + rng.normal(size=n))


def judged(returns: np.ndarray, n_draws: int = 500, n_buckets: int = 252) -> Verdict:
    """Sweep a thousand moving averages with costs of 5 bps, and judge the best as a page does."""
    job = Job(load_strategy("sma_cross"), {"execution.fee_bps": 5.0})
    curves = ENGINE.returns(job, market(0.01 * returns), (0, N_BARS), POINTS)
    found = moments(curves)
    best = int(np.nanargmax(found.sharpe))
    effective = effective_trials(curves[SAMPLE], len(curves)).n_effective
    deflated = deflated_sharpe(
        found.sharpe[best],
        N_BARS,
        n_trials=effective,
        variance=null_variance(N_BARS),
        skew=found.skew[best],
        kurtosis=found.kurtosis[best],
    )
    p = reality_check(curves, n_draws=n_draws, n_buckets=n_buckets).p
    return Verdict(float(found.sharpe[best]) * np.sqrt(252), effective, float(deflated), p)


def test_the_planted_edge__is_an_annual_sharpe_ratio_of_two() -> None:
    returns = trend(0, 1_000_000)
    stay, forecast_error = 0.5 ** (1.0 / HALF_LIFE), DRIFT**2
    for _ in range(10_000):  # Riccati's recursion, to its fixed point
        gain = forecast_error / (forecast_error + 1.0)
        forecast_error = stay**2 * (1.0 - gain) * forecast_error + (1.0 - stay**2) * DRIFT**2
    forecast = lfilter([stay * gain], [1.0, -stay * (1.0 - gain)], returns)
    earned = np.sign(forecast[:-1]) * returns[1:]
    assert earned.mean() / earned.std() * np.sqrt(252) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(("make", "kind", "enough"), [(noise, "luck", 3), (trend, "real", 3)])
def test_a_few_sweeps__are_called_what_they_are(make: Callable[[int], np.ndarray], kind: str, enough: int) -> None:
    assert sum(getattr(judged(make(seed), 100, 126), kind) for seed in range(4)) >= enough


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("make", "kind", "enough"), [(noise, "luck", 95), (trend, "real", 90)])
def test_a_hundred_sweeps__are_called_what_they_are(make: Callable[[int], np.ndarray], kind: str, enough: int) -> None:
    verdicts = [judged(make(seed)) for seed in range(100)]
    assert sum(getattr(verdict, kind) for verdict in verdicts) >= enough, verdicts


@pytest.mark.slow
def test_luck_line__is_the_mean_best_of_noise() -> None:
    job = Job(load_strategy("sma_cross"), {})
    best, lines = [], []
    for seed in range(100):
        curves = ENGINE.returns(job, market(0.01 * noise(seed)), (0, N_BARS), POINTS)
        best.append(float(np.nanmax(moments(curves).sharpe)))
        lines.append(float(expected_max_sharpe(effective_trials(curves[SAMPLE], 1000).n_effective)))
    error = np.std(best) / 10
    assert abs(np.mean(best) - np.mean(lines) * np.sqrt(null_variance(N_BARS))) < 3 * error
