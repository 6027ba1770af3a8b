"""Where a dataset has bars: a table of spans of time by assets, small enough to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.bars import Dataset
from quantbot.errors import InputError

DAY_NS = 86_400 * 10**9
MOST_BARS = 20_000_000  # that are counted at once: their times alone are 160 MB
_SHORT_DAYS = 60  # of a history that is shown day by day


@dataclass(frozen=True, eq=False)
class Coverage:
    """How many bars each asset has in each span of time.

    Attributes
    ----------
    edges_ns
        Shape (n_spans + 1,), int64 ns UTC, rising: where the spans begin, and where the last one ends.
    n_bars
        Shape (n_assets, n_spans): bars that end in a span.
    share
        Shape (n_assets, n_spans), 0 to 1: of the bars that the fullest asset has there (for one asset alone: that it
        has in a usual span); NaN where nobody has any, as on holidays.
    flagged
        Shape (n_assets, n_spans): whether an error or a warning of the quality report lies there, as far as the report
        keeps places.
    """

    assets: tuple[str, ...]
    edges_ns: NDArray[np.int64]
    n_bars: NDArray[np.int64]
    share: NDArray[np.float64]
    flagged: NDArray[np.bool_]


def coverage(dataset: Dataset, assets: Sequence[str] | None = None, *, n_spans: int = 240) -> Coverage:
    """Count bars by asset and span of time; a span is at least a day, a week where one asset of a long history is.

    Raises
    ------
    InputError
        If the assets have more bars than are counted at once; the message says how many.
    """
    chosen = tuple(assets if assets is not None else dataset.assets)
    n_all = sum(dataset.n_bars(asset) for asset in chosen)
    if n_all > MOST_BARS:
        raise InputError(f"{len(chosen)} assets have {n_all:,} bars; {MOST_BARS:,} are counted at once: take fewer")
    edges = _edges(dataset, chosen, n_spans)
    counts = np.zeros((len(chosen), len(edges) - 1), np.int64)
    for row, asset in enumerate(chosen):
        counts[row] = np.diff(np.searchsorted(dataset.times(asset), edges))
    fullest = counts.max(axis=0)
    if len(chosen) == 1 and counts.any():
        fullest = np.full_like(fullest, max(int(np.median(counts[counts > 0])), 1))
    share = np.full(counts.shape, np.nan)
    np.divide(counts, fullest, out=share, where=np.broadcast_to(fullest > 0, counts.shape))
    return Coverage(chosen, edges, counts, np.minimum(share, 1.0), _flagged(dataset, chosen, edges))


def _edges(dataset: Dataset, assets: tuple[str, ...], n_spans: int) -> NDArray[np.int64]:
    spans = [dataset.span(asset) for asset in assets]
    start = min(first for first, _ in spans) // DAY_NS
    stop = max(last for _, last in spans) // DAY_NS + 1
    least = 7 if len(assets) == 1 and stop - start > _SHORT_DAYS else 1
    width = max(-(-(stop - start) // n_spans), least)
    days = np.arange(start, stop + width, width, dtype=np.int64)
    return days * DAY_NS


def _flagged(dataset: Dataset, assets: tuple[str, ...], edges: NDArray[np.int64]) -> NDArray[np.bool_]:
    flagged = np.zeros((len(assets), len(edges) - 1), np.bool_)
    rows = {asset: row for row, asset in enumerate(assets)}
    for finding in dataset.quality.get("findings", []):
        row = rows.get(finding.get("asset", ""))
        if row is None or finding.get("severity") not in ("error", "warning"):
            continue
        for place in finding.get("places", []):
            at = int(np.searchsorted(edges, place["ts_end_ns"], "right")) - 1 if place.get("ts_end_ns") else -1
            if 0 <= at < flagged.shape[1]:
                flagged[row, at] = True
    return flagged
