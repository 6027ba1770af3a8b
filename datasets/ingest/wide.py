"""Wide tables: one row a time, one column of closes a symbol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from datasets.ingest.columns import choose_time
from datasets.ingest.options import BarOptions
from datasets.ingest.table import Chunk
from quantbot.errors import DataError

_PRICES = ("open", "high", "low", "close")


def wide_columns(source: str, headings: Sequence[str], options: BarOptions) -> dict[str, int]:
    """Return the position of the time and of each symbol's closes.

    Raises
    ------
    DataError
        If there is no time or no symbol, or two columns have one name, or one has none.
    """
    from datasets.ingest.reading import symbol_problem

    time = choose_time(source, headings, options)
    positions = {"time": time}
    for at, symbol in enumerate(headings):
        if at == time:
            continue
        if problem := symbol_problem(symbol):
            raise DataError(f"{source}: column {at} should be named by its symbol, but {symbol!r:.80} {problem}")
        if symbol in positions:
            raise DataError(f"{source} names the column {symbol!r} twice; rename one of them")
        positions[symbol] = at
    if len(positions) < 2:
        raise DataError(f"{source} has no column beside the time {headings[time]!r}; a wide file has one a symbol")
    return positions


def tall(chunk: Chunk) -> Iterator[Chunk]:
    """Yield the rows of each symbol's column by itself, without those whose field is empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for symbol, closes in chunk.columns.items():
        if symbol == "time":
            continue
        there = pc.not_equal(pc.utf8_trim(closes, " \t"), "")
        own = closes.filter(there)
        if not len(own):
            continue
        columns = {"time": chunk.columns["time"].filter(there), "symbol": pa.repeat(symbol, len(own))}
        columns |= dict.fromkeys(_PRICES, own)
        names = dict.fromkeys((*_PRICES, "symbol"), symbol) | {"time": chunk.names["time"]}
        lines = chunk.lines[np.asarray(there)]
        yield Chunk(chunk.source, chunk.unit, columns, names, lines)
