"""Kraken: recorded book channels (v1), every update proved by its checksum."""

from __future__ import annotations

import zlib
from bisect import insort
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets.ingest.events import RawEvents, day_of
from datasets.ingest.json_lines import WRONG_SHAPE, Rows, decimals, document, json_lines
from datasets.quality import Finding
from quantbot.book import Action, Flag
from quantbot.book.events import Kind
from quantbot.errors import DataError

_BLOCK = 1 << 15
_TOP = 10  # levels of each side in the checksum


class KrakenBook:
    """Lines of receipt time (seconds) and a message; of each pair a snapshot, then updates with a CRC32.

    The checksum is of the ten best levels of each side, in the texts that the exchange sent. One that does not agree
    is a gap: something was lost before it.
    """

    kind: Kind = "by_price"
    zone = "UTC"
    place = "line"
    price_digits = 8  # a pair says its own: prices are sent with all of theirs
    size_digits = 8

    def __init__(self, path: Path, *, max_bytes: int = 1 << 40) -> None:
        self._path, self._max_bytes = path, max_bytes
        self.name = path.name
        self._start()

    def _start(self) -> None:
        self._rows: dict[str, Rows] = {}
        self._books: dict[str, tuple[_Side, _Side]] = {}
        self._depths: dict[str, int] = {}
        self._digits: dict[str, int] = {}
        self._received = 0
        self._session = ""
        self.n_checked = self.n_wrong = 0

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield events pair by pair, each in the order of its lines."""
        self._start()
        total = max(self._path.stat().st_size, 1)
        for line, text, n_bytes in json_lines(self._path, max_bytes=self._max_bytes):
            stamp, colon, body = text.partition(b": ")
            if not colon or b"[" not in body[:1]:
                continue  # the connection's own talk
            place = f"{self._path}, line {line}"
            received = int(decimals([stamp.decode("ascii", "replace")], 9, "receipt time", place, [line])[0])
            if not self._received <= received < 2**62:
                raise DataError(f"{place}: receipt {received} is before the line before's {self._received}")
            self._received = received
            self._session = self._session or day_of(received)
            message = document(body, place)
            try:
                pair = self._message(line, received, message)
            except DataError:
                raise
            except WRONG_SHAPE as error:
                raise DataError(f"{place}: no message of Kraken ({type(error).__name__}: {error})") from error
            if pair and len(self._rows[pair]) >= _BLOCK:
                yield self._events(pair), min(n_bytes / (total * 6), 0.99)
        for pair in sorted(self._rows):
            if len(self._rows[pair]):
                yield self._events(pair), 0.99

    def remarks(self) -> tuple[Finding, ...]:
        """Say how many checksums agree."""
        if not self.n_wrong:
            return (Finding("*", "checksums", "info", self.n_checked, "updates whose checksum agrees with the book"),)
        text = f"updates of {self.n_checked} whose checksum does not agree with the book: something was lost"
        return (Finding("*", "wrong_checksums", "warning", self.n_wrong, text),)

    def _events(self, pair: str) -> RawEvents:
        return self._rows[pair].events(pair, self._session, str(self._path), self._digits[pair], self.size_digits)

    def _message(self, line: int, received: int, message: Any) -> str:
        if not str(message[-2]).startswith("book"):
            return ""
        pair = str(message[-1])
        if len(self._rows) >= 64 and pair not in self._rows:
            raise ValueError("more than 64 pairs")
        found = self._rows.setdefault(pair, Rows())
        updates = message[1:-2]
        if any("as" in update for update in updates):
            depth = str(message[-2]).partition("-")[2]
            self._depths[pair] = int(depth) if depth.isdigit() and int(depth) <= 10_000 else 1000
            self._books[pair] = (_Side(-1), _Side(1))
            prices = [str(level[0]) for update in updates for key in ("as", "bs") for level in update.get(key, ())]
            digits = max((len(price.partition(".")[2]) for price in prices), default=self.price_digits)
            self._digits[pair] = min(self._digits.setdefault(pair, digits), 12)
            times = received, received
            found.add(line, times, Action.CLEAR, flags=int(Flag.SNAPSHOT))
            for update in updates:
                self._apply(line, received, pair, update, found, int(Flag.SNAPSHOT))
        else:
            if pair not in self._books:
                raise ValueError(f"an update of {pair} before its snapshot")
            n_before = len(found)
            for update in updates:
                self._apply(line, received, pair, update, found, 0)
            checks = [update["c"] for update in updates if "c" in update]
            if checks and len(found) > n_before:
                self.n_checked += 1
                if self._checksum(pair) != int(checks[-1]):
                    self.n_wrong += 1
                    found.flag(n_before, Flag.GAP)
        if len(found):
            found.flag(-1, Flag.LAST)
        return pair

    def _apply(self, line: int, received: int, pair: str, update: Any, found: Rows, flags: int) -> None:
        asks, bids = self._books[pair]
        for key, side, levels in (("a", -1, asks), ("b", 1, bids), ("as", -1, asks), ("bs", 1, bids)):
            for price, size, stamp, *_ in update.get(key, ()):
                place = f"{self._path}, line {line}"
                exchange = int(decimals([str(stamp)], 9, "time", place, [line])[0])
                times = exchange, received
                found.add(line, times, Action.SET, side, price, size, flags=flags)
                levels.set(str(price), str(size))
            # What falls off the end of the subscribed depth gets no further updates: it is forgotten, as Kraken asks.
            for price in levels.cut(self._depths[pair]):
                found.add(line, (received, received), Action.SET, side, price, "0", flags=flags)

    def _checksum(self, pair: str) -> int:
        texts = [
            price.replace(".", "").lstrip("0") + size.replace(".", "").lstrip("0")
            for levels in self._books[pair]
            for price, size in levels.top(_TOP)
        ]
        return zlib.crc32("".join(texts).encode("ascii", "replace"))


class _Side:
    """The levels of one side by their texts, best first: asks rise (sign 1 for bids falls)."""

    def __init__(self, sign: int) -> None:
        self._sign = 1.0 if sign < 0 else -1.0
        self._keys: list[tuple[float, str]] = []
        self._sizes: dict[str, str] = {}

    def set(self, price: str, size: str) -> None:
        """Set or remove (size 0) a level."""
        key = self._sign * float(price), price
        if price in self._sizes:
            if not float(size):
                del self._sizes[price]
                self._keys.remove(key)
                return
        elif float(size):
            insort(self._keys, key)
        if float(size):
            self._sizes[price] = size

    def top(self, n: int) -> list[tuple[str, str]]:
        """Return the best levels."""
        return [(price, self._sizes[price]) for _, price in self._keys[:n]]

    def cut(self, depth: int) -> list[str]:
        """Forget what lies beyond `depth` levels; return its prices."""
        gone = [price for _, price in self._keys[depth:]]
        for price in gone:
            del self._sizes[price]
        del self._keys[depth:]
        return gone
