"""A session of order-book events seen at a moment: the book then, the events around it, the picture of a window."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quantbot.book import Book, Events, Flag, Ladder
from quantbot.book.depth import Clock, Depth, clock_ns, depth_between

if TYPE_CHECKING:
    from datasets.events import EventsDataset, Session
    from quantbot.book import BookInstrument

__all__ = ["Look", "Moments"]

_KEPT_CHUNKS = 2  # decoded ones: 42 bytes an event
_NEVER = -(2**63)


@dataclass(frozen=True, eq=False)
class Look:
    """What there is to see of a session at a moment.

    Attributes
    ----------
    ts_ns, clock
        The moment, and the clock that it is of.
    n_before
        Events until then, the moment included.
    ladder
        The book after the last complete event until then.
    picture
        The window around the moment.
    first, around
        Events around the moment, and the number in the session of the first of them.
    times_ns
        Shape (len(around),): when these happened, by the clock.
    previous_ns, next_ns
        When the nearest event before and after the moment happened, None at the session's ends.
    """

    ts_ns: int
    clock: Clock
    n_before: int
    ladder: Ladder
    picture: Depth
    first: int
    around: Events
    times_ns: NDArray[np.int64]
    previous_ns: int | None
    next_ns: int | None


class Moments:
    """One session, read a chunk at a time as looks at it need; may be shared by threads."""

    def __init__(self, dataset: EventsDataset, asset: str, session: str) -> None:
        self.dataset, self.asset, self.session = dataset, asset, session
        self.about: Session = dataset.session(asset, session)
        self._chunks: OrderedDict[int, Events] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def instrument(self) -> BookInstrument:
        """What is traded."""
        return self.dataset.instrument(self.asset)

    def span_ns(self, clock: Clock) -> tuple[int, int]:
        """Return when the first and the last event happened, by a clock."""
        if clock == "received" or not self.about.n_events:
            return self.about.start_ns, self.about.end_ns
        last = -(-self.about.n_events // self.about.chunk_events) - 1
        return int(self._times(0, clock)[0]), int(self._times(last, clock)[-1])

    def n_until(self, ts_ns: int, clock: Clock = "received") -> int:
        """Return how many events happened until a moment, itself included.

        By the exchange's clock an event counts as late as the latest before it in its chunk.
        """
        size, low, high = self.about.chunk_events, 0, -(-self.about.n_events // self.about.chunk_events)
        while high - low > 1:  # the first event of chunk `low` is not later, that of `high` is
            middle = (low + high) // 2
            low, high = (middle, high) if int(self._times(middle, clock)[0]) <= ts_ns else (low, middle)
        return low * size + int(np.searchsorted(self._times(low, clock), ts_ns, "right"))

    def time_of(self, event: int, clock: Clock = "received") -> int:
        """Return when an event happened."""
        chunk, row = divmod(event, self.about.chunk_events)
        return int(self._times(chunk, clock)[row])

    def blocks(self, start: int, stop: int | None = None) -> Iterator[Events]:
        """Yield the events `[start, stop)`, part after part."""
        stop = self.about.n_events if stop is None else min(stop, self.about.n_events)
        size = self.about.chunk_events
        for chunk in range(start // size, -(-stop // size)):
            yield self._chunk(chunk)[max(start - chunk * size, 0) : stop - chunk * size]

    def events(self, start: int, stop: int) -> Events:
        """Return a few events, `[start, stop)` as far as there are."""
        return Events.joined([self._chunk(0)[:0], *self.blocks(max(start, 0), stop)])

    def book_at(self, n_events: int) -> Book:
        """Return the book after so many events: the nearest stored one, and what came since."""
        book, start = Book(self.instrument), 0
        stored = self.dataset.snapshot_events(self.asset, self.session)
        number = int(np.searchsorted(stored, n_events, "right")) - 1
        if number >= 0:
            book.restore(self.dataset.snapshot(self.asset, self.session, number))
            start = int(stored[number])
        for block in self.blocks(start, n_events):
            book.apply(block)
        return book

    def n_complete(self, n_events: int) -> int:
        """Return how many of the first events are complete: an exchange's event may be several."""
        start = max(n_events - 10_000, 0)
        last = np.flatnonzero(self.events(start, n_events).flags & np.uint8(Flag.LAST))
        return start + int(last[-1]) + 1 if last.size else n_events

    def look(
        self,
        ts_ns: int,
        span_ns: int,
        clock: Clock = "received",
        *,
        n_levels: int = 12,
        n_around: int = 12,
        n_columns: int = 300,
        n_rows: int = 64,
        max_trades: int = 400,
    ) -> Look:
        """Return what there is to see at a moment, and of a window of `span_ns` around it."""
        n_before = self.n_until(ts_ns, clock)
        start_ns = ts_ns - span_ns // 2
        picture_from = self.n_complete(self.n_until(start_ns, clock))
        picture = depth_between(
            self.book_at(picture_from), self.blocks(picture_from), start_ns, start_ns + span_ns,
            n_columns=n_columns, n_rows=n_rows, clock=clock, max_trades=max_trades,
        )  # fmt: skip
        first = max(n_before - n_around, 0)
        around = self.events(first, n_before + n_around)
        times = self._times_between(first, first + len(around), clock)
        before = self.n_until(ts_ns - 1, clock)
        return Look(
            ts_ns=ts_ns,
            clock=clock,
            n_before=n_before,
            ladder=self.book_at(self.n_complete(n_before)).ladder(n_levels),
            picture=picture,
            first=first,
            around=around,
            times_ns=times,
            previous_ns=self.time_of(before - 1, clock) if before else None,
            next_ns=self.time_of(n_before, clock) if n_before < self.about.n_events else None,
        )

    def _chunk(self, number: int) -> Events:
        with self._lock:
            if number in self._chunks:
                self._chunks.move_to_end(number)
                return self._chunks[number]
        size = self.about.chunk_events
        found = self.dataset.events(self.asset, self.session, number * size, (number + 1) * size)
        with self._lock:
            self._chunks[number] = found
            while len(self._chunks) > _KEPT_CHUNKS:
                self._chunks.popitem(last=False)
        return found

    def _times_between(self, start: int, stop: int, clock: Clock) -> NDArray[np.int64]:
        size = self.about.chunk_events
        parts = [
            self._times(chunk, clock)[max(start - chunk * size, 0) : stop - chunk * size]
            for chunk in range(start // size, -(-stop // size))
        ]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def _times(self, chunk: int, clock: Clock) -> NDArray[np.int64]:
        return clock_ns(self._chunk(chunk), clock, _NEVER)
