"""A synthetic limit-order book, order by order: seeded, any number of events in bounded memory, with FIFO truth.

A fair price wanders; orders come near it, rest in queues, are cut, moved and deleted; market orders take what rests,
mostly where the fair price has left the book behind (so quotes are picked off, and making markets has its price). By
order, every execution names the order that was first in its queue: what a queue model guesses by price is known here.
By price is the same market with the orders forgotten.

Random words come from the counter-based Philox keyed by the seed; events are made of them by integers and + - x /.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.book import BookInstrument, Events
from quantbot.book.events import COLUMNS, Kind
from quantbot.errors import InputError

if TYPE_CHECKING:
    from datasets.events_writer import Written
    from datasets.store import Store

__all__ = ["SyntheticBook", "by_price", "synthetic_book"]

Progress = Callable[[float, str], None]
_ROWS = 1 << 17
_STEPS = 1 << 16
_EIGHT_HOURS_NS = 8 * 3600 * 10**9


@dataclass(frozen=True)
class SyntheticBook:
    """One drawn session.

    Attributes
    ----------
    n_events
        How many events by order it has.
    seed
        0 to 2**64 - 1; the same seed gives the same bits, in blocks of whatever size.
    n_orders
        About how many orders rest at a time.
    volatility
        About 18 times the standard deviation of the fair price, in ticks, over 10,000 steps.
    latency_ns
        From the exchange to the receiver: at least this, and up to as much again.
    halts
        How often trading is halted, evenly through the session, each time for a twentieth of what lies between: orders
        still come and go, nothing trades; an auction's print (flag CROSS) ends it.
    """

    n_events: int
    seed: int = 0
    symbol: str = "SYN"
    session: str = "2024-01-02"
    start_ticks: int = 10_000
    tick_size: float = 0.01
    n_orders: int = 1500
    volatility: int = 64
    latency_ns: int = 500_000
    halts: int = 0

    def __post_init__(self) -> None:
        if self.n_events < 1:
            raise InputError(f"n_events must be at least 1, was {self.n_events}")
        if not 0 <= self.seed < 2**64:
            raise InputError(f"seed must be from 0 to 2**64 - 1, was {self.seed}")
        if (
            not 2000 <= self.start_ticks <= 10**8
            or not 64 <= self.n_orders <= 10**6
            or not 0 <= self.volatility <= 4096
        ):
            raise InputError("start_ticks must be 2,000 to 1e8, n_orders 64 to 1e6, volatility 0 to 4096")
        if not 0 <= self.halts <= 1000 or (self.halts and self.n_events < 200 * (self.halts + 1)):
            raise InputError(f"halts must be 0 to 1,000, and 200 events lie between two; was {self.halts}")

    def blocks(self) -> Iterator[Events]:
        """Yield the events by order, block by block."""
        from datasets.ingest.events import day_start_ns
        from quantbot.book import kernels_synthetic as kernels
        from quantbot.book.rebuild import empty_levels, empty_orders, grown_levels, grown_orders, no_looks

        instrument = BookInstrument(self.symbol, self.tick_size, 1.0, "by_order")
        levels, orders = empty_levels(2**18, 4096), empty_orders(1 << max(self.n_orders.bit_length() + 2, 12))
        levels.at[0] = self.start_ticks - 2**17
        open_ns = day_start_ns(self.session, "America/New_York") + 9 * 3600 * 10**9 + 1800 * 10**9
        state = np.zeros(kernels.N_STATE, np.int64)
        state[: kernels.NEXT_ID + 1] = open_ns, open_ns, self.start_ticks * kernels.SCALE, 1
        between = -(-self.n_events // (self.halts + 1))
        lasts = max(between // 20, 1)
        turn = between if self.halts else kernels.NO_TURN
        state[kernels.TURN], state[kernels.BETWEEN], state[kernels.LASTS] = turn, between - lasts, lasts
        counts, nothing = np.zeros(16, np.int64), no_looks()
        words = np.random.Philox(key=self.seed)
        gap_ns = max(_EIGHT_HOURS_NS * 13 // 16 // self.n_events, 10)
        n_left = self.n_events
        held = np.empty((0, kernels.DRAWS), np.uint64)
        while n_left > 0:
            if not len(held):
                held = words.random_raw(_STEPS * kernels.DRAWS).reshape(_STEPS, kernels.DRAWS)
            out = _columns(_ROWS)
            done, n = kernels.draw(
                held,
                gap_ns,
                self.latency_ns,
                self.n_orders,
                self.volatility,
                levels,
                orders,
                state,
                counts,
                *nothing,
                out,
            )
            if n < 0:
                raise AssertionError(f"a drawn book outgrew its room (status {-1 - n})")
            held = held[done:]
            if len(levels.far_ticks[0]) - max(levels.at[3:5]) < 2048:
                levels = grown_levels(levels)
            if 4 * (orders.at[0] + kernels.MOST_ROWS) > len(orders.keys):
                orders = grown_orders(orders)
            n = min(n, n_left)
            n_left -= n
            if n:
                columns = {name: column[:n] for name, column in zip(COLUMNS, out, strict=True)}
                yield Events(instrument, self.session, **columns)


def by_price(blocks: Iterator[Events]) -> Iterator[Events]:
    """Yield events by price from events by order: levels' totals, and executions as trades of their aggressor."""
    from quantbot.book import kernels_rebuild
    from quantbot.book import kernels_synthetic as kernels
    from quantbot.book.rebuild import empty_levels, empty_orders, grown_levels, grown_orders, no_looks

    state, nothing = None, no_looks()
    for events in blocks:
        if state is None:
            levels, orders = empty_levels(2**20, 4096), empty_orders(1 << 14)
            levels.at[0] = int(np.median(events.price_ticks)) - 2**19
            state = np.zeros(16, np.int64)
        old = events.instrument
        instrument = BookInstrument(old.symbol, old.tick_size, old.lot_size, "by_price", old.currency, old.multiplier)
        out = tuple(np.empty(3 * len(events) + 3, np.int64) for _ in range(6))
        start = 0
        while start < len(events):
            status, start, n = kernels.degrade(
                events.action, events.side, events.price_ticks, events.size_lots, events.order_id, events.flags, start,
                levels, orders, state, *nothing, out,
            )  # fmt: skip
            if status == kernels_rebuild.FAR_FULL:
                levels = grown_levels(levels)
            elif status == kernels_rebuild.ORDERS_FULL:
                orders = grown_orders(orders)
            row, action, side, price, size, flags = (column[:n].copy() for column in out)
            if n:
                yield Events(
                    instrument, events.session, events.ts_exchange_ns[row], events.ts_received_ns[row],
                    action.astype(np.uint8), side.astype(np.int8), price, size, np.zeros(n, np.uint64),
                    flags.astype(np.uint8),
                )  # fmt: skip


def synthetic_book(
    root: Store,
    name: str,
    n_events: int = 1_000_000,
    seed: int = 0,
    *,
    kind: Kind = "by_order",
    n_sessions: int = 1,
    start: str = "2024-01-02",
    halts: int = 0,
    progress: Progress | None = None,
) -> Written:
    """Write a synthetic market as the dataset `name`: `n_sessions` of `n_events` each, on weekdays from `start`.

    `halts` are those of each session.

    Returns
    -------
    As an ingest: the dataset, its quality report, and whether it was not there before.
    """
    from datasets.events import EventsMeta
    from datasets.events_writer import EventsWriter
    from datasets.references import check_name

    check_name(name)
    if kind not in ("by_order", "by_price"):
        raise InputError(f"kind must be by_order or by_price, was {kind!r}")
    days = np.busday_offset(np.datetime64(start, "D"), np.arange(n_sessions), roll="forward")
    meta = EventsMeta(
        f"synthetic market {kind.replace('_', ' ')}", f"drawn, seed {seed}", synthetic=True, zone="America/New_York"
    )
    n_done = 0
    with EventsWriter(root, name, meta) as writer:
        for number, day in enumerate(days.astype(str).tolist()):
            drawn = SyntheticBook(n_events, (seed + number) % 2**64, session=day, halts=halts).blocks()
            for events in drawn if kind == "by_order" else by_price(drawn):
                writer.add(events)
                n_done += len(events)
                if progress is not None:
                    share = min(n_done / (n_events * n_sessions * (1 if kind == "by_order" else 1.3)), 0.99)
                    progress(share, f"drawing {name} (synthetic)")
            writer.close_sessions()
        return writer.finish()


def _columns(n: int) -> tuple[NDArray[Any], ...]:
    return tuple(np.empty(n, dtype) for dtype in COLUMNS.values())
