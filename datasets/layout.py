"""How a bars dataset lies in arrays: arithmetic on shapes, no I/O.

Most reads want one asset's whole history, so an inner chunk never mixes assets, and many assets share a shard, so
that a dataset of 500 assets is a handful of objects and not thousands.

Two layouts:

- *dense*: (time, asset) on the union of all times, NaN where an asset has no bar. What xarray users expect.
- *ragged*: one axis of bars, asset after asset (CF's "contiguous ragged array"), for assets that hardly share
  times: a union would be mostly NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Name = Literal["dense", "ragged"]

# A union that is more than twice as large as what it holds is refused: beyond that NaN costs more than it explains.
DENSE_LIMIT = 2.0
# Measured (codec and S3 tables of the project's notes): below 1 MiB requests dominate, above 4 MiB a small window
# decodes too much; shards of 32 MiB keep a writer, which holds about four of them, under 200 MB.
CHUNK_BYTES = 2 * 1024**2
SHARD_BYTES = 32 * 1024**2
ITEM_BYTES = 8


@dataclass(frozen=True)
class Grid:
    """Shape, shards and inner chunks of one array, each a tuple with one element a dimension."""

    shape: tuple[int, ...]
    shards: tuple[int, ...]
    chunks: tuple[int, ...]

    def regions(self) -> Iterator[tuple[slice, ...]]:
        """Give the part of each shard that lies inside the array, assets (the last axis) outermost."""
        starts = [range(0, size, step) for size, step in zip(self.shape, self.shards, strict=True)]
        if len(starts) == 1:
            yield from ((self._slice(0, start),) for start in starts[0])
            return
        for column in starts[1]:
            for row in starts[0]:
                yield self._slice(0, row), self._slice(1, column)

    def _slice(self, axis: int, start: int) -> slice:
        return slice(start, min(start + self.shards[axis], self.shape[axis]))


def choose(n_times: int, lengths: list[int]) -> Name:
    """Return the layout for assets with so many bars each on `n_times` distinct times.

    Examples
    --------
    >>> choose(1000, [1000, 600]), choose(1000, [500, 300, 200])
    ('dense', 'ragged')
    """
    return "dense" if n_times * len(lengths) <= DENSE_LIMIT * sum(lengths) else "ragged"


def grid(n_rows: int, n_assets: int | None = None) -> Grid:
    """Return how to cut (n_rows, n_assets), or (n_rows,) alone, into chunks of one asset and shards of many.

    Examples
    --------
    >>> grid(5_000, 500)
    Grid(shape=(5000, 500), shards=(5000, 500), chunks=(5000, 1))
    >>> grid(500_000, 100)
    Grid(shape=(500000, 100), shards=(500000, 8), chunks=(250000, 1))
    """
    n_chunks = math.ceil(n_rows * ITEM_BYTES / CHUNK_BYTES)
    chunk = math.ceil(n_rows / n_chunks)
    chunks_high = min(n_chunks, SHARD_BYTES // CHUNK_BYTES)
    rows = chunk * chunks_high
    if n_assets is None:
        return Grid((n_rows,), (rows,), (chunk,))
    wide = max(1, min(n_assets, SHARD_BYTES // (rows * ITEM_BYTES)))
    return Grid((n_rows, n_assets), (rows, wide), (chunk, 1))
