"""The active-set method for piecewise-linear convex problems, compiled: a vertex at a time, each by a long step.

The problem is that of `quantbot.portfolio.kernels_vertex`.
"""

from __future__ import annotations

import numpy as np

from quantbot.kernels import plain, plain_inlined, plain_inner
from quantbot.portfolio.kernels_step import step
from quantbot.portfolio.kernels_vertex import AT_LOWER, Tableau, copy, dot, own_part, price, refactor, row_slope

OPTIMAL, STALLED = 0, 1

_REFACTOR = 64  # steps between two factorisations from scratch, and as many as the matrix has rows
_FORGET = 0.9  # what is left of a length a step later: one that has become too long would hide its column for good
_TRIES = 4  # columns whose lengths are worked out again in one step
_PATIENCE = 60  # steps without progress before the first improving candidate is taken in place of the best


@plain
def optimise(t: Tableau, most: int) -> int:
    """Step until nothing improves; OPTIMAL, or STALLED after `most` steps or on a singular matrix."""
    idle = 0
    for _ in range(most):
        if t.size[2] >= _REFACTOR + t.size[0] and not refactor(t):
            return STALLED
        price(t)
        violation, column, k, sign = _choose(t, idle > _PATIENCE)
        if violation == 0.0:
            if t.size[2] == 0:
                return OPTIMAL
            if not refactor(t):
                return STALLED
            continue
        length = step(t, column, k, sign, -violation)
        if length < 0.0:
            return STALLED
        idle = idle + 1 if length * violation <= 1e-16 else 0
    return STALLED


@plain_inner
def _choose(t: Tableau, first: bool) -> tuple[float, int, int, float]:
    """Return what to step along: its violation (0 where nothing improves), column or -1, active row's place, direction.

    The steepest edge: a violation counts over the length of its direction; of equals the first. A column's length is
    worked out again only when by the one that was last known the column is the best, and for a few columns a step.
    `first`: take the first that improves, which can't go round in circles.
    """
    m = t.size[0]
    steepest = 0.0
    for value in t.gradient:
        steepest = max(steepest, abs(value))
    tolerance = 1e-12 * t.scale[0] + 1e-14 * steepest
    best, violation, column, place, sign = 0.0, 0.0, -1, -1, 0.0
    for j in range(len(t.costs)):
        t.lengths[j] = max(1.0, _FORGET * t.lengths[j])
    for _ in range(_TRIES):
        guess, wrongest, candidate = best, 0.0, -1
        for j in range(len(t.costs)):
            if t.place[j] >= 0 or t.lower[j] == t.upper[j]:
                continue
            wrong = -t.reduced[j] if t.place[j] == AT_LOWER else t.reduced[j]
            if wrong > tolerance and wrong > guess * t.lengths[j]:
                guess, wrongest, candidate = wrong / t.lengths[j], wrong, j
                if first:
                    return wrong, j, place, 1.0 if t.place[j] == AT_LOWER else -1.0
        if candidate < 0:
            break
        t.lengths[candidate] = _length(t, candidate)
        if wrongest > best * t.lengths[candidate]:
            best, violation, column = wrongest / t.lengths[candidate], wrongest, candidate
            sign = 1.0 if t.place[candidate] == AT_LOWER else -1.0
    norms = t.slopes
    for k in range(m):
        norms[k] = 0.0
    for a in range(m):
        for k in range(m):
            norms[k] += t.inverse[a, k] * t.inverse[a, k]
    for k in range(m):
        row = t.active[k]
        above = t.multipliers[k] - t.up[row]
        below = -t.down[row] - t.multipliers[k]
        wrong = max(above, below)
        if wrong > 1e-11 * (t.up[row] + t.down[row]):
            score = wrong / np.sqrt(norms[k])
            if score > best and score > 1e-14 * steepest:
                best, violation, column, place, sign = score, wrong, -1, k, 1.0 if above > below else -1.0
                if first:
                    return violation, column, place, sign
    return violation, column, place, sign


@plain_inlined
def _length(t: Tableau, column: int) -> float:
    """Return how long the direction is in which a column leaves its bound: its own step is 1."""
    m, inverse = t.size[0], t.inverse
    squares = 1.0
    own_part(t, column)
    for a in range(m):
        total = dot(inverse[a], t.own, m)
        squares += total * total
    length: float = np.sqrt(squares)
    return length


@plain
def certify(t: Tableau, first: int) -> tuple[float, float, float]:
    """Return the objective, a bound that nothing feasible is below, and the greatest violation of a constraint.

    The bound is the Lagrangian's least value over the columns' bounds at the multipliers, each clipped to its slopes,
    so that it holds whatever rounding did; the value at risk is free, and what its equation lacks counts with the
    greatest loss. Scenarios begin at row `first`, constraints stand before.
    """
    n_columns, n_rows = len(t.costs), t.size[3]
    value = 0.0
    for j in range(n_columns):
        value += t.costs[j] * t.x[j]
    violation = 0.0
    for r in range(n_rows):
        z = t.residuals[r] if t.side[r] != 0 else 0.0
        if r >= first:
            value += t.up[r] * max(z, 0.0)
        else:
            violation = max(violation, z if t.up[r] > 0 else 0.0)
            violation = max(violation, -z if t.down[r] > 0 else 0.0)
    price(t)
    bound = 0.0
    copy(t.costs, t.reduced)
    for r in range(n_rows):
        if t.side[r] != 0:
            weight = row_slope(t, r, t.side[r])
        else:
            weight = 0.0
            for k in range(t.size[0]):
                if t.active[k] == r:
                    weight = min(max(t.multipliers[k], -t.down[r]), t.up[r])
        if weight != 0.0:
            bound -= weight * t.bounds[r]
            values = t.rows[r]
            for j in range(n_columns):
                t.reduced[j] += weight * values[j]
    reach = abs(t.x[n_columns - 1])
    for r in range(first, n_rows):
        reach = max(reach, abs(t.residuals[r]) + abs(t.x[n_columns - 1]))
    for j in range(n_columns - 1):
        bound += min(t.reduced[j] * t.lower[j], t.reduced[j] * t.upper[j])
    return value, bound - abs(t.reduced[n_columns - 1]) * reach, violation
