"""Neighbouring problems, compiled: a scenario or a side changes, and the vertex stays but for a few steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantbot.kernels import plain, plain_inlined, plain_inner
from quantbot.portfolio.kernels import OPTIMAL, certify, optimise
from quantbot.portfolio.kernels_step import step
from quantbot.portfolio.kernels_vertex import Tableau, add_row, copy, dot, price


@plain_inlined
def _slope_at(t: Tableau, row: int) -> float:
    side = t.side[row]
    slope: float = t.up[row] if side > 0 else (-t.down[row] if side < 0 else 0.0)
    return slope


@plain_inner
def leave(t: Tableau, row: int) -> bool:
    """Take an active row out of the vertex, as if it had never counted; False where that can't be done."""
    place = -1
    for k in range(t.size[0]):
        if t.active[k] == row:
            place = k
    if place < 0:
        return True
    price(t)
    weight = t.multipliers[place]
    up, down = t.up[row], t.down[row]
    t.up[row] = t.down[row] = 0.0
    length = step(t, -1, place, 1.0 if weight >= 0.0 else -1.0, -abs(weight))
    t.up[row], t.down[row] = up, down
    if length < 0.0:
        return False
    add_row(t, row, _slope_at(t, row))
    return True


@plain_inner
def replace_row(t: Tableau, row: int, values: NDArray[np.float64], bound: float) -> bool:
    """Put other coefficients, shape (n_columns,), and another side into a row; the vertex stays where it can."""
    if not leave(t, row):
        return False
    add_row(t, row, -_slope_at(t, row))
    residual = -bound
    for j in range(len(values)):
        t.rows[row, j] = values[j]
        t.columns[j, row] = values[j]
        residual += values[j] * t.x[j]
    t.bounds[row] = bound
    t.residuals[row] = residual
    t.side[row] = 1 if residual > 0.0 else -1
    add_row(t, row, _slope_at(t, row))
    return True


@plain_inner
def move_bound(t: Tableau, row: int, bound: float) -> bool:
    """Give a row another side; an active one is left towards its new side, as far as nothing else changes."""
    place = -1
    for k in range(t.size[0]):
        if t.active[k] == row:
            place = k
    if place >= 0 and step(t, -1, place, 1.0 if bound > t.bounds[row] else -1.0, -1e-300) < 0.0:
        return False
    add_row(t, row, -_slope_at(t, row))
    t.residuals[row] += t.bounds[row] - bound
    t.bounds[row] = bound
    t.side[row] = 1 if t.residuals[row] > 0.0 else -1
    add_row(t, row, _slope_at(t, row))
    return True


@plain
def violation(t: Tableau, first: int) -> float:
    """Return the greatest violation of a constraint at the vertex; constraints stand before row `first`."""
    worst = 0.0
    for r in range(first):
        if t.side[r] > 0 and t.up[r] > 0.0:
            worst = max(worst, t.residuals[r])
        elif t.side[r] < 0 and t.down[r] > 0.0:
            worst = max(worst, -t.residuals[r])
    return worst


@plain
def trace(
    t: Tableau, first: int, row: int, bounds: NDArray[np.float64], x: NDArray[np.float64], found: NDArray[np.float64]
) -> int:
    """Solve for one side of a constraint after the other.

    Parameters
    ----------
    bounds
        Shape (n_points,): sides of constraint `row`.
    x
        Shape (n_points, n_columns), filled in: the vertices.
    found
        Shape (n_points, 4), filled in: objective, bound, greatest violation, steps so far.

    Returns
    -------
    How many were solved; fewer than all where a step could not be done.
    """
    for i in range(len(bounds)):
        if not move_bound(t, row, bounds[i]) or optimise(t, 100_000) != OPTIMAL:
            return i
        _keep(t, first, x[i], found[i])
        if found[i, 2] > 1e-10:
            return i
    return len(bounds)


@plain
def roll(
    t: Tableau,
    first: int,
    returns: NDArray[np.float64],
    window: int,
    begins: NDArray[np.int64],
    asset: NDArray[np.int64],
    origin: NDArray[np.float64],
    target: int,
    target_return: float,
    values: NDArray[np.float64],
    mean: NDArray[np.float64],
    x: NDArray[np.float64],
    found: NDArray[np.float64],
) -> int:
    """Solve one window of returns after the other, at a vertex of the first.

    Period s has row ``first + s % window``.

    Parameters
    ----------
    returns
        Shape (n_periods, n_assets).
    begins
        First period of each window, increasing.
    asset, origin
        Of each piece, and the weights where all pieces are 0: `quantbot.portfolio.model.Model`.
    target
        Row of the least mean return, or -1.
    values, mean
        Shapes (n_columns,) and (n_assets,): room to work in.
    x, found
        As `trace`.

    Returns
    -------
    How many were solved; fewer than all where a step could not be done or constraints don't hold together.
    """
    n_columns = len(t.costs)
    n_assets = len(origin)
    held = begins[0]
    for i in range(len(begins)):
        begin = begins[i]
        for s in range(max(held + window, begin), begin + window):
            base = 0.0
            for j in range(n_assets):
                base += returns[s, j] * origin[j]
            for j in range(n_columns - 1):
                values[j] = -returns[s, asset[j]]
            values[n_columns - 1] = -1.0
            if not replace_row(t, first + s % window, values, base):
                return i
        held = begin
        if target >= 0 and i > 0:
            for j in range(n_assets):
                mean[j] = 0.0
            for s in range(begin, begin + window):
                for j in range(n_assets):
                    mean[j] += returns[s, j]
            base, scale = 0.0, 0.0
            for j in range(n_assets):
                mean[j] /= window
                base += mean[j] * origin[j]
                scale = max(scale, abs(mean[j]))
            scale = scale if scale > 0.0 else 1.0
            for j in range(n_columns - 1):
                values[j] = -mean[asset[j]] / scale
            values[n_columns - 1] = 0.0
            if not replace_row(t, target, values, (base - target_return) / scale):
                return i
        if optimise(t, 100_000) != OPTIMAL:
            return i
        _keep(t, first, x[i], found[i])
        if found[i, 2] > 1e-10:
            return i
    return len(begins)


@plain_inlined
def _keep(t: Tableau, first: int, x: NDArray[np.float64], found: NDArray[np.float64]) -> None:
    copy(t.x, x)
    found[0], found[1], found[2] = certify(t, first)
    found[3] = t.size[1]


@plain
def beyond(
    returns: NDArray[np.float64],
    benchmark: NDArray[np.float64],
    weights: NDArray[np.float64],
    threshold: float,
    losses: NDArray[np.float64],
) -> int:
    """Fill in the loss of each scenario against its benchmark (none: shape (0,)), and count those above a threshold."""
    count = 0
    for s in range(len(returns)):
        total = (benchmark[s] if len(benchmark) else 0.0) - dot(returns[s], weights, len(weights))
        losses[s] = total
        count += total > threshold
    return count
