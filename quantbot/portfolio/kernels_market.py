"""The arrays that an account's kernels share: the market, room for an account, and the tape of a replay."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Record = Any  # of a dtype in `quantbot.portfolio.layout`; fields are read and set by name


class Market(NamedTuple):
    """A panel as kernels want it; arrays of actions have no rows where there are none.

    Attributes
    ----------
    open, close, volume
        Shape (n_bars, n_assets); NaN where an instrument has no bar.
    marks
        The last close that there was, in units of this bar (splits): what positions are valued at.
    split, dividend, funding
        Shape (n_bars, n_assets), or (0, 0).
    returns
        Simple returns per bar for volatilities, 0 where there is none, or (0, 0) where nobody asks.
    multiplier
        Shape (n_assets,).
    days, events
        Shape (n_bars,): the calendar day, and whether anything is split or pays.
    """

    open: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    marks: NDArray[np.float64]
    split: NDArray[np.float64]
    dividend: NDArray[np.float64]
    funding: NDArray[np.float64]
    returns: NDArray[np.float64]
    multiplier: NDArray[np.float64]
    days: NDArray[np.int64]
    events: NDArray[np.bool_]
    periods_per_year: float


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


class Book(NamedTuple):
    """Room for an account, used again for each.

    Attributes
    ----------
    assets
        Shape (n_assets,), of `layout.ASSET`.
    held, held_size
        The assets held and their sizes, the first ``n_held`` count: a close touches nothing else.
    active
        Shape (n_assets,): the assets that one fill is about.
    listed, weight
        A list of assets, and a number for each.
    past
        Shape (risk window,): returns of weights in past bars.
    worst
        The same: the worst of them.
    """

    assets: Record
    held: NDArray[np.int64]
    held_size: NDArray[np.float64]
    active: NDArray[np.int64]
    listed: NDArray[np.int64]
    weight: NDArray[np.float64]
    past: NDArray[np.float64]
    worst: NDArray[np.float64]


class Tape(NamedTuple):
    """What a replay keeps; arrays have no rows where nothing is kept.

    Attributes
    ----------
    start
        The bar of the first row.
    equity, cash, value
        Shape (n_bars,): at each close, and the value that the bar's orders were sized with (NaN where none were).
    units
        Shape (n_bars, n_assets).
    costs
        Shape (n_bars, n_costs): what was paid until then, by kind.
    orders
        Shape (n_orders, 9): bar, asset, kind, units wanted, units filled, market price, fee, spread, impact.
    notes
        Shape (n_interventions, 4): bar, guard, what was wanted, what was done.
    """

    start: int
    equity: NDArray[np.float64]
    cash: NDArray[np.float64]
    value: NDArray[np.float64]
    units: NDArray[np.float64]
    costs: NDArray[np.float64]
    orders: NDArray[np.float64]
    notes: NDArray[np.float64]
