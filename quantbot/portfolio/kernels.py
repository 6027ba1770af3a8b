"""The active-set method for piecewise-linear convex problems, compiled: a vertex at a time, each by a long step.

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

from quantbot.kernels import plain, plain_inlined

OPTIMAL, STALLED = 0, 1

AT_LOWER, AT_UPPER = -1, -2
_REFACTOR = 64  # steps between two factorisations from scratch, and as many as the matrix has rows
_FORGET = 0.9  # what is left of a length a step later: one that has become too long would hide its column for good
_TRIES = 4  # columns whose lengths are worked out again in one step
_PATIENCE = 60  # steps without progress before the first improving candidate is taken in place of the best


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
def _row_slope(t: Tableau, row: int, side: int) -> float:
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
    _add_rows(t.residuals, n_rows, t.columns, t.free, t.own, m)
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
            slope = _row_slope(t, r, t.side[r])
            if slope != 0.0:
                add_row(t, r, slope)


@plain
def add_row(t: Tableau, row: int, slope: float) -> None:
    """Add a multiple of a row to the gradient."""
    values, total = t.rows[row], t.gradient
    for j in range(len(total)):
        total[j] += slope * values[j]


@plain
def copy(source: NDArray[np.float64], target: NDArray[np.float64]) -> None:
    """Copy values: a loop compiles in a tenth of a slice's time."""
    for i in range(len(source)):
        target[i] = source[i]


@plain
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
def _add_rows(
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
def _through_inverse(t: Tableau, values: NDArray[np.float64], sign: float) -> None:
    """Make the multipliers: those of the free columns' `values`, times a sign, in the active rows' terms."""
    m = t.size[0]
    for k in range(m):
        t.multipliers[k] = 0.0
        t.own[k] = sign * values[t.free[k]]
    _add_rows(t.multipliers, m, t.inverse, t.counted, t.own, m)


@plain
def optimise(t: Tableau, most: int) -> int:
    """Step until nothing improves; OPTIMAL, or STALLED after `most` steps or on a singular matrix."""
    idle = 0
    for _ in range(most):
        if t.size[2] >= _REFACTOR + t.size[0] and not refactor(t):
            return STALLED
        _price(t)
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


@plain
def _price(t: Tableau) -> None:
    """Find the multipliers of the active rows and the reduced costs of the columns."""
    m = t.size[0]
    _through_inverse(t, t.gradient, -1.0)
    copy(t.gradient, t.reduced)
    _add_rows(t.reduced, len(t.costs), t.rows, t.active, t.multipliers, m)


@plain
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
    _own(t, column)
    for a in range(m):
        total = _dot(inverse[a], t.own, m)
        squares += total * total
    length: float = np.sqrt(squares)
    return length


@plain_inlined
def _dot(a: NDArray[np.float64], b: NDArray[np.float64], m: int) -> float:
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


@plain_inlined
def _own(t: Tableau, column: int) -> None:
    """Put a column's coefficients in the active rows into `own`."""
    values = t.columns[column]
    for i in range(t.size[0]):
        t.own[i] = values[t.active[i]]


@plain
def step(t: Tableau, column: int, k: int, sign: float, slope: float) -> float:
    """Move along one direction over as many kinks as still improve, and exchange what the vertex is made of.

    Parameters
    ----------
    column
        The column that leaves its bound, or -1: the active row at place `k` leaves.
    sign
        Which way.
    slope
        Of the objective along the way, before the first kink.

    Returns
    -------
    The length of the step; negative where there is no end to it.
    """
    m = t.size[0]
    n_rows = t.size[3]
    move, v, inverse = t.move, t.slopes, t.inverse
    # The direction, in the free columns and then in all rows.
    if column < 0:
        for a in range(m):
            move[a] = sign * inverse[a, k]
        for r in range(n_rows):
            v[r] = 0.0
    else:
        _own(t, column)
        for a in range(m):
            move[a] = -sign * _dot(inverse[a], t.own, m)
        values = t.columns[column]
        for r in range(n_rows):
            v[r] = sign * values[r]
    _add_rows(v, n_rows, t.columns, t.free, move, m)
    # How far the columns let it go.
    limit, leaver = np.inf, -1
    if column >= 0:
        limit = t.upper[column] - t.lower[column]
    for a in range(m):
        j = t.free[a]
        if move[a] > 1e-12:
            room = (t.upper[j] - t.x[j]) / move[a]
        elif move[a] < -1e-12:
            room = (t.lower[j] - t.x[j]) / move[a]
        else:
            continue
        room = max(room, 0.0)
        if room < limit or (room == limit and leaver >= 0 and abs(move[a]) > abs(move[leaver])):
            limit, leaver = room, a
    # The kinks on the way.
    n_passed = 0
    for r in range(n_rows):
        # Stored in any case and counted where it is one: half of all rows are, and no branch foretells which.
        at = max(-t.residuals[r] / v[r], 0.0)
        t.passed_at[n_passed] = at
        t.passed[n_passed] = r
        n_passed += 1 if t.side[r] * v[r] < -1e-13 and at <= limit else 0
    length, entering, n_crossed = _long_step(t, n_passed, slope, limit)
    if entering < 0 and not limit < np.inf:
        return -1.0
    # Go there.
    for r in range(n_rows):
        t.residuals[r] += length * v[r]
    for a in range(m):
        t.x[t.free[a]] += length * move[a]
    for i in range(n_crossed):
        row = t.passed[i]
        change = t.up[row] + t.down[row]
        add_row(t, row, -change if t.side[row] > 0 else change)
        t.side[row] = -t.side[row]
    if entering >= 0:
        add_row(t, entering, -_row_slope(t, entering, t.side[entering]))
    if column < 0:
        row = t.active[k]
        t.side[row] = 1 if sign > 0 else -1
        add_row(t, row, _row_slope(t, row, t.side[row]))
    # What the vertex is made of now.
    t.size[1] += 1
    t.size[2] += 1
    if entering >= 0:
        t.side[entering] = 0
        if column < 0:
            _exchange_row(t, k, entering)
        else:
            t.x[column] = (t.lower[column] if sign > 0 else t.upper[column]) + sign * length
            _border(t, column, entering)
    elif leaver < 0:
        t.place[column] = AT_UPPER if sign > 0 else AT_LOWER
        t.x[column] = t.upper[column] if sign > 0 else t.lower[column]
    else:
        gone = t.free[leaver]
        up = move[leaver] > 0
        if column < 0:
            _shrink(t, leaver, k)
        else:
            t.x[column] = (t.lower[column] if sign > 0 else t.upper[column]) + sign * length
            _exchange_column(t, leaver, column)
        t.place[gone] = AT_UPPER if up else AT_LOWER
        t.x[gone] = t.upper[gone] if up else t.lower[gone]
    return length


@plain_inlined
def _swap(at: NDArray[np.float64], rows: NDArray[np.int64], i: int, j: int) -> None:
    at[i], at[j] = at[j], at[i]
    rows[i], rows[j] = rows[j], rows[i]


@plain
def _long_step(t: Tableau, n_passed: int, slope: float, limit: float) -> tuple[float, int, int]:
    """Return how far to go, the row where the objective begins to rise, and how many rows are crossed before.

    Those are put first in `passed`; the row is -1 where a column's bound comes first. A weighted quickselect: of the
    kinks on the way only as many are put in order as decide.
    """
    at, rows, v = t.passed_at, t.passed, t.slopes
    low, high = 0, n_passed
    few = True
    while high > low:
        # The first of 8 rather than the middle one: mostly few kinks are crossed. Where more are, the middle one.
        pivot = at[(low + high) // 2]
        if few and high - low > 64:
            for i in range(8):
                pivot = min(pivot, at[low + (high - low) * i // 8])
        # at most the pivot | above, then below | equal | above
        end = low
        for j in range(low, high):
            if at[j] <= pivot:
                _swap(at, rows, end, j)
                end += 1
        i = low
        below, equal = 0.0, 0.0
        for j in range(low, end):
            row = rows[j]
            rise = (t.up[row] + t.down[row]) * abs(v[row])
            if at[j] < pivot:
                below += rise
                _swap(at, rows, i, j)
                i += 1
            else:
                equal += rise
        if slope + below >= 0.0:
            high = i
        elif slope + below + equal >= 0.0:
            slope += below
            # Of those at the same place the steepest come first: the one that ends the step should be a good pivot.
            for first in range(i, end):
                best = first
                for other in range(first + 1, end):
                    a, b = abs(v[rows[other]]), abs(v[rows[best]])
                    if a > b or (a == b and rows[other] < rows[best]):
                        best = other
                rows[first], rows[best] = rows[best], rows[first]
                row = rows[first]
                slope += (t.up[row] + t.down[row]) * abs(v[row])
                if slope >= 0.0 or first == end - 1:
                    return pivot, row, first
        else:
            slope += below + equal
            low = end
            few = False
    if low == n_passed:
        return limit, -1, low
    # The sums of parts and of their parts differ in the last bits: the step ends at the next kink.
    first = low
    for other in range(low + 1, n_passed):
        if at[other] < at[first]:
            first = other
    _swap(at, rows, low, first)
    return at[low], rows[low], low


@plain_inlined
def _exchange_row(t: Tableau, k: int, row: int) -> None:
    """Put `row` in the place of the active row at `k`."""
    m, inverse = t.size[0], t.inverse
    _through_inverse(t, t.rows[row], 1.0)
    product = t.multipliers
    share = 1.0 / product[k]
    for a in range(m):
        own = inverse[a, k] * share
        for i in range(m):
            inverse[a, i] -= product[i] * own
        inverse[a, k] = own
    t.active[k] = row


@plain_inlined
def _border(t: Tableau, column: int, row: int) -> None:
    """Add a free column and an active row."""
    m, inverse, move = t.size[0], t.inverse, t.move
    _through_inverse(t, t.rows[row], 1.0)
    product = t.multipliers
    # inverse @ the new column of the old rows
    corner = t.rows[row, column]
    _own(t, column)
    corner -= _dot(product, t.own, m)
    for a in range(m):
        move[a] = _dot(inverse[a], t.own, m)
    share = 1.0 / corner
    for a in range(m):
        part = move[a] * share
        for i in range(m):
            inverse[a, i] += part * product[i]
        inverse[a, m] = -part
    for i in range(m):
        inverse[m, i] = -product[i] * share
    inverse[m, m] = share
    t.free[m] = column
    t.active[m] = row
    t.place[column] = m
    t.size[0] = m + 1


@plain_inlined
def _shrink(t: Tableau, a: int, k: int) -> None:
    """Take a free column and an active row away."""
    m, inverse = t.size[0], t.inverse
    share = 1.0 / inverse[a, k]
    for i in range(m):
        if i != a:
            factor = inverse[i, k] * share
            if factor != 0.0:
                for j in range(m):
                    inverse[i, j] -= factor * inverse[a, j]
    last = m - 1
    if a != last:
        for j in range(m):
            inverse[a, j] = inverse[last, j]
        t.free[a] = t.free[last]
        t.place[t.free[a]] = a
    if k != last:
        for i in range(m):
            inverse[i, k] = inverse[i, last]
        t.active[k] = t.active[last]
    t.size[0] = last


@plain_inlined
def _exchange_column(t: Tableau, a: int, column: int) -> None:
    """Put a column in the place of the free column at `a`."""
    m, inverse, y = t.size[0], t.inverse, t.move
    _own(t, column)
    for i in range(m):
        y[i] = _dot(inverse[i], t.own, m)
    share = 1.0 / y[a]
    for j in range(m):
        inverse[a, j] *= share
    for i in range(m):
        if i != a and y[i] != 0.0:
            for j in range(m):
                inverse[i, j] -= y[i] * inverse[a, j]
    t.free[a] = column
    t.place[column] = a


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
    _price(t)
    bound = 0.0
    copy(t.costs, t.reduced)
    for r in range(n_rows):
        if t.side[r] != 0:
            weight = _row_slope(t, r, t.side[r])
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
