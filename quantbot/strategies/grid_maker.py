"""A ladder of quotes on each side."""

from __future__ import annotations

import math
from typing import Any

from quantbot.book.strategy import book_strategy
from quantbot.parameters import integer, number


@book_strategy(
    parameters=[
        number("half_spread", 2.0, 0.0, 10_000.0, "Distance of the first quotes from the centre.", unit="ticks"),
        integer("spacing", 2, 1, 10_000, "Distance between two quotes of a side; prices are multiples.", unit="ticks"),
        integer("n_quotes", 5, 1, 10, "Quotes a side."),
        number("skew", 0.0, 0.0, 1_000.0, "How far the centre moves against each lot held.", unit="ticks a lot"),
        integer("lots", 1, 1, 10**9, "Size of each quote.", unit="lots"),
        integer("most", 20, 1, 10**12, "Position at which the side that adds to it is no longer quoted.", unit="lots"),
    ],
    levels=10,
)
def grid_maker(
    bid_ticks: int, ask_ticks: int, bid_lots: int, ask_lots: int, position_lots: int, half_spread: float, spacing:
    int, n_quotes: int, skew: float, lots: int, most: int, buy_ticks: Any, buy_lots: Any, sell_ticks: Any,
    sell_lots: Any,
) -> None:  # fmt: skip
    """Quote a grid on both sides of mid, on multiples of `spacing`, so that few orders move when mid does.

    The centre is mid less `skew` ticks for each lot held. After the grid trading example of hftbacktest.
    """
    if bid_lots > 0 and ask_lots > 0:
        centre = 0.5 * (bid_ticks + ask_ticks) - skew * position_lots
        buy = min(math.floor(centre - half_spread), bid_ticks) // spacing * spacing
        sell = 0 - (0 - max(math.ceil(centre + half_spread), ask_ticks)) // spacing * spacing
        for i in range(n_quotes):
            if position_lots < most:
                buy_ticks[i] = buy - i * spacing
                buy_lots[i] = lots
            if position_lots > 0 - most:
                sell_ticks[i] = sell + i * spacing
                sell_lots[i] = lots
