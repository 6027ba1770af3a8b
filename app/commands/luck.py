"""``quantbot sweep luck``, ``quantbot sweep null`` and ``quantbot ledger``: how much of a best is luck, of how many."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from app import terminal
from app.commands import sweep
from app.commands.options import DEFAULT_STORE, Json, StoreUrl, examples, open_root
from app.commands.sweep_service import RunName

Family = Annotated[
    str | None,
    typer.Argument(
        metavar="FAMILY", help='A strategy, a dataset, or "strategy on dataset"; all families where not said.'
    ),
]


@sweep.app.command(
    "luck",
    short_help="Say how much of a run's best is luck.",
    epilog=examples("quantbot sweep luck 3fa2c41b", "quantbot sweep luck sma-sp500 --json"),
)
def luck(name: RunName, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Say how much of a run's best is luck; compute what a finished run lacks, and keep it with the run."""
    from app.luck import luck_sentences
    from sweeps.luck import luck_document
    from sweeps.results import open_run

    run = open_run(open_root(store), name)
    found = run.luck()
    if json:
        terminal.print_json(luck_document(found))
        return
    for line in luck_sentences(run, found):
        terminal.say(line)


@sweep.app.command(
    "null",
    short_help="Run a sweep on noise, and see where its best stands.",
    epilog=examples("quantbot sweep null sma-sp500", "quantbot sweep null 3fa2c41b --n 500 --method phase --workers 4"),
)
def null(
    name: RunName,
    n: Annotated[int, typer.Option("--n", min=1, help="How many resamples of the prices.")] = 100,
    method: Annotated[
        str, typer.Option("--method", help='"bootstrap": blocks of bars; "phase": the same autocorrelations.')
    ] = "bootstrap",
    block: Annotated[
        float | None, typer.Option("--block", min=1, help="Mean bars of a bootstrap's block; 5 for 5 000 bars.")
    ] = None,
    workers: sweep.Workers = None,
    threads: sweep.Threads = 1,
    processes: sweep.Processes = True,
    serial: sweep.Serial = False,
    scheduler: sweep.Scheduler = None,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Run a finished sweep on prices in which nothing foretells what comes next, and see where the real best stands.

    Bars keep their shapes, drift and volatility, and lose their order. Resamples are kept with the run: more of them
    later go on from there. They are no looks at the data and don't enter the ledger.
    """
    from app import format as fmt
    from app.luck import null_rows
    from app.sweeping import Cluster, counted
    from sweeps.null import null_document, run_null
    from sweeps.results import open_run

    run = open_run(open_root(store), name)
    cluster = Cluster(workers, threads, processes, scheduler, serial)
    with cluster.executor() as executor, counted("resamples", n) as tell:
        found = run_null(run, executor, n=n, method=method, mean_block=block, on_progress=tell)  # type: ignore[arg-type]
    if json:
        terminal.print_json(null_document(found))
        return
    title = f"{run.spec.name}: its best on {fmt.plural(n, 'resample')}"
    terminal.print_table(("", ""), null_rows(run, found), title=title, header=False)
    terminal.note(f"the figure stands on the Surface page and in `quantbot report {run.short}`")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        "ledger",
        short_help="Count the trials of a strategy on a dataset.",
        epilog=examples(
            "quantbot ledger", "quantbot ledger sma_cross", 'quantbot ledger "sma_cross on demo/sp500" --json'
        ),
    )(ledger)


def ledger(family: Family = None, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Count every evaluated trial of a strategy on a dataset, in whatever run, by whomever, each once.

    This number is what a best is judged against: a sweep that is divided, renamed or run again changes nothing.
    """
    from app import format as fmt
    from app.luck import ledger_rows
    from sweeps.ledger import families, find_family, read_ledger

    root = open_root(store)
    wanted = families(root) if family is None else [find_family(root, family)]
    found = [read_ledger(root, one) for one in wanted]
    if json:
        terminal.print_json([asdict(one) for one in found])
        return
    if not found:
        terminal.say(f"the ledger of {root.url} is empty: a finished run enters its trials")
        return
    if family is None:
        rows = [
            (
                one.family.strategy,
                one.family.dataset,
                fmt.count(one.n_trials),
                fmt.count(round(one.n_effective)),
                fmt.count(len(one.entries)),
                fmt.instant(one.entries[-1].at_ns),
            )
            for one in found
        ]
        heads = ("strategy", "data", "trials", "independent", "entries", "last")
        terminal.print_table(heads, rows, right=("trials", "independent", "entries"))
        return
    terminal.print_table(("", ""), ledger_rows(found[0]), header=False)
    terminal.say("")
    lines = [
        (
            fmt.short(entry.run),
            entry.name,
            entry.user,
            fmt.instant(entry.at_ns),
            fmt.short(entry.dataset_version),
            fmt.count(entry.n_trials),
            "a locked holdout" if entry.looked else "",
        )
        for entry in found[0].entries
    ]
    columns = ("run", "name", "by", "entered", "data version", "trials", "looked at")
    terminal.print_table(columns, lines, right=("trials",))
