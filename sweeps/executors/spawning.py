"""Worker processes that neither run the caller's script again nor hear a Ctrl-C that is the driver's to answer."""

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
_original_line = spawn.get_command_line
_starting = threading.local()  # which process a thread is about to spawn: the command line is not told its name
# First of all, since importing Dask takes a second: a terminal sends Ctrl-C to the whole group, and a worker that is
# half imported answers with a traceback.
_DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Start Dask's workers without importing `__main__` into them; other processes are not touched.

    Spawned processes run the caller's main module first, so a script without ``if __name__ == "__main__"`` would
    start a cluster in each worker, and hang. What our workers run lies in packages, so they need no main module. A
    nanny may start a process at any time, hence for the whole life of a cluster. `multiprocessing` has no setting for
    it. Nor do they hear SIGINT, from their first moment on: the driver ends them in order.
    """
    global _users
    with _LOCK:
        _users += 1
        spawn.get_preparation_data = _prepare
        spawn.get_command_line = _command_line
    try:
        yield
    finally:
        with _LOCK:
            _users -= 1
            if not _users:
                spawn.get_preparation_data = _original
                spawn.get_command_line = _original_line


def _prepare(name: str) -> dict[str, Any]:
    data: dict[str, Any] = _original(name)
    _starting.worker = name == _WORKER
    if _starting.worker:
        for key in _MAIN:
            data.pop(key, None)
    return data


def _command_line(**arguments: Any) -> list[Any]:
    words: list[Any] = _original_line(**arguments)  # the executable is bytes, the rest are texts
    if not getattr(_starting, "worker", False):
        return words
    program = words.index("-c") + 1
    return [*words[:program], _DEAF + words[program], *words[program + 1 :]]
