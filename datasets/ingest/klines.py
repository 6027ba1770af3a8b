"""Binance's public klines: bars whose symbol and interval stand in the file's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.ingest.files import list_files
from datasets.ingest.options import BarOptions, Interval
from datasets.ingest.text_rows import Field, header, rows
from quantbot.errors import DataError, InputError

if TYPE_CHECKING:
    from datasets.ingest.bars import IngestResult
    from datasets.store import Store

__all__ = ["ingest_klines"]

_FILE = re.compile(r"(?P<symbol>[A-Z0-9_]+)-(?P<n>\d{1,2})(?P<unit>s|m|h|d|w|mo)-\d{4}-\d{2}(-\d{2})?\.(csv|zip)", re.I)
_UNITS = {"m": "min"}
_COLUMNS = {name: at for at, name in enumerate(("time", "open", "high", "low", "close", "volume"))}
_N_FIELDS = 12
_MS, _US = 10**6, 10**3


def ingest_klines(
    root: Store,
    name: str,
    paths: str | Path | Iterable[str | Path],
    options: BarOptions | None = None,
    *,
    progress: Callable[[float, str], None] | None = None,
) -> IngestResult:
    """Read files of one symbol and interval as the dataset of bars `name`, by the rules of `ingest_csv`.

    Each line must close one unit of time before its interval ends: of milliseconds, or of microseconds, which spot
    files have since 2025. A header line (futures) is read over; files with and without one are not mixed.

    Parameters
    ----------
    options
        Currency, title and the like; symbol, interval, stamps and columns come from the files.

    Raises
    ------
    InputError
        If a name is not SYMBOL-INTERVAL-DATE, or the files are not of one symbol, interval and form.
    DataError
        If a line breaks a rule, with file and line.
    """
    from dataclasses import replace

    from datasets.ingest.csv import ingest_csv

    files = list_files(paths)
    chosen = options or BarOptions()
    told = {_told(path, chosen.max_bytes) for path in files}
    if len(told) > 1:
        raise InputError(f"klines of one symbol, interval and form are needed, found {sorted(map(str, told))}")
    symbol, interval, has_header = told.pop()
    for path in files:
        _check_ends(path, Interval.parse(interval), has_header, chosen.max_bytes)
    own = replace(
        chosen,
        symbol=symbol,
        interval=interval,
        stamp="start",
        zone="UTC",
        header=has_header,
        columns=_columns(has_header),
    )
    return ingest_csv(root, name, files, own, progress=progress)


def _columns(has_header: bool) -> dict[str, str | int | None]:
    return {"time": "open_time"} if has_header else dict(_COLUMNS)


def _told(path: Path, max_bytes: int) -> tuple[str, str, bool]:
    found = _FILE.search(path.name)
    if found is None:
        raise InputError(
            f"a file of klines is called SYMBOL-INTERVAL-DATE.csv, such as BTCUSDT-1m-2024-01, was {path.name}"
        )
    first = header(path, max_bytes=max_bytes)
    if len(first) != _N_FIELDS:
        raise DataError(f"{path}, line 1: {len(first)} fields, klines have {_N_FIELDS}")
    unit = found["unit"].lower()
    return found["symbol"].upper(), f"{found['n']}{_UNITS.get(unit, unit)}", not first[0].isdigit()


def _check_ends(path: Path, interval: Interval, has_header: bool, max_bytes: int) -> None:
    fields = [Field(str(at), "number" if at in (0, 6) else "skipped") for at in range(_N_FIELDS)]
    for block in rows(path, fields, max_bytes=max_bytes, skip_lines=int(has_header)):
        opened, closed = block.columns["0"], block.columns["6"]
        unit = np.where(opened < 10**14, _MS, _US)
        wrong = (opened < 10**11) | (opened >= 10**17)
        if not str(interval).endswith("mo"):  # months differ
            wrong |= closed - opened + 1 != interval.ns // unit
        if wrong.any():
            at = int(np.argmax(wrong))
            raise DataError(
                f"{path}, line {block.first_line + at}: a bar of {interval} from {int(opened[at])} must close one unit "
                f"before its end, closes at {int(closed[at])}"
            )
