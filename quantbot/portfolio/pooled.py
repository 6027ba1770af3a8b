"""Several strategies on one pool, as a spec names them: each a chain of its own, each with a share of the equity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Tables
from quantbot.market import Floats
from quantbot.parameters import Parameter, Value
from quantbot.portfolio.chains import Chain
from quantbot.portfolio.sections import STRATEGIES, TABLES
from quantbot.portfolio.targets import Targets, pool

_PREFIX = f"{STRATEGIES}."
_ADDED = ("n_problems", "n_fallbacks", "n_excluded")


def field_of(name: str, tables: Tables) -> Parameter | None:
    """Return the declaration of a setting of a strategy ("pool.strategies.calm.optimise.beta"), or None."""
    strategy, _, field = name.removeprefix(_PREFIX).partition(".")
    if not name.startswith(_PREFIX) or strategy not in tables.get(STRATEGIES, {}):
        return None
    return next((one for one in TABLES[STRATEGIES].fields if one.name == field), None)


def is_own(name: str) -> bool:
    """Return whether a setting is one strategy's own."""
    return name.startswith(_PREFIX)


def strategies(settings: Mapping[str, Value], tables: Tables) -> dict[str, tuple[float, dict[str, Value]]]:
    """Return the allocation and the settings of each strategy, in the order of the spec; none where there is no pool.

    A strategy's own settings stand before those of all; points and plan (`settings`) before the table.

    Examples
    --------
    >>> tables = {"pool.strategies": {"calm": {"allocation": 0.5, "optimise.beta": 0.9}, "fast": {"allocation": 0.5}}}
    >>> said = {"optimise.beta": 0.8, "pool.strategies.fast.allocation": 0.25}
    >>> {name: (share, own["optimise.beta"]) for name, (share, own) in strategies(said, tables).items()}
    {'calm': (0.5, 0.9), 'fast': (0.25, 0.8)}
    """
    common = {name: value for name, value in settings.items() if not is_own(name)}
    found = {}
    for strategy, row in tables.get(STRATEGIES, {}).items():
        prefix = f"{_PREFIX}{strategy}."
        own = {name.removeprefix(prefix): value for name, value in settings.items() if name.startswith(prefix)}
        said: dict[str, Value] = {name: value for name, value in row.items() if not isinstance(value, tuple)}
        said |= own
        share = float(said.pop("allocation"))
        found[strategy] = share, common | said
    return found


@dataclass(frozen=True, eq=False)
class Pooled:
    """Chains that trade together; beside a `Chain` wherever targets are wanted.

    Attributes
    ----------
    parts
        By strategy: its chain, its share of the equity, and its settings.
    """

    parts: Mapping[str, tuple[Chain, float, Mapping[str, Value]]]

    @property
    def failed(self) -> str:
        """Why there is nothing to trade: a strategy without an answer to its first decision; empty when there is."""
        return next(
            (f"strategy {name}: {chain.failed}" for name, (chain, _, _) in self.parts.items() if chain.failed), ""
        )

    @cached_property
    def targets(self) -> Targets:
        """What the account is to hold: each strategy's last targets times its share, at every decision of any."""
        asked = {name: Targets.one(chain.bars, chain.weights) for name, (chain, _, _) in self.parts.items()}
        return pool(asked, {name: share for name, (_, share, _) in self.parts.items()})

    @property
    def bars(self) -> NDArray[np.int64]:
        """Shape (n,): the bars at whose close a strategy decides."""
        return self.targets.bars

    @property
    def weights(self) -> Floats:
        """Shape (n, n_assets): the sum of what all want."""
        return np.asarray(self.targets.weights[0])

    def measures(self, settings: Mapping[str, Value]) -> dict[str, float]:
        """Return what the row of a trial says of its optimisations; forecasts of single strategies have no sum."""
        del settings
        each = [chain.measures(own) for chain, _, own in self.parts.values()]
        found = dict.fromkeys(each[0], math.nan)
        found |= {name: sum(row[name] for row in each) for name in _ADDED}
        gaps = [row["worst_gap"] for row in each if not math.isnan(row["worst_gap"])]
        found["worst_gap"] = max(gaps, default=math.nan)
        decided = np.array([row["n_problems"] for row in each])
        assets = np.array([row["mean_assets"] for row in each])
        if decided.sum():
            found["mean_assets"] = float(np.nansum(assets * decided) / decided.sum())
        return found
