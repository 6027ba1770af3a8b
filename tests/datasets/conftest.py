"""Bars to write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from datasets.bars import BarColumns

DAY_NS = 86_400_000_000_000


@pytest.fixture(scope="session")
def some_bars() -> Callable[..., BarColumns]:
    """Return a function that gives `n` seeded random daily bars from day `first` on."""

    def make(n: int, seed: int = 0, first: int = 10_000, *, adjusted: bool = False) -> BarColumns:
        random = np.random.default_rng(seed)
        close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, n)))
        open_ = np.concatenate([[100.0], close[:-1]])
        return BarColumns(
            ts_end_ns=(np.arange(n) + first) * DAY_NS,
            open=open_,
            high=np.maximum(open_, close) + random.uniform(0, 1, n),
            low=np.minimum(open_, close) - random.uniform(0, 1, n),
            close=close,
            volume=np.round(random.lognormal(5, 1, n)),
            adjustment=np.where(np.arange(n) < n // 2, 0.5, 1.0) if adjusted else None,
        )

    return make
