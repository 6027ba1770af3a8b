"""A book rebuilt from its events: the levels at any moment, the orders behind them, and a count of what did not fit."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.book.events import Action, BookInstrument, Events, Flag
from quantbot.errors import DataError, InputError

if TYPE_CHECKING:
    from quantbot.book.kernels_levels import Levels
    from quantbot.book.kernels_rebuild import Orders

__all__ = ["Book", "Counts", "Ladder", "Snapshot", "ladders"]

# 2^20 ticks cover 10,000 dollars of a share in cents; pages that no level touches are never made.
_WINDOW = 2**20
_FAR = 1024  # levels outside the window to begin with
_ORDERS = 2**14
_NO_LOOKS = np.empty(0, np.int64)


@dataclass(frozen=True)
class Counts:
    """What was met in the events that a book has applied so far.

    Attributes
    ----------
    trades, executions
        Prints without an order (`Action.TRADE`), and executions of resting orders.
    snapshots, gaps, halts
        Events with `Flag.SNAPSHOT`, with `Flag.GAP`, with `Action.HALT`.
    unknown_cancels, unknown_executions, unknown_modifies
        Events that name an id which does not rest: they change nothing.
    duplicates
        ADD of an id that rests already: it changes nothing.
    oversized
        Cancels and executions of more than what is left of their order (it goes), and orders without a size.
    other_price
        Executions at another price than their order's; the order decides.
    absent_levels
        SET to 0 of a level that is not there: usual in feeds that send more depth than their snapshot had.
    crossed, locked
        Complete events after which the best bid is above, or at, the best ask.
    looks
        Complete events: with `Flag.LAST`.
    """

    events: int = 0
    trades: int = 0
    executions: int = 0
    snapshots: int = 0
    gaps: int = 0
    halts: int = 0
    unknown_cancels: int = 0
    unknown_executions: int = 0
    unknown_modifies: int = 0
    duplicates: int = 0
    oversized: int = 0
    other_price: int = 0
    absent_levels: int = 0
    crossed: int = 0
    locked: int = 0
    looks: int = 0

    @property
    def unknown_ids(self) -> int:
        """Events that name an id which does not rest."""
        return self.unknown_cancels + self.unknown_executions + self.unknown_modifies


@dataclass(frozen=True, eq=False)
class Ladder:
    """The best levels of both sides, best first.

    Attributes
    ----------
    bid_ticks, bid_lots, bid_orders, ask_ticks, ask_lots, ask_orders
        Shape (n_levels of that side,), int64; orders are 0 in a book by price.
    """

    bid_ticks: NDArray[np.int64]
    bid_lots: NDArray[np.int64]
    bid_orders: NDArray[np.int64]
    ask_ticks: NDArray[np.int64]
    ask_lots: NDArray[np.int64]
    ask_orders: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything that a book holds: its levels, or its orders in the order of their queues.

    Attributes
    ----------
    side, price_ticks, size_lots, order_id
        Shape (n_entries,): int8, int64, int64, uint64; bids first, best levels first, each queue from its front. Ids
        are 0 in a book by price.
    """

    side: NDArray[np.int8]
    price_ticks: NDArray[np.int64]
    size_lots: NDArray[np.int64]
    order_id: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.side)

    def events(self, instrument: BookInstrument, session: str, ts_ns: int) -> Events:
        """Return the events that make this book out of any other: CLEAR, then every entry, flagged as a snapshot."""
        n_events = len(self) + 1
        flags = np.full(n_events, Flag.SNAPSHOT, np.uint8)
        flags[-1] |= Flag.LAST
        entry = Action.SET if instrument.kind == "by_price" else Action.ADD
        times = np.full(n_events, ts_ns, np.int64)
        return Events(
            instrument,
            session,
            times,
            times.copy(),
            np.array([Action.CLEAR, *[entry] * len(self)], np.uint8),
            np.concatenate([np.zeros(1, np.int8), self.side]),
            np.concatenate([np.zeros(1, np.int64), self.price_ticks]),
            np.concatenate([np.zeros(1, np.int64), self.size_lots]),
            np.concatenate([np.zeros(1, np.uint64), self.order_id]),
            flags,
        )


class Book:
    """A book that events are applied to, block after block.

    What can't be (an id that does not rest, a cancel of more than there is) changes nothing that the event does not
    prove, and is counted. Memory grows with what rests, not with what is applied.

    Examples
    --------
    >>> instrument = BookInstrument("X", tick_size=0.01, lot_size=1.0, kind="by_order")
    >>> book = Book(instrument)
    >>> counts = book.apply(Events.of(instrument, "s", [
    ...     (1, Action.ADD, 1, 99, 5, 7), (2, Action.ADD, 1, 99, 4, 8), (3, Action.EXECUTE, 1, 99, 5, 7),
    ...     (4, Action.CANCEL, 1, 99, 1, 12)]))
    >>> book.ladder(1).bid_lots.tolist(), counts.unknown_ids
    ([4], 1)
    """

    def __init__(self, instrument: BookInstrument, *, window_ticks: int = _WINDOW) -> None:
        if window_ticks < 64 or window_ticks & (window_ticks - 1):
            raise InputError(f"window_ticks must be a power of two of at least 64, was {window_ticks}")
        self.instrument = instrument
        self._levels = empty_levels(window_ticks, _FAR)
        self._orders = empty_orders(_ORDERS if instrument.kind == "by_order" else 1)
        self._counts = np.zeros(16, np.int64)
        self._placed = False

    @property
    def counts(self) -> Counts:
        """What was met so far."""
        return Counts(*(int(count) for count in self._counts))

    @property
    def best_bid_ticks(self) -> int | None:
        """Price of the best bid, None where there is none."""
        return self._best(0)

    @property
    def best_ask_ticks(self) -> int | None:
        """Price of the best ask, None where there is none."""
        return self._best(1)

    def apply(self, events: Events) -> Counts:
        """Apply events, which have been checked; return the counts of all so far."""
        self._apply(events, _NO_LOOKS, _looks(0, 0))
        return self.counts

    def ladders(self, events: Events, at: NDArray[np.int64], n_levels: int) -> list[Ladder]:
        """Apply events, and return the best levels after each of the events `at`, whose indices rise."""
        ticks, lots, orders, depth = self.tables(events, at, n_levels)
        return [
            Ladder(
                *(
                    table[k, side, : depth[k, side]].astype(np.int64)
                    for side in (0, 1)
                    for table in (ticks, lots, orders)
                )
            )
            for k in range(len(at))
        ]

    def tables(self, events: Events, at: NDArray[np.int64], n_levels: int) -> tuple[NDArray[np.int64], ...]:
        """Apply events, and return ticks, lots and orders after each of `at`, and how many levels there are.

        Parameters
        ----------
        at
            Shape (n_looks,), indices of `events`, strictly rising.

        Returns
        -------
        Three arrays of shape (n_looks, 2, n_levels), bids first and best first, 0 beyond the last level; and one of
        shape (n_looks, 2), int64.
        """
        at = np.ascontiguousarray(at, np.int64)
        if at.size and (at[0] < 0 or at[-1] >= len(events) or (np.diff(at) <= 0).any()):
            raise InputError(f"moments to look at must rise within 0 to {len(events) - 1}")
        out = _looks(len(at), n_levels)
        self._apply(events, at, out)
        return out

    def ladder(self, n_levels: int = 10) -> Ladder:
        """Return the best levels now."""
        from quantbot.book import kernels_levels

        found: list[NDArray[np.int64]] = []
        for side in (0, 1):
            columns = [np.zeros(n_levels, np.int64) for _ in range(3)]
            n = kernels_levels.read(self._levels, side, *columns)
            found += [column[:n] for column in columns]
        return Ladder(*found)

    def queue(self, side: int, price_ticks: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return ids and sizes of the orders at a price of the bid (+1) or ask (-1), from the front of the queue."""
        whole = self.snapshot()
        there = (whole.side == side) & (whole.price_ticks == price_ticks)
        return whole.order_id[there], whole.size_lots[there]

    def snapshot(self) -> Snapshot:
        """Return everything that the book holds now."""
        if self.instrument.kind == "by_order":
            from quantbot.book import kernels_rebuild

            n = int(self._orders.at[kernels_rebuild.N_ORDERS])
            entries = np.empty(n, np.uint64), np.empty(n, np.int8), np.empty(n, np.int64), np.empty(n, np.int64)
            kernels_rebuild.dump_orders(self._levels, self._orders, *entries)
            return Snapshot(entries[1], entries[2], entries[3], entries[0])
        n_levels = self._levels.at[5:7]
        best = self.ladder(max(int(n_levels.max()), 1))
        side = np.repeat(np.array([1, -1], np.int8), n_levels)
        ticks = np.concatenate([best.bid_ticks, best.ask_ticks])
        lots = np.concatenate([best.bid_lots, best.ask_lots])
        return Snapshot(side, ticks, lots, np.zeros(len(side), np.uint64))

    def restore(self, snapshot: Snapshot) -> None:
        """Hold what `snapshot` holds, and nothing else; counts stay as they are."""
        before = self._counts.copy()
        self._apply(snapshot.events(self.instrument, "", 0), _NO_LOOKS, _looks(0, 0))
        self._counts[:] = before

    def _best(self, side: int) -> int | None:
        from quantbot.book.kernels_levels import BEST, NONE

        tick = int(self._levels.at[BEST + side])
        return None if tick == NONE else tick

    def _apply(self, events: Events, at: NDArray[np.int64], out: tuple[NDArray[np.int64], ...]) -> None:
        from quantbot.book import kernels_rebuild as kernels

        if events.instrument.kind != self.instrument.kind:
            raise InputError(f"a book {self.instrument.kind} takes no events {events.instrument.kind}")
        self._place_window(events)
        start = 0
        while True:
            status, start = kernels.apply(
                events.action, events.side, events.price_ticks, events.size_lots, events.order_id, events.flags,
                start, self._levels, self._orders, self._counts, at, out,
            )  # fmt: skip
            if status == kernels.DONE:
                return
            if status == kernels.FAR_FULL:
                self._move_levels(self._middle(), 2 * self._levels.far_ticks.shape[1])
            else:
                self._orders = grown_orders(self._orders)

    def _place_window(self, events: Events) -> None:
        """Put the window where prices are: at the first ones, and anew when the best prices come near its ends."""
        window = self._levels.bits.shape[1] * 64
        if not self._placed:
            priced = events.price_ticks[:10_000][
                np.isin(events.action[:10_000], (Action.ADD, Action.SET, Action.MODIFY))
            ]
            if priced.size:
                self._levels.at[0] = int(np.median(priced)) - window // 2
                self._placed = True
            return
        middle = self._middle()
        if not window // 8 <= middle - self._levels.at[0] < window - window // 8:
            self._move_levels(middle, self._levels.far_ticks.shape[1])

    def _middle(self) -> int:
        best = [tick for tick in (self._best(0), self._best(1)) if tick is not None]
        window = self._levels.bits.shape[1] * 64
        return sum(best) // len(best) if best else int(self._levels.at[0]) + window // 2

    def _move_levels(self, middle: int, n_far: int) -> None:
        snapshot, queues = self.snapshot(), self.instrument.kind == "by_order"
        window = self._levels.bits.shape[1] * 64
        levels = empty_levels(window, max(n_far, _FAR))
        levels.at[0] = middle - window // 2
        # More levels may lie outside the new window than outside the old one.
        outside = (snapshot.price_ticks < levels.at[0]) | (snapshot.price_ticks >= levels.at[0] + window)
        if int(outside.sum()) >= n_far:
            levels = empty_levels(window, 2 * int(outside.sum()))
            levels.at[0] = middle - window // 2
        self._levels = levels
        if queues:
            self._orders = empty_orders(len(self._orders.ids))
        self.restore(snapshot)


def ladders(events: Events, at: NDArray[np.int64], n_levels: int = 10) -> list[Ladder]:
    """Return the best levels after each of the events `at` of a session that begins with an empty book.

    Examples
    --------
    >>> instrument = BookInstrument("X", tick_size=0.01, lot_size=1.0, kind="by_price")
    >>> events = Events.of(instrument, "s", [(1, Action.SET, 1, 99, 5), (2, Action.SET, 1, 98, 7)])
    >>> [ladder.bid_ticks.tolist() for ladder in ladders(events, np.array([0, 1]))]
    [[99], [99, 98]]
    """
    return Book(events.instrument).ladders(events, at, n_levels)


def check_counts(counts: Counts, *, allow: tuple[str, ...] = ()) -> None:
    """Raise `DataError` where events did not fit the book, but for the counts named in `allow`."""
    wrong = ("unknown_cancels", "unknown_executions", "unknown_modifies", "duplicates", "oversized", "gaps", "crossed")
    found = {each.name: getattr(counts, each.name) for each in fields(counts) if each.name in wrong}
    bad = {name: count for name, count in found.items() if count and name not in allow}
    if bad:
        raise DataError(
            f"the events do not fit the book: {', '.join(f'{count} {name}' for name, count in bad.items())} of "
            f"{counts.events} events"
        )


def no_looks() -> tuple[NDArray[np.int64], tuple[NDArray[np.int64], ...]]:
    """Return what tells `kernels_rebuild.apply` that nobody looks at the book."""
    return _NO_LOOKS, _looks(0, 0)


def _looks(n_looks: int, n_levels: int) -> tuple[NDArray[np.int64], ...]:
    tables = [np.zeros((n_looks, 2, n_levels), np.int64) for _ in range(3)]
    return (*tables, np.zeros((n_looks, 2), np.int64))


def empty_levels(window: int, n_far: int) -> Levels:
    """Return a window of so many ticks (a power of two) and room for so many levels outside, without a level."""
    from quantbot.book.kernels_levels import BEST, NONE, Levels

    def array(n: int, dtype: Any) -> NDArray[Any]:
        return np.zeros((2, n), dtype)

    at = np.zeros(7, np.int64)
    at[BEST : BEST + 2] = NONE
    slots = np.tile(np.arange(window, window + n_far, dtype=np.int64), (2, 1))
    n_slots = window + n_far
    return Levels(
        at,
        array(n_slots, np.int64),
        array(n_slots, np.int32),
        array(n_slots, np.int32),
        array(n_slots, np.int32),
        array(window // 64, np.uint64),
        array(-(-window // 64**2), np.uint64),
        array(-(-window // 64**3), np.uint64),
        array(n_far, np.int64),
        slots,
    )


def empty_orders(n: int) -> Orders:
    """Return room for `n` orders, a power of two."""
    from quantbot.book.kernels_rebuild import Orders

    table = 2 * n
    return Orders(
        np.zeros(3, np.int64),
        np.zeros(table, np.uint64),
        np.zeros(table, np.int32),
        np.zeros(n, np.uint64),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.int8),
        np.zeros(n, np.int32),
        np.zeros(n, np.int32),
    )


def grown_levels(levels: Levels) -> Levels:
    """Return the same levels with room for twice as many outside the window; slots stay."""
    window, n_far = levels.bits.shape[1] * 64, levels.far_ticks.shape[1]
    grown = empty_levels(window, 2 * n_far)
    for name in ("total", "resting", "head", "tail"):
        getattr(grown, name)[:, : window + n_far] = getattr(levels, name)
    for name in ("bits", "middle", "top"):
        getattr(grown, name)[:] = getattr(levels, name)
    grown.far_ticks[:, :n_far] = levels.far_ticks
    grown.far_slots[:, :n_far] = levels.far_slots
    grown.at[:] = levels.at
    return grown


def grown_orders(orders: Orders) -> Orders:
    """Return the same orders with room for twice as many; slots stay, places in the table are new."""
    from quantbot.book import kernels_rebuild

    grown = empty_orders(2 * len(orders.ids))
    for name in ("ids", "price", "size", "side", "before", "after"):
        old = getattr(orders, name)
        getattr(grown, name)[: len(old)] = old
    grown.at[:] = orders.at
    kernels_rebuild.rehash(orders.keys, orders.places, grown)
    return grown
