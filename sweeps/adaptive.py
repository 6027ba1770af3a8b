"""Searches that learn, on the run store: what a phase evaluates is computed once, written once, and read by everybody.

    phases/000001.json      what phase 1 evaluates (`sweeps.phases`); there before any of its blocks runs

Phase 0 needs none: the plan says it. Nothing else is kept: whoever drives next finds the phases and the rows, and from
them computes what the last driver would have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Points, TrialStatus
from quantbot.errors import CorruptError, NotFoundError, RunError
from sweeps.phases import Phase, padded
from sweeps.rungs import guide_fold, promote, rung_sizes
from sweeps.runstore import SHORT, RunStore
from sweeps.sections import DEFAULT_ETA
from sweeps.surface import nanmedian
from sweeps.trial import Axis, Block

if TYPE_CHECKING:
    from sweeps.plan import Plan
    from sweeps.sections import Search

_KEY = re.compile(r"phases/(\d{6})\.json")


@dataclass(frozen=True, eq=False)
class Scores:
    """What the points of a phase came to, as the search judges them.

    Attributes
    ----------
    values
        Shape (n_points,): the median of the objective over the assets; NaN where none has a value.
    failed
        Shape (n_points,): whether a point has no value, and a trial of it failed.
    """

    values: NDArray[np.float64]
    failed: NDArray[np.bool_]


def searcher(search: Search) -> dict[str, str]:
    """Return the versions of what chooses points, which the choice depends on beside the rows."""
    if search.method != "bayes":
        return {}
    import scipy

    from sweeps.bayes import require_optuna

    return {"optuna": require_optuna().__version__, "scipy": scipy.__version__}


def open_phase(run: RunStore, plan: Plan, index: int) -> None:
    """Make sure that what phase `index` evaluates is written; all rows of the phases before must be there.

    Raises
    ------
    RunError
        If this process might choose otherwise than the one that planned the run.
    DivergenceError
        If the same rows led to another choice before.
    """
    key = phase_key(index)
    if index and not run.store.exists(key):
        run.put_once(key, _next_phase(run, plan, index).to_bytes())


def phase_key(index: int) -> str:
    """Return the key of what phase `index` evaluates."""
    return f"phases/{index:06d}.json"


def read_phase(run: RunStore, index: int) -> Phase:
    """Return what phase `index` evaluates; remembered per process, since it never changes."""
    return _read(run.root.url, run.identity, index)


def points_of(run: RunStore, plan: Plan, block: Block) -> tuple[Points, NDArray[np.bool_] | None]:
    """Return the points of a block, and which of them were promoted; None where all are evaluated."""
    index = plan.phase_of(block)
    if index == 0:
        return plan.points[block.point_start : block.point_stop], None
    phase = read_phase(run, index)
    if phase.promoted is not None:
        return plan.points[block.point_start : block.point_stop], phase.promoted[block.point_start : block.point_stop]
    assert phase.points is not None
    first = plan.phases.points(index).start
    return phase.points[block.point_start - first : block.point_stop - first], None


def known_plan(run: RunStore, plan: Plan) -> Plan:
    """Return the plan with the points of every phase that was opened so far."""
    if plan.n_known == plan.n_points:
        return plan
    there = {int(match[1]) for key in run.store.list("phases/") if (match := _KEY.fullmatch(key))}
    n_open = next(index for index in range(1, len(plan.phases) + 1) if index not in there)
    return _known(run.root.url, run.identity, n_open)


def scores(run: RunStore, plan: Plan, phase: int) -> Scores:
    """Return what the points of a finished phase came to on the fold that guides the search."""
    rungs = [index for index, fold in enumerate(plan.folds) if fold.role == "rung"]
    fold = rungs[phase] if rungs else guide_fold(plan.folds)
    return _scores(run.root.url, run.identity, phase, fold)


def _next_phase(run: RunStore, plan: Plan, index: int) -> Phase:
    from sweeps.task import check_bits, objective

    check_bits(plan)
    here = searcher(plan.spec.search)
    if here != dict(plan.searcher):
        raise RunError(
            f"run {run.identity[:SHORT]} was planned with {_versions(plan.searcher)}, here is {_versions(here)}: the "
            "next points could be others. Install those versions, or drive it where it was planned"
        )
    _, better = objective(plan)
    if plan.spec.search.method == "bayes":
        return Phase(index, points=_proposed(run, plan, index, better))
    sizes = rung_sizes(plan.n_points, plan.spec.search.eta or DEFAULT_ETA, len(plan.phases))
    return Phase(index, promoted=promote(scores(run, plan, index - 1).values, better, sizes[index]))


def _proposed(run: RunStore, plan: Plan, index: int, better: int) -> Points:
    from quantbot.engine import get_engine
    from sweeps.bayes import Told, propose
    from sweeps.settings import resolve_settings
    from sweeps.where import bind_where

    spec = plan.spec
    settings = resolve_settings(spec, get_engine(plan.engine), plan.job().strategy)
    reserve = settings.points(spec, plan.n_points)[1]
    known = known_plan(run, plan)
    batch = plan.phases.points(index)
    if known.n_known < batch.start:
        raise NotFoundError(f"{run.url}: phase {index} needs those before it, but {phase_key(index - 1)} is missing")
    before = [scores(run, plan, phase) for phase in range(index)]
    told = Told(
        known.points[: batch.start],
        np.concatenate([found.values for found in before]),
        np.concatenate([found.failed for found in before]),
    )
    allowed = bind_where(spec.search.where, plan.axes, plan.settings) if spec.search.where else None
    return propose(
        settings.forms,
        settings.declared,
        spec.search,
        told,
        reserve,
        batch.stop - batch.start,
        better=better,
        allowed=allowed,
    )


@lru_cache(maxsize=4096)
def _read(root_url: str, identity: str, index: int) -> Phase:
    from datasets.store import open_store

    run = RunStore(open_store(root_url), identity)
    where = f"{run.url}/{phase_key(index)}"
    phase = Phase.from_bytes(run.read_sealed(phase_key(index)), where)
    plan = run.plan()
    points = plan.phases.points(index)
    found = phase.points.n_points if phase.points is not None else len(phase.promoted)  # type: ignore[arg-type]
    if (phase.index, found) != (index, points.stop - points.start):
        raise CorruptError(
            f"{where}: must be phase {index} with {points.stop - points.start} points; found phase {phase.index} with "
            f"{found}"
        )
    return phase


@lru_cache(maxsize=8)
def _known(root_url: str, identity: str, n_open: int) -> Plan:
    from datasets.store import open_store

    run = RunStore(open_store(root_url), identity)
    plan = run.plan()
    n_known = plan.phases.points(n_open - 1).stop
    phases = [_points(read_phase(run, index)) for index in range(1, n_open)]
    first = plan.points[: plan.n_known]
    columns = {
        name: np.concatenate([first.columns[name], *(points.columns[name] for points in phases)])
        for name in plan.points.columns
    }
    axes = tuple(Axis(axis.name, np.unique(columns[axis.name]), axis.kind, sampled=True) for axis in plan.axes)
    return replace(plan, axes=axes, points=padded(columns, plan.n_points), n_known=n_known)


@lru_cache(maxsize=4096)
def _scores(root_url: str, identity: str, phase: int, fold: int) -> Scores:
    from datasets.store import open_store
    from sweeps.task import objective

    run = RunStore(open_store(root_url), identity)
    plan = run.plan()
    name, _ = objective(plan)
    points = plan.phases.points(phase)
    shape = len(plan.assets), points.stop - points.start
    values, failed = np.full(shape, np.nan), np.zeros(shape, np.bool_)
    blocks = [block for index in plan.phase_blocks(phase) if (block := plan.block(int(index))).fold_index == fold]
    for block, (_, rows) in zip(blocks, run.read_blocks(blocks), strict=True):
        at = block.asset_index, slice(block.point_start - points.start, block.point_stop - points.start)
        found = rows.measures[name]
        values[at] = np.where(np.isfinite(found) & (rows.status == TrialStatus.OK), found, np.nan)
        failed[at] = rows.status == TrialStatus.FAILED
    median = nanmedian(values)
    return Scores(median, failed.any(axis=0) & np.isnan(median))


def _points(phase: Phase) -> Points:
    assert phase.points is not None
    return phase.points


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items()) or "nothing"
