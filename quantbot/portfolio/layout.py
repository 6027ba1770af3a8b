"""What an account's kernels read and write: records of a point's rules, of an asset, of an account; kinds of things."""

from __future__ import annotations

import numpy as np

# Guards, in the order in which they are counted.
GUARD_NAMES = (
    "max_drawdown", "daily_loss", "kill_loss", "maintenance_margin", "max_weight", "max_net", "max_gross",
    "initial_margin", "max_volatility", "max_cvar", "max_orders", "max_turnover",
)  # fmt: skip
(
    ON_DRAWDOWN, ON_DAY, ON_KILL, ON_MARGIN, ON_WEIGHT, ON_NET, ON_GROSS, ON_INITIAL, ON_VOLATILITY, ON_CVAR, ON_ORDERS,
    ON_TURNOVER,
) = range(12)  # fmt: skip

# Why an order went out; an exit's kind is EXIT plus the guard that ordered it.
TARGET, CARRIED, LIMITED, EXIT = 0, 1, 2, 10

# Who wants an order, within one fill.
BY_PLAN, BY_GUARD, BY_EXIT = 1, 2, 3

# How a trial ended.
FINE, RUINED, NO_FUNDING = 0, 1, 2


def _record(numbers: str, wholes: str, *more: tuple[str, object, int]) -> np.dtype[np.void]:
    fields = [(name, np.float64) for name in numbers.split()] + [(name, np.int64) for name in wholes.split()]
    return np.dtype([*fields, *more], align=True)


RULE = _record(
    "initial_cash fee_rate fee_unit fee_least moved impact participation lot borrow initial_margin maintenance leverage"
    " interest loan band max_drawdown daily_loss kill_loss max_gross max_net max_weight max_volatility max_cvar"
    " cvar_beta max_turnover",
    "same_close impact_window carry wait long_only flag_funding cool_off risk_window max_orders",
)
"""What a point's settings come to; rates per bar, shares as fractions."""

ASSET = _record(
    "units size wanted left price volume multiplier now goal delta raw whole_impact",
    "leaving can moves capped kept",
)
"""An asset in an account.

units, size: held, signed, and that times the multiplier, what a price is multiplied with. wanted: the target weight
that waits for its fill, NaN where none does. left: units that still have to be traded. leaving: why the position has to
be closed whatever is wanted, the kind of its order, or 0. The rest is of one fill: its price (the last close where the
bar is missing: `can` is 0) and volume, weight before and wanted, units to trade after and before limits, the impact of
a bar's whole volume, who wants the order, whether a limit changed the goal, whether it is among the orders kept.
"""

ACCOUNT = _record(
    "cash equity sum_returns sum_squares sum_downside worst longest sum_equity invested net traded"
    " fees spread impact borrow interest dividends funding traded_today peak day_start",
    "n_orders n_notes unfunded status bar asset n_held waiting until until_by",
    ("counts", np.int64, len(GUARD_NAMES)),
)
"""An account: what it has, what it was paid for so far (`COSTS`), sums for its row, and where its guards stand.

until: the first bar at whose close decisions count again; until_by: the guard that says so. peak, day_start: equity
that the drawdown stop and the daily loss are measured from. counts: how often each guard did something.
"""

COSTS = ("fees", "spread", "impact", "borrow", "interest", "dividends", "funding")
