"""`quantbot store`."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app import terminal
from app.cli import main
from datasets.bars import BarColumns, BarsMeta, write_bars
from datasets.store import Store, open_store
from sweeps.executors import serial
from sweeps.plan import make_plan
from sweeps.run import drive
from sweeps.runstore import forget
from sweeps.spec import parse_spec
from sweeps.submission import submit

SPEC = {
    "version": 1,
    "run": {"name": "none"},
    "data": {"dataset": "test/pair"},
    "strategy": {"name": "sma_cross"},
    "parameters": {"fast": {"values": [3, 5]}, "slow": 20},
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store with one dataset and one finished run."""
    folder = tmp_path_factory.mktemp("original")
    root = open_store(folder)
    close = 100 + np.sin(np.arange(200.0))
    stamps = (10_000 + np.arange(200)) * 86_400 * 10**9
    columns = {"AAA": BarColumns(stamps, close, close + 1, close - 1, close, np.full(200, 1e5))}
    write_bars(root, "test/pair", columns, BarsMeta("A wave", "tests", "1d", 252.0, synthetic=True), {})
    spec = parse_spec(SPEC)
    identity = submit(spec, root, plan=make_plan(spec, root, probe=False))
    with serial() as executor:
        drive(root, identity, executor)
    return folder


@pytest.fixture
def root(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    shutil.copytree(original, tmp_path / "store")
    monkeypatch.setenv("QUANTBOT_STORE", str(tmp_path / "store"))
    yield open_store(tmp_path / "store")
    terminal.flags = terminal.Flags()
    forget()


def test_store_check__names_the_object_and_repair_computes_it_again(
    root: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", "check"]) == 0
    assert "all as written" in capsys.readouterr().out
    key = next(key for key in root.list("runs/") if key.endswith(".rows"))
    root.put(key, root.get(key)[:-1])
    forget()
    assert main(["store", "check"]) == 3
    out = capsys.readouterr().out
    assert key in out
    assert "must have" in out
    assert "quantbot store repair" in out
    assert main(["store", "repair", "none", "--serial", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["left"] == []
    assert document["repaired"][0]["n_computed"] == 1
    assert main(["store", "check", "--only", "none"]) == 0


def test_store_repair__says_which_dataset_to_ingest_again(root: Store, capsys: pytest.CaptureFixture[str]) -> None:
    key = next(key for key in root.list("datasets/") if "/high/c/" in key)
    root.delete(key)
    assert main(["store", "repair"]) == 3
    out = capsys.readouterr().out
    assert key in out
    assert "to be ingested again: test/pair@" in out


def test_store_gc__shows_before_it_removes(root: Store, capsys: pytest.CaptureFixture[str]) -> None:
    root.put("datasets/mine/half/w=0123456789ab/x", b"left")
    assert main(["store", "gc"]) == 0
    assert "nothing older than 24 h" in capsys.readouterr().out
    for folder, _, files in os.walk(root.url.removeprefix("file://")):
        for file in files:
            os.utime(Path(folder) / file, (time.time() - 10**6,) * 2)
    assert main(["store", "gc", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["garbage"]
    assert found["keys"] == ["datasets/mine/half/w=0123456789ab/x"]
    assert not found["removed"]
    assert main(["store", "gc", "--remove"]) == 0
    assert "removed" in capsys.readouterr().out
    assert not root.exists("datasets/mine/half/w=0123456789ab/x")


def test_store__of_an_unknown_name_says_so(root: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "check", "--only", "nothing"]) == 4
    assert "no dataset 'nothing'" in capsys.readouterr().err
