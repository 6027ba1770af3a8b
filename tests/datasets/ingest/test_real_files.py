"""Files that vendors and other projects really wrote, read from beside the repository."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from datasets.ingest import BarOptions, IngestResult, ingest_csv, ingest_parquet
from datasets.store import Store
from quantbot.errors import DataError

BY_POSITION = {"time": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}


def ingest(root: Store, path: Path, **options: Any) -> IngestResult:
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    reader = ingest_parquet if path.suffix == ".feather" else ingest_csv
    return reader(root, "real/bars", path, BarOptions(symbol="X", **options))


def test_real_daily_stock__matches_its_exchange_calendar(root: Store, shared_data: Path) -> None:
    path = shared_data / "bars/backtesting_py/GOOG.csv.gz"
    result = ingest(root, path, calendar="XNYS")
    bars = result.dataset.bars("X")
    with gzip.open(path, "rt") as lines:
        raw = list(csv.DictReader(lines))
    assert bars.close.tolist() == [float(row["Close"]) for row in raw]
    assert bars.volume.tolist() == [float(row["Volume"]) for row in raw]
    assert "missing_bars" not in result.report.assets["X"]
    assert 250 < bars.periods_per_year < 253
    closes = pd.DatetimeIndex(bars.ts_end_ns).tz_localize("UTC").tz_convert("America/New_York")
    assert set(closes.strftime("%H:%M")) == {"16:00", "13:00"}


def test_real_months__must_say_which_end_names_them(root: Store, shared_data: Path) -> None:
    path = shared_data / "bars/backtesting_py/BTCUSD.csv.gz"
    result = ingest(root, path, zone="UTC", stamp="end")
    assert result.dataset.meta.interval == "1mo"
    assert result.dataset.meta.periods_per_year == pytest.approx(12)
    assert str(result.dataset.bars("X").ts_end_ns[:1].astype("datetime64[ns]")[0])[:10] == "2012-02-01"


def test_real_hours__show_their_weekend_gaps_as_no_gaps(root: Store, shared_data: Path) -> None:
    result = ingest(root, shared_data / "bars/backtesting_py/EURUSD.csv.gz", zone="UTC", stamp="start")
    assert result.dataset.meta.interval == "1h"
    assert len(result.dataset.bars("X")) == 5000
    assert "gaps" not in result.report.assets["X"]


def test_real_future__has_minutes_of_a_whole_month(root: Store, shared_data: Path) -> None:
    path = shared_data / "bars/nautilus/6EH4.XCME_1min_bars_20240101_20240131.csv.gz"
    dataset = ingest(root, path, zone="UTC", stamp="start").dataset
    assert dataset.meta.interval == "1min"
    assert len(dataset.bars("X")) == 29_996


def test_real_quotes__without_volume_need_a_word(root: Store, shared_data: Path) -> None:
    path = shared_data / "bars/nautilus/gbpusd-m1-ask-2012.csv.gz"
    with pytest.raises(DataError, match="no column for volume"):
        ingest(root, path, stamp="start")
    assert len(ingest(root, path, stamp="start", columns={"volume": None}).dataset.bars("X")) == 30_117


def test_real_sample__with_useless_adjusted_closes_is_refused(root: Store, shared_data: Path) -> None:
    with pytest.raises(DataError, match=r"AAPL\.csv\.gz, line 2: adjusted_close 0\.0 is not positive"):
        ingest(root, shared_data / "bars/zipline/yahoo_AAPL.csv.gz", stamp="start", interval="1d", zone="UTC")


def test_real_klines__without_header_are_read_by_position(root: Store, shared_data: Path) -> None:
    path = shared_data / "binance/klines/ADABTC-1m-2021-11-27.csv"
    bars = ingest(root, path, stamp="start", header=False, columns=BY_POSITION).dataset.bars("X")
    closed_ms = [int(line.split(",")[6]) for line in path.read_text().split()]
    assert (bars.ts_end_ns // 1_000_000).tolist() == [each + 1 for each in closed_ms]  # theirs end 1 ms earlier


def test_real_klines__with_header_find_their_columns(root: Store, shared_data: Path) -> None:
    dataset = ingest(root, shared_data / "binance/public_data_head/um/BTCUSDT-1h-2026-09-15.csv", stamp="start").dataset
    assert dataset.meta.interval == "1h"


def test_real_feather__reads_like_its_own_library(root: Store, shared_data: Path) -> None:
    path = shared_data / "freqtrade/ETH_BTC-5m.feather"
    bars = ingest(root, path, stamp="start").dataset.bars("X")
    raw = pd.read_feather(path)
    starts = raw["date"].dt.tz_localize(None).to_numpy().astype("datetime64[ns]").astype(np.int64)
    assert (bars.ts_end_ns - 300_000_000_000).tolist() == starts.tolist()
    assert bars.close.tolist() == raw["close"].tolist()


def test_real_zip__of_daily_bars_lands_on_its_sessions(root: Store, shared_data: Path) -> None:
    options: dict[str, Any] = {"time_format": "%Y%m%d %H:%M", "zone": "America/New_York", "stamp": "start"}
    path = shared_data / "lean/equity/usa/daily/spy.zip"
    result = ingest(root, path, header=False, columns=BY_POSITION, calendar="XNYS", **options)
    assert len(result.dataset.bars("X")) > 5000
    assert "missing_bars" not in result.report.assets["X"]


def test_real_strangers__are_refused_in_a_sentence(root: Store, shared_data: Path) -> None:
    """Order books, trades, wide tables, captures: none is a bar file, and each says so."""
    strangers = [
        "bars/skfolio/sp500_dataset.csv.gz",
        "bars/zipline/treasury_curves.csv.gz",
        "bars/arch/vix.csv.gz",
        "lobster/AAPL_2012-06-21_34200000_57600000_message_1.csv.gz",
        "lobster/LOBSTER_SampleFile_AMZN_2012-06-21_1.zip",
        "bitstamp_l3/orders_2015-05-01.csv.xz",
        "tardis/bitmex_trades_XBTUSD.csv",
        "kraken_trades/BCHEUR.csv.gz",
        "itch/nasdaq_start_of_day_1000msgs.itch",
        "ws_captures/KRAKEN.ws.50.0.raw.gz",
        "freqtrade/XRP_ETH-trades.json.gz",
        "lean/future/cme/minute/es/20131007_trade.zip",
        "bars/nautilus/usdjpy-truefx-ticks.csv.gz",
    ]
    for name in strangers:
        if (shared_data / name).exists():
            with pytest.raises(DataError, match=Path(name).name):
                ingest(root, shared_data / name, zone="UTC", stamp="end")
