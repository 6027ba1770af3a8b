"""Contributions through time: who carried the risk in each window of history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError
from quantbot.market import Floats
from quantbot.portfolio.model import Scenarios
from quantbot.risk.contributions import Method, risk_contributions


@dataclass(frozen=True)
class RollingContributions:
    """Risk and its parts in rolling windows.

    Attributes
    ----------
    ends
        Shape (n_windows,): the first period after each window.
    total
        Shape (n_windows,).
    component
        Shape (n_windows, n_parts), each row's sum its total.
    names
        Of the parts.
    """

    ends: NDArray[np.int64]
    total: Floats
    component: Floats
    names: tuple[str, ...]


def rolling_contributions(
    weights: ArrayLike,
    returns: ArrayLike,
    *,
    window: int,
    step: int = 1,
    method: Method = "cvar",
    beta: float = 0.95,
    groups: Sequence[str] | None = None,
    assets: tuple[str, ...] | None = None,
) -> RollingContributions:
    """Return what each part contributes to the risk of the portfolio held at the end of each window.

    Parameters
    ----------
    weights
        Shape (n_assets,), or (n_periods, n_assets): then the last row of a window is what is held.
    returns
        Shape (n_periods, n_assets); the window is the history that the risk is estimated from.
    step
        Periods from one window to the next.

    Raises
    ------
    InputError
        As `risk_contributions`; also if there is no whole window.

    Examples
    --------
    >>> returns = np.random.default_rng(0).normal(0, 0.01, (60, 2))
    >>> found = rolling_contributions([0.5, 0.5], returns, window=40, step=10)
    >>> found.ends.tolist(), bool(np.allclose(found.component.sum(axis=1), found.total))
    ([40, 50, 60], True)
    """
    values, held = np.asarray(returns, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if values.ndim != 2 or not 1 <= window <= len(values) or step < 1:
        raise InputError(f"window must be from 1 to {len(values)} and step at least 1, were {window} and {step}")
    if held.ndim == 2 and len(held) != len(values):
        raise InputError(f"weights must have a row for each of the {len(values)} periods, found {len(held)}")
    ends = np.arange(window, len(values) + 1, step, dtype=np.int64)
    found = [
        risk_contributions(
            held if held.ndim == 1 else held[end - 1], Scenarios.of(values[end - window : end], assets=assets),
            method=method, beta=beta, groups=groups,
        )
        for end in ends.tolist()
    ]  # fmt: skip
    return RollingContributions(
        ends, np.array([one.total for one in found]), np.array([one.component for one in found]), found[0].names
    )
