"""Dataset names, and how a name points to versions.

datasets/<name>/refs/<n:08d>.json      a pointer, written once; the largest n is the newest
datasets/<name>/v=<version>/           a version: objects, manifest.json last
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from datasets.manifest import canonical
from datasets.seals import is_sealed, seal, unseal
from datasets.store import Store
from quantbot.errors import CorruptError, InputError, NotFoundError, StoreError

ROOT = "datasets"
MANIFEST = "manifest.json"
MAX_NAME = 128

_REFS = "refs"
_SEGMENT = re.compile(r"[a-z0-9][a-z0-9._-]*")
_VERSION = re.compile(r"[0-9a-f]{64}")
# Each lost race means that another writer pointed the name somewhere, so nobody starves for long.
_ATTEMPTS = 100


@dataclass(frozen=True)
class Reference:
    """One pointer from a name to a version."""

    number: int
    version: str
    created_ns: int


def check_name(name: str) -> str:
    """Return `name`, or raise `InputError`: segments of a-z, 0-9, dot, dash and underscore, joined by "/".

    Examples
    --------
    >>> check_name("demo/sp500")
    'demo/sp500'
    """
    segments = name.split("/") if isinstance(name, str) else []
    good = bool(segments) and all(_SEGMENT.fullmatch(segment) and segment != _REFS for segment in segments)
    if not good or len(name) > MAX_NAME:
        raise InputError(
            f"a dataset's name is segments of a-z, 0-9, dot, dash and underscore that begin with a letter or digit, "
            f"joined by /, at most {MAX_NAME} characters ({_REFS!r} is taken), was {name!r:.200}"
        )
    return name


def check_version(version: str) -> str:
    """Return `version`, or raise `InputError` unless it is 64 hex digits."""
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise InputError(f"a version is 64 hex digits in lower case, was {version!r:.100}")
    return version


def folder(name: str) -> str:
    """Return the folder of a dataset."""
    return f"{ROOT}/{check_name(name)}"


def version_folder(name: str, version: str) -> str:
    """Return the folder of one version."""
    return f"{folder(name)}/v={check_version(version)}"


def is_dataset(subfolders: list[str]) -> bool:
    """Return whether a folder with these folders in it has pointers."""
    return _REFS in subfolders


def references(root: Store, name: str) -> list[Reference]:
    """Return every pointer of `name`, oldest first; empty where the name isn't known."""
    return [_read(root, key) for key in _keys(root, name)]


def newest(root: Store, name: str) -> Reference | None:
    """Return the pointer in force, or None."""
    keys = _keys(root, name)
    return _read(root, keys[-1]) if keys else None


def point(root: Store, name: str, version: str) -> bool:
    """Point `name` to `version`, unless it does already; return whether a pointer was written.

    Pointers that are damaged or missing are written again: nobody knows any more where they pointed.
    """
    for _ in range(_ATTEMPTS):
        try:
            last = newest(root, name)
        except CorruptError:
            _mend(root, name, version)
            last = newest(root, name)
        if last is not None and last.version == version:
            return False
        number = last.number + 1 if last else 1
        key = f"{folder(name)}/{_REFS}/{number:08d}.json"
        body = canonical({"version": check_version(version), "created_ns": root.now_ns()})
        if root.put_new(key, seal(body, key)):
            return True
    raise StoreError(f"{root.url} refused {_ATTEMPTS} pointers of {name!r} in a row: are others writing it in a loop?")


def _mend(root: Store, name: str, version: str) -> None:
    """Let every pointer that can't be read point to `version`."""
    numbers = [int(key[-13:-5]) for key in _listed(root, name) if key[-13:-5].isdigit()]
    for number in range(1, max(numbers, default=0) + 1):
        key = f"{folder(name)}/{_REFS}/{number:08d}.json"
        try:
            _read(root, key)
        except CorruptError:
            root.put(key, seal(canonical({"version": check_version(version), "created_ns": root.now_ns()}), key))


def _listed(root: Store, name: str) -> list[str]:
    return [key for key in root.list(f"{folder(name)}/{_REFS}/") if key.endswith(".json")]


def _keys(root: Store, name: str) -> list[str]:
    keys = _listed(root, name)
    for number, key in enumerate(keys, start=1):
        wanted = f"{folder(name)}/{_REFS}/{number:08d}.json"
        if key != wanted:
            raise CorruptError(f"{wanted} in {root.url} is missing: pointers are numbered without a gap, next is {key}")
    return keys


def _read(root: Store, key: str) -> Reference:
    where = f"{key} in {root.url}"
    try:
        data = root.get(key)
        body = json.loads(unseal(data, key, where) if is_sealed(data) else data)
        if set(body) != {"version", "created_ns"}:  # also of one that was written before there were seals
            raise KeyError(f"must say version and created_ns, says {sorted(body)}")
        return Reference(int(key[-13:-5]), check_version(body["version"]), int(body["created_ns"]))
    except (ValueError, KeyError, TypeError, NotFoundError) as error:
        raise CorruptError(f"{where} is no pointer to a version ({error})") from error
