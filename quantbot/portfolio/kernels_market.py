"""The arrays that an account's kernels share: the market, an account's book, and the tape of a replay."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Places in `Book.state`.
HELD, WAITING, UNTIL = 0, 1, 2  # UNTIL + 1: the guard that has decisions ignored until then
N_STATE = 4

MOVED_BY_PLAN, MOVED_BY_GUARD, MOVED_BY_EXIT = 1, 2, 3


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


class Book(NamedTuple):
    """What an account holds and wants, by asset, and room to work in; used again for each account.

    Attributes
    ----------
    units, size
        Signed units, and units times multiplier: what a price is multiplied with.
    wanted, left
        Target weight that waits for its fill, NaN where none does; units that still have to be traded.
    leaving
        Why a position has to be closed whatever is wanted: the kind of its order; 0 where it need not.
    held, held_size
        The assets held and their sizes, the first ``state[HELD]`` count: a close touches nothing else.
    now, goal, can, moves, capped, delta, raw, queue
        Within one fill: weights before and wanted, whether it trades at this bar, who wants an order, whether a limit
        changed the goal, units to trade after and before limits, and a list of assets.
    past
        Shape (risk window,): returns of weights in past bars.
    levels
        Equity that guards measure from: the stop's peak, before the day, at the last close.
    state
        See the places above.
    """

    units: NDArray[np.float64]
    size: NDArray[np.float64]
    wanted: NDArray[np.float64]
    left: NDArray[np.float64]
    leaving: NDArray[np.int64]
    held: NDArray[np.int64]
    held_size: NDArray[np.float64]
    now: NDArray[np.float64]
    goal: NDArray[np.float64]
    can: NDArray[np.bool_]
    moves: NDArray[np.int64]
    capped: NDArray[np.bool_]
    delta: NDArray[np.float64]
    raw: NDArray[np.float64]
    queue: NDArray[np.int64]
    past: NDArray[np.float64]
    levels: NDArray[np.float64]
    state: NDArray[np.int64]


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
