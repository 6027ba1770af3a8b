"""The rules that every bar keeps, and the repairs that a user may name for each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datasets.calendars import Sessions
from datasets.ingest.options import BarOptions, Interval
from datasets.ingest.rows import Floats, Repairs, Rows
from datasets.ingest.table import Mask, Problems

# Open or close may pass high or low by this share of the price and still be called rounding: adjusted series are
# products of float64 factors (relative error about 1e-16 each) that vendors round to 6 to 10 digits.
ROUNDING = 1e-9


def apply_bar_rules(rows: Rows, options: BarOptions, problems: Problems, repairs: Repairs) -> Rows:
    """Check each bar by itself: positive prices, low <= open, close <= high, volume not negative.

    Rows that break a rule are repaired or left out where `options.repair` says so, else added to `problems`.
    """
    impossible = np.zeros(len(rows), dtype=bool)
    for role in ("open", "high", "low", "close", "adjusted_close"):
        if role in rows.numbers and not options.negative_prices:
            impossible |= _refuse(
                rows, rows.numbers[role] <= 0, "is not positive", _value(rows, role), options, problems,
                "negative_prices=True accepts prices at or below 0",
            )  # fmt: skip
    impossible |= _refuse(rows, rows.numbers["volume"] < 0, "is negative", _value(rows, "volume"), options, problems)
    if "adjusted_close" in rows.numbers:
        impossible |= _refuse_factors(rows, options, problems)
    high, low = rows.numbers["high"], rows.numbers["low"]
    crossed = _refuse(rows, (high < low) & ~impossible, "is below low", _pair(rows, "high", "low"), options, problems)
    impossible |= crossed
    rows, outside = _settle_range(rows, impossible, options, problems, repairs)
    impossible |= outside
    if impossible.any() and options.allows("drop_invalid"):
        repairs.add_rows(rows, impossible, "drop_invalid")
        return rows.take(~impossible)
    return rows


def apply_order_rules(rows: Rows, options: BarOptions, problems: Problems, repairs: Repairs, *, ordered: bool) -> Rows:
    """Check that the times of each symbol rise, and that none occurs twice.

    Parameters
    ----------
    rows
        Stamped at their ends, grouped by symbol, in the order of their sources.
    ordered
        Whether the order of rows means anything: not in a query's result, which is sorted without asking.
    """
    same = rows.symbol[1:] == rows.symbol[:-1]
    back = np.zeros(len(rows), dtype=bool)
    back[1:] = same & (rows.ts_ns[1:] < rows.ts_ns[:-1])
    if back.any() and ordered and not options.allows("sort"):
        newest_first = back.sum() * 2 > len(rows)
        rows.report(
            problems, back, "is earlier than the row before it", _time(rows),
            hint=("the rows run newest first: " if newest_first else "") + "repair=('sort',) puts rows in order",
        )  # fmt: skip
        return rows
    if back.any():
        if ordered:
            repairs.add_rows(rows, back, "sort")
        rows = rows.take(np.lexsort((rows.ts_ns, rows.symbol)))
    twice = np.zeros(len(rows), dtype=bool)
    twice[1:] = (rows.symbol[1:] == rows.symbol[:-1]) & (rows.ts_ns[1:] == rows.ts_ns[:-1])
    if not twice.any():
        return rows
    if options.allows("drop_duplicates"):
        repairs.add_rows(rows, twice, "drop_duplicates")
        return rows.take(~twice)
    if options.allows("drop_duplicates_last"):
        superseded = np.append(twice[1:], False)
        repairs.add_rows(rows, superseded, "drop_duplicates_last")
        return rows.take(~superseded)

    def what(row: int) -> str:
        return f"{_time(rows)(row)} of {rows.symbols[rows.symbol[row]]} (also {rows.where(row - 1)})"

    hint = "repair=('drop_duplicates',) keeps the first of each, ('drop_duplicates_last',) the last"
    rows.report(problems, twice, "occurs twice", what, hint)
    return rows


def fill_gaps(rows: Rows, sessions: Sessions, interval: Interval, repairs: Repairs) -> Rows:
    """Put a flat bar at the close before it wherever a session lacks one between a symbol's first and last bar."""
    parts = []
    for code, symbol in enumerate(rows.symbols):
        part = rows.take(rows.symbol == code)
        if not len(part):
            continue
        ends = sessions.ends(None if interval.daily_or_longer else interval.ns)
        ends = ends[(ends > part.ts_ns[0]) & (ends < part.ts_ns[-1])]
        missing = np.setdiff1d(ends, part.ts_ns, assume_unique=True)
        if len(missing):
            source = np.searchsorted(part.ts_ns, missing) - 1
            flat = part.take(source).with_times(missing)
            close = flat.numbers["close"]
            flat = flat.with_numbers(open=close, high=close, low=close, volume=np.zeros(len(missing)))
            for row in range(len(flat)):
                repairs.add(symbol, "fill_gaps", f"after {flat.origin(row)}")
            part = concatenate([part, flat])
            part = part.take(np.argsort(part.ts_ns, kind="stable"))
        parts.append(part)
    return concatenate(parts)


def concatenate(parts: list[Rows]) -> Rows:
    """Join rows of the same symbols and sources."""
    first = parts[0]
    return Rows(
        np.concatenate([part.ts_ns for part in parts]),
        {role: np.concatenate([part.numbers[role] for part in parts]) for role in first.numbers},
        np.concatenate([part.symbol for part in parts]),
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.line for part in parts]),
        first.symbols,
        first.sources,
    )


def _refuse(
    rows: Rows,
    mask: Mask,
    rule: str,
    what: Callable[[int], str],
    options: BarOptions,
    problems: Problems,
    hint: str = "",
) -> Mask:
    """Report a rule's breaches, unless they will be left out."""
    if mask.any() and not options.allows("drop_invalid"):
        leave_out = "repair=('drop_invalid',) leaves impossible bars out"
        rows.report(problems, mask, rule, what, f"{hint}; {leave_out}" if hint else leave_out)
    return mask


def _refuse_factors(rows: Rows, options: BarOptions, problems: Problems) -> Mask:
    adjusted, close = rows.numbers["adjusted_close"], rows.numbers["close"]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        factor = adjusted / close
    unusable = ~(np.isfinite(factor) & (factor > 0)) & (adjusted > 0) & (close > 0)
    if options.negative_prices:
        unusable = ~(np.isfinite(factor) & (factor > 0))
    what = _pair(rows, "adjusted_close", "close")
    return _refuse(rows, unusable, "is no positive multiple of close", what, options, problems)


def _settle_range(
    rows: Rows, impossible: Mask, options: BarOptions, problems: Problems, repairs: Repairs
) -> tuple[Rows, Mask]:
    """Keep open and close within [low, high] by the named policy; give the rows and which of them still break it."""
    still = np.zeros(len(rows), dtype=bool)
    for role in ("open", "close"):
        value, low, high = rows.numbers[role], rows.numbers["low"], rows.numbers["high"]
        over = np.maximum(value - high, low - value)  # > 0 outside
        outside = (over > 0) & ~impossible
        if not outside.any():
            continue
        rounding = outside & (over <= ROUNDING * np.abs(value))
        if options.allows("widen_range"):
            rows = rows.with_numbers(
                high=np.where(outside, np.maximum(high, value), high),
                low=np.where(outside, np.minimum(low, value), low),
            )
            repairs.add_rows(rows, outside, "widen_range")
            continue
        for policy, affected in (("clip_range", outside), ("clip_rounding", rounding)):
            if options.allows(policy) and affected.any():
                rows = rows.with_numbers(**{role: np.where(affected, np.clip(value, low, high), value)})
                repairs.add_rows(rows, affected, policy)
                outside = outside & ~affected
                break
        by_rounding = outside.any() and bool(rounding[outside].all())
        hint = (
            "by rounding alone: repair=('clip_rounding',) moves them onto the range"
            if by_rounding
            else "repair=('clip_range',) moves open and close onto the range, ('widen_range',) the range out to them"
        )
        still |= _refuse(rows, outside, "is outside [low, high]", _in_range(rows, role), options, problems, hint)
    return rows, still


def _value(rows: Rows, role: str) -> Callable[[int], str]:
    return lambda row: f"{role} {_number(rows.numbers[role], row)}"


def _pair(rows: Rows, role: str, other: str) -> Callable[[int], str]:
    return lambda row: f"{_value(rows, role)(row)} ({_value(rows, other)(row)})"


def _in_range(rows: Rows, role: str) -> Callable[[int], str]:
    return lambda row: f"{_value(rows, role)(row)} ({_value(rows, 'low')(row)}, {_value(rows, 'high')(row)})"


def _number(values: Floats, row: int) -> str:
    return repr(float(values[row]))


def _time(rows: Rows) -> Callable[[int], str]:
    return lambda row: f"time {iso(int(rows.ts_ns[row]))}"


def iso(ts_ns: int) -> str:
    """Give a UTC time as people read it, without zeros that say nothing."""
    text = str(np.datetime64(ts_ns, "ns"))
    return text.rstrip("0").removesuffix(".").removesuffix(":00") + "Z" if "." in text else text + "Z"
