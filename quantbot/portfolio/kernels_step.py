"""One step from vertex to vertex, compiled: over as many kinks as still improve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantbot.kernels import plain_inlined, plain_inner
from quantbot.portfolio.kernels_vertex import (
    AT_LOWER,
    AT_UPPER,
    Tableau,
    add_row,
    add_rows,
    dot,
    own_part,
    row_slope,
    through_inverse,
)


@plain_inner
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
        own_part(t, column)
        for a in range(m):
            move[a] = -sign * dot(inverse[a], t.own, m)
        values = t.columns[column]
        for r in range(n_rows):
            v[r] = sign * values[r]
    add_rows(v, n_rows, t.columns, t.free, move, m)
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
    length, entering, n_crossed = long_step(t, n_passed, slope, limit)
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
        add_row(t, entering, -row_slope(t, entering, t.side[entering]))
    if column < 0:
        row = t.active[k]
        t.side[row] = 1 if sign > 0 else -1
        add_row(t, row, row_slope(t, row, t.side[row]))
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


@plain_inner
def long_step(t: Tableau, n_passed: int, slope: float, limit: float) -> tuple[float, int, int]:
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
    through_inverse(t, t.rows[row], 1.0)
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
    through_inverse(t, t.rows[row], 1.0)
    product = t.multipliers
    # inverse @ the new column of the old rows
    corner = t.rows[row, column]
    own_part(t, column)
    corner -= dot(product, t.own, m)
    for a in range(m):
        move[a] = dot(inverse[a], t.own, m)
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
    own_part(t, column)
    for i in range(m):
        y[i] = dot(inverse[i], t.own, m)
    share = 1.0 / y[a]
    for j in range(m):
        inverse[a, j] *= share
    for i in range(m):
        if i != a and y[i] != 0.0:
            for j in range(m):
                inverse[i, j] -= y[i] * inverse[a, j]
    t.free[a] = column
    t.place[column] = a
