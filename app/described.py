"""What is said of a dataset in lines and tables, whatever it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.events import EventsDataset

_ROWS = 50


def document(dataset: Dataset | EventsDataset) -> dict[str, Any]:
    """Return everything that a manifest says, as JSON types."""
    return {
        "name": dataset.name,
        "version": dataset.version,
        "kind": dataset.kind,
        "url": dataset.url,
        "meta": dataset.meta.to_dict(),
        "n_times": dataset.n_times,
        "start_ns": dataset.start_ns,
        "end_ns": dataset.end_ns,
        "assets": _assets(dataset),
    }


def _assets(dataset: Dataset | EventsDataset) -> list[dict[str, Any]]:
    from datasets.events import EventsDataset

    if isinstance(dataset, EventsDataset):
        return [dict(asset) for asset in dataset.manifest.head["assets"]]
    return [
        {"symbol": asset, "n_bars": dataset.n_bars(asset), "start_ns": first, "end_ns": last}
        for asset in dataset.assets
        for first, last in [dataset.span(asset)]
    ]


def about(dataset: Dataset | EventsDataset) -> list[tuple[str, str]]:
    """Return what a dataset is, a name and a text a line."""
    from app import format as fmt
    from datasets.events import EventsDataset

    meta = dataset.meta
    lines = {
        "dataset": f"{dataset.name}@{fmt.short(dataset.version)}",
        "title": f"{meta.title}{' (synthetic: drawn, not observed)' if meta.synthetic else ''}",
        "source": meta.source,
        "licence": meta.license,
    }
    lines |= _of_events(dataset) if isinstance(dataset, EventsDataset) else _of_bars(dataset)
    return [(name, text) for name, text in (lines | dict(meta.notes)).items() if text]


def _of_bars(dataset: Dataset) -> dict[str, str]:
    meta = dataset.meta
    currency = meta.currency if isinstance(meta.currency, str) else ", ".join(sorted(set(meta.currency.values())))
    return {
        "bars": f"{meta.interval}, stamped at their end in UTC (raw: at their {meta.stamp}); zone {meta.zone}",
        "calendar": f"{meta.calendar or 'none'}, {meta.periods_per_year:g} bars a year",
        "currency": currency,
        "beside prices": beside_prices(dataset),
    }


def beside_prices(dataset: Dataset) -> str:
    """Return what a dataset of bars knows beside raw prices and volumes."""
    called = {
        "adjustment": "adjustment factors", "split": "splits", "dividend": "cash dividends", "funding": "funding rates"
    }  # fmt: skip
    return ", ".join(words for name, words in called.items() if name in dataset.variables)


def _of_events(dataset: EventsDataset) -> dict[str, str]:
    instruments = [dataset.instrument(asset) for asset in dataset.assets]
    return {
        "events": f"{dataset.n_times:,} of the order book, {', '.join(sorted({each.kind for each in instruments}))}; "
        f"zone {dataset.meta.zone}",
        "tick, lot": ", ".join(f"{each.symbol} {each.tick_size:g}, {each.lot_size:g}" for each in instruments[:5]),
        "currency": ", ".join(sorted({each.currency for each in instruments})),
    }


def asset_rows(dataset: Dataset | EventsDataset) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the columns and rows of a table: an asset's bars, or a session's events, a line."""
    from app import format as fmt
    from datasets.events import EventsDataset

    if isinstance(dataset, EventsDataset):
        columns: tuple[str, ...] = ("asset", "session", "events", "first", "last")
        sessions = [
            (asset, dataset.session(asset, each)) for asset in dataset.assets for each in dataset.sessions(asset)
        ]
        n_rows = len(sessions)
        rows: list[tuple[str, ...]] = [
            (asset, each.session, fmt.count(each.n_events), fmt.instant(each.start_ns), fmt.instant(each.end_ns))
            for asset, each in sessions[:_ROWS]
        ]
    else:
        columns = ("asset", "bars", "first", "last")
        n_rows = len(dataset.assets)
        rows = [
            (asset, fmt.count(dataset.n_bars(asset)), *map(fmt.instant, dataset.span(asset)))
            for asset in dataset.assets[:_ROWS]
        ]
    if n_rows > _ROWS:
        rows.append((f"and {n_rows - _ROWS} more", *[""] * (len(columns) - 1)))
    return columns, rows
