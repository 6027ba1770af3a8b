"""``quantbot runner`` and ``quantbot queue``: the service that drives submitted runs, and what waits for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from app import terminal
from app.commands.options import (
    DEFAULT_STORE,
    BlockMemory,
    BlockSeconds,
    Isolate,
    Json,
    StoreUrl,
    examples,
    isolation_of,
    open_root,
)

if TYPE_CHECKING:
    from sweeps.service.runner import Runner


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        "runner",
        short_help="Drive submitted runs until told to stop.",
        epilog=examples(
            "quantbot runner --workers 8                           a cluster of its own on this machine",
            "quantbot runner --store s3://bucket/quantbot --scheduler tls://scheduler:8786 --tls certs",
            "quantbot runner --once                                end when the queue is empty",
        ),
    )(runner)
    app.command(
        "queue",
        short_help="Show what waits for a runner, and which runners there are.",
        epilog=examples("quantbot queue", "quantbot queue --store s3://bucket/quantbot --json"),
    )(queue)


def runner(
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A running Dask cluster: tcp://… or tls://…")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Worker processes of a cluster here; default: one a core.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of each worker of a cluster here.")] = 1,
    tls: Annotated[
        str | None,
        typer.Option("--tls", metavar="DIR", help="Certificates to show a tls:// scheduler; `quantbot certs`."),
    ] = None,
    isolate: Isolate = "own",
    block_seconds: BlockSeconds = None,
    block_memory: BlockMemory = None,
    name: Annotated[str, typer.Option("--name", help="What people see; default: machine and process.")] = "",
    at_once: Annotated[
        int, typer.Option("--at-once", min=1, help="Runs driven at a time, each with a client (or cluster) of its own.")
    ] = 1,
    once: Annotated[bool, typer.Option("--once", help="End when nothing waits any more.")] = False,
    lease: Annotated[
        float, typer.Option("--lease", min=0.5, max=3600, help="Seconds after which a dead runner's run is taken over.")
    ] = 30.0,
    slice_: Annotated[
        float, typer.Option("--slice", min=1, help="Seconds that a run keeps its place while a lighter user waits.")
    ] = 600.0,
    grace: Annotated[
        float, typer.Option("--grace", min=0, help="Seconds that blocks in flight may take after SIGTERM.")
    ] = 30.0,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", min=0, max=65535, help="Show /metrics to Prometheus there.")
    ] = None,
    metrics_host: Annotated[
        str, typer.Option("--metrics-host", help="Beyond loopback it needs --metrics-tls.")
    ] = "127.0.0.1",
    metrics_tls: Annotated[
        str | None,
        typer.Option(
            "--metrics-tls", metavar="DIR", help="Certificates of an authority of Prometheus, not the cluster's."
        ),
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Take runs from the store's queue and drive them, in the order of priority and fair share, until SIGTERM.

    Any number of runners work on one store. One may be killed at any moment: another takes its run over when the lease
    ends, and computes what is missing. SIGTERM and Ctrl-C let the blocks in flight end, give the run back and leave
    with exit code 0; a second Ctrl-C leaves at once.
    """
    from app.security.runs import admission
    from app.sweeping import Cluster
    from sweeps.service.runner import Runner

    root = open_root(store)
    metrics = None
    if metrics_port is not None:
        from sweeps.metrics import Metrics

        metrics = Metrics()
        root = metrics.observe(root)
    isolation = isolation_of(isolate, block_seconds, block_memory)
    cluster = Cluster(workers, threads, scheduler=scheduler, tls=tls, isolation=isolation)
    found = Runner(
        root,
        cluster.executor,
        name=name,
        at_once=at_once,
        ttl_seconds=lease,
        slice_seconds=slice_,
        grace_seconds=grace,
        say=terminal.note,
        admit=admission(root),
    )
    terminal.note(f"runner {found.name} on {root.url}; SIGTERM or Ctrl-C drains it")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_drained_by_signals(found))
        if metrics is not None:
            metrics.watch(found, tls)
            shown = stack.enter_context(metrics.serve(metrics_port or 0, metrics_host, metrics_tls))
            terminal.note(f"metrics on {metrics_host}:{shown}")
        found.run(once=once)
    terminal.note(f"runner {found.name} has ended; {found.counters.n_done} runs done")


@contextlib.contextmanager
def _drained_by_signals(found: Runner) -> Iterator[None]:
    import signal
    from types import FrameType

    asked: list[int] = []

    def drain(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and number in asked:
            raise KeyboardInterrupt
        asked.append(number)
        found.drain()

    before = {number: signal.signal(number, drain) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def queue(store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Show the queue in the order in which runners take it, what each user took lately, and the runners."""
    from app import format as fmt
    from sweeps.service import in_order, runners, tickets, usage_of_users
    from sweeps.status import run_status

    root = open_root(store)
    usage, alive = usage_of_users(root), runners(root)
    waiting = in_order(tickets(root), usage)
    states = {ticket.identity: run_status(root, ticket.identity) for ticket in waiting}
    if json:
        terminal.print_json(
            {
                "queue": [asdict(ticket) | {"status": asdict(states[ticket.identity])} for ticket in waiting],
                "users": {user: asdict(taken) for user, taken in usage.items()},
                "runners": [asdict(state) for state in alive],
            }
        )
        return
    rows = [
        (
            ticket.short,
            ticket.user,
            str(ticket.priority),
            states[ticket.identity].state,
            f"{fmt.count(states[ticket.identity].n_done)} of {fmt.count(states[ticket.identity].n_trials)}",
            states[ticket.identity].note,
        )
        for ticket in waiting
    ]
    if rows:
        terminal.print_table(("run", "user", "priority", "state", "trials", "note"), rows, right=("priority",))
    else:
        terminal.say(f"nothing waits in {root.url}")
    if usage:
        users = [
            (user, fmt.duration(taken.core_seconds), fmt.count(taken.n_blocks), fmt.size(taken.bytes_read))
            for user, taken in sorted(usage.items())
        ]
        terminal.print_table(("user", "core time lately", "blocks", "read"), users)
    if alive:
        known = [
            (
                state.name,
                state.state if state.alive else f"dead for {fmt.duration(state.age_seconds)}",
                ", ".join(fmt.short(run) for run in state.runs) if state.alive else "",
                state.trouble and f"{state.trouble}: {state.note}",
            )
            for state in alive
        ]
        terminal.print_table(("runner", "state", "drives", "waits for"), known)
    else:
        terminal.say("no runner; `quantbot runner` starts one")
