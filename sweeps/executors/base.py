"""What every executor promises: one answer per item, in any order, and a failure is an answer too."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from quantbot.errors import RunError

T = TypeVar("T")
R = TypeVar("R")

Trouble = Literal["no workers", "all paused", "scheduler down", "version refused", "store down"]
Cause = Literal["raised", "outage", "killed", "lost", "crashed", "deadline", "oom"]
POISON: tuple[Cause, ...] = ("crashed", "deadline", "oom")  # what an item did to the process that ran it alone


class ClusterError(RunError):
    """The cluster can't compute now, which says nothing about the run: wait, and try again.

    Attributes
    ----------
    trouble
        The cause by its name.
    """

    def __init__(self, message: str, trouble: Trouble) -> None:
        super().__init__(message)
        self.trouble = trouble


class ClusterLostError(ClusterError):
    """The scheduler is gone; finished blocks are in the store."""

    def __init__(self, message: str, trouble: Trouble = "scheduler down") -> None:
        super().__init__(message, trouble)


@dataclass(frozen=True)
class Failure:
    """Why an item has no value.

    Attributes
    ----------
    cause
        "raised": the function raised, and would again. "outage": it raised what another try may not (a store or the
        system failed). "killed": its worker died while it ran, more than once, and others may be to blame. "lost":
        the cluster lost it. Where it ran in a process of its own that was watched (`Limits`): "crashed", that process
        ended; "deadline" and "oom", it was ended for what it took.
    kind
        Name of the exception's class.
    ended
        How its own process ended, in words: ``signal 11 (SIGSEGV)``, ``limit of 60 s``.
    worker
        Where it ran; empty where nobody knows.
    peak_bytes
        Most memory that its own process held; 0 where nobody knows.
    stderr
        The last that its own process printed, at most 4 KB.
    """

    cause: Cause
    kind: str
    message: str
    trace: str = ""
    ended: str = ""
    worker: str = ""
    peak_bytes: int = 0
    stderr: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@dataclass(frozen=True)
class Answer(Generic[T, R]):
    """What became of one item: a value, or a failure."""

    item: T
    value: R | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Limits:
    """What an item may take that runs in a process of its own, which is ended when it takes more.

    Attributes
    ----------
    seconds
        Of wall time.
    memory_bytes
        Of memory, beyond nothing: the process itself holds about 200 MB.
    output_bytes
        That are passed on of what it prints.
    """

    seconds: float
    memory_bytes: int
    output_bytes: int = 1_000_000


@dataclass(frozen=True)
class Isolation:
    """Which blocks run in processes of their own, and what they may take.

    Attributes
    ----------
    which
        "own": those of a user's own strategy. "all", or "none".
    seconds, memory_bytes
        What a block may take; None: a multiple of what its plan expects.
    """

    which: Literal["own", "all", "none"] = "own"
    seconds: float | None = None
    memory_bytes: int | None = None


class Executor(Protocol):
    """What runs blocks.

    Attributes
    ----------
    n_slots
        How many items run at a time.
    isolation
        What runs in processes of their own; None where nothing can.
    """

    @property
    def n_slots(self) -> int: ...  # noqa: D102

    @property
    def isolation(self) -> Isolation | None: ...  # noqa: D102

    def check_root(self, url: str) -> None:
        """Refuse a store that the workers can't reach, with an `InputError`."""
        ...

    def prepare(self, run: Callable[[], object], limits: Limits | None = None) -> None:
        """Run `run` once on each machine before anything else runs there: it fills the kernel cache.

        With limits it runs in a process of its own, like the items. What it raises is raised here.
        """
        ...

    def map(
        self,
        run: Callable[[T], R],
        items: Iterable[T],
        *,
        label: str = "",
        poll: Callable[[], None] | None = None,
        at_a_time: int | None = None,
        limits: Limits | None = None,
        avoid: Mapping[T, str] | None = None,
    ) -> Iterator[Answer[T, R]]:
        """Yield one answer per item, in any order; few are in flight, so `items` may be long.

        Parameters
        ----------
        run
            A function at the top of an importable module, or a `functools.partial` of one, without side effects that
            a second execution would repeat: an item whose worker died runs again.
        label
            Begins the name of each task; a scheduler that others use too tells them apart by it.
        poll
            Called about once a second and after every answer; what it raises ends the map.
        at_a_time
            Items in flight, when fewer than the executor would choose.
        limits
            Run each item in a process of its own that may take this and no more; needs `isolation`.
        avoid
            Workers on which items shall not run again where there are others.

        Raises
        ------
        ClusterError
            If the cluster can't go on; `ClusterLostError` within seconds when its scheduler is gone.
        """
        ...


def answer(run: Callable[[T], R], item: T) -> Answer[T, R]:
    """Run one item and turn whatever it raises into data.

    Also what is no `Exception`: a `SystemExit` would end a worker, and Dask never hands over a `BaseException`.
    """
    try:
        return Answer(item, run(item))
    except BaseException as error:
        return Answer(item, failure=failure_of(error))


def failure_of(error: BaseException) -> Failure:
    """Say why `error` failed an item."""
    cause: Cause = "outage" if isinstance(error, (OSError, MemoryError)) else "raised"
    # A library's own class for it says the same, and whoever reads the failure has no class but its name.
    kind = MemoryError if isinstance(error, MemoryError) else type(error)
    lines = traceback.format_exception(type(error), error, error.__traceback__, limit=-8)
    return Failure(cause, kind.__name__, str(error)[:2000], "".join(lines)[-4000:])


def nothing() -> None:
    """Do nothing: the `poll` of whoever has none."""


def unwrap(found: Answer[Any, R]) -> R:
    """Return the answer's value, or raise its failure as the error of ours that it was."""
    if found.failure is not None:
        raise error_of(found.failure)
    return found.value  # type: ignore[return-value]


def error_of(failure: Failure) -> Exception:
    """Return `failure` as an error: of its own class where that is one of ours, else a `RunError`."""
    from quantbot import errors

    kind = getattr(errors, failure.kind, None)
    if isinstance(kind, type) and issubclass(kind, errors.QuantBotError) and kind is not errors.SpecError:
        return kind(failure.message)
    return errors.RunError(str(failure))
