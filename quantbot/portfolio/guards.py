"""Risk guards: what stops an account and what limits it, each a setting of a spec's `guards` section; 0 is off.

Stops look at equity at each close. `max_drawdown`: equity has lost this share of its peak (since the start, or since
the stop was armed again). `daily_loss`: it has lost this share since the last close of the day before (days of UTC).
`kill_loss`: it has lost this share of the initial cash. Then every position is closed as any order of that close is
filled, what waits is dropped, and decisions are ignored: for the bar and `cool_off` bars after it, until the day's end,
for ever. After a cool-off the peak counts from the equity there, and trading goes on at the next rebalancing.

Limits hold for the weights that an order leads to, at the prices at which it fills, before its costs; what the market
does to the positions afterwards is looked at from each close, and brought back by orders that fill as any others do: a
limit is exceeded by one bar's move at most. In this order: `max_weight` cuts each absolute weight, `max_net` scales
the longer side, `max_gross` everything, `max_volatility` and `max_cvar` everything again, by what the weights would
have returned in the last `risk_window` bars (a bar without a return counts as 0; until the window is full nothing is
held). Instruments without a bar cannot be scaled; the others are scaled for them as far as that goes. A participation
limit may keep an order of a guard from filling whole, and then it goes on in the next bars.

Rates: `max_orders` keeps the largest orders of a bar, those that make a position smaller first, and drops the others;
`max_turnover` scales a bar's orders down to what the day still allows. Both leave the orders of guards alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quantbot.engine import Points
from quantbot.errors import NotFoundError
from quantbot.market import Floats, Panel
from quantbot.parameters import Parameter, Value, integer, nearest, number
from quantbot.portfolio.targets import Targets

GUARDS: tuple[Parameter, ...] = (
    number("max_drawdown", 0.0, 0.0, 0.99, "Close all when equity is this far below its peak; 0 is off.",
           unit="fraction of equity"),
    integer("cool_off", 21, 0, 100_000, "Bars after a drawdown stop in which decisions are ignored.", unit="bars"),
    number("daily_loss", 0.0, 0.0, 0.99, "Close all, until the day ends, when this much is lost in a day; 0 is off.",
           unit="fraction of equity"),
    number("kill_loss", 0.0, 0.0, 0.99, "Close all, for ever, when this much of the initial cash is lost; 0 is off.",
           unit="fraction of initial cash"),
    number("max_gross", 0.0, 0.0, 100.0, "Largest sum of absolute weights; 0 is off.", unit="fraction of equity"),
    number("max_net", 0.0, 0.0, 100.0, "Largest absolute sum of weights; 0 is off.", unit="fraction of equity"),
    number("max_weight", 0.0, 0.0, 100.0, "Largest absolute weight of one asset; 0 is off.", unit="fraction of equity"),
    number("max_volatility", 0.0, 0.0, 10.0, "Largest volatility per year of the weights held; 0 is off.",
           unit="fraction per year"),
    number("max_cvar", 0.0, 0.0, 1.0, "Largest CVaR per bar of the weights held, a loss; 0 is off.", unit="fraction"),
    number("cvar_beta", 0.95, 0.5, 0.999, "Confidence level of max_cvar."),
    integer("risk_window", 60, 2, 100_000, "Past bars that max_volatility and max_cvar look at.", unit="bars"),
    integer("max_orders", 0, 0, 1_000_000, "Most planned orders that fill in a bar; 0 is off.", unit="orders"),
    number("max_turnover", 0.0, 0.0, 1000.0, "Most value that planned orders trade in a day; 0 is off.",
           unit="fraction of equity"),
)  # fmt: skip

SWITCHES = tuple(p.name for p in GUARDS if p.name not in ("cool_off", "cvar_beta", "risk_window"))


@dataclass(frozen=True, eq=False)
class GuardCost:
    """What a guard did to a trial: the same trial with the guard, and without.

    Attributes
    ----------
    on, off
        Measures of the trial with the guard and without it.
    equity_on, equity_off
        Shape (n_bars,), at each close.
    """

    guard: str
    on: Mapping[str, float]
    off: Mapping[str, float]
    equity_on: Floats
    equity_off: Floats

    @property
    def cost(self) -> float:
        """Final equity without the guard less that with it: money; negative where the guard earned something."""
        return float(self.equity_off[-1] - self.equity_on[-1])


def guard_cost(
    panel: Panel,
    window: tuple[int, int],
    targets: Targets,
    settings: Mapping[str, Value],
    point: Mapping[str, Value],
    guard: str,
) -> GuardCost:
    """Run one point with and without a guard.

    Parameters
    ----------
    guard
        The setting that switches it: "max_drawdown".
    targets
        Of this point alone.

    Raises
    ------
    NotFoundError
        If no guard has this name.
    """
    from quantbot.portfolio.account import account_returns, equity_of, run_accounts

    if guard not in SWITCHES:
        raise NotFoundError(f"no guard {guard!r}; there are {', '.join(SWITCHES)}{nearest(guard, SWITCHES)}")
    name = f"guards.{guard}"
    columns = {key: np.repeat(np.array([value]), 2) for key, value in point.items() if key != name}
    value = point.get(name, settings.get(name, 0.0))
    points = Points(2, {**columns, name: np.array([value, 0 if guard == "max_orders" else 0.0])})
    both = Targets(targets.bars, targets.weights, np.repeat(targets.of[:1], 2), targets.kind)
    rows = run_accounts(panel, window, both, settings, points, ("core", "path", "costs", "guards"))
    returns = account_returns(panel, window, both, settings, points)
    equity = equity_of(returns, settings, points)
    on, off = ({key: float(column[i]) for key, column in rows.measures.items()} for i in (0, 1))
    return GuardCost(guard, on, off, equity[0], equity[1])
