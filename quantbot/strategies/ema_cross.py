"""Crossover of two exponential moving averages."""

from __future__ import annotations

from quantbot.parameters import integer, number
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import ema


@strategy(
    parameters=[
        integer("fast", 12, 2, 1000, "Span of the fast mean; a longer one reacts later.", unit="bars"),
        integer("slow", 26, 2, 5000, "Span of the slow mean; a longer one trades less.", unit="bars"),
        number(
            "short",
            0,
            0,
            1,
            "Short exposure while the fast mean is not above; 0 stays flat.",
            unit="fraction of equity",
        ),
    ],
    indicators={"fast_mean": ema("fast"), "slow_mean": ema("slow")},
)
def ema_cross(fast_mean: float, slow_mean: float, short: float) -> float:
    """Buy while the fast exponential mean of the closes is above the slow one, else leave (or go short).

    The sign of Appel's MACD line (12 and 26 by default): G. Appel (2005), Technical Analysis: Power Tools for Active
    Investors, chapter 8.
    """
    return 1.0 if fast_mean > slow_mean else 0.0 - short
