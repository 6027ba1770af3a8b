"""``quantbot report``: a run as one HTML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from app import terminal
from app.commands.options import DEFAULT_STORE, Json, StoreUrl, examples, open_root
from app.commands.sweep_service import RunName


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        "report",
        short_help="Write a run as one HTML file.",
        epilog=examples("quantbot report sma-sp500", "quantbot report 3fa2c41b --out reports/sma.html"),
    )(report)


def report(
    name: RunName,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Default: the run's name and identity, here.")
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Write what a run's Surface page says as one HTML file that needs nothing else, made for print."""
    from app.run_report import run_report
    from app.sheet import write_sheet
    from sweeps.results import open_run

    run = open_run(open_root(store), name)
    path = out or Path(f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', run.plan.spec.name)}-{run.short}.html")
    write_sheet(run_report(run), path)
    if json:
        terminal.print_json({"identity": run.identity, "report": str(path)})
    else:
        terminal.say(f"report: {path}")
