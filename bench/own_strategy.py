"""A strategy as a user would write it, for `bench/bars.py`: buy a dip below the mean, leave above it."""

from quantbot.parameters import integer, number
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import sma


def below(close, mean, dip):
    """Return whether the close is far enough below its mean."""
    return close < mean * (1.0 - dip)


@strategy(
    parameters=[
        integer("window", 50, 2, 5000, "Bars in the mean.", unit="bars"),
        number("dip", 0.01, 0, 1, "How far below the mean to buy.", unit="fraction"),
    ],
    indicators={"mean": sma("window")},
)
def dip_buyer(close, mean, dip, position):
    """Buy a dip below the mean, leave above the mean."""
    if below(close, mean, dip):
        return 1.0
    if close > mean:
        return 0.0
    return position
