"""Portfolios: conditional value at risk minimised with proof, frontiers, rolling windows; accounts that trade them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from quantbot.portfolio.account import account_returns, run_accounts
    from quantbot.portfolio.allocation import ALLOCATORS, Allocator, allocate
    from quantbot.portfolio.constraints import Constraints, Linear
    from quantbot.portfolio.cvar import Optimum, cvar_of, maximise_return, maximise_utility, minimise_cvar
    from quantbot.portfolio.execution import ACCOUNT
    from quantbot.portfolio.frontier import Frontier, efficient_frontier
    from quantbot.portfolio.guards import GUARDS, GuardCost, guard_cost
    from quantbot.portfolio.model import Scenarios
    from quantbot.portfolio.recording import AccountPath, replay_account
    from quantbot.portfolio.rolling import Rolling, rolling_cvar
    from quantbot.portfolio.targets import Targets, momentum_targets, pool

_MODULES = {
    "allocation": ("ALLOCATORS", "Allocator", "allocate"),
    "account": ("account_returns", "run_accounts"),
    "constraints": ("Constraints", "Linear"),
    "cvar": ("Optimum", "cvar_of", "maximise_return", "maximise_utility", "minimise_cvar"),
    "execution": ("ACCOUNT",),
    "frontier": ("Frontier", "efficient_frontier"),
    "guards": ("GUARDS", "GuardCost", "guard_cost"),
    "model": ("Scenarios",),
    "recording": ("AccountPath", "replay_account"),
    "rolling": ("Rolling", "rolling_cvar"),
    "targets": ("Targets", "momentum_targets", "pool"),
}

__all__ = [
    "ACCOUNT",
    "ALLOCATORS",
    "GUARDS",
    "AccountPath",
    "Allocator",
    "Constraints",
    "Frontier",
    "GuardCost",
    "Linear",
    "Optimum",
    "Rolling",
    "Scenarios",
    "Targets",
    "account_returns",
    "allocate",
    "cvar_of",
    "efficient_frontier",
    "guard_cost",
    "maximise_return",
    "maximise_utility",
    "minimise_cvar",
    "momentum_targets",
    "pool",
    "replay_account",
    "rolling_cvar",
    "run_accounts",
]

__getattr__ = exports(__name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names})
