"""``quantbot data``: what the store knows of markets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import terminal
from app.commands.options import DEFAULT_STORE, Json, StoreUrl, examples, group, open_root
from app.terminal import ExitCode

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.catalog import Entry
    from datasets.events import EventsDataset
    from datasets.quality import QualityReport

app = group("data", "List, show and check datasets.")

Reference = Annotated[
    str, typer.Argument(metavar="NAME", help="A catalogue name, NAME@VERSION (a prefix will do) or a dataset's URL.")
]
_ASSETS_SHOWN = 2


@app.command("list", epilog=examples("quantbot data list", "quantbot data list --store s3://bucket/quantbot --json"))
def list_datasets(store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """List every dataset of the store."""
    from datasets.catalog import Catalog

    root = open_root(store)
    entries = Catalog(root).entries()
    if not entries and not json:
        terminal.say(f"{root.url} has no dataset yet; `quantbot ingest demo` stores some real bars")
        return
    show_entries(entries, json)


def show_entries(entries: Sequence[Entry], json: bool) -> None:
    """Print catalogue entries as a table, or as JSON."""
    from app import format as fmt

    if json:
        terminal.print_json([asdict(entry) for entry in entries])
        return
    rows = []
    for entry in entries:
        if entry.problem:
            rows.append((entry.name, fmt.short(entry.version), "", "", "", "", f"can't be opened: {entry.problem}"))
            continue
        title = (
            f"{entry.title} (synthetic)" if entry.synthetic and "synthetic" not in entry.title.lower() else entry.title
        )
        period = f"{fmt.day(entry.start_ns)} to {fmt.day(entry.end_ns)}"
        shown = (_few(entry.assets), entry.interval, fmt.count(entry.n_times), period, title)
        rows.append((entry.name, fmt.short(entry.version), *shown))
    terminal.print_table(
        ("dataset", "version", "assets", "interval", "times", "period (UTC)", "what"), rows, right=("times",)
    )


@app.command(
    "show",
    short_help="Show one dataset and its quality.",
    epilog=examples("quantbot data show demo/sp500", "quantbot data show demo/sp500@3fa2 --json"),
)
def show(name: Reference, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Show one dataset: where it comes from, its assets, and what its quality report found."""
    from datasets.catalog import open_any

    show_dataset(open_any(name, open_root(store)), json)


def show_dataset(dataset: Dataset | EventsDataset, json: bool, **more: Any) -> None:
    """Print a dataset with its stored quality report; `more` goes to the top of the JSON document."""
    from app.described import about, asset_rows, document
    from datasets.quality import QualityReport

    quality = dataset.quality
    if json:
        terminal.print_json(more | document(dataset) | {"quality": quality})
        return
    terminal.print_table(("", ""), about(dataset), header=False)
    terminal.say("")
    columns, rows = asset_rows(dataset)
    terminal.print_table(columns, rows, right=("bars", "events"))
    show_quality(QualityReport.from_dict(quality))


@app.command(
    "check",
    short_help="Verify and check a dataset again.",
    epilog=examples("quantbot data check demo/sp500", "quantbot data check mine/eurusd --json"),
)
def check(name: Reference, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Read every object of a dataset, compare it with its digest, and check its bars again.

    Ends with exit code 3 when an object is damaged.
    """
    from datasets.catalog import open_any
    from datasets.recheck import recheck

    dataset = open_any(name, open_root(store))
    with terminal.busy(f"checking {dataset.name}"):
        damage = dataset.damage()
        quality = None if damage else recheck(dataset)
    n_objects = len(dataset.manifest.objects)
    if json:
        found = {"name": dataset.name, "version": dataset.version, "n_objects": n_objects, "damage": damage}
        terminal.print_json(found | {"quality": None if quality is None else quality.to_dict()})
    else:
        for line in damage:
            terminal.say(line)
        verdict = (
            f"{len(damage)} of {n_objects} objects are damaged" if damage else f"all {n_objects} objects are whole"
        )
        terminal.say(f"{dataset.name}@{dataset.version[:12]}: {verdict}")
        if quality is not None:
            show_quality(quality)
    if damage:
        raise typer.Exit(ExitCode.SOME_FAILED)


def show_quality(report: QualityReport) -> None:
    """Print what a quality report found, the gravest first."""
    terminal.say("\nquality: " + "\n  ".join(report.summary()))


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_ASSETS_SHOWN])
    return shown if len(names) <= _ASSETS_SHOWN else f"{shown} and {len(names) - _ASSETS_SHOWN} more"
