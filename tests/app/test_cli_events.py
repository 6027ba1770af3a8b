"""Commands that read events: from a file to a dataset that is listed, shown and checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli import main

NAME = "XYZ_2012-06-21_34200000_57600000_{}_1.csv"


@pytest.fixture
def lobster(tmp_path: Path) -> Path:
    (tmp_path / NAME.format("message")).write_text("34200.1,1,7,5,1000000,1\n34200.2,4,7,2,1000000,1\n")
    (tmp_path / NAME.format("orderbook")).write_text("1000100,9,1000000,5\n1000100,9,1000000,3\n")
    return tmp_path / NAME.format("message")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main([*words, "--json"]) == 0
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def test_ingest_lobster__stores_lists_shows_and_checks(
    tmp_path: Path, lobster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", str(tmp_path / "store")]
    made = said(capsys, "ingest", "lobster", "mine/xyz", str(lobster), "--tick", "0.01", *store)
    assert (made["kind"], made["n_times"], made["created"]) == ("events", 5, True)
    assert said(capsys, "ingest", "lobster", "mine/xyz", str(lobster), "--tick", "0.01", *store)["created"] is False
    shown = said(capsys, "data", "show", "mine/xyz", *store)
    assert shown["assets"][0]["sessions"][0]["session"] == "2012-06-21"  # type: ignore[index]
    assert said(capsys, "data", "check", "mine/xyz", *store)["damage"] == []
    assert main(["data", "list", *store]) == 0
    assert "mine/xyz" in capsys.readouterr().out


def test_ingest_lobster__refuses_a_damaged_file_with_its_line(
    tmp_path: Path, lobster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lobster.write_text(lobster.read_text().replace("34200.2,4", "34200.2,x"))
    assert main(["ingest", "lobster", "mine/xyz", str(lobster), "--store", str(tmp_path / "store")]) != 0
    assert "line 2: type must be a number, was 'x'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_synthetic_book__becomes_bars_of_its_trades(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", str(tmp_path / "store")]
    assert said(capsys, "ingest", "synthetic-book", "mine/drawn", "--events", "3000", "--by-price", *store)["created"]
    bars = said(capsys, "ingest", "bars-of-trades", "mine/bars", "mine/drawn", "--interval", "1h", *store)
    assert bars["kind"] == "bars"
    assert bars["meta"]["synthetic"] is True  # type: ignore[index]
    mids = said(capsys, "ingest", "bars-of-quotes", "mine/mids", "mine/drawn", "--interval", "1s", *store)
    assert mids["kind"] == "bars"
    assert main(["ingest", "bars-of-quotes", "mine/no", "mine/drawn", "--of", "last", *store]) != 0
    assert "of must be one of mid, bid, ask, spread" in " ".join(capsys.readouterr().err.split())


def test_ingest_klines__takes_symbol_and_interval_from_the_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "XUSDT-1h-2024-01-02.csv"
    path.write_text("1704153600000,1,2,1,2,5,1704157199999,1,1,1,1,0\n")
    made = said(capsys, "ingest", "klines", "mine/x", str(path), "--store", str(tmp_path / "store"))
    assert made["assets"][0]["symbol"] == "XUSDT"  # type: ignore[index]
    assert made["meta"]["interval"] == "1h"  # type: ignore[index]


@pytest.mark.parametrize(
    "name", ["itch", "databento", "binance", "tardis", "hftbacktest", "bitstamp", "kraken", "coinbase", "bybit"]
)
def test_every_format__has_help_and_refuses_what_it_is_not(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ingest", name, "--help"]) == 0
    (tmp_path / "x").write_bytes(b"\x7fnothing of the kind\n")
    capsys.readouterr()
    more = ["--session", "2024-01-02"] if name == "itch" else []
    assert main(["ingest", name, "mine/x", str(tmp_path / "x"), *more, "--store", str(tmp_path / "store")]) not in (
        0,
        1,
    )
    assert "Traceback" not in capsys.readouterr().err
