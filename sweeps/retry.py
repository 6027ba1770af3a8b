"""Running again what failed: a spec of exactly those points, for after whatever made them fail was put right.

The same spec over the same data is the same run, and a trial that failed would fail again. What is mended (a strategy,
the data) makes another run; this spec saves it from computing everything else too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import InputError
from sweeps.toml_text import to_toml
from sweeps.where import MAX_LENGTH

if TYPE_CHECKING:
    from sweeps.results import Run

_MOST_POINTS = 1_000_000  # of a grid that a condition then thins out


@dataclass(frozen=True)
class Retry:
    """A sweep of the points that failed.

    Attributes
    ----------
    spec
        As TOML.
    n_points
        Points that failed; each is run in every fold, on the assets on which one of them failed.
    n_more
        Points that it runs besides, where no condition of the allowed length leaves them out.
    """

    spec: str
    n_points: int
    n_more: int


def retry(run: Run, reason: str | None = None) -> Retry:
    """Return the spec of a sweep of exactly the points that failed.

    Parameters
    ----------
    reason
        Only those that failed for it, as `Run.failures` has it.

    Raises
    ------
    InputError
        If no trial failed (so), or the points are too scattered for one grid.
    """
    import tomllib

    trials = run.failed(reason)
    if not trials.size:
        why = f" with {reason!r:.100}" if reason else ""
        raise InputError(f"no trial of run {run.short} failed{why}: there is nothing to retry")
    points = np.unique(trials % run.plan.n_points)
    chosen = run.plan.points.take(points).columns
    axes = {axis.name: np.unique(chosen[axis.name]) for axis in run.plan.axes}
    n_grid = math.prod(len(values) for values in axes.values())
    if n_grid > _MOST_POINTS:
        raise InputError(
            f"the {points.size:,} points that failed lie on a grid of {n_grid:,}; {_MOST_POINTS:,} are the most: "
            "narrow the axes by hand"
        )
    where = "" if n_grid == points.size else _condition(chosen, [name for name in axes if len(axes[name]) > 1])
    document = tomllib.loads(run.plan.spec_toml)
    document["run"] = dict(document.get("run", {})) | {"name": _named(run)}
    document["data"] = dict(document["data"]) | {"assets": _assets(run, trials)}
    document["parameters"] = dict(document.get("parameters", {})) | {
        name: {"values": values.tolist()} if len(values) > 1 else values[0].item() for name, values in axes.items()
    }
    document.pop("search", None)
    if where:
        document["search"] = {"where": where}
    return Retry(to_toml(document), int(points.size), 0 if where else n_grid - int(points.size))


def _condition(chosen: Mapping[str, NDArray[Any]], names: list[str]) -> str:
    """Return a condition that holds at these points alone; empty where it would be too long."""
    n_points = len(next(iter(chosen.values())))
    if n_points > MAX_LENGTH // 4:
        return ""
    rows = [" and ".join(f"{name} == {chosen[name][row].item()!r}" for name in names) for row in range(n_points)]
    condition = " or ".join(rows)
    return condition if len(condition) <= MAX_LENGTH else ""


def _assets(run: Run, trials: NDArray[np.int64]) -> list[str]:
    if run.plan.members:
        return list(run.plan.members)
    per_asset = run.plan.n_points * len(run.plan.folds)
    return [run.plan.assets[index] for index in np.unique(trials // per_asset).tolist()]


def _named(run: Run) -> str:
    name = run.spec.run.name or run.short
    return f"{name[:120]}-retry"
