"""What makes stored objects one dataset version: a manifest, written last, that knows every object's bytes.

A reader starts from the manifest, so a version without one isn't there, and an object that is missing, empty,
swapped, truncated, extended or flipped is an error that names it, before anything is decoded. Readers compare segments,
so that a part of a large shard is verified without reading the rest: by XXH3-128, since format 2. A check computes the
SHA-256 of the whole object as well.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from datasets.digests import differs, forget, name_of, sha256, xxh3
from datasets.seals import check_format, twice
from datasets.store import Store
from quantbot.errors import CorruptError, NotFoundError

FORMAT = 2  # of a manifest
FIRST_FORMAT = 1  # segments by SHA-256; says no format. Its readers refuse a later one by the number
SEGMENT_BYTES = 256 * 1024
_CACHE_BYTES = 64 * 1024**2
_READERS = 4  # objects that a check reads at a time, of up to some 32 MiB


@dataclass(frozen=True)
class StoredObject:
    """One object of a version: its length, the SHA-256 of its bytes and the XXH3-128 of each segment of them.

    What was written in the first format has the segments' SHA-256; a digest's length says which it is.
    """

    size: int
    sha256: str
    segments: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"size": self.size, "sha256": self.sha256, "segments": list(self.segments)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> StoredObject:
        """Return what `to_dict` gave."""
        return cls(document["size"], document["sha256"], tuple(document["segments"]))

    @classmethod
    def of(cls, data: bytes) -> StoredObject:
        """Describe `data`; nothing has no segment."""
        view = memoryview(data)
        return cls(len(data), sha256(view), tuple(xxh3(part) for part in _cut(view)))


@dataclass(frozen=True)
class Manifest:
    """Everything that a version is: `head` (what it says of itself) and its `objects` by key inside the version."""

    head: Mapping[str, Any]
    objects: Mapping[str, StoredObject] = field(repr=False)

    def to_bytes(self) -> bytes:
        """Encode as JSON that carries its own digest."""
        body = {
            "format": FORMAT,
            "head": dict(self.head),
            "objects": {key: each.to_dict() for key, each in sorted(self.objects.items())},
        }
        return canonical({"sha256": sha256(canonical(body)), **body})

    @classmethod
    def from_bytes(cls, data: bytes, place: str) -> Manifest:
        """Decode, or raise `CorruptError` naming `place`, or `FormatError` for another version's."""
        try:
            body = json.loads(data)
            check_format(body.get("format", FIRST_FORMAT), FORMAT, place, oldest=FIRST_FORMAT)
            claimed = body.pop("sha256")
            found = sha256(canonical(body))
            objects = {key: StoredObject.from_dict(each) for key, each in body["objects"].items()}
            head = body["head"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CorruptError(f"{place} is no manifest ({type(error).__name__}, {len(data)} bytes)") from error
        if claimed != found:
            raise CorruptError(f"{place} was changed: expected SHA-256 {claimed}, found {found}")
        return cls(head, objects)


def canonical(value: object) -> bytes:
    """Return `value` as the one JSON text that all equal values share."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _cut(view: memoryview) -> Iterator[memoryview]:
    """Yield the segments of an object, or of a part that begins with a segment; nothing has none."""
    return (view[at : at + SEGMENT_BYTES] for at in range(0, len(view), SEGMENT_BYTES))


class VerifiedObjects:
    """The objects of one version, each byte compared with its manifest before anybody sees it.

    Parameters
    ----------
    store
        Where the keys of `objects` lie.
    dataset
        Name and version, for messages.
    """

    def __init__(self, store: Store, objects: Mapping[str, StoredObject], dataset: str) -> None:
        self.store = store
        self.objects = objects
        self.dataset = dataset
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[str, int], memoryview] = OrderedDict()
        self._cached_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "objects": self.objects, "dataset": self.dataset}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def size(self, key: str) -> int:
        """Return the length that an object must have, or raise `NotFoundError` for a key that the version lacks."""
        return self._expected(key).size

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return bytes `[start, start + length)` of an object, verified; `CorruptError` when they can't be."""
        expected = self._expected(key)
        stop = expected.size if length is None else min(start + length, expected.size)
        if expected.size == 0:
            self._read(key, expected, 0, 0)
        if start >= stop:
            return b""
        first, last = start // SEGMENT_BYTES, (stop - 1) // SEGMENT_BYTES
        offset, end = start - first * SEGMENT_BYTES, stop - first * SEGMENT_BYTES
        parts = self._cached(key, first, last)
        if parts is None:
            data = twice(lambda: self._read(key, expected, first, last + 1))
            self._remember(key, first, data)
            return data[offset:end]
        return bytes(parts[0][offset:end]) if len(parts) == 1 else b"".join(parts)[offset:end]

    def damage(self, on_object: Callable[[str], None] | None = None) -> list[str]:
        """Read every object and say what is wrong, one line an object, some read ahead.

        Parameters
        ----------
        on_object
            Called with the key of each object that was read.
        """
        forget()
        found = []
        keys = sorted(self.objects)
        with ThreadPoolExecutor(_READERS, "verify") as pool:
            for key, problem in zip(keys, pool.map(self.problem, keys), strict=True):
                if on_object is not None:
                    on_object(key)
                if problem:
                    found.append(problem)
        return found

    def problem(self, key: str) -> str:
        """Read one object and say what is wrong with it; empty when it is whole."""
        try:
            expected = self._expected(key)
            data = twice(lambda: self._read(key, expected, 0, len(expected.segments)))
            if found := differs(data, expected.sha256):
                raise self._corrupt(key, f"expected SHA-256 {expected.sha256}, found {found}")
        except CorruptError as error:
            return str(error)
        return ""

    def _expected(self, key: str) -> StoredObject:
        if key not in self.objects:
            raise NotFoundError(f"{self.dataset} has no object {key!r}")
        return self.objects[key]

    def _read(self, key: str, expected: StoredObject, first: int, stop: int) -> bytes:
        """Return segments `first` to `stop`, verified; what reaches the end asks for one byte more than there is."""
        begin, end = first * SEGMENT_BYTES, min(stop * SEGMENT_BYTES, expected.size)
        at_end = end == expected.size
        try:
            data = self.store.get(key, begin, end - begin + at_end)
        except NotFoundError:
            raise self._corrupt(
                key, f"it is missing; expected {expected.size} bytes, SHA-256 {expected.sha256}"
            ) from None
        if len(data) != end - begin:
            what = "it is longer" if len(data) > end - begin else f"it ends after {begin + len(data)} bytes"
            raise self._corrupt(
                key, f"{what}; expected {expected.size} bytes, SHA-256 {expected.sha256}, found {sha256(data)}"
            )
        for segment, part in enumerate(_cut(memoryview(data)), start=first):
            wanted = expected.segments[segment]
            if found := differs(part, wanted):
                raise self._corrupt(
                    key,
                    f"bytes from {segment * SEGMENT_BYTES}: expected {name_of(wanted)} {wanted}, found {found}; all of "
                    f"it has SHA-256 {expected.sha256}",
                )
        return data

    def _corrupt(self, key: str, what: str) -> CorruptError:
        return CorruptError(
            f"{self.dataset}: object {key} in {self.store.url} is not what was written: {what}. "
            f"Ingest the data again, or restore the object"
        )

    def _cached(self, key: str, first: int, last: int) -> list[memoryview] | None:
        with self._lock:
            parts = [self._cache.get((key, segment)) for segment in range(first, last + 1)]
        return None if any(part is None for part in parts) else [part for part in parts if part is not None]

    def _remember(self, key: str, first: int, data: bytes) -> None:
        """Keep what was read, without a copy: segments of one read are dropped one after the other, too."""
        with self._lock:
            for segment, part in enumerate(_cut(memoryview(data)), start=first):
                if (key, segment) not in self._cache:
                    self._cache[key, segment] = part
                    self._cached_bytes += len(part)
            while self._cached_bytes > _CACHE_BYTES:
                _, dropped = self._cache.popitem(last=False)
                self._cached_bytes -= len(dropped)
