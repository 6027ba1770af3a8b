"""Datasets of order-book events: written once as they stream in, read verified, block by block.

Objects of a version lie in `datasets/<name>/w=<attempt>/`, since a stream's digest is known only at its end; the
manifest, which comes last, lies in `datasets/<name>/v=<version>/` as every dataset's does. Each session of each
instrument is a Zarr group of columns, and of snapshots of the book, so that a replay can start anywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import references, schema
from datasets.manifest import Manifest, VerifiedObjects, canonical
from datasets.metadata import MAX_CHUNK_BYTES
from datasets.schema import text_problem, zone_problem
from datasets.store import Store
from quantbot.book import Book, BookInstrument, Events, Snapshot
from quantbot.errors import CorruptError, DataError, InputError, NotFoundError
from quantbot.parameters import nearest

__all__ = ["EventsDataset", "EventsMeta", "Session", "read_events"]

KIND = "events"
QUALITY = "quality.json"
ZARR = "events.zarr"
# How each stored column becomes one of `Events`: times are differences within a chunk, receipts a latency.
STORED: dict[str, np.dtype[Any]] = {
    "ts_exchange_delta_ns": np.dtype(np.int64),
    "latency_ns": np.dtype(np.int64),
    "action": np.dtype(np.uint8),
    "side": np.dtype(np.int8),
    "price_ticks": np.dtype(np.int64),
    "size_lots": np.dtype(np.int64),
    "order_id": np.dtype(np.uint64),
    "flags": np.dtype(np.uint8),
}
SNAPSHOTS: dict[str, np.dtype[Any]] = {
    "snapshot_event": np.dtype(np.int64),
    "snapshot_stop": np.dtype(np.int64),
    "snapshot_side": np.dtype(np.int8),
    "snapshot_price_ticks": np.dtype(np.int64),
    "snapshot_size_lots": np.dtype(np.int64),
    "snapshot_order_id": np.dtype(np.uint64),
}


@dataclass(frozen=True)
class EventsMeta:
    """What a dataset of events says of itself; part of its version.

    Attributes
    ----------
    title, source, license
        As of a dataset of bars.
    synthetic
        Whether the events were drawn and not observed.
    zone
        The IANA time zone of the sessions' dates; times are stored in UTC whatever it is.
    """

    title: str
    source: str
    synthetic: bool = False
    zone: str = "UTC"
    license: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = [
            text_problem("title", self.title, required=True),
            text_problem("source", self.source),
            text_problem("license", self.license),
            *(text_problem("notes", text) for pair in self.notes.items() for text in pair),
            "" if isinstance(self.synthetic, bool) else f"synthetic must be true or false, was {self.synthetic!r}",
            zone_problem(self.zone),
        ]
        if any(found):
            raise InputError(f"a dataset's description is wrong: {'; '.join(each for each in found if each)}")

    @property
    def interval(self) -> str:
        """The time that a row covers: none."""
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; equal descriptions give equal dictionaries."""
        as_dict = {each.name: getattr(self, each.name) for each in fields(self)}
        return as_dict | {"notes": dict(sorted(self.notes.items()))}

    @classmethod
    def from_dict(cls, as_dict: Mapping[str, Any]) -> EventsMeta:
        """Return what `to_dict` gave, or raise `InputError`."""
        names = {each.name for each in fields(cls)}
        if set(as_dict) != names:
            raise InputError(f"a dataset's description needs exactly {sorted(names)}, has {sorted(as_dict)}")
        return cls(**as_dict)


@dataclass(frozen=True)
class Session:
    """One session of one instrument.

    Attributes
    ----------
    path
        Its Zarr group.
    chunk_events
        Events of a chunk: what one read decodes.
    start_ns, end_ns
        Receipt of the first and the last event.
    sha256
        Digest of the columns: equal events have equal digests.
    """

    session: str
    path: str
    n_events: int
    chunk_events: int
    n_snapshots: int
    start_ns: int
    end_ns: int
    low_ticks: int
    high_ticks: int
    sha256: str


@dataclass(frozen=True, eq=False)
class EventsDataset:
    """One version of a dataset of events; opening reads its manifest, everything else is read when asked for."""

    root: Store
    name: str
    version: str
    manifest: Manifest

    @property
    def kind(self) -> str:
        """What the dataset holds: "events"."""
        return KIND

    @property
    def url(self) -> str:
        """Where exactly this version is: what `open_events` takes from anywhere."""
        return f"{self.root.url}/datasets/{self.name}@{self.version}"

    @property
    def zarr_url(self) -> str:
        """The Zarr groups, for anybody with xarray; nothing is verified on that way."""
        return f"{self.root.url}/{references.folder(self.name)}/{self._folder}/{ZARR}"

    @cached_property
    def meta(self) -> EventsMeta:
        """Title, source, zone and the rest."""
        return EventsMeta.from_dict(self.manifest.head["meta"])

    @cached_property
    def assets(self) -> tuple[str, ...]:
        """The symbols, sorted."""
        return tuple(asset["symbol"] for asset in self.manifest.head["assets"])

    @property
    def n_times(self) -> int:
        """Number of events of all instruments and sessions."""
        return sum(self.n_events(asset) for asset in self.assets)

    @property
    def start_ns(self) -> int:
        """Receipt of the first event of any asset."""
        return min(self.span(asset)[0] for asset in self.assets)

    @property
    def end_ns(self) -> int:
        """Receipt of the last event of any asset."""
        return max(self.span(asset)[1] for asset in self.assets)

    def instrument(self, asset: str) -> BookInstrument:
        """Return what `asset` is: tick, lot, by price or by order."""
        return BookInstrument(symbol=asset, **self._asset(asset)["instrument"])

    def sessions(self, asset: str) -> tuple[str, ...]:
        """Return the names of the sessions of `asset`, sorted."""
        return tuple(each["session"] for each in self._asset(asset)["sessions"])

    def session(self, asset: str, session: str) -> Session:
        """Return what is known of a session without reading it."""
        for each in self._asset(asset)["sessions"]:
            if each["session"] == session:
                return Session(**each)
        known = self.sessions(asset)
        raise NotFoundError(f"{self._label}: {asset} has no session {session!r}; it has {', '.join(known[:10])}")

    def n_events(self, asset: str, session: str | None = None) -> int:
        """Return how many events `asset` has, in one session or in all."""
        chosen = self.sessions(asset) if session is None else (session,)
        return sum(self.session(asset, each).n_events for each in chosen)

    def span(self, asset: str) -> tuple[int, int]:
        """Return when the first and the last event of `asset` were received."""
        all_ = [self.session(asset, each) for each in self.sessions(asset)]
        return min(each.start_ns for each in all_), max(each.end_ns for each in all_)

    def digest(self, asset: str, session: str) -> str:
        """Return the SHA-256 of a session's events: equal events have equal digests, in whatever version."""
        return self.session(asset, session).sha256

    def events(self, asset: str, session: str, start: int = 0, stop: int | None = None) -> Events:
        """Return the events `[start, stop)` of a session in memory, verified: 42 bytes an event.

        Raises
        ------
        NotFoundError
            If there is no such asset or session.
        CorruptError
            If a stored object isn't what was written.
        """
        return Events.joined([self._nothing(asset, session), *self.blocks(asset, session, start, stop)])

    def blocks(self, asset: str, session: str, start: int = 0, stop: int | None = None) -> Iterator[Events]:
        """Yield the events `[start, stop)` of a session, one stored chunk at a time."""
        about = self.session(asset, session)
        stop = about.n_events if stop is None else min(stop, about.n_events)
        if start < 0 or (start > stop and start > about.n_events):
            raise InputError(f"{asset}/{session} has {about.n_events} events, there is none at {start}")
        for chunk in range(start // about.chunk_events, -(-stop // about.chunk_events)):
            first = chunk * about.chunk_events
            n_rows = min(about.chunk_events, about.n_events - first)
            stored = {name: self._chunk(about, name, chunk)[:n_rows] for name in STORED}
            yield self._decoded(asset, session, stored)[max(start - first, 0) : stop - first]

    def snapshot_events(self, asset: str, session: str) -> NDArray[np.int64]:
        """Return before which events of a session the book is stored."""
        about = self.session(asset, session)
        return self._array(about, "snapshot_event")[:] if about.n_snapshots else np.empty(0, np.int64)

    def snapshot(self, asset: str, session: str, number: int) -> Snapshot:
        """Return the stored book number `number` of a session."""
        about = self.session(asset, session)
        if not 0 <= number < about.n_snapshots:
            raise InputError(f"{asset}/{session} has {about.n_snapshots} stored books, there is no number {number}")
        stops = self._array(about, "snapshot_stop")[:]
        rows = slice(int(stops[number - 1]) if number else 0, int(stops[number]))
        names = ("side", "price_ticks", "size_lots", "order_id")
        return Snapshot(**{each: self._array(about, f"snapshot_{each}")[rows] for each in names})

    def book_at(self, asset: str, session: str, n_events: int) -> Book:
        """Return the book after the first `n_events` of a session: the nearest stored one, and what came since."""
        book = Book(self.instrument(asset))
        moments = self.snapshot_events(asset, session)
        number = int(np.searchsorted(moments, n_events, "right")) - 1
        start = 0
        if number >= 0:
            book.restore(self.snapshot(asset, session, number))
            start = int(moments[number])
        for block in self.blocks(asset, session, start, n_events):
            book.apply(block)
        return book

    @property
    def quality(self) -> dict[str, Any]:
        """The quality report of the ingest, as it was stored."""
        report: dict[str, Any] = json.loads(self._verified.get(f"{self._folder}/{QUALITY}"))
        return report

    def damage(self) -> list[str]:
        """Read everything and return what is wrong, one line an object; empty when all is as written."""
        return self._verified.damage()

    def __repr__(self) -> str:
        return (
            f"EventsDataset({self.name!r}, version={self.version[:12]!r}, assets={len(self.assets)}, "
            f"events={self.n_times})"
        )

    @property
    def _label(self) -> str:
        return f"dataset {self.name}@{self.version[:12]}"

    @property
    def _folder(self) -> str:
        return str(self.manifest.head["folder"])

    @cached_property
    def _verified(self) -> VerifiedObjects:
        return VerifiedObjects(self.root.child(references.folder(self.name)), self.manifest.objects, self._label)

    def _chunk(self, about: Session, name: str, chunk: int) -> NDArray[Any]:
        """Return one chunk of a column: what zarr would give, in a third of its time.

        A chunk is a Blosc frame and its CRC32C; its bytes have been compared with the manifest's digests already.
        """
        from numcodecs import blosc

        key = f"{self._folder}/{ZARR}/{about.path}/{name}/c/{chunk}"
        frame = memoryview(self._verified.get(key))[:-4]
        n_bytes = about.chunk_events * STORED[name].itemsize
        if len(frame) < 16 or int.from_bytes(frame[4:8], "little") != n_bytes or n_bytes > MAX_CHUNK_BYTES:
            raise CorruptError(f"{self._label}: {key} is no chunk of {about.chunk_events} {STORED[name]}")
        values = np.empty(about.chunk_events, STORED[name])
        blosc.decompress(frame, values)
        return values

    def _array(self, about: Session, name: str) -> Any:
        import zarr

        from datasets.store_zarr import VerifiedZarr

        store = VerifiedZarr(self._verified, f"{self._folder}/{ZARR}")
        return zarr.open_array(store, path=f"{about.path}/{name}", mode="r", zarr_format=3)

    def _asset(self, asset: str) -> Mapping[str, Any]:
        for each in self.manifest.head["assets"]:
            if each["symbol"] == asset:
                return each  # type: ignore[no-any-return]
        raise NotFoundError(f"{self._label} has no asset {asset!r}{nearest(asset, self.assets)}")

    def _nothing(self, asset: str, session: str) -> Events:
        return self._decoded(asset, session, {name: np.empty(0, dtype) for name, dtype in STORED.items()})

    def _decoded(self, asset: str, session: str, stored: Mapping[str, NDArray[Any]]) -> Events:
        exchange = np.cumsum(stored["ts_exchange_delta_ns"])
        try:
            return Events(
                self.instrument(asset),
                session,
                exchange,
                exchange + stored["latency_ns"],
                *(stored[name] for name in list(STORED)[2:]),
            )
        except DataError as error:
            raise CorruptError(f"{self._label}: {error}") from error


def read_events(root: Store, name: str, version: str, manifest: Manifest) -> EventsDataset:
    """Return the dataset of a manifest, or raise `CorruptError` where it belongs to another version."""
    found = version_of(manifest.head["assets"], EventsMeta.from_dict(manifest.head["meta"]))
    if found != version:
        key = f"{references.version_folder(name, version)}/{references.MANIFEST}"
        place = f"dataset {name}@{version[:12]}: {key} in {root.url}"
        raise CorruptError(f"{place} belongs to another version: expected {version}, found {found}")
    return EventsDataset(root, name, version, manifest)


def version_of(assets: list[dict[str, Any]], meta: EventsMeta) -> str:
    """Return the digest of the sessions' digests and the description: equal exactly when all of that is."""
    content = [
        [asset["symbol"], asset["instrument"], [[each["session"], each["sha256"]] for each in asset["sessions"]]]
        for asset in assets
    ]
    described = {"schema": schema.SCHEMA, "kind": KIND, "meta": meta.to_dict(), "assets": content}
    return hashlib.sha256(canonical(described)).hexdigest()
