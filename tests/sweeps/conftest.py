"""A small market and small runs over it, for every test of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.bars import BarColumns, BarsMeta, write_bars
from datasets.store import Store, open_store
from sweeps.plan import Plan, make_plan
from sweeps.spec import parse_spec
from sweeps.submission import submit

DAY_NS = 86_400 * 10**9
SPEC: dict[str, Any] = {
    "version": 1,
    "run": {"name": "small"},
    "data": {"dataset": "test/small"},
    "strategy": {"name": "sma_cross"},
    "parameters": {
        "fast": {"start": 3, "stop": 12, "step": 1},
        "slow": {"values": [8, 16, 24, 32]},
        "execution.fee_bps": {"values": [0, 5]},
    },
    "search": {"where": "fast < slow"},
    "folds": {"method": "holdout", "test": "25%"},
    "execution": {"slippage_bps": 1},
}
# Decides in plain Python, so a block takes a good part of a second and a test can do things meanwhile.
SLOW = {
    **SPEC,
    "run": {"name": "slow"},
    "strategy": {"name": "sma_cross", "plain_python": True},
    "folds": {"method": "none"},
}


def write_market(root: Store, n_bars: int = 600) -> None:
    """Write the dataset `test/small`: two assets of daily bars."""
    columns = {}
    for number, symbol in enumerate(("AAA", "BBB")):
        draws = np.random.default_rng(3 + number)
        close = 100 * np.exp(np.cumsum(draws.normal(0, 0.01, n_bars)))
        opened = close * np.exp(draws.normal(0, 0.002, n_bars))
        columns[symbol] = BarColumns(
            ts_end_ns=(12_000 + np.arange(n_bars, dtype=np.int64)) * DAY_NS,
            open=opened,
            high=np.maximum(opened, close) * 1.001,
            low=np.minimum(opened, close) * 0.999,
            close=close,
            volume=np.full(n_bars, 1000.0),
        )
    write_bars(root, "test/small", columns, BarsMeta("A small market", "tests", "1d", 252.0, synthetic=True), {})


class Small:
    """Makes stores with the small market in them, and submits runs there."""

    spec = SPEC
    slow = SLOW

    def root(self, url: str | Path, n_bars: int = 600) -> Store:
        """Return a store with the market."""
        store = open_store(url)
        write_market(store, n_bars)
        return store

    def plan(self, root: Store, spec: dict[str, Any] | None = None, points: int = 16) -> Plan:
        """Plan a run in blocks of so many points."""
        return make_plan(parse_spec(spec or SPEC), root, block_points=points, probe=False)

    def submit(self, root: Store, spec: dict[str, Any] | None = None, points: int = 16) -> str:
        """Submit a run in blocks of so many points."""
        return submit(parse_spec(spec or SPEC), root, plan=self.plan(root, spec, points))


@pytest.fixture(scope="session")
def small() -> Small:
    """Return the maker of small runs."""
    return Small()


@pytest.fixture
def root(small: Small, tmp_path: Path) -> Store:
    """Return a fresh store on disk with the small market."""
    return small.root(tmp_path / "store")


@pytest.fixture
def strategy_file(tmp_path: Path) -> Callable[[str], str]:
    """Return a writer of a user's strategy: its body goes in, the reference for a spec comes out."""

    def write(body: str, imports: str = "") -> str:
        lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
        (tmp_path / "mine.py").write_text(
            f"""{imports}
from quantbot.parameters import integer
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import sma


@strategy(
    parameters=[integer("fast", 5, 2, 500, "Bars in the fast mean.", unit="bars")],
    indicators={{"mean": sma("fast")}},
)
def mine(close, mean, fast):
    '''Hold above the mean.'''
{lines}
""",
            encoding="utf-8",
        )
        return f"{tmp_path / 'mine.py'}:mine"

    return write
