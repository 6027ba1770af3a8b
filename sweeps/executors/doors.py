"""The door of a node that speaks TLS: who says nothing is sent away, so that there is room for who has a certificate.

Dask's own listener waits for a peer's half of the handshake for ever, and keeps some 45 kB for each: twenty thousand
connections that say nothing take all files that a process may have open, and nobody can join any more.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from contextlib import suppress
from typing import Any

HANDSHAKE_SECONDS = 10.0
MOST_UNPROVEN = 1_000  # peers whose handshake has begun; beyond them whoever has taken longest is sent away
_SAID_SECONDS = 60.0  # between two lines about peers that were sent away
_log = logging.getLogger("quantbot.cluster")


def install() -> None:
    """Have this process listen so from now on, and use as many open files as it may."""
    from distributed.comm.registry import backends
    from distributed.comm.tcp import TLSBackend, TLSListener

    class Door(_Door, TLSListener):  # type: ignore[misc]  # distributed's types are skipped
        pass

    class Backend(TLSBackend):  # type: ignore[misc]
        _listener_class = Door

    backends["tls"] = Backend()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _Door:
    """What a listener does with a stream before anything is read from it."""

    listen_address: str

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._unproven: dict[Any, None] = {}
        self._n_refused = 0
        self._said = -_SAID_SECONDS

    async def _prepare_stream(self, stream: Any, address: str) -> Any:
        """Return the stream once the peer has proven who it is, None where it hasn't."""
        self._unproven[stream] = None
        if len(self._unproven) > MOST_UNPROVEN:
            longest = next(iter(self._unproven))
            del self._unproven[longest]
            longest.close()
        try:
            await asyncio.wait_for(stream.wait_for_handshake(), HANDSHAKE_SECONDS)
        except OSError as error:  # TimeoutError is one
            stream.close()
            self._refused(address, getattr(error, "real_error", None) or error)
            return None
        finally:
            self._unproven.pop(stream, None)
        return stream

    def _refused(self, address: str, why: BaseException) -> None:
        """Say so, but not once for each of ten thousand."""
        self._n_refused += 1
        if time.monotonic() - self._said < _SAID_SECONDS:
            return
        others = f", and {self._n_refused - 1} more since the last time" if self._n_refused > 1 else ""
        _log.warning(
            "%s refused %s: its TLS handshake failed (%s)%s", self.listen_address, address,
            why or f"it said nothing for {HANDSHAKE_SECONDS:.0f} s", others,
        )  # fmt: skip
        self._said, self._n_refused = time.monotonic(), 0
