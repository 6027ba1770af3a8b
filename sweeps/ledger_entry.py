r"""One run's entry in the trial ledger as bytes: deterministic, checked, and readable in parts.

    offset  what
    0       magic "QBLEDGR\n", version (u32), length of the header (u32), SHA-256 of the header
    48      header: canonical JSON, padded with spaces to a multiple of 8
    ...     sample: digests (u64), then returns by time bucket (f32, sample x buckets)
    ...     trials in 256 pages by the first byte of their digest: digests (u64, rising), then Sharpe ratios (f32)

The header has the number of trials and a CRC-32 of each page, so that a reader of many large entries goes through
them page by page and holds no entry whole. 12 bytes a trial: digests don't compress.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.seals import check_format
from quantbot.errors import CorruptError

LEDGER = "ledger"
LOOKED = "-looked"
MAGIC = b"QBLEDGR\n"
VERSION = 1
PAGES = 256
SAMPLED = 256  # trials whose returns an entry keeps, and that the effective number is estimated from
HEADER_BYTES = 16_384  # a reader asks for so many first: more than a header has
CHOICE = np.uint64(1)  # the lowest bit of a stored digest: whether a choice may be made on the trial's fold
_PREFIX = struct.Struct("<8sII32s")
_TRIAL_BYTES = 12
_MAX_HEADER = 1 << 20

Read = Callable[[int, int], bytes]  # offset, length


@dataclass(frozen=True, eq=False)
class Trials:
    """Evaluated trials of an entry, or of several.

    Attributes
    ----------
    digests
        Shape (n,), uint64, rising; the lowest bit is `CHOICE`.
    sharpe
        Shape (n,), float32: annual; NaN where a trial failed, never moved, or its row carries none.
    """

    digests: NDArray[np.uint64]
    sharpe: NDArray[np.float32]

    def __len__(self) -> int:
        return int(self.digests.shape[0])

    def distinct(self) -> Trials:
        """Return each trial once; a choice where it was one anywhere, with the first Sharpe ratio of equals."""
        order = np.argsort(self.digests, kind="stable")
        digests, sharpe = self.digests[order], self.sharpe[order]
        plain = digests >> CHOICE
        first = np.flatnonzero(np.r_[True, plain[1:] != plain[:-1]]) if len(plain) else np.empty(0, np.int64)
        last = np.r_[first[1:], len(plain)] - 1 if len(plain) else first
        return Trials(digests[last], sharpe[first])


@dataclass(frozen=True, eq=False)
class Sample:
    """The trials of lowest digest among those that a choice may be made on, with their returns.

    Attributes
    ----------
    digests
        Shape (n,), uint64, rising.
    shift
        A bucket is ``ts_end_ns >> shift``: buckets of all entries lie on one grid, and those of a wider one are unions.
    first_bucket
        The number of the first bucket.
    returns
        Shape (n, n_buckets), float32: sums of simple returns; NaN where a trial has no bar.
    """

    digests: NDArray[np.uint64]
    shift: int
    first_bucket: int
    returns: NDArray[np.float32]

    def coarser(self, shift: int) -> Sample:
        """Return the same sample in wider buckets."""
        if shift <= self.shift:
            return self
        numbers = (self.first_bucket + np.arange(self.returns.shape[1], dtype=np.int64)) >> (shift - self.shift)
        starts = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
        there = np.isfinite(self.returns)
        sums = np.add.reduceat(np.where(there, self.returns, 0), starts, axis=1, dtype=np.float64)
        counts = np.add.reduceat(there, starts, axis=1, dtype=np.int64)
        returns = np.where(counts > 0, sums, np.nan).astype(np.float32)
        return Sample(self.digests, shift, int(numbers[0]), returns)


def family_digest(strategy: str, dataset: str) -> str:
    """Return the name of a family's folder: 32 hexadecimal digits."""
    text = json.dumps([strategy, dataset], separators=(",", ":")).encode()
    return hashlib.sha256(text).hexdigest()[:32]


def entry_key(family: str, run: str, *, looked: bool) -> str:
    """Return where the entry of a run lies; `looked` for that of its locked holdout."""
    return f"{LEDGER}/{family}/{run}{LOOKED if looked else ''}"


def encode_entry(head: dict[str, Any], trials: Trials, sample: Sample) -> bytes:
    """Return the bytes of an entry; the same trials give the same bytes.

    Parameters
    ----------
    head
        What the entry says about its run, as JSON.
    """
    starts = np.searchsorted(trials.digests >> np.uint64(56), np.arange(PAGES + 1))
    pages = [
        trials.digests[a:b].astype("<u8").tobytes() + trials.sharpe[a:b].astype("<f4").tobytes()
        for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]
    body = sample.digests.astype("<u8").tobytes() + sample.returns.astype("<f4").tobytes()
    document = head | {
        "n_trials": len(trials),
        "n_choices": int(np.count_nonzero(trials.digests & CHOICE)),
        "sample": {
            "n": len(sample.digests),
            "n_buckets": int(sample.returns.shape[1]),
            "shift": sample.shift,
            "first_bucket": sample.first_bucket,
            "crc32": zlib.crc32(body),
        },
        "pages": np.diff(starts).tolist(),
        "crc32": [zlib.crc32(page) for page in pages],
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([_PREFIX.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()), text, body, *pages])


class Entry:
    """An entry that is read in parts.

    Parameters
    ----------
    read
        Returns `length` bytes from `offset` on.
    where
        Names the object in an error.
    """

    def __init__(self, read: Read, where: str) -> None:
        self._read, self.where = read, where
        first = read(0, HEADER_BYTES)
        if len(first) < _PREFIX.size:
            raise CorruptError(f"{where}: must have at least {_PREFIX.size} bytes, found {len(first)}")
        magic, version, length, digest = _PREFIX.unpack_from(first)
        if magic != MAGIC or length > _MAX_HEADER:
            raise CorruptError(f"{where}: must start with {MAGIC!r} and a short header, found {first[:16]!r}")
        check_format(version, VERSION, where)
        self._start = _PREFIX.size + int(length)
        text = first[_PREFIX.size : self._start]
        if len(text) < length:
            text += read(len(first), self._start - len(first))
        if hashlib.sha256(text).digest() != digest:
            raise CorruptError(f"{where}: the header's SHA-256 is not the one before it")
        self.head: dict[str, Any] = json.loads(text)
        sample = self.head["sample"]
        self._sample_bytes = sample["n"] * (8 + 4 * sample["n_buckets"])
        self._offsets = np.r_[0, np.cumsum(self.head["pages"])].tolist()

    @property
    def key(self) -> str:
        """The key under which this entry belongs, by what it says of itself."""
        return entry_key(
            family_digest(self.head["strategy"], self.head["dataset"]), self.head["run"], looked=self.head["looked"]
        )

    @property
    def n_trials(self) -> int:
        """Number of trials."""
        return int(self.head["n_trials"])

    @property
    def size(self) -> int:
        """Bytes of the whole entry."""
        return int(self._start + self._sample_bytes + _TRIAL_BYTES * self._offsets[-1])

    def sample(self) -> Sample:
        """Return the sample, verified."""
        about = self.head["sample"]
        body = self._read(self._start, self._sample_bytes)
        if len(body) != self._sample_bytes or zlib.crc32(body) != about["crc32"]:
            raise CorruptError(f"{self.where}: its sample is not what was written")
        n = about["n"]
        digests = np.frombuffer(body, "<u8", n).astype(np.uint64)
        returns = np.frombuffer(body, "<f4", offset=8 * n).astype(np.float32).reshape(n, about["n_buckets"])
        return Sample(digests, about["shift"], about["first_bucket"], returns)

    def pages(self, first: int, last: int) -> Iterator[Trials]:
        """Yield the trials of pages `first` to `last` (exclusive), verified, read at once."""
        begin = self._start + self._sample_bytes
        offset = _TRIAL_BYTES * self._offsets[first]
        length = _TRIAL_BYTES * self._offsets[last] - offset
        body = memoryview(self._read(begin + offset, length) if length else b"")
        at = 0
        for page in range(first, last):
            n = self.head["pages"][page]
            part = body[at : at + _TRIAL_BYTES * n]
            if len(part) != _TRIAL_BYTES * n or zlib.crc32(part) != self.head["crc32"][page]:
                raise CorruptError(f"{self.where}: page {page} is not what was written")
            at += _TRIAL_BYTES * n
            yield Trials(
                np.frombuffer(part, "<u8", n).astype(np.uint64),
                np.frombuffer(part, "<f4", n, offset=8 * n).astype(np.float32),
            )
