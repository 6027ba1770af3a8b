"""Delimited text streamed as rows of exact integers, each known by its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.files import unpacked
from quantbot.errors import DataError

MAX_LINE = 1 << 20
_MOST_LINES = 1 << 17

Kind = Literal["number", "rounded", "word", "skipped"]
_KINDS: Mapping[str, int] = {"number": 0, "rounded": 1, "word": 2, "skipped": 3}
EMPTY = -(2**63)


@dataclass(frozen=True)
class Field:
    """One field of a line.

    Attributes
    ----------
    kind
        "number" (times ``10 ** digits`` it must be whole), "rounded" (to its digits, halves away from 0), "word" (a
        hash of the text: compare with `word`), or "skipped".
    """

    name: str
    kind: Kind = "number"
    digits: int = 0


@dataclass(frozen=True, eq=False)
class TextBlock:
    """Consecutive lines of a file.

    Attributes
    ----------
    columns
        By field: int64, shape (n_rows,).
    first_line
        Number of the first row's line, the file's first being 1.
    n_bytes
        Bytes read of the unpacked file up to the end of the block.
    """

    columns: Mapping[str, NDArray[np.int64]]
    first_line: int
    n_bytes: int

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def word(text: str) -> int:
    """Return what a "word" field with this text holds."""
    from quantbot.book import kernels_fields

    return kernels_fields.word(np.frombuffer(text.encode(), np.uint8))


def lines(path: Path, *, max_bytes: int, member: str = "") -> Iterator[tuple[bytes, int]]:
    """Yield pieces of whole lines, each ended by a newline, and the number of the first line of each."""
    number, rest = 1, b""
    for piece in unpacked(path, max_bytes, member=member):
        whole = rest + piece
        end = whole.rfind(b"\n") + 1
        rest = whole[end:]
        if len(rest) > MAX_LINE:
            n_before = whole.count(b"\n")
            raise DataError(f"{path}, line {number + n_before}: more than {MAX_LINE:,} bytes without an end of line")
        if end:
            yield whole[:end], number
            number += whole.count(b"\n", 0, end)
    if rest:
        yield rest + b"\n", number


def header(path: Path, *, max_bytes: int) -> list[str]:
    """Return the fields of the first line."""
    first = next(lines(path, max_bytes=max_bytes))[0].split(b"\n", 1)[0]
    try:
        return [field.strip().strip('"') for field in first.decode("utf-8-sig").split(",")]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: line 1 is no text ({error.reason} at byte {error.start})") from error


def rows(
    path: Path, fields: Sequence[Field], *, max_bytes: int, member: str = "", skip_lines: int = 0, separator: str = ","
) -> Iterator[TextBlock]:
    """Yield the lines of a file as columns, in blocks of bounded size.

    Raises
    ------
    DataError
        With file, line, field and value: for what is no number, has more digits than the field may, does not fit in
        64 bits, and for lines with more or fewer fields.
    """
    n_bytes = 0
    for piece, number in lines(path, max_bytes=max_bytes, member=member):
        left = max(skip_lines + 1 - number, 0)
        start = 0
        for _ in range(left):
            start = piece.find(b"\n", start) + 1
            if not start:
                start = len(piece)
                break
        n_bytes += start
        text = np.frombuffer(piece, np.uint8)[start:]
        first = number + left
        while text.size:
            block, used = parsed(text, fields, separator, f"{path}", first)
            n_bytes += used
            yield TextBlock({f.name: c for f, c in block.items()}, first, n_bytes)
            first += len(next(iter(block.values())))
            text = text[used:]


def parsed(
    text: NDArray[np.uint8], fields: Sequence[Field], separator: str, place: str, first_line: int
) -> tuple[dict[Field, NDArray[np.int64]], int]:
    """Parse whole lines, as many as a block holds; return columns, and the bytes used."""
    from quantbot.book import kernels_fields as kernels

    n_lines = min(int(np.count_nonzero(text == 10)), _MOST_LINES)
    out = np.empty((n_lines, len(fields)), np.int64)
    ends = np.empty(n_lines, np.int64)
    kinds = np.array([_KINDS[field.kind] for field in fields], np.int64)
    digits = np.array([field.digits for field in fields], np.int64)
    status, row, field, at = kernels.parse(text, np.uint8(ord(separator)), kinds, digits, out, ends)
    if status != kernels.FINE:
        raise DataError(f"{place}, line {first_line + row}: {_problem(status, text, fields, field, at, separator)}")
    columns = {each: np.ascontiguousarray(out[:row, k]) for k, each in enumerate(fields) if each.kind != "skipped"}
    for each, values in columns.items():
        if each.kind != "word" and (values == EMPTY).any():
            at = int(np.argmax(values == EMPTY))
            raise DataError(f"{place}, line {first_line + at}: {each.name} is empty; a number is needed")
    return columns, int(ends[row - 1]) if row else len(text)


def _problem(status: int, text: NDArray[np.uint8], fields: Sequence[Field], field: int, at: int, separator: str) -> str:
    from quantbot.book import kernels_fields as kernels

    line = bytes(text[at : at + 60]).split(b"\n")[0]
    found = line.split(separator.encode())[0].decode("utf-8", "replace")
    if status == kernels.MANY_FIELDS:
        return f"more than {len(fields)} fields ({', '.join(each.name for each in fields[:8])})"
    if status == kernels.FEW_FIELDS:
        return f"{field} fields, {len(fields)} are needed ({', '.join(each.name for each in fields[:8])})"
    name = fields[field].name
    if status == kernels.TOO_FINE:
        return f"{name} {found!r} has more than {fields[field].digits} digits after the point"
    if status == kernels.TOO_LARGE:
        return f"{name} {found!r} is too large for {fields[field].digits} digits after the point"
    return f"{name} must be a number, was {found!r}"
