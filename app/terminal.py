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

from quantbot.errors import (
    CorruptError,
    FormatError,
    InputError,
    NotFoundError,
    RefusedError,
    RunError,
    SpecError,
    StoreError,
)
from quantbot.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.progress import Progress
    from rich.table import Table


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
    ExitCode.NOT_FOUND: "no such dataset, run, asset or fold",
    ExitCode.TROUBLE: "the store or the cluster refuses, fails or can't be reached",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C, SIGTERM)",
}

# The first that fits counts.
_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (NotFoundError, ExitCode.NOT_FOUND),
    (InputError, ExitCode.BAD_INPUT),
    (RefusedError, ExitCode.BAD_INPUT),
    (StoreError, ExitCode.TROUBLE),
    (CorruptError, ExitCode.TROUBLE),
    (FormatError, ExitCode.TROUBLE),
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

_GAP = 3  # blanks between two columns of a table
_FOLDED = 40  # characters of a column of sentences


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
    """Print a table on stdout.

    Names and numbers are never broken: where a terminal is too narrow its own wrapping is easier to read and to copy
    than cells of three letters. Only the last column folds, and then headings.

    Parameters
    ----------
    right
        The columns that are aligned to the right.
    """
    body = list(rows)
    console = out()
    names = list(columns)
    if _width(names, body) > console.width:
        names = [_folded(name, [row[place] for row in body]) for place, name in enumerate(columns)]
    console.width = max(console.width, _width(names, body))
    with console.capture() as capture:
        to_the_right = {place for place, name in enumerate(columns) if name in set(right)}
        console.print(_table(names, body, title, to_the_right, header=header))
    # Cells are padded to their column: a table in a file or a mail should not end in blanks.
    sys.stdout.write("\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n")


def _folded(heading: str, cells: Sequence[str]) -> str:
    """Break a heading into lines where it alone makes its column wide."""
    if max(map(len, cells), default=0) >= len(heading):
        return heading
    return heading.replace(" ", "\n").replace(".", ".\n")


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the least width of each column: that of its content, but for a last one of sentences, which folds."""
    widths = [
        max([len(line) for line in name.splitlines()] + [len(row[place]) for row in rows], default=0)
        for place, name in enumerate(columns)
    ]
    return [*widths[:-1], min(widths[-1], _FOLDED)]


def _width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return sum(_widths(columns, rows)) + _GAP * (len(columns) - 1)


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str, right: set[int], *, header: bool
) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD if header else None,
        show_header=header,
        show_edge=False,
        pad_edge=False,
    )
    for place, (column, width) in enumerate(zip(columns, _widths(columns, rows), strict=True)):
        justify: JustifyMethod = "right" if place in right else "left"
        table.add_column(column, justify=justify, overflow="fold", min_width=width)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def watched() -> bool:
    """Whether somebody watches: stderr is a terminal, and neither ``--quiet`` nor ``--json`` was given."""
    return sys.stderr.isatty() and not flags.quiet and not flags.json


@contextmanager
def progress(*columns: Any) -> Iterator[Progress]:
    """Show rich progress bars with these columns on stderr while inside; invisible when nobody watches."""
    from rich.progress import Progress

    with Progress(*columns, console=err(), disable=not watched(), transient=True) as bars:
        yield bars


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Show that something goes on whose length nobody knows."""
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    with progress(SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()) as bars:
        bars.add_task(what, total=None)
        yield


def print_error(error: BaseException, message: str, code: ExitCode) -> None:
    """Print `message` on stderr: words, or JSON with ``--json``."""
    message = redact(message)
    if flags.json:
        body: dict[str, Any] = {"type": type(error).__name__, "message": message, "exit_code": int(code)}
        if isinstance(error, SpecError):
            body["problems"] = [redact(problem) for problem in error.problems]
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
