"""Portfolios: conditional value at risk minimised with proof, frontiers, rolling windows; arrays in, arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from quantbot.portfolio.allocation import ALLOCATORS, Allocator, allocate
    from quantbot.portfolio.constraints import Constraints, Linear
    from quantbot.portfolio.cvar import Optimum, cvar_of, maximise_return, maximise_utility, minimise_cvar
    from quantbot.portfolio.frontier import Frontier, efficient_frontier
    from quantbot.portfolio.model import Scenarios
    from quantbot.portfolio.rolling import Rolling, rolling_cvar

_MODULES = {
    "allocation": ("ALLOCATORS", "Allocator", "allocate"),
    "constraints": ("Constraints", "Linear"),
    "cvar": ("Optimum", "cvar_of", "maximise_return", "maximise_utility", "minimise_cvar"),
    "frontier": ("Frontier", "efficient_frontier"),
    "model": ("Scenarios",),
    "rolling": ("Rolling", "rolling_cvar"),
}

__all__ = [
    "ALLOCATORS",
    "Allocator",
    "Constraints",
    "Frontier",
    "Linear",
    "Optimum",
    "Rolling",
    "Scenarios",
    "allocate",
    "cvar_of",
    "efficient_frontier",
    "maximise_return",
    "maximise_utility",
    "minimise_cvar",
    "rolling_cvar",
]

__getattr__ = exports(__name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names})
