"""What is odd about bars that keep every rule: gaps, stale prices, outliers, splits; and what was repaired.

A finding never refuses anything: it is counted, shown with its first places, and stored beside the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datasets.calendars import DAY_NS, Sessions
from datasets.columns import BarColumns
from quantbot.errors import CorruptError

Severity = Literal["info", "warning", "error"]
Nanoseconds = NDArray[np.int64]
Mask = NDArray[np.bool_]

N_PLACES = 5  # kept of each finding
LONG_WEEKEND_NS = 4 * DAY_NS  # from Thursday's close to Tuesday's is the longest break that is usual without a calendar
STALE_BARS = 5  # equal bars in a row that are called stale
OUTLIER_MADS = 15.0  # robust standard deviations; 2008-10-13 is 11 of them in the daily S&P 500 of 1999 to 2018
MAD_TO_SIGMA = 1.482602218505602  # of a normal distribution
SPLIT_RATIOS = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 50, 100)
SPLIT_TOLERANCE = 0.05  # what the price itself may have moved on the day
FORMAT = 1

_SENTENCES: Mapping[str, tuple[Severity, str]] = {
    "missing_bars": ("warning", "bars that the calendar's sessions should hold are missing"),
    "gaps": ("warning", "gaps longer than the interval (overnight and up to a long weekend not counted)"),
    "outside_sessions": ("warning", "bars outside the calendar's sessions"),
    "off_grid": ("info", "bars end off the calendar's grid, so that missing ones can't be counted"),
    "zero_volume": ("info", "bars without volume"),
    "no_volume": ("info", "no bar has volume"),
    "stale": ("warning", f"bars in runs of {STALE_BARS} or more with one unchanged price"),
    "outliers": ("warning", f"returns beyond {OUTLIER_MADS:g} robust standard deviations"),
    "suspected_splits": ("warning", "jumps by a ratio that splits have, in prices that no adjustment corrects"),
    "non_positive_prices": ("warning", "prices at or below 0"),
}


@dataclass(frozen=True)
class Place:
    """One moment at which a finding was made: the bar's end, and what was seen (text, or nothing)."""

    ts_end_ns: int | None
    text: str = ""

    def __str__(self) -> str:
        when = _iso(self.ts_end_ns) if self.ts_end_ns is not None else ""
        return " ".join(part for part in (when, self.text) if part)


@dataclass(frozen=True)
class Finding:
    """One kind of oddity of one asset."""

    asset: str
    rule: str
    severity: Severity
    count: int
    text: str
    places: tuple[Place, ...] = ()

    def __str__(self) -> str:
        first = f" (first: {self.places[0]})" if self.places else ""
        return f"{self.severity}: {self.asset}: {self.count:,} x {self.text}{first}"


@dataclass(frozen=True)
class QualityReport:
    """Everything that was found, by asset.

    Attributes
    ----------
    assets
        Symbol -> ``n_bars`` (or ``n_events``), ``first_ns``, ``last_ns`` (ends of bars, UTC) and the
        count of every rule.
    findings
        What was found at least once, the gravest first within an asset.

    Examples
    --------
    >>> prices = np.array([10.0, 10.5, 10.4])
    >>> day = 86_400_000_000_000
    >>> bars = BarColumns(np.array([1, 2, 3]) * day, prices, prices, prices, prices, np.array([5.0, 0.0, 7.0]))
    >>> report = check_bars({"X": bars})
    >>> print(report.summary()[1])
    info: X: 1 x bars without volume (first: 1970-01-03T00:00:00Z)
    >>> QualityReport.from_dict(report.to_dict()) == report
    True
    """

    assets: Mapping[str, Mapping[str, int]]
    findings: tuple[Finding, ...] = field(default=())

    @property
    def n_bars(self) -> int:
        """Bars of all assets."""
        return sum(counts.get("n_bars", 0) for counts in self.assets.values())

    @property
    def n_events(self) -> int:
        """Order-book events of all assets."""
        return sum(counts.get("n_events", 0) for counts in self.assets.values())

    def count(self, severity: Severity) -> int:
        """Return the number of findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def repairs(self, asset: str) -> dict[str, int]:
        """Give policy -> number of repairs of an asset."""
        return {
            finding.rule.removeprefix("repaired:"): finding.count
            for finding in self.findings
            if finding.asset == asset and finding.rule.startswith("repaired:")
        }

    def summary(self, n_lines: int = 20) -> list[str]:
        """Give the report as lines for a terminal: one of totals, then the gravest findings."""
        worst = sorted(self.findings, key=lambda finding: _RANK[finding.severity])
        rows = f"{self.n_events:,} events" if self.n_events else f"{self.n_bars:,} bars"
        head = (
            f"{rows} of {_plural(len(self.assets), 'asset')}: {_plural(self.count('error'), 'error')}, "
            f"{_plural(self.count('warning'), 'warning')}, {_plural(self.count('info'), 'remark')}"
        )
        lines = [head, *(str(finding) for finding in worst[:n_lines])]
        if len(worst) > n_lines:
            lines.append(f"and {len(worst) - n_lines:,} more")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON types; equal reports give equal dictionaries, in one order."""
        return {
            "format": FORMAT,
            "assets": {asset: dict(sorted(counts.items())) for asset, counts in sorted(self.assets.items())},
            "findings": [
                {
                    "asset": finding.asset,
                    "rule": finding.rule,
                    "severity": finding.severity,
                    "count": finding.count,
                    "text": finding.text,
                    "places": [{"ts_end_ns": place.ts_end_ns, "text": place.text} for place in finding.places],
                }
                for finding in self.findings
            ],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> QualityReport:
        """Read what `to_dict` gave.

        Raises
        ------
        CorruptError
            If it is something else.
        """
        try:
            if stored["format"] != FORMAT:
                raise CorruptError(f"quality report of format {stored['format']!r}; this version reads {FORMAT}")
            findings = tuple(
                Finding(**{**each, "places": tuple(Place(**place) for place in each["places"])})
                for each in stored["findings"]
            )
            return cls({asset: dict(counts) for asset, counts in stored["assets"].items()}, findings)
        except (KeyError, TypeError, AttributeError) as error:
            raise CorruptError(f"not a quality report: {error!r}") from error


_RANK = {"error": 0, "warning": 1, "info": 2}


def check_bars(
    columns: Mapping[str, BarColumns],
    *,
    interval_ns: int | None = None,
    zone: str = "UTC",
    sessions: Sessions | None = None,
    repairs: Mapping[str, Mapping[str, int]] | None = None,
    repair_places: Mapping[str, Mapping[str, list[str]]] | None = None,
) -> QualityReport:
    """Look for what is odd about bars.

    Parameters
    ----------
    columns
        By symbol.
    interval_ns
        Of one bar; None for daily bars.
    zone
        IANA zone of the sessions; a gap is told from a night by the local date.
    sessions
        Of the calendar, where there is one: missing bars are counted against it.
    repairs, repair_places
        Symbol -> policy -> how often, and where first.
    """
    assets: dict[str, dict[str, int]] = {}
    findings: list[Finding] = []
    for asset in sorted(columns):
        bars = columns[asset]
        days = _local_days(bars.ts_end_ns, zone)
        found = _of_gaps(bars, interval_ns, days, sessions) + _of_values(bars, days)
        found = [(rule, count, places) for rule, count, places in found if count]
        counts = {rule: count for rule, count, _ in found}
        assets[asset] = {
            "n_bars": len(bars), "first_ns": int(bars.ts_end_ns[0]), "last_ns": int(bars.ts_end_ns[-1]), **counts,
        }  # fmt: skip
        of_asset = [
            Finding(asset, rule, *_SENTENCES[rule][:1], count, _SENTENCES[rule][1], places)
            for rule, count, places in found
        ]
        findings += sorted(of_asset, key=lambda finding: (_RANK[finding.severity], finding.rule))
    return QualityReport(assets, (*_of_repairs(repairs or {}, repair_places or {}), *findings))


_Found = tuple[str, int, tuple[Place, ...]]


def _of_repairs(
    repairs: Mapping[str, Mapping[str, int]], places: Mapping[str, Mapping[str, list[str]]]
) -> list[Finding]:
    return [
        Finding(
            asset,
            f"repaired:{policy}",
            "warning" if policy != "sort" else "info",
            count,
            f"repaired by the named policy {policy}",
            tuple(Place(None, text) for text in places.get(asset, {}).get(policy, [])),
        )
        for asset, policies in sorted(repairs.items())
        for policy, count in sorted(policies.items())
    ]


def _of_gaps(bars: BarColumns, interval_ns: int | None, days: Nanoseconds, sessions: Sessions | None) -> list[_Found]:
    ts = bars.ts_end_ns
    step = DAY_NS if interval_ns is None else interval_ns
    if sessions is not None and step <= DAY_NS:
        return _against_sessions(ts, interval_ns, sessions)
    distance = np.diff(ts)
    allowed = np.full(len(distance), step * 3 // 2)
    if step <= DAY_NS and not _trades_at_weekends(days):
        other_day = np.diff(days) > 0
        allowed = np.where(other_day, np.maximum(allowed, LONG_WEEKEND_NS + step % DAY_NS), allowed)
    late = np.append(False, distance > allowed)
    return [_found("gaps", ts, late, lambda bar: f"{_length(int(distance[bar - 1]))} after the bar before")]


def _against_sessions(ts: Nanoseconds, interval_ns: int | None, sessions: Sessions) -> list[_Found]:
    ends = sessions.ends(interval_ns)
    expected = ends[(ends >= ts[0]) & (ends <= ts[-1])]
    on_grid = np.isin(ts, expected, assume_unique=True)
    outside = ~sessions.contain(ts)
    found = [_found("outside_sessions", ts, outside)]
    if 2 * on_grid.sum() < len(ts):
        return [*found, _found("off_grid", ts, ~on_grid)]
    missing = np.setdiff1d(expected, ts, assume_unique=True)
    return [*found, _found("missing_bars", missing, np.ones(len(missing), dtype=bool))]


def _of_values(bars: BarColumns, days: Nanoseconds) -> list[_Found]:
    ts, close = bars.ts_end_ns, bars.close
    zero = bars.volume == 0
    found = [_found("no_volume" if zero.all() else "zero_volume", ts, zero)]
    lowest = np.minimum(bars.low, bars.close)
    found.append(_found("non_positive_prices", ts, lowest <= 0, lambda bar: f"low {float(lowest[bar])!r}"))
    found.append(_found("stale", ts, _stale(bars), lambda bar: f"price {float(close[bar])!r}"))
    factor = bars.factor
    adjusted = close if factor is None else close * factor
    outlying = _outlying(adjusted, np.diff(days, prepend=days[0]) > 0)
    found.append(
        _found("outliers", ts, outlying, lambda bar: f"return {float(adjusted[bar] / adjusted[bar - 1] - 1):+.4g}")
    )
    ratio = np.ones(len(close))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio[1:] = adjusted[1:] / adjusted[:-1]
    split = outlying & _split_like(ratio) & _lasting(adjusted, ratio, outlying)
    found.append(
        _found("suspected_splits", ts, split, lambda bar: f"close went to {float(ratio[bar]):.4g} of the one before")
    )
    return found


def _stale(bars: BarColumns) -> Mask:
    """Mark every bar of a run of `STALE_BARS` or more in which one price stands still."""
    still = np.zeros(len(bars), dtype=bool)
    flat = (bars.high == bars.low) & (bars.open == bars.close)
    still[1:] = flat[1:] & flat[:-1] & (bars.close[1:] == bars.close[:-1])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int8)))
    stale = np.zeros(len(bars), dtype=bool)
    for start, stop in edges.reshape(-1, 2):
        if stop - start + 1 >= STALE_BARS:  # the bar before the first that repeats belongs to the run
            stale[start - 1 : stop] = True
    return stale


def _outlying(close: NDArray[np.float64], over_night: Mask) -> Mask:
    """Mark simple returns far from the median in units of the median absolute deviation (of those that are not 0).

    Returns over a night are usual among themselves, not among those of a minute: the two are judged apart.
    """
    outlying = np.zeros(len(close), dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        returns = np.append(0.0, close[1:] / close[:-1] - 1.0)
    usable = np.isfinite(returns) & (close > 0) & (np.append(0.0, close[:-1]) > 0)
    for kind in (over_night, ~over_night):
        moved = returns[usable & kind & (returns != 0)]
        if len(moved) < 20:  # too few to say what is usual
            continue
        centre = np.median(moved)
        sigma = MAD_TO_SIGMA * np.median(np.abs(moved - centre))
        outlying |= usable & kind & (np.abs(returns - centre) > OUTLIER_MADS * sigma)
    return outlying


def _lasting(close: NDArray[np.float64], ratio: NDArray[np.float64], candidates: Mask) -> Mask:
    """Mark jumps that the next bars keep: a wrong price comes back, a split does not."""
    lasting = np.zeros(len(close), dtype=bool)
    for bar in np.flatnonzero(candidates):
        before, after = np.median(close[max(bar - 5, 0) : bar]), np.median(close[bar : bar + 5])
        lasting[bar] = before > 0 and abs(after / before / ratio[bar] - 1.0) < 2 * SPLIT_TOLERANCE
    return lasting


def _split_like(ratio: NDArray[np.float64]) -> Mask:
    """Mark ratios near 1:n or n:1."""
    known = np.array(SPLIT_RATIOS, dtype=np.float64)
    known = np.sort(np.concatenate([known, 1.0 / known]))
    at = np.clip(np.searchsorted(known, ratio), 1, len(known) - 1)
    nearest = np.where(np.abs(ratio - known[at - 1]) < np.abs(known[at] - ratio), known[at - 1], known[at])
    return np.abs(ratio / nearest - 1.0) < SPLIT_TOLERANCE


def _found(rule: str, ts_end_ns: Nanoseconds, mask: Mask, text: Callable[[int], str] | None = None) -> _Found:
    bars = np.flatnonzero(mask)
    places = tuple(Place(int(ts_end_ns[bar]), text(int(bar)) if text else "") for bar in bars[:N_PLACES])
    return rule, len(bars), places


def _trades_at_weekends(days: Nanoseconds) -> bool:
    """Whether more than a bar in ten is of a Saturday or Sunday: two in seven are where trading never stops."""
    weekday = (days + 3) % 7  # day 0 was a Thursday; Monday is 0
    return bool((weekday >= 5).mean() > 0.1)


def _local_days(ts: Nanoseconds, zone: str) -> Nanoseconds:
    from datasets.ingest.times import wall_clock

    local = ts if zone == "UTC" else wall_clock(ts, zone)
    return (local - 1) // DAY_NS  # a bar that ends at midnight belongs to the day before


def _plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _length(ns: int) -> str:
    seconds = ns / 1e9
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.4g} s"


def _iso(ts_ns: int) -> str:
    text = str(np.datetime64(ts_ns, "ns"))
    seconds, _, fraction = text.partition(".")
    return f"{seconds}.{fraction.rstrip('0')}Z" if fraction.strip("0") else f"{seconds}Z"
