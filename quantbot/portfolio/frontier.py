"""The efficient frontier of mean return against CVaR, point after point from the vertex before."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from quantbot.errors import InputError
from quantbot.market import Floats
from quantbot.portfolio.constraints import Constraints
from quantbot.portfolio.cvar import Optimum, Problem, minimise_cvar
from quantbot.portfolio.kernels_chain import trace
from quantbot.portfolio.model import Scenarios, build

_MOST_ROWS = 5_000  # scenarios that are all looked at in every step along the frontier


@dataclass(frozen=True)
class Frontier:
    """Portfolios of least CVaR for rising mean returns.

    Attributes
    ----------
    targets
        Shape (n_points,): the least mean return asked for, per period, before costs.
    points
        The answer to each.
    """

    targets: Floats
    points: tuple[Optimum, ...]

    @property
    def weights(self) -> Floats:
        """Shape (n_points, n_assets)."""
        return np.array([point.weights for point in self.points])

    @property
    def cvar(self) -> Floats:
        """Shape (n_points,); positive is a loss."""
        return np.array([point.cvar for point in self.points])

    @property
    def mean(self) -> Floats:
        """Mean return per period after costs, shape (n_points,)."""
        return np.array([point.mean for point in self.points])


def efficient_frontier(
    scenarios: Scenarios,
    *,
    n_points: int = 50,
    targets: ArrayLike | None = None,
    beta: float = 0.95,
    constraints: Constraints | None = None,
) -> Frontier:
    """Return the frontier from the portfolio of least CVaR to the one of greatest mean return.

    Parameters
    ----------
    n_points
        Number of points, evenly spaced in mean return; 2 or more.
    targets
        Least mean returns to solve for, in place of them.
    constraints
        Their own target return doesn't count.

    Raises
    ------
    InputError
        As `minimise_cvar`; also where the constraints can't hold together, with their names.

    Examples
    --------
    >>> rows = [[-0.1, 0.0], [0.2, 0.1], [0.0, -0.05], [0.1, 0.1]]
    >>> found = efficient_frontier(Scenarios.of(rows), n_points=3, beta=0.5)
    >>> bool((np.diff(found.cvar) > 0).all()), found.weights[-1].tolist()
    (True, [1.0, 0.0])
    """
    free = replace(constraints or Constraints(), target_return=None)
    if targets is None:
        if n_points < 2:
            raise InputError(f"n_points must be 2 or more, was {n_points}")
        least = minimise_cvar(scenarios, beta=beta, constraints=free)
        if least.status == "infeasible":
            raise InputError(f"the constraints can't hold together: {', '.join(least.conflict)}")
        ends = [least.weights, Problem.of(scenarios, beta, replace(free, cost=0.0)).solve(np.inf)[0].weights]
        low, high = (float(scenarios.mean @ weights) for weights in ends)
        wanted: Floats = np.linspace(low, high, n_points)
    else:
        wanted = np.asarray(targets, dtype=np.float64)
    if wanted.ndim != 1 or not np.isfinite(wanted).all() or not len(wanted):
        raise InputError(f"targets must be finite numbers of shape (n_points,), were of shape {wanted.shape}")
    return Frontier(wanted, tuple(_points(scenarios, beta, free, wanted)))


def _points(scenarios: Scenarios, beta: float, free: Constraints, targets: Floats) -> list[Optimum]:
    problem = Problem.of(scenarios, beta, replace(free, target_return=float(targets[0])))
    if len(scenarios.returns) > _MOST_ROWS:  # only a part of them gets rows, and which depends on the target
        wanted = [replace(problem.limits, target_return=float(target)) for target in targets]
        return [replace(problem, limits=limits).solve()[0] for limits in wanted]
    model = build(scenarios, beta, problem.limits)
    row = model.names.index("target_return")
    t = model.tableau
    scale = float(np.abs(scenarios.mean).max()) or 1.0
    sides = (float(scenarios.mean @ model.origin) - targets) / scale
    x, numbers = np.empty((len(targets), len(t.costs))), np.empty((len(targets), 4))
    n_solved = trace(t, len(model.names), row, sides, x, numbers)
    found = [problem.read(model, x[i], numbers[i]) for i in range(n_solved)]
    for target in targets[n_solved:]:
        rest = replace(problem, limits=replace(problem.limits, target_return=float(target)))
        found.append(rest.solve()[0])
    return found
