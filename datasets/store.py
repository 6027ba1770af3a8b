"""Where bytes live: one contract for a folder and an S3 prefix.

Everything that QuantBot keeps is an object under a key, written whole. What matters is written once (`put_new`), so
a reader sees all of an object or none of it, two writers can't mix, and the winner of a race is the store's decision.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from datasets.store_urls import ACCEPTED, Keys, StoreUrl, check_key, check_prefix, parse_store_url

if TYPE_CHECKING:
    from datasets.store_zarr import ZarrStore

__all__ = ["ACCEPTED", "Store", "StoreUrl", "check_key", "check_prefix", "open_store", "parse_store_url"]


@runtime_checkable
class Store(Protocol):
    """What every store promises; a store pickles as its URL alone.

    Every method may raise `StoreError` when the store refuses, fails or can't be reached, and `InputError` for a key
    that no store can hold.
    """

    @property
    def url(self) -> str:
        """The store's place as `open_store` takes it; never a credential."""
        ...

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object unless `key` exists; return whether this call wrote it. Atomic, and durable when it returns.

        Of many writers of one key exactly one gets True. A lost answer is resolved by reading back.
        """
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write or replace an object, atomically. For heartbeats and what only one writer knows of."""
        ...

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return an object's bytes `[start, start + length)`, cut at its end, or raise `NotFoundError`."""
        ...

    def exists(self, key: str) -> bool:
        """Return whether there is an object under `key`."""
        ...

    def size(self, key: str) -> int:
        """Return an object's length in bytes, or raise `NotFoundError`."""
        ...

    def list(self, prefix: str = "") -> Keys:
        """Return, sorted, every key that starts with `prefix`; always asked of the store, never remembered."""
        ...

    def folders(self, prefix: str = "") -> Keys:
        """Return, sorted, the names directly under the folder `prefix` that have keys below them.

        A folder whose keys were all deleted may still be named.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that isn't there is no error."""
        ...

    def modified_ns(self, key: str) -> int:
        """Return when the object was written, by the store's clock (UTC nanoseconds; S3 counts whole seconds)."""
        ...

    def now_ns(self) -> int:
        """Return the store's clock: what `modified_ns` of an object written now would be."""
        ...

    def free_bytes(self) -> int | None:
        """Return how much more the store can hold, None where nobody knows."""
        ...

    def temporaries(self, before_ns: int) -> Keys:
        """Return the names of half-written objects that were last touched before a moment of the store's clock."""
        ...

    def discard_temporary(self, name: str) -> None:
        """Remove a half-written object; one that isn't there is no error."""
        ...

    def child(self, prefix: str) -> Store:
        """Return the store whose keys are this one's under the folder `prefix`."""
        ...

    def zarr(self, prefix: str = "", read_only: bool = False) -> ZarrStore:
        """Return the folder `prefix` as a store that zarr and xarray take."""
        ...


def open_store(url: str | Path) -> Store:
    """Return the store at `url`; nothing is read or made until it is used.

    Parameters
    ----------
    url
        A folder as a plain path or a `file://` URL, or `s3://bucket/prefix`. For S3 the endpoint and the credentials
        come from the environment (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION)
        or the platform's files.

    Raises
    ------
    InputError
        For any other place; the message lists what is accepted and repeats no credential.

    Examples
    --------
    >>> import tempfile
    >>> store = open_store(tempfile.mkdtemp())
    >>> store.put_new("notes/first.txt", b"hello"), store.put_new("notes/first.txt", b"again")
    (True, False)
    >>> store.get("notes/first.txt"), store.list()
    (b'hello', ['notes/first.txt'])
    """
    place = parse_store_url(url)
    if place.kind == "s3":
        from datasets.store_s3 import S3Store

        return S3Store(place.bucket, place.path)
    from datasets.store_file import FileStore

    return FileStore(place.path)
