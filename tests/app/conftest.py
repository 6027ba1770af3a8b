"""A small store with a run of every kind that a page must be able to show."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

DAY_NS = 86_400 * 10**9
N_BARS = 400
BRITTLE = '''
from quantbot.parameters import integer, number
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import sma


@strategy(
    parameters=[
        integer("window", 20, 2, 500, "Bars in the mean.", unit="bars"),
        number("depth", 0.03, 0.0, 0.5, "How far below the mean to buy."),
    ],
    indicators={"mean": sma("window")},
)
def brittle(close: float, mean: float, window: float, depth: float, position: float) -> float:
    """Buy below the mean; break down where window and depth are both large."""
    if window > 14.0 and depth > 0.015:
        return (close - close) / (close - close)
    if close < mean * (1.0 - depth):
        return 1.0
    return 0.0 if close > mean else position
'''
HEAD = """
version = 1
[run]
name = "{name}"
[data]
dataset = "test/pair"
{data}
[strategy]
name = "{strategy}"
"""


WEIGHTS = """
version = 1
[run]
name = "weights"
engine = "portfolio"
[data]
dataset = "test/pair"
[scenarios]
window = 40
[constraints]
max_weight = 0.8
[constraints.groups]
one = { assets = ["BBB"], low = 0.1 }
[parameters]
"optimise.beta" = { values = [0.8, 0.9] }
"execution.fee_bps" = { values = [0, 5] }
"""


def add_dataset(url: str) -> None:
    """Write two assets of wandering daily bars as test/pair."""
    from datasets.bars import write_bars
    from datasets.columns import BarColumns
    from datasets.schema import BarsMeta
    from datasets.store import open_store

    rng = np.random.default_rng(11)
    stamps = np.datetime64("2019-01-02T21:00", "ns").astype(np.int64) + DAY_NS * np.arange(N_BARS)
    columns = {}
    for symbol in ("AAA", "BBB"):
        close = 100 * np.cumprod(1 + 0.012 * rng.standard_normal(N_BARS) + 0.0004)
        start = np.concatenate([[100.0], close[:-1]])
        high, low = np.maximum(start, close) * 1.004, np.minimum(start, close) * 0.996
        columns[symbol] = BarColumns(stamps, start, high, low, close, np.full(N_BARS, 1e5))
    meta = BarsMeta("Two wandering assets", "made by the test", "1d", 252.0, synthetic=True, zone="America/New_York")
    quality = {"findings": [{"asset": "AAA", "rule": "outlier", "severity": "warning", "count": 1,
                             "text": "a jump", "places": [{"ts_end_ns": int(stamps[7]), "text": "+9 %"}]}]}  # fmt: skip
    write_bars(open_store(url), "test/pair", columns, meta, quality)


def add_run(url: str, text: str, *, keep: int | None = None, folder: Path | None = None) -> str:
    """Run a spec serially; with `keep`, only so many of its blocks are left, as if its driver had died early."""
    from datasets.store import open_store
    from sweeps.executors import serial
    from sweeps.plan import make_plan
    from sweeps.run import drive
    from sweeps.runstore import RunStore
    from sweeps.spec import parse_spec
    from sweeps.submission import submit

    root = open_store(url)
    spec = parse_spec(text, folder=folder)
    plan = make_plan(spec, root, block_points=10, probe=False)
    identity = submit(spec, root, plan=plan)
    with serial() as executor:
        drive(root, identity, executor)
    if keep is not None:
        run = RunStore(root, identity).store
        for key in run.list():
            late = key.startswith("blocks/") and int(key[7:15]) >= keep
            late = late or (key.startswith("phases/") and int(key[7:13]) >= keep)
            if late or key.startswith(("manifest", "rows.zarr", "lease")):
                run.delete(key)
    return identity


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """A store's URL, and the identities of its runs by name."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "brittle.py").write_text(BRITTLE)
    url = str(folder / "store")
    add_dataset(url)

    def spec(
        name: str, parameters: str, *, strategy: str = "sma_cross", data: str = 'assets = ["AAA"]', more: str = ""
    ) -> str:
        return HEAD.format(name=name, strategy=strategy, data=data) + f"[parameters]\n{parameters}\n{more}"

    three = (
        'fast = { values = [3, 5, 8] }\nslow = { values = [10, 20, 30] }\n"execution.fee_bps" = { values = [0, 10] }'
    )
    two = "fast = { start = 3, stop = 9, step = 1 }\nslow = { start = 6, stop = 26, step = 4 }"
    holdout = '[folds]\nmethod = "holdout"\ntest = "25%"'
    specs = {
        "three": (spec("three", three, data="", more=holdout), None),
        "two": (spec("two", two, more='[search]\nwhere = "fast < slow"'), None),
        "one": (spec("one", "fast = { start = 3, stop = 12, step = 1 }", more=holdout), None),
        "none": (spec("none", "fast = 5\nslow = 20"), None),
        "words": (
            spec("words", 'fast = { values = [3, 5] }\n'
                 '"execution.fill" = { values = ["next_open", "same_close"] }'), None,
        ),
        "sampled": (
            spec("sampled", "fast = { low = 3, high = 9 }\nslow = { low = 10, high = 40 }",
                 more='[search]\nmethod = "sobol"\nn = 32\nseed = 5'), None,
        ),
        "learning": (
            spec("learning", "fast = { low = 3, high = 9 }\nslow = { low = 10, high = 40 }",
                 more='[search]\nmethod = "bayes"\nn = 25\nbatch = 10'), 2,
        ),
        "halved": (
            spec("halved", two, more='[search]\nmethod = "halving"\ninitial = "grid"\nrungs = 2\n' + holdout), None,
        ),
        "five": (
            spec("five", three.replace("[0, 10]", "[0, 5, 10]") + '\n"execution.slippage_bps" = { values = [0, 3] }\n'
                 '"execution.fill" = { values = ["next_open", "same_close"] }'), None,
        ),
        "locked": (spec("locked", two.replace("3,", "6,"), more=holdout + "\nlocked = true"), None),
        "flat": (  # the slow mean is there on the last bar at best: no trade, so no Sharpe ratio
            spec("flat", "fast = { start = 5, stop = 8, step = 1 }\nslow = { values = [400, 410, 420] }"), None,
        ),
        "partial": (spec("partial", two.replace("3,", "4,")), 2),
        "begun": (spec("begun", two.replace("3,", "5,")), 0),
        "failing": (
            spec("failing", "window = { start = 5, stop = 25, step = 5 }\ndepth = { values = [0.01, 0.02, 0.03] }",
                 strategy="brittle.py:brittle"), None,
        ),
        "weights": (WEIGHTS + holdout, None),
    }  # fmt: skip
    identities = {name: add_run(url, text, keep=keep, folder=folder) for name, (text, keep) in specs.items()}
    return url, identities


@pytest.fixture
def store_of(tmp_path: Path) -> Callable[[str], str]:
    """Copy a store, so that a test may change it."""

    def copy(url: str) -> str:
        target = tmp_path / "copy"
        shutil.copytree(url, target)
        return str(target)

    return copy


@pytest.fixture(autouse=True)
def _own_caches(request: pytest.FixtureRequest) -> Iterator[None]:
    """Empty the pages' caches around a test of pages: they are named by the store's URL, which tests reuse."""
    yield
    if "test_pages" in request.node.nodeid:
        import streamlit as st

        st.cache_resource.clear()
        st.cache_data.clear()
