"""``quantbot store``: is everything in it what was written there, what can be put right, what may go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import terminal
from app.commands.options import DEFAULT_STORE, Json, StoreUrl, examples, group, open_root
from app.terminal import ExitCode

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.integrity import Finding, Repair

app = group("store", "Check, repair and tidy a store.")

_CURES = {
    "repair": "`quantbot store repair` computes it again",
    "ingest": "ingest the data again, or restore the object",
    "submit": "submit the run again: its plan is needed for everything else",
    "restore": "restore the object from a copy: nothing here can make it again",
    "upgrade": "a newer version of QuantBot wrote it",
}


@app.command(
    "check",
    short_help="Read everything and compare it.",
    epilog=examples("quantbot store check", "quantbot store check --runs", "quantbot store check --only 3fa2c41b"),
)
def check(
    datasets: Annotated[bool, typer.Option("--datasets", help="Only datasets.")] = False,
    runs: Annotated[bool, typer.Option("--runs", help="Only runs and the ledger.")] = False,
    only: Annotated[str, typer.Option("--only", metavar="NAME", help="Only this dataset, or this run.")] = "",
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Read every object of every dataset and run, and report each that is not what was written.

    Ends with exit code 3 when something was found. Nothing is changed; what runs meanwhile may go on.
    """
    from app import format as fmt
    from sweeps.integrity import check_store

    root = open_root(store)
    with _bar() as show:
        health = check_store(
            root, datasets=datasets or not runs, runs=runs or not datasets, only=_which(root, only), on_progress=show
        )
    if json:
        terminal.print_json(asdict(health) | {"store": root.url})
    else:
        _print_findings(health.findings)
        read = (
            f"{fmt.plural(health.n_objects, 'object')} of {fmt.plural(health.n_versions, 'version')} of datasets and "
            f"{fmt.plural(health.n_runs, 'run')}, {health.n_bytes / 1e6:,.1f} MB"
        )
        bad = f"{fmt.plural(len(health.findings), 'finding')} in " if health.findings else "all as written: "
        terminal.say(f"{root.url}: {bad}{read}")
    if not health.whole:
        raise typer.Exit(ExitCode.SOME_FAILED)


@app.command(
    "repair",
    short_help="Compute again what is damaged of runs.",
    epilog=examples("quantbot store repair", "quantbot store repair 3fa2c41b --workers 4"),
)
def repair(
    name: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's name or identity; without: all of them.")] = "",
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one a core.")] = None,
    serial: Annotated[bool, typer.Option("--serial", help="In this process.")] = False,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Compute again the damaged and missing blocks of runs, and nothing else; the results must be the ones they were.

    Says which datasets need to be ingested again. Ends with exit code 3 when something is still wrong.
    """
    from sweeps.integrity import check_store
    from sweeps.integrity.repair import discard_sums

    root = open_root(store)
    only = _which(root, name)
    with _bar() as show:
        findings = check_store(root, datasets=not name, only=only, on_progress=show).findings
    sums = discard_sums(root, findings)
    owners = sorted({finding.owner for finding in findings if finding.cure == "repair" and finding.owner})
    done = _repaired(root, owners, workers, serial) if owners else []
    of_runs = set(owners)
    left = [finding for finding in findings if finding.owner not in of_runs and finding not in sums]
    left += [finding for each in done for finding in each.left]
    if json:
        terminal.print_json(
            {"store": root.url, "repaired": [asdict(each) for each in done], "left": list(map(asdict, left))}
        )
    else:
        for each in done:
            terminal.say(
                f"run {each.identity[:12]}: {len(each.mended)} objects are whole again, {each.n_computed} blocks were "
                f"computed; result digest {each.result_digest or 'none yet'}"
            )
        if sums:
            terminal.say(f"{len(sums)} damaged sums of the ledger are gone; they are computed again when asked for")
        _print_findings(left)
        _print_ingests(left)
        terminal.say(f"{root.url}: " + (f"{len(left)} objects are still damaged" if left else "all as written"))
    if left:
        raise typer.Exit(ExitCode.SOME_FAILED)


@app.command(
    "gc",
    short_help="Remove what nothing refers to.",
    epilog=examples("quantbot store gc", "quantbot store gc --older-than 48 --remove"),
)
def gc(
    older_than: Annotated[
        float, typer.Option("--older-than", min=1 / 60, help="Hours since anything of it was written.")
    ] = 24.0,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it; without, it is only shown.")] = False,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Find the rest of ingests, publications and writers that were killed, and remove it if asked to.

    Never anything that a manifest names, nor anything of a run that somebody drives.
    """
    from app import format as fmt
    from sweeps.integrity import collect_garbage

    root = open_root(store)
    with terminal.busy(f"looking through {root.url}"):
        found = collect_garbage(root, older_than_seconds=3600 * older_than, remove=remove)
    n_bytes, n_keys = sum(each.n_bytes for each in found), sum(len(each.keys) for each in found)
    if json:
        terminal.print_json(
            {"store": root.url, "removed": remove, "n_bytes": n_bytes, "garbage": list(map(asdict, found))}
        )
        return
    if found:
        rows = [(each.what, fmt.count(len(each.keys)), f"{each.n_bytes / 1e6:,.2f} MB") for each in found]
        terminal.print_table(("what", "objects", "size"), rows, right=("objects", "size"))
    said = f"{fmt.plural(n_keys, 'object')}, {n_bytes / 1e6:,.2f} MB"
    if not found:
        terminal.say(f"{root.url}: nothing older than {older_than:g} h that nothing refers to")
    else:
        terminal.say(f"{root.url}: {said} removed" if remove else f"{root.url}: {said}; --remove removes them")


def _repaired(root: Store, owners: Sequence[str], workers: int | None, serial: bool) -> list[Repair]:
    from app.sweeping import Cluster
    from sweeps.integrity import repair_run

    with Cluster(workers, serial=serial).executor() as executor, terminal.busy("computing damaged blocks again"):
        return [repair_run(root, owner, executor) for owner in owners]


def _which(root: Store, name: str) -> str:
    """Return a dataset's name as it is, a run's as its identity."""
    if not name:
        return ""
    from quantbot.errors import NotFoundError
    from sweeps.integrity.datasets import shelves
    from sweeps.results import find_run

    if any(name in shelf.names() for shelf in shelves(root)):
        return name
    try:
        return find_run(root, name)
    except NotFoundError as error:
        raise NotFoundError(f"{root.url} has no dataset {name!r}, and {error}") from error


def _print_findings(findings: Sequence[Finding]) -> None:
    for finding in findings:
        terminal.say(f"{finding.key}\n  {finding.problem}\n  what helps: {_CURES[finding.cure]}")


def _print_ingests(findings: Sequence[Finding]) -> None:
    owners = sorted({finding.owner for finding in findings if finding.cure == "ingest"})
    if owners:
        terminal.say("to be ingested again: " + ", ".join(owners))


@contextmanager
def _bar() -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar of versions and runs on stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    columns: tuple[Any, ...] = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with terminal.progress(*columns) as bars:
        task = bars.add_task("looking", total=None)
        yield lambda done, total, what: bars.update(task, completed=done, total=total, description=what)
