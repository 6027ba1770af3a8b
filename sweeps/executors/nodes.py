"""The two nodes of a cluster of our own: a scheduler and its workers, closed by default.

Dask's own commands listen on every address, in the clear, with pages that answer anybody. Here nothing but loopback is
listened on without certificates, and of the pages only ``/health`` is left, on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quantbot.errors import InputError, RunError
from sweeps.executors.cluster import LOOPBACK, SETTINGS

NODE_SETTINGS = SETTINGS | {
    "distributed.scheduler.http.routes": ["distributed.http.health"],
    "distributed.worker.http.routes": ["distributed.http.health"],
    "distributed.nanny.environ.OMP_NUM_THREADS": 1,
}
_START_SECONDS = 60.0


def serve_scheduler(host: str, port: int, tls: str | Path | None = None, *, health_port: int = 0) -> None:
    """Run a scheduler until SIGTERM or SIGINT.

    Parameters
    ----------
    host, port
        Where peers reach it.
    tls
        Directory of certificates (`sweeps.executors.tls.security_of`); on loopback it may do without.
    health_port
        Where loopback is told under ``/health`` that it lives; 0 takes a free one.

    Raises
    ------
    InputError
        If it were to listen beyond loopback without certificates.
    """
    refuse_open_listener(host, tls)

    async def start() -> Any:
        from distributed import Scheduler

        return await Scheduler(
            host=host, port=port, protocol=_protocol(tls), security=_security(tls), dashboard=False,
            dashboard_address=f"{LOOPBACK[0]}:{health_port}",
        )  # fmt: skip

    _run(start)


def serve_worker(
    scheduler: str,
    *,
    host: str = LOOPBACK[0],
    threads: int = 1,
    memory: str | float = "auto",
    tls: str | Path | None = None,
    directory: str | Path | None = None,
    name: str | None = None,
) -> None:
    """Run a worker, in a process that a nanny watches, until SIGTERM or SIGINT; returns when the scheduler is gone.

    Whoever starts it starts it again, always: a worker that lost its scheduler never comes back by itself.

    Parameters
    ----------
    scheduler
        ``tls://host:port``, or ``tcp://`` on loopback.
    host
        The address that other peers reach it by.
    memory
        Where the nanny ends it: bytes, or a string like "4 GiB"; "auto" is its share of the machine.
    tls
        As of `serve_scheduler`.

    Raises
    ------
    InputError
        As of `serve_scheduler`.
    RunError
        If no scheduler answers.
    """
    refuse_open_listener(host, tls)
    if urlsplit(scheduler).scheme != _protocol(tls):
        raise InputError(f"with certificates a scheduler is tls://host:port, without tcp://host:port; was {scheduler}")

    async def start() -> Any:
        import dask
        from distributed import Nanny

        nanny = Nanny(
            scheduler, nthreads=threads, memory_limit=memory, host=host, protocol=_protocol(tls),
            security=_security(tls), local_directory=None if directory is None else str(directory), name=name,
            dashboard=False, dashboard_address=f"{LOOPBACK[0]}:0", death_timeout=_START_SECONDS,
            config=dask.config.config,
        )  # fmt: skip
        try:
            return await asyncio.wait_for(nanny, _START_SECONDS)
        except (OSError, TimeoutError) as error:
            await nanny.close()
            raise RunError(f"no scheduler answers at {scheduler}: {error}") from error

    _run(start)


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


def _run(start: Any) -> None:
    import dask
    import distributed  # noqa: F401  # brings the defaults that our settings replace

    logging.getLogger("distributed.http.proxy").setLevel(logging.WARNING)
    with dask.config.set(NODE_SETTINGS):
        asyncio.run(_until_told(start()))


async def _until_told(start: Coroutine[Any, Any, Any]) -> None:
    """Run a node until it ends or a signal comes."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    starting = asyncio.ensure_future(start)
    waiting = asyncio.ensure_future(told.wait())
    await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    node = starting.result()
    finished = asyncio.ensure_future(node.finished())
    await asyncio.wait({finished, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not finished.done():
        finished.cancel()
        await node.close()
