"""Blocks on a Dask cluster: processes or threads of this machine, or a scheduler somewhere.

Dask is muscle: a task gets plain values, puts its block into the store and returns a receipt, so nothing is lost with
a worker, a scheduler or a client. What is set here answers a fault that was seen (`SETTINGS`).
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from quantbot.errors import InputError
from sweeps.executors.base import (
    Answer,
    ClusterError,
    ClusterLostError,
    Failure,
    Isolation,
    Limits,
    Trouble,
    answer,
    nothing,
    unwrap,
)
from sweeps.executors.interrupts import deferred
from sweeps.executors.spawning import without_main

T = TypeVar("T")
R = TypeVar("R")

SETTINGS = {
    # Without it a task that nobody can run waits for ever, silently.
    "distributed.scheduler.no-workers-timeout": "60s",
    "distributed.scheduler.worker-ttl": "60s",
    # A block whose process died twice is suspect; the driver then tries it alone, to know it from its neighbours.
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
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WAIT_SECONDS = 0.5
_ANSWER_SECONDS = 20.0  # for a receipt, or for the cluster to say how it is
_LOOK_SECONDS = 5.0  # between two looks at the workers
_STALL_SECONDS = 90.0
_START_SECONDS = 60.0


def dask_executor(
    workers: int = 2,
    threads: int = 1,
    processes: bool = True,
    scheduler: str | None = None,
    *,
    dashboard: bool = False,
) -> DaskExecutor:
    """Return the executor that runs blocks on Dask; a context manager that ends what it started.

    The cluster starts when the first block is to run, so a run that is complete starts none.

    Parameters
    ----------
    workers, threads
        Workers of a cluster on this machine, and threads of each. Kernels release the GIL, so one worker with many
        threads keeps one copy of the data; strategies in plain Python need processes.
    processes
        Whether workers are processes of their own or live in this one.
    scheduler
        Address of a running scheduler in place of all that: ``tcp://host:port`` or ``tls://host:port``.
    dashboard
        Whether a cluster on this machine serves Dask's own pages, on loopback; they cost a second at its start.

    Raises
    ------
    InputError
        If a number is below 1 or the scheduler's address is of another form.
    """
    return DaskExecutor(workers, threads, processes, scheduler, dashboard)


class DaskExecutor:
    """See `dask_executor`."""

    isolation: Isolation | None = None

    def __init__(self, workers: int, threads: int, processes: bool, scheduler: str | None, dashboard: bool) -> None:
        if workers < 1 or threads < 1:
            raise InputError(f"a cluster has at least 1 worker of 1 thread, was {workers} of {threads}")
        if scheduler is not None:
            place = urlsplit(scheduler)
            if place.scheme not in ("tcp", "tls") or not place.hostname or "@" in place.netloc:
                raise InputError("a scheduler's address is tcp://host:port or tls://host:port")
        self._workers, self._threads, self._processes = workers, threads, processes
        self._scheduler = scheduler
        self._dashboard = dashboard
        self._stack = contextlib.ExitStack()
        self._client: Any = None
        self._n_tasks = 0
        self._ended = threading.Event()
        # Two drivers on one scheduler must not get each other's tasks.
        self._nonce = uuid.uuid4().hex[:8]

    @property
    def n_slots(self) -> int:
        """How many blocks run at a time."""
        if self._scheduler is None:
            return self._workers * self._threads
        workers = self._info() if self._client is not None else {}
        return max(sum(int(worker["nthreads"]) for worker in workers.values()), 1)

    @property
    def dashboard_link(self) -> str:
        """Address of Dask's own pages, empty while there is no cluster."""
        return str(self._client.dashboard_link or "") if self._client is not None and self._dashboard else ""

    def check_root(self, url: str) -> None:
        """Refuse a folder of this machine when the scheduler is on another."""
        if self._scheduler is None or not url.startswith("file:"):
            return
        host = urlsplit(self._scheduler).hostname
        if host not in LOOPBACK:
            raise InputError(
                f"workers of {self._scheduler} can't reach the folder {url} of this machine; use an s3:// store"
            )

    def prepare(self, run: Callable[[], object]) -> None:
        """Run `run` once on each machine: here for a local cluster, which shares our kernel cache."""
        if self._scheduler is None:
            run()
            self._start()
            return
        self._start()
        first: dict[str, str] = {}
        for address in self._info():
            first.setdefault(str(urlsplit(address).hostname), address)
        futures = [
            self._client.submit(answer, _call, run, key=self._key("prepare"), pure=False, workers=[address])
            for address in first.values()
        ]
        for future in futures:
            unwrap(self._result(future, 600.0, None))

    def map(
        self,
        run: Callable[[T], R],
        items: Iterable[T],
        *,
        label: str = "",
        poll: Callable[[], None] | None = None,
        at_a_time: int | None = None,
        limits: Limits | None = None,
        avoid: Mapping[T, str] | None = None,
    ) -> Iterator[Answer[T, R]]:
        """Yield one answer per item as they finish."""
        del limits, avoid
        self._start()
        poll = poll or nothing
        source = iter(items)
        pending: dict[Any, T] = {}
        exhausted = False
        stall, looked = Stall(), time.monotonic()
        try:
            while True:
                # As many again as run: a worker that ends one finds the next one waiting at the scheduler.
                limit = at_a_time or 2 * self.n_slots
                while not exhausted and len(pending) < limit:
                    try:
                        item = next(source)
                    except StopIteration:
                        exhausted = True
                        break
                    future = self._client.submit(answer, run, item, key=self._key(label), pure=False, retries=0)
                    future.add_done_callback(self._note_end)
                    pending[future] = item
                if not pending:
                    return
                poll()
                done = self._wait(list(pending))
                for future in done:
                    item = pending.pop(future)
                    yield self._result(future, _ANSWER_SECONDS, item)
                    poll()
                if time.monotonic() - looked > _LOOK_SECONDS:
                    looked = time.monotonic()
                    stall.look([str(worker["status"]) for worker in self._info().values()], looked)
        finally:
            if pending:
                with contextlib.suppress(Exception):
                    self._client.cancel(list(pending), reason="the driver stopped")

    def _note_end(self, _: Any) -> None:
        self._ended.set()

    def _key(self, label: str) -> str:
        self._n_tasks += 1
        return f"quantbot-{label}-{self._nonce}-{self._n_tasks}"

    def _start(self) -> None:
        if self._client is not None:
            return
        import dask
        import distributed

        with contextlib.ExitStack() as stack:
            stack.enter_context(dask.config.set(SETTINGS))
            stack.enter_context(_quiet())
            if self._scheduler is None:
                stack.enter_context(without_main())
                with deferred():
                    cluster = stack.enter_context(
                        distributed.LocalCluster(
                            n_workers=self._workers,
                            threads_per_worker=self._threads,
                            processes=self._processes,
                            host="127.0.0.1" if self._processes else None,
                            dashboard_address="127.0.0.1:0",
                            scheduler_kwargs={"dashboard": self._dashboard},
                            silence_logs=logging.CRITICAL,
                        )
                    )
                self._client = stack.enter_context(distributed.Client(cluster, set_as_default=False))
            else:
                self._client = stack.enter_context(_connect(self._scheduler))
            stack.callback(setattr, self, "_client", None)
            self._wait_for_workers()
            self._refuse_mixed_versions()
            if self._processes and self._scheduler is None:
                self._client.register_plugin(_plugin(), name="quantbot-signals")
            self._stack = stack.pop_all()

    def _wait_for_workers(self) -> None:
        try:
            self._client.wait_for_workers(1 if self._scheduler else self._workers, timeout=_START_SECONDS)
        except TimeoutError as error:
            place = self._scheduler or "the cluster on this machine"
            raise ClusterError(
                f"{place} has no worker after {_START_SECONDS:g} s; start one with `dask worker`", "no workers"
            ) from error

    def _refuse_mixed_versions(self) -> None:
        """Compare the workers' environments with ours before the first task; Dask itself only warns."""
        if self._scheduler is None and not self._processes:
            return
        from sweeps.task import environment

        here = environment()
        try:
            found = self._client.run(environment)
        except ModuleNotFoundError as error:
            raise ClusterError(
                f"the workers lack a module ({error}); install the same QuantBot on them", "version refused"
            ) from error
        wrong = [
            f"  {address}  {name}: {there.get(name, '-')}, here {here.get(name, '-')}"
            for address, there in found.items()
            for name in sorted({*here, *there})
            if there.get(name) != here.get(name)
        ]
        if wrong:
            raise ClusterError(
                "workers and driver must be the same, so that they give the same bits; found\n"
                + "\n".join(wrong[:40])
                + "\nInstall the driver's versions on the workers",
                "version refused",
            )

    def _wait(self, futures: list[Any]) -> list[Any]:
        """Return the futures that ended, after a moment at the latest."""
        # Not `distributed.wait`: it raises for a cancelled future and looks for a global client.
        if not any(future.status != "pending" for future in futures):
            self._ended.wait(_WAIT_SECONDS)
        self._ended.clear()
        if self._client.status != "running":
            raise ClusterLostError(
                f"the scheduler {self._scheduler or 'on this machine'} went away; finished blocks are in the store: "
                "resume the run when it is back"
            )
        return [future for future in futures if future.status != "pending"]

    def _result(self, future: Any, seconds: float, item: Any) -> Answer[Any, Any]:
        """Return what became of a task, without ever waiting long."""
        from distributed import CancelledError, KilledWorker

        try:
            found: Answer[Any, Any] = future.result(timeout=seconds)
        except KilledWorker:
            return Answer(item, failure=Failure("killed", "KilledWorker", "its process died twice while it ran"))
        except (TimeoutError, CancelledError) as error:
            return Answer(item, failure=Failure("lost", type(error).__name__, str(error)[:500]))
        except Exception as error:
            return Answer(item, failure=Failure("lost", type(error).__name__, str(error)[:2000]))
        finally:
            future.release()
        return found

    def _info(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return found

    def __enter__(self) -> DaskExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        with _quiet():
            self._stack.close()


class Stall:
    """How long nothing has been able to move.

    A worker that is starved of processor time may be taken for lost, and comes back: that there is none at one moment
    says nothing, however long a block takes.

    Examples
    --------
    >>> stall = Stall()
    >>> stall.look([], 0.0), stall.look(["running"], 80.0), stall.look([], 100.0), stall.look([], 180.0)
    (None, None, None, None)
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def look(self, status: list[str], now: float) -> None:
        """Take note of the workers' status at a time in seconds; raise where none has been able to work for long."""
        trouble: Trouble = "no workers"
        if not status:
            cause = "there are no workers"
        elif set(status) == {"paused"}:
            trouble = "all paused"
            cause = f"all {len(status)} workers are paused for lack of memory"
        else:
            self._since = None
            return
        self._since = now if self._since is None else self._since
        if now - self._since > _STALL_SECONDS:
            raise ClusterError(
                f"STALLED: for {now - self._since:.0f} s {cause}; resume the run when that is mended", trouble
            )


def _connect(scheduler: str) -> Any:
    """Return a client of a running scheduler; a wrong address is noticed before Dask's long patience begins."""
    import distributed

    place = urlsplit(scheduler)
    try:
        socket.create_connection((str(place.hostname), place.port or 8786), _ANSWER_SECONDS).close()
        return distributed.Client(scheduler, set_as_default=False, timeout=_ANSWER_SECONDS)
    except OSError as error:
        raise ClusterLostError(f"no scheduler answers at {scheduler}: {error}") from error


def _call(run: Callable[[], R]) -> R:
    return run()


def _plugin() -> Any:
    """Return a plugin that leaves Ctrl-C to the driver: it ends the workers itself, in order."""
    from sweeps.executors.signals import IgnoreInterrupt

    return IgnoreInterrupt()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
