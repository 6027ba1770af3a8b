"""The events of a limit-order book: what the exchange published about one instrument in one session, as columns."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import DataError, InputError

__all__ = ["COLUMNS", "MAX_VALUE", "Action", "BookInstrument", "Events", "EventsCheck", "Flag", "Kind"]

Kind = Literal["by_price", "by_order"]
Policy = Literal["refuse", "count"]

# Prices in ticks and sizes in lots stay exact as float64, and so do sums of a thousand of them in int64.
MAX_VALUE = 2**53


class Action(IntEnum):
    """What an event does to the book.

    By order: ADD, CANCEL (`size_lots` off an order), DELETE (the whole order), MODIFY (the order's new price and size;
    its place in the queue is kept only if the price stays and the size does not grow), EXECUTE (`size_lots` of a
    resting order traded; the side is the resting order's; changes the book and is a trade).
    By price: SET (the level's total is now `size_lots`, 0 removes it).
    Both: TRADE (a print that names no resting order; the side is the *aggressor's*, 0 unknown; changes no book),
    CLEAR (this side's book, side 0: both, is empty from here on), HALT and RESUME.
    """

    ADD = 1
    CANCEL = 2
    DELETE = 3
    MODIFY = 4
    EXECUTE = 5
    TRADE = 6
    SET = 7
    CLEAR = 8
    HALT = 9
    RESUME = 10


class Flag(IntFlag):
    """What else holds of an event.

    SNAPSHOT: part of a snapshot, no market activity. LAST: the exchange's event is complete here; only now may the
    book be looked at. GAP: events were lost before this one. HIDDEN: a trade with an order that was not visible.
    CROSS: of an auction.
    """

    SNAPSHOT = 1
    LAST = 2
    GAP = 4
    HIDDEN = 8
    CROSS = 16


COLUMNS: dict[str, np.dtype[Any]] = {
    "ts_exchange_ns": np.dtype(np.int64),
    "ts_received_ns": np.dtype(np.int64),
    "action": np.dtype(np.uint8),
    "side": np.dtype(np.int8),
    "price_ticks": np.dtype(np.int64),
    "size_lots": np.dtype(np.int64),
    "order_id": np.dtype(np.uint64),
    "flags": np.dtype(np.uint8),
}
_BY_ORDER = (Action.ADD, Action.CANCEL, Action.DELETE, Action.MODIFY, Action.EXECUTE)
_ALL_FLAGS = int(Flag.SNAPSHOT | Flag.LAST | Flag.GAP | Flag.HIDDEN | Flag.CROSS)


@dataclass(frozen=True)
class BookInstrument:
    """What is traded, and in which units.

    Attributes
    ----------
    tick_size, lot_size
        Price = ``price_ticks * tick_size`` in `currency` per unit; size = ``size_lots * lot_size`` units. Positive.
    kind
        "by_price" (L2: totals of levels) or "by_order" (L3: every order, with an id).
    multiplier
        Account currency per price point and unit: 1 for a share, 50 for an E-mini S&P 500 future.
    """

    symbol: str
    tick_size: float
    lot_size: float
    kind: Kind
    currency: str = "USD"
    multiplier: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("by_price", "by_order"):
            raise InputError(f"kind of {self.symbol} must be by_price or by_order, was {self.kind!r}")
        for name in ("tick_size", "lot_size", "multiplier"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise InputError(f"{name} of {self.symbol} must be a positive number, was {value!r}")


@dataclass(frozen=True)
class EventsCheck:
    """How often what is odd, yet possible, was met in `n_events`.

    Attributes
    ----------
    times_back
        Events whose exchange time is before that of the event before.
    received_early
        Events received before the exchange's own time: clocks that differ.
    gaps, halts
        Events with `Flag.GAP`, with `Action.HALT`.
    first_back
        Index of the first event whose exchange time goes back, -1 where none does.
    """

    n_events: int
    times_back: int = 0
    received_early: int = 0
    gaps: int = 0
    halts: int = 0
    first_back: int = -1


@dataclass(frozen=True, eq=False)
class Events:
    """Events of one instrument in one session, in the order in which they were received.

    Attributes
    ----------
    session
        The trading day as text: "2012-06-21".
    ts_exchange_ns, ts_received_ns
        Shape (n_events,), int64 nanoseconds UTC. Exchange times may go back between events, received ones never do.
        Where a source has one clock only, both are it.
    action
        Shape (n_events,), uint8: `Action`.
    side
        Shape (n_events,), int8: +1 bid, -1 ask, 0 none.
    price_ticks, size_lots
        Shape (n_events,), int64, in units of `instrument`.
    order_id
        Shape (n_events,), uint64; 0 where there is none.
    flags
        Shape (n_events,), uint8: `Flag`.

    Examples
    --------
    >>> book = BookInstrument("X", tick_size=0.01, lot_size=1.0, kind="by_price")
    >>> events = Events.of(book, "2024-01-02", [(0, Action.SET, 1, 9_999, 5), (7, Action.SET, -1, 10_001, 3)])
    >>> len(events), events[1:].price_ticks.tolist(), events.check().times_back
    (2, [10001], 0)
    """

    instrument: BookInstrument
    session: str
    ts_exchange_ns: NDArray[np.int64]
    ts_received_ns: NDArray[np.int64]
    action: NDArray[np.uint8]
    side: NDArray[np.int8]
    price_ticks: NDArray[np.int64]
    size_lots: NDArray[np.int64]
    order_id: NDArray[np.uint64]
    flags: NDArray[np.uint8]

    def __post_init__(self) -> None:
        n_events = len(self.ts_exchange_ns)
        for name, dtype in COLUMNS.items():
            values = getattr(self, name)
            if values.shape != (n_events,) or values.dtype != dtype:
                raise DataError(
                    f"{name} of {self._place} must be {dtype} of shape ({n_events},), was {values.dtype} of"
                    f" {values.shape}"
                )
            object.__setattr__(self, name, np.ascontiguousarray(values))

    def __len__(self) -> int:
        return int(self.ts_exchange_ns.shape[0])

    def __getitem__(self, which: slice) -> Events:
        return Events(self.instrument, self.session, **{name: getattr(self, name)[which] for name in COLUMNS})

    @classmethod
    def of(cls, instrument: BookInstrument, session: str, rows: list[tuple[int, ...]]) -> Events:
        """Return events from rows (time, action, side, price_ticks, size_lots[, order_id[, flags]]), for examples.

        Both clocks are the row's time; without flags an event stands alone: `Flag.LAST`.
        """
        filled = [(row[0], *row, *(0, int(Flag.LAST))[len(row) - 5 :]) for row in rows]
        by_column = list(zip(*filled, strict=True)) if filled else [()] * len(COLUMNS)
        columns = zip(COLUMNS.items(), by_column, strict=True)
        return cls(instrument, session, **{name: np.array(each, dtype) for (name, dtype), each in columns})

    @classmethod
    def joined(cls, parts: list[Events]) -> Events:
        """Return consecutive parts of one session as one."""
        if len({(part.instrument, part.session) for part in parts}) != 1:
            raise InputError(f"parts of one session are needed, were {sorted({part._place for part in parts})}")
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
        return cls(parts[0].instrument, parts[0].session, **columns)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns by name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name in COLUMNS}

    def check(self, *, times_back: Policy = "count", first: int = 0) -> EventsCheck:
        """Return what is odd of these events, or raise for what can't be.

        Parameters
        ----------
        times_back
            "refuse" or "count" exchange times that go back.
        first
            Index of the first of these events in their session, for messages.

        Raises
        ------
        DataError
            For the first event with an unknown action or flag, a side other than -1, 0, 1 or missing where it is
            needed, a negative or too large size, a price too large, an order action without an id in a book by order,
            an order action in a book by price or SET in one by order, or a receipt before the one before.
        """
        for rule, broken in self._rules():
            if broken.any():
                at = int(np.argmax(broken))
                row = ", ".join(f"{name} {getattr(self, name)[at]}" for name in COLUMNS)
                raise DataError(f"event {first + at} of {self._place}: {rule}; found {row}")
        back = np.diff(self.ts_exchange_ns) < 0
        n_back = int(back.sum())
        first_back = int(np.argmax(back)) + 1 + first if n_back else -1
        if n_back and times_back == "refuse":
            raise DataError(
                f"ts_exchange_ns of {self._place} goes back at event {first_back} ({n_back} times in all); order the"
                f" events by receipt and count it (times_back='count'), or fix the source"
            )
        return EventsCheck(
            len(self),
            times_back=n_back,
            received_early=int((self.ts_received_ns < self.ts_exchange_ns).sum()),
            gaps=int((self.flags & Flag.GAP).astype(bool).sum()),
            halts=int((self.action == Action.HALT).sum()),
            first_back=first_back,
        )

    @property
    def _place(self) -> str:
        return f"{self.instrument.symbol}/{self.session}"

    def _rules(self) -> Any:
        """Give each rule and where it is broken."""
        action, size, price = self.action, self.size_lots, self.price_ticks
        received = self.ts_received_ns
        yield "action must be one of 1 to 10", (action < Action.ADD) | (action > Action.RESUME)
        yield "side must be -1, 0 or 1", np.abs(self.side.astype(np.int16)) > 1
        yield f"size_lots must be from 0 to {MAX_VALUE}", (size < 0) | (size > MAX_VALUE)
        yield f"price_ticks must be from -{MAX_VALUE} to {MAX_VALUE}", (price < -MAX_VALUE) | (price > MAX_VALUE)
        yield "flags has an unknown bit", (self.flags & ~np.uint8(_ALL_FLAGS)) != 0
        yield "ts_received_ns must not go back", np.append(False, received[1:] < received[:-1])[: len(self)]
        orders = np.isin(action, np.array(_BY_ORDER, np.uint8))
        sets = action == Action.SET
        if self.instrument.kind == "by_price":
            yield "a book by price has no order actions", orders
            yield "SET needs a side", sets & (self.side == 0)
        else:
            yield "a book by order has no SET", sets
            yield "an order's action needs its order_id", orders & (self.order_id == 0)
            yield "ADD and MODIFY need a side", np.isin(action, [Action.ADD, Action.MODIFY]) & (self.side == 0)
            yield "ADD and MODIFY need a size above 0", np.isin(action, [Action.ADD, Action.MODIFY]) & (size == 0)
