"""The look-ahead sentinel for books: what is received later must not move a decision."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quantbot.book.events import Events
from quantbot.book.replay import Agents, BookReplay, Exchange
from quantbot.book.strategy import BookStrategy
from quantbot.book.window import tick_window

_LATER_NS = 3_600 * 10**9


@dataclass(frozen=True)
class BookReport:
    """What the sentinel found.

    Attributes
    ----------
    n_cuts
        How many moments were tried.
    leaks_ns
        The moments by which a decision had moved although only what is received later had changed.
    """

    n_cuts: int
    leaks_ns: tuple[int, ...]

    @property
    def ok(self) -> bool:
        """Whether no decision moved."""
        return not self.leaks_ns


def check_book_lookahead(
    strategy: BookStrategy, events: Events, agents: Agents, *, n_cuts: int = 16, exchange: Exchange | None = None
) -> BookReport:
    """Delay all that is received after a moment by an hour, and see whether a decision up to it moves.

    The exchange keeps its times: fills, and their answers, stay what they were. Moments are spread over the session,
    each just before something is received, at a decision of the timer if there is one.

    Parameters
    ----------
    n_cuts
        How many moments to try.

    Returns
    -------
    The moments at which decisions used what came later; none for an honest engine and strategy.
    """
    start = int(events.ts_exchange_ns[0])
    period = int(agents.period_ns[0])
    chosen = np.linspace(1, len(events) - 2, n_cuts).astype(np.int64)
    moments = events.ts_received_ns[chosen] - 1
    if period > 0:
        first = start + period + int(agents.phase_ns[0])
        moments = first + np.maximum((moments - first) // period, 0) * period
    leaks = [int(t) for t in np.unique(moments) if _moves(strategy, events, agents, int(t), exchange or Exchange())]
    return BookReport(int(np.unique(moments).shape[0]), tuple(leaks))


def _moves(strategy: BookStrategy, events: Events, agents: Agents, moment: int, exchange: Exchange) -> bool:
    later = events.ts_received_ns > moment
    delayed = replace(events, ts_received_ns=np.where(later, events.ts_received_ns + _LATER_NS, events.ts_received_ns))
    traces = []
    for known in (events, delayed):
        book = BookReplay(
            known.instrument,
            strategy,
            agents,
            exchange,
            start_ns=int(events.ts_exchange_ns[0]),
            stop_ns=moment + 1,
            ticks=tick_window(events),
        )
        book.feed(known[: int(np.searchsorted(np.maximum.accumulate(known.ts_exchange_ns), moment, side="right"))])
        book.feed(known[:0], final=True)
        traces.append((book.agents[["trace", "n_wakes", "n_orders", "n_cancels"]].tolist(), book.memory.tobytes()))
    return traces[0] != traces[1]
