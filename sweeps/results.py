"""Opening a run: rows become arrays labelled by asset, fold and parameters; finished or not.

run = open_run("s3://bucket/prefix", "sma-sp500")
run.surface("sharpe")            # labelled xarray
run.best(10)                     # rows, the best first
run.replay(run.best(1)[0]["trial"])
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Replay, get_engine
from quantbot.errors import DivergenceError, InputError, NotFoundError
from quantbot.measures import Measure
from quantbot.parameters import Value, nearest
from quantbot.selection.plateau import Score
from sweeps.adaptive import known_plan
from sweeps.layout import STATUS, Layout, measures_of, run_attributes
from sweeps.looks import Look, hidden_trials, is_locked, looks_at, record_look
from sweeps.runstore import SHORT, Manifest, RunStore, run_identities
from sweeps.sessions import assets_called, instruments, sessions
from sweeps.status import RunStatus, RunSummary, list_runs, run_status
from sweeps.surface import CellStatus, Geometry, How, Plane, Plateau, nanmedian, plane, plateau
from sweeps.table import Table
from sweeps.task import judged_folds, load_data

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from datasets.store import Store
    from sweeps.luck import Luck
    from sweeps.plan import Plan
    from sweeps.spec import Spec

__all__ = ["Run", "RunStatus", "RunSummary", "TrialReplay", "find_run", "list_runs", "open_run", "run_status"]

_PREFIX = re.compile(r"[0-9a-f]{6,64}")
STATES = {
    CellStatus.VALUE: "ok",
    CellStatus.NOT_RUN: "not run yet",
    CellStatus.FAILED: "failed",
    CellStatus.SKIPPED: "not promoted",
    CellStatus.LOCKED: "locked",
}


@dataclass(frozen=True, eq=False)
class TrialReplay(Replay):
    """One trial in full, and whether it is the one that the store has.

    Attributes
    ----------
    trial
        Its index.
    equal
        Whether its row is bit for bit the stored one; None when the store has none: not run yet, or not promoted.
    mismatch
        In words, what differs; empty when nothing does.
    """

    trial: int = -1
    equal: bool | None = None
    mismatch: str = ""


def open_run(root: Store | str | Path, which: str) -> Run:
    """Open a run, finished or not; what was in the store at this moment is what it shows from then on.

    Parameters
    ----------
    root
        The store, or its URL.
    which
        The identity, its first six or more digits, or the run's name (of several the newest).

    Raises
    ------
    NotFoundError
        If there is no such run.
    InputError
        If several begin with these digits; the message lists them.
    """
    if isinstance(root, (str, Path)):
        from datasets.store import open_store

        root = open_store(root)
    run = RunStore(root, find_run(root, which))
    run.request()
    return Run(run, run.plan(), run.manifest())


def find_run(root: Store, which: str) -> str:
    """Return the identity of the run that `which` means; see `open_run`."""
    identities = run_identities(root)
    if which in identities:
        return which
    if _PREFIX.fullmatch(which):
        found = [identity for identity in identities if identity.startswith(which)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"{len(found)} runs begin with {which}: " + ", ".join(found) + "; give more digits")
    named: list[tuple[int, str]] = []
    names: set[str] = set()
    for identity in identities:
        run = RunStore(root, identity)
        labels = run.labels()
        names.update(labels)
        if which in labels:
            named.append((int(run.request().get("submitted_ns", 0)), identity))
    if named:
        return max(named)[1]
    short = ", ".join(sorted(names)[:10]) or "no named run"
    raise NotFoundError(f"no run {which!r} in {root.url}; there is {short}{nearest(which, names)}")


class Run:
    """A run and its rows; see `open_run`.

    Folds tell train and test apart: where a method is not told a fold, it looks at the train of a holdout, else at the
    whole period, and never at a test fold. What a choice is worth out of sample says `sweeps.validation`.
    """

    def __init__(self, store: RunStore, plan: Plan, manifest: Manifest | None) -> None:
        self._store = store
        self.manifest = manifest
        # A snapshot: blocks that come later belong to the next opening.
        self._blocks = (
            list(range(plan.n_blocks))
            if manifest is not None
            else [index for index in store.finished() if index < plan.n_blocks]
        )
        self.plan = known_plan(store, plan)  # after the blocks: whatever they evaluated was written before them

    @property
    def root(self) -> Store:
        """The store that holds the run, its dataset and the trial ledger."""
        return self._store.root

    @property
    def identity(self) -> str:
        """The run's identity, 64 hexadecimal digits."""
        return self.plan.identity

    @property
    def short(self) -> str:
        """The identity's first digits, as people see it."""
        return self.identity[:SHORT]

    @property
    def spec(self) -> Spec:
        """The spec that was submitted first under this identity."""
        return self.plan.spec

    @property
    def status(self) -> RunStatus:
        """The run's state now, asked of the store."""
        return run_status(self._store.root, self.identity)

    @property
    def complete(self) -> bool:
        """Whether every trial was run when this was opened."""
        return len(self._blocks) == self.plan.n_blocks

    @property
    def digest(self) -> str:
        """Tells two openings apart: the result digest, or the number of blocks that are there."""
        return self.manifest.result_digest if self.manifest else f"{self.identity[:SHORT]}+{len(self._blocks)}"

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The declarations of the measures that rows carry, in their order."""
        return measures_of(self.plan)

    @property
    def objective(self) -> str:
        """The measure that the run is judged by."""
        return self.spec.objective.metric

    @cached_property
    def geometry(self) -> Geometry:
        """Where the points lie on the axes."""
        return Geometry.of(self.plan.axes, self.plan.points, self.plan.n_known)

    @cached_property
    def _layout(self) -> Layout:
        return Layout.of(self.plan)

    @property
    def state(self) -> NDArray[np.uint8]:
        """Shape (n_trials,), uint8 of `CellStatus`."""
        return self._table.state

    @cached_property
    def _table(self) -> Table:
        """The rows, read as they are asked for."""
        hidden = hidden_trials(self.plan) if self.locked else None  # here, and so wherever rows are shown
        return Table(self._store, self.plan, self._blocks, self.manifest, hidden)

    def values(self, measure: str | None = None) -> NDArray[np.float64]:
        """Return a measure of every trial, shape (n_trials,); NaN where a trial failed or wasn't run."""
        return self._table.column(self._measure(measure))

    # -- a locked holdout ---------------------------------------------------------------------------------------

    @cached_property
    def locked(self) -> bool:
        """Whether the run has a locked holdout that nobody has looked at: its test has no rows then."""
        return is_locked(self._store, self.plan)

    def unlock(self, who: str) -> Look:
        """Show the test of a locked holdout, to everybody and for ever, and keep on record who looked and when."""
        look = record_look(self._store, self.plan, who)
        for name in ("locked", "_table"):
            self.__dict__.pop(name, None)
        self.enter_ledger()
        return look

    def enter_ledger(self) -> None:
        """Enter the run's evaluated trials into the trial ledger, where they are not yet; see `sweeps.ledger`."""
        from sweeps.ledger import record

        record(self._store, self)

    def luck(self, *, compute: bool = True) -> Luck:
        """Return how much of the best trial is luck; see `sweeps.luck`.

        Parameters
        ----------
        compute
            Compute and store what a finished run lacks, which takes seconds; driven by this version, it lacks nothing.
        """
        from sweeps.luck import luck

        return luck(self, compute=compute)

    def looks(self) -> tuple[Look, ...]:
        """Return who looked at the locked holdout, the first one first."""
        return looks_at(self._store)

    # -- surfaces -----------------------------------------------------------------------------------------------

    def to_xarray(self) -> xr.Dataset:
        """Return all rows, labelled.

        Dimensions are `asset`, `fold` and one for each axis of a grid; sampled points, and a grid of which `where`
        left little, have one dimension `point` with a coordinate for each axis. `status` is a `CellStatus`. Points
        that a search has not chosen yet are not there.
        """
        import xarray as xr

        layout = self._layout
        data = {name: layout.shaped(self._table.column(name), np.nan) for name in self.plan.measures}
        data[STATUS] = layout.shaped(self.state, int(CellStatus.EXCLUDED))
        variables = {name: (layout.dims, values, layout.attributes(name)) for name, values in data.items()}
        return xr.Dataset(variables, layout.coords(), run_attributes(self.plan, self.manifest, complete=self.complete))

    def surface(self, measure: str | None = None, fold: str | None = None, asset: str | None = None) -> xr.DataArray:
        """Return one measure as a labelled array; a named fold or asset is picked and loses its dimension.

        On order books an instrument keeps all its sessions, and a session all its instruments; `asset` has them as the
        coordinates `instrument` and `session` too.

        Parameters
        ----------
        measure
            The objective where not said.
        """
        import xarray as xr

        name = self._measure(measure)
        layout = self._layout
        values = layout.shaped(self._table.column(name), np.nan)
        array = xr.DataArray(values, layout.coords(), layout.dims, name, layout.attributes(name))
        if fold is not None:
            chosen = [self.plan.folds[index].name for index in self._folds(fold)]
            array = array.sel(fold=chosen[0] if len(chosen) == 1 else chosen)
        if asset is not None:
            named = [self.plan.assets[index] for index in self._assets(asset)]
            array = array.sel(asset=named[0] if asset in self.plan.assets else named)
        return array

    def plane(
        self,
        x: str | None = None,
        y: str | None = None,
        measure: str | None = None,
        how: How = "median",
        at: Mapping[str, Value] | None = None,
        fold: str | None = None,
        asset: str | None = None,
    ) -> Plane:
        """Reduce a measure to two axes: by `how` over all other axes that `at` doesn't pin, over folds and assets.

        Parameters
        ----------
        x, y
            Names of axes; the first two of the run where not said. A run with one axis has no `y`.
        fold
            A fold's name, or "train", "test" or "all" for every fold of that role.
        asset
            An asset's name; on order books also an instrument's, for all its sessions, or a session's, for all its
            instruments.
        """
        names = [axis.name for axis in self.plan.axes]
        if not names:
            raise InputError(f"run {self.short} varies nothing, so it has no plane; it is {self.plan.n_trials} trials")
        x = x or next(name for name in names if name != y)
        y = y or next((name for name in names if name != x), "")
        name = self._measure(measure)
        slices = self._slices(fold, asset)
        shape = (-1, self.plan.n_points)
        return plane(
            self.geometry,
            self._table.column(name).reshape(shape)[slices],
            self.state.reshape(shape)[slices],
            np.array(slices, np.int64) * self.plan.n_points,
            x=x,
            y=y,
            measure=name,
            how=how,
            better=self._better(name),
            at=at,
        )

    # -- what is good -------------------------------------------------------------------------------------------

    def best(
        self, n: int = 10, measure: str | None = None, fold: str | None = None, asset: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the `n` best trials by the measure's own direction, as `row` gives them; ties by trial index."""
        name = self._measure(measure)
        trials = self._trials(fold, asset)
        values = self._table.column(name)[trials]
        usable = np.isfinite(values) & (self.state[trials] == CellStatus.VALUE)
        trials, values = trials[usable], values[usable]
        order = np.lexsort((trials, -self._better(name) * values))[: max(n, 0)]
        return [self.row(int(trial)) for trial in trials[order]]

    def plateau(
        self,
        measure: str | None = None,
        fold: str | None = None,
        asset: str | None = None,
        how: Score = "cvar",
    ) -> Plateau | None:
        """Return the point whose neighbourhood is best; its value is the median over the chosen folds and assets.

        None where no trial has a value, and for sampled points, which have no neighbours.
        """
        name = self._measure(measure)
        values = self._table.column(name).reshape(-1, self.plan.n_points)[self._slices(fold, asset)]
        return plateau(self.geometry, nanmedian(values), better=self._better(name), how=how)

    # -- single trials ------------------------------------------------------------------------------------------

    def trial_index(self, point: Mapping[str, Value], asset: str | None = None, fold: str | None = None) -> int:
        """Return the index of the trial at `point`: every axis named, or all but those with one value.

        Raises
        ------
        NotFoundError
            If the run has no such point; the message has the nearest one.
        """
        columns = self.plan.points.columns
        if unknown := [name for name in point if name not in columns]:
            raise InputError(f"run {self.short} doesn't vary {unknown[0]!r}{nearest(unknown[0], columns)}")
        mask = np.arange(self.plan.n_points) < self.plan.n_known
        for name, wanted in point.items():
            mask &= columns[name] == wanted
        found = np.flatnonzero(mask)
        if found.size != 1:
            given = ", ".join(f"{name}={value}" for name, value in point.items())
            missing = [axis.name for axis in self.plan.axes if axis.name not in point]
            if found.size:
                raise InputError(f"{found.size} points have {given}; say {', '.join(missing)} too")
            raise NotFoundError(f"no point {given} in run {self.short}; the nearest is {self._nearest(point)}")
        return self.plan.trial_index(int(found[0]), self._assets(asset)[0], self._folds(fold)[0])

    def row(self, trial: int) -> dict[str, Any]:
        """Return one trial as a mapping.

        Its keys are `trial`, `asset`, `fold`, `role`, `point`, `state`, `reason`, `value` (the objective's) and
        `measures`.
        """
        where = self.plan.trial(trial)
        found = self._table.rows(np.array([trial], np.int64))
        measures = {name: float(values[0]) for name, values in found.items()}
        return {
            "trial": trial,
            "asset": where.asset,
            "fold": where.fold.name,
            "role": where.fold.role,
            "point": where.settings,
            "state": STATES[CellStatus(int(self.state[trial]))],
            "reason": self._table.reason(trial),
            "value": measures.get(self.objective, float("nan")),
            "measures": measures,
        }

    def replay(self, trial: int, *, strict: bool = False) -> TrialReplay:
        """Compute one trial again in full, and compare its row with the stored one, bit for bit.

        Raises
        ------
        NotFoundError
            If a search has not chosen the trial's point yet.
        DivergenceError
            If `strict` and a bit differs; otherwise `mismatch` says so.
        InputError
            If the trial tests a locked holdout.
        """
        where = self.plan.trial(trial)
        if self.state[trial] == CellStatus.LOCKED:
            raise InputError(f"trial {trial} tests a locked holdout; `quantbot sweep unlock {self.short}` shows it")
        if where.point_index >= self.plan.n_known:
            raise NotFoundError(f"the point of trial {trial} is not chosen yet: the search has not come that far")
        bars = load_data(self.plan, where.asset)
        engine = get_engine(self.plan.engine)
        found = engine.replay(self.plan.job(), bars, where.fold.window(bars.ts_end_ns), where.settings)
        equal, mismatch = self._compare(trial, found.row)
        if strict and mismatch:
            raise DivergenceError(mismatch)
        parts = {part.name: getattr(found, part.name) for part in fields(Replay)}
        return TrialReplay(**parts, trial=trial, equal=equal, mismatch=mismatch)

    def _compare(self, trial: int, row: Mapping[str, float]) -> tuple[bool | None, str]:
        if self.state[trial] in (CellStatus.NOT_RUN, CellStatus.SKIPPED):
            return None, ""
        if self.state[trial] == CellStatus.FAILED:
            return False, f"trial {trial} failed when it was run ({self._table.reason(trial)}), and did not fail now"
        lines = []
        for name, values in self._table.rows(np.array([trial], np.int64)).items():
            stored, now = values[0], np.float64(row[name])
            if stored.tobytes() != now.tobytes() and not (np.isnan(stored) and np.isnan(now)):
                lines.append(f"{name}: stored {float(stored)!r}, now {float(now)!r}")
        if not lines:
            return True, ""
        from sweeps.identity import numeric_profile

        hint = "; this machine's numeric profile is another" if numeric_profile() != dict(self.plan.profile) else ""
        return False, f"the replay of trial {trial} is not the stored row{hint}: " + ", ".join(lines)

    # -- tables -------------------------------------------------------------------------------------------------

    def table(
        self,
        offset: int = 0,
        limit: int = 100,
        *,
        sort: str | None = None,
        descending: bool | None = None,
        fold: str | None = None,
        asset: str | None = None,
        state: str | None = None,
        points: NDArray[np.bool_] | None = None,
    ) -> pd.DataFrame:
        """Return a page of rows: trial, asset, fold, the axes, state, the measures and the reason of a failure.

        Parameters
        ----------
        sort
            A measure or an axis; trial order where not said. Ties stay in trial order, NaN comes last.
        descending
            The best first where not said and `sort` is a measure.
        fold, asset
            Every one where not said.
        state
            "ok", "failed", "not promoted", "locked" or "not run yet".
        points
            Shape (n_points,): only trials of these points.
        """
        import pandas as pd

        trials = self._trials(fold, asset, every=True)
        if points is not None:
            trials = trials[points[trials % self.plan.n_points]]
        if state is not None:
            codes = [code for code, name in STATES.items() if name == state]
            if not codes:
                raise InputError(f"state must be one of {', '.join(STATES.values())}; found {state!r}")
            trials = trials[self.state[trials] == codes[0]]
        if sort is not None:
            trials = trials[self._order(trials, sort, descending)]
        trials = trials[max(offset, 0) : max(offset, 0) + max(limit, 0)]
        rows = trials % self.plan.n_points
        slices = trials // self.plan.n_points
        columns: dict[str, Any] = {
            "trial": trials,
            "asset": np.array(self.plan.assets, dtype=object)[slices // len(self.plan.folds)],
            "fold": np.array([fold.name for fold in self.plan.folds], dtype=object)[slices % len(self.plan.folds)],
        }
        chosen = self.plan.points.take(rows)
        columns |= {name: self._known(column, rows) for name, column in chosen.columns.items()}
        columns["state"] = [STATES[CellStatus(int(code))] for code in self.state[trials]]
        columns |= self._table.rows(trials)
        columns["reason"] = [self._table.reason(int(trial)) for trial in trials]
        return pd.DataFrame(columns)

    def failures(self) -> pd.DataFrame:
        """Return why trials failed: one line per reason with the number of trials and the first of them."""
        import pandas as pd

        found = self._table.failures()
        order = sorted(found, key=lambda reason: (-found[reason][0], found[reason][1]))
        first = [found[reason][1] for reason in order]
        return pd.DataFrame(
            {
                "reason": pd.Series(order, dtype=object),
                "n_trials": pd.Series([found[reason][0] for reason in order], dtype=np.int64),
                "first_trial": pd.Series(first, dtype=np.int64),
                "first_point": pd.Series([self.plan.trial(trial).settings for trial in first], dtype=object),
            }
        )

    def failed(self, reason: str | None = None) -> NDArray[np.int64]:
        """Return the trials that failed, rising; only those for one reason where it is given, as `failures` has it."""
        return self._table.failed(reason)

    def __repr__(self) -> str:
        done = "complete" if self.complete else f"{len(self._blocks)} of {self.plan.n_blocks} blocks"
        return f"<Run {self.short} {self.plan.bundle.reference} on {self.plan.dataset_name}, {done}>"

    # -- choosing -----------------------------------------------------------------------------------------------

    def _measure(self, name: str | None) -> str:
        name = name or self.objective
        if name not in self.plan.measures:
            known = self.plan.measures
            raise InputError(
                f"rows of run {self.short} have no {name!r}; they have {', '.join(known)}{nearest(name, known)}"
            )
        return name

    def _better(self, name: str) -> int:
        return -1 if self.measures[name].better < 0 else 1

    def _folds(self, fold: str | None) -> list[int]:
        """Return the folds that a name or a role means; without one, those that a choice may be made on."""
        names, roles = [f.name for f in self.plan.folds], [f.role for f in self.plan.folds]
        if fold in names:
            return [names.index(fold)]
        if fold is None:
            return judged_folds(self.plan)
        if found := [index for index, role in enumerate(roles) if role == fold]:
            return found
        raise InputError(f"no fold {fold!r}; there are {', '.join(names)}{nearest(fold, names)}")

    def _assets(self, asset: str | None) -> list[int]:
        if asset is None:
            return list(range(len(self.plan.assets)))
        found = assets_called(self.plan, asset)
        if not found:
            known = (*self.plan.assets, *instruments(self.plan), *sessions(self.plan))
            raise InputError(f"no asset {asset!r}; there are {', '.join(known)}{nearest(asset, known)}")
        return found

    def slices(self, fold: str | None = None, asset: str | None = None) -> list[int]:
        """Return which slices of trials a fold (or a role) and an asset mean: ``asset_index * n_folds + fold_index``.

        Each is `n_points` neighbouring trials.
        """
        return self._slices(fold, asset)

    def _slices(self, fold: str | None, asset: str | None, *, every: bool = False) -> list[int]:
        """Return the slices (an asset in a fold) that are meant, in trial order."""
        n_folds = len(self.plan.folds)
        folds = list(range(n_folds)) if every and fold is None else self._folds(fold)
        return [asset_index * n_folds + fold_index for asset_index in self._assets(asset) for fold_index in folds]

    def _trials(self, fold: str | None, asset: str | None, *, every: bool = False) -> NDArray[np.int64]:
        starts = np.array(self._slices(fold, asset, every=every), np.int64) * self.plan.n_points
        return (starts[:, None] + np.arange(self.plan.n_points)).ravel()

    def _order(self, trials: NDArray[np.int64], sort: str, descending: bool | None) -> NDArray[np.int64]:
        if sort in self.plan.points.columns:
            keys = np.unique(self.plan.points.columns[sort], return_inverse=True)[1].astype(np.float64)
            keys = keys[trials % self.plan.n_points]
            sign = -1.0 if descending else 1.0
        else:
            name = self._measure(sort)
            keys = self._table.column(name)[trials]
            sign = -float(self._better(name)) if descending is None else (-1.0 if descending else 1.0)
        return np.argsort(sign * keys, kind="stable")

    def _nearest(self, point: Mapping[str, Value]) -> str:
        """Return the point that has most in common with `point`, as text; distances count in steps of each axis."""
        distance = np.where(np.arange(self.plan.n_points) < self.plan.n_known, 0.0, np.inf)
        for name, wanted in point.items():
            column = self.plan.points.columns[name]
            if isinstance(wanted, str) or column.dtype.kind == "U":
                distance += column != wanted
            else:
                distance += np.abs(column - wanted) / max(float(np.ptp(column)), 1e-300)
        found = self.plan.points.point(int(np.argmin(distance)))
        return ", ".join(f"{name}={value}" for name, value in found.items())

    def _known(self, column: NDArray[Any], points: NDArray[np.int64]) -> NDArray[Any]:
        """Return a column of these points; None where a point is not chosen yet."""
        unknown = points >= self.plan.n_known
        if not unknown.any():
            return column
        shown = column.astype(object)
        shown[unknown] = None
        return shown
