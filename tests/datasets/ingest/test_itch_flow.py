"""Real order flow, all of LOBSTER's messages, through an ITCH 5.0 encoder of others, our reader and our book."""

from __future__ import annotations

import struct
from bisect import bisect_left, insort
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.ingest.events import EventOptions, scaled_events
from datasets.ingest.itch import ItchReader
from datasets.ingest.text_rows import Field, rows
from quantbot.book import Book, Events

messages = pytest.importorskip("itch.messages")
LOBSTER = Path(__file__).parents[4] / "shared" / "data" / "lobster"
pytestmark = pytest.mark.skipif(not LOBSTER.is_dir(), reason="no real data beside the project")

STOCK, DAY = b"LOBSTER ", "2012-06-21"
NAME = "{}_2012-06-21_34200000_{}_{}_{}.csv"
DIRECTORY = {
    "stock": STOCK, "market_category": b"Q", "financial_status_indicator": b"N", "round_lot_size": 100,
    "round_lots_only": b"N", "issue_classification": b"C", "issue_sub_type": b"Z ", "authenticity": b"P",
    "short_sale_threshold_indicator": b"N", "ipo_flag": b"N", "luld_ref": b"1", "etp_flag": b"N",
    "etp_leverage_factor": 0, "inverse_indicator": b"N",
}  # fmt: skip
_NUMBERS = [Field(name) for name in ("type", "id", "size", "price", "direction")]
N_LEVELS = 5


class Flow:
    """A file of ITCH messages that `itchfeed` encodes, each with its length before it."""

    def __init__(self, path: Path) -> None:
        self._path, self._parts = path, [self._made(b"R", 0, **DIRECTORY)]

    @staticmethod
    def _made(kind: bytes, time: int, **fields: Any) -> bytes:
        made = messages.create_message(kind, stock_locate=7, tracking_number=0, timestamp=time, **fields)
        body: bytes = made.to_bytes()
        return struct.pack(">H", len(body)) + body

    def add(self, time: int, key: int, side: int, size: int, price: int) -> None:
        self._parts.append(self._made(
            b"A", time, order_reference_number=key, buy_sell_indicator=b"B" if side > 0 else b"S", shares=size,
            stock=STOCK, price=price,
        ))  # fmt: skip

    def take(self, kind: int, time: int, key: int, size: int) -> None:
        """Encode a partial cancel (2), a deletion (3) or an execution (4)."""
        if kind == 2:
            part = self._made(b"X", time, order_reference_number=key, cancelled_shares=size)
        elif kind == 3:
            part = self._made(b"D", time, order_reference_number=key)
        else:
            part = self._made(
                b"E", time, order_reference_number=key, executed_shares=size, match_number=len(self._parts)
            )
        self._parts.append(part)

    def hidden(self, time: int, side: int, size: int, price: int) -> None:
        self._parts.append(self._made(
            b"P", time, order_reference_number=0, buy_sell_indicator=b"B" if side > 0 else b"S", shares=size,
            stock=STOCK, price=price, match_number=len(self._parts),
        ))  # fmt: skip

    def more(self, kind: bytes, time: int, **fields: Any) -> None:
        """Encode a message of any kind."""
        self._parts.append(self._made(kind, time, **fields))

    def __len__(self) -> int:
        return len(self._parts) - 1

    def events(self) -> Events:
        """What our reader makes of the file."""
        self._path.write_bytes(b"".join(self._parts))
        parts = [part for part, _ in scaled_events(ItchReader(self._path, DAY), EventOptions(tick_size=0.0001))]
        return Events.joined(parts)


def told(path: Path, member: str = "") -> Iterator[list[int]]:
    """Each message: time, type, id, size, price, direction."""
    for block in rows(path, [Field("time", "rounded", 9), *_NUMBERS], max_bytes=1 << 30, member=member):
        yield from np.stack(list(block.columns.values()), axis=1).tolist()


def levels(path: Path, n_levels: int, member: str = "") -> Iterator[list[int]]:
    """Each row of an orderbook file: ask price, ask size, bid price, bid size, level by level."""
    for block in rows(path, [Field(str(k)) for k in range(4 * n_levels)], max_bytes=1 << 30, member=member):
        yield from np.stack(list(block.columns.values()), axis=1).tolist()


def files(stock: str, depth: int) -> tuple[tuple[Path, str], tuple[Path, str]]:
    """Message and orderbook file, and their names within a zip."""
    end = 37_800_000 if depth == 50 else 57_600_000
    names = [NAME.format(stock, end, what, depth) for what in ("message", "orderbook")]
    if (stock, depth) == ("AMZN", 1):
        both = LOBSTER / "LOBSTER_SampleFile_AMZN_2012-06-21_1.zip"
        return (both, names[0]), (both, names[1])
    folder = LOBSTER / {10: "AAPL_level10_first999rows", 50: "messages_only"}.get(depth, "")
    one, other = (folder / f"{name}.gz" for name in names)
    return (one, ""), (other, "")


class Plain:
    """A book by order in dictionaries: what LOBSTER's messages say, and nothing of orders that they never added."""

    def __init__(self) -> None:
        self.orders: dict[int, list[int]] = {}
        self.totals: tuple[dict[int, int], dict[int, int]] = {}, {}
        self.prices: tuple[list[int], list[int]] = [], []  # bids negated: best first on both sides
        self.n_unknown = 0

    def change(self, side: int, price: int, size: int) -> None:
        at, key = (0, -price) if side > 0 else (1, price)
        left = self.totals[at].get(price, 0) + size
        if not left:
            del self.totals[at][price]
            del self.prices[at][bisect_left(self.prices[at], key)]
            return
        if price not in self.totals[at]:
            insort(self.prices[at], key)
        self.totals[at][price] = left

    def add(self, key: int, side: int, size: int, price: int) -> None:
        self.orders[key] = [side, price, size]
        self.change(side, price, size)

    def take(self, kind: int, key: int, size: int) -> None:
        if key not in self.orders:
            self.n_unknown += 1
            return
        side, price, left = self.orders[key]
        taken = left if kind == 3 else min(size, left)
        self.orders[key][2] -= taken
        if taken == left:
            del self.orders[key]
        self.change(side, price, -taken)

    def best(self, n_levels: int) -> list[int]:
        """Ticks of bids, ticks of asks, lots of bids, lots of asks; 0 beyond the last level."""
        ticks, lots = [], []
        for totals, prices in zip(self.totals, self.prices, strict=True):
            own = [abs(price) for price in prices[:n_levels]]
            missing = [0] * (n_levels - len(own))
            ticks += own + missing
            lots += [totals[price] for price in own] + missing
        return ticks + lots


def check_every_event(path: Path, stock: str, depth: int, n_rows: int, n_unknown: int) -> None:
    flow, plain = Flow(path), Plain()
    wanted: list[list[int]] = []
    (source, member), _ = files(stock, depth)
    for time, kind, key, size, price, side in told(source, member):
        if kind == 1:
            flow.add(time, key, side, size, price)
            plain.add(key, side, size, price)
        elif kind == 5:
            flow.hidden(time, side, size, price)
        else:
            assert kind in (2, 3, 4)  # neither crosses nor halts in these samples
            flow.take(kind, time, key, size)
            plain.take(kind, key, size)
        wanted.append(plain.best(N_LEVELS))
        if len(wanted) == n_rows:
            break
    events = flow.events()
    assert len(events) == len(wanted) == n_rows
    book = Book(events.instrument)
    ticks, lots, _, _ = book.tables(events, np.arange(n_rows), N_LEVELS)
    found = np.concatenate([ticks.reshape(n_rows, -1), lots.reshape(n_rows, -1)], axis=1)
    assert np.array_equal(found, np.array(wanted))
    assert book.counts.unknown_ids == plain.n_unknown == n_unknown
    assert book.counts.oversized == book.counts.duplicates == 0
    whole = book.snapshot()
    assert len(whole) == len(plain.orders)
    for key, side, price, size in zip(
        whole.order_id.tolist(), whole.side.tolist(), whole.price_ticks.tolist(), whole.size_lots.tolist(), strict=True
    ):
        assert plain.orders[key] == [side, price, size]


def test_itch__a_replaced_order_queues_behind_and_a_priced_execution_takes_from_its_order(tmp_path: Path) -> None:
    flow = Flow(tmp_path / "x.itch")
    for key in (1, 2):
        flow.add(10, key, 1, 100, 1_000_000)
    flow.more(
        b"F", 11, order_reference_number=3, buy_sell_indicator=b"S", shares=50, stock=STOCK, price=1_000_100,
        attribution=b"MPID",
    )  # fmt: skip
    flow.more(
        b"C", 12, order_reference_number=1, executed_shares=30, match_number=1, printable=b"Y", execution_price=999_900
    )
    flow.more(b"U", 13, order_reference_number=1, new_order_reference_number=4, shares=70, price=1_000_000)
    flow.more(b"U", 14, order_reference_number=3, new_order_reference_number=5, shares=40, price=1_000_200)
    events = flow.events()
    book = Book(events.instrument)
    counts = book.apply(events)
    assert (counts.unknown_ids, counts.other_price) == (0, 1)
    assert [each.tolist() for each in book.queue(1, 1_000_000)] == [[2, 4], [100, 70]]
    assert [each.tolist() for each in book.queue(-1, 1_000_200)] == [[5], [40]]


class Whole(Plain):
    """The book of the orderbook file, order by order: what its messages don't explain comes as orders of our own."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow
        self.at_price: tuple[dict[int, list[int]], dict[int, list[int]]] = {}, {}
        self.next_key = 1 << 60

    def message(self, time: int, kind: int, key: int, size: int, price: int, side: int) -> None:
        """Encode a message of LOBSTER; one of an order from before takes from the orders that stand in for it."""
        if kind == 1:
            self.put(time, key, side, size, price)
        elif kind == 5:
            self.flow.hidden(time, side, size, price)
        elif key in self.orders:
            self.drop(time, kind, key, size)
        else:
            own = [each for each in self.at_price[side < 0].get(price, ()) if each >= 1 << 60]
            if own and size <= self.orders[own[0]][2]:
                self.drop(time, 4 if kind == 4 else 2, own[0], size)

    def complete(self, time: int, row: list[int]) -> bool:
        """Bring the levels to those of the file's row; return whether the message had not done it."""
        moved = False
        for at, side in ((0, -1), (1, 1)):
            shown = dict(zip(row[2 * at :: 4], row[2 * at + 1 :: 4], strict=True))
            worst = row[len(row) - 4 + 2 * at]
            for key in self.prices[side < 0]:
                if (side > 0 and -key < worst) or (side < 0 and key > worst):
                    break
                shown.setdefault(abs(key), 0)
            for price, size in shown.items():
                if self.totals[side < 0].get(price, 0) != size:
                    moved = True
                    self.level(time, side, price, size)
        return moved

    def level(self, time: int, side: int, price: int, size: int) -> None:
        while self.totals[side < 0].get(price, 0) > size:
            self.drop(time, 3, self.at_price[side < 0][price][-1], 0)
        missing = size - self.totals[side < 0].get(price, 0)
        if missing:
            self.next_key += 1
            self.put(time, self.next_key, side, missing, price)

    def put(self, time: int, key: int, side: int, size: int, price: int) -> None:
        self.flow.add(time, key, side, size, price)
        self.add(key, side, size, price)
        self.at_price[side < 0].setdefault(price, []).append(key)

    def drop(self, time: int, kind: int, key: int, size: int) -> None:
        side, price, _ = self.orders[key]
        self.flow.take(kind, time, key, size)
        self.take(kind, key, size)
        if key not in self.orders:
            self.at_price[side < 0][price].remove(key)


@pytest.mark.parametrize(
    ("stock", "depth", "n_rows", "n_unknown"),
    [("AAPL", 1, 118_497, 14_980), ("AMZN", 1, 57_515, 7467), ("AMZN", 5, 155_935, 8491), ("AAPL", 50, 91_997, 84)],
)
def test_itch__of_whole_days_of_messages_gives_their_book_at_every_event(
    tmp_path: Path, stock: str, depth: int, n_rows: int, n_unknown: int
) -> None:
    """Levels, queues and orders that were never added: against dictionaries fed with the messages themselves."""
    check_every_event(tmp_path / "x.itch", stock, depth, n_rows, n_unknown)


@pytest.mark.parametrize(
    ("stock", "depth", "n_rows", "n_outside"),
    [
        ("AMZN", 1, 57_515, 13_953),
        ("AAPL", 10, 999, 318),
        pytest.param("AAPL", 1, 118_497, 30_071, marks=pytest.mark.slow),
        pytest.param("AMZN", 5, 155_935, 33_840, marks=pytest.mark.slow),
    ],
)
def test_itch__of_whole_days_gives_every_row_of_the_orderbook_file(
    tmp_path: Path, stock: str, depth: int, n_rows: int, n_outside: int
) -> None:
    """The levels that come in from below the file's depth are encoded as orders; all else is in the messages."""
    flow = Flow(tmp_path / "x.itch")
    whole = Whole(flow)
    (source, member), (beside, other) = files(stock, depth)
    ends, rows_told, n_completed = [], [], 0
    for (time, *message), row in zip(told(source, member), levels(beside, depth, other), strict=True):
        if ends:  # the first row's message is in its levels already
            whole.message(time, *message)
        n_completed += whole.complete(time, row)
        ends.append(len(flow) - 1)
        rows_told.append(row)
    assert len(ends) == n_rows
    assert n_completed <= n_outside + 1
    events = flow.events()
    assert len(events) == len(flow)
    book = Book(events.instrument)
    moments, at = np.unique(ends, return_inverse=True)  # a message that changes no level beside our own may be left out
    ticks, lots, _, _ = book.tables(events, moments, depth)
    wanted = np.array(rows_told).reshape(n_rows, depth, 2, 2)
    for side, column in ((0, 1), (1, 0)):
        assert np.array_equal(ticks[at, side], wanted[:, :, column, 0])
        assert np.array_equal(lots[at, side], wanted[:, :, column, 1])
    counts = book.counts
    assert counts.unknown_ids == counts.oversized == counts.duplicates == counts.crossed == counts.locked == 0
