"""A piecewise-linear convex problem and a vertex of it, compiled.

    minimise  c . x  +  sum over rows r of  up_r max(z_r, 0) + down_r max(-z_r, 0),   z_r = a_r . x - b_r,
    with lower <= x <= upper.

A scenario is a row (``up`` = its probability over the tail's, ``down`` = 0), a linear constraint is a row with a slope
that no multiplier reaches. The last column is the value at risk: free, -1 in every scenario, 0 elsewhere.

A vertex has as many active rows (z = 0) as free columns; ``inverse`` is that of the square matrix of both. Which side
of an inactive row counts is a flag, never the sign of a residual: with ties, residuals of 1e-17 decide nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantbot.kernels import plain, plain_inlined, plain_inner

AT_LOWER, AT_UPPER = -1, -2


class Tableau(NamedTuple):
    """A problem and a vertex of it; all arrays are changed in place.

    Attributes
    ----------
    columns
        Shape (n_columns, n_rows): coefficients, a column's together.
    rows
        The same, shape (n_rows, n_columns).
    bounds
        Right-hand sides, shape (n_rows,).
    up, down
        Slopes on the positive and negative side, both >= 0.
    costs, lower, upper
        Shape (n_columns,).
    x, residuals, gradient
        The vertex, z of each row, and the slope of all inactive rows and costs together, shape (n_columns,).
    side
        Shape (n_rows,): +1 and -1 inactive, 0 active.
    place
        Shape (n_columns,): position among the free ones, or AT_LOWER or AT_UPPER.
    free, active
        The free columns and the active rows, the first ``size[0]`` of each count.
    inverse
        Shape (m, m): free column by active row.
    scale
        Shape (1,), about the greatest coefficient: what rounding is measured by.
    lengths
        Shape (n_columns,): of the direction in which each column leaves its bound, as last known.
    size
        [number of free columns, steps so far, steps since the inverse was made, rows in use].
    """

    columns: NDArray[np.float64]
    rows: NDArray[np.float64]
    bounds: NDArray[np.float64]
    up: NDArray[np.float64]
    down: NDArray[np.float64]
    costs: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    x: NDArray[np.float64]
    residuals: NDArray[np.float64]
    gradient: NDArray[np.float64]
    side: NDArray[np.int8]
    place: NDArray[np.int64]
    free: NDArray[np.int64]
    active: NDArray[np.int64]
    inverse: NDArray[np.float64]
    size: NDArray[np.int64]
    slopes: NDArray[np.float64]
    move: NDArray[np.float64]
    passed_at: NDArray[np.float64]
    passed: NDArray[np.int64]
    multipliers: NDArray[np.float64]
    reduced: NDArray[np.float64]
    lengths: NDArray[np.float64]
    scale: NDArray[np.float64]
    own: NDArray[np.float64]
    counted: NDArray[np.int64]


@plain_inlined
def row_slope(t: Tableau, row: int, side: int) -> float:
    """Return how the objective changes with an inactive row's residual, on the given side."""
    slope: float = t.up[row] if side > 0 else -t.down[row]
    return slope


@plain
def refactor(t: Tableau) -> bool:
    """Make inverse, vertex, residuals and gradient from the data again; False where the square matrix is singular."""
    m = t.size[0]
    n_columns, n_rows = len(t.costs), t.size[3]
    inverse = t.inverse
    for k in range(m):
        row = t.active[k]
        for a in range(m):
            inverse[k, a] = t.rows[row, t.free[a]]
    if not _invert(inverse, m, t.own):
        return False
    for j in range(n_columns):
        if t.place[j] == AT_LOWER:
            t.x[j] = t.lower[j]
        elif t.place[j] == AT_UPPER:
            t.x[j] = t.upper[j]
        else:
            t.x[j] = 0.0
    _residuals(t)
    for a in range(m):
        total = 0.0
        for k in range(m):
            total -= inverse[a, k] * t.residuals[t.active[k]]
        t.x[t.free[a]] = total
    for a in range(m):
        t.own[a] = t.x[t.free[a]]
    add_rows(t.residuals, n_rows, t.columns, t.free, t.own, m)
    scale = 0.0
    for j in range(n_columns):
        scale = max(scale, abs(t.x[j]))
    for r in range(n_rows):
        if t.side[r] != 0 and t.side[r] * t.residuals[r] < -1e-12 * max(scale, 1.0):
            t.side[r] = -t.side[r]
    gradient(t)
    t.size[2] = 0
    return True


@plain_inlined
def _residuals(t: Tableau) -> None:
    n_columns, n_rows = len(t.costs), t.size[3]
    for r in range(n_rows):
        t.residuals[r] = -t.bounds[r]
    for j in range(n_columns):
        value = t.x[j]
        if value != 0.0:
            column = t.columns[j]
            for r in range(n_rows):
                t.residuals[r] += value * column[r]


@plain
def gradient(t: Tableau) -> None:
    """Make the gradient of the inactive rows and the costs from the data again."""
    n_rows = t.size[3]
    copy(t.costs, t.gradient)
    for r in range(n_rows):
        if t.side[r] != 0:
            slope = row_slope(t, r, t.side[r])
            if slope != 0.0:
                add_row(t, r, slope)


@plain_inner
def add_row(t: Tableau, row: int, slope: float) -> None:
    """Add a multiple of a row to the gradient."""
    values, total = t.rows[row], t.gradient
    for j in range(len(total)):
        total[j] += slope * values[j]


@plain_inner
def copy(source: NDArray[np.float64], target: NDArray[np.float64]) -> None:
    """Copy values: a loop compiles in a tenth of a slice's time."""
    for i in range(len(source)):
        target[i] = source[i]


@plain_inner
def _invert(matrix: NDArray[np.float64], m: int, order: NDArray[np.float64]) -> bool:
    """Put the inverse of the first m rows and columns in their place: Gauss-Jordan with row exchanges."""
    for k in range(m):
        pivot = k
        for i in range(k + 1, m):
            if abs(matrix[i, k]) > abs(matrix[pivot, k]):
                pivot = i
        if not abs(matrix[pivot, k]) > 1e-13:
            return False
        order[k] = pivot
        if pivot != k:
            for a in range(m):
                matrix[k, a], matrix[pivot, a] = matrix[pivot, a], matrix[k, a]
        share = 1.0 / matrix[k, k]
        matrix[k, k] = 1.0
        for a in range(m):
            matrix[k, a] *= share
        for i in range(m):
            factor = matrix[i, k]
            if i != k and factor != 0.0:
                matrix[i, k] = 0.0
                for a in range(m):
                    matrix[i, a] -= factor * matrix[k, a]
    for k in range(m - 1, -1, -1):
        pivot = int(order[k])
        if pivot != k:
            for i in range(m):
                matrix[i, k], matrix[i, pivot] = matrix[i, pivot], matrix[i, k]
    return True


@plain_inlined
def add_rows(
    total: NDArray[np.float64], n: int, matrix: NDArray[np.float64], rows: NDArray[np.int64],
    weights: NDArray[np.float64], m: int,
) -> None:  # fmt: skip
    """Add the first `m` of `rows` of a matrix, each with its weight, four in one pass over the first n of `total`."""
    whole = m - m % 4
    for i in range(0, whole, 4):
        a, b, c, d = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        one, two, three, four = matrix[rows[i]], matrix[rows[i + 1]], matrix[rows[i + 2]], matrix[rows[i + 3]]
        for r in range(n):
            total[r] += (a * one[r] + b * two[r]) + (c * three[r] + d * four[r])
    for i in range(whole, m):
        a, one = weights[i], matrix[rows[i]]
        for r in range(n):
            total[r] += a * one[r]


@plain_inlined
def through_inverse(t: Tableau, values: NDArray[np.float64], sign: float) -> None:
    """Make the multipliers: those of the free columns' `values`, times a sign, in the active rows' terms."""
    m = t.size[0]
    for k in range(m):
        t.multipliers[k] = 0.0
        t.own[k] = sign * values[t.free[k]]
    add_rows(t.multipliers, m, t.inverse, t.counted, t.own, m)


@plain_inlined
def own_part(t: Tableau, column: int) -> None:
    """Put a column's coefficients in the active rows into `own`."""
    values = t.columns[column]
    for i in range(t.size[0]):
        t.own[i] = values[t.active[i]]


@plain_inlined
def dot(a: NDArray[np.float64], b: NDArray[np.float64], m: int) -> float:
    """Return the product of the first m values, in four sums: one alone waits for each addition before the next."""
    first = second = third = fourth = 0.0
    whole = m - m % 4
    for i in range(0, whole, 4):
        first += a[i] * b[i]
        second += a[i + 1] * b[i + 1]
        third += a[i + 2] * b[i + 2]
        fourth += a[i + 3] * b[i + 3]
    for i in range(whole, m):
        first += a[i] * b[i]
    return (first + second) + (third + fourth)


@plain_inner
def price(t: Tableau) -> None:
    """Find the multipliers of the active rows and the reduced costs of the columns."""
    m = t.size[0]
    through_inverse(t, t.gradient, -1.0)
    copy(t.gradient, t.reduced)
    add_rows(t.reduced, len(t.costs), t.rows, t.active, t.multipliers, m)
