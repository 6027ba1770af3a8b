"""``quantbot sweep status|cancel|pause``, and what submitting to runners is: the commands of a service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from app import terminal
from app.commands.options import DEFAULT_STORE, Json, StoreUrl, examples, open_root

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.service import Budget

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run: the first digits of its identity, or a name that it was given.")
]
Submit = Annotated[
    bool | None,
    typer.Option(
        "--submit/--drive",
        help="Leave it to a runner, or drive it here; default: submit where QUANTBOT_RUNNER=service.",
    ),
]
Priority = Annotated[
    int, typer.Option("--priority", min=-100, max=100, help="Runners take the higher first; 0 is usual.")
]
CoreHours = Annotated[
    float | None, typer.Option("--core-hours", help="What it may take of workers before it stops with what it has.")
]
WallHours = Annotated[float | None, typer.Option("--wall-hours", help="How long it may be driven before it stops.")]


def register(group: typer.Typer) -> None:
    """Add the commands to ``quantbot sweep``."""
    group.command(
        "status",
        short_help="Say how far a run is, and why it isn't going on.",
        epilog=examples("quantbot sweep status 3fa2c41b", "quantbot sweep status sma-sp500 --json"),
    )(status)
    group.command("cancel", short_help="Stop whoever drives a run.", epilog=examples("quantbot sweep cancel 3fa2c41b"))(
        cancel
    )
    group.command(
        "pause", short_help="Have a run wait, in its place.", epilog=examples("quantbot sweep pause 3fa2c41b")
    )(pause)


def to_runners(submit: bool | None) -> bool:
    """Return whether a run is left to a runner: as was said, else as the environment has it."""
    import os

    return os.environ.get("QUANTBOT_RUNNER") == "service" if submit is None else submit


def budget_of(core_hours: float | None, wall_hours: float | None) -> Budget | None:
    """Return the budget that options name, None where they name none."""
    from sweeps.service import Budget

    return None if core_hours is None and wall_hours is None else Budget(core_hours, wall_hours)


def say_submitted(root: Store, identity: str, json: bool) -> None:
    """Say that a run waits for a runner, or why it needs none."""
    from sweeps.status import run_status

    found = run_status(root, identity)
    if json:
        terminal.print_json({"identity": identity, "status": asdict(found)})
    elif found.state == "done":
        terminal.say(f"run {found.short} is done: `quantbot sweep show {found.short}`")
    else:
        terminal.say(f"run {found.short} waits for a runner: `quantbot sweep status {found.short}`, `quantbot queue`")
        if found.trouble == "no runner":
            terminal.note(f"no runner is alive; start one: quantbot runner --store {root.url}")


def status(name: RunName, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Say how far a run is, what it took, and why it isn't going on."""
    from app import format as fmt
    from app.sweeping import status_words, usage_words
    from sweeps.results import find_run, run_status
    from sweeps.runstore import RunStore
    from sweeps.service.budgets import budget_of as stored_budget

    root = open_root(store)
    found = run_status(root, find_run(root, name))
    budget = stored_budget(RunStore(root, found.identity))
    if json:
        terminal.print_json({"status": asdict(found), "budget": asdict(budget)})
        return
    limits = [(budget.core_hours, "core-hours"), (budget.wall_hours, "hours of wall time")]
    rows = {
        "run": found.short,
        "state": f"{found.state}: {status_words(found)} trials",
        "cause": found.trouble,
        "note": found.note,
        "driver": found.driver,
        "took": usage_words(found.usage),
        "budget": ", ".join(f"{limit:g} {words}" for limit, words in limits if limit is not None),
        "speed": f"{fmt.count(round(found.rate))} trials/s" if found.rate else "",
    }
    terminal.print_table(("", ""), [(label, text) for label, text in rows.items() if text], header=False)


def cancel(name: RunName, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Stop whoever drives a run, here or elsewhere; what is finished is kept, and `resume` goes on from there."""
    from sweeps.submission import cancel

    _stop(name, store, json, cancel, "cancelled", "cancel")


def pause(name: RunName, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Have a run wait after the blocks in flight; it keeps its place in the queue, and `resume` goes on from there."""
    from sweeps.submission import pause

    _stop(name, store, json, pause, "paused", "pause")


def _stop(name: str, store: str, json: bool, act: Callable[[Store, str], None], key: str, verb: str) -> None:
    from sweeps.results import find_run, run_status

    root = open_root(store)
    identity = find_run(root, name)
    found = run_status(root, identity)
    if found.state != "done":
        act(root, identity)
    if json:
        terminal.print_json({"identity": identity, "state": found.state, key: found.state != "done"})
    elif found.state == "done":
        terminal.say(f"run {found.short} is done; there is nothing to {verb}")
    else:
        who = f"{found.driver} stops after the blocks that it is at" if found.driver else "nobody drives it now"
        terminal.say(f"run {found.short} is {key}: {who}; `quantbot sweep resume {found.short}` goes on")
