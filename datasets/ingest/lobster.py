"""LOBSTER: a file of messages beside a file of the book's best levels, row by row, as events by price.

The levels are taken from the orderbook file, since messages alone don't give them: what comes in from below the file's
depth was never shown. Each message is compared with what the levels did.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.events import RawEvents, columns_of, day_start_ns
from datasets.ingest.text_rows import Field, TextBlock, rows
from datasets.quality import Finding
from quantbot.book import Action, Flag
from quantbot.book.events import Kind
from quantbot.errors import DataError, InputError

__all__ = ["LobsterReader", "find_pair"]

_NAME = re.compile(
    r"(?P<symbol>[^/\\]+?)_(?P<day>\d{4}-\d{2}-\d{2})_\d+_\d+_(?P<what>message|orderbook)_(?P<depth>\d+)"
)
_MESSAGE = (
    Field("time", "rounded", 9), Field("type"), Field("id"), Field("size"), Field("price"), Field("direction"),
)  # fmt: skip
_MISSING = 9_999_999_999
_ROWS = 1 << 14  # at a time: the events of deep books are many
_DAY_NS = 86_400 * 10**9
# Message type -> what the book does: `quantbot.book.kernels_flow.flow`.
_KINDS = np.array([0, 1, 2, 2, 3, 4, 0, 0], np.int64)


class LobsterReader:
    """A message and an orderbook file, each plain or packed, or one zip that holds both.

    Parameters
    ----------
    message, orderbook
        Files; or the same zip, from which `message_member` and `orderbook_member` are taken.
    """

    kind: Kind = "by_price"
    zone = "America/New_York"
    place = "line"
    price_digits = 4
    size_digits = 0

    def __init__(
        self, message: Path, orderbook: Path, *, members: tuple[str, str] = ("", ""), max_bytes: int = 1 << 40
    ):
        self._paths, self._members, self._max_bytes = (message, orderbook), members, max_bytes
        names = [member or path.name for path, member in zip(self._paths, members, strict=True)]
        found = [_NAME.search(name) for name in names]
        if found[0] is None or found[1] is None:
            raise InputError(
                f"a LOBSTER file is called SYMBOL_YYYY-MM-DD_START_END_message_LEVELS.csv, was {names[0]!r}, "
                f"{names[1]!r}"
            )
        told = [(each["symbol"], each["day"], each["depth"]) for each in found if each]
        if told[0] != told[1]:
            raise InputError(f"{names[0]} and {names[1]} are not of one symbol, day and depth")
        self.symbol, self.session = told[0][0], told[0][1]
        self.n_levels = int(told[0][2])
        if not 1 <= self.n_levels <= 200:
            raise InputError(f"a LOBSTER orderbook has 1 to 200 levels, {names[1]!r} says {self.n_levels}")
        self.name = names[0]
        self.tally = np.zeros(3, np.int64)
        self.n_rows = 0

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield the events of so many rows at a time."""
        start = day_start_ns(self.session, self.zone)
        total = max(self._paths[0].stat().st_size, 1)
        book = np.zeros((2, self.n_levels), np.int64), np.zeros((2, self.n_levels), np.int64)
        self.tally[:] = 0
        self.n_rows = 0
        for line, n_bytes, message, ticks, lots in self._pairs():
            raw = self._events(line, message, ticks, lots, book, start)
            self.n_rows += len(ticks)
            if len(raw.places):
                yield raw, min(n_bytes / (total * 12), 0.99)
        if not self.n_rows:
            raise DataError(f"{self.name} has no row")

    def remarks(self) -> tuple[Finding, ...]:
        """Say how well messages and levels agree, and how much of the book came from outside."""
        checked, wrong, outside = self.tally.tolist()
        found = [
            Finding(
                self.symbol, "from_outside", "info", outside,
                "rows in which a level came in from below the file's depth",
            ),
            Finding(
                self.symbol, "message_disagrees", "warning", wrong,
                f"rows of {checked} that differ from the row before and the message, on levels that these know",
            ),
        ]  # fmt: skip
        return tuple(each for each in found if each.count)

    def _pairs(self) -> Iterator[tuple[int, int, TextBlock, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield as many rows of both files at a time as both have; refuse files of different lengths."""
        levels = tuple(
            Field(f"{side} {what} {level}", "number")
            for level in range(1, self.n_levels + 1)
            for side in ("ask", "bid")
            for what in ("price", "size")
        )
        messages = _Queue(rows(self._paths[0], _MESSAGE, max_bytes=self._max_bytes, member=self._members[0]))
        books = _Queue(rows(self._paths[1], levels, max_bytes=self._max_bytes, member=self._members[1]))
        while True:
            n = min(messages.ready(), books.ready(), _ROWS)
            if not n:
                break
            line, message = messages.take(n)
            _, table = books.take(n)
            flat = np.stack([table.columns[each.name] for each in levels], axis=1).reshape(n, self.n_levels, 2, 2)
            ordered = np.ascontiguousarray(flat.transpose(0, 2, 3, 1)[:, ::-1])  # bid before ask
            ticks, lots = np.ascontiguousarray(ordered[:, :, 0]), np.ascontiguousarray(ordered[:, :, 1])
            lots[np.abs(ticks) == _MISSING] = 0
            yield line, messages.n_bytes, message, ticks, lots
        n_messages, n_books = messages.count(), books.count()
        if n_messages != n_books:
            raise DataError(
                f"{self._members[0] or self._paths[0]} has {n_messages} rows, {self._members[1] or self._paths[1]} has "
                f"{n_books}; each message needs its row of levels"
            )

    def _events(
        self,
        line: int,
        message: TextBlock,
        ticks: NDArray[np.int64],
        lots: NDArray[np.int64],
        book: tuple[NDArray[np.int64], NDArray[np.int64]],
        start_ns: int,
    ) -> RawEvents:
        from quantbot.book import kernels_flow

        told = message.columns
        self._check(line, told, ticks, lots)
        kinds = _KINDS[told["type"]]
        first = self.n_rows == 0
        if first:
            kinds = kinds.copy()
            kinds[0] = min(kinds[0], 0)  # nothing is known of the book before
        n_most = len(kinds) * (4 * self.n_levels + 1)
        out = tuple(np.empty(n_most, np.int64) for _ in range(5))
        n = kernels_flow.flow(
            kinds, told["direction"], told["price"], told["size"], ticks, lots, *book, out, self.tally
        )
        row, action, side, price, size = (each[:n] for each in out)
        row, action, side, price, size = self._with_states(told, row, action, side, price, size)
        if first:
            row, action, side, price, size = (
                np.concatenate([[value], each])
                for value, each in zip((0, Action.CLEAR, 0, 0, 0), (row, action, side, price, size), strict=True)
            )
        flags = np.zeros(len(row), np.int64)
        flags[np.append(row[1:] != row[:-1], True)[: len(row)]] |= Flag.LAST
        trades = action == Action.TRADE
        flags[trades & (told["type"][row] == 5)] |= Flag.HIDDEN
        flags[trades & (told["type"][row] == 6)] |= Flag.CROSS
        if first:
            flags[row == 0] |= Flag.SNAPSHOT
        times = start_ns + told["time"][row]
        columns = columns_of(
            len(row), ts_exchange_ns=times, ts_received_ns=times, action=action, side=side, price_ticks=price,
            size_lots=size, order_id=np.where(trades, told["id"][row], 0), flags=flags,
        )  # fmt: skip
        return RawEvents(self.symbol, self.session, columns, line + row)

    def _with_states(
        self, told: dict[str, NDArray[np.int64]] | object, *columns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], ...]:
        """Put auctions' trades (type 6) and halts (type 7) among the events, in the order of their rows."""
        types, price, size = (told[name] for name in ("type", "price", "size"))  # type: ignore[index]
        at = np.flatnonzero((types == 6) | ((types == 7) & (price != 0)))
        if not at.size:
            return columns
        cross = types[at] == 6
        extra = (
            at,
            np.where(cross, Action.TRADE, np.where(price[at] < 0, Action.HALT, Action.RESUME)),
            np.zeros(len(at), np.int64),
            np.where(cross, price[at], 0),
            np.where(cross, size[at], 0),
        )
        order = np.argsort(np.concatenate([at, columns[0]]), kind="stable")
        return tuple(np.concatenate([new, old])[order] for new, old in zip(extra, columns, strict=True))

    def _check(self, line: int, told: object, ticks: NDArray[np.int64], lots: NDArray[np.int64]) -> None:
        columns: dict[str, NDArray[np.int64]] = told  # type: ignore[assignment]
        kind, traded = columns["type"], columns["type"] <= 5
        rules = (
            ("type must be 1 to 7", (kind < 1) | (kind > 7)),
            ("time must be within a day", (columns["time"] < 0) | (columns["time"] >= _DAY_NS)),
            ("direction must be -1 or 1", traded & (np.abs(columns["direction"]) != 1)),
            ("size must be above 0", traded & (columns["size"] <= 0)),
            ("size must be below 2^53", columns["size"] >= 2**53),
            ("price must be above 0", traded & (columns["price"] <= 0)),
            ("order id must not be below 0", columns["id"] < 0),
            ("a level's size must be from 0 to 2^53", ((lots < 0) | (lots >= 2**53)).any(axis=(1, 2))),
            ("bids must fall from level to level", _unordered(ticks[:, 0], lots[:, 0], -1)),
            ("asks must rise from level to level", _unordered(ticks[:, 1], lots[:, 1], 1)),
        )
        for rule, broken in rules:
            if broken.any():
                at = int(np.argmax(broken))
                found = ", ".join(f"{name} {values[at]}" for name, values in columns.items())
                raise DataError(f"{self.name}, line {line + at}: {rule}; found {found}, levels {ticks[at].tolist()}")
        back = np.diff(columns["time"]) < 0
        if back.any():
            at = int(np.argmax(back)) + 1
            raise DataError(f"{self.name}, line {line + at}: the time is before that of the line before")


class _Queue:
    """Rows that come in blocks, taken in other portions."""

    def __init__(self, blocks: Iterator[TextBlock]) -> None:
        self._blocks, self._at, self._n = blocks, 0, 0
        self._held: TextBlock | None = None
        self.n_bytes = 0

    def ready(self) -> int:
        """Return how many rows can be taken; 0 at the end."""
        while self._held is None or self._at >= len(self._held):
            self._held, self._at = next(self._blocks, None), 0
            if self._held is None:
                return 0
            self._n += len(self._held)
            self.n_bytes = self._held.n_bytes
        return len(self._held) - self._at

    def take(self, n: int) -> tuple[int, TextBlock]:
        """Return the next `n` rows, and the line of the first."""
        assert self._held is not None
        part = slice(self._at, self._at + n)
        line = self._held.first_line + self._at
        self._at += n
        columns = {name: values[part] for name, values in self._held.columns.items()}
        return line, TextBlock(columns, line, self.n_bytes)

    def count(self) -> int:
        """Read to the end; return how many rows there were."""
        while self.ready():
            self._at = len(self._held)  # type: ignore[arg-type]
        return self._n


def find_pair(path: Path, other: Path | None = None, *, max_bytes: int = 1 << 40) -> LobsterReader:
    """Return the reader of a zip, or of a message file and the orderbook file (beside it, unless named)."""
    if other is not None:
        return LobsterReader(path, other, max_bytes=max_bytes)
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if _NAME.search(name)]
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is damaged: {error}") from error
        pair = [[name for name in names if f"_{what}_" in name] for what in ("message", "orderbook")]
        if [len(each) for each in pair] != [1, 1]:
            raise DataError(f"{path} must hold one message and one orderbook file, holds {names}")
        return LobsterReader(path, path, members=(pair[0][0], pair[1][0]), max_bytes=max_bytes)
    beside = path.with_name(path.name.replace("_message_", "_orderbook_"))
    if beside == path or not beside.exists():
        raise InputError(f"{path} needs its orderbook file; {beside.name} is not beside it")
    return LobsterReader(path, beside, max_bytes=max_bytes)


def _unordered(ticks: NDArray[np.int64], lots: NDArray[np.int64], sign: int) -> NDArray[np.bool_]:
    there = lots > 0
    wrong = (sign * np.diff(ticks, axis=1) <= 0) & there[:, 1:] | (there[:, 1:] & ~there[:, :-1])
    return np.asarray(wrong.any(axis=1))
