"""Why two trials ended apart: signal, sizing, guards, costs and the rest, which sum to the difference exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from quantbot.errors import InputError
from quantbot.market import Floats

EFFECTS = ("signal", "sizing", "guards", "costs", "other")


@dataclass(frozen=True)
class TrialPath:
    """What a trial held, earned and paid, bar by bar.

    Attributes
    ----------
    returns
        Shape (n_bars,): simple returns of equity, after everything.
    weights
        Shape (n_bars, n_assets): shares of equity held while the bar passes, known at its start.
    costs
        Shape (n_bars,): all costs of the bar over the equity at its start, 0 or more.
    unguarded
        Shape (n_bars, n_assets): the weights of the same trial with its guards off; None where it has none.
    """

    returns: ArrayLike
    weights: ArrayLike
    costs: ArrayLike
    unguarded: ArrayLike | None = None


@dataclass(frozen=True)
class Difference:
    """The difference of two trials' total returns, explained.

    Attributes
    ----------
    total
        Compound return of the first less that of the second over all bars.
    effects
        Shape (5,), in the order of `EFFECTS`, sum `total`.
    path
        Shape (n_bars, 5): what each bar adds, linked, column sums `effects`.
    by_asset
        Shape (n_assets, 2): signal and sizing by asset.
    """

    total: float
    effects: Floats
    path: Floats
    by_asset: Floats


def explain_difference(first: TrialPath, second: TrialPath, market: ArrayLike) -> Difference:
    """Return why the first trial's return differs from the second's.

    Parameters
    ----------
    market
        Shape (n_bars, n_assets): the assets' simple returns; NaN is allowed where neither trial holds the asset.

    Notes
    -----
    A bar's weights (guards off) are a gross exposure g times a direction s, ``sum |s| = 1``. Of two trials

        g1 s1 - g2 s2 = (s1 - s2) (g1 + g2) / 2  +  (g1 - g2) (s1 + s2) / 2,

    the first part is the signal, the second the sizing. "guards" is what held weights earned beyond those without
    guards, "costs" what was paid, "other" what weights at a bar's start do not tell: the moment of the fill, lots,
    interest on cash. Bars are linked as by Cariño (1999), "Combining attribution effects over time", Journal of
    Performance Measurement 3(4): each bar's effects times its ratio of logarithmic to simple difference, over that of
    the whole.

    Raises
    ------
    InputError
        If shapes do not match, a value is not finite, or a trial was ruined, which no logarithm knows.

    Examples
    --------
    >>> market = [[0.10, 0.0], [0.0, 0.10]]
    >>> bold = TrialPath([0.10, 0.0], [[1.0, 0.0], [1.0, 0.0]], [0.0, 0.0])
    >>> timid = TrialPath([0.04, 0.0], [[0.5, 0.0], [0.5, 0.0]], [0.01, 0.0])
    >>> found = explain_difference(bold, timid, market)
    >>> dict(zip(EFFECTS, found.effects.round(12).tolist()))
    {'signal': 0.0, 'sizing': 0.05, 'guards': 0.0, 'costs': 0.01, 'other': 0.0}
    """
    moves = np.asarray(market, dtype=np.float64)
    if moves.ndim != 2:
        raise InputError(f"market must be of shape (n_bars, n_assets), was of shape {moves.shape}")
    one, other = (_Checked.of(name, trial, moves) for name, trial in (("first", first), ("second", second)))
    moves = np.where(np.isfinite(moves), moves, 0.0)
    gross, direction = zip(*(_parts(trial.free) for trial in (one, other)), strict=True)
    signal = (direction[0] - direction[1]) * ((gross[0] + gross[1]) / 2)[:, None] * moves
    sizing = (direction[0] + direction[1]) / 2 * (gross[0] - gross[1])[:, None] * moves
    guards = ((one.held - one.free - other.held + other.free) * moves).sum(axis=1)
    costs = other.costs - one.costs
    apart = one.returns - other.returns
    told = np.column_stack([signal.sum(axis=1), sizing.sum(axis=1), guards, costs])
    path = np.column_stack([told, apart - told.sum(axis=1)])
    ends = [float(np.prod(1.0 + trial.returns) - 1.0) for trial in (one, other)]
    link = _slope(one.returns, other.returns) / _slope(np.array(ends[:1]), np.array(ends[1:]))
    path = path * link[:, None]
    by_asset = np.column_stack([link @ signal, link @ sizing])
    return Difference(ends[0] - ends[1], path.sum(axis=0), path, by_asset)


@dataclass(frozen=True)
class _Checked:
    returns: Floats
    held: Floats
    free: Floats
    costs: Floats

    @staticmethod
    def of(name: str, trial: TrialPath, moves: Floats) -> _Checked:
        shape = moves.shape
        returns = _finite(f"returns of the {name} trial", trial.returns, shape[:1])
        held = _finite(f"weights of the {name} trial", trial.weights, shape)
        costs = _finite(f"costs of the {name} trial", trial.costs, shape[:1])
        free = held if trial.unguarded is None else _finite(f"unguarded of the {name} trial", trial.unguarded, shape)
        if not (returns > -1.0).all():
            bar = int(np.flatnonzero(~(returns > -1.0))[0])
            raise InputError(f"the {name} trial lost all it had in bar {bar}: compare the bars before")
        unknown = ~np.isfinite(moves) & ((held != 0) | (free != 0))
        if unknown.any():
            bar, asset = np.argwhere(unknown)[0]
            raise InputError(f"the {name} trial holds asset {asset} in bar {bar}, whose return is {moves[bar, asset]}")
        return _Checked(returns, held, free, costs)


def _parts(weights: Floats) -> tuple[Floats, Floats]:
    """Return gross exposure, shape (n_bars,), and direction, shape (n_bars, n_assets); flat has none."""
    gross = np.abs(weights).sum(axis=1)
    return gross, weights / np.where(gross > 0, gross, 1.0)[:, None]


def _slope(a: Floats, b: Floats) -> Floats:
    """Return ``(log(1 + a) - log(1 + b)) / (a - b)``, and its limit where they are equal."""
    apart = (a - b) / (1.0 + b)
    safe = np.where(apart != 0, apart, 1.0)
    return np.asarray(np.where(apart != 0, np.log1p(safe) / safe, 1.0) / (1.0 + b))


def _finite(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.shape != shape:
        raise InputError(f"{name} must be of shape {shape}, was of shape {found.shape}")
    if not np.isfinite(found).all():
        at = tuple(int(k) for k in np.argwhere(~np.isfinite(found))[0])
        raise InputError(f"{name} must be finite, found {found[at]} at {at}")
    return found
