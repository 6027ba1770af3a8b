"""What a user says about raw bars: which column is what, how times are stamped, which repairs are allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from quantbot.errors import InputError

NUMBER_ROLES = ("open", "high", "low", "close", "volume", "adjusted_close")
ROLES = ("time", "clock", *NUMBER_ROLES, "symbol")
REQUIRED_ROLES = ("time", "open", "high", "low", "close", "volume")

# What a column may be called when the user says nothing; compared in lower case, "_" and "." read as blanks.
USUAL_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "time": ("time", "timestamp", "date", "datetime", "date time", "timestamp utc", "open time", "ts", ""),
        "open": ("open", "o"),
        "high": ("high", "h"),
        "low": ("low", "l"),
        "close": ("close", "c"),
        "volume": ("volume", "vol", "v"),
        "symbol": ("symbol", "ticker"),
        "adjusted_close": ("adj close", "adjusted close", "adjclose"),
    }
)

POLICIES: Mapping[str, str] = MappingProxyType(
    {
        "sort": "rows are put in the order of their times",
        "drop_duplicates": "of several rows with one time the first stays",
        "drop_duplicates_last": "of several rows with one time the last stays",
        "drop_invalid": "rows with an unreadable value or an impossible bar are left out",
        "clip_rounding": "open and close outside [low, high] by rounding alone (1e-9 of the price) are moved onto it",
        "clip_range": "open and close outside [low, high] are moved onto its nearer end",
        "widen_range": "high and low are moved out until they hold open and close",
        "fill_volume": "an empty volume becomes 0",
        "fill_gaps": "a bar missing from a session becomes a flat bar at the close before it, volume 0",
        "drop_outside_sessions": "bars outside the calendar's sessions are left out",
        "dst_first": "a local time that occurs twice means its first occurrence (summer time)",
        "dst_second": "a local time that occurs twice means its second occurrence (winter time)",
        "dst_infer": "a local time that occurs twice is told apart by the order of the rows",
        "dst_shift": "a local time that the clocks skipped means the moment they sprang forward to",
    }
)

_EXCLUSIVE = (
    ("drop_duplicates", "drop_duplicates_last"),
    ("clip_range", "widen_range"),
    ("dst_first", "dst_second", "dst_infer"),
)
_INTERVAL = re.compile(r"([1-9][0-9]{0,5})(ms|s|min|h|d|w|mo)")
_UNIT_NS = {
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
    "mo": 2_629_746_000_000_000,  # a twelfth of a Gregorian year; months are added on the calendar, never as this
}


@dataclass(frozen=True, order=True)
class Interval:
    """The time that one bar covers, such as ``1min``, ``4h``, ``1d``, ``1w`` or ``1mo``.

    Examples
    --------
    >>> Interval.parse("5min").ns
    300000000000
    >>> str(Interval.from_ns(86_400_000_000_000))
    '1d'
    """

    n: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Read ``<number><unit>``; units are ms, s, min, h, d, w, mo."""
        match = _INTERVAL.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise InputError(
                f"interval must look like 1min, 4h, 1d, 1w or 1mo (units {', '.join(_UNIT_NS)}), was {text!r}"
            )
        return cls(int(match[1]), match[2])

    @classmethod
    def from_ns(cls, ns: int) -> Interval | None:
        """Give the interval of a typical distance between bars; None where it is no whole number of milliseconds."""
        day = _UNIT_NS["d"]
        if 28 * day <= ns <= 31 * day:
            return cls(1, "mo")
        if 23 * _UNIT_NS["h"] <= ns <= 25 * _UNIT_NS["h"]:  # one calendar day across a change of the clocks
            return cls(1, "d")
        for unit in ("w", "d", "h", "min", "s", "ms"):
            if ns > 0 and ns % _UNIT_NS[unit] == 0:
                return cls(ns // _UNIT_NS[unit], unit)
        return None

    @property
    def ns(self) -> int:
        """Length in nanoseconds; nominal for months."""
        return self.n * _UNIT_NS[self.unit]

    @property
    def daily_or_longer(self) -> bool:
        """Whether its ends are found on a calendar (a day may have 23 hours) and not by adding nanoseconds."""
        return self.unit in ("d", "w", "mo")

    def __str__(self) -> str:
        return f"{self.n}{self.unit}"


@dataclass(frozen=True)
class BarOptions:
    """How raw rows become bars.

    Attributes
    ----------
    columns
        Role -> column name (or position, counted from 0), roles ``time, open, high, low, close, volume, symbol,
        adjusted_close, clock``. Roles left out are found by their usual names (``Open``, ``adj_close``, ...).
        ``{"volume": None}`` says that there is no volume (stored as 0); None also turns off ``symbol`` and
        ``adjusted_close``. ``clock`` is the time of day where ``time`` holds only the date.
    zone
        IANA zone of times without an offset, such as ``America/New_York``; also where a date's day ends.
    stamp
        What a time of day marks: the bar's ``start`` or ``end``. Plain dates need none: they name their day.
    interval
        ``1min``, ``1h``, ``1d``, ...; None takes the most frequent distance between rows.
    calendar
        A calendar of exchange_calendars, such as ``XNYS``: a daily bar ends at its session's close, gaps are counted
        against its sessions, and a year has its number of bars.
    symbol
        The asset's name; None takes the symbol column, else the file's name without its endings.
    currency, multiplier
        Of the prices; currency per price point and unit.
    decimal, thousands
        ``.`` or ``,``; and the separator of thousands, by default none is accepted.
    delimiter
        Of CSV files; None takes the one of ``, ; tab |`` that the first line has.
    wide
        Whether a CSV file has one column of closes for each symbol, named by it, beside the time: bars are then of the
        close alone (open, high and low are it, volume is 0), and an empty field is no bar.
    header
        Whether the first line of a CSV file names the columns; without it `columns` gives positions.
    encoding
        Of CSV files.
    time_format
        None or ``iso`` for ISO 8601; ``s``, ``ms``, ``us``, ``ns`` for a count since 1970 (found by itself where only
        one unit fits the years 1973 to 2286); else a `strptime` format.
    repair
        Names of `POLICIES`; what none of them allows is refused.
    splits, dividends, funding
        CSV files beside the prices: by ex-date, new units for one old one and cash per unit; by time, the rates of
        perpetual futures (see `datasets.ingest.actions`). Prices must then be raw.
    funding_every
        The time between two funding rates, such as ``8h``; None takes the most frequent distance. A rate that is due
        and not there is kept as not known.
    negative_prices
        Whether prices may be zero or negative (spreads, power, oil in April 2020).
    strict_sessions
        Whether a bar outside the calendar's sessions is refused rather than reported.
    title, source
        For people: what the data are and where they come from.
    periods_per_year
        Bars per year for annualising; None counts them (see `datasets.calendars`).
    max_bytes, max_rows
        Refused beyond: uncompressed size of one file, rows of one source.

    Examples
    --------
    >>> BarOptions(zone="America/New_York", stamp="start", repair=("sort",)).stamp
    'start'
    """

    columns: Mapping[str, str | int | None] = field(default_factory=dict)
    zone: str | None = None
    stamp: Literal["start", "end"] | None = None
    interval: str | None = None
    calendar: str | None = None
    symbol: str | None = None
    currency: str = "USD"
    multiplier: float = 1.0
    decimal: str = "."
    thousands: str = ""
    delimiter: str | None = None
    wide: bool = False
    header: bool = True
    encoding: str = "utf-8"
    time_format: str | None = None
    repair: tuple[str, ...] = ()
    splits: str | Path | None = None
    dividends: str | Path | None = None
    funding: str | Path | None = None
    funding_every: str | None = None
    negative_prices: bool = False
    strict_sessions: bool = False
    title: str = ""
    source: str = ""
    periods_per_year: float | None = None
    max_bytes: int = 2 << 30
    max_rows: int = 100_000_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", MappingProxyType(dict(self.columns)))
        repair: object = self.repair  # people write one policy without the comma
        object.__setattr__(self, "repair", (repair,) if isinstance(repair, str) else tuple(self.repair))
        for role in self.columns:
            _known("columns", role, ROLES)
        if self.wide and (not self.header or self.symbol or set(self.columns) - {"time"}):
            raise InputError(
                "wide: the first line names the symbols, so header, symbol and other columns can't be said"
            )
        for policy in self.repair:
            _known("repair", policy, tuple(POLICIES))
        for group in _EXCLUSIVE:
            named = [policy for policy in group if policy in self.repair]
            if len(named) > 1:
                raise InputError(f"repair: {' and '.join(named)} exclude each other; name one")
        if self.stamp not in (None, "start", "end"):
            raise InputError(f"stamp must be 'start' or 'end', was {self.stamp!r}")
        if self.interval is not None:
            Interval.parse(self.interval)
        if self.funding_every is not None:
            Interval.parse(self.funding_every)
            if self.funding is None:
                raise InputError("funding_every is of the rates in funding, which is not said")
        if self.zone is not None:
            _check_zone(self.zone)
        self._check_marks()
        self._check_numbers()

    def __reduce__(self) -> tuple[object, ...]:
        # A mapping proxy can't be pickled; the plain dict can.
        return _rebuild, ({**self.__dict__, "columns": dict(self.columns)},)

    def allows(self, *policies: str) -> bool:
        """Whether the user named any of these repairs."""
        return any(policy in self.repair for policy in policies)

    def _check_marks(self) -> None:
        if self.decimal not in (".", ","):
            raise InputError(f"decimal must be '.' or ',', was {self.decimal!r}")
        if self.thousands not in ("", ",", ".", "'", " ", "_") or self.thousands == self.decimal:
            raise InputError(
                f"thousands must be '', ',', '.', \"'\", ' ' or '_' and differ from decimal, was {self.thousands!r}"
            )
        if self.delimiter is not None and (
            len(self.delimiter) != 1 or self.delimiter in '"\r\n' or not self.delimiter.isascii()
        ):
            raise InputError(
                f"delimiter must be one ASCII character other than a quote or line end, was {self.delimiter!r}"
            )

    def _check_numbers(self) -> None:
        # `not x > 0` also catches NaN.
        if not self.multiplier > 0 or self.multiplier == float("inf"):
            raise InputError(f"multiplier must be positive and finite, was {self.multiplier!r}")
        if self.periods_per_year is not None and not 0 < self.periods_per_year < float("inf"):
            raise InputError(f"periods_per_year must be positive and finite, was {self.periods_per_year!r}")
        if not re.fullmatch(r"[A-Z][A-Z0-9]{1,9}", self.currency):
            raise InputError(f"currency must be a code such as USD or USDT, was {self.currency!r}")


def nearest(word: str, known: tuple[str, ...] | list[str]) -> str:
    """Give `` (did you mean 'x'?)`` where one known name is close, else nothing."""
    found = get_close_matches(str(word), known, n=1, cutoff=0.6)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _known(what: str, word: object, known: tuple[str, ...]) -> None:
    if word not in known:
        raise InputError(f"{what}: {word!r} is unknown{nearest(str(word), known)}; known are {', '.join(known)}")


def _check_zone(zone: str) -> None:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(zone)
    except Exception as error:  # zoneinfo raises KeyError, ValueError, OSError and more for odd names
        raise InputError(f"zone must be an IANA name such as America/New_York or UTC, was {zone!r}") from error


def _rebuild(fields: dict[str, object]) -> BarOptions:
    return BarOptions(**fields)  # type: ignore[arg-type]
