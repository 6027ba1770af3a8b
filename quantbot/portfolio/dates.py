"""When a portfolio is decided on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import InputError

CALENDARS = ("bars", "week_end", "month_end", "quarter_end", "year_end")

Indices = NDArray[np.int64]


def decision_bars(
    ts_end_ns: NDArray[np.int64], window: tuple[int, int], calendar: str = "bars", every: int = 1, offset: int = 0
) -> Indices:
    """Return the bars of a window at whose close a decision falls, rising.

    Parameters
    ----------
    ts_end_ns
        Shape (n_bars,): the ends of all bars; a bar belongs to the day in which its last nanosecond lies.
    window
        Half-open range of bars.
    calendar
        "bars", or the end of which period: a bar after which another one begins. The last bar of all ends none.
    every
        Of "bars": so many from one decision to the next.
    offset
        So many bars later.

    Examples
    --------
    >>> days = np.arange("2024-01-29", "2024-02-06", dtype="datetime64[D]").astype("datetime64[ns]").astype(np.int64)
    >>> decision_bars(days + 16 * 3600 * 10**9, (0, 8), "month_end").tolist()
    [2]
    >>> decision_bars(days, (1, 8), every=3).tolist()
    [1, 4, 7]
    """
    if calendar not in CALENDARS:
        raise InputError(f"calendar must be one of {', '.join(CALENDARS)}; found {calendar!r}")
    start, stop = window
    if calendar == "bars":
        return np.arange(start + offset, stop, every, dtype=np.int64)
    period = _periods(ts_end_ns - 1, calendar)
    ends = np.flatnonzero(period[1:] != period[:-1])
    chosen = ends[(ends >= start) & (ends < stop)] + offset
    return np.asarray(chosen[chosen < stop], dtype=np.int64)


def _periods(ts_ns: NDArray[np.int64], calendar: str) -> Indices:
    """Return the number of the period that each moment lies in; weeks begin on Monday."""
    days = ts_ns.astype("datetime64[ns]").astype("datetime64[D]")
    if calendar == "week_end":
        return (days.astype(np.int64) + 3) // 7  # 1970-01-01 was a Thursday
    months = days.astype("datetime64[M]").astype(np.int64)
    return months // {"month_end": 1, "quarter_end": 3, "year_end": 12}[calendar]
