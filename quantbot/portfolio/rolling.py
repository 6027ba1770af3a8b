"""The same problem in one window of history after the other, each from the vertex of the one before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError
from quantbot.market import Floats
from quantbot.portfolio.constraints import Constraints
from quantbot.portfolio.cvar import GAP, Optimum, Problem
from quantbot.portfolio.kernels_chain import roll
from quantbot.portfolio.model import Scenarios, build


@dataclass(frozen=True)
class Rolling:
    """Portfolios of least CVaR of rolling windows.

    Attributes
    ----------
    ends
        Shape (n_windows,): the first period after each window, where its weights may be traded.
    points
        The answer in each window.
    """

    ends: NDArray[np.int64]
    points: tuple[Optimum, ...]

    @property
    def weights(self) -> Floats:
        """Shape (n_windows, n_assets)."""
        return np.array([point.weights for point in self.points])


def rolling_cvar(
    returns: ArrayLike,
    *,
    window: int,
    step: int = 1,
    beta: float = 0.95,
    constraints: Constraints | None = None,
) -> Rolling:
    """Return the portfolio of least CVaR of each window of `window` periods, `step` periods apart.

    Parameters
    ----------
    returns
        Shape (n_periods, n_assets), simple returns.
    constraints
        The same in all windows.

    Notes
    -----
    A chain begins cold at its first window and goes on from vertex to vertex, so which of several equally good
    portfolios is found may depend on where it began: two chains agree bit for bit where they begin alike.

    Raises
    ------
    InputError
        As `minimise_cvar`; also if there is no whole window.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = rolling_cvar(rng.normal(0, 0.01, (60, 3)), window=50, step=5)
    >>> found.ends.tolist(), found.weights.shape
    ([50, 55, 60], (3, 3))
    """
    values = Scenarios.of(returns).returns
    if not 1 <= window <= len(values) or step < 1:
        raise InputError(f"window must be from 1 to {len(values)} and step at least 1, were {window} and {step}")
    begins = np.arange(0, len(values) - window + 1, step, dtype=np.int64)
    return Rolling(begins + window, tuple(windows_cvar(values, window, begins, beta, constraints)))


def windows_cvar(
    returns: Floats, window: int, begins: NDArray[np.int64], beta: float, constraints: Constraints | None
) -> list[Optimum]:
    """Return the portfolio of least CVaR of each window, as `rolling_cvar`, of windows that begin anywhere.

    Parameters
    ----------
    returns
        Shape (n_periods, n_assets), C-contiguous, finite within the windows.
    begins
        Shape (n_windows,), rising: the first period of each window; not empty.
    """
    missing = np.concatenate([[0], np.cumsum(~np.isfinite(returns).all(axis=1))])
    for begin in begins[missing[begins + window] > missing[begins]][:1]:
        Scenarios.of(returns[begin : begin + window])  # says where
    found: list[Optimum] = []
    while len(found) < len(begins):
        found += _chain(returns, window, begins[len(found) :], beta, constraints)
    return found


def _chain(
    values: Floats, window: int, begins: NDArray[np.int64], beta: float, constraints: Constraints | None
) -> list[Optimum]:
    """Solve windows until one can't be reached from the one before; that one is solved from a start of its own."""
    begin = int(begins[0])
    order = begin + (np.arange(window) - begin) % window  # period s in row s % window
    problem = Problem.of(Scenarios.of(values[order]), beta, constraints)
    model = build(problem.scenarios, beta, problem.limits)
    t = model.tableau
    x, numbers = np.empty((len(begins), len(t.costs))), np.empty((len(begins), 4))
    goal = problem.limits.target_return
    target = model.names.index("target_return") if goal is not None else -1
    n_solved = roll(
        t, len(model.names), values, window, begins, model.asset, model.origin, target, goal or 0.0,
        np.empty(len(t.costs)), np.empty(len(model.origin)), x, numbers,
    )  # fmt: skip
    chances, names = problem.scenarios.probabilities, problem.scenarios.assets

    def at(first: int) -> Problem:
        return Problem(Scenarios(values[first : first + window], chances, names), beta, problem.limits, None)

    found = []
    for i in range(n_solved):
        own = at(begins[i])
        answer = own.read(model, x[i], numbers[i])
        sure = answer.gap <= GAP * max(1.0, abs(answer.objective))
        found.append(answer if sure else own.solve()[0])
    if n_solved < len(begins):
        found.append(at(begins[n_solved]).solve()[0])
    return found
