"""The reference: one item after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from sweeps.executors.base import Answer, Isolation, Limits, answer, nothing

T = TypeVar("T")
R = TypeVar("R")


class SerialExecutor:
    """Runs every item in the calling thread; also a context manager, like every executor."""

    n_slots = 1
    isolation: Isolation | None = None

    def check_root(self, url: str) -> None:
        """Accept every store: what this process can open, it can reach."""

    def prepare(self, run: Callable[[], object], limits: Limits | None = None) -> None:
        """Run `run` here."""
        del limits
        run()

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
        """Yield one answer per item, in the items' order."""
        del label, at_a_time, limits, avoid
        poll = poll or nothing
        for item in items:
            poll()
            found = answer(run, item)
            # Here nobody stands between the person and the work, so Ctrl-C is meant for us.
            if found.failure is not None and found.failure.kind in ("KeyboardInterrupt", "SystemExit"):
                raise KeyboardInterrupt
            yield found

    def __enter__(self) -> SerialExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def serial() -> SerialExecutor:
    """Return the executor that runs one block after the other in this process.

    Examples
    --------
    >>> with serial() as executor:
    ...     [answer.value for answer in executor.map(abs, [-1, 2])]
    [1, 2]
    """
    return SerialExecutor()
