"""From what a replay leaves to the measures of a row; each declared once, with formula, sign and source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.bars import rows as bar_rows
from quantbot.book.replay import BookReplay
from quantbot.measures import Measure

Floats = NDArray[np.float64]

_OF_BARS = ("total_return", "final_equity", "cagr", "volatility", "sharpe", "max_drawdown", "sortino", "turnover",
            "fees_paid", "var_95", "cvar_95")  # fmt: skip
HORIZONS_NS: Mapping[str, int] = {"100ms": 10**8, "1s": 10**9, "10s": 10**10, "60s": 6 * 10**10}
_MARKS = tuple(
    Measure(
        f"markout_{word}", f"Mark-out {word}", "quality", "ratio", 1, True,
        f"Mean, over lots filled, of side * (mid {word} after the fill - fill price), in ticks; the session's last mid"
        " where it ends before; below the spread captured by what adverse selection cost.",
    )
    for word in HORIZONS_NS
)  # fmt: skip
_COUNTS = (
    ("n_gaps", "Gaps", "Events before which others were lost.", "gaps"),
    ("n_halts", "Halts", "Times at which trading was halted.", "halts"),
    ("n_crossed", "Crossed books", "Events whose level met the other side; the newer side counts.", "crossed"),
    ("n_unknown", "Unknown orders", "Events on orders that were never added, and trades without a side.", "unknown"),
    ("n_late", "Late events", "Events whose exchange time is before that of one received earlier.", "late"),
    ("n_outside", "Far prices", "Events and orders too far from the market to be kept.", "outside"),
)
MEASURES: tuple[Measure, ...] = (
    *(next(m for m in bar_rows.MEASURES if m.name == name) for name in _OF_BARS),
    Measure("n_fills", "Fills", "fills", "count", 0, False, "Fills, of makers and takers."),
    Measure("n_maker", "Maker fills", "fills", "count", 0, False, "Fills of orders that rested."),
    Measure("n_taker", "Taker fills", "fills", "count", 0, False, "Fills of orders that took."),
    Measure("lots_filled", "Lots filled", "fills", "count", 0, False, "Lots of all fills, bought and sold."),
    Measure("n_filled", "Orders filled", "fills", "count", 0, False, "Orders with at least one fill."),
    Measure("n_orders", "Orders", "fills", "count", 0, False, "New orders sent."),
    Measure(
        "fill_rate", "Fill rate", "fills", "fraction", 0, False, "Orders with at least one fill over orders sent."
    ),
    Measure(
        "order_to_trade", "Order-to-trade ratio", "fills", "ratio", -1, False,
        "Orders, cancels and modifies sent over fills.",
    ),
    Measure(
        "queue_ms", "Queue time", "fills", "ratio", 0, False,
        "Mean milliseconds from an order's acceptance to each of its maker fills.",
    ),
    Measure("n_rejected", "Rejected orders", "fills", "count", -1, False, "Orders that the exchange refused."),
    Measure(
        "spread_captured", "Spread captured", "quality", "ratio", 1, True,
        "Mean, over lots filled, of side * (mid at the fill - fill price), in ticks; positive earns spread.",
    ),
    *_MARKS,
    Measure(
        "slippage", "Slippage", "quality", "ratio", -1, True,
        "Average price of the final position over mid at the first decision, in ticks, positive is worse; not a number"
        " when flat. Perold (1988), The implementation shortfall.",
    ),
    Measure("inventory", "Mean inventory", "inventory", "ratio", 0, True, "Mean position over steps, in lots."),
    Measure("inventory_abs", "Mean |inventory|", "inventory", "ratio", -1, False, "Mean |position|, in lots."),
    Measure("inventory_std", "Inventory deviation", "inventory", "ratio", -1, False, "Deviation of position, in lots."),
    Measure("inventory_max", "Largest inventory", "inventory", "count", -1, False, "Largest |position|, in lots."),
    Measure("position", "Final position", "inventory", "ratio", 0, True, "Position at the end, in lots."),
    Measure("pnl_spread", "P&L from spread", "split", "money", 1, True, "Sum of side * (mid - price) at each fill."),
    Measure(
        "pnl_inventory", "P&L from inventory", "split", "money", 1, True,
        "What positions earned by moves of mid: P&L before fees less that from spread.",
    ),
    Measure("pnl_fees", "P&L from fees", "split", "money", 1, True, "Minus the fees; positive when rebates win."),
    Measure(
        "pnl_impact", "P&L from impact", "split", "money", 1, True,
        "Minus what orders that took cost beyond their prices, by the square-root law: `impact_bps` of the value for"
        " `impact_lots`, growing as the square root of the lots. Toth et al. (2011), Anomalous price impact.",
    ),
    Measure(
        "slippage_vwap", "Slippage against VWAP", "benchmark", "ratio", -1, True,
        "Average price of the final position over the market's volume-weighted average price of the window, in ticks,"
        " positive is worse; not a number when flat. Berkowitz, Logue & Noser (1988), The total cost of transactions.",
    ),
    *(Measure(name, label, "anomalies", "count", -1, False, doc) for name, label, doc, _ in _COUNTS),
    *(measure for side in ("pessimistic", "optimistic") for measure in (
        Measure(f"total_return_{side}", f"Total return, {side}", "envelope", "fraction", 1, True,
                f"Total return of the same trial with the {side} queue model."),
        Measure(f"n_fills_{side}", f"Fills, {side}", "envelope", "count", 0, False,
                f"Fills of the same trial with the {side} queue model."),
        Measure(f"n_filled_{side}", f"Orders filled, {side}", "envelope", "count", 0, False,
                f"Orders with at least one fill of the same trial with the {side} queue model."),
        Measure(f"lots_filled_{side}", f"Lots filled, {side}", "envelope", "count", 0, False,
                f"Lots of the same trial with the {side} queue model."),
        Measure(f"sharpe_{side}", f"Sharpe ratio, {side}", "envelope", "ratio", 1, True,
                f"Sharpe ratio of the same trial with the {side} queue model."),
    )),
)  # fmt: skip
GROUPS = tuple(dict.fromkeys(measure.group for measure in MEASURES))


def fees_of(replay: BookReplay) -> Floats:
    """Return the fees of every agent, (n_agents,), in account currency."""
    a, unit = replay.agents, float(replay.state[0]["unit"])
    by_value = (a["maker_bps"] * a["maker_value"] + a["taker_bps"] * a["taker_value"]) * 1e-4 * unit
    by_lot = a["maker_lot_fee"] * a["maker_lots"] + a["taker_lot_fee"] * a["taker_lots"]
    fees: Floats = by_value + by_lot + a["trade_fee"] * (a["n_maker"] + a["n_taker"]) - a["tier_saved"] * unit
    return fees


def measures(replay: BookReplay, n_steps: int, periods_per_year: float, groups: Iterable[str]) -> dict[str, Floats]:
    """Return the measures of `groups` for every agent of a replay that is done, (n_agents,) each."""
    groups = set(groups)
    a, st = replay.agents, replay.state[0]
    unit, capital = float(st["unit"]), a["capital"]
    final, fees = a["equity"].copy(), fees_of(replay)
    lots = (a["maker_lots"] + a["taker_lots"]).astype(np.float64)
    n_fills = (a["n_maker"] + a["n_taker"]).astype(np.float64)
    sharpe, volatility = bar_rows.sharpe_ratio(a["sum_r"], a["sum_r2"], n_steps, periods_per_year)
    years = periods_per_year / n_steps
    spread, impact = 0.5 * unit * a["spread_sum2"], a["impact_cost"] * unit
    mean_position = a["sum_position"] / n_steps
    value = (np.abs(a["maker_value"]) + np.abs(a["taker_value"])) * unit
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_price = np.where(a["position"] != 0, -a["cash"] / a["position"], np.nan)
        made = {
            "total_return": final / capital - 1.0,
            "final_equity": final,
            "cagr": np.array([bar_rows.growth_rate(float(r), years) for r in final / capital]),
            "volatility": volatility,
            "sharpe": sharpe,
            "max_drawdown": a["drawdown"].copy(),
            "sortino": _ratio(a["sum_r"] / n_steps * periods_per_year**0.5, np.sqrt(a["sum_down2"] / n_steps)),
            "turnover": value / (0.5 * (capital + final)) * years,
            "fees_paid": fees,
            "n_fills": n_fills,
            "n_maker": a["n_maker"] * 1.0,
            "n_taker": a["n_taker"] * 1.0,
            "lots_filled": lots,
            "n_filled": a["filled_orders"] * 1.0,
            "n_orders": a["n_orders"] * 1.0,
            "fill_rate": _ratio(a["filled_orders"] * 1.0, a["n_orders"]),
            "order_to_trade": _ratio((a["n_orders"] + a["n_cancels"] + a["n_modifies"]) * 1.0, n_fills),
            "queue_ms": _ratio(a["queue_ns"] * 1e-6, a["n_maker"]),
            "n_rejected": a["n_rejected"] * 1.0,
            "spread_captured": _ratio(0.5 * a["spread_sum2"], lots),
            "slippage": np.sign(a["position"]) * (mean_price - 0.5 * a["arrival2"]),
            "inventory": mean_position,
            "inventory_abs": a["sum_abs_position"] / n_steps,
            "inventory_std": np.sqrt(np.maximum(a["sum_pos2"] / n_steps - mean_position**2, 0.0)),
            "inventory_max": a["abs_position_max"] * 1.0,
            "position": a["position"] * 1.0,
            "pnl_spread": spread,
            "pnl_inventory": final - capital + fees + impact - spread,
            "pnl_fees": -fees,
            "pnl_impact": 0.0 - impact,
            "slippage_vwap": np.sign(a["position"]) * (mean_price - replay.market_vwap),
        }
        for h, word in enumerate(HORIZONS_NS):
            if h < replay.marks.shape[1]:
                made[f"markout_{word}"] = _ratio(0.5 * replay.marks[:, h], lots)
    made |= {name: np.full(len(a), float(st[field])) for name, _, _, field in _COUNTS}
    if "tail" in groups:
        tails = np.array([bar_rows.tail(row) for row in returns(replay)]).reshape(len(a), 2)
        made["var_95"], made["cvar_95"] = tails.T
    wanted = {measure.name for measure in MEASURES if measure.group in groups}
    return {name: column for name, column in made.items() if name in wanted}


def returns(replay: BookReplay) -> Floats:
    """Return the simple returns per step of every agent, (n_agents, n_steps), the first against its capital."""
    before = np.hstack([replay.agents["capital"][:, None], replay.curve[:, :-1]])
    found: Floats = replay.curve / before - 1.0
    return found


def _ratio(top: NDArray[Any], bottom: NDArray[Any]) -> Floats:
    """Return top / bottom, NaN where there is nothing to divide by."""
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), np.nan)
