"""Quadratic programs and the log barrier of risk parity, compiled: dense, in one order, the same bits everywhere.

minimise  x.Q.x / 2 + c.x   over   0 <= x <= length,   rows @ x = side (the first `n_equal`) or <= side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantbot.kernels import inner, jit

_NEGLIGIBLE = 1e-14  # of the greatest pivot: such a column depends on those before it
_ENORMOUS = 1e64  # a pivot that gives its column no part in the answer
_MOST_ITERATIONS = 80
_CLOSE = 1e-14
_ROUGH, _WORSE = 1e-6, 1e2  # where a feasible set has no inside, rounding takes the last steps away again
_TO_EDGE = 0.995  # of the way to the nearest bound
_MOST_NEWTON = 200
_QUADRATIC = 0.38  # decrement below which full Newton steps converge (Nesterov & Nemirovskii 1994, theorem 2.2.3)


@jit
def covariance(
    returns: NDArray[np.float64], probabilities: NDArray[np.float64], mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the scenarios' covariance, shape (n_assets, n_assets): sum over t of ``p_t d_t d_t'``, d less the mean."""
    n_scenarios, n = returns.shape
    found = np.zeros((n, n))
    a, b = np.empty(n), np.empty(n)
    for t in range(0, n_scenarios, 2):
        last = t + 1 == n_scenarios
        p, q = probabilities[t], 0.0 if last else probabilities[t + 1]
        for j in range(n):
            a[j] = returns[t, j] - mean[j]
            b[j] = 0.0 if last else returns[t + 1, j] - mean[j]
        for i in range(n):
            ai, bi = p * a[i], q * b[i]
            row = found[i]
            for j in range(i, n):
                row[j] += ai * a[j] + bi * b[j]
    for i in range(n):
        for j in range(i):
            found[i, j] = found[j, i]
    return found


@jit
def factor(upper: NDArray[np.float64]) -> None:
    """Put U into the upper triangle of a positive semidefinite matrix: ``U'U`` is the matrix."""
    n = len(upper)
    greatest = 0.0
    for i in range(n):
        greatest = max(greatest, upper[i, i])
    for i in range(n):
        row = upper[i]
        for k in range(i):
            above = upper[k]
            share = above[i]
            if share != 0.0:
                for j in range(i, n):
                    row[j] -= share * above[j]
        pivot = np.sqrt(row[i]) if row[i] > _NEGLIGIBLE * greatest else _ENORMOUS
        row[i] = pivot
        for j in range(i + 1, n):
            row[j] /= pivot


@inner
def solve_factored(upper: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Put the solution of ``U'U x = values`` into `values`."""
    n = len(upper)
    for i in range(n):
        values[i] /= upper[i, i]
        share = values[i]
        for j in range(i + 1, n):
            values[j] -= share * upper[i, j]
    for i in range(n - 1, -1, -1):
        total = values[i]
        for j in range(i + 1, n):
            total -= upper[i, j] * values[j]
        values[i] = total / upper[i, i]


@jit
def solve_square(matrix: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Put a solution of ``matrix x = values`` into `values`, by elimination with partial pivots.

    An unknown that depends on those before it is 0.
    """
    n = len(matrix)
    greatest = 0.0
    for i in range(n):
        for j in range(n):
            greatest = max(greatest, abs(matrix[i, j]))
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(matrix[i, k]) > abs(matrix[best, k]):
                best = i
        if not abs(matrix[best, k]) > _NEGLIGIBLE * greatest:
            matrix[k, k] = _ENORMOUS
            continue
        if best != k:
            for j in range(k, n):
                matrix[k, j], matrix[best, j] = matrix[best, j], matrix[k, j]
            values[k], values[best] = values[best], values[k]
        for i in range(k + 1, n):
            share = matrix[i, k] / matrix[k, k]
            if share != 0.0:
                for j in range(k + 1, n):
                    matrix[i, j] -= share * matrix[k, j]
                values[i] -= share * values[k]
    for i in range(n - 1, -1, -1):
        total = values[i]
        for j in range(i + 1, n):
            total -= matrix[i, j] * values[j]
        values[i] = total / matrix[i, i]


@jit
def interior_point(
    hessian: NDArray[np.float64],
    costs: NDArray[np.float64],
    length: NDArray[np.float64],
    rows: NDArray[np.float64],
    side: NDArray[np.float64],
    n_equal: int,
    x: NDArray[np.float64],
    prices: NDArray[np.float64],
    reduced: NDArray[np.float64],
    slack: NDArray[np.float64],
) -> int:
    """Put the optimum into `x`, multipliers of the rows into `prices`, of the bounds into `reduced`; count the steps.

    Parameters
    ----------
    reduced
        Shape (2, n): multipliers of the lower and the upper bounds.
    slack
        Shape (n_rows,): side less rows @ x of the inequalities.

    Notes
    -----
    Mehrotra's predictor and corrector, with one length for primal and dual steps: Nocedal & Wright (2006), "Numerical
    Optimization", algorithm 16.4.
    """
    n, n_rows = len(x), len(side)
    low, high = reduced[0], reduced[1]
    matrix, schur = np.empty((n, n)), np.empty((n_equal, n_equal))
    spread = np.empty((n_equal, n))
    dual, primal = np.empty(n), np.empty(n_rows)
    dx, dlow, dhigh = np.empty(n), np.empty(n), np.empty(n)
    dprice, dslack = np.zeros(n_rows), np.zeros(n_rows)
    centre_low, centre_high, centre_row = np.empty(n), np.empty(n), np.empty(n_rows)
    for j in range(n):
        x[j] = 0.5 * length[j]
        low[j] = high[j] = 1.0
    for r in range(n_rows):
        prices[r], slack[r] = 0.0, 0.0
        if r >= n_equal:
            inside = side[r]
            for j in range(n):
                inside -= rows[r, j] * x[j]
            prices[r], slack[r] = 1.0, max(inside, 1.0)
    pairs = 2 * n + n_rows - n_equal
    best, iteration = np.inf, 0
    kept_x, kept_prices, kept_reduced, kept_slack = x.copy(), prices.copy(), reduced.copy(), slack.copy()
    for iteration in range(_MOST_ITERATIONS):  # noqa: B007  # counts the steps
        off = 0.0
        for j in range(n):
            total = costs[j] - low[j] + high[j]
            for k in range(n):
                total += hessian[j, k] * x[k]
            dual[j] = total
        for r in range(n_rows):
            total = slack[r] - side[r]
            for j in range(n):
                total += rows[r, j] * x[j]
                dual[j] += rows[r, j] * prices[r]
            primal[r] = total
            off = max(off, abs(total))
        gap = 0.0
        for j in range(n):
            gap += x[j] * low[j] + (length[j] - x[j]) * high[j]
            off = max(off, abs(dual[j]))
        for r in range(n_equal, n_rows):
            gap += slack[r] * prices[r]
        mean_gap = gap / pairs
        here = max(mean_gap, off)
        if here <= best:
            best = here
            kept_x[:], kept_prices[:], kept_reduced[:], kept_slack[:] = x, prices, reduced, slack
        if best <= _CLOSE or not here < np.inf or (best < _ROUGH and here > _WORSE * best):
            break
        for i in range(n):
            for j in range(i, n):
                matrix[i, j] = hessian[i, j]
            matrix[i, i] += low[i] / x[i] + high[i] / (length[i] - x[i])
        for r in range(n_equal, n_rows):
            weight = prices[r] / slack[r]
            for i in range(n):
                share = weight * rows[r, i]
                if share != 0.0:
                    for j in range(i, n):
                        matrix[i, j] += share * rows[r, j]
        factor(matrix)
        for e in range(n_equal):
            for j in range(n):
                spread[e, j] = rows[e, j]
            solve_factored(matrix, spread[e])
        for e in range(n_equal):
            for f in range(n_equal):
                total = 0.0
                for j in range(n):
                    total += rows[f, j] * spread[e, j]
                schur[e, f] = total
        factor(schur)
        centre = 0.0
        step = 1.0
        for phase in range(2):
            for j in range(n):
                centre_low[j], centre_high[j] = x[j] * low[j] - centre, (length[j] - x[j]) * high[j] - centre
                if phase:
                    centre_low[j] += dx[j] * dlow[j]
                    centre_high[j] -= dx[j] * dhigh[j]
                dx[j] = -dual[j] - centre_low[j] / x[j] + centre_high[j] / (length[j] - x[j])
            for r in range(n_equal, n_rows):
                centre_row[r] = slack[r] * prices[r] - centre
                if phase:
                    centre_row[r] += dslack[r] * dprice[r]
                share = (centre_row[r] - prices[r] * primal[r]) / slack[r]
                for j in range(n):
                    dx[j] += share * rows[r, j]
            solve_factored(matrix, dx)
            for e in range(n_equal):
                total = primal[e]
                for j in range(n):
                    total += rows[e, j] * dx[j]
                dprice[e] = total
            if n_equal:
                solve_factored(schur, dprice[:n_equal])
            for e in range(n_equal):
                for j in range(n):
                    dx[j] -= dprice[e] * spread[e, j]
            step = 1.0
            for j in range(n):
                room = length[j] - x[j]
                dlow[j] = -(centre_low[j] + low[j] * dx[j]) / x[j]
                dhigh[j] = -(centre_high[j] - high[j] * dx[j]) / room
                step = _shortened(_shortened(step, x[j], dx[j]), room, -dx[j])
                step = _shortened(_shortened(step, low[j], dlow[j]), high[j], dhigh[j])
            for r in range(n_equal, n_rows):
                total = -primal[r]
                for j in range(n):
                    total -= rows[r, j] * dx[j]
                dslack[r] = total
                dprice[r] = -(centre_row[r] + prices[r] * total) / slack[r]
                step = _shortened(_shortened(step, slack[r], total), prices[r], dprice[r])
            if phase == 0:
                after = 0.0
                for j in range(n):
                    after += (x[j] + step * dx[j]) * (low[j] + step * dlow[j])
                    after += (length[j] - x[j] - step * dx[j]) * (high[j] + step * dhigh[j])
                for r in range(n_equal, n_rows):
                    after += (slack[r] + step * dslack[r]) * (prices[r] + step * dprice[r])
                share = max(after, 0.0) / gap
                centre = share * share * share * mean_gap
        step = min(1.0, _TO_EDGE * step) if step < 1.0 else 1.0
        if step == 1.0:
            step = _TO_EDGE if mean_gap > 1e-8 else 1.0 - 1e-6
        for j in range(n):
            x[j] += step * dx[j]
            low[j] += step * dlow[j]
            high[j] += step * dhigh[j]
        for r in range(n_rows):
            prices[r] += step * dprice[r]
            if r >= n_equal:
                slack[r] += step * dslack[r]
    x[:], prices[:], reduced[:], slack[:] = kept_x, kept_prices, kept_reduced, kept_slack
    return iteration


@inner
def _shortened(step: float, value: float, change: float) -> float:
    """Return the part of a step that keeps a value at 0 or above."""
    return min(step, -value / change) if change < 0.0 else step


@jit
def risk_parity(correlation: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, int]:
    """Put the minimum of ``n x.C.x / 2 - sum(log x)`` into `x`; return the last Newton decrement and the steps.

    Notes
    -----
    At the minimum ``n x_j (C x)_j = 1`` for all j: equal contributions. Newton's method, damped far away, converges
    from anywhere because the function is self-concordant: Spinu (2013), "An algorithm for computing risk parity
    weights", SSRN 2297383, section 4.
    """
    n = len(x)
    matrix, gradient, move = np.empty((n, n)), np.empty(n), np.empty(n)
    total = 0.0
    for i in range(n):
        for j in range(n):
            total += correlation[i, j]
    for j in range(n):
        x[j] = 1.0 / np.sqrt(max(total, 1.0))
    decrement, best = np.inf, np.inf
    for iteration in range(_MOST_NEWTON):
        for i in range(n):
            slope = 0.0
            for j in range(n):
                slope += correlation[i, j] * x[j]
                matrix[i, j] = n * correlation[i, j]
            matrix[i, i] += 1.0 / (x[i] * x[i])
            gradient[i] = n * slope - 1.0 / x[i]
            move[i] = gradient[i]
        factor(matrix)
        solve_factored(matrix, move)
        squared = 0.0
        for j in range(n):
            squared += gradient[j] * move[j]
        decrement = np.sqrt(max(squared, 0.0))
        if decrement < 1e-15 or (decrement < 1e-9 and decrement >= 0.5 * best):
            return decrement, iteration
        best = min(best, decrement)
        step = 1.0 if decrement < _QUADRATIC else 1.0 / (1.0 + decrement)
        for j in range(n):
            x[j] -= step * move[j]
            if not x[j] > 0.0:
                return np.inf, iteration
    return decrement, _MOST_NEWTON
