"""A scheduler and workers as processes of their own, and what happens when some are killed, leave, or are others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeps.executors import ClusterError, ClusterLostError, Limits, dask_executor

TIGHT = Limits(5.0, 2**30)


class Cluster:
    """Processes by name, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.log = folder / "log"
        self._folder = folder

    def start(self, name: str, **environment: str) -> None:
        words = ["scheduler", "--port", str(self.port)]
        if name != "scheduler":
            words = ["worker", self.address, "--name", name, "--directory", str(self._folder)]
        with self.log.open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "app", *words], stdout=log, stderr=log, env=os.environ | environment
            )

    def end(self, name: str, number: int = signal.SIGKILL) -> int:
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(40)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    for name in ("scheduler", "one", "two"):
        made.start(name)
    yield made
    for name in list(made.processes):
        made.end(name)


def wait_for_slots(executor: Any, n: int) -> None:
    """Wait until as many workers have joined; asks with a new connection where the scheduler is away."""
    end = time.monotonic() + 40
    while time.monotonic() < end:
        try:
            executor.prepare(os.getpid)
            executor._seen = executor._info()
            if executor.n_slots == n:
                return
        except ClusterError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{executor.n_slots} slots, never {n}")


def test_workers__leave_without_losing_a_block_and_a_scheduler_that_dies_is_named_and_used_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    with dask_executor(scheduler=cluster.address) as executor:
        wait_for_slots(executor, 2)
        # An item that runs twice fails, since its folder is there.
        items = [("sh", "-c", f"sleep 0.15; mkdir {tmp_path / f'made-{n}'}") for n in range(20)]
        answers = executor.map(subprocess.check_call, items)
        found = [next(answers)]
        codes: list[int] = []
        leaving = threading.Thread(target=lambda: codes.append(cluster.end("one", signal.SIGTERM)))
        leaving.start()
        found += list(answers)
        leaving.join()
        assert [answer.failure for answer in found] == [None] * 20
        assert codes == [0]

        threading.Timer(0.5, cluster.end, ["scheduler"]).start()
        began = time.monotonic()
        with pytest.raises(ClusterLostError, match="went away"):
            list(executor.map(time.sleep, [0.2 + n / 1e6 for n in range(100)]))
        assert time.monotonic() - began < 8
        began = time.monotonic()
        with pytest.raises(ClusterLostError, match="no scheduler answers"):
            list(executor.map(abs, [1]))
        cluster.start("scheduler")
        wait_for_slots(executor, 1)  # the worker has come back by itself
        assert time.monotonic() - began < 30
        assert [answer.value for answer in executor.map(abs, [-4])] == [4]


@pytest.mark.slow
def test_worker_of_another_environment__is_refused_before_its_first_task(cluster: Cluster) -> None:
    cluster.end("two")
    with dask_executor(scheduler=cluster.address) as executor:
        wait_for_slots(executor, 1)
        own = _workers(executor)
        cluster.start("another", NUMBA_CPU_NAME="generic")
        wait_for_slots(executor, 2)
        items = [0.05 + n / 1e6 for n in range(60)]
        assert [answer.failure for answer in executor.map(time.sleep, items)] == [None] * 60
        assert _workers(executor) == own
        wait_for_slots(executor, 1)
        cluster.end("one")
        cluster.end("another")
        cluster.start("other", NUMBA_CPU_NAME="generic")
    with (
        dask_executor(scheduler=cluster.address) as executor,
        pytest.raises(ClusterError, match=r"overrides: .*generic.*, here -\n") as raised,
    ):
        list(executor.map(abs, [1]))
    assert raised.value.trouble == "version refused"


def _workers(executor: Any) -> set[str]:
    return {
        str(answer.failure and answer.failure.worker) for answer in executor.map(os._exit, range(1, 9), limits=TIGHT)
    }


def _children(pid: int) -> list[psutil.Process]:
    return list(psutil.Process(pid).children(recursive=True))


@pytest.mark.slow
def test_hung_item__ends_with_its_child_and_strands_nobody(cluster: Cluster) -> None:
    with dask_executor(scheduler=cluster.address) as executor:
        wait_for_slots(executor, 2)
        pids = set(executor._seen)
        items = [60.0, 0.01, 60.1, *(0.01 + n / 1e6 for n in range(10))]
        began = time.monotonic()
        answers = {answer.item: answer for answer in executor.map(time.sleep, items, limits=Limits(1.5, 2**30))}
        assert time.monotonic() - began < 15
        causes = [answers[item].failure and answers[item].failure.cause for item in items]  # type: ignore[union-attr]
        assert causes == ["deadline", None, "deadline", *[None] * 10]
        executor._seen = executor._info()
        assert set(executor._seen) == pids
        # Killed outright, a worker takes its children with it.
        families = [_children(cluster.processes[name].pid) for name in ("one", "two")]
        # A template and a slot each; short items share a task, so that one worker may have had them all.
        assert all(len(family) >= 2 for family in families if family)
        children = [child for family in families for child in family]
        assert children
        cluster.end("one")
        cluster.end("two")
        _, alive = psutil.wait_procs(children, timeout=5)
        assert not alive


@pytest.mark.slow
def test_paused_worker__is_named_and_once_restarted_goes_on(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours never pause (`SETTINGS`), but a cluster may have workers of Dask's own: those with its defaults do."""
    cluster.end("one")
    cluster.end("two")
    settings = {"PAUSE": "0.8", "TERMINATE": "False", "TARGET": "False", "SPILL": "False"}
    memory = {f"DASK_DISTRIBUTED__WORKER__MEMORY__{name}": value for name, value in settings.items()}
    options = ["--memory-limit", "600MB", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path)]
    with cluster.log.open("ab") as log:
        cluster.processes["dask"] = subprocess.Popen(
            [sys.executable, "-m", "dask", "worker", cluster.address, "--host", "127.0.0.1", *options],
            stdout=log, stderr=log, env=os.environ | memory,
        )  # fmt: skip
    for name, seconds in (("dask._LOOK", 1.0), ("cluster._HEAL", 60.0), ("cluster._STALL", 5.0)):
        monkeypatch.setattr(f"sweeps.executors.{name}_SECONDS", seconds)
    with dask_executor(scheduler=cluster.address) as executor:
        wait_for_slots(executor, 1)
        pid = next(executor.map(eval, ["__import__('os').getpid()"])).value
        answers = executor.map(
            exec, ["import sys; sys.held = bytearray(500_000_000)", *[f"x = {n}" for n in range(50)]]
        )
        assert next(answers).failure is None
        with pytest.raises(
            ClusterError, match=r"STALLED: for \d+ s all 1 workers are paused for lack of memory"
        ) as told:
            list(answers)
        assert told.value.trouble == "all paused"
        assert {worker["status"] for worker in _looked(executor).values()} == {"paused"}
        # Whoever waits under that name has it healed: the worker is restarted, and what it held is gone.
        monkeypatch.setattr("sweeps.executors.cluster._HEAL_SECONDS", 3.0)
        monkeypatch.setattr("sweeps.executors.cluster._STALL_SECONDS", 30.0)
        began = time.monotonic()
        executor.prepare(os.getpid)
        found = list(executor.map(eval, [f"{n}, __import__('os').getpid()" for n in range(20)]))
        assert [answer.failure for answer in found] == [None] * 20
        assert pid not in {answer.value[1] for answer in found}
        assert time.monotonic() - began < 30


def _looked(executor: Any) -> dict[str, Any]:
    """Return the workers as the scheduler sees them, asked with a connection that this opens where there is none."""
    executor._start()
    workers: dict[str, Any] = executor._info()
    return workers
