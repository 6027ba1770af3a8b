"""`quantbot backtest` and its report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app import terminal
from app.backtest import run_backtest
from app.cli import main
from app.format import MINUS, SPACE
from app.report import report
from datasets.store import open_store

SPEC = """
version = 1
[run]
name = "small"
[data]
dataset = "test/pair"
[strategy]
name = "sma_cross"
[parameters]
fast = { start = 3, stop = 8, step = 1 }
slow = { values = [10, 20] }
[folds]
method = "holdout"
test = "25%"
"""


@pytest.fixture(autouse=True)
def _plain_flags() -> Iterator[None]:
    yield
    terminal.flags = terminal.Flags()


@pytest.fixture
def spec(tmp_path: Path, stored: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANTBOT_STORE", stored[0])
    file = tmp_path / "small.toml"
    file.write_text(SPEC)
    return file


def test_backtest__shows_measures_beside_buy_and_hold(capsys: pytest.CaptureFixture[str], spec: Path) -> None:
    assert main(["backtest", str(spec), "--point", "fast=4,slow=15"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("sma_cross (fast=4, slow=15) on AAA of test/pair@")
    line = next(line for line in said.out.splitlines() if line.startswith("Total return"))
    assert len(re.findall(rf"[{MINUS}+][\d.]+{SPACE}%", line)) == 2
    assert re.search(r"\d+ orders, \d+ trades", said.out)
    assert said.err == ""


def test_backtest__on_the_grid_is_the_stored_row(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, stored: tuple[str, dict[str, str]]
) -> None:
    from sweeps.results import open_run

    run = open_run(stored[0], "one")
    spec = tmp_path / "one.toml"
    spec.write_text(run.plan.spec_toml)
    for fold in ("all", "train", "test"):
        line = ["backtest", str(spec), "-p", "fast=5", "--fold", fold, "--json", "--store", stored[0]]
        assert main(line) == 0
        found = json.loads(capsys.readouterr().out)["measures"]
        row = run.row(run.trial_index({"fast": 5}, "AAA", fold))["measures"]
        assert {name: found[name] for name in row} == {
            name: value if np.isfinite(value) else None for name, value in row.items()
        }


def test_backtest__decides_alike_in_plain_python(capsys: pytest.CaptureFixture[str], spec: Path) -> None:
    line = ["backtest", str(spec), "-p", "fast=4,slow=15", "--asset", "BBB", "--json"]
    assert main(line) == 0
    compiled = json.loads(capsys.readouterr().out)
    assert main([*line, "--plain-python"]) == 0
    assert json.loads(capsys.readouterr().out) == compiled


def test_backtest__says_which_defaults_stood_in(capsys: pytest.CaptureFixture[str], spec: Path) -> None:
    assert main(["backtest", str(spec), "--point", "slow=30"]) == 0
    err = capsys.readouterr().err
    assert "fast" in err
    assert "default" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--point", "fats=3"], 2, "did you mean 'fast'"),
        (["--point", "fast=-3"], 2, "fast must be"),
        (["--point", "execution.fee_bps=-1"], 2, "fee_bps must be"),
        (["--asset", "AAB"], 4, "did you mean 'AAA'"),
        (["--fold", "tset"], 4, "did you mean 'test'"),
    ],
)
def test_backtest__refuses_what_is_not_there(
    capsys: pytest.CaptureFixture[str], spec: Path, words: list[str], code: int, said: str
) -> None:
    assert main(["backtest", str(spec), *words]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


def test_report__needs_nothing_from_anywhere_and_shows_words_as_they_are(spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report.html"
    assert main(["backtest", str(spec), "--point", "fast=4,slow=15", "--out", str(out), "-q"]) == 0
    html = out.read_text(encoding="utf-8")
    # plotly's own source names addresses of map tiles; what the page itself would load has a src or an href.
    assert not re.search(r"<(script|link|img|iframe)[^>]*\b(src|href)=", html)
    for word in ("Measures", "Returns by month", "Trades", "Settings", "buy and hold", "execution.fee_bps"):
        assert word in html
    assert not list(out.parent.glob("*.part-*"))


def test_report__escapes_what_a_dataset_says_of_itself(spec: Path, stored: tuple[str, dict[str, str]]) -> None:
    from dataclasses import replace

    trial = run_backtest(spec, open_store(stored[0]), {"fast": 4, "slow": 15})
    html = report(replace(trial, asset="<script>alert(1)</script>", remarks=("<b>bold</b>",)))
    assert "<script>alert" not in html
    assert "<b>bold" not in html


def test_report__that_cannot_be_written_is_a_store_error(
    capsys: pytest.CaptureFixture[str], spec: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    code = main(["backtest", str(spec), "-p", "fast=4,slow=15", "--out", str(tmp_path / "file" / "x.html")])
    assert code == 5
    assert "report can't be written" in capsys.readouterr().err


def test_monthly_returns__compound_to_the_total(spec: Path, stored: tuple[str, dict[str, str]]) -> None:
    trial = run_backtest(spec, open_store(stored[0]), {"fast": 4, "slow": 15})
    years, table = trial.monthly_returns()
    assert years == [2019, 2020]
    assert table.shape == (2, 13)
    months = table[:, :12]
    total = np.prod(1 + months[np.isfinite(months)]) - 1
    assert total == pytest.approx(trial.replay.row["total_return"], rel=1e-12)
    assert np.prod(1 + table[:, 12]) - 1 == pytest.approx(total, rel=1e-12)


def test_a_trial_without_trades__says_so_in_place_of_a_number(spec: Path, stored: tuple[str, dict[str, str]]) -> None:
    trial = run_backtest(spec, open_store(stored[0]), {"fast": 4, "slow": 15, "execution.max_exposure": 0.0})
    table = {label: value for label, value, _ in trial.table()}
    assert table["Hit rate"] == "no trades"
    assert "No trade." in report(trial)
