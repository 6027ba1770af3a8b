"""What makes two runs one."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from quantbot.strategies.loader import bundle
from sweeps.identity import engine_source_digest, numeric_profile, run_identity
from sweeps.spec import load_spec, parse_spec

SPEC = {
    "version": 1,
    "data": {"dataset": "demo/sp500"},
    "strategy": {"name": "sma_cross"},
    "parameters": {"fast": {"values": [5, 10]}},
}
MINE = '''
from quantbot.parameters import integer
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import sma
from {helper} import margin

@strategy(parameters=[integer("window", 20, 2, 500, "Bars.")], indicators={{"mean": sma("window")}})
def mine(close: float, mean: float) -> float:
    """Buy above the mean."""
    return 1.0 if close > margin(mean) else 0.0
'''


def identity(version="ab" * 32, **changed):
    spec = parse_spec({**SPEC, **changed})
    return run_identity(spec, bundle(spec.strategy.name), version)


def test_identity__is_the_same_for_the_same_run_elsewhere():
    assert identity() == identity()
    assert len(identity()) == 64
    assert identity(run={"name": "another"}) == identity()
    assert identity(data={"dataset": "s3://bucket/prefix/datasets/demo/sp500"}) == identity()


def test_identity__changes_with_spec_strategy_and_data():
    others = {
        identity(version="cd" * 32),
        identity(parameters={"fast": {"values": [5, 11]}}),
        identity(strategy={"name": "ema_cross"}),
        identity(data={"dataset": "demo/sp500", "start": "2001-01-01"}),
        identity(execution={"fee_bps": 1}),
    }
    assert len(others - {identity()}) == 5


def test_identity__changes_with_the_engine(monkeypatch):
    before = identity()
    monkeypatch.setattr("sweeps.identity.engine_source_digest", lambda: "another source")
    assert identity() != before


@dataclass
class Written:
    folder: Path

    def identity(self):
        (self.folder / "mine.toml").write_text(
            'version = 1\n[data]\ndataset = "demo/sp500"\n[strategy]\nname = "mine.py:mine"\n'
        )
        spec = load_spec(self.folder / "mine.toml")
        return run_identity(spec, bundle(spec.reference), "ab" * 32)


@pytest.fixture
def written(tmp_path):
    def write(folder, strategy=MINE, helper="def margin(mean):\n    return mean * 1.01\n"):
        path = tmp_path / folder
        path.mkdir()
        (path / "mine.py").write_text(strategy.format(helper="margins_of_mine"))
        (path / "margins_of_mine.py").write_text(helper)
        return Written(path).identity()

    return write


def test_identity__follows_a_users_file_and_its_helper(written):
    first = written("a")
    assert written("b") == first  # the same source in another place
    assert written("c", helper="def margin(mean):\n    return mean * 1.02\n") != first
    assert written("d", strategy=MINE.replace("Buy above the mean.", "Buy well above the mean.")) != first


def test_engine_source__is_the_same_in_a_fresh_process():
    code = "from sweeps.identity import engine_source_digest, numeric_profile as p; print(engine_source_digest(), p())"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert fresh.stdout.strip() == f"{engine_source_digest()} {numeric_profile()}"


def test_profile__names_what_bits_depend_on():
    assert {"cpu", "cpu_features", "libc", "llvmlite", "machine", "numba", "numpy", "python"} <= set(numeric_profile())
    assert all(numeric_profile().values())
