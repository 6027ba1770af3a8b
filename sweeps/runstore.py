"""The objects of one run: who writes which key, and what it means that one is there.

    runs/<identity>/request.json        who asked, and the run in one line; written last by whoever submits
                    plan.json           the first plan: partition, points and numeric profile; every driver obeys it
                    sources.json        the strategy's source
                    labels/<digest>.json   each name that the run was submitted under
                    phases/<index>.json what a search that learns evaluates next (`sweeps.adaptive`)
                    lease/<number>.json who drives it (`sweeps.lease`)
                    blocks/<index>.rows one object per finished block (`sweeps.rows`)
                    quarantine/block-<index>.json  why a block may not run again by itself (`sweeps.quarantine`)
                    cancel.json         "stop": there until somebody drives the run again
                    looks/<digest>.json who saw the test of a locked holdout, and when (`sweeps.looks`)
                    manifest.json       the commit marker: key, size and SHA-256 of every block, and the result digest
                    rows.zarr/, rows.zarr.json   the same rows for anybody with xarray, and a marker: they are whole

Everything is written put-if-absent, except what a heartbeat renews and `cancel.json`. What is JSON among it is sealed
(`datasets.seals`): a reader gets what was written, or an error that names the object.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from datasets.landing import confirm
from datasets.seals import check_format, seal, twice, unseal
from quantbot.errors import CorruptError, DivergenceError, FormatError, InputError, NotFoundError
from sweeps.rows import (
    HEADER_BYTES,
    REASONS,
    STATUS,
    BlockHeader,
    ResultDigest,
    decode,
    decode_column,
    decode_failures,
    decode_header,
    decode_status,
    is_misread,
)
from sweeps.trial import Block

if TYPE_CHECKING:
    from datasets.store import Store
    from quantbot.engine import Rows
    from sweeps.plan import Plan
    from sweeps.progress import Tally

T = TypeVar("T")

RUNS = "runs"
SHORT = 12  # digits of an identity that people see
MANIFEST_FORMAT = 3
_IDENTITY = re.compile(r"[0-9a-f]{64}")
_BLOCK_KEY = re.compile(r"blocks/(\d{8})\.rows")
_READERS = 8  # objects read at a time: a request to S3 is mostly waiting
_AHEAD_BYTES = 64 * 2**20  # of rows that are read before somebody wants them


@dataclass(frozen=True)
class BlockEntry:
    """One block as the manifest records it.

    Attributes
    ----------
    size
        Bytes of the object.
    sha256
        Digest of its header, which has the digests of its parts (`sweeps.rows`).
    """

    key: str
    size: int
    sha256: str
    trial_start: int
    trial_stop: int
    n_failed: int


@dataclass(frozen=True)
class Manifest:
    """The commit marker of a run: everything that its result consists of.

    Attributes
    ----------
    plan
        SHA-256 of the plan's object: the partition and the points that the rows belong to.
    """

    identity: str
    plan: str
    result_digest: str
    n_trials: int
    n_failed: int
    measures: tuple[str, ...]
    blocks: tuple[BlockEntry, ...]

    def to_bytes(self) -> bytes:
        """Return this manifest as canonical JSON."""
        return to_json({"format": MANIFEST_FORMAT} | asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Manifest:
        """Read what `to_bytes` wrote, or raise `CorruptError`, or `FormatError` for that of another version."""
        try:
            document = json.loads(data)
            check_format(document.pop("format"), MANIFEST_FORMAT, where)
            blocks = tuple(BlockEntry(**entry) for entry in document["blocks"])
            return cls(**document | {"measures": tuple(document["measures"]), "blocks": blocks})
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptError(f"{where} can't be read: {error}") from error


class RunStore:
    """The objects of run `identity` in the store `root`."""

    def __init__(self, root: Store, identity: str) -> None:
        if not _IDENTITY.fullmatch(identity):
            raise InputError(f"an identity has 64 hexadecimal digits, was {identity!r:.100}")
        self.identity = identity
        self.root = root
        self.store = root.child(f"{RUNS}/{identity}")

    @property
    def url(self) -> str:
        """Where the run's objects are."""
        return self.store.url

    def put_once(self, key: str, data: bytes) -> bool:
        """Write an object; return False when the same bytes stood there already.

        Raises
        ------
        DivergenceError
            If other bytes stand there.
        """
        data = self._sealed(key, data)
        if self.store.put_new(key, data):
            return True
        found = self.store.get(key)
        if found == data:
            return False
        raise DivergenceError(
            f"{self.url}/{key} has SHA-256 {_sha256(found)}, but the same work gave {_sha256(data)} just now. The "
            "strategy is not deterministic (a clock, a random draw, a global?), or the object was changed by hand"
        )

    def put_first(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one; the first stands, whatever it says."""
        return self.store.put_new(key, self._sealed(key, data))

    def replace(self, key: str, data: bytes) -> None:
        """Write or replace an object that only this process writes, or whose bytes say nothing."""
        self.store.put(key, self._sealed(key, data))

    def read_sealed(self, key: str) -> bytes:
        """Return the text of a JSON object, verified, or raise `NotFoundError`."""
        return twice(lambda: unseal(self.store.get(key), self._place(key), f"{self.url}/{key}"))

    def _sealed(self, key: str, data: bytes) -> bytes:
        return seal(data, self._place(key)) if key.endswith(".json") else data

    def _place(self, key: str) -> str:
        return f"{RUNS}/{self.identity}/{key}"

    def read_json(self, key: str) -> dict[str, Any] | None:
        """Return a small object as a mapping, verified, None where there is none."""
        try:
            document = json.loads(self.read_sealed(key))
        except NotFoundError:
            return None
        except ValueError as error:
            raise CorruptError(f"{self.url}/{key} is no JSON: {error}") from error
        if not isinstance(document, dict):
            raise CorruptError(f"{self.url}/{key} must be a JSON object")
        return document

    def request(self) -> dict[str, Any]:
        """Return the request, or raise `NotFoundError`."""
        request = self.read_json("request.json")
        if request is None:
            raise NotFoundError(f"no run {self.identity[:SHORT]} in {self.root.url}: it has no request.json")
        return request

    def plan(self) -> Plan:
        """Return the stored plan, remembered per process, since it never changes."""
        return _planned(self.root.url, self.identity)[0]

    def plan_digest(self) -> str:
        """Return the SHA-256 of the stored plan's object."""
        return _planned(self.root.url, self.identity)[1]

    def labels(self) -> list[str]:
        """Return the names that the run was submitted under, oldest first."""
        found = [self.read_json(key) or {} for key in self.store.list("labels/")]
        return [str(label["name"]) for label in sorted(found, key=lambda label: label.get("at_ns", 0))]

    def block_key(self, index: int) -> str:
        """Return the key of block `index`."""
        return f"blocks/{index:08d}.rows"

    def finished(self) -> list[int]:
        """Return the indices of the blocks that are there, rising; asked of the store."""
        matches = (_BLOCK_KEY.fullmatch(key) for key in self.store.list("blocks/"))
        return sorted(int(match[1]) for match in matches if match)

    def header(self, block: Block) -> BlockHeader:
        """Return the header of a finished block; remembered per process, since blocks never change."""
        return _header(self.root.url, self.identity, block)

    def tally(self, tally: Tally, blocks: list[Block]) -> Tally:
        """Count finished blocks by their headers, and return `tally`."""
        with ThreadPoolExecutor(_READERS, "headers") as pool:
            for header in pool.map(self.header, blocks):
                tally.count(header)
        return tally

    def read_block(self, block: Block, entry: BlockEntry | None = None) -> tuple[BlockHeader, Rows]:
        """Return header and rows of a finished block, verified.

        Raises
        ------
        CorruptError
            If the object is missing, damaged, another block's, or not the one that the manifest (`entry`) names.
        """
        where = f"{self.url}/{self.block_key(block.index)}"
        header, rows = twice(lambda: decode(self._get(block, 0, None), where))
        _check_place(header, self.identity, block, where)
        _check_entry(header, entry, where)
        return header, rows

    def read_blocks(
        self, blocks: Sequence[Block], manifest: Manifest | None = None
    ) -> Iterator[tuple[BlockHeader, Rows]]:
        """Yield `read_block` of each, in order, some read ahead: as many as `_AHEAD_BYTES` hold."""
        if blocks:
            n_measures = len(self.plan().measures)
            row_bytes = 2 * (8 * n_measures + 1) * max(block.n_trials for block in blocks)
            yield from self._each(self.read_block, blocks, manifest, row_bytes)

    def read_part(self, part: str, block: Block, entry: BlockEntry | None = None) -> NDArray[Any] | list[Any]:
        """Return one part of a finished block, verified: a measure's column, `STATUS`, or `REASONS`.

        Only this part is read. Reasons come as `sweeps.rows.decode_failures` gives them.

        Raises
        ------
        CorruptError
            As `read_block`.
        """
        where = f"{self.url}/{self.block_key(block.index)}"
        header = self.header(block)
        _check_entry(header, entry, where)
        start, length = header.place(part)

        def read() -> NDArray[Any] | list[Any]:
            data = self._get(block, start, length) if length else b""
            if part == REASONS:
                return decode_failures(header, data, where)
            return decode_status(header, data, where) if part == STATUS else decode_column(header, part, data, where)

        return twice(read)

    def read_parts(self, part: str, blocks: Sequence[Block], manifest: Manifest | None = None) -> Iterator[Any]:
        """Yield `read_part` of each, in order, some read ahead."""
        if blocks:
            read = partial(self.read_part, part)
            yield from self._each(read, blocks, manifest, 16 * max(block.n_trials for block in blocks))

    def _each(
        self, read: Callable[..., T], blocks: Sequence[Block], manifest: Manifest | None, n_bytes: int
    ) -> Iterator[T]:
        entries = [manifest.blocks[block.index] if manifest else None for block in blocks]
        n_ahead = max(1, min(4 * _READERS, _AHEAD_BYTES // max(n_bytes, 1)))
        if len(blocks) == 1:  # a thread costs more than it saves
            yield read(blocks[0], entries[0])
            return
        with ThreadPoolExecutor(min(_READERS, n_ahead, len(blocks)), "blocks") as pool:
            waiting: deque[Future[T]] = deque()
            try:
                for block, entry in zip(blocks, entries, strict=True):
                    waiting.append(pool.submit(read, block, entry))
                    if len(waiting) > n_ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _get(self, block: Block, start: int, length: int | None) -> bytes:
        key = self.block_key(block.index)
        try:
            return self.store.get(key, start, length)
        except NotFoundError as error:
            raise CorruptError(
                f"{self.url}/{key}: block {block.index} was there and is gone; resume computes it again"
            ) from error

    def discard_damaged(self, plan: Plan) -> list[int]:
        """Remove the blocks that contradict their own digest or place on two readings, and return their indices.

        Only before the commit: afterwards the manifest says what must be there, and damage is an error.
        """
        damaged = []
        for index in self.finished():
            if index >= plan.n_blocks or not self._is_damaged(plan.block(index)):
                continue
            if self._is_damaged(plan.block(index)):
                self.store.delete(self.block_key(index))
                damaged.append(index)
        return damaged

    def _is_damaged(self, block: Block) -> bool:
        try:
            self.read_block(block)
        except CorruptError:
            return True
        except FormatError:
            # Another version's block is not ours to remove; a block of ours whose number alone was changed is.
            return is_misread(self.store.get(self.block_key(block.index)))
        return False

    def manifest(self) -> Manifest | None:
        """Return the manifest, or None when the run isn't committed."""
        try:
            data = self.read_sealed("manifest.json")
        except NotFoundError:
            return None
        manifest = Manifest.from_bytes(data, f"{self.url}/manifest.json")
        if manifest.identity != self.identity:
            raise CorruptError(f"{self.url}/manifest.json belongs to run {manifest.identity[:SHORT]}")
        if manifest.plan != self.plan_digest():
            raise CorruptError(
                f"{self.url}/plan.json is not the plan that the run was committed under: expected SHA-256 "
                f"{manifest.plan}, found {self.plan_digest()}"
            )
        return manifest

    def commit(self, plan: Plan) -> Manifest:
        """Read every block back, verify it, and write the manifest; a run is done from then on.

        Raises
        ------
        CorruptError
            If a block is missing or damaged: it must be computed again.
        OutageError
            If the store acknowledged the manifest and doesn't show it.
        """
        digest = ResultDigest(plan.measures)
        entries = []
        blocks = [plan.block(index) for index in range(plan.n_blocks)]
        for header, rows in self.read_blocks(blocks):
            digest.update(header.trial_start, rows)
            key, n_failed = self.block_key(header.block), header.n_failed
            entries.append(BlockEntry(key, header.size, header.sha256, header.trial_start, header.trial_stop, n_failed))
        n_failed = sum(entry.n_failed for entry in entries)
        manifest = Manifest(
            self.identity,
            self.plan_digest(),
            digest.hexdigest(),
            plan.n_trials,
            n_failed,
            plan.measures,
            tuple(entries),
        )
        data = manifest.to_bytes()
        self.put_once("manifest.json", data)
        confirm(self.store, {"manifest.json": len(self._sealed("manifest.json", data))})
        return manifest


def forget() -> None:
    """Forget what this process remembers of objects that never change: after a repair they did."""
    _planned.cache_clear()
    _header.cache_clear()


def run_identities(root: Store) -> list[str]:
    """Return the identities of all submitted runs, sorted."""
    names = [name for name in root.folders(f"{RUNS}/") if _IDENTITY.fullmatch(name)]
    return [name for name in names if root.exists(f"{RUNS}/{name}/request.json")]


def to_json(document: Any) -> bytes:
    """Return canonical JSON."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


@lru_cache(maxsize=64)
def _planned(root_url: str, identity: str) -> tuple[Plan, str]:
    """Return the plan of a run, and the digest of its object."""
    from datasets.store import open_store
    from sweeps.plan import Plan

    run = RunStore(open_store(root_url), identity)
    where = f"{run.url}/plan.json"

    def read() -> tuple[Plan, str]:
        data = run.store.get("plan.json")
        return Plan.from_bytes(unseal(data, f"{RUNS}/{identity}/plan.json", where), where), _sha256(data)

    try:
        plan, digest = twice(read)
    except NotFoundError as error:
        raise NotFoundError(f"no run {identity[:SHORT]} in {root_url}: it has no plan.json; submit it first") from error
    if plan.identity != identity:
        raise CorruptError(f"{where} belongs to run {plan.identity[:SHORT]}")
    return plan, digest


@lru_cache(maxsize=200_000)
def _header(root_url: str, identity: str, block: Block) -> BlockHeader:
    from datasets.store import open_store

    run = RunStore(open_store(root_url), identity)
    key = run.block_key(block.index)
    where = f"{run.url}/{key}"
    header = decode_header(run._get(block, 0, HEADER_BYTES), where)
    if isinstance(header, int):
        header = decode_header(run._get(block, 0, header), where)
    if isinstance(header, int):
        raise CorruptError(f"{where}: ends inside its header")
    _check_place(header, identity, block, where)
    return header


def _check_place(header: BlockHeader, identity: str, block: Block, where: str) -> None:
    """Refuse an object that is whole but another one's: a checksum inside it doesn't know where it belongs."""
    expected = (identity, block.index, block.trial_start, block.trial_stop)
    found = (header.identity, header.block, header.trial_start, header.trial_stop)
    if expected != found:
        raise CorruptError(
            f"{where}: must be block {block.index} of run {identity[:SHORT]}, trials {block.trial_start} to "
            f"{block.trial_stop}; found block {header.block} of run {header.identity[:SHORT]}, trials "
            f"{header.trial_start} to {header.trial_stop}"
        )


def _check_entry(header: BlockHeader, entry: BlockEntry | None, where: str) -> None:
    if entry is not None and (header.size, header.sha256) != (entry.size, entry.sha256):
        raise CorruptError(f"{where}: the manifest names SHA-256 {entry.sha256}, found {header.sha256}")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
