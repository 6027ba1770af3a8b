"""What a spec may say of a portfolio: scenarios, optimisation, constraints, rebalancing; each setting declared once.

Which returns
    Scenarios are made from the last `window` returns up to and including the close at which it is decided: nothing
    later is seen. With `method` = ``user`` they are handed in ([data] scenarios), each set from the moment on at which
    it was known, and an asset needs nothing but a return at the close. With `missing` = ``exclude`` an asset that lacks
    a price anywhere in the window has weight 0; with ``stale`` a bar without a price is a return of 0 once the asset
    has had a first price, and the whole move since comes with the next price. What is drawn depends on `seed`, the
    method and the time of the decision alone.
When
    `calendar` = ``bars`` decides at every `every`-th close from the first bar of the fold on; the others at the last
    close of each week, month, quarter or year (UTC). All are `offset` closes later. The first decision is the first
    such close that has a whole window before it. When it fills, and how far a weight may drift before it is traded,
    say the settings of `execution`.
What is held before
    A limit on turnover and a cost of trading count from the last targets, drifted with the returns since: what an
    account without costs and guards would hold.
When there is no answer
    The first decision of a fold that has none makes the trial a failed row, which says which constraints are in
    conflict. A later one is a fallback, counted in the row: ``hold`` keeps what is held, ``cash`` sells all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from quantbot.parameters import Parameter, Table, Value, choice, integer, number
from quantbot.portfolio.allocation import ALLOCATORS
from quantbot.portfolio.dates import CALENDARS
from quantbot.portfolio.execution import ACCOUNT
from quantbot.portfolio.guards import GUARDS
from quantbot.risk.scenarios import SCENARIO_PARAMETERS, SCENARIOS

NONE = -1.0  # a target return that constrains nothing: nobody loses everything on average
MOMENTUM = "momentum"
GIVEN = "user"  # scenarios that [data] names

SCENARIO: tuple[Parameter, ...] = (
    *(parameter for parameter in SCENARIO_PARAMETERS.values()),
    integer("seed", 0, 0, 2**31 - 1, "Of what is drawn; another seed is another draw."),
    choice("missing", "exclude", ("exclude", "stale"),
           "An asset without a price in the window: left out, or taken not to have moved on those bars."),
)  # fmt: skip

OPTIMISE: tuple[Parameter, ...] = (
    choice("method", "min_cvar", (*ALLOCATORS, MOMENTUM), "How weights come from scenarios."),
    number("beta", 0.95, 0.001, 0.9999, "Confidence level of CVaR: 0.95 is the mean loss of the worst twentieth."),
    number("target_return", NONE, NONE, 100.0, "Least mean return of the scenarios, scaled to a year; -1: none.",
           unit="fraction per year"),
    number("cvar_limit", 0.02, -1.0, 10.0, "Greatest CVaR of max_return, a loss: positive is bad.", unit="fraction"),
    number("aversion", 1.0, 1e-9, 1e9, "Mean return that a unit of risk costs in max_utility and mean_variance; more is"
           " more careful."),
    integer("lookback", 252, 1, 100_000, "Bars over which momentum compares.", unit="bars"),
    number("share", 0.1, 1e-6, 1.0, "Of the assets, the best that momentum holds.", unit="fraction"),
)  # fmt: skip

CONSTRAINTS: tuple[Parameter, ...] = (
    number("min_weight", 0.0, -100.0, 100.0, "Least weight of an asset; negative allows to sell short.",
           unit="fraction of equity"),
    number("max_weight", 1.0, -100.0, 100.0, "Greatest weight of an asset.", unit="fraction of equity"),
    number("budget", 1.0, -100.0, 100.0, "Sum of the weights; what is left is cash.", unit="fraction of equity"),
    number("gross", 0.0, 0.0, 1000.0, "Greatest sum of absolute weights; 0: none.", unit="fraction of equity"),
    number("turnover", 0.0, 0.0, 1000.0, "Greatest sum of absolute changes at a decision, but the first; 0: none.",
           unit="fraction of equity"),
    number("cost_bps", 0.0, 0.0, 10_000.0, "What a change of a weight costs in the optimisation, added to each"
           " scenario's loss; what fills cost says execution.", unit="bps"),
)  # fmt: skip

REBALANCE: tuple[Parameter, ...] = (
    choice("calendar", "bars", CALENDARS, "When it is decided: every so many bars, or at the end of which period."),
    integer("every", 21, 1, 1_000_000, "Bars from one decision to the next, where calendar is bars.", unit="bars"),
    integer("offset", 0, 0, 1_000_000, "Bars by which all decisions are later.", unit="bars"),
    choice("fallback", "hold", ("hold", "cash"), "Where there is no answer: keep what is held, or sell all."),
)  # fmt: skip

SECTIONS: Mapping[str, tuple[Parameter, ...]] = {
    "scenarios": SCENARIO,
    "optimise": OPTIMISE,
    "constraints": CONSTRAINTS,
    "rebalance": REBALANCE,
    "execution": ACCOUNT,
    "guards": GUARDS,
    "stress": (),
    "pool": (),
}
STRATEGIES = "pool.strategies"
# Settings on which a chain of optimisations depends; points that differ in others alone share its weights.
CHAIN: tuple[str, ...] = tuple(
    f"{section}.{parameter.name}"
    for section, own in (
        ("scenarios", SCENARIO), ("optimise", OPTIMISE), ("constraints", CONSTRAINTS), ("rebalance", REBALANCE)
    )
    for parameter in own
)  # fmt: skip

_WEIGHT = number("weight", 0.0, -100.0, 100.0, "Share of the benchmark.")
TABLES: Mapping[str, Table] = {
    "constraints.groups": Table(
        "groups",
        "name",
        (
            number("low", 0.0, -1000.0, 1000.0, "Least sum of the weights."),
            number("high", 1.0, -1000.0, 1000.0, "Greatest sum of the weights."),
        ),
        lists_assets=True,
        doc="Limits on the sum of some assets' weights, such as a sector's.",
    ),
    "constraints.assets": Table(
        "assets", "asset", CONSTRAINTS[:2], doc="Limits of single assets, in place of those of all."
    ),
    STRATEGIES: Table(
        "strategies",
        "name",
        (
            number("allocation", 1.0, 0.0, 100.0, "Share of the equity that the strategy is given."),
            *(
                replace(parameter, name=f"{section}.{parameter.name}")
                for section in ("scenarios", "optimise", "constraints", "rebalance")
                for parameter in SECTIONS[section]
            ),
        ),
        doc="Strategies that trade together on one pool of cash: the settings of each that are not the sections'.",
        required=("allocation",),
        varies=True,
    ),
    "stress.shocks": Table(
        "shocks",
        "name",
        (
            number("move", 0.0, -1.0, 1000.0, "Return of these assets, -0.3 for a fall by 30 %."),
            number("others", 0.0, -1.0, 1000.0, "Return of all others at the same time."),
        ),
        lists_assets=True,
        doc="Shocks that the Risk page puts beside those that it knows; no trial depends on them.",
    ),
    "optimise.benchmark": Table(
        "benchmark", "asset", (_WEIGHT,), doc="What tracking follows; equal weights of all where it is not said."
    ),
}


def defaults() -> dict[str, Value]:
    """Return every setting's default, dotted."""
    return {f"{section}.{one.name}": one.default for section, own in SECTIONS.items() for one in own}


def horizon_of(settings: Mapping[str, Value]) -> int:
    """Return how many bars a scenario spans."""
    taken = {parameter.name for parameter in SCENARIOS[str(settings["scenarios.method"])].parameters}
    return int(settings["scenarios.horizon"]) if "horizon" in taken else 1
