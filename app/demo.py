"""What ``make demo`` runs: real bars in, thousands of backtests on a local cluster, the surface in the browser."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app import format as fmt
from app import terminal
from app.sweeping import Cluster, drive_shown, run_document, show_results

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.plan import Plan

EXAMPLE = "sma-sp500.toml"
BOOK = "demo/synthetic-book"
# What is run, one after the other, while the app is served already: the words of a command, and what it shows.
MEANWHILE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("sweep", "run", "portfolio-minute.toml"), "portfolios of least CVaR"),
    (("ingest", "synthetic-book", BOOK, "--events", "200000", "--days", "2"), "a synthetic order book"),
    (("sweep", "run", "maker-synthetic.toml"), "a market maker on it"),
)
WORKERS = 2


def run_demo(root: Store, *, port: int, serve: bool, as_json: bool = False) -> None:
    """Ingest the demo data, run the example sweep, print its best, and serve the app until Ctrl-C.

    Whatever is in the store already is not done again, so that a second demo is quick.
    """
    from sweeps.results import open_run

    started = time.monotonic()
    _say(f"1/3 data: {_ingest(root)}", as_json)
    plan = _submit(root)
    _say(
        f"2/3 sweep: {fmt.count(plan.n_trials)} backtests of {plan.bundle.reference} over"
        f" {plan.dataset_name}, on {WORKERS} worker processes",
        as_json,
    )
    driven = drive_shown(root, plan, Cluster(workers=WORKERS))
    run = open_run(root, plan.identity)
    if as_json:
        terminal.print_json(driven.document() | run_document(run, 10))
    else:
        terminal.say(f"    {driven.sentence()}; result digest {driven.outcome.result_digest[:12]}\n")
        show_results(run, 10)
        terminal.say(f"\nall that took {fmt.duration(time.monotonic() - started)}")
    if serve:
        serve_run(root, plan.identity, port)
    elif not as_json:
        terminal.say(f"3/3 the surface: `quantbot app --store {root.url}`")


def serve_run(root: Store, identity: str, port: int) -> None:
    """Serve the app until Ctrl-C, and say where the surface of a run is."""
    from app.serve import free_port, serving, surface_path, wait

    chosen = free_port(port)
    if chosen != port:
        terminal.note(f"port {port} is taken; using {chosen}")
    with serving(root.url, port=chosen) as server, _meanwhile(root):
        terminal.say(f"3/3 the surface: {server.url}{surface_path(identity)}   (Ctrl-C ends everything)")
        terminal.say(f"    running meanwhile, see Runs: {', '.join(what for _, what in MEANWHILE)}")
        wait(server)
    terminal.note("ended; nothing is left running")


@contextmanager
def _meanwhile(root: Store) -> Iterator[None]:
    """Run other examples one after the other, so that every page has something to show; end what is left."""
    from app.serve import end_tree

    running: list[subprocess.Popen[bytes]] = []
    ending = threading.Event()

    def run() -> None:
        for words, _ in MEANWHILE:
            if ending.is_set():
                return
            words = tuple(str(_example(word)) if word.endswith(".toml") else word for word in words)
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "app", *words, "--store", root.url], stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                )
            )  # fmt: skip
            running[-1].wait()

    thread = threading.Thread(target=run, name="meanwhile", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        for process in running:
            end_tree(process)
        thread.join(10)


def _example(name: str) -> Path:
    import sweeps

    return Path(sweeps.__file__).with_name("examples") / name


def _ingest(root: Store) -> str:
    """Store the demo data unless they are there; return what there is, in words."""
    from rich.progress import BarColumn, TextColumn

    from datasets.catalog import Catalog
    from datasets.demo import ingest_demo

    with terminal.progress(TextColumn("{task.description}", markup=False), BarColumn()) as shown:
        task = shown.add_task("demo data", total=1.0)
        made = ingest_demo(root, progress=lambda done, text: shown.update(task, completed=done, description=text))
    created = [name for name, result in made.items() if result.created]
    sp500 = Catalog(root).open("demo/sp500")
    period = (
        f"{fmt.count(sp500.n_times)} daily bars of the S&P 500, {fmt.day(sp500.start_ns)} to {fmt.day(sp500.end_ns)}"
    )
    rest = f"and {len(made) - 1} more datasets" if len(made) > 1 else ""
    return f"{period}, {rest} ({'stored' if created else 'all were there already'})"


def _submit(root: Store) -> Plan:
    from sweeps.plan import make_plan
    from sweeps.runstore import RunStore
    from sweeps.spec import load_spec
    from sweeps.submission import submit

    spec = load_spec(_example(EXAMPLE))
    identity = submit(spec, root, plan=make_plan(spec, root, workers=WORKERS))
    return RunStore(root, identity).plan()


def _say(text: str, as_json: bool) -> None:
    if not as_json:
        terminal.say(text)
