from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from datasets.catalog import Catalog
from datasets.ingest import BarOptions, ingest_csv, ingest_parquet
from datasets.store import Store
from quantbot.errors import DataError

Write = Callable[..., Path]


def table(**changed: pa.Array) -> pa.Table:
    """Five minute bars, Monday 4 March 2024 from 14:30 UTC on, with some columns replaced."""
    times = [datetime(2024, 3, 4, 14, 30 + minute, tzinfo=UTC) for minute in range(5)]
    columns: dict[str, Any] = {
        "time": pa.array(times, pa.timestamp("ns", "UTC")),
        "open": [10.1, 10.2, 10.3, 10.4, 10.5],
        "high": [11.0] * 5,
        "low": [9.0] * 5,
        "close": [10.0] * 5,
        "volume": [100, 200, 300, 400, 500],
    }
    return pa.table(columns | changed)


def save(tmp_path: Path, content: pa.Table, **how: Any) -> Path:
    path = tmp_path / "bars.parquet"
    parquet.write_table(content, path, **how)
    return path


def ingest(root: Store, path: Path, **options: Any) -> Any:
    options = {"stamp": "end", "source": "test", "symbol": "X", "zone": "America/New_York", **options}
    return ingest_parquet(root, "test/bars", path, BarOptions(**options)).dataset


def test_ingest_parquet__and_csv_give_one_version(root: Store, tmp_path: Path, write: Write) -> None:
    lines = ["time,open,high,low,close,volume"]
    lines += [f"2024-03-04T14:{30 + at}Z,10.{at + 1},11,9,10,{at + 1}00" for at in range(5)]
    options = BarOptions(stamp="end", source="test", symbol="X", zone="America/New_York")
    of_csv = ingest_csv(root, "test/bars", write(lines), options).dataset
    assert ingest(root, save(tmp_path, table())).version == of_csv.version


MINUTES = [datetime(2024, 3, 4, 14, 30 + minute) for minute in range(5)]  # noqa: DTZ001 - a wall clock's times
EPOCH = [1709562600 + 60 * minute for minute in range(5)]
SAME_TIMES = [
    (pa.array(MINUTES, pa.timestamp("ms")), {"zone": "UTC"}),
    (pa.array(MINUTES, pa.timestamp("us", "America/New_York")), {}),
    (pa.array([each.isoformat() for each in MINUTES]), {"zone": "UTC"}),
    (pa.array(EPOCH, pa.int64()), {}),
    (pa.array([each * 1000 for each in EPOCH], pa.uint64()), {}),
    (pa.array([each.isoformat() + "Z" for each in MINUTES]).dictionary_encode(), {}),
    (pa.array([each.isoformat() + "Z" for each in MINUTES], pa.large_string()), {}),
]


@pytest.mark.parametrize(("times", "options"), SAME_TIMES, ids=[str(times.type) for times, _ in SAME_TIMES])
def test_ingest_parquet__reads_times_of_any_type(
    root: Store, tmp_path: Path, times: pa.Array, options: dict[str, Any]
) -> None:
    expected = ingest(root, save(tmp_path, table())).bars("X").ts_end_ns.tolist()
    assert ingest(root, save(tmp_path, table(time=times)), **options).bars("X").ts_end_ns.tolist() == expected


def test_ingest_parquet__reads_dates(root: Store, tmp_path: Path) -> None:
    dates = pa.array([date(2024, 3, day) for day in range(4, 9)])
    for type_ in (pa.date32(), pa.date64()):
        dataset = ingest(root, save(tmp_path, table(time=dates.cast(type_))), zone=None, calendar="XNYS")
        assert dataset.meta.interval == "1d"
        assert dataset.bars("X").ts_end_ns[0] == 1709586000 * 10**9  # 16:00 in New York


SAME_PRICES = [
    pa.array([Decimal(f"10.{digit}") for digit in range(1, 6)]),
    pa.array([Decimal(f"10.{digit}") for digit in range(1, 6)], pa.decimal256(50, 20)),
    pa.array(["10.1", " 10.2", "1.03e1", "10.4", "10.50"]),
    pa.array(["10.1", "10.2", "10.3", "10.4", "10.5"]).dictionary_encode(),
]  # fmt: skip


@pytest.mark.parametrize("prices", SAME_PRICES, ids=[str(prices.type)[:30] for prices in SAME_PRICES])
def test_ingest_parquet__reads_prices_of_any_type(root: Store, tmp_path: Path, prices: pa.Array) -> None:
    bars = ingest(root, save(tmp_path, table(open=prices))).bars("X")
    assert bars.open.tolist() == [10.1, 10.2, 10.3, 10.4, 10.5]


BAD_COLUMNS = [
    ({"open": pa.array([10.0, 10.0, None, 10.0, 10.0])}, "row 3: open None is empty (null)"),
    ({"volume": pa.array([1, 1, None, 1, 1])}, "row 3: volume None is empty (null)"),
    ({"time": pa.array([None] * 5, pa.timestamp("ns", "UTC"))}, "row 1: time None is empty"),
    ({"close": pa.array([10.0, float("nan"), 10.0, 10.0, 10.0])}, "row 2: close nan is not a finite number"),
    ({"high": pa.array([11.0, float("inf"), 11.0, 11.0, 11.0])}, "row 2: high inf is not a finite number"),
    ({"high": pa.array(["11", "1,000.5", "11", "11", "11"])}, "row 2: high '1,000.5' has a separator ','"),
    ({"high": pa.array([True] * 5)}, "column 'high' (high) must hold numbers, has type bool"),
    ({"high": pa.array([[1.0]] * 5)}, "column 'high' (high) is nested: list<"),
    ({"high": pa.array([b"11"] * 5)}, "column 'high' (high) must hold numbers, has type binary"),
    ({"low": pa.array([9.0, 12.0, 9.0, 9.0, 9.0])}, "row 2: high 11.0 (low 12.0) is below low"),
    ({"time": pa.array(EPOCH[::-1])}, "row 2: time 2024-03-04T14:33Z is earlier than the row before it"),
    ({"time": pa.array([EPOCH[0]] * 5)}, "pass interval"),
    ({"time": pa.array([2.0**70] * 5)}, "row 1: time"),
]


@pytest.mark.parametrize(("changed", "message"), BAD_COLUMNS, ids=[message for _, message in BAD_COLUMNS])
def test_ingest_parquet__names_row_field_value_and_rule(
    root: Store, tmp_path: Path, changed: dict[str, pa.Array], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        ingest(root, save(tmp_path, table(**changed)))
    assert message in str(caught.value)
    assert "bars.parquet" in str(caught.value)
    assert Catalog(root).names() == []


def test_ingest_parquet__counts_rows_across_batches(root: Store, tmp_path: Path) -> None:
    n_rows = 300_000
    values = pa.array([10.0] * 249_999 + [float("nan")] + [10.0] * (n_rows - 250_000))
    content = pa.table(
        {"time": range(10**9, 10**9 + n_rows), **dict.fromkeys(("open", "high", "low", "close", "volume"), values)}
    )
    with pytest.raises(DataError, match="row 250000: open nan is not a finite number"):
        ingest(root, save(tmp_path, content))


def test_ingest_parquet__reads_feather_too(root: Store, tmp_path: Path) -> None:
    plain = ingest(root, save(tmp_path, table()))
    for compression in ("lz4", "zstd", "uncompressed"):
        path = tmp_path / "bars.feather"
        feather.write_feather(table(), path, compression=compression)
        assert ingest(root, path).version == plain.version


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"time,open\n", "is no Parquet file: it begins with b'time'"),
        (b"PAR1", "is damaged"),
        (b"PAR1" + b"\0" * 100 + b"PAR1", "is damaged"),
        (b"ARROW1\0\0" + b"\0" * 100, "is damaged"),
    ],
)
def test_ingest_parquet__says_what_a_file_is(root: Store, write: Write, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ingest(root, write(content, "bars.parquet"))


def test_ingest_parquet__refuses_a_cut_file(root: Store, tmp_path: Path) -> None:
    path = save(tmp_path, table())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"bars\.parquet is damaged"):
        ingest(root, path)


def test_ingest_parquet__finds_a_flipped_bit_by_checksum(root: Store, tmp_path: Path) -> None:
    path = save(
        tmp_path, table(), write_page_checksum=True, compression="none", use_dictionary=False, write_statistics=False
    )
    data = bytearray(path.read_bytes())
    at = data.index(b"\x33\x33\x33\x33\x33\x33\x24\x40")  # 10.1 as float64
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="CRC"):
        ingest(root, path)


def test_ingest_parquet__limits_rows_and_bytes_before_reading(root: Store, tmp_path: Path) -> None:
    path = save(tmp_path, table())
    with pytest.raises(DataError, match="says that it holds 5 rows; at most 4"):
        ingest(root, path, max_rows=4)
    with pytest.raises(DataError, match="bytes; at most 10 are read"):
        ingest(root, path, max_bytes=10)
