"""What real files of events prove: `shared/data/README.md`, section "What these files let you prove"."""

from __future__ import annotations

import gzip
import json
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from datasets.ingest.binance import BinanceStream
from datasets.ingest.binance_depth import find_depth
from datasets.ingest.bitstamp import BitstampOrders
from datasets.ingest.coinbase import CoinbaseFeed
from datasets.ingest.databento import DbnReader
from datasets.ingest.dbn_definitions import read_definitions
from datasets.ingest.events import EventOptions, Reader, Told, scaled_events
from datasets.ingest.itch import ItchReader
from datasets.ingest.kraken import KrakenBook
from datasets.ingest.lobster import LobsterReader, find_pair
from datasets.ingest.text_rows import Field, rows
from quantbot.book import Action, Book, BookInstrument, Events, Flag

DATA = Path(__file__).parents[4] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real data beside the project")
LOBSTER = DATA / "lobster"
STEM = "{}_2012-06-21_34200000_57600000_message_{}.csv.gz"


def read(reader: Reader, **options: object) -> dict[str, Events]:
    parts: dict[str, list[Events]] = {}
    for events, _ in scaled_events(reader, EventOptions(**options)):  # type: ignore[arg-type]
        parts.setdefault(events.instrument.symbol, []).append(events)
    for own in parts.values():
        for part in own:
            part.check()
    return {symbol: Events.joined(own) for symbol, own in parts.items()}


def pair(name: str) -> LobsterReader:
    return find_pair(LOBSTER / name)


def levels_of(reader: LobsterReader) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Each row of the orderbook file, read without our reader's levels: price and size, bids and asks."""
    fields = [Field(str(k)) for k in range(4 * reader.n_levels)]
    for block in rows(reader._paths[1], fields, max_bytes=1 << 40, member=reader._members[1]):
        table = np.stack(list(block.columns.values()), axis=1).reshape(len(block), reader.n_levels, 4)
        yield table[:, :, 2], table[:, :, 3], table[:, :, 0], table[:, :, 1]


@pytest.mark.parametrize(
    ("name", "n_rows", "n_outside"),
    [
        (STEM.format("AAPL", 1), 118_497, 30_071),
        ("LOBSTER_SampleFile_AMZN_2012-06-21_1.zip", 57_515, 13_953),
        (STEM.format("AMZN", 5), 155_935, 33_840),
        ("AAPL_level10_first999rows/" + STEM.format("AAPL", 10), 999, 318),
    ],
)
def test_lobster__each_row_is_the_row_before_and_its_message_and_replay_never_differs(name, n_rows, n_outside):
    reader = pair(name)
    events = next(iter(read(reader, tick_size=0.0001).values()))
    assert reader.n_rows == n_rows
    assert reader.tally.tolist() == [n_rows - 1, 0, n_outside]
    rows_of = np.concatenate([raw.places for raw, _ in reader.blocks()]) - 1  # rows count from 0, lines from 1
    ends = np.flatnonzero(np.append(np.diff(rows_of) != 0, True))
    ticks, lots, _, depth = Book(events.instrument).tables(events, ends, reader.n_levels)
    assert (depth == reader.n_levels).all()
    at = np.searchsorted(rows_of[ends], np.arange(n_rows), "right") - 1  # rows without an event leave the book as it is
    bid, bid_size, ask, ask_size = (np.concatenate(each) for each in zip(*levels_of(reader), strict=True))
    for side, price, size in ((0, bid, bid_size), (1, ask, ask_size)):
        assert np.array_equal(ticks[at, side], price)
        assert np.array_equal(lots[at, side], size)
    assert int((events.flags & Flag.LAST).astype(bool).sum()) == len(ends)


def test_lobster__messages_alone_know_the_best_prices_as_rarely_as_the_frontier_says():
    """Under the sound rule every known level is exact; the shares of rows are 0.2 %, 17.6 % and 81.8 %."""
    reader = pair(STEM.format("AMZN", 5))
    fields = [Field("time", "rounded", 9), *(Field(name) for name in ("type", "id", "size", "price", "direction"))]
    blocks = list(rows(reader._paths[0], fields, max_bytes=1 << 40))
    told = np.stack([np.concatenate([block.columns[f.name] for block in blocks]) for f in fields[1:]], axis=1).tolist()
    bid, bid_size, ask, ask_size = (np.concatenate(each).tolist() for each in zip(*levels_of(reader), strict=True))
    for every, share in ((0, 0.002), (1000, 0.176), (100, 0.818)):
        known = 0
        for row, (kind, _, size, price, direction) in enumerate(told):
            seeded = row == 0 or (every and row % every == 0)
            if seeded:
                books = [
                    dict(zip(bid[row], bid_size[row], strict=True)),
                    dict(zip(ask[row], ask_size[row], strict=True)),
                ]
                frontier = [bid[row][-1], ask[row][-1]]
            elif kind <= 4:
                side = 0 if direction > 0 else 1
                book = books[side]
                if (price >= frontier[0]) if side == 0 else (price <= frontier[1]):
                    book[price] = book.get(price, 0) + (size if kind == 1 else -size)
                    if not book[price]:
                        del book[price]
                    if len(book) >= 5:
                        frontier[side] = sorted(book, reverse=side == 0)[4]
                        books[side] = {
                            p: s for p, s in book.items() if (p >= frontier[0] if side == 0 else p <= frontier[1])
                        }
            if books[0] and books[1]:
                best = max(books[0]), min(books[1])
                assert (best[0], books[0][best[0]]) == (bid[row][0], bid_size[row][0])
                assert (best[1], books[1][best[1]]) == (ask[row][0], ask_size[row][0])
                known += not seeded
        assert known / len(told) == pytest.approx(share, abs=0.0006)


def test_itch__real_start_of_a_day_and_a_file_of_zero_lengths_are_read():
    start = ItchReader(DATA / "itch" / "nasdaq_start_of_day_1000msgs.itch", "2019-12-30")
    halts = read(start, tick_size=0.0001)
    assert len(start.names) == 993
    assert int(start.tally[0]) == 1000
    assert [events.action.tolist() for events in halts.values()] == [[Action.RESUME]] * 3
    made = ItchReader(DATA / "itch" / "RITCH_ex20101224.TEST_ITCH_50.gz", "2010-12-24")
    events = read(made, tick_size=0.0001)
    assert sorted(events) == ["ALC", "BOB", "CHAR"]
    assert int(made.tally[0]) == 12_012


@pytest.mark.parametrize(
    ("name", "n_checked", "n_dropped", "n_absent"),
    [("usdm/ethusdt_20240808.gz", 6581, 5, 8726), ("spot/btcusdt_20240808.gz", 3449, 2, 11_239)],
)
def test_binance__after_each_difference_the_best_prices_are_those_that_the_exchange_published(
    name, n_checked, n_dropped, n_absent
):
    path = DATA / "binance" / "raw_stream" / name
    reader = BinanceStream(path)
    (events,) = read(reader, tick_size=0.01, lot_size=0.000001 if "btc" in name else 0.001).values()
    assert (reader.counts["gaps"], reader.counts["dropped"]) == (0, n_dropped)
    tickers, updates = {}, []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            data = json.loads(line.partition(" ")[2]).get("data", {})
            if "B" in data:
                tickers[data["u"]] = [data[key] for key in ("b", "B", "a", "A")]
            elif data.get("e") == "depthUpdate":
                updates.append(data["u"])
    keys = sorted(tickers)
    ends = np.flatnonzero(((events.flags & Flag.LAST) != 0) & (events.action == Action.SET))[
        1:
    ]  # the first ends the snapshot
    assert len(ends) == n_checked == len(updates) - n_dropped
    book = Book(events.instrument)
    ladders = book.ladders(events, ends, 1)
    tick, lot = events.instrument.tick_size, events.instrument.lot_size
    for ladder, update in zip(ladders, updates[n_dropped:], strict=True):
        at = bisect_right(keys, update) - 1
        bid, bid_size, ask, ask_size = (float(text) for text in tickers[keys[at]])
        assert int(ladder.bid_ticks[0]) == round(bid / tick)
        assert int(ladder.ask_ticks[0]) == round(ask / tick)
        assert int(ladder.bid_lots[0]) == round(bid_size / lot)
        assert int(ladder.ask_lots[0]) == round(ask_size / lot)
    assert book.counts.absent_levels == n_absent
    stamped = events.ts_exchange_ns != events.ts_received_ns
    assert (events.ts_received_ns < events.ts_exchange_ns)[stamped].all()


def test_binance__historical_books_of_futures_are_read_and_their_hole_is_a_gap():
    folder = DATA / "binance" / "T_DEPTH"
    (events,) = read(find_depth(folder / "btcusdt-depth-update.csv")).values()  # the snapshot is of ten minutes before
    counts = Book(events.instrument).apply(events)
    assert (len(events), counts.snapshots, counts.gaps, counts.looks) == (201, 101, 1, 2)
    (alone,) = read(find_depth(folder / "btcusdt-depth-snap.csv")).values()
    book = Book(alone.instrument)
    assert book.apply(alone).crossed == 0
    told = [line.split(",") for line in (folder / "btcusdt-depth-snap.csv").read_text().split()[1:]]
    ladder = book.ladder(200)
    best = sorted(((round(float(row[6]) * 10), round(float(row[7]) * 1000)) for row in told), reverse=True)
    assert list(zip(ladder.bid_ticks.tolist(), ladder.bid_lots.tolist(), strict=True)) == best


def test_kraken__every_update_agrees_with_its_checksum():
    reader = KrakenBook(DATA / "ws_captures" / "KRAKEN.ws.50.0.raw.gz")
    events = read(reader)
    assert (reader.n_checked, reader.n_wrong) == (4269, 0)
    assert len(events) == 10
    for own in events.values():
        assert Book(own.instrument).apply(own).crossed == 0


def test_coinbase__every_removal_names_a_level_and_the_book_shows_each_published_best_price():
    path = DATA / "ws_captures" / "COINBASE.ws.28.0.raw.gz"
    reader = CoinbaseFeed(path)
    events = read(reader)
    assert (len(events), reader.counts["l2update"], reader.counts["match"]) == (10, 9719, 97)
    shown = {}
    for product, own in events.items():
        book, looks = Book(own.instrument), np.flatnonzero(own.flags & Flag.LAST)
        ticks = book.tables(own, looks, 1)[0]
        assert book.counts.absent_levels == book.counts.crossed == book.counts.locked == 0
        best = np.round(ticks[:, :, 0] * own.instrument.tick_size, 8)
        shown[product] = own.ts_received_ns[looks], best.tolist()
    n_checked, seen = 0, set()
    with gzip.open(path, "rt") as lines:
        for line in lines:
            stamp, _, text = line.partition(": ")
            message = json.loads(text) if stamp[0].isdigit() else {}
            if message.get("type") == "ticker":
                times, best = shown[message["product_id"]]
                at = int(np.searchsorted(times, int(float(stamp) * 1e9), "right"))
                wanted = [float(message["best_bid"]), float(message["best_ask"])]
                if message["product_id"] in seen:  # the first of each product tells what was before its snapshot
                    assert wanted in best[max(at - 7, 0) : at + 6]  # the channels are not in step with each other
                    n_checked += 1
                seen.add(message["product_id"])
    assert (n_checked, len(seen)) == (97, 10)


def test_databento__a_book_by_order_knows_every_order_that_is_named():
    path = next((DATA / "databento" / "glbx_real" / "order_book_deltas_catalog").glob("*mbo*"))
    (events,) = read(DbnReader(path), tick_size=0.25).values()
    counts = Book(events.instrument).apply(events)
    assert int((events.action == Action.CLEAR).sum()) == 1
    assert int(((events.action == Action.ADD) & ((events.flags & Flag.SNAPSHOT) != 0)).sum()) == 13_600
    assert counts.unknown_ids == counts.duplicates == counts.oversized == counts.crossed == 0


def test_databento__executions_leave_the_book_that_the_cancels_leave():
    """The same records without our joining of fills: every A, C, M, R as it stands."""
    from datasets.ingest.databento import LAYOUTS, records

    for path in (DATA / "databento" / "glbx_real").rglob("*mbo*"):
        (events,) = read(DbnReader(path), tick_size=0.01).values()
        joined = Book(events.instrument)
        joined.apply(events)
        block = np.concatenate([b for _, _, b in records(path, max_bytes=1 << 40, skipped={})])
        assert block.dtype == LAYOUTS[0xA0]
        letters = {ord("A"): Action.ADD, ord("C"): Action.CANCEL, ord("M"): Action.MODIFY, ord("R"): Action.CLEAR}
        plain = [
            (0, letters[r["action"]], {66: 1, 65: -1, 78: 0}[int(r["side"])],
             0 if r["action"] == 82 else int(r["price"]) // 10**7, int(r["size"]), int(r["order_id"]))
            for r in block if r["action"] in letters
        ]  # fmt: skip
        other = Book(events.instrument)
        other.apply(Events.of(events.instrument, "s", plain))
        for name in ("side", "price_ticks", "size_lots", "order_id"):
            assert np.array_equal(getattr(joined.snapshot(), name), getattr(other.snapshot(), name))


def test_databento__trades_are_the_prints_of_the_best_levels():
    folder = DATA / "databento" / "glbx_real" / "historical_bars_catalog"
    (trades,) = read(DbnReader(next(folder.glob("*trades*"))), tick_size=0.25).values()
    (levels,) = read(DbnReader(next(folder.glob("*mbp-1*"))), tick_size=0.25).values()
    prints = levels.action == Action.TRADE
    assert len(trades) == int(prints.sum()) == 120
    for name in ("ts_exchange_ns", "ts_received_ns", "side", "price_ticks", "size_lots"):
        assert np.array_equal(getattr(trades, name), getattr(levels, name)[prints])


@pytest.mark.parametrize("what", ["mbo", "mbp-1", "mbp-10", "trades"])
def test_databento__every_version_of_a_file_says_the_same(what):
    files = sorted((DATA / "databento" / "dbn_test_data").glob(f"test_data.{what}.*db[nz]*"))
    found = [read(DbnReader(path), tick_size=0.01)["ESH1"] for path in files if "frag" not in path.name]
    assert len(found) >= 5
    for events in found[1:]:
        for name, values in events.columns().items():
            assert np.array_equal(values, getattr(found[0], name))


def test_databento__definitions_say_what_their_instruments_are():
    folder = DATA / "databento" / "glbx_real"
    assert read_definitions(folder / "definition-glbx-es-fut.dbn.zst") == {95414: Told("ESM3", 0.25, 50.0, "USD")}
    assert read_definitions(folder / "historical_bars_catalog" / "futures_definition.dbn.zst") == {
        118: Told("ESU4", 0.25, 50.0, "USD"), 4358: Told("NQU4", 0.25, 20.0, "USD"),
    }  # fmt: skip
    options = sorted((DATA / "databento" / "dbn_test_data").glob("test_data.definition*frag*"))
    assert len(options) == 6
    for path in options:  # versions 1 to 3, of three lengths
        found = read_definitions(path)
        assert found[31778] == Told("GEM3 P9812", 0.5, 25.0, "USD")
        assert found[688141] == Told("ESH1 P2250", None, None, "USD")  # a variable tick is none
    shares = [*(DATA / "databento" / "dbn_test_data").glob("test_data.definition.v*.dbn.zst")]
    assert {told.symbol for path in shares for told in read_definitions(path).values()} == {"MSFT"}
    old = read_definitions(DATA / "databento" / "dbn_test_data" / "test_data.definition.dbz")
    assert old[7236] == Told("MSFT")


def test_databento__definitions_give_events_their_symbol_tick_multiplier_and_currency():
    folder = DATA / "databento" / "glbx_real" / "order_book_deltas_catalog"
    told = read_definitions(next(folder.glob("*definition*")))
    (events,) = read(DbnReader(next(folder.glob("*mbo*")), definitions=told), lot_size=1).values()
    assert events.instrument == BookInstrument("ESM4", 0.25, 1.0, "by_order", "USD", 50.0)
    (other,) = read(DbnReader(next(folder.glob("*mbo*")), definitions=told), lot_size=1, multiplier=5.0).values()
    assert other.instrument.multiplier == 5.0


def test_bitstamp__receipts_never_go_back_and_exchange_times_do():
    (events,) = read(BitstampOrders(DATA / "bitstamp_l3" / "orders_2015-05-01.csv.xz"), tick_size=0.01).values()
    assert len(events) == 50_414
    assert events.check().times_back == 16_278
