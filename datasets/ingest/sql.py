"""SQL: the rows of a query or table of any database that SQLAlchemy reaches (extra `sql`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import numpy as np

from datasets.ingest.columns import choose_columns
from datasets.ingest.options import BarOptions
from datasets.ingest.table import Chunk, Problems
from quantbot.errors import DataError, InputError, NotFoundError, QuantBotError

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import URL, Connection, Engine

    from datasets.ingest.bars import IngestResult
    from datasets.store import Store

CHUNK_ROWS = 50_000


def ingest_sql(
    root: Store,
    name: str,
    url: str,
    query: str,
    options: BarOptions | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> IngestResult:
    """Read the rows of a query into the dataset `name`: all of them checked before anything is written.

    The order of the rows means nothing (a query without ORDER BY has none) and they are sorted by time; two rows of one
    symbol and time are refused as in files. Messages count rows of the result from 1. A password never appears in
    messages or in the dataset.

    Parameters
    ----------
    url
        An SQLAlchemy URL, such as ``sqlite:///bars.db`` or ``postgresql+psycopg://reader@host/market``.
    query
        A SELECT, or the name of a table (``bars`` or ``market.bars``). The connection is read-only where the database
        can be told so (PostgreSQL, SQLite).

    Raises
    ------
    DataError
        If a row breaks a rule, or the query fails; the message names row, field, value and rule.
    InputError
        If the URL is unusable, its driver is missing, or the options don't fit the result.
    NotFoundError
        If an SQLite file is not there.
    """
    from datasets.ingest.bars import ingest_sources
    from datasets.ingest.reading import Source

    options = options or BarOptions()
    reader = SqlReader(url, query, options)
    source = Source(reader.label, "row", options.symbol or "", 0, reader, ordered=False)
    return ingest_sources(root, name, [source], options, progress)


@dataclass(frozen=True, repr=False)
class SqlReader:
    """Reads the rows of one query, streamed; its text never shows the URL's secrets."""

    url: str
    query: str
    options: BarOptions

    @property
    def label(self) -> str:
        """What messages call it: the database without user, password and parameters, and the query's beginning."""
        parsed = _parse(self.url)
        host = f"{parsed.host}/" if parsed.host else ""
        database = parsed.database or ""
        if parsed.get_backend_name() == "sqlite":
            database = Path(database).name
        query = " ".join(self.query.split())
        return f"{parsed.get_backend_name()}:{host}{database}: {query if len(query) <= 80 else query[:77] + '...'}"

    def __call__(self, problems: Problems) -> Iterator[Chunk]:
        """Yield the rows with the roles' columns as Arrow arrays."""
        del problems  # a result has no lines of another width
        parsed = _parse(self.url)
        failure: QuantBotError | None = None
        try:
            engine = _engine(parsed)
            try:
                with engine.connect() as connection:
                    yield from self._chunks(connection)
            finally:
                engine.dispose()
        except (QuantBotError, GeneratorExit, KeyboardInterrupt, SystemExit):
            raise
        except Exception as error:  # drivers raise kinds of their own
            reason = str(getattr(error, "orig", None) or error)
            failure = DataError(f"{self.label}: the database refused: {_without_secrets(reason, parsed)}")
        if failure is not None:
            raise failure  # outside the handler, so that no traceback carries the driver's own text

    def _chunks(self, connection: Connection) -> Iterator[Chunk]:
        _read_only(connection)
        streaming = connection.execution_options(stream_results=True, max_row_buffer=CHUNK_ROWS)
        with streaming.execute(self._statement()) as result:  # closes the cursor also where a column is missing
            if not result.returns_rows:
                raise InputError(f"{self.label}: the statement returns no rows; it must be a SELECT")
            headings = list(result.keys())
            chosen = choose_columns(self.label, headings, len(headings), self.options)
            names = {role: headings[at] for role, at in chosen.items()}
            n_rows = 0
            for rows in result.partitions(CHUNK_ROWS):
                by_column = list(zip(*rows, strict=True))
                lines = np.arange(n_rows + 1, n_rows + len(rows) + 1, dtype=np.int64)
                columns = {
                    role: _to_arrow(by_column[at], self.label, role, headings[at], n_rows)
                    for role, at in chosen.items()
                }
                n_rows += len(rows)
                yield Chunk(self.label, "row", columns, names, lines)

    def _statement(self) -> Any:
        import sqlalchemy

        query = self.query.strip().rstrip(";")
        if not query:
            raise InputError("the query is empty: give a SELECT or the name of a table")
        if len(query.split()) > 1:
            # A colon in a query is no parameter of ours (PostgreSQL's casts are written ::).
            return sqlalchemy.text(query.replace(":", "\\:"))
        schema, _, table = query.rpartition(".")
        return sqlalchemy.select(sqlalchemy.text("*")).select_from(sqlalchemy.table(table, schema=schema or None))


def _parse(url: str) -> URL:
    try:
        import sqlalchemy
    except ImportError as error:
        raise InputError("reading a database needs the package sqlalchemy: install quantbot[sql]") from error
    parsed: URL | None = None
    try:
        parsed = sqlalchemy.make_url(url)
        parsed.get_backend_name()
    except Exception:  # whose text may hold the URL
        parsed = None
    if parsed is None:
        raise InputError(
            "the database's address is no SQLAlchemy URL, such as sqlite:///bars.db or postgresql+psycopg://reader@host/market"
        )
    return parsed


def _engine(parsed: URL) -> Engine:
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        path = str(parsed.database).removeprefix("file:").partition("?")[0]
        if not Path(path).is_file():  # sqlite would make an empty database of that name
            raise NotFoundError(f"{path} is not there: no SQLite database to read")
    try:
        engine = sqlalchemy.create_engine(parsed, poolclass=NullPool, hide_parameters=True)
    except ImportError as error:
        raise InputError(f"{parsed.drivername} needs a driver that is not installed: {error.name}") from None
    except sqlalchemy.exc.NoSuchModuleError:
        raise InputError(f"SQLAlchemy knows no database {parsed.drivername!r}; install its dialect") from None
    sqlalchemy.event.listen(engine, "handle_error", _close_cursor)
    return engine


def _close_cursor(context: Any) -> None:
    """Close the cursor of a statement that failed: SQLAlchemy 2.1 leaves psycopg's server-side one open."""
    cursor = getattr(context.execution_context, "cursor", None)
    if cursor is not None:
        with suppress(Exception):
            cursor.close()


def _read_only(connection: Connection) -> None:
    backend = connection.dialect.name
    if backend == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    elif backend == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")


def _without_secrets(text: str, parsed: URL) -> str:
    """Cross out the password and the values of the URL's parameters, however they are spelled."""
    secrets = [str(parsed.password or "")]
    for value in parsed.query.values():
        secrets += [value] if isinstance(value, str) else list(value)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for spelling in {secret, quote(secret, safe=""), quote_plus(secret)}:
            text = text.replace(spelling, "***")
    return " ".join(text.split())[:500]


def _to_arrow(values: tuple[Any, ...], label: str, role: str, heading: str, n_before: int) -> pa.Array:
    """Give one column of Python values as text or a type that the rules know; None stays null."""
    import pyarrow as pa

    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {float}:
        return pa.array(values, pa.float64())
    if kinds <= {int, float, Decimal, str, np.float64} and role not in ("symbol", "time", "clock"):
        # repr of a float gives that very float again; a Decimal's text is exact.
        return pa.array(
            [
                None
                if value is None
                else value
                if isinstance(value, str)
                else repr(value)
                if isinstance(value, float)
                else str(value)
                for value in values
            ],
            pa.string(),
        )
    if role in ("time", "clock") and kinds <= {datetime}:
        return _datetimes(values, label, heading, n_before)
    if role == "time" and kinds <= {date}:
        return pa.array(values, pa.date32())
    if kinds <= {str, int} or role == "clock":
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    named = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(f"{label}: column {heading!r} ({role}) holds {named}, which can't be read as {role}")


def _datetimes(values: tuple[Any, ...], label: str, heading: str, n_before: int) -> pa.Array:
    import pyarrow as pa

    aware = {value.tzinfo is not None for value in values if value is not None}
    if len(aware) > 1:
        row = next(
            at for at, value in enumerate(values) if value is not None and (value.tzinfo is None) == (True in aware)
        )
        raise DataError(
            f"{label}, row {n_before + row + 1}: time ({heading!r}) is with offset in some rows and without in others"
        )
    if aware == {True}:
        values = tuple(None if value is None else value.astimezone(UTC) for value in values)
        return pa.array(values, pa.timestamp("us", "UTC"))
    return pa.array(values, pa.timestamp("us"))
