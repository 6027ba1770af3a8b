"""Events into a dataset as they stream by: bounded memory for any number of them, and nothing half written."""

from __future__ import annotations

import contextlib
import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets import references, schema
from datasets.events import KIND, QUALITY, SNAPSHOTS, STORED, ZARR, EventsDataset, EventsMeta, version_of
from datasets.events_quality import SessionCheck, report_of
from datasets.landing import commit
from datasets.manifest import Manifest, StoredObject, canonical
from datasets.quality import Finding, QualityReport
from datasets.store import Store
from quantbot.book import BookInstrument, Events
from quantbot.book.events import COLUMNS
from quantbot.errors import CorruptError, DataError, InputError

if TYPE_CHECKING:
    from types import TracebackType

    from datasets.arrays import RecordingZarr

__all__ = ["EventsWriter", "Written"]

CHUNK_EVENTS = 2**20
SNAPSHOT_EVERY = 2**18  # a page or a replay that starts anywhere applies at most so many events first: 10 ms
SNAPSHOT_CHUNK = 2**17
MAX_OPEN = 64  # sessions written at once: what bounds the memory
_SESSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,31}")


@dataclass(frozen=True, eq=False)
class Written:
    """A version, what was found in its events, and whether it is new."""

    dataset: EventsDataset
    report: QualityReport
    created: bool


class EventsWriter:
    """Write events as a version of the dataset `name`; leaving its `with` before `finish` writes nothing at all.

    Parameters
    ----------
    root
        The store that holds `datasets/`.
    chunk_events
        Events of a chunk; memory is about 100 bytes of each for every session that is open at a time.
    snapshot_every
        Events from one stored book to the next; divides `chunk_events`.

    Examples
    --------
    >>> import tempfile
    >>> from datasets.store import open_store
    >>> book = BookInstrument("X", 0.01, 1.0, "by_price")
    >>> with EventsWriter(open_store(tempfile.mkdtemp()), "mine/x", EventsMeta("X", "example")) as writer:
    ...     writer.add(Events.of(book, "2024-01-02", [(1, 7, 1, 99, 5), (2, 7, -1, 101, 4)]))
    ...     dataset = writer.finish().dataset
    >>> dataset.assets, dataset.sessions("X"), dataset.book_at("X", "2024-01-02", 2).best_ask_ticks
    (('X',), ('2024-01-02',), 101)
    """

    def __init__(
        self,
        root: Store,
        name: str,
        meta: EventsMeta,
        *,
        chunk_events: int = CHUNK_EVENTS,
        snapshot_every: int = SNAPSHOT_EVERY,
    ) -> None:
        self.root, self.name, self.meta = root, references.check_name(name), meta
        self._chunk, self._every = chunk_events, min(snapshot_every, chunk_events)
        if self._chunk % self._every:
            raise InputError(f"snapshot_every must divide chunk_events {chunk_events}, was {snapshot_every}")
        self._folder = f"w={uuid.uuid4().hex[:12]}"
        self._base = root.child(references.folder(name))
        self._target: RecordingZarr | None = None
        self._open: dict[tuple[str, str], _SessionWriter] = {}
        self._closed: dict[tuple[str, str], _Closed] = {}
        self._done = False

    def add(self, events: Events) -> None:
        """Append checked events to their session.

        Raises
        ------
        DataError
            For what can't be (`Events.check`), and for a receipt before the last of the session.
        """
        key = events.instrument.symbol, events.session
        session = self._open.get(key)
        if session is None:
            session = self._open[key] = self._new_session(events)
        if session.instrument != events.instrument:
            raise DataError(f"{key[0]} was {session.instrument}, now is {events.instrument}")
        session.add(events)

    def close_sessions(self) -> None:
        """Write what the open sessions still hold, and free their memory: nothing can be added to them any more."""
        for key, session in self._open.items():
            about = session.finish()
            session.check.forget_book()
            self._closed[key] = _Closed(session.instrument, about, session.check)
        self._open.clear()

    def finish(self, remarks: tuple[Finding, ...] = ()) -> Written:
        """Write what is left, the report and the manifest, and point the name to the version."""
        self.close_sessions()
        if not self._closed:
            raise DataError(f"{self.name}: there is no event to write")
        instruments = {symbol: each.instrument for (symbol, _), each in self._closed.items()}
        sessions = [(symbol, each.about) for (symbol, _), each in self._closed.items()]
        assets = [_asset(symbol, instrument, sessions) for symbol, instrument in sorted(instruments.items())]
        version = version_of(assets, self.meta)
        report = report_of([each.check for _, each in sorted(self._closed.items(), key=lambda pair: pair[0])], remarks)
        created = self._commit(version, assets, report)
        self._done = True
        references.point(self.root, self.name, version)
        from datasets.versions import read_any

        dataset = read_any(self.root, self.name, version)
        assert isinstance(dataset, EventsDataset)
        return Written(dataset, report, created)

    def __enter__(self) -> EventsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self._remove()

    def _commit(self, version: str, assets: list[dict[str, Any]], report: QualityReport) -> bool:
        assert self._target is not None
        objects = {f"{self._folder}/{ZARR}/{key}": each for key, each in self._target.written.items()}
        text = canonical(report.to_dict())
        self._base.put(f"{self._folder}/{QUALITY}", text)
        objects[f"{self._folder}/{QUALITY}"] = StoredObject.of(text)
        head = {
            "schema": schema.SCHEMA, "kind": KIND, "folder": self._folder, "assets": assets,
            "meta": self.meta.to_dict(),
        }  # fmt: skip
        key = f"{references.version_folder(self.name, version)}/{references.MANIFEST}"
        manifest = Manifest(head, objects)
        created = commit(self._base, manifest, self.root, key)
        if not created and self._is_damaged(version):
            created = commit(self._base, manifest, self.root, key, replace=True)
        if not created:
            self._remove()  # the same events are there already, written by an earlier attempt
        return created

    def _is_damaged(self, version: str) -> bool:
        """Return whether the version that an earlier attempt wrote is not whole any more."""
        from datasets.versions import read_any

        try:
            return bool(read_any(self.root, self.name, version).damage())
        except CorruptError:
            return True

    def _remove(self) -> None:
        for key in self._base.list(f"{self._folder}/"):
            with contextlib.suppress(OSError):  # what remains is in a folder that nobody reads
                self._base.delete(key)

    def _new_session(self, events: Events) -> _SessionWriter:
        import zarr

        from datasets.arrays import RecordingZarr

        symbol, session = events.instrument.symbol, events.session
        if (symbol, session) in self._closed:
            raise DataError(
                f"{symbol} has two sessions {session!r}: each file must be another session, or another symbol"
            )
        if not _SESSION.fullmatch(session):
            raise InputError(f"a session is a date or another short word, was {session!r:.60}")
        if len(self._open) >= MAX_OPEN:
            known = sorted({each for each, _ in self._open})
            raise InputError(
                f"{self.name} would hold more than {MAX_OPEN} sessions at once ({', '.join(known[:5])}, ...); choose "
                f"fewer symbols, or ingest days one by one"
            )
        if self._target is None:
            self._target = RecordingZarr(self._base.child(f"{self._folder}/{ZARR}"))
            zarr.create_group(self._target, zarr_format=3, attributes={"quantbot_schema": schema.SCHEMA})
        number = len(self._open) + len(self._closed)
        group = zarr.open_group(self._target, mode="r+", zarr_format=3).create_group(
            f"{number:04d}", attributes={"symbol": symbol, "session": session, **_described(events.instrument)}
        )
        return _SessionWriter(group, f"{number:04d}", events.instrument, session, self._chunk, self._every)


@dataclass(frozen=True, eq=False)
class _Closed:
    """A session that is written: what the manifest and the report need of it."""

    instrument: BookInstrument
    about: dict[str, Any]
    check: SessionCheck


class _SessionWriter:
    """The columns and the book of one session while its events come in."""

    def __init__(self, group: Any, path: str, instrument: BookInstrument, session: str, chunk: int, every: int) -> None:
        self.instrument, self.symbol, self.session, self.path = instrument, instrument.symbol, session, path
        self._chunk, self._every = chunk, every
        note = f"differences within each chunk of {chunk} events, whose first is since 1970-01-01 UTC"
        about = {
            "ts_exchange_delta_ns": {"units": "ns", "long_name": f"Exchange's time: {note}."},
            "latency_ns": {"units": "ns", "long_name": "Receipt less the exchange's time."},
        }
        self._columns = {
            name: _Column(group, name, dtype, chunk, about.get(name, {})) for name, dtype in STORED.items()
        }
        self._books = {name: _Column(group, name, dtype, SNAPSHOT_CHUNK, {}) for name, dtype in SNAPSHOTS.items()}
        self._hashes = {name: hashlib.sha256() for name in COLUMNS}
        self._check = SessionCheck(instrument, session)
        self._n = self._n_snapshots = self._n_entries = 0
        self._last_exchange = self._last_received = self._start = 0
        self._low, self._high = 2**62, -(2**62)

    def add(self, events: Events) -> None:
        at = 0
        while at < len(events):
            room = self._every - self._n % self._every
            part = events[at : at + room]
            self._part(part)
            at += len(part)
            if self._n % self._every == 0:
                self._keep_book()

    def finish(self) -> dict[str, Any]:
        for column in (*self._columns.values(), *self._books.values()):
            column.finish()
        digest = hashlib.sha256(b"".join(each.digest() for each in self._hashes.values())).hexdigest()
        return {
            "session": self.session, "path": self.path, "n_events": self._n, "chunk_events": min(self._chunk, self._n),
            "n_snapshots": self._n_snapshots, "start_ns": self._start, "end_ns": self._last_received,
            "low_ticks": self._low if self._low <= self._high else 0,
            "high_ticks": self._high if self._low <= self._high else 0, "sha256": digest,
        }  # fmt: skip

    @property
    def check(self) -> SessionCheck:
        """What was found so far."""
        return self._check

    def _part(self, events: Events) -> None:
        if not len(events):
            return
        self._check.add(events)
        self._store(events)
        if not self._n:
            self._start = int(events.ts_received_ns[0])
        self._n += len(events)
        self._last_exchange, self._last_received = int(events.ts_exchange_ns[-1]), int(events.ts_received_ns[-1])

    def _store(self, events: Events) -> None:
        delta = np.diff(events.ts_exchange_ns, prepend=0 if self._n % self._chunk == 0 else self._last_exchange)
        coded = {"ts_exchange_delta_ns": delta, "latency_ns": events.ts_received_ns - events.ts_exchange_ns}
        for name, column in self._columns.items():
            column.add(coded[name] if name in coded else getattr(events, name))
        for name, digest in self._hashes.items():
            digest.update(getattr(events, name).data)
        priced = events.price_ticks[(events.action <= 7) & (events.size_lots > 0)]
        if priced.size:
            self._low, self._high = min(self._low, int(priced.min())), max(self._high, int(priced.max()))

    def _keep_book(self) -> None:
        whole = self._check.book.snapshot()
        self._n_entries += len(whole)
        self._n_snapshots += 1
        values: dict[str, NDArray[Any]] = {
            "snapshot_event": np.array([self._n]), "snapshot_stop": np.array([self._n_entries]),
            "snapshot_side": whole.side, "snapshot_price_ticks": whole.price_ticks,
            "snapshot_size_lots": whole.size_lots, "snapshot_order_id": whole.order_id,
        }  # fmt: skip
        for name, column in self._books.items():
            column.add(values[name])


class _Column:
    """A Zarr array that grows by whole chunks."""

    def __init__(self, group: Any, name: str, dtype: np.dtype[Any], chunk: int, attributes: Mapping[str, str]) -> None:
        self._group, self._name, self._attributes = group, name, attributes
        self._array: Any = None
        self._buffer: NDArray[Any] = np.empty(chunk, dtype)
        self._held = self._written = 0

    def _create(self, chunk: int) -> Any:
        from zarr.codecs import BloscCodec, Crc32cCodec

        # Measured on LOBSTER and Binance events: lz4 with bytes shuffled takes 8.6 B and 5 ns an event, zstd 7.1 B and
        # 20 ns, which would be more than a replay of one agent.
        size = self._buffer.itemsize
        codec = BloscCodec(typesize=size, cname="lz4", clevel=5, shuffle="shuffle")
        return self._group.create_array(
            self._name, shape=(0,), chunks=(chunk,), dtype=self._buffer.dtype, compressors=[codec, Crc32cCodec()],
            fill_value=0, dimension_names=[_dimension(self._name)], attributes=dict(self._attributes),
            config={"write_empty_chunks": True},
        )  # fmt: skip

    def add(self, values: NDArray[Any]) -> None:
        at = 0
        while at < len(values):
            taken = min(len(self._buffer) - self._held, len(values) - at)
            self._buffer[self._held : self._held + taken] = values[at : at + taken]
            self._held += taken
            at += taken
            if self._held == len(self._buffer):
                self.finish()

    def finish(self) -> None:
        """Write what is held."""
        if self._held:
            if self._array is None:
                self._array = self._create(self._held)  # the buffer's length, or what a short session has
            self._array.resize((self._written + self._held,))
            self._array[self._written : self._written + self._held] = self._buffer[: self._held]
            self._written += self._held
            self._held = 0


def _asset(symbol: str, instrument: BookInstrument, sessions: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    own = [about for name, about in sessions if name == symbol]
    return {
        "symbol": symbol,
        "instrument": _described(instrument),
        "sessions": sorted(own, key=lambda each: str(each["session"])),
    }


def _dimension(name: str) -> str:
    if name in ("snapshot_event", "snapshot_stop"):
        return "snapshot"
    return "entry" if name.startswith("snapshot_") else "event"


def _described(instrument: BookInstrument) -> dict[str, Any]:
    return {name: value for name, value in asdict(instrument).items() if name != "symbol"}
