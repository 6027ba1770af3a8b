"""Tables of a spec that stand in a CSV file beside it: read into the spec, so that what they say is part of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantbot.errors import ParameterError, SpecError
from quantbot.parameters import Table

MAX_BYTES = 1_000_000
_MAX_ROWS = 10_000


def fill_tables(document: dict[str, Any], declared: Mapping[str, Table], folder: Path | None) -> list[str]:
    """Replace each declared table that is the name of a CSV file by the file's rows; return the problems.

    The first column names the rows, the others are the table's fields, by the names in the first line.

    Parameters
    ----------
    document
        Of the spec; changed.
    declared
        The engine's tables by dotted name.
    folder
        Where files are looked for; None for a spec that is no file: it may name none.
    """
    problems = []
    for name, table in declared.items():
        section, _, key = name.partition(".")
        own = document.get(section)
        if not isinstance(own, dict) or not isinstance(own.get(key), str):
            continue
        try:
            document[section] = {**own, key: _rows(own[key], table, folder)}
        except (SpecError, ParameterError) as error:
            problems.append(f"{name}: {error}")
            document[section] = {field: value for field, value in own.items() if field != key}
    return problems


def _rows(file: str, table: Table, folder: Path | None) -> dict[str, dict[str, float]]:
    if folder is None:
        raise SpecError(f"a file ({file[:80]!r}) is found beside a spec that is a file itself; write the rows out here")
    path = folder / file
    if not path.is_file():
        raise SpecError(f"there is no file {file[:200]!r} beside the spec")
    with path.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise SpecError(f"{file[:80]} is larger than {MAX_BYTES:,} bytes; keep fewer rows")
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpecError(f"{file[:80]} is no CSV text: {error}") from None
    known = [field.name for field in table.fields]
    header = [word.strip() for word in lines[0]] if lines else []
    if sorted(header[1:]) != sorted(known):
        raise SpecError(
            f"line 1 of {file[:80]} must name a column of names and then {', '.join(known)}; found"
            f" {', '.join(header)[:200]!r}"
        )
    if len(lines) - 1 > _MAX_ROWS:
        raise SpecError(f"{file[:80]} has {len(lines) - 1:,} rows, {_MAX_ROWS:,} are the most; keep fewer")
    rows: dict[str, dict[str, float]] = {}
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        if len(line) != len(header):
            raise SpecError(f"line {number} of {file[:80]} has {len(line)} fields, {len(header)} are needed")
        if line[0] in rows:
            raise SpecError(f"line {number} of {file[:80]}: {line[0][:80]!r} came before; a row's name counts once")
        rows[line[0]] = {}
        for field, text in zip(header[1:], line[1:], strict=True):
            try:
                rows[line[0]][field] = float(text)
            except ValueError:
                raise SpecError(
                    f"line {number} of {file[:80]}: {field} must be a number, found {text[:80]!r}"
                ) from None
    return rows
