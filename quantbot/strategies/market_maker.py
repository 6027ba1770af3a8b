"""Two-sided quotes around mid, moved against the position."""

from __future__ import annotations

import math
from typing import Any

from quantbot.book.strategy import book_strategy
from quantbot.parameters import integer, number


@book_strategy(
    parameters=[
        number("half_spread", 2.0, 0.0, 10_000.0, "Distance of each quote from the centre.", unit="ticks"),
        number("skew", 0.0, 0.0, 1_000.0, "How far the centre moves against each lot held.", unit="ticks a lot"),
        integer("lots", 1, 1, 10**9, "Size of each quote.", unit="lots"),
        integer("most", 10, 1, 10**12, "Position at which the side that adds to it is no longer quoted.", unit="lots"),
    ],
)
def market_maker(
    bid_ticks: int, ask_ticks: int, bid_lots: int, ask_lots: int, position_lots: int, half_spread: float, skew:
    float, lots: int, most: int, buy_ticks: Any, buy_lots: Any, sell_ticks: Any, sell_lots: Any,
) -> None:  # fmt: skip
    """Quote `lots` on each side of mid, both quotes lower when long and higher when short; never at or past the touch.

    The centre is mid less `skew` ticks for each lot held. Ho & Stoll (1981), "Optimal dealer pricing under
    transactions and return uncertainty", Journal of Financial Economics 9(1), in its simplest, linear form.
    """
    if bid_lots > 0 and ask_lots > 0:
        centre = 0.5 * (bid_ticks + ask_ticks) - skew * position_lots
        if position_lots < most:
            buy_ticks[0] = min(math.floor(centre - half_spread), ask_ticks - 1)
            buy_lots[0] = lots
        if position_lots > 0 - most:
            sell_ticks[0] = max(math.ceil(centre + half_spread), bid_ticks + 1)
            sell_lots[0] = lots
