"""What named shocks would cost: uniform, by group or factor, or a stretch of history over again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import ArrayLike

from quantbot.errors import InputError
from quantbot.market import Floats, Nanoseconds
from quantbot.parameters import nearest

# First and last day of the fall, by the S&P 500's closes: the shock runs from the close before the first day.
PERIODS: dict[str, tuple[date, date]] = {
    "Black Monday 1987": (date(1987, 10, 14), date(1987, 10, 19)),
    "Kuwait 1990": (date(1990, 7, 17), date(1990, 10, 11)),
    "Russia and LTCM 1998": (date(1998, 7, 20), date(1998, 8, 31)),
    "Dot-com 2000-2002": (date(2000, 3, 27), date(2002, 10, 9)),
    "Financial crisis 2007-2009": (date(2007, 10, 10), date(2009, 3, 9)),
    "Lehman 2008": (date(2008, 9, 15), date(2008, 11, 20)),
    "US downgrade 2011": (date(2011, 7, 25), date(2011, 8, 8)),
    "China 2015": (date(2015, 8, 18), date(2015, 8, 25)),
    "Fourth quarter 2018": (date(2018, 9, 21), date(2018, 12, 24)),
    "Covid 2020": (date(2020, 2, 20), date(2020, 3, 23)),
    "Inflation 2022": (date(2022, 1, 4), date(2022, 10, 12)),
}


@dataclass(frozen=True)
class Shock:
    """A move of every asset.

    Attributes
    ----------
    returns
        Shape (n_assets,): simple returns; NaN where the asset's move is not known.
    """

    name: str
    returns: Floats


@dataclass(frozen=True)
class StressTest:
    """Losses of portfolios under shocks.

    Attributes
    ----------
    names
        Of the shocks.
    loss
        Shape (n_shocks,): share of equity lost, positive is a loss; NaN where a held asset's move is not known.
    component
        Shape (n_shocks, n_assets): the loss by asset, rows' sums `loss`.
    missing
        For each shock, the assets that are held and whose move is not known.
    """

    names: tuple[str, ...]
    loss: Floats
    component: Floats
    missing: tuple[tuple[str, ...], ...]


def stress_test(weights: ArrayLike, shocks: Sequence[Shock], assets: Sequence[str]) -> StressTest:
    """Return what a portfolio loses under each shock, weights as they are when it begins.

    Examples
    --------
    >>> shocks = [uniform_shock(2, -0.1), group_shock(["tech", "oil"], {"tech": -0.3})]
    >>> stress_test([0.6, 0.2], shocks, ("a", "b")).loss.round(12).tolist()
    [0.08, 0.18]
    """
    held = np.asarray(weights, dtype=np.float64)
    n = len(assets)
    if held.shape != (n,) or not np.isfinite(held).all():
        raise InputError(f"weights must be {n} finite numbers, one for each asset; was of shape {held.shape}")
    for shock in shocks:
        if shock.returns.shape != (n,):
            raise InputError(f"shock {shock.name!r} must move {n} assets, moves {shock.returns.shape}")
    moves = np.array([shock.returns for shock in shocks]).reshape(-1, n)
    component = np.where(held != 0, -held * moves, 0.0)
    missing = tuple(tuple(assets[j] for j in np.flatnonzero(np.isnan(row)).tolist()) for row in component)
    return StressTest(tuple(shock.name for shock in shocks), component.sum(axis=1), component, missing)


def uniform_shock(n_assets: int, move: float, name: str | None = None) -> Shock:
    """Return a shock that moves every asset alike; `move` -0.1 is a fall by a tenth."""
    return Shock(name or f"all {move:+.0%}", np.full(n_assets, _move(move, "all")))


def group_shock(groups: Sequence[str], moves: Mapping[str, float], name: str | None = None) -> Shock:
    """Return a shock that moves the assets of some groups; the others stay.

    Parameters
    ----------
    groups
        A label for each asset.
    """
    for label in moves:
        if label not in groups:
            raise InputError(f"no asset is of group {label!r}{nearest(label, set(groups))}")
    title = name or ", ".join(f"{label} {move:+.0%}" for label, move in moves.items())
    return Shock(title, np.array([_move(moves.get(label, 0.0), label) for label in groups]))


def factor_shock(
    exposures: ArrayLike, moves: Mapping[str, float], names: Sequence[str], name: str | None = None
) -> Shock:
    """Return a shock of factors: each asset moves by its exposures, shape (n_assets, n_factors), times the moves.

    Examples
    --------
    >>> factor_shock([[1.0, 0.0], [1.5, 0.5]], {"market": -0.2}, ("market", "size")).returns.round(12).tolist()
    [-0.2, -0.3]
    """
    slopes = np.asarray(exposures, dtype=np.float64)
    if slopes.ndim != 2 or slopes.shape[1] != len(names) or not np.isfinite(slopes).all():
        raise InputError(f"exposures must be finite, of shape (n_assets, {len(names)}), was of shape {slopes.shape}")
    for label in moves:
        if label not in names:
            raise InputError(f"{label!r} is none of the factors{nearest(label, names)}")
    title = name or ", ".join(f"{label} {move:+.0%}" for label, move in moves.items())
    return Shock(title, slopes @ np.array([_move(moves.get(label, 0.0), label) for label in names]))


def historical_shocks(
    ts_end_ns: Nanoseconds, returns: ArrayLike, periods: Mapping[str, tuple[date, date]] | None = None
) -> tuple[Shock, ...]:
    """Return what the assets did in stretches of their own history.

    Parameters
    ----------
    ts_end_ns
        Shape (n_bars,): a panel's bar ends; a bar belongs to the UTC day of its end.
    returns
        Shape (n_bars, n_assets): simple returns per bar, as a panel gives them.
    periods
        First and last day by name; by default those of `PERIODS` that the bars cover, a bar before the first included.

    Returns
    -------
    Compound returns; NaN for an asset that lacks a bar within the period.

    Raises
    ------
    InputError
        If a period that was asked for by name is not covered by the bars.

    Examples
    --------
    >>> days = np.arange(4, dtype=np.int64) * 86_400_000_000_000  # 1970-01-01 to -04
    >>> fall = {"fall": (date(1970, 1, 2), date(1970, 1, 3))}
    >>> (shock,) = historical_shocks(days, [[0.0], [-0.1], [-0.1], [0.5]], fall)
    >>> shock.returns.round(12).tolist()
    [-0.19]
    """
    values, ends = np.asarray(returns, dtype=np.float64), np.asarray(ts_end_ns, dtype=np.int64)
    if values.ndim != 2 or ends.shape != values.shape[:1]:
        raise InputError(f"returns must be of shape ({len(ends)}, n_assets), was of shape {values.shape}")
    found = []
    for name, (first, last) in (PERIODS if periods is None else periods).items():
        begin, end = _nanoseconds(first), _nanoseconds(last + timedelta(days=1))
        inside = (ends >= begin) & (ends < end)
        covered = bool(inside.any()) and ends[0] < begin and ends[-1] >= _nanoseconds(last)
        if covered:
            found.append(Shock(name, np.prod(1.0 + values[inside], axis=0) - 1.0))
        elif periods is not None:
            raise InputError(f"period {name!r} ({first} to {last}) is not covered by the bars, {_span(ends)}")
    return tuple(found)


def _move(move: float, name: str) -> float:
    if not (np.isfinite(move) and move >= -1.0):
        raise InputError(f"the move of {name} must be a finite share of at least -1, was {move!r}")
    return float(move)


def _nanoseconds(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 86_400_000_000_000


def _span(ends: Nanoseconds) -> str:
    if not len(ends):
        return "of which there are none"
    first, last = (datetime.fromtimestamp(int(ends[k]) // 10**9, UTC).date() for k in (0, -1))
    return f"{first} to {last}"
