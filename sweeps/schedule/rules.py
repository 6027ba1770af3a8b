"""When a schedule falls due: a cron expression in a zone, or so long after an exchange opens or closes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Literal, Protocol
from zoneinfo import ZoneInfo

import numpy as np

from datasets.calendars import DAY_NS
from datasets.ingest.options import Interval
from quantbot.errors import InputError

if TYPE_CHECKING:
    from cronsim import CronSim

    from datasets.calendars import Sessions

NS = 10**9
MAX_DELAY_NS = 7 * DAY_NS
_YEARS_AHEAD = 2  # of sessions that are looked up: beyond, no calendar is sure of its holidays


class Rule(Protocol):
    """When something falls due."""

    @property
    def zone(self) -> str:
        """The IANA zone in which people think of it."""
        ...

    def after(self, moment_ns: int) -> Iterator[int]:
        """Yield, rising, when it falls due after a moment (ns UTC, whole seconds); may end where a calendar ends."""
        ...

    def __str__(self) -> str:
        """In words."""
        ...


@dataclass(frozen=True)
class Cron:
    """A cron expression of five fields in a zone; as in Debian's cron where the clocks change.

    A time of day that the clocks skip falls due at the moment they jump to; one that they repeat falls due the first
    time, unless the hour is a star, which follows the clock on the wall through both.

    Attributes
    ----------
    sessions
        A calendar: only dates (in `zone`) on which it has a session count. None counts all.

    Examples
    --------
    >>> rule = Cron("30 2 * * *", "America/New_York")
    >>> due = [next(rule.after(ns_of("2026-03-07T12:00Z")))]
    >>> iso(due[0]), str(rule)
    ('2026-03-08T07:00:00Z', 'at 02:30 every day, America/New_York')
    """

    expression: str
    zone: str
    sessions: str | None = None

    def __post_init__(self) -> None:
        check_zone(self.zone)
        self._start(0)
        if self.sessions is not None:
            _check_calendar(self.sessions)

    def after(self, moment_ns: int) -> Iterator[int]:
        """Yield when it falls due; see `Rule`."""
        last, horizon = moment_ns, _horizon(moment_ns)
        for moment in self._start(moment_ns):
            due = int(moment.timestamp()) * NS
            if due <= last:  # the same instant under two local names
                continue
            if self.sessions is not None and moment.year >= horizon:
                return
            if self.sessions is None or _is_session(self.sessions, moment.date()):
                last = due
                yield due

    def __str__(self) -> str:
        words = self._start(0).explain()
        on = f" on sessions of {self.sessions}" if self.sessions else ""
        return f"{words[:1].lower()}{words[1:]}{on}, {self.zone}"

    def _start(self, moment_ns: int) -> CronSim:
        from cronsim import CronSim, CronSimError

        begin = datetime.fromtimestamp(moment_ns // NS, ZoneInfo(self.zone))
        try:
            return CronSim(self.expression, begin)
        except CronSimError as error:
            raise InputError(
                f'must be a cron expression of five fields such as "30 18 * * mon-fri" ({str(error).lower()})'
            ) from None


@dataclass(frozen=True)
class Session:
    """So long after each session of an exchange opens or closes.

    Attributes
    ----------
    calendar
        As exchange_calendars calls it: XNYS, XLON, CMES.
    delay_ns
        After the open or close; early closes count as they are.

    Examples
    --------
    >>> rule = Session("XNYS", "close", 2 * 3600 * NS)
    >>> [iso(due) for due, _ in zip(rule.after(ns_of("2026-03-06T00:00Z")), range(2))]
    ['2026-03-06T23:00:00Z', '2026-03-09T22:00:00Z']
    """

    calendar: str
    moment: Literal["open", "close"]
    delay_ns: int = 0

    def __post_init__(self) -> None:
        _check_calendar(self.calendar)

    @property
    def zone(self) -> str:
        """The exchange's zone."""
        return _sessions(self.calendar, datetime.now(UTC).year).zone

    def after(self, moment_ns: int) -> Iterator[int]:
        """Yield when it falls due; see `Rule`."""
        # A year's last session may fall due in the next one.
        for year in range(_year(moment_ns - self.delay_ns), _horizon(moment_ns)):
            try:
                sessions = _sessions(self.calendar, year)
            except InputError:  # the calendar ends here
                return
            inside = sessions.dates.astype("datetime64[Y]") == np.datetime64(str(year), "Y")
            moments = (sessions.close_ns if self.moment == "close" else sessions.open_ns)[inside] + self.delay_ns
            yield from (int(due) for due in moments[moments > moment_ns])

    def __str__(self) -> str:
        wait = f"{duration_text(self.delay_ns)} after" if self.delay_ns else "at"
        return f"{wait} each {self.moment} of {self.calendar}"


def between(rule: Rule, after_ns: int, until_ns: int) -> Iterator[int]:
    """Yield when a rule falls due in ``(after_ns, until_ns]``."""
    return takewhile(lambda due: due <= until_ns, rule.after(after_ns))


def parse_duration(text: str) -> int:
    """Return nanoseconds of ``30min``, ``2h`` or ``1d``."""
    try:
        interval: Interval | None = Interval.parse(text)
    except InputError:
        interval = None
    if interval is None or interval.unit not in ("s", "min", "h", "d"):
        raise InputError('must be a length of time such as "90s", "30min", "2h" or "1d"')
    return interval.ns


def duration_text(ns: int) -> str:
    """Return a length of time as people write it.

    Examples
    --------
    >>> duration_text(7200 * NS), duration_text(5400 * NS)
    ('2 h', '90 min')
    """
    for unit, size in (("d", DAY_NS), ("h", 3600 * NS), ("min", 60 * NS)):
        if ns % size == 0:
            return f"{ns // size} {unit}"
    return f"{ns / NS:g} s"


def ns_of(text: str) -> int:
    """Return an ISO moment with a zone as ns UTC."""
    return int(datetime.fromisoformat(text).timestamp()) * NS


def iso(ns: int) -> str:
    """Return a moment as ISO text in UTC, to the second."""
    return f"{datetime.fromtimestamp(ns // NS, UTC):%Y-%m-%dT%H:%M:%SZ}"


def check_zone(zone: str) -> None:
    """Raise `InputError` unless `zone` is an IANA name."""
    from zoneinfo import available_timezones

    from quantbot.parameters import nearest

    try:
        ZoneInfo(zone)
    except Exception:  # zoneinfo raises KeyError, ValueError, OSError and more for odd names
        raise InputError(
            f"must be an IANA zone such as Europe/Berlin{nearest(zone[:80], available_timezones())}"
        ) from None


def _check_calendar(name: str) -> None:
    _sessions(name, datetime.now(UTC).year)


def _horizon(ns: int) -> int:
    """Return the first year whose sessions are not looked up."""
    return max(_year(ns), datetime.now(UTC).year) + _YEARS_AHEAD


def _year(ns: int) -> int:
    return datetime.fromtimestamp(ns // NS, UTC).year


def _is_session(calendar: str, day: date) -> bool:
    try:
        sessions = _sessions(calendar, day.year)
    except InputError:
        return False
    _, found = sessions.find(np.array([day], "datetime64[D]"))
    return bool(found[0])


@lru_cache(maxsize=64)
def _sessions(calendar: str, year: int) -> Sessions:
    """Return the sessions of a year, or of as much of it as the calendar knows."""
    from datasets.calendars import load_sessions

    first = np.datetime64(f"{year}-01-01", "D")
    for last in ("12-31", "09-30", "06-30", "03-31"):
        try:
            return load_sessions(calendar, first, np.datetime64(f"{year}-{last}", "D"))
        except InputError as error:
            refused = error
    raise refused
