"""From chunks of raw columns to rows: every value parsed, every unreadable one named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datasets.ingest.numbers import explain_number, is_number_type, parse_numbers
from datasets.ingest.options import NUMBER_ROLES, BarOptions
from datasets.ingest.rows import Codes, Floats, Nanoseconds, Repairs, Rows
from datasets.ingest.rules import concatenate
from datasets.ingest.table import Chunk, Lines, Mask, Problems, place, shown
from datasets.ingest.times import Kind, TimeReader
from quantbot.errors import DataError, InputError

if TYPE_CHECKING:
    import pyarrow as pa

MAX_SYMBOL = 64  # characters
MAX_SYMBOLS = 100_000
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Source:
    """One file or query to read.

    Attributes
    ----------
    name, unit
        What messages call it, and what they count in it (``line`` or ``row``).
    symbol
        Of all its rows, where neither the options nor a column name one.
    size
        Bytes, for the progress shown; 0 where unknown.
    chunks
        Called with the list of problems, yields the rows.
    ordered
        Whether the order of its rows means anything (not in the result of a query).
    origin
        What the dataset says of it, where that is not `name`.
    """

    name: str
    unit: str
    symbol: str
    size: int
    chunks: Callable[[Problems], Iterator[Chunk]]
    ordered: bool = True
    origin: str = ""

    @property
    def said(self) -> str:
        """What is stored of it beside the data: a file without its folder, which differs from machine to machine."""
        return self.origin or self.name


def read_rows(
    sources: Sequence[Source], options: BarOptions, problems: Problems, repairs: Repairs, progress: Progress
) -> tuple[Rows, Kind]:
    """Read all sources and give their rows, grouped by symbol, and what kind of time they have.

    Within a symbol the sources stand in the order of their first times, each source's rows in its own order.
    """
    names = tuple((source.name, source.unit, source.said) for source in sources)
    symbols: dict[str, int] = {}
    parts: list[tuple[Kind, Rows]] = []
    total = sum(source.size for source in sources) or 1
    done = 0
    for index, source in enumerate(sources):
        progress(done / total, f"reading {source.name}")
        part = _Part(source, index, options, symbols, problems, repairs)
        n_rows_read = 0
        for chunk in source.chunks(problems):
            part.read(chunk)
            n_rows_read += len(chunk.lines)
            if n_rows_read > options.max_rows:
                raise DataError(f"{source.name} has more than {options.max_rows:,} rows; split it, or raise max_rows")
            if problems.enough:
                break
        done += source.size
        if problems:
            continue  # the other sources are read for their problems
        if not n_rows_read:
            raise DataError(f"{source.name} has no rows under its header")
        rows = part.rows(names, tuple(symbols))
        if part.kind is not None and len(rows):
            parts.append((part.kind, rows))
    problems.raise_if_any()
    if not parts:
        raise DataError(f"{sources[0].name} has no row left after the repairs: {_said(repairs)}")
    return _join(parts, sources, tuple(symbols)), parts[0][0]


class _Part:
    """The rows of one source while it is read."""

    def __init__(
        self,
        source: Source,
        index: int,
        options: BarOptions,
        symbols: dict[str, int],
        problems: Problems,
        repairs: Repairs,
    ) -> None:
        self._source, self._index, self._options = source, index, options
        self._symbols, self._problems, self._repairs = symbols, problems, repairs
        self._times = TimeReader(options)
        self._ts_ns: list[Nanoseconds] = []
        self._numbers: dict[str, list[Floats]] = {}
        self._codes: list[Codes] = []
        self._lines: list[Lines] = []

    @property
    def kind(self) -> Kind | None:
        return self._times.kind

    def read(self, chunk: Chunk) -> None:
        codes, bad = self._read_symbols(chunk)
        ts_ns, bad_times = self._times.read(_joined_clock(chunk))
        self._refuse(chunk, "time", bad_times, self._times.explain)
        bad = bad | bad_times
        numbers = {}
        for role in NUMBER_ROLES:
            if role in chunk.columns:
                numbers[role], bad_numbers = self._read_numbers(chunk, role, codes)
                bad |= bad_numbers
        if "volume" not in numbers:
            numbers["volume"] = np.zeros(len(ts_ns))
        good = ~bad
        if bad.any():
            for row in np.flatnonzero(bad) if self._options.allows("drop_invalid") else ():
                symbol = list(self._symbols)[codes[row]] if codes[row] >= 0 else "*"
                self._repairs.add(symbol, "drop_invalid", place(self._source.said, chunk.unit, int(chunk.lines[row])))
        self._ts_ns.append(ts_ns[good])
        self._codes.append(codes[good])
        self._lines.append(chunk.lines[good])
        for role, values in numbers.items():
            self._numbers.setdefault(role, []).append(values[good])

    def rows(self, names: tuple[tuple[str, str, str], ...], symbols: tuple[str, ...]) -> Rows:
        ts_ns = np.concatenate(self._ts_ns)
        return Rows(
            ts_ns,
            {role: np.concatenate(values) for role, values in self._numbers.items()},
            np.concatenate(self._codes),
            np.full(len(ts_ns), self._index, dtype=np.int32),
            np.concatenate(self._lines),
            symbols,
            names,
        )

    def _read_numbers(self, chunk: Chunk, role: str, codes: Codes) -> tuple[Floats, Mask]:
        values, marks = chunk.columns[role], {"decimal": self._options.decimal, "thousands": self._options.thousands}
        if not is_number_type(values.type):
            raise DataError(
                f"{chunk.source}: column {chunk.names[role]!r} ({role}) must hold numbers, has type {values.type}"
            )
        numbers, bad = parse_numbers(values, **marks)
        if role == "volume" and bad.any() and self._options.allows("fill_volume"):
            empty = bad & _empty(values)
            for row in np.flatnonzero(empty):
                symbol = list(self._symbols)[codes[row]] if codes[row] >= 0 else "*"
                self._repairs.add(symbol, "fill_volume", place(self._source.said, chunk.unit, int(chunk.lines[row])))
            numbers, bad = np.where(empty, 0.0, numbers), bad & ~empty
        self._refuse(chunk, role, bad, lambda value: explain_number(value, **marks))
        return numbers, bad

    def _read_symbols(self, chunk: Chunk) -> tuple[Codes, Mask]:
        import pyarrow as pa
        import pyarrow.compute as pc

        n_rows = len(chunk.lines)
        if "symbol" not in chunk.columns:
            symbol = self._options.symbol or self._source.symbol
            problem = symbol_problem(symbol)
            if problem:
                raise InputError(f"{chunk.source}: the symbol {shown(symbol)} {problem}; pass symbol")
            return np.full(n_rows, self._code(symbol), dtype=np.int32), np.zeros(n_rows, dtype=bool)
        text = pc.utf8_trim(pc.fill_null(chunk.columns["symbol"].cast(pa.string()), ""), " \t")
        encoded = text.dictionary_encode()
        symbols = encoded.dictionary.to_pylist()
        if len(self._symbols) + len(symbols) > MAX_SYMBOLS:
            raise DataError(f"{chunk.source}: column {chunk.names['symbol']!r} names more than {MAX_SYMBOLS:,} symbols")
        of_chunk = np.array([-1 if symbol_problem(each) else self._code(each) for each in symbols], dtype=np.int32)
        codes = of_chunk[encoded.indices.to_numpy(zero_copy_only=False)]
        self._refuse(chunk, "symbol", codes < 0, lambda value: symbol_problem(str(value or "").strip(" \t")))
        return codes, codes < 0

    def _code(self, symbol: str) -> int:
        return self._symbols.setdefault(symbol, len(self._symbols))

    def _refuse(self, chunk: Chunk, role: str, bad: Mask, explain: Callable[[object], str]) -> None:
        """Name the unreadable values of a column, unless their rows will be left out."""
        if not bad.any() or self._options.allows("drop_invalid"):
            return
        name = chunk.names[role]
        called = role if name.lower() == role else f"{role} ({name!r})"
        for row in np.flatnonzero(bad):
            value = chunk.columns[role][int(row)].as_py()
            where = place(chunk.source, chunk.unit, int(chunk.lines[row]))
            self._problems.add(explain(value), where, f"{called} {shown(value)}")
            if self._problems.enough:
                return


def symbol_problem(symbol: str) -> str:
    """Say why a text can't be a symbol; nothing where it can."""
    if not symbol:
        return "is empty"
    if len(symbol) > MAX_SYMBOL:
        return f"is longer than {MAX_SYMBOL} characters"
    if not symbol.isprintable():
        return "has characters that can't be printed"
    if symbol != symbol.strip():
        return "begins or ends with a blank"
    return ""


def _joined_clock(chunk: Chunk) -> pa.Array:
    """Give the time column; where the time of day has a column of its own, both as one text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "clock" not in chunk.columns:
        return chunk.columns["time"]
    try:
        date, clock = (pc.utf8_trim(chunk.columns[role].cast(pa.string()), " \t") for role in ("time", "clock"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{chunk.source}: {chunk.names['time']!r} and {chunk.names['clock']!r} can't be joined: {error}"
        ) from error
    return pc.binary_join_element_wise(date, clock, " ")


def _empty(values: pa.Array) -> Mask:
    import pyarrow as pa
    import pyarrow.compute as pc

    empty = values.is_null(nan_is_null=pa.types.is_floating(values.type))
    if pa.types.is_string(values.type):
        empty = pc.or_(empty, pc.equal(pc.utf8_trim(pc.fill_null(values, ""), " \t"), ""))
    mask: Mask = empty.to_numpy(zero_copy_only=False).astype(bool)
    return mask


def _join(parts: list[tuple[Kind, Rows]], sources: Sequence[Source], symbols: tuple[str, ...]) -> Rows:
    kinds = {kind for kind, _ in parts}
    if len(kinds) > 1:
        first = {kind: sources[int(rows.source[0])].name for kind, rows in reversed(parts)}
        meaning = {"date": "dates", "local": "times without offset", "utc": "times with offset"}
        said = " and ".join(f"{meaning[kind]} ({first[kind]})" for kind in sorted(kinds))
        raise DataError(f"the sources have {said}; ingest them apart or give them one form")
    if len({tuple(sorted(rows.numbers)) for _, rows in parts}) > 1:
        with_role = next(sources[int(rows.source[0])].name for _, rows in parts if "adjusted_close" in rows.numbers)
        raise DataError(
            f"{with_role} has a column of adjusted closes, others have none; pass columns={{'adjusted_close': None}}"
        )
    last = len(symbols)
    ordered = sorted((rows for _, rows in parts), key=lambda rows: int(rows.ts_ns.min()))
    rows = concatenate([_of_all(rows, symbols) for rows in ordered])
    if last > 1:
        rows = rows.take(np.argsort(rows.symbol, kind="stable"))
    return rows


def _of_all(rows: Rows, symbols: tuple[str, ...]) -> Rows:
    """Give rows the symbols of all sources: codes only ever grew, so those of earlier sources still stand."""
    return Rows(rows.ts_ns, rows.numbers, rows.symbol, rows.source, rows.line, symbols, rows.sources)


def _said(repairs: Repairs) -> str:
    totals: dict[str, int] = {}
    for counts in repairs.counts.values():
        for policy, count in counts.items():
            totals[policy] = totals.get(policy, 0) + count
    return ", ".join(f"{policy} {count:,}" for policy, count in totals.items()) or "none"
