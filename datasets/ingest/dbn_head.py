"""What a file of Databento says of itself: DBN 1 to 3, fragments that say nothing, and the DBZ before them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets.ingest.files import ZSTD_SKIPPED, unpacked
from quantbot.errors import DataError, InputError

_MOST_META = 64 << 20
_DBZ_HEAD = 96  # dataset, schema, times, counts and 39 bytes of nothing; what follows is packed
_OLD_WIDTH = 22  # of a symbol, until version 1


@dataclass(frozen=True, eq=False)
class DbnHeader:
    """What a file says of itself: version (0 where it has no head), dataset, and symbols of instrument ids."""

    version: int
    dataset: str
    symbols: dict[int, str]


class Stream:
    """The bytes of a file, pieces of them, and what was not used of the last."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self._pieces = path, unpacked(path, max_bytes, zstd=True)
        self._rest, self.at = b"", 0

    def more(self) -> bool:
        """Read one more piece behind what is left; return whether there was any."""
        piece = next(self._pieces, b"")
        self._rest += piece
        return bool(piece)

    def first(self) -> bytes:
        """Return the bytes at hand without taking them."""
        if not self._rest:
            self.more()
        return self._rest

    def piece(self) -> bytes:
        """Return everything that is at hand, from byte `at`; at least one piece where there is one."""
        data = self.first()
        self._rest = b""
        self.at += len(data)
        return data

    def put_back(self, rest: bytes, at: int) -> None:
        """Keep what was not used."""
        self._rest, self.at = rest, at

    def exactly(self, n: int, what: str) -> bytes:
        """Return the next `n` bytes."""
        while len(self._rest) < n:
            if not self.more():
                raise DataError(f"{self.path}, byte {self.at + len(self._rest)}: the file ends within {what}")
        data, self._rest = self._rest[:n], self._rest[n:]
        self.at += n
        return data


def read_header(path: Path, *, max_bytes: int) -> DbnHeader:
    """Return what the file says of itself; a fragment without a header says nothing."""
    return head(Stream(path, max_bytes))


def head(stream: Stream) -> DbnHeader:
    """Return what the file says of itself, and leave the stream at its first record."""
    path = stream.path
    old = _dbz(path)
    if old is not None:
        return old
    if not stream.first().startswith(b"DBN"):
        first = stream.first()
        if len(first) < 16 or first[0] < 4 or first[1] in range(0x02, 0x0A):
            raise DataError(f"{path}, byte 0: no DBN file begins with {first[:4]!r}")
        return DbnHeader(0, "", {})
    version = stream.exactly(4, "its head")[3]
    if not 1 <= version <= 3:
        raise DataError(f"{path}, byte 3: DBN of version {version}; 1 to 3 are read")
    n_bytes = struct.unpack("<I", stream.exactly(4, "its head"))[0]
    if n_bytes > _MOST_META:
        raise DataError(f"{path}, byte 4: a description of {n_bytes:,} bytes; {_MOST_META:,} are the most")
    text = stream.exactly(n_bytes, "its description")
    try:
        return DbnHeader(version, _text(text[:16]), _symbols(text, version))
    except (struct.error, UnicodeDecodeError, ValueError, IndexError) as error:
        raise DataError(f"{path}, bytes 8 to {8 + n_bytes}: the description can't be read ({error})") from error


def _dbz(path: Path) -> DbnHeader | None:
    """Return the head of a DBZ file, which zstd skips as a frame that is none of its own; None of any other file."""
    try:
        with path.open("rb") as file:
            first = file.read(8)
            if len(first) < 8 or not ZSTD_SKIPPED.match(first):
                return None
            n_bytes = struct.unpack("<I", first[4:])[0]
            if n_bytes > _MOST_META:
                raise DataError(f"{path}, byte 4: a head of {n_bytes:,} bytes; {_MOST_META:,} are the most")
            text = file.read(n_bytes)
    except OSError as error:
        raise InputError(f"{path} can't be opened: {error.strerror}") from error
    if len(text) < n_bytes or n_bytes < _DBZ_HEAD or not text.startswith(b"DBZ\1"):
        raise DataError(f"{path}, byte 8: no head of DBZ 1 ({len(text)} of {n_bytes} bytes, {text[:4]!r})")
    import pyarrow as pa

    try:
        with pa.CompressedInputStream(pa.BufferReader(text[_DBZ_HEAD:]), "zstd") as packed:
            told = packed.read_buffer(_MOST_META).to_pybytes()  # what `read` allocates, a damaged head keeps
        return DbnHeader(0, _text(text[4:20]), _mappings(told, 4 + struct.unpack_from("<I", told, 0)[0], _OLD_WIDTH))
    except (OSError, struct.error, UnicodeDecodeError, ValueError, IndexError) as error:
        raise DataError(f"{path}, bytes 8 to {8 + n_bytes}: the head can't be read ({error})") from error


def _text(padded: bytes) -> str:
    return padded.split(b"\0", 1)[0].decode("ascii")


def _symbols(text: bytes, version: int) -> dict[int, str]:
    at = 16 + 2 + 8 + 8 + 8 + (8 if version == 1 else 0) + 1 + 1 + 1
    width = _OLD_WIDTH
    if version > 1:
        width = struct.unpack_from("<H", text, at)[0]
        at += 2
    at += 53 if version > 1 else 47
    return _mappings(text, at + 4 + struct.unpack_from("<I", text, at)[0], width)


def _mappings(text: bytes, at: int, width: int) -> dict[int, str]:
    """Return the symbol of each instrument id of the mappings: raw symbols by id, or the reverse."""

    def name(where: int) -> str:
        return text[where : where + width].split(b"\0", 1)[0].decode("utf-8")

    def count() -> int:
        nonlocal at
        n = struct.unpack_from("<I", text, at)[0]
        at += 4
        if n * width > len(text):
            raise ValueError(f"{n} symbols in {len(text)} bytes")
        return int(n)

    for _ in range(3):  # asked for, found in part, not found
        n = count()  # which moves `at`
        at += n * width
    found: dict[int, str] = {}
    for _ in range(count()):
        raw = name(at)
        at += width
        for mapped in _intervals(text, at, width):
            if mapped.isdigit():
                found.setdefault(int(mapped), raw)
            elif raw.isdigit():
                found.setdefault(int(raw), mapped)
        at += 4 + struct.unpack_from("<I", text, at)[0] * (8 + width)
    return found


def _intervals(text: bytes, at: int, width: int) -> Iterator[str]:
    """Yield what a symbol stood for in each interval of days."""
    for number in range(struct.unpack_from("<I", text, at)[0]):
        where = at + 4 + number * (8 + width) + 8
        if where + width > len(text):
            raise ValueError("an interval beyond the end")
        yield text[where : where + width].split(b"\0", 1)[0].decode("utf-8")
