# ruff: noqa: D103, F821, F841, RUF059, SIM102, SIM108
# mypy: ignore-errors
"""What happens to one trial within one bar, in order: the text from which kernels are made. Nothing here is ever run.

`quantbot.bars.generate` takes the bodies of these functions, cuts away what a job does not use (``if STOPS:`` and so
on), and sets them into a loop over bars and, unrolled, over lanes. So the names in them are not Python's to resolve:

state
    the names in `STATE`, one value for each lane, carried from bar to bar;
the bar
    `t` (0 at the window's start), `open_`, `high`, `low`, `close`, and the factors `hold`, `enter` and
    `leave` (see `shared_mark`);
the lane's settings
    `buy`, `fee_rate`, `stop_loss`, ... as `quantbot.bars.execution.prices` names them, `multiplier`;
`DECIDE`
    the call of the user's function; `warm` is whether the lane's indicators are all there.

State changes are conditional expressions, not `if` statements: only so does a loop over lanes become vector code.
"""

# name: (value at the start of the window, whether it is a truth value)
STATE = {
    # both
    "drawn": (1.0, False),  # equity as a share of its peak
    "worst": (1.0, False),  # the smallest `drawn` so far: 1 - maximum drawdown
    "sum_returns": (0.0, False),
    "sum_squares": (0.0, False),
    "sum_downside": (0.0, False),  # squares of negative returns
    "below": (0.0, False),  # bars since the peak
    "longest": (0.0, False),
    "sum_equity": (0.0, False),
    "traded": (0.0, False),  # money
    "invested": (0.0, False),  # sum of |exposure| at the closes
    "in_market": (0.0, False),  # bars with a position at the close
    "started": (0.0, False),  # equity before the round trip now open
    "n_trades": (0.0, False),
    "wins": (0.0, False),
    "gains": (0.0, False),
    "losses": (0.0, False),
    "equity": (None, False),  # None: the initial cash
    # shared
    "held": (0.0, True),  # the position now
    "was_held": (0.0, True),  # the position before
    "unfit": (0.0, True),  # a target was neither 0 nor 1
    # general
    "cash": (None, False),
    "units": (0.0, False),
    "target": (0.0, False),  # what the strategy wants, and sees as `position`
    "filled": (0.0, False),  # the target of the last order that was filled
    "scaled": (0.0, False),  # the exposure to fill, under volatility_target
    "entry": (0.0, False),
    "best": (0.0, False),
    "paid": (0.0, False),
    "fits": (1.0, True),  # every target was 0 or 1
    "undefined": (-1.0, False),  # first bar at which the strategy returned NaN
    "ruined": (-1.0, False),  # first bar at whose close equity was not positive
}


# --- shared: equity moves by one of four factors that every trial shares ---------------------------------------------


def shared_decide():
    wanted = float(DECIDE)
    if WARMING:
        wanted = wanted if warm else 0.0
    if LONG_ONLY:
        wanted = 0.0 if wanted < 0.0 else wanted
    else:
        wanted = -1.0 if wanted < -1.0 else wanted
    wanted = 1.0 if wanted > 1.0 else wanted
    holds = wanted == 1.0
    unfit = unfit | (not (holds | (wanted == 0.0)))  # `or` would keep the loop scalar
    if RECORD:
        step_target[t] = wanted


def shared_shift():
    was_held = held
    held = holds


def shared_growth():
    # hold: close / last close. enter: close / fill price. leave: fill price / last close.
    growth = (hold if was_held else enter * entry_cost) if held else (leave * exit_cost if was_held else 1.0)


def shared_growth_alone():
    # The same four factors, bit for bit, with one division in place of three: x / x is 1, and so is what is times 1.
    last = LAST_CLOSE
    above = close if held else FILL_PRICE
    under = last if was_held else FILL_PRICE
    cost = (1.0 if was_held else entry_cost) if held else (exit_cost if was_held else 1.0)
    growth = above / under * cost


def shared_mark():
    if PATH or TRADES or RECORD:
        enters = held and not was_held
        leaves = was_held and not held
        before = equity
    equity = equity * growth
    if RISK:
        gain = growth - 1.0
        sum_returns = sum_returns + gain
        sum_squares = sum_squares + gain * gain
        drawn = drawn * growth
        drawn = drawn if drawn < 1.0 else 1.0
        worst = drawn if drawn < worst else worst
    if PATH:
        lost = gain if gain < 0.0 else 0.0
        sum_downside = sum_downside + lost * lost
        below = below + 1.0 if drawn < 0.999999999999 else 0.0  # nearer to the peak is rounding
        longest = below if below > longest else longest
        sum_equity = sum_equity + equity
        amount = before * entry_value if enters else (before * leave * sell if leaves else 0.0)
        traded = traded + amount
    if PATH or TRADES:
        in_market = in_market + (1.0 if held else 0.0)
    if TRADES:
        started = before if enters else started
        earned = equity - started
        n_trades = n_trades + (1.0 if leaves else 0.0)
        wins = wins + (1.0 if leaves and earned > 0.0 else 0.0)
        gains = gains + (earned if leaves and earned > 0.0 else 0.0)
        losses = losses - (earned if leaves and earned < 0.0 else 0.0)
    if TAIL:
        RETURNS = growth - 1.0
    if RECORD:
        step_equity[t] = equity
        step_drawdown[t] = 1.0 - drawn
        step_exposure[t] = 1.0 if held else 0.0
        if enters or leaves:
            price = FILL_PRICE
            value = before * entry_value if enters else before * leave * sell
            executed = price * buy if enters else price * sell
            traded_units = value / (executed * multiplier)
            order_bar[n_orders] = t
            order_units[n_orders] = traded_units if enters else -traded_units
            order_price[n_orders] = executed
            order_fee[n_orders] = value * fee_rate
            order_kind[n_orders] = 0
            n_orders = n_orders + 1


def shared_flat():
    # What `shared_mark` comes to where nothing is held, before or after: growth is exactly 1.
    if PATH:
        below = below + 1.0 if drawn < 0.999999999999 else 0.0
        longest = below if below > longest else longest
        sum_equity = sum_equity + equity
    if TAIL:
        RETURNS = 0.0


# --- general: cash and units ------------------------------------------------------------------------------------------


def at_open():
    price = open_


def at_close():
    price = close


def general_order():
    pending = target != filled
    delta, executed, fee = order(
        cash, units, EXPOSURE, price, buy, sell, fee_rate, fee_unit, fee_fixed, multiplier, SIZE, size_value, limit,
        lot, minimum,
    )  # fmt: skip
    delta = delta if pending else 0.0
    fee = fee if pending else 0.0
    filled = target
    after = units + delta
    after = 0.0 if EXPOSURE == 0.0 and pending else after
    if TRADES:
        ends, earned, started = round_trip(units, after, delta, executed, fee, cash, started, multiplier)
        n_trades = n_trades + (1.0 if ends else 0.0)
        wins = wins + (1.0 if earned > 0.0 else 0.0)
        gains = gains + (earned if earned > 0.0 else 0.0)
        losses = losses - (earned if earned < 0.0 else 0.0)
    if STOPS:
        entry = average_entry(units, after, executed, entry)
        best = executed if units * after <= 0.0 else best
    if PATH:
        traded = traded + abs(delta) * executed * multiplier
        paid = paid + fee
    if RECORD:
        if delta != 0.0:
            order_bar[n_orders] = t
            order_units[n_orders] = delta
            order_price[n_orders] = executed
            order_fee[n_orders] = fee
            order_kind[n_orders] = 0
            n_orders = n_orders + 1
    cash = cash - delta * executed * multiplier - fee
    units = after


def general_stops():
    executed, kind = stop(units, entry, best, open_, high, low, stop_loss, take_profit, trailing, OPTIMISTIC, buy, sell)
    stopped = kind > 0.0
    delta = -units if stopped else 0.0
    fee = abs(delta) * (fee_rate * executed * multiplier + fee_unit) + (fee_fixed if stopped else 0.0)
    fee = fee if stopped else 0.0
    if TRADES:
        ends, earned, started = round_trip(
            units if stopped else 0.0, 0.0, delta, executed, fee, cash, started, multiplier
        )
        n_trades = n_trades + (1.0 if ends else 0.0)
        wins = wins + (1.0 if earned > 0.0 else 0.0)
        gains = gains + (earned if earned > 0.0 else 0.0)
        losses = losses - (earned if earned < 0.0 else 0.0)
    if PATH:
        traded = traded + (abs(delta) * executed * multiplier if stopped else 0.0)
        paid = paid + fee
    if RECORD:
        if stopped:
            order_bar[n_orders] = t
            order_units[n_orders] = delta
            order_price[n_orders] = executed
            order_fee[n_orders] = fee
            order_kind[n_orders] = int(kind)
            n_orders = n_orders + 1
    cash = cash - delta * executed * multiplier - fee if stopped else cash
    target = 0.0 if stopped else target
    filled = 0.0 if stopped else filled
    units = 0.0 if stopped else units
    # What is watched from the next bar on: the best price that is known by then.
    best = (high if high > best else best) if units > 0.0 else (low if low < best else best)


def general_decide():
    wanted = float(DECIDE)
    if WARMING:
        wanted = wanted if warm else 0.0
    unknown = wanted != wanted
    undefined = float(t) if unknown and undefined < 0.0 else undefined
    wanted = 0.0 if unknown else wanted
    wanted = lowest if wanted < lowest else wanted
    wanted = highest if wanted > highest else wanted
    if SIMPLE:
        fits = fits and (not unknown) and (wanted == 0.0 or wanted == 1.0)
    changed = abs(wanted - target) > band
    target = wanted if changed else target
    if SCALED:
        scale = target * size_value * INVERSE_VOLATILITY
        scale = limit if scale > limit else scale
        scale = -limit if scale < -limit else scale
        scaled = (scale if target != 0.0 else 0.0) if changed else scaled


def general_mark():
    before = equity
    equity = cash + units * close * multiplier
    ruined = float(t) if not (equity > 0.0) and ruined < 0.0 else ruined
    if RISK or TAIL:
        growth = equity / (before if before > 0.0 else 1.0)
    if RISK:
        gain = growth - 1.0
        sum_returns = sum_returns + gain
        sum_squares = sum_squares + gain * gain
        drawn = drawn * growth
        drawn = drawn if drawn < 1.0 else 1.0
        worst = drawn if drawn < worst else worst
    if PATH:
        lost = gain if gain < 0.0 else 0.0
        sum_downside = sum_downside + lost * lost
        below = below + 1.0 if drawn < 0.999999999999 else 0.0  # nearer to the peak is rounding
        longest = below if below > longest else longest
        sum_equity = sum_equity + equity
    if PATH or RECORD:
        share = units * close * multiplier / (equity if equity > 0.0 else 1.0)
    if PATH:
        invested = invested + abs(share)
    if PATH or TRADES:
        in_market = in_market + (1.0 if units != 0.0 else 0.0)
    if TAIL:
        RETURNS = growth - 1.0
    if RECORD:
        step_equity[t] = equity
        step_drawdown[t] = 1.0 - drawn
        step_exposure[t] = share
        step_target[t] = target


# --- the order of things within a bar, by where orders fill ----------------------------------------------------------

SHARED_BAR = {
    "next_open": (shared_growth, shared_mark, shared_decide, shared_shift),
    "next_close": (shared_growth, shared_mark, shared_decide, shared_shift),
    "same_close": (shared_decide, shared_shift, shared_growth, shared_mark),
}
GENERAL_BAR = {
    "next_open": (at_open, general_order, general_stops, general_decide, general_mark),
    "next_close": (general_stops, at_close, general_order, general_decide, general_mark),
    "same_close": (general_stops, general_decide, at_close, general_order, general_mark),
}
