"""Exchange sessions over a range of dates, from exchange_calendars (extra `calendars`)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import InputError

Nanoseconds = NDArray[np.int64]
Days = NDArray[np.datetime64]

DAY_NS = 86_400_000_000_000
DAYS_PER_YEAR = 365.2425  # of the Gregorian calendar
_NEVER = np.iinfo(np.int64).min  # what NaT is as an integer: a session without a break


@dataclass(frozen=True, eq=False)
class Sessions:
    """The sessions of one calendar, oldest first.

    Attributes
    ----------
    name, zone
        The calendar and its IANA zone.
    dates
        Shape (n_sessions,), datetime64[D]: what each session is called.
    open_ns, close_ns
        Shape (n_sessions,), int64 ns UTC.
    break_start_ns, break_end_ns
        Shape (n_sessions,), int64 ns UTC; the lowest int64 where a session has no break.
    """

    name: str
    zone: str
    dates: Days
    open_ns: Nanoseconds
    close_ns: Nanoseconds
    break_start_ns: Nanoseconds
    break_end_ns: Nanoseconds

    def __len__(self) -> int:
        return int(self.dates.shape[0])

    def find(self, dates: Days) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Give the session of each date and whether there is one."""
        days = dates.astype("datetime64[D]")
        index = np.searchsorted(self.dates, days)
        index = np.minimum(index, max(len(self) - 1, 0)).astype(np.int64)
        found = self.dates[index] == days if len(self) else np.zeros(days.shape, dtype=bool)
        return index, found

    def contain(self, ts_end_ns: Nanoseconds) -> NDArray[np.bool_]:
        """Say of each bar's end whether it lies in a session: after its open, at or before its close, in no break."""
        if not len(self):
            return np.zeros(ts_end_ns.shape, dtype=bool)
        index = np.searchsorted(self.close_ns, ts_end_ns)  # the first session that closes at or after
        inside = index < len(self)
        index = np.minimum(index, len(self) - 1)
        inside &= ts_end_ns > self.open_ns[index]
        return inside & ~((ts_end_ns > self.break_start_ns[index]) & (ts_end_ns <= self.break_end_ns[index]))

    def ends(self, interval_ns: int | None) -> Nanoseconds:
        """Give the ends of all bars that the sessions hold: one a session (None), or every `interval_ns` from the open.

        A session's last bar is shorter where the interval does not divide it, and so is the last before a break.
        """
        if interval_ns is None:
            return self.close_ns
        with_break = self.break_start_ns != _NEVER
        starts = np.concatenate([self.open_ns, self.break_end_ns[with_break]])
        stops = np.concatenate([np.where(with_break, self.break_start_ns, self.close_ns), self.close_ns[with_break]])
        n_bars = -(-(stops - starts) // interval_ns)
        first = np.repeat(np.cumsum(n_bars) - n_bars, n_bars)
        step = np.arange(int(n_bars.sum()), dtype=np.int64) - first + 1
        ends = np.minimum(np.repeat(starts, n_bars) + step * interval_ns, np.repeat(stops, n_bars))
        return cast("Nanoseconds", np.sort(ends))

    def between(self, start_ns: int, end_ns: int) -> Sessions:
        """Give the sessions that overlap ``(start_ns, end_ns]``."""
        part = slice(*np.searchsorted(self.close_ns, [start_ns, end_ns]) + np.array([0, 1]))
        return Sessions(
            self.name,
            self.zone,
            self.dates[part],
            self.open_ns[part],
            self.close_ns[part],
            self.break_start_ns[part],
            self.break_end_ns[part],
        )


def load_sessions(name: str, first: np.datetime64, last: np.datetime64) -> Sessions:
    """Look up the sessions of calendar `name` over the years of the dates `first` to `last`.

    Where the calendar does not reach so far, the sessions from `first` to `last` with a week around.

    Raises
    ------
    InputError
        If exchange_calendars is not installed, has no such calendar, or does not reach that far.

    Examples
    --------
    >>> sessions = load_sessions("XNYS", np.datetime64("2024-07-03"), np.datetime64("2024-07-05"))
    >>> index, found = sessions.find(np.array(["2024-07-03", "2024-07-04"], dtype="datetime64[D]"))
    >>> found                                        # the fourth of July is no session
    array([ True, False])
    >>> str(np.datetime64(int(sessions.close_ns[index[0]]), "ns"))[:16]       # the third ended at 13:00 in New York
    '2024-07-03T17:00'
    """
    exchange_calendars = _library()
    known = exchange_calendars.get_calendar_names(include_aliases=True)
    if name not in known:
        from datasets.ingest.options import nearest

        raise InputError(
            f"calendar {name!r} is unknown to exchange_calendars{nearest(name, known)}; "
            "it knows XNYS, XNAS, XLON, XETR, XTKS, CMES, 24/7 and others (exchange_calendars.get_calendar_names())"
        )
    calendar = _whole_years(exchange_calendars, name, first.astype("datetime64[D]"), last.astype("datetime64[D]"))
    schedule = calendar.schedule
    return Sessions(
        name=name,
        zone=str(calendar.tz),
        dates=calendar.sessions.to_numpy().astype("datetime64[D]"),
        open_ns=_nanoseconds(schedule["open"]),
        close_ns=_nanoseconds(schedule["close"]),
        break_start_ns=_nanoseconds(schedule["break_start"]),
        break_end_ns=_nanoseconds(schedule["break_end"]),
    )


def calendars_installed() -> bool:
    """Whether the extra `calendars` is there."""
    from importlib.util import find_spec

    return find_spec("exchange_calendars") is not None


def periods_per_year(ts_end_ns: Nanoseconds, interval_ns: int, sessions: Sessions | None = None) -> float:
    """Count how many bars a year has: trading days per year times bars per trading day.

    Parameters
    ----------
    ts_end_ns
        Shape (n_bars,), int64 ns UTC, rising.
    interval_ns
        Of one bar; a week or longer gives 365.2425 days over it.
    sessions
        Of the calendar, where there is one.

    Notes
    -----
    With a calendar, the days are its sessions per year of 365.2425 days over the years that the bars touch, and a day
    has as many bars as fit its sessions (one for daily bars). Without, the days are the distinct UTC dates: counted per
    year where the bars span a year or more, else 365.2425 if some fall on a weekend (bars end by Saturday 00:00 UTC
    count as Friday's) and 252 if none do; a day has the mean number of bars that were seen
    (without the first and the last day, which may be cut).

    Examples
    --------
    >>> day = 86_400_000_000_000
    >>> round(periods_per_year(np.arange(1000) * day, day), 1)
    365.2
    """
    if interval_ns >= 7 * DAY_NS:
        return DAYS_PER_YEAR * DAY_NS / interval_ns
    if sessions is not None and len(sessions) > 1:
        n_days = float((sessions.dates[-1] - sessions.dates[0]) / np.timedelta64(1, "D"))
        n_bars = len(sessions.ends(interval_ns if interval_ns < 23 * 3_600_000_000_000 else None))
        return (n_bars - n_bars / len(sessions)) / n_days * DAYS_PER_YEAR
    days, n_bars_of_day = np.unique((ts_end_ns - 1) // DAY_NS, return_counts=True)
    bars_per_day = float(np.mean(n_bars_of_day[1:-1] if len(days) > 4 else n_bars_of_day))
    span = float(days[-1] - days[0])
    if span >= 365:
        return (len(days) - 1) / span * DAYS_PER_YEAR * bars_per_day
    weekend = (days + 3) % 7 >= 5  # day 0 was a Thursday
    return (DAYS_PER_YEAR if weekend.any() else 252.0) * bars_per_day


def _library() -> Any:
    try:
        import exchange_calendars
    except ImportError as error:
        raise InputError(
            "a calendar needs the package exchange_calendars: install quantbot[calendars], or leave the calendar out "
            "and name a zone"
        ) from error
    return exchange_calendars


def _whole_years(library: Any, name: str, first: np.datetime64, last: np.datetime64) -> Any:
    week = np.timedelta64(7, "D")
    years = first.astype("datetime64[Y]"), last.astype("datetime64[Y]") + 1
    spans = [
        (years[0].astype("datetime64[D]") - week, years[1].astype("datetime64[D]") + week),
        (first - week, last + week),
    ]
    for start, end in spans:
        try:
            with warnings.catch_warnings():
                # exchange_calendars 4.13.2 reads `Series.values` of times with a zone, which pandas 3.1 deprecates.
                warnings.simplefilter("ignore", DeprecationWarning)
                return library.get_calendar(name, start=str(start), end=str(end))
        except Exception as error:  # bounds, holidays it can't compute: ValueError and others, differing by calendar
            reason = error
    raise InputError(f"calendar {name} has no sessions from {first} to {last}: {reason}") from reason


def _nanoseconds(times: Any) -> Nanoseconds:
    values = times.dt.tz_localize(None) if times.dt.tz is not None else times
    return cast("Nanoseconds", values.to_numpy().astype("datetime64[ns]").astype(np.int64))
