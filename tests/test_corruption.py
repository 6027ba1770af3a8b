"""Damage to whatever a store holds is found by whoever reads it; the long version is `bench/corruption.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from datasets.store import open_store

_SPEC = importlib.util.spec_from_file_location("corruption", Path(__file__).parents[1] / "bench" / "corruption.py")
assert _SPEC is not None
assert _SPEC.loader is not None
corruption: Any = importlib.util.module_from_spec(_SPEC)
sys.modules["corruption"] = corruption
_SPEC.loader.exec_module(corruption)


def attack(url: str, count: int, seed: int) -> Any:
    root = open_store(url)
    return corruption.attack(root, corruption.build(root, small=True), count, seed, lambda _: None)


def test_damage__becomes_no_number_and_names_its_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("N_DRAWS", "_SPA_DRAWS"):
        monkeypatch.setattr(f"sweeps.assessment.{name}", 100)
    tally = attack(str(tmp_path), 80, seed=11)
    assert tally.n == 80
    assert (tally.wrong, tally.unseen, tally.unnamed) == ([], [], [])
    assert len({kind for kind, _ in tally.by_reader}) == 4


@pytest.mark.slow
def test_damage__becomes_no_number_on_any_store(store_url: str) -> None:
    tally = attack(store_url, 200, seed=12)
    assert (tally.wrong, tally.unseen, tally.unnamed) == ([], [], [])
