"""The depth of a book through time, reduced to a picture: lots by column of time and row of price, best prices, trades.

Memory is that of the picture, however many events lie behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quantbot.book.events import Action, Events, Flag
from quantbot.book.rebuild import Book
from quantbot.errors import InputError

__all__ = ["Clock", "Depth", "clock_ns", "depth_between"]

Clock = Literal["exchange", "received"]
UNKNOWN = -1
N_LEVELS = 256


@dataclass(frozen=True, eq=False)
class Depth:
    """A book between two moments, as a picture.

    Attributes
    ----------
    ends_ns
        Shape (n_columns,), int64: a column shows the book as it stood then, after the last complete event.
    low_ticks, row_ticks
        Price of the lowest row's first tick, and how many ticks a row spans.
    lots
        Shape (n_columns, n_rows), int64: what rests there, of both sides; -1 where more levels rest than were read.
    bid_ticks, ask_ticks
        Shape (n_columns,), float64: the best prices, NaN where a side is empty.
    bid_lots, ask_lots
        Shape (n_columns,), int64: what rests at the best prices.
    trade_ns, trade_ticks, trade_lots, trade_side
        Shape (n_shown_trades,), in order: the largest trades between start and end; the side is the aggressor's, 0
        where it is unknown.
    n_trades, traded_lots
        How many trades there were, and shape (n_columns,), int64, what was traded in each column.
    n_events
        Events between start and end.
    """

    start_ns: int
    ends_ns: NDArray[np.int64]
    low_ticks: int
    row_ticks: int
    lots: NDArray[np.int64]
    bid_ticks: NDArray[np.float64]
    ask_ticks: NDArray[np.float64]
    bid_lots: NDArray[np.int64]
    ask_lots: NDArray[np.int64]
    trade_ns: NDArray[np.int64]
    trade_ticks: NDArray[np.int64]
    trade_lots: NDArray[np.int64]
    trade_side: NDArray[np.int8]
    n_trades: int
    traded_lots: NDArray[np.int64]
    n_events: int

    @property
    def high_ticks(self) -> int:
        """Price of the highest row's last tick."""
        return self.low_ticks + self.row_ticks * int(self.lots.shape[1]) - 1


def clock_ns(events: Events, clock: Clock, after_ns: int = -(2**63)) -> NDArray[np.int64]:
    """Return when each event happened by a clock, never going back: the exchange's may, and then stands still."""
    if clock == "received":
        return events.ts_received_ns
    return np.maximum(np.maximum.accumulate(events.ts_exchange_ns), after_ns)


def depth_between(
    book: Book,
    blocks: Iterable[Events],
    start_ns: int,
    end_ns: int,
    *,
    n_columns: int = 400,
    n_rows: int = 80,
    ticks: tuple[int, int] | None = None,
    clock: Clock = "received",
    max_trades: int = 1_000,
) -> Depth:
    """Return the picture of a book from `start_ns` (exclusive) to `end_ns`; `book` is left as it stood then.

    Parameters
    ----------
    book
        As it stood before the first of the events.
    blocks
        The events that follow, part after part; no part is asked for whose events come later than `end_ns`, but for
        the one that shows that.
    n_columns, n_rows
        The most columns and rows of the picture.
    ticks
        Lowest and highest price; where not given, what the best prices came to, and a third of that around them.
    clock
        Which of an event's two times places it.
    max_trades
        How many trades are kept one by one, the largest first.

    Raises
    ------
    InputError
        If the end is not after the start, or the picture has no cell.

    Examples
    --------
    >>> from quantbot.book import BookInstrument
    >>> instrument = BookInstrument("X", tick_size=0.01, lot_size=1.0, kind="by_price")
    >>> events = Events.of(instrument, "s", [
    ...     (10, Action.SET, 1, 99, 5), (20, Action.SET, -1, 101, 4), (30, Action.SET, 1, 99, 7)])
    >>> seen = depth_between(Book(instrument), [events], 0, 40, n_columns=2, n_rows=3, ticks=(99, 101))
    >>> seen.lots.tolist()
    [[5, 0, 4], [7, 0, 4]]
    """
    if end_ns <= start_ns or n_columns < 1 or n_rows < 1:
        raise InputError(
            f"a picture needs an end after its start, a column and a row; found {start_ns} to {end_ns},"
            f" {n_columns} x {n_rows}"
        )
    ends_ns = start_ns + ((end_ns - start_ns) * np.arange(1, n_columns + 1, dtype=object) // n_columns).astype(np.int64)
    looks = _Looks(book, ends_ns)
    trades = _Trades(max_trades, start_ns, ends_ns)
    last_ns = -(2**63)
    n_events = 0
    for events in blocks:
        if not len(events):
            continue
        times = clock_ns(events, clock, last_ns)
        last_ns = int(times[-1])
        n = int(np.searchsorted(times, end_ns, "right"))
        looks.take(events[:n], times[:n])
        first = int(np.searchsorted(times[:n], start_ns, "right"))
        trades.take(events[first:n], times[first:n])
        n_events += n - first
        if n < len(events):
            break
    looks.finish()
    return looks.picture(start_ns, n_rows, ticks, trades, n_events)


class _Looks:
    """The best levels of a book at the end of each column, filled in as events come by."""

    def __init__(self, book: Book, ends_ns: NDArray[np.int64]) -> None:
        self.book, self.ends_ns = book, ends_ns
        n = len(ends_ns)
        self.tables = [np.zeros((n, 2, N_LEVELS), np.int64) for _ in range(2)]
        self.found = np.zeros((n, 2), np.int64)
        self.n_done = 0
        now = book.ladder(N_LEVELS)
        self.now = [np.zeros((2, N_LEVELS), np.int64) for _ in range(2)]
        self.n_now = np.zeros(2, np.int64)
        for side, (prices, sizes) in enumerate(((now.bid_ticks, now.bid_lots), (now.ask_ticks, now.ask_lots))):
            self.n_now[side] = len(prices)
            self.now[0][side, : len(prices)], self.now[1][side, : len(sizes)] = prices, sizes

    def take(self, events: Events, times: NDArray[np.int64]) -> None:
        """Apply events; columns that end before the last of them are settled."""
        if not len(events):
            return
        complete = np.flatnonzero(events.flags & np.uint8(Flag.LAST))
        n_settled = int(np.searchsorted(self.ends_ns, times[-1], "left"))
        # Of each column, the last complete event by its end; -1 where that lies before these events.
        last = np.searchsorted(times[complete], self.ends_ns[self.n_done : n_settled], "right") - 1
        at = np.unique(np.append(last, len(complete) - 1))
        at = at[at >= 0]
        ticks, lots, _, found = self.book.tables(events, complete[at], N_LEVELS)
        rows = np.searchsorted(at, last)
        for column, (row, seen) in enumerate(zip(rows.tolist(), last.tolist(), strict=True), self.n_done):
            if seen >= 0:
                self.tables[0][column], self.tables[1][column] = ticks[row], lots[row]
                self.found[column] = found[row]
            else:
                self._as_now(column)
        if len(at):
            self.now, self.n_now = [ticks[-1], lots[-1]], found[-1]
        self.n_done = max(n_settled, self.n_done)

    def finish(self) -> None:
        """Settle the columns that no later event came for."""
        for column in range(self.n_done, len(self.ends_ns)):
            self._as_now(column)
        self.n_done = len(self.ends_ns)

    def _as_now(self, column: int) -> None:
        self.tables[0][column], self.tables[1][column] = self.now
        self.found[column] = self.n_now

    def picture(
        self, start_ns: int, n_rows: int, ticks: tuple[int, int] | None, trades: _Trades, n_events: int
    ) -> Depth:
        best = np.where(self.found > 0, self.tables[0][:, :, 0], np.nan)
        low, high = ticks if ticks is not None else _range(best, n_rows)
        row_ticks = max(-(-(high - low + 1) // n_rows), 1)
        n_rows = -(-(high - low + 1) // row_ticks)
        lots = np.zeros((len(self.ends_ns), n_rows), np.int64)
        for side in (0, 1):
            prices = self.tables[0][:, side]
            there = (np.arange(N_LEVELS) < self.found[:, side, None]) & (prices >= low) & (prices <= high)
            columns, _ = np.nonzero(there)
            np.add.at(lots, (columns, (prices[there] - low) // row_ticks), self.tables[1][:, side][there])
            # Beyond the deepest of as many levels as were asked for there may be more.
            full = self.found[:, side] == N_LEVELS
            deepest = (prices[:, -1] - low) // row_ticks
            rows = np.arange(n_rows)
            beyond = rows < deepest[:, None] if side == 0 else rows > deepest[:, None]
            lots[beyond & full[:, None]] = UNKNOWN
        bid_lots, ask_lots = (self.tables[1][:, side, 0] * (self.found[:, side] > 0) for side in (0, 1))
        times, prices, sizes, sides = trades.columns
        return Depth(
            start_ns=start_ns, ends_ns=self.ends_ns, low_ticks=int(low), row_ticks=int(row_ticks), lots=lots,
            bid_ticks=best[:, 0], ask_ticks=best[:, 1], bid_lots=bid_lots, ask_lots=ask_lots,
            trade_ns=times, trade_ticks=prices, trade_lots=sizes, trade_side=sides.astype(np.int8),
            n_trades=trades.n, traded_lots=trades.by_column, n_events=n_events,
        )  # fmt: skip


class _Trades:
    """The largest trades, and what was traded in each column."""

    def __init__(self, most: int, start_ns: int, ends_ns: NDArray[np.int64]) -> None:
        self.most, self.ends_ns = most, ends_ns
        self.n = 0
        self.by_column = np.zeros(len(ends_ns), np.int64)
        self.columns: tuple[NDArray[np.int64], ...] = tuple(np.empty(0, np.int64) for _ in range(4))

    def take(self, events: Events, times: NDArray[np.int64]) -> None:
        traded = (events.action == Action.TRADE) | (events.action == Action.EXECUTE)
        traded &= (events.size_lots > 0) & ((events.flags & np.uint8(Flag.SNAPSHOT)) == 0)
        if not traded.any():
            return
        sizes = events.size_lots[traded]
        self.n += len(sizes)
        np.add.at(self.by_column, np.searchsorted(self.ends_ns, times[traded], "left"), sizes)
        side = np.where(events.action == Action.EXECUTE, -events.side, events.side)[traded].astype(np.int64)
        new = (times[traded], events.price_ticks[traded], sizes, side)
        joined = tuple(np.concatenate(pair) for pair in zip(self.columns, new, strict=True))
        largest = np.sort(np.argsort(-joined[2], kind="stable")[: self.most])
        self.columns = tuple(column[largest] for column in joined)


def _range(best: NDArray[np.float64], n_rows: int) -> tuple[int, int]:
    """Return the prices that a picture shows: what the best ones came to, and as much around as looks well."""
    known = best[np.isfinite(best)]
    if not known.size:
        return 0, n_rows - 1
    low, high = int(known.min()), int(known.max())
    around = max((high - low) // 3, (min(n_rows, 40) - (high - low + 1)) // 2, 2)
    return low - around, high + around
