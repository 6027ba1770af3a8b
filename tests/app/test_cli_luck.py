"""What the command says of luck, and of the trials behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import terminal
from app.cli import main
from app.format import MINUS, SPACE

Say = Callable[..., str]


@pytest.fixture(autouse=True)
def _plain_flags() -> Iterator[None]:
    yield
    terminal.flags = terminal.Flags()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]) -> Say:
    """Type a command that reads the store of runs; get what it said on stdout."""

    def run(*words: object, code: int = 0) -> str:
        monkeypatch.setenv("QUANTBOT_STORE", stored[0])
        capsys.readouterr()
        assert main([str(word) for word in words]) == code
        said = capsys.readouterr()
        return (said.out + said.err).replace(SPACE, " ").replace(MINUS, "-")

    return run


def test_luck__stands_under_the_best(say: Say) -> None:
    lines = say("sweep", "show", "three").splitlines()
    (luck,) = [line for line in lines if line.startswith("luck: ")]
    assert "; noise alone would reach about +" in luck
    plateau, best = (next(line for line in lines if line.startswith(word)) for word in ("plateau: ", "best: "))
    for line in (plateau, best):
        assert ", deflated Sharpe ratio 0." in line
        assert "[" in line
    assert any(
        line.startswith("tests: probability of overfitting ") and " the larger of SPA " in line for line in lines
    )
    assert any(line.startswith("warning: trading is free") or "round trips" in line for line in lines)
    assert (
        say("sweep", "luck", "three")
        == "\n".join(
            line for line in lines if line.startswith(("plateau: ", "best: ", "luck: ", "tests: ", "warning: "))
        )
        + "\n"
    )


def test_luck__for_scripts_is_the_same_document_everywhere(say: Say) -> None:
    document = json.loads(say("sweep", "luck", "three", "--json"))
    assert json.loads(say("sweep", "show", "three", "--json"))["luck"] == document
    assert document["chosen"] == "plateau"
    assert document["unknown"] == {}
    assert 0 < document["deflated_sharpe"] < document["probabilistic_sharpe"] < 1


def test_luck__of_an_unfinished_run_is_unknown(say: Say) -> None:
    assert "luck: unknown till the run is finished" in say("sweep", "show", "partial")
    assert "the run is not finished" in say("sweep", "luck", "partial")


def test_ledger__lists_families_and_the_runs_of_one(say: Say) -> None:
    everything = say("ledger")
    assert "sma_cross" in everything
    assert "brittle.py:brittle" in everything
    one = say("ledger", "sma_cross on test/pair")
    assert "each counted once" in one
    for name in ("three", "two", "sampled"):
        assert name in one
    (document,) = json.loads(say("ledger", "sma_cross", "--json"))
    assert document["n_trials"] <= sum(entry["n_trials"] for entry in document["entries"])
    assert document["effective"]["n_effective"] < document["n_choices"]
    assert "must mean one family" in say("ledger", "momentum", code=4)


def test_null__shows_where_the_real_best_stands(say: Say, tmp_path: Path) -> None:
    said = say("sweep", "null", "two", "--n", 5, "--serial")
    assert "real best" in said
    assert "noise, median" in said
    document = json.loads(say("sweep", "null", "two", "--n", 5, "--serial", "--json"))
    assert document["n"] == 5
    assert f"{document['p_value']:.3f}: the share" in said
    report = tmp_path / "two.html"
    say("report", "two", "--out", report)
    html = report.read_text(encoding="utf-8")
    assert "<h2>Noise test</h2>" in html
    assert f"p = {document['p_value']:.3f}" in html
    assert "method must be one of" in say("sweep", "null", "two", "--method", "x", "--serial", code=2)
