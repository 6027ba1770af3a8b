"""Blocks on a Dask cluster: processes or threads of this machine, or a scheduler somewhere.

Dask is muscle: a task gets plain values, puts its blocks into the store and returns receipts, so nothing is lost with
a worker, a scheduler or a client. Short items share a task, since a task costs the driver and the scheduler some
milliseconds however little it does.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from quantbot.errors import InputError
from sweeps.executors import cluster
from sweeps.executors.base import (
    Answer,
    ClusterError,
    ClusterLostError,
    Failure,
    Isolation,
    Limits,
    nothing,
    unwrap,
)
from sweeps.executors.pace import Pace, Source
from sweeps.executors.tasks import Done, Refused, differing, digest_of, execute, greet, once

T = TypeVar("T")
R = TypeVar("R")

_WAIT_SECONDS = 0.5
_ANSWER_SECONDS = 20.0  # for receipts, or for the cluster to say how it is
_LOOK_SECONDS = 5.0  # between two looks at the workers
_START_SECONDS = 60.0
_JOIN_SECONDS = 0.05  # between two looks at whether workers have joined
_PREPARE_SECONDS = 600.0


def dask_executor(
    workers: int = 2,
    threads: int = 1,
    processes: bool = True,
    scheduler: str | None = None,
    *,
    tls: str | Path | None = None,
    isolation: Isolation | None = None,
    dashboard: bool = False,
) -> DaskExecutor:
    """Return the executor that runs blocks on Dask; a context manager that ends what it started.

    The cluster starts when the first block is to run, so a run that is complete starts none. After a `ClusterError`
    the executor may be used again: it connects anew.

    Parameters
    ----------
    workers, threads
        Workers of a cluster on this machine, and threads of each. Kernels release the GIL, so one worker with many
        threads keeps one copy of the data; strategies in plain Python need processes.
    processes
        Whether workers are processes of their own or live in this one.
    scheduler
        Address of a running scheduler in place of all that: ``tcp://host:port`` or ``tls://host:port``.
    tls
        Folder of the certificates that a ``tls://`` scheduler asks for.
    isolation
        Which blocks run in processes of their own, and what they may take; default: those of a user's own strategy.
    dashboard
        Whether a cluster on this machine serves Dask's own pages, on loopback; they cost a second at its start.

    Raises
    ------
    InputError
        If a number is below 1, the scheduler's address is of another form, or the certificates are not there.
    """
    return DaskExecutor(workers, threads, processes, scheduler, tls, isolation or Isolation(), dashboard)


class DaskExecutor:
    """See `dask_executor`."""

    def __init__(
        self,
        workers: int,
        threads: int,
        processes: bool,
        scheduler: str | None,
        tls: str | Path | None,
        isolation: Isolation,
        dashboard: bool,
    ) -> None:
        if workers < 1 or threads < 1:
            raise InputError(f"a cluster has at least 1 worker of 1 thread, was {workers} of {threads}")
        if scheduler is not None:
            place = urlsplit(scheduler)
            if place.scheme not in ("tcp", "tls") or not place.hostname or "@" in place.netloc:
                raise InputError("a scheduler's address is tcp://host:port or tls://host:port")
        if tls is not None and not (scheduler or "").startswith("tls://"):
            raise InputError(f"certificates are for a tls:// scheduler, was {scheduler or 'a cluster on this machine'}")
        self.isolation: Isolation | None = isolation
        self._workers, self._threads, self._processes = workers, threads, processes
        self._scheduler, self._tls = scheduler, tls
        self._dashboard = dashboard
        self._stack = contextlib.ExitStack()
        self._client: Any = None
        self._environment = ""
        self._seen: dict[str, Any] = {}
        self._looked = 0.0
        self._n_tasks = 0
        self._ended = threading.Event()
        # Two drivers on one scheduler must not get each other's tasks.
        self._nonce = uuid.uuid4().hex[:8]

    @property
    def n_slots(self) -> int:
        """How many blocks run at a time."""
        if self._scheduler is None:
            return self._workers * self._threads
        return max(sum(int(worker["nthreads"]) for worker in self._seen.values()), 1)

    @property
    def dashboard_link(self) -> str:
        """Address of Dask's own pages, empty while there is no cluster."""
        return str(self._client.dashboard_link or "") if self._client is not None and self._dashboard else ""

    def check_root(self, url: str) -> None:
        """Refuse a folder of this machine when the scheduler is on another."""
        if self._scheduler is None or not url.startswith("file:"):
            return
        host = urlsplit(self._scheduler).hostname
        if host not in cluster.LOOPBACK:
            raise InputError(
                f"workers of {self._scheduler} can't reach the folder {url} of this machine; use an s3:// store"
            )

    def prepare(self, run: Callable[[], object], limits: Limits | None = None) -> None:
        """Run `run` once on each machine: here for a local cluster, which shares our kernel cache."""
        if self._scheduler is None and limits is None:
            run()
            self._start()
            return
        with self._connected():
            first: dict[str, str] = {}
            self._wait_for_slots()
            for address in self._seen:
                first.setdefault(str(urlsplit(address).hostname) if self._scheduler else "", address)
            futures = [
                self._client.submit(
                    once, run, limits, key=self._key("prepare"), pure=False, workers=[address], allow_other_workers=True
                )
                for address in first.values()
            ]
            seconds = _PREPARE_SECONDS + (limits.seconds if limits else 0.0)
            for found in self._results(futures, seconds):
                if isinstance(found, Failure):
                    # A worker that went away meanwhile says nothing about the run.
                    raise ClusterError(f"no worker was left to prepare the run: {found}", "no workers")
                unwrap(found)

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
        poll = poll or nothing
        avoid = avoid or {}
        source, pace = Source(items), Pace()
        pending: dict[Any, list[T]] = {}
        stall = cluster.Stall()
        with self._connected():
            try:
                while True:
                    # As many again as run: a worker that ends one finds the next one waiting at the scheduler.
                    while len(pending) < (at_a_time or 2 * self.n_slots):
                        chosen = source.take(1 if at_a_time or avoid else pace.n_items)
                        if not chosen:
                            break
                        pending[self._submit(run, chosen, label, limits, avoid)] = chosen
                    if not pending:
                        return
                    poll()
                    for future in self._wait(list(pending)):
                        sent = pending.pop(future)
                        for found in self._answers(sent, self._result(future, _ANSWER_SECONDS), source, pace):
                            yield found
                            poll()
                    if time.monotonic() - self._looked > _LOOK_SECONDS:
                        self._look(stall)
            finally:
                if pending and self._client is not None and self._client.status == "running":
                    with contextlib.suppress(Exception):
                        self._client.cancel(list(pending), reason="the driver stopped")

    def _submit(
        self, run: Callable[[T], R], chosen: list[T], label: str, limits: Limits | None, avoid: Mapping[T, str]
    ) -> Any:
        rest = {}
        if any(item in avoid for item in chosen):
            others = [address for address in self._seen if address not in {avoid.get(item) for item in chosen}]
            # Loosely: where these are gone, any will do.
            rest = {"workers": others, "allow_other_workers": True} if others else {}
        future = self._client.submit(
            execute, run, chosen, limits, self._environment, key=self._key(label), pure=False, retries=0, **rest
        )
        future.add_done_callback(self._note_end)
        return future

    def _answers(self, sent: list[T], found: Any, source: Source, pace: Pace) -> Iterator[Answer[T, Any]]:
        """Yield the answers that a task gave to its items, or what became of it."""
        if isinstance(found, Done):
            if found.answers:
                pace.note(len(found.answers), found.seconds)
            source.give_back(sent[len(found.answers) :])
            yield from found.answers
        elif isinstance(found, Refused):
            source.give_back(sent)
            self._refuse({found.worker: found.environment})
        else:
            yield from (Answer(item, failure=found) for item in sent)

    def _note_end(self, _: Any) -> None:
        self._ended.set()

    def _key(self, label: str) -> str:
        self._n_tasks += 1
        return f"quantbot-{label}-{self._nonce}-{self._n_tasks}"

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Have a cluster inside; one that can't go on is left, so that the next use connects anew."""
        try:
            self._start()
            yield
        except ClusterError:
            self._leave()
            raise

    def _start(self) -> None:
        if self._client is not None:
            return
        import dask
        import distributed  # noqa: F401  # brings the defaults that our settings replace

        with contextlib.ExitStack() as stack:
            stack.enter_context(dask.config.set(cluster.SETTINGS))
            stack.enter_context(cluster.quiet())
            if self._scheduler is None:
                self._client = cluster.start_local(
                    self._workers, self._threads, self._processes, self._dashboard, stack
                )
                stack.callback(cluster.end_children)
            else:
                self._client = cluster.connect(self._scheduler, self._tls, stack)
            stack.callback(setattr, self, "_client", None)
            self._wait_for_workers()
            self._greet()
            self._seen = self._info()
            self._stack = stack.pop_all()

    def _wait_for_workers(self) -> None:
        """Wait until there are workers, paused ones too: `distributed`'s own wait has no word for those."""
        end = time.monotonic() + _START_SECONDS
        while len(self._info()) < (1 if self._scheduler else self._workers):
            if time.monotonic() > end:
                place = self._scheduler or "the cluster on this machine"
                raise ClusterError(
                    f"{place} has no worker after {_START_SECONDS:g} s; start one with `quantbot worker`", "no workers"
                )
            time.sleep(_JOIN_SECONDS)

    def _wait_for_slots(self) -> None:
        """Wait until a worker takes tasks: one that is sent to where none is taken may wait there for ever."""
        stall = cluster.Stall()
        self._look(stall)
        while not any(worker["status"] == "running" for worker in self._seen.values()):
            time.sleep(_WAIT_SECONDS)
            self._look(stall)

    def _greet(self) -> None:
        """Compare the workers' environments with ours before the first task; Dask itself only warns.

        Those that join later are asked with their first task (`execute`).
        """
        from sweeps.task import environment

        self._environment = digest_of(environment())
        found = self._client.run(greet, self._environment, on_error="return")
        self._refuse({address: there for address, there in found.items() if there}, len(found))

    def _refuse(self, others: Mapping[str, Any], n_asked: int = 0) -> None:
        """Send workers away that would give other bits; raise where nobody is left, for then it is we who differ."""
        if not others:
            return
        from sweeps.task import environment

        rows = [
            f"  {address}  {row}"
            for address, there in others.items()
            for row in (differing(environment(), there) if isinstance(there, Mapping) else [f"{there}"])
        ]
        left = n_asked - len(others) if n_asked else len(set(self._info()) - set(others))
        if left < 1:
            raise ClusterError(
                "workers and driver must be the same, so that they give the same bits; found\n"
                + "\n".join(rows[:40])
                + "\nInstall the driver's versions on the workers",
                "version refused",
            )
        with contextlib.suppress(Exception):
            self._client.retire_workers(list(others), close_workers=True)

    def _look(self, stall: cluster.Stall) -> None:
        """Ask how the workers are; restart them where that may help, raise where nothing can move."""
        self._seen = self._info()
        self._looked = time.monotonic()
        if stall.look([str(worker["status"]) for worker in self._seen.values()], self._looked):
            try:
                self._client.restart_workers(list(self._seen), timeout=_ANSWER_SECONDS, raise_for_error=False)
            except Exception:  # those without a nanny: ours leave and join again (`sweeps.executors.nodes`)
                with contextlib.suppress(Exception):
                    self._client.retire_workers(list(self._seen), close_workers=True)

    def _wait(self, futures: list[Any]) -> list[Any]:
        """Return the futures that ended, after a moment at the latest."""
        # Not `distributed.wait`: it raises for a cancelled future and looks for a global client.
        if not any(future.status != "pending" for future in futures):
            self._ended.wait(_WAIT_SECONDS)
        self._ended.clear()
        if self._client.status != "running":
            raise self._lost()
        return [future for future in futures if future.status != "pending"]

    def _results(self, futures: list[Any], seconds: float) -> list[Any]:
        """Return what tasks gave, or why they gave nothing; raise where none can move."""
        stall, end = cluster.Stall(), time.monotonic() + seconds
        for future in futures:
            future.add_done_callback(self._note_end)
        while (pending := [future for future in futures if future.status == "pending"]) and time.monotonic() < end:
            self._wait(pending)
            if time.monotonic() - self._looked > _LOOK_SECONDS:
                self._look(stall)
        return [self._result(future, _ANSWER_SECONDS) for future in futures]

    def _result(self, future: Any, seconds: float) -> Any:
        """Return what a task gave, or why it gave nothing, without ever waiting long."""
        from distributed import CancelledError, KilledWorker

        try:
            return future.result(timeout=seconds)
        except KilledWorker:
            return Failure("killed", "KilledWorker", "its worker died twice while it ran")
        except (TimeoutError, CancelledError) as error:
            if self._client.status != "running" or getattr(error, "reason", "") == "scheduler-connection-lost":
                raise self._lost() from error
            return Failure("lost", type(error).__name__, str(error)[:500])
        except Exception as error:
            return Failure("lost", type(error).__name__, str(error)[:2000])
        finally:
            future.release()

    def _info(self) -> dict[str, Any]:
        """Return the workers by address, as the scheduler sees them."""
        try:
            found = self._client.sync(self._client.scheduler.identity, n_workers=-1, callback_timeout=_ANSWER_SECONDS)
        except (OSError, TimeoutError) as error:
            raise self._lost() from error
        workers: dict[str, Any] = found["workers"]
        return workers

    def _lost(self) -> ClusterLostError:
        return ClusterLostError(
            f"the scheduler {self._scheduler or 'on this machine'} went away; finished blocks are in the store: "
            "resume the run when it is back"
        )

    def _leave(self) -> None:
        with cluster.quiet(), contextlib.suppress(Exception):
            self._stack.close()
        self._client = None

    def __enter__(self) -> DaskExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        with cluster.quiet():
            self._stack.close()
