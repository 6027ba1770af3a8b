"""One account in full: its curves, orders, interventions, and who earned what, from the arithmetic of its row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Points
from quantbot.errors import DataError, DivergenceError
from quantbot.market import Floats, Panel
from quantbot.parameters import Value
from quantbot.portfolio import layout
from quantbot.portfolio.targets import Targets

if TYPE_CHECKING:
    from quantbot.portfolio.kernels_market import Book, Market, Tape

REASONS = {layout.TARGET: "target", layout.CARRIED: "order in units", layout.LIMITED: "limit"} | {
    layout.EXIT + i: name for i, name in enumerate(layout.GUARD_NAMES)
}


@dataclass(frozen=True, eq=False)
class AccountPath:
    """Everything about one account; money in the panel's currency, bars counted from the window's start.

    Attributes
    ----------
    ts_end_ns
        Shape (n_bars,), int64 UTC.
    equity, cash
        Shape (n_bars,), at each close, after what fills at it.
    units, weights
        Shape (n_bars, n_assets): positions at each close, and their values over equity.
    costs
        By kind, shape (n_bars,), of each bar: "fees", "spread" (with slippage), "impact" and "borrow" are paid,
        "interest", "dividends" and "funding" earned.
    pnl
        Shape (n_bars, n_assets): what positions earned by price, at market prices, and by dividends, before costs.
    asset_costs
        Shape (n_bars, n_assets): fees, spread, impact, borrowing and funding paid for each asset. Equity changes by the
        sum of `pnl` less the sum of `asset_costs` plus interest.
    value
        Shape (n_bars,): what the bar's orders were sized with; NaN where there were none.
    orders
        By column: `bar`, `ts_ns`, `asset`, `side` (+1 buys), `units`, `wanted` (units before volume, cash and lots),
        `price` (executed), `market_price`, `fee`, `spread`, `impact`, `reason`.
    interventions
        By column: `bar`, `ts_ns`, `guard`, `wanted`, `done`. Of stops and margins the gross exposure, of limits the
        limited quantity (NaN while its window is not full), of rates orders or turnover.
    row
        Every measure: bit for bit those of `run_accounts`.
    by_strategy
        For pooled targets, by strategy, shape (n_bars,): profit after costs; what is left of the change of equity is
        interest.
    weights_by_strategy
        For pooled targets, by strategy, shape (n_bars, n_assets): what of `weights` is its; they sum to them.
    """

    ts_end_ns: NDArray[np.int64]
    equity: Floats
    cash: Floats
    units: Floats
    weights: Floats
    costs: Mapping[str, Floats]
    pnl: Floats
    asset_costs: Floats
    value: Floats
    orders: Mapping[str, NDArray[Any]]
    interventions: Mapping[str, NDArray[Any]]
    row: Mapping[str, float]
    by_strategy: Mapping[str, Floats] = field(default_factory=dict)
    weights_by_strategy: Mapping[str, Floats] = field(default_factory=dict)


def replay_account(
    panel: Panel,
    window: tuple[int, int],
    targets: Targets,
    settings: Mapping[str, Value],
    point: Mapping[str, Value],
) -> AccountPath:
    """Run one point again and keep everything; see `quantbot.portfolio.account.run_accounts`.

    Parameters
    ----------
    targets
        Of this point alone: `of` has one entry.

    Raises
    ------
    DataError
        If the trial fails (ruin, unknown funding); the message is that of its row.
    DivergenceError
        If the recorded equity is not bit for bit that of the row.
    """
    from quantbot.portfolio import account
    from quantbot.portfolio.rows import GROUPS

    points = Points(1, {name: np.array([value]) for name, value in point.items()})
    run = account._Run(panel, window, targets, settings, points, GROUPS)
    rows = run.rows()
    if rows.reasons:
        raise DataError(rows.reasons[0])
    returns = np.empty((1, run.n_bars))
    n_assets = len(panel.instruments)
    account_ = run.step(slice(0, 1), returns)[0]
    n_orders, n_notes = int(account_["n_orders"]), int(account_["n_notes"])
    tape = new_tape(run.start, run.n_bars, n_assets, n_orders, n_notes)
    run.step(slice(0, 1), returns, tape)
    row = {name: float(column[0]) for name, column in rows.measures.items()}
    if row["final_equity"] != tape.equity[-1]:
        raise DivergenceError(f"replayed equity ends at {tape.equity[-1]!r}, the row's at {row['final_equity']!r}")
    bars = slice(run.start, run.stop)
    marks = run.market.marks[bars]
    values = np.where(tape.units != 0.0, tape.units * marks * run.market.multiplier, 0.0)
    pnl, asset_costs = _by_asset(run.market, run.rules[0], tape)
    ts_end_ns = panel.ts_end_ns[bars]
    by_strategy: dict[str, Floats] = {}
    held: dict[str, Floats] = {}
    if targets.parts is not None:
        from quantbot.portfolio.attribution import profit_by_strategy

        units: Floats = np.empty((len(targets.strategies), *tape.units.shape))
        by_strategy = profit_by_strategy(run.market, targets, tape, run.rules[0], units)
        worth = np.where(units != 0.0, units * marks * run.market.multiplier, 0.0) / tape.equity[:, None]
        held = dict(zip(targets.strategies, worth, strict=True))
    return AccountPath(
        ts_end_ns=ts_end_ns,
        equity=tape.equity,
        cash=tape.cash,
        units=tape.units,
        weights=values / tape.equity[:, None],
        costs={kind: np.diff(tape.costs[:, i], prepend=0.0) for i, kind in enumerate(layout.COSTS)},
        pnl=pnl,
        asset_costs=asset_costs,
        value=tape.value,
        orders=_orders(tape, panel, ts_end_ns),
        interventions=_interventions(tape, ts_end_ns),
        row=row,
        by_strategy=by_strategy,
        weights_by_strategy=held,
    )


def new_book(n_assets: int, risk_window: int) -> Book:
    """Return room for an account."""
    from quantbot.portfolio.kernels_market import Book

    return Book(
        assets=np.zeros(n_assets, dtype=layout.ASSET),
        held=np.zeros(n_assets, dtype=np.int64),
        held_size=np.zeros(n_assets),
        active=np.zeros(n_assets, dtype=np.int64),
        listed=np.zeros(n_assets, dtype=np.int64),
        weight=np.zeros(n_assets),
        past=np.empty(risk_window),
        worst=np.empty(risk_window),
    )


def new_tape(start: int, n_bars: int, n_assets: int, n_orders: int, n_notes: int) -> Tape:
    """Return room for a recording; without bars, nothing is recorded."""
    from quantbot.portfolio.kernels_market import Tape

    return Tape(
        start, np.empty(n_bars), np.empty(n_bars), np.full(n_bars, np.nan), np.empty((n_bars, n_assets)),
        np.empty((n_bars, len(layout.COSTS))), np.empty((n_orders, 9)), np.empty((n_notes, 4)),
    )  # fmt: skip


def _by_asset(market: Market, rule: np.void, tape: Tape) -> tuple[Floats, Floats]:
    """Return (profit before costs, costs), both shape (n_bars, n_assets)."""
    n_bars, n_assets = tape.units.shape
    bars = slice(tape.start, tape.start + n_bars)
    marks, multiplier = market.marks[bars], market.multiplier
    bought, costs = np.zeros((n_bars, n_assets)), np.zeros((n_bars, n_assets))
    at = tape.orders[:, 0].astype(np.intp) - tape.start, tape.orders[:, 1].astype(np.intp)
    np.add.at(bought, at, tape.orders[:, 4] * tape.orders[:, 5] * multiplier[at[1]])
    np.add.at(costs, at, tape.orders[:, 6:9].sum(axis=1))
    before = np.vstack([np.zeros(n_assets), tape.units[:-1]])
    value = np.where(tape.units != 0.0, tape.units * marks * multiplier, 0.0)
    pnl = value - np.vstack([np.zeros(n_assets), value[:-1]]) - bought
    if market.split.size:
        before = before * market.split[bars]
    if market.dividend.size:
        pnl += before * multiplier * market.dividend[bars]
    at_close = before if rule["same_close"] else tape.units  # positions when the close is charged
    worth = np.where(at_close != 0.0, at_close * marks * multiplier, 0.0)
    costs += np.maximum(-worth, 0.0) * rule["borrow"]
    if market.funding.size:
        costs += worth * np.nan_to_num(market.funding[bars])
    return pnl, costs


def _orders(tape: Tape, panel: Panel, ts_end_ns: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    bar, asset, kind = (tape.orders[:, i].astype(np.int64) for i in range(3))
    _, _, _, wanted, units, price, fee, spread, impact = tape.orders.T
    multiplier = np.array([instrument.multiplier for instrument in panel.instruments])[asset]
    return {
        "bar": bar - tape.start,
        "ts_ns": ts_end_ns[bar - tape.start],
        "asset": np.array(panel.assets, dtype=str)[asset],
        "side": np.sign(units).astype(np.int64),
        "units": np.abs(units),
        "wanted": np.abs(wanted),
        "price": price + np.sign(units) * (spread + impact) / (np.abs(units) * multiplier),
        "market_price": price.copy(),
        "fee": fee.copy(),
        "spread": spread.copy(),
        "impact": impact.copy(),
        "reason": np.array([REASONS[i] for i in kind.tolist()], dtype=str),
    }


def _interventions(tape: Tape, ts_end_ns: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    bar, guard = (tape.notes[:, i].astype(np.int64) for i in range(2))
    return {
        "bar": bar - tape.start,
        "ts_ns": ts_end_ns[bar - tape.start],
        "guard": np.array(layout.GUARD_NAMES, dtype=str)[guard],
        "wanted": tape.notes[:, 2].copy(),
        "done": tape.notes[:, 3].copy(),
    }
