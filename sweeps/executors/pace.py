"""Items on their way into tasks: pulled when they are wanted, as many at a time as their length allows."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

_TASK_SECONDS = 1.0  # that a task of short items takes
_MOST_ITEMS = 64  # of one task


class Source:
    """Items that are pulled when they are wanted, and may be given back."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = iter(items)
        self._back: deque[Any] = deque()

    def take(self, n: int) -> list[Any]:
        """Return the next items, at most `n`; none when there are no more."""
        taken = list[Any]()
        while len(taken) < n:
            try:
                taken.append(self._back.popleft() if self._back else next(self._items))
            except StopIteration:
                break
        return taken

    def give_back(self, items: list[Any]) -> None:
        """Take items back that nobody ran."""
        self._back.extend(items)


class Pace:
    """How many items a task has: one until they are known to be short, then as many as take a second together.

    Examples
    --------
    >>> pace = Pace()
    >>> for _ in range(8):
    ...     pace.note(pace.n_items, pace.n_items * 0.05)
    >>> pace.n_items
    20
    >>> pace.note(20, 40.0)
    >>> pace.n_items
    1
    """

    def __init__(self) -> None:
        self.n_items = 1

    def note(self, n_items: int, seconds: float) -> None:
        """Take note of what a task took; sizes grow by doubling, since the first items may be the shortest."""
        fits = math.floor(_TASK_SECONDS / max(seconds / n_items, 1e-4) + 1e-6)
        self.n_items = max(1, min(fits, 2 * self.n_items, _MOST_ITEMS))
