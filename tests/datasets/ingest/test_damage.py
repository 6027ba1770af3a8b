"""More than a thousand damaged files: each ends in a typed error or in a whole dataset, in bounded time."""

from __future__ import annotations

import gzip
import io
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from datasets.catalog import Catalog
from datasets.ingest import BarOptions, IngestResult, ingest_csv, ingest_parquet
from datasets.store import open_store
from quantbot.errors import QuantBotError
from quantbot.market import Bars

N_CSV = 650
N_PARQUET = 550
LONGEST_SECONDS = 10.0  # on a busy machine; the median is milliseconds

Ingest = Callable[..., IngestResult]
Damage = Callable[[random.Random, bytes], bytes]

NASTY = [
    "", " ", "\t", '"', '""', '"x', ",", ",,,,,,,,", "\r", "\0", "\u22121", "1e400", "-1e400", "1e-400", "nan", "-inf",
    "0x1F", "1_0", "1,234.5", "9" * 400, "-0.0", "\u0661", "\uff11", "\u200b1", "\ufeff", "2024-02-30", "24:00",
    "0000-00-00", "9999-12-31", "99999999999999999999", "-9223372036854775808", "1e308", "1.7976931348623157e308",
    "5e-324", "null", "None", "=1+1", "../../etc/passwd", "a" * 70_000, "\U0001f4a9", "\u202e", "%s%n", "True",
    "2024-03-10 02:30", "2024-11-03 01:30", "1709562600",
]  # fmt: skip


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))] if rng.random() < 0.7 else data[rng.randrange(len(data)) :]


def repeat_part(rng: random.Random, data: bytes) -> bytes:
    start, length = rng.randrange(len(data)), rng.choice([1, 7, 100, 1000])
    return data[: start + length] + data[start : start + length] * rng.choice([1, 3]) + data[start + length :]


def overwrite(rng: random.Random, data: bytes) -> bytes:
    at, noise = rng.randrange(len(data)), rng.randbytes(rng.choice([1, 4, 30]))
    return data[:at] + rng.choice([noise, b"\0" * len(noise), b"\xff" * len(noise)]) + data[at + len(noise) :]


def change_cell(rng: random.Random, data: bytes) -> bytes:
    lines = data.decode("utf-8", "replace").split("\n")
    row = rng.randrange(len(lines))
    cells = lines[row].split(",")
    cells[rng.randrange(len(cells))] = rng.choice(NASTY)
    lines[row] = ",".join(cells)
    return "\n".join(lines).encode("utf-8", "replace")


def add_or_drop_a_cell(rng: random.Random, data: bytes) -> bytes:
    lines = data.decode("utf-8", "replace").split("\n")
    row = rng.randrange(len(lines))
    cells = lines[row].split(",")
    if rng.random() < 0.5:
        cells.insert(rng.randrange(len(cells) + 1), rng.choice(NASTY))
    else:
        cells.pop(rng.randrange(len(cells)))
    lines[row] = ",".join(cells)
    return "\n".join(lines).encode("utf-8", "replace")


def swap_lines(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def damage_header(rng: random.Random, data: bytes) -> bytes:
    header, _, rest = data.partition(b"\n")
    words = header.split(b",")
    rng.shuffle(words)
    if rng.random() < 0.7:
        words[rng.randrange(len(words))] = rng.choice(NASTY).encode("utf-8", "replace")
    return b",".join(words) + b"\n" + rest


def change_encoding(rng: random.Random, data: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(rng.choice(["utf-16", "utf-16-be", "utf-32", "utf-8-sig", "cp037"]), "replace")


def change_line_ends(rng: random.Random, data: bytes) -> bytes:
    return data.replace(
        b"\n", rng.choice([b"\r", b"\r\n", b"\n\n", b"\r\r\n", b"\x0b", b"\x1e"]), rng.choice([1, 5, -1])
    )


def pack(rng: random.Random, data: bytes) -> bytes:
    packed = gzip.compress(data, mtime=0)
    return rng.choice([flip_bits, cut, overwrite])(rng, packed)


BYTES: list[Damage] = [flip_bits, cut, repeat_part, overwrite]
TEXT: list[Damage] = [
    *[change_cell] * 3, add_or_drop_a_cell, swap_lines, damage_header, change_encoding, change_line_ends, pack,
]  # fmt: skip


def damaged(rng: random.Random, data: bytes, ways: list[Damage]) -> bytes:
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = rng.choice(ways)(rng, data) or b"\n"
    return data


def clean_bars(rng: random.Random) -> dict[str, list[Any]]:
    n_rows = rng.choice([2, 20, 60])
    start = datetime(2024, rng.choice([3, 11]), 2, tzinfo=UTC)
    step = rng.choice([timedelta(days=1), timedelta(minutes=30)])
    close = [round(100 + rng.gauss(0, 1), 2) for _ in range(n_rows)]
    return {
        "time": [start + at * step for at in range(n_rows)],
        "open": close,
        "high": [each + 1 for each in close],
        "low": [each - 1 for each in close],
        "close": close,
        "volume": [rng.randrange(10**6) for _ in range(n_rows)],
        "symbol": [rng.choice("AB") for _ in range(n_rows)],
    }


def as_csv(rng: random.Random) -> bytes:
    bars = clean_bars(rng)
    form = rng.choice(["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"])
    quote = rng.choice(["", "", '"'])
    names = [name for name in bars if name != "symbol" or rng.random() < 0.5]
    lines = [",".join(names)]
    for at, moment in enumerate(bars["time"]):
        cells = [moment.strftime(form), *(str(bars[name][at]) for name in names[1:])]
        lines.append(",".join(f"{quote}{cell}{quote}" for cell in cells))
    return ("\n".join(lines) + "\n").encode()


def as_parquet(rng: random.Random) -> bytes:
    table = pa.table(clean_bars(rng))
    sink = io.BytesIO()
    if rng.random() < 0.25:
        feather.write_feather(table, sink, compression=rng.choice(["lz4", "zstd", "uncompressed"]))
        return sink.getvalue()
    parquet.write_table(
        table, sink,
        compression=rng.choice(["none", "snappy", "gzip", "zstd", "lz4", "brotli"]),
        use_dictionary=rng.random() < 0.5,
        data_page_version=rng.choice(["1.0", "2.0"]),
        write_page_checksum=rng.random() < 0.2,
        row_group_size=rng.choice([7, 1000]),
    )  # fmt: skip
    return sink.getvalue()


def some_options(rng: random.Random) -> BarOptions:
    repairs = ["sort", "drop_duplicates", "drop_invalid", "widen_range", "fill_volume", "dst_shift", "dst_first"]
    return BarOptions(
        zone=rng.choice(["UTC", "America/New_York"]),
        stamp=rng.choice(["start", "end"]),
        interval=rng.choice([None, None, "1d"]),
        repair=tuple(rng.sample(repairs, rng.choice([0, 1, 4, 7]))),
        calendar=rng.choice([None] * 5 + ["XNYS", "24/7"]),
    )


def run(ingest: Ingest, content: bytes, options: BarOptions, folder: Path, label: str) -> str:
    """Ingest one damaged file into a store of its own; give the kind of end, or fail."""
    path, root = folder / "bars.raw", open_store(folder / f"store-{label}")
    path.write_bytes(content)
    started = time.monotonic()
    refusal, result = None, None
    try:
        result = ingest(root, "test/bars", path, options)
    except QuantBotError as error:
        refusal = str(error)
    assert time.monotonic() - started < LONGEST_SECONDS, label
    if result is None:
        assert refusal, label
        assert root.list() == [], f"{label}: written before everything was checked: {refusal}"
        return "unforeseen" if "can't be read: " in refusal else "refused"
    dataset = Catalog(root).open("test/bars")
    assert dataset.version == result.dataset.version
    assert dataset.damage() == []
    for asset in dataset.assets:
        check_whole(dataset.bars(asset), label)
    return "ingested"


def check_whole(bars: Bars, label: str) -> None:
    assert len(bars) > 0, label
    assert (np.diff(bars.ts_end_ns) > 0).all(), label
    assert (bars.high >= np.maximum(bars.open, bars.close)).all(), label
    assert (bars.low <= np.minimum(bars.open, bars.close)).all(), label
    assert np.isfinite(bars.close).all(), label
    assert (bars.low > 0).all(), label
    assert (bars.volume >= 0).all(), label


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("ingest", "make", "ways", "n_files"),
    [
        (ingest_csv, as_csv, BYTES + TEXT, 200),
        (ingest_parquet, as_parquet, BYTES, 200),
        pytest.param(ingest_csv, as_csv, BYTES + TEXT, N_CSV, marks=pytest.mark.slow),
        pytest.param(ingest_parquet, as_parquet, BYTES, N_PARQUET, marks=pytest.mark.slow),
    ],
    ids=["csv", "parquet", "much csv", "much parquet"],
)
def test_ingest__of_any_damaged_file_ends_in_a_typed_error_or_a_whole_dataset(
    tmp_path: Path, ingest: Ingest, make: Callable[[random.Random], bytes], ways: list[Damage], n_files: int
) -> None:
    ends: Counter[str] = Counter()
    for seed in range(n_files):
        rng = random.Random(seed)
        content = damaged(rng, make(rng), ways)
        ends[run(ingest, content, some_options(rng), tmp_path, str(seed))] += 1
    assert ends.total() == n_files
    # Neither all refused (then nothing was tried) nor all taken (then nothing was damaged).
    assert ends["refused"] > n_files // 4
    assert ends["ingested"] > n_files // 50
    assert ends["unforeseen"] <= n_files // 100, ends


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ingest", "make"), [(ingest_csv, as_csv), (ingest_parquet, as_parquet)], ids=["csv", "parquet"]
)
def test_ingest__of_the_same_files_undamaged_is_taken(
    tmp_path: Path, ingest: Ingest, make: Callable[[random.Random], bytes]
) -> None:
    """The property above would hold of a reader that refuses everything."""
    for seed in range(20):
        rng = random.Random(seed)
        options = BarOptions(zone="UTC", stamp="end", interval="1d", repair=("sort", "drop_duplicates"))
        assert run(ingest, make(rng), options, tmp_path, str(seed)) == "ingested"
