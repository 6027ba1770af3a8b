"""Binance's historical order books of futures (T_DEPTH): a CSV of snapshots beside one of changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.events import RawEvents, columns_of, day_of
from datasets.ingest.text_rows import Field, TextBlock, header, lines, rows, word
from datasets.quality import Finding
from quantbot.book import Action, Flag
from quantbot.book.events import Kind
from quantbot.errors import DataError, InputError

__all__ = ["BinanceDepth", "find_depth", "is_depth"]

_HEAD = ("symbol", "timestamp", "first_update_id", "last_update_id", "side", "update_type", "price", "qty", "pu")
_WORDS = ("symbol", "side", "update_type")
_NAME = re.compile(r"depth[-_]update", re.IGNORECASE)
_EITHER = re.compile(r"depth[-_](update|snap)", re.IGNORECASE)
_MS = 10**6


def is_depth(path: Path) -> bool:
    """Whether a file's name is that of a historical order book."""
    return _EITHER.search(path.name) is not None


def find_depth(path: Path, *, max_bytes: int = 1 << 40) -> BinanceDepth:
    """Return the reader of a file of changes and of the snapshot beside it, if there is one: update -> snap."""
    if not _NAME.search(path.name):
        return BinanceDepth(path, max_bytes=max_bytes)
    beside = path.with_name(_NAME.sub(lambda found: found[0][:-6] + "snap", path.name))
    return BinanceDepth(path, beside if beside.is_file() else None, max_bytes=max_bytes)


class BinanceDepth:
    """A file of changes, before which its snapshot is read; or either alone.

    Rows of one last_update_id are one event. A snapshot makes the book anew; changes that end at or before the
    snapshot are dropped, and one whose `pu` is not the id that the event before ended with is a gap. There is one
    clock, in milliseconds.
    """

    kind: Kind = "by_price"
    zone = "UTC"
    place = "line"
    price_digits = 8
    size_digits = 8

    def __init__(self, path: Path, snapshot: Path | None = None, *, max_bytes: int = 1 << 40) -> None:
        self._paths = [snapshot, path] if snapshot is not None else [path]
        self._max_bytes = max_bytes
        self.name = path.name
        self.symbol = ""
        for each in self._paths:
            if (found := tuple(header(each, max_bytes=max_bytes))) != _HEAD:
                raise InputError(f"{each.name} is no file of T_DEPTH, which begins with {','.join(_HEAD)}; was {found}")
            text = next(lines(each, max_bytes=max_bytes))[0].split(b"\n")[1].split(b",")[0].decode("ascii", "replace")
            if self.symbol and text and text != self.symbol:
                raise InputError(f"{path.name} is of {text}, its snapshot of {self.symbol}")
            self.symbol = text or self.symbol
        if not self.symbol:
            raise DataError(f"{path} has no row below its header")
        self._start()

    def _start(self) -> None:
        self._last, self._time, self._session = 0, 0, ""
        self._in_snapshot, self._last_snapshot = False, 0
        self.n_dropped = 0

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield events in the order of the lines, the snapshot's first."""
        self._start()
        fields = [Field(each, "word") if each in _WORDS else _number(each) for each in _HEAD]
        total = max(sum(path.stat().st_size for path in self._paths), 1)
        held: RawEvents | None = None
        for path in self._paths:
            for block in rows(path, fields, max_bytes=self._max_bytes, skip_lines=1):
                raw = self._events(block, path)
                if held is not None and len(raw.places):
                    # Whether the last event of a block is complete is known only by the next.
                    if raw.columns["order_id"][0] != held.columns["order_id"][-1]:
                        held.columns["flags"][-1] |= Flag.LAST
                    yield _without_ids(held), min(block.n_bytes / (total * 6), 0.99)
                held = raw if len(raw.places) else held
        if held is None:
            raise DataError(f"{self.name} has no change after its snapshot")
        held.columns["flags"][-1] |= Flag.LAST
        yield _without_ids(held), 0.99

    def remarks(self) -> tuple[Finding, ...]:
        """Say what was dropped."""
        text = "changes from before their snapshot, dropped"
        return (Finding(self.symbol, "dropped", "info", self.n_dropped, text),) if self.n_dropped else ()

    def _events(self, block: TextBlock, path: Path) -> RawEvents:
        told = dict(block.columns)
        at = np.arange(block.first_line, block.first_line + len(block))
        self._check(told, at, path)
        snapshot = told["update_type"] == word("snap")
        if len(self._paths) == 2 and path == self._paths[1]:
            kept = snapshot | (told["last_update_id"] > self._last_snapshot)
            self.n_dropped += int((~kept).sum())
            told, at, snapshot = {name: each[kept] for name, each in told.items()}, at[kept], snapshot[kept]
        if len(self._paths) == 2 and path == self._paths[0] and snapshot.any():
            self._last_snapshot = int(told["last_update_id"][snapshot].max())
        if not len(at):
            return RawEvents(self.symbol, self._session, columns_of(0), at)
        last = told["last_update_id"]
        before = np.append(self._last, last[:-1])
        new = before != last
        clears = snapshot & (new | ~np.append(self._in_snapshot, snapshot[:-1]))
        first_of_all = np.arange(len(at)) == (0 if self._last == 0 else -1)
        follows_snapshot = np.append(self._in_snapshot, snapshot[:-1])
        continues = np.where(follows_snapshot, told["first_update_id"] <= before + 1, told["pu"] == before)
        gaps = new & ~snapshot & ~first_of_all & ~continues
        self._last, self._time, self._in_snapshot = int(last[-1]), int(told["timestamp"][-1]), bool(snapshot[-1])
        self._session = self._session or day_of(int(told["timestamp"][0]) * _MS)
        row = np.repeat(np.arange(len(at)), 1 + clears)
        made = np.append(row[1:] == row[:-1], False)  # the CLEAR stands before its row
        ends = np.append(last[row][1:] != last[row][:-1], False)
        flags = ends * int(Flag.LAST) | snapshot[row] * int(Flag.SNAPSHOT) | gaps[row] * int(Flag.GAP)
        side = np.where(told["side"][row] == word("b"), 1, -1)
        time = told["timestamp"][row] * _MS
        columns = columns_of(
            len(row), ts_exchange_ns=time, ts_received_ns=time, action=np.where(made, Action.CLEAR, Action.SET),
            side=np.where(made, 0, side), price_ticks=np.where(made, 0, told["price"][row]),
            size_lots=np.where(made, 0, told["qty"][row]), order_id=last[row], flags=flags,
        )  # fmt: skip
        return RawEvents(self.symbol, self._session, columns, at[row])

    def _check(self, told: dict[str, NDArray[np.int64]], at: NDArray[np.int64], path: Path) -> None:
        back = np.diff(told["timestamp"], prepend=self._time) < 0
        rules = (
            ("one file holds one symbol; this line has another", told["symbol"] != word(self.symbol)),
            ("side must be a or b", ~np.isin(told["side"], [word("a"), word("b")])),
            ("update_type must be snap or set", ~np.isin(told["update_type"], [word("snap"), word("set")])),
            ("timestamp must be milliseconds since 1970", (told["timestamp"] <= 0) | (told["timestamp"] >= 2**42)),
            ("timestamp is before that of the line before", back),
            ("last_update_id must be above 0", told["last_update_id"] <= 0),
            ("price must be above 0", told["price"] <= 0),
            ("qty must not be below 0", told["qty"] < 0),
        )
        for rule, broken in rules:
            if broken.any():
                raise DataError(f"{path}, line {int(at[np.argmax(broken)])}: {rule}")


def _number(name: str) -> Field:
    return Field(name, "number", 8 if name in ("price", "qty") else 0)


def _without_ids(raw: RawEvents) -> RawEvents:
    """Forget the update ids, which told complete events apart."""
    raw.columns["order_id"][:] = 0
    return raw
