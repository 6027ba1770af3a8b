"""Every command that reads a run takes a portfolio's, by the words that fit it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app import terminal
from app.cli import main
from sweeps.results import open_run


@pytest.fixture(autouse=True)
def _plain_flags() -> Iterator[None]:
    yield
    terminal.flags = terminal.Flags()


@pytest.fixture
def spec(tmp_path: Path, stored: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANTBOT_STORE", stored[0])
    file = tmp_path / "weights.toml"
    file.write_text(open_run(stored[0], "weights").plan.spec_toml)
    return file


def test_backtest__of_a_portfolio_is_the_stored_row(
    capsys: pytest.CaptureFixture[str], spec: Path, stored: tuple[str, dict[str, str]]
) -> None:
    point = {"optimise.beta": 0.8, "execution.fee_bps": 5}
    words = ["--point", "optimise.beta=0.8,execution.fee_bps=5", "--fold", "train", "--json"]
    assert main(["backtest", str(spec), *words]) == 0
    found = json.loads(capsys.readouterr().out)["measures"]
    run = open_run(stored[0], "weights")
    row = run.row(run.trial_index(point, fold="train"))["measures"]
    assert found == {name: value if np.isfinite(value) else None for name, value in row.items()}


def test_backtest__of_a_portfolio_counts_decisions_and_writes_a_report(
    capsys: pytest.CaptureFixture[str], spec: Path, tmp_path: Path
) -> None:
    assert main(["backtest", str(spec), "--out", str(tmp_path / "report.html")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("portfolio/min_cvar (optimise.beta=0.95")
    assert "decisions" in said
    assert "growth of 1" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("words", [["sweep", "show"], ["sweep", "luck"], ["report", "--out", "run.html"]])
def test_command__reads_a_portfolios_run(
    capsys: pytest.CaptureFixture[str], spec: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words, "weights"]) == 0
    said = capsys.readouterr()
    assert "round trip" not in said.out
    assert "error" not in said.err


def test_plan__names_the_assets_that_are_taken_together(capsys: pytest.CaptureFixture[str], spec: Path) -> None:
    assert main(["sweep", "plan", str(spec)]) == 0
    said = capsys.readouterr().out
    assert ": AAA, BBB" in said
    assert "all: nothing to compute" in said


def test_null__takes_a_portfolio(capsys: pytest.CaptureFixture[str], spec: Path) -> None:
    assert main(["sweep", "null", "weights", "--n", "3", "--serial"]) == 0
    assert "real best" in capsys.readouterr().out
