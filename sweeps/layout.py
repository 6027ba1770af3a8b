"""How the rows of a run lie in labelled arrays: by asset, fold and the axes of its grid, or by point.

Where the points fill their grid, each axis is a dimension; sampled points, and a grid of which `where` left little,
have one dimension `point`. Cells are counted with the last axis fastest, and the points of a grid rise in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import get_engine
from quantbot.measures import Measure
from sweeps.geometry import CellStatus, fills_grid
from sweeps.grid import GridPoints
from sweeps.sessions import has_sessions, parts_of

if TYPE_CHECKING:
    from sweeps.plan import Plan
    from sweeps.runstore import Manifest

STATUS = "status"  # the array of `CellStatus` beside the measures


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each point of a plan lies.

    Attributes
    ----------
    dims
        Names of the dimensions; the first two are `asset` and `fold`.
    shape
        Number of labels of each.
    cells
        Shape (n_known,), rising: each point's cell within its asset and fold; None where every cell is a point.
    """

    plan: Plan
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    cells: NDArray[Any] | None

    @classmethod
    def of(cls, plan: Plan) -> Layout:
        """Lay out the points of a plan that are known."""
        lead = len(plan.assets), len(plan.folds)
        sizes = tuple(len(axis) for axis in plan.axes)
        if not isinstance(plan.points, GridPoints) or not fills_grid(sizes, plan.n_points):
            return cls(plan, ("asset", "fold", "point"), (*lead, plan.n_known), None)
        return cls(plan, ("asset", "fold", *(axis.name for axis in plan.axes)), (*lead, *sizes), plan.points.cells)

    @property
    def n_cells(self) -> int:
        """Number of cells of one asset in one fold."""
        return int(np.prod(self.shape[2:]))

    def shaped(self, values: NDArray[Any], empty: float) -> NDArray[Any]:
        """Lay out one value per trial, with `empty` where there is no point."""
        own = values.reshape(-1, self.plan.n_points)[:, : self.plan.n_known]
        if self.cells is None:
            return own.reshape(self.shape)
        grid = np.full((own.shape[0], self.n_cells), empty, values.dtype)
        grid[:, self.cells] = own
        return grid.reshape(self.shape)

    def coords(self) -> dict[str, Any]:
        """Return the labels, as xarray takes coordinates."""
        plan = self.plan
        found: dict[str, Any] = {
            "asset": ("asset", np.array(plan.assets)),
            "fold": ("fold", np.array([fold.name for fold in plan.folds])),
            "role": ("fold", np.array([fold.role for fold in plan.folds])),
            "fold_start": ("fold", _times([fold.start_ns for fold in plan.folds])),
            "fold_end": ("fold", _times([fold.end_ns for fold in plan.folds])),
        }
        if has_sessions(plan):
            parts = [parts_of(asset) for asset in plan.assets]
            labels = {"instrument": [part[0] for part in parts], "session": [part[1] for part in parts]}
            taken = [axis.name for axis in plan.axes]
            found |= {name: ("asset", np.array(own)) for name, own in labels.items() if name not in taken}
        if self.dims[2:] != ("point",):
            return found | {axis.name: (axis.name, axis.values) for axis in plan.axes}
        columns = plan.points.columns
        return found | {name: ("point", columns[name][: plan.n_known]) for name in columns}

    def attributes(self, name: str) -> dict[str, Any]:
        """Return what describes a measure, or the status."""
        if name == STATUS:
            return {
                "long_name": "what a cell stands for",
                "flag_values": [int(code) for code in CellStatus],
                "flag_meanings": " ".join(code.name.lower() for code in CellStatus),
            }
        measure = measures_of(self.plan)[name]
        return {
            "long_name": measure.label,
            "units": measure.unit,
            "better": measure.better,
            "group": measure.group,
            "description": measure.doc,
        }


def measures_of(plan: Plan) -> dict[str, Measure]:
    """Return the declarations of the measures that rows carry, in their order."""
    declared = {measure.name: measure for measure in get_engine(plan.engine).measures}
    return {name: declared[name] for name in plan.measures}


def run_attributes(plan: Plan, manifest: Manifest | None, *, complete: bool) -> dict[str, Any]:
    """Return what describes a run."""
    return {
        "title": f"{plan.bundle.reference} on {plan.dataset_name}",
        "identity": plan.identity,
        "dataset": plan.dataset_name,
        "dataset_version": plan.dataset_version,
        "engine": plan.engine,
        "objective": plan.spec.objective.metric,
        "spec": plan.spec_toml,
        "complete": int(complete),
        "result_digest": manifest.result_digest if manifest else "",
    }


def _times(ns: list[int]) -> NDArray[np.datetime64]:
    return np.array(ns, np.int64).astype("datetime64[ns]")
