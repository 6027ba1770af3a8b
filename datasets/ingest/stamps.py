"""Ends of bars: from what a source calls the time of a bar to the UTC moment at which it is complete."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.calendars import DAY_NS, Sessions, load_sessions
from datasets.ingest.options import BarOptions, Interval
from datasets.ingest.rows import Nanoseconds, Repairs, Rows
from datasets.ingest.rules import iso
from datasets.ingest.table import Mask, Problems
from datasets.ingest.times import Kind, add_to_wall, to_utc, wall_clock
from quantbot.errors import DataError, InputError


@dataclass(frozen=True, eq=False)
class Stamped:
    """Rows stamped at their ends, with the interval and the sessions that were used."""

    rows: Rows
    interval: Interval
    sessions: Sessions | None


def stamp_ends(rows: Rows, kind: Kind, options: BarOptions, problems: Problems, repairs: Repairs) -> Stamped:
    """Turn the times of `rows`, read as `kind`, into bar ends (int64 ns UTC).

    A date ends at its session's close where a calendar is given, else at the next midnight of the named zone. A time of
    day is an end as it stands, or a start to which the interval is added: with a calendar a bar ends no later than its
    session (or the break in it), and a daily bar at its session's close.
    """
    _require(kind, options)
    if kind == "local":
        rows = _place_on_zone(rows, options, problems, repairs)
        problems.raise_if_any()
    interval = _interval(rows, kind, options)
    sessions = _sessions(rows, options)
    if kind == "date" or (interval.daily_or_longer and options.stamp == "start"):
        ends, found = _ends_of_days(rows, kind, interval, options, sessions)
        rows = _keep_sessions(rows, found, options, problems, repairs, sessions)
        ends = ends[found] if len(rows) != len(found) else ends
        return Stamped(rows.with_times(ends), interval, sessions)
    if options.stamp == "start":
        rows = rows.with_times(_cut_at_close(rows.ts_ns, rows.ts_ns + interval.ns, sessions))
    if (
        sessions is not None
        and not interval.daily_or_longer
        and (options.strict_sessions or options.allows("drop_outside_sessions"))
    ):
        rows = _keep_sessions(rows, sessions.contain(rows.ts_ns), options, problems, repairs, sessions)
    return Stamped(rows, interval, sessions)


def infer_interval(rows: Rows) -> Interval | None:
    """Take the most frequent distance between neighbouring times of one symbol (the shortest of equals)."""
    order = np.lexsort((rows.ts_ns, rows.symbol))
    times, symbols = rows.ts_ns[order], rows.symbol[order]
    gaps = np.diff(times)[(symbols[1:] == symbols[:-1]) & (times[1:] > times[:-1])]
    if not len(gaps):
        return None
    values, counts = np.unique(gaps, return_counts=True)
    return Interval.from_ns(int(values[np.argmax(counts)]))


def _require(kind: Kind, options: BarOptions) -> None:
    if kind == "local" and options.zone is None:
        raise InputError(
            "the times have no offset from UTC: name their zone, such as zone='America/New_York' or zone='UTC'"
        )
    if kind == "date" and options.zone is None and options.calendar is None:
        raise InputError(
            "the times are dates: name the zone at whose midnight the day ends (zone='America/New_York'), or the "
            "calendar at whose close it does (calendar='XNYS')"
        )
    if kind != "date" and options.stamp is None:
        raise InputError(
            "the times have a time of day: say whether they mark a bar's start or its end (stamp='start' or "
            "stamp='end'); taking starts for ends would show a strategy each bar before it is over"
        )


def _place_on_zone(rows: Rows, options: BarOptions, problems: Problems, repairs: Repairs) -> Rows:
    zone = options.zone or "UTC"
    utc, skipped, twice, used = to_utc(rows.ts_ns, zone, options)

    def what(row: int) -> str:
        return f"time {iso(int(rows.ts_ns[row])).removesuffix('Z')} in {zone}"

    rows.report(
        problems, skipped, "never was: the clocks sprang over it", what,
        hint="repair=('dst_shift',) takes the moment they sprang to; times like these often mean another zone",
    )  # fmt: skip
    rows.report(
        problems, twice, "was twice: the clocks were set back", what,
        hint="repair=('dst_first',), ('dst_second',) or ('dst_infer',) says which is meant",
    )  # fmt: skip
    for policy, count in used.items():
        repairs.add(rows.symbols[0] if len(rows.symbols) == 1 else "*", policy, count=count)
    return rows.with_times(utc)


def _interval(rows: Rows, kind: Kind, options: BarOptions) -> Interval:
    interval = Interval.parse(options.interval) if options.interval is not None else infer_interval(rows)
    if options.interval is None and kind == "date" and (interval is None or interval.ns < 7 * DAY_NS):
        interval = Interval(1, "d")  # dates a few days apart are daily bars with holes
    if interval is None:
        raise DataError(
            f"the interval between bars can't be told from {len(rows)} rows of {rows.sources[0][0]}: "
            "pass interval='1min' or the like"
        )
    if kind == "date" and not interval.daily_or_longer:
        raise InputError(f"the times are dates, but interval is {interval}: name the column of the time of day (clock)")
    return interval


def _sessions(rows: Rows, options: BarOptions) -> Sessions | None:
    if options.calendar is None:
        return None
    first, last = (
        np.datetime64(int(ts_ns), "ns").astype("datetime64[D]") for ts_ns in (rows.ts_ns.min(), rows.ts_ns.max())
    )
    return load_sessions(options.calendar, first, last)


def _ends_of_days(
    rows: Rows, kind: Kind, interval: Interval, options: BarOptions, sessions: Sessions | None
) -> tuple[Nanoseconds, Mask]:
    """Give the end of each day, week or month, and whether it has one (a date that is no session has none)."""
    all_found = np.ones(len(rows), dtype=bool)
    one_day = interval.unit == "d" and interval.n == 1
    if not one_day and options.stamp is None:
        raise InputError(
            f"the dates are {interval} apart: say whether they name the first or the last day of a bar "
            "(stamp='start' or stamp='end'), or pass interval='1d'"
        )
    zone = options.zone or (sessions.zone if sessions is not None else "UTC")
    wall = rows.ts_ns if kind == "date" or _midnights(rows.ts_ns) else wall_clock(rows.ts_ns, zone)
    if sessions is not None and (one_day or options.stamp == "end"):
        index, found = sessions.find(wall.astype("datetime64[ns]"))
        return sessions.close_ns[index], found
    if kind == "utc" and options.zone is None:
        zone = "UTC"
        wall = rows.ts_ns
    elif kind != "date":
        wall = wall_clock(rows.ts_ns, zone)
    if one_day or options.stamp == "end":
        return add_to_wall(wall, zone, n=1, unit="d"), all_found
    return add_to_wall(wall, zone, n=interval.n, unit=interval.unit), all_found


def _midnights(ts_ns: Nanoseconds) -> bool:
    """Whether all are midnight UTC: then they are dates, whatever the zone of the exchange."""
    return not (ts_ns % DAY_NS).any()


def _cut_at_close(starts: Nanoseconds, ends: Nanoseconds, sessions: Sessions | None) -> Nanoseconds:
    if sessions is None or not len(sessions):
        return ends
    index = np.minimum(np.searchsorted(sessions.close_ns, starts, side="right"), len(sessions) - 1)
    within = (starts >= sessions.open_ns[index]) & (starts < sessions.close_ns[index])
    ends = np.where(within, np.minimum(ends, sessions.close_ns[index]), ends)
    before_break = within & (starts < sessions.break_start_ns[index])
    return np.where(before_break, np.minimum(ends, sessions.break_start_ns[index]), ends)


def _keep_sessions(
    rows: Rows, inside: Mask, options: BarOptions, problems: Problems, repairs: Repairs, sessions: Sessions | None
) -> Rows:
    if inside.all():
        return rows
    if options.allows("drop_outside_sessions"):
        repairs.add_rows(rows, ~inside, "drop_outside_sessions")
        return rows.take(inside)
    name = sessions.name if sessions is not None else "none"
    rows.report(
        problems, ~inside, f"is in no session of {name}", lambda row: f"time {iso(int(rows.ts_ns[row]))}",
        hint="repair=('drop_outside_sessions',) leaves such bars out",
    )  # fmt: skip
    return rows
