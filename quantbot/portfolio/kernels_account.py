"""One pool of cash in many instruments, compiled; `quantbot.portfolio.execution` says what happens when."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantbot.kernels import plain, plain_inner
from quantbot.portfolio.kernels_guards import breached, is_limited, note, stop_at
from quantbot.portfolio.kernels_market import Book, Market, Plan, Record, Tape
from quantbot.portfolio.kernels_orders import trade
from quantbot.portfolio.layout import EXIT, NO_FUNDING, RUINED

ROUNDING = 1.0 - 1e-12


@plain
def run(
    market: Market,
    plan: Plan,
    start: int,
    stop: int,
    rules: Record,
    accounts: Record,
    returns: NDArray[np.float64],
    book: Book,
    tape: Tape,
) -> None:
    """Step each point's account through the bars.

    `rules` and `accounts` have a record for each point; `returns` has a row for each, or one for all in turn.
    """
    for point in range(rules.shape[0]):
        account, rule = accounts[point], rules[point]
        account.cash = account.equity = account.peak = account.day_start = rule.initial_cash
        for j in range(book.assets.shape[0]):
            asset = book.assets[j]
            asset.units = asset.size = asset.left = 0.0
            asset.wanted = np.nan
            asset.leaving = 0
            asset.multiplier = market.multiplier[j]
        values, gains = plan.values[plan.of[point]], returns[point % returns.shape[0]]
        _step(market, plan.bars, values, plan.are_units, start, stop, rule, account, gains, book, tape)


@plain_inner
def _step(
    market: Market,
    bars: NDArray[np.int64],
    values: NDArray[np.float64],
    are_units: bool,
    start: int,
    stop: int,
    rule: Record,
    account: Record,
    returns: NDArray[np.float64],
    book: Book,
    tape: Tape,
) -> None:
    decision = 0
    while decision < bars.shape[0] and bars[decision] < start:
        decision += 1
    same_close = rule.same_close > 0
    has_funding = market.funding.shape[0] > 0
    finances = rule.borrow > 0.0 or rule.interest != 0.0 or rule.loan > 0.0
    has_stops = rule.max_drawdown > 0.0 or rule.daily_loss > 0.0 or rule.kill_loss > 0.0 or rule.maintenance > 0.0
    has_limits = is_limited(rule)
    before = peak = rule.initial_cash
    total, squares, downside, worst = 0.0, 0.0, 0.0, 1.0
    sum_equity, invested, sum_net = 0.0, 0.0, 0.0
    under_water, longest = 0, 0
    for t in range(start, stop):
        if market.events[t]:
            _act(market.split, market.dividend, account, book.assets, book.held, book.held_size, t)
        if t == start or market.days[t] != market.days[t - 1]:
            account.traded_today = 0.0
            account.day_start = before
        if account.waiting and not same_close:
            trade(market, rule, account, book, tape, t, market.open[t], t - 1)
        gross, net = _exposure(market.marks[t], book.held, book.held_size, account.n_held)
        if finances:
            _finance(market.marks[t], rule, account, book.held, book.held_size)
        if has_funding:
            _fund(market.funding[t], market.marks[t], rule, account, book.held, book.held_size, t)
        equity = account.cash + net
        if not equity > 0.0 or account.status > 0:
            if account.status == 0:
                account.status, account.bar = RUINED, t
            break
        stopped_by = stop_at(market.days, rule, account, t, equity, gross) if has_stops else -1
        if stopped_by >= 0:
            note(account, tape.notes, t, stopped_by, gross / equity, 0.0)
            _leave(account, book.assets, stopped_by)
        if decision < bars.shape[0] and bars[decision] == t:
            if stopped_by < 0 and account.until <= t:
                _decide(values[decision], are_units, account, book.assets)
            elif stopped_by < 0:
                note(account, tape.notes, t, account.until_by, _asked(values[decision], are_units), 0.0)
            decision += 1
        elif has_limits and stopped_by < 0 and breached(market, rule, account, book, t, equity, gross, net):
            account.waiting = 1
        if same_close and account.waiting:
            trade(market, rule, account, book, tape, t, market.close[t], t)
            gross, net = _exposure(market.marks[t], book.held, book.held_size, account.n_held)
            equity = account.cash + net
            if not equity > 0.0:
                account.status, account.bar = RUINED, t
                break
        gain = equity / before - 1.0
        returns[t - start] = gain
        total += gain
        squares += gain * gain
        downside += gain * gain if gain < 0.0 else 0.0
        peak = max(peak, equity)
        worst = min(worst, equity / peak)
        under_water = under_water + 1 if equity < peak * ROUNDING else 0
        longest = max(longest, under_water)
        sum_equity += equity
        invested += gross / equity
        sum_net += net / equity
        before = equity
        if tape.equity.shape[0] > 0:
            _keep(account, book.assets, tape, t - start, equity)
    account.equity = before
    account.sum_returns, account.sum_squares, account.sum_downside, account.worst = total, squares, downside, worst
    account.longest, account.sum_equity, account.invested, account.net = longest, sum_equity, invested, sum_net


@plain_inner
def _exposure(
    marks: NDArray[np.float64], held: NDArray[np.int64], sizes: NDArray[np.float64], n_held: int
) -> tuple[float, float]:
    """Return (sum of absolute values, sum of values) of all positions at the close."""
    gross, net = 0.0, 0.0
    for k in range(n_held):
        value = sizes[k] * marks[held[k]]
        gross += abs(value)
        net += value
    return gross, net


@plain_inner
def _act(
    split: NDArray[np.float64],
    dividend: NDArray[np.float64],
    account: Record,
    assets: Record,
    held: NDArray[np.int64],
    sizes: NDArray[np.float64],
    t: int,
) -> None:
    """Split what is held and what waits, then pay dividends on what is held."""
    for j in range(assets.shape[0]):
        asset = assets[j]
        if split.shape[0] > 0:
            asset.units *= split[t, j]
            asset.size *= split[t, j]
            asset.left *= split[t, j]
        if dividend.shape[0] > 0 and asset.size != 0.0:
            paid = asset.size * dividend[t, j]
            account.cash += paid
            account.dividends += paid
    for k in range(account.n_held):
        sizes[k] = assets[held[k]].size


@plain_inner
def _finance(
    marks: NDArray[np.float64],
    rule: Record,
    account: Record,
    held: NDArray[np.int64],
    sizes: NDArray[np.float64],
) -> None:
    """Charge one bar of interest, and of borrowing what is short at this close."""
    cash = account.cash
    earned = cash * (rule.interest if cash > 0.0 else rule.loan)
    short = 0.0
    if rule.borrow > 0.0:
        for k in range(account.n_held):
            short -= min(sizes[k] * marks[held[k]], 0.0)
    account.cash += earned - short * rule.borrow
    account.interest += earned
    account.borrow += short * rule.borrow


@plain_inner
def _fund(
    rates: NDArray[np.float64],
    marks: NDArray[np.float64],
    rule: Record,
    account: Record,
    held: NDArray[np.int64],
    sizes: NDArray[np.float64],
    t: int,
) -> None:
    """Pay and receive the funding of this close."""
    paid = 0.0
    for k in range(account.n_held):
        rate = rates[held[k]]
        if rate == rate:
            paid += sizes[k] * marks[held[k]] * rate
        elif rule.flag_funding > 0:
            account.unfunded += 1
        elif account.status == 0:
            account.status, account.bar, account.asset = NO_FUNDING, t, held[k]
    account.cash -= paid
    account.funding -= paid


@plain_inner
def _leave(account: Record, assets: Record, guard: int) -> None:
    """Order all positions closed, whatever was wanted."""
    for j in range(assets.shape[0]):
        asset = assets[j]
        asset.wanted = np.nan
        asset.left = 0.0
        if asset.units != 0.0:
            asset.leaving = EXIT + guard
            account.waiting = 1


@plain_inner
def _decide(wanted: NDArray[np.float64], are_units: bool, account: Record, assets: Record) -> None:
    """Take a row of the plan as what is wanted from now on; what a guard closes stays to be closed."""
    for j in range(wanted.shape[0]):
        asset = assets[j]
        if wanted[j] != wanted[j] or asset.leaving:
            continue
        if are_units:
            asset.left += wanted[j]
        else:
            asset.wanted = wanted[j]
            asset.left = 0.0
    account.waiting = 1


@plain_inner
def _asked(wanted: NDArray[np.float64], are_units: bool) -> float:
    """Return the sum of absolute weights that a row asks for; of units to trade, how many orders."""
    total = 0.0
    for j in range(wanted.shape[0]):
        if wanted[j] == wanted[j] and wanted[j] != 0.0:
            total += 1.0 if are_units else abs(wanted[j])
    return total


@plain_inner
def _keep(account: Record, assets: Record, tape: Tape, row: int, equity: float) -> None:
    tape.equity[row], tape.cash[row] = equity, account.cash
    for j in range(assets.shape[0]):
        tape.units[row, j] = assets[j].units
    tape.costs[row, 0], tape.costs[row, 1], tape.costs[row, 2] = account.fees, account.spread, account.impact
    tape.costs[row, 3], tape.costs[row, 4] = account.borrow, account.interest
    tape.costs[row, 5], tape.costs[row, 6] = account.dividends, account.funding
