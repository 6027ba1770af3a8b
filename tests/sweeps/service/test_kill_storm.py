"""Kills at random among real processes: the same digest, and no block that was in the store begun again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STORM = Path(__file__).parents[3] / "bench" / "kill_storm.py"


def storm(folder: Path, *options: str) -> list[dict[str, object]]:
    out = folder / "rounds.jsonl"
    done = subprocess.run(
        [sys.executable, str(STORM), "--folder", str(folder), "--out", str(out), *options],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.slow
def test_killed_worker_scheduler_and_runner__change_no_result(tmp_path: Path) -> None:
    small = ("--bars", "3000", "--points", "8", "--lease", "1.5", "--limit", "90")
    rounds = storm(tmp_path, *small, "--recovery", "1")
    assert [row["wrong"] for row in rounds] == [[], [], [], []]
    assert sum(len(row["kills"]) for row in rounds) == 4  # type: ignore[arg-type,misc]


@pytest.mark.slow
def test_storm__changes_no_result_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    small = ("--bars", "3000", "--points", "8", "--lease", "1.5", "--limit", "90")
    assert len(storm(tmp_path, *small, "--rounds", "2")) == 2
    rounds = storm(tmp_path, *small, "--rounds", "3")
    assert [row["round"] for row in rounds] == [0, 1, 2]
    assert [row["n_begun_again"] for row in rounds] == [0, 0, 0]
