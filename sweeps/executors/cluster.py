"""A Dask cluster as we want it: its settings, each an answer to a fault that was seen, and how one is reached."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quantbot.errors import InputError
from sweeps.executors.base import ClusterError, ClusterLostError, Trouble
from sweeps.executors.interrupts import deferred
from sweeps.executors.spawning import without_main

SETTINGS = {
    # Without it a task that nobody can run waits for ever, silently.
    "distributed.scheduler.no-workers-timeout": "60s",
    "distributed.scheduler.worker-ttl": "30s",
    # Items whose worker died twice are suspect; the driver then tries each alone, to know it from its neighbours.
    "distributed.scheduler.allowed-failures": 1,
    # A worker is sent what it can run now, so that its death blames nothing that only waited there.
    "distributed.scheduler.worker-saturation": 1.0,
    # Blocks take seconds: moving one is worth nothing, and stealing has open races (distributed 5370, 8787).
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    # Receipts are small, so there is nothing to spill, and a paused worker would stay paused.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.limit": "1h",
    # What is remembered of tasks that are over: a scheduler lives through millions of them.
    "distributed.admin.log-length": 500,
    "distributed.admin.low-level-log-length": 500,
    # A host that fell silent is noticed in this time.
    "distributed.comm.timeouts.connect": "15s",
    "distributed.comm.timeouts.tcp": "15s",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
CONNECT_SECONDS = 15.0
_HEAL_SECONDS = 30.0
_STALL_SECONDS = 60.0


class Stall:
    """How long nothing has been able to move.

    A worker that is starved of processor time may be taken for lost, and comes back: that there is none at one moment
    says nothing, however long a block takes.

    Examples
    --------
    >>> stall = Stall()
    >>> stall.look([], 0.0), stall.look(["running"], 50.0), stall.look([], 60.0), stall.look([], 110.0)
    (False, False, False, False)
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._healed = False

    def look(self, status: list[str], now: float) -> bool:
        """Take note of the workers' status at a time in seconds; raise where none has been able to work for long.

        Returns whether to restart the workers: once, when all of them have been paused for a while.
        """
        trouble: Trouble = "no workers"
        if not status:
            cause = "there are no workers"
        elif set(status) == {"paused"}:
            trouble = "all paused"
            cause = f"all {len(status)} workers are paused for lack of memory"
        else:
            self._since, self._healed = None, False
            return False
        self._since = now if self._since is None else self._since
        silent = now - self._since
        if silent > _STALL_SECONDS:
            raise ClusterError(f"STALLED: for {silent:.0f} s {cause}; resume the run when that is mended", trouble)
        if self._healed or trouble == "no workers" or silent < _HEAL_SECONDS:
            return False
        self._healed = True
        return True


def connect(scheduler: str, tls: str | Path | None, stack: contextlib.ExitStack) -> Any:
    """Return a client of a running scheduler; a wrong address is noticed before Dask's long patience begins."""
    import distributed

    place = urlsplit(scheduler)
    security = None
    if tls is not None:
        from sweeps.executors.tls import security_of  # type: ignore[import-not-found,unused-ignore]

        security = security_of(tls)
    try:
        socket.create_connection((str(place.hostname), place.port or 8786), CONNECT_SECONDS).close()
        client = distributed.Client(scheduler, set_as_default=False, timeout=CONNECT_SECONDS, security=security)
    except OSError as error:
        raise ClusterLostError(f"no scheduler answers at {scheduler}: {error}") from error
    except TypeError as error:  # of distributed, which misses what neither we nor its own settings gave
        raise InputError(f"{scheduler} needs certificates: name their folder (--tls DIR; `quantbot certs`)") from error
    stack.callback(leave, client)
    return client


def leave(client: Any) -> None:
    """Close a client, also one whose scheduler is gone."""
    with contextlib.suppress(Exception):
        client.close(timeout=2)


def start_local(workers: int, threads: int, processes: bool, dashboard: bool, stack: contextlib.ExitStack) -> Any:
    """Start a cluster on this machine, which ends with `stack`, and return a client of it."""
    import distributed

    stack.enter_context(without_main())
    with deferred():
        cluster = stack.enter_context(
            distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=threads,
                processes=processes,
                host="127.0.0.1" if processes else None,
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": dashboard},
                silence_logs=logging.CRITICAL,
            )
        )
    client = stack.enter_context(distributed.Client(cluster, set_as_default=False))
    if processes:
        from sweeps.executors.signals import IgnoreInterrupt

        # A terminal sends Ctrl-C to all; the driver ends the workers itself, in order.
        client.register_plugin(IgnoreInterrupt(), name="quantbot-signals")
    return client


def end_children() -> None:
    """End the children of workers that lived in this process."""
    isolation = sys.modules.get("sweeps.executors.isolation")
    if isolation is not None:
        isolation.CHILDREN.close()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Dask's own lines off the terminal: what matters is said by whoever drives the run."""
    names = ("distributed", "tornado.application", "asyncio", "bokeh")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
