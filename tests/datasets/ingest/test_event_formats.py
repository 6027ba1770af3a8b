"""Small files of each format of events, made here: what they say, what is refused, and what damage does."""

from __future__ import annotations

import gzip
import io
import json
import random
import resource
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import open_store
from datasets.ingest.binance import BinanceStream, BinanceTrades
from datasets.ingest.binance_depth import find_depth
from datasets.ingest.bitstamp import BitstampOrders
from datasets.ingest.bybit import BybitBook
from datasets.ingest.coinbase import CoinbaseFeed
from datasets.ingest.databento import LAYOUTS, DbnReader
from datasets.ingest.dbn_definitions import LAYOUTS as DEFINITIONS
from datasets.ingest.dbn_definitions import read_definitions
from datasets.ingest.events import EventOptions, Reader, Told, ingest_events, scaled_events
from datasets.ingest.hftbacktest import EVENT, HftbacktestReader
from datasets.ingest.itch import ItchReader
from datasets.ingest.klines import ingest_klines
from datasets.ingest.kraken import KrakenBook
from datasets.ingest.lobster import find_pair
from datasets.ingest.tardis import TardisReader
from quantbot.book import Book, Events, Flag
from quantbot.errors import DataError, InputError, QuantBotError

NAME = "XYZ_2012-06-21_34200000_57600000_{}_2.csv"
# Time, type, id, size, price, direction; and asks and bids after each.
MESSAGES = """34200.017459617,5,0,1,2238200,-1
34200.18960767,1,11885113,21,2238100,1
34200.2,4,11885113,20,2238100,1
34200.2,3,11885113,1,2238100,1
34200.300000000499,2,7,50,2239500,-1
34200.4,7,0,0,-1,-1
34200.5,7,0,0,1,-1
34200.6,6,0,900,2238800,-1
"""
LEVELS = """2239500,100,2238000,20,2239600,200,2237900,10
2239500,100,2238100,21,2239600,200,2238000,20
2239500,100,2238100,1,2239600,200,2238000,20
2239500,100,2238000,20,2239600,200,2237700,5
2239500,50,2238000,20,2239600,200,2237700,5
2239500,50,2238000,20,2239600,200,2237700,5
2239500,50,2238000,20,2239600,200,2237700,5
2239500,50,2238000,20,9999999999,0,-9999999999,0
"""


def lobster(folder: Path) -> Path:
    (folder / NAME.format("message")).write_text(MESSAGES)
    (folder / NAME.format("orderbook")).write_text(LEVELS)
    return folder / NAME.format("message")


def binance(folder: Path) -> Path:
    def line(received: int, document: Any) -> str:
        return f"{received} {json.dumps(document)}\n"

    def update(first: int, last: int, bids: list[list[str]], asks: list[list[str]]) -> dict[str, Any]:
        return {
            "stream": "x@depth",
            "data": {
                "e": "depthUpdate",
                "E": 1_700_000_000_001,
                "s": "XUSDT",
                "U": first,
                "u": last,
                "b": bids,
                "a": asks,
            },
        }

    snapshot = {"lastUpdateId": 10, "bids": [["10.00", "1"], ["9.99", "4"]], "asks": [["10.01", "3"], ["10.02", "1"]]}
    now = 1_700_000_000_002
    trade = {"e": "trade", "E": now, "T": now, "s": "XUSDT", "p": "10.01", "q": "0.5", "m": False}
    ticker = {"u": 12, "s": "XUSDT", "b": "10.00", "B": "2.5", "a": "10.01", "A": "3"}
    path = folder / "xusdt.txt"
    path.write_text(
        line(1_700_000_000_000_000_000, update(1, 5, [["9.0", "1"]], []))
        + line(1_700_000_000_000_000_001, update(6, 12, [["10.00", "2.5"]], [["10.02", "0.000"]]))
        + line(1_700_000_000_000_000_002, snapshot)
        + line(1_700_000_000_000_000_003, {"data": trade})
        + line(1_700_000_000_000_000_004, {"data": ticker})
        + line(1_700_000_000_000_000_005, update(15, 16, [["10.00", "0"]], []))
    )  # fmt: skip
    return path


def binance_trades(folder: Path) -> Path:
    path = folder / "XUSDT-aggTrades-2024-01-02.csv"
    path.write_text("agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n" + "".join(
        f"{k},{100 + k / 100:.2f},0.{k + 1:03d},1,1,{1_704_153_600_000 + k},{'true' if k % 2 else 'false'}\n"
        for k in range(9)
    ))  # fmt: skip
    return path


DEPTH = "symbol,timestamp,first_update_id,last_update_id,side,update_type,price,qty,pu\n"


def binance_depth(folder: Path) -> Path:
    def text(rows: list[tuple[int, int, int, str, str, str, str, int]]) -> str:
        return DEPTH + "".join(f"XUSDT,{','.join(map(str, row))}\n" for row in rows)

    now = 1_667_346_579_146
    (folder / "X_depth_snap.csv").write_text(text([
        (now, 10, 10, "b", "snap", "9.9", "1.5", -1), (now, 10, 10, "b", "snap", "9.8", "1", -1),
        (now, 10, 10, "a", "snap", "10.1", "2", -1),
    ]))  # fmt: skip
    path = folder / "X_depth_update.csv"
    path.write_text(text([
        (now, 6, 9, "a", "set", "10.0", "3", 5), (now + 1, 9, 12, "b", "set", "9.9", "0", 9),
        (now + 1, 9, 12, "a", "set", "10.1", "2.5", 9), (now + 2, 13, 14, "a", "set", "10.2", "1", 12),
        (now + 3, 20, 21, "b", "set", "9.8", "0.5", 19),
    ]))  # fmt: skip
    return path


def klines(folder: Path) -> Path:
    path = folder / "XUSDT-1m-2024-01-02.csv"
    path.write_text("".join(
        f"{1_704_153_600_000 + k * 60_000},100,101,99,100.5,{k}.5,{1_704_153_659_999 + k * 60_000},1,2,3,4,0\n"
        for k in range(9)
    ))  # fmt: skip
    return path


def tardis(folder: Path) -> Path:
    path = folder / "book.csv"
    head = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n"
    rows = [(1, "true", "bid", "6421", "10"), (1, "true", "ask", "6421.5", "1e1"), (2, "false", "bid", "6421", "0"),
            (2, "false", "bid", "6420.5", "3"), (3, "true", "bid", "6400", "7"),
            (4, "false", "ask", "6401", "7")]  # fmt: skip
    path.write_text(head + "".join(
        f"deribit,BTC,158569920024{at}000,158569920035{at}000,{snapshot},{side},{price},{amount}\n"
        for at, snapshot, side, price, amount in rows
    ))  # fmt: skip
    return path


def itch(folder: Path, *, prefix: str = "lengths") -> Path:
    def message(kind: bytes, at: int, form: str, *fields: Any) -> bytes:
        body = kind + struct.pack(">HH", 5, 0) + at.to_bytes(6, "big") + struct.pack(form, *fields)
        return {"lengths": struct.pack(">H", len(body)), "zeros": b"\0\0", "none": b""}[prefix] + body

    path = folder / f"{prefix}.itch"
    path.write_bytes(
        message(b"S", 1, ">c", b"O")
        + message(b"R", 2, ">8sccIcc2scccccIc", b"ABC     ", b"Q", b"N", 100, b"N", b"C", b"Z ", b"P", b"N",
        b"N", b"1", b"N", 0, b"N")
        + message(b"A", 10, ">QcI8sI", 1, b"B", 100, b"ABC     ", 100_000)
        + message(b"F", 11, ">QcI8sI4s", 2, b"S", 60, b"ABC     ", 100_100, b"MPID")
        + message(b"E", 12, ">QIQ", 1, 30, 9)
        + message(b"C", 13, ">QIQcI", 1, 10, 9, b"Y", 99_900)
        + message(b"X", 14, ">QI", 1, 5)
        + message(b"U", 15, ">QQII", 2, 3, 40, 100_200)
        + message(b"P", 16, ">QcI8sIQ", 0, b"B", 7, b"ABC     ", 100_000, 4)
        + message(b"Q", 17, ">Q8sIQc", 500, b"ABC     ", 100_000, 5, b"O")
        + message(b"H", 18, ">8scc4s", b"ABC     ", b"H", b" ", b"    ")
        + message(b"D", 19, ">Q", 77)
    )  # fmt: skip
    return path


def dbn(folder: Path, *, rtype: int = 0xA0) -> Path:
    name = b"ESH4".ljust(71, b"\0")
    meta = (
        b"GLBX.MDP3".ljust(16, b"\0") + struct.pack("<HQQQBBBH", 0, 0, 0, 0, 0, 0, 0, 71) + bytes(53)
        + struct.pack("<I", 0)
        + struct.pack("<I", 1) + name + struct.pack("<II", 0, 0) + struct.pack("<I", 1) + name + struct.pack("<I", 1)
        + struct.pack("<II", 20240101, 20240102) + b"17".ljust(71, b"\0")
    )  # fmt: skip
    layout = LAYOUTS[rtype]
    rows = np.zeros(9, layout)
    rows["length"], rows["rtype"], rows["instrument"] = layout.itemsize // 4, rtype, 17
    rows["ts_event"] = rows["ts_recv"] = 1_704_153_600_000_000_000 + np.arange(9)
    rows["action"] = np.frombuffer(b"RAAATFFCC", np.uint8)
    rows["side"] = np.frombuffer(b"NBBABAAAA", np.uint8)
    rows["price"] = np.array([2**63 - 1, 100, 99, 101, 101, 101, 101, 101, 101]) * np.where(np.arange(9) > 0, 10**9, 1)
    rows["size"] = [0, 5, 6, 7, 4, 3, 1, 3, 1]
    rows["flags"] = [0x28, 0x28, 0x28, 0xA8, 0, 0, 0, 0, 128]
    if rtype == 0xA0:
        rows["order_id"] = [0, 1, 2, 3, 0, 3, 3, 3, 3]
    else:
        rows["action"] = np.frombuffer(b"AAAAATTTT", np.uint8)
        rows["price"][0] = 10**11
        if "levels" in layout.names:
            rows["levels"]["bid_px"][:, 0], rows["levels"]["bid_sz"][:, 0] = 99 * 10**9, 5 + np.arange(9)
            rows["levels"]["ask_px"][:, 0], rows["levels"]["ask_sz"][:, 0] = 101 * 10**9, 7
            rows["levels"]["bid_px"][:, 1:] = rows["levels"]["ask_px"][:, 1:] = 2**63 - 1
    path = folder / f"{rtype}.dbn"
    path.write_bytes(b"DBN\2" + struct.pack("<I", len(meta)) + meta + rows.tobytes())
    return path


def dbz(folder: Path) -> Path:
    """The same records as DBN without its head, behind the head of the format before it."""
    import pyarrow as pa

    def packed(data: bytes) -> bytes:
        return bytes(pa.compress(data, codec="zstd", asbytes=True))

    whole = dbn(folder).read_bytes()
    name = b"ESH4".ljust(22, b"\0")
    told = (
        struct.pack("<II", 0, 1) + name + struct.pack("<II", 0, 0) + struct.pack("<I", 1) + name + struct.pack("<I", 1)
        + struct.pack("<II", 20240101, 20240102) + b"17".ljust(22, b"\0")
    )  # fmt: skip
    head = b"DBZ\1" + b"GLBX.MDP3".ljust(16, b"\0") + struct.pack("<HQQQQBBB", 0, 0, 0, 0, 9, 1, 1, 1) + bytes(39)
    assert len(head) == 96
    head += packed(told)
    path = folder / "old.dbz"
    records = whole[8 + struct.unpack_from("<I", whole, 4)[0] :]
    path.write_bytes(b"\x50*M\x18" + struct.pack("<I", len(head)) + head + packed(records))
    return path


def definitions(folder: Path) -> Path:
    layout = DEFINITIONS[0x13][400]
    rows = np.zeros(3, layout)
    rows["length"], rows["rtype"], rows["instrument"] = 100, 0x13, [17, 18, 17]
    rows["tick"], rows["display"], rows["amount"] = 25 * 10**7, 10**7, 125 * 10**6
    rows["multiplier"], rows["symbol"], rows["update"] = 2**31 - 1, [b"ESH4", b"NQH4", b"gone"], [b"A", b"A", b"D"]
    rows["currency"], rows["amount"][1] = b"USD", 5 * 10**7
    path = folder / "17.definition.dbn"
    whole = dbn(folder).read_bytes()
    path.write_bytes(whole[: 8 + struct.unpack_from("<I", whole, 4)[0]] + rows.tobytes())
    return path


def hftbacktest(folder: Path, *, orders: bool = False) -> Path:
    both, buy, sell = (1 << 31) | (1 << 30), 1 << 29, 1 << 28
    kinds = [10, 10, 13, 12, 11, 2] if orders else [3, 4, 1, 1, 2, 1]
    rows = np.zeros(6, EVENT)
    rows["ev"] = np.array(kinds, np.uint64) | np.uint64(both) | np.array([buy, sell, buy, sell, sell, buy], np.uint64)
    rows["exch_ts"], rows["local_ts"] = 10**18 + np.arange(6) * 10, 10**18 + np.arange(6) * 10 + 7
    rows["px"], rows["qty"] = [9.99, 10.01, 9.99, 10.02, 10.02, 10.0], [5, 4, 2, 3, 3, 1]
    rows["order_id"] = [1, 2, 1, 2, 2, 0] if orders else 0
    path = folder / "x.npz"
    np.savez_compressed(path, data=rows)
    return path


def bitstamp(folder: Path) -> Path:
    path = folder / "btcusd.csv"
    path.write_text("id,timestamp,exchange.timestamp,price,volume,action,direction\n" + "".join(
        f"{key},{1_430_438_404_500 + k},{1_430_438_404_000 - k},{price},{volume},{action},{side}\n"
        for k, (key, price, volume, action, side) in enumerate([
            (1, "236.47", 20, "created", "bid"), (2, "236.50", 7, "created", "ask"), (1, "236.47", 5, "changed", "bid"),
            (2, "236.50", 0, "deleted", "ask"), (9, "236.00", 1, "deleted", "bid"),
        ])
    ))  # fmt: skip
    return path


def kraken(folder: Path) -> Path:
    asks = [[f"{100 + k}.00", f"{k + 1}.50000000", "1.5"] for k in range(12)]
    bids = [[f"{99 - k}.00", f"{k + 1}.25000000", "1.5"] for k in range(12)]

    def crc(asks: list[list[str]], bids: list[list[str]]) -> str:
        texts = [
            (p.replace(".", "").lstrip("0") + s.replace(".", "").lstrip("0")) for p, s, *_ in asks[:10] + bids[:10]
        ]
        return str(zlib.crc32("".join(texts).encode()))

    gone = {"a": [["100.00", "0.00000000", "2.4"]], "c": crc(asks[1:], bids)}
    wrong = {"b": [["98.50", "1.00000000", "3.4"]], "c": "12345"}
    path = folder / "kraken.txt"
    path.write_text("wss://ws.kraken.com <-> 1.0\n" + "".join(
        f"{stamp}: {json.dumps([7, what, 'book-1000', 'A/B'])}\n"
        for stamp, what in (("1.25", {"as": asks, "bs": bids}), ("2.5", gone), ("3.5", wrong))
    ))  # fmt: skip
    return path


def coinbase(folder: Path) -> Path:
    def line(stamp: str, kind: str, **more: Any) -> str:
        return f"{stamp}: {json.dumps({'type': kind, 'product_id': 'A-USD', **more})}\n"

    moment = "2021-04-17T16:43:37.0{}Z"
    path = folder / "coinbase.txt"
    path.write_text(
        "wss://ws-feed.pro.coinbase.com <- 1618677817.0: {}\n"
        + line("1618677817.25", "snapshot", asks=[["10.01", "3"], ["10.02", "1"]], bids=[["10.00", "2.5"]])
        + line("1618677817.5", "ticker", price="10.01", time=moment.format(1))
        + line("1618677817.75", "match", side="sell", size="1", price="10.01", time=moment.format(2))
        + line("1618677818", "l2update", changes=[["sell", "10.01", "2"], ["buy", "10.00", "0"]], time=moment.format(2))
    )
    return path


def bybit(folder: Path) -> Path:
    def line(kind: str, ts: int, update: int, **levels: Any) -> str:
        return (
            json.dumps({"topic": "t", "type": kind, "ts": ts, "data": {"s": "XRPUSDT", "u": update, **levels}}) + "\n"
        )

    path = folder / "xrp.data"
    path.write_text(
        line("snapshot", 1_733_011_200_691, 5, b=[["1.9531", "6203"], ["1.9530", "9"]], a=[["1.9532", "5"]])
        + line("delta", 1_733_011_200_693, 6, b=[["1.9531", "0"]], a=[])
        + line("delta", 1_733_011_200_695, 9, b=[["1.9529", "4"]], a=[["1.9533", "2"]])
    )
    return path


FORMATS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Reader]]] = {
    "lobster": (lobster, find_pair),
    "binance": (binance, BinanceStream),
    "binance-trades": (binance_trades, BinanceTrades),
    "binance-depth": (binance_depth, find_depth),
    "tardis": (tardis, TardisReader),
    "itch": (itch, lambda path: ItchReader(path, "2024-01-02")),
    "itch-bare": (lambda folder: itch(folder, prefix="none"), lambda path: ItchReader(path, "2024-01-02")),
    "dbn-mbo": (dbn, DbnReader),
    "dbz-mbo": (dbz, DbnReader),
    "dbn-mbp-10": (lambda folder: dbn(folder, rtype=0x0A), DbnReader),
    "hftbacktest": (hftbacktest, HftbacktestReader),
    "bitstamp": (bitstamp, BitstampOrders),
    "kraken": (kraken, KrakenBook),
    "coinbase": (coinbase, CoinbaseFeed),
    "bybit": (bybit, BybitBook),
}


def read(reader: Reader, **options: Any) -> Events:
    parts = [events for events, _ in scaled_events(reader, EventOptions(**options))]
    for part in parts:
        part.check()
    return Events.joined(parts)


def told(events: Events) -> list[tuple[int, ...]]:
    columns = (events.action, events.side, events.price_ticks, events.size_lots, events.order_id, events.flags)
    return list(zip(*(each.tolist() for each in columns), strict=True))


SNAPSHOT, LAST = int(Flag.SNAPSHOT), int(Flag.LAST)


def test_lobster__says_trades_levels_auctions_and_halts_in_the_order_of_their_rows(tmp_path):
    reader = find_pair(lobster(tmp_path))
    events = read(reader, tick_size=0.01)
    first = [(8, 0, 0, 0, 0, 1), (7, 1, 22380, 20, 0, 1), (7, 1, 22379, 10, 0, 1), (7, -1, 22395, 100, 0, 1)]
    assert told(events)[:5] == [*first, (7, -1, 22396, 200, 0, 3)]
    assert told(events)[5:] == [
        (7, 1, 22379, 0, 0, 0), (7, 1, 22381, 21, 0, LAST),
        (6, -1, 22381, 20, 11885113, 0), (7, 1, 22381, 1, 0, LAST),
        (7, 1, 22381, 0, 0, 0), (7, 1, 22377, 5, 0, LAST),
        (7, -1, 22395, 50, 0, LAST),
        (9, 0, 0, 0, 0, LAST), (10, 0, 0, 0, 0, LAST),
        (6, 0, 22388, 900, 0, int(Flag.CROSS)), (7, 1, 22377, 0, 0, 0), (7, -1, 22396, 0, 0, LAST),
    ]  # fmt: skip
    start = int(np.datetime64("2012-06-21T13:30", "ns").astype(np.int64))
    assert (events.ts_exchange_ns - start).tolist()[5] == 189_607_670
    assert 300_000_000 in (events.ts_exchange_ns - start).tolist()  # rounded from 12 digits
    assert reader.tally.tolist() == [4, 0, 1]


def test_lobster__files_of_different_lengths_are_refused_with_both_counts(tmp_path):
    path = lobster(tmp_path)
    (tmp_path / NAME.format("orderbook")).write_text(LEVELS[: LEVELS.rindex("2239500")])
    with pytest.raises(DataError, match=r"has 8 rows, .* has 7;"):
        read(find_pair(path))
    (tmp_path / NAME.format("orderbook")).unlink()
    with pytest.raises(InputError, match="needs its orderbook file"):
        find_pair(path)


def test_lobster__zips_and_files_without_a_last_newline_say_the_same(tmp_path):
    plain = read(find_pair(lobster(tmp_path)))
    with zipfile.ZipFile(tmp_path / "day.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ReadMe.txt", "hello")
        archive.writestr(NAME.format("orderbook"), LEVELS.rstrip("\n"))
        archive.writestr(NAME.format("message"), MESSAGES.rstrip("\n").replace("\n", "\r\n"))
    assert told(read(find_pair(tmp_path / "day.zip"))) == told(plain)


def test_binance__drops_holds_and_flags_what_the_update_ids_say(tmp_path):
    reader = BinanceStream(binance(tmp_path))
    events = read(reader, tick_size=0.01, lot_size=0.1)
    assert told(events) == [
        (8, 0, 0, 0, 0, SNAPSHOT), (7, 1, 1000, 10, 0, SNAPSHOT), (7, 1, 999, 40, 0, SNAPSHOT),
        (7, -1, 1001, 30, 0, SNAPSHOT), (7, -1, 1002, 10, 0, SNAPSHOT | LAST),
        (7, 1, 1000, 25, 0, 0), (7, -1, 1002, 0, 0, LAST),
        (6, 1, 1001, 5, 0, LAST), (7, 1, 1000, 0, 0, int(Flag.GAP) | LAST),
    ]  # fmt: skip
    assert reader.counts == {"differences": 3, "dropped": 1, "gaps": 1, "snapshots": 1, "tickers": 1, "trades": 1}


def test_binance__public_trades_have_the_aggressors_side_in_both_time_units(tmp_path):
    events = read(BinanceTrades(binance_trades(tmp_path)), tick_size=0.01, lot_size=0.001)
    assert told(events)[:2] == [(6, 1, 10_000, 1, 0, LAST), (6, -1, 10_001, 2, 0, LAST)]
    spot = tmp_path / "XUSDT-trades-2025-02-01.csv"
    spot.write_text("1,100.00,0.5,50,1738368000123456,True,True\n")
    assert read(BinanceTrades(spot)).ts_exchange_ns.tolist() == [1_738_368_000_123_456_000]


def test_binance__historical_books_begin_with_their_snapshot_and_flag_what_is_missing(tmp_path):
    path = binance_depth(tmp_path)
    reader = find_depth(path)
    gap = int(Flag.GAP)
    assert told(read(reader, tick_size=0.1, lot_size=0.5)) == [
        (8, 0, 0, 0, 0, SNAPSHOT), (7, 1, 99, 3, 0, SNAPSHOT), (7, 1, 98, 2, 0, SNAPSHOT),
        (7, -1, 101, 4, 0, SNAPSHOT | LAST), (7, 1, 99, 0, 0, 0), (7, -1, 101, 5, 0, LAST), (7, -1, 102, 2, 0, LAST),
        (7, 1, 98, 1, 0, LAST | gap),
    ]  # fmt: skip
    assert reader.n_dropped == 1
    (tmp_path / "X_depth_snap.csv").unlink()
    assert len(read(find_depth(path))) == 5
    path.write_text(path.read_text().replace("9.8,0.5", "9.8,-0.5"))
    with pytest.raises(DataError, match="line 6: qty must not be below 0"):
        read(find_depth(path))
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no file of T_DEPTH"):
        find_depth(path)


def test_tardis__snapshots_make_the_book_anew_and_one_receipt_is_one_event(tmp_path):
    events = read(TardisReader(tardis(tmp_path)), tick_size=0.5, lot_size=1)
    assert told(events) == [
        (8, 0, 0, 0, 0, SNAPSHOT), (7, 1, 12842, 10, 0, SNAPSHOT), (7, -1, 12843, 10, 0, SNAPSHOT | LAST),
        (7, 1, 12842, 0, 0, 0), (7, 1, 12841, 3, 0, LAST),
        (8, 0, 0, 0, 0, SNAPSHOT), (7, 1, 12800, 7, 0, SNAPSHOT | LAST), (7, -1, 12802, 7, 0, LAST),
    ]  # fmt: skip
    path = tmp_path / "trades.csv"
    path.write_text(
        "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\nx,A,1000000,1000001,q,sell,5.5,2\n"
    )
    assert told(read(TardisReader(path), tick_size=0.5)) == [(6, -1, 11, 2, 0, LAST)]


@pytest.mark.parametrize("prefix", ["lengths", "zeros", "none"])
def test_itch__says_every_message_that_moves_a_book(tmp_path, prefix):
    events = read(ItchReader(itch(tmp_path, prefix=prefix), "2024-01-02"), tick_size=0.01)
    assert told(events) == [
        (1, 1, 1000, 100, 1, LAST), (1, -1, 1001, 60, 2, LAST), (5, 1, 1000, 30, 1, LAST), (5, 1, 999, 10, 1, LAST),
        (2, 1, 1000, 5, 1, LAST), (3, -1, 1001, 60, 2, 0), (1, -1, 1002, 40, 3, LAST),
        (6, 0, 1000, 7, 0, LAST | int(Flag.HIDDEN)), (6, 0, 1000, 500, 0, LAST | int(Flag.CROSS)),
        (9, 0, 0, 0, 0, LAST), (3, 0, 0, 0, 77, LAST),
    ]  # fmt: skip
    counts = Book(events.instrument).apply(events)
    assert (counts.unknown_ids, counts.other_price, counts.halts, counts.executions) == (1, 1, 1, 2)
    assert events.ts_exchange_ns[0] == int(np.datetime64("2024-01-02T05:00", "ns").astype(np.int64)) + 10


def test_itch__takes_the_stocks_that_are_named(tmp_path):
    with pytest.raises(InputError, match="has no stock QQQ"):
        read(ItchReader(itch(tmp_path), "2024-01-02", ["QQQ"]))
    with pytest.raises(InputError, match="must be a date"):
        ItchReader(itch(tmp_path), "yesterday")


def test_databento__joins_a_fill_and_its_cancel_and_tells_each_lot_once(tmp_path):
    events = read(DbnReader(dbn(tmp_path)), tick_size=1)
    assert told(events) == [
        (8, 0, 0, 0, 0, SNAPSHOT), (1, 1, 100, 5, 1, SNAPSHOT), (1, 1, 99, 6, 2, SNAPSHOT),
        (1, -1, 101, 7, 3, SNAPSHOT | LAST), (5, -1, 101, 3, 3, 0), (5, -1, 101, 1, 3, LAST),
    ]  # fmt: skip
    assert events.instrument.symbol == "ESH4"
    book = Book(events.instrument)
    book.apply(events)
    assert book.ladder().ask_lots.tolist() == [3]
    levels = read(DbnReader(dbn(tmp_path, rtype=0x0A)), tick_size=1)
    assert told(levels)[:4] == [
        (7, 1, 99, 5, 0, SNAPSHOT), (7, -1, 101, 7, 0, SNAPSHOT | LAST), (7, 1, 99, 6, 0, LAST), (7, 1, 99, 7, 0, LAST),
    ]  # fmt: skip
    prints = read(DbnReader(dbn(tmp_path, rtype=0)), tick_size=1)
    assert len(prints) == 9


def test_databento__the_format_before_dbn_says_the_same(tmp_path):
    events = read(DbnReader(dbz(tmp_path)), tick_size=1)
    assert told(events) == told(read(DbnReader(dbn(tmp_path)), tick_size=1))
    assert events.instrument.symbol == "ESH4"
    path = tmp_path / "old.dbz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="byte 8: no head of DBZ 1"):
        read(DbnReader(path))


def test_databento__the_last_definition_stands_and_a_deletion_is_none(tmp_path):
    path = definitions(tmp_path)
    assert read_definitions(path) == {17: Told("ESH4", 0.25, 50.0, "USD"), 18: Told("NQH4", 0.25, 20.0, "USD")}
    whole = path.read_bytes()
    path.write_bytes(whole[:-400])
    assert len(read_definitions(path)) == 2
    path.write_bytes(whole[:-400] + b"\x5b" + whole[-399:])
    with pytest.raises(DataError, match=rf"byte {len(whole) - 400}: a record of type 0x13 has 364 bytes"):
        read_definitions(path)
    with pytest.raises(DataError, match="no record of the schema definition"):
        read_definitions(dbn(tmp_path))


def test_databento__a_file_that_ends_within_a_record_is_damaged(tmp_path):
    path = dbn(tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"byte \d+: the file ends within a record"):
        read(DbnReader(path))


@pytest.mark.parametrize("orders", [False, True])
def test_hftbacktest__events_keep_their_kinds_and_both_clocks(tmp_path, orders):
    events = read(HftbacktestReader(hftbacktest(tmp_path, orders=orders)), tick_size=0.01, lot_size=1)
    if orders:
        assert [row[:5] for row in told(events)] == [
            (1, 1, 999, 5, 1), (1, -1, 1001, 4, 2), (5, 1, 999, 2, 1), (4, -1, 1002, 3, 2), (3, -1, 1002, 3,
            2), (6, 1, 1000, 1, 0),
        ]  # fmt: skip
    else:
        assert [row[:5] for row in told(events)] == [
            (8, 1, 0, 0, 0), (7, -1, 1001, 4, 0), (7, 1, 999, 2, 0), (7, -1, 1002, 3, 0), (6, -1, 1002, 3, 0),
            (7, 1, 1000, 1, 0),
        ]  # fmt: skip
    assert (events.ts_received_ns - events.ts_exchange_ns).tolist() == [7] * 6


def test_hftbacktest__pickled_arrays_and_bombs_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, data=np.array([{"a": 1}], dtype=object))
    with pytest.raises(QuantBotError):
        HftbacktestReader(path)
    np.savez_compressed(path, data=np.zeros(2_000_000, EVENT))
    with pytest.raises(DataError, match="bomb"):
        HftbacktestReader(path)


def test_bitstamp__changes_keep_the_order_and_deletes_of_others_are_counted(tmp_path):
    events = read(BitstampOrders(bitstamp(tmp_path)), tick_size=0.01, lot_size=1e-8)
    counts = Book(events.instrument).apply(events)
    assert [row[:5] for row in told(events)][2] == (4, 1, 23647, 5, 1)
    assert (counts.unknown_ids, counts.duplicates, events.check().times_back) == (1, 0, 4)


def test_kraken__a_wrong_checksum_is_a_gap(tmp_path):
    reader = KrakenBook(kraken(tmp_path))
    events = read(reader)
    assert (reader.n_checked, reader.n_wrong) == (2, 1)
    assert [bool(flag & Flag.GAP) for flag in events.flags[-2:]] == [False, True]
    assert len(events) == 27


def test_coinbase__a_match_is_told_by_its_aggressor(tmp_path):
    events = read(CoinbaseFeed(coinbase(tmp_path)), tick_size=0.01, lot_size=0.5)
    assert told(events) == [
        (8, 0, 0, 0, 0, SNAPSHOT), (7, 1, 1000, 5, 0, SNAPSHOT), (7, -1, 1001, 6, 0, SNAPSHOT),
        (7, -1, 1002, 2, 0, SNAPSHOT | LAST), (6, 1, 1001, 2, 0, LAST),
        (7, -1, 1001, 4, 0, 0), (7, 1, 1000, 0, 0, LAST),
    ]  # fmt: skip
    assert events.ts_exchange_ns[0] == events.ts_received_ns[0] == 1_618_677_817_250_000_000
    assert events.ts_exchange_ns[-1] == int(np.datetime64("2021-04-17T16:43:37.02", "ns").astype(np.int64))
    path = coinbase(tmp_path)
    path.write_text(path.read_text().replace("17T16:43:37.02", "37T16:43:37.02"))
    with pytest.raises(DataError, match="line 4: no message of Coinbase"):
        read(CoinbaseFeed(path))


def test_bybit__a_break_in_the_updates_is_a_gap(tmp_path):
    events = read(BybitBook(bybit(tmp_path)), tick_size=0.0001, lot_size=1)
    assert [row[0] for row in told(events)] == [8, 7, 7, 7, 7, 7, 7]
    assert int((events.flags & Flag.GAP).astype(bool).sum()) == 1


def test_a_step__that_prices_do_not_keep_is_refused_with_its_line(tmp_path):
    with pytest.raises(DataError, match=r"line 3: 100.01 is no multiple of the tick 0.5"):
        list(scaled_events(BinanceTrades(binance_trades(tmp_path)), EventOptions(tick_size=0.5, lot_size=0.001)))[-1]
    found = read(BinanceTrades(binance_trades(tmp_path)))
    assert (found.instrument.tick_size, found.instrument.lot_size) == (0.01, 0.001)


def test_ingest__stores_a_file_whole_or_not_at_all(tmp_path):
    root = open_store(tmp_path / "store")
    written = ingest_events(root, "mine/x", find_pair(lobster(tmp_path)), EventOptions())
    assert written.dataset.events("XYZ", "2012-06-21").check().n_events == 17
    path = tmp_path / NAME.format("message")
    path.write_text(MESSAGES.replace("34200.4,7", "34200.4,8"))
    with pytest.raises(DataError, match="line 6: type must be 1 to 7"):
        ingest_events(root, "mine/y", find_pair(path), EventOptions())
    assert not [key for key in root.list("datasets/") if "/y/" in key]
    with pytest.raises(DataError, match="two sessions"):
        ingest_events(root, "mine/y", [find_pair(lobster(tmp_path))] * 2, EventOptions())


def test_bombs__are_refused_before_they_fill_the_memory(tmp_path):
    path = tmp_path / NAME.format("message")
    lobster(tmp_path)
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(b"34200.1,1,1,1,1,1\n" * 3_000_000))
    (tmp_path / (NAME.format("orderbook") + ".gz")).write_bytes(gzip.compress(LEVELS.encode()))
    with pytest.raises(DataError, match="bomb"):
        read(find_pair(packed))


def damaged(rng: random.Random, data: bytes) -> bytes:
    kind, at = rng.randrange(6), rng.randrange(max(len(data), 1))
    if kind == 0:
        return data[:at]
    if kind == 1:
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 16])):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 2:
        return data[:at] + rng.randbytes(rng.choice([1, 4, 30])) + data[at:]
    if kind == 3:
        return data[:at] + data[at + rng.choice([1, 3, 50]) :]
    if kind == 4:
        return (
            data[:at]
            + rng.choice([b"\0", b"\xff", b"9" * 30, b"-", b"[" * 5000, b"\n", b",", b"1e99", b"nan"])
            + data[at + 1 :]
        )
    return data[:at] + data[at // 2 : at] * 2 + data[at:]


def rebuild(reader: Reader) -> None:
    """Read all, check all, and apply all to a book."""
    book: Book | None = None
    for events, _ in scaled_events(reader, EventOptions()):
        events.check()
        if book is None or book.instrument != events.instrument:
            book = Book(events.instrument, window_ticks=64)
        book.apply(events)


# Files that are no events.
BESIDE: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "dbn-definition": (definitions, read_definitions),
    "klines": (klines, lambda path: ingest_klines(open_store(path.parent / "store"), "mine/x", path)),
}


def survive(name: str, tmp_path: Path, n: int, seed: int) -> None:
    if name in FORMATS:
        make, reader = FORMATS[name]
        consume: Callable[[Path], object] = lambda path: rebuild(reader(path))  # noqa: E731
    else:
        make, consume = BESIDE[name]
    path = make(tmp_path)
    whole, rng = path.read_bytes(), random.Random(seed)
    members = None
    if name == "hftbacktest":  # behind the zip's own checksum too
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            members = archive.read("data.npy")
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_valid = n_refused = 0
    for number in range(n):
        if members is not None and number % 2:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("data.npy", damaged(rng, members))
        else:
            path.write_bytes(damaged(rng, whole))
        started = time.process_time()
        try:
            consume(path)
            n_valid += 1
        except QuantBotError as error:
            n_refused += len(str(error)) > 0
        assert time.process_time() - started < 5
    assert n_refused > n // 20
    assert n_valid + n_refused == n
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
    assert grown < 256 * 1024, f"{grown} KiB over the base"


@pytest.mark.parametrize("name", [*FORMATS, *BESIDE])
def test_damage__ends_in_a_typed_error_or_in_valid_events(name, tmp_path):
    survive(name, tmp_path, 200, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FORMATS, *BESIDE])
def test_much_damage__ends_in_a_typed_error_or_in_valid_events(name, tmp_path):
    survive(name, tmp_path, 20_000, 2)


@pytest.mark.parametrize("name", ["dbz-mbo", "dbn-mbo"])
def test_damaged_files__give_back_what_was_allocated_for_them(name, tmp_path):
    make, reader = FORMATS[name]
    path = make(tmp_path)
    path.write_bytes(path.read_bytes()[:-20] if name == "dbn-mbo" else _with_a_broken_head(path.read_bytes()))
    sizes = []
    for _ in range(60):
        with pytest.raises(QuantBotError):
            rebuild(reader(path))
        sizes.append(int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize())
    assert sizes[-1] - sizes[9] < 200 * 2**20


def _with_a_broken_head(data: bytes) -> bytes:
    at = data.index(b"\x28\xb5\x2f\xfd") + 6  # within the first frame of zstd, which is in the head
    return data[:at] + b"\xff" * 8 + data[at + 8 :]
