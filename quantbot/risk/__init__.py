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
    from quantbot.risk.difference import EFFECTS, Difference, TrialPath, explain_difference
    from quantbot.risk.drawdowns import DrawdownAttribution, attribute_drawdowns
    from quantbot.risk.factors import FactorFit, FactorRisk, factor_risk, regress
    from quantbot.risk.pnl import PnlAttribution, attribute_pnl, split_by_factor
    from quantbot.risk.rolling import RollingContributions, rolling_contributions
    from quantbot.risk.scenarios import (
        SCENARIO_PARAMETERS,
        SCENARIOS,
        ScenarioMethod,
        make_scenarios,
        principal_factors,
        seed_of,
    )
    from quantbot.risk.stress import (
        PERIODS,
        Shock,
        StressTest,
        factor_shock,
        group_shock,
        historical_shocks,
        stress_test,
        uniform_shock,
    )

_MODULES = {
    "contributions": (
        "ContributionIntervals",
        "Contributions",
        "contribution_intervals",
        "diversification_ratio",
        "incremental_risk",
        "risk_contributions",
    ),
    "difference": ("EFFECTS", "Difference", "TrialPath", "explain_difference"),
    "drawdowns": ("DrawdownAttribution", "attribute_drawdowns"),
    "factors": ("FactorFit", "FactorRisk", "factor_risk", "regress"),
    "pnl": ("PnlAttribution", "attribute_pnl", "split_by_factor"),
    "rolling": ("RollingContributions", "rolling_contributions"),
    "scenarios": (
        "SCENARIOS",
        "SCENARIO_PARAMETERS",
        "ScenarioMethod",
        "make_scenarios",
        "principal_factors",
        "seed_of",
    ),
    "stress": (
        "PERIODS",
        "Shock",
        "StressTest",
        "factor_shock",
        "group_shock",
        "historical_shocks",
        "stress_test",
        "uniform_shock",
    ),
}

__all__ = [
    "EFFECTS",
    "PERIODS",
    "SCENARIOS",
    "SCENARIO_PARAMETERS",
    "ContributionIntervals",
    "Contributions",
    "Difference",
    "DrawdownAttribution",
    "FactorFit",
    "FactorRisk",
    "PnlAttribution",
    "RollingContributions",
    "ScenarioMethod",
    "Shock",
    "StressTest",
    "TrialPath",
    "attribute_drawdowns",
    "attribute_pnl",
    "contribution_intervals",
    "diversification_ratio",
    "explain_difference",
    "factor_risk",
    "factor_shock",
    "group_shock",
    "historical_shocks",
    "incremental_risk",
    "make_scenarios",
    "principal_factors",
    "regress",
    "risk_contributions",
    "rolling_contributions",
    "seed_of",
    "split_by_factor",
    "stress_test",
    "uniform_shock",
]

__getattr__ = exports(__name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names})
