"""NASDAQ TotalView-ITCH 5.0: a day of one exchange's messages, as events by order of the chosen stocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.events import RawEvents, columns_of, day_start_ns
from datasets.ingest.files import unpacked
from datasets.quality import Finding
from quantbot.book.events import Kind
from quantbot.errors import DataError, InputError

__all__ = ["ItchReader"]

_ROWS = 1 << 17
_LONGEST = 64
_DAY_NS = 86_400 * 10**9


class ItchReader:
    """A file of messages, with their lengths before them or without; packed or plain.

    The date is in no message: `session` says it. A message of an order that was never added becomes an event all the
    same, and the book counts it.

    Parameters
    ----------
    symbols
        Whose events to take; empty takes all, of which 64 are the most.
    """

    kind: Kind = "by_order"
    zone = "America/New_York"
    place = "byte"
    price_digits = 4
    size_digits = 0

    def __init__(self, path: Path, session: str, symbols: Sequence[str] = (), *, max_bytes: int = 1 << 40) -> None:
        self._path, self._max_bytes = path, max_bytes
        self.name, self.session = path.name, session
        self._start_ns = day_start_ns(session, self.zone)
        self._wanted_names = {symbol.upper() for symbol in symbols}
        self._start()

    def _start(self) -> None:
        self.names: dict[int, str] = {}
        self.tally = np.zeros(4, np.int64)

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield events stock by stock, each stock's in order."""
        from quantbot.book import kernels_itch as kernels
        from quantbot.book.rebuild import empty_orders, grown_orders

        self._start()
        wanted = np.full(65_536, not self._wanted_names)
        orders = empty_orders(1 << 14)
        out = np.empty((_ROWS, 9), np.int64)
        total = max(self._path.stat().st_size, 1)
        prefixed: bool | None = None
        rest, base = np.empty(0, np.uint8), 0  # what is left of the piece before, and its first byte in the file
        n_found = 0
        for piece in unpacked(self._path, self._max_bytes):
            text = np.concatenate([rest, np.frombuffer(piece, np.uint8)])
            if prefixed is None:
                prefixed = _has_prefixes(text, self._path)
            at = 0
            while True:
                status, at, n = kernels.decode(text, at, prefixed, kernels.LENGTHS, wanted, orders, out, self.tally)
                if n:
                    n_found += n
                    yield from ((raw, min(base / (total * 3), 0.99)) for raw in self._events(out[:n], base))
                if status == kernels.NAME:
                    self._name(text[at - 39 : at], base + at - 39, wanted)
                elif status == kernels.ORDERS_FULL:
                    orders = grown_orders(orders)
                elif status in (kernels.FINE, kernels.CUT):
                    break
                elif status != kernels.FULL:
                    raise DataError(f"{self._path}, byte {base + at}: {_problem(status, text, at, prefixed)}")
            rest, base = text[at:].copy(), base + at
        if len(rest):
            raise DataError(
                f"{self._path}, byte {base}: the file ends within a message ({len(rest)} bytes of "
                f"{chr(rest[2 if prefixed else 0]) if len(rest) > 2 else '?'!r})"
            )
        missing = self._wanted_names - set(self.names.values())
        if missing:
            raise InputError(
                f"{self.name} has no stock {', '.join(sorted(missing)[:10])}; it has {len(self.names)} stocks"
            )
        if not n_found:
            chosen = ", ".join(sorted(self._wanted_names)[:5]) or "any stock"
            raise DataError(f"{self.name} has no order and no trade of {chosen} in {int(self.tally[0]):,} messages")

    def remarks(self) -> tuple[Finding, ...]:
        """Say what the messages said that no event says."""
        texts = {"broken_trades": (2, "trades broken later: they stand among the events"),
                 "unprinted": (3, "executions that a cross reports again (flagged CROSS)")}  # fmt: skip
        return tuple(
            Finding("*", rule, "info", int(self.tally[at]), text)
            for rule, (at, text) in texts.items()
            if self.tally[at]
        )

    def _name(self, message: NDArray[np.uint8], at: int, wanted: NDArray[np.bool_]) -> None:
        locate = int(message[1]) << 8 | int(message[2])
        text = bytes(message[11:19])
        name = text.decode("ascii", "replace").strip()
        if not name or not name.isascii() or not name.isprintable():
            raise DataError(f"{self._path}, byte {at}: a stock's name must be ASCII, was {text!r}")
        self.names[locate] = name
        if self._wanted_names:
            wanted[locate] = name in self._wanted_names

    def _events(self, rows: NDArray[np.int64], base: int) -> Iterator[RawEvents]:
        stamps = rows[:, 2]
        if (stamps >= _DAY_NS).any():
            at = int(np.argmax(stamps >= _DAY_NS))
            raise DataError(f"{self._path}, byte {base + int(rows[at, 0])}: time {stamps[at]} ns is beyond a day")
        for locate in np.unique(rows[:, 1]).tolist():
            own = rows[rows[:, 1] == locate]
            if locate not in self.names:
                raise DataError(
                    f"{self._path}, byte {base + int(own[0, 0])}: stock {locate} has no directory entry before "
                    f"its orders"
                )
            nameless = (own[:, 7] == 0) & np.isin(own[:, 3], (1, 2, 3, 5))
            empty = (own[:, 6] <= 0) & (own[:, 3] == 1)
            for rule, broken in (("an order's reference is 0", nameless), ("an order has no shares", empty)):
                if broken.any():
                    raise DataError(f"{self._path}, byte {base + int(own[np.argmax(broken), 0])}: {rule}")
            times = self._start_ns + own[:, 2]
            columns: dict[str, Any] = columns_of(
                len(own), ts_exchange_ns=times, ts_received_ns=times, action=own[:, 3], side=own[:, 4],
                price_ticks=own[:, 5], size_lots=own[:, 6], order_id=own[:, 7], flags=own[:, 8],
            )  # fmt: skip
            yield RawEvents(self.names[locate], self.session, columns, base + own[:, 0])


def _has_prefixes(text: NDArray[np.uint8], path: Path) -> bool:
    """Whether messages follow their lengths: found by walking the first thousand either way."""
    from quantbot.book.kernels_itch import LENGTHS

    def reach(head: int) -> int:
        at, n = 0, 0
        while at + head < len(text) and n < 1000:
            length = int(LENGTHS[text[at + head]])
            told = int(text[at]) << 8 | int(text[at + 1]) if head else 0
            if not length or told not in (0, length):
                break
            at, n = at + head + length, n + 1
        return n

    with_, without = reach(2), reach(0)
    if not max(with_, without):
        raise DataError(f"{path}, byte 0: no message of ITCH 5.0 begins with {bytes(text[:4])!r}")
    return with_ > without


def _problem(status: int, text: NDArray[np.uint8], at: int, prefixed: bool) -> str:
    from quantbot.book import kernels_itch as kernels

    head = 2 if prefixed else 0
    kind = int(text[at + head])
    if status == kernels.UNKNOWN_TYPE:
        return f"no message of ITCH 5.0 has type {chr(kind)!r} (0x{kind:02x})"
    told = int(text[at]) << 8 | int(text[at + 1])
    return f"a message {chr(kind)!r} has {int(kernels.LENGTHS[kind])} bytes, its prefix says {told}"
