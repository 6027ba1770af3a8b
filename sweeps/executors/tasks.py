"""What a Dask worker runs: some items, one after the other, if its environment is the driver's.

A task outlives its scheduler and its driver: no thread can be ended. So it looks between two items whether anybody
waits for it still, and what is run twice is run one after the other: a driver that comes next is sent to the same
worker with the same items, and the second time an item finds that its block is there.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, TypeVar

from sweeps.executors.base import POISON, Answer, Limits, answer

T = TypeVar("T")
R = TypeVar("R")

REFUSED = threading.Event()  # a driver has told this process that its environment is another


@dataclass(frozen=True)
class Done:
    """What became of a task's items, and how long they took together; fewer answers than items where it gave up."""

    worker: str
    answers: Sequence[Answer[Any, Any]]
    seconds: float


@dataclass(frozen=True)
class Refused:
    """A worker whose environment isn't the driver's: it ran nothing."""

    worker: str
    environment: Mapping[str, str]


def execute(
    run: Callable[[T], R], items: Sequence[T], limits: Limits | None = None, environment: str = ""
) -> Done | Refused:
    """Run items, each in a child where it has limits; those not begun are left when nobody waits for them any more.

    Parameters
    ----------
    environment
        The driver's, as `digest_of` gives it; empty where driver and worker can't differ.
    """
    worker = _address()
    if environment and (here := greet(environment)):
        return Refused(worker, here)
    began = time.monotonic()
    answers = list[Answer[T, R]]()
    for item in items:
        with _turn(run, item):
            if not _wanted():
                break
            answers.append(_one(run, item, limits, worker))
    return Done(worker, answers, time.monotonic() - began)


def greet(environment: str) -> Mapping[str, str]:
    """Return this process's environment where it is not the driver's; empty where it is."""
    here, digest = _environment()
    if digest == environment:
        return {}
    REFUSED.set()
    return here


def once(run: Callable[[], R], limits: Limits | None = None) -> Answer[Callable[[], R], R]:
    """Call `run`, in a child where it has limits."""
    found = _one(call, run, limits, _address())
    if found.failure is None or found.failure.cause not in POISON:
        return found
    message = f"before the first block, when it was compiled and tried out, {found.failure.message}"
    return replace(found, failure=replace(found.failure, message=message))


def call(run: Callable[[], R]) -> R:
    """Call `run`; what runs elsewhere is a function of one item."""
    return run()


def digest_of(environment: Mapping[str, str]) -> str:
    """Return the SHA-256 of an environment."""
    return hashlib.sha256(json.dumps(dict(environment), sort_keys=True).encode()).hexdigest()


def differing(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Return a row for each name that differs.

    Examples
    --------
    >>> differing({"numpy": "2.4", "python": "3.11"}, {"numpy": "2.2", "python": "3.11"})
    ['numpy: 2.2, here 2.4']
    """
    return [
        f"{name}: {there.get(name, '-')}, here {here.get(name, '-')}"
        for name in sorted({*here, *there})
        if there.get(name) != here.get(name)
    ]


def _one(run: Callable[[T], R], item: T, limits: Limits | None, worker: str) -> Answer[T, R]:
    if limits is None:
        return answer(run, item)
    from sweeps.executors.isolation import CHILDREN

    try:
        found = CHILDREN.run(run, item, limits)
    except Exception as error:  # no process to be had, no descriptors left: another try may get one
        from sweeps.executors.base import failure_of

        return Answer(item, failure=replace(failure_of(error), cause="outage", worker=worker))
    if found.failure is None:
        return found
    return replace(found, failure=replace(found.failure, worker=worker))


@dataclass
class _Turn:
    lock: threading.Lock
    n_threads: int = 0


_TURNS: dict[Hashable, _Turn] = {}
_TURNS_LOCK = threading.Lock()


@contextmanager
def _turn(run: Callable[[T], R], item: T) -> Iterator[None]:
    """Let one thread of this process at a time run the same item."""
    # Each task has a partial of its own, and partials are equal to themselves alone.
    what = (run.func, run.args, *sorted(run.keywords.items())) if isinstance(run, partial) else run
    with _TURNS_LOCK:
        turn = _TURNS.setdefault((what, item), _Turn(threading.Lock()))
        turn.n_threads += 1
    try:
        with turn.lock:
            yield
    finally:
        with _TURNS_LOCK:
            turn.n_threads -= 1
            if not turn.n_threads:
                del _TURNS[what, item]


def _wanted() -> bool:
    """Return whether somebody waits for the task that this thread runs: its scheduler lives, and its driver, too."""
    from distributed import Status, get_worker

    try:
        worker = get_worker()
    except ValueError:  # outside a worker
        return True
    if worker.status in (Status.closing, Status.closed, Status.failed):
        return False
    task = worker.state.tasks.get(worker.active_threads.get(threading.get_ident(), ""))
    return task is not None and task.state != "cancelled"


@lru_cache(maxsize=1)
def _environment() -> tuple[dict[str, str], str]:
    from sweeps.task import environment

    here = environment()
    return here, digest_of(here)


def _address() -> str:
    from distributed import get_worker

    try:
        return str(get_worker().address)
    except ValueError:  # outside a worker
        return ""
