"""Who of several strategies on one pool earned what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quantbot.market import Floats
from quantbot.portfolio.targets import Targets

if TYPE_CHECKING:
    from quantbot.portfolio.kernels_market import Market, Tape


def profit_by_strategy(
    market: Market, targets: Targets, tape: Tape, rule: np.void, units: Floats | None = None
) -> dict[str, Floats]:
    """Return each strategy's profit after costs in each bar, shape (n_bars,).

    At a bar's fills each strategy is given the units that its part of the targets asks for, scaled down together where
    the account holds less than they ask for in sum (limits, cash, lots); anything else between the two is shared by
    what they ask for. Between fills their shares stay. A strategy earns what its units earn, hands over units to
    another at the market price, and pays of an asset's trading costs as much as its units changed, of borrowing and
    funding as much as it holds. Together they earn the change of equity less interest, to rounding.

    Parameters
    ----------
    units
        Shape (n_strategies, n_bars, n_assets), or None: gets the units of each at every close.
    """
    assert targets.parts is not None
    n_bars, n_assets = tape.units.shape
    n = len(targets.strategies)
    bars = slice(tape.start, tape.start + n_bars)
    orders = _orders_by_bar(tape)
    marks, multiplier = market.marks[bars], market.multiplier
    same_close = bool(rule["same_close"])
    prices = (market.close if same_close else market.open)[bars]
    rows = _decided(targets, tape, same_close)
    held = np.zeros((n, n_assets))
    asked = np.zeros((n, n_assets))
    profit = np.zeros((n_bars, n))
    last = np.zeros(n_assets)
    for t in range(n_bars):
        if market.split.size:
            held *= market.split[bars][t]
            last = last / market.split[bars][t]
        if market.dividend.size:
            profit[t] += held @ (market.dividend[bars][t] * multiplier)
        mark = np.where(np.isnan(marks[t]), 0.0, marks[t])
        if same_close:
            profit[t] += _carrying(market, rule, held, mark, tape.start + t)
        if rows[t] is not None:
            asked = targets.parts[targets.of[0], :, rows[t]]
        price = np.where(np.isnan(prices[t]), mark, prices[t])
        profit[t] += held @ ((price - last) * multiplier)
        after = held
        if not np.isnan(tape.value[t]):
            costs = np.zeros(n_assets)
            moved = np.full(n_assets, rows[t] is not None)
            for asset, paid in orders.get(t, ()):
                costs[asset] += paid
                moved[asset] = True
            wishes = asked * tape.value[t] / np.where(price > 0.0, price * multiplier, np.inf)
            after = np.where(moved, _shares(wishes, held, tape.units[t]), held)
            profit[t] -= _portions(np.abs(after - held), after) @ costs
        profit[t] += after @ ((mark - price) * multiplier)
        if not same_close:
            profit[t] += _carrying(market, rule, after, mark, tape.start + t)
        held, last = after, mark
        if units is not None:
            units[:, t] = held
    return dict(zip(targets.strategies, np.ascontiguousarray(profit.T), strict=True))


def _shares(asked: Floats, before: Floats, units: Floats) -> Floats:
    """Return each strategy's units, shape (n_strategies, n_assets), which sum to the account's."""
    net, total = asked.sum(axis=0), np.abs(asked).sum(axis=0)
    less = (net * units >= 0.0) & (np.abs(units) <= np.abs(net)) & (net != 0.0)
    scaled = asked * units / np.where(less, net, 1.0)
    shifted = asked + (units - net) * np.abs(asked) / np.where(total > 0.0, total, 1.0)
    wished = np.where(less, scaled, shifted)
    found: Floats = np.where(total > 0.0, wished, _portions(np.abs(before), before) * units)
    return found


def _portions(of: Floats, otherwise: Floats) -> Floats:
    """Return each row's portion of the column's sum; by `otherwise`, and then equal, where the sum is zero."""
    first, second = of.sum(axis=0), np.abs(otherwise).sum(axis=0)
    by_second = np.abs(otherwise) / np.where(second > 0.0, second, 1.0)
    by_second = np.where(second > 0.0, by_second, 1.0 / of.shape[0])
    found: Floats = np.where(first > 0.0, of / np.where(first > 0.0, first, 1.0), by_second)
    return found


def _carrying(market: Market, rule: np.void, held: Floats, mark: Floats, t: int) -> Floats:
    """Return what borrowing and funding bring each strategy at a close; netted shorts are shared by position."""
    worth = held * mark * market.multiplier
    net = worth.sum(axis=0)
    rate = np.where(net < 0.0, rule["borrow"], 0.0)  # of a short's negative value: a charge
    if market.funding.size:
        rate = rate - np.nan_to_num(market.funding[t])
    found: Floats = worth @ rate
    return found


def _decided(targets: Targets, tape: Tape, same_close: bool) -> list[int | None]:
    """Return for each bar the row of the targets whose orders fill at it."""
    n_bars = tape.equity.shape[0]
    rows: list[int | None] = [None] * n_bars
    for row, bar in enumerate(targets.bars.tolist()):
        at = bar - tape.start + (0 if same_close else 1)
        if bar >= tape.start and 0 <= at < n_bars:
            rows[at] = row
    return rows


def _orders_by_bar(tape: Tape) -> dict[int, list[tuple[int, float]]]:
    found: dict[int, list[tuple[int, float]]] = {}
    for order in tape.orders:
        found.setdefault(int(order[0]) - tape.start, []).append((int(order[1]), float(order[6:9].sum())))
    return found
