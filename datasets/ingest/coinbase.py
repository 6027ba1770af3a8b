"""Coinbase: recorded level2 and matches channels, a JSON document a line, many products in one file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datasets.ingest.events import RawEvents, day_of
from datasets.ingest.json_lines import WRONG_SHAPE, Rows, decimals, document, json_lines
from datasets.quality import Finding
from quantbot.book import Action, Flag
from quantbot.book.events import Kind
from quantbot.errors import DataError

__all__ = ["CoinbaseFeed"]

_BLOCK = 1 << 15
_MOST_PRODUCTS = 64
_SIDES = {"buy": 1, "sell": -1}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)
_READ_OVER = ("ticker", "last_match", "subscriptions", "subscribe", "heartbeat", "status")


class CoinbaseFeed:
    """Lines of receipt time (seconds) and a message; of each product a snapshot, then updates and matches.

    A match names the side of the resting order, so its aggressor is the other. The snapshot has no time of the
    exchange: its receipt stands for it. Tickers and the last match from before are read over.
    """

    kind: Kind = "by_price"
    zone = "UTC"
    place = "line"
    price_digits = 10
    size_digits = 8

    def __init__(self, path: Path, *, max_bytes: int = 1 << 40) -> None:
        self._path, self._max_bytes = path, max_bytes
        self.name = path.name
        self._start()

    def _start(self) -> None:
        self._rows: dict[str, Rows] = {}
        self._open: set[str] = set()
        self._received, self._session = 0, ""
        self.counts: Counter[str] = Counter()

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield events product by product, each in the order of its lines."""
        self._start()
        total = max(self._path.stat().st_size, 1)
        for line, text, n_bytes in json_lines(self._path, max_bytes=self._max_bytes):
            stamp, colon, body = text.partition(b": ")
            if not colon or not stamp[:1].isdigit():
                continue  # the connection's own talk
            place = f"{self._path}, line {line}"
            received = int(decimals([stamp.decode("ascii", "replace")], 9, "receipt time", place, [line])[0])
            if not self._received <= received < 2**62:
                raise DataError(f"{place}: receipt {received} is before the line before's {self._received}")
            self._received = received
            self._session = self._session or day_of(received)
            message = document(body, place)
            try:
                product = self._message(line, received, message)
            except DataError:
                raise
            except WRONG_SHAPE as error:
                raise DataError(f"{place}: no message of Coinbase ({type(error).__name__}: {error})") from error
            if product and len(self._rows[product]) >= _BLOCK:
                yield self._events(product), min(n_bytes / (total * 6), 0.99)
        for product in sorted(self._rows):
            if len(self._rows[product]):
                yield self._events(product), 0.99

    def remarks(self) -> tuple[Finding, ...]:
        """Say how many tickers were read over."""
        n_tickers = self.counts["ticker"]
        return (Finding("*", "tickers", "info", n_tickers, "best prices, read over"),) if n_tickers else ()

    def _events(self, product: str) -> RawEvents:
        place = str(self._path)
        return self._rows[product].events(product, self._session, place, self.price_digits, self.size_digits)

    def _message(self, line: int, received: int, message: Any) -> str:
        kind = str(message["type"])
        self.counts[kind] += 1
        if kind in _READ_OVER:
            return ""
        product = str(message["product_id"])
        if product not in self._rows and len(self._rows) >= _MOST_PRODUCTS:
            raise ValueError(f"more than {_MOST_PRODUCTS} products")
        found = self._rows.setdefault(product, Rows())
        last = int(Flag.LAST)
        if kind == "snapshot":
            self._open.add(product)
            times = received, received
            found.add(line, times, Action.CLEAR, flags=int(Flag.SNAPSHOT))
            for side, key in ((1, "bids"), (-1, "asks")):
                found.levels(line, times, side, message[key], int(Flag.SNAPSHOT))
        elif kind == "l2update":
            if product not in self._open:
                raise ValueError(f"an update of {product} before its snapshot")
            times = _nanoseconds(message["time"]), received
            for side, price, size in message["changes"]:
                found.add(line, times, Action.SET, _SIDES[side], price, size)
        elif kind == "match":
            times = _nanoseconds(message["time"]), received
            found.add(
                line, times, Action.TRADE, -_SIDES[message["side"]], message["price"], message["size"], flags=last
            )
        else:
            raise ValueError(f"type {kind!r}")
        if len(found):
            found.flag(-1, Flag.LAST)
        return product


def _nanoseconds(text: object) -> int:
    """Return ``2021-04-17T16:43:37.089723Z`` in ns since 1970."""
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise ValueError(f"time must be UTC such as 2021-04-17T16:43:37.089723Z, was {text!r}")
    when = int(np.datetime64(text[:-1], "ns").astype(np.int64))
    if not 0 <= when < 2**62:
        raise ValueError(f"time {text!r} is not between 1970 and 2116")
    return when
