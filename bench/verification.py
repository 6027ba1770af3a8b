"""What comparing with digests costs of what decoding costs, for each kind of object that is read for its numbers.

CPU time of this process, the median of some rounds, each as a new process would read: nothing is remembered.
Verifying is all that stands between an object's bytes and whoever asked for them, digests, copies and bookkeeping;
reading the bytes from the store is counted by itself.

    python bench/verification.py
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets import digests
from datasets.bars import BarColumns, BarsMeta, write_bars
from datasets.catalog import Catalog
from datasets.manifest import VerifiedObjects
from datasets.store import Store, open_store
from datasets.store_file import FileStore
from datasets.synthetic_book import synthetic_book
from quantbot.engine import Rows
from sweeps import rows
from sweeps.executors import serial
from sweeps.plan import make_plan
from sweeps.publish import open_rows
from sweeps.results import open_run
from sweeps.run import drive
from sweeps.runstore import RunStore, forget
from sweeps.spec import parse_spec
from sweeps.submission import submit

ROUNDS = 9
SPEC = """
version = 1
[run]
name = "cost"
[data]
dataset = "cost/days"
[strategy]
name = "sma_cross"
[parameters]
fast = { start = 2, stop = 26, step = 1 }
slow = { start = 27, stop = 126, step = 1 }
"execution.fee_bps" = { start = 0, stop = 4, step = 1 }
"execution.stop_loss" = { values = [0, 0.02, 0.05, 0.1] }
"execution.fill" = { values = ["next_open", "same_close"] }
"""


@dataclass
class Cost:
    """CPU seconds of one reading."""

    store: float = 0.0
    verify: float = 0.0
    decode: float = 0.0


class Meter:
    """Sums the CPU time that calls take, in whatever thread they are made."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call`, metered."""

        def metered(*given: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return call(*given, **named)
            finally:
                spent = time.thread_time() - began
                with self._lock:
                    self.seconds += spent

        return metered


@contextmanager
def patched(owner: Any, name: str, meter: Meter) -> Iterator[None]:
    """Meter a function of a class or module meanwhile."""
    plain = getattr(owner, name)
    setattr(owner, name, meter.timed(plain))
    try:
        yield
    finally:
        setattr(owner, name, plain)


def cost(read: Callable[[], object]) -> Cost:
    """Return what `read` costs."""
    found = []
    for _ in range(ROUNDS):
        digests.forget()
        forget()
        fetching, giving, comparing = Meter(), Meter(), Meter()
        with (
            patched(FileStore, "get", fetching),
            patched(VerifiedObjects, "get", giving),
            patched(rows, "differs", comparing),
        ):
            began = time.process_time()
            read()
            whole = time.process_time() - began
        verify = comparing.seconds + (giving.seconds - fetching.seconds if giving.seconds else 0.0)
        found.append(Cost(fetching.seconds, verify, whole - fetching.seconds - verify))
    return Cost(*(statistics.median(getattr(each, name) for each in found) for name in ("store", "verify", "decode")))


def bars(root: Store, n: int) -> Callable[[], object]:
    """Write an asset of `n` minutes, and return what reads them."""
    draws = np.random.default_rng(0)
    close = np.round(100 * np.exp(np.cumsum(draws.normal(0, 1e-4, n))), 2)
    first = np.concatenate([[100.0], close[:-1]])
    stamps = (10_000 + np.arange(n, dtype=np.int64)) * 60 * 10**9
    high, low = np.maximum(first, close) + 0.01, np.minimum(first, close) - 0.01
    columns = BarColumns(stamps, first, high, low, close, np.round(draws.lognormal(5, 1, n)))
    meta = BarsMeta("A million minutes", "drawn", "1min", 252.0 * 390, synthetic=True)
    write_bars(root, "cost/bars", {"AAA": columns}, meta, {})
    return lambda: fresh(root, "cost/bars").columns("AAA")


def events(root: Store, n: int) -> Callable[[], object]:
    """Write a session of `n` events, and return what reads them."""
    drawn: Any = synthetic_book(root, "cost/book", n, 1).dataset
    session = drawn.sessions("SYN")[0]
    return lambda: fresh(root, "cost/book").events("SYN", session)


def fresh(root: Store, name: str) -> Any:
    """Open a dataset with no bytes of it in memory."""
    return Catalog(root).open_any(name)


def block(n: int, n_measures: int) -> Callable[[], object]:
    """Encode a block of rows, and return what decodes it."""
    draws = np.random.default_rng(0)
    values = {f"measure_{number}": draws.normal(size=n) for number in range(n_measures)}
    found = Rows(values, np.zeros(n, np.uint8))
    data = rows.encode(rows.describe("ab" * 32, 0, 0, found), found)
    return lambda: rows.decode(data)


def finished(root: Store) -> RunStore:
    """Finish a run of 10^5 trials over five axes."""
    draws = np.random.default_rng(0)
    close = np.cumprod(1 + 0.01 * draws.normal(size=400), dtype=np.float64)
    stamps = (10_000 + np.arange(400, dtype=np.int64)) * 86_400 * 10**9
    columns = BarColumns(stamps, close, close * 1.01, close * 0.99, close, np.full(400, 1e5))
    write_bars(root, "cost/days", {"AAA": columns}, BarsMeta("Days", "drawn", "1d", 252.0, synthetic=True), {})
    spec = parse_spec(SPEC)
    identity = submit(spec, root, plan=make_plan(spec, root, probe=False))
    with serial() as executor:
        drive(root, identity, executor)
    return RunStore(root, identity)


def costs(folder: str) -> Iterator[tuple[str, Cost]]:
    """Yield what is read, and what that costs."""
    root = open_store(folder)
    run = finished(root)
    readers: dict[str, Callable[[], object]] = {
        "bars, 10^6 x 6": bars(root, 1_000_000),
        "events, 10^6": events(root, 2**20),
        "published rows, 10^5 x 19": lambda: open_rows(run).load(),
        "a run's surface, 10^5 trials": lambda: open_run(root, run.identity).surface("sharpe", fold="all"),
        "a block as it is stored, 10^5 x 20": block(100_000, 20),
    }
    for what, read in readers.items():
        read()  # whatever is imported or compiled
        yield what, cost(read)


def main() -> None:
    """Print a table."""
    print("| read | from the store, ms | verify, ms | decode, ms | verify of decode |\n|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for what, each in costs(folder):
            cells = " | ".join(f"{1e3 * seconds:.1f}" for seconds in (each.store, each.verify, each.decode))
            print(f"| {what} | {cells} | {100 * each.verify / each.decode:.1f} % |")


if __name__ == "__main__":
    main()
