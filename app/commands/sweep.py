"""``quantbot sweep``: plan, run and read sweeps."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
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
    group,
    isolation_of,
    open_root,
)
from app.commands.sweep_service import CoreHours, Priority, RunName, Submit, WallHours
from app.commands.sweep_service import register as register_service
from app.terminal import ExitCode

if TYPE_CHECKING:
    from app.sweeping import Cluster
    from datasets.store import Store
    from sweeps.plan import Plan
    from sweeps.spec import Spec

app = group("sweep", "Plan, run and read sweeps.")
register_service(app)

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="A TOML file; sweeps/examples has some.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Worker processes; default: one a core.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of each worker.")]
Processes = Annotated[
    bool, typer.Option("--processes/--no-processes", help="Workers as processes, or as threads of this one.")
]
Serial = Annotated[bool, typer.Option("--serial", help="One block after the other in this process: the reference.")]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="ADDRESS", help="A running Dask cluster in place of one here: tcp://… or tls://…"
    ),
]
Tls = Annotated[
    str | None, typer.Option("--tls", metavar="DIR", help="Certificates to show a tls:// scheduler; `quantbot certs`.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Start a process that drives the run, and leave.")]
# Below this, asking costs more than it saves.
_ASK_ABOVE_S = 1800.0


@app.command(
    "plan",
    epilog=examples(
        "quantbot sweep plan sweeps/examples/sma-sp500.toml", "quantbot sweep plan mine.toml --workers 8 --json"
    ),
)
def plan(spec: SpecPath, workers: Workers = None, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Say what a sweep would cost: trials, blocks, time, memory.

    No cluster is touched and nothing is written. What can't fit is refused.
    """
    from app.sweeping import computed_trials, plan_document, plan_rows
    from sweeps.plan import make_plan
    from sweeps.spec import load_spec

    root = open_root(store)
    made = make_plan(load_spec(spec), root, workers=workers)
    n_computed = computed_trials(made, root)
    if json:
        terminal.print_json(plan_document(made, n_computed))
        return
    terminal.print_table(("", ""), plan_rows(made, n_computed), title=made.spec.name, header=False)
    _warn(made)


@app.command(
    "run",
    short_help="Run a sweep to its end.",
    epilog=examples(
        "quantbot sweep run sweeps/examples/sma-sp500.toml",
        "quantbot sweep run mine.toml --workers 8 --threads 2 --name second-try",
        "quantbot sweep run mine.toml --store s3://bucket/quantbot --scheduler tls://scheduler:8786 --tls certs",
        "quantbot sweep run mine.toml --detach",
        "quantbot sweep run mine.toml --submit --priority 10 --core-hours 50",
    ),
)
def run(
    spec: SpecPath,
    name: Annotated[str | None, typer.Option("--name", help="Call the run so; no part of its identity.")] = None,
    workers: Workers = None,
    threads: Threads = 1,
    processes: Processes = True,
    serial: Serial = False,
    scheduler: Scheduler = None,
    tls: Tls = None,
    isolate: Isolate = "own",
    block_seconds: BlockSeconds = None,
    block_memory: BlockMemory = None,
    detach: Detach = False,
    submit_only: Submit = None,
    priority: Priority = 0,
    core_hours: CoreHours = None,
    wall_hours: WallHours = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however long it will take.")] = False,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Run a sweep to its end, and show the best trials with what lies around them.

    The same spec over the same data is the same run: what is there is not computed again, whoever computed it. Ctrl-C
    keeps every finished block. Ends with exit code 3 when trials failed.
    """
    from app.commands.sweep_service import budget_of, say_submitted, to_runners
    from app.sweeping import Cluster, computed_trials
    from sweeps.plan import make_plan
    from sweeps.runstore import RunStore
    from sweeps.spec import load_spec
    from sweeps.submission import submit

    root = open_root(store)
    isolation = isolation_of(isolate, block_seconds, block_memory)
    cluster = Cluster(workers, threads, processes, scheduler, serial, tls, isolation=isolation)
    made = make_plan(_named(load_spec(spec), name), root, workers=cluster.n_workers)
    _warn(made)
    if not yes and not to_runners(submit_only):
        _ask(made, computed_trials(made, root), cluster)
    identity = submit(made.spec, root, plan=made, priority=priority, budget=budget_of(core_hours, wall_hours))
    if to_runners(submit_only) and not detach:
        say_submitted(root, identity, json)
        return
    # Whoever submitted this run first has fixed its plan; ours only found its identity.
    stored = RunStore(root, identity).plan()
    if detach:
        _detach(root, stored, cluster, json)
    else:
        _drive(root, stored, cluster, json)


@app.command(
    "resume",
    short_help="Go on with an interrupted run.",
    epilog=examples("quantbot sweep resume 3fa2c41b", "quantbot sweep resume sma-sp500 --workers 4"),
)
def resume(
    name: RunName,
    workers: Workers = None,
    threads: Threads = 1,
    processes: Processes = True,
    serial: Serial = False,
    scheduler: Scheduler = None,
    tls: Tls = None,
    isolate: Isolate = "own",
    block_seconds: BlockSeconds = None,
    block_memory: BlockMemory = None,
    detach: Detach = False,
    submit_only: Submit = None,
    priority: Priority = 0,
    core_hours: CoreHours = None,
    wall_hours: WallHours = None,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Go on with a run that stopped before its end: only what is missing is computed.

    It may have been interrupted, paused, cancelled, or out of budget (then give it a larger one); its driver may have
    died, or a block been quarantined, which is then tried again.
    """
    from app.commands.sweep_service import budget_of, say_submitted, to_runners
    from app.sweeping import Cluster
    from sweeps.results import open_run
    from sweeps.submission import resume as ask_again

    root = open_root(store)
    budget = budget_of(core_hours, wall_hours)
    if (to_runners(submit_only) and not detach) or budget is not None:
        identity = open_run(root, name).identity
        ask_again(root, identity, priority=priority, budget=budget)
        if to_runners(submit_only) and not detach:
            say_submitted(root, identity, json)
            return
    isolation = isolation_of(isolate, block_seconds, block_memory)
    cluster = Cluster(workers, threads, processes, scheduler, serial, tls, isolation=isolation)
    plan = open_run(root, name).plan
    if detach:
        _detach(root, plan, cluster, json)
    else:
        _drive(root, plan, cluster, json)


@app.command(
    "list",
    short_help="List all runs, the newest first.",
    epilog=examples("quantbot sweep list", "quantbot sweep list --store s3://bucket/quantbot --json"),
)
def list_runs(store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """List all runs of the store with their states, the newest first."""
    from app import format as fmt
    from app.sweeping import status_words
    from sweeps.results import list_runs

    root = open_root(store)
    runs = list_runs(root)
    if json:
        terminal.print_json([asdict(run) for run in runs])
        return
    if not runs:
        terminal.say(f"{root.url} has no run yet; `quantbot sweep run sweeps/examples/sma-sp500.toml` makes one")
        return
    rows = [
        (
            run.short,
            run.name,
            run.state,
            status_words(run.status),
            run.strategy,
            run.dataset,
            fmt.instant(run.submitted_ns),
        )
        for run in runs
    ]
    terminal.print_table(("run", "name", "state", "trials", "strategy", "data", "submitted"), rows)


@app.command(
    "show",
    short_help="Show a run: state, best, failures.",
    epilog=examples("quantbot sweep show 3fa2c41b", "quantbot sweep show sma-sp500 --best 20 --json"),
)
def show(
    name: RunName,
    n_best: Annotated[int, typer.Option("--best", min=0, help="How many of the best trials to show.")] = 10,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Show a run, finished or not: its state, its best trials with what lies around them, and why trials failed."""
    from app.sweeping import run_document, run_rows, show_results
    from sweeps.results import open_run

    run = open_run(open_root(store), name)
    if json:
        terminal.print_json(run_document(run, n_best))
        return
    terminal.print_table(("", ""), run_rows(run), header=False)
    terminal.say("")
    show_results(run, n_best)


@app.command(
    "unlock",
    short_help="Look at the test of a locked holdout.",
    epilog=examples("quantbot sweep unlock 3fa2c41b", 'quantbot sweep unlock sma-sp500 --who "Ada Lovelace" --yes'),
)
def unlock(
    name: RunName,
    who: Annotated[str | None, typer.Option("--who", help="Who looks; default: this user on this machine.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Show the test of a locked holdout: to everybody and for ever, and with who looked, and when, on record.

    A test that was seen is no test of what is chosen afterwards; the record says from when on.
    """
    from app import format as fmt
    from app.sweeping import show_results
    from sweeps.results import open_run

    run = open_run(open_root(store), name)
    if run.locked and not yes and sys.stdin.isatty():
        typer.confirm(f"nobody has looked at the test of run {run.short} yet; look now?", abort=True, err=True)
    look = run.unlock(who or _user())
    if json:
        terminal.print_json({"look": asdict(look), "looks": [asdict(other) for other in run.looks()]})
        return
    terminal.say(f"{look.who} looked at run {run.short} on {fmt.instant(look.at_ns)}")
    show_results(run, 10)


def _user() -> str:
    import getpass
    import socket

    return f"{getpass.getuser()}@{socket.gethostname()}"


def _drive(root: Store, plan: Plan, cluster: Cluster, json: bool) -> None:
    """Drive a submitted run to its end and show what came out."""
    from app.serve import surface_path
    from app.sweeping import drive_shown, run_document, show_results
    from sweeps.results import open_run

    driven = drive_shown(root, plan, cluster)
    run = open_run(root, plan.identity)
    if json:
        terminal.print_json(driven.document() | run_document(run, 10))
    else:
        terminal.say(f"run {run.short} ({plan.spec.name}): {driven.sentence()}")
        if driven.outcome.result_digest:
            terminal.say(f"result digest {driven.outcome.result_digest}")
        terminal.say("")
        show_results(run, 10)
        terminal.note(f"the surface: `quantbot app --store {root.url}`, then {surface_path(run.identity)}")
    if driven.outcome.state != "done":
        raise terminal.Interrupted(f"{driven.outcome.state}; `quantbot sweep resume {run.short}` goes on from there")
    if driven.outcome.n_failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _detach(root: Store, plan: Plan, cluster: Cluster, json: bool) -> None:
    """Start a process that drives the run, and say how to see it."""
    from app import format as fmt
    from quantbot.errors import InputError
    from sweeps.submission import driver_log, start_driver

    if cluster.serial or not cluster.processes:
        raise InputError("--detach drives on worker processes; leave out --serial and --no-processes")
    pid = start_driver(
        root.url,
        plan.identity,
        workers=cluster.n_workers,
        threads=cluster.threads,
        scheduler=cluster.scheduler,
        tls=cluster.tls,
        isolation=cluster.isolation,
    )
    log = driver_log(plan.identity)
    short = fmt.short(plan.identity)
    if json:
        terminal.print_json({"identity": plan.identity, "pid": pid, "log": log})
    else:
        terminal.say(f"run {short} goes on in process {pid}: `quantbot sweep show {short}`; its log is {log}")


def _named(spec: Spec, name: str | None) -> Spec:
    """Return `spec` under another name."""
    if name is None:
        return spec
    from quantbot.errors import InputError

    try:
        run = type(spec.run)(name=name, engine=spec.run.engine)
    except ValueError as error:
        raise InputError(
            f"--name has 1 to 128 letters, digits, dots, dashes or underscores, a letter or digit first; was {name!r}"
        ) from error
    named: Spec = spec.model_copy(update={"run": run})
    return named


def _ask(made: Plan, n_computed: int, cluster: Cluster) -> None:
    """Ask before a long run, where there is somebody to answer."""
    from app import format as fmt

    n_slots = 1 if cluster.serial else cluster.n_workers * cluster.threads
    seconds = made.estimate.core_seconds * (1 - n_computed / made.n_trials) / n_slots
    if seconds < _ASK_ABOVE_S or cluster.scheduler or not sys.stdin.isatty():
        return
    typer.confirm(f"about {fmt.duration(seconds)} on {n_slots} cores; go on?", abort=True, err=True)


def _warn(made: Plan) -> None:
    for warning in made.warnings:
        terminal.note(f"warning: {warning}")
