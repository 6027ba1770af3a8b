"""What an order does: sizes, prices, stops and round trips, as scalar functions.

They are plain Python and compiled into the kernels alike, with the same bits: + - * / and comparisons alone. They
never divide by zero, and choose by conditional expressions, so that a loop over lanes around them can be vectorised.
"""

from __future__ import annotations

import math

ALL_CASH, FIXED_CASH, FIXED_UNITS = 0, 1, 2
SIZES = {"all_cash": ALL_CASH, "volatility_target": ALL_CASH, "fixed_cash": FIXED_CASH, "fixed_units": FIXED_UNITS}


def order(
    cash: float,
    units: float,
    exposure: float,
    price: float,
    buy: float,
    sell: float,
    fee_rate: float,
    fee_unit: float,
    fee_fixed: float,
    multiplier: float,
    size: int,
    size_value: float,
    limit: float,
    lot: float,
    minimum: float,
) -> tuple[float, float, float]:
    """Return (units to trade, executed price, fee) of the order that brings the position to `exposure`.

    With equity `Q` valued at the executed price, `v` the money of one unit, `f` its fee and `U` units held, all cash
    solves ``(U + d) v = e (Q - f |d|)`` for an order that opens or adds, ``(U + d) v = e Q`` for one that reduces.
    """
    value = price * multiplier
    equity = cash + units * value
    if size == FIXED_UNITS:
        buys = exposure * size_value > units
    elif size == FIXED_CASH:
        buys = exposure * size_value > units * value
    else:
        buys = exposure * equity > units * value
    executed = price * buy if buys else price * sell
    each = executed * multiplier
    fee_each = fee_rate * each + fee_unit
    spendable = cash + units * each - fee_fixed
    spendable = spendable if spendable > 0.0 else 0.0
    long = exposure > 0.0
    opens = buys == long
    most_long_or_short = limit if long else -limit
    wanted = exposure if size == ALL_CASH else most_long_or_short
    weight = abs(wanted) if opens else 0.0
    held = units * each
    delta = (wanted * spendable - held) / (each + weight * fee_each)
    if size != ALL_CASH:
        fixed = exposure * size_value
        if size == FIXED_CASH:
            fixed = fixed / each
        most = units + delta
        kept = (fixed if fixed < most else most) if long else (fixed if fixed > most else most)
        delta = kept - units
    delta = (delta if delta > 0.0 else 0.0) if buys else (delta if delta < 0.0 else 0.0)
    if lot > 0.0:
        # A billionth of a lot more, so that 0.3 / 0.1 is three lots although binary fractions say 2.9999999999999996
        whole = math.floor(abs(delta) / lot + 1e-9) * lot
        delta = whole if delta > 0.0 else -whole
    # A billionth of the position is what rounding leaves of no order at all: nobody pays a fee for it.
    delta = delta if abs(delta) >= minimum and abs(delta) > 1e-9 * abs(units) else 0.0
    delta = delta if exposure != 0.0 else -units
    fee = abs(delta) * fee_each
    fee = fee + fee_fixed if delta != 0.0 else 0.0
    return delta, executed, fee


def stop(
    units: float,
    entry: float,
    best: float,
    opened: float,
    high: float,
    low: float,
    stop_loss: float,
    take_profit: float,
    trailing: float,
    optimistic: bool,
    buy: float,
    sell: float,
) -> tuple[float, float]:
    """Return (executed price, kind) with which the position is stopped in this bar; kind 0 none, 1 stop, 2 profit.

    The open comes first, whatever the rule: a bar that opens beyond a level fills there.
    """
    long = units > 0.0
    side = 1.0 if long else -1.0
    loss_level = entry * (1.0 - side * stop_loss)
    trail_level = best * (1.0 - side * trailing)
    # With a level off, a long one is 0 and a short one infinite: never reached.
    never = 0.0 if long else math.inf
    loss_level = loss_level if stop_loss > 0.0 else never
    trail_level = trail_level if trailing > 0.0 else never
    nearer = loss_level > trail_level if long else loss_level < trail_level
    level = loss_level if nearer else trail_level
    goal = entry * (1.0 + side * take_profit)
    goal = goal if take_profit > 0.0 else (math.inf if long else 0.0)
    gap_stop = opened <= level if long else opened >= level
    gap_profit = opened >= goal if long else opened <= goal
    in_stop = low <= level if long else high >= level
    in_profit = high >= goal if long else low <= goal
    first_profit = (not in_stop) or optimistic
    profit = gap_profit or (in_profit and first_profit)
    profit = profit and not gap_stop
    stopped = (in_stop or gap_stop) and not profit
    at_stop = opened if gap_stop else level
    at_goal = opened if gap_profit else goal
    executed = at_goal if profit else at_stop * (sell if long else buy)
    kind = 2.0 if profit else (1.0 if stopped else 0.0)
    kind = kind if units != 0.0 else 0.0
    return executed, kind


def round_trip(
    units: float,
    after: float,
    delta: float,
    executed: float,
    fee: float,
    cash: float,
    started: float,
    multiplier: float,
) -> tuple[bool, float, float]:
    """Return (whether this fill ends a round trip, what it earned, equity at the start of the one now open).

    A round trip runs from flat to flat, or to a change of side; of an order that changes sides, the fee is shared by
    units. So the profits of all round trips, the open one too, add up to what the equity gained.
    """
    turned = units * after < 0.0
    ends = units != 0.0 and (after == 0.0 or turned)
    begins = after != 0.0 and (units == 0.0 or turned)
    share = abs(units) / abs(delta) if turned else 1.0
    worth = cash + units * executed * multiplier
    worth = worth - fee * share if ends else worth
    earned = worth - started if ends else 0.0
    return ends, earned, worth if begins else started


def average_entry(units: float, after: float, executed: float, entry: float) -> float:
    """Return the average price at which the units now held were bought (sold, when short)."""
    grown = abs(after) - abs(units)
    same = units * after > 0.0
    mean = (entry * abs(units) + executed * grown) / abs(after) if after != 0.0 else entry
    return (mean if grown > 0.0 else entry) if same else (executed if after != 0.0 else entry)
