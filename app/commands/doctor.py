"""``quantbot doctor``: whether this machine can run QuantBot."""

from __future__ import annotations

from typing import Annotated

import typer

from app import terminal
from app.commands.options import DEFAULT_STORE, Json, StoreUrl, examples
from app.terminal import ExitCode

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        "doctor",
        epilog=examples(
            "quantbot doctor",
            "quantbot doctor --store s3://bucket/quantbot --scheduler tls://scheduler:8786",
            "quantbot doctor --json",
        ),
    )(doctor)


def doctor(
    store: StoreUrl = DEFAULT_STORE,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler to reach: tcp://… or tls://…")
    ] = None,
    json: Json = False,
) -> None:
    """Check this machine, its packages and its store.

    Looks at Python, the packages' versions, the store, the kernel cache, the clock and the scheduler. Ends with exit
    code 3 when a check fails; a warning is not a failure.
    """
    from app.doctor import examine

    checks = examine(store, scheduler)
    failed = any(check.verdict == "fail" for check in checks)
    if json:
        terminal.print_json({"ok": not failed, "checks": [vars(check) for check in checks]})
    else:
        console = terminal.out()
        for check in checks:
            console.print(f"{check.verdict:<4}", style=_STYLES[check.verdict], end="  ")
            console.print(f"{check.name:<13} {check.sentence}", markup=False)
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED)
