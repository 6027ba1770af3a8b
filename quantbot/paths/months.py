"""Returns by calendar month and year."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError


@dataclass(frozen=True, eq=False)
class Months:
    """A table of returns.

    Attributes
    ----------
    years
        Every calendar year from the first bar's to the last one's.
    returns
        Shape (n_years, 12): simple return of each month, January first; NaN where there is no bar.
    totals
        Shape (n_years,): simple return of each year, its months compounded; NaN where there is no bar.
    """

    years: tuple[int, ...]
    returns: NDArray[np.float64]
    totals: NDArray[np.float64]


def monthly_returns(ts_end_ns: ArrayLike, equity: ArrayLike, start: float) -> Months:
    """Return the return of each month and year, in UTC.

    Parameters
    ----------
    ts_end_ns
        Shape (n_bars,), int64 UTC, rising: a bar belongs to the month that it ends in.
    equity
        Shape (n_bars,), at each bar's end.
    start
        Equity before the first bar. Every later month starts from the last equity of the month before that has a bar.

    Examples
    --------
    >>> stamps = np.array(["2020-01-31", "2020-02-28"], "datetime64[ns]").astype(np.int64)
    >>> found = monthly_returns(stamps, [110.0, 99.0], 100.0)
    >>> found.years, found.returns[0, :2].round(3).tolist(), found.totals.round(3).tolist()
    ((2020,), [0.1, -0.1], [-0.01])
    """
    stamps = np.asarray(ts_end_ns, dtype=np.int64)
    level = np.asarray(equity, dtype=np.float64)
    if stamps.ndim != 1 or stamps.shape != level.shape:
        raise InputError(f"a time for each equity is needed, found {stamps.shape} times and {level.shape} of equity")
    if not stamps.size:
        return Months((), np.empty((0, 12)), np.empty(0))
    months = stamps.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)  # counted from January 1970
    ends = np.append(np.flatnonzero(np.diff(months)), months.shape[0] - 1)
    after = level[ends]
    before = np.concatenate([[start], after[:-1]])
    year, month = np.divmod(months[ends], 12)
    n_years = int(year[-1] - year[0]) + 1
    returns, totals = np.full((n_years, 12), np.nan), np.full(n_years, np.nan)
    returns[year - year[0], month] = after / before - 1
    first = np.flatnonzero(np.diff(year, prepend=year[0] - 1))
    last = np.append(first[1:] - 1, year.shape[0] - 1)
    totals[year[first] - year[0]] = after[last] / before[first] - 1
    return Months(tuple(range(1970 + int(year[0]), 1970 + int(year[0]) + n_years)), returns, totals)
