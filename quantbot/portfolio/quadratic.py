"""Portfolios of least variance, under the same constraints as those of least CVaR and with the same kind of proof."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantbot.market import Floats
from quantbot.portfolio.constraints import Limits
from quantbot.portfolio.cvar import GAP
from quantbot.portfolio.kernels_model import FEASIBLE
from quantbot.portfolio.kernels_quadratic import interior_point, solve_square
from quantbot.portfolio.model import Scenarios, constraint_rows, pieces

_EXACT = 1e-12
_OUT = (1e-7, 1e-5, 1e-9)  # tried in turn
_STILL = 1e-20  # a variance that only rounding makes


@dataclass(frozen=True)
class Quadratic:
    """``x.hessian.x / 2 + costs.x + constant`` over pieces of weights, in boxes and under rows.

    Attributes
    ----------
    asset
        Asset of each piece.
    origin
        Weights where all pieces are 0.
    rows, side
        The first `n_equal` are equations, the others ``<=``.
    """

    hessian: Floats
    costs: Floats
    constant: float
    length: Floats
    rows: Floats
    side: Floats
    n_equal: int
    asset: NDArray[np.int64]
    origin: Floats

    @staticmethod
    def of(
        scenarios: Scenarios, limits: Limits, slopes: Floats, price: float = 0.0, constant: float = 0.0
    ) -> Quadratic:
        """Return ``variance + slopes.w + price * cost of trading + constant``, in pieces that have a length."""
        asset, begin, length, _ = pieces(limits)
        kept = length > 0.0
        asset, begin, length = asset[kept], begin[kept], length[kept]
        origin, middle = limits.lower, begin + length / 2
        _, rows, side, equal = constraint_rows(scenarios, limits, asset, middle)
        order = np.argsort(~equal, kind="stable")
        double = 2.0 * scenarios.covariance
        at_origin = double @ origin
        costs = (at_origin + slopes)[asset]
        constant += float(origin @ at_origin) / 2 + float(slopes @ origin)
        if price:
            costs = costs + price * (limits.cost[asset] * np.sign(middle - limits.previous[asset]))
            constant += price * float(limits.cost @ np.abs(origin - limits.previous))
        hessian = np.ascontiguousarray(double[np.ix_(asset, asset)])
        return Quadratic(
            hessian, costs, constant, length, rows[order], side[order], int(equal.sum()), asset, origin
        )  # fmt: skip

    def weights(self, x: Floats) -> Floats:
        """Return weights, shape (n_assets,)."""
        return self.origin + np.bincount(self.asset, x, len(self.origin))

    def value(self, x: Floats) -> float:
        """Return the objective."""
        return float(x @ self.hessian @ x) / 2 + float(self.costs @ x) + self.constant

    def bound(self, x: Floats, prices: Floats) -> float:
        """Return what no feasible portfolio is below: the tangent at `x`, rows priced, at its least in the box."""
        slope = self.hessian @ x + self.costs
        fair = prices.copy()
        fair[self.n_equal :] = np.maximum(fair[self.n_equal :], 0.0)
        reduced = slope + fair @ self.rows
        least = float(self.length @ np.minimum(reduced, 0.0))
        return self.value(x) - float(slope @ x) + least - float(fair @ self.side)

    def violation(self, x: Floats) -> float:
        """Return the greatest violation of a row or a bound."""
        beyond = self.rows @ x - self.side
        beyond[: self.n_equal] = np.abs(beyond[: self.n_equal])
        return float(max(np.maximum(-x, x - self.length).max(initial=0.0), beyond.max(initial=0.0)))


@dataclass(frozen=True)
class Found:
    """The pieces' values and what they prove; `sure` where gap and violation are within what counts as certified."""

    x: Floats
    value: float
    bound: float
    violation: float
    n_steps: int
    sure: bool


def solve(program: Quadratic) -> Found:
    """Minimise by an interior point, then exactly on the bounds and rows that it ends on, where that is no worse.

    Where constraints leave no inside (turnover 0; gross 1 of a budget of 1), rounding may keep an interior point from
    the end: then bounds and rows are moved out by a little, and the exact part is done on the true ones.
    """
    found = _near(program, 0.0)
    for out in _OUT:
        if found.sure:
            break
        found = _near(program, out)
    return found


def _near(program: Quadratic, out: float) -> Found:
    """Minimise with bounds and rows moved `out`, and return what that says of the problem as it is."""
    n, n_rows = len(program.length), len(program.side)
    if not n:
        return _judged(program, np.empty(0), np.zeros(n_rows), _STILL, 0)
    scale = max(float(np.abs(program.hessian).max()), float(np.abs(program.costs).max()), _STILL)
    length, costs, side = program.length, program.costs, program.side
    if out:
        length, costs = length + 2.0 * out, costs - out * program.hessian.sum(axis=1)
        side = side + out * program.rows.sum(axis=1)
        side[program.n_equal :] += out
    x, prices, reduced, slack = np.empty(n), np.zeros(n_rows), np.empty((2, n)), np.zeros(n_rows)
    n_steps = interior_point(
        program.hessian / scale, costs / scale, length, program.rows, side, program.n_equal, x, prices, reduced, slack
    )
    found = _judged(program, np.clip(x - out, 0.0, program.length), prices * scale, scale, n_steps)
    low, high = x < reduced[0], length - x < reduced[1]
    tight = np.flatnonzero((np.arange(n_rows) < program.n_equal) | (slack < prices))
    exact, own = _on_active(program, low, high, tight)
    for multipliers in (own, prices * scale):  # a row that the bounds make superfluous has no price of its own
        better = _judged(program, exact, multipliers, scale, n_steps)
        allowed = max(_EXACT * scale, found.value - found.bound)
        if better.violation <= max(_EXACT, found.violation) and better.value - better.bound <= allowed:
            return better
    return found


def _judged(program: Quadratic, x: Floats, prices: Floats, scale: float, n_steps: int) -> Found:
    value, bound, violation = program.value(x), program.bound(x, prices), program.violation(x)
    sure = violation <= FEASIBLE and value - bound <= GAP * max(scale, abs(value))
    return Found(x, value, bound, violation, n_steps, sure)


def _on_active(
    program: Quadratic, low: NDArray[np.bool_], high: NDArray[np.bool_], tight: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return the optimum on these bounds and rows, and the rows' multipliers."""
    free = np.flatnonzero(~low & ~high)
    exact, prices = np.where(high, program.length, 0.0), np.zeros(len(program.side))
    exact[free] = 0.0
    m, size = len(free), len(free) + len(tight)
    matrix, values = np.zeros((size, size)), np.empty(size)
    matrix[:m, :m] = program.hessian[np.ix_(free, free)]
    matrix[m:, :m] = program.rows[np.ix_(tight, free)]
    matrix[:m, m:] = matrix[m:, :m].T
    values[:m] = -(program.costs + program.hessian @ exact)[free]
    values[m:] = program.side[tight] - program.rows[tight] @ exact
    # Variances of daily returns are some 1e-4 beside rows of 1: on one scale, or else no pivot would count.
    scale = float(np.abs(matrix[:m, :m]).max(initial=0.0)) or 1.0
    matrix[:m, :m] /= scale
    values[:m] /= scale
    solve_square(matrix, values)
    exact[free] = values[:m]
    prices[tight] = values[m:] * scale
    return np.clip(exact, 0.0, program.length), prices
