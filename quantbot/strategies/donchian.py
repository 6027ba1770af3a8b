"""Breakout of a Donchian channel."""

from __future__ import annotations

from quantbot.parameters import integer, number
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import highest, lowest


@strategy(
    parameters=[
        integer("entry", 20, 2, 5000, "Bars in the channel whose break opens a position.", unit="bars"),
        integer("leave", 10, 1, 5000, "Bars in the channel whose opposite break closes it.", unit="bars"),
        number("short", 0, 0, 1, "Short exposure taken on a break downwards; 0 stays flat.", unit="fraction of equity"),
    ],
    indicators={
        "entry_high": highest("entry"),
        "entry_low": lowest("entry"),
        "leave_high": highest("leave"),
        "leave_low": lowest("leave"),
    },
)
def donchian(
    close: float,
    entry_high: float,
    entry_low: float,
    leave_high: float,
    leave_low: float,
    short: float,
    position: float,
) -> float:
    """Buy when the close is above the highest high of the bars before, leave below their (nearer) lowest low.

    The mirror image goes short where `short` allows. The channels leave the current bar out. The Turtles' system 1
    on closes, without its filter and its pyramids: C. Faith (2007), Way of the Turtle, appendix.
    """
    if close > entry_high:
        return 1.0
    if close < entry_low:
        return 0.0 - short
    if position > 0.0:
        return 0.0 if close < leave_low else position
    if position < 0.0:
        return 0.0 if close > leave_high else position
    return 0.0
