"""Order-book events: what reading, storing, decoding and rebuilding cost, by format; CPU time of one core.

    python bench/events.py --data ../shared/data            # every format on its real files
    python bench/events.py --encoded 1000000                # other formats: a drawn market, written in each
    python bench/events.py --synthetic 100000000            # a day of so many drawn events: rate, bytes, peak memory

Each line: events, thousand events a second of the whole ingest (reading, checks, the book, writing; ticks given, so one
pass), bytes an event on disk, nanoseconds an event to decode from the store, and to rebuild the book.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import events_encoded as encoded

from datasets.catalog import open_events
from datasets.events import EventsDataset
from datasets.ingest.binance import BinanceStream, BinanceTrades
from datasets.ingest.binance_depth import find_depth
from datasets.ingest.bitstamp import BitstampOrders
from datasets.ingest.bybit import BybitBook
from datasets.ingest.coinbase import CoinbaseFeed
from datasets.ingest.databento import DbnReader
from datasets.ingest.events import EventOptions, ingest_events
from datasets.ingest.hftbacktest import HftbacktestReader
from datasets.ingest.itch import ItchReader
from datasets.ingest.kraken import KrakenBook
from datasets.ingest.lobster import find_pair
from datasets.ingest.tardis import TardisReader
from datasets.store import open_store
from datasets.synthetic_book import synthetic_book
from quantbot.book import Book

FILES: dict[str, tuple[str, Callable[[Path], Any], dict[str, float]]] = {
    "LOBSTER level 1": ("lobster/AAPL*message_1.csv.gz", find_pair, {"tick_size": 0.005}),
    "LOBSTER level 5": ("lobster/AMZN*message_5.csv.gz", find_pair, {"tick_size": 0.005}),
    "Binance futures stream": ("binance/raw_stream/usdm/*.gz", BinanceStream, {"tick_size": 0.01, "lot_size": 0.001}),
    "Binance spot stream": ("binance/raw_stream/spot/*.gz", BinanceStream, {"tick_size": 0.01, "lot_size": 1e-06}),
    "Databento mbo": ("databento/glbx_real/order*/*mbo*", DbnReader, {"tick_size": 0.25}),
    "Databento mbp-1": ("databento/glbx_real/hist*/*mbp-1*", DbnReader, {"tick_size": 0.25}),
    "ITCH 5.0 (simulated)": ("itch/RITCH*.gz", lambda path: ItchReader(path, "2010-12-24"), {"tick_size": 0.0001}),
    "Bitstamp orders": ("bitstamp_l3/*.xz", BitstampOrders, {"tick_size": 0.01, "lot_size": 1e-08}),
    "Kraken book": ("ws_captures/KRAKEN*", KrakenBook, {}),
    "Coinbase level2": ("ws_captures/COINBASE*", CoinbaseFeed, {}),
    "Bybit ob500": ("bybit/*.zip", BybitBook, {"tick_size": 0.0001, "lot_size": 1.0}),
}
# Format: kind of market, how it is written, how it is read.
ENCODED: dict[str, tuple[str, Callable[[Any, Path], Path], Callable[[Path], Any]]] = {
    "Tardis incremental": ("by_price", encoded.tardis, TardisReader),
    "hftbacktest npz": ("by_price", encoded.hftbacktest, HftbacktestReader),
    "Binance T_DEPTH": ("by_price", encoded.depth, find_depth),
    "Binance aggTrades": ("by_price", encoded.aggregate_trades, BinanceTrades),
    "Bybit": ("by_price", encoded.bybit, BybitBook),
    "Databento mbo": ("by_order", encoded.dbn, DbnReader),
    "Databento DBZ": ("by_order", encoded.dbz, DbnReader),
}
SIZE = "{:<24} {:>11,} {:>9.0f} {:>8.2f} {:>8.1f} {:>8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the real files")
    parser.add_argument("--encoded", type=int, default=0, help="events by order of a drawn market, in each format")
    parser.add_argument("--synthetic", type=int, default=0, help="events of a drawn day")
    parser.add_argument("--by-price", action="store_true", help="draw by price")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many")
    arguments = parser.parse_args()
    print(f"{'format':<24} {'events':>11} {'1000/s':>9} {'B/event':>8} {'decode':>8} {'rebuild':>8}")
    if arguments.data:
        for name, (pattern, reader, steps) in FILES.items():
            path = min(arguments.data.glob(pattern))
            _line(
                name,
                lambda root, p=path, r=reader, s=steps: ingest_events(root, "x", r(p), EventOptions(**s)),
                arguments.repeats,
            )
    if arguments.encoded:
        _encoded(arguments.encoded, arguments.seed, arguments.repeats)
    if arguments.synthetic:
        kind = "by_price" if arguments.by_price else "by_order"
        name = f"synthetic {kind}"
        _line(name, lambda root: synthetic_book(root, "x", arguments.synthetic, arguments.seed, kind=kind), 1)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f} MiB")


def _encoded(n: int, seed: int, repeats: int) -> None:
    options = EventOptions(tick_size=0.01, lot_size=1.0)
    markets = {kind: encoded.drawn(n, seed, kind) for kind in ("by_price", "by_order")}
    for name, (kind, write, reader) in ENCODED.items():
        with tempfile.TemporaryDirectory() as folder:
            path = write(markets[kind], Path(folder))
            _line(name, lambda root, p=path, r=reader: ingest_events(root, "x", r(p), options), repeats)


def _line(name: str, ingest: Callable[[Any], Any], repeats: int) -> None:
    best, decode, rebuild = 1e99, 1e99, 1e99
    for number in range(repeats + 1 if repeats > 1 else 1):  # the first compiles
        with tempfile.TemporaryDirectory() as folder:
            root = open_store(folder)
            started = time.process_time()
            ingest(root)
            seconds = time.process_time() - started
            dataset = open_events("x", root)
            if number or repeats == 1:
                best = min(best, seconds)
            n_bytes = sum(each.size for each in dataset.manifest.objects.values())
            apart = _decode_and_rebuild(dataset)
            decode, rebuild = min(decode, apart[0]), min(rebuild, apart[1])
    n = dataset.n_times
    print(SIZE.format(name, n, n / best / 1000, n_bytes / n, decode / n * 1e9, rebuild / n * 1e9), flush=True)


def _decode_and_rebuild(dataset: EventsDataset) -> tuple[float, float]:
    """Return the seconds to decode all events from the store, digests compared, and to apply them to a book."""
    decode = rebuild = 0.0
    for asset, session in _sessions(dataset):
        book, blocks = Book(dataset.instrument(asset)), dataset.blocks(asset, session)
        while True:
            started = time.process_time()
            block = next(blocks, None)
            decoded = time.process_time()
            decode += decoded - started
            if block is None:
                break
            book.apply(block)
            rebuild += time.process_time() - decoded
    return decode, rebuild


def _sessions(dataset: EventsDataset) -> Iterator[tuple[str, str]]:
    for asset in dataset.assets:
        for session in dataset.sessions(asset):
            yield asset, session


if __name__ == "__main__":
    main()
