"""A parent order worked through the day: TWAP, VWAP, or a share of the volume."""

from __future__ import annotations

from typing import Any

from quantbot.book.strategy import book_strategy
from quantbot.parameters import integer, number


@book_strategy(
    parameters=[
        integer("parent_lots", 1_000, -(10**12), 10**12, "The order: above 0 buys, below 0 sells.", unit="lots"),
        number("participation", 0.0, 0.0, 1.0, "Share of the traded volume to follow; 0: evenly in time (TWAP)."),
        number("volume_curve", 0.0, 0.0, 2.0, "How much more trades at the ends of the day (VWAP); 0: evenly (TWAP)."),
        number("patience", 0.5, 0.0, 1.0, "How far it may fall behind before it takes.", unit="share of the parent"),
        integer("most_lots", 10, 1, 10**9, "Size of the largest child order.", unit="lots"),
    ],
    n_memory=2,
)
def execution_schedule(
    now_ns: int, start_ns: int, end_ns: int, bid_ticks: int, ask_ticks: int, bid_lots: int, ask_lots: int,
    volume_lots: int, position_lots: int, open_buy_lots: int, open_sell_lots: int, parent_lots: int,
    participation: float, volume_curve: float, patience: float, most_lots: int, memory: Any, buy_ticks: Any,
    buy_lots: Any, sell_ticks: Any, sell_lots: Any, take_ticks: Any, take_lots: Any,
) -> None:  # fmt: skip
    """Work `parent_lots` off: rest at the touch for what the schedule is ahead of the position, take when far behind.

    TWAP: lots due = parent * x, x = elapsed / day. VWAP: parent * (x + c x (1 - x) (1 - 2 x)), the share of the day's
    volume by then where trading is 1 + c of the mean at open and close and 1 - c / 2 at noon (c = `volume_curve`; a
    parabola, as Admati & Pfleiderer, 1988, "A theory of intraday patterns", explain it). POV: participation * volume
    received since the start. The measure `slippage` compares with mid at the start (arrival price; Perold, 1988, "The
    implementation shortfall"), `slippage_vwap` with the market's own average.
    """
    if bid_lots <= 0 or ask_lots <= 0:
        return
    side = 1 if parent_lots > 0 else -1
    size = side * parent_lots
    done = side * position_lots
    if memory[0] == 0.0:
        memory[0] = 1.0
        memory[1] = volume_lots
    x = (now_ns - start_ns) / (end_ns - start_ns)
    due = size * (x + volume_curve * x * (1.0 - x) * (1.0 - 2.0 * x))
    if participation > 0.0:
        due = participation * (volume_lots - memory[1])
    due = min(due, 1.0 * size)
    behind = due - done
    if behind < 1.0:
        return
    lots = min(int(behind), most_lots)
    if behind > patience * size and open_buy_lots + open_sell_lots == 0:
        take_lots[0] = side * lots
        take_ticks[0] = ask_ticks if side > 0 else bid_ticks
    elif side > 0:
        buy_ticks[0] = bid_ticks
        buy_lots[0] = lots
    else:
        sell_ticks[0] = ask_ticks
        sell_lots[0] = lots
