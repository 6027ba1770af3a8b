"""Histories drawn again in blocks, by the package `arch` (the extra ``quantbot[stats]``), imported when needed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import InputError
from quantbot.market import Floats


def arch_bootstrap() -> Any:
    """Return the module ``arch.bootstrap``, or say how to install it."""
    try:
        import arch.bootstrap
    except ImportError as error:
        raise InputError("bootstraps need the package arch: pip install 'quantbot[stats]'") from error
    return arch.bootstrap


def block_length(series: Floats, kind: str = "stationary") -> float:
    """Return the optimal (mean) length of blocks for a series, shape (n_periods,); 1 where it can't be told.

    Notes
    -----
    Politis & White (2004), corrected by Patton, Politis & White (2009); at most a third of the series, so that a draw
    holds some blocks.
    """
    if len(series) < 10 or not series.var() > 0:
        return 1.0
    found = float(arch_bootstrap().optimal_block_length(series)[kind].iloc[0])
    return min(max(found, 1.0), len(series) / 3.0) if np.isfinite(found) else 1.0


def draw_counts(n_periods: int, length: float, n_draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return how often each period occurs in each stationary bootstrap draw, shape (n_draws, n_periods).

    Examples
    --------
    >>> draw_counts(50, 5.0, 3, np.random.default_rng(0)).sum(axis=1).tolist()
    [50, 50, 50]
    """
    sampler = arch_bootstrap().StationaryBootstrap(length, np.arange(n_periods), seed=rng)
    rows = (positional[0] for positional, _ in sampler.bootstrap(n_draws))
    return np.array([np.bincount(row, minlength=n_periods) for row in rows], dtype=np.int64)
