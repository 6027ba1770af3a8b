"""Lines of JSON from an exchange's own feed, as rows of events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.events import RawEvents, columns_of
from datasets.ingest.text_rows import Field, lines, parsed
from quantbot.book import Action, Flag
from quantbot.errors import DataError

# What indexing into JSON of another shape raises.
WRONG_SHAPE = (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError, OverflowError)
_TIMES = (0, 2**62)


def json_lines(path: Path, *, max_bytes: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield each line with its number, and the bytes read so far."""
    n_bytes = 0
    for piece, number in lines(path, max_bytes=max_bytes):
        for offset, line in enumerate(piece.split(b"\n")[:-1]):
            n_bytes += len(line) + 1
            yield number + offset, line, n_bytes


def document(text: bytes, place: str) -> Any:
    """Return what a line of JSON says, or raise `DataError` naming `place`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: no JSON ({error}); found {text[:60]!r}") from error


def whole(value: object, name: str, low: int = 0, high: int = 2**62) -> int:
    """Return an integer within its bounds, or raise `ValueError`."""
    number = int(value)  # type: ignore[call-overload]
    if isinstance(value, float) and number != value:
        raise ValueError(f"{name} must be a whole number, was {value!r}")
    if not low <= number <= high:
        raise ValueError(f"{name} must be from {low} to {high}, was {number}")
    return int(number)


def decimals(texts: Sequence[str], digits: int, name: str, place: str, at: Sequence[int]) -> NDArray[np.int64]:
    """Return decimal texts times ``10 ** digits``, exactly; `at` are their lines, for errors."""
    if not texts:
        return np.empty(0, np.int64)
    joined = "\n".join(texts)
    if joined.count("\n") != len(texts) - 1:
        raise DataError(f"{place}, line {at[0]}: a {name} has a line break")
    text = np.frombuffer(joined.encode("ascii", "replace") + b"\n", np.uint8)
    out: list[NDArray[np.int64]] = []
    n_done = 0
    while text.size:
        field = Field(name, "number", digits)
        try:
            columns, used = parsed(text, (field,), "\x1f", place, 0)
        except DataError:
            for line, one in zip(at[n_done:], texts[n_done:], strict=False):
                parsed(np.frombuffer(one.encode("ascii", "replace") + b"\n", np.uint8), (field,), "\x1f", place, line)
            raise
        out.append(columns[field])
        n_done += len(columns[field])
        text = text[used:]
    return np.concatenate(out)


class Rows:
    """Events that are put together one by one, prices and sizes still as text."""

    def __init__(self) -> None:
        self._heads: list[tuple[int, int, int, int, int, int, int]] = []
        self._prices: list[str] = []
        self._sizes: list[str] = []

    def __len__(self) -> int:
        return len(self._heads)

    def add(
        self,
        line: int,
        times: tuple[int, int],
        action: Action,
        side: int = 0,
        price: str = "0",
        size: str = "0",
        *,
        flags: int = 0,
        order_id: int = 0,
    ) -> None:
        """Append one event; `times` are the exchange's and the receipt's."""
        self._heads.append((line, *times, int(action), side, order_id, flags))
        self._prices.append(str(price))
        self._sizes.append(str(size))

    def levels(self, line: int, times: tuple[int, int], side: int, levels: Iterable[Sequence[str]], flags: int) -> None:
        """Append totals of levels: pairs of price and size, of which more fields may follow."""
        for level in levels:
            self.add(line, times, Action.SET, side, level[0], level[1], flags=flags)

    def flag(self, at: int, flags: Flag) -> None:
        """Add flags to event `at`, which may count from the end."""
        head = self._heads[at]
        self._heads[at] = (*head[:-1], head[-1] | int(flags))

    def events(self, symbol: str, session: str, place: str, price_digits: int, size_digits: int) -> RawEvents:
        """Return all events, and start anew."""
        heads = np.array(self._heads, np.int64).reshape(len(self._heads), 7)
        lines = heads[:, 0]
        price = decimals(self._prices, price_digits, "price", place, [head[0] for head in self._heads])
        size = decimals(self._sizes, size_digits, "size", place, [head[0] for head in self._heads])
        if (size < 0).any():
            raise DataError(f"{place}, line {int(lines[np.argmax(size < 0)])}: a size is negative")
        columns = columns_of(
            len(heads), ts_exchange_ns=heads[:, 1], ts_received_ns=heads[:, 2], action=heads[:, 3], side=heads[:, 4],
            price_ticks=price, size_lots=size, order_id=heads[:, 5], flags=heads[:, 6],
        )  # fmt: skip
        self.__init__()  # type: ignore[misc]
        return RawEvents(symbol, session, columns, lines, price_digits)
