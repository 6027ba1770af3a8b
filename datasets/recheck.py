"""A stored dataset checked again, as the ingest once checked it: what `quantbot data check` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datasets.calendars import Sessions, calendars_installed, load_sessions
from datasets.ingest.options import Interval
from datasets.quality import QualityReport, check_bars
from datasets.schema import BarsMeta

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.events import EventsDataset


def recheck(dataset: Dataset | EventsDataset) -> QualityReport:
    """Return the findings in a dataset as it is stored now, one asset of bars or one block of events at a time.

    Events are applied to a book again, and the report is of what did not fit. Repairs of bars were made on the raw
    rows, so they stand in the stored report alone. Where bars have a calendar and the extra `calendars` isn't
    installed, gaps are told from nights by the local date.

    Raises
    ------
    CorruptError
        If stored bars are not the bars that were written.
    """
    from datasets.events import EventsDataset
    from datasets.events_quality import check_events

    if isinstance(dataset, EventsDataset):
        return check_events(dataset)
    meta = dataset.meta
    interval = Interval.parse(meta.interval)
    sessions = _sessions(dataset, meta)
    reports = [
        check_bars(
            {asset: dataset.columns(asset)},
            interval_ns=None if str(interval) == "1d" else interval.ns,
            zone=meta.zone,
            sessions=sessions,
        )
        for asset in dataset.assets
    ]
    assets = {asset: counts for report in reports for asset, counts in report.assets.items()}
    return QualityReport(assets, tuple(finding for report in reports for finding in report.findings))


def _sessions(dataset: Dataset, meta: BarsMeta) -> Sessions | None:
    if meta.calendar is None or not calendars_installed():
        return None
    first, last = np.datetime64(dataset.start_ns, "ns"), np.datetime64(dataset.end_ns, "ns")
    # A day on either side: the session of a UTC moment may belong to another date.
    day = np.timedelta64(1, "D")
    return load_sessions(meta.calendar, first.astype("M8[D]") - day, last.astype("M8[D]") + day)
