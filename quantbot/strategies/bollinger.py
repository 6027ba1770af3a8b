"""Mean reversion inside Bollinger bands."""

from __future__ import annotations

from quantbot.parameters import integer, number
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import sma, stdev


@strategy(
    parameters=[
        integer("window", 20, 2, 5000, "Bars in the mean and the deviation.", unit="bars"),
        number("width", 2.0, 0.1, 10, "Half width of the band; a wider one trades less.", unit="deviations"),
        number("short", 0, 0, 1, "Short exposure taken above the upper band; 0 stays flat.", unit="fraction of equity"),
    ],
    indicators={"mean": sma("window"), "deviation": stdev("window")},
)
def bollinger(close: float, mean: float, deviation: float, width: float, short: float, position: float) -> float:
    """Buy when the close is below the lower band, leave at the mean; go short above the upper one where allowed.

    Bands at `width` population deviations around the mean: J. Bollinger (2001), Bollinger on Bollinger Bands,
    chapter 7. He warns that a close outside a band is no signal by itself; as a rule of reversion it is the simplest.
    """
    if close < mean - width * deviation:
        return 1.0
    if close > mean + width * deviation:
        return 0.0 - short
    if position > 0.0:
        return 0.0 if close >= mean else position
    if position < 0.0:
        return 0.0 if close <= mean else position
    return 0.0
