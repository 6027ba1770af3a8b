"""Bybit: public order books (ob500 and others), one snapshot and then differences, a JSON document a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets.ingest.events import RawEvents, day_of
from datasets.ingest.json_lines import WRONG_SHAPE, Rows, document, json_lines, whole
from datasets.quality import Finding
from quantbot.book import Action, Flag
from quantbot.book.events import Kind
from quantbot.errors import DataError

_BLOCK = 1 << 16
_MS = 10**6


class BybitBook:
    """Snapshots and differences; `u` counts the updates, and a break in it is a gap."""

    kind: Kind = "by_price"
    zone = "UTC"
    place = "line"
    price_digits = 10
    size_digits = 8

    def __init__(self, path: Path, *, max_bytes: int = 1 << 40) -> None:
        self._path, self._max_bytes = path, max_bytes
        self.name = path.name
        self._symbol, self._session, self._update, self._received = "", "", 0, 0

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield events in the order of their lines."""
        self._symbol, self._session, self._update, self._received = "", "", 0, 0
        found = Rows()
        total = max(self._path.stat().st_size, 1)
        for line, text, n_bytes in json_lines(self._path, max_bytes=self._max_bytes):
            place = f"{self._path}, line {line}"
            message = document(text, place)
            try:
                self._message(line, message, found)
            except DataError:
                raise
            except WRONG_SHAPE as error:
                raise DataError(f"{place}: no message of Bybit ({type(error).__name__}: {error})") from error
            if len(found) >= _BLOCK:
                yield self._events(found), min(n_bytes / (total * 6), 0.99)
        if len(found):
            yield self._events(found), 0.99

    def remarks(self) -> tuple[Finding, ...]:
        """Return nothing: gaps are flagged in the events."""
        return ()

    def _events(self, found: Rows) -> RawEvents:
        return found.events(self._symbol, self._session, str(self._path), self.price_digits, self.size_digits)

    def _message(self, line: int, message: Any, found: Rows) -> None:
        data, kind = message["data"], message["type"]
        if kind not in ("snapshot", "delta"):
            raise ValueError(f"type must be snapshot or delta, was {kind!r}")
        if self._symbol and data["s"] != self._symbol:
            raise ValueError(f"{data['s']} after {self._symbol}; one file holds one instrument")
        self._symbol = str(data["s"])
        received = whole(message["ts"], "ts", 0, 2**42) * _MS
        if received < self._received:
            raise ValueError(f"ts {received} is before the line before's {self._received}")
        self._received = received
        self._session = self._session or day_of(received)
        times = whole(message.get("cts", message["ts"]), "cts", 0, 2**42) * _MS, received
        update = whole(data["u"], "u")
        n_before = len(found)
        flags = int(Flag.SNAPSHOT) if kind == "snapshot" else 0
        if flags:
            found.add(line, times, Action.CLEAR, flags=flags)
        for side, key in ((1, "b"), (-1, "a")):
            found.levels(line, times, side, data.get(key, ()), flags)
        if len(found) > n_before:
            if not flags and update != self._update + 1:
                found.flag(n_before, Flag.GAP)
            found.flag(-1, Flag.LAST)
        self._update = update
