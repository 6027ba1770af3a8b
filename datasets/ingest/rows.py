"""Rows that have been read: arrays with the place each came from, and the log of what was repaired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.table import N_PLACES, Lines, Mask, Problems, place

Floats = NDArray[np.float64]
Nanoseconds = NDArray[np.int64]
Codes = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of all sources, grouped by symbol, in the order of their sources.

    Attributes
    ----------
    ts_ns
        Shape (n_rows,), int64: as read (wall clock for local times and dates) until `stamps` makes it the bar's end.
    numbers
        Role -> float64 of shape (n_rows,).
    symbol, source
        Shape (n_rows,), int32: index into `symbols` and `sources`.
    line
        Shape (n_rows,): line or row in its source, from 1.
    sources
        What messages call each source, what its `line` counts, and what is stored of it beside the data.
    """

    ts_ns: Nanoseconds
    numbers: Mapping[str, Floats]
    symbol: Codes
    source: Codes
    line: Lines
    symbols: tuple[str, ...]
    sources: tuple[tuple[str, str, str], ...]

    def __len__(self) -> int:
        return int(self.ts_ns.shape[0])

    def take(self, which: Mask | NDArray[np.int64]) -> Rows:
        """Give the rows of a mask or an index, in its order."""
        return Rows(
            self.ts_ns[which],
            {role: values[which] for role, values in self.numbers.items()},
            self.symbol[which],
            self.source[which],
            self.line[which],
            self.symbols,
            self.sources,
        )

    def with_numbers(self, **changed: Floats) -> Rows:
        """Give the same rows with other values of some roles."""
        numbers = {**self.numbers, **changed}
        return Rows(self.ts_ns, numbers, self.symbol, self.source, self.line, self.symbols, self.sources)

    def with_times(self, ts_ns: Nanoseconds) -> Rows:
        """Give the same rows at other times."""
        return Rows(ts_ns, self.numbers, self.symbol, self.source, self.line, self.symbols, self.sources)

    def where(self, row: int) -> str:
        """Name the place of one row."""
        name, unit, _ = self.sources[self.source[row]]
        return place(name, unit, int(self.line[row]))

    def origin(self, row: int) -> str:
        """Name the place of one row as it is stored, without the folder of a file."""
        _, unit, said = self.sources[self.source[row]]
        return place(said, unit, int(self.line[row]))

    def report(self, problems: Problems, mask: Mask, rule: str, what: Callable[[int], str], hint: str = "") -> None:
        """Add every row of `mask` to `problems`, the first ones with their place and what `what` says of them."""
        found = np.flatnonzero(mask)
        for row in found[:N_PLACES]:
            problems.add(rule, self.where(int(row)), what(int(row)), hint=hint)
        if len(found) > N_PLACES:
            row = int(found[N_PLACES])
            problems.add(rule, self.where(row), what(row), hint=hint, count=len(found) - N_PLACES)


@dataclass
class Repairs:
    """What the policies that the user named have changed: symbol -> policy -> count and first places."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    places: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def add(self, symbol: str, policy: str, where: str | None = None, count: int = 1) -> None:
        """Count a repair."""
        counts = self.counts.setdefault(symbol, {})
        counts[policy] = counts.get(policy, 0) + count
        places = self.places.setdefault(symbol, {}).setdefault(policy, [])
        if where is not None and len(places) < N_PLACES:
            places.append(where)

    def add_rows(self, rows: Rows, mask: Mask, policy: str) -> None:
        """Count the repair of every row of `mask`."""
        found = np.flatnonzero(mask)
        for code in np.unique(rows.symbol[found]):
            of_symbol = found[rows.symbol[found] == code]
            symbol = rows.symbols[code]
            for row in of_symbol[:N_PLACES]:
                self.add(symbol, policy, rows.origin(int(row)))
            if len(of_symbol) > N_PLACES:
                self.add(symbol, policy, count=len(of_symbol) - N_PLACES)
