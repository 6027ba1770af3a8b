from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from datasets.catalog import Catalog
from datasets.ingest import BarOptions, ingest_sql
from datasets.store import Store
from quantbot.errors import DataError, InputError, NotFoundError, QuantBotError

_COLUMNS = "ts, symbol, open, high, low, close, volume"
OPTIONS: dict[str, Any] = {"columns": {"time": "ts"}, "zone": "UTC", "stamp": "end", "source": "test"}


def insert(connection: sqlalchemy.Connection, n_rows: int = 3) -> None:
    """Write minute bars of two symbols, newest first."""
    statement = sqlalchemy.text(f"INSERT INTO bars ({_COLUMNS}) VALUES (:ts, :symbol, '10.25', 11, 9.5, 10.5, :volume)")
    for minute in reversed(range(n_rows)):
        for symbol in ("A", "B"):
            connection.execute(statement, {"ts": f"2024-03-04 14:{minute:02d}:00", "symbol": symbol, "volume": minute})


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'market.db'}"
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(
            "CREATE TABLE bars (ts TEXT, symbol TEXT, open NUMERIC, high REAL, low REAL, close REAL, volume INTEGER)"
        ))  # fmt: skip
        insert(connection)
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a private PostgreSQL cluster on a Unix socket, with a password that must never be seen."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "/none")]
    if not programs[-1].exists():
        pytest.skip("no PostgreSQL here: apt-get install postgresql (.ci/run does)")
    folder = programs[-1].parent
    # The socket's path must be short (107 bytes), and readable by the server's user when the tests run as root.
    home = Path(subprocess.check_output(["mktemp", "-d", "/tmp/qbpg.XXXXXX"], text=True).strip())
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(home, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data, password = home / "data", home / "password"
    password.write_text("pass%word canary")
    password.chmod(0o644)

    def call(*command: str) -> None:
        done = subprocess.run([*as_user, *command], cwd="/", capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr + done.stdout

    try:
        call(
            str(folder / "initdb"), "-D", str(data), "-U", "reader", "-A", "scram-sha-256", f"--pwfile={password}", "-N"
        )
        settings = f"-c listen_addresses='' -c unix_socket_directories={home} -c fsync=off"
        call(str(folder / "pg_ctl"), "-D", str(data), "-w", "-l", str(home / "log"), "-o", settings, "start")
        yield f"postgresql+psycopg://reader:pass%25word+canary@/postgres?host={home}"
    finally:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            call(str(folder / "pg_ctl"), "-D", str(data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: str) -> str:
    url = postgres.replace("+canary", "%20canary")
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for statement in (
            "DROP TABLE IF EXISTS bars",
            "CREATE TABLE bars (ts timestamp, symbol text, open numeric(12, 4), high double precision, low real, "
            "close double precision, volume bigint)",
        ):
            connection.execute(sqlalchemy.text(statement))
        insert(connection)
    engine.dispose()
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    of_database: str = request.getfixturevalue(f"{request.param}_url")
    return of_database


def change(url: str, statement: str) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def ingest(root: Store, url: str, query: str, **options: Any) -> Any:
    return ingest_sql(root, "test/bars", url, query, BarOptions(**(OPTIONS | options))).dataset


@pytest.mark.parametrize("query", ["bars", f"SELECT {_COLUMNS} FROM bars", "SELECT * FROM bars ORDER BY ts DESC;"])
def test_ingest_sql__reads_tables_and_queries(root: Store, url: str, query: str) -> None:
    dataset = ingest(root, url, query)
    assert dataset.assets == ("A", "B")
    bars = dataset.bars("A")
    assert bars.open.tolist() == [10.25] * 3
    assert bars.volume.tolist() == [0.0, 1.0, 2.0]
    assert bars.ts_end_ns[0] == 1709560800 * 10**9


def test_ingest_sql__gives_one_version_from_any_database(root: Store, sqlite_url: str, postgres_url: str) -> None:
    assert ingest(root, sqlite_url, "bars").version == ingest(root, postgres_url, "bars").version


def test_ingest_sql__keeps_the_meaning_of_colons_and_percents(root: Store, postgres_url: str) -> None:
    query = (
        "SELECT ts::timestamptz AS ts, open, high, low, close, volume FROM bars WHERE symbol LIKE 'A%' AND 5 % 3 = 2"
    )
    assert len(ingest(root, postgres_url, query, symbol="A").bars("A")) == 3


BAD_ROWS = [
    ("UPDATE bars SET close = NULL WHERE volume = 1 AND symbol = 'B'", "close None is empty (null)"),
    ("UPDATE bars SET close = 99 WHERE volume = 1", "close 99.0 (low 9.5, high 11.0) is outside [low, high]"),
    ("UPDATE bars SET volume = -1 WHERE volume = 1", "volume -1.0 is negative"),
    ("UPDATE bars SET high = 'Infinity' WHERE volume = 1", "high "),
    ("INSERT INTO bars SELECT * FROM bars WHERE symbol = 'A'", "occurs twice"),
    ("UPDATE bars SET symbol = NULL WHERE volume = 1", "symbol None is empty"),
    ("DELETE FROM bars", "has no rows"),
]


@pytest.mark.parametrize(("statement", "message"), BAD_ROWS, ids=[statement for statement, _ in BAD_ROWS])
def test_ingest_sql__names_row_field_value_and_rule(root: Store, url: str, statement: str, message: str) -> None:
    change(url, statement)
    with pytest.raises(DataError) as caught:
        ingest(root, url, "SELECT * FROM bars ORDER BY symbol, ts")
    assert message in str(caught.value)
    assert "SELECT * FROM bars" in str(caught.value)
    assert Catalog(root).names() == []


def test_ingest_sql__counts_rows_of_the_result(root: Store, url: str) -> None:
    change(url, "UPDATE bars SET close = NULL WHERE volume = 1 AND symbol = 'B'")
    with pytest.raises(DataError, match="row 5: close None is empty"):
        ingest(root, url, "SELECT * FROM bars ORDER BY symbol, ts")


def test_ingest_sql__writes_nothing_to_the_database(root: Store, url: str) -> None:
    with pytest.raises(DataError, match="the database refused: "):
        ingest(root, url, "DELETE FROM bars WHERE 1 = 1")
    assert len(ingest(root, url, "bars").bars("A")) == 3


def test_ingest_sql__streams_more_rows_than_a_chunk(root: Store, tmp_path: Path) -> None:
    n_rows = 120_000
    with contextlib.closing(sqlite3.connect(tmp_path / "big.db")) as connection:
        connection.execute("CREATE TABLE bars (ts INTEGER, open, high, low, close, volume)")
        rows = ((1_600_000_000 + 60 * at, 10.5, 11, 10, 10.25, at) for at in range(n_rows))
        connection.executemany("INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    dataset = ingest(root, f"sqlite:///{tmp_path / 'big.db'}", "bars", symbol="X")
    assert dataset.bars("X").volume.tolist() == list(range(n_rows))


def test_ingest_sql__never_shows_a_password(root: Store, postgres_url: str) -> None:
    wrong = postgres_url.replace("pass%25word", "secret%25canary")
    for url, query in (
        (postgres_url, "SELECT * FROM nowhere"),
        (postgres_url, "SELECT ts FROM bars"),
        (wrong, "bars"),
        (wrong.replace("/postgres?", ":99999/postgres?"), "bars"),
        (wrong.replace("postgresql+psycopg", "nodatabase"), "bars"),
        (wrong.replace("+psycopg", "+nodriver"), "bars"),
    ):
        with pytest.raises(QuantBotError) as caught:
            ingest(root, url, query)
        seen = "".join(traceback.format_exception(caught.value))
        assert "canary" not in seen, seen


def test_ingest_sql__keeps_the_password_out_of_the_dataset(root: Store, postgres_url: str) -> None:
    dataset = ingest(root, postgres_url, "bars", source="", title="")
    assert "canary" not in str(dataset.meta.to_dict()) + str(dataset.quality)
    assert dataset.meta.source == "postgresql:postgres: bars"


@pytest.mark.parametrize(
    ("url", "query", "kind", "message"),
    [
        ("sqlite:////nowhere/market.db", "bars", NotFoundError, "is not there: no SQLite database"),
        ("no url at all", "bars", InputError, "is no SQLAlchemy URL"),
        ("oracle://h/db", "bars", InputError, "needs a driver that is not installed"),
        ("cobol://h/db", "bars", InputError, "SQLAlchemy knows no database 'cobol'"),
    ],
)
def test_ingest_sql__refuses_an_unusable_url(
    root: Store, url: str, query: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        ingest(root, url, query)


def test_ingest_sql__refuses_an_empty_query_and_a_missing_table(root: Store, sqlite_url: str) -> None:
    with pytest.raises(InputError, match="the query is empty"):
        ingest(root, sqlite_url, " ; ")
    with pytest.raises(DataError, match="no such table: bras"):
        ingest(root, sqlite_url, "bras")
    with pytest.raises(DataError, match=r"has no column for open.*there are 'ts', 'close'"):
        ingest(root, sqlite_url, "SELECT ts, close FROM bars")


def test_ingest_sql__does_not_read_a_table_named_like_an_injection(root: Store, sqlite_url: str) -> None:
    with pytest.raises(DataError, match="no such table"):
        ingest(root, sqlite_url, 'bars";DROP"TABLE"bars')
    assert len(ingest(root, sqlite_url, "bars").bars("A")) == 3
