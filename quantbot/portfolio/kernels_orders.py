"""The orders of one bar, compiled: sized at the prices at which they fill, sales first, purchases cut to cash."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantbot.kernels import jit
from quantbot.portfolio.kernels_guards import is_limited, limit, note
from quantbot.portfolio.kernels_market import (
    HELD,
    MOVED_BY_EXIT,
    MOVED_BY_GUARD,
    MOVED_BY_PLAN,
    WAITING,
    Book,
    Market,
    Tape,
)
from quantbot.portfolio.layout import (
    BAND,
    CARRIED,
    CARRY,
    CASH,
    FEE_LEAST,
    FEE_RATE,
    FEE_UNIT,
    FEES,
    IMPACT,
    IMPACT_WINDOW,
    IMPACTS,
    INITIAL_MARGIN,
    LEVERAGE,
    LIMITED,
    LONG_ONLY,
    LOT,
    MAX_ORDERS,
    MAX_TURNOVER,
    MOVED,
    N_ORDERS,
    ON_ORDERS,
    ON_TURNOVER,
    PARTICIPATION,
    SPREAD,
    TARGET,
    TRADED,
    TRADED_TODAY,
    WAIT,
)

TINY = 1e-12  # an order for less than this share of the position is rounding


@jit
def trade(
    market: Market,
    rules: NDArray[np.float64],
    sums: NDArray[np.float64],
    book: Book,
    tape: Tape,
    t: int,
    prices: NDArray[np.float64],
    seen: int,
) -> None:
    """Fill at the `prices` of bar `t` what waits; `seen` is the bar whose close was the last to be known."""
    value = sums[CASH]
    for k in range(book.state[HELD]):
        j = book.held[k]
        price = prices[t, j]
        value += book.held_size[k] * (price if price == price else market.marks[t, j])
    if not value > 0.0:
        return
    if tape.value.shape[0] > 0:
        tape.value[t - tape.start] = value
    _goals(market, rules, book, t, prices, value)
    if rules[INITIAL_MARGIN] > 0.0 or is_limited(rules):
        limit(market, rules, sums, book, tape, t, seen)
    _sizes(market, rules, book, t, prices, value)
    if rules[MAX_ORDERS] > 0.0:
        _fewer(rules, sums, book, tape, t, prices, value)
    if rules[MAX_TURNOVER] > 0.0:
        _less(market, rules, sums, book, tape, t, prices, value)
    _fill(market, rules, sums, book, tape, t, prices, value)
    _settle(rules, book)


@jit
def _goals(
    market: Market, rules: NDArray[np.float64], book: Book, t: int, prices: NDArray[np.float64], value: float
) -> None:
    """Find each asset's weight now, the one that is wanted, and whether that takes an order."""
    for j in range(book.units.shape[0]):
        price = prices[t, j]
        can = price == price
        size = book.size[j]
        now = 0.0
        if size != 0.0:
            now = size * (price if can else market.marks[t, j]) / value
        goal, moves = now, 0
        if can:
            wanted, left = book.wanted[j], book.left[j]
            if book.leaving[j]:
                goal, moves = 0.0, MOVED_BY_EXIT
            elif wanted == wanted:
                goal = max(wanted, 0.0) if rules[LONG_ONLY] > 0.0 else wanted
                if abs(goal - now) < rules[BAND]:
                    goal = now
                else:
                    moves = MOVED_BY_PLAN
            elif left != 0.0:
                if rules[LONG_ONLY] > 0.0 and book.units[j] + left < 0.0:
                    left = -book.units[j]
                    book.left[j] = left
                goal = now + left * market.multiplier[j] * price / value
                moves = MOVED_BY_PLAN
        book.now[j], book.goal[j], book.can[j], book.moves[j], book.capped[j] = now, goal, can, moves, False


@jit
def _sizes(
    market: Market, rules: NDArray[np.float64], book: Book, t: int, prices: NDArray[np.float64], value: float
) -> None:
    """Turn goals into units to trade, no more than the bar's volume allows."""
    for j in range(book.units.shape[0]):
        book.delta[j] = 0.0
        book.raw[j] = 0.0
        if not book.moves[j]:
            continue
        goal, units = book.goal[j], book.units[j]
        if goal == 0.0:
            delta = -units
        elif book.left[j] != 0.0 and book.wanted[j] != book.wanted[j] and not book.capped[j]:
            delta = book.left[j]
        else:
            delta = (goal * value / prices[t, j] - book.size[j]) / market.multiplier[j]
        if abs(delta) <= TINY * abs(units):
            delta = 0.0
        book.raw[j] = delta
        if rules[PARTICIPATION] > 0.0 or rules[IMPACT] > 0.0:
            volume = market.volume[t, j]
            most = 0.0
            if volume > 0.0:
                most = rules[PARTICIPATION] * volume if rules[PARTICIPATION] > 0.0 else np.inf
            delta = min(max(delta, -most), most)
        book.delta[j] = delta


@jit
def _fewer(
    rules: NDArray[np.float64],
    sums: NDArray[np.float64],
    book: Book,
    tape: Tape,
    t: int,
    prices: NDArray[np.float64],
    value: float,
) -> None:
    """Keep so many of the planned orders: those that make a position smaller first, then those that want the most."""
    n_wanted, most = 0, int(rules[MAX_ORDERS])
    n = book.units.shape[0]
    for j in range(n):
        if book.moves[j] == MOVED_BY_PLAN and book.delta[j] != 0.0:
            n_wanted += 1
    if n_wanted <= most:
        return
    for k in range(n):
        book.queue[k] = 0
    for _ in range(most):
        best, most_asked, best_reduces = -1, -1.0, False
        for j in range(n):
            if book.moves[j] != MOVED_BY_PLAN or book.delta[j] == 0.0 or book.queue[j]:
                continue
            asked = abs(book.goal[j] * value - book.size[j] * prices[t, j])
            reduces = abs(book.units[j] + book.delta[j]) < abs(book.units[j])
            if (reduces and not best_reduces) or (reduces == best_reduces and asked > most_asked):
                best, most_asked, best_reduces = j, asked, reduces
        book.queue[best] = 1
    for j in range(n):
        if book.moves[j] == MOVED_BY_PLAN and not book.queue[j]:
            book.delta[j] = 0.0
            book.raw[j] = 0.0
    note(sums, tape, t, ON_ORDERS, n_wanted, most)


@jit
def _less(
    market: Market,
    rules: NDArray[np.float64],
    sums: NDArray[np.float64],
    book: Book,
    tape: Tape,
    t: int,
    prices: NDArray[np.float64],
    value: float,
) -> None:
    """Scale the planned orders down to what the day's turnover still allows."""
    total = 0.0
    for j in range(book.units.shape[0]):
        if book.moves[j] == MOVED_BY_PLAN:
            total += abs(book.delta[j] * market.multiplier[j] * prices[t, j])
    room = max(rules[MAX_TURNOVER] * value - sums[TRADED_TODAY], 0.0)
    if total <= room:
        return
    for j in range(book.units.shape[0]):
        if book.moves[j] == MOVED_BY_PLAN:
            book.delta[j] *= room / total
            book.raw[j] *= room / total
    note(sums, tape, t, ON_TURNOVER, (sums[TRADED_TODAY] + total) / value, (sums[TRADED_TODAY] + room) / value)


@jit
def _fill(
    market: Market,
    rules: NDArray[np.float64],
    sums: NDArray[np.float64],
    book: Book,
    tape: Tape,
    t: int,
    prices: NDArray[np.float64],
    value: float,
) -> None:
    """Execute sales, then purchases from the smallest to the largest while there is cash."""
    queue = book.queue
    n_sales, n_orders = 0, 0
    for j in range(book.units.shape[0]):
        if book.delta[j] != 0.0:
            book.delta[j] = _in_lots(rules[LOT], book.units[j], book.delta[j])
            if book.delta[j] < 0.0:
                queue[n_sales] = j
                n_sales += 1
    n_orders = n_sales
    for j in range(book.units.shape[0]):
        if book.delta[j] > 0.0:
            # By what is wanted, not by units times price, whose rounding would order equal weights; insertion keeps
            # those in the order of assets. `now` has served and holds the key.
            cost = book.goal[j] * value - book.size[j] * prices[t, j]
            book.now[j] = cost
            place = n_orders
            while place > n_sales and cost < book.now[queue[place - 1]]:
                queue[place] = queue[place - 1]
                place -= 1
            queue[place] = j
            n_orders += 1
    floor = (1.0 - rules[LEVERAGE]) * value
    for k in range(n_orders):
        j = queue[k]
        delta, each, volume = book.delta[j], market.multiplier[j] * prices[t, j], market.volume[t, j]
        whole = 0.0
        if rules[IMPACT] > 0.0:
            whole = rules[IMPACT] * _deviation(market.returns, t, int(rules[IMPACT_WINDOW]), j)
        if delta > 0.0:
            affordable = _affordable(rules, delta, each, volume, whole, sums[CASH] - floor)
            if affordable < delta:
                affordable = _in_lots(rules[LOT], book.units[j], affordable if affordable > TINY * delta else 0.0)
                book.raw[j] -= delta - affordable  # what cash is short of is not carried
                delta = book.delta[j] = affordable
                if not delta > 0.0:
                    continue
        fee, spread, impact = _costs(rules, delta, each, volume, whole)
        money = delta * each
        sums[CASH] -= money + spread + impact + fee
        sums[FEES] += fee
        sums[SPREAD] += spread
        sums[IMPACTS] += impact
        sums[TRADED] += abs(money + spread + impact)
        sums[TRADED_TODAY] += abs(money)
        units = book.units[j] + delta
        book.units[j] = 0.0 if abs(units) <= TINY * abs(delta) else units
        book.size[j] = book.units[j] * market.multiplier[j]
        row = int(sums[N_ORDERS])
        sums[N_ORDERS] += 1.0
        if row < tape.orders.shape[0]:
            order = tape.orders[row]
            order[0], order[1], order[2] = t, j, _kind(book.moves[j], book.leaving[j], book.wanted[j])
            order[3], order[4], order[5] = book.raw[j], delta, prices[t, j]
            order[6], order[7], order[8] = fee, spread, impact


@jit
def _kind(moves: int, leaving: int, wanted: float) -> int:
    if moves == MOVED_BY_EXIT:
        return leaving
    if moves == MOVED_BY_GUARD:
        return LIMITED
    return TARGET if wanted == wanted else CARRIED


@jit
def _in_lots(lot: float, units: float, delta: float) -> float:
    """Round toward zero to whole lots; an order that closes a position is not rounded."""
    if lot == 0.0 or delta == -units:
        return delta
    n_lots = np.floor(abs(delta) / lot + 1e-9)
    return float(n_lots * lot if delta > 0.0 else -n_lots * lot)


@jit
def _deviation(returns: NDArray[np.float64], t: int, window: int, j: int) -> float:
    """Return the deviation (ddof 1) of an asset's returns in the bars before bar `t`; 0 of fewer than 2."""
    first = max(t - window, 1)
    n = t - first
    if n < 2:
        return 0.0
    mean = 0.0
    for i in range(first, t):
        mean += returns[i, j]
    mean /= n
    squares = 0.0
    for i in range(first, t):
        squares += (returns[i, j] - mean) * (returns[i, j] - mean)
    return float(np.sqrt(squares / (n - 1)))


@jit
def _costs(
    rules: NDArray[np.float64], delta: float, each: float, volume: float, whole: float
) -> tuple[float, float, float]:
    """Return (fee, spread and slippage, impact) of an order in money; `whole` is the impact of a whole bar's volume."""
    money = abs(delta) * each
    impact = 0.0
    if whole > 0.0:
        impact = min(whole * np.sqrt(abs(delta) / volume), 1.0)
    moved = rules[MOVED] + impact
    executed = money * (1.0 + moved if delta > 0.0 else 1.0 - moved)
    fee = max(rules[FEE_RATE] * executed + rules[FEE_UNIT] * abs(delta), rules[FEE_LEAST])
    return fee, money * rules[MOVED], money * impact


@jit
def _affordable(
    rules: NDArray[np.float64], delta: float, each: float, volume: float, whole: float, cash: float
) -> float:
    """Return how much of a purchase there is cash for, costs included."""
    fee, spread, impact = _costs(rules, delta, each, volume, whole)
    if delta * each + spread + impact + fee <= cash:
        return delta
    if cash <= rules[FEE_LEAST]:
        return 0.0
    if whole == 0.0:
        executed = each * (1.0 + rules[MOVED])
        by_rate = cash / (executed * (1.0 + rules[FEE_RATE]) + rules[FEE_UNIT])
        return float(min(by_rate, (cash - rules[FEE_LEAST]) / executed, delta))
    low, high = 0.0, delta
    for _ in range(60):
        middle = 0.5 * (low + high)
        fee, spread, impact = _costs(rules, middle, each, volume, whole)
        if middle * each + spread + impact + fee <= cash:
            low = middle
        else:
            high = middle
    return low


@jit
def _settle(rules: NDArray[np.float64], book: Book) -> None:
    """Keep what still waits, and list what is held."""
    n_held, waiting = 0, 0
    for j in range(book.units.shape[0]):
        if book.leaving[j]:
            if book.units[j] == 0.0:
                book.leaving[j] = 0
                book.wanted[j] = np.nan
        elif book.can[j]:
            if book.moves[j]:
                rest = book.raw[j] - book.delta[j]
                least = max(rules[LOT], TINY * abs(book.raw[j]))
                carried = rules[CARRY] > 0.0 and book.moves[j] == MOVED_BY_PLAN and abs(rest) > 0.0
                book.left[j] = rest if carried and abs(rest) >= least else 0.0
            book.wanted[j] = np.nan
        elif not rules[WAIT] > 0.0:
            book.wanted[j] = np.nan
            book.left[j] = 0.0
        if book.leaving[j] or book.left[j] != 0.0 or book.wanted[j] == book.wanted[j]:
            waiting = 1
        if book.units[j] != 0.0:
            book.held[n_held] = j
            book.held_size[n_held] = book.size[j]
            n_held += 1
    book.state[HELD] = n_held
    book.state[WAITING] = waiting
