"""Guards, compiled: what stops an account, and what limits the weights that it may hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantbot.kernels import jit
from quantbot.portfolio.kernels_market import HELD, MOVED_BY_GUARD, UNTIL, Book, Market, Tape
from quantbot.portfolio.layout import (
    COOL_OFF,
    CVAR_BETA,
    DAILY_LOSS,
    FIRST_COUNT,
    INITIAL_CASH,
    INITIAL_MARGIN,
    KILL_LOSS,
    MAINTENANCE,
    MAX_CVAR,
    MAX_DRAWDOWN,
    MAX_GROSS,
    MAX_NET,
    MAX_VOLATILITY,
    MAX_WEIGHT,
    N_NOTES,
    ON_CVAR,
    ON_DAY,
    ON_DRAWDOWN,
    ON_GROSS,
    ON_INITIAL,
    ON_KILL,
    ON_MARGIN,
    ON_NET,
    ON_VOLATILITY,
    ON_WEIGHT,
    RISK_WINDOW,
)

FOREVER = 2**62
BEYOND = 1.0 + 1e-9  # a limit that is exceeded by less is met: rounding must send no order


@jit
def note(sums: NDArray[np.float64], tape: Tape, t: int, guard: int, wanted: float, done: float) -> None:
    """Count what a guard did, and record it where there is room."""
    row = int(sums[N_NOTES])
    if row < tape.notes.shape[0]:
        tape.notes[row, 0] = t
        tape.notes[row, 1] = guard
        tape.notes[row, 2] = wanted
        tape.notes[row, 3] = done
    sums[N_NOTES] += 1.0
    sums[FIRST_COUNT + guard] += 1.0


@jit
def is_limited(rules: NDArray[np.float64]) -> bool:
    """Return whether anything limits the weights that are held, whoever wants them."""
    return bool(
        rules[MAX_GROSS] > 0.0 or rules[MAX_NET] > 0.0 or rules[MAX_WEIGHT] > 0.0 or rules[MAX_VOLATILITY] > 0.0
        or rules[MAX_CVAR] > 0.0
    )  # fmt: skip


@jit
def stop_at(
    days: NDArray[np.int64],
    rules: NDArray[np.float64],
    state: NDArray[np.int64],
    levels: NDArray[np.float64],
    t: int,
    equity: float,
    gross: float,
) -> int:
    """Return the guard that has all positions closed from this close on, -1 where none does.

    `state` [UNTIL] is the first bar at whose close decisions count again, [UNTIL + 1] the guard that says so;
    `levels` [0] is the peak that the drawdown stop counts from, [1] equity before the day.
    """
    if state[UNTIL] > t and state[UNTIL + 1] == ON_KILL:
        return -1
    if rules[KILL_LOSS] > 0.0 and equity <= rules[INITIAL_CASH] * (1.0 - rules[KILL_LOSS]):
        state[UNTIL], state[UNTIL + 1] = FOREVER, ON_KILL
        return ON_KILL
    if rules[MAX_DRAWDOWN] > 0.0:
        if state[UNTIL] > 0 and state[UNTIL + 1] == ON_DRAWDOWN:
            if t < state[UNTIL]:
                return -1
            levels[0] = equity  # armed again, from here
            state[UNTIL] = 0
        levels[0] = max(levels[0], equity)
        if equity <= levels[0] * (1.0 - rules[MAX_DRAWDOWN]):
            state[UNTIL], state[UNTIL + 1] = t + 1 + int(rules[COOL_OFF]), ON_DRAWDOWN
            return ON_DRAWDOWN
    if rules[DAILY_LOSS] > 0.0 and equity <= levels[1] * (1.0 - rules[DAILY_LOSS]) and state[UNTIL] <= t:
        end = t + 1
        while end < days.shape[0] and days[end] == days[t]:
            end += 1
        state[UNTIL], state[UNTIL + 1] = end, ON_DAY
        return ON_DAY
    if rules[MAINTENANCE] > 0.0 and equity < gross * rules[MAINTENANCE]:
        return ON_MARGIN
    return -1


@jit
def breached(
    market: Market, rules: NDArray[np.float64], book: Book, t: int, equity: float, gross: float, net: float
) -> bool:
    """Return whether what is held at this close is beyond a limit."""
    if rules[MAX_GROSS] > 0.0 and gross > rules[MAX_GROSS] * equity * BEYOND:
        return True
    if rules[MAX_NET] > 0.0 and abs(net) > rules[MAX_NET] * equity * BEYOND:
        return True
    n = book.state[HELD]
    if rules[MAX_WEIGHT] > 0.0:
        for k in range(n):
            value = abs(book.held_size[k] * market.marks[t, book.held[k]])
            if value > rules[MAX_WEIGHT] * equity * BEYOND:
                return True
    if (rules[MAX_VOLATILITY] > 0.0 or rules[MAX_CVAR] > 0.0) and n > 0:
        for k in range(n):
            book.queue[k] = book.held[k]
            book.raw[k] = book.held_size[k] * market.marks[t, book.held[k]] / equity
        if rules[MAX_VOLATILITY] > 0.0:
            found = volatility(market, rules, book, t, n)
            if not found <= rules[MAX_VOLATILITY] * BEYOND:
                return True
        if rules[MAX_CVAR] > 0.0:
            found = tail_mean(market, rules, book, t, n)
            if not found <= rules[MAX_CVAR] * BEYOND:
                return True
    return False


@jit
def limit(
    market: Market, rules: NDArray[np.float64], sums: NDArray[np.float64], book: Book, tape: Tape, t: int, seen: int
) -> None:
    """Bring the goals, weights at the prices of this fill, within the limits, as far as instruments trade now."""
    n = book.goal.shape[0]
    most = rules[MAX_WEIGHT]
    if most > 0.0:
        largest = 0.0
        for j in range(n):
            if book.can[j] and abs(book.goal[j]) > most * BEYOND:
                largest = max(largest, abs(book.goal[j]))
                _set(book, j, most if book.goal[j] > 0.0 else -most)
        if largest > 0.0:
            note(sums, tape, t, ON_WEIGHT, largest, most)
    if rules[MAX_NET] > 0.0:
        _limit_net(rules, sums, book, tape, t)
    guard, most = ON_GROSS, rules[MAX_GROSS]
    if rules[INITIAL_MARGIN] > 0.0 and (most == 0.0 or 1.0 / rules[INITIAL_MARGIN] < most):
        guard, most = ON_INITIAL, 1.0 / rules[INITIAL_MARGIN]
    if most > 0.0:
        total = _sum(book, 0.0)
        if total > most * BEYOND and (guard == ON_GROSS or _adds(book)):
            _scale(book, 0.0, most)
            note(sums, tape, t, guard, total, _sum(book, 0.0))
    if rules[MAX_VOLATILITY] > 0.0:
        found = volatility(market, rules, book, seen, _weights(book))
        if not found <= rules[MAX_VOLATILITY] * BEYOND:
            _multiply(book, 0.0, rules[MAX_VOLATILITY] / found if found == found else 0.0)
            note(sums, tape, t, ON_VOLATILITY, found, volatility(market, rules, book, seen, _weights(book)))
    if rules[MAX_CVAR] > 0.0:
        found = tail_mean(market, rules, book, seen, _weights(book))
        if not found <= rules[MAX_CVAR] * BEYOND:
            _multiply(book, 0.0, rules[MAX_CVAR] / found if found == found else 0.0)
            note(sums, tape, t, ON_CVAR, found, tail_mean(market, rules, book, seen, _weights(book)))


@jit
def _limit_net(rules: NDArray[np.float64], sums: NDArray[np.float64], book: Book, tape: Tape, t: int) -> None:
    long, short = _sum(book, 1.0), _sum(book, -1.0)
    most = rules[MAX_NET]
    if abs(long - short) <= most * BEYOND:
        return
    if long > short:
        _scale(book, 1.0, short + most)
    else:
        _scale(book, -1.0, long + most)
    note(sums, tape, t, ON_NET, long - short, _sum(book, 1.0) - _sum(book, -1.0))


@jit
def _set(book: Book, j: int, goal: float) -> None:
    book.goal[j] = goal
    book.capped[j] = 1
    if not book.moves[j]:
        book.moves[j] = MOVED_BY_GUARD


@jit
def _adds(book: Book) -> bool:
    """Return whether an order would make a position larger: only then margin is asked for."""
    found = False
    for j in range(book.goal.shape[0]):
        found |= book.moves[j] != 0 and abs(book.goal[j]) > abs(book.now[j])
    return found


@jit
def _sum(book: Book, side: float) -> float:
    """Return the sum of absolute goals of one side, of both where `side` is 0."""
    total = 0.0
    for j in range(book.goal.shape[0]):
        if side == 0.0 or book.goal[j] * side > 0.0:
            total += abs(book.goal[j])
    return total


@jit
def _scale(book: Book, side: float, most: float) -> None:
    """Bring the sum of absolute goals of a side down to `most`, by those that trade now."""
    stuck, free = 0.0, 0.0
    for j in range(book.goal.shape[0]):
        if side == 0.0 or book.goal[j] * side > 0.0:
            if book.can[j]:
                free += abs(book.goal[j])
            else:
                stuck += abs(book.goal[j])
    if free > 0.0:
        _multiply(book, side, max(most - stuck, 0.0) / free)


@jit
def _multiply(book: Book, side: float, factor: float) -> None:
    for j in range(book.goal.shape[0]):
        if book.can[j] and book.goal[j] != 0.0 and (side == 0.0 or book.goal[j] * side > 0.0):
            _set(book, j, book.goal[j] * factor)


@jit
def _weights(book: Book) -> int:
    """List the goals that are not zero; return how many."""
    n = 0
    for j in range(book.goal.shape[0]):
        if book.goal[j] != 0.0:
            book.queue[n] = j
            book.raw[n] = book.goal[j]
            n += 1
    return n


@jit
def _past(market: Market, rules: NDArray[np.float64], book: Book, seen: int, n: int) -> int:
    """Write what the first `n` listed weights would have returned in each bar of the window; 0 where it isn't full."""
    window = int(rules[RISK_WINDOW])
    first = seen - window + 1
    if first < 1:
        return 0
    for i in range(window):
        total = 0.0
        for k in range(n):
            total += book.raw[k] * market.returns[first + i, book.queue[k]]
        book.past[i] = total
    return window


@jit
def volatility(market: Market, rules: NDArray[np.float64], book: Book, seen: int, n: int) -> float:
    """Return the deviation (ddof 1) per year of the listed weights over the window up to bar `seen`."""
    if n == 0:
        return 0.0
    window = _past(market, rules, book, seen, n)
    if window < 2:
        return np.nan
    mean = 0.0
    for i in range(window):
        mean += book.past[i]
    mean /= window
    squares = 0.0
    for i in range(window):
        squares += (book.past[i] - mean) * (book.past[i] - mean)
    return float(np.sqrt(squares / (window - 1) * market.periods_per_year))


@jit
def tail_mean(market: Market, rules: NDArray[np.float64], book: Book, seen: int, n: int) -> float:
    """Return the mean loss per bar of the listed weights in the worst share of the window up to bar `seen`."""
    if n == 0:
        return 0.0
    window = _past(market, rules, book, seen, n)
    if window < 1:
        return np.nan
    left = (1.0 - rules[CVAR_BETA]) * window
    whole = left
    loss = 0.0
    book.past[:window].sort()
    for i in range(window):
        part = min(left, 1.0)
        loss -= part * book.past[i]
        left -= part
        if left <= 0.0:
            break
    return float(loss / whole)
