"""Binance: recorded streams (depth differences, trades, best prices) with a REST snapshot; public trades."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datasets.ingest.events import RawEvents, columns_of, day_of
from datasets.ingest.files import stem
from datasets.ingest.json_lines import WRONG_SHAPE, Rows, document, json_lines, whole
from datasets.ingest.text_rows import Field, TextBlock, header, rows, word
from datasets.quality import Finding
from quantbot.book import Action, Flag
from quantbot.book.events import Kind
from quantbot.errors import DataError, InputError

__all__ = ["BinanceStream", "BinanceTrades"]

_BLOCK = 1 << 16
_MOST_HELD = 10_000  # differences that wait for their snapshot
_MS = 10**6


class BinanceStream:
    """Lines of receipt time (ns) and JSON: depth differences, trades, best prices, REST snapshots.

    A snapshot makes the book anew; differences that end at or before it are dropped, those that came before it and
    reach beyond it are applied after it. A difference that does not continue the one before is flagged as a gap. The
    exchange's time is that of the transaction where there is one. Best prices (bookTicker) are read over: they say
    nothing that the differences don't.
    """

    kind: Kind = "by_price"
    zone = "UTC"
    place = "line"
    price_digits = 8
    size_digits = 8

    def __init__(self, path: Path, *, max_bytes: int = 1 << 40) -> None:
        self._path, self._max_bytes = path, max_bytes
        self.name = path.name
        self._start()

    def _start(self) -> None:
        self.symbol = ""
        self._session = ""
        self._last_update: int | None = None
        self._seen_first = False
        self._held: list[tuple[int, int, dict[str, Any]]] = []
        self._received = 0
        self.counts = dict.fromkeys(("differences", "dropped", "gaps", "snapshots", "tickers", "trades"), 0)

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield events in the order of their lines."""
        self._start()
        found = Rows()
        total = max(self._path.stat().st_size, 1)
        for line, text, n_bytes in json_lines(self._path, max_bytes=self._max_bytes):
            place = f"{self._path}, line {line}"
            stamp, _, body = text.partition(b" ")
            if not stamp.isdigit() or len(stamp) > 19:
                raise DataError(f"{place}: a receipt time in ns and JSON are needed, found {text[:60]!r}")
            message = document(body, place)
            try:
                self._message(line, int(stamp), message, found)
            except DataError:
                raise
            except WRONG_SHAPE as error:
                raise DataError(f"{place}: no message of Binance ({type(error).__name__}: {error})") from error
            if len(found) >= _BLOCK:
                yield self._events(found), min(n_bytes / (total * 6), 0.99)
        if self._held:
            self._release(self._held[-1][0], found, -1)
            if len(found):
                found.flag(0, Flag.GAP)
        if len(found):
            yield self._events(found), 0.99

    def remarks(self) -> tuple[Finding, ...]:
        """Say what was read over and dropped."""
        texts = {
            "dropped": "depth differences from before their snapshot, dropped",
            "tickers": "best prices, read over",
        }
        return tuple(
            Finding(self.symbol, rule, "info", self.counts[rule], text)
            for rule, text in texts.items()
            if self.counts[rule]
        )

    def _events(self, found: Rows) -> RawEvents:
        return found.events(self.symbol or stem(self._path), self._session, str(self._path), 8, 8)

    def _message(self, line: int, received: int, message: Any, found: Rows) -> None:
        if received < self._received:
            raise DataError(
                f"{self._path}, line {line}: receipt {received} is before the line before's {self._received}"
            )
        self._received = received
        self._session = self._session or day_of(received)
        if "lastUpdateId" in message:
            self._snapshot(line, received, message, found)
            return
        data = message.get("data", message)
        symbol = str(data["s"])
        if self.symbol and symbol != self.symbol:
            raise DataError(f"{self._path}, line {line}: {symbol} after {self.symbol}; one file holds one instrument")
        self.symbol = symbol
        event = data.get("e", "bookTicker")
        if event == "depthUpdate":
            self.counts["differences"] += 1
            if self._last_update is None:
                self._held.append((line, received, data))
                if len(self._held) > _MOST_HELD:
                    self._release(line, found, -1)
                    found.flag(0, Flag.GAP)
            else:
                self._difference(line, received, data, found)
        elif event in ("trade", "aggTrade"):
            self.counts["trades"] += 1
            times = whole(data.get("T", data["E"]), "time", 0, 2**42) * _MS, received
            if data.get("X") not in (None, "MARKET"):  # insurance fund, ADL: no trade of the book
                return
            found.add(line, times, Action.TRADE, -1 if data["m"] else 1, data["p"], data["q"], flags=int(Flag.LAST))
        elif event == "bookTicker":
            self.counts["tickers"] += 1

    def _snapshot(self, line: int, received: int, message: Any, found: Rows) -> None:
        self.counts["snapshots"] += 1
        at = whole(message["lastUpdateId"], "lastUpdateId")
        stamp = message.get("T", message.get("E"))
        times = (received if stamp is None else whole(stamp, "time", 0, 2**42) * _MS), received
        found.add(line, times, Action.CLEAR, flags=int(Flag.SNAPSHOT))
        for side, key in ((1, "bids"), (-1, "asks")):
            found.levels(line, times, side, message[key], int(Flag.SNAPSHOT))
        found.flag(-1, Flag.LAST)
        self._last_update, self._seen_first = at, False
        self._release(line, found, at)

    def _release(self, line: int, found: Rows, at: int) -> None:
        """Apply what waited for the snapshot, as received now."""
        held, self._held = self._held, []
        if self._last_update is None:
            self._last_update = at
        for _, _, data in held:
            self._difference(line, self._received, data, found)

    def _difference(self, line: int, received: int, data: Any, found: Rows) -> None:
        first, last = whole(data["U"], "U"), whole(data["u"], "u")
        assert self._last_update is not None
        # The two markets' documents differ by the difference that ends where the snapshot does: futures apply it.
        if last < self._last_update or (last == self._last_update and (self._seen_first or "pu" not in data)):
            self.counts["dropped"] += 1
            return
        if self._seen_first:
            continues = whole(data["pu"], "pu") == self._last_update if "pu" in data else first == self._last_update + 1
        else:
            # The first after a snapshot begins before its end; a future's ids have holes, there `pu` says so.
            begins = whole(data["pu"], "pu") if "pu" in data else first - 1
            continues = begins <= self._last_update or self._last_update < 0
        self._last_update, self._seen_first = last, True
        times = whole(data.get("T", data["E"]), "time", 0, 2**42) * _MS, received
        n_before = len(found)
        for side, key in ((1, "b"), (-1, "a")):
            found.levels(line, times, side, data[key], 0)
        if not continues:
            self.counts["gaps"] += 1
            if len(found) > n_before:
                found.flag(n_before, Flag.GAP)
        if len(found) > n_before:
            found.flag(-1, Flag.LAST)


_FILE = re.compile(r"(?P<symbol>[A-Z0-9_]+)-(?P<what>aggTrades|trades)-\d{4}-\d{2}(-\d{2})?", re.IGNORECASE)
# Fields by position; spot has no header line, futures have one.
_AGGREGATE = ("id", "price", "quantity", "first", "last", "time", "maker")
_SINGLE = ("id", "price", "quantity", "quote", "time", "maker")


class BinanceTrades:
    """Public files of trades or of aggregated trades, spot or futures, milli- or microseconds."""

    kind: Kind = "by_price"
    zone = "UTC"
    place = "line"
    price_digits = 8
    size_digits = 8

    def __init__(self, path: Path, *, max_bytes: int = 1 << 40) -> None:
        self._path, self._max_bytes = path, max_bytes
        self.name = path.name
        found = _FILE.search(path.name)
        if found is None:
            raise InputError(
                f"a public file is called SYMBOL-trades-DATE.csv or SYMBOL-aggTrades-DATE.csv, was {path.name}"
            )
        self.symbol = found["symbol"].upper()
        first = header(path, max_bytes=max_bytes)
        names = _AGGREGATE if found["what"].lower() == "aggtrades" else _SINGLE
        self._skip = 0 if first[0].isdigit() else 1
        self._fields = tuple(_field(name) for name in names) + tuple(
            Field(f"more {k}", "skipped") for k in range(len(first) - len(names))
        )

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield trades in order."""
        total = max(self._path.stat().st_size, 1)
        yes = {word("True"), word("true")}
        no = {word("False"), word("false")}
        for block in rows(self._path, self._fields, max_bytes=self._max_bytes, skip_lines=self._skip):
            yield self._trades(block, yes, no), min(block.n_bytes / (total * 6), 0.99)

    def remarks(self) -> tuple[Finding, ...]:
        """Return nothing: a file of trades says all that it has."""
        return ()

    def _trades(self, block: TextBlock, yes: set[int], no: set[int]) -> RawEvents:
        told = block.columns
        lines = np.arange(block.first_line, block.first_line + len(block))
        maker = np.isin(told["maker"], list(yes))
        rules = (
            ("is_buyer_maker must be true or false", ~maker & ~np.isin(told["maker"], list(no))),
            ("quantity must be above 0", told["quantity"] <= 0),
            ("price must be above 0", told["price"] <= 0),
            ("time must be in milli- or microseconds", (told["time"] < 10**11) | (told["time"] >= 10**17)),
        )
        for rule, broken in rules:
            if broken.any():
                raise DataError(f"{self._path}, line {int(lines[np.argmax(broken)])}: {rule}")
        # Spot files changed from milliseconds to microseconds at the beginning of 2025.
        times = told["time"] * np.where(told["time"] < 10**14, _MS, 1000)
        columns = columns_of(
            len(block), ts_exchange_ns=times, ts_received_ns=times, action=Action.TRADE, side=np.where(maker, -1, 1),
            price_ticks=told["price"], size_lots=told["quantity"], flags=Flag.LAST,
        )  # fmt: skip
        return RawEvents(self.symbol, day_of(int(times[0])), columns, lines)


def _field(name: str) -> Field:
    if name in ("price", "quantity"):
        return Field(name, "number", 8)
    if name == "maker":
        return Field(name, "word")
    return Field(name, "number" if name == "time" else "skipped")
