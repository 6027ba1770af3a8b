"""Which ticks of a session a replay keeps levels for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantbot.book.events import Action, Events

MOST_TICKS = 1 << 21  # of the window in which levels are kept
MARGIN_TICKS = 2_048


def tick_window(events: Events) -> tuple[int, int]:
    """Return (first tick, number of ticks) of the levels worth keeping: all, or those around where it trades."""
    priced = (events.action != Action.HALT) & (events.action != Action.RESUME) & (events.action != Action.CLEAR)
    priced &= (events.price_ticks > 0) | (events.size_lots > 0)
    return window_of(events.price_ticks[priced])


def window_of(ticks: NDArray[np.int64]) -> tuple[int, int]:
    """Return (first tick, number of ticks) that hold these prices, or the middle of them where that is too many."""
    if not ticks.shape[0]:
        return 0, 2 * MARGIN_TICKS
    low, high = int(ticks.min()), int(ticks.max())
    if high - low + 2 * MARGIN_TICKS > MOST_TICKS:
        low, high = (int(q) for q in np.quantile(ticks[:: max(ticks.shape[0] // 100_000, 1)], [0.02, 0.98]))
        room = max((MOST_TICKS - (high - low)) // 2 - MARGIN_TICKS, MARGIN_TICKS)
        low, high = low - room, high + room
    return low - MARGIN_TICKS, high - low + 2 * MARGIN_TICKS
