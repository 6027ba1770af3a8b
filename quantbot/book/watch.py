"""A replay looked at on its way: the lots ahead of each resting order of a trial, at chosen moments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.book.events import Action, Events
from quantbot.book.layout import Queue
from quantbot.engine import Job, Points
from quantbot.parameters import Value

if TYPE_CHECKING:
    from quantbot.book.engine import BookEngine
    from quantbot.book.replay import BookReplay
    from quantbot.book.session import BookSession

_COLUMNS = ("ts_ns", "side", "ticks", "placed_ns", "ahead", "low", "high")
_OWN, _PESSIMISTIC, _OPTIMISTIC = 0, 1, 2


class Watch:
    """What rests, and what is ahead of it, at moments of the exchange's clock.

    Parameters
    ----------
    moments_ns
        Rising.
    """

    def __init__(self, moments_ns: NDArray[np.int64]) -> None:
        self.moments_ns = moments_ns
        self.begin()

    def begin(self) -> None:
        """Forget what was seen: a replay starts."""
        self.rows: list[tuple[float, ...]] = []
        self._next, self._due, self._latest = 0, False, -(2**62)
        self._seen: set[tuple[int, ...]] = set()
        self._halted = False

    def pieces(self, events: Events) -> Iterator[Events]:
        """Yield the events until each moment, then nothing but the moment itself, and the rest."""
        times = np.maximum.accumulate(np.maximum(events.ts_exchange_ns, self._latest))
        start = 0
        while self._next < len(self.moments_ns) and len(times) and times[-1] > self.moments_ns[self._next]:
            stop = int(np.searchsorted(times, self.moments_ns[self._next], side="right"))
            yield events[start:stop]
            self._due = True
            yield self._nothing(events)
            start = stop
        self._latest = int(times[-1]) if len(times) else self._latest
        yield events[start:]

    def _nothing(self, events: Events) -> Events:
        """Return an event that changes nothing, at the moment: what was on its way by then has arrived."""
        if self._halted:
            return events[:0]
        row = (int(self.moments_ns[self._next]), Action.RESUME, 0, 0, 0)
        return Events.of(events.instrument, events.session, [row])

    def look(self, book: BookReplay) -> None:
        """Note what rests now, if a moment is due: after what `pieces` gave up to it."""
        self._halted = bool(book.state[0]["halted"])
        if not self._due:
            return
        ts_ns = int(self.moments_ns[self._next])
        self._next, self._due = self._next + 1, False
        resting = book.orders[book.orders["resting"] == 1]
        front = np.maximum(book.cohorts["front"][resting["cohort"]], 0.0)
        ahead: dict[int, dict[tuple[int, ...], float]] = {_OWN: {}, _PESSIMISTIC: {}, _OPTIMISTIC: {}}
        columns = (resting[name].tolist() for name in ("agent", "side", "tick", "placed_ns"))
        for agent, side, tick, placed, lots in zip(*columns, front.tolist(), strict=True):
            ahead[agent][side, tick, placed] = lots
        self._seen |= ahead[_OPTIMISTIC].keys()
        for order, lots in ahead[_OWN].items():
            # The optimist's order that is gone was filled: nothing is ahead. One that never was is another's path.
            low = ahead[_OPTIMISTIC].get(order, 0.0 if order in self._seen else lots)
            self.rows.append((ts_ns, *order, lots, min(low, lots), max(ahead[_PESSIMISTIC].get(order, lots), lots)))


def queue_path(
    engine: BookEngine, job: Job, data: BookSession, window: tuple[int, int], point: Mapping[str, Value],
    span_ns: tuple[int, int], n_moments: int = 240,
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Return the lots ahead of each own resting order through a span of time, as columns.

    `ts_ns`, `side`, `ticks`, `placed_ns` (when the order was accepted), `ahead` (by the trial's queue model), `low` and
    `high` (by the most optimistic and the most pessimistic one, where they have the same order; both are `ahead` where
    the queue is known). Empty for pro rata, which has no queue.

    Parameters
    ----------
    span_ns
        Of the exchange's clock; moments are spread evenly over it.
    """
    points = Points(1, {name: np.array([value]) for name, value in point.items()})
    asked = str({"execution.queue": "auto", **job.settings, **point}["execution.queue"])
    exact = asked in ("auto", Queue.FIFO.name.lower()) and data.instrument.kind == "by_order"
    groups = tuple(group for group in job.groups if group != "envelope") + (() if exact else ("envelope",))
    watch = Watch(np.linspace(*span_ns, n_moments).astype(np.int64))
    if asked != "pro_rata":
        engine.book_replay(replace(job, groups=groups), data, window, points, curves=False, watch=watch)
    found = np.array(watch.rows).reshape(-1, len(_COLUMNS)).T
    return {
        name: column.astype(np.float64 if name in ("ahead", "low", "high") else np.int64)
        for name, column in zip(_COLUMNS, _exact(watch.rows, found), strict=True)
    }


def _exact(rows: list[tuple[float, ...]], found: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the columns, stamps not through floats, which would round them."""
    columns = list(found)
    for at in (0, 3):
        columns[at] = np.array([row[at] for row in rows], np.int64)
    return columns
