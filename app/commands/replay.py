"""``quantbot sweep replay``: one block again, watched."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from app import terminal
from app.commands.options import DEFAULT_STORE, BlockMemory, BlockSeconds, Json, StoreUrl, examples, open_root
from app.commands.sweep_service import RunName
from app.terminal import ExitCode


def register(group: typer.Typer) -> None:
    """Add the command to the group `sweep`."""
    group.command(
        "replay",
        short_help="Run one block again, watched.",
        epilog=examples(
            "quantbot sweep replay 3fa2c41b 17",
            "quantbot sweep replay 3fa2c41b 17 --block-seconds 600 --block-memory 8000",
        ),
    )(replay)


def replay(
    name: RunName,
    block: Annotated[int, typer.Argument(metavar="BLOCK", min=0, help="The block's number, from 0.")],
    seconds: BlockSeconds = None,
    memory: BlockMemory = None,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Run one block of a run again in a process of its own, as a quarantined block says; nothing is written.

    What it prints goes to stderr. Where the block is in the store, its bytes are compared. Ends with exit code 3 when
    it fails or its bytes are others.
    """
    from app import format as fmt
    from sweeps.replay import replay
    from sweeps.results import find_run

    root = open_root(store)
    identity = find_run(root, name)
    with terminal.busy(f"running block {block} of run {fmt.short(identity)} again"):
        found = replay(root, identity, block, seconds=seconds, memory_bytes=int(memory * 1e6) if memory else None)
    if json:
        terminal.print_json({"identity": identity, "same": found.same} | asdict(found))
    elif found.failure is not None:
        terminal.say(f"block {block} failed after {fmt.duration(found.seconds)}: {found.failure}")
        if found.failure.trace:
            terminal.say(found.failure.trace)
    else:
        compared = {None: "it is not in the store", True: "the same as in the store", False: "NOT those in the store"}
        terminal.say(
            f"block {block} took {fmt.duration(found.seconds)}; its bytes have SHA-256 {found.sha256}: "
            f"{compared[found.same]}" + (f", which have {found.stored}" if found.same is False else "")
        )
    if found.failure is not None or found.same is False:
        raise typer.Exit(ExitCode.SOME_FAILED)
