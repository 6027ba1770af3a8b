r"""One block of rows as bytes: deterministic, self-describing, and checked wherever a part of it is read.

    offset  what
    0       magic "QBROWS\r\n", version (u32), length of the header (u32), SHA-256 of the header
    48      header: canonical JSON, padded with spaces to a multiple of 8; it has the SHA-256 of every part below
    ...     one float64 column per measure, then one byte of status per row, all little-endian
    ...     reasons of the failed rows: canonical JSON, [[sentence, [row, ...]], ...]

The header's digest stands for the whole block: who trusts it can read one column, and know that it is the right one.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.digests import differs
from datasets.seals import check_format
from quantbot.engine import Rows, TrialStatus
from quantbot.errors import CorruptError, FormatError, InputError

STATUS, REASONS = "/status", "/reasons"  # no measure is called so
MAGIC = b"QBROWS\r\n"  # a newline translation on the way would break it, visibly
VERSION = 2
HEADER_BYTES = 8192  # a reader of headers asks for so many first: more than a header with eighty measures has
_PREFIX = struct.Struct("<8sII32s")
_MAX_HEADER = 1 << 20
_MAX_ROWS = 1 << 27
_MAX_REASON = 500  # characters: a sentence, not a traceback
_NO_REASON = "failed without a reason"


@dataclass(frozen=True)
class BlockHeader:
    """What a block says about itself.

    Attributes
    ----------
    identity, block
        The run and the block's index in its plan.
    trial_start, trial_stop
        Half-open range of trial indices.
    best_trial, best_value
        The best row by the run's objective, the first of equals; None when no row has a value.
    digests
        SHA-256 of each column, of the status and of the reasons; empty before the block is encoded.
    reasons_bytes, start
        Length of the reasons, and where the first column begins.
    sha256
        Digest of the header itself, and so of the block; 64 hexadecimal digits.
    """

    identity: str
    block: int
    trial_start: int
    trial_stop: int
    measures: tuple[str, ...]
    n_failed: int
    best_trial: int | None = None
    best_value: float | None = None
    digests: tuple[str, ...] = ()
    reasons_bytes: int = 0
    start: int = 0
    sha256: str = ""

    @property
    def n_trials(self) -> int:
        """Number of rows."""
        return self.trial_stop - self.trial_start

    @property
    def size(self) -> int:
        """Bytes of the whole block."""
        return self.start + self.n_trials * (8 * len(self.measures) + 1) + self.reasons_bytes

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts, in their order: the measures, then `STATUS` and `REASONS`."""
        return (*self.measures, STATUS, REASONS)

    def place(self, part: str) -> tuple[int, int]:
        """Return where a part begins, and its length in bytes."""
        index, n = self.parts.index(part), self.n_trials
        first = self.start + 8 * n * min(index, len(self.measures))
        if part == REASONS:
            return first + n, self.reasons_bytes
        return first, n if part == STATUS else 8 * n


def describe(
    identity: str, block: int, trial_start: int, rows: Rows, objective: str = "", better: int = 1
) -> BlockHeader:
    """Return the header of `rows`, the block that starts at trial `trial_start`.

    Parameters
    ----------
    objective, better
        The measure by which `best_trial` is found, and +1 when more of it is better, -1 when less is.
    """
    n_failed = int(np.count_nonzero(rows.status == TrialStatus.FAILED))
    best = best_row(rows.measures[objective], rows.status, better) if objective in rows.measures else None
    return BlockHeader(
        identity=identity,
        block=block,
        trial_start=trial_start,
        trial_stop=trial_start + len(rows),
        measures=tuple(rows.measures),
        n_failed=n_failed,
        best_trial=None if best is None else trial_start + best,
        best_value=None if best is None else float(rows.measures[objective][best]),
    )


def best_row(values: NDArray[np.float64], status: NDArray[np.uint8], better: int) -> int | None:
    """Return the first row with the best finite value, or None when there is none."""
    usable = np.isfinite(values) & (status == TrialStatus.OK)
    if not usable.any():
        return None
    return int(np.argmax(np.where(usable, values if better >= 0 else -values, -np.inf)))


def canonical(rows: Rows) -> Rows:
    """Return `rows` with one bit pattern for NaN, NaN where a row failed or was skipped, and a reason for a failure."""
    failed = rows.status == TrialStatus.FAILED
    empty = rows.status != TrialStatus.OK
    measures = {}
    for name, values in rows.measures.items():
        column = np.array(values, dtype=np.float64)
        column[np.isnan(column) | empty] = np.nan
        measures[name] = column
    reasons = {
        int(row): (str(rows.reasons.get(int(row), "")) or _NO_REASON)[:_MAX_REASON] for row in np.flatnonzero(failed)
    }
    return Rows(measures, np.ascontiguousarray(rows.status, dtype=np.uint8), reasons)


def encode(header: BlockHeader, rows: Rows) -> bytes:
    """Return the bytes of one block; equal rows give equal bytes on every machine.

    Raises
    ------
    InputError
        If header and rows disagree about the number of rows, the measures or the failures.
    """
    rows = canonical(rows)
    n_failed = len(rows.reasons)
    if (header.n_trials, header.measures, header.n_failed) != (len(rows), tuple(rows.measures), n_failed):
        raise InputError(
            f"block {header.block} announces {header.n_trials} rows, {header.n_failed} failed, of "
            f"{header.measures}; found {len(rows)}, {n_failed} failed, of {tuple(rows.measures)}"
        )
    parts = [values.astype("<f8", copy=False).tobytes() for values in rows.measures.values()]
    parts += [rows.status.tobytes(), _encode_reasons(rows.reasons)]
    written = {name: value for name, value in asdict(header).items() if name not in ("start", "sha256")}
    written |= {"digests": [_sha256(part) for part in parts], "reasons_bytes": len(parts[-1])}
    text = _json(written)
    text += b" " * (-len(text) % 8)
    return b"".join([_PREFIX.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()), text, *parts])


def decode(data: bytes, where: str = "block") -> tuple[BlockHeader, Rows]:
    """Return header and rows of what `encode` wrote.

    Parameters
    ----------
    where
        Names the object in an error.

    Raises
    ------
    CorruptError
        If any byte is not what was written.
    FormatError
        If it is of another version's format.
    """
    header = _read_header(data, where)
    if len(data) != header.size:
        raise CorruptError(f"{where}: must have {header.size} bytes by its header, found {len(data)}")
    view = memoryview(data)

    def part(name: str) -> memoryview:
        start, length = header.place(name)
        return view[start : start + length]

    measures = {name: decode_column(header, name, part(name), where) for name in header.measures}
    status = decode_status(header, part(STATUS), where)
    reasons = dict(sorted(decode_reasons(header, part(REASONS), where).items()))
    failed = np.flatnonzero(status == TrialStatus.FAILED).tolist()
    if list(reasons) != failed or len(failed) != header.n_failed:
        raise CorruptError(f"{where}: status, reasons and the header's {header.n_failed} failures contradict another")
    return header, Rows(measures, status, reasons)


def decode_column(
    header: BlockHeader, measure: str, data: bytes | memoryview, where: str = "block"
) -> NDArray[np.float64]:
    """Return one measure, shape (n_rows,), of the bytes that lie at `header.place(measure)`; raise `CorruptError`."""
    _check_part(header, measure, data, where)
    return np.frombuffer(data, "<f8").astype(np.float64)


def decode_status(header: BlockHeader, data: bytes | memoryview, where: str = "block") -> NDArray[np.uint8]:
    """Return `TrialStatus` of the rows, shape (n_rows,), of the bytes at `header.place(STATUS)`."""
    _check_part(header, STATUS, data, where)
    status = np.frombuffer(data, np.uint8).copy()
    if status.max(initial=0) > max(TrialStatus):
        raise CorruptError(f"{where}: a status must be at most {max(TrialStatus)}, found {status.max()}")
    return status


def decode_reasons(header: BlockHeader, data: bytes | memoryview, where: str = "block") -> dict[int, str]:
    """Return for each failed row its reason, of the bytes at `header.place(REASONS)`."""
    return {row: text for text, rows in decode_failures(header, data, where) for row in rows}


def decode_failures(header: BlockHeader, data: bytes | memoryview, where: str = "block") -> list[tuple[str, list[int]]]:
    """Return each reason with the rows that it failed, rising, of the bytes at `header.place(REASONS)`."""
    _check_part(header, REASONS, data, where)
    if not len(data):
        return []
    try:
        return [(str(text), [int(row) for row in rows]) for text, rows in json.loads(bytes(data))]
    except (ValueError, TypeError) as error:
        raise CorruptError(f"{where}: the reasons can't be read: {error}") from error


def _check_part(header: BlockHeader, part: str, data: bytes | memoryview, where: str) -> None:
    expected = header.digests[header.parts.index(part)]
    if found := differs(data, expected):
        raise CorruptError(f"{where}: SHA-256 of its {part.strip('/')} must be {expected}, found {found}")


def decode_header(data: bytes, where: str = "block") -> BlockHeader | int:
    """Return the header at the start of `data`, or the number of bytes that it takes to read it.

    Raises
    ------
    CorruptError
        If the bytes are no header.
    """
    needed = _header_end(data, where)
    return needed if len(data) < needed else _read_header(data, where)


def is_misread(data: bytes) -> bool:
    """Return whether a block that claims another format is one of ours but for that number."""
    try:
        _read_header(data[: len(MAGIC)] + struct.pack("<I", VERSION) + data[len(MAGIC) + 4 :], "block")
    except (CorruptError, FormatError):
        return False
    return True


class ResultDigest:
    """SHA-256 over rows in trial order, however they are cut into blocks.

    What is hashed: the names of the measures; of every row its status byte and its measures (float64 little-endian,
    one NaN); of every failed trial its index and reason. The identity is not: a run is compared with another by what
    it found.
    """

    def __init__(self, measures: tuple[str, ...]) -> None:
        self.measures = measures
        self.n_trials = 0
        self._rows = hashlib.sha256(_json({"format": 1, "measures": measures}))
        self._reasons = hashlib.sha256()

    def update(self, trial_start: int, rows: Rows) -> None:
        """Add the rows that follow those added so far."""
        if trial_start != self.n_trials or tuple(rows.measures) != self.measures:
            raise CorruptError(
                f"rows of {self.measures} from trial {self.n_trials} must follow; found {tuple(rows.measures)} "
                f"from trial {trial_start}"
            )
        rows = canonical(rows)
        packed = np.empty(len(rows), np.dtype([("status", "u1"), ("values", "<f8", (len(self.measures),))]))
        packed["status"] = rows.status
        for column, values in enumerate(rows.measures.values()):
            packed["values"][:, column] = values
        self._rows.update(packed.tobytes())
        for row, reason in rows.reasons.items():
            self._reasons.update(_json([trial_start + row, reason]))
        self.n_trials += len(rows)

    def hexdigest(self) -> str:
        """Return the digest of all rows added so far."""
        return hashlib.sha256(self._rows.digest() + self._reasons.digest()).hexdigest()


def _header_end(data: bytes, where: str) -> int:
    if len(data) < _PREFIX.size:
        raise CorruptError(f"{where}: must have at least {_PREFIX.size} bytes, found {len(data)}")
    magic, version, length, _ = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise CorruptError(f"{where}: must start with {MAGIC!r}, found {magic!r}")
    check_format(version, VERSION, where)
    if length > _MAX_HEADER:
        raise CorruptError(f"{where}: claims a header of {length} bytes; at most {_MAX_HEADER} are written")
    return _PREFIX.size + int(length)


def _read_header(data: bytes, where: str) -> BlockHeader:
    end = _header_end(data, where)
    text, digest = data[_PREFIX.size : end], _PREFIX.unpack_from(data)[3]
    if hashlib.sha256(text).digest() != digest:
        raise CorruptError(f"{where}: the header's SHA-256 is not the one before it")
    try:
        document: dict[str, Any] = json.loads(text)
        lists = {name: tuple(document[name]) for name in ("measures", "digests")}
        header = BlockHeader(**document | lists, start=end, sha256=digest.hex())
        if len(header.digests) != len(header.parts):
            raise ValueError(f"{len(header.digests)} digests for {len(header.parts)} parts")
        usable = 0 <= header.n_trials <= _MAX_ROWS and header.reasons_bytes >= 0
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptError(f"{where}: the header can't be read: {error}") from error
    if not usable:
        raise CorruptError(f"{where}: claims trials {header.trial_start} to {header.trial_stop}")
    return header


def _encode_reasons(reasons: Mapping[int, str]) -> bytes:
    rows_of: dict[str, list[int]] = {}
    for row in sorted(reasons):
        rows_of.setdefault(reasons[row], []).append(row)
    return _json(list(rows_of.items())) if rows_of else b""


def _sha256(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
