"""``quantbot audit``: who did what, and whether the log of it is whole."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from app import terminal
from app.commands.options import DEFAULT_STORE, Json, StoreUrl, examples, group, open_root
from app.terminal import ExitCode

app = group("audit", "Who did what, and whether the log of it is whole.")


@app.command(
    "list",
    short_help="List who did what, the newest last.",
    epilog=examples("quantbot audit list", "quantbot audit list --newest 1000 --store s3://bucket/quantbot --json"),
)
def list_entries(
    newest: Annotated[int, typer.Option("--newest", min=1, help="So many of the newest entries.")] = 50,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """List who logged in, submitted, cancelled, exported, or was refused, the newest last."""
    from app import format as fmt
    from sweeps.audit import entries

    root = open_root(store)
    found = entries(root, newest=newest)
    if json:
        terminal.print_json([asdict(entry) for entry in found])
        return
    if not found:
        terminal.say(f"{root.url} has no audit entry yet")
        return
    rows = [
        (
            str(entry.number),
            fmt.instant(entry.at_ns),
            entry.user,
            entry.role,
            entry.action,
            entry.outcome,
            fmt.short(entry.subject) if len(entry.subject) == 64 else entry.subject,
            "; ".join(f"{name}: {value}" for name, value in entry.details.items()),
        )
        for entry in found
    ]
    terminal.print_table(("", "when", "who", "role", "did", "outcome", "to", "details"), rows, right=("",))


@app.command(
    "verify",
    short_help="Check that nothing was changed or removed.",
    epilog=examples("quantbot audit verify", "quantbot audit verify --kept 1204:9f2c...e1"),
)
def verify(
    kept: Annotated[
        str | None, typer.Option("--kept", metavar="NUMBER:DIGEST", help="The head that an earlier check printed.")
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Check that every entry is what was written, that none is missing, and that each follows the one before.

    What it prints as the head is to be kept elsewhere: with it, a later check also finds entries removed at the end,
    and a log that somebody wrote anew as a whole. Ends with exit code 3 when something is wrong.
    """
    from sweeps import audit

    root = open_root(store)
    found = audit.verify(root, kept=_kept(kept) if kept is not None else None)
    if json:
        terminal.print_json(asdict(found))
    else:
        for problem in found.problems:
            terminal.say(problem)
        whole = "whole" if not found.problems else f"NOT whole: {len(found.problems)} problems"
        terminal.say(f"{found.n_entries} entries, {whole}")
        if found.n_entries and not found.problems:
            terminal.say(f"head {found.n_entries}:{found.head}")
    if found.problems:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _kept(text: str) -> tuple[int, str]:
    from quantbot.errors import InputError

    number, _, digest = text.partition(":")
    if not number.isdecimal() or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise InputError(
            f"--kept is a number, a colon and 64 hex digits, as a check prints its head, was {text!r:.100}"
        )
    return int(number), digest
