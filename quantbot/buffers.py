"""Memory for long series that is used again: fresh pages cost more than what a kernel writes into them."""

from __future__ import annotations

import weakref
from collections import deque
from threading import Lock

import numpy as np

from quantbot.market import Floats

SMALLEST_BYTES = 256 * 1024  # below, the allocator keeps what is freed
KEPT_BYTES = 64 * 2**20  # of a process, in all
_LOCK = Lock()
_FREE: dict[int, deque[memoryview]] = {}
_kept_bytes = 0


def empty(n: int) -> Floats:
    """Return an array of `n` float64 whose contents are arbitrary.

    A long one's memory goes back to a small stock when nothing refers to the array or a view of it any more, and is
    handed out again for the next one of its size. The system would give it back and ask for it anew each time: a
    single run over 500,000 bars spends a third of its time on that.

    Examples
    --------
    >>> empty(3).shape
    (3,)
    """
    n_bytes = 8 * n
    if n_bytes < SMALLEST_BYTES:
        return np.empty(n)
    raw = _take(n_bytes) or np.empty(n).data.cast("B")
    array: Floats = np.frombuffer(raw, dtype=np.float64)
    weakref.finalize(array, _put, raw).atexit = False
    return array


def _take(n_bytes: int) -> memoryview | None:
    global _kept_bytes
    with _LOCK:
        free = _FREE.get(n_bytes)
        if not free:
            return None
        _kept_bytes -= n_bytes
        return free.pop()


def _put(raw: memoryview) -> None:
    """Keep freed memory, and drop older of other sizes where that is too much."""
    global _kept_bytes
    # An array may die while this very thread holds the lock: then its memory just goes.
    if raw.nbytes > KEPT_BYTES or not _LOCK.acquire(blocking=False):
        return
    try:
        _FREE.setdefault(raw.nbytes, deque()).append(raw)
        _kept_bytes += raw.nbytes
        while _kept_bytes > KEPT_BYTES:
            size = next(size for size, free in _FREE.items() if free)
            _kept_bytes -= _FREE[size].popleft().nbytes
    finally:
        _LOCK.release()
