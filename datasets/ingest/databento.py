"""Databento Binary Encoding (DBN): market by order, best levels and trades, decoded by the documented layout.

Nothing of the vendor's own decoder is used: it panics on damaged files, and takes one that is cut within a record for
whole. Versions 1 to 3, and the DBZ before them, have these records in common; prices are 1e-9.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.dbn_head import read_header
from datasets.ingest.dbn_records import LAYOUTS, NO_TIME, UNDEFINED, records
from datasets.ingest.events import RawEvents, Told, columns_of, day_of
from datasets.quality import Finding
from quantbot.book import Action, Flag
from quantbot.book.events import Kind
from quantbot.errors import DataError, InputError

__all__ = ["LAYOUTS", "DbnReader", "records"]

_MBO, _LAST, _SNAPSHOT, _BAD_TIME, _MAYBE_BAD = 0xA0, 128, 32, 8, 4


class DbnReader:
    """One file of mbo, mbp-1, mbp-10 or trades; plain or packed by zstd, or an old DBZ.

    By order, a fill (F) and what then takes it out of the book become one execution, and the prints (T) that fills
    account for are left out; so each traded lot is told once. By price, each record's levels are compared with those
    before. Records of other types are read over, and counted.

    Parameters
    ----------
    symbols
        Whose events to take; empty takes all.
    definitions
        What instrument ids are (`read_definitions`): their symbols come before the file's own.
    """

    zone = "UTC"
    place = "byte"
    price_digits = 9
    size_digits = 0

    def __init__(
        self,
        path: Path,
        symbols: Sequence[str] = (),
        *,
        definitions: Mapping[int, Told] | None = None,
        max_bytes: int = 1 << 40,
    ) -> None:
        self._path, self._max_bytes, self._symbols = path, max_bytes, frozenset(symbols)
        self._names = {number: each.symbol for number, each in (definitions or {}).items()}
        self.told = {each.symbol: each for each in (definitions or {}).values()}
        self.name = path.name
        self.skipped: dict[int, int] = {}
        first = next((rtype for _, rtype, _ in records(path, max_bytes=max_bytes, skipped={})), None)
        if first is None:
            raise DataError(f"{path} has no record of mbo, mbp-1, mbp-10 or trades")
        self._rtype = first
        self.kind: Kind = "by_order" if first == _MBO else "by_price"

    def blocks(self) -> Iterator[tuple[RawEvents, float]]:
        """Yield events instrument by instrument, each instrument's in order."""
        self.skipped = {}
        total = max(self._path.stat().st_size, 1)
        names = read_header(self._path, max_bytes=self._max_bytes).symbols | self._names
        states: dict[int, _Instrument] = {}
        for at, rtype, block in records(self._path, max_bytes=self._max_bytes, skipped=self.skipped):
            if rtype != self._rtype:
                raise DataError(
                    f"{self._path}, byte {at}: a record of type 0x{rtype:02x} among those of 0x{self._rtype:02x}"
                )
            places = at + np.arange(len(block)) * block.dtype.itemsize
            self._check(block, places)
            for number in np.unique(block["instrument"]).tolist():
                symbol = names.get(number, str(number))
                if self._symbols and symbol not in self._symbols:
                    continue
                own = block["instrument"] == number
                state = states.setdefault(number, _Instrument(symbol))
                columns, lines = self._events(state, block[own], places[own])
                if len(lines):
                    yield RawEvents(symbol, state.session, columns, lines), min(at / (total * 8), 0.99)
        if not states:
            known = sorted(set(names.values()))
            raise InputError(f"{self.name} has none of {sorted(self._symbols)}; it has {known[:10]}")
        for state in states.values():
            if state.waiting is not None:
                columns, lines = _by_order(state, state.waiting[0], state.waiting[1], final=True)
                if len(lines):
                    yield RawEvents(state.symbol, state.session, columns, lines), 0.99

    def remarks(self) -> tuple[Finding, ...]:
        """Say what was read over."""
        return tuple(
            Finding("*", "other_records", "info", count, f"records of type 0x{rtype:02x}, read over")
            for rtype, count in sorted(self.skipped.items())
        )

    def _events(
        self, state: _Instrument, block: NDArray[Any], places: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        state.session = state.session or day_of(int(block["ts_recv"][0]), self.zone)
        if self._rtype == _MBO:
            return _by_order(state, block, places)
        if self._rtype == 0:
            return _prints(block), places
        return _by_price(state, block, places)

    def _check(self, block: NDArray[Any], places: NDArray[np.int64]) -> None:
        action, side, price = block["action"], block["side"], block["price"]
        letters = np.frombuffer(b"ACMRTFN", np.uint8)
        mbo = self._rtype == _MBO
        rules = [
            ("action must be one of A, C, M, R, T, F, N", ~np.isin(action, letters)),
            ("side must be A, B or N", ~np.isin(side, np.frombuffer(b"ABN", np.uint8))),
            ("ts_recv is no time", block["ts_recv"] >= np.uint64(2**62)),
            (
                "ts_event is no time",
                (block["ts_event"] >= np.uint64(2**62)) & (block["ts_event"] != np.uint64(NO_TIME)),
            ),
        ]
        if mbo:
            orders = np.isin(action, np.frombuffer(b"ACMF", np.uint8))
            rules += [
                ("an order's action needs its id", orders & (block["order_id"] == 0)),
                (
                    "an order's price is undefined",
                    np.isin(action, np.frombuffer(b"AM", np.uint8)) & (price == UNDEFINED),
                ),
                ("an order needs a side", np.isin(action, np.frombuffer(b"AM", np.uint8)) & (side == ord("N"))),
                ("an order needs a size", np.isin(action, np.frombuffer(b"AM", np.uint8)) & (block["size"] == 0)),
            ]
        for rule, broken in rules:
            if broken.any():
                at = int(np.argmax(broken))
                found = (
                    f"action {chr(action[at])!r}, side {chr(side[at])!r}, price {price[at]}, size {block['size'][at]}"
                )
                raise DataError(f"{self._path}, byte {int(places[at])}: {rule}; found {found}")


@dataclass(eq=False)
class _Instrument:
    """What is carried from block to block."""

    symbol: str
    session: str = ""
    waiting: tuple[NDArray[Any], NDArray[np.int64]] | None = None
    ticks: NDArray[np.int64] | None = None
    lots: NDArray[np.int64] | None = None


def _times(block: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    received = block["ts_recv"].astype(np.int64)
    exchange = np.where(block["ts_event"] == np.uint64(NO_TIME), block["ts_recv"], block["ts_event"]).astype(np.int64)
    return exchange, received


def _sides(block: NDArray[Any]) -> NDArray[np.int8]:
    side: NDArray[np.int8] = (block["side"] == ord("B")).astype(np.int8) - (block["side"] == ord("A")).astype(np.int8)
    return side


def _flags(block: NDArray[Any]) -> NDArray[np.int64]:
    told = block["flags"].astype(np.int64)
    return np.asarray((told & _LAST) // _LAST * int(Flag.LAST) | (told & _SNAPSHOT) // _SNAPSHOT * int(Flag.SNAPSHOT))


def _prints(block: NDArray[Any]) -> dict[str, NDArray[Any]]:
    exchange, received = _times(block)
    return columns_of(
        len(block), ts_exchange_ns=exchange, ts_received_ns=received, action=Action.TRADE, side=_sides(block),
        price_ticks=np.where(block["price"] == UNDEFINED, 0, block["price"]), size_lots=block["size"], flags=Flag.LAST,
    )  # fmt: skip


def _by_order(
    state: _Instrument, block: NDArray[Any], places: NDArray[np.int64], *, final: bool = False
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Return events of whole exchange events; what is not complete waits for the next block."""
    from quantbot.book import kernels_executions

    if state.waiting is not None and not final:
        block = np.concatenate([state.waiting[0], block])
        places = np.concatenate([state.waiting[1], places])
    state.waiting = None
    complete = len(block)
    if not final:
        last = np.flatnonzero(block["flags"] & _LAST)
        complete = int(last[-1]) + 1 if last.size else 0
        if len(block) - complete > 1 << 20:
            raise DataError(f"{state.symbol}, byte {int(places[complete])}: an event of more than a million records")
        if complete < len(block):
            state.waiting = block[complete:].copy(), places[complete:].copy()
    block, places = block[:complete], places[:complete]
    kept, actions, flags = (np.empty(complete, np.int64) for _ in range(3))
    n = kernels_executions.join(
        block["action"].copy(),
        block["order_id"].copy(),
        block["size"].astype(np.int64),
        _flags(block),
        kept,
        actions,
        flags,
    )
    rows = kept[:n]
    chosen = block[rows]
    exchange, received = _times(chosen)
    action = actions[:n]
    price = np.where(chosen["price"] == UNDEFINED, 0, chosen["price"])
    no_order = np.isin(action, (Action.TRADE, Action.CLEAR))
    columns = columns_of(
        n, ts_exchange_ns=exchange, ts_received_ns=received, action=action, side=_sides(chosen), price_ticks=price,
        size_lots=np.where(action == Action.CLEAR, 0, chosen["size"]),
        order_id=np.where(no_order, 0, chosen["order_id"]), flags=flags[:n],
    )  # fmt: skip
    return columns, places[rows]


def _by_price(
    state: _Instrument, block: NDArray[Any], places: NDArray[np.int64]
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    from quantbot.book import kernels_flow

    levels = block["levels"]
    n_rows, n_levels = levels.shape
    ticks = np.stack([levels["bid_px"], levels["ask_px"]], axis=1).astype(np.int64)
    lots = np.stack([levels["bid_sz"], levels["ask_sz"]], axis=1).astype(np.int64)
    lots[ticks == UNDEFINED] = 0
    # An undefined level would hide those behind it: it must be the last.
    first = state.ticks is None
    if state.ticks is None or state.lots is None:
        state.ticks, state.lots = np.zeros((2, n_levels), np.int64), np.zeros((2, n_levels), np.int64)
    kinds = np.where(block["action"] == ord("T"), 4, 0).astype(np.int64)
    out = tuple(np.empty(n_rows * (4 * n_levels + 1), np.int64) for _ in range(5))
    price = np.where(block["price"] == UNDEFINED, 0, block["price"])
    n = kernels_flow.flow(
        kinds, -_sides(block).astype(np.int64), price, block["size"].astype(np.int64), ticks, lots, state.ticks,
        state.lots, out, np.zeros(3, np.int64),
    )  # fmt: skip
    row, action, side, ticks_out, size = (each[:n] for each in out)
    flags = np.zeros(n, np.int64)
    flags[np.append(row[1:] != row[:-1], True)[:n]] |= Flag.LAST
    if first:
        flags[row == 0] |= Flag.SNAPSHOT
    exchange, received = _times(block)
    columns = columns_of(
        n, ts_exchange_ns=exchange[row], ts_received_ns=received[row], action=action, side=side, price_ticks=ticks_out,
        size_lots=size, flags=flags,
    )  # fmt: skip
    return columns, places[row]
