"""What nothing refers to: the rest of ingests, publications and writers that were killed.

Two rules make removal safe beside whoever works: only what has been left alone for long is looked at (a writer that
lives keeps touching its folder), and what a manifest names is asked for again right before anything is removed. A run
with a live lease is not looked at. Whatever can't be read is taken to refer to everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasets import references
from quantbot.errors import InputError, NotFoundError, QuantBotError, StoreError
from sweeps.integrity.datasets import UNREADABLE, Shelf, committed, shelves
from sweeps.lease import lease_state
from sweeps.ledger_entry import LEDGER
from sweeps.ledger_sums import SUMS, sums_key
from sweeps.publish import MARKER, ROWS
from sweeps.runstore import RUNS, RunStore, run_identities

if TYPE_CHECKING:
    from datasets.store import Store

DAY_SECONDS = 86_400.0
LEAST_SECONDS = 60.0  # younger than this may be somebody's work whatever is asked for
_ATTEMPT = re.compile(r"(.*/(?:data-|w=)[0-9a-f]{12})/.*")
_LEASE = re.compile(r"lease/\d{8}\.json")
# What whoever lives writes again and again, so that what is old is nobody's.
_REPLACED = {
    "doctor/": "objects that only asked whether the store takes them",
    "selftest/": "objects that only asked whether the store takes them",
    "runners/": "heartbeats of runners that died",
}


@dataclass(frozen=True)
class Garbage:
    """Objects that nothing refers to.

    Attributes
    ----------
    what
        Where they come from, in words.
    keys
        From the store's root; half-written files of a folder have names of their own.
    n_bytes
        Their size together.
    removed
        Whether they are gone now.
    """

    what: str
    keys: tuple[str, ...]
    n_bytes: int
    removed: bool = False


@dataclass(frozen=True)
class _Heap:
    """Keys that go together, and what is asked again before they go."""

    what: str
    keys: list[str]
    still: Callable[[], bool]


def collect_garbage(
    root: Store,
    *,
    older_than_seconds: float = DAY_SECONDS,
    remove: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> list[Garbage]:
    """Find what nothing refers to, and remove it if asked to.

    Killed at any moment it has removed some of what nothing refers to; the next call finds the rest.

    Parameters
    ----------
    older_than_seconds
        Only what was last written so long ago, by the store's clock; an ingest that pauses longer between two objects
        than this loses what it wrote.
    remove
        Without, nothing is changed.
    on_progress
        Called with what is looked at.

    Raises
    ------
    InputError
        If the age is under a minute.
    StoreError
        If the store can't be read, or these credentials may not remove objects.
    """
    if not older_than_seconds >= LEAST_SECONDS:
        raise InputError(f"garbage is at least {LEAST_SECONDS:g} s old, was asked for {older_than_seconds:g} s")
    before_ns = root.now_ns() - int(older_than_seconds * 1e9)
    tell = on_progress or (lambda _: None)
    found = []
    for heap in _heaps(root, tell):
        if not _is_old(root, heap.keys, before_ns):
            continue
        size = sum(_size(root, key) for key in heap.keys)
        if not remove:
            found.append(Garbage(heap.what, tuple(heap.keys), size))
        elif heap.still():
            for key in heap.keys:
                root.delete(key)
            found.append(Garbage(heap.what, tuple(heap.keys), size, removed=True))
    tell("half-written files")
    names = root.temporaries(before_ns)
    if remove:
        for name in names:
            root.discard_temporary(name)
    if names:
        found.append(Garbage("half-written files of killed writers", tuple(names), 0, removed=remove))
    return found


def _heaps(root: Store, tell: Callable[[str], None]) -> Iterator[_Heap]:
    for shelf in shelves(root):
        for name in _dataset_folders(shelf):
            tell(f"dataset {name}")
            yield from _attempts(shelf, name)
    submitted = set(run_identities(root))
    for identity in root.folders(f"{RUNS}/"):
        tell(f"run {identity[:12]}")
        yield from _of_run(root, identity, identity in submitted)
    tell("the ledger")
    yield from _old_sums(root)
    for prefix, what in _REPLACED.items():
        for key in root.list(prefix):
            yield _Heap(what, [key], lambda: True)


# -- datasets -----------------------------------------------------------------------------------------------------


def _dataset_folders(shelf: Shelf) -> list[str]:
    """Return every folder that has versions or attempts, pointed to or not."""
    found, waiting = [], [""]
    while waiting:
        name = waiting.pop()
        below = shelf.root.folders(f"{references.ROOT}/{name}".rstrip("/"))
        if name and any("=" in folder for folder in below):
            found.append(name)
        waiting += [f"{name}/{folder}".lstrip("/") for folder in below if "=" not in folder and folder != "refs"]
    return sorted(found)


def _attempts(shelf: Shelf, name: str) -> Iterator[_Heap]:
    """Yield the folders of attempts to write a version of which no manifest knows."""
    folder = f"{references.ROOT}/{name}/"
    attempts: dict[str, list[str]] = {}
    for key in shelf.root.list(folder):
        match = _ATTEMPT.fullmatch(key)
        # Below the folder of "a" may lie those of "a/b", of which the manifests of "a" know nothing.
        if match and key.removeprefix(folder).startswith(("v=", "w=")):
            attempts.setdefault(match[1], []).append(key)
    if not attempts:
        return

    def is_unknown(attempt: str) -> bool:
        used = _used(shelf, name)
        return used is not None and attempt not in used

    used = _used(shelf, name)
    for attempt, keys in attempts.items():
        if used is not None and attempt not in used:
            yield _Heap(
                f"an ingest of {name} that did not end",
                [f"{shelf.prefix}{key}" for key in keys],
                lambda attempt=attempt: is_unknown(attempt),  # type: ignore[misc]
            )


def _used(shelf: Shelf, name: str) -> set[str] | None:
    """Return the attempts that manifests refer to, None where one of them can't be read."""
    used = set[str]()
    for version in committed(shelf, name):
        try:
            keys = version.keys
        except UNREADABLE:
            return None
        used.update(match[1] for match in map(_ATTEMPT.fullmatch, keys) if match)
    return used


# -- runs ---------------------------------------------------------------------------------------------------------


def _of_run(root: Store, identity: str, submitted: bool) -> Iterator[_Heap]:
    try:
        run = RunStore(root, identity)
    except InputError:
        return  # not ours
    keys = run.store.list()

    def is_idle() -> bool:
        return not lease_state(run.store).alive

    def own(keys: list[str]) -> list[str]:
        return [f"{RUNS}/{identity}/{key}" for key in keys]

    if not is_idle():
        return
    if "plan.json" not in keys:
        if keys and not submitted and not any(key.startswith(("blocks/", "manifest.json")) for key in keys):
            yield _Heap(
                f"run {identity[:12]}, never wholly submitted", own(keys), lambda: not run.store.exists("plan.json")
            )
        return
    if MARKER not in keys:
        rows = [key for key in keys if key.startswith(f"{ROWS}/")]
        if rows:
            yield _Heap(
                f"rows of run {identity[:12]} whose publication did not end",
                own(rows),
                lambda: is_idle() and not run.store.exists(MARKER),
            )
    leases = sorted(key for key in keys if _LEASE.fullmatch(key))[:-1]
    if leases:  # the highest number is the fence: it stays
        yield _Heap(f"ended leases of run {identity[:12]}", own(leases), lambda: True)
    try:
        n_blocks = run.plan().n_blocks
    except StoreError:
        raise
    except QuantBotError:
        return
    known = {run.block_key(index) for index in range(n_blocks)}
    foreign = [key for key in keys if key.startswith("blocks/") and key not in known]
    if foreign:
        yield _Heap(f"blocks of run {identity[:12]} that its plan does not have", own(foreign), is_idle)


def _old_sums(root: Store) -> Iterator[_Heap]:
    """Yield sums of ledgers as they were before the newest entries."""
    for family in root.folders(f"{SUMS}/"):
        entries = tuple(root.list(f"{LEDGER}/{family}/"))
        now = sums_key(entries) if entries else ""
        for key in root.list(f"{SUMS}/{family}/"):
            if key != now:
                yield _Heap("sums of a ledger that has grown", [key], lambda: True)


# -- age ----------------------------------------------------------------------------------------------------------


def _is_old(root: Store, keys: list[str], before_ns: int) -> bool:
    """Return whether none of these was written since; one of them that is gone makes them somebody's work."""
    try:
        return all(root.modified_ns(key) < before_ns for key in reversed(keys))
    except NotFoundError:
        return False


def _size(root: Store, key: str) -> int:
    try:
        return root.size(key)
    except NotFoundError:
        return 0
