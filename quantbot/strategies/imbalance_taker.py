"""Taking in the direction of the order-book imbalance."""

from __future__ import annotations

from typing import Any

from quantbot.book.strategy import book_strategy
from quantbot.parameters import integer, number


@book_strategy(
    parameters=[
        number("threshold", 0.6, 0.0, 1.0, "Imbalance above which it buys, and below the negative of which it sells."),
        number("leave", 0.1, 0.0, 1.0, "Imbalance against the position at which it is closed."),
        integer("lots", 1, 1, 10**9, "Size of the position.", unit="lots"),
    ],
    depth_levels=5,
)
def imbalance_taker(
    bid_ticks: int, ask_ticks: int, bid_lots: int, ask_lots: int, bid_depth_lots: int, ask_depth_lots: int,
    position_lots: int, open_buy_lots: int, open_sell_lots: int, threshold: float, leave: float, lots: int,
    take_ticks: Any, take_lots: Any,
) -> None:  # fmt: skip
    """Be long while the bids of five levels outweigh the asks, short while the asks do.

    Imbalance is (bids - asks) / (bids + asks). Cont, Kukanov & Stoikov (2014), "The price impact of order book
    events", Journal of Financial Econometrics 12(1), find that such pressure precedes moves of mid.
    """
    total = bid_depth_lots + ask_depth_lots
    if bid_lots <= 0 or ask_lots <= 0 or total <= 0 or open_buy_lots + open_sell_lots > 0:
        return
    imbalance = (bid_depth_lots - ask_depth_lots) / total
    target = position_lots
    if imbalance > threshold:
        target = lots
    elif imbalance < 0.0 - threshold:
        target = 0 - lots
    elif (position_lots > 0 and imbalance < 0.0 - leave) or (position_lots < 0 and imbalance > leave):
        target = 0
    take_lots[0] = target - position_lots
    take_ticks[0] = ask_ticks if target > position_lots else bid_ticks
