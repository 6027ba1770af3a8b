"""``quantbot ingest``: raw files in, checked datasets out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app import terminal
from app.commands import ingest_events
from app.commands.bar_options import takes_bar_options
from app.commands.ingest_events import reading
from app.commands.options import DEFAULT_STORE, Json, StoreUrl, examples, group, open_root

if TYPE_CHECKING:
    from datasets.ingest import BarOptions, IngestResult

app = group("ingest", "Read raw bars and order-book events into the store.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the dataset is called: mine/eurusd.")]
Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH", help="Files; without a symbol column one file is one symbol.")
]


@app.command(
    "csv",
    epilog=examples(
        "quantbot ingest csv mine/spx SPX.csv --calendar XNYS --zone America/New_York",
        "quantbot ingest csv mine/eurusd eurusd.csv --time ts --stamp start --interval 1min --zone UTC",
        "quantbot ingest csv mine/us all.csv --symbol-column ticker --zone UTC --repair sort,drop_duplicates",
        "quantbot ingest csv mine/sp500 closes.csv.gz --wide --calendar XNYS --zone America/New_York",
    ),
)
@takes_bar_options(text=True)
def csv(name: Name, paths: Paths, options: BarOptions, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Read CSV files.

    What breaks a rule is refused with file, line, field, value and rule, and then nothing is stored. The same content
    read twice is one version.
    """
    from datasets.ingest import ingest_csv

    with reading(f"reading {name}") as progress:
        result = ingest_csv(open_root(store), name, paths, options, progress=progress)
    _show(result, json)


@app.command(
    "parquet",
    epilog=examples(
        "quantbot ingest parquet mine/us bars.parquet --symbol-column ticker --stamp end --zone UTC",
        "quantbot ingest parquet mine/es es-2024.parquet es-2025.parquet --symbol ES --multiplier 50 --calendar CMES",
    ),
)
@takes_bar_options()
def parquet(name: Name, paths: Paths, options: BarOptions, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Read Parquet files, under the same rules as CSV."""
    from datasets.ingest import ingest_parquet

    with reading(f"reading {name}") as progress:
        result = ingest_parquet(open_root(store), name, paths, options, progress=progress)
    _show(result, json)


@app.command(
    "sql",
    epilog=examples(
        "quantbot ingest sql mine/us 'select * from bars' --url sqlite:///bars.db --symbol-column ticker --zone UTC",
        "QUANTBOT_SQL_URL=postgresql+psycopg://reader@host/market quantbot ingest sql mine/us 'select * from bars'",
    ),
)
@takes_bar_options()
def sql(
    name: Name,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One SELECT, in quotes.")],
    options: BarOptions,
    url: Annotated[
        str,
        typer.Option(
            "--url", envvar="QUANTBOT_SQL_URL", metavar="URL",
            help="An SQLAlchemy URL. With a password in it, rather set QUANTBOT_SQL_URL: command lines are public.",
        ),
    ] = "",
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:  # fmt: skip
    """Read the rows of a query, under the same rules as CSV."""
    from datasets.ingest import ingest_sql
    from quantbot.errors import InputError

    if not url:
        raise InputError("sql needs the database's address: --url or the environment variable QUANTBOT_SQL_URL")
    with reading(f"reading {name}"):
        result = ingest_sql(open_root(store), name, url, query, options)
    _show(result, json)


@app.command(
    "demo",
    short_help="Store the demo data.",
    epilog=examples("quantbot ingest demo", "quantbot ingest demo --store s3://bucket/quantbot"),
)
def demo(store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Store the demo data: real daily index bars from the package `arch`, and a synthetic minute market."""
    from app.commands.data import show_entries
    from datasets.catalog import Catalog
    from datasets.demo import ingest_demo

    root = open_root(store)
    with reading("demo data") as progress:
        ingest_demo(root, progress=progress)
    show_entries([entry for entry in Catalog(root).entries() if entry.name.startswith("demo/")], json)


@app.command(
    "synthetic",
    short_help="Make a synthetic minute market.",
    epilog=examples(
        "quantbot ingest synthetic", "quantbot ingest synthetic mine/minutes --assets 100 --days 250 --seed 7"
    ),
)
def synthetic(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the dataset is called.")] = "synthetic/minutes",
    n_assets: Annotated[int, typer.Option("--assets", min=1, help="Number of instruments.")] = 5,
    n_days: Annotated[int, typer.Option("--days", min=1, help="Number of trading days.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same bits.")] = 0,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Make a synthetic minute market: random, seeded, and marked as synthetic wherever it is shown."""
    from datasets.synthetic import synthetic_minute

    result = synthetic_minute(open_root(store), name, n_assets=n_assets, n_days=n_days, seed=seed)
    _show(result, json)


@app.command(
    "scenarios",
    short_help="Store scenarios for portfolios.",
    epilog=examples("quantbot ingest scenarios mine/views views.csv"),
)
def scenarios(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What a spec's data.scenarios calls them: mine/views.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A CSV file: a row each, a column of returns an asset.")],
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Store scenarios for portfolios to optimise over: returns, 0.01 for one percent, a column for each asset.

    A column `known` (a time, or a date, which means its end) says from when on decisions may see a row; rows of one
    time are a set. A column `probability` says how likely a row is in its set.
    """
    from datasets.scenarios import read_csv, write_scenarios

    with reading(f"reading {name}"):
        written = write_scenarios(open_root(store), name, read_csv(path))
    given = written.given
    if json:
        terminal.print_json(
            {"name": written.name, "version": written.version, "assets": list(given.assets),
             "n_scenarios": len(given.known_ns), "n_sets": len(given.sets_ns), "dated": given.dated}
        )  # fmt: skip
        return
    sets = f"{len(given.sets_ns):,} sets by time" if given.dated else "without a time: every decision sees them"
    what = f"{len(given.known_ns):,} scenarios of {len(given.assets)} assets, {sets}"
    terminal.say(f"stored {written.name}@{written.version[:12]}: {what}")


ingest_events.add_to(app)


@app.command(
    "synthetic-book",
    short_help="Make a synthetic order book.",
    epilog=examples(
        "quantbot ingest synthetic-book", "quantbot ingest synthetic-book mine/l2 --by-price --events 10000000 --days 5"
    ),
)
def synthetic_book(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the dataset is called.")] = "synthetic/book",
    n_events: Annotated[int, typer.Option("--events", min=1, help="Events by order of each day.")] = 1_000_000,
    n_sessions: Annotated[int, typer.Option("--days", min=1, help="Number of trading days.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same bits.")] = 0,
    by_price: Annotated[bool, typer.Option("--by-price", help="Forget the orders: totals of levels.")] = False,
    halts: Annotated[int, typer.Option("--halts", min=0, help="How often trading halts on each day.")] = 0,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Make a synthetic market, order by order: random, seeded, and marked as synthetic wherever it is shown."""
    from datasets.synthetic_book import synthetic_book as make

    with reading(f"drawing {name}") as progress:
        written = make(
            open_root(store), name, n_events, seed, kind="by_price" if by_price else "by_order",
            n_sessions=n_sessions, halts=halts, progress=progress,
        )  # fmt: skip
    ingest_events.show_written(written, json)


@app.command(
    "bars-of-trades",
    short_help="Make bars of the trades in events.",
    epilog=examples("quantbot ingest bars-of-trades mine/eth-1min mine/eth --interval 1min"),
)
def bars_of_trades(
    name: Name,
    events: Annotated[str, typer.Argument(metavar="EVENTS", help="A dataset of order-book events.")],
    interval: Annotated[str, typer.Option("--interval", help="Length of a bar: 1s, 1min, 1h, 1d.")] = "1min",
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Make a dataset of bars of the trades in a dataset of events; intervals without a trade have no bar."""
    from datasets.catalog import open_events
    from datasets.resample import ingest_bars_of_trades

    root = open_root(store)
    with reading(f"making {name}"):
        result = ingest_bars_of_trades(root, name, open_events(events, root), interval)
    _show(result, json)


@app.command(
    "bars-of-quotes",
    short_help="Make bars of the best quotes in events.",
    epilog=examples("quantbot ingest bars-of-quotes mine/eth-mid mine/eth --interval 1s --of mid"),
)
def bars_of_quotes(
    name: Name,
    events: Annotated[str, typer.Argument(metavar="EVENTS", help="A dataset of order-book events.")],
    interval: Annotated[str, typer.Option("--interval", help="Length of a bar: 1s, 1min, 1h, 1d.")] = "1min",
    of: Annotated[str, typer.Option("--of", help="mid, bid, ask or spread.")] = "mid",
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Make a dataset of bars of the best bid and ask in a dataset of events; a quote holds until the next."""
    from datasets.catalog import open_events
    from datasets.quotes import ingest_bars_of_quotes

    root = open_root(store)
    with reading(f"making {name}"):
        result = ingest_bars_of_quotes(root, name, open_events(events, root), interval, of)  # type: ignore[arg-type]
    _show(result, json)


@app.command(
    "klines",
    short_help="Read Binance's public klines.",
    epilog=examples("quantbot ingest klines mine/btc-1h BTCUSDT-1h-2024-*.zip --currency USDT"),
)
def klines(
    name: Name,
    paths: Paths,
    currency: Annotated[str, typer.Option("--currency", metavar="CODE", help="Currency of the prices.")] = "USDT",
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="A title, for people.")] = "",
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Read Binance's public klines: files of one symbol and interval, which stand in their names."""
    from datasets.ingest import BarOptions
    from datasets.ingest.klines import ingest_klines

    with reading(f"reading {name}") as progress:
        options = BarOptions(currency=currency, title=title)
        result = ingest_klines(open_root(store), name, paths, options, progress=progress)
    _show(result, json)


def _show(result: IngestResult, json: bool) -> None:
    from app.commands.data import show_dataset

    dataset = result.dataset
    if not json:
        done = "stored" if result.created else "was there already, bit for bit:"
        terminal.say(f"{done} {dataset.name}@{dataset.version[:12]}\n")
    show_dataset(dataset, json, created=result.created)
