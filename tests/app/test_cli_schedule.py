"""``quantbot schedule``: what a person and a script read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from schedules import Vendor, write_refresh

from app import terminal
from app.cli import main
from app.terminal import ExitCode
from sweeps.schedule.rules import ns_of


@pytest.fixture(autouse=True)
def _plain_flags() -> Iterator[None]:
    yield
    terminal.flags = terminal.Flags()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one schedule that refreshes bars, and an own store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUANTBOT_STORE", str(tmp_path / "store"))
    write_refresh(tmp_path / "schedules", "ny", calendar="XNYS", zone="America/New_York", when='after_close = "XNYS"')
    Vendor("XNYS", "America/New_York", tmp_path / "schedules" / "ny.csv", 5).write(ns_of("2026-03-06T23:00Z"))
    return tmp_path


def read(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["schedule", *words]) == code, capsys.readouterr()
    return capsys.readouterr().out


def test_run__once_makes_a_job_and_list_says_where_its_report_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nothing is due" in read(capsys, "run", "--once")
    done = json.loads(read(capsys, "run", "--once", "--now", "--json"))
    assert [job["outcome"] for job in done["finished"]] == ["ok"]
    (job,) = json.loads(read(capsys, "list", "--json"))
    assert (job["schedule"], job["state"]) == ("ny", "ok")
    assert "<h1>ny:" in Path(job["report"].removeprefix("file://")).read_text()


def test_run__once_ends_with_its_own_code_when_a_job_failed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "schedules" / "ny.toml"
    file.write_text(file.read_text().replace("retries = 1", "retries = 0"))
    (folder / "schedules" / "ny.csv").write_text("torn")
    assert "ended failed" in read(capsys, "run", "--once", "--now", code=ExitCode.SOME_FAILED)


def test_check__says_everything_that_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "at each close of XNYS" in read(capsys, "check")
    file = folder / "schedules" / "ny.toml"
    file.write_text(file.read_text().replace("XNYS", "XNYZ").replace('format = "csv"', 'format = "cvs"'))
    assert main(["schedule", "check"]) == ExitCode.BAD_INPUT
    said = capsys.readouterr().err
    assert "ny.toml: when: calendar 'XNYZ' is unknown" in said
    assert "ny.toml: refresh[0].format" in said


def test_check__misses_data_that_nothing_refreshes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "schedules" / "x.toml").write_text(
        'version = 1\n[when]\nafter_close = "XNYS"\n[[run]]\nspec = "../spec/x.toml"\n'
    )
    (folder / "spec").mkdir()
    (folder / "spec" / "x.toml").write_text(
        'version = 1\ndata = { dataset = "mine/none" }\nstrategy = { name = "sma_cross" }\n'
    )
    assert main(["schedule", "check"]) == ExitCode.BAD_INPUT
    assert "x.toml: ../spec/x.toml: data.dataset: there is no dataset 'mine/none'" in capsys.readouterr().err


def test_pause__shows_in_next_and_unknown_names_are_met_with_the_nearest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read(capsys, "run", "--once")
    assert json.loads(read(capsys, "pause", "ny", "--json")) == {"schedule": "ny", "paused": True}
    assert "paused" in read(capsys, "next", "-n", "1")
    assert main(["schedule", "resume", "nyy"]) == ExitCode.NOT_FOUND
    assert "did you mean 'ny'?" in capsys.readouterr().err


def test_now__goes_with_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", "run", "--now"]) == ExitCode.BAD_INPUT
    assert "--once" in capsys.readouterr().err
