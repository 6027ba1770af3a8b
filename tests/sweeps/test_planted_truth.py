"""Sweeps over pure noise are called luck, planted edges real, plateaus chosen: by the numbers that a user is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.signal import lfilter

from datasets.bars import BarColumns, BarsMeta, write_bars
from datasets.store import Store, open_store
from quantbot.bars import ENGINE
from quantbot.engine import Job, Points
from quantbot.market import Bars, Instrument
from quantbot.selection import effective_trials, expected_max_sharpe, moments, null_variance
from quantbot.strategies.loader import load_strategy
from sweeps.executors import serial
from sweeps.luck import Luck, luck
from sweeps.plan import make_plan
from sweeps.results import open_run
from sweeps.run import drive
from sweeps.spec import parse_spec
from sweeps.submission import submit

pytest.importorskip("arch")

N_BARS = 2520  # ten years of days
DAY_NS = 86_400 * 10**9
FAST, SLOW, SHORT = np.meshgrid(np.arange(2, 27), np.arange(30, 230, 10), [0.0, 1.0], indexing="ij")
POINTS = Points(1000, {"fast": FAST.ravel(), "slow": SLOW.ravel(), "short": SHORT.ravel()})
CROSSINGS: dict[str, Any] = {
    "strategy": {"name": "sma_cross"},
    "parameters": {
        "fast": {"start": 2, "stop": 26},
        "slow": {"start": 30, "stop": 220, "step": 10},
        "short": {"values": [0.0, 1.0]},
    },
    "execution": {"fee_bps": 5},
}
SAMPLE = np.random.default_rng(99).permutation(1000)[:256]  # what a ledger keeps of a family
# A drift that comes and goes, with a half-life of 40 days and 0.24 of the noise's deviation. Whoever forecasts it as
# well as the past allows (Kalman's filter) and is long or short by its sign has an annual Sharpe ratio of 2.0.
HALF_LIFE, DRIFT = 40.0, 0.24


class Verdict(NamedTuple):
    deflated: float
    p: float
    sharpe: float
    n_effective: float
    pbo: float

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


def swept(root: Store, bars: BarColumns, spec: dict[str, Any]) -> Luck:
    """Run a sweep over bars of its own, and return what a user is told of its luck."""
    write_bars(root, "planted/walk", {"TEST": bars}, BarsMeta("Planted", "tests", "1d", 252.0, synthetic=True), {})
    whole = {"version": 1, "data": {"dataset": "planted/walk"}, "folds": {"method": "none"}, **spec}
    parsed = parse_spec(whole)
    identity = submit(parsed, root, plan=make_plan(parsed, root, probe=False))
    with serial() as executor:
        drive(root, identity, executor)
    return luck(open_run(root, identity))


def columns(returns: np.ndarray, volume: np.ndarray) -> BarColumns:
    bars = market(returns)
    return BarColumns(bars.ts_end_ns, open=bars.open, high=bars.high, low=bars.low, close=bars.close, volume=volume)


def judged(root: Store, returns: np.ndarray) -> Verdict:
    """Sweep a thousand moving averages with costs of 5 bps, and read what is said of the best."""
    found = swept(root, columns(0.01 * returns, np.ones(N_BARS)), CROSSINGS)
    assert found.unknown == {}
    assert found.n_trials == found.n_sampled == 1000
    assert found.best is not None
    numbers = (found.deflated_sharpe, found.p, found.best.sharpe, found.n_effective, found.pbo)
    return Verdict(*(float(number) for number in numbers if number is not None))


def test_the_planted_edge__is_an_annual_sharpe_ratio_of_two() -> None:
    returns = trend(0, 1_000_000)
    stay, forecast_error = 0.5 ** (1.0 / HALF_LIFE), DRIFT**2
    for _ in range(10_000):  # Riccati's recursion, to its fixed point
        gain = forecast_error / (forecast_error + 1.0)
        forecast_error = stay**2 * (1.0 - gain) * forecast_error + (1.0 - stay**2) * DRIFT**2
    forecast = lfilter([stay * gain], [1.0, -stay * (1.0 - gain)], returns)
    earned = np.sign(forecast[:-1]) * returns[1:]
    assert earned.mean() / earned.std() * np.sqrt(252) == pytest.approx(2.0, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "kind"), [(noise, "luck"), (trend, "real")])
def test_one_sweep__is_called_what_it_is(make: Callable[[int], np.ndarray], kind: str, tmp_path: Path) -> None:
    verdict = judged(open_store(tmp_path), make(0))
    assert getattr(verdict, kind), verdict


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("make", "kind", "enough"), [(noise, "luck", 95), (trend, "real", 90)])
def test_a_hundred_sweeps__are_called_what_they_are(
    make: Callable[[int], np.ndarray], kind: str, enough: int, tmp_path: Path
) -> None:
    verdicts = [judged(open_store(tmp_path / str(seed)), make(seed)) for seed in range(100)]
    called = sum(getattr(verdict, kind) for verdict in verdicts)
    print(f"{called} of 100 are called {kind}")
    assert called >= enough, "\n".join(str((seed, verdict)) for seed, verdict in enumerate(verdicts))


# A rule that is told by the volume of a bar which way the next one goes, and listens as often as its two settings say:
# mostly on a broad hill, nearly always in a single cell, and else every other time.
LISTENER = """
from quantbot.parameters import integer
from quantbot.strategies.contract import strategy


@strategy(
    parameters=[
        integer("x", 1, 0, 30, "One axis."), integer("y", 1, 0, 30, "The other."),
        integer("hill_x", 1, 0, 30, "Middle of the hill."), integer("hill_y", 1, 0, 30, "Middle of the hill."),
        integer("spike_x", 1, 0, 30, "The lone cell."), integer("spike_y", 1, 0, 30, "The lone cell."),
    ]
)
def listener(close, volume, x, y, hill_x, hill_y, spike_x, spike_y):
    '''Follow what the volume tells, as often as the point on the surface says.'''
    away = ((x - hill_x) * (x - hill_x) + (y - hill_y) * (y - hill_y)) / 18.0
    quality = 0.12 / (1.0 + away * away)
    if x == spike_x and y == spike_y:
        quality = quality + 0.3
    seed = close * (1.0 + 0.7310585 * x + 0.1192029 * y) * 1000.0
    draw = seed * 1.6180339887 % 1.0
    told = 1.0 if volume > 1.5 else -1.0
    return told if draw < 0.5 + quality / 2.0 else -told
"""


def spike_and_plateau(root: Store, folder: Path, seed: int) -> tuple[Luck, tuple[int, int], tuple[int, int]]:
    """Sweep a surface with a broad hill and a lone cell far above it; return where the two are, too."""
    rng = np.random.default_rng([8, seed])
    hill = spike = tuple(rng.integers(5, 20, 2).tolist())
    while max(abs(spike[0] - hill[0]), abs(spike[1] - hill[1])) < 8:
        spike = tuple(rng.integers(1, 24, 2).tolist())
    returns = 0.01 * rng.normal(size=N_BARS)
    volume = np.append(1.0 + (returns[1:] > 0), 1.0)
    (folder / "listener.py").write_text(LISTENER, encoding="utf-8")
    spec = {
        "strategy": {"name": f"{folder / 'listener.py'}:listener"},
        "parameters": {
            "x": {"start": 0, "stop": 24},
            "y": {"start": 0, "stop": 24},
            **dict(zip(("hill_x", "hill_y", "spike_x", "spike_y"), (*hill, *spike), strict=True)),
        },
    }
    return swept(root, columns(returns, volume), spec), hill, spike


def plateau_is_chosen(root: Store, folder: Path, seed: int) -> bool:
    found, hill, spike = spike_and_plateau(root, folder, seed)
    assert found.best is not None
    assert found.plateau is not None
    assert (found.best.point["x"], found.best.point["y"]) == spike
    assert found.best_is_spike
    assert found.best.value > found.plateau.value > 0.5
    at = found.plateau.point["x"], found.plateau.point["y"]
    near = max(abs(int(at[0]) - hill[0]), abs(int(at[1]) - hill[1])) <= 4
    return near and found.chosen == "plateau" and not found.plateau.edges


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_plateau__is_chosen_beside_a_spike_100_times_of_100(tmp_path: Path) -> None:
    chosen = [plateau_is_chosen(open_store(tmp_path / str(seed)), tmp_path, seed) for seed in range(100)]
    assert sum(chosen) == 100, np.flatnonzero(~np.array(chosen))


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
