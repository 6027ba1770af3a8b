"""The cache of machine code: filled once, found by other processes, never stale, never fatal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quantbot import kernels

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from quantbot.kernels import generated, inlined, jit
from quantbot.strategies.kernels import compilable
import helper

text = '''def kernel(values):
    total = 0.0
    for item in values:
        total += value(item)
    return total
'''
kernel = jit(generated("kernel", text, {"value": inlined(compilable(helper.value))}))
print(kernel(np.arange(4.0)), "found" if sum(kernel.stats.cache_hits.values()) else "compiled")
"""


def start(folder: Path, cache: Path) -> subprocess.Popen[str]:
    """Run the kernel in a process of its own."""
    environment = {**os.environ, "QUANTBOT_CACHE_DIR": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )


def answer(process: subprocess.Popen[str]) -> list[str]:
    """Return what it computed, and whether it compiled."""
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return out.split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("def scale(x):\n    return 2.0 * x\n\ndef value(x):\n    return scale(x)\n")
    return tmp_path


def compiled(cache: Path) -> list[Path]:
    return sorted((cache / "kernels").glob("kernel-*.bin"))


def test_cache__is_filled_by_one_of_many_and_found_by_the_others(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    answers = [answer(process) for process in [start(folder, cache) for _ in range(3)]]
    assert sorted(answers) == [["12.0", "compiled"], ["12.0", "found"], ["12.0", "found"]]
    assert len(compiled(cache)) == 1


def test_cache__never_serves_a_helper_that_was_edited_and_mends_a_damaged_file(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert answer(start(folder, cache)) == ["12.0", "compiled"]
    (path,) = compiled(cache)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert answer(start(folder, cache)) == ["12.0", "compiled"]
    helper = folder / "helper.py"
    helper.write_text(helper.read_text().replace("2.0", "3.0"))
    assert answer(start(folder, cache)) == ["18.0", "compiled"]
    assert len(compiled(cache)) == 2


def test_cache__that_cannot_be_written_is_gone_without(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert answer(start(folder, tmp_path / "file" / "cache")) == ["12.0", "compiled"]


def test_cache_dir__is_the_environments_or_the_homes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QUANTBOT_CACHE_DIR", str(tmp_path / "mine"))
    assert kernels.cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("QUANTBOT_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kernels.cache_dir() == tmp_path / ".cache" / "quantbot"
