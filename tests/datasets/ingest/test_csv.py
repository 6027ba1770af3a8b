from __future__ import annotations

import bz2
import gzip
import lzma
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.catalog import Catalog
from datasets.ingest import BarOptions, ingest_csv
from datasets.store import Store
from quantbot.errors import DataError, InputError, NotFoundError

Write = Callable[..., Path]
UTC = BarOptions(zone="UTC")


def refusal(root: Store, path: Path | list[Path], options: BarOptions = UTC) -> str:
    """Ingest, expect a refusal that leaves nothing behind, and give its message without the folder."""
    with pytest.raises((DataError, InputError)) as caught:
        ingest_csv(root, "test/bars", path, options)
    assert Catalog(root).names() == []
    first = path[0] if isinstance(path, list) else path
    return str(caught.value).replace(f"{first.parent}/", "")


def test_ingest_csv__gives_the_very_numbers(root: Store, write: Write, clean_lines: list[str]) -> None:
    result = ingest_csv(root, "test/bars", write(clean_lines), UTC)
    bars = result.dataset.bars("bars")
    assert result.created
    assert bars.open.tolist() == [10.4, 10.5, 10.6, 10.7, 10.8]
    assert bars.volume.tolist() == [400.0, 500.0, 600.0, 700.0, 800.0]
    assert bars.ts_end_ns[0] == np.datetime64("2024-03-05", "ns").astype(np.int64)  # the end of the 4th
    assert result.dataset.meta.interval == "1d"


def test_ingest_csv__is_one_version_when_read_twice(root: Store, write: Write, clean_lines: list[str]) -> None:
    first = ingest_csv(root, "test/bars", write(clean_lines), UTC)
    keys = root.list()
    second = ingest_csv(root, "test/bars", write(clean_lines), UTC)
    assert (first.created, second.created) == (True, False)
    assert first.dataset.version == second.dataset.version
    assert root.list() == keys


# Of the row `2024-03-06,<cells>` on line 4: cells, and what the message must say of them.
BAD_CELLS = [
    ('"1,234.5",11,9,10,1', "line 4: open '1,234.5' has a separator ','; pass thousands=','"),
    ("1e400,11,9,10,1", "line 4: open '1e400' is beyond the range of a 64-bit float"),
    ("1e-400,11,9,10,1", "line 4: open '1e-400' is too small for a 64-bit float"),
    ("10,,9,10,1", "line 4: high '' is empty"),
    ("10,   ,9,10,1", "line 4: high '   ' is empty"),
    ("10,11,9,10,", "line 4: volume '' is empty"),
    ("10,11,9,null,1", "line 4: close 'null' is empty"),
    ("10,11,\u22129,10,1", "line 4: low '\u22129' has a Unicode minus or dash"),
    ("10,11,9,NaN,1", "line 4: close 'NaN' is not a finite number"),
    ("10,inf,9,10,1", "line 4: high 'inf' is not a finite number"),
    ("10,-Infinity,9,10,1", "line 4: high '-Infinity' is not a finite number"),
    ("ten,11,9,10,1", "line 4: open 'ten' is not a number"),
    ("0x10,11,9,10,1", "line 4: open '0x10' is not a number"),
    ("1_0,11,9,10,1", "line 4: open '1_0' is not a number"),
    ("1_000,11,9,10,1", "line 4: open '1_000' has a separator '_'"),
    ('"10,5",11,9,10,1', "line 4: open '10,5' has a decimal comma; pass decimal=','"),
    ("\uff11\uff10,11,9,10,1", "line 4: open '\uff11\uff10' is not a number"),
    ("10,8,9,8.5,1", "line 4: high 8.0 (low 9.0) is below low"),
    ("12,11,9,10,1", "line 4: open 12.0 (low 9.0, high 11.0) is outside [low, high]"),
    ("10,11,9,8.5,1", "line 4: close 8.5 (low 9.0, high 11.0) is outside [low, high]"),
    ("10,11,9,10,-1", "line 4: volume -1.0 is negative"),
    ("10,11,-9,10,1", "line 4: low -9.0 is not positive"),
    ("0,11,0,10,1", "line 4: open 0.0 is not positive"),
    ("10,11,9,10", "line 4: 5 fields, 6 expected"),
    ("10,11,9,10,1,7", "line 4: 7 fields, 6 expected"),
    ("1,234.5,11,9,10,1", "line 4: 7 fields, 6 expected"),
]


@pytest.mark.parametrize(("cells", "message"), BAD_CELLS, ids=[cells for cells, _ in BAD_CELLS])
def test_ingest_csv__names_file_line_field_value_and_rule(
    root: Store, write: Write, clean_lines: list[str], cells: str, message: str
) -> None:
    clean_lines[3] = f"2024-03-06,{cells}"
    assert f"bars.csv, {message}" in refusal(root, write(clean_lines))


BAD_TIMES = [
    ("2024-02-30", "line 4: time '2024-02-30' is not a time between 1700 and 2199 in the form of the others"),
    ("2023-02-29", "line 4: time '2023-02-29' is not a time"),
    ("2024-03-06 10:00", "line 4: time '2024-03-06 10:00' is not a time"),
    ("06.03.2024", "line 4: time '06.03.2024' is not a time"),
    ("", "line 4: time '' is empty"),
    ("2300-01-01", "line 4: time '2300-01-01' is not a time"),
    ("2024-03-05", "line 4: time 2024-03-06T00:00Z of bars (also bars.csv, line 3) occurs twice"),
    ("2024-03-01", "line 4: time 2024-03-02T00:00Z is earlier than the row before it"),
]


@pytest.mark.parametrize(("date", "message"), BAD_TIMES, ids=[date for date, _ in BAD_TIMES])
def test_ingest_csv__names_the_bad_time(
    root: Store, write: Write, clean_lines: list[str], date: str, message: str
) -> None:
    clean_lines[3] = f"{date},10,11,9,10,1"
    assert f"bars.csv, {message}" in refusal(root, write(clean_lines))


def test_ingest_csv__accepts_a_leap_day_and_minus_zero(root: Store, write: Write, clean_lines: list[str]) -> None:
    lines = [clean_lines[0], "2024-02-28,10,11,9,10,-0.0", "2024-02-29, 1.05e1 ,+11,9.,10,.5"]
    bars = ingest_csv(root, "test/bars", write(lines), UTC).dataset.bars("bars")
    assert bars.open.tolist() == [10.0, 10.5]
    assert bars.volume.tolist() == [0.0, 0.5]
    assert not np.signbit(bars.volume[0])


def test_ingest_csv__counts_what_it_does_not_list(root: Store, write: Write, clean_lines: list[str]) -> None:
    lines = [clean_lines[0], *(f"2024-01-{day:02d},x,11,9,10,1" for day in range(1, 21)), "2024-02-01,10,8,9,10,-1"]
    message = refusal(root, write(lines))
    assert "line 2: open 'x' is not a number" in message
    assert "and 19 more of this kind (next: lines 3, 4, 5, 6)" in message


def test_ingest_csv__names_every_rule_that_is_broken(root: Store, write: Write, clean_lines: list[str]) -> None:
    clean_lines[2] = "2024-03-05,10,8,9,8.5,1"
    clean_lines[4] = "2024-03-07,10,11,9,10,-3"
    message = refusal(root, write(clean_lines))
    assert "line 3: high 8.0 (low 9.0) is below low" in message
    assert "line 5: volume -3.0 is negative" in message
    assert "repair=('drop_invalid',)" in message


def test_ingest_csv__counts_lines_across_blank_and_quoted_ones(
    root: Store, write: Write, clean_lines: list[str]
) -> None:
    lines = [
        "",
        clean_lines[0] + ",note",
        *(f'{line},"two\nlines"' for line in clean_lines[1:4]),
        "",
        "2024-03-08,x,11,9,10,1,n",
    ]
    assert "bars.csv, line 10: open 'x'" in refusal(root, write(lines))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.rstrip("\n") + "\r",
        lambda text: "\n\n" + text + "\n\n\n",
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: re.sub(r"([^,\n]+)", r'"\1"', text),
        lambda text: text.replace("time,", "Date,").replace("open,", "Open,").replace("volume", "Volume"),
        lambda text: text.replace("time,", "<DATE>,").replace("open,", "<OPEN>,").replace("volume", "<VOL>"),
        lambda text: text.replace(",", " , "),
    ],
    ids=[
        "bom",
        "crlf",
        "no-last-newline",
        "last-cr",
        "blank-lines",
        "semicolon",
        "tab",
        "quoted",
        "case",
        "brackets",
        "blanks",
    ],
)
def test_ingest_csv__reads_the_same_bars_however_they_are_written(
    root: Store, write: Write, clean_lines: list[str], damage: Callable[[str], str]
) -> None:
    plain = ingest_csv(root, "test/bars", write(clean_lines), UTC)
    text = damage("\n".join(clean_lines) + "\n")
    other = ingest_csv(root, "test/bars", write(text), UTC)
    assert other.dataset.version == plain.dataset.version
    assert not other.created


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("bars.csv.gz", gzip.compress),
        ("bars.csv.bz2", bz2.compress),
        ("bars.csv.xz", lzma.compress),
        ("bars.csv", gzip.compress),  # known by content, not by name
        ("bars.gz", lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:])),
        ("bars.xz", lambda data: lzma.compress(data[:50]) + lzma.compress(data[50:])),
    ],
)
def test_ingest_csv__unpacks(
    root: Store, write: Write, clean_lines: list[str], name: str, pack: Callable[[bytes], bytes]
) -> None:
    data = ("\n".join(clean_lines) + "\n").encode()
    dataset = ingest_csv(root, "test/bars", write(pack(data), name), UTC).dataset
    assert dataset.assets == ("bars",)
    assert len(dataset.bars("bars")) == 5


@pytest.mark.parametrize(
    ("options", "row", "expected"),
    [
        ({"thousands": ","}, '2024-03-06,"1,234.5",2000,9,10,"1,000,000"', (1234.5, 1e6)),
        ({"decimal": ",", "delimiter": ";"}, "2024-03-06;10,25;2000;9;10;100", (10.25, 100.0)),
        ({"decimal": ",", "thousands": ".", "delimiter": ";"}, "2024-03-06;1.234,5;2000;9;10;1.000", (1234.5, 1000.0)),
        ({"thousands": "'"}, "2024-03-06,1'234.5,2000,9,10,1'000", (1234.5, 1000.0)),
    ],
)
def test_ingest_csv__reads_the_marks_that_are_named(
    root: Store, write: Write, options: dict[str, Any], row: str, expected: tuple[float, float]
) -> None:
    header = "time,open,high,low,close,volume".replace(",", options.get("delimiter", ","))
    bars = ingest_csv(root, "test/bars", write([header, row]), BarOptions(zone="UTC", **options)).dataset.bars("bars")
    assert (bars.open[0], bars.volume[0]) == expected


def test_ingest_csv__refuses_wrong_groups_of_thousands(root: Store, write: Write, clean_lines: list[str]) -> None:
    clean_lines[3] = '2024-03-06,"12,34.5",2000,9,10,1'
    assert "line 4: open '12,34.5' is not a number" in refusal(
        root, write(clean_lines), BarOptions(zone="UTC", thousands=",")
    )


BAD_FILES = [
    (b"", "bars.csv is empty"),
    (b"\n\n\n", "bars.csv holds no line with anything in it"),
    (b"time,open,high,low,close,volume\n", "bars.csv has no rows under its header"),
    (b"\0" * 5000, "holds NUL bytes"),
    (b"\xff\xd8\xff\xe0\x00\x10JFIF" + b"\x80" * 200, "bars.csv is a JPEG image, not a CSV file"),
    (b"\x89PNG\r\n", "is a PNG image"),
    (b"PAR1xxxx", "is a Parquet file (use ingest_parquet)"),
    ("time,open\n".encode("utf-16"), "is in UTF-16; pass encoding='utf-16'"),
    (b"t\xe9me,open,high,low,close,volume\n", "line 1: byte 0xe9 is not UTF-8; pass encoding='latin-1'"),
    (b"time,open,high,low,close,volume\n2024-01-01,\xe9,1,1,1,1\n", "line 2: byte 0xe9 is not UTF-8"),
    (b"time;open,high|low\n1;2,3|4\n", "pass delimiter"),
    (b"time,open,high,low,close,volume\r2024-01-01,1,1,1,1,1\r", "lines end with CR alone"),
    (b'time,open,high,low,close,volume\n2024-01-01,"1,1,1,1,1\n2024-01-02,1\n', "line 2: a quote is never closed"),
    (b"time,open,open,low,close,volume\n2024-01-01,1,1,1,1,1\n", "names the column 'open' twice"),
    (b"time,open,hgih,low,close,volume\n2024-01-01,1,1,1,1,1\n", "no column for high; there are 'time', 'open',"),
    (b"a,b\n1,2\n", "no column for time, open, high, low, close, volume; there are 'a', 'b'"),
    (b"date,time,open,high,low,close,volume\n1,2,3,4,5,6,7\n", "more than one column that may be time: 'date' and"),
    (b"just some words\nand more of them\n", "no column for time"),
    (gzip.compress(b"time,open,high,low,close,volume\n")[:-9], "is damaged or cut off"),
    (bz2.compress(b"time,open,high,low,close,volume\n")[:-9], "is damaged or cut off"),
    (lzma.compress(b"time,open,high,low,close,volume\n")[:-9], "is damaged or cut off"),
    (b"\x1f\x8b" + b"\x00" * 50, "is damaged or cut off"),
    (b"PK\x03\x04" + b"\x00" * 50, "is damaged or cut off"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BAD_FILES, ids=[message[:30] for _, message in BAD_FILES])
def test_ingest_csv__says_in_a_sentence_what_a_file_is(root: Store, write: Write, content: bytes, message: str) -> None:
    assert message in refusal(root, write(content))


def test_ingest_csv__refuses_what_is_no_file(root: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory; name its files"):
        ingest_csv(root, "test/bars", tmp_path, UTC)
    with pytest.raises(NotFoundError, match=r"nothing\.csv is not there"):
        ingest_csv(root, "test/bars", tmp_path / "nothing.csv", UTC)
    with pytest.raises(InputError, match="no file was given"):
        ingest_csv(root, "test/bars", [], UTC)
    with pytest.raises(InputError, match="NUL"):
        ingest_csv(root, "test/bars", "a\0b", UTC)
    with pytest.raises(InputError, match="can't be read"):
        ingest_csv(root, "test/bars", "x" * 5000, UTC)


def test_ingest_csv__refuses_a_bad_name_before_it_reads(root: Store, write: Write) -> None:
    with pytest.raises(InputError, match="name"):
        ingest_csv(root, "../up", write(b""), UTC)


def test_ingest_csv__suggests_the_nearest_column(root: Store, write: Write, clean_lines: list[str]) -> None:
    options = BarOptions(zone="UTC", columns={"close": "Close"})
    assert "no column for close ('Close' (did you mean 'close'?))" in refusal(root, write(clean_lines), options)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress], ids=["gz", "xz"])
def test_ingest_csv__refuses_a_bomb_quickly(root: Store, write: Write, pack: Callable[[bytes], bytes]) -> None:
    # Rows that look right, so that only their tightness gives the bomb away.
    line = b"2024-01-01,1,1,1,1,1\n"
    path = write(pack(b"time,open,high,low,close,volume\n" + line * 900_000))
    started = time.monotonic()
    assert "decompression bomb" in refusal(root, path, BarOptions(zone="UTC", repair=("drop_duplicates",)))
    assert time.monotonic() - started < 10  # a busy machine; alone it takes under a second


def test_ingest_csv__limits_the_unpacked_size(root: Store, write: Write, clean_lines: list[str]) -> None:
    path = write(gzip.compress("\n".join(clean_lines).encode()))
    assert "holds more than 100 bytes once unpacked" in refusal(root, path, BarOptions(zone="UTC", max_bytes=100))


def test_ingest_csv__limits_the_rows(root: Store, write: Write, clean_lines: list[str]) -> None:
    assert "has more than 4 rows" in refusal(root, write(clean_lines), BarOptions(zone="UTC", max_rows=4))


def test_ingest_csv__reads_a_zip_of_one_file_only(root: Store, tmp_path: Path, clean_lines: list[str]) -> None:
    path = tmp_path / "EURUSD.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escape.csv", "\n".join(clean_lines))
    assert ingest_csv(root, "test/bars", path, UTC).dataset.assets == ("EURUSD",)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b.csv", "x")
    with pytest.raises(DataError, match="holds 2 files, a zip of exactly one"):
        ingest_csv(root, "test/other", path, UTC)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["EURUSD.zip", "store"]


def test_ingest_csv__reads_without_header_by_position(root: Store, write: Write, clean_lines: list[str]) -> None:
    columns = {"time": 0, "open": 1, "high": "2", "low": 3, "close": 4, "volume": 5}
    options = BarOptions(zone="UTC", header=False, columns=columns)
    plain = ingest_csv(root, "test/bars", write(clean_lines), UTC).dataset
    assert ingest_csv(root, "test/bars", write(clean_lines[1:]), options).dataset.version == plain.version
    with pytest.raises(InputError, match="give the position of volume"):
        ingest_csv(
            root,
            "test/bars",
            write(clean_lines[1:]),
            BarOptions(zone="UTC", header=False, columns=dict(list(columns.items())[:-1])),
        )
    with pytest.raises(DataError, match="has 6 columns, 0 to 5; volume can't be column 9"):
        ingest_csv(
            root,
            "test/bars",
            write(clean_lines[1:]),
            BarOptions(zone="UTC", header=False, columns=columns | {"volume": 9}),
        )


def test_ingest_csv__splits_a_symbol_column(root: Store, write: Write, clean_lines: list[str]) -> None:
    lines = [f"{clean_lines[0]},ticker", *(f"{line},{symbol}" for line in clean_lines[1:] for symbol in ("B", "A"))]
    dataset = ingest_csv(root, "test/bars", write(lines), UTC).dataset
    assert dataset.assets == ("A", "B")
    assert len(dataset.bars("A")) == len(dataset.bars("B")) == 5
    lines[3] = lines[3].removesuffix("B")
    assert "line 4: symbol ('ticker') '' is empty" in refusal_of(root, write(lines))


def refusal_of(root: Store, path: Path) -> str:
    with pytest.raises(DataError) as caught:
        ingest_csv(root, "test/other", path, UTC)
    return str(caught.value)


def test_ingest_csv__joins_files_of_one_symbol_in_time(root: Store, write: Write, clean_lines: list[str]) -> None:
    late = write([clean_lines[0], *clean_lines[4:]], "a.csv")
    early = write(clean_lines[:4], "b.csv")
    options = BarOptions(zone="UTC", symbol="X")
    assert len(ingest_csv(root, "test/bars", [late, early], options).dataset.bars("X")) == 5
    overlap = write(clean_lines[3:4] and [clean_lines[0], clean_lines[3]], "c.csv")
    with pytest.raises(DataError, match=r"c\.csv, line 2: time .* of X \(also .*b\.csv, line 4\) occurs twice"):
        ingest_csv(root, "test/bars", [late, early, overlap], options)


def test_ingest_csv__takes_one_symbol_a_file(root: Store, write: Write, clean_lines: list[str]) -> None:
    paths = [write(clean_lines, "BRK.B.csv"), write(clean_lines[:4], "^GSPC.csv")]
    dataset = ingest_csv(root, "test/bars", paths, UTC).dataset
    assert dataset.assets == ("BRK.B", "^GSPC")
    assert len(dataset.bars("^GSPC")) == 3


def test_ingest_csv__makes_factors_of_adjusted_closes(root: Store, write: Write, clean_lines: list[str]) -> None:
    lines = [
        f"{clean_lines[0]},Adj Close",
        *(f"{line},{5.25 if at < 2 else 10.5}" for at, line in enumerate(clean_lines[1:])),
    ]
    dataset = ingest_csv(root, "test/bars", write(lines), UTC).dataset
    assert dataset.bars("bars").close.tolist() == [5.25, 5.25, 10.5, 10.5, 10.5]
    assert dataset.columns("bars").close.tolist() == [10.5] * 5


def test_ingest_csv__decodes_other_encodings(root: Store, write: Write, clean_lines: list[str]) -> None:
    plain = ingest_csv(root, "test/bars", write(clean_lines), UTC).dataset
    text = "\n".join(clean_lines)
    for encoding in ("utf-16", "latin-1", "utf-16-le"):
        options = BarOptions(zone="UTC", encoding=encoding)
        assert ingest_csv(root, "test/bars", write(text.encode(encoding)), options).dataset.version == plain.version
    with pytest.raises(InputError, match="encoding 'klingon' is unknown"):
        ingest_csv(root, "test/bars", write(text), BarOptions(zone="UTC", encoding="klingon"))
    with pytest.raises(InputError, match="encoding 'zlib' is unknown"):
        ingest_csv(root, "test/bars", write(text), BarOptions(zone="UTC", encoding="zlib"))


def test_ingest_csv__finds_the_bad_line_of_a_long_file(root: Store, write: Write) -> None:
    n_rows = 300_000  # more than one block
    ends = np.datetime_as_string(np.datetime64("2020-01-01T00:00") + np.arange(n_rows), unit="m")
    lines = ["time,open,high,low,close,volume", *(f"{end}Z,10.01,10.04,10,10.02,{at}" for at, end in enumerate(ends))]
    lines[250_000] = lines[250_000].replace("10.04", "1O.04")
    message = refusal(root, write(lines), BarOptions(stamp="end"))
    assert "line 250001: high '1O.04' is not a number" in message
    lines[250_000] = lines[250_000].replace("1O.04", "10.04,")
    assert "line 250001: 7 fields, 6 expected" in refusal(root, write(lines), BarOptions(stamp="end"))


def test_ingest_csv__reports_progress_that_rises_to_one(root: Store, write: Write, clean_lines: list[str]) -> None:
    told: list[tuple[float, str]] = []
    ingest_csv(root, "test/bars", write(clean_lines), UTC, progress=lambda done, text: told.append((done, text)))
    fractions = [done for done, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert all(text for _, text in told)
