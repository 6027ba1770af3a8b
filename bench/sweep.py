"""A whole sweep, from the plan to a page's reads: `python bench/sweep.py --help`.

One run of N trials of `sma_cross` over synthetic bars, through the public functions: `make_plan`, `submit`, `drive` on
worker processes of this machine, and, in a fresh process, `open_run` and what the Surface page asks of it. Wall times
are of the whole step, with the start of the cluster and of its processes; "engine" is the CPU time of `Engine.run` in
all blocks together. The scheduler lives in the driver's process. Memory is the peak of resident pages (VmHWM).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

DATASET = "bench/walk"
AFTER = ("commit", "publish", "ledger", "luck")  # what a drive does when all blocks are there
DAY_NS = 86_400 * 10**9


def main() -> None:
    arguments = parse()
    if arguments.read:
        print(json.dumps(read(arguments.store, arguments.read)))
        return
    with contextlib.ExitStack() as stack:
        url = arguments.store or stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.folder))
        found = sweep(arguments, url)
        command = [sys.executable, __file__, "--store", str(url), "--read", found["identity"]]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found |= json.loads(done.stdout.splitlines()[-1])
    show(arguments, found)
    sys.exit(1 if arguments.check and found["wall"] > found["allowed"] else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--bars", type=int, default=5_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--store", help="URL of the store; a temporary folder where not said")
    parser.add_argument("--folder", help="where the temporary folder is made")
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic bars")
    parser.add_argument("--groups", default="", help="measure groups, comma-separated; the engine's default if empty")
    parser.add_argument("--stops", action="store_true", help="an axis of stop losses in place of the fees")
    parser.add_argument("--check", action="store_true", help="exit with 1 where wall time is beyond what is allowed")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    return parser.parse_args()


def sweep(arguments: argparse.Namespace, url: str) -> dict[str, Any]:
    """Run the sweep and return what it took."""
    from datasets.store import open_store
    from sweeps.executors import dask_executor
    from sweeps.plan import make_plan
    from sweeps.run import drive
    from sweeps.spec import parse_spec
    from sweeps.submission import submit

    root = open_store(url)
    write_market(root, arguments.bars, arguments.seed)
    spec = parse_spec(specification(arguments))
    clock = Clock()
    began = time.perf_counter()
    with clock("plan"):
        plan = make_plan(spec, root, workers=arguments.workers)
    with clock("submit"):
        identity = submit(spec, root, plan=plan)
    with Memory() as memory, messages() as largest, staged(clock), dask_executor(arguments.workers) as executor:
        with clock("drive"):
            outcome = drive(root, identity, executor)
        wall = time.perf_counter() - began
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    folder = root.child(f"runs/{identity}")
    sizes = {name: sum(folder.size(key) for key in folder.list(name)) for name in ("blocks/", "rows.zarr/", "")}
    return {
        "identity": identity,
        "n_trials": outcome.n_trials,
        "n_blocks": outcome.n_blocks,
        "n_measures": len(plan.measures),
        "result_digest": outcome.result_digest,
        "wall": wall,
        "engine": outcome.engine_seconds,
        "allowed": 1.3 * outcome.engine_seconds / arguments.workers + 10,
        **clock.seconds,
        "blocks": clock.seconds["drive"] - sum(clock.seconds[name] for name in AFTER),
        "cpu": clock.cpu | {"workers": children.ru_utime + children.ru_stime},
        "driver_mb": peak_mb("self"),
        "worker_mb": memory.largest_child_mb,
        "message_bytes": largest[0],
        "bytes_a_trial": {name or "all": size / outcome.n_trials for name, size in sizes.items()},
    }


def read(url: str, identity: str) -> dict[str, Any]:
    """Open the finished run as a page does, and return what that took."""
    import xarray  # noqa: F401  # as in a server that has shown a run before

    from datasets.store import open_store
    from sweeps.results import open_run

    root = open_store(url)
    clock = Clock()
    before = peak_mb("self")
    with clock("open"):
        run = open_run(root, identity)
        run.status  # noqa: B018  # every page shows it
    names = [axis.name for axis in run.plan.axes]
    with clock("first plane"):
        run.plane(names[0], names[1])
    with clock("slider"):
        run.plane(names[0], names[1], at={names[2]: run.plan.axes[2].values[0].item()})
    with clock("other measure"):
        run.plane(names[0], names[1], "max_drawdown")
    with clock("best"):
        best = run.best(10)
    with clock("plateau"):
        run.plateau()
    with clock("table"):
        run.table(0, 100, sort="sharpe")
    with clock("replay"):
        assert run.replay(best[0]["trial"]).equal
    return {"reads": clock.seconds, "reads_cpu": clock.cpu, "reader_mb": peak_mb("self"), "reader_before_mb": before}


def specification(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return a grid of exactly so many trials: slow windows, ten fees, and as many fast windows as it takes."""
    n = arguments.trials
    n_third = 10 if n % 10 == 0 else 1
    rest = n // n_third
    n_fast = next(k for k in range(max(1, math.isqrt(rest // 10)), 0, -1) if rest % k == 0)
    fast, slow = n_fast, rest // n_fast
    if arguments.stops:
        name, step = "execution.stop_loss", 0.01
    else:
        name, step = "execution.fee_bps", 1.0
    spec: dict[str, Any] = {
        "version": 1,
        "run": {"name": f"bench-{n}"},
        "data": {"dataset": DATASET},
        "strategy": {"name": "sma_cross"},
        "parameters": {
            "fast": {"start": 2, "stop": 1 + fast, "step": 1},
            "slow": {"start": 2 + fast, "stop": 1 + fast + slow, "step": 1},
            name: {"start": 0, "stop": round(step * (n_third - 1), 2), "step": step},
        },
    }
    if arguments.groups:
        spec["measures"] = {"groups": arguments.groups.split(",")}
    return spec


def write_market(root: Any, n_bars: int, seed: int) -> None:
    """Write one asset of daily bars."""
    from datasets.bars import BarColumns, BarsMeta, write_bars

    draws = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(draws.normal(0, 0.01, n_bars)))
    opened = close * np.exp(draws.normal(0, 0.002, n_bars))
    columns = BarColumns(
        ts_end_ns=(1_000 + np.arange(n_bars, dtype=np.int64)) * DAY_NS,
        open=opened,
        high=np.maximum(opened, close) * 1.001,
        low=np.minimum(opened, close) * 0.999,
        close=close,
        volume=np.full(n_bars, 1000.0),
    )
    write_bars(root, DATASET, {"WALK": columns}, BarsMeta("A walk", "bench", "1d", 252.0, synthetic=True), {})


class Clock:
    """Wall seconds by name, and the CPU seconds of this process meanwhile: on a busy machine they tell more."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began, spent = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
        self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - spent


class Memory:
    """Watches the peak memory of the processes that this one starts."""

    def __init__(self) -> None:
        self.largest_child_mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        import psutil

        while not self._stop.wait(0.25):
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(OSError, psutil.Error, ValueError):
                    self.largest_child_mb = max(self.largest_child_mb, peak_mb(str(child.pid)))

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def peak_mb(process: str) -> float:
    """Return the peak of a process's resident memory, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


@contextlib.contextmanager
def messages() -> Iterator[list[int]]:
    """Give the size of the largest message that this process, client and scheduler, sends or gets through Dask."""
    from distributed.comm import tcp

    largest = [0]
    sent, got = tcp.to_frames, tcp.from_frames

    async def to_frames(*given: Any, **named: Any) -> Any:
        frames = await sent(*given, **named)
        largest[0] = max(largest[0], sum(len(memoryview(frame).cast("B")) for frame in frames))
        return frames

    async def from_frames(frames: Any, *given: Any, **named: Any) -> Any:
        largest[0] = max(largest[0], sum(len(memoryview(frame).cast("B")) for frame in frames))
        return await got(frames, *given, **named)

    tcp.to_frames, tcp.from_frames = to_frames, from_frames
    try:
        yield largest
    finally:
        tcp.to_frames, tcp.from_frames = sent, got


@contextlib.contextmanager
def staged(clock: Clock) -> Iterator[None]:
    """Take the time of what a drive does after its blocks."""
    from sweeps import luck, publish
    from sweeps.runstore import RunStore

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            with clock(name):
                return function(*given, **named)

        return call

    commit, write = RunStore.commit, publish.publish
    enter, assess = luck._enter, luck.assess  # type: ignore[attr-defined]
    RunStore.commit = timed("commit", commit)  # type: ignore[method-assign]
    publish.publish = timed("publish", write)
    luck._enter = timed("ledger", enter)
    luck.assess = timed("luck", assess)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        RunStore.commit, publish.publish = commit, write  # type: ignore[method-assign]
        luck._enter, luck.assess = enter, assess  # type: ignore[attr-defined]


def show(arguments: argparse.Namespace, found: dict[str, Any]) -> None:
    seconds = {name: found[name] for name in ("wall", "allowed", "engine", "plan", "submit", "blocks", *AFTER)}
    print(
        f"{found['n_trials']:,} trials x {arguments.bars:,} bars, {arguments.workers} workers, load {os.getloadavg()}"
    )
    print(f"{found['n_blocks']:,} blocks, {found['n_measures']} measures, result {found['result_digest'][:12]}")
    print("seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in seconds.items()))
    print("CPU seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in found["cpu"].items()))
    print("reads, s: " + ", ".join(f"{name} {value:.3f}" for name, value in found["reads"].items()))
    print("reads, CPU s: " + ", ".join(f"{name} {value:.3f}" for name, value in found["reads_cpu"].items()))
    print(
        f"MB: driver {found['driver_mb']:.0f}, worker {found['worker_mb']:.0f}, reader {found['reader_mb']:.0f} "
        f"(before opening {found['reader_before_mb']:.0f}); largest message {found['message_bytes']:,} bytes"
    )
    print("bytes a trial: " + ", ".join(f"{name} {value:.1f}" for name, value in found["bytes_a_trial"].items()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
