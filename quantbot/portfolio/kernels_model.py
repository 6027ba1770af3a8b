"""A problem put into the kernel's form, compiled: its scenarios' rows, and the vertex to start from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantbot.kernels import plain, plain_inlined
from quantbot.portfolio.kernels import OPTIMAL, STALLED, optimise
from quantbot.portfolio.kernels_chain import beyond, violation
from quantbot.portfolio.kernels_step import long_step
from quantbot.portfolio.kernels_vertex import AT_UPPER, Tableau, refactor

VIOLATED = 2
FEASIBLE = 1e-10
_TIE = 1e-13


@plain
def lay_out(
    t: Tableau,
    equations: NDArray[np.bool_],
    returns: NDArray[np.float64],
    chances: NDArray[np.float64],
    chosen: NDArray[np.int64],
    asset: NDArray[np.int64],
    origin: NDArray[np.float64],
    benchmark: NDArray[np.float64],
    share: float,
    penalty: float,
) -> None:
    """Fill in the scenarios' rows, and the slopes of all rows; those of the constraints stand first and are there.

    Parameters
    ----------
    equations
        Shape (n_constraints,): which may not be undercut either.
    returns, chances
        Of all scenarios.
    chosen
        Shape (n_chosen,): scenarios that have a row; there may be room for more.
    asset, origin
        Of each piece, and the weights where all pieces are 0.
    benchmark
        Of all scenarios; shape (0,): none.
    share
        What a scenario's slope is per unit of its chance.
    penalty
        A constraint's slope, times the greatest return or loss.
    """
    first, n_pieces, n_assets = len(equations), len(asset), len(origin)
    greatest = 0.0
    for i in range(len(chosen)):
        s = chosen[i]
        own = returns[s]
        for j in range(n_assets):
            greatest = max(greatest, abs(own[j]))
        _put_scenario(t, first + i, own, benchmark[s] if len(benchmark) else 0.0, share * chances[s], asset, origin)
    slope = penalty * max(greatest, 1e-9)
    for r in range(first):
        t.up[r] = slope
        t.down[r] = slope if equations[r] else 0.0
    t.scale[0] = max(greatest, 1.0)
    # Transposed in squares that fit the nearest cache.
    n_rows = first + len(chosen)
    for low in range(0, n_rows, 32):
        for left in range(0, n_pieces + 1, 32):
            for j in range(left, min(left + 32, n_pieces + 1)):
                column = t.columns[j]
                for r in range(low, min(low + 32, n_rows)):
                    column[r] = t.rows[r, j]
    t.size[3] = n_rows


@plain_inlined
def _put_scenario(
    t: Tableau, r: int, own: NDArray[np.float64], against: float, slope: float, asset: NDArray[np.int64],
    origin: NDArray[np.float64],
) -> None:  # fmt: skip
    row, n_pieces = t.rows[r], len(asset)
    base = 0.0
    for j in range(len(origin)):
        base += own[j] * origin[j]
    for j in range(n_pieces):
        row[j] = -own[asset[j]]
    row[n_pieces] = -1.0
    t.bounds[r] = base - against
    t.up[r] = slope
    t.down[r] = 0.0


@plain
def start(t: Tableau, first: int) -> bool:
    """Put the vertex where no piece is free: the value at risk is a scenario's loss, all rows lie where they fall.

    Returns
    -------
    As `refactor`.
    """
    n_pieces, n_rows = len(t.costs) - 1, t.size[3]
    t.size[0], t.size[1], t.size[2] = 1, 0, 0
    t.free[0] = n_pieces
    t.place[n_pieces] = 0
    for r in range(n_rows):
        t.residuals[r] = -t.bounds[r]
        t.slopes[r] = 1.0
    for j in range(n_pieces):
        if t.place[j] == AT_UPPER:
            for r in range(n_rows):
                t.residuals[r] += t.upper[j] * t.columns[j, r]
    for r in range(first):
        t.side[r] = 1 if t.residuals[r] > 0.0 else -1
    greatest = t.residuals[first]
    for r in range(first, n_rows):
        t.side[r] = -1
        greatest = max(greatest, t.residuals[r])
    for r in range(first, n_rows):
        t.passed_at[r - first] = greatest - t.residuals[r]
        t.passed[r - first] = r
    # From the greatest loss down, over as many scenarios as the tail has.
    _, active, n_crossed = long_step(t, n_rows - first, -t.costs[n_pieces], np.inf)
    if active < 0:
        n_crossed = n_rows - first - 1
        last = 0
        for i in range(n_rows - first):
            if t.passed_at[i] > t.passed_at[last]:
                last = i
        t.passed[n_crossed], t.passed[last] = t.passed[last], t.passed[n_crossed]
        active = t.passed[n_crossed]
    for i in range(n_crossed):
        t.side[t.passed[i]] = 1
    t.side[active] = 0
    t.active[0] = active
    return refactor(t)


@plain
def settle_among(
    t: Tableau,
    first: int,
    most: int,
    returns: NDArray[np.float64],
    benchmark: NDArray[np.float64],
    chances: NDArray[np.float64],
    share: float,
    asset: NDArray[np.int64],
    origin: NDArray[np.float64],
    chosen: NDArray[np.int64],
    weights: NDArray[np.float64],
    losses: NDArray[np.float64],
) -> int:
    """Solve, give a row to each scenario that is beyond the value at risk and has none, and solve again until none is.

    Parameters
    ----------
    first, most
        Number of constraints, and of steps at most.
    chosen
        Shape (len(t.bounds) - first,): scenarios that have a row come first; filled in.
    weights, losses
        Shapes (n_assets,) and (n_scenarios,): room to work in; no losses: no other scenario counts.

    Returns
    -------
    OPTIMAL; STALLED as `optimise`; VIOLATED: a constraint is.
    """
    while True:
        if optimise(t, most) != OPTIMAL:
            return STALLED
        if violation(t, first) > FEASIBLE:
            return VIOLATED
        if len(losses) == 0:
            return OPTIMAL
        for j in range(len(origin)):
            weights[j] = origin[j]
        for j in range(len(asset)):
            weights[asset[j]] += t.x[j]
        at_risk = t.x[len(asset)] + _TIE
        beyond(returns, benchmark, weights, at_risk, losses)
        n_before = n_rows = t.size[3]
        for i in range(n_rows - first):
            losses[chosen[i]] = at_risk
        for s in range(len(losses)):
            if losses[s] > at_risk:
                against = benchmark[s] if len(benchmark) else 0.0
                _put_scenario(t, n_rows, returns[s], against, share * chances[s], asset, origin)
                for j in range(len(t.costs)):
                    t.columns[j, n_rows] = t.rows[n_rows, j]
                t.side[n_rows] = 1
                chosen[n_rows - first] = s
                n_rows += 1
        if n_rows == n_before:
            return OPTIMAL
        t.size[3] = n_rows
        if not refactor(t):
            return STALLED
