"""Bitstamp's order channel as CSV: every order created, changed and deleted, in the order of receipt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.ingest.events import RawEvents, columns_of, day_of
from datasets.ingest.text_rows import Field, header, rows, word
from datasets.quality import Finding
from quantbot.book import Action, Flag
from quantbot.book.events import Kind
from quantbot.errors import DataError, InputError

_HEAD = ("id", "timestamp", "exchange.timestamp", "price", "volume", "action", "direction")
_MS = 10**6


class BitstampOrders:
    """Lines of id, receipt and exchange time (ms), price, volume left (1e-8), action and side.

    A change of volume is a modification: whether it was a trade or a cancellation, the feed does not say. Orders that
    were there before the file began are unknown to it; the book counts what names them.
    """

    kind: Kind = "by_order"
    zone = "UTC"
    place = "line"
    price_digits = 8
    size_digits = 8

    def __init__(self, path: Path, *, max_bytes: int = 1 << 40) -> None:
        self._path, self._max_bytes = path, max_bytes
        self.name = path.name
        names = tuple(header(path, max_bytes=max_bytes))
        if names != _HEAD:
            raise InputError(f"{path.name} must begin with {','.join(_HEAD)}, begins with {','.join(names[:8])}")

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield events in the order of their lines."""
        total = max(self._path.stat().st_size, 1)
        fields = (
            Field("id"), Field("received"), Field("exchange"), Field("price", "number", 8),
            Field("volume"), Field("action", "word"), Field("direction", "word"),
        )  # fmt: skip
        session = ""
        for block in rows(self._path, fields, max_bytes=self._max_bytes, skip_lines=1):
            told = block.columns
            lines = np.arange(block.first_line, block.first_line + len(block))
            names = {"created": Action.ADD, "changed": Action.MODIFY, "deleted": Action.DELETE}
            action = sum((told["action"] == word(name)) * int(each) for name, each in names.items())
            side = (told["direction"] == word("bid")).astype(np.int64) - (told["direction"] == word("ask"))
            rules = (
                ("action must be created, changed or deleted", action == 0),
                ("direction must be bid or ask", side == 0),
                ("id must be above 0", told["id"] <= 0),
                ("a time must be in milliseconds", (told["received"] <= 0) | (told["received"] >= 2**42)),
                ("an exchange time must be in milliseconds", (told["exchange"] <= 0) | (told["exchange"] >= 2**42)),
                ("volume must not be below 0", told["volume"] < 0),
            )
            for rule, broken in rules:
                if broken.any():
                    raise DataError(f"{self._path}, line {int(lines[np.argmax(broken)])}: {rule}")
            # An order that was created and filled at once has no volume left: it never rests.
            nothing = (told["volume"] == 0) & (action != Action.DELETE)
            action = np.where(nothing, Action.DELETE, action)
            session = session or day_of(int(told["received"][0]) * _MS)
            columns = columns_of(
                len(block), ts_exchange_ns=told["exchange"] * _MS, ts_received_ns=told["received"] * _MS, action=action,
                side=side, price_ticks=told["price"], size_lots=told["volume"], order_id=told["id"], flags=Flag.LAST,
            )  # fmt: skip
            yield RawEvents(path_symbol(self._path), session, columns, lines), min(block.n_bytes / (total * 6), 0.99)

    def remarks(self) -> tuple[Finding, ...]:
        """Return nothing: the book counts what is odd."""
        return ()


def path_symbol(path: Path) -> str:
    """Return the file's name up to its first dot or underscore, in capitals."""
    return path.name.split(".")[0].split("_")[0].upper()
