"""What an account is to hold and when: target weights at bars, of one strategy or of several on one pool of cash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import DataError, InputError
from quantbot.market import Floats, Panel

Kind = Literal["weights", "units"]


@dataclass(frozen=True, eq=False)
class Targets:
    """Decisions of one or many points.

    Attributes
    ----------
    bars
        Shape (n_rebalances,), int64, rising: the bar of the panel at whose close each decision falls.
    weights
        Shape (n_sets, n_rebalances, n_assets): signed share of equity wanted in each asset. NaN leaves the asset's
        position alone. With `kind` "units": units to trade, positive to buy.
    of
        Shape (n_points,), int64: which set each point trades.
    kind
        What `weights` holds.
    strategies, parts
        Names, and shape (n_sets, n_strategies, n_rebalances, n_assets): what of `weights` each strategy wants; they
        sum to `weights`. Made by `pool`.
    """

    bars: NDArray[np.int64]
    weights: Floats
    of: NDArray[np.int64]
    kind: Kind = "weights"
    strategies: tuple[str, ...] = ()
    parts: Floats | None = None

    def __post_init__(self) -> None:
        if self.weights.ndim != 3 or self.weights.shape[1] != self.bars.shape[0]:
            raise InputError(
                f"weights of targets must have shape (n_sets, {self.bars.shape[0]} rebalances, n_assets);"
                f" were {self.weights.shape}"
            )
        late = np.flatnonzero(np.diff(self.bars) <= 0)
        if late.size:
            raise InputError(
                f"bars of targets must rise; bar {self.bars[late[0] + 1]} comes after {self.bars[late[0]]}"
            )
        if self.of.size and not 0 <= self.of.min() <= self.of.max() < self.weights.shape[0]:
            raise InputError(f"of must name one of {self.weights.shape[0]} sets of weights; has {self.of.max()}")
        if np.isinf(self.weights).any():
            which, row, asset = np.argwhere(np.isinf(self.weights))[0].tolist()
            raise DataError(f"weights of set {which} at bar {self.bars[row]} are infinite for asset {asset}")
        if self.parts is not None:
            wanted = (self.weights.shape[0], len(self.strategies), *self.weights.shape[1:])
            if self.parts.shape != wanted:
                raise InputError(f"parts of targets must have shape {wanted}, one for each strategy; was"
                                 f" {self.parts.shape}")  # fmt: skip

    @classmethod
    def one(cls, bars: ArrayLike, weights: ArrayLike, n_points: int = 1, kind: Kind = "weights") -> Targets:
        """Return the targets of points that all trade the same, from weights of shape (n_rebalances, n_assets).

        Examples
        --------
        >>> Targets.one([0, 5], [[0.5, 0.5], [1.0, 0.0]]).weights.shape
        (1, 2, 2)
        """
        values = np.ascontiguousarray(weights, dtype=np.float64)
        return cls(np.asarray(bars, dtype=np.int64), values[None], np.zeros(n_points, dtype=np.int64), kind)

    def check(self, panel: Panel) -> None:
        """Raise an error that says where the targets do not fit the panel."""
        if self.weights.shape[2] != len(panel.instruments):
            raise InputError(
                f"targets have weights for {self.weights.shape[2]} assets, the panel has {len(panel.instruments)}:"
                f" {', '.join(panel.assets[:5])}{', ...' if len(panel.assets) > 5 else ''}"
            )
        if self.bars.size and not 0 <= self.bars[0] <= self.bars[-1] < len(panel):
            raise InputError(
                f"bars of targets must lie within the panel's {len(panel)}; are {self.bars[0]} to {self.bars[-1]}"
            )


def pool(targets: Mapping[str, Targets], allocation: Mapping[str, float]) -> Targets:
    """Return several strategies' targets as one account's, each strategy with its share of the equity.

    At each bar at which one of them decides, the others ask for their last targets again; before its first decision a
    strategy asks for nothing. What a strategy leaves alone (NaN) stays at what it last asked for. Opposite wishes meet
    within the account and cost nothing.

    Parameters
    ----------
    targets
        By strategy; of the same points, with one set of weights or one for each set of the others.
    allocation
        By strategy, the share of the equity that its weights are taken of.

    Examples
    --------
    >>> both = pool({"a": Targets.one([0], [[1.0, 0.0]]), "b": Targets.one([2], [[0.0, 1.0]])}, {"a": 0.6, "b": 0.4})
    >>> both.bars.tolist(), both.weights[0].tolist()
    ([0, 2], [[0.6, 0.0], [0.6, 0.4]])
    """
    names = tuple(targets)
    if set(names) != set(allocation):
        odd = sorted(set(names) ^ set(allocation))
        raise InputError(f"each strategy needs an allocation and the other way round; {odd[0]} has only one of them")
    if any(own.kind != "weights" for own in targets.values()):
        raise InputError("only target weights can be pooled; a strategy's targets are units")
    first = max(targets.values(), key=lambda own: own.weights.shape[0])
    for name, own in targets.items():
        if own.weights.shape[0] > 1 and not np.array_equal(own.of, first.of):
            raise InputError(
                f"strategies of a pool must have one set or the same sets and points; {name}'s `of` differs"
            )
    bars = np.unique(np.concatenate([own.bars for own in targets.values()]))
    n_sets = max(own.weights.shape[0] for own in targets.values())
    parts = np.zeros((n_sets, len(names), bars.shape[0], first.weights.shape[2]))
    for i, name in enumerate(names):
        own = targets[name]
        known = ~np.isnan(own.weights)
        last = np.maximum.accumulate(np.where(known, np.arange(own.bars.shape[0])[None, :, None], -1), axis=1)
        asked = np.where(last < 0, 0.0, np.take_along_axis(own.weights, np.maximum(last, 0), axis=1))
        row = np.searchsorted(own.bars, bars, side="right") - 1  # the last decision at or before each bar
        parts[:, i, row >= 0] = asked[:, row[row >= 0]] * allocation[name]
    return Targets(bars, parts.sum(axis=1), first.of, "weights", names, parts)


def momentum_targets(panel: Panel, lookback: int | Sequence[int], share: float, every: int) -> Targets:
    """Return equal weights in the assets with the highest past returns.

    At each rebalancing the ``max(1, floor(share * n_known))`` best of the assets with a price now and `lookback` bars
    before get equal weights, all others 0; of equals the earlier in the panel. Where nothing is known nothing changes.
    Jegadeesh & Titman (1993), without skipping a period.

    Parameters
    ----------
    lookback
        Bars; several make a set of weights, and a point, for each.
    share
        In (0, 1]: 0.1 is the top decile.
    every
        Bars between rebalancings, the first at bar `every`.

    Examples
    --------
    >>> from quantbot.market import Instrument
    >>> close = np.array([[10.0, 10.0], [11.0, 12.0], [14.0, 12.0]])
    >>> panel = Panel((Instrument("A"), Instrument("B")), np.arange(3), *[close] * 5, 252.0)
    >>> found = momentum_targets(panel, 1, 0.5, 1)
    >>> found.bars.tolist(), found.weights[0].tolist()
    ([1, 2], [[0.0, 1.0], [1.0, 0.0]])
    """
    from quantbot.portfolio.kernels_signals import top_share

    lookbacks = np.atleast_1d(np.asarray(lookback, dtype=np.int64))
    if not (0.0 < share <= 1.0 and every >= 1 and lookbacks.min() >= 1):
        raise InputError(
            f"lookback and every must be at least 1 and share in (0, 1]; found {lookback}, {every}, {share}"
        )
    bars = np.arange(every, len(panel), every, dtype=np.int64)
    weights = np.zeros((lookbacks.shape[0], bars.shape[0], len(panel.instruments)))
    top_share(signal_prices(panel), bars, lookbacks, share, weights)
    return Targets(bars, weights, np.arange(lookbacks.shape[0], dtype=np.int64))


def signal_prices(panel: Panel) -> Floats:
    """Return prices for signals, shape (n_bars, n_assets): adjusted, or grown with dividends and splits; NaN stays."""
    if panel.adjusted_close is not None:
        return panel.adjusted_close
    if panel.dividend is None and panel.split is None:
        return panel.close
    grown = np.cumprod(1.0 + np.nan_to_num(panel.returns()), axis=0)
    return np.where(np.isnan(panel.close), np.nan, grown)
