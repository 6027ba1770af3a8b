"""``quantbot backtest``: one trial in full."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app import terminal
from app.commands.options import DEFAULT_STORE, Json, StoreUrl, examples, open_root


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        "backtest",
        short_help="Run one point; measures, report.",
        epilog=examples(
            "quantbot backtest sweeps/examples/sma-sp500.toml --point fast=20,slow=100",
            "quantbot backtest mine.toml --point fast=20,slow=100 --fold test --out trial.html",
            "quantbot backtest mine.toml --point fast=20,slow=100,execution.fee_bps=0 --json",
        ),
    )(backtest)


def backtest(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A sweep's spec: data, strategy, costs.")],
    point: Annotated[
        list[str] | None,
        typer.Option(
            "--point", "-p", metavar="NAME=VALUE,…", help="The point; what it leaves out has the spec's value."
        ),
    ] = None,
    asset: Annotated[str | None, typer.Option("--asset", help="Default: the spec's first.")] = None,
    fold: Annotated[str | None, typer.Option("--fold", help="Default: the spec's first ('all', 'train', …).")] = None,
    report: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write an HTML report that needs nothing else.")
    ] = None,
    plain_python: Annotated[
        bool, typer.Option("--plain-python", help="Decide with the plain Python function: slow, same decisions.")
    ] = False,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Run one point of a spec and show its measures beside buy-and-hold."""
    from app.backtest import run_backtest
    from app.points import parse_point

    trial = run_backtest(
        spec, open_root(store), parse_point(point or []), asset=asset, fold=fold, plain_python=plain_python
    )
    if report is not None:
        from app.report import write_report

        write_report(trial, report)
    if json:
        terminal.print_json(trial.document() | ({"report": str(report)} if report else {}))
        return
    terminal.say(trial.title)
    for remark in trial.remarks:
        terminal.note(remark)
    terminal.print_table(("measure", "trial", "buy and hold"), trial.table(), right=("trial", "buy and hold"))
    terminal.say(trial.counts())
    if report is not None:
        terminal.say(f"report: {report}")
