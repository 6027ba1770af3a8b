"""One BLAS thread: what linear algebra gives may change in its last bits with the number of threads."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

# As numpy's and scipy's wheels call it, with 64-bit integers and without, and as a system's library does.
_NAMES = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads")
_LOADED = Path("/proc/self/maps")  # of Linux; elsewhere nothing is found, and nothing changed
_LOCK = threading.Lock()
_inside = 0
_before: list[tuple[Callable[[int], Any], int]] = []


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let OpenBLAS work with one thread within the block, whatever thread of this process enters it.

    A factorisation of a few rows takes another way with two threads than with one: a GARCH fit of the package `arch`
    differed in its last bits between a worker, to which Dask gives one thread, and the process beside it.

    Examples
    --------
    >>> with one_blas_thread():
    ...     all(get() == 1 for get, _ in libraries())
    True
    """
    global _inside
    with _LOCK:
        if _inside == 0:
            _before[:] = [(put, get()) for get, put in libraries()]
            for put, _ in _before:
                put(1)
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0:
                for put, n in _before:
                    put(n)


@cache
def libraries() -> list[tuple[Callable[[], int], Callable[[int], Any]]]:
    """Return for each OpenBLAS of this process how to ask for its number of threads, and how to say it."""
    import scipy.linalg  # noqa: F401 - a library that is loaded later would be missed

    if not _LOADED.exists():
        return []
    mapped = {line.split()[-1] for line in _LOADED.read_text().splitlines() if "openblas" in line}
    found = []
    for path in sorted(mapped):
        library = ctypes.CDLL(path)
        for name in _NAMES:
            if hasattr(library, name.format("set")):
                get, put = getattr(library, name.format("get")), getattr(library, name.format("set"))
                get.restype, put.argtypes = ctypes.c_int, [ctypes.c_int]
                found.append((get, put))
                break
    return found
