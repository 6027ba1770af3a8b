"""Splits, dividends and funding rates from CSV files, each put on the bar at which it happens.

A file has a time and, below usual names, a symbol and a value; or a time and one column a symbol, where an empty field
says nothing. A date is its midnight in the prices' zone. A split or dividend happens in the first bar that ends after
its time. A funding rate is paid in the first bar that ends at its time or later (venues stamp some milliseconds late,
which counts as in time); of several in one bar the sum. Rates come one after the other in an even rhythm: where one is
due and not there, the bar's rate is NaN, which a portfolio never takes as 0 by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.columns import BarColumns
from datasets.ingest.files import list_files, unpacked
from datasets.ingest.options import BarOptions, Interval, nearest
from datasets.ingest.small import MOST_TOLD, read_numbers, read_times, split_rows
from datasets.ingest.table import Problems, place, shown
from datasets.ingest.times import to_utc
from datasets.ingest.wide import wide_columns
from datasets.quality import N_PLACES, Finding, Place
from quantbot.errors import DataError, InputError
from quantbot.market import Floats, Nanoseconds

_SYMBOL = ("symbol", "ticker", "asset", "instrument")
_TIME = ("time", "date", "timestamp", "datetime", "ts", "ex_date", "funding_time", "fundingtime", "calc_time")
_LATE_NS = 1_000_000_000  # how late a venue may stamp a rate
_ADJUSTED = 0.002  # relative difference that rounding leaves between factors and what explains them
_CENT = 0.02


@dataclass(frozen=True)
class _Kind:
    """What a file holds: how its values may be called, and what they must be."""

    option: str
    names: tuple[str, ...]
    rule: str
    hint: str = ""

    def wrong(self, values: Floats) -> NDArray[np.bool_]:
        if self.option == "splits":
            return np.asarray(values <= 0.0)
        return np.asarray(values < 0.0 if self.option == "dividends" else np.abs(values) >= 1.0)


_KINDS = {
    "splits": _Kind("splits", ("ratio", "split", "splits"), "is not above 0"),
    "dividends": _Kind("dividends", ("amount", "dividend", "dividends", "cash"), "is below 0"),
    "funding": _Kind(
        "funding", ("rate", "funding", "funding_rate", "fundingrate", "last_funding_rate", "lastfundingrate"),
        "is 100 % or more", "rates are fractions: 0.0001 is a basis point",
    ),
}  # fmt: skip

Events = Mapping[str, tuple[Nanoseconds, Floats]]  # by symbol: times UTC, strictly rising, and values


def with_actions(
    columns: Mapping[str, BarColumns], options: BarOptions, zone: str
) -> tuple[dict[str, BarColumns], tuple[Finding, ...]]:
    """Put splits, dividends and funding of the options' files on the bars of every asset.

    Raises
    ------
    DataError
        If a line can't be, no symbol of a file has bars, or adjusted closes change where nothing says why; with file,
        line, field and value, or asset and bar.
    """
    found = dict(columns)
    findings: list[Finding] = []
    for kind in _KINDS.values():
        path = getattr(options, kind.option)
        if path is None:
            continue
        events = read_events(path, kind.option, options, zone, tuple(columns))
        known = {symbol: own for symbol, own in events.items() if symbol in columns}
        if not known:
            raise DataError(
                f"{Path(path).name}: none of its symbols ({', '.join(list(events)[:5])}) has bars; there are "
                f"{', '.join(list(columns)[:5])}{nearest(next(iter(events)), tuple(columns))}"
            )
        if unknown := [symbol for symbol in events if symbol not in columns]:
            text = f"symbols of {kind.option} have no bars: {', '.join(unknown[:10])}"
            findings.append(Finding("*", f"unknown_{kind.option}", "warning", len(unknown), text))
        if kind.option == "funding":
            findings += _place_funding(found, known, options)
        else:
            findings += _place_actions(found, known, kind.option)
    for symbol, bars in found.items():
        _require_explained(symbol, bars)
    return found, tuple(findings)


def read_events(path: str | Path, option: str, options: BarOptions, zone: str, symbols: tuple[str, ...]) -> Events:
    """Return the events of a file by symbol.

    Parameters
    ----------
    option
        What it holds: "splits", "dividends" or "funding".
    zone
        Of its dates and of times without an offset.
    symbols
        Of the bars: where there is one, a file of two columns is about it.
    """
    kind = _KINDS[option]
    (file,) = list_files(path)
    source = str(file)
    header, lines, rows = split_rows(b"".join(unpacked(file, options.max_bytes)), source)
    problems = Problems()
    stamps, cells = _cells(source, header, rows, kind, symbols)
    texts = [row[stamps] for row in rows]
    reading = replace(options, time_format=None)
    times, form = read_times(texts, header[stamps], source, lines, problems, reading)
    problems.raise_if_any()
    if form != "utc":
        if form == "date" and option == "funding":
            raise DataError(f"{source} has dates in {header[stamps]!r}; a funding rate has a time of day")
        times, skipped, twice, _ = to_utc(times, zone, options)
        for row in np.flatnonzero(skipped | twice)[:MOST_TOLD].tolist():
            where = place(source, "line", lines[row])
            problems.add(f"is no single moment in {zone}", where, f"{header[stamps]} {shown(texts[row])}")
    found: dict[str, tuple[list[int], list[float]]] = {}
    for symbol, column, which in cells:
        values = read_numbers([column[row] for row in which], symbol, source, [lines[row] for row in which], problems)
        for at in np.flatnonzero(kind.wrong(values))[:MOST_TOLD].tolist():
            where = place(source, "line", lines[which[at]])
            problems.add(kind.rule, where, f"{symbol} {values[at]:g}", hint=kind.hint)
        mine = found.setdefault(symbol, ([], []))
        mine[0].extend(times[which].tolist())
        mine[1].extend(values.tolist())
    problems.raise_if_any()
    return {symbol: _in_order(source, symbol, *own) for symbol, own in found.items() if own[0]}


def _cells(
    source: str, header: list[str], rows: list[list[str]], kind: _Kind, symbols: tuple[str, ...]
) -> tuple[int, list[tuple[str, list[str], list[int]]]]:
    """Return the position of the time, and of each symbol its texts and the rows that say something."""
    names = [name.lower().replace(" ", "_") for name in header]
    value = [at for at, name in enumerate(names) if name in kind.names]
    symbol = [at for at, name in enumerate(names) if name in _SYMBOL]
    if value and (symbol or len(symbols) == 1):
        if len(value) > 1 or len(symbol) > 1:
            raise DataError(f"{source} has more than one column of symbols or of {kind.option}: {', '.join(header)}")
        time = _time(source, header, names, (*value, *symbol))
        texts = [row[value[0]] for row in rows]
        by_symbol: dict[str, list[int]] = {}
        for number, row in enumerate(rows):
            by_symbol.setdefault(row[symbol[0]].strip() if symbol else symbols[0], []).append(number)
        return time, [(name, texts, which) for name, which in by_symbol.items()]
    positions = wide_columns(source, header, BarOptions(wide=True))
    cells = []
    for name, at in positions.items():
        if name != "time":
            texts = [row[at].strip() for row in rows]
            cells.append((name, texts, [number for number, text in enumerate(texts) if text]))
    return positions["time"], cells


def _time(source: str, header: list[str], names: list[str], taken: tuple[int, ...]) -> int:
    """Return the position of the time: the column that is called so, or the only one that is left."""
    left = [at for at in range(len(header)) if at not in taken]
    called = [at for at in left if names[at] in _TIME]
    if len(called) == 1 or len(left) == 1:
        return (called or left)[0]
    raise DataError(f"{source} needs one column called {', '.join(_TIME)}; found {', '.join(header)}")


def _in_order(source: str, symbol: str, times: list[int], values: list[float]) -> tuple[Nanoseconds, Floats]:
    stamps = np.array(times, dtype=np.int64)
    order = np.argsort(stamps, kind="stable")
    stamps = stamps[order]
    if (same := np.flatnonzero(np.diff(stamps) == 0)).size:
        when = np.datetime64(int(stamps[same[0]]), "ns").astype("datetime64[s]")
        raise DataError(f"{source} has {symbol} at {when}Z twice; add what belongs together, leave out what repeats")
    return stamps, np.array(values)[order]


def _place_actions(found: dict[str, BarColumns], events: Events, option: str) -> list[Finding]:
    """Put splits or dividends on the first bars that end after them; those before or after all bars play no part."""
    n = 0
    for symbol, (times, values) in events.items():
        ends = found[symbol].ts_end_ns
        at = np.searchsorted(ends, times, side="right")
        inside = (at > 0) & (at < len(ends))
        if not inside.any():
            continue
        n += int(inside.sum())
        split = option == "splits"
        column = np.ones(len(ends)) if split else np.zeros(len(ends))
        (np.multiply if split else np.add).at(column, at[inside], values[inside])
        own = found[symbol]
        found[symbol] = replace(own, split=column) if split else replace(own, dividend=column)
    return [Finding("*", option, "info", n, f"{option} are known, each on the bar at which it happens")]


def _place_funding(found: dict[str, BarColumns], events: Events, options: BarOptions) -> list[Finding]:
    findings = []
    said = Interval.parse(options.funding_every).ns if options.funding_every else None
    for symbol, (times, rates) in events.items():
        every = said or _rhythm(symbol, times)
        column, missing = funding_column(found[symbol].ts_end_ns, times, rates, every)
        found[symbol] = replace(found[symbol], funding=column)
        if missing.size:
            text = "bars whose funding rate is not known: a portfolio that holds it there fails, or counts them"
            places = tuple(Place(int(ts)) for ts in found[symbol].ts_end_ns[missing[:N_PLACES]])
            findings.append(Finding(symbol, "unknown_funding_rate", "warning", missing.size, text, places))
    if none := [symbol for symbol in found if symbol not in events]:
        text = f"assets without funding rates, taken as paying none: {', '.join(none[:10])}"
        findings.append(Finding("*", "no_funding", "warning", len(none), text))
    return findings


def _rhythm(symbol: str, times: Nanoseconds) -> int:
    if len(times) < 2:
        raise InputError(f"funding of {symbol} has one rate: say how far apart rates are (funding_every, such as 8h)")
    second = 1_000_000_000
    steps, counts = np.unique(np.round(np.diff(times) / second).astype(np.int64), return_counts=True)
    return max(int(steps[np.argmax(counts)]), 1) * second


def funding_column(
    ts_end_ns: Nanoseconds, times: Nanoseconds, rates: Floats, every_ns: int
) -> tuple[Floats, NDArray[np.intp]]:
    """Return each bar's funding rate, and the bars in which one is due that is not known.

    Parameters
    ----------
    ts_end_ns
        Shape (n_bars,): ends of bars. What happens up to the first end plays no part: nothing is held before it.
    times, rates
        Shape (n_rates,): when rates are paid, rising, and what longs pay shorts.
    every_ns
        The distance of rates: between two that are farther apart, and before the first and after the last, others are
        due.

    Returns
    -------
    Shape (n_bars,): sums of the rates, 0 where none is due, NaN where one is not known; the indices of those.

    Examples
    --------
    >>> hours = 3_600_000_000_000 * np.array([1, 2, 3, 4, 5, 6, 7, 8])
    >>> rates, unknown = funding_column(hours, hours[[1, 5]], np.array([1e-4, 2e-4]), 2 * int(hours[0]))
    >>> rates.tolist(), unknown.tolist()
    ([0.0, 0.0001, 0.0, nan, 0.0, 0.0002, 0.0, nan], [3, 7])
    """
    n = len(ts_end_ns)
    late = min(_LATE_NS, int(np.diff(ts_end_ns).min()) // 2) if n > 1 else 0
    gone = [np.arange(times[0] - every_ns, ts_end_ns[0] + late, -every_ns)]
    for before, after in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        n_steps = round((after - before) / every_ns)
        if n_steps > 1:
            gone.append(before + (after - before) * np.arange(1, n_steps) // n_steps)
    gone.append(np.arange(times[-1] + every_ns, ts_end_ns[-1] + late + 1, every_ns))
    column = np.zeros(n)
    for stamps, values in ((times, rates), (np.concatenate(gone).astype(np.int64), np.nan)):
        at = np.searchsorted(ts_end_ns, stamps - late, side="left")
        inside = (at > 0) & (at < n)
        np.add.at(column, at[inside], values[inside] if isinstance(values, np.ndarray) else values)
    return column, np.flatnonzero(np.isnan(column))


def _require_explained(symbol: str, bars: BarColumns) -> None:
    """Refuse adjusted closes that change where no split or dividend says why, or do not where a split says so."""
    if bars.adjustment is None or not bars.has_actions:
        return
    one = np.ones(len(bars))
    split = (one if bars.split is None else bars.split)[1:]
    paid = (0.0 * one if bars.dividend is None else bars.dividend)[1:]
    ratio = bars.adjustment[1:] / bars.adjustment[:-1]
    allowed = _ADJUSTED + _CENT / (bars.close * bars.adjustment)[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.stack(
            [split, split * (1.0 + paid / bars.close[1:]), split / (1.0 - paid * split / bars.close[:-1])]
        )
        away = np.nan_to_num(np.abs(ratio / wanted - 1.0), nan=np.inf).min(axis=0)
    if (wrong := np.flatnonzero(away > allowed)).size:
        bar = int(wrong[0]) + 1
        when = np.datetime64(int(bars.ts_end_ns[bar]), "ns").astype("datetime64[s]")
        raise DataError(
            f"{symbol}: at {when}Z the adjusted close changes against the close by {ratio[bar - 1]:.6g}, but "
            f"the files say a split of {split[bar - 1]:g} and a dividend of {paid[bar - 1]:g} ({wrong.size} bars like "
            "that); give both splits and dividends, or leave the adjusted close out"
        )
