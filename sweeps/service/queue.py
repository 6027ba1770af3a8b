"""Tickets: which runs wait for a runner, so that a runner never lists all runs ever made.

    queue/<identity>.<token>.json   one request to drive a run; removed when the run is committed, cancelled or failed

A ticket is written once and never changed. Each request has a token of its own: whoever removes what it has read can't
remove a request that came meanwhile. Several tickets of one run are one place in the queue, the best of them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from datasets.seals import seal, unseal
from quantbot.errors import CorruptError, InputError, NotFoundError
from sweeps.runstore import SHORT, to_json

if TYPE_CHECKING:
    from datasets.store import Store

QUEUE = "queue"
PRIORITIES = range(-100, 101)
_KEY = re.compile(rf"{QUEUE}/([0-9a-f]{{64}})\.[0-9a-f]{{16}}\.json")
_READERS = 8


@dataclass(frozen=True)
class Ticket:
    """One run's place in the queue.

    Attributes
    ----------
    user
        Who asked, and whose share of the cluster pays.
    priority
        -100 to 100; the higher goes first.
    submitted_ns
        When it was first asked for, nanoseconds UTC by the store's clock.
    keys
        The objects that say so.
    """

    identity: str
    user: str
    priority: int
    submitted_ns: int
    keys: tuple[str, ...]

    @property
    def short(self) -> str:
        """The identity's first digits, as people see it."""
        return self.identity[:SHORT]


def check_priority(priority: int) -> int:
    """Return `priority`, or raise `InputError` where it is none."""
    if priority not in PRIORITIES:
        raise InputError(f"a priority is a whole number from -100 to 100 (0 is usual), was {priority!r}")
    return int(priority)


def enqueue(root: Store, identity: str, *, user: str = "", priority: int = 0) -> str:
    """Ask for a run to be driven, and return the ticket's key; the run itself was submitted before.

    Raises
    ------
    InputError
        If the priority is none.

    Examples
    --------
    >>> import tempfile
    >>> from datasets.store import open_store
    >>> root = open_store(tempfile.mkdtemp())
    >>> _ = enqueue(root, "ab" * 32, user="ada", priority=5)
    >>> [(ticket.short, ticket.user, ticket.priority) for ticket in tickets(root)]
    [('abababababab', 'ada', 5)]
    """
    document = {"format": 1, "user": user, "priority": check_priority(priority), "submitted_ns": root.now_ns()}
    key = f"{QUEUE}/{identity}.{os.urandom(8).hex()}.json"
    root.put_new(key, seal(to_json(document), key))
    return key


def tickets(root: Store) -> list[Ticket]:
    """Return the runs that wait or are being driven, in the order of their identities; `shares.in_order` ranks them."""
    return _merged(root, root.list(f"{QUEUE}/"))


def ticket_of(root: Store, identity: str) -> Ticket | None:
    """Return the place of one run in the queue, None where it has none."""
    return next(iter(_merged(root, root.list(f"{QUEUE}/{identity}"))), None)


def remove(root: Store, keys: Iterable[str]) -> None:
    """Remove tickets that were read before."""
    for key in keys:
        root.delete(key)


def _merged(root: Store, keys: list[str]) -> list[Ticket]:
    ours = [key for key in keys if _KEY.fullmatch(key)]
    if len(ours) > 1:
        with ThreadPoolExecutor(_READERS, "tickets") as pool:
            found = list(pool.map(lambda key: _read(root, key), ours))
    else:
        found = [_read(root, key) for key in ours]
    places: dict[str, Ticket] = {}
    for ticket in filter(None, found):
        other = places.get(ticket.identity)
        places[ticket.identity] = ticket if other is None else _both(other, ticket)
    return [places[identity] for identity in sorted(places)]


def _both(one: Ticket, other: Ticket) -> Ticket:
    """Return one place of two requests: the higher priority, its user, the earlier time."""
    best = min(one, other, key=lambda ticket: (-ticket.priority, ticket.submitted_ns, ticket.keys))
    earliest = min(one.submitted_ns, other.submitted_ns)
    return Ticket(best.identity, best.user, best.priority, earliest, (*one.keys, *other.keys))


def _read(root: Store, key: str) -> Ticket | None:
    try:
        return _remembered(root.url, key)
    except NotFoundError:  # removed between the listing and the read
        return None


@lru_cache(maxsize=20_000)
def _remembered(root_url: str, key: str) -> Ticket:
    """Read a ticket; remembered, since none ever changes."""
    from datasets.store import open_store

    root = open_store(root_url)
    match = _KEY.fullmatch(key)
    assert match is not None
    try:
        document = json.loads(unseal(root.get(key), key, f"{root.url}/{key}"))
        return Ticket(match[1], str(document["user"]), int(document["priority"]), int(document["submitted_ns"]), (key,))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{root.url}/{key} is no ticket: {error}; remove it") from error
