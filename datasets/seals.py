"""Small JSON objects that carry their own digest, of what they say and of where they belong.

The digest is the last member, over the object's key and the text before it: a text that was changed, cut, extended or
put under another key is not what its seal says, and that is found before anything of it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

from quantbot.errors import CorruptError, FormatError

T = TypeVar("T")

_NAME = b'"sha256":"'
_SEAL_BYTES = len(_NAME) + 64 + 2  # its name, 64 hex digits, and '"}'


def twice(read: Callable[[], T]) -> T:
    """Return what `read` does, asked once more where its bytes are not what was written.

    A network can change bytes that the store has whole; what the store itself lost stays lost.
    """
    try:
        return read()
    except CorruptError:
        return read()


def seal(text: bytes, place: str) -> bytes:
    """Return a JSON object's text with its digest as the last member.

    Parameters
    ----------
    place
        The key under which it will lie, from the store's root.

    Examples
    --------
    >>> sealed = seal(b'{"a":1}', "runs/x/plan.json")
    >>> sealed[:17], unseal(sealed, "runs/x/plan.json", "the plan")
    (b'{"a":1,"sha256":"', b'{"a":1}')
    """
    if text[:1] != b"{" or text[-1:] != b"}":
        raise ValueError(f"only a JSON object can be sealed, was {text[:20]!r}")
    comma = b"" if text == b"{}" else b","
    return text[:-1] + comma + _NAME + _digest(text, place).encode() + b'"}'


def unseal(data: bytes, place: str, where: str) -> bytes:
    """Return the text that `seal` was given.

    Parameters
    ----------
    where
        Names the object in an error.

    Raises
    ------
    CorruptError
        If it is not what was written, or was written under another key.
    FormatError
        If it has no seal but says that it is of another format.
    """
    body, tail = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if not (body.startswith(b"{") and tail.startswith(_NAME) and tail.endswith(b'"}')):
        _refuse_unsealed(data, where)
    text = body.removesuffix(b",") + b"}"
    claimed, found = tail[len(_NAME) : -2].decode("ascii", "replace"), _digest(text, place)
    if claimed != found:
        raise CorruptError(f"{where} is not what was written there: expected SHA-256 {claimed}, found {found}")
    return text


def is_sealed(data: bytes) -> bool:
    """Return whether `data` end as a sealed object does."""
    tail = data[-_SEAL_BYTES:]
    return tail.startswith(_NAME) and tail.endswith(b'"}')


def check_format(found: Any, known: int, where: str, *, oldest: int | None = None) -> None:
    """Raise `FormatError` naming both formats unless `found` is the `known` one, `CorruptError` where it is none.

    Parameters
    ----------
    oldest
        The oldest format that is still read; the `known` one where not said.
    """
    if not isinstance(found, int) or isinstance(found, bool):
        raise CorruptError(f"{where} must say its format, a number, found {found!r:.100}")
    if found > known:
        raise FormatError(
            f"{where} is of format {found}; this version of QuantBot reads format {known}: install a newer one. "
            "Nothing was changed"
        )
    if found < (known if oldest is None else oldest):
        raise FormatError(
            f"{where} is of format {found}, of an older version; this version of QuantBot reads format {known}"
        )


def _refuse_unsealed(data: bytes, where: str) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and "sha256" not in document and isinstance(document.get("format"), int):
        raise FormatError(
            f"{where} is of format {document['format']} and has no seal: it was written by another version of QuantBot"
        )
    found = hashlib.sha256(data).hexdigest()
    raise CorruptError(
        f"{where} is not what was written there: expected a JSON object with its SHA-256 at the end, found "
        f"{len(data)} bytes, SHA-256 {found}"
    )


def _digest(text: bytes, place: str) -> str:
    digest = hashlib.sha256(place.encode())
    digest.update(b"\0")
    digest.update(text)
    return digest.hexdigest()
