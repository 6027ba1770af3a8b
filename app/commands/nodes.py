"""``quantbot scheduler`` and ``quantbot worker``: the nodes of a cluster that stays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.options import examples

Host = Annotated[str, typer.Option("--host", help="The address to listen on; beyond loopback it needs --tls.")]
Tls = Annotated[
    Path | None,
    typer.Option("--tls", metavar="DIR", help="Certificates (ca.pem, cert.pem, key.pem) to show and ask for."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        "scheduler",
        short_help="Be the scheduler of a cluster, until SIGTERM.",
        epilog=examples("quantbot scheduler", "quantbot scheduler --host 10.0.0.5 --tls certs"),
    )(scheduler)
    app.command(
        "worker",
        short_help="Be a worker of a cluster, until SIGTERM.",
        epilog=examples(
            "quantbot worker tcp://127.0.0.1:8786", "quantbot worker tls://10.0.0.5:8786 --host 10.0.0.6 --tls certs"
        ),
    )(worker)


def scheduler(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port to listen on.")] = 8786,
    tls: Tls = None,
    health_port: Annotated[
        int, typer.Option("--health-port", min=0, max=65535, help="Where loopback finds /health; 0 takes a free one.")
    ] = 0,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Tell loopback there, too, how many workers are wanted, and retire some.")
    ] = False,
) -> None:
    """Be the scheduler of a cluster: it hands out blocks, and holds nothing that matters.

    Without certificates it listens on this machine alone. It serves no pages.
    """
    from sweeps.executors.nodes import serve_scheduler

    serve_scheduler(host, port, tls, health_port=health_port, adaptive=adaptive)


def worker(
    scheduler: Annotated[str, typer.Argument(metavar="SCHEDULER", help="tls://host:port, or tcp:// on this machine.")],
    host: Host = "127.0.0.1",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Blocks at a time.")] = 1,
    memory: Annotated[
        str, typer.Option("--memory", help="Where it ends, to be begun anew: 4GiB, 0.5 (a half) …")
    ] = "auto",
    tls: Tls = None,
    directory: Annotated[Path | None, typer.Option("--directory", help="Where its own files go.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="What people see; default: its address.")] = None,
    drain: Annotated[
        float, typer.Option("--drain", min=0, help="Seconds that its blocks may take after SIGTERM.")
    ] = 30.0,
) -> None:
    """Be a worker of a cluster: it computes blocks and puts them into the store.

    On SIGTERM it takes no more blocks, ends those that it is at, and leaves with exit code 0. While its scheduler is
    gone it waits for it. Have it started again, always: what takes all its memory takes it along.
    """
    from sweeps.executors.nodes import serve_worker

    serve_worker(
        scheduler,
        host=host,
        threads=threads,
        memory=memory,
        tls=tls,
        directory=directory,
        name=name,
        drain_seconds=drain,
    )
