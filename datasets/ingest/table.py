"""Raw rows on their way in: what a reader hands over, and the list of what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Mask = NDArray[np.bool_]
Lines = NDArray[np.int64]

N_PLACES = 5  # that a message lists
ENOUGH_PROBLEMS = 10_000  # a file with more is refused without reading the rest of it


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive rows of one source, as read.

    Attributes
    ----------
    source
        What messages call it: a file's path, a table, a query.
    unit
        What `lines` count: ``line`` of a file or ``row`` of a table, from 1.
    columns
        Role -> Arrow array of (n_rows,), text or typed.
    names
        Role -> what the source calls that column.
    lines
        Shape (n_rows,).
    """

    source: str
    unit: str
    columns: Mapping[str, pa.Array]
    names: Mapping[str, str]
    lines: Lines


@dataclass
class _Rule:
    count: int = 0
    places: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    hint: str = ""


class Problems:
    """Everything that breaks a rule, counted by rule, with the first places of each."""

    def __init__(self) -> None:
        self._rules: dict[str, _Rule] = {}
        self.n = 0

    def __bool__(self) -> bool:
        return self.n > 0

    @property
    def enough(self) -> bool:
        """Whether reading on would only count further."""
        return self.n >= ENOUGH_PROBLEMS

    def wants_place(self, rule: str) -> bool:
        """Whether the next breach of `rule` should come with its place (a text costs more than a count)."""
        return len(self._rules[rule].places) < N_PLACES if rule in self._rules else True

    def add(self, rule: str, where: str, what: str, *, hint: str = "", count: int = 1) -> None:
        """Count a breach: `where` is "file, line n", `what` the field and its value."""
        entry = self._rules.setdefault(rule, _Rule(hint=hint))
        entry.count += count
        self.n += count
        if len(entry.places) < N_PLACES:
            entry.places.append(f"{where}: {what} {rule}")
            entry.where.append(where)

    def raise_if_any(self) -> None:
        """Raise a `DataError` that names the first breach in full and counts the others."""
        if not self:
            return
        entries = list(self._rules.values())
        first, *others = entries
        lines = [first.places[0]]
        if first.count > 1:
            lines.append(f"and {first.count - 1:,} more of this kind{_next_places(first)}")
        lines += [f"and {entry.count:,} of another kind, first {entry.places[0]}" for entry in others]
        if self.enough:
            lines.append("and the rest was not read")
        lines += dict.fromkeys(entry.hint for entry in entries if entry.hint)
        raise DataError("\n  ".join(lines))


def place(source: str, unit: str, line: int) -> str:
    """Name one row of one source, as every message does."""
    return f"{source}, {unit} {line}"


def shown(value: object) -> str:
    """Give a value as a message shows it: quoted, printable and short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}… ({len(text)} characters)"


def _next_places(entry: _Rule) -> str:
    """List where else, without repeating a source that is the first one's."""
    first_source, _, unit_and_line = entry.where[0].rpartition(", ")
    unit = unit_and_line.partition(" ")[0]
    others = [where.removeprefix(f"{first_source}, {unit} ") for where in entry.where[1:]]
    if not others:
        return ""
    return (
        f" (next: {unit}s {', '.join(others)})"
        if all(each.isdecimal() for each in others)
        else f" (next: {'; '.join(others)})"
    )
