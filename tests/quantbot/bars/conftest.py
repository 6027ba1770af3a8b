"""Markets, strategies and the oracle for the bar engine."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from quantbot.bars.execution import EXECUTION
from quantbot.market import Bars, Instrument
from quantbot.parameters import choice, integer, number
from quantbot.strategies.contract import Strategy, strategy
from quantbot.strategies.indicators import indicator


def last_mean(close: np.ndarray, window: int) -> np.ndarray:
    out = np.full(close.shape[0], np.nan)
    for t in range(window - 1, close.shape[0]):
        total = 0.0
        for i in range(window):
            total += close[t - i]
        out[t] = total / window
    return out


MEANS = {"fast_mean": indicator(last_mean, "fast"), "slow_mean": indicator(last_mean, "slow")}
WINDOWS = [integer("fast", 2, 1, 50, "Bars."), integer("slow", 5, 1, 50, "Bars.")]


@strategy(parameters=WINDOWS, indicators=MEANS)
def cross(fast_mean: float, slow_mean: float, position: float) -> float:
    """Long above, flat below."""
    if fast_mean > slow_mean:
        return 1.0
    if fast_mean < slow_mean:
        return 0.0
    return position


@strategy(
    parameters=[
        *WINDOWS,
        number("lean", 0.5, -3.0, 3.0, "Exposure."),
        choice("mode", "trend", ["trend", "revert"], "?"),
    ],
    indicators=MEANS,
)
def tilt(
    fast_mean: float,
    slow_mean: float,
    open: float,  # noqa: A002  # the bar's field
    close: float,
    fast: int,
    lean: float,
    mode: str,
    position: float,
) -> float:
    """Any exposure on any side, from everything that can be asked for."""
    side = 1.0 if fast_mean > slow_mean else -1.0
    if mode == "revert":
        side = -side
    if close < open:
        return side * lean
    if fast * close > fast * slow_mean * 1.01:
        return side
    return 0.0 if position * side < 0.0 else position


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    spec = importlib.util.spec_from_file_location("oracles_bars", Path(__file__).parents[2] / "oracles_bars.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["oracles_bars"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def strategies() -> dict[str, Strategy]:
    return {"cross": cross, "tilt": tilt}


@pytest.fixture(scope="session")
def market() -> Callable[..., Bars]:
    """Make bars from open, high, low, close, or a random walk of `n` bars from a seed."""

    def make(n: int = 0, seed: int = 0, *, spread: float = 0.02, multiplier: float = 1.0, **given: Any) -> Bars:
        if not given:
            rng = np.random.default_rng(seed)
            close = 100.0 * np.cumprod(1.0 + spread * rng.uniform(-1.0, 1.0, n))
            opened = np.concatenate([[100.0], close[:-1]]) * (1.0 + spread / 2 * rng.uniform(-1.0, 1.0, n))
            high = np.maximum(opened, close) * (1.0 + spread / 2 * rng.uniform(0.0, 1.0, n))
            low = np.minimum(opened, close) * (1.0 - spread / 2 * rng.uniform(0.0, 1.0, n))
            given = {"open": opened, "high": high, "low": low, "close": close}
        close = np.asarray(given["close"], dtype=np.float64)
        opened = np.asarray(given.get("open", close), dtype=np.float64)
        high = np.asarray(given.get("high", np.maximum(opened, close)), dtype=np.float64)
        low = np.asarray(given.get("low", np.minimum(opened, close)), dtype=np.float64)
        ts = 86_400_000_000_000 * np.arange(1, close.shape[0] + 1)
        instrument = Instrument("TEST", multiplier=multiplier)
        return Bars(instrument, ts, opened, high, low, close, np.ones_like(close), 252.0)

    return make


@pytest.fixture(scope="session")
def defaults() -> dict[str, Any]:
    """Every execution setting's default, by bare name."""
    return {parameter.name: parameter.default for parameter in EXECUTION}
