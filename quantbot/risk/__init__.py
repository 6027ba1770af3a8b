"""Risk: scenarios of what may come, where risk comes from, and what it has cost; arrays in, arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from quantbot.risk.contributions import (
        ContributionIntervals,
        Contributions,
        contribution_intervals,
        diversification_ratio,
        incremental_risk,
        risk_contributions,
    )
    from quantbot.risk.factors import FactorFit, regress
    from quantbot.risk.scenarios import (
        SCENARIO_PARAMETERS,
        SCENARIOS,
        ScenarioMethod,
        make_scenarios,
        principal_factors,
        seed_of,
    )

_MODULES = {
    "contributions": (
        "ContributionIntervals", "Contributions", "contribution_intervals", "diversification_ratio", "incremental_risk",
        "risk_contributions",
    ),
    "factors": ("FactorFit", "regress"),
    "scenarios": (
        "SCENARIO_PARAMETERS", "SCENARIOS", "ScenarioMethod", "make_scenarios", "principal_factors", "seed_of",
    ),
}  # fmt: skip

__all__ = [
    "SCENARIOS",
    "SCENARIO_PARAMETERS",
    "ContributionIntervals",
    "Contributions",
    "FactorFit",
    "ScenarioMethod",
    "contribution_intervals",
    "diversification_ratio",
    "incremental_risk",
    "make_scenarios",
    "principal_factors",
    "regress",
    "risk_contributions",
    "seed_of",
]

__getattr__ = exports(__name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names})
