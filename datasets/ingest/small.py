"""Small CSV files beside the bars, read whole: what each line says, checked, each problem with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from datasets.ingest.numbers import explain_number, parse_numbers
from datasets.ingest.options import BarOptions
from datasets.ingest.table import Problems, place, shown
from datasets.ingest.times import Kind, TimeReader
from quantbot.errors import DataError
from quantbot.market import Floats, Nanoseconds

MAX_BYTES = 100 * 2**20
MOST_TOLD = 100  # problems of a column that are kept


def split_rows(data: bytes, source: str) -> tuple[list[str], list[int], list[list[str]]]:
    """Return the header, and of each row that is not empty its line and its fields.

    Raises
    ------
    DataError
        If the bytes are no CSV text with a header and rows of its width, or are too many.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"{source} has {len(data):,} bytes, {MAX_BYTES:,} are the most; ingest it as a dataset")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not UTF-8 text: byte {error.start} is {data[error.start]:#04x}") from error
    if "\0" in text:
        raise DataError(f"{source} is no CSV file: it holds zero bytes")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines, rows = [], []
    try:
        header = [name.strip() for name in next(reader, [])]
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                where = place(source, "line", reader.line_num)
                raise DataError(f"{where}: has {len(row)} fields, its header has {len(header)}")
            lines.append(reader.line_num)
            rows.append(row)
    except csv.Error as error:
        raise DataError(f"{place(source, 'line', reader.line_num)}: {error}") from error
    if not rows:
        raise DataError(f"{source} has no row below its header")
    return header, lines, rows


def read_times(
    texts: Sequence[str], name: str, source: str, lines: Sequence[int], problems: Problems, options: BarOptions
) -> tuple[Nanoseconds, Kind]:
    """Return the times of a column as they are written, shape (n_rows,), and whether they are dates, local or UTC."""
    import pyarrow as pa

    reader = TimeReader(options)
    stamps, bad = reader.read(pa.array(texts))
    for row in np.flatnonzero(bad)[:MOST_TOLD].tolist():
        problems.add(reader.explain(texts[row]), place(source, "line", lines[row]), f"{name} {shown(texts[row])}")
    return stamps, reader.kind or "date"


def read_numbers(texts: Sequence[str], name: str, source: str, lines: Sequence[int], problems: Problems) -> Floats:
    """Return the numbers of a column, shape (n_rows,)."""
    import pyarrow as pa

    values, bad = parse_numbers(pa.array(texts))
    for row in np.flatnonzero(bad)[:MOST_TOLD].tolist():
        problems.add(explain_number(texts[row]), place(source, "line", lines[row]), f"{name} {shown(texts[row])}")
    return values


def column_of(names: Sequence[str], wanted: Sequence[str], source: str, header: Sequence[str]) -> int:
    """Return the position of the one column that has one of these names."""
    found = [at for at, name in enumerate(names) if name in wanted]
    if len(found) != 1:
        raise DataError(
            f"{source} needs one column called {', '.join(wanted[:-1])} or {wanted[-1]}; found {', '.join(header)}"
        )
    return found[0]
