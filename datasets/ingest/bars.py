"""The common path of every raw format: rows in, one checked dataset out, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from datasets.calendars import DAY_NS, periods_per_year
from datasets.columns import BarColumns
from datasets.ingest.actions import with_actions
from datasets.ingest.options import BarOptions, Interval
from datasets.ingest.reading import Source, read_rows
from datasets.ingest.rows import Repairs, Rows
from datasets.ingest.rules import apply_bar_rules, apply_order_rules, fill_gaps
from datasets.ingest.stamps import Stamped, stamp_ends
from datasets.ingest.table import Problems
from datasets.quality import Finding, QualityReport, check_bars
from datasets.schema import BarsMeta
from quantbot.errors import DataError, InputError, QuantBotError
from quantbot.market import BAR_FIELDS

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.store import Store

Progress = Callable[[float, str], None]
_ENOUGH_TO_COUNT_NS = 60 * DAY_NS
_READ, _CHECKED = 0.7, 0.85  # shares of the whole that the progress shows


@dataclass(frozen=True, eq=False)
class IngestResult:
    """What an ingest has made.

    Attributes
    ----------
    dataset
        The version that holds the bars.
    report
        What was found in them and what was repaired; the same is stored beside the dataset.
    created
        False where this very content was there before, and nothing was written.
    """

    dataset: Dataset
    report: QualityReport
    created: bool


@dataclass(frozen=True, eq=False)
class Checked:
    """Bars that keep every rule, ready to be written."""

    columns: Mapping[str, BarColumns]
    meta: BarsMeta
    report: QualityReport


def ingest_sources(
    root: Store, name: str, sources: Sequence[Source], options: BarOptions, progress: Progress | None = None
) -> IngestResult:
    """Check the rows of all `sources`, then write them as a version of the dataset `name`."""
    from datasets.references import check_name

    check_name(name)
    tell = progress or _silent
    checked = check_sources(sources, options, tell)
    tell(_CHECKED, f"writing {name}")
    result = write_checked(root, name, checked)
    tell(1.0, f"{name} is there")
    return result


def write_checked(root: Store, name: str, checked: Checked) -> IngestResult:
    """Write checked bars; the same content as before writes nothing."""
    from datasets.bars import write_bars
    from datasets.references import references

    before = {pointer.version for pointer in references(root, name)}
    dataset = write_bars(root, name, checked.columns, checked.meta, checked.report.to_dict())
    return IngestResult(dataset, checked.report, dataset.version not in before)


def check_sources(sources: Sequence[Source], options: BarOptions, progress: Progress | None = None) -> Checked:
    """Read and check all `sources`; nothing is written.

    Raises
    ------
    DataError
        If a row breaks a rule that no named repair covers.
    InputError
        If the options don't fit what is there.
    """
    tell = progress or _silent
    try:
        return _check(sources, options, tell)
    except QuantBotError:
        raise
    except MemoryError as error:
        raise DataError(f"{sources[0].name} needs more memory than there is; ingest it in parts") from error
    except Exception as error:
        # The decoders below (Arrow, pandas, database drivers) raise kinds of their own for damage we did not foresee.
        raise DataError(f"{sources[0].name} can't be read: {type(error).__name__}: {str(error)[:300]}") from error


def _check(sources: Sequence[Source], options: BarOptions, tell: Progress) -> Checked:
    problems, repairs = Problems(), Repairs()
    rows, kind = read_rows(sources, options, problems, repairs, lambda done, text: tell(done * _READ, text))
    tell(_READ, "checking")
    rows = apply_bar_rules(rows, options, problems, repairs)
    problems.raise_if_any()
    _require_rows(rows, "breaks a rule")
    stamped = stamp_ends(rows, kind, options, problems, repairs)
    problems.raise_if_any()
    _require_rows(stamped.rows, "is outside the calendar's sessions")
    rows = apply_order_rules(
        stamped.rows, options, problems, repairs, ordered=all(source.ordered for source in sources)
    )
    problems.raise_if_any()
    if options.allows("fill_gaps"):
        if stamped.sessions is None:
            raise InputError(
                "repair: fill_gaps needs a calendar, which says what is missing (calendar='24/7' has no gaps)"
            )
        rows = fill_gaps(rows, stamped.sessions, stamped.interval, repairs)
    columns = _columns(rows)
    meta = _meta(columns, stamped, options, sources)
    columns, about_actions = with_actions(columns, options, meta.zone)
    interval = stamped.interval
    report = check_bars(
        columns,
        interval_ns=None if interval == Interval(1, "d") else interval.ns,
        zone=meta.zone,
        sessions=stamped.sessions,
        repairs=repairs.counts,
        repair_places=repairs.places,
    )
    if options.periods_per_year is None and stamped.sessions is None and interval.ns < 7 * DAY_NS:
        report = _remark_short_history(report, columns)
    if options.wide:
        text = (
            "bars are closes alone: open, high and low are the close, volume is 0; limits that look at them see nothing"
        )
        remark = Finding("*", "close_only", "info", sum(len(bars) for bars in columns.values()), text)
        report = replace(report, findings=(*report.findings, remark))
    return Checked(columns, meta, replace(report, findings=(*report.findings, *about_actions)))


def _remark_short_history(report: QualityReport, columns: Mapping[str, BarColumns]) -> QualityReport:
    longest = max(int(bars.ts_end_ns[-1] - bars.ts_end_ns[0]) for bars in columns.values())
    if longest >= _ENOUGH_TO_COUNT_NS:
        return report
    text = "days are too short a history to count a year's bars by; name a calendar or pass periods_per_year"
    remark = Finding("*", "short_history", "info", longest // DAY_NS + 1, text)
    return replace(report, findings=(*report.findings, remark))


def _columns(rows: Rows) -> dict[str, BarColumns]:
    columns = {}
    for code, symbol in sorted(enumerate(rows.symbols), key=lambda pair: pair[1]):
        start, stop = np.searchsorted(rows.symbol, [code, code + 1])
        if start == stop:
            continue  # every row of it was left out by a named repair
        part = rows.take(np.arange(start, stop))
        adjusted = part.numbers.get("adjusted_close")
        factor = None if adjusted is None else adjusted / part.numbers["close"]
        if factor is not None and (factor == 1.0).all():
            factor = None  # an adjusted close that adjusts nothing
        columns[symbol] = BarColumns(
            part.ts_ns, **{field: part.numbers[field] for field in BAR_FIELDS}, adjustment=factor
        )
    return columns


def _meta(
    columns: Mapping[str, BarColumns], stamped: Stamped, options: BarOptions, sources: Sequence[Source]
) -> BarsMeta:
    symbols = list(columns)
    listed = ", ".join(symbols[:3]) + (f" and {len(symbols) - 3} more" if len(symbols) > 3 else "")
    sessions = stamped.sessions
    return BarsMeta(
        title=options.title or f"{listed}, {stamped.interval} bars",
        source=options.source or _file_names(sources),
        interval=str(stamped.interval),
        periods_per_year=options.periods_per_year or _periods(columns, stamped),
        currency=options.currency,
        multiplier=float(options.multiplier),
        zone=options.zone or (sessions.zone if sessions is not None else "UTC"),
        calendar=options.calendar,
        stamp=options.stamp or "end",
    )


def _periods(columns: Mapping[str, BarColumns], stamped: Stamped) -> float:
    """Take the median over assets, so that one that was listed late does not decide."""
    interval_ns = stamped.interval.ns
    if stamped.sessions is not None or len(columns) == 1:
        ends = next(iter(columns.values())).ts_end_ns
        return float(periods_per_year(ends, interval_ns, stamped.sessions))
    return float(np.median([periods_per_year(each.ts_end_ns, interval_ns) for each in columns.values()]))


def _file_names(sources: Sequence[Source]) -> str:
    names = [source.said for source in sources]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _require_rows(rows: Rows, reason: str) -> None:
    if not len(rows):
        raise DataError(f"{rows.sources[0][0]} has no row left after the repairs: each {reason}")


def _silent(done: float, text: str) -> None:
    del done, text
