"""The measures of an account's row; what a bar trial has too is taken from there, with its formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quantbot.bars import rows as bars
from quantbot.market import Floats
from quantbot.measures import Measure
from quantbot.portfolio.layout import GUARD_NAMES

_DOCS = {
    "final_equity": "Cash and positions at the last close; open positions are marked, not sold.",
    "exposure": "Mean over all bars of the sum of absolute position values / equity at the close: gross.",
}
_SHARED = tuple(
    replace(measure, doc=_DOCS.get(measure.name, measure.doc))
    for measure in bars.MEASURES
    if measure.group in ("core", "path", "tail")
)
_OWN = (
    Measure("net_exposure", "Net exposure", "path", "fraction", 0, True,
            "Mean over all bars of the sum of position values / equity at the close."),
    Measure("n_orders", "Orders", "path", "count", 0, False, "Orders that filled, in part or whole."),
    Measure("spread_paid", "Spread paid", "costs", "money", -1, False, "Half-spread and slippage of all fills."),
    Measure("impact_paid", "Impact paid", "costs", "money", -1, False, "Market impact of all fills."),
    Measure("borrow_paid", "Borrowing paid", "costs", "money", -1, False, "For borrowing what was sold short."),
    Measure("interest_earned", "Interest earned", "costs", "money", 1, True, "On cash; negative where it was paid."),
    Measure("dividends_earned", "Dividends earned", "costs", "money", 1, True, "Shorts pay them: may be negative."),
    Measure("funding_earned", "Funding earned", "costs", "money", 1, True,
            "Of perpetual futures; negative where it was paid."),
    Measure("funding_unknown", "Funding unknown", "costs", "count", -1, False,
            "Closes at which a position was held whose funding rate is not known and counted as 0."),
    Measure("interventions", "Interventions", "guards", "count", 0, False,
            "How often a guard or a margin changed or refused what was wanted; the replay lists each."),
    *(
        Measure(f"on_{name}", f"Interventions: {name.replace('_', ' ')}", "guards", "count", 0, False,
                f"How often {name} did.")
        for name in GUARD_NAMES
    ),
)  # fmt: skip
_ORDER = ("core", "path", "costs", "tail", "guards")
MEASURES: tuple[Measure, ...] = tuple(sorted((*_SHARED, *_OWN), key=lambda measure: _ORDER.index(measure.group)))
GROUPS = _ORDER
_COSTS = {
    "spread_paid": "spread", "impact_paid": "impact", "borrow_paid": "borrow", "interest_earned": "interest",
    "dividends_earned": "dividends", "funding_earned": "funding", "funding_unknown": "unfunded",
}  # fmt: skip
_STATES = {
    "equity": "equity", "sum_returns": "sum_returns", "sum_squares": "sum_squares", "sum_downside": "sum_downside",
    "worst": "worst", "longest": "longest", "sum_equity": "sum_equity", "invested": "invested",
    "in_market": "invested", "traded": "traded", "paid": "fees",
}  # fmt: skip


def names(groups: frozenset[str]) -> tuple[str, ...]:
    """Return the measures of a row with these groups, in order."""
    return tuple(measure.name for measure in MEASURES if measure.group in groups)


def measures(
    accounts: NDArray[np.void], initial_cash: Floats, n_bars: int, periods_per_year: float, groups: frozenset[str]
) -> Mapping[str, Floats]:
    """Return each measure but those of the tail, shape (n_points,), from the accounts that the kernel leaves."""
    states = {name: accounts[field].copy() for name, field in _STATES.items()}
    shared = groups & {"core", "path"}
    found = bars.measures(states, initial_cash, np.zeros_like(initial_cash), n_bars, periods_per_year, shared)
    if "path" in groups:
        found["net_exposure"] = accounts["net"] / n_bars
        found["n_orders"] = accounts["n_orders"].astype(np.float64)
    if "costs" in groups:
        found |= {name: accounts[field].astype(np.float64) for name, field in _COSTS.items()}
    if "guards" in groups:
        found["interventions"] = accounts["n_notes"].astype(np.float64)
        counts = accounts["counts"].astype(np.float64)
        found |= {f"on_{name}": counts[:, i].copy() for i, name in enumerate(GUARD_NAMES)}
    return found
