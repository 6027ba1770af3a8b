"""CSV: exact about every line, fast where the lines are clean.

A file is read in blocks that end with a line and are split by Arrow's reader; only where that finds a line of another
width is the block read again, slowly, for its number. Lines end with LF or CRLF; empty lines are skipped; fields may be
quoted (RFC 4180: a quote inside is doubled); a byte order mark is skipped.
"""

from __future__ import annotations

import codecs
import csv as lines_of
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.ingest.columns import choose_columns
from datasets.ingest.files import list_files, stem, unpacked
from datasets.ingest.options import BarOptions
from datasets.ingest.table import Chunk, Lines, Problems, place
from datasets.ingest.wide import tall, wide_columns
from quantbot.errors import DataError, InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from datasets.ingest.bars import IngestResult
    from datasets.ingest.reading import Source
    from datasets.store import Store

BLOCK = 8 << 20  # bytes that are parsed at a time
LONGEST_RECORD = 1 << 20  # bytes; a quote that is never closed would otherwise swallow the file
MAX_COLUMNS = 4096
_DELIMITERS = (",", ";", "\t", "|")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def ingest_csv(
    root: Store,
    name: str,
    paths: str | Path | Iterable[str | Path],
    options: BarOptions | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> IngestResult:
    """Read CSV files into the dataset `name`: all of them checked before anything is written.

    Parameters
    ----------
    root
        The store that holds ``datasets/``.
    name
        Of the dataset in the catalogue, such as ``vendor/spx``.
    paths
        One file or several, plain or packed (gzip, bzip2, xz, a zip of one file); several of one symbol are joined.
    options
        What the columns mean and what may be repaired.
    progress
        Called now and then with the fraction done (0 to 1) and what is being done.

    Raises
    ------
    DataError
        If a row breaks a rule that no named repair covers; the message names file, line, field, value and rule.
    InputError
        If the options don't fit the file.
    """
    from datasets.ingest.bars import ingest_sources

    options = options or BarOptions()
    files = list_files(paths)
    return ingest_sources(root, name, [CsvReader(path, options).source() for path in files], options, progress)


@dataclass(frozen=True)
class CsvReader:
    """Reads one file, chunk by chunk."""

    path: Path
    options: BarOptions

    def source(self, symbol: str | None = None) -> Source:
        """Give the file as a source; the symbol of its rows, where nothing else names one, is the file's name."""
        from datasets.ingest.reading import Source

        size = self.path.stat().st_size
        return Source(str(self.path), "line", symbol or stem(self.path), size, self, origin=self.path.name)

    def __call__(self, problems: Problems) -> Iterator[Chunk]:
        """Yield the rows with the roles' columns as text; lines of a wrong width go to `problems`."""
        layout: _Layout | None = None
        n_lines = 0
        for block in _whole_lines(
            self.path, _as_utf8(self.path, unpacked(self.path, self.options.max_bytes), self.options)
        ):
            text = block
            if layout is None:
                head, n_head, text = _first_record(self.path, text)
                if head is None:  # nothing but empty lines so far
                    n_lines += n_head
                    continue
                layout = _layout(self.path, head, n_lines + n_head, self.options)
                if self.options.header:
                    n_lines += n_head
                else:
                    text = block
            yield from _chunks(self.path, text, n_lines, layout, problems)
            n_lines += text.count(b"\n")
            if problems.enough:
                return
        if layout is None:
            raise DataError(f"{self.path} holds no line with anything in it")


@dataclass(frozen=True)
class _Layout:
    delimiter: str
    n_columns: int
    positions: Mapping[str, int]
    names: Mapping[str, str]
    wide: bool = False


def _layout(path: Path, head: str, line: int, options: BarOptions) -> _Layout:
    """Find out from the first record how fields are separated and which of them play a role."""
    delimiter = options.delimiter or _delimiter(path, head, options)
    try:
        fields = next(lines_of.reader([head], delimiter=delimiter, strict=True))
    except (lines_of.Error, StopIteration) as error:
        raise DataError(f"{place(str(path), 'line', line)}: can't be split into fields: {error}") from error
    if len(fields) > MAX_COLUMNS:
        raise DataError(f"{path} has {len(fields):,} columns; at most {MAX_COLUMNS:,} are read")
    headings = [field.strip() for field in fields] if options.header else None
    if options.wide:
        positions = wide_columns(str(path), headings or [], options)
        return _Layout(delimiter, len(fields), positions, {"time": (headings or [])[positions["time"]]}, wide=True)
    positions = choose_columns(str(path), headings, len(fields), options)
    names = {role: headings[at] if headings and headings[at] else f"column {at}" for role, at in positions.items()}
    return _Layout(delimiter, len(fields), positions, names)


def _delimiter(path: Path, head: str, options: BarOptions) -> str:
    counts = {mark: head.count(mark) for mark in _DELIMITERS}
    if not options.header and options.decimal == ",":
        counts.pop(",")
    best = max(counts, key=lambda mark: counts[mark])
    rivals = [mark for mark in counts if mark != best and counts[mark] == counts[best] and counts[mark]]
    if rivals:
        raise InputError(f"{path}: fields may be separated by {best!r} or {rivals[0]!r}; pass delimiter")
    return best


def _as_utf8(path: Path, pieces: Iterator[bytes], options: BarOptions) -> Iterator[bytes]:
    """Give the file in UTF-8 without byte order mark, with LF line ends; bytes that are no text are refused."""
    try:
        if not codecs.lookup(options.encoding)._is_text_encoding:
            raise LookupError
        decoder = codecs.getincrementaldecoder(options.encoding)()
    except (LookupError, ValueError) as error:
        raise InputError(
            f"encoding {options.encoding!r} is unknown; use 'utf-8', 'latin-1', 'cp1252' or 'utf-16'"
        ) from error
    encoder_needed = codecs.lookup(options.encoding).name != "utf-8"
    first, held = True, b""
    for raw in pieces:
        piece = raw
        if first and piece.startswith(_UTF16) and not options.encoding.lower().startswith("utf-16"):
            raise DataError(f"{path} is in UTF-16; pass encoding='utf-16', or save it as UTF-8")
        if encoder_needed:
            try:
                piece = decoder.decode(piece).encode()
            except (UnicodeError, ValueError) as error:
                raise DataError(f"{path} is not in {options.encoding}: {error}") from error
        if first:
            piece = piece.removeprefix(codecs.BOM_UTF8)
            first = not piece
        if b"\0" in piece:
            raise DataError(f"{path} holds NUL bytes: it is binary, or text in UTF-16 (then pass encoding='utf-16')")
        piece, held = held + piece, b""
        if piece.endswith(b"\r"):
            piece, held = piece[:-1], b"\r"
        yield piece.replace(b"\r\n", b"\n")
    if held:
        yield b"\n"  # a last line that ends in CR alone


def _whole_lines(path: Path, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Cut the text where a line ends outside quotes, into blocks of about `BLOCK` bytes; the last ends with LF too."""
    waiting = bytearray()
    n_lines = 0
    for piece in pieces:
        waiting += piece
        if len(waiting) < BLOCK:
            continue
        cut = _last_line_end(waiting)
        if cut is None and len(waiting) > BLOCK + LONGEST_RECORD:
            raise DataError(f"{path}, after line {n_lines}: no line ends, or a quote is never closed")
        if cut is None:
            continue
        block = bytes(waiting[:cut])
        del waiting[:cut]
        n_lines += block.count(b"\n")
        yield block
    if waiting:
        block = bytes(waiting)
        if block.count(b'"') % 2:
            raise DataError(f"{path}, line {n_lines + _open_quote_line(block)}: a quote is never closed")
        yield block if block.endswith(b"\n") else block + b"\n"


def _last_line_end(text: bytearray) -> int | None:
    """Give where the last line outside quotes ends: an even number of quotes stands before it."""
    end = len(text)
    n_quotes = text.count(b'"')
    while True:
        at = text.rfind(b"\n", 0, end)
        if at < 0:
            return None
        n_quotes -= text.count(b'"', at, end)
        if n_quotes % 2 == 0:
            return at + 1
        end = at
        if len(text) - at > 2 * LONGEST_RECORD:
            return None


def _open_quote_line(block: bytes) -> int:
    """Count the lines up to the one where the quote opens that is never closed."""
    is_open, opened = False, 1
    for number, line in enumerate(block.split(b"\n"), start=1):
        if line.count(b'"') % 2:
            is_open = not is_open
            opened = number if is_open else opened
    return opened


def _first_record(path: Path, block: bytes) -> tuple[str | None, int, bytes]:
    """Split off the leading empty lines and the first record; give its text, its lines and the rest."""
    at = 0
    while at < len(block) and block[at : at + 1] == b"\n":
        at += 1
    end = at
    while True:
        stop = block.find(b"\n", end)
        if stop < 0:
            return None, at, b""
        end = stop + 1
        if block.count(b'"', at, end) % 2 == 0:
            break
    head = block[at:stop]
    if b"\r" in head:
        raise DataError(f"{path}: lines end with CR alone; save it with LF or CRLF line ends")
    try:
        return head.decode(), block.count(b"\n", 0, end), block[end:]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {at + 1}: byte {head[error.start]:#04x} is not UTF-8; pass encoding='latin-1' or another"
        ) from error


def _chunks(path: Path, block: bytes, n_before: int, layout: _Layout, problems: Problems) -> Iterator[Chunk]:
    """Yield a block's rows as one chunk; a block with a line of another width is read slowly to name that line."""
    import pyarrow as pa

    if not block.strip(b"\n"):
        return
    try:
        columns = _split(block, layout)
    except (pa.ArrowInvalid, pa.ArrowCapacityError) as error:
        columns = _split_slowly(path, block, n_before, layout, problems, str(error))
    n_rows = len(columns["time"])
    if n_rows:
        lines = _line_numbers(block, n_before, n_rows, layout)
        chunk = Chunk(str(path), "line", columns, layout.names, lines)
        if layout.wide:
            yield from tall(chunk)
        else:
            yield chunk


def _split(block: bytes, layout: _Layout) -> dict[str, pa.Array]:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    quoted = b'"' in block
    headings = [str(at) for at in range(layout.n_columns)]
    wanted = {role: str(at) for role, at in layout.positions.items()}
    table = arrow_csv.read_csv(
        pa.BufferReader(block),
        read_options=arrow_csv.ReadOptions(column_names=headings, block_size=len(block) + 1, use_threads=False),
        parse_options=arrow_csv.ParseOptions(
            delimiter=layout.delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in wanted.values()},
            include_columns=sorted(set(wanted.values())),
            strings_can_be_null=False,
        ),
    )
    return {role: table[name].combine_chunks() for role, name in wanted.items()}


def _split_slowly(
    path: Path, block: bytes, n_before: int, layout: _Layout, problems: Problems, reason: str
) -> dict[str, pa.Array]:
    """Name every line that is not like the others; give the rows of those that are."""
    import pyarrow as pa

    kept: dict[str, list[str]] = {role: [] for role in layout.positions}
    n_found = problems.n
    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        line = n_before + block.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte {block[error.start]:#04x} is not UTF-8; pass encoding='latin-1' or another"
        ) from error
    reader = lines_of.reader(io.StringIO(text, newline="\n"), delimiter=layout.delimiter, strict=True)
    line = 0
    try:
        for fields in reader:
            line = reader.line_num
            if fields and len(fields) != layout.n_columns:
                where = place(str(path), "line", n_before + line)
                problems.add(f"{layout.n_columns} expected", where, f"{len(fields)} fields,")
            elif fields:
                for role, at in layout.positions.items():
                    kept[role].append(fields[at])
            if problems.enough:
                break
    except lines_of.Error as error:
        raise DataError(
            f"{path}, line {n_before + max(reader.line_num, line + 1)}: can't be split into fields: {error}"
        ) from error
    if problems.n == n_found:  # the two readers disagree about what a line is: believe neither
        raise DataError(f"{path}, after line {n_before}: can't be split into lines and fields: {reason}")
    return {role: pa.array(values, pa.string()) for role, values in kept.items()}


def _line_numbers(block: bytes, n_before: int, n_rows: int, layout: _Layout) -> Lines:
    """Give the line on which each row ends; one row a line unless there are empty or quoted lines."""
    if block.count(b"\n") == n_rows:
        return n_before + np.arange(1, n_rows + 1, dtype=np.int64)
    reader = lines_of.reader(io.StringIO(block.decode(), newline="\n"), delimiter=layout.delimiter)
    found = [reader.line_num for fields in reader if len(fields) == layout.n_columns]
    if len(found) != n_rows:
        raise DataError(
            f"after line {n_before}: {n_rows} rows were read where {len(found)} were counted; quotes may be damaged"
        )
    return n_before + np.array(found, dtype=np.int64)
