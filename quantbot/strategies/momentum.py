"""Time-series momentum with a volatility target."""

from __future__ import annotations

from quantbot.parameters import integer, number
from quantbot.strategies import indicators
from quantbot.strategies.contract import strategy


@strategy(
    parameters=[
        integer("window", 252, 1, 5000, "Bars over which the past return is taken.", unit="bars"),
        integer("volatility_window", 60, 2, 5000, "Bars in the volatility estimate.", unit="bars"),
        number("target", 0.15, 0.001, 2, "Volatility aimed at; more of it holds more.", unit="fraction per year"),
        number("leverage", 1, 0.01, 10, "Largest exposure, however calm the market.", unit="fraction of equity"),
        number("short", 0, 0, 1, "Share of the exposure held short after a fall; 0 stays flat.", unit="fraction"),
    ],
    indicators={
        "past_return": indicators.momentum("window"),
        "volatility": indicators.volatility("volatility_window"),
    },
)
def momentum(past_return: float, volatility: float, target: float, leverage: float, short: float) -> float:
    """Buy after a rise, with `target / volatility` of equity; leave (or go short by as much) after a fall.

    The exposure changes a little with every bar: set `execution.rebalance_band` unless costs are nil, and
    `execution.max_exposure` for a `leverage` above 1. Moskowitz, Ooi & Pedersen (2012), "Time series momentum",
    Journal of Financial Economics 104(2), equation 5, who rebalance monthly with an exponential volatility.
    """
    size = leverage if volatility * leverage <= target else target / volatility
    return size if past_return > 0.0 else 0.0 - short * size
