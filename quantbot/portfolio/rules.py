"""From the settings and tables of a spec to the constraints of one optimisation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Tables
from quantbot.errors import InputError
from quantbot.market import Floats
from quantbot.parameters import Value
from quantbot.portfolio.constraints import Constraints, Linear
from quantbot.portfolio.model import Scenarios
from quantbot.portfolio.sections import NONE, horizon_of

_NUMBERS = ("min_weight", "max_weight", "budget", "gross", "turnover")


# What optimisations call the fields of constraints, and a spec its settings.
_SETTINGS = {
    "lower": "constraints.min_weight",
    "upper": "constraints.max_weight",
    "budget": "constraints.budget",
    "linear": "constraints.groups",
    "gross": "constraints.gross",
    "turnover": "constraints.turnover",
    "previous": "constraints.turnover",
    "cost": "constraints.cost_bps",
    "target_return": "optimise.target_return",
}


def called(error: Exception) -> str:
    """Return what an optimisation refuses, its settings called as a spec calls them.

    Examples
    --------
    >>> called(InputError("equal_weight can't honour upper; min_cvar can"))
    "equal_weight can't honour constraints.max_weight; min_cvar can"
    """
    return re.sub(r"(?<=can't honour )\w+", lambda found: _SETTINGS.get(found[0], found[0]), str(error))


@dataclass(frozen=True)
class Rules:
    """What a point says of weights.

    Attributes
    ----------
    assets
        All that the trial may hold; an optimisation takes those of them, `columns`, that have a whole history.
    """

    settings: Mapping[str, Value]
    tables: Tables
    assets: tuple[str, ...]
    periods_per_year: float

    @property
    def cost(self) -> float:
        """What a change of one costs, as a share of capital."""
        return float(self.settings["constraints.cost_bps"]) / 1e4

    def constraints(self, columns: NDArray[np.int64], previous: Floats | None) -> Constraints:
        """Return what weights of these assets may be; what is not limited is left at its default."""
        numbers = {name: float(self.settings[f"constraints.{name}"]) for name in _NUMBERS}
        said: dict[str, Any] = {}
        lower, upper = (self._bounds(f"{side}_weight", columns, numbers) for side in ("min", "max"))
        for name, value, usual in (("lower", lower, 0.0), ("upper", upper, 1.0)):
            if np.any(value != usual):
                said[name] = value if np.ptp(value) else float(value[0])
        if numbers["budget"] != 1.0:
            said["budget"] = numbers["budget"]
        if linear := self._groups(columns):
            said["linear"] = linear
        if numbers["gross"] > 0.0:
            said["gross"] = numbers["gross"]
        if numbers["turnover"] > 0.0 and previous is not None:  # what is bought first has no limit
            said["turnover"] = numbers["turnover"]
        target = float(self.settings["optimise.target_return"])
        if target > NONE:
            said["target_return"] = target * horizon_of(self.settings) / self.periods_per_year
        if self.cost:
            said["cost"] = self.cost
        if previous is not None:
            said["previous"] = previous
        return Constraints(**said)

    def _bounds(self, name: str, columns: NDArray[np.int64], numbers: Mapping[str, float]) -> Floats:
        bounds = np.full(len(self.assets), numbers[name])
        for asset, row in self.tables.get("constraints.assets", {}).items():
            if name in row:
                bounds[self.assets.index(asset)] = row[name]
        return bounds[columns]

    def _groups(self, columns: NDArray[np.int64]) -> tuple[Linear, ...]:
        """Return the limits of groups; one of which no asset is left is met, or can't be, by weights of 0."""
        found = []
        for name, row in self.tables.get("constraints.groups", {}).items():
            members = {self.assets.index(asset) for asset in row["assets"]}  # type: ignore[union-attr]
            inside = np.array([float(column in members) for column in columns])
            low, high = float(row.get("low", -math.inf)), float(row.get("high", math.inf))  # type: ignore[arg-type]
            if inside.any():
                found.append(Linear(name, inside, low, high))
            elif not low <= 0.0 <= high:
                raise InputError(f"group {name} must have at least {low:g}, but none of its assets has a whole history")
        return tuple(found)

    def extra(self, scenarios: Scenarios, columns: NDArray[np.int64]) -> dict[str, Any]:
        """Return what the method takes beyond scenarios and constraints."""
        match self.settings["optimise.method"]:
            case "max_return":
                return {"limit": float(self.settings["optimise.cvar_limit"])}
            case "max_utility" | "mean_variance":
                return {"aversion": float(self.settings["optimise.aversion"])}
            case "tracking":
                return {"benchmark": scenarios.returns @ self._benchmark(columns)}
        return {}

    def _benchmark(self, columns: NDArray[np.int64]) -> Floats:
        """Return the benchmark's weights, those of missing assets shared out among the others."""
        rows = self.tables.get("optimise.benchmark", {})
        if not rows:
            return np.full(len(columns), 1.0 / len(columns))
        named = {asset: float(row["weight"]) for asset, row in rows.items()}  # type: ignore[arg-type]
        own = np.array([named.get(self.assets[column], 0.0) for column in columns])
        if not own.sum() > 0.0:
            raise InputError("optimise.benchmark: none of its assets has a whole history")
        return np.asarray(own * (sum(named.values()) / own.sum()))
