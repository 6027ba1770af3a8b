"""Times from text, counts or typed columns: strict, never guessed where two readings fit.

Text is ISO 8601 (``2024-03-08``, ``2024-03-08 14:30``, ``…T14:30:00.25Z``, ``…+01:00``) unless `BarOptions.time_format`
names another form. A count since 1970 is taken as seconds, milliseconds, microseconds or nanoseconds by its size: each
has its own range of sizes for the years 1973 to 2286 and between two ranges lies a factor of ten that is refused. All
rows of a source have one form. A time without offset is local to `BarOptions.zone`.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.options import BarOptions
from datasets.ingest.table import Mask

if TYPE_CHECKING:
    import pyarrow as pa

Nanoseconds = NDArray[np.int64]
Kind = Literal["date", "local", "utc"]

UNITS_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
# Size of a count in each unit for 1973-03-03 to 2286-11-20.
_COUNT_RANGES = {"s": (10**8, 10**10), "ms": (10**11, 10**13), "us": (10**14, 10**16), "ns": (10**17, 9 * 10**18)}
EARLIEST_NS = int(np.datetime64("1700-01-01", "ns").astype(np.int64))
LATEST_NS = int(np.datetime64("2200-01-01", "ns").astype(np.int64))
_COUNT = r"^[+-]?[0-9]{1,19}(\.[0-9]{1,18})?$"
_BLANKS = " \t"
_BAD = np.iinfo(np.int64).min


class TimeReader:
    """Reads the time column of one source, chunk by chunk; the first readable time fixes the form of all.

    Attributes
    ----------
    kind
        ``date`` (a day), ``local`` (a wall clock's time without zone) or ``utc``; None before the first time.
    """

    def __init__(self, options: BarOptions) -> None:
        self._format = options.time_format
        self._form: str | None = None
        self.kind: Kind | None = None

    def read(self, values: pa.Array) -> tuple[Nanoseconds, Mask]:
        """Give nanoseconds since 1970 (of the wall clock, for local times and dates) and a mask of the unreadable."""
        import pyarrow as pa

        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            ns, bad = self._read_text(values)
        else:
            ns, bad = self._read_typed(values)
        bad |= (ns < EARLIEST_NS) | (ns >= LATEST_NS)
        return np.where(bad, _BAD, ns), bad

    def explain(self, value: object) -> str:
        """Say which rule a time breaks that `read` marked as unreadable."""
        if value is None or not str(value).strip():
            return "is empty"
        text = str(value).strip(_BLANKS)
        if self._form is None and self._format is None and re.fullmatch(_COUNT, text):
            return (
                "is a count that fits no unit for certain (seconds, ms, us and ns of the years 1973 to 2286 do); "
                "pass time_format='s', 'ms', 'us' or 'ns', or '%Y%m%d' where it is a date"
            )
        if self._form is None:
            return "is no ISO 8601 date or time; pass time_format, such as '%d/%m/%Y %H:%M'"
        form = _FORM_NAMES.get(self._form, self._form)
        return f"is not a time between 1700 and 2199 in the form of the others here ({form})"

    def _read_typed(self, values: pa.Array) -> tuple[Nanoseconds, Mask]:
        import pyarrow as pa

        type_ = values.type
        bad = values.is_null().to_numpy(zero_copy_only=False).astype(bool)
        if pa.types.is_timestamp(type_):
            self._fix("timestamp", "local" if type_.tz is None else "utc")
            return _scaled(values.cast(pa.int64()), UNITS_NS[type_.unit], bad)
        if pa.types.is_date(type_):
            self._fix("date", "date")
            unit_ns = 86_400 * UNITS_NS["s"] if pa.types.is_date32(type_) else UNITS_NS["ms"]
            days = values.cast(pa.int32()).cast(pa.int64()) if pa.types.is_date32(type_) else values.cast(pa.int64())
            return _scaled(days, unit_ns, bad)
        return self._read_text(values.cast(pa.string()))  # counts, held as numbers

    def _read_text(self, values: pa.Array) -> tuple[Nanoseconds, Mask]:
        import pyarrow.compute as pc

        text = pc.utf8_trim(pc.fill_null(values, ""), _BLANKS)
        if self._form is None:
            self._recognise(text)
        if self._form is None:
            return np.full(len(text), _BAD), np.ones(len(text), dtype=bool)
        if self._form in UNITS_NS:
            return self._read_counts(text)
        if self._form.startswith("%"):
            return _read_format(text, self._form)
        return _read_iso(text, self._form)

    def _recognise(self, text: pa.Array) -> None:
        """Fix the form by the first of the leading texts that has one."""
        import pyarrow as pa

        if self._format in UNITS_NS:
            self._fix(self._format, "utc")
            return
        if self._format is not None and self._format != "iso":
            has_zone, has_hour = "%z" in self._format, bool(re.search(r"%[HIXcsT]", self._format))
            self._fix(self._format, "utc" if has_zone else "local" if has_hour else "date")
            return
        for value in text[:100].to_pylist():
            one = pa.array([value])
            for form, kind in _FORMS.items():
                if not _read_iso(one, form)[1][0]:
                    self._fix(form, kind)
                    return
            unit = _unit_of(value) if self._format is None else None
            if unit is not None:
                self._fix(unit, "utc")
                return

    def _fix(self, form: str, kind: Kind) -> None:
        self._form, self.kind = form, kind

    def _read_counts(self, text: pa.Array) -> tuple[Nanoseconds, Mask]:
        import pyarrow as pa
        import pyarrow.compute as pc

        unit_ns = UNITS_NS[cast("str", self._form)]
        bad: Mask = ~pc.match_substring_regex(text, _COUNT).to_numpy(zero_copy_only=False).astype(bool)
        whole = pc.match_substring_regex(text, r"^[0-9]{1,18}$").to_numpy(zero_copy_only=False).astype(bool)
        counts = pc.if_else(pa.array(whole), text, "0").cast(pa.int64())
        ns, out_of_range = _scaled(counts, unit_ns, np.zeros(len(text), dtype=bool))
        bad |= out_of_range
        for row in np.flatnonzero(~whole & ~bad):  # negative counts and fractions: rare, exact
            exact = Decimal(text[int(row)].as_py()) * unit_ns
            ns[row] = int(exact.to_integral_value()) if abs(exact) < 2**62 else _BAD
        if self._format is None:  # found by size: every row must have that size
            low, high = (bound * unit_ns for bound in _COUNT_RANGES[cast("str", self._form)])
            bad |= (ns < low) | (ns >= min(high, LATEST_NS))
        return ns, bad


_FORMS: dict[str, Kind] = {"date": "date", "local": "local", "utc": "utc"}
_FORM_NAMES = {
    "date": "a date, YYYY-MM-DD",
    "local": "ISO 8601 without an offset",
    "utc": "ISO 8601 with an offset",
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
}


def _read_iso(text: pa.Array, form: str) -> tuple[Nanoseconds, Mask]:
    import pyarrow as pa
    import pyarrow.compute as pc

    type_ = pa.timestamp("ns", "UTC") if form == "utc" else pa.timestamp("ns")
    is_date = pc.equal(pc.utf8_length(text), 10).to_numpy(zero_copy_only=False).astype(bool)
    bad = ~is_date if form == "date" else is_date
    # Arrow's own parser refuses 30 February, hour 25 and years outside 1677 to 2262.
    return _cast_each(
        pc.if_else(pa.array(bad), "1970-01-01T00:00:00Z"[: 19 if form != "utc" else 20], text), type_, bad
    )


def _cast_each(text: pa.Array, type_: pa.DataType, bad: Mask) -> tuple[Nanoseconds, Mask]:
    """Cast in as few calls as possible: whole, then halves of what fails, down to the texts that are bad."""
    import pyarrow as pa

    ns = np.full(len(text), _BAD, dtype=np.int64)
    bad = bad.copy()
    spans = [(0, len(text))]
    while spans:
        start, stop = spans.pop()
        try:
            ns[start:stop] = text[start:stop].cast(type_).cast(pa.int64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            if stop - start == 1:
                bad[start] = True
            else:
                middle = (start + stop) // 2
                spans += [(start, middle), (middle, stop)]
    return ns, bad


def _read_format(text: pa.Array, form: str) -> tuple[Nanoseconds, Mask]:
    import pandas as pd

    from quantbot.errors import InputError

    try:
        times = pd.to_datetime(
            pd.Series(text.to_pylist(), dtype=object), format=form, errors="coerce", utc="%z" in form
        )
    except Exception as error:  # a wrong format string raises ValueError, re.error and more
        raise InputError(f"time_format {form!r} can't be used: {error}") from error
    if times.dt.tz is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    bad = np.array(times.isna())
    years = times.dt.year.to_numpy()
    bad |= ~((years >= 1700) & (years < 2200))
    stamps = np.where(bad, np.datetime64("1970-01-01", "us"), times.to_numpy().astype("datetime64[us]"))
    fine = times.dt.nanosecond.fillna(0).to_numpy().astype(np.int64)
    return stamps.astype(np.int64) * 1000 + np.where(bad, 0, fine), bad


def _scaled(values: pa.Array, unit_ns: int, bad: Mask) -> tuple[Nanoseconds, Mask]:
    """Multiply without overflow: what leaves the range of int64 is marked."""
    import pyarrow.compute as pc

    counts = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
    limit = np.iinfo(np.int64).max // unit_ns
    bad = bad | (counts > limit) | (counts < -limit)
    return np.where(bad, 0, counts) * unit_ns, bad


def _unit_of(value: str) -> str | None:
    if not re.fullmatch(_COUNT, value):
        return None
    try:
        size = Decimal(value)
    except InvalidOperation:
        return None
    return next((unit for unit, (low, high) in _COUNT_RANGES.items() if low <= size < high), None)


def to_utc(local_ns: Nanoseconds, zone: str, options: BarOptions) -> tuple[Nanoseconds, Mask, Mask, dict[str, int]]:
    """Turn wall-clock times into UTC by the rules of `zone`.

    Returns
    -------
    The times, a mask of those that never were (the clocks sprang over them), a mask of those that were twice and no
    policy tells apart, and how many times each named policy decided.
    """
    wall = _index(local_ns)
    placed = wall.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    ns = np.array(_integers(placed.tz_convert("UTC")))
    open_ = np.asarray(placed.isna())
    used: dict[str, int] = {}
    if not open_.any():
        return ns, open_, open_.copy(), used
    rows = np.flatnonzero(open_)
    skipped = np.zeros(len(ns), dtype=bool)
    skipped[rows] = np.asarray(
        wall[rows].tz_localize(zone, ambiguous=np.ones(len(rows), bool), nonexistent="NaT").isna()
    )
    twice = open_ & ~skipped
    if options.allows("dst_shift") and skipped.any():
        ns[skipped] = _settle(local_ns[skipped], zone, summer=True)
        used["dst_shift"] = int(skipped.sum())
        skipped[:] = False
    for policy, summer in (("dst_first", True), ("dst_second", False)):
        if options.allows(policy) and twice.any():
            ns[twice] = _settle(local_ns[twice], zone, summer=summer)
            used[policy] = int(twice.sum())
            twice[:] = False
    if options.allows("dst_infer") and twice.any():
        told = _infer(local_ns, twice, ns, zone)
        used["dst_infer"] = int(told.sum())
        twice &= ~told
    return ns, skipped, twice, used


def _infer(local_ns: Nanoseconds, twice: Mask, ns: Nanoseconds, zone: str) -> Mask:
    """Tell repeated hours apart by order: within a run of them the second pass begins where the clock does not go on.

    A run that goes on to its end holds one pass only, and nothing says which: it stays open. So does a run whose
    neighbours do not show that the rows run forward in time.
    """
    told = np.zeros(len(twice), dtype=bool)
    rows = np.flatnonzero(twice)
    for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
        back = np.flatnonzero(np.diff(local_ns[run]) <= 0)
        before, after = max(run[0] - 1, 0), min(run[-1] + 1, len(twice) - 1)
        if (
            len(back) == 1
            and local_ns[before] <= local_ns[run[0]]
            and local_ns[run[-1]] <= local_ns[after]
            and before < after
        ):
            first, second = run[: back[0] + 1], run[back[0] + 1 :]
            ns[first] = _settle(local_ns[first], zone, summer=True)
            ns[second] = _settle(local_ns[second], zone, summer=False)
            told[run] = True
    return told


def add_to_wall(local_ns: Nanoseconds, zone: str, *, n: int, unit: str) -> Nanoseconds:
    """Give the UTC moment `n` days, weeks or months later on the wall clock of `zone`.

    Where that local time does not exist, it is the moment the clocks sprang forward to; where it is twice, the first.
    """
    import pandas as pd

    offset = {"d": pd.DateOffset(days=n), "w": pd.DateOffset(weeks=n), "mo": pd.DateOffset(months=n)}[unit]
    return _settle(_integers(_index(local_ns) + offset), zone, summer=True)


def wall_clock(ts_ns: Nanoseconds, zone: str) -> Nanoseconds:
    """Give the local time of `zone` at each UTC moment, as nanoseconds since 1970 on its own clock."""
    return _integers(_index(ts_ns).tz_localize("UTC").tz_convert(zone).tz_localize(None))


def _settle(local_ns: Nanoseconds, zone: str, *, summer: bool) -> Nanoseconds:
    flags = np.full(len(local_ns), summer, dtype=bool)
    return _integers(_index(local_ns).tz_localize(zone, ambiguous=flags, nonexistent="shift_forward").tz_convert("UTC"))


def _index(ns: Nanoseconds) -> Any:
    import pandas as pd

    return pd.DatetimeIndex(ns.astype("datetime64[ns]"))


def _integers(index: Any) -> Nanoseconds:
    naive = index if index.tz is None else index.tz_localize(None)
    return cast("Nanoseconds", np.asarray(naive.to_numpy().astype("datetime64[ns]").astype(np.int64)))
