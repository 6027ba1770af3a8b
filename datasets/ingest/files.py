"""Bytes of raw files: opened, unpacked under a limit, and known for what they are before anyone parses them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

from quantbot.errors import DataError, InputError, NotFoundError

PIECE = 4 << 20  # bytes handed on at a time
MAX_RATIO = 250  # CSV of prices packs 3 to 20 times; ten times that is a bomb or no data
RATIO_APPLIES_FROM = 8 << 20  # bytes unpacked: short files may be as regular as they like
XZ_MEMORY = 256 << 20  # a dictionary of xz -9 takes 64 MiB; a header may claim 4 GiB

ZSTD = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPED = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")  # a frame that is not zstd's own, which it reads over
_KINDS = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PAR1", "a Parquet file (use ingest_parquet)"),
    (b"ARROW1", "a Feather file (use ingest_parquet)"),
    (b"FEA1", "a Feather file of version 1"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save it as CSV"),
    (b"SQLite format 3", "an SQLite database (use ingest_sql)"),
    (b"\x7fELF", "a program"),
    (ZSTD, "packed by zstd: unpack it, or pack it by gzip, bzip2 or xz"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it"),
)
# zlib.error, LZMAError, BadZipFile and EOFError share no base but Exception.
_DAMAGE = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


def list_files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """Give the files to read: each must be there, be a file, and be named once.

    Raises
    ------
    InputError
        If there is none, one is named twice, or one is a directory.
    NotFoundError
        If one is not there.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if not given:
        raise InputError("no file was given to ingest")
    files = []
    for path in map(_path, given):
        try:
            is_directory, exists = path.is_dir(), path.exists()
        except OSError as error:  # a name that is too long, a folder that may not be read
            raise InputError(f"{path} can't be read: {error.strerror}") from error
        if is_directory:
            raise InputError(f"{path} is a directory; name its files, such as {path / '*.csv'}")
        if not exists:
            raise NotFoundError(f"{path} is not there")
        if not path.is_file():
            raise InputError(f"{path} is no ordinary file")
        files.append(path)
    again = {path for path in files if files.count(path) > 1} if len(set(files)) != len(files) else set()
    if again:
        raise InputError(f"{min(again)} was given more than once")
    return files


def _path(given: str | Path) -> Path:
    if "\0" in str(given):
        raise InputError(f"a file name can't hold a NUL character: {str(given)!r}")
    return Path(given)


def stem(path: Path) -> str:
    """Give the file's name without its endings of format and packing: ``BRK.B.csv.gz`` -> ``BRK.B``."""
    name = path.name
    for endings in ((".gz", ".bz2", ".xz", ".zip"), (".csv", ".txt", ".tsv", ".parquet", ".pq", ".feather", ".arrow")):
        for ending in endings:
            if name.lower().endswith(ending):
                name = name[: -len(ending)]
                break
    return name


def unpacked(path: Path, max_bytes: int, *, member: str = "", zstd: bool = False) -> Iterator[bytes]:
    """Yield the file's bytes in pieces of at most `PIECE`, unpacked if it is gzip, bzip2, xz or a zip of one file.

    Of a zip of several files `member` names the one. With `zstd`, that packing is undone too. The packing is known by
    its first bytes, not by the name. Memory stays at a few pieces however much comes out.

    Raises
    ------
    DataError
        If the file is empty, is plainly something else, is damaged, or unpacks to more than `max_bytes` or more than
        `MAX_RATIO` times the bytes read of it so far.
    """
    n_bytes = 0
    with ExitStack() as stack:
        try:
            source = stack.enter_context(path.open("rb"))
        except OSError as error:
            raise InputError(f"{path} can't be opened: {error.strerror}") from error
        head = source.read(512)
        source.seek(0)
        is_zstd = zstd and (head.startswith(ZSTD) or ZSTD_SKIPPED.match(head) is not None)
        if not is_zstd:
            _refuse_other_kinds(path, head)
        packed = is_zstd or head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04"))
        try:
            for piece in _pieces(path, source, head, stack, member):
                n_bytes += len(piece)
                if n_bytes > max_bytes:
                    raise DataError(
                        f"{path} holds more than {max_bytes:,} bytes{' once unpacked' if packed else ''}; "
                        "split it, or raise max_bytes"
                    )
                if packed and n_bytes > RATIO_APPLIES_FROM and n_bytes > MAX_RATIO * source.tell():
                    raise DataError(
                        f"{path} unpacks to more than {MAX_RATIO} times its size; no prices pack so tightly, so it is "
                        "taken for a decompression bomb (unpack it yourself if it is not)"
                    )
                yield piece
        except DataError:
            raise
        except _DAMAGE as error:
            raise DataError(
                f"{path} is damaged or cut off: {error or type(error).__name__}, after {n_bytes:,} bytes"
            ) from error
    if n_bytes == 0:
        raise DataError(f"{path} is empty")


def _refuse_other_kinds(path: Path, head: bytes) -> None:
    for magic, kind in _KINDS:
        if head.startswith(magic):
            raise DataError(f"{path} is {kind}, not a CSV file")


def _pieces(path: Path, source: IO[bytes], head: bytes, stack: ExitStack, member: str) -> Iterator[bytes]:
    if head.startswith(b"\xfd7zXZ\x00"):
        yield from _xz_pieces(source)
        return
    stream = source
    if head.startswith(b"\x1f\x8b"):
        stream = cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=source)))
    elif head.startswith(b"BZh"):
        stream = cast("IO[bytes]", stack.enter_context(bz2.BZ2File(source)))
    elif head.startswith(b"PK\x03\x04"):
        stream = _member(path, stack.enter_context(zipfile.ZipFile(source)), stack, member)
    elif head.startswith(ZSTD) or ZSTD_SKIPPED.match(head):
        import pyarrow as pa

        # Its window, and so its memory, is at most 128 MiB: larger ones are refused.
        frames = stack.enter_context(pa.CompressedInputStream(source, "zstd"))
        # Of damaged ones pyarrow's `read` never gives back what it allocated; `read_buffer` does.
        while (buffer := frames.read_buffer(PIECE)).size:
            yield buffer.to_pybytes()
        return
    while piece := stream.read(PIECE):
        yield piece


def _member(path: Path, archive: zipfile.ZipFile, stack: ExitStack, name: str) -> IO[bytes]:
    members = [member for member in archive.infolist() if not member.is_dir() and name in ("", member.filename)]
    if name and len(members) != 1:
        raise DataError(f"{path} holds {len(members)} files called {name!r}, exactly one was needed")
    if len(members) != 1:
        raise DataError(f"{path} holds {len(members):,} files, a zip of exactly one CSV file was needed")
    if members[0].flag_bits & 1:
        raise DataError(f"{path} is locked by a password")
    return stack.enter_context(archive.open(members[0]))


def _xz_pieces(source: IO[bytes]) -> Iterator[bytes]:
    """Unpack xz with a limit on the decoder's own memory, which `lzma.open` does not offer."""
    waiting = b""
    while True:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
        while not decoder.eof:
            if decoder.needs_input and not waiting:
                waiting = source.read(1 << 16)
                if not waiting:
                    raise EOFError("the xz stream has no end")
            piece = decoder.decompress(waiting, PIECE)
            waiting = b""
            if piece:
                yield piece
        waiting = decoder.unused_data.lstrip(b"\0") or source.read(1 << 16).lstrip(b"\0")
        if not waiting:
            return
