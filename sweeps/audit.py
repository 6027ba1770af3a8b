"""Who did what, written once and never changed: one object an entry, each holding the digest of the one before.

    audit/<thousands:06d>/<number:09d>.json

Numbers have no gap, and each entry is written put-if-absent under the number after the last one: of many writers one
gets the number, the others try the next. A changed, removed or inserted entry breaks the chain; what the chain alone
can't show, entries missing at its end, shows against a head that somebody kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from datasets.manifest import canonical
from datasets.seals import seal, unseal
from quantbot.errors import CorruptError, NotFoundError, StoreError
from quantbot.redaction import redact

if TYPE_CHECKING:
    from datasets.store import Store

Result = Literal["allowed", "refused", "failed"]

ROOT = "audit"
FORMAT = 1
_FIRST = "0" * 64  # what stands before the first entry
_A_FOLDER = 1_000
_MOST_TEXT = 500
_ATTEMPTS = 1_000
_TAILS: dict[str, tuple[int, str]] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Entry:
    """One line of the log.

    Attributes
    ----------
    number
        From 1, without a gap.
    at_ns
        When, by the store's clock (UTC nanoseconds).
    user, role
        Who, as the login said, and what they were allowed then.
    action, subject
        What, and to what: a run's identity, a dataset's name.
    outcome
        "failed" follows an "allowed" whose action went wrong.
    details
        More texts, such as why it was refused.
    previous
        SHA-256 of the entry before, as it is stored.
    """

    number: int
    at_ns: int
    user: str
    role: str
    action: str
    subject: str
    outcome: Result
    details: Mapping[str, str] = field(default_factory=dict)
    previous: str = _FIRST


@dataclass(frozen=True)
class Verified:
    """What `verify` found: how many entries, the digest of the last, and what is wrong with them."""

    n_entries: int
    head: str
    problems: tuple[str, ...]


def record(
    root: Store,
    action: str,
    *,
    user: str,
    role: str = "",
    subject: str = "",
    outcome: Result = "allowed",
    details: Mapping[str, str] | None = None,
) -> Entry:
    """Write an entry at the end of the log and return it.

    Raises
    ------
    StoreError
        If the store refuses or can't be reached: then nothing is written, and what was to be recorded must not happen.

    Examples
    --------
    >>> import tempfile
    >>> from datasets.store import open_store
    >>> root = open_store(tempfile.mkdtemp())
    >>> for name in ("ada", "bob"):
    ...     _ = record(root, "cancel", user=name, subject="3fa2c41b")
    >>> [(entry.number, entry.user) for entry in entries(root)], verify(root).problems
    ([(1, 'ada'), (2, 'bob')], ())
    """
    told = {_text(name): _text(value) for name, value in (details or {}).items()}
    with _LOCK:
        number, previous = _TAILS.get(root.url) or _tail(root)
        for _ in range(_ATTEMPTS):
            entry = Entry(number + 1, root.now_ns(), _text(user), role, action, _text(subject), outcome, told, previous)
            data = _to_bytes(entry)
            if root.put_new(_key(number + 1), data):
                _TAILS[root.url] = number + 1, _digest(data)
                return entry
            number, previous = number + 1, _digest(root.get(_key(number + 1)))
    raise StoreError(f"{root.url} refused {_ATTEMPTS} audit entries in a row: are others writing them in a loop?")


def entries(root: Store, *, newest: int | None = None) -> list[Entry]:
    """Return the entries in order, or only so many of the newest ones.

    Raises
    ------
    CorruptError
        If one is not what was written there.
    """
    keys = list(_keys(root))
    return [_read(root, key)[0] for key in (keys if newest is None else keys[len(keys) - min(newest, len(keys)) :])]


def verify(root: Store, *, kept: tuple[int, str] | None = None) -> Verified:
    """Check that every entry is what was written, none is missing between two, and each follows the one before.

    Parameters
    ----------
    kept
        The number and digest of an entry that was the last one once: what `Verified` said then.
    """
    problems: list[str] = []
    previous, expected, keys = _FIRST, 1, list(_keys(root))
    for key in keys:
        if key != _key(expected):
            problems.append(f"{_key(expected)} is missing: next is {key}")
            previous = ""
        try:
            entry, digest = _read(root, key)
        except (CorruptError, NotFoundError) as error:
            problems.append(str(error))
            previous, expected = "", _number(key) + 1
            continue
        if previous and entry.previous != previous:
            problems.append(f"{key} follows an entry of digest {entry.previous}, before it is one of {previous}")
        if kept is not None and entry.number == kept[0] and digest != kept[1]:
            problems.append(f"{key} has digest {digest}, but {kept[1]} was kept")
        previous, expected = digest, _number(key) + 1
    if kept is not None and expected <= kept[0]:
        problems.append(f"entries {expected} to {kept[0]} are missing at the end: entry {kept[0]} was kept")
    return Verified(len(keys), previous, tuple(problems))


def _tail(root: Store) -> tuple[int, str]:
    """Return the number and digest of the last entry."""
    for folder in reversed(_folders(root)):  # of many folders the last alone is listed, unless it is empty
        if keys := _keys_in(root, folder):
            return _number(keys[-1]), _digest(root.get(keys[-1]))
    return 0, _FIRST


def _keys(root: Store) -> Iterator[str]:
    for folder in _folders(root):
        yield from _keys_in(root, folder)


def _folders(root: Store) -> list[str]:
    return sorted(name for name in root.folders(ROOT) if name.isdecimal())


def _keys_in(root: Store, folder: str) -> list[str]:
    return [key for key in root.list(f"{ROOT}/{folder}/") if key.endswith(".json")]


def _key(number: int) -> str:
    return f"{ROOT}/{(number - 1) // _A_FOLDER:06d}/{number:09d}.json"


def _number(key: str) -> int:
    text = key.rpartition("/")[2].removesuffix(".json")
    if not text.isdecimal():
        raise CorruptError(f"{key} is no entry of the audit log; remove it")
    return int(text)


def _to_bytes(entry: Entry) -> bytes:
    body = {name: getattr(entry, name) for name in entry.__dataclass_fields__} | {"details": dict(entry.details)}
    # A token, so that two writers never write the same bytes: a lost answer can be told from a rival's entry.
    return seal(canonical(body | {"format": FORMAT, "token": os.urandom(8).hex()}), _key(entry.number))


def _read(root: Store, key: str) -> tuple[Entry, str]:
    where = f"{key} in {root.url}"
    data = root.get(key)
    try:
        body = json.loads(unseal(data, key, where))
        if body.pop("format") != FORMAT or not body.pop("token"):
            raise ValueError("format")
        entry = Entry(**body)
        if entry.number != _number(key):
            raise ValueError(f"it says number {entry.number}")
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{where} is no entry of the audit log: {error}") from error
    return entry, _digest(data)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _text(value: str) -> str:
    """Return a text fit for a log that others read: without secrets and control characters, of bounded length."""
    clean = "".join(character if character.isprintable() else " " for character in redact(str(value)))
    return clean if len(clean) <= _MOST_TEXT else f"{clean[:_MOST_TEXT]}..."
