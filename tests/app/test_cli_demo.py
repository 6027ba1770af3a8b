"""`quantbot demo`: the whole story, twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_demo__runs_thousands_of_trials_and_is_quick_the_second_time(tmp_path: Path) -> None:
    pytest.importorskip("arch", reason="the demo's bars are in the package arch: pip install 'quantbot[demo]'")
    line = [sys.executable, "-m", "app", "demo", "--no-serve", "--store", str(tmp_path / "store")]
    first = subprocess.run([*line, "--json"], capture_output=True, text=True, cwd=ROOT, check=True, timeout=280)
    document = json.loads(first.stdout)
    assert document["n_trials_computed"] == document["n_trials"] >= 5_000
    assert document["best"][0]["n_neighbours"] > 0
    assert document["plateau"]["n_neighbours"] > 0
    second = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=True, timeout=120)
    assert "nothing to compute" in second.stdout
    assert document["result_digest"][:12] in second.stdout
    assert "plateau: " in second.stdout
    assert "quantbot app --store" in second.stdout
