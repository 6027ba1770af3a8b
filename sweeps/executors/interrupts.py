"""Ctrl-C while a cluster starts: heard once it has started."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back while inside, and act on them at the end; for what can't be left half done.

    Examples
    --------
    >>> try:
    ...     with deferred():
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("goes on")
    ... except KeyboardInterrupt:
    ...     print("then ends")
    goes on
    then ends
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = {
        name: signal.signal(name, lambda number, _: held.append(number)) for name in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
        # Also when what was inside failed: the person who pressed Ctrl-C did not ask why.
        for number in held:
            signal.raise_signal(number)
