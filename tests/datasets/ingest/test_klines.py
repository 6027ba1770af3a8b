"""Binance's public klines."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from datasets import open_store
from datasets.ingest.klines import ingest_klines
from datasets.ingest.options import BarOptions
from quantbot.errors import DataError, InputError

DATA = Path(__file__).parents[4] / "shared" / "data" / "binance"
LINES = "".join(
    f"{1_637_971_200_000 + k * 60_000},1.{k},1.9,1.{k},1.5,{k + 1}.5,{1_637_971_259_999 + k * 60_000},2,3,4,5,0\n"
    for k in range(4)
)


@pytest.fixture
def klines(tmp_path: Path) -> Path:
    path = tmp_path / "XUSDT-1m-2021-11-27.csv"
    path.write_text(LINES)
    return path


def test_klines__become_bars_of_their_symbol_and_interval(tmp_path, klines):
    root = open_store(tmp_path / "store")
    result = ingest_klines(root, "mine/x", klines, BarOptions(currency="USDT"))
    bars = result.dataset.bars("XUSDT")
    assert bars.ts_end_ns.tolist() == [(1_637_971_260 + 60 * k) * 10**9 for k in range(4)]
    assert bars.open.tolist() == [1.0, 1.1, 1.2, 1.3]
    assert bars.volume.tolist() == [1.5, 2.5, 3.5, 4.5]
    assert (result.dataset.meta.interval, result.dataset.meta.currency) == ("1min", "USDT")
    with zipfile.ZipFile(tmp_path / "XUSDT-1m-2021-11.zip", "w") as archive:
        archive.writestr("XUSDT-1m-2021-11.csv", LINES)
    again = ingest_klines(root, "mine/y", tmp_path / "XUSDT-1m-2021-11.zip", BarOptions(currency="USDT"))
    assert again.dataset.bars("XUSDT").close.tolist() == bars.close.tolist()


def test_klines__of_microseconds_and_milliseconds_meet(tmp_path, klines):
    micro = klines.with_name("XUSDT-1m-2025-01-01.csv")
    micro.write_text("1735689600000000,1,1.9,1,1.5,1,1735689659999999,2,3,4,5,0\n")
    bars = ingest_klines(open_store(tmp_path / "store"), "mine/x", [klines, micro]).dataset.bars("XUSDT")
    assert bars.ts_end_ns[-1] == 1_735_689_660 * 10**9
    assert len(bars) == 5


def test_klines__are_refused_with_their_line(tmp_path, klines):
    root = open_store(tmp_path / "store")
    klines.write_text(LINES.replace("1637971319999", "1637971319998"))
    with pytest.raises(DataError, match="line 2: a bar of 1min from 1637971260000 must close one unit before its end"):
        ingest_klines(root, "mine/x", klines)
    klines.write_text(LINES.replace("1.9", "1.05"))
    with pytest.raises(DataError, match="line 1"):
        ingest_klines(root, "mine/x", klines)
    klines.write_text("1,2,3\n")
    with pytest.raises(DataError, match="line 1: 3 fields, klines have 12"):
        ingest_klines(root, "mine/x", klines)
    other = klines.with_name("klines.csv")
    other.write_text(LINES)
    with pytest.raises(InputError, match="SYMBOL-INTERVAL-DATE"):
        ingest_klines(root, "mine/x", other)
    hour = klines.with_name("XUSDT-1h-2021-11-27.csv")
    hour.write_text(LINES)
    klines.write_text(LINES)
    with pytest.raises(InputError, match="one symbol, interval and form"):
        ingest_klines(root, "mine/x", [klines, hour])
    assert root.list() == []


@pytest.mark.skipif(not DATA.is_dir(), reason="no real data beside the project")
@pytest.mark.parametrize(
    ("name", "symbol", "interval"),
    [
        ("klines/ADABTC-1m-2021-11-27.csv", "ADABTC", "1min"),
        ("public_data_head/um/BTCUSDT-1h-2026-09-15.csv", "BTCUSDT", "1h"),
    ],
)
def test_klines__of_real_files_are_their_numbers(tmp_path, name, symbol, interval):
    result = ingest_klines(open_store(tmp_path), "mine/x", DATA / name)
    bars = result.dataset.bars(symbol)
    told = [line.split(",") for line in (DATA / name).read_text().split() if line[0].isdigit()]
    assert result.dataset.meta.interval == interval
    assert bars.ts_end_ns.tolist() == [(int(row[6]) + 1) * 10**6 for row in told]
    for at, field in enumerate(("open", "high", "low", "close", "volume"), 1):
        assert np.array_equal(getattr(bars, field), [float(row[at]) for row in told])
