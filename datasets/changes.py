"""What changed between two versions of a dataset, asset by asset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from datasets.bars import Dataset
from datasets.columns import BarColumns

What = Literal["added", "removed", "changed"]


@dataclass(frozen=True)
class Change:
    """An asset that is not the same in both versions.

    Attributes
    ----------
    n_added, n_removed, n_changed
        Bars that only the newer has, that only the older has, and that both have with other values.
    first_ns
        End of the first of these bars, ns UTC.
    """

    asset: str
    what: What
    n_added: int
    n_removed: int
    n_changed: int
    first_ns: int


def changes(older: Dataset, newer: Dataset) -> tuple[Change, ...]:
    """Compare two versions; assets with equal digests are not read, and not listed.

    Bars are compared as they were written, before any adjustment; a value that is missing in both is the same.
    """
    found = []
    for asset in sorted({*older.assets, *newer.assets}):
        if asset not in newer.assets:
            found.append(Change(asset, "removed", 0, older.n_bars(asset), 0, older.span(asset)[0]))
        elif asset not in older.assets:
            found.append(Change(asset, "added", newer.n_bars(asset), 0, 0, newer.span(asset)[0]))
        elif older.digest(asset) != newer.digest(asset):
            found.append(_change(asset, older.columns(asset), newer.columns(asset)))
    return tuple(found)


def _change(asset: str, older: BarColumns, newer: BarColumns) -> Change:
    before, after = older.ts_end_ns, newer.ts_end_ns
    common, left, right = np.intersect1d(before, after, assume_unique=True, return_indices=True)
    differs = np.zeros(common.size, np.bool_)
    old, new = dict(older.items()), dict(newer.items())
    for name in {*old, *new}:
        if (name in old) != (name in new):
            differs[:] = True
            continue
        differs |= ~((old[name][left] == new[name][right]) | (np.isnan(old[name][left]) & np.isnan(new[name][right])))
    gone, come = np.setdiff1d(before, after), np.setdiff1d(after, before)
    where = np.concatenate([gone, come, common[differs]])
    first = int(where.min()) if where.size else int(after[0])
    return Change(asset, "changed", come.size, gone.size, int(differs.sum()), first)
