"""What one path of equity did: months, rolling windows, drawdowns, returns and round trips; arrays in, arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from quantbot.paths.drawdowns import Drawdown, worst_drawdowns
    from quantbot.paths.histogram import Distribution, distribution
    from quantbot.paths.months import Months, monthly_returns
    from quantbot.paths.trips import RoundTrips, round_trips
    from quantbot.paths.windows import Rolling, rolling

_HOMES = {
    "Distribution": "quantbot.paths.histogram",
    "Drawdown": "quantbot.paths.drawdowns",
    "Months": "quantbot.paths.months",
    "Rolling": "quantbot.paths.windows",
    "RoundTrips": "quantbot.paths.trips",
    "distribution": "quantbot.paths.histogram",
    "monthly_returns": "quantbot.paths.months",
    "rolling": "quantbot.paths.windows",
    "round_trips": "quantbot.paths.trips",
    "worst_drawdowns": "quantbot.paths.drawdowns",
}

__all__ = [
    "Distribution",
    "Drawdown",
    "Months",
    "Rolling",
    "RoundTrips",
    "distribution",
    "monthly_returns",
    "rolling",
    "round_trips",
    "worst_drawdowns",
]

__getattr__ = exports(__name__, _HOMES)
