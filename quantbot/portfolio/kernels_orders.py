"""The orders of one bar, compiled: sized at the prices at which they fill, sales first, purchases cut to cash."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantbot.kernels import plain_inner
from quantbot.portfolio.kernels_guards import is_limited, limit, note
from quantbot.portfolio.kernels_market import Book, Market, Record, Tape
from quantbot.portfolio.layout import (
    BY_EXIT,
    BY_GUARD,
    BY_PLAN,
    CARRIED,
    LIMITED,
    ON_ORDERS,
    ON_TURNOVER,
    TARGET,
)

TINY = 1e-12  # an order for less than this share of the position is rounding


@plain_inner
def trade(
    market: Market,
    rule: Record,
    account: Record,
    book: Book,
    tape: Tape,
    t: int,
    prices: NDArray[np.float64],
    seen: int,
) -> None:
    """Fill at the `prices` of bar `t` what waits; `seen` is the bar whose close was the last to be known."""
    value, marks = account.cash, market.marks[t]
    for k in range(account.n_held):
        price = prices[book.held[k]]
        value += book.held_size[k] * (price if price == price else marks[book.held[k]])
    if not value > 0.0:
        return
    if tape.value.shape[0] > 0:
        tape.value[t - tape.start] = value
    assets = book.assets
    active = book.active[: _look(assets, book.active, prices, marks, market.volume[t], rule, value)]
    if rule.initial_margin > 0.0 or is_limited(rule):
        limit(market, rule, account, book, tape.notes, t, seen)
    _size(assets, active, rule, value)
    if rule.impact > 0.0:
        for j in active:
            if assets[j].delta != 0.0:
                assets[j].whole_impact = rule.impact * _deviation(market.returns, t, rule.impact_window, j)
    if rule.max_orders > 0:
        _fewer(assets, active, rule, account, tape.notes, t, value)
    if rule.max_turnover > 0.0:
        _less(assets, active, rule, account, tape.notes, t, value)
    n_orders = _queue(assets, active, rule, book.listed, book.weight, value)
    floor = (1.0 - rule.leverage) * value
    for k in range(n_orders):
        _execute(assets[book.listed[k]], rule, account, tape.orders, floor, t, book.listed[k])
    _settle(assets, active, rule, account, book.held, book.held_size)


@plain_inner
def _look(
    assets: Record,
    active: NDArray[np.int64],
    prices: NDArray[np.float64],
    marks: NDArray[np.float64],
    volumes: NDArray[np.float64],
    rule: Record,
    value: float,
) -> int:
    """Find each asset's price, its weight now, the one that is wanted, and whether that takes an order.

    Assets of which nothing is held or wanted are left out of `active`; return how many are in it.
    """
    n_active = 0
    for j in range(assets.shape[0]):
        asset = assets[j]
        if asset.units == 0.0 and asset.left == 0.0 and not abs(asset.wanted) > 0.0:
            asset.wanted = np.nan
            asset.now = asset.goal = 0.0
            asset.moves = asset.leaving = 0
            continue
        active[n_active] = j
        n_active += 1
        price = prices[j]
        asset.can = 1 if price == price else 0
        asset.price = price if price == price else marks[j]
        asset.volume = volumes[j]
        now = asset.size * asset.price / value if asset.size != 0.0 else 0.0
        goal, moves = now, 0
        if asset.can:
            if asset.leaving:
                goal, moves = 0.0, BY_EXIT
            elif asset.wanted == asset.wanted:
                wanted = max(asset.wanted, 0.0) if rule.long_only > 0 else asset.wanted
                if not abs(wanted - now) < rule.band:
                    goal, moves = wanted, BY_PLAN
            elif asset.left != 0.0:
                if rule.long_only > 0 and asset.units + asset.left < 0.0:
                    asset.left = -asset.units
                goal = now + asset.left * asset.multiplier * price / value
                moves = BY_PLAN
        asset.now, asset.goal, asset.moves, asset.capped = now, goal, moves, 0
        asset.whole_impact = 0.0
    return n_active


@plain_inner
def _size(assets: Record, active: NDArray[np.int64], rule: Record, value: float) -> None:
    """Turn goals into units to trade, no more than the bar's volume allows."""
    for j in active:
        asset = assets[j]
        asset.delta = asset.raw = 0.0
        if asset.moves == 0:
            continue
        if asset.goal == 0.0:
            delta = -asset.units
        elif asset.left != 0.0 and asset.wanted != asset.wanted and asset.capped == 0:
            delta = asset.left
        else:
            delta = (asset.goal * value / asset.price - asset.size) / asset.multiplier
        if abs(delta) <= TINY * abs(asset.units):
            delta = 0.0
        asset.raw = delta
        if rule.participation > 0.0 or rule.impact > 0.0:
            most = 0.0
            if asset.volume > 0.0:
                most = rule.participation * asset.volume if rule.participation > 0.0 else np.inf
            delta = min(max(delta, -most), most)
        asset.delta = delta


@plain_inner
def _fewer(
    assets: Record,
    active: NDArray[np.int64],
    rule: Record,
    account: Record,
    notes: NDArray[np.float64],
    t: int,
    value: float,
) -> None:
    """Keep so many of the planned orders: those that make a position smaller first, then those that want the most."""
    n_wanted = 0
    for j in active:
        assets[j].kept = 0
        n_wanted += assets[j].moves == BY_PLAN and assets[j].delta != 0.0
    if n_wanted <= rule.max_orders:
        return
    for _ in range(rule.max_orders):
        best, most_asked, best_reduces = -1, -1.0, False
        for j in active:
            asset = assets[j]
            if asset.moves != BY_PLAN or asset.delta == 0.0 or asset.kept:
                continue
            asked = abs(asset.goal * value - asset.size * asset.price)
            reduces = abs(asset.units + asset.delta) < abs(asset.units)
            if (reduces and not best_reduces) or (reduces == best_reduces and asked > most_asked):
                best, most_asked, best_reduces = j, asked, reduces
        assets[best].kept = 1
    for j in active:
        if assets[j].moves == BY_PLAN and assets[j].kept == 0:
            assets[j].delta = assets[j].raw = 0.0
    note(account, notes, t, ON_ORDERS, float(n_wanted), float(rule.max_orders))


@plain_inner
def _less(
    assets: Record,
    active: NDArray[np.int64],
    rule: Record,
    account: Record,
    notes: NDArray[np.float64],
    t: int,
    value: float,
) -> None:
    """Scale the planned orders down to what the day's turnover still allows."""
    total = 0.0
    for j in active:
        asset = assets[j]
        if asset.moves == BY_PLAN:
            total += abs(asset.delta * asset.multiplier * asset.price)
    room = max(rule.max_turnover * value - account.traded_today, 0.0)
    if total <= room:
        return
    for j in active:
        if assets[j].moves == BY_PLAN:
            assets[j].delta *= room / total
            assets[j].raw *= room / total
    traded = account.traded_today
    note(account, notes, t, ON_TURNOVER, (traded + total) / value, (traded + room) / value)


@plain_inner
def _queue(
    assets: Record,
    active: NDArray[np.int64],
    rule: Record,
    queue: NDArray[np.int64],
    keys: NDArray[np.float64],
    value: float,
) -> int:
    """Round to lots, and list sales in the panel's order, then purchases from the smallest; return how many.

    Purchases go by the money that is wanted, not by units times price, whose rounding would order equal weights.
    """
    n_sales = 0
    for j in active:
        asset = assets[j]
        if asset.delta != 0.0:
            asset.delta = _in_lots(rule.lot, asset.units, asset.delta)
            if asset.delta < 0.0:
                queue[n_sales] = j
                n_sales += 1
    n_orders = n_sales
    for j in active:
        asset = assets[j]
        if asset.delta > 0.0:
            queue[n_orders] = j
            keys[n_orders] = asset.goal * value - asset.size * asset.price
            n_orders += 1
    _sort(queue, keys, n_sales, n_orders)
    return n_orders


@plain_inner
def _sort(queue: NDArray[np.int64], keys: NDArray[np.float64], first: int, stop: int) -> None:
    """Sort a part of `queue` by key, then by itself. Shell (1959), the steps of Ciura (2001)."""
    for step in (701, 301, 132, 57, 23, 10, 4, 1):
        for i in range(first + step, stop):
            item, key, place = queue[i], keys[i], i
            while place - step >= first:
                before = keys[place - step]
                if before < key or (before == key and queue[place - step] < item):
                    break
                queue[place], keys[place] = queue[place - step], before
                place -= step
            queue[place], keys[place] = item, key


@plain_inner
def _execute(
    asset: Record, rule: Record, account: Record, orders: NDArray[np.float64], floor: float, t: int, j: int
) -> None:
    """Fill one order, a purchase no further than cash goes."""
    delta, each = asset.delta, asset.multiplier * asset.price
    if delta > 0.0:
        affordable = _affordable(rule, delta, each, asset.volume, asset.whole_impact, account.cash - floor)
        if affordable < delta:
            affordable = _in_lots(rule.lot, asset.units, affordable if affordable > TINY * delta else 0.0)
            asset.raw -= delta - affordable  # what cash is short of is not carried
            delta = asset.delta = affordable
            if not delta > 0.0:
                return
    fee, spread, impact = _costs(rule, delta, each, asset.volume, asset.whole_impact)
    money = delta * each
    account.cash -= money + spread + impact + fee
    account.fees += fee
    account.spread += spread
    account.impact += impact
    account.traded += abs(money + spread + impact)
    account.traded_today += abs(money)
    units = asset.units + delta
    asset.units = 0.0 if abs(units) <= TINY * abs(delta) else units
    asset.size = asset.units * asset.multiplier
    row = account.n_orders
    account.n_orders += 1
    if row < orders.shape[0]:
        kind = TARGET if asset.wanted == asset.wanted else CARRIED
        if asset.moves == BY_GUARD:
            kind = LIMITED
        elif asset.moves == BY_EXIT:
            kind = asset.leaving
        order = orders[row]
        order[0], order[1], order[2], order[3], order[4] = t, j, kind, asset.raw, delta
        order[5], order[6], order[7], order[8] = asset.price, fee, spread, impact


@plain_inner
def _in_lots(lot: float, units: float, delta: float) -> float:
    """Round toward zero to whole lots; an order that closes a position is not rounded."""
    if lot == 0.0 or delta == -units:
        return delta
    n_lots = np.floor(abs(delta) / lot + 1e-9)
    return float(n_lots * lot if delta > 0.0 else -n_lots * lot)


@plain_inner
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


@plain_inner
def _costs(rule: Record, delta: float, each: float, volume: float, whole: float) -> tuple[float, float, float]:
    """Return (fee, spread and slippage, impact) of an order in money; `whole` is the impact of a whole bar's volume."""
    money = abs(delta) * each
    impact = 0.0
    if whole > 0.0:
        impact = min(whole * np.sqrt(abs(delta) / volume), 1.0)
    moved = rule.moved + impact
    executed = money * (1.0 + moved if delta > 0.0 else 1.0 - moved)
    fee = max(rule.fee_rate * executed + rule.fee_unit * abs(delta), rule.fee_least)
    return fee, money * rule.moved, money * impact


@plain_inner
def _affordable(rule: Record, delta: float, each: float, volume: float, whole: float, cash: float) -> float:
    """Return how much of a purchase there is cash for, costs included."""
    fee, spread, impact = _costs(rule, delta, each, volume, whole)
    if delta * each + spread + impact + fee <= cash:
        return delta
    if cash <= rule.fee_least:
        return 0.0
    if whole == 0.0:
        executed = each * (1.0 + rule.moved)
        by_rate = cash / (executed * (1.0 + rule.fee_rate) + rule.fee_unit)
        return float(min(by_rate, (cash - rule.fee_least) / executed, delta))
    low, high = 0.0, delta
    for _ in range(60):
        middle = 0.5 * (low + high)
        fee, spread, impact = _costs(rule, middle, each, volume, whole)
        if middle * each + spread + impact + fee <= cash:
            low = middle
        else:
            high = middle
    return low


@plain_inner
def _settle(
    assets: Record,
    active: NDArray[np.int64],
    rule: Record,
    account: Record,
    held: NDArray[np.int64],
    sizes: NDArray[np.float64],
) -> None:
    """Keep what still waits, and list what is held."""
    n_held, waiting = 0, 0
    for j in active:
        asset = assets[j]
        if asset.leaving:
            if asset.units == 0.0:
                asset.leaving = 0
        elif asset.can:
            if asset.moves != 0:
                rest = asset.raw - asset.delta
                least = max(rule.lot, TINY * abs(asset.raw))
                carried = rule.carry > 0 and asset.moves == BY_PLAN and rest != 0.0 and abs(rest) >= least
                asset.left = rest if carried else 0.0
            asset.wanted = np.nan
        elif rule.wait == 0:
            asset.wanted = np.nan
            asset.left = 0.0
        if asset.leaving or asset.left != 0.0 or asset.wanted == asset.wanted:
            waiting = 1
        if asset.units != 0.0:
            held[n_held] = j
            sizes[n_held] = asset.size
            n_held += 1
    account.n_held, account.waiting = n_held, waiting
