"""Many assets' bars on one clock."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from datasets.columns import BarColumns
from quantbot.errors import DataError
from quantbot.market import BAR_FIELDS, Floats, Instrument, Panel


def put_together(instruments: Sequence[Instrument], columns: Sequence[BarColumns], periods_per_year: float) -> Panel:
    """Return the bars of assets over the union of their times, NaN where an asset has none.

    Raises
    ------
    DataError
        If there is no asset.

    Examples
    --------
    >>> one, two = np.array([1.0]), np.array([1.0, 2.0])
    >>> panel = put_together(
    ...     [Instrument("A"), Instrument("B")],
    ...     [BarColumns(np.array([20]), *[one] * 5), BarColumns(np.array([10, 20]), *[two] * 5)], 252.0)
    >>> panel.close.tolist()
    [[nan, 1.0], [1.0, 2.0]]
    """
    if not columns:
        raise DataError("a panel needs at least one asset, there is none")
    times = reduce(np.union1d, [own.ts_end_ns for own in columns])
    shape = len(times), len(columns)
    places = [np.searchsorted(times, own.ts_end_ns) for own in columns]
    tables: dict[str, Floats] = {}
    for field in BAR_FIELDS:
        tables[field] = np.full(shape, np.nan)
        for asset, (own, rows) in enumerate(zip(columns, places, strict=True)):
            tables[field][rows, asset] = getattr(own, field)
    adjusted: Floats | None = None
    split: Floats | None = None
    if any(own.adjustment is not None for own in columns):
        adjusted, split = tables["close"].copy(), np.ones(shape)
        for asset, (own, rows) in enumerate(zip(columns, places, strict=True)):
            if own.adjustment is not None:
                adjusted[rows, asset] *= own.adjustment
                split[rows[1:], asset] = own.adjustment[1:] / own.adjustment[:-1]
    return Panel(
        tuple(instruments),
        times,
        **tables,
        periods_per_year=periods_per_year,
        adjusted_close=adjusted,
        split=split,
    )
