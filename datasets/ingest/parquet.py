"""Parquet and Feather: typed columns under the same rules as text, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets.ingest.columns import choose_columns
from datasets.ingest.files import list_files, stem
from datasets.ingest.options import BarOptions
from datasets.ingest.table import Chunk, Problems
from quantbot.errors import DataError, InputError, QuantBotError

if TYPE_CHECKING:
    import pyarrow as pa

    from datasets.ingest.bars import IngestResult
    from datasets.ingest.reading import Source
    from datasets.store import Store

BATCH_ROWS = 1 << 17
MAX_COLUMNS = 4096
# Of the file's own description: a few bytes that claim more are refused before anything is allocated.
_MAX_METADATA_TEXT, _MAX_METADATA_ITEMS = 64 << 20, 1_000_000


def ingest_parquet(
    root: Store,
    name: str,
    paths: str | Path | Iterable[str | Path],
    options: BarOptions | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> IngestResult:
    """Read Parquet (or Feather) files into the dataset `name`: all of them checked before anything is written.

    Timestamps with a zone are moments, those without are local to ``options.zone``, dates name their day; integers are
    counts since 1970. Prices may be integers, floats, decimals or text. A null is refused like an empty cell, and
    messages count rows from 1.

    Parameters and errors are those of `ingest_csv`.
    """
    from datasets.ingest.bars import ingest_sources

    options = options or BarOptions()
    files = list_files(paths)
    return ingest_sources(root, name, [ParquetReader(path, options).source() for path in files], options, progress)


@dataclass(frozen=True)
class ParquetReader:
    """Reads one file, batch by batch."""

    path: Path
    options: BarOptions

    def source(self, symbol: str | None = None) -> Source:
        """Give the file as a source; the symbol of its rows, where nothing else names one, is the file's name."""
        from datasets.ingest.reading import Source

        size = self.path.stat().st_size
        return Source(str(self.path), "row", symbol or stem(self.path), size, self, origin=self.path.name)

    def __call__(self, problems: Problems) -> Iterator[Chunk]:
        """Yield the rows with the roles' columns as they are typed."""
        try:
            yield from self._chunks()
        except (QuantBotError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except MemoryError as error:
            raise DataError(f"{self.path} needs more memory than there is: damaged, or too large") from error
        except BaseException as error:  # a decoder written in another language may raise a kind that is no Exception
            raise DataError(f"{self.path} is damaged: {type(error).__name__}: {str(error)[:200]}") from error

    def _chunks(self) -> Iterator[Chunk]:
        n_rows = 0
        chosen: dict[str, int] = {}
        names: dict[str, str] = {}
        for batch in self._batches():
            if not names:
                chosen = choose_columns(str(self.path), list(batch.schema.names), len(batch.schema.names), self.options)
                names = {role: batch.schema.names[at] for role, at in chosen.items()}
            columns = {role: batch.column(at) for role, at in chosen.items()}
            for column in columns.values():
                column.validate(full=True)  # offsets and text of a damaged file may point anywhere
            lines = np.arange(n_rows + 1, n_rows + len(batch) + 1, dtype=np.int64)
            n_rows += len(batch)
            yield Chunk(str(self.path), "row", columns, names, lines)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            with self.path.open("rb") as source:
                head = source.read(8)
        except OSError as error:
            raise InputError(f"{self.path} can't be opened: {error.strerror}") from error
        if not head:
            raise DataError(f"{self.path} is empty")
        if head.startswith(b"ARROW1"):
            yield from self._feather_batches()
        elif head.startswith(b"PAR1"):
            yield from self._parquet_batches()
        else:
            raise DataError(f"{self.path} is no Parquet file: it begins with {head[:4]!r}, not with b'PAR1'")

    def _parquet_batches(self) -> Iterator[pa.RecordBatch]:
        from pyarrow import parquet

        file = parquet.ParquetFile(
            self.path,
            thrift_string_size_limit=_MAX_METADATA_TEXT,
            thrift_container_size_limit=_MAX_METADATA_ITEMS,
            page_checksum_verification=True,
        )
        with file:
            about = file.metadata
            self._limit(about.num_columns, about.num_rows, _n_bytes(about))
            schema = file.schema_arrow
            chosen = choose_columns(str(self.path), schema.names, len(schema.names), self.options)
            self._refuse_nested(schema, chosen)
            wanted = sorted({schema.names[at] for at in chosen.values()})
            if len(set(schema.names)) != len(schema.names):  # unnamed twins: only positions tell them apart
                wanted = list(schema.names)
            yield from file.iter_batches(batch_size=BATCH_ROWS, columns=wanted, use_threads=False)

    def _feather_batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        n_rows = 0
        with pa.OSFile(str(self.path)) as source, pa.ipc.open_file(source) as file:
            schema = file.schema
            self._limit(len(schema.names), 0, self.path.stat().st_size)
            self._refuse_nested(schema, choose_columns(str(self.path), schema.names, len(schema.names), self.options))
            for index in range(file.num_record_batches):
                batch = file.get_batch(index)
                n_rows += len(batch)
                self._limit(len(schema.names), n_rows, batch.nbytes)
                yield batch

    def _limit(self, n_columns: int, n_rows: int, n_bytes: int) -> None:
        options = self.options
        for what, found, limit in (
            ("columns", n_columns, MAX_COLUMNS),
            ("rows", n_rows, options.max_rows),
            ("bytes", n_bytes, options.max_bytes),
        ):
            if not 0 <= found <= limit:
                raise DataError(
                    f"{self.path} says that it holds {found:,} {what}; at most {limit:,} are read (max_{what})"
                )

    def _refuse_nested(self, schema: Any, chosen: dict[str, int]) -> None:
        import pyarrow as pa

        for role, at in chosen.items():
            if pa.types.is_nested(schema.types[at]):
                raise DataError(f"{self.path}: column {schema.names[at]!r} ({role}) is nested: {schema.types[at]}")


def _n_bytes(about: Any) -> int:
    """Sum what the row groups say that they unpack to."""
    return sum(about.row_group(index).total_byte_size for index in range(about.num_row_groups))
