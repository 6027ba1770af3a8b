"""Tardis.dev CSV: incremental books, book snapshots of so many levels, trades; microseconds, one instrument a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.events import RawEvents, columns_of, day_of
from datasets.ingest.text_rows import Field, TextBlock, header, rows, word
from datasets.quality import Finding
from quantbot.book import Action, Flag
from quantbot.book.events import Kind
from quantbot.errors import DataError, InputError

__all__ = ["TardisReader"]

_HEADS = {
    "incremental": ("exchange", "symbol", "timestamp", "local_timestamp", "is_snapshot", "side", "price", "amount"),
    "trades": ("exchange", "symbol", "timestamp", "local_timestamp", "id", "side", "price", "amount"),
}
_LEVEL = re.compile(r"(asks|bids)\[(\d{1,3})\]\.(price|amount)")


class TardisReader:
    """A file of incremental_book_L2, book_snapshot_N or trades, known by its header line.

    The first of a run of snapshot rows (one receipt) makes the book anew; a size of 0 removes a level; rows of one
    receipt are one event.
    """

    kind: Kind = "by_price"
    zone = "UTC"
    place = "line"
    price_digits = 8
    size_digits = 8

    def __init__(self, path: Path, *, max_bytes: int = 1 << 40) -> None:
        self._path, self._max_bytes = path, max_bytes
        self.name = path.name
        names = header(path, max_bytes=max_bytes)
        found = [what for what, head in _HEADS.items() if tuple(names) == head]
        self._what = found[0] if found else "snapshots"
        levels = [_LEVEL.fullmatch(name) for name in names[4:]]
        if not found and (tuple(names[:4]) != _HEADS["trades"][:4] or not levels or not all(levels)):
            raise InputError(
                f"{path.name} is no Tardis file of incremental_book_L2, book_snapshot_N or trades: it begins with "
                f"{', '.join(names[:8])}"
            )
        self.n_levels = max((int(each[2]) + 1 for each in levels if each), default=0)
        self._fields = tuple(_field(name) for name in names)
        self._start()

    def _start(self) -> None:
        self._symbol: int | None = None
        self._session = ""
        self._in_snapshot, self._received = 0, -1
        self._held: RawEvents | None = None
        self._ticks = np.zeros((2, max(self.n_levels, 1)), np.int64)
        self._lots = np.zeros_like(self._ticks)

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield events in the order of their lines."""
        self._start()
        symbol = self._read_symbol()
        total = max(self._path.stat().st_size, 1)
        made = {"incremental": self._incremental, "trades": self._trades, "snapshots": self._snapshots}[self._what]
        for block in rows(self._path, self._fields, max_bytes=self._max_bytes, skip_lines=1):
            lines = np.arange(block.first_line, block.first_line + len(block))
            self._check(block, lines)
            columns, places = made(block, lines)
            if len(places):
                raw = RawEvents(symbol, self._session, columns, places)
                yield from self._after(raw, min(block.n_bytes / (total * 6), 0.99))
        if self._held is None:
            raise DataError(f"{self._path} has no row below its header")
        if len(self._held.places):
            self._held.columns["flags"][-1] |= Flag.LAST
            yield self._held, 0.99

    def remarks(self) -> tuple[Finding, ...]:
        """Return nothing: a file says all that it has in its events."""
        return ()

    def _after(self, raw: RawEvents, share: float) -> Iterator[tuple[RawEvents, float]]:
        """Give the block before: whether its last event is complete is known only now."""
        held, self._held = self._held, raw
        if held is not None:
            same = held.columns["ts_received_ns"][-1] == raw.columns["ts_received_ns"][0]
            if not same or self._what != "incremental":
                held.columns["flags"][-1] |= Flag.LAST
            yield held, share

    def _read_symbol(self) -> str:
        from datasets.ingest.text_rows import lines

        first = next(lines(self._path, max_bytes=self._max_bytes))[0].split(b"\n")
        text = first[1].split(b",")[1:2] if len(first) > 1 else []
        return text[0].decode("utf-8", "replace").strip('"') if text and text[0] else "UNKNOWN"

    def _check(self, block: TextBlock, lines: NDArray[np.int64]) -> None:
        told = block.columns
        if self._symbol is None:
            self._symbol = int(told["symbol"][0])
            self._session = day_of(int(told["local_timestamp"][0]) * 1000) if told["local_timestamp"][0] > 0 else "?"
        sides = [word(each) for each in ("bid", "ask", "buy", "sell", "unknown")]
        nothing = np.zeros(len(block), np.bool_)
        rules = [
            ("one file holds one symbol; this line has another", told["symbol"] != self._symbol),
            ("timestamp must be microseconds since 1970", (told["timestamp"] <= 0) | (told["timestamp"] >= 2**52)),
            (
                "local_timestamp must be microseconds",
                (told["local_timestamp"] <= 0) | (told["local_timestamp"] >= 2**52),
            ),
            ("amount must not be below 0", told["amount"] < 0 if "amount" in told else nothing),
            (
                "side must be bid, ask, buy, sell or unknown",
                ~np.isin(told["side"], sides) if "side" in told else nothing,
            ),
        ]
        if "is_snapshot" in told:
            known = [word("true"), word("false")]
            rules.append(("is_snapshot must be true or false", ~np.isin(told["is_snapshot"], known)))
        for rule, broken in rules:
            if broken.any():
                raise DataError(f"{self._path}, line {int(lines[np.argmax(broken)])}: {rule}")

    def _trades(
        self, block: TextBlock, lines: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
        told = block.columns
        side = (told["side"] == word("buy")).astype(np.int64) - (told["side"] == word("sell"))
        return _columns(
            told, np.arange(len(block)), Action.TRADE, side, told["price"], told["amount"], Flag.LAST
        ), lines

    def _incremental(
        self, block: TextBlock, lines: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
        told = block.columns
        snapshot = (told["is_snapshot"] == word("true")).astype(np.int64)
        received = told["local_timestamp"]
        before = np.append(self._in_snapshot, snapshot[:-1])
        moved = np.append(self._received, received[:-1]) != received
        self._in_snapshot, self._received = int(snapshot[-1]), int(received[-1])
        clears = (snapshot == 1) & ((before == 0) | moved)
        row = np.repeat(np.arange(len(block)), 1 + clears)
        again = np.append(row[1:] == row[:-1], False)  # the CLEAR stands before its row
        action = np.where(again, Action.CLEAR, Action.SET)
        side = np.where(again, 0, np.where(told["side"][row] == word("bid"), 1, -1))
        price, size = (np.where(again, 0, told[name][row]) for name in ("price", "amount"))
        ends = np.append(received[row][1:] != received[row][:-1], False)
        flags = np.where(ends, int(Flag.LAST), 0) | snapshot[row] * int(Flag.SNAPSHOT)
        return _columns(told, row, action, side, price, size, flags), lines[row]

    def _snapshots(
        self, block: TextBlock, lines: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
        from quantbot.book import kernels_flow

        told, n = block.columns, len(block)

        def table(what: str) -> NDArray[np.int64]:
            names = [[f"{side}[{k}].{what}" for k in range(self.n_levels)] for side in ("bids", "asks")]
            return np.stack([np.stack([told[name] for name in own], axis=1) for own in names], axis=1)

        ticks, lots = table("price"), table("amount")
        if (lots < 0).any():
            raise DataError(
                f"{self._path}, line {int(lines[np.argmax((lots < 0).any(axis=(1, 2)))])}: a negative amount"
            )
        out = tuple(np.empty(n * (4 * self.n_levels + 1), np.int64) for _ in range(5))
        nothing = np.zeros(n, np.int64)
        n_found = kernels_flow.flow(
            nothing, nothing, nothing, nothing, ticks, lots, self._ticks, self._lots, out, np.zeros(3, np.int64)
        )
        row, action, side, price, size = (each[:n_found] for each in out)
        flags = np.where(np.append(row[1:] != row[:-1], True)[:n_found], int(Flag.LAST), 0)
        return _columns(told, row, action, side, price, size, flags), lines[row]


def _columns(
    told: object, row: NDArray[np.int64], action: object, side: object, price: object, size: object, flags: object
) -> dict[str, NDArray[np.int64]]:
    columns: dict[str, NDArray[np.int64]] = told  # type: ignore[assignment]
    return columns_of(
        len(row), ts_exchange_ns=columns["timestamp"][row] * 1000,
        ts_received_ns=columns["local_timestamp"][row] * 1000,
        action=action, side=side, price_ticks=price, size_lots=size, flags=flags,
    )  # fmt: skip


def _field(name: str) -> Field:
    if name in ("timestamp", "local_timestamp"):
        return Field(name)
    if name in ("symbol", "is_snapshot", "side"):
        return Field(name, "word")
    if name in ("exchange", "id"):
        return Field(name, "skipped")
    return Field(name, "number", 8)
