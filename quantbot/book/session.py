"""One session of one instrument as the data of an engine: events in parts, and steps of time that results lie on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quantbot.book.events import BookInstrument
from quantbot.errors import InputError

if TYPE_CHECKING:
    from quantbot.book.events import Events

__all__ = ["BookSession", "step_ends", "usual_step_ns"]

_SECOND_NS = 10**9
_HOURS_OF_A_DAY = 20  # a session that lasts longer is one of a market that never closes


def usual_step_ns(start_ns: int, end_ns: int) -> int:
    """Return the step that a session's results lie on: 10 s, 1 s where it lasts under an hour, 0.1 s under a minute."""
    span = end_ns - start_ns
    if span < 60 * _SECOND_NS:
        return _SECOND_NS // 10
    return _SECOND_NS if span < 3600 * _SECOND_NS else 10 * _SECOND_NS


def step_ends(start_ns: int, end_ns: int, step_ns: int) -> NDArray[np.int64]:
    """Return the ends of the steps from `start_ns` on until `end_ns` is covered: multiples of the step in all sessions.

    Examples
    --------
    >>> step_ends(7, 25, 10).tolist()
    [10, 20, 30]
    """
    first = start_ns // step_ns + 1
    return step_ns * np.arange(first, max(-(-end_ns // step_ns), first) + 1, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class BookSession:
    """What a trial on an order book runs on.

    Attributes
    ----------
    ts_end_ns
        Shape (n_steps,), int64 UTC, `step_ns` apart: what bars are to others. Windows are ranges of them, equity is
        taken at each, returns are those between two.
    periods_per_year
        Steps of a year: of 252 such sessions, of 365 where a session lasts nearly all day.
    n_events, low_ticks, high_ticks
        Of the whole session: how many events, and the prices that they name.
    read
        Gives the events from the first one on, part after part, anew with each call.

    Examples
    --------
    >>> from quantbot.book import Action, Events
    >>> instrument = BookInstrument("X", tick_size=0.01, lot_size=1.0, kind="by_price")
    >>> events = Events.of(instrument, "s", [(1_000, Action.SET, 1, 99, 5), (2 * 10**9, Action.SET, -1, 101, 4)])
    >>> session = BookSession.of(events)
    >>> len(session), session.step_ns, session.bounds_ns((0, 10))
    (20, 100000000, (0, 1000000000))
    """

    instrument: BookInstrument
    session: str
    ts_end_ns: NDArray[np.int64]
    step_ns: int
    periods_per_year: float
    n_events: int
    low_ticks: int
    high_ticks: int
    read: Callable[[], Iterable[Events]]

    def __len__(self) -> int:
        return int(self.ts_end_ns.shape[0])

    @classmethod
    def between(
        cls,
        instrument: BookInstrument,
        session: str,
        span_ns: tuple[int, int],
        ticks: tuple[int, int],
        n_events: int,
        read: Callable[[], Iterable[Events]],
        step_ns: int | None = None,
    ) -> BookSession:
        """Return a session whose first and last events have these times, on its usual steps where none are given."""
        step_ns = step_ns or usual_step_ns(*span_ns)
        ends = step_ends(*span_ns, step_ns)
        sessions = 365 if span_ns[1] - span_ns[0] > _HOURS_OF_A_DAY * 3600 * _SECOND_NS else 252
        return cls(
            instrument, session, ends, step_ns, float(sessions * len(ends)), n_events, *ticks, read
        )  # fmt: skip

    @classmethod
    def of(cls, events: Events, step_ns: int | None = None) -> BookSession:
        """Return a session of events that are in memory."""
        if not len(events):
            raise InputError(f"a session needs an event; {events.instrument.symbol}/{events.session} has none")
        span = int(events.ts_exchange_ns.min()), int(events.ts_exchange_ns.max())
        priced = events.price_ticks[events.price_ticks != 0]
        ticks = (int(priced.min()), int(priced.max())) if priced.size else (0, 0)
        read = lambda: (events,)  # noqa: E731 - a session is made of calls
        return cls.between(events.instrument, events.session, span, ticks, len(events), read, step_ns)

    def bounds_ns(self, window: tuple[int, int]) -> tuple[int, int]:
        """Return from when to when the steps ``window[0] <= step < window[1]`` last."""
        start, stop = window
        if not 0 <= start < stop <= len(self):
            raise InputError(f"a window must lie within the {len(self)} steps and not be empty; was {window}")
        return int(self.ts_end_ns[start]) - self.step_ns, int(self.ts_end_ns[stop - 1])
