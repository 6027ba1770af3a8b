"""The terminal: what a command prints and where.

Answers go to stdout (a table, or one JSON document with ``--json``); everything else (notes, progress, errors) goes
to stderr, and is quiet when nobody watches.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from quantbot.errors import CorruptError, InputError, NotFoundError, RunError, SpecError, StoreError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class ExitCode(IntEnum):
    """What a command's exit code means; documented in ``quantbot --help``."""

    OK = 0
    UNEXPECTED = 1
    BAD_INPUT = 2
    SOME_FAILED = 3
    NOT_FOUND = 4
    TROUBLE = 5
    INTERRUPTED = 130


EXIT_CODES: Mapping[ExitCode, str] = {
    ExitCode.OK: "done",
    ExitCode.UNEXPECTED: "an error that QuantBot did not expect (--debug shows where)",
    ExitCode.BAD_INPUT: "wrong usage or unusable input: the message says what was needed",
    ExitCode.SOME_FAILED: "finished, but something in it failed: a trial, a check",
    ExitCode.NOT_FOUND: "no such dataset, run, strategy or file",
    ExitCode.TROUBLE: "the store or the cluster refuses, fails or can't be reached",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C, SIGTERM)",
}

# The first that fits counts.
_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (NotFoundError, ExitCode.NOT_FOUND),
    (InputError, ExitCode.BAD_INPUT),
    (StoreError, ExitCode.TROUBLE),
    (CorruptError, ExitCode.TROUBLE),
    (RunError, ExitCode.TROUBLE),
)


class Interrupted(Exception):  # not an error: what Ctrl-C came to
    """A command was interrupted; the message says what is kept and how to go on."""


@dataclass
class Flags:
    """What was asked for on the command line, whatever the command."""

    json: bool = False
    quiet: bool = False
    debug: bool = False


flags = Flags()


def exit_code(error: BaseException) -> ExitCode:
    """Return the exit code that `error` ends a command with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.UNEXPECTED)


def out() -> Console:
    """Return the console of answers: stdout."""
    from rich.console import Console

    # A pipe has no width of its own; 80 columns would cut tables that a reader greps.
    width = None if sys.stdout.isatty() else 160
    return Console(file=sys.stdout, width=width, highlight=False, emoji=False, soft_wrap=True)


def err() -> Console:
    """Return the console of notes, progress and errors: stderr."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, emoji=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line of the answer (plain text: no markup) on stdout."""
    out().print(text, markup=False)


def note(text: str) -> None:
    """Print a remark on stderr, unless ``--quiet``."""
    if not flags.quiet:
        err().print(text, markup=False, style="dim" if sys.stderr.isatty() else None)


def print_json(document: Any) -> None:
    """Print `document` as one JSON document on stdout; NaN and infinities become null."""
    sys.stdout.write(json.dumps(jsonable(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str = "",
    right: Iterable[str] = (),
    header: bool = True,
) -> None:
    """Print a table on stdout; the columns named in `right` are aligned to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    to_the_right = set(right)
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD if header else None,
        show_header=header,
        show_edge=False,
        pad_edge=False,
    )
    for column in columns:
        table.add_column(column, justify="right" if column in to_the_right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = out()
    with console.capture() as capture:
        console.print(table)
    # Cells are padded to their column: a table in a file or a mail should not end in blanks.
    sys.stdout.write("\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n")


def watched() -> bool:
    """Whether somebody watches: stderr is a terminal, and neither ``--quiet`` nor ``--json`` was given."""
    return sys.stderr.isatty() and not flags.quiet and not flags.json


@contextmanager
def progress(*columns: Any) -> Iterator[Progress]:
    """Show rich progress bars on stderr while inside; invisible when nobody watches."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    default = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*(columns or default), console=err(), disable=not watched(), transient=True) as bars:
        yield bars


def print_error(error: BaseException, message: str, code: ExitCode) -> None:
    """Print `message` on stderr: words, or JSON with ``--json``."""
    if flags.json:
        body: dict[str, Any] = {"type": type(error).__name__, "message": message, "exit_code": int(code)}
        if isinstance(error, SpecError):
            body["problems"] = error.problems
        sys.stderr.write(json.dumps({"error": body}, ensure_ascii=False) + "\n")
    else:
        prefix = "" if code == ExitCode.INTERRUPTED else "error: "
        sys.stderr.write(f"{prefix}{message}\n")
    sys.stderr.flush()


def jsonable(value: Any) -> Any:
    """Return `value` as what JSON has: numpy scalars and arrays, tuples, dates and paths become plain values.

    Examples
    --------
    >>> jsonable({"sharpe": float("nan"), "window": (1, 2)})
    {'sharpe': None, 'window': [1, 2]}
    """
    match value:
        case None | bool() | str():
            return value
        case float():
            return float(value) if math.isfinite(value) else None
        case IntEnum() | int():
            return int(value)
        case Mapping():
            return {str(key): jsonable(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [jsonable(item) for item in value]
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    return str(value)
