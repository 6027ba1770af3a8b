"""How time is divided: the whole period, a holdout, a walk forward, a k-fold or combinations of groups.

    holdout        |------------ train ------------|..gap..|--- test ---|

    walk_forward   |--- train 1 ---|..|- test 1 -|
    rolling                   |--- train 2 ---|..|- test 2 -|
                                         |--- train 3 ---|..|- test 3 -|

    walk_forward   |--- train 1 ---|..|- test 1 -|
    anchored       |--------- train 2 --------|..|- test 2 -|

    kfold          |-- test 1 --|..|------ train ------------|
                   |-- train -|..|-- test 2 --|..|-- train --|
                   |------ train ----------|..|-- test 3 ----|

    cpcv           |-- test 1 --|..|-- train -|..|-- test 3 -|    ... and every other choice of so many test groups

In the gap no label of a train bar reaches a test, or the reverse. Of a holdout and a walk forward, `purge` bars are
taken from the end of each train range and `embargo` bars from the beginning of each test range. Of a k-fold and of
combinatorial purged cross-validation (CPCV) tests are whole: `purge` bars are taken from a train range before a test,
`purge + embargo` bars after one (`quantbot.selection.splits`).

Their folds are the groups: each once as a test, "test 3", and as train in the forms that some combination needs:
"train 3" whole, "train 3 before test" cut at its end, "train 3 after test" cut at its start, "train 3 between tests"
cut at both. What a combination learns from is a union of these (`sweeps.splits`), pooled from their rows, not run.

The fold "all", the whole period, comes first, except beside a locked holdout, since it contains the test. A trial
starts flat at the beginning of its fold; indicators see the bars before it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from quantbot.errors import SpecError
from quantbot.selection.splits import Range, equal_groups, group_choices
from sweeps.trial import Fold, Trim

if TYPE_CHECKING:
    from quantbot.market import Nanoseconds
    from sweeps.sections import Folds

MAX_FOLDS = 1_000
_MIN_BARS = 2  # one return
_UNITS_NS = {"s": 10**9, "min": 60 * 10**9, "h": 3_600 * 10**9, "d": 86_400 * 10**9, "w": 7 * 86_400 * 10**9}
_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(%|s|min|h|d|w)")


@dataclass(frozen=True)
class Length:
    """A length of time: a number of bars, a fraction of all bars, or nanoseconds."""

    bars: int = 0
    fraction: float = 0.0
    ns: int = 0

    def advance(self, times: Nanoseconds, start: int) -> int:
        """Return the index of the first bar that lies beyond this length from bar `start`; more than `n` if none."""
        if self.ns:
            beyond = int(times[start]) + self.ns
            return times.shape[0] + 1 if beyond > int(times[-1]) + _usual_step(times) else _index(times, beyond)
        return start + (self.bars or max(1, math.floor(self.fraction * times.shape[0] + 1e-9)))


def parse_length(value: int | str) -> Length:
    """Parse a length: 250 (bars), "20%", "90d", "6h", "30min", "45s" or "2w".

    Examples
    --------
    >>> parse_length("90d").ns // 86_400_000_000_000
    90
    """
    if isinstance(value, int):
        if not 1 <= value <= 10**9:
            raise ValueError("a number of bars must be from 1 to 1,000,000,000")
        return Length(bars=value)
    match = _LENGTH.fullmatch(value[:40].strip())
    if not match:
        raise ValueError('a length must be a number of bars, "20%", or a number with s, min, h, d or w such as "90d"')
    number, unit = match.groups()
    if unit == "%":
        if not 0 < float(number) < 100:
            raise ValueError("a percentage must lie between 0% and 100%")
        return Length(fraction=float(number) / 100)
    ns = round(float(number) * _UNITS_NS[unit])
    if not 0 < ns < 2**62:
        raise ValueError("a duration must be more than 0 and less than 146 years")
    return Length(ns=ns)


def boundary_ns(moment: date, zone: str = "UTC", *, end: bool = False) -> int:
    """Return the first nanosecond after a date's beginning (or its end), or after a time.

    Bars are stamped at their end, so a bar that ends at midnight belongs to the day before: a range starts *after*
    its start, and includes what ends *at* its end. Both are half-open ranges of nanoseconds shifted by one.

    Parameters
    ----------
    zone
        Where days begin. A time without a zone of its own is UTC.
    end
        Take the end of a date's day.
    """
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo("UTC"))
    else:
        days = timedelta(days=1) if end and moment < date.max else timedelta(0)
        aware = datetime.combine(moment + days, datetime.min.time(), tzinfo=ZoneInfo(zone))
    offset = aware.utcoffset() or timedelta(0)
    since = aware.replace(tzinfo=None) - datetime(1970, 1, 1)  # noqa: DTZ001 - both without zone: the offset follows
    microseconds = (since - offset) // timedelta(microseconds=1)
    return max(-(2**63), min(2**63 - 1, microseconds * 1_000 + 1))


def make_folds(folds: Folds, times: Nanoseconds, start_ns: int, end_ns: int, zone: str = "UTC") -> tuple[Fold, ...]:
    """Divide the bars of a period into folds.

    Parameters
    ----------
    times
        Shape (n_bars,), rising: the end of every bar of any asset.
    start_ns, end_ns
        The half-open period.

    Raises
    ------
    SpecError
        If the period has too few bars for it, or it makes too many folds.
    """
    start, stop = _index(times, start_ns), _index(times, end_ns)
    inside = times[start:stop]
    if inside.shape[0] < _MIN_BARS:
        found = f"{inside.shape[0]} bars" + (f" of {times.shape[0]:,}" if times.shape[0] else "")
        raise SpecError(
            f"data: the period holds {found}, at least {_MIN_BARS} are needed; the dataset has {_span(times)}"
        )
    whole = Fold("all", "all", start_ns, end_ns)
    match folds.method:
        case "none":
            return (whole,)
        case "holdout":
            pair = _holdout(folds, inside, whole, zone)
            return tuple(pair) if folds.locked else (whole, *pair)
        case "walk_forward":
            return (whole, *_walk_forward(folds, inside, whole))
    return (whole, *_groups(folds, inside, whole))


def _holdout(folds: Folds, times: Nanoseconds, whole: Fold, zone: str) -> list[Fold]:
    n_bars = times.shape[0]
    if isinstance(folds.test, date):
        split = _index(times, boundary_ns(folds.test, zone))
    else:
        length = parse_length(folds.test)  # type: ignore[arg-type]  # the spec's own check: a holdout has a test
        by_time = _index(times, int(times[-1]) - length.ns + 1)
        split = by_time if length.ns else n_bars - length.advance(times, 0)
    if not 0 < split < n_bars:
        raise SpecError(f"folds.test: {folds.test} leaves no bar on one side; the period has {_span(times)}")
    return _pair(folds, times, whole, "", (0, split), (split, n_bars))


def _walk_forward(folds: Folds, times: Nanoseconds, whole: Fold) -> list[Fold]:
    made: list[Fold] = []
    for number, (train, test) in enumerate(_steps(folds, times), 1):
        if number > MAX_FOLDS:
            raise SpecError(f"folds: more than {MAX_FOLDS:,} tests; make test longer than {folds.test}")
        made += _pair(folds, times, whole, f" {number}", train, test)
    if not made:
        raise SpecError(
            f"folds: train {folds.train} and test {folds.test} do not fit once into the period of {_span(times)}"
        )
    return made


def _steps(folds: Folds, times: Nanoseconds) -> list[tuple[Range, Range]]:
    """Return train and test of every step as ranges of bars, before the gap; an incomplete last test is left out."""
    n_bars, train_ns = times.shape[0], 0
    if folds.n is not None:
        edges = [round(part * n_bars / (folds.n + 1)) for part in range(folds.n + 2)]
    else:
        train, test = parse_length(folds.train or 0), parse_length(folds.test)  # type: ignore[arg-type]
        train_ns = train.ns
        edges = [0, train.advance(times, 0)]
        while edges[-1] < n_bars and len(edges) <= MAX_FOLDS + 2:
            edges.append(max(test.advance(times, edges[-1]), edges[-1] + 1))
        while edges and edges[-1] > n_bars:
            edges.pop()
    steps = []
    for first, last in pairwise(edges[1:]):
        begin = 0
        if folds.window == "rolling":  # as long as the first train range: in time, or in bars
            begin = _index(times, int(times[first]) - train_ns) if train_ns else max(0, first - edges[1])
        steps.append(((begin, first), (first, last)))
    return steps


def _pair(folds: Folds, times: Nanoseconds, whole: Fold, suffix: str, train: Range, test: Range) -> list[Fold]:
    """Return a train and a test fold with the gap between them."""
    train = (train[0], train[1] - folds.purge)
    test = (test[0] + folds.embargo, test[1])
    for role, window in (("train", train), ("test", test)):
        _require_bars(f"{role}{suffix}", window, folds)
    return [
        Fold(f"train{suffix}", "train", *_moments(train, times, whole)),
        Fold(f"test{suffix}", "test", *_moments(test, times, whole)),
    ]


_BESIDE: dict[Trim, str] = {"": "", "end": " before test", "start": " after test", "both": " between tests"}


def _groups(folds: Folds, times: Nanoseconds, whole: Fold) -> list[Fold]:
    """Return each group as a test, and as train in each form that a combination needs."""
    n_groups, n_test = folds.groups or folds.n or 0, folds.test_groups or 1
    if times.shape[0] < _MIN_BARS * n_groups:
        raise SpecError(f"folds: {n_groups} groups need {_MIN_BARS} bars each, the period has {_span(times)}")
    needed: list[set[Trim]] = [set() for _ in range(n_groups)]
    for tested in group_choices(n_groups, n_test):
        for group in set(range(n_groups)) - set(tested):
            needed[group].add(trim_beside(group, tested, folds.purge, folds.embargo))
    made = []
    for group, (start, stop) in enumerate(equal_groups(times.shape[0], n_groups)):
        number = group + 1
        for trim in (trim for trim in _BESIDE if trim in needed[group]):
            name = f"train {number}{_BESIDE[trim]}"
            window = _trimmed((start, stop), trim, folds)
            _require_bars(name, window, folds)
            made.append(Fold(name, "train", *_moments(window, times, whole), number, trim))
        made.append(Fold(f"test {number}", "test", *_moments((start, stop), times, whole), number))
    return made


def trim_beside(group: int, tested: Collection[int], purge: int, embargo: int) -> Trim:
    """Return where a training group is cut when the groups `tested` are tested; all counted alike.

    Examples
    --------
    >>> trim_beside(2, (1, 3), purge=5, embargo=0), trim_beside(2, (3, 4), 5, 0), trim_beside(2, (3,), 0, 9)
    ('both', 'end', '')
    """
    start = group - 1 in tested and purge + embargo > 0
    end = group + 1 in tested and purge > 0
    return "both" if start and end else "start" if start else "end" if end else ""


def _trimmed(window: Range, trim: Trim, folds: Folds) -> Range:
    start, stop = window
    if trim in ("start", "both"):
        start += folds.purge + folds.embargo
    return start, stop - folds.purge if trim in ("end", "both") else stop


def _require_bars(name: str, window: Range, folds: Folds) -> None:
    n_bars = max(window[1] - window[0], 0)
    if n_bars < _MIN_BARS:
        raise SpecError(
            f"folds: {name} has {n_bars} bars after purge {folds.purge} and embargo {folds.embargo}, at least "
            f"{_MIN_BARS} are needed; make it longer"
        )


def _moments(window: Range, times: Nanoseconds, whole: Fold) -> tuple[int, int]:
    """Return the half-open range of time that has these bars; the first one begins with the period."""
    start, stop = (int(times[bar]) if bar < times.shape[0] else whole.end_ns for bar in window)
    return (whole.start_ns if window[0] == 0 else start), stop


def _index(times: Nanoseconds, moment_ns: int) -> int:
    return int(np.searchsorted(times, np.int64(max(-(2**63), min(2**63 - 1, moment_ns)))))


def _usual_step(times: Nanoseconds) -> int:
    """Return the median distance of bars: how far the last one reaches."""
    return int(np.median(np.diff(times))) if times.shape[0] > 1 else 0


def _span(times: Nanoseconds) -> str:
    if times.shape[0] == 0:
        return "no bars"
    first, last = (str(np.datetime64(int(t), "ns").astype("datetime64[s]")) for t in (times[0], times[-1]))
    return f"{times.shape[0]:,} bars from {first} to {last} UTC"
