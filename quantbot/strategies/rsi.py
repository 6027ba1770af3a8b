"""Mean reversion on Wilder's relative strength index."""

from __future__ import annotations

from quantbot.parameters import integer, number
from quantbot.strategies import indicators
from quantbot.strategies.contract import strategy


@strategy(
    parameters=[
        integer("window", 14, 2, 1000, "Bars of Wilder's averages; more of them reach the bounds less often."),
        number("lower", 30, 1, 50, "Buy below this index; a lower one trades less.", unit="points"),
        number("upper", 70, 50, 99, "Go short above this index, where short is allowed.", unit="points"),
        number("leave", 50, 1, 99, "Leave once the index is back at this level.", unit="points"),
        number(
            "short", 0, 0, 1, "Short exposure taken above the upper bound; 0 stays flat.", unit="fraction of equity"
        ),
    ],
    indicators={"strength": indicators.rsi("window")},
)
def rsi(strength: float, lower: float, upper: float, leave: float, short: float, position: float) -> float:
    """Buy when the index falls below `lower`, leave when it is back at `leave`; the mirror image goes short.

    J. W. Wilder (1978), New Concepts in Technical Trading Systems, section VI, whose bounds are 30 and 70.
    """
    if strength < lower:
        return 1.0
    if strength > upper:
        return 0.0 - short
    if position > 0.0:
        return 0.0 if strength >= leave else position
    if position < 0.0:
        return 0.0 if strength <= leave else position
    return 0.0
