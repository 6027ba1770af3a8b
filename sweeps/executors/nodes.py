"""The two nodes of a cluster of our own: a scheduler and its workers, closed by default.

Dask's own commands listen on every address, in the clear, with pages that answer anybody. Here nothing but loopback is
listened on without certificates, and of the pages only ``/health`` is left, on loopback.

Nor do they know when a block is in the store: a worker of theirs that is asked to end leaves in the middle of its
blocks, and one whose scheduler died leaves for ever. Ours ends its blocks first, and waits for a scheduler.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quantbot.errors import InputError
from sweeps.executors import doors
from sweeps.executors.child import resident
from sweeps.executors.cluster import LOOPBACK, SETTINGS
from sweeps.executors.tasks import REFUSED

NODE_SETTINGS = SETTINGS | {
    "distributed.scheduler.http.routes": ["distributed.http.health"],
    "distributed.worker.http.routes": ["distributed.http.health"],
}
DRAIN_SECONDS = 30.0  # for the blocks that a worker is at when it is asked to end
_COLLECT_SECONDS = 2.0  # for the driver to get the receipts
_LOOK_SECONDS = 0.1
_REFUSED_SECONDS = 60.0  # until a worker of another version tries again: its driver may be replaced, too
_IDLE_SECONDS = 0.5  # without a block, for a worker that has just joined to use its time otherwise
_FULL = 0.95  # of its memory
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_log = logging.getLogger("quantbot.cluster")


def serve_scheduler(
    host: str, port: int, tls: str | Path | None = None, *, health_port: int = 0, adaptive: bool = False
) -> None:
    """Run a scheduler until SIGTERM or SIGINT.

    Parameters
    ----------
    host, port
        Where peers reach it.
    tls
        Directory of certificates (`sweeps.executors.tls.security_of`); on loopback it may do without.
    health_port
        Where loopback is told under ``/health`` that it lives; 0 takes a free one.
    adaptive
        Whether loopback may ask there, too, how many workers are wanted, and have some retired.

    Raises
    ------
    InputError
        If it were to listen beyond loopback without certificates.
    """
    refuse_open_listener(host, tls)

    async def serve(told: asyncio.Event) -> None:
        from distributed import Scheduler

        scheduler = Scheduler(
            extensions=_without_history(),
            host=host, port=port, protocol=_protocol(tls), security=_security(tls), dashboard=False,
            dashboard_address=f"{LOOPBACK[0]}:{health_port}",
        )  # fmt: skip
        async with scheduler:
            await _first(told.wait(), scheduler.finished())

    routes = ["distributed.http.health", *(["distributed.http.scheduler.api"] if adaptive else [])]
    _run(serve, {"distributed.scheduler.http.routes": routes})


def _without_history() -> dict[str, Any]:
    """Return a scheduler's extensions, less the one that remembers something about every task for ever."""
    from distributed.scheduler import DEFAULT_EXTENSIONS
    from distributed.spans import SpansSchedulerExtension

    class NoSpans(SpansSchedulerExtension):  # type: ignore[misc]  # distributed's types are skipped
        def observe_tasks(self, *_: Any, **__: Any) -> dict[Any, Any]:
            return {}

        def heartbeat(self, *_: Any, **__: Any) -> None:
            pass

    return {**DEFAULT_EXTENSIONS, "spans": NoSpans}


def serve_worker(
    scheduler: str,
    *,
    host: str = LOOPBACK[0],
    threads: int = 1,
    memory: str | float = "auto",
    tls: str | Path | None = None,
    directory: str | Path | None = None,
    name: str | None = None,
    drain_seconds: float = DRAIN_SECONDS,
) -> None:
    """Run a worker until SIGTERM or SIGINT: it takes no more blocks then, ends those that it is at, and leaves.

    While its scheduler is gone it waits for it, and joins again. A second signal ends it at once. Whoever starts it
    starts it again, always: a block of the shipped code that crashes, or takes all memory, takes the worker with it.

    Parameters
    ----------
    scheduler
        ``tls://host:port``, or ``tcp://`` on loopback.
    host
        The address that other peers reach it by.
    threads
        Blocks at a time.
    memory
        At 95 % of it the worker ends: bytes, or a string like "4 GiB"; "auto" is its share of the machine.
    tls
        As of `serve_scheduler`.
    drain_seconds
        How long its blocks may take to end.

    Raises
    ------
    InputError
        As of `serve_scheduler`.
    """
    refuse_open_listener(host, tls)
    if urlsplit(scheduler).scheme != _protocol(tls):
        raise InputError(f"with certificates a scheduler is tls://host:port, without tcp://host:port; was {scheduler}")
    for variable in _THREADS:  # slots are the parallelism; numpy is imported later than this
        os.environ.setdefault(variable, "1")
    security = _security(tls)
    from sweeps.task import environment

    environment()  # the first thing that a driver asks for

    async def serve(told: asyncio.Event) -> None:
        made = _slot_worker()
        while not told.is_set():
            worker = made(
                scheduler, nthreads=threads, memory_limit=memory, host=host, protocol=_protocol(tls),
                security=security, local_directory=None if directory is None else str(directory), name=name,
                dashboard=False, dashboard_address=f"{LOOPBACK[0]}:0",
            )  # fmt: skip
            joining = asyncio.ensure_future(worker.start())
            await _first(joining, told.wait())
            joined = joining.done() and joining.exception() is None
            if joined:
                beside = [
                    asyncio.ensure_future(_end_when_full(worker.memory_manager.memory_limit)),
                    asyncio.ensure_future(_get_ready(worker)),
                ]
                await _first(worker.finished(), told.wait())
                for task in beside:
                    task.cancel()
            if told.is_set():
                await _drain(worker, drain_seconds)
                return
            why = "its driver has another environment" if REFUSED.is_set() else worker.why
            _log.warning("left %s (%s); joins again", scheduler, why if joined else joining.exception())
            # Not all at once: a scheduler that comes back is busy enough. What was refused stays what it is.
            patience = _REFUSED_SECONDS if REFUSED.is_set() else 1.0
            REFUSED.clear()
            await _first(told.wait(), asyncio.sleep(patience * random.uniform(0.2, 1.5)))

    try:
        _run(serve)
    finally:
        from sweeps.executors.isolation import CHILDREN

        CHILDREN.close()


def _slot_worker() -> Any:
    from distributed import Worker

    class SlotWorker(Worker):  # type: ignore[misc]  # distributed's types are skipped
        """A worker that remembers why it closed, and does not wait for what it computes in vain."""

        why = ""

        async def close(self, *args: Any, **options: Any) -> Any:
            """Close; see `distributed.Worker.close`."""
            self.why = str(options.get("reason", ""))
            # What runs puts its block into the store in any case.
            return await super().close(*args, **options | {"executor_wait": False})

    return SlotWorker


async def _end_when_full(limit: int | None) -> None:
    """End this process before the kernel ends another one in its place."""
    while limit:
        if (held := resident(os.getpid())) > _FULL * limit:
            _log.critical("ended: it held %d MB of the %d MB that it may", held / 1e6, limit / 1e6)
            os._exit(1)
        await asyncio.sleep(_LOOK_SECONDS)


async def _get_ready(worker: Any) -> None:
    """Load what blocks need before the first one comes; where one is waiting already, it does so itself."""
    from sweeps.task import preload

    await asyncio.sleep(_IDLE_SECONDS)
    if not worker.state.executing:
        with contextlib.suppress(Exception):  # the first block will say it
            await asyncio.to_thread(preload)


async def _drain(worker: Any, seconds: float) -> None:
    """Take no more tasks, end those that run, let their receipts be collected, leave."""
    from distributed import Status

    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    if worker.status == Status.running:
        worker.status = Status.paused  # which tells the scheduler
        while worker.state.executing and loop.time() < end:
            await asyncio.sleep(_LOOK_SECONDS)
        end = min(end, loop.time() + _COLLECT_SECONDS)
        while worker.data and loop.time() < end:
            await asyncio.sleep(_LOOK_SECONDS)
    with contextlib.suppress(Exception):
        await asyncio.wait_for(worker.close(reason="drained", nanny=False), 5)


def refuse_open_listener(host: str, tls: str | Path | None) -> None:
    """Raise where something would listen beyond loopback in the clear.

    Examples
    --------
    >>> refuse_open_listener("127.0.0.1", None)
    >>> refuse_open_listener("0.0.0.0", None)
    Traceback (most recent call last):
    quantbot.errors.InputError: listening on 0.0.0.0 needs certificates (--tls DIR; `quantbot certs` makes them)
    """
    if tls is None and host not in LOOPBACK:
        raise InputError(f"listening on {host} needs certificates (--tls DIR; `quantbot certs` makes them)")


def _protocol(tls: str | Path | None) -> str:
    return "tcp" if tls is None else "tls"


def _security(tls: str | Path | None) -> Any:
    from sweeps.executors.tls import security_of

    return None if tls is None else security_of(tls)


def _run(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]], more: Mapping[str, object] | None = None) -> None:
    """Run a node under our settings until a signal sets its event; the second signal ends the process."""
    import dask
    import distributed  # noqa: F401  # brings the defaults that our settings replace

    async def main() -> None:
        told, loop = asyncio.Event(), asyncio.get_running_loop()

        def tell(number: signal.Signals) -> None:
            told.set()
            loop.remove_signal_handler(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, tell, number)
        await serve(told)

    doors.install()
    logging.getLogger("distributed.http.proxy").setLevel(logging.WARNING)
    with dask.config.set(NODE_SETTINGS | dict(more or {})):
        asyncio.run(main())


async def _first(*waited: Any) -> None:
    """Wait for the first of several to end; futures go on, coroutines are given up."""
    tasks = [asyncio.ensure_future(one) for one in waited]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, one in zip(tasks, waited, strict=True):
            if task is not one:
                task.cancel()
