"""Comparing bytes with the digest that they must have, at a price that a reader doesn't feel.

Two digests, told apart by their length. SHA-256 is what something *is*: the whole of an object, a column of a block, a
manifest. XXH3-128 is what a reader compares the segments of stored data with, ten times as fast: no accident makes it
agree, but somebody could forge it, so `quantbot store check` computes the SHA-256 of the whole as well.

The first time that this process sees bytes of a SHA-256 it computes it, and remembers their length and CRC-32C. Bytes
of the same digest that come again are compared by those: chance makes no error in 4 billion go unseen, and what
somebody forges to fit a CRC is found by the next process, and by the check.
"""

from __future__ import annotations

import hashlib

import xxhash

_XXH3_DIGITS = 32
_KNOWN: dict[str, tuple[int, int]] = {}
_MOST_KNOWN = 500_000  # some 100 MB


def sha256(data: bytes | memoryview) -> str:
    """Return the SHA-256 of `data`, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def xxh3(data: bytes | memoryview) -> str:
    """Return the XXH3-128 of `data`, 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def name_of(digest: str) -> str:
    """Return which digest it is, for a message.

    Examples
    --------
    >>> name_of(sha256(b"hello")), name_of(xxh3(b"hello"))
    ('SHA-256', 'XXH3-128')
    """
    return "XXH3-128" if len(digest) == _XXH3_DIGITS else "SHA-256"


def differs(data: bytes | memoryview, expected: str) -> str:
    """Return the digest of `data` where it is not the `expected` one, else nothing.

    Examples
    --------
    >>> differs(b"hello", sha256(b"hello")), differs(b"hullo", sha256(b"hello"))[:8]
    ('', '7835066a')
    >>> differs(b"hello", xxh3(b"hello")), differs(b"hullo", xxh3(b"hello"))[:8]
    ('', '50fbdba4')
    """
    if len(expected) == _XXH3_DIGITS:
        found = xxh3(data)
        return found if found != expected else ""
    from google_crc32c import value

    seen = len(data), int(value(bytes(data)))  # of bytes that is no copy
    if _KNOWN.get(expected) == seen:
        return ""
    found = sha256(data)
    if found != expected:
        return found
    if len(_KNOWN) >= _MOST_KNOWN:
        _KNOWN.clear()
    _KNOWN[expected] = seen
    return ""


def forget() -> None:
    """Forget which bytes were seen, as a new process has; a check does, so that it hashes everything."""
    _KNOWN.clear()
