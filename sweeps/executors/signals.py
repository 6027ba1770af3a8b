"""What a worker process does with a signal that was meant for the whole terminal."""

from __future__ import annotations

import signal
from typing import Any

from distributed import WorkerPlugin


class IgnoreInterrupt(WorkerPlugin):  # type: ignore[misc]  # distributed's types are skipped
    """Ignores SIGINT in a worker: a terminal sends Ctrl-C to the whole group, and the driver ends its workers."""

    def setup(self, worker: Any) -> None:
        """Run in the worker's main thread, at each start and restart of its process."""
        del worker
        signal.signal(signal.SIGINT, signal.SIG_IGN)
