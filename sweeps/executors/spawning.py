"""Worker processes that don't run the caller's script again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from multiprocessing import spawn
from typing import Any

_WORKER = "Dask Worker process (from Nanny)"
_MAIN = ("init_main_from_name", "init_main_from_path")
_LOCK = threading.Lock()
_users = 0
_original = spawn.get_preparation_data


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Start Dask's workers without importing `__main__` into them; other processes are not touched.

    Spawned processes run the caller's main module first, so a script without ``if __name__ == "__main__"`` would
    start a cluster in each worker, and hang. What our workers run lies in packages, so they need no main module. A
    nanny may start a process at any time, hence for the whole life of a cluster. `multiprocessing` has no setting for
    it.
    """
    global _users
    with _LOCK:
        _users += 1
        spawn.get_preparation_data = _prepare
    try:
        yield
    finally:
        with _LOCK:
            _users -= 1
            if not _users:
                spawn.get_preparation_data = _original


def _prepare(name: str) -> dict[str, Any]:
    data: dict[str, Any] = _original(name)
    if name == _WORKER:
        for key in _MAIN:
            data.pop(key, None)
    return data
