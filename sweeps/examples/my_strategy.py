"""A strategy of one's own: a function, its parameters and its indicators."""

from quantbot.parameters import integer, number
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import sma


@strategy(
    parameters=[
        integer("window", 20, 2, 500, "Bars in the mean.", unit="bars"),
        number("depth", 0.03, 0.001, 0.5, "How far below the mean to buy.", unit="fraction"),
    ],
    indicators={"mean": sma("window")},
)
def dip(close: float, mean: float, depth: float, position: float) -> float:
    """Buy far below the mean, leave above it."""
    if close < mean * (1.0 - depth):
        return 1.0
    return 0.0 if close > mean else position
