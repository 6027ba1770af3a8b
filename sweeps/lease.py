"""Who drives a run: a lease with an end, so that a driver that died can be replaced.

Each holder has an object ``lease/<number>.json``, written put-if-absent under the number after the last one: of many
that want it exactly one gets it, and the highest number is the holder (the fencing number). The holder replaces its
own object every third of the lease's length; a lease has ended when it says so, or when its object is older than its
length by the store's clock. A holder that was taken for dead and writes late does no harm: blocks and manifest are
put-if-absent, and its renewals touch nobody's object but its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from quantbot.errors import CorruptError, InputError, NotFoundError, StoreError

if TYPE_CHECKING:
    from datasets.store import Store

TTL_SECONDS = 30.0
_KEY = re.compile(r"lease/(\d{8})\.json")


@dataclass(frozen=True)
class LeaseState:
    """What the store says about the newest lease.

    Attributes
    ----------
    number
        The fencing number; 0 when there never was a lease.
    holder
        Process and host, for people.
    alive
        Whether the holder renews it.
    note
        Why it was given back; empty while it is held, or when its holder died.
    age_seconds
        Seconds since the last renewal, by the store's clock.
    trouble
        What the holder waits for, or gave it back for: "scheduler down", "no workers" and the like; empty else.
    """

    number: int = 0
    holder: str = ""
    alive: bool = False
    released: bool = False
    note: str = ""
    age_seconds: float = 0.0
    ttl_seconds: float = TTL_SECONDS
    trouble: str = ""


def lease_state(store: Store) -> LeaseState:
    """Return the state of the newest lease of the run whose objects are in `store`."""
    numbers = [int(match[1]) for match in map(_KEY.fullmatch, store.list("lease/")) if match]
    if not numbers:
        return LeaseState()
    number = max(numbers)
    try:
        document = json.loads(store.get(_key(number)))
        age = max(store.now_ns() - store.modified_ns(_key(number)), 0) / 1e9
        ttl, released = float(document["ttl_seconds"]), bool(document["released"])
        holder, note, trouble = str(document["holder"]), str(document["note"]), str(document.get("trouble", ""))
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, NotFoundError):
            return LeaseState(number)  # removed between the listing and the read
        raise CorruptError(f"{store.url}/{_key(number)} is no lease: {error}") from error
    return LeaseState(number, holder, not released and age <= ttl, released, note, age, ttl, trouble)


class Lease:
    """A held lease; a context manager that renews it on a thread and gives it back at the end.

    Attributes
    ----------
    lost
        Set once somebody else holds the lease, or when it couldn't be renewed for its length.
    note
        What the store will say about why it was given back; set it before leaving the context.
    trouble
        What the holder waits for; the next renewal says it.
    """

    def __init__(self, store: Store, number: int, document: dict[str, Any]) -> None:
        self.number = number
        self.note = ""
        self.trouble = ""
        self.lost = threading.Event()
        self._store = store
        self._document = document
        self._ttl = float(document["ttl_seconds"])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self._ttl)
        if not self.lost.is_set():
            # A store that is down now is the reason for leaving, or will be noticed by the next request.
            with contextlib.suppress(StoreError):
                self._put(released=True)

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._stop.wait(self._ttl / 3):
            try:
                if self._store.exists(_key(self.number + 1)):
                    self.lost.set()
                    return
                self._put()
                renewed = time.monotonic()
            except StoreError:
                if time.monotonic() - renewed > self._ttl:
                    self.lost.set()
                    return

    def _put(self, *, released: bool = False) -> None:
        document = self._document | {"released": released, "note": self.note, "trouble": self.trouble}
        self._store.put(_key(self.number), json.dumps(document, sort_keys=True).encode())


def acquire(store: Store, ttl_seconds: float = TTL_SECONDS) -> Lease | None:
    """Take the lease of the run whose objects are in `store`, or return None while another driver holds it.

    Examples
    --------
    >>> import tempfile
    >>> from datasets.store import open_store
    >>> store = open_store(tempfile.mkdtemp())
    >>> with acquire(store) as lease:
    ...     print(lease.number, acquire(store))
    1 None
    >>> lease_state(store).released
    True
    """
    if not 0 < ttl_seconds < 3600:
        raise InputError(f"a lease is from a moment to an hour long, was {ttl_seconds:g} s")
    newest = lease_state(store)
    if newest.alive:
        return None
    number = newest.number + 1
    document = {
        "holder": f"process {os.getpid()} on {socket.gethostname()}",
        "ttl_seconds": ttl_seconds,
        "released": False,
        "note": "",
        # Two processes never write the same bytes, so a put whose answer was lost can be told from a rival's.
        "token": os.urandom(8).hex(),
    }
    if not store.put_new(_key(number), json.dumps(document, sort_keys=True).encode()):
        return None
    return Lease(store, number, document)


def _key(number: int) -> str:
    return f"lease/{number:08d}.json"
