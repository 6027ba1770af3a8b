"""`quantbot ingest`, `quantbot data` and `quantbot strategies`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import terminal
from app.cli import main
from datasets.catalog import Catalog
from datasets.store import open_store

CSV = """Date,Open,High,Low,Close,Volume
2024-01-02,10,11,9,10.5,100
2024-01-03,10.5,11,10,10.7,100
2024-01-04,10.7,12,10.7,11.9,120
"""


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    url = str(tmp_path / "store")
    monkeypatch.setenv("QUANTBOT_STORE", url)
    yield url
    terminal.flags = terminal.Flags()


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    file = tmp_path / "acme.csv"
    file.write_text(CSV)
    return file


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def _of_bars(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the findings in an asset's bars; those of an ingest as a whole have the asset "*"."""
    return [finding for finding in document["quality"]["findings"] if finding["asset"] != "*"]


def test_ingest_csv__stores_once_and_prints_the_quality(capsys: pytest.CaptureFixture[str], csv: Path) -> None:
    assert main(["ingest", "csv", "mine/acme", str(csv), "--zone", "America/New_York", "--currency", "EUR"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("stored mine/acme@")
    assert "EUR" in out
    assert "quality: 3 bars of 1 asset" in out
    code, again = _json(
        capsys, "ingest", "csv", "mine/acme", str(csv), "--zone", "America/New_York", "--currency", "EUR"
    )
    assert (code, again["created"]) == (0, False)
    assert again["meta"]["currency"] == "EUR"


def test_ingest_csv__takes_columns_by_name_number_and_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "odd.csv"
    file.write_text("d;o;h;l;c\n03.01.2024;1,5;2,5;1;2\n02.01.2024;1;2;0,5;1,5\n")
    line = "--time d --open 1 --high h --low l --close c --volume none --decimal , --time-format %d.%m.%Y --repair sort"
    code, made = _json(
        capsys, "ingest", "csv", "mine/odd", str(file), *line.split(), "--zone", "UTC", "--symbol", "ODD"
    )
    assert code == 0
    assert [asset["symbol"] for asset in made["assets"]] == ["ODD"]
    rules = [finding["rule"] for finding in made["quality"]["findings"]]
    assert "repaired:sort" in rules


def test_ingest_scenarios__stores_what_a_spec_names(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, store: str
) -> None:
    file = tmp_path / "views.csv"
    file.write_text("known,A,B\n2024-01-02,0.1,0\n2024-01-02,-0.1,0\n2024-01-05,0,0\n")
    code, made = _json(capsys, "ingest", "scenarios", "mine/views", str(file))
    assert code == 0
    assert (made["assets"], made["n_scenarios"], made["n_sets"], made["dated"]) == (["A", "B"], 3, 2, True)
    assert main(["ingest", "scenarios", "mine/views", str(file)]) == 0
    assert "3 scenarios of 2 assets, 2 sets by time" in capsys.readouterr().out
    file.write_text("A\n2\nx\n")
    assert main(["ingest", "scenarios", "mine/views", str(file)]) == 2
    assert "line 3: A 'x' is not a number" in capsys.readouterr().err


def test_ingest__refuses_with_the_place_and_stores_nothing(
    capsys: pytest.CaptureFixture[str], csv: Path, store: str
) -> None:
    csv.write_text(CSV.replace("11,10,10.7,100", "11,10,12.7,100"))
    assert main(["ingest", "csv", "mine/acme", str(csv), "--zone", "UTC"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "acme.csv" in said.err
    assert "12.7" in said.err
    assert Catalog(open_store(store)).names() == []


def test_ingest__names_a_repair_that_is_none(capsys: pytest.CaptureFixture[str], csv: Path) -> None:
    assert main(["ingest", "csv", "mine/acme", str(csv), "--repair", "srot"]) == 2
    assert "sort" in capsys.readouterr().err


def test_ingest_parquet_and_sql__give_the_version_that_csv_gives(
    capsys: pytest.CaptureFixture[str], csv: Path, tmp_path: Path
) -> None:
    import pandas as pd

    frame = pd.read_csv(csv)
    frame.to_parquet(tmp_path / "acme.parquet")
    with sqlite3.connect(tmp_path / "bars.db") as connection:
        frame.to_sql("bars", connection, index=False)
    connection.close()
    shared = ["--zone", "UTC", "--symbol", "ACME", "--source", "a vendor"]
    versions = {
        _json(capsys, "ingest", *words, *shared)[1]["version"]
        for words in (
            ["csv", "mine/acme", str(csv)],
            ["parquet", "mine/acme", str(tmp_path / "acme.parquet")],
            ["sql", "mine/acme", "select * from bars", "--url", f"sqlite:///{tmp_path / 'bars.db'}"],
        )
    }
    assert len(versions) == 1


def test_ingest_sql__wants_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", "sql", "mine/x", "select 1"]) == 2
    assert "QUANTBOT_SQL_URL" in capsys.readouterr().err


def test_data_list__says_what_to_do_with_an_empty_store(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    assert "quantbot ingest demo" in capsys.readouterr().out


def test_data_list_and_show__mark_what_is_synthetic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", "synthetic", "toy/minute", "--assets", "2", "--days", "2", "-q"]) == 0
    capsys.readouterr()
    for words in (["data", "list"], ["data", "show", "toy/minute"]):
        assert main(words) == 0
        assert "ynthetic" in capsys.readouterr().out
    code, shown = _json(capsys, "data", "show", "toy/minute")
    assert (code, shown["meta"]["synthetic"]) == (0, True)


def test_data_check__is_content_with_what_was_written_and_names_what_was_damaged(
    capsys: pytest.CaptureFixture[str], csv: Path, store: str
) -> None:
    main(["ingest", "csv", "mine/acme", str(csv), "--zone", "UTC"])
    capsys.readouterr()
    code, checked = _json(capsys, "data", "check", "mine/acme")
    assert (code, checked["damage"]) == (0, [])
    _, shown = _json(capsys, "data", "show", "mine/acme")
    again, stored = _of_bars(checked), _of_bars(shown)
    assert again == stored, "what the ingest found in the bars, once more"
    chunk = next(file for file in sorted(Path(store).rglob("*")) if "/close/c" in file.as_posix() and file.is_file())
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.chmod(0o644)
    chunk.write_bytes(data)
    code, checked = _json(capsys, "data", "check", "mine/acme")
    assert code == 3
    assert "close" in str(checked["damage"])
    assert main(["data", "check", "mine/acme"]) == 3


@pytest.mark.parametrize("words", [["strategies"], ["strategies", "list"]], ids=" ".join)
def test_strategies__list_those_that_ship(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    from quantbot.strategies.registry import shipped

    assert main(words) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in shipped())


def test_strategies_show__has_bounds_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategies", "show", "sma_cross"]) == 0
    out = capsys.readouterr().out
    assert "a whole number from" in out
    code, shown = _json(capsys, "strategies", "show", "sma_cross")
    assert code == 0
    assert [parameter["name"] for parameter in shown["parameters"]][:2] == ["fast", "slow"]


HONEST = '''
from quantbot.parameters import integer
from quantbot.strategies.contract import Indicator, strategy
from quantbot.strategies.indicators import sma

@strategy(parameters=[integer("window", 10, 2, 100, "Bars in the mean.")], indicators={"mean": sma("window")})
def rule(close, mean):
    """Buy while the close is above its mean."""
    return 1.0 if close > mean else 0.0
'''
LEAK = '''
import numpy as np
from quantbot.strategies.contract import Indicator, strategy

def tomorrow(close):
    return np.append(close[1:], close[-1])

@strategy(indicators={"next_close": Indicator(tomorrow, ("close",), ())})
def rule(close, next_close):
    """Buy before a rise."""
    return 1.0 if next_close > close else 0.0
'''


def test_strategies_check__passes_an_honest_rule_and_fails_a_leak(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "honest.py").write_text(HONEST)
    (tmp_path / "leak.py").write_text(LEAK)
    assert main(["strategies", "check", f"{tmp_path / 'honest.py'}:rule", "--set", "window=20"]) == 0
    assert "no look-ahead" in capsys.readouterr().out
    assert main(["strategies", "check", f"{tmp_path / 'leak.py'}:rule"]) == 3
    assert "no look-ahead" not in capsys.readouterr().out
    code, report = _json(capsys, "strategies", "check", f"{tmp_path / 'leak.py'}:rule")
    assert (code, report["ok"]) == (3, False)


def test_strategies__that_cannot_be_loaded_are_two_with_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("def rule(:\n")
    for reference in (f"{tmp_path / 'broken.py'}:rule", f"{tmp_path / 'none.py'}:rule", "sma_cros"):
        assert main(["strategies", "check", reference]) in (2, 4)
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert "Traceback" not in err
