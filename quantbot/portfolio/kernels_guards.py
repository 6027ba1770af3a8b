"""Guards, compiled: what stops an account, and what limits the weights that it may hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantbot.kernels import plain_inner
from quantbot.portfolio.kernels_market import Book, Market, Record
from quantbot.portfolio.layout import (
    BY_GUARD,
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
)

FOREVER = 2**62
BEYOND = 1.0 + 1e-9  # a limit that is exceeded by less is met: rounding must send no order


@plain_inner
def note(account: Record, notes: NDArray[np.float64], t: int, guard: int, wanted: float, done: float) -> None:
    """Count what a guard did, and record it where there is room."""
    row = account.n_notes
    if row < notes.shape[0]:
        notes[row, 0], notes[row, 1], notes[row, 2], notes[row, 3] = t, guard, wanted, done
    account.n_notes += 1
    account.counts[guard] += 1


@plain_inner
def is_limited(rule: Record) -> bool:
    """Return whether anything limits the weights that are held, whoever wants them."""
    return bool(
        rule.max_gross > 0.0 or rule.max_net > 0.0 or rule.max_weight > 0.0 or rule.max_volatility > 0.0
        or rule.max_cvar > 0.0
    )  # fmt: skip


@plain_inner
def stop_at(days: NDArray[np.int64], rule: Record, account: Record, t: int, equity: float, gross: float) -> int:
    """Return the guard that has all positions closed from this close on, -1 where none does."""
    if account.until > t and account.until_by == ON_KILL:
        return -1
    if rule.kill_loss > 0.0 and equity <= rule.initial_cash * (1.0 - rule.kill_loss):
        account.until, account.until_by = FOREVER, ON_KILL
        return ON_KILL
    if rule.max_drawdown > 0.0:
        if account.until > 0 and account.until_by == ON_DRAWDOWN:
            if t < account.until:
                return -1
            account.peak = equity  # armed again, from here
            account.until = 0
        account.peak = max(account.peak, equity)
        if equity <= account.peak * (1.0 - rule.max_drawdown):
            account.until, account.until_by = t + 1 + rule.cool_off, ON_DRAWDOWN
            return ON_DRAWDOWN
    if rule.daily_loss > 0.0 and equity <= account.day_start * (1.0 - rule.daily_loss) and account.until <= t:
        end = t + 1
        while end < days.shape[0] and days[end] == days[t]:
            end += 1
        account.until, account.until_by = end, ON_DAY
        return ON_DAY
    if rule.maintenance > 0.0 and equity < gross * rule.maintenance:
        return ON_MARGIN
    return -1


@plain_inner
def breached(
    market: Market, rule: Record, account: Record, book: Book, t: int, equity: float, gross: float, net: float
) -> bool:
    """Return whether what is held at this close is beyond a limit."""
    if rule.max_gross > 0.0 and gross > rule.max_gross * equity * BEYOND:
        return True
    if rule.max_net > 0.0 and abs(net) > rule.max_net * equity * BEYOND:
        return True
    n = account.n_held
    for k in range(n):
        book.listed[k] = book.held[k]
        book.weight[k] = book.held_size[k] * market.marks[t, book.held[k]] / equity
        if rule.max_weight > 0.0 and abs(book.weight[k]) > rule.max_weight * BEYOND:
            return True
    if not (rule.max_volatility > 0.0 or rule.max_cvar > 0.0) or n == 0:
        return False
    window = _past(market.returns, book.listed, book.weight, n, book.past, t, rule.risk_window)
    if rule.max_volatility > 0.0:
        found = _volatility(book.past, window, market.periods_per_year)
        if not found <= rule.max_volatility * BEYOND:
            return True
    if rule.max_cvar > 0.0:
        found = _tail_mean(book.past, book.worst, window, rule.cvar_beta)
        if not found <= rule.max_cvar * BEYOND:
            return True
    return False


@plain_inner
def limit(
    market: Market,
    rule: Record,
    account: Record,
    book: Book,
    notes: NDArray[np.float64],
    t: int,
    seen: int,
) -> None:
    """Bring the goals, weights at the prices of this fill, within the limits, as far as instruments trade now."""
    assets, most = book.assets, rule.max_weight
    if most > 0.0:
        largest = 0.0
        for j in range(assets.shape[0]):
            goal = assets[j].goal
            if assets[j].can and abs(goal) > most * BEYOND:
                largest = max(largest, abs(goal))
                _set(assets[j], most if goal > 0.0 else -most)
        if largest > 0.0:
            note(account, notes, t, ON_WEIGHT, largest, most)
    if rule.max_net > 0.0:
        long, short = _sum(assets, 1.0), _sum(assets, -1.0)
        if abs(long - short) > rule.max_net * BEYOND:
            side = 1.0 if long > short else -1.0
            _bring(assets, side, min(long, short) + rule.max_net)
            note(account, notes, t, ON_NET, long - short, _sum(assets, 1.0) - _sum(assets, -1.0))
    guard, most = ON_GROSS, rule.max_gross
    if rule.initial_margin > 0.0 and (most == 0.0 or 1.0 / rule.initial_margin < most):
        guard, most = ON_INITIAL, 1.0 / rule.initial_margin
    if most > 0.0:
        total = _sum(assets, 0.0)
        if total > most * BEYOND and (guard == ON_GROSS or _adds(assets)):
            _bring(assets, 0.0, most)
            note(account, notes, t, guard, total, _sum(assets, 0.0))
    for guard in (ON_VOLATILITY, ON_CVAR):
        most = rule.max_volatility if guard == ON_VOLATILITY else rule.max_cvar
        if most > 0.0:
            found = _risk(market, rule, book, seen, guard)
            if not found <= most * BEYOND:
                _multiply(assets, 0.0, most / found if found == found else 0.0)
                note(account, notes, t, guard, found, _risk(market, rule, book, seen, guard))


@plain_inner
def _set(asset: Record, goal: float) -> None:
    asset.goal = goal
    asset.capped = 1
    if asset.moves == 0:
        asset.moves = BY_GUARD


@plain_inner
def _adds(assets: Record) -> bool:
    """Return whether an order would make a position larger: only then margin is asked for."""
    found = False
    for j in range(assets.shape[0]):
        found |= assets[j].moves != 0 and abs(assets[j].goal) > abs(assets[j].now)
    return found


@plain_inner
def _sum(assets: Record, side: float) -> float:
    """Return the sum of absolute goals of one side, of both where `side` is 0."""
    total = 0.0
    for j in range(assets.shape[0]):
        if side == 0.0 or assets[j].goal * side > 0.0:
            total += abs(assets[j].goal)
    return total


@plain_inner
def _bring(assets: Record, side: float, most: float) -> None:
    """Bring the sum of absolute goals of a side down to `most`, by those that trade now."""
    stuck, free = 0.0, 0.0
    for j in range(assets.shape[0]):
        goal = assets[j].goal
        if side == 0.0 or goal * side > 0.0:
            if assets[j].can:
                free += abs(goal)
            else:
                stuck += abs(goal)
    if free > 0.0:
        _multiply(assets, side, max(most - stuck, 0.0) / free)


@plain_inner
def _multiply(assets: Record, side: float, factor: float) -> None:
    for j in range(assets.shape[0]):
        goal = assets[j].goal
        if assets[j].can and goal != 0.0 and (side == 0.0 or goal * side > 0.0):
            _set(assets[j], goal * factor)


@plain_inner
def _risk(market: Market, rule: Record, book: Book, seen: int, guard: int) -> float:
    """Return the volatility per year, or the CVaR per bar, of the goals; NaN where the window isn't full."""
    n = 0
    for j in range(book.assets.shape[0]):
        if book.assets[j].goal != 0.0:
            book.listed[n] = j
            book.weight[n] = book.assets[j].goal
            n += 1
    if n == 0:
        return 0.0
    window = _past(market.returns, book.listed, book.weight, n, book.past, seen, rule.risk_window)
    if guard == ON_VOLATILITY:
        return _volatility(book.past, window, market.periods_per_year)
    return _tail_mean(book.past, book.worst, window, rule.cvar_beta)


@plain_inner
def _past(
    returns: NDArray[np.float64],
    listed: NDArray[np.int64],
    weight: NDArray[np.float64],
    n: int,
    past: NDArray[np.float64],
    seen: int,
    window: int,
) -> int:
    """Write what the first `n` listed weights would have returned in each bar of the window; 0 where it isn't full."""
    first = seen - window + 1
    if first < 1:
        return 0
    for i in range(window):
        total = 0.0
        for k in range(n):
            total += weight[k] * returns[first + i, listed[k]]
        past[i] = total
    return window


@plain_inner
def _volatility(past: NDArray[np.float64], window: int, periods_per_year: float) -> float:
    """Return the deviation (ddof 1) per year."""
    if window < 2:
        return np.nan
    mean = 0.0
    for i in range(window):
        mean += past[i]
    mean /= window
    squares = 0.0
    for i in range(window):
        squares += (past[i] - mean) * (past[i] - mean)
    return float(np.sqrt(squares / (window - 1) * periods_per_year))


@plain_inner
def _tail_mean(past: NDArray[np.float64], worst: NDArray[np.float64], window: int, beta: float) -> float:
    """Return the mean loss per bar in the worst ``1 - beta`` of the window, the boundary bar split."""
    if window < 1:
        return np.nan
    weight = (1.0 - beta) * window
    most = min(int(weight) + 1, window)
    n = 0
    for i in range(window):  # `worst` rises: the lowest so far
        if n < most or past[i] < worst[n - 1]:
            place = min(n, most - 1)
            while place > 0 and past[i] < worst[place - 1]:
                worst[place] = worst[place - 1]
                place -= 1
            worst[place] = past[i]
            n = min(n + 1, most)
    loss = 0.0
    for i in range(n):
        loss -= min(max(weight - i, 0.0), 1.0) * worst[i]
    return loss / weight
