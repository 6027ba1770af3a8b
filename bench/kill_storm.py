"""Kills at random, and what is left of a run then: `python bench/kill_storm.py --help`.

A scheduler (`quantbot scheduler`), a worker (`quantbot worker`), a worker under a nanny (`dask worker`) and runners
(`quantbot runner`), all processes of this machine under a supervisor that starts again whatever ended. Each round
submits a run of blocks that take a few tenths of a second and, until it is committed, kills (SIGKILL) a worker, a
nanny, the scheduler or a runner, drawn from the round's seed. Afterwards the result digest must be the one of an
undisturbed serial drive, and no block may have been begun once it was in the store: each worker appends to a log when
it begins a block, and that is compared with the time at which the block's object got its name.

Rounds are lines of a file (`--out`); those that are there already are not run again, so a long storm is made of short
ones. `--recovery N` makes one kill a run in place of many, N of each kind, and says how long nothing went on. With
`--kinds host` a worker lives in a network namespace whose link is taken down: a host that falls silent (needs root).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

DATASET = "bench/storm"
DAY_NS = 86_400 * 10**9
KINDS = {"worker": 0.4, "nanny": 0.2, "scheduler": 0.15, "runner": 0.25}
N_SPECS = 8  # that rounds take in turn: a run is removed only when nothing of its last round is left
_LOG = "QUANTBOT_STORM_LOG"
_COARSE = 5  # Linux's CLOCK_REALTIME_COARSE, which Python has no name for


def main() -> int:
    arguments = parse()
    if arguments.be_worker:
        from sweeps.executors.nodes import serve_worker

        dask_setup(None)
        serve_worker(arguments.be_worker, directory=arguments.folder)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # also then, nothing is left running
    with contextlib.ExitStack() as stack:
        folder = Path(arguments.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="storm-"))).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        out = Path(arguments.out or folder / "rounds.jsonl")
        known = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
        there = {(row["mode"], row["round"]) for row in known}
        mode = "recovery" if arguments.recovery else "storm"
        rounds = range(
            arguments.first, arguments.first + (arguments.recovery * len(arguments.kinds) or arguments.rounds)
        )
        todo = [number for number in rounds if (mode, number) not in there]
        storm = Storm(folder / "store", arguments)
        references = {which: storm.reference(which) for which in {number % N_SPECS for number in todo}}
        with Stack(folder, storm.url, arguments) as processes:
            for number in todo:
                row = storm.round(number, processes, references[number % N_SPECS], mode)
                known.append(row)
                with out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(describe(row), flush=True)
                if row["wrong"]:
                    processes.keep_logs(out.with_suffix(".logs"))
    show([row for row in known if row["mode"] == mode])
    return 1 if any(row["wrong"] for row in known) else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number, and so seed, of the first round")
    parser.add_argument("--seed", type=int, default=6, help="of all rounds together")
    parser.add_argument("--kills", type=int, default=5, help="the most in a round")
    parser.add_argument("--every", type=float, default=1.2, help="mean seconds between two kills")
    parser.add_argument("--recovery", type=int, default=0, metavar="N", help="one kill a run, N of each kind")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS, "host"], default=list(KINDS))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--nannies", type=int, default=1)
    parser.add_argument("--runners", type=int, default=2)
    parser.add_argument("--lease", type=float, default=3.0, help="seconds; the service's own is 30")
    parser.add_argument("--points", type=int, default=4, help="points of a block")
    parser.add_argument("--bars", type=int, default=6000)
    parser.add_argument("--limit", type=float, default=240.0, help="seconds after which a round is lost")
    parser.add_argument("--folder", help="of the store and the logs; a temporary one where not said")
    parser.add_argument("--out", help="file of the rounds, a JSON object a line")
    parser.add_argument("--be-worker", metavar="ADDRESS", help=argparse.SUPPRESS)
    return parser.parse_args()


def dask_setup(worker: Any) -> None:
    """Have each worker note when it begins a block and when it is through with it; `dask worker --preload` calls it."""
    del worker
    import sweeps.task

    run_block, compute, path = sweeps.task.run_block, sweeps.task.compute, os.environ[_LOG]
    entered = threading.local()

    @functools.wraps(run_block)  # pickled under its name, where a block runs in a child
    def timed(root_url: str, identity: str, block_index: int) -> Any:
        # It asks next whether the block is there. By the clock of files' times: the other is some milliseconds ahead.
        entered.at = time.clock_gettime(_COARSE)
        note(path, "enter", identity, block_index, entered.at)
        return run_block(root_url, identity, block_index)

    def noted(root_url: str, identity: str, block: Any) -> Any:
        note(path, "begin", identity, block.index, entered.at)
        found = compute(root_url, identity, block)
        note(path, "end", identity, block.index, time.time())
        return found

    sweeps.task.run_block, sweeps.task.compute = timed, noted


def note(path: str, what: str, identity: str, block: int, at: float) -> None:
    entry = {"what": what, "run": identity, "block": block, "pid": os.getpid(), "at": at, "cpu": time.process_time()}
    line = json.dumps(entry) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


class Storm:
    """Runs over one store, and what came of them."""

    def __init__(self, path: Path, arguments: argparse.Namespace) -> None:
        from datasets.store import open_store

        self.path, self.arguments = path, arguments
        self.root = open_store(path)
        self.url = self.root.url
        if not self.root.list("datasets/"):
            write_market(self.root, arguments.bars)

    def plan(self, root: Any, which: int) -> Any:
        from sweeps.plan import make_plan
        from sweeps.spec import parse_spec

        spec = {
            "version": 1,
            "run": {"name": f"storm-{which}"},
            "data": {"dataset": DATASET},
            "strategy": {"name": "sma_cross", "plain_python": True},
            "parameters": {
                "fast": {"start": 3, "stop": 12, "step": 1},
                "slow": {"values": [8, 16, 24, 32]},
                "execution.fee_bps": {"values": [0, 5]},
            },
            "search": {"where": "fast < slow"},
            "execution": {"slippage_bps": 1 + which},
        }
        return make_plan(parse_spec(spec), root, block_points=self.arguments.points, probe=False)

    def reference(self, which: int) -> str:
        """Return the digest of an undisturbed serial drive, remembered beside the store."""
        from datasets.store import open_store
        from sweeps.executors import serial
        from sweeps.run import drive
        from sweeps.submission import submit

        memory = self.path.parent / f"reference-{which}-{self.arguments.bars}-{self.arguments.points}.txt"
        if memory.exists():
            return memory.read_text()
        with tempfile.TemporaryDirectory() as folder:
            root = open_store(folder)
            write_market(root, self.arguments.bars)
            plan = self.plan(root, which)
            with serial() as executor:
                digest = drive(root, submit(plan.spec, root, plan=plan), executor).result_digest
        memory.write_text(digest)
        return digest

    def round(self, number: int, processes: Stack, wanted: str, mode: str) -> dict[str, Any]:
        """Submit, kill, wait; return what a line of the table says."""
        from sweeps.runstore import RunStore
        from sweeps.submission import submit

        draws = random.Random(f"{self.arguments.seed}-{mode}-{number}")
        plan = self.plan(self.root, number % N_SPECS)
        shutil.rmtree(self.path / "runs" / plan.identity, ignore_errors=True)
        processes.forget()
        began = time.time()
        run = RunStore(self.root, submit(plan.spec, self.root, plan=plan))
        kills: list[dict[str, Any]] = []

        def over() -> bool:
            return run.store.exists("manifest.json") or time.time() - began > self.arguments.limit

        if mode == "storm":
            n_kills = draws.randint(min(2, self.arguments.kills), self.arguments.kills)
            kinds = draws.choices(list(KINDS), list(KINDS.values()), k=n_kills)
            pauses = [draws.expovariate(1 / self.arguments.every) for _ in kinds]
            wait(lambda: over() or len(run.finished()) >= 1, self.arguments.limit)
            for kind, pause in zip(kinds, pauses, strict=True):
                wait(over, pause)
                if over():
                    break
                kills.append(processes.kill(kind, draws, run))
        else:
            kind = self.arguments.kinds[number % len(self.arguments.kinds)]
            wait(lambda: over() or (len(run.finished()) >= 3 and processes.at_work(kind)), self.arguments.limit)
            kills.append(processes.kill(kind, draws, run))
        wait(over, self.arguments.limit)
        processes.heal()
        seconds = time.time() - began
        manifest = run.manifest()
        noted = [entry for entry in processes.log() if entry["run"] == run.identity]
        begun, entered = ([entry for entry in noted if entry["what"] == what] for what in ("begin", "enter"))
        again = [
            entry for entry in begun
            if (self.path / "runs" / run.identity / run.block_key(entry["block"])).stat().st_ctime < entry["at"]
        ] if manifest else []  # fmt: skip
        for kill in kills:
            kill["seconds"] = recovery(kill, entered, self.path / "runs" / run.identity / "lease")
        digest = manifest.result_digest if manifest else ""
        return {
            "mode": mode, "round": number, "seconds": round(seconds, 2), "kills": kills, "digest": digest,
            "lease": self.arguments.lease,
            "n_blocks": plan.n_blocks, "n_begun": len(begun), "n_begun_again": len(again),
            "wrong": [*(["digest"] if digest != wanted else []), *(["committed block again"] if again else []),
                      # A block that lost two workers runs in a child, which keeps no log; more can't be missing.
                      *(["a log of less than was computed"] if len(begun) < plan.n_blocks // 2 else [])],
        }  # fmt: skip


def recovery(kill: dict[str, Any], entered: list[dict[str, Any]], lease: Path) -> float | None:
    """Return after how many seconds what the kill stopped went on; None where it stopped nothing.

    After a worker's end: its blocks are taken up again. After the scheduler's or a runner's: a block is taken up under
    the next lease; workers may go on for a moment with what they had been sent under the old one.
    """
    if kill["kind"] in ("worker", "nanny", "host"):
        since, mine = kill["at"], [entry for entry in entered if entry["block"] in kill["blocks"]]
    else:
        old, new = (lease / f"{kill['lease'] + number:08d}.json" for number in (0, 1))
        if not kill["lease"] or not new.exists() or old.stat().st_mtime < kill["at"] - kill["ttl"]:
            return None
        state, mine = json.loads(old.read_bytes()), entered
        since = max(old.stat().st_mtime + (0 if state["released"] else kill["ttl"]), kill["at"])
    later = [entry["at"] for entry in mine if entry["at"] > since]
    return round(min(later) - kill["at"], 2) if later else None


class Stack:
    """The processes, and the supervisor that starts again whatever ended."""

    def __init__(self, folder: Path, url: str, arguments: argparse.Namespace) -> None:
        self.folder, self.arguments, self.url = folder, arguments, url
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self._log_path = folder / "executions.jsonl"
        self._log_path.touch()
        self._skip = 0
        config = folder / "dask.yaml"
        config.write_text(json.dumps(dask_config()))
        self._environment = os.environ | {
            _LOG: str(self._log_path), "DASK_CONFIG": str(config), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        quantbot = [sys.executable, "-m", "app"]
        self._commands = {"scheduler": [*quantbot, "scheduler", "--port", str(port)]}
        for index in range(arguments.workers):
            self._commands[f"worker-{index}"] = [
                sys.executable, __file__, "--be-worker", self.address, "--folder", str(folder / "scratch"),
            ]  # fmt: skip
        for index in range(arguments.nannies):
            self._commands[f"nanny-{index}"] = [
                sys.executable, "-m", "dask", "worker", self.address, "--host", "127.0.0.1", "--nworkers", "1",
                "--nthreads", "1", "--no-dashboard", "--preload", __file__, "--death-timeout", "20",
                "--local-directory", str(folder / "scratch"),
            ]  # fmt: skip
        for index in range(arguments.runners):
            self._commands[f"runner-{index}"] = [
                *quantbot, "runner", "--store", url, "--scheduler", self.address,
                "--name", f"runner-{index}", "--lease", str(arguments.lease),
            ]  # fmt: skip
        self._link = Link() if "host" in arguments.kinds else None
        if self._link is not None:
            # Ours listen beyond loopback with certificates alone; what a lost host does is Dask's in either case.
            dask = [sys.executable, "-m", "dask"]
            self._commands["scheduler"] = [*dask, "scheduler", "--port", str(port), "--no-dashboard"]
            self._commands["host-0"] = [
                *self._link.inside, *dask, "worker", f"tcp://{self._link.near}:{port}", "--nworkers", "1", "--nthreads",
                "1", "--no-dashboard", "--preload", __file__, "--death-timeout", "20", "--host", self._link.far,
                "--local-directory", str(folder / "scratch"),
            ]  # fmt: skip
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, daemon=True)

    def __enter__(self) -> Stack:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._link is not None:
            self._link.close()

    def heal(self) -> None:
        """Have the link again."""
        if self._link is not None:
            self._link.set("up")

    def _supervise(self) -> None:
        while not self._stop.wait(0.1):
            for name, command in self._commands.items():
                process = self._processes.get(name)
                if process is not None and process.poll() is None:
                    continue
                if process is not None:  # whatever it started ends with it
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                with (self.folder / f"{name}.log").open("ab") as log:
                    self._processes[name] = subprocess.Popen(
                        command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self._environment,
                        cwd=self.folder, start_new_session=True,
                    )  # fmt: skip

    def log(self) -> list[dict[str, Any]]:
        """Return what workers noted since `forget`."""
        lines = self._log_path.read_bytes()[self._skip :].split(b"\n")
        return [json.loads(line) for line in lines if line.endswith(b"}")]

    def forget(self) -> None:
        self._skip = self._log_path.stat().st_size

    def busy(self) -> dict[int, list[int]]:
        """Return the blocks that each process has begun and not ended."""
        open_blocks: dict[int, list[int]] = {}
        for entry in self.log():
            if entry["what"] == "begin":
                open_blocks.setdefault(entry["pid"], []).append(entry["block"])
            elif entry["what"] == "end" and entry["block"] in open_blocks.get(entry["pid"], []):
                open_blocks[entry["pid"]].remove(entry["block"])
        return {pid: blocks for pid, blocks in open_blocks.items() if blocks}

    def at_work(self, kind: str) -> bool:
        """Return whether somebody has begun a block that is not ended, on the silent host where it is to be that."""
        busy = self.busy()
        if kind != "host" or not busy:
            return bool(busy)
        host = self._processes["host-0"].pid
        with contextlib.suppress(psutil.NoSuchProcess):
            return bool({child.pid for child in psutil.Process(host).children(recursive=True)} & busy.keys())
        return False

    def kill(self, kind: str, draws: random.Random, run: Any) -> dict[str, Any]:
        """Kill one of a kind, and return what it was at."""
        from sweeps.lease import lease_state

        ours = ("worker", "nanny") if kind == "worker" else (kind,)
        names = sorted(name for name in self._commands if name.startswith(ours))
        name = draws.choice(names)
        if kind == "runner":
            names = [found for found in names if self._drives(found, run)] or names
            name = draws.choice(names)
        process = self._processes.get(name)
        found: dict[str, Any] = {"kind": kind, "name": name, "at": time.time(), "blocks": [], "lease": 0}
        if process is None or process.poll() is not None:
            return found  # it is being started again just now
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
            busy = self.busy()
            pids = {process.pid} | {child.pid for child in children}
            found["blocks"] = [block for pid in pids & busy.keys() for block in busy[pid]] if kind != "runner" else []
            drove = kind == "scheduler" or (kind == "runner" and self._drives(name, run))
            found |= {"lease": lease_state(run.store).number if drove else 0, "ttl": self.arguments.lease}
            victims = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
            if self._link is not None and kind == "host":
                found["at"] = time.time()
                self._link.set("down")
                return found
            inside = kind == "worker" and name.startswith("nanny")
            for victim in victims[:1] if inside else [psutil.Process(process.pid)]:
                found["at"] = time.time()
                victim.send_signal(signal.SIGKILL)
        return found

    def _drives(self, name: str, run: Any) -> bool:
        from sweeps.lease import lease_state

        process = self._processes.get(name)
        return process is not None and f"process {process.pid} on " in lease_state(run.store).holder

    def keep_logs(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for log in self.folder.glob("*.log"):
            shutil.copy(log, folder / log.name)


class Link:
    """A network namespace and the one link into it."""

    def __init__(self) -> None:
        self._name = f"storm{os.getpid() % 10_000}"
        net = f"10.213.{os.getpid() % 250}"
        self.near, self.far = f"{net}.1", f"{net}.2"
        self.inside = ["ip", "netns", "exec", self._name]
        outer, inner = f"{self._name}o", f"{self._name}i"
        for words in (
            ["netns", "add", self._name], ["link", "add", outer, "type", "veth", "peer", "name", inner],
            ["link", "set", inner, "netns", self._name], ["addr", "add", f"{self.near}/30", "dev", outer],
            ["link", "set", outer, "up"], ["-n", self._name, "addr", "add", f"{self.far}/30", "dev", inner],
            ["-n", self._name, "link", "set", inner, "up"], ["-n", self._name, "link", "set", "lo", "up"],
        ):  # fmt: skip
            subprocess.run(["ip", *words], check=True)

    def set(self, state: str) -> None:
        subprocess.run(["ip", "link", "set", f"{self._name}o", state], check=True)

    def close(self) -> None:
        subprocess.run(["ip", "link", "del", f"{self._name}o"], check=False)
        subprocess.run(["ip", "netns", "del", self._name], check=False)


def dask_config() -> dict[str, Any]:
    """Return our settings of Dask as a file has them, for the worker that is Dask's own."""
    from sweeps.executors.cluster import SETTINGS

    document: dict[str, Any] = {}
    for name, value in SETTINGS.items():
        *folders, last = name.split(".")
        place = document
        for part in folders:
            place = place.setdefault(part, {})
        place[last] = value
    return document


def wait(condition: Callable[[], object], seconds: float) -> bool:
    end = time.time() + seconds
    while time.time() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def write_market(root: Any, n_bars: int) -> None:
    from datasets.bars import BarColumns, BarsMeta, write_bars

    columns = {}
    for number, symbol in enumerate(("AAA", "BBB")):
        draws = np.random.default_rng(3 + number)
        close = 100 * np.exp(np.cumsum(draws.normal(0, 0.01, n_bars)))
        opened = close * np.exp(draws.normal(0, 0.002, n_bars))
        columns[symbol] = BarColumns(
            ts_end_ns=(12_000 + np.arange(n_bars, dtype=np.int64)) * DAY_NS, open=opened,
            high=np.maximum(opened, close) * 1.001, low=np.minimum(opened, close) * 0.999, close=close,
            volume=np.full(n_bars, 1000.0),
        )  # fmt: skip
    write_bars(root, DATASET, columns, BarsMeta("A small market", "bench", "1d", 252.0, synthetic=True), {})


def describe(row: dict[str, Any]) -> str:
    kills = ", ".join(
        f"{kill['kind']} {kill['seconds'] if kill['seconds'] is not None else '-'}" for kill in row["kills"]
    )
    extra = row["n_begun"] - row["n_blocks"]
    words = f"{row['seconds']} s, {extra} blocks begun again, {row['wrong'] or 'right'}"
    return f"{row['mode']} {row['round']}: {words}; {kills}"


def show(rows: list[dict[str, Any]]) -> None:
    """Print what all rounds together say."""
    n_kills = sum(len(row["kills"]) for row in rows)
    extra = sum(row["n_begun"] - row["n_blocks"] for row in rows)
    n_wrong, n_again = sum(bool(row["wrong"]) for row in rows), sum(row["n_begun_again"] for row in rows)
    print(f"\n{len(rows)} rounds, {n_kills} kills; wrong: {n_wrong}; committed blocks begun again: {n_again}; ", end="")
    print(f"blocks in flight begun again: {extra}")
    print(f"\n{'killed':>10} {'n':>4} {'median s':>9} {'p95 s':>7} {'worst s':>8}")
    for kind in (*KINDS, "host"):
        seconds = sorted(kills_of(rows, kind))
        if seconds:
            p95 = seconds[min(int(0.95 * len(seconds)), len(seconds) - 1)]
            print(f"{kind:>10} {len(seconds):>4} {seconds[len(seconds) // 2]:>9.1f} {p95:>7.1f} {seconds[-1]:>8.1f}")


def kills_of(rows: list[dict[str, Any]], kind: str) -> Iterator[float]:
    return (
        kill["seconds"] for row in rows for kill in row["kills"] if kill["kind"] == kind and kill["seconds"] is not None
    )


if __name__ == "__main__":
    sys.exit(main())
