"""What runs and users took: counted from the receipts of blocks, kept in the store, one writer for each object.

    runs/<identity>/service/meter/<lease>.json   one drive of a run, which its driver alone writes
    usage/<day>/<process>.json                   one process on one day (UTC), by user

A driver that is killed has written what it knew a moment before; what its workers finished afterwards came without a
receipt and is charged to nobody.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from datasets.seals import seal, unseal
from quantbot.errors import CorruptError, NotFoundError
from sweeps.runstore import RunStore, to_json

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.task import Receipt

FOLDER = "service/meter"
USAGE = "usage"
DAYS = 7  # that count as "lately"; each counts half of the day after it
_KEY = re.compile(rf"{FOLDER}/(\d{{8}})\.json")


@dataclass(frozen=True)
class Usage:
    """What something took.

    Attributes
    ----------
    core_seconds
        Seconds that a worker's slot was busy, summed over blocks.
    engine_seconds
        CPU seconds of the engine alone.
    bytes_read
        Bytes that workers read from the store.
    n_blocks
        Blocks that were computed.
    wall_seconds
        Seconds during which somebody drove.
    """

    core_seconds: float = 0.0
    engine_seconds: float = 0.0
    bytes_read: int = 0
    n_blocks: int = 0
    wall_seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @classmethod
    def of(cls, receipt: Receipt) -> Usage:
        """Return what one block took."""
        return cls(receipt.seconds, receipt.engine_seconds, receipt.bytes_read, int(receipt.computed))


class Account:
    """What this process had computed, by user, today; written by `write`, into an object that nobody else writes."""

    def __init__(self, root: Store) -> None:
        self._root = root
        # Two processes never share a name, not even one after the other.
        host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())[:60]
        self._name = f"{host}-{os.getpid()}-{os.urandom(4).hex()}"
        self._lock = threading.Lock()
        self._days: dict[str, dict[str, Usage]] = {}
        self._all = Usage()

    def add(self, user: str, usage: Usage) -> None:
        """Charge a user."""
        with self._lock:
            users = self._days.setdefault(_day(datetime.now(UTC)), {})
            users[user] = users.get(user, Usage()) + usage
            self._all += usage

    def taken(self) -> tuple[float, int]:
        """Return core-seconds and bytes read of all users since this process began."""
        with self._lock:
            return self._all.core_seconds, self._all.bytes_read

    def write(self) -> None:
        """Put what was charged into the store."""
        with self._lock:
            today = max(self._days, default="")
            for day in list(self._days):
                document = {user: asdict(usage) for user, usage in self._days[day].items()}
                key = f"{USAGE}/{day}/{self._name}.json"
                self._root.put(key, seal(to_json(document), key))
                if day != today:
                    del self._days[day]


class Meter:
    """Counts one drive of a run, under the number of its lease."""

    def __init__(self, run: RunStore, number: int, user: str, account: Account | None = None) -> None:
        self.before = usage_of_run(run)
        self.usage = Usage()
        self._run, self._number, self._user = run, number, user
        self._account = account or Account(run.root)
        self._written = Usage()

    @property
    def total(self) -> Usage:
        """What the run took in all its drives."""
        return self.before + self.usage

    def add(self, usage: Usage) -> None:
        """Count some more."""
        self.usage += usage
        self._account.add(self._user, usage)

    def write(self) -> None:
        """Put the counts into the store, if they changed."""
        if self.usage == self._written:
            return
        document = asdict(self.usage) | {"user": self._user}
        self._run.replace(f"{FOLDER}/{self._number:08d}.json", to_json(document))
        self._account.write()
        self._written = self.usage


def usage_of_run(run: RunStore, keys: Sequence[str] | None = None) -> Usage:
    """Return what a run took in all its drives.

    Parameters
    ----------
    keys
        The run's keys under ``service/``, where they were listed already.
    """
    found = run.store.list(f"{FOLDER}/") if keys is None else keys
    return sum((_usage(run.read_json(key), f"{run.url}/{key}") for key in found if _KEY.fullmatch(key)), Usage())


def usage_of_users(root: Store) -> dict[str, Usage]:
    """Return what each user took today (UTC) and in the days before, each day counting half of the one after it."""
    now = datetime.fromtimestamp(root.now_ns() / 1e9, UTC)
    found: dict[str, Usage] = {}
    known = set(root.folders(f"{USAGE}/"))
    for age in range(DAYS):
        day = _day(now - timedelta(days=age))
        if day not in known:
            continue
        # After a day has been over for one, nobody writes it any more.
        users = _of_day(root, day) if age < 2 else _of_past_day(root.url, day)
        for user, usage in users.items():
            found[user] = found.get(user, Usage()) + _scaled(usage, 0.5**age)
    return found


@lru_cache(maxsize=64)
def _of_past_day(root_url: str, day: str) -> Mapping[str, Usage]:
    from datasets.store import open_store

    return _of_day(open_store(root_url), day)


def _of_day(root: Store, day: str) -> Mapping[str, Usage]:
    users: dict[str, Usage] = {}
    for key in root.list(f"{USAGE}/{day}/"):
        try:
            document = json.loads(unseal(root.get(key), key, f"{root.url}/{key}"))
        except NotFoundError:
            continue
        except ValueError as error:
            raise CorruptError(f"{root.url}/{key} is no account: {error}") from error
        for user, entry in document.items():
            users[user] = users.get(user, Usage()) + _usage(entry, f"{root.url}/{key}")
    return users


def _usage(document: Mapping[str, Any] | None, where: str) -> Usage:
    known = {field.name for field in fields(Usage)}
    try:
        return Usage(**{name: value for name, value in (document or {}).items() if name in known})
    except TypeError as error:
        raise CorruptError(f"{where} says nothing about what was used: {error}") from error


def _scaled(usage: Usage, by: float) -> Usage:
    return Usage(
        usage.core_seconds * by,
        usage.engine_seconds * by,
        round(usage.bytes_read * by),
        round(usage.n_blocks * by),
        usage.wall_seconds * by,
    )


def _day(at: datetime) -> str:
    return f"{at:%Y%m%d}"
