"""What was earned and who earned it: assets, factors, guards, costs and cash, which sum to the change of equity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from quantbot.errors import InputError
from quantbot.market import Floats

Kind = Literal["asset", "factor", "specific", "guard", "cost", "cash"]
_CLOSES = 1e-9  # of the equity: what rounding may leave unexplained


@dataclass(frozen=True)
class PnlAttribution:
    """Realised profit and loss by source.

    Attributes
    ----------
    names, kinds
        Of the sources.
    amounts
        Shape (n_bars, n_sources), money; costs are negative.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    amounts: Floats

    @property
    def sums(self) -> Floats:
        """Money of each source over all bars, shape (n_sources,)."""
        return np.asarray(self.amounts.sum(axis=0))

    @property
    def total(self) -> float:
        """Money of all sources over all bars."""
        return float(self.sums.sum())

    def of_kind(self, kind: Kind) -> float:
        """Return the money of all sources of a kind."""
        return float(sum(amount for amount, own in zip(self.sums.tolist(), self.kinds, strict=True) if own == kind))


def attribute_pnl(
    asset_pnl: ArrayLike,
    assets: Sequence[str],
    *,
    costs: Mapping[str, ArrayLike] | None = None,
    cash: ArrayLike | None = None,
    unguarded_pnl: ArrayLike | None = None,
    equity: ArrayLike | None = None,
    start: float = 0.0,
) -> PnlAttribution:
    """Return realised profit and loss by asset, guard, cost and cash.

    Parameters
    ----------
    asset_pnl
        Shape (n_bars, n_assets), money earned by the positions as held, before costs.
    costs
        By kind (fees, spread, borrow, ...), shape (n_bars,) each, money paid: 0 or more.
    cash
        Shape (n_bars,), interest earned; negative where paid.
    unguarded_pnl
        Shape (n_bars, n_assets): of the same trial with its guards off. Then the assets' amounts are these, and
        "guards" is what the guards changed.
    equity
        Shape (n_bars,), at each bar's end, with `start` before the first: its changes must be what the sources sum to.

    Raises
    ------
    InputError
        If shapes do not match, a value is not finite, or the sources leave a change of equity unexplained: the bar and
        the amount.

    Examples
    --------
    >>> found = attribute_pnl([[10.0, -4.0], [0.0, 2.0]], ("a", "b"), costs={"fees": [1.0, 0.5]}, equity=[105.0, 106.5],
    ...                       start=100.0)
    >>> dict(zip(found.names, found.sums.tolist())), found.total
    ({'a': 10.0, 'b': -2.0, 'fees': -1.5}, 6.5)
    """
    held = _table("asset_pnl", asset_pnl, (None, len(assets)))
    n_bars = len(held)
    names: list[str] = list(assets)
    kinds: list[Kind] = ["asset"] * len(assets)
    columns = held
    if unguarded_pnl is not None:
        columns = _table("unguarded_pnl", unguarded_pnl, held.shape)
        names.append("guards")
        kinds.append("guard")
        columns = np.column_stack([columns, (held - columns).sum(axis=1)])
    for name, paid in (costs or {}).items():
        names.append(name)
        kinds.append("cost")
        columns = np.column_stack([columns, -_table(name, paid, (n_bars,))])
    if cash is not None:
        names.append("cash")
        kinds.append("cash")
        columns = np.column_stack([columns, _table("cash", cash, (n_bars,))])
    if equity is not None:
        check_closes(columns, _table("equity", equity, (n_bars,)), start)
    return PnlAttribution(tuple(names), tuple(kinds), columns)


def split_by_factor(
    attribution: PnlAttribution,
    values: ArrayLike,
    exposures: ArrayLike,
    factors: ArrayLike,
    names: Sequence[str],
) -> PnlAttribution:
    """Return the same profit and loss with the assets' part by factor, and what no factor explains by asset.

    Parameters
    ----------
    values
        Shape (n_bars, n_assets): money in each position when the bar begins, in the trial that the amounts are of.
    exposures
        Shape (n_assets, n_factors): see `quantbot.risk.regress`.
    factors
        Shape (n_bars, n_factors): the factors' returns.
    names
        Of the factors.

    Examples
    --------
    >>> whole = attribute_pnl([[12.0]], ("a",))
    >>> found = split_by_factor(whole, [[100.0]], [[1.5]], [[0.06]], ("market",))
    >>> dict(zip(found.names, found.sums.tolist()))
    {'market': 9.0, 'a, specific': 3.0}
    """
    own = [k for k, kind in enumerate(attribution.kinds) if kind == "asset"]
    n_bars, n_assets, n_factors = len(attribution.amounts), len(own), len(names)
    held = _table("values", values, (n_bars, n_assets))
    slopes = _table("exposures", exposures, (n_assets, n_factors))
    moves = _table("factors", factors, (n_bars, n_factors))
    by_factor = (held @ slopes) * moves
    specific = attribution.amounts[:, own] - held * (moves @ slopes.T)
    rest = [k for k in range(len(attribution.kinds)) if k not in own]
    labels = [f"{attribution.names[k]}, specific" for k in own]
    factor: Kind = "factor"
    own_part: Kind = "specific"
    kinds = [factor] * n_factors + [own_part] * n_assets
    return PnlAttribution(
        (*names, *labels, *(attribution.names[k] for k in rest)),
        (*kinds, *(attribution.kinds[k] for k in rest)),
        np.column_stack([by_factor, specific, attribution.amounts[:, rest]]),
    )


def check_closes(amounts: Floats, equity: Floats, start: float) -> None:
    """Refuse amounts, shape (n_bars, n_sources), that are not what equity changed by."""
    change = np.diff(equity, prepend=start)
    left = change - amounts.sum(axis=1)
    scale = max(float(np.abs(equity).max(initial=0.0)), abs(start), float(np.abs(amounts).max(initial=0.0)))
    wrong = np.flatnonzero(~(np.abs(left) <= _CLOSES * scale))
    if wrong.size:
        bar = int(wrong[0])
        raise InputError(
            f"sources must sum to the change of equity; in bar {bar} equity changed by {change[bar]:.6g} and"
            f" {left[bar]:.6g} of it has no source"
        )


def _table(name: str, values: ArrayLike, shape: tuple[int | None, ...]) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    wanted = tuple(own if size is None else size for own, size in zip(found.shape, shape, strict=False))
    if found.ndim != len(shape) or found.shape != wanted:
        text = ", ".join("n_bars" if size is None else str(size) for size in shape)
        raise InputError(f"{name} must be of shape ({text}), was of shape {found.shape}")
    if not np.isfinite(found).all():
        at = tuple(int(k) for k in np.argwhere(~np.isfinite(found))[0])
        raise InputError(f"{name} must be finite, found {found[at]} at {at}")
    return found
