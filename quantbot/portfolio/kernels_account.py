"""One pool of cash in many instruments, compiled; `quantbot.portfolio.execution` says what happens when."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantbot.kernels import jit
from quantbot.portfolio.kernels_guards import breached, is_limited, note, stop_at
from quantbot.portfolio.kernels_market import HELD, UNTIL, WAITING, Book, Market, Tape
from quantbot.portfolio.kernels_orders import trade
from quantbot.portfolio.layout import (
    ASSET,
    BAR,
    BORROW,
    BORROWED,
    CASH,
    COSTS,
    DAILY_LOSS,
    DIVIDENDS,
    EARNED,
    EQUITY,
    EXIT,
    FEES,
    FLAG_FUNDING,
    FUNDED,
    INITIAL_CASH,
    INTEREST,
    INVESTED,
    KILL_LOSS,
    LOAN,
    LONGEST,
    MAINTENANCE,
    MAX_DRAWDOWN,
    NET,
    NO_FUNDING,
    RUINED,
    SAME_CLOSE,
    STATUS,
    SUM_DOWNSIDE,
    SUM_EQUITY,
    SUM_RETURNS,
    SUM_SQUARES,
    TRADED_TODAY,
    UNFUNDED,
    WORST,
)

N_COSTS = len(COSTS)
ROUNDING = 1.0 - 1e-12


class Plan(NamedTuple):
    """What is wanted when.

    Attributes
    ----------
    bars
        Shape (n_rebalances,): the bar at whose close each decision falls, rising.
    values
        Shape (n_sets, n_rebalances, n_assets): target weights, or units to trade; NaN leaves an asset alone.
    of
        Shape (n_points,): the set that each point trades.
    are_units
        Whether `values` are units to trade.
    """

    bars: NDArray[np.int64]
    values: NDArray[np.float64]
    of: NDArray[np.int64]
    are_units: bool


@jit
def run(
    market: Market,
    plan: Plan,
    start: int,
    stop: int,
    rules: NDArray[np.float64],
    sums: NDArray[np.float64],
    returns: NDArray[np.float64],
    book: Book,
    tape: Tape,
) -> None:
    """Step each point's account through the bars; `returns` has a row for each point, or one for all in turn."""
    for point in range(rules.shape[0]):
        _reset(book, sums[point], rules[point])
        _step(
            market, plan, plan.values[plan.of[point]], start, stop, rules[point], sums[point],
            returns[point % returns.shape[0]], book, tape,
        )  # fmt: skip


@jit
def _reset(book: Book, sums: NDArray[np.float64], rules: NDArray[np.float64]) -> None:
    book.units[:] = 0.0
    book.size[:] = 0.0
    book.wanted[:] = np.nan
    book.left[:] = 0.0
    book.leaving[:] = 0
    book.state[:] = 0
    sums[:] = 0.0
    sums[CASH] = rules[INITIAL_CASH]
    sums[EQUITY] = rules[INITIAL_CASH]
    sums[WORST] = 1.0


@jit
def _step(
    market: Market,
    plan: Plan,
    values: NDArray[np.float64],
    start: int,
    stop: int,
    rules: NDArray[np.float64],
    sums: NDArray[np.float64],
    returns: NDArray[np.float64],
    book: Book,
    tape: Tape,
) -> None:
    next_decision = np.searchsorted(plan.bars, start)
    same_close = rules[SAME_CLOSE] > 0.0
    finances = rules[BORROW] > 0.0 or rules[INTEREST] != 0.0 or rules[LOAN] > 0.0 or market.funding.shape[0] > 0
    has_stops = (
        rules[MAX_DRAWDOWN] > 0.0 or rules[DAILY_LOSS] > 0.0 or rules[KILL_LOSS] > 0.0 or rules[MAINTENANCE] > 0.0
    )
    has_limits = is_limited(rules)
    book.levels[:] = rules[INITIAL_CASH]  # the stop's peak, the day's start, the last close
    before, peak = rules[INITIAL_CASH], rules[INITIAL_CASH]
    total, squares, downside, worst = 0.0, 0.0, 0.0, 1.0
    sum_equity, invested, sum_net = 0.0, 0.0, 0.0
    run_length, longest = 0, 0
    records = tape.equity.shape[0] > 0
    for t in range(start, stop):
        if market.events[t]:
            _corporate_actions(market, sums, book, t)
        if t == start or market.days[t] != market.days[t - 1]:
            sums[TRADED_TODAY] = 0.0
            book.levels[1] = before
        if not same_close and book.state[WAITING]:
            trade(market, rules, sums, book, tape, t, market.open, t - 1)
        gross, net = _exposure(market.marks[t], book.held, book.held_size, book.state[HELD])
        if finances:
            _finance(market, rules, sums, book, t, gross, net)
        equity = sums[CASH] + net
        if not equity > 0.0 or sums[STATUS] > 0.0:
            if not sums[STATUS] > 0.0:
                sums[STATUS], sums[BAR] = RUINED, t
            break
        stop_by = stop_at(market.days, rules, book.state, book.levels, t, equity, gross) if has_stops else -1
        if stop_by >= 0:
            _leave(sums, book, tape, t, stop_by, gross / equity)
        decides = next_decision < plan.bars.shape[0] and plan.bars[next_decision] == t
        if decides:
            next_decision += 1
            if stop_by < 0 and book.state[UNTIL] <= t:
                _decide(plan, values[next_decision - 1], book)
            elif stop_by < 0:
                note(sums, tape, t, book.state[UNTIL + 1], _asked(plan, values[next_decision - 1]), 0.0)
        elif has_limits and stop_by < 0 and breached(market, rules, book, t, equity, gross, net):
            book.state[WAITING] = 1
        if same_close and book.state[WAITING]:
            trade(market, rules, sums, book, tape, t, market.close, t)
            gross, net = _exposure(market.marks[t], book.held, book.held_size, book.state[HELD])
            equity = sums[CASH] + net
            if not equity > 0.0:
                sums[STATUS], sums[BAR] = RUINED, t
                break
        gain = equity / before - 1.0
        returns[t - start] = gain
        total += gain
        squares += gain * gain
        downside += gain * gain if gain < 0.0 else 0.0
        peak = max(peak, equity)
        worst = min(worst, equity / peak)
        run_length = run_length + 1 if equity < peak * ROUNDING else 0
        longest = max(longest, run_length)
        sum_equity += equity
        invested += gross / equity
        sum_net += net / equity
        before = equity
        book.levels[2] = equity
        if records:
            _record(sums, book, tape, t - start, equity)
    sums[EQUITY] = before
    sums[SUM_RETURNS], sums[SUM_SQUARES], sums[SUM_DOWNSIDE], sums[WORST] = total, squares, downside, worst
    sums[LONGEST], sums[SUM_EQUITY], sums[INVESTED], sums[NET] = longest, sum_equity, invested, sum_net


@jit
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


@jit
def _corporate_actions(market: Market, sums: NDArray[np.float64], book: Book, t: int) -> None:
    """Split what is held, then pay dividends on it."""
    for j in range(book.units.shape[0]):
        if market.split.shape[0] > 0:
            book.units[j] *= market.split[t, j]
            book.size[j] *= market.split[t, j]
            book.left[j] *= market.split[t, j]
        if market.dividend.shape[0] > 0 and book.size[j] != 0.0:
            paid = book.size[j] * market.dividend[t, j]
            sums[CASH] += paid
            sums[DIVIDENDS] += paid
    for k in range(book.state[HELD]):
        book.held_size[k] = book.size[book.held[k]]


@jit
def _finance(
    market: Market, rules: NDArray[np.float64], sums: NDArray[np.float64], book: Book, t: int, gross: float, net: float
) -> None:
    """Charge one bar of what is held at this close: interest, borrowing of shorts, funding."""
    cash = sums[CASH]
    earned = cash * (rules[INTEREST] if cash > 0.0 else rules[LOAN])
    borrow = 0.0
    if rules[BORROW] > 0.0:
        short = 0.0
        for k in range(book.state[HELD]):
            value = book.held_size[k] * market.marks[t, book.held[k]]
            short += -value if value < 0.0 else 0.0
        borrow = short * rules[BORROW]
    paid = 0.0
    if market.funding.shape[0] > 0:
        for k in range(book.state[HELD]):
            j = book.held[k]
            rate = market.funding[t, j]
            if rate == rate:
                paid += book.held_size[k] * market.marks[t, j] * rate
            elif rules[FLAG_FUNDING] > 0.0:
                sums[UNFUNDED] += 1.0
            elif not sums[STATUS] > 0.0:
                sums[STATUS], sums[BAR], sums[ASSET] = NO_FUNDING, t, j
    sums[CASH] += earned - borrow - paid
    sums[EARNED] += earned
    sums[BORROWED] += borrow
    sums[FUNDED] -= paid


@jit
def _leave(sums: NDArray[np.float64], book: Book, tape: Tape, t: int, guard: int, gross: float) -> None:
    """Order all positions closed, whatever was wanted."""
    note(sums, tape, t, guard, gross, 0.0)
    for j in range(book.units.shape[0]):
        book.wanted[j] = np.nan
        book.left[j] = 0.0
        if book.units[j] != 0.0:
            book.wanted[j] = 0.0
            book.leaving[j] = EXIT + guard
            book.state[WAITING] = 1


@jit
def _decide(plan: Plan, wanted: NDArray[np.float64], book: Book) -> None:
    """Take a row of the plan as what is wanted from now on; what a guard closes stays to be closed."""
    for j in range(wanted.shape[0]):
        if wanted[j] != wanted[j] or book.leaving[j]:
            continue
        if plan.are_units:
            book.left[j] += wanted[j]
        else:
            book.wanted[j] = wanted[j]
            book.left[j] = 0.0
    book.state[WAITING] = 1


@jit
def _asked(plan: Plan, wanted: NDArray[np.float64]) -> float:
    """Return the sum of absolute weights that a row asks for; of units to trade, how many orders."""
    total = 0.0
    for j in range(wanted.shape[0]):
        if wanted[j] == wanted[j] and wanted[j] != 0.0:
            total += 1.0 if plan.are_units else abs(wanted[j])
    return total


@jit
def _record(sums: NDArray[np.float64], book: Book, tape: Tape, row: int, equity: float) -> None:
    tape.equity[row] = equity
    tape.cash[row] = sums[CASH]
    tape.units[row] = book.units
    for k in range(N_COSTS):
        tape.costs[row, k] = sums[FEES + k]
