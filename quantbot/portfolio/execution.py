"""How an account trades: the settings of a portfolio's `execution` section, each declared once.

One bar, in order
    1. What is held is split, then paid dividends (both before the open).
    2. ``fill = "next_open"`` (the default): orders decided at the close before fill at the open.
    3. Close: every position is marked at the close, at the last one that there was where the bar is missing. Interest
       on cash, borrowing of shorts and funding are charged for one bar, on what is held at this close.
    4. Stops and the maintenance margin look at the equity; limits at the weights.
    5. If the plan has a row for this bar, it is what is wanted from now on.
    6. ``fill = "same_close"``: orders fill at this very close (vectorbt's convention; nobody sees a close and trades
       at it). Equity is what is left after them.
How much
    The account is valued at the prices of the fill, V; an asset with target weight w is brought to ``w V / (price x
    multiplier)`` units, costs on top. Nothing is traded where the weight differs from w by less than `rebalance_band`.
    Sales first, in the panel's order, then purchases from the smallest to the largest; cash may not go below
    ``(1 - leverage) V``, and the purchase that would is cut. All that is vectorbt's ``from_orders(size_type=
    "targetpercent", cash_sharing=True, call_seq="auto")``.
    Orders are rounded toward zero to whole lots, but for one that closes a position. No order is larger than
    `participation` of the bar's volume; what is left over is dropped, or carried on until the next target.
    A missing bar (NaN) fills nothing; the order waits with its target, or is dropped.
What it costs
    A fill is ``half_spread_bps + slippage_bps`` worse than the price, and by the impact: `impact` times the deviation
    of the asset's returns over the last `impact_window` bars times the square root of the order's share of the bar's
    volume. A bar without volume then fills nothing. The square-root law: Tóth et al. (2011), Almgren et al. (2005).
    The fee is ``fee_bps`` of the executed value and ``fee_per_unit`` per unit, at least ``fee_minimum`` an order.
Ruin
    A trial whose equity at a close is zero or less has failed, and its row says when.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Points
from quantbot.errors import ParameterError
from quantbot.market import Floats
from quantbot.parameters import Parameter, Value, choice, integer, nearest, number
from quantbot.portfolio import layout
from quantbot.portfolio.guards import GUARDS

ACCOUNT: tuple[Parameter, ...] = (
    number("initial_cash", 100_000.0, 1e-6, 1e15, "Cash at the start of the window.", unit="money"),
    choice("fill", "next_open", ("next_open", "same_close"),
           "Where an order fills: at the next bar's open, or at the close it was decided on."),
    number("fee_bps", 0.0, 0.0, 1000.0, "Fee as a share of the traded value.", unit="bps"),
    number("fee_per_unit", 0.0, 0.0, 1e6, "Fee for each unit traded.", unit="money per unit"),
    number("fee_minimum", 0.0, 0.0, 1e6, "Least fee of an order.", unit="money"),
    number("half_spread_bps", 0.0, 0.0, 1000.0, "Half the spread between bid and ask, paid by each fill.", unit="bps"),
    number("slippage_bps", 0.0, 0.0, 1000.0, "How far the price moves against each fill, spread aside.", unit="bps"),
    number("participation", 0.0, 0.0, 1.0, "Largest order as a share of its bar's volume; 0 is off.",
           unit="share of volume"),
    choice("leftover", "drop", ("drop", "carry"), "What becomes of what exceeds the participation."),
    number("impact", 0.0, 0.0, 100.0,
           "Price impact of an order as large as its bar's volume, in deviations of the bar's return; it grows with the"
           " square root of the order."),
    integer("impact_window", 60, 2, 10_000, "Bars in the deviation that impact is measured in.", unit="bars"),
    number("lot_size", 0.0, 0.0, 1e9, "Orders are rounded toward zero to multiples of this; 0 is fractional units.",
           unit="units"),
    choice("direction", "long_short", ("long_short", "long_only"),
           "Which sides may be held; a target on the other side becomes flat."),
    number("borrow_rate", 0.0, 0.0, 10.0, "Cost of borrowing what is sold short.", unit="fraction per year"),
    number("leverage", 1.0, 1.0, 100.0,
           "Buying power: purchases may take cash down to 1 - leverage times equity; 1 buys with cash alone.",
           unit="fraction of equity"),
    number("initial_margin", 0.0, 0.0, 1.0,
           "Equity that each unit of position value takes when orders add to positions: targets are scaled down; 0 is"
           " off.", unit="fraction of position"),
    number("maintenance_margin", 0.0, 0.0, 1.0,
           "All positions are closed when equity at a close is less than this share of their absolute value; 0 is off.",
           unit="fraction of position"),
    number("cash_rate", 0.0, -1.0, 10.0, "Interest on cash above zero.", unit="fraction per year"),
    number("loan_rate", 0.0, 0.0, 10.0, "Interest on cash below zero.", unit="fraction per year"),
    number("rebalance_band", 0.0, 0.0, 20.0, "A weight that is closer than this to its target is left alone.",
           unit="fraction of equity"),
    choice("missing_bar", "wait", ("wait", "drop"), "What becomes of an order for an instrument without a bar."),
    choice("missing_funding", "error", ("error", "flag"),
           "A funding rate that is not known while its instrument is held fails the trial, or is taken as 0 and counted"
           " in the row."),
)  # fmt: skip

SECTIONS: Mapping[str, tuple[Parameter, ...]] = {"execution": ACCOUNT, "guards": GUARDS}
_ALL = {f"{section}.{p.name}": p for section, parameters in SECTIONS.items() for p in parameters}


def defaults() -> dict[str, Value]:
    """Return every setting's default, by dotted name."""
    return {name: parameter.default for name, parameter in _ALL.items()}


class Settings:
    """The settings of some points, checked: a column for what varies, a value for what does not."""

    def __init__(self, settings: Mapping[str, Value], points: Points) -> None:
        self.n = len(points)
        known = {name.partition(".")[0] for name in _ALL}
        for name in (*settings, *points.columns):
            if name not in _ALL and name.partition(".")[0] in known:
                raise ParameterError(f"an account has no setting {name!r}{nearest(name, _ALL)}")
        self.values: dict[str, Any] = {}
        for name, parameter in _ALL.items():
            column = points.columns.get(name)
            if column is None:
                self.values[name] = _checked(name, parameter, settings.get(name, parameter.default))
                continue
            for value in np.unique(column).tolist():
                _checked(name, parameter, value)
            self.values[name] = column

    def __getitem__(self, name: str) -> Any:
        """Return a column, shape (n_points,), or one value."""
        return self.values[name]

    def column(self, name: str) -> Floats:
        """Return a number for each point."""
        return np.broadcast_to(np.asarray(self.values[name], dtype=np.float64), (self.n,))

    def any(self, *names: str) -> bool:
        """Return whether one of these numbers is above zero at some point."""
        return any(bool(np.any(np.asarray(self.values[name], dtype=np.float64) > 0.0)) for name in names)

    def is_word(self, name: str, word: str) -> Any:
        """Return where a choice is this word."""
        return np.asarray(self.values[name]) == word

    def rules(self, periods_per_year: float) -> NDArray[np.void]:
        """Return what the kernel wants to know of each point, shape (n_points,) of `layout.RULE`."""
        rules = np.zeros(self.n, dtype=layout.RULE)
        for field, name in _PLAIN.items():
            rules[field] = self.values[name]
        for guard in GUARDS:
            rules[guard.name] = self.values[f"guards.{guard.name}"]
        for field, (name, word) in _WORDS.items():
            rules[field] = self.is_word(name, word)
        rules["fee_rate"] = self.column("execution.fee_bps") * 1e-4
        rules["moved"] = (self.column("execution.half_spread_bps") + self.column("execution.slippage_bps")) * 1e-4
        for field, name in _RATES.items():
            rules[field] = self.column(name) / periods_per_year
        return rules


def _checked(name: str, parameter: Parameter, value: object) -> Value:
    try:
        return parameter.check(value)
    except ParameterError as error:
        raise ParameterError(f"{name.partition('.')[0]}.{error}") from None


_PLAIN = {
    "initial_cash": "execution.initial_cash",
    "fee_unit": "execution.fee_per_unit",
    "fee_least": "execution.fee_minimum",
    "impact": "execution.impact",
    "impact_window": "execution.impact_window",
    "participation": "execution.participation",
    "lot": "execution.lot_size",
    "initial_margin": "execution.initial_margin",
    "maintenance": "execution.maintenance_margin",
    "leverage": "execution.leverage",
    "band": "execution.rebalance_band",
}
_WORDS = {
    "same_close": ("execution.fill", "same_close"),
    "carry": ("execution.leftover", "carry"),
    "wait": ("execution.missing_bar", "wait"),
    "long_only": ("execution.direction", "long_only"),
    "flag_funding": ("execution.missing_funding", "flag"),
}
_RATES = {"borrow": "execution.borrow_rate", "interest": "execution.cash_rate", "loan": "execution.loan_rate"}
