"""Zarr's decompressors, held to what an array declares: nothing unpacks to more than its chunk has room for.

zarr-python believes a compressed chunk about its own size, so 60 kB can become 2 GB before anybody compares. These two
look at the frame's header first. Importing this file makes them what zarr opens arrays with.
"""

from __future__ import annotations

import math
from typing import Any

import zarr
from zarr.codecs import BloscCodec, ZstdCodec
from zarr.registry import register_codec

from quantbot.errors import CorruptError

MAX_TEXT_BYTES = 64 * 1024**2  # of a chunk of strings, whose size no metadata declare
_BLOSC_HEADER = 16
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class BoundedBlosc(BloscCodec):  # type: ignore[misc]  # zarr's types are skipped
    """Blosc that refuses a frame of another size than the chunk's, before it allocates."""

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        check_size(blosc_bytes(chunk_bytes.to_bytes()[:_BLOSC_HEADER]), chunk_spec)
        return super()._decode_sync(chunk_bytes, chunk_spec)


class BoundedZstd(ZstdCodec):  # type: ignore[misc]
    """Zstandard that refuses a frame of another size than the chunk's, before it allocates."""

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        check_size(zstd_bytes(chunk_bytes.to_bytes()[:18]), chunk_spec)
        return super()._decode_sync(chunk_bytes, chunk_spec)


def check_size(n_bytes: int, chunk_spec: Any) -> None:
    """Raise `CorruptError` unless a frame unpacks to exactly the bytes of a chunk; text may have fewer than a limit."""
    size = getattr(chunk_spec.dtype, "item_size", None)
    expected = None if size is None else math.prod(chunk_spec.shape) * int(size)
    if expected is None and n_bytes > MAX_TEXT_BYTES:
        raise CorruptError(f"a chunk of text must have at most {MAX_TEXT_BYTES} bytes, its frame says {n_bytes}")
    if expected is not None and n_bytes != expected:
        raise CorruptError(
            f"a chunk of {tuple(chunk_spec.shape)} {chunk_spec.dtype} has {expected} bytes, its frame says {n_bytes}"
        )


def blosc_bytes(head: bytes) -> int:
    """Return the bytes that a Blosc frame unpacks to, of its first 16."""
    if len(head) < _BLOSC_HEADER:
        raise CorruptError(f"a Blosc frame has at least {_BLOSC_HEADER} bytes, found {len(head)}")
    return int.from_bytes(head[4:8], "little")


def zstd_bytes(head: bytes) -> int:
    """Return the bytes that a Zstandard frame unpacks to, of its first 18; RFC 8878, section 3.1.1."""
    if head[:4] != _ZSTD_MAGIC or len(head) < 6:
        raise CorruptError(f"a Zstandard frame begins with {_ZSTD_MAGIC.hex()}, found {head[:4].hex()}")
    descriptor = head[4]
    single = bool(descriptor & 0x20)
    width = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    start = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    field = head[start : start + width]
    if not width or len(field) < width:
        raise CorruptError("a Zstandard frame must say its size; this one doesn't")
    return int.from_bytes(field, "little") + (256 if width == 2 else 0)


for _name, _codec in (("blosc", BoundedBlosc), ("zstd", BoundedZstd)):
    register_codec(_name, _codec)
    zarr.config.set({f"codecs.{_name}": f"{__name__}.{_codec.__name__}"})
