"""Instrument definitions of Databento (schema `definition`): symbol, tick, currency and point value of each id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.dbn_head import read_header
from datasets.ingest.dbn_records import HEAD, UNDEFINED, records
from datasets.ingest.events import Told
from quantbot.errors import DataError

__all__ = ["read_definitions"]

DEFINITION = 0x13
_UNDEFINED_32 = 2**31 - 1
_UNIT = 10**9


def _layout(n_bytes: int, **places: tuple[str, int]) -> np.dtype[Any]:
    """Return the fields that are read of a definition, at their places."""
    start = np.dtype(HEAD)
    fields = {name: (str(start.fields[name][0]), int(start.fields[name][1])) for name in start.names or ()}  # type: ignore[index]
    fields |= {"ts_recv": ("<u8", 16), "tick": ("<i8", 24), "display": ("<i8", 32), **places}
    return np.dtype({
        "names": list(fields), "formats": [each for each, _ in fields.values()],
        "offsets": [at for _, at in fields.values()], "itemsize": n_bytes,
    })  # fmt: skip


# By version 1, 2 and 3 of DBN: their lengths differ.
LAYOUTS: dict[int, dict[int, np.dtype[Any]]] = {DEFINITION: {each.itemsize: each for each in (
    _layout(360, amount=("<i8", 96), multiplier=("<i4", 160), currency=("S4", 186), symbol=("S22", 200),
            update=("S1", 349)),
    _layout(400, amount=("<i8", 96), multiplier=("<i4", 164), currency=("S4", 186), symbol=("S71", 200),
            update=("S1", 382)),
    _layout(520, amount=("<i8", 88), multiplier=("<i4", 176), currency=("S4", 224), symbol=("S71", 238),
            update=("S1", 493)),
)}}  # fmt: skip


def read_definitions(path: Path, *, max_bytes: int = 1 << 40) -> dict[int, Told]:
    """Return what the last definition of each instrument id in the file says.

    The point value is what one tick is worth divided by the tick; where that is not told, the contract's multiplier.
    Undefined fields are None. A deletion of a definition is read over.

    Raises
    ------
    DataError
        If the file is damaged, has no definition, or one whose symbol is no text, with the byte.

    Examples
    --------
    >>> from pathlib import Path
    >>> read_definitions(Path("es-fut.definition.dbn.zst"))  # doctest: +SKIP
    {95414: Told(symbol='ESM3', tick_size=0.25, multiplier=50.0, currency='USD')}
    """
    found: dict[int, Told] = {}
    read_header(path, max_bytes=max_bytes)
    for at, _, block in records(path, max_bytes=max_bytes, skipped={}, layouts=LAYOUTS):
        for row, record in enumerate(block):
            if record["update"] != b"D":
                found[int(record["instrument"])] = _told(record, path, at + row * block.dtype.itemsize)
    if not found:
        raise DataError(f"{path} has no record of the schema definition")
    return found


def _told(record: Any, path: Path, at: int) -> Told:
    try:
        symbol, currency = record["symbol"].decode("utf-8"), record["currency"].decode("ascii")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, byte {at}: symbol and currency must be text ({error})") from error
    if not symbol or not symbol.isprintable():
        raise DataError(f"{path}, byte {at}: a definition needs a symbol, was {symbol!r}")
    tick, display, amount = (_positive(record[name], UNDEFINED) for name in ("tick", "display", "amount"))
    contract = _positive(record["multiplier"], _UNDEFINED_32)
    # Databento scales every price by the display factor, the tick's worth too: 12.50 for a tick of ES reads 0.125.
    point = amount * _UNIT / (tick * display) if tick and display and amount else contract
    known = len(currency) in (3, 4) and currency.isalnum() and currency.isupper()
    return Told(symbol, tick / _UNIT if tick else None, float(point) if point else None, currency if known else None)


def _positive(value: NDArray[Any], undefined: int) -> int | None:
    return int(value) if 0 < int(value) < undefined else None
