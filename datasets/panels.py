"""Many assets' bars on one clock."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from datasets import schema
from datasets.columns import BarColumns
from quantbot.errors import DataError
from quantbot.market import BAR_FIELDS, Floats, Instrument, Panel

Rows = NDArray[np.intp]


def put_together(instruments: Sequence[Instrument], columns: Sequence[BarColumns], periods_per_year: float) -> Panel:
    """Return the bars of assets over the union of their times, NaN where an asset has none.

    What an asset pays while it has no bar must lie on its next one.

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
    factors = [own.factor for own in columns]
    if any(factor is not None for factor in factors):
        adjusted, split = tables["close"].copy(), np.ones(shape)
        for asset, (own, rows, factor) in enumerate(zip(columns, places, factors, strict=True)):
            if factor is not None:
                adjusted[rows, asset] *= factor
            if factor is not None and not own.has_actions:
                split[rows[1:], asset] = factor[1:] / factor[:-1]
    said = {
        name: _said(name, columns, places, shape)
        for name in ("split", "dividend", "funding")
        if any(getattr(own, name) is not None for own in columns)
    }
    if split is not None and "split" in said:
        said["split"] = split * said["split"]  # of each asset one of the two is 1 everywhere
    return Panel(
        tuple(instruments),
        times,
        **tables,
        periods_per_year=periods_per_year,
        adjusted_close=adjusted,
        split=said.get("split", split),
        dividend=said.get("dividend"),
        funding=said.get("funding"),
    )


def _said(name: str, columns: Sequence[BarColumns], places: Sequence[Rows], shape: tuple[int, int]) -> Floats:
    """Return a table of what assets say themselves; where they say nothing, or have no bar, nothing happens."""
    table = np.full(shape, schema.NEUTRAL[name])
    for asset, (own, rows) in enumerate(zip(columns, places, strict=True)):
        values: Floats | None = getattr(own, name)
        if values is not None:
            table[rows, asset] = values
    return table
