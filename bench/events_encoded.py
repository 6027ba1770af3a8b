"""A drawn market written down as venues and vendors do, for formats of which no large real file is at hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.dbn_records import LAYOUTS
from datasets.ingest.hftbacktest import EVENT
from datasets.synthetic_book import SyntheticBook, by_price
from quantbot.book import Action, Events

Columns = dict[str, NDArray[Any]]
_NAMES = ("ts_exchange_ns", "ts_received_ns", "action", "side", "price_ticks", "size_lots", "order_id", "flags")
_SYMBOL = "SYNUSDT"


def drawn(n: int, seed: int, kind: str) -> Columns:
    """Return `n` events by order, or the same market's by price, as columns."""
    blocks: Iterator[Events] = SyntheticBook(n, seed).blocks()
    parts = list(by_price(blocks) if kind == "by_price" else blocks)
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in _NAMES}


def tardis(columns: Columns, folder: Path) -> Path:
    """Write incremental_book_L2."""
    path = folder / "incremental_book_L2.csv"
    with path.open("w") as file:
        file.write("exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount\n")
        for sent, received, side, price, size in _levels(columns):
            word = "bid" if side > 0 else "ask"
            file.write(f"x,{_SYMBOL},{sent // 1000},{received // 1000},false,{word},{price / 100:.2f},{size}\n")
    return path


def depth(columns: Columns, folder: Path) -> Path:
    """Write Binance's T_DEPTH: a file of changes, with no snapshot beside it."""
    path = folder / f"{_SYMBOL}_T_DEPTH_2024-01-02_depth_update.csv"
    with path.open("w") as file:
        file.write("symbol,timestamp,first_update_id,last_update_id,side,update_type,price,qty,pu\n")
        for number, (sent, _, side, price, size) in enumerate(_levels(columns), 1):
            word = "b" if side > 0 else "a"
            file.write(
                f"{_SYMBOL},{sent // 10**6},{number},{number},{word},set,{price / 100:.2f},{size},{number - 1}\n"
            )
    return path


def bybit(columns: Columns, folder: Path) -> Path:
    """Write one snapshot and differences, a JSON document a line."""
    path = folder / f"{_SYMBOL}.data"
    with path.open("w") as file:
        for number, (sent, _, side, price, size) in enumerate(_levels(columns), 1):
            level = [[f"{price / 100:.2f}", str(size)]]
            data = {"s": _SYMBOL, "b": level if side > 0 else [], "a": [] if side > 0 else level, "u": number}
            kind = "snapshot" if number == 1 else "delta"
            file.write(
                json.dumps({"topic": f"orderbook.500.{_SYMBOL}", "type": kind, "ts": sent // 10**6, "data": data})
            )
            file.write("\n")
    return path


def aggregate_trades(columns: Columns, folder: Path) -> Path:
    """Write Binance's public aggTrades: as many rows as there are events, each a trade at its price."""
    path = folder / f"{_SYMBOL}-aggTrades-2024-01-02.csv"
    with path.open("w") as file:
        file.write("agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n")
        for number, (sent, _, side, price, size) in enumerate(_levels(columns), 1):
            maker = "true" if side > 0 else "false"
            file.write(f"{number},{price / 100:.2f},{size + 1},{number},{number},{sent // 10**6},{maker}\n")
    return path


def hftbacktest(columns: Columns, folder: Path) -> Path:
    """Write an npz by price."""
    action, side = columns["action"], columns["side"]
    taken = (action == Action.SET) | ((action == Action.TRADE) & (side != 0))
    rows = np.zeros(int(taken.sum()), EVENT)
    kinds = np.where(action[taken] == Action.SET, 1, 2).astype(np.uint64)
    sides = np.where(side[taken] > 0, 1 << 29, 1 << 28).astype(np.uint64)
    rows["ev"] = kinds | sides | np.uint64((1 << 31) | (1 << 30))
    rows["exch_ts"], rows["local_ts"] = columns["ts_exchange_ns"][taken], columns["ts_received_ns"][taken]
    rows["px"], rows["qty"] = columns["price_ticks"][taken] / 100, columns["size_lots"][taken]
    path = folder / "syn.npz"
    np.savez_compressed(path, data=rows)
    return path


def dbn(columns: Columns, folder: Path) -> Path:
    """Write Databento's mbo, plain; each execution is a fill and the cancellation that follows it."""
    path = folder / "syn.mbo.dbn"
    path.write_bytes(_dbn_head() + _orders(columns).tobytes())
    return path


def dbz(columns: Columns, folder: Path) -> Path:
    """Write the same records as Databento's old DBZ."""
    import pyarrow as pa

    def packed(data: bytes) -> bytes:
        return bytes(pa.compress(data, codec="zstd", asbytes=True))

    records = _orders(columns)
    name = b"SYN".ljust(22, b"\0")
    told = (
        struct.pack("<II", 0, 1) + name + struct.pack("<II", 0, 0) + struct.pack("<I", 1) + name + struct.pack("<I", 1)
        + struct.pack("<II", 20240101, 20240103) + b"17".ljust(22, b"\0")
    )  # fmt: skip
    head = b"DBZ\1" + b"GLBX.MDP3".ljust(16, b"\0")
    head += struct.pack("<HQQQQBBB", 0, 0, 0, 0, len(records), 1, 1, 1) + bytes(39) + packed(told)
    path = folder / "syn.dbz"
    path.write_bytes(b"\x50*M\x18" + struct.pack("<I", len(head)) + head + packed(records.tobytes()))
    return path


def _levels(columns: Columns) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield both times, side, ticks and lots of each level that is set."""
    taken = columns["action"] == Action.SET
    names = ("ts_exchange_ns", "ts_received_ns", "side", "price_ticks", "size_lots")
    yield from zip(*(columns[name][taken].tolist() for name in names), strict=True)


def _orders(columns: Columns) -> NDArray[Any]:
    """Return Databento's records of the events by order."""
    letters = {Action.ADD: b"A", Action.MODIFY: b"M", Action.CANCEL: b"C", Action.DELETE: b"C", Action.EXECUTE: b"FC"}
    resting: dict[int, int] = {}
    found: list[tuple[int, int, int]] = []  # row, action, size
    names = ("action", "order_id", "size_lots")
    for row, (action, order, size) in enumerate(zip(*(columns[name].tolist() for name in names), strict=True)):
        if action not in letters:
            continue
        if action == Action.DELETE:
            size = resting.pop(order)
        elif action in (Action.ADD, Action.MODIFY):
            resting[order] = size
        else:
            resting[order] -= size
        found += [(row, letter, size) for letter in letters[Action(action)]]
    row, action, size = np.array(found).T
    layout = LAYOUTS[0xA0]
    records = np.zeros(len(row), layout)
    records["length"], records["rtype"], records["instrument"] = layout.itemsize // 4, 0xA0, 17
    records["ts_event"], records["ts_recv"] = columns["ts_exchange_ns"][row], columns["ts_received_ns"][row]
    records["order_id"], records["price"] = columns["order_id"][row], columns["price_ticks"][row] * 10**7
    records["size"], records["action"] = size, action
    records["side"] = np.where(columns["side"][row] > 0, ord("B"), ord("A"))
    records["flags"] = np.where(np.append(row[1:] != row[:-1], True), 128, 0)
    return records


def _dbn_head() -> bytes:
    name = b"SYN".ljust(71, b"\0")
    told = (
        b"GLBX.MDP3".ljust(16, b"\0") + struct.pack("<HQQQBBBH", 0, 0, 0, 0, 0, 0, 0, 71) + bytes(53)
        + struct.pack("<I", 0)
        + struct.pack("<I", 1) + name + struct.pack("<II", 0, 0) + struct.pack("<I", 1) + name + struct.pack("<I", 1)
        + struct.pack("<II", 20240101, 20240103) + b"17".ljust(71, b"\0")
    )  # fmt: skip
    return b"DBN\2" + struct.pack("<I", len(told)) + told
