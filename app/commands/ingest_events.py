"""``quantbot ingest``: files of order-book events, one command a format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import terminal
from app.commands.event_options import takes_event_options
from app.commands.options import DEFAULT_STORE, Json, StoreUrl, examples, open_root

if TYPE_CHECKING:
    from datasets.events_writer import Written
    from datasets.ingest.events import EventOptions, Reader

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the dataset is called: mine/aapl-book.")]
Paths = Annotated[list[Path], typer.Argument(metavar="PATH", help="Files, one session each.")]
Symbols = Annotated[str, typer.Option("--symbols", metavar="A,B,…", help="Whose events to take; default: all.")]


def add_to(app: typer.Typer) -> None:
    """Add a command for each format to `app`."""
    for name, sentence, lines, function in _FORMATS:
        app.command(name, short_help=sentence, epilog=examples(*lines))(takes_event_options(function))


@contextmanager
def reading(what: str) -> Iterator[Callable[[float, str], None]]:
    """Show how far an ingest is; give the function that it tells."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
    with terminal.progress(*columns) as bars:
        task = bars.add_task(what, total=1.0)

        def tell(done: float, text: str) -> None:
            bars.update(task, completed=done, description=text)

        yield tell


def lobster(
    name: Name, paths: Paths, options: EventOptions, store: StoreUrl = DEFAULT_STORE, json: Json = False
) -> None:
    """Read LOBSTER: message files (each orderbook file lies beside its own), or zips that hold both."""
    from datasets.ingest.files import list_files
    from datasets.ingest.lobster import find_pair

    messages = [path for path in list_files(paths) if "_orderbook_" not in path.name]
    _ingest(name, [find_pair(path, max_bytes=options.max_bytes) for path in messages], options, store, json)


def itch(
    name: Name,
    paths: Paths,
    options: EventOptions,
    symbols: Symbols = "",
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Read NASDAQ TotalView-ITCH 5.0, with lengths before the messages or without; --session says the date."""
    from dataclasses import replace

    from datasets.ingest.files import list_files
    from datasets.ingest.itch import ItchReader
    from quantbot.errors import InputError

    if options.session is None:
        raise InputError("the date is in no ITCH message: name it with --session 2019-12-30")
    chosen = _words(symbols) or ([options.symbol] if options.symbol else [])
    readers = [ItchReader(path, options.session, chosen, max_bytes=options.max_bytes) for path in list_files(paths)]
    _ingest(name, readers, replace(options, symbol=None), store, json)


def databento(
    name: Name,
    paths: Paths,
    options: EventOptions,
    symbols: Symbols = "",
    definitions: Annotated[
        Path | None,
        typer.Option("--definitions", metavar="PATH", help="DBN of schema definition: symbols, ticks, point values."),
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Read Databento DBN: mbo, mbp-1, mbp-10 or trades, plain or packed by zstd; old DBZ too."""
    from datasets.ingest.databento import DbnReader
    from datasets.ingest.dbn_definitions import read_definitions
    from datasets.ingest.files import list_files

    limit = options.max_bytes
    told = {} if definitions is None else read_definitions(list_files(definitions)[0], max_bytes=limit)
    readers = [DbnReader(path, _words(symbols), definitions=told, max_bytes=limit) for path in list_files(paths)]
    _ingest(name, readers, options, store, json)


def binance(
    name: Name, paths: Paths, options: EventOptions, store: StoreUrl = DEFAULT_STORE, json: Json = False
) -> None:
    """Read Binance: recorded streams, public trades or aggTrades, and historical books (depth_update, depth_snap)."""
    from datasets.ingest.binance import BinanceStream, BinanceTrades
    from datasets.ingest.binance_depth import find_depth, is_depth
    from datasets.ingest.files import list_files

    def reader(path: Path) -> Any:
        if is_depth(path):
            return find_depth(path, max_bytes=options.max_bytes)
        kind = BinanceTrades if "trades" in path.name.lower() else BinanceStream
        return kind(path, max_bytes=options.max_bytes)

    _ingest(name, [reader(path) for path in list_files(paths)], options, store, json)


def tardis(
    name: Name, paths: Paths, options: EventOptions, store: StoreUrl = DEFAULT_STORE, json: Json = False
) -> None:
    """Read Tardis.dev CSV: incremental_book_L2, book_snapshot_N or trades."""
    from datasets.ingest.tardis import TardisReader

    _each(TardisReader, name, paths, options, store, json)


def hftbacktest(
    name: Name, paths: Paths, options: EventOptions, store: StoreUrl = DEFAULT_STORE, json: Json = False
) -> None:
    """Read hftbacktest's npz event files, by price or by order."""
    from datasets.ingest.files import list_files
    from datasets.ingest.hftbacktest import HftbacktestReader

    readers = [HftbacktestReader(path, options.symbol or "", max_bytes=options.max_bytes) for path in list_files(paths)]
    _ingest(name, readers, options, store, json)


def bitstamp(
    name: Name, paths: Paths, options: EventOptions, store: StoreUrl = DEFAULT_STORE, json: Json = False
) -> None:
    """Read Bitstamp's order channel as CSV: orders created, changed and deleted."""
    from datasets.ingest.bitstamp import BitstampOrders

    _each(BitstampOrders, name, paths, options, store, json)


def kraken(
    name: Name, paths: Paths, options: EventOptions, store: StoreUrl = DEFAULT_STORE, json: Json = False
) -> None:
    """Read Kraken's recorded book channel; every update is proved by its checksum."""
    from datasets.ingest.kraken import KrakenBook

    _each(KrakenBook, name, paths, options, store, json)


def coinbase(
    name: Name, paths: Paths, options: EventOptions, store: StoreUrl = DEFAULT_STORE, json: Json = False
) -> None:
    """Read Coinbase's recorded level2 and matches channels."""
    from datasets.ingest.coinbase import CoinbaseFeed

    _each(CoinbaseFeed, name, paths, options, store, json)


def bybit(name: Name, paths: Paths, options: EventOptions, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Read Bybit's public order books (ob500)."""
    from datasets.ingest.bybit import BybitBook

    _each(BybitBook, name, paths, options, store, json)


_FORMATS: tuple[tuple[str, str, tuple[str, ...], Callable[..., None]], ...] = (
    ("lobster", "LOBSTER message and orderbook files.",
     ("quantbot ingest lobster mine/aapl AAPL_2012-06-21_34200000_57600000_message_10.csv.gz",
      "quantbot ingest lobster mine/amzn LOBSTER_SampleFile_AMZN_2012-06-21_10.zip"), lobster),
    ("itch", "NASDAQ TotalView-ITCH 5.0.",
     ("quantbot ingest itch mine/nasdaq 12302019.NASDAQ_ITCH50.gz --session 2019-12-30 --symbols AAPL,MSFT",), itch),
    ("databento", "Databento DBN: mbo, mbp-1, mbp-10, trades.",
     ("quantbot ingest databento mine/es glbx-mdp3-20240508.mbo.dbn.zst --tick 0.25 --multiplier 50",
      "quantbot ingest databento mine/es es.mbo.dbn.zst --definitions es.definition.dbn.zst"), databento),
    ("binance", "Binance recorded streams and public trades.",
     ("quantbot ingest binance mine/eth ethusdt_20240808.gz --shift 1300 --currency USDT",
      "quantbot ingest binance mine/btc-trades BTCUSDT-aggTrades-2026-09-15.csv",
      "quantbot ingest binance mine/btc-book BTCUSDT_T_DEPTH_2022-11-01_depth_update.csv"), binance),
    ("tardis", "Tardis.dev CSV.",
     ("quantbot ingest tardis mine/btc deribit_incremental_book_L2_2020-04-01_BTC-PERPETUAL.csv.gz",), tardis),
    ("hftbacktest", "hftbacktest npz event files.",
     ("quantbot ingest hftbacktest mine/eth ethusdt_20240808.npz --tick 0.01 --lot 0.001",), hftbacktest),
    ("bitstamp", "Bitstamp orders as CSV.",
     ("quantbot ingest bitstamp mine/btcusd orders.csv.xz --symbol BTCUSD",), bitstamp),
    ("kraken", "Kraken recorded book channel.", ("quantbot ingest kraken mine/kraken KRAKEN.ws.raw.gz",), kraken),
    ("coinbase", "Coinbase recorded level2 and matches.",
     ("quantbot ingest coinbase mine/coinbase COINBASE.ws.raw.gz",), coinbase),
    ("bybit", "Bybit public order books.", ("quantbot ingest bybit mine/xrp XRPUSDT_ob500.data.zip",), bybit),
)  # fmt: skip


def _each(
    reader: Callable[..., Reader], name: str, paths: list[Path], options: EventOptions, store: str, json: bool
) -> None:
    from datasets.ingest.files import list_files

    _ingest(name, [reader(path, max_bytes=options.max_bytes) for path in list_files(paths)], options, store, json)


def _ingest(name: str, readers: list[Any], options: EventOptions, store: str, json: bool) -> None:
    from datasets.ingest.events import ingest_events

    with reading(f"reading {name}") as progress:
        written = ingest_events(open_root(store), name, readers, options, progress=progress)
    show_written(written, json)


def show_written(written: Written, json: bool) -> None:
    """Print what an ingest has made."""
    from app.commands.data import show_dataset

    dataset = written.dataset
    if not json:
        done = "stored" if written.created else "was there already, bit for bit:"
        terminal.say(f"{done} {dataset.name}@{dataset.version[:12]}\n")
    show_dataset(dataset, json, created=written.created)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
