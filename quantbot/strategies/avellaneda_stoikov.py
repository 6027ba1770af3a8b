"""The optimal quotes of Avellaneda and Stoikov, their volatility measured as the day goes."""

from __future__ import annotations

import math
from typing import Any

from quantbot.book.strategy import book_strategy
from quantbot.parameters import integer, number


@book_strategy(
    parameters=[
        number("gamma", 0.01, 1e-6, 10.0, "Risk aversion; more of it moves and widens the quotes.", unit="1/tick/lot"),
        number("kappa", 0.5, 1e-3, 100.0, "How fast fills become rarer with distance.", unit="1/tick"),
        number("horizon_s", 60.0, 0.1, 86_400.0, "Time that a position is to be carried for at most.", unit="s"),
        number("memory_s", 30.0, 0.1, 3_600.0, "Time constant of the measured variance.", unit="s"),
        integer("lots", 1, 1, 10**9, "Size of each quote.", unit="lots"),
        integer("most", 10, 1, 10**12, "Position at which the side that adds to it is no longer quoted.", unit="lots"),
    ],
    n_memory=4,
)
def avellaneda_stoikov(
    now_ns: int, end_ns: int, bid_ticks: int, ask_ticks: int, bid_lots: int, ask_lots: int, position_lots: int,
    gamma: float, kappa: float, horizon_s: float, memory_s: float, lots: int, most: int, memory: Any, buy_ticks:
    Any, buy_lots: Any, sell_ticks: Any, sell_lots: Any,
) -> None:  # fmt: skip
    """Quote around the reservation price mid - q gamma sigma^2 T, with spread gamma sigma^2 T + 2/gamma ln(1+gamma/k).

    Avellaneda & Stoikov (2008), "High-frequency trading in a limit order book", Quantitative Finance 8(3), equations
    (29) and (30). Departures: T is the lesser of `horizon_s` and what is left of the day; sigma^2 is an
    exponentially weighted mean of squared mid changes, in ticks^2 a second; prices are rounded away from mid.
    """
    if bid_lots <= 0 or ask_lots <= 0:
        return
    mid = 0.5 * (bid_ticks + ask_ticks)
    if memory[0] > 0.0:
        elapsed = (now_ns - memory[1]) * 1e-9
        if elapsed > 0.0:
            change = mid - memory[2]
            weight = min(elapsed / memory_s, 1.0)
            memory[3] = memory[3] + weight * (change * change / elapsed - memory[3])
    memory[0] = 1.0
    memory[1] = now_ns
    memory[2] = mid
    risk = gamma * memory[3] * min(horizon_s, (end_ns - now_ns) * 1e-9)
    centre = mid - position_lots * risk
    half = 0.5 * risk + math.log(1.0 + gamma / kappa) / gamma
    if position_lots < most:
        buy_ticks[0] = min(math.floor(centre - half), ask_ticks - 1)
        buy_lots[0] = lots
    if position_lots > 0 - most:
        sell_ticks[0] = max(math.ceil(centre + half), bid_ticks + 1)
        sell_lots[0] = lots
