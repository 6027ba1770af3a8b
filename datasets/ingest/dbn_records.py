"""Records of Databento files by the documented layout: runs of one type, each known by its byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.dbn_head import Stream, head
from quantbot.errors import DataError

UNDEFINED = 2**63 - 1
NO_TIME = 2**64 - 1
HEAD = [("length", "u1"), ("rtype", "u1"), ("publisher", "<u2"), ("instrument", "<u4"), ("ts_event", "<u8")]
_LEVEL = [
    ("bid_px", "<i8"), ("ask_px", "<i8"), ("bid_sz", "<u4"), ("ask_sz", "<u4"), ("bid_ct", "<u4"), ("ask_ct", "<u4"),
]  # fmt: skip
_TRADE = [
    *HEAD, ("price", "<i8"), ("size", "<u4"), ("action", "u1"), ("side", "u1"), ("flags", "u1"), ("depth", "u1"),
    ("ts_recv", "<u8"), ("ts_in_delta", "<i4"), ("sequence", "<u4"),
]  # fmt: skip
# Record type -> what one record holds.
LAYOUTS: dict[int, np.dtype[Any]] = {
    0xA0: np.dtype([
        *HEAD, ("order_id", "<u8"), ("price", "<i8"), ("size", "<u4"), ("flags", "u1"), ("channel", "u1"),
        ("action", "u1"), ("side", "u1"), ("ts_recv", "<u8"), ("ts_in_delta", "<i4"), ("sequence", "<u4"),
    ]),
    0x00: np.dtype(_TRADE),
    0x01: np.dtype([*_TRADE, ("levels", _LEVEL, (1,))]),
    0x0A: np.dtype([*_TRADE, ("levels", _LEVEL, (10,))]),
}  # fmt: skip
_BY_LENGTH = {rtype: {layout.itemsize: layout} for rtype, layout in LAYOUTS.items()}


def records(
    path: Path,
    *,
    max_bytes: int,
    skipped: dict[int, int],
    layouts: Mapping[int, Mapping[int, np.dtype[Any]]] = _BY_LENGTH,
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Yield the byte, the type and the records of each run of one known type; count others in `skipped`.

    Parameters
    ----------
    layouts
        Record type -> length in bytes -> what one record holds.

    Raises
    ------
    DataError
        With the byte: for a record that is shorter than its type or than its own head, and a file that ends in one.
    """
    stream = Stream(path, max_bytes)
    head(stream)
    while True:
        base, data = stream.at, stream.piece()
        if not data:
            return
        at = 0
        while at + 16 <= len(data):
            length, rtype = data[at] * 4, data[at + 1]
            if length < 16:
                raise DataError(f"{path}, byte {base + at}: a record of {length} bytes; 16 is the least")
            if at + length > len(data):
                break
            if rtype not in layouts:
                skipped[rtype] = skipped.get(rtype, 0) + 1
                at += length
                continue
            layout = layouts[rtype].get(length)
            if layout is None:
                raise DataError(
                    f"{path}, byte {base + at}: a record of type 0x{rtype:02x} has {length} bytes, must have "
                    f"{' or '.join(map(str, layouts[rtype]))}"
                )
            most = (len(data) - at) // length
            heads = np.frombuffer(data, np.uint8, most * length, at).reshape(most, length)[:, :2]
            other = (heads[:, 0] != data[at]) | (heads[:, 1] != rtype)
            n = int(np.argmax(other)) if other.any() else most
            yield base + at, rtype, np.frombuffer(data, layout, n, at)
            at += n * length
        stream.put_back(data[at:], base + at)
        if not stream.more():
            if at < len(data):
                raise DataError(f"{path}, byte {base + at}: the file ends within a record")
            return
