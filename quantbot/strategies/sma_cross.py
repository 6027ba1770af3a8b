"""Crossover of two simple moving averages."""

from __future__ import annotations

from quantbot.parameters import integer, number
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import sma


@strategy(
    parameters=[
        integer("fast", 20, 2, 1000, "Bars in the fast mean; more of them react later.", unit="bars"),
        integer("slow", 100, 2, 5000, "Bars in the slow mean; more of them trade less.", unit="bars"),
        number(
            "short",
            0,
            0,
            1,
            "Short exposure while the fast mean is not above; 0 stays flat.",
            unit="fraction of equity",
        ),
    ],
    indicators={"fast_mean": sma("fast"), "slow_mean": sma("slow")},
)
def sma_cross(fast_mean: float, slow_mean: float, short: float) -> float:
    """Buy while the fast mean of the closes is above the slow one, else leave (or go short).

    It is the state that counts, not the moment of crossing: a trial that starts while the fast mean is above buys at
    once. Equal means are not above. Brock, Lakonishok & LeBaron (1992), "Simple Technical Trading Rules and the
    Stochastic Properties of Stock Returns", Journal of Finance 47(5), the variable-length moving average without band.
    """
    return 1.0 if fast_mean > slow_mean else 0.0 - short
