"""How a bar trial trades: the settings of a spec's `execution` section, each declared once.

Where an order fills
    A decision is taken at a bar's close, from that bar and those before it. With ``next_open`` (the default) it fills
    at the next bar's open, with ``next_close`` at the next bar's close, with ``same_close`` at the very close that it
    was taken from (optimistic: nobody sees a close and trades at it). What is decided on the last bar never fills, but
    under ``same_close``. A position that is open at the end is marked at the last close, not sold.
What it costs
    A buy pays ``price * (1 + (half_spread_bps + slippage_bps) / 10000)``, a sale gets as much less. On top of it come
    ``fee_bps`` of the traded value, `fee_per_unit` for each unit and `fee_fixed` for each order.
How much
    The target exposure `e` is clipped to the `direction` and to ``[-max_exposure, max_exposure]``; an order goes out
    only when it moves by more than `rebalance_band`, and what the market does to the position in between is left
    alone. ``all_cash`` brings the position to `e` times the equity at the executed price, fees paid out of it: from
    flat, ``e = 1`` buys ``cash / (price * (1 + fee))``, as vectorbt does; ``e = -1`` sells short as much.
    ``fixed_cash`` wants ``e * size_value`` of money, ``fixed_units`` ``e * size_value`` units, fees on top, neither
    more than ``all_cash`` could hold at `max_exposure`. ``volatility_target`` is ``all_cash`` at
    ``e * size_value / volatility``, clipped to `max_exposure`: the volatility is the annualised deviation (ddof 1) of
    the last `volatility_window` returns at the decision; until it is known nothing is traded.
    An order is rounded toward zero to whole lots (`lot_size`) and dropped below `minimum_units` (and below a
    billionth of the position, which is rounding); one that closes the position never is.
Stops
    `stop_loss` and `take_profit` are fractions of the (average) entry price, `trailing_stop` of the best price since
    the entry: of highs (lows, when short) of *earlier* bars and the entry itself, for nobody knows whether a bar's
    high came before its low. They are watched from the moment of the fill: within the same bar after an open, from
    the next bar on after a close. An open beyond a level fills there (a gap). A stop pays half-spread, slippage and
    fees; a take-profit is a limit order: it fills at its level or better and pays fees alone. When one bar reaches
    both, `stop_rule` says which came first: ``pessimistic`` the stop, ``optimistic`` the profit; the truth lies
    between the two. Afterwards the target is 0 and the strategy sees position 0; an order still waiting is dropped.
Ruin
    A trial whose equity at a close is zero or less has failed, and its row says when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.bars.alike import alike
from quantbot.engine import Points
from quantbot.market import Floats
from quantbot.parameters import Parameter, Value, choice, integer, number

SECTION = "execution"

EXECUTION: tuple[Parameter, ...] = (
    choice(
        "fill",
        "next_open",
        ("next_open", "same_close", "next_close"),
        "Where an order fills: at the next bar's open, at the close it was decided on, or at the next close.",
    ),
    number("fee_bps", 0.0, 0.0, 1000.0, "Fee as a share of the traded value.", unit="bps"),
    number("fee_per_unit", 0.0, 0.0, 1e6, "Fee for each unit traded.", unit="money per unit"),
    number("fee_fixed", 0.0, 0.0, 1e6, "Fee for each order.", unit="money"),
    number("half_spread_bps", 0.0, 0.0, 1000.0, "Half the spread between bid and ask, paid by each fill.", unit="bps"),
    number("slippage_bps", 0.0, 0.0, 1000.0, "How far the price moves against each fill, spread aside.", unit="bps"),
    choice(
        "direction",
        "long_short",
        ("long_only", "long_short", "short_only"),
        "Which side may be held; a target on the other side becomes flat.",
    ),
    number(
        "max_exposure",
        1.0,
        0.0,
        20.0,
        "Largest position, long or short, as a multiple of equity.",
        unit="fraction of equity",
    ),
    number(
        "rebalance_band",
        0.0,
        0.0,
        20.0,
        "A target that moves by no more than this sends no order.",
        unit="fraction of equity",
    ),
    choice(
        "size",
        "all_cash",
        ("all_cash", "fixed_cash", "fixed_units", "volatility_target"),
        "What an exposure of 1 means: the whole equity, an amount of money, a number of units, or a volatility.",
    ),
    number(
        "size_value",
        1.0,
        0.0,
        1e12,
        "Money (fixed_cash), units (fixed_units) or volatility per year (volatility_target) at an exposure of 1.",
    ),
    integer("volatility_window", 60, 2, 100_000, "Bars in the volatility of volatility_target.", unit="bars"),
    number("lot_size", 0.0, 0.0, 1e9, "Orders are rounded toward zero to multiples of this; 0 is off.", unit="units"),
    number("minimum_units", 0.0, 0.0, 1e12, "Smaller orders are not sent, but to close.", unit="units"),
    number(
        "stop_loss", 0.0, 0.0, 0.99, "Leave when the price is this far beyond the entry; 0 is off.", unit="fraction"
    ),
    number("take_profit", 0.0, 0.0, 100.0, "Leave when the gain on the entry is this; 0 is off.", unit="fraction"),
    number(
        "trailing_stop", 0.0, 0.0, 0.99, "Leave this far off the best price since the entry; 0 is off.", unit="fraction"
    ),
    choice(
        "stop_rule",
        "pessimistic",
        ("pessimistic", "optimistic"),
        "When one bar reaches both stop and profit: the stop first, or the profit first.",
    ),
    number("initial_cash", 100_000.0, 1e-6, 1e15, "Cash at the start of the window.", unit="money"),
)

_OFF_AT_ZERO = (
    "stop_loss",
    "take_profit",
    "trailing_stop",
    "fee_per_unit",
    "fee_fixed",
    "lot_size",
    "minimum_units",
)


@dataclass(frozen=True)
class Route:
    """Which of the possible things a group of points does; each gets a kernel without what it does not do.

    Attributes
    ----------
    shared
        Every target is 0 or 1, all cash, proportional costs: a bar multiplies equity by one of four factors that all
        trials share. A trial whose strategy wants something else is run again without.
    """

    fill: str
    size: str = "all_cash"
    stops: bool = False
    optimistic: bool = False
    order_fees: bool = False
    rounding: bool = False
    long_only: bool = False
    shared: bool = False


def routes(settings: Mapping[str, Value], points: Points) -> dict[Route, NDArray[np.intp]]:
    """Return for each route the indices of the points that take it.

    A point's route follows from its own values alone, so that its result does not depend on its neighbours.
    """
    n = len(points)
    names = {f"{SECTION}.{parameter.name}": parameter.name for parameter in EXECUTION}
    varying = {bare: points.columns[name] for name, bare in names.items() if name in points.columns}
    fixed = {bare: settings[name] for name, bare in names.items()}
    if not n:
        return {}
    matters = [own for name, column in varying.items() if (own := _matters(name, column)) is not None]
    found: dict[Route, list[NDArray[np.intp]]] = {}
    for group in alike(matters) if matters else [np.arange(n)]:
        first = {name: column[group[0]].item() for name, column in varying.items()}
        found.setdefault(_route(fixed | first), []).append(group)
    return {route: np.sort(np.concatenate(parts)) for route, parts in found.items()}


def _matters(name: str, column: Any) -> Any:
    """Return what of a setting, shape (n_points,), a route depends on; None where it is nothing."""
    if name in _OFF_AT_ZERO:
        return column > 0
    if name == "max_exposure":
        return column == 1.0
    if name == "rebalance_band":
        return column < 1.0
    return column if column.dtype.kind == "U" else None


def _route(values: Mapping[str, Any]) -> Route:
    """Return the route of one point, from its execution settings by bare name."""
    stops = any(values[name] > 0 for name in ("stop_loss", "take_profit", "trailing_stop"))
    order_fees = values["fee_per_unit"] > 0 or values["fee_fixed"] > 0
    rounding = values["lot_size"] > 0 or values["minimum_units"] > 0
    shared = (
        not (stops or order_fees or rounding)
        and values["size"] == "all_cash"
        and values["max_exposure"] == 1.0
        and values["rebalance_band"] < 1.0
        and values["direction"] != "short_only"
    )
    return Route(
        fill=values["fill"],
        size=values["size"],
        stops=stops,
        optimistic=stops and values["stop_rule"] == "optimistic",
        order_fees=order_fees,
        rounding=rounding,
        long_only=shared and values["direction"] == "long_only",
        shared=shared,
    )


def setting(settings: Mapping[str, Value], points: Points, name: str) -> NDArray[Any]:
    """Return one setting for every point, shape (n_points,): the points' column, or the job's value."""
    column = points.columns.get(name)
    if column is None:
        return np.full(len(points), settings[name])
    return column


class Prices:
    """What kernels need of the execution settings for each point, by the template's names; computed when asked for."""

    def __init__(self, settings: Mapping[str, Value], points: Points) -> None:
        self._settings, self._points = settings, points
        self._known: dict[str, Floats] = {}

    def __getitem__(self, name: str) -> Floats:
        """Return one of them, shape (n_points,)."""
        if name not in self._known:
            self._known[name] = _PRICES[name](self) if name in _PRICES else self.setting(_PLAIN[name])
        return self._known[name]

    def setting(self, name: str) -> Floats:
        """Return a numeric setting of the section for each point."""
        return setting(self._settings, self._points, f"{SECTION}.{name}").astype(np.float64, copy=False)

    def is_direction(self, word: str) -> NDArray[np.bool_]:
        """Return which points trade in this direction."""
        found: NDArray[np.bool_] = setting(self._settings, self._points, f"{SECTION}.direction") == word
        return found

    @property
    def moved(self) -> Floats:
        """By which fraction an order moves its price against itself."""
        return (self.setting("half_spread_bps") + self.setting("slippage_bps")) * 1e-4


_PRICES: Mapping[str, Callable[[Prices], Floats]] = {
    "buy": lambda of: 1.0 + of.moved,
    "sell": lambda of: 1.0 - of.moved,
    "fee_rate": lambda of: of.setting("fee_bps") * 1e-4,
    "entry_cost": lambda of: 1.0 / (of["buy"] * (1.0 + of["fee_rate"])),
    "exit_cost": lambda of: of["sell"] * (1.0 - of["fee_rate"]),
    "entry_value": lambda of: 1.0 / (1.0 + of["fee_rate"]),
    "lowest": lambda of: np.where(of.is_direction("long_only"), 0.0, -of["limit"]),
    "highest": lambda of: np.where(of.is_direction("short_only"), 0.0, of["limit"]),
}
_PLAIN = {
    "fee_unit": "fee_per_unit",
    "fee_fixed": "fee_fixed",
    "limit": "max_exposure",
    "band": "rebalance_band",
    "size_value": "size_value",
    "lot": "lot_size",
    "minimum": "minimum_units",
    "stop_loss": "stop_loss",
    "take_profit": "take_profit",
    "trailing": "trailing_stop",
    "initial_cash": "initial_cash",
}
