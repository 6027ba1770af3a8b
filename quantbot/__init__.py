"""What a market, a strategy and a risk are: arrays in, arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from quantbot.engine import Job, Points, Replay, Rows, get_engine
    from quantbot.errors import QuantBotError
    from quantbot.market import Bars, Instrument, Panel
    from quantbot.parameters import Parameter, choice, integer, number
    from quantbot.strategies.contract import Indicator, Strategy, strategy
    from quantbot.strategies.loader import load_strategy

_HOMES = {
    "Bars": "quantbot.market",
    "Indicator": "quantbot.strategies.contract",
    "Instrument": "quantbot.market",
    "Job": "quantbot.engine",
    "Panel": "quantbot.market",
    "Parameter": "quantbot.parameters",
    "Points": "quantbot.engine",
    "QuantBotError": "quantbot.errors",
    "Replay": "quantbot.engine",
    "Rows": "quantbot.engine",
    "Strategy": "quantbot.strategies.contract",
    "choice": "quantbot.parameters",
    "get_engine": "quantbot.engine",
    "integer": "quantbot.parameters",
    "load_strategy": "quantbot.strategies.loader",
    "number": "quantbot.parameters",
    "strategy": "quantbot.strategies.contract",
}

__all__ = [
    "Bars",
    "Indicator",
    "Instrument",
    "Job",
    "Panel",
    "Parameter",
    "Points",
    "QuantBotError",
    "Replay",
    "Rows",
    "Strategy",
    "choice",
    "get_engine",
    "integer",
    "load_strategy",
    "number",
    "strategy",
]

__getattr__ = exports(__name__, _HOMES)
