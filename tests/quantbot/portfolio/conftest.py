"""Panels, and the oracles, loaded from their files: tests are no packages."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from quantbot.market import Instrument, Panel

DAY_NS = 86_400_000_000_000


@pytest.fixture(scope="session")
def oracles() -> ModuleType:
    return _loaded("oracles_portfolio")


@pytest.fixture(scope="session")
def account_oracle() -> ModuleType:
    return _loaded("oracles_account")


def _loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def panel_of() -> Callable[..., Panel]:
    """Make a panel from closes: opens are closes unless given, volumes a million."""

    def make(close: Any, opened: Any = None, volume: Any = None, multiplier: float = 1.0, **more: Any) -> Panel:
        closes = np.array(close, dtype=np.float64)
        opens = closes if opened is None else np.array(opened)
        volumes = np.full_like(closes, 1e6) if volume is None else np.array(volume)
        names = tuple(Instrument("ABCDEFGH"[j], multiplier=multiplier) for j in range(closes.shape[1]))
        high, low = np.fmax(opens, closes), np.fmin(opens, closes)
        ts = DAY_NS * np.arange(1, closes.shape[0] + 1)
        return Panel(names, ts, opens, high, low, closes, volumes, 252.0, **more)

    return make


@pytest.fixture(scope="session")
def random_panel(panel_of: Callable[..., Panel]) -> Callable[..., Panel]:
    """Draw a panel with everything that a panel may have: gaps, actions, funding, volumes that run out, multipliers."""

    def make(seed: int, n_bars: int, n_assets: int, *, plain: bool = False, a_day: int = 1) -> Panel:
        rng = np.random.default_rng(seed)
        shape = n_bars, n_assets
        close = 100.0 * np.cumprod(1.0 + 0.03 * rng.standard_normal(shape), axis=0)
        opened = np.vstack([close[:1], close[:-1]]) * (1.0 + 0.005 * rng.standard_normal(shape))
        volume = np.round(rng.uniform(0.0, 500.0, shape))
        split = np.where(rng.random(shape) < 0.03, rng.choice([2.0, 0.5], shape), 1.0)
        factor = np.cumprod(split, axis=0)
        close, opened = close / factor, opened / factor
        more: dict[str, Any] = {"split": split}
        more["dividend"] = np.where(rng.random(shape) < 0.05, 0.01 * close, 0.0)
        more["funding"] = rng.normal(0.0, 1e-3, shape)
        if plain:
            volume, more = np.full(shape, 1e9), {}
            close, opened = close * factor, opened * factor
        else:
            gone = rng.random(shape) < 0.1
            close[gone] = opened[gone] = volume[gone] = np.nan
        panel = panel_of(close, opened, volume, **more)
        names = tuple(replace(one, multiplier=1.0 if plain else 1.0 + j) for j, one in enumerate(panel.instruments))
        return replace(panel, instruments=names, ts_end_ns=DAY_NS // a_day * np.arange(1, n_bars + 1))

    return make
