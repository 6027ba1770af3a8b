"""The row of a union of ranges, from the rows of its ranges: what a trial did in pieces of time, taken together.

Each piece begins flat. What adds up over bars adds up over pieces, so most measures of the union are exact:

    sharpe, volatility, sortino     sums of returns, of their squares and of squared losses, which rows determine
    total_return, final_equity      compounded; cagr the same over all bars
    exposure, turnover              means, weighted by bars; turnover is over each piece's own mean equity
    n_trades, fees_paid             sums; a position open at a piece's end is a trade of its own
    hit_rate, holding_bars          means, weighted by trades
    max_drawdown, drawdown_bars     the worst of any piece: no drawdown runs across a gap, since nobody lived through it
    calmar                          cagr over that drawdown

What rows don't determine is refused: a quantile of returns needs the returns, a profit factor its two sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import InputError

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]

_CHUNK_POINTS = 8_192  # some dozen pieces of it stay in a processor's cache
_FLAT = 1e-12  # of the squares: a spread that small is what rounding leaves of none; as the bar engine's rows have it


@dataclass(frozen=True)
class _Sum:
    """What one piece gives, from its columns, bars and bars per year, and how pieces are combined."""

    columns: tuple[str, ...]
    of: Callable[[Columns, float, float], Floats]
    combine: np.ufunc = np.add


@dataclass(frozen=True)
class _Rule:
    """A measure of the union: from the combined sums, the number of bars and bars per year."""

    sums: tuple[str, ...]
    of: Callable[[Columns, float, float], Floats]


def pool(
    measure: str,
    columns: Columns,
    n_bars: Sequence[int] | NDArray[np.int64],
    periods_per_year: float,
    unions: Sequence[Sequence[int]],
) -> Floats:
    """Return a measure over unions of pieces.

    Parameters
    ----------
    columns
        By measure, shape (n_pieces, n_points): the rows of each piece; `columns_of` says which are needed.
    n_bars
        Shape (n_pieces,). A piece without bars adds nothing.
    unions
        The pieces of each union, by index. A union of one piece has that piece's own value, bit for bit.

    Returns
    -------
    Shape (n_unions, n_points); NaN where a piece has no value. Sums run in the order of the pieces given, so that equal
    rows give equal bits.

    Raises
    ------
    InputError
        If rows don't determine the measure, or a column is missing.

    Examples
    --------
    >>> rows = {"total_return": np.array([[0.1], [0.2]])}
    >>> pool("total_return", rows, [5, 7], 252.0, [(0, 1)]).round(9)
    array([[0.32]])
    """
    bars = np.asarray(n_bars, np.float64)
    kept = [[piece for piece in union if bars[piece] > 0] for union in unions]
    own = measure in columns
    if own and all(len(union) <= 1 for union in kept):
        return np.stack([columns[measure][u[0]] if u else np.full_like(columns[measure][0], np.nan) for u in kept])
    needed = columns_of(measure)
    if missing := [name for name in needed if name not in columns]:
        raise InputError(
            f"{measure} of several ranges of time needs {', '.join(missing)}; add their groups of measures"
        )
    rule = _RULES[measure]
    n_points = columns[needed[0]].shape[1]
    out = np.full((len(kept), n_points), np.nan)
    used = sorted({piece for union in kept for piece in union})
    with np.errstate(divide="ignore", invalid="ignore"):
        for start in range(0, n_points, _CHUNK_POINTS):
            chunk = slice(start, start + _CHUNK_POINTS)
            of_piece = {
                piece: {
                    name: _SUMS[name].of(
                        {column: columns[column][piece, chunk] for column in _SUMS[name].columns},
                        float(bars[piece]),
                        periods_per_year,
                    )
                    for name in rule.sums
                }
                for piece in used
            }
            for place, union in enumerate(kept):
                if len(union) == 1 and own:
                    out[place, chunk] = columns[measure][union[0], chunk]
                elif union:
                    sums = {name: _combined(name, [of_piece[piece] for piece in union]) for name in rule.sums}
                    out[place, chunk] = rule.of(sums, float(bars[union].sum()), periods_per_year)
    return out


def columns_of(measure: str) -> tuple[str, ...]:
    """Return the measures that rows must have so that `measure` can be pooled.

    Raises
    ------
    InputError
        If rows don't determine it; the message says why and what can be pooled.

    Examples
    --------
    >>> columns_of("sharpe")
    ('sharpe', 'total_return', 'volatility')
    """
    if measure not in _RULES:
        reason = _REFUSED.get(measure, "no rule is known for it")
        raise InputError(
            f"{measure} of several ranges of time can't be had from their rows: {reason}; choose one of "
            f"{', '.join(sorted(_RULES))}"
        )
    return tuple(sorted({column for name in _RULES[measure].sums for column in _SUMS[name].columns}))


def _combined(name: str, pieces: list[dict[str, Floats]]) -> Floats:
    combine = _SUMS[name].combine
    total = pieces[0][name].copy()
    for piece in islice(pieces, 1, None):
        combine(total, piece[name], out=total)
    return total


def _mean(rows: Columns, n: float, ppy: float) -> Floats:
    """Return the mean return per bar: by Sharpe ratio and volatility, or the steady growth of one without any."""
    mean = rows["sharpe"] * rows["volatility"] / ppy
    flat = np.flatnonzero(~(rows["volatility"] > 0.0))
    mean[flat] = np.expm1(np.log1p(rows["total_return"][flat]) / n)
    return mean


def _squares(rows: Columns, n: float, ppy: float) -> Floats:
    mean = _mean(rows, n, ppy)
    spread = (n - 1.0) * rows["volatility"] ** 2 / ppy if n > 1.0 else 0.0  # one bar has no volatility, and no spread
    return spread + n * mean * mean


def _losses(rows: Columns, n: float, ppy: float) -> Floats:
    """Return the sum of squared losses: Sortino's ratio is the mean over their root mean; without one it is NaN."""
    downside = _mean(rows, n, ppy) ** 2 * ppy / rows["sortino"] ** 2
    return np.where(np.isnan(rows["sortino"]) & np.isfinite(rows["total_return"]), 0.0, downside) * n


def _weighted(measure: str, weight: str) -> Callable[[Columns, float, float], Floats]:
    """Return a measure times its weight; where the weight is 0, the measure is undefined and counts nothing."""
    return lambda rows, n, ppy: np.where(rows[weight] > 0.0, rows[measure] * rows[weight], rows[weight])


def _deviation(sums: Columns, n: float) -> Floats:
    mean = sums["returns"] / n
    spread = sums["squares"] - sums["returns"] * mean
    return np.sqrt(np.where(spread > _FLAT * sums["squares"], spread, 0.0 * spread) / (n - 1.0))


def _ratio(value: Floats, by: Floats) -> Floats:
    return np.where(by > 0.0, value / by, np.nan)


def _growth(sums: Columns, n: float, ppy: float) -> Floats:
    grown = sums["growth"]
    return np.where(grown > 0.0, np.exp(np.log(grown) * ppy / n) - 1.0, np.nan)


def _sharpe(sums: Columns, n: float, ppy: float) -> Floats:
    return _ratio(sums["returns"] / n * np.sqrt(ppy), _deviation(sums, n))


_CORE = ("sharpe", "volatility", "total_return")
_SUMS: dict[str, _Sum] = {
    "returns": _Sum(_CORE, lambda rows, n, ppy: n * _mean(rows, n, ppy)),
    "squares": _Sum(_CORE, _squares),
    "losses": _Sum((*_CORE, "sortino"), _losses),
    "growth": _Sum(("total_return",), lambda rows, n, ppy: 1.0 + rows["total_return"], np.multiply),
    "hold": _Sum(("hold_total_return",), lambda rows, n, ppy: 1.0 + rows["hold_total_return"], np.multiply),
    # The first piece's: every piece starts with the same cash.
    "cash": _Sum(
        ("final_equity", "total_return"),
        lambda rows, n, ppy: rows["final_equity"] / (1.0 + rows["total_return"]),
        np.minimum,
    ),
    "n_trades": _Sum(("n_trades",), lambda rows, n, ppy: rows["n_trades"]),
    "fees_paid": _Sum(("fees_paid",), lambda rows, n, ppy: rows["fees_paid"]),
    "exposed": _Sum(("exposure",), lambda rows, n, ppy: n * rows["exposure"]),
    "turned": _Sum(("turnover",), lambda rows, n, ppy: n * rows["turnover"]),
    "hits": _Sum(("hit_rate", "n_trades"), _weighted("hit_rate", "n_trades")),
    "held": _Sum(("holding_bars", "n_trades"), _weighted("holding_bars", "n_trades")),
    "max_drawdown": _Sum(("max_drawdown",), lambda rows, n, ppy: rows["max_drawdown"], np.maximum),
    "drawdown_bars": _Sum(("drawdown_bars",), lambda rows, n, ppy: rows["drawdown_bars"], np.maximum),
    "hold_drawdown": _Sum(("hold_max_drawdown",), lambda rows, n, ppy: rows["hold_max_drawdown"], np.maximum),
}
_RULES: dict[str, _Rule] = {
    "sharpe": _Rule(("returns", "squares"), _sharpe),
    "volatility": _Rule(("returns", "squares"), lambda sums, n, ppy: _deviation(sums, n) * np.sqrt(ppy)),
    "sortino": _Rule(
        ("returns", "losses"),
        lambda sums, n, ppy: _ratio(sums["returns"] / n * np.sqrt(ppy), np.sqrt(sums["losses"] / n)),
    ),
    "total_return": _Rule(("growth",), lambda sums, n, ppy: sums["growth"] - 1.0),
    "final_equity": _Rule(("growth", "cash"), lambda sums, n, ppy: sums["growth"] * sums["cash"]),
    "cagr": _Rule(("growth",), _growth),
    "max_drawdown": _Rule(("max_drawdown",), lambda sums, n, ppy: sums["max_drawdown"]),
    "calmar": _Rule(
        ("growth", "max_drawdown"), lambda sums, n, ppy: _ratio(_growth(sums, n, ppy), sums["max_drawdown"])
    ),
    "drawdown_bars": _Rule(("drawdown_bars",), lambda sums, n, ppy: sums["drawdown_bars"]),
    "exposure": _Rule(("exposed",), lambda sums, n, ppy: sums["exposed"] / n),
    "turnover": _Rule(("turned",), lambda sums, n, ppy: sums["turned"] / n),
    "fees_paid": _Rule(("fees_paid",), lambda sums, n, ppy: sums["fees_paid"]),
    "n_trades": _Rule(("n_trades",), lambda sums, n, ppy: sums["n_trades"]),
    "hit_rate": _Rule(("hits", "n_trades"), lambda sums, n, ppy: _ratio(sums["hits"], sums["n_trades"])),
    "holding_bars": _Rule(("held", "n_trades"), lambda sums, n, ppy: _ratio(sums["held"], sums["n_trades"])),
    "hold_total_return": _Rule(("hold",), lambda sums, n, ppy: sums["hold"] - 1.0),
    "hold_max_drawdown": _Rule(("hold_drawdown",), lambda sums, n, ppy: sums["hold_drawdown"]),
}
_REFUSED = {
    "profit_factor": "rows have the ratio of profits to losses, not the two sums",
    "var_95": "a quantile of returns needs the returns",
    "cvar_95": "the mean of the worst returns needs the returns",
    "hold_sharpe": "rows have no volatility of holding",
}
