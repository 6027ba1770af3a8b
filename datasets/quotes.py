"""Quotes into bars: the best bid and ask of a rebuilt book over equal intervals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from datasets.columns import BarColumns
from datasets.ingest.options import Interval
from datasets.resample import nearest_decimals, write_resampled
from quantbot.book import Book, Events, Flag
from quantbot.errors import DataError, InputError

if TYPE_CHECKING:
    from datasets.events import EventsDataset
    from datasets.ingest.bars import IngestResult
    from datasets.store import Store

__all__ = ["bars_of_quotes", "ingest_bars_of_quotes"]

Of = Literal["mid", "bid", "ask", "spread"]
_OF: dict[str, tuple[int, int]] = {"mid": (1, 1), "bid": (2, 0), "ask": (0, 2), "spread": (-2, 2)}  # in half ticks
_MOST_BARS = 10_000_000
_NONE = np.iinfo(np.int64).min


def bars_of_quotes(blocks: Iterable[Events], interval: str = "1min", of: Of = "mid") -> BarColumns:
    """Return the bars of the best quotes in consecutive blocks of one session; a quote holds until the next.

    A quote is what the book shows after a complete event (`Flag.LAST`), if both sides are there and the bid is below
    the ask; else there is none until the next one. Times are the exchange's; one that goes back counts as the latest
    before it. A bar opens with the quote that holds at its start, and is there if any held within it. Its volume is 0.

    Parameters
    ----------
    interval
        "1s", "1min", "5min", "1h", "1d": by UTC. Bars are stamped at their ends.
    of
        "mid", "bid", "ask", or "spread" (ask less bid).

    Raises
    ------
    DataError
        If there is no quote, or there would be more than ten million bars.

    Examples
    --------
    >>> from quantbot.book import BookInstrument
    >>> book = BookInstrument("X", 0.5, 1.0, "by_price")
    >>> rows = [(1, 7, 1, 20, 3), (2, 7, -1, 22, 1), (10**9, 7, -1, 21, 2), (3 * 10**9, 7, 1, 20, 1)]
    >>> bars = bars_of_quotes([Events.of(book, "s", rows)], "1s")
    >>> bars.ts_end_ns.tolist(), bars.open.tolist(), bars.close.tolist()
    ([1000000000, 2000000000, 3000000000, 4000000000], [10.5, 10.5, 10.25, 10.25], [10.5, 10.25, 10.25, 10.25])
    """
    parsed = Interval.parse(interval)
    if interval.endswith(("w", "mo")):
        raise InputError(f"interval must be of seconds to days, was {interval!r}")
    if of not in _OF:
        raise InputError(f"of must be one of {', '.join(_OF)}, was {of!r}")
    book: Book | None = None
    latest, parts, tick = 0, [], 0.0
    for events in blocks:
        if book is None:
            book, tick = Book(events.instrument), events.instrument.tick_size
        looks = np.flatnonzero(events.flags & Flag.LAST)
        ticks, _, _, depth = book.tables(events, looks, 1)
        if not len(looks):
            continue
        times = np.maximum.accumulate(np.maximum(events.ts_exchange_ns, latest))
        latest = int(times[-1])
        bid, ask = ticks[:, 0, 0], ticks[:, 1, 0]
        there = (depth > 0).all(axis=1) & (bid < ask)
        values = np.where(there, _OF[of][0] * bid + _OF[of][1] * ask, _NONE)
        parts.append(_by_interval(times[looks] // parsed.ns, values))
    if not parts or not any((part[1] != _NONE).any() for part in parts):
        raise DataError("there is no quote among these events: never a bid below an ask")
    number, *prices = _carried(np.concatenate(parts, axis=1))
    opens, highs, lows, closes = (nearest_decimals(each, tick / 2) for each in prices)
    return BarColumns((number + 1) * parsed.ns, opens, highs, lows, closes, np.zeros(len(number)))


def ingest_bars_of_quotes(
    root: Store, name: str, source: EventsDataset, interval: str = "1min", of: Of = "mid"
) -> IngestResult:
    """Write the bars of all quotes of a dataset of events as the dataset of bars `name`; sessions follow each other."""
    columns = {}
    for asset in source.assets:
        parts = [bars_of_quotes(source.blocks(asset, each), interval, of) for each in source.sessions(asset)]
        ends = np.concatenate([part.ts_end_ns for part in parts])
        if (np.diff(ends) <= 0).any():
            raise DataError(f"sessions of {asset} meet within one interval of {interval}; choose a shorter one")
        names = ("open", "high", "low", "close", "volume")
        columns[asset] = BarColumns(ends, **{each: np.concatenate([getattr(p, each) for p in parts]) for each in names})
    return write_resampled(root, name, source, columns, interval, f"{interval} bars of the best {of}")


def _by_interval(number: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return of each interval: number, first, highest, lowest, last quote, and the one that holds at its end."""
    starts = np.flatnonzero(np.append(True, number[1:] != number[:-1]))
    stops = np.append(starts[1:], len(number))
    quoted = values != _NONE
    before = np.append(0, np.cumsum(quoted))  # quotes before each value
    own = values[quoted]
    has = before[stops] > before[starts]
    first = np.full(len(starts), _NONE)
    high, low, last = first.copy(), first.copy(), first.copy()
    if own.size:
        begin, end = before[starts][has], before[stops][has]
        first[has], last[has] = own[begin], own[end - 1]
        high[has], low[has] = np.maximum.reduceat(own, begin), np.minimum.reduceat(own, begin)
    return np.stack([number[starts], first, high, low, last, values[stops - 1]])


def _carried(found: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return number, open, high, low, close of every interval in which a quote held."""
    number, first, high, low, last, holds = (np.asarray(each) for each in found)
    n_bars = int(number[-1] - number[0]) + 1
    if n_bars > _MOST_BARS:
        raise DataError(f"{n_bars:,} intervals from first to last; {_MOST_BARS:,} are the most: choose a longer one")
    out = np.full((4, n_bars), _NONE)
    held, at = _NONE, 0
    for row, place in enumerate((number - number[0]).tolist()):
        out[:, at:place] = held  # nothing new: the quote holds through them
        own = out[:, place]
        if place >= at:
            own[:] = held
        if first[row] != _NONE:
            if own[0] == _NONE:
                own[:] = first[row]
            own[1], own[2], own[3] = max(own[1], high[row]), min(own[2], low[row]), last[row]
        held, at = holds[row], place + 1
    there = out[0] != _NONE
    return [np.flatnonzero(there) + number[0], *out[:, there]]
