"""hftbacktest's npz event files, by price and by order, so that its users bring their data along."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.events import RawEvents, columns_of, day_of
from datasets.ingest.files import MAX_RATIO, RATIO_APPLIES_FROM
from datasets.quality import Finding
from quantbot.book import Action, Flag
from quantbot.book.events import Kind
from quantbot.errors import DataError, InputError

__all__ = ["HftbacktestReader"]

EVENT = np.dtype([
    ("ev", "<u8"), ("exch_ts", "<i8"), ("local_ts", "<i8"), ("px", "<f8"), ("qty", "<f8"), ("order_id", "<u8"),
    ("ival", "<i8"), ("fval", "<f8"),
])  # fmt: skip
_BUY, _SELL, _LOCAL = 1 << 29, 1 << 28, 1 << 30
_DEPTH, _TRADE, _CLEAR, _SNAPSHOT, _ADD, _CANCEL, _MODIFY, _FILL = 1, 2, 3, 4, 10, 11, 12, 13
# Kind of event -> action; -1 is read over (best prices).
_ACTIONS = np.full(256, 0, np.int64)
_ACTIONS[[_DEPTH, _TRADE, _CLEAR, _SNAPSHOT, 5]] = (Action.SET, Action.TRADE, Action.CLEAR, Action.SET, -1)
_ACTIONS[[_ADD, _CANCEL, _MODIFY, _FILL]] = (Action.ADD, Action.DELETE, Action.MODIFY, Action.EXECUTE)
_ROWS = 1 << 16
_UNIT = 10**8


class HftbacktestReader:
    """A file with one array `data`; events are taken as they were received.

    Rows that stand for the exchange's order alone are not taken.

    Prices and sizes are floats there: each must be within 1e-6 of a multiple of 1e-8.
    """

    zone = "UTC"
    place = "row"
    price_digits = 8
    size_digits = 8

    def __init__(self, path: Path, symbol: str = "", *, max_bytes: int = 1 << 40) -> None:
        self._path, self._max_bytes = path, max_bytes
        self.name = path.name
        self.symbol = symbol or path.name.split("_")[0].split(".")[0].upper()
        self.kind: Kind = "by_order" if self._has_orders() else "by_price"

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield events in the order of their receipt."""
        n_rows, session, any_yet = 0, "", False
        for part, total in self._parts():
            self._check(part, n_rows)
            places = n_rows + np.arange(len(part))
            own = (part["ev"] & np.uint64(_LOCAL)) != 0
            action = _ACTIONS[(part["ev"] & np.uint64(0xFF)).astype(np.int64)]
            own &= action >= 0
            n_rows += len(part)
            if not own.any():
                continue
            session = session or day_of(int(part["local_ts"][own][0]))
            any_yet = True
            yield RawEvents(self.symbol, session, self._columns(part[own], action[own]), places[own]), n_rows / total
        if not any_yet:
            raise DataError(f"{self._path} has no event that was received")

    def remarks(self) -> tuple[Finding, ...]:
        """Return nothing: a file says all that it has in its events."""
        return ()

    def _columns(self, part: NDArray[Any], action: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        kind = (part["ev"] & np.uint64(0xFF)).astype(np.int64)
        buy, sell = (part["ev"] & np.uint64(_BUY)) != 0, (part["ev"] & np.uint64(_SELL)) != 0
        side = buy.astype(np.int64) - sell
        last = np.append((part["local_ts"][1:] != part["local_ts"][:-1]) | (kind[1:] != kind[:-1]), True)
        flags = np.where(last, int(Flag.LAST), 0) | np.where(kind == _SNAPSHOT, int(Flag.SNAPSHOT), 0)
        price = np.rint(np.where(action == Action.CLEAR, 0.0, part["px"]) * _UNIT).astype(np.int64)
        size = np.rint(np.where(action == Action.CLEAR, 0.0, part["qty"]) * _UNIT).astype(np.int64)
        return columns_of(
            len(part), ts_exchange_ns=part["exch_ts"], ts_received_ns=part["local_ts"], action=action, side=side,
            price_ticks=price, size_lots=size,
            order_id=np.where(kind >= _ADD, part["order_id"], np.uint64(0)), flags=flags,
        )  # fmt: skip

    def _check(self, part: NDArray[Any], first: int) -> None:
        kind = (part["ev"] & np.uint64(0xFF)).astype(np.int64)
        values = {name: part[name] for name in ("px", "qty")}
        clear = kind == _CLEAR
        rules = [
            ("an event's kind is unknown", _ACTIONS[kind] == 0),
            ("a time is before 1970 or after 2116", ((part["local_ts"] < 0) | (part["local_ts"] >= 2**62))
             | (part["exch_ts"] < 0) | (part["exch_ts"] >= 2**62)),
        ]  # fmt: skip
        with np.errstate(invalid="ignore", over="ignore"):
            for name, each in values.items():
                off = ~(np.abs(each * _UNIT) < 2**62) | ~(np.abs(each - np.rint(each * _UNIT) / _UNIT) < 1e-6)
                rules.append((f"{name} must be a multiple of 1e-8", ~clear & off))
        rules.append(("qty must not be below 0", ~clear & (part["qty"] < 0)))
        for rule, broken in rules:
            if broken.any():
                at = int(np.argmax(broken))
                raise DataError(f"{self._path}, row {first + at}: {rule}; found {part[at]}")

    def _has_orders(self) -> bool:
        part = next((part for part, _ in self._parts()), None)
        if part is None or not len(part):
            raise DataError(f"{self._path} has no event")
        return bool(((part["ev"] & np.uint64(0xFF)) >= np.uint64(_ADD)).any())

    def _parts(self) -> Iterator[tuple[NDArray[Any], int]]:
        """Yield rows of the array, and how many there are in all."""
        try:
            with zipfile.ZipFile(self._path) as archive:
                members = [name for name in archive.namelist() if name in ("data.npy", "arr_0.npy")]
                if len(members) != 1:
                    raise InputError(f"{self._path} has no array `data`; it has {archive.namelist()[:5]}")
                about = archive.getinfo(members[0])
                if about.file_size > self._max_bytes:
                    raise DataError(f"{self._path} holds {about.file_size:,} bytes, more than {self._max_bytes:,}")
                if about.file_size > RATIO_APPLIES_FROM and about.file_size > MAX_RATIO * max(about.compress_size, 1):
                    raise DataError(f"{self._path} unpacks to more than {MAX_RATIO} times its size: taken for a bomb")
                with archive.open(members[0]) as stream:
                    yield from self._of_array(stream)
        except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            if isinstance(error, (DataError, InputError)):
                raise
            raise DataError(f"{self._path} is damaged or cut off: {error}") from error
        except Exception as error:
            if isinstance(error, (DataError, InputError)):
                raise
            raise DataError(f"{self._path} is damaged: {type(error).__name__}: {error}") from error

    def _of_array(self, stream: IO[bytes]) -> Iterator[tuple[NDArray[Any], int]]:
        from numpy.lib import format as npy

        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if dtype != EVENT or len(shape) != 1 or (fortran and shape[0] > 1):
            raise DataError(f"{self._path} must hold rows of {EVENT.names}, holds {dtype} of shape {shape}")
        n_rows = 0
        while n_rows < shape[0]:
            n = min(_ROWS, shape[0] - n_rows)
            data = stream.read(n * EVENT.itemsize)
            if len(data) < n * EVENT.itemsize:
                raise DataError(
                    f"{self._path}, row {n_rows + len(data) // EVENT.itemsize}: the file ends here of {shape[0]}"
                )
            yield np.frombuffer(data, EVENT), max(shape[0], 1)
            n_rows += n
