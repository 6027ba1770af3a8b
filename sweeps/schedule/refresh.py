"""Refreshing data before runs: the ingest that `quantbot ingest` does, declared as a table in a schedule's file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantbot.errors import InputError
from quantbot.parameters import nearest
from sweeps.reading import show

if TYPE_CHECKING:
    from datasets.ingest import BarOptions, IngestResult
    from datasets.store import Store
    from sweeps.schedule.sections import Refresh

_FILES = ("splits", "dividends", "funding")  # options that are paths


def refresh(root: Store, entry: Refresh, folder: Path) -> IngestResult:
    """Ingest what `entry` says into the store; the same content as before is the same version.

    Parameters
    ----------
    folder
        Where the schedule's file lies: what relative paths begin at.

    Raises
    ------
    QuantBotError
        As the ingest of that format; nothing is stored then.
    """
    return FORMATS[entry.format](root, entry, folder, bar_options(entry, folder))


def refresh_problems(entry: Refresh) -> Iterator[str]:
    """Yield what of an entry doesn't fit its format, each with its field."""
    if entry.format not in FORMATS:
        yield f"format: must be one of {', '.join(FORMATS)}; found {show(entry.format)}{_near(entry.format, FORMATS)}"
        return
    of_files = entry.format != "sql"
    for name, needed in (("paths", of_files), ("query", not of_files), ("url_env", not of_files)):
        there = getattr(entry, name) is not None
        if needed and not there:
            yield f"{name}: is required for format {entry.format}"
        if there and not needed:
            yield f"{name}: format {entry.format} takes none"
    known = _option_names()
    for name in entry.options:
        if name not in known:
            yield f"options.{name[:80]}: no such option; there are {', '.join(known)}{_near(name, known)}"
            return
    try:
        bar_options(entry, Path())
    except InputError as error:
        yield f"options: {error}"
    except (TypeError, ValueError) as error:  # a type that the option can't be, where nothing checks it before
        yield f"options: {error}"


def bar_options(entry: Refresh, folder: Path) -> BarOptions:
    """Return the options of an entry; as on the command line, "none" says that there is no such column."""
    from datasets.ingest import BarOptions

    given: dict[str, Any] = dict(entry.options)
    for name in _FILES:
        if name in given:
            given[name] = folder / str(given[name])
    if "columns" in given:
        columns = given["columns"]
        if not isinstance(columns, Mapping):
            raise InputError(f"columns must be a table such as {{ time = 'Date' }}, was {show(columns)}")
        given["columns"] = {role: None if column == "none" else column for role, column in columns.items()}
    return BarOptions(**given)


def files_of(entry: Refresh, folder: Path) -> list[Path]:
    """Return the files that an entry's paths and patterns mean now, sorted by name within a pattern.

    Raises
    ------
    InputError
        If a pattern matches nothing.
    """
    found: list[Path] = []
    for text in entry.paths or ():
        if any(sign in text for sign in "*?["):
            base, pattern = (Path(text).anchor, text[1:]) if Path(text).is_absolute() else (folder, text)
            matching = sorted(Path(base).glob(pattern))
            if not matching:
                raise InputError(f"no file matches {text!r} (looked in {folder})")
            found += matching
        else:
            found.append(folder / text)
    return found


def _csv(root: Store, entry: Refresh, folder: Path, options: BarOptions) -> IngestResult:
    from datasets.ingest import ingest_csv

    return ingest_csv(root, entry.dataset, files_of(entry, folder), options)


def _parquet(root: Store, entry: Refresh, folder: Path, options: BarOptions) -> IngestResult:
    from datasets.ingest import ingest_parquet

    return ingest_parquet(root, entry.dataset, files_of(entry, folder), options)


def _klines(root: Store, entry: Refresh, folder: Path, options: BarOptions) -> IngestResult:
    from datasets.ingest.klines import ingest_klines

    return ingest_klines(root, entry.dataset, files_of(entry, folder), options)


def _sql(root: Store, entry: Refresh, folder: Path, options: BarOptions) -> IngestResult:
    from datasets.ingest import ingest_sql

    url = os.environ.get(entry.url_env or "")
    if not url:
        raise InputError(f"the environment variable {entry.url_env} with the database's address is not set")
    return ingest_sql(root, entry.dataset, url, entry.query or "", options)


FORMATS: dict[str, Callable[[Store, Refresh, Path, BarOptions], IngestResult]] = {
    "csv": _csv,
    "parquet": _parquet,
    "sql": _sql,
    "klines": _klines,
}


def _option_names() -> list[str]:
    from datasets.ingest import BarOptions

    return [field.name for field in fields(BarOptions)]


def _near(word: str, known: Any) -> str:
    return nearest(word[:80], known)
