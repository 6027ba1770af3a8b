"""What a block costs beside its own work: `python bench/blocks.py --help`.

A run of N short blocks goes through the queue, a runner in this process, a scheduler and a worker that are processes of
their own, into a store. A block is one trial of a strategy that sleeps, so that two cores are enough for many slots.
Overhead is what the blocks took (from the first to the last, or of the whole run with its plan's reading, commit and
publishing) less ms x N / slots, divided by N. Memory is resident, sampled once a second. Only the workers' trials
sleep: what the driver runs again to judge the run's luck does not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

N_BARS = 5
FIRST = 123_456.0
DAY_NS = 86_400 * 10**9
STRATEGY = """
import os
import time

from quantbot.parameters import integer
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import sma


@strategy(
    parameters=[integer("point", 1, 1, 10_000_000, "Which point.")],
    indicators={{"mean": sma(2)}},
)
def nap(close, mean, point):
    '''Sleep a part of the time on each bar that is decided on.'''
    if close >= {first}:  # not where the engine tries it out on bars of its own
        time.sleep(float(os.environ.get("NAP_MS", 0)) / 1e3 / {decisions})
    return 1.0
"""


def main() -> None:
    arguments = parse()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.folder)))
        found = measure(arguments, folder)
    show(arguments, found)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=2_000)
    parser.add_argument("--ms", type=float, default=50.0, help="what a block takes by itself")
    parser.add_argument("--slots", type=int, default=16, help="blocks at a time")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the slots")
    parser.add_argument("--isolation", choices=("none", "all"), default="none")
    parser.add_argument("--folder", help="where the temporary store is made")
    parser.add_argument("--json", help="file for the samples")
    parser.add_argument("--profile", action="store_true", help="profile the runner's thread")
    return parser.parse_args()


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the blocks and return what they took."""
    from datasets.store import open_store
    from sweeps.executors import Isolation, dask_executor
    from sweeps.plan import make_plan
    from sweeps.run import drive
    from sweeps.runstore import RunStore
    from sweeps.spec import parse_spec
    from sweeps.submission import submit

    root = open_store(folder / "store")
    write_market(root)
    spec = parse_spec(specification(arguments, folder))
    began = time.perf_counter()
    plan = make_plan(spec, root, block_points=1, probe=False)
    identity = submit(spec, root, plan=plan)
    submitted = time.perf_counter() - began
    isolation = Isolation("all" if arguments.isolation == "all" else "none")
    with contextlib.ExitStack() as stack:
        address, processes = stack.enter_context(cluster(arguments))
        memory = stack.enter_context(Memory(processes))
        with dask_executor(scheduler=address, isolation=isolation) as executor:
            executor.prepare(os.getpid)
            while executor.n_slots < arguments.slots:
                time.sleep(0.2)
                executor.prepare(os.getpid)
            times = list[float]()
            seen = [0]

            def note(progress: Any) -> None:
                if progress.n_blocks_done > seen[0]:
                    seen[0] = progress.n_blocks_done
                    times.append(time.perf_counter())

            before = cpu(processes)
            began = time.perf_counter()
            with profiled(arguments.profile):
                outcome = drive(root, identity, executor, on_progress=note)
            wall = time.perf_counter() - began
            spent = {name: after - before[name] for name, after in cpu(processes).items()}
    assert outcome.n_computed == arguments.blocks
    assert len(RunStore(root, identity).finished()) == arguments.blocks
    ideal = arguments.ms / 1e3 * arguments.blocks / arguments.slots
    blocks = times[-1] - times[0]
    return {
        "submit_s": submitted,
        "wall_s": wall,
        "blocks_s": blocks,
        "ideal_s": ideal,
        "overhead_blocks_ms": 1e3 * (blocks - ideal) / arguments.blocks,
        "overhead_wall_ms": 1e3 * (wall - ideal) / arguments.blocks,
        "cpu_ms_a_block": {name: 1e3 * seconds / arguments.blocks for name, seconds in spent.items()},
        "memory": memory.rows,
        "result_digest": outcome.result_digest,
    }


def specification(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    path = folder / "nap.py"
    path.write_text(STRATEGY.format(decisions=N_BARS - 1, first=FIRST))
    return {
        "version": 1,
        "run": {"name": "naps"},
        "data": {"dataset": "bench/five"},
        "strategy": {"name": f"{path}:nap", "plain_python": True},
        "parameters": {"point": {"start": 1, "stop": arguments.blocks, "step": 1}},
        "folds": {"method": "none"},
    }


def write_market(root: Any) -> None:
    from datasets.bars import BarColumns, BarsMeta, write_bars

    close = FIRST + np.arange(N_BARS)
    ends = (12_000 + np.arange(N_BARS, dtype=np.int64)) * DAY_NS
    columns = BarColumns(ts_end_ns=ends, open=close, high=close + 1, low=close - 1, close=close, volume=close * 10)
    meta = BarsMeta("Five bars", "bench", "1d", 252.0, synthetic=True)
    write_bars(root, "bench/five", {"FIVE": columns}, meta, {})


@contextlib.contextmanager
def cluster(arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, int]]]:
    """Start a scheduler and workers, and yield its address and their processes."""
    port = 20_000 + os.getpid() % 20_000
    address = f"tcp://127.0.0.1:{port}"
    per_worker = -(-arguments.slots // arguments.workers)
    commands = {"scheduler": ["scheduler", "--port", str(port)]}
    for number in range(arguments.workers):
        commands[f"worker {number + 1}"] = ["worker", address, "--threads", str(per_worker)]
    with contextlib.ExitStack() as stack:
        processes = {"runner": os.getpid()}
        for name, words in commands.items():
            started = subprocess.Popen(
                [sys.executable, "-m", "app", *words],
                stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"NAP_MS": str(arguments.ms)},
            )
            stack.callback(started.wait)
            stack.callback(started.terminate)
            processes[name] = started.pid
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.2)
        yield address, processes


@contextlib.contextmanager
def profiled(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    import cProfile
    import pstats

    profile = cProfile.Profile()
    with profile:
        yield
    pstats.Stats(profile).sort_stats("tottime").print_stats(35)


def cpu(processes: dict[str, int]) -> dict[str, float]:
    """Return the CPU seconds of each process; of a worker with its children."""
    import psutil

    spent = {}
    for name, pid in processes.items():
        process = psutil.Process(pid)
        family = [process, *(process.children(recursive=True) if name.startswith("worker") else ())]
        spent[name] = 0.0
        for member in family:
            with contextlib.suppress(psutil.Error):
                times = member.cpu_times()
                spent[name] += times.user + times.system
    return spent


class Memory:
    """Samples the resident memory of processes, in MB."""

    def __init__(self, processes: dict[str, int]) -> None:
        self.rows: list[dict[str, float]] = []
        self._processes = processes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        import psutil

        began = time.perf_counter()
        while not self._stop.wait(1.0):
            row = {"second": time.perf_counter() - began}
            for name, pid in self._processes.items():
                with contextlib.suppress(psutil.Error):
                    row[name] = psutil.Process(pid).memory_info().rss / 1e6
            self.rows.append(row)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def show(arguments: argparse.Namespace, found: dict[str, Any]) -> None:
    print(
        f"{arguments.blocks:,} blocks of {arguments.ms:g} ms, {arguments.slots} slots, "
        f"isolation {arguments.isolation}"
        f": submit {found['submit_s']:.1f} s, drive {found['wall_s']:.1f} s, of it blocks {found['blocks_s']:.1f} s; "
        f"ideal {found['ideal_s']:.1f} s"
    )
    print(
        f"overhead a block: {found['overhead_wall_ms']:.2f} ms of the drive, "
        f"{found['overhead_blocks_ms']:.2f} ms of the blocks alone"
    )
    spent = ", ".join(f"{name} {ms:.2f}" for name, ms in found["cpu_ms_a_block"].items())
    print(f"CPU a block, ms: {spent}")
    rows = found["memory"]
    names = [name for name in rows[-1] if name != "second"]
    print("second  " + "  ".join(f"{name:>12}" for name in names) + "   MB resident")
    for index in np.unique(np.linspace(0, len(rows) - 1, 12).astype(int)):
        row = rows[index]
        print(f"{row['second']:6.0f}  " + "  ".join(f"{row.get(name, float('nan')):12.1f}" for name in names))


if __name__ == "__main__":
    main()
