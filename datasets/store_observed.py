"""Stores that tell somebody of every operation: how long it took, and what it raised."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from datasets.store import Store, open_store
from datasets.store_urls import Keys

if TYPE_CHECKING:
    from datasets.store_zarr import ZarrStore

Note = Callable[[str, float, str], None]


class ObservedStore:
    """A store as another, each of whose operations is told of: its name, its seconds, and the class of its error.

    Parameters
    ----------
    note
        Called after each operation, in the thread that made it; the error's name is empty where there is none.

    Examples
    --------
    >>> import tempfile
    >>> seen = []
    >>> store = ObservedStore(open_store(tempfile.mkdtemp()), lambda name, seconds, error: seen.append((name, error)))
    >>> _ = store.put_new("a", b"x"), store.child("folder").exists("b")
    >>> try:
    ...     store.get("missing")
    ... except LookupError:
    ...     seen
    [('put_new', ''), ('exists', ''), ('get', 'NotFoundError')]
    """

    def __init__(self, store: Store, note: Note) -> None:
        self._store, self._note = store, note

    @property
    def url(self) -> str:
        """The store's place."""
        return self._store.url

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object unless `key` exists; return whether this call wrote it."""
        return bool(self._timed("put_new", key, data))

    def put(self, key: str, data: bytes) -> None:
        """Write or replace an object, atomically."""
        self._timed("put", key, data)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return an object's bytes `[start, start + length)`, cut at its end."""
        return bytes(self._timed("get", key, start, length))

    def exists(self, key: str) -> bool:
        """Return whether there is an object under `key`."""
        return bool(self._timed("exists", key))

    def size(self, key: str) -> int:
        """Return an object's length in bytes."""
        return int(self._timed("size", key))

    def list(self, prefix: str = "") -> Keys:
        """Return, sorted, every key that starts with `prefix`."""
        return Keys(self._timed("list", prefix))

    def folders(self, prefix: str = "") -> Keys:
        """Return, sorted, the names directly under the folder `prefix` that have keys below them."""
        return Keys(self._timed("folders", prefix))

    def delete(self, key: str) -> None:
        """Remove an object; one that isn't there is no error."""
        self._timed("delete", key)

    def modified_ns(self, key: str) -> int:
        """Return when the object was written, by the store's clock."""
        return int(self._timed("modified_ns", key))

    def now_ns(self) -> int:
        """Return the store's clock."""
        return int(self._timed("now_ns"))

    def free_bytes(self) -> int | None:
        """Return how much more the store can hold, None where nobody knows."""
        found: int | None = self._timed("free_bytes")
        return found

    def temporaries(self, before_ns: int) -> Keys:
        """Return the names of half-written objects that were last touched before a moment of the store's clock."""
        return Keys(self._timed("temporaries", before_ns))

    def discard_temporary(self, name: str) -> None:
        """Remove a half-written object; one that isn't there is no error."""
        self._timed("discard_temporary", name)

    def child(self, prefix: str) -> Store:
        """Return the store whose keys are this one's under the folder `prefix`, told of as well."""
        return ObservedStore(self._store.child(prefix), self._note)

    def zarr(self, prefix: str = "", read_only: bool = False) -> ZarrStore:
        """Return the folder `prefix` as a store that zarr and xarray take."""
        from datasets.store_zarr import ZarrStore

        return ZarrStore(self.child(prefix), read_only=read_only)

    def _timed(self, name: str, *arguments: Any) -> Any:
        began = time.perf_counter()
        error = ""
        try:
            return getattr(self._store, name)(*arguments)
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            self._note(name, time.perf_counter() - began, error)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObservedStore) and other._store == self._store

    def __hash__(self) -> int:
        return hash(self._store)

    def __repr__(self) -> str:
        return f"ObservedStore({self._store!r})"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        # Another process has nobody to tell.
        return open_store, (self.url,)
