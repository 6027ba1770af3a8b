"""How much this process read from stores."""

from __future__ import annotations

import threading

_LOCK = threading.Lock()
_n_bytes = 0


def count_bytes_read(data: bytes) -> bytes:
    """Count what was read, and return it."""
    global _n_bytes
    with _LOCK:
        _n_bytes += len(data)
    return data


def take_bytes_read() -> int:
    """Return how many bytes all threads of this process read since the last call.

    Threads that take turns each get a part, and the sum is right.

    Examples
    --------
    >>> _ = take_bytes_read(), count_bytes_read(b"twelve bytes")
    >>> take_bytes_read(), take_bytes_read()
    (12, 0)
    """
    global _n_bytes
    with _LOCK:
        taken, _n_bytes = _n_bytes, 0
    return taken
