"""A store's folder as zarr sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.abc.store import Store as ZarrAbstractStore
from zarr.core.buffer import Buffer, BufferPrototype

import datasets.codecs  # noqa: F401  # what decodes for whoever opens one of these stores
from datasets.manifest import VerifiedObjects
from datasets.metadata import check_metadata
from datasets.store import Store
from quantbot.errors import NotFoundError


class ZarrStore(ZarrAbstractStore):  # type: ignore[misc]  # zarr's types are skipped: they cost mypy a minute
    """Objects of `store` for zarr: its requests, retries and errors, each call on a thread.

    zarr-python has stores of its own for both places; this one keeps credentials out of its pickle, refuses what the
    contract refuses, and is where a verifying reader (`datasets.manifest`) can stand.
    """

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(self, store: Store, *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        self.objects = store

    def read(self, key: str, byte_range: ByteRequest | None) -> bytes:
        """Return the bytes that zarr asks for, or raise `NotFoundError`."""
        if byte_range is None:
            return self.objects.get(key)
        if isinstance(byte_range, SuffixByteRequest):
            return self.objects.get(key, max(self.objects.size(key) - byte_range.suffix, 0))
        if isinstance(byte_range, OffsetByteRequest):
            return self.objects.get(key, byte_range.offset)
        assert isinstance(byte_range, RangeByteRequest)
        return self.objects.get(key, byte_range.start, byte_range.end - byte_range.start)

    def write(self, key: str, data: bytes) -> None:
        """Write one of zarr's objects."""
        self.objects.put(key, data)

    def keys(self, prefix: str) -> list[str]:
        """Return the sorted keys that start with `prefix`."""
        return self.objects.list(prefix)

    def with_read_only(self, read_only: bool = False) -> ZarrStore:
        """Return this store with another `read_only`."""
        return type(self)(self.objects, read_only=read_only)

    def __eq__(self, value: object) -> bool:
        return isinstance(value, ZarrStore) and value.objects.url == self.objects.url

    def __hash__(self) -> int:
        return hash(self.objects.url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.objects.url!r})"

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object, or None where there is none."""
        try:
            data = await asyncio.to_thread(self.read, key, byte_range)
        except NotFoundError:
            return None
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of objects."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Return whether there is such an object."""
        return await asyncio.to_thread(self.objects.exists, key)

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object."""
        self._check_writable()
        await asyncio.to_thread(self.write, key, value.to_bytes())

    async def delete(self, key: str) -> None:
        """Remove an object."""
        self._check_writable()
        await asyncio.to_thread(self.objects.delete, key)

    async def list(self) -> AsyncIterator[str]:
        """Yield every key."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key that starts with `prefix`."""
        for key in await asyncio.to_thread(self.keys, prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly under the folder `prefix`."""
        folder = prefix.rstrip("/") + "/" if prefix else ""
        names = dict.fromkeys(
            key[len(folder) :].partition("/")[0] for key in await asyncio.to_thread(self.keys, folder)
        )
        for name in names:
            yield name


class VerifiedZarr(ZarrStore):
    """The arrays of a dataset version, read only and verified against its manifest."""

    supports_writes = False
    supports_deletes = False

    def __init__(self, verified: VerifiedObjects, folder: str) -> None:
        super().__init__(verified.store.child(folder), read_only=True)
        self.verified = verified
        self.folder = folder
        self._checked: set[str] = set()

    def read(self, key: str, byte_range: ByteRequest | None) -> bytes:
        """Return verified bytes, or raise `NotFoundError` for what the version never had."""
        full = f"{self.folder}/{key}"
        if byte_range is None:
            data = self.verified.get(full)
            if full not in self._checked and full.endswith("zarr.json"):
                where = f"{self.verified.dataset}: {full} in {self.verified.store.url}"
                check_metadata(data, full.removesuffix("zarr.json").rstrip("/"), self.verified.objects, where)
                self._checked.add(full)
            return data
        if isinstance(byte_range, SuffixByteRequest):
            return self.verified.get(full, max(self.verified.size(full) - byte_range.suffix, 0))
        if isinstance(byte_range, OffsetByteRequest):
            return self.verified.get(full, byte_range.offset)
        return self.verified.get(full, byte_range.start, byte_range.end - byte_range.start)

    def keys(self, prefix: str) -> list[str]:
        """Return the version's own keys: what else lies in the folder isn't seen."""
        start = len(self.folder) + 1
        return sorted(key[start:] for key in self.verified.objects if key.startswith(f"{self.folder}/{prefix}"))

    def with_read_only(self, read_only: bool = False) -> VerifiedZarr:
        """Return this store; it can't be made writable."""
        if not read_only:
            raise ValueError("a dataset version is written once: open another name to write")
        return self

    async def exists(self, key: str) -> bool:
        """Return whether the version has such an object."""
        return f"{self.folder}/{key}" in self.verified.objects
