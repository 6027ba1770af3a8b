"""Everything that pages read or start, and all caching; what is cached is named by what it depends on.

Pages never touch a store, a plan or a dataset by themselves. A growing run is cached under the number of its finished
trials (its *mark*), so that nothing on a page is stale and nothing moves under the reader's eye either: the page keeps
its mark until the reader asks for the new one. A look at a locked holdout counts in the mark of a finished run too,
for it shows what was hidden before.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from app import format as fmt
from app import reads_user
from app.scope import currencies, kinds_of
from quantbot.engine import Engine, get_engine
from quantbot.errors import NotFoundError
from quantbot.measures import Measure
from sweeps.sessions import has_sessions

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.catalog import Entry
    from datasets.store import Store
    from quantbot.market import Bars
    from quantbot.strategies.contract import Strategy
    from sweeps.luck import Luck
    from sweeps.null import NullTest
    from sweeps.plan import Plan
    from sweeps.results import Run, TrialReplay
    from sweeps.status import RunStatus, RunSummary
    from sweeps.surface import Plane, Plateau

DEFAULT_STORE = ".quantbot/store"
MAX_CELLS = 200  # values of an axis that a map shows one by one
_START_S = 15.0  # a driver that was started shows its lease within this time
_STARTED: dict[str, float] = {}
_STARTING = threading.Lock()


def store_url() -> str:
    """Return the store that this app shows."""
    return os.environ.get("QUANTBOT_STORE") or DEFAULT_STORE


def store() -> Store:
    """Return the store, opened once."""
    return _store(store_url())


@st.cache_resource(show_spinner=False)
def _store(url: str) -> Store:
    from datasets.store import open_store

    return open_store(url)


# ---------------------------------------------------------------------------------------------------------------- data


def catalogue() -> list[Entry]:
    """Return one line a dataset; at most a few seconds old."""
    return _catalogue(store_url())


@st.cache_resource(ttl=5, max_entries=4, show_spinner="Reading the catalogue")
def _catalogue(url: str) -> list[Entry]:
    from datasets.catalog import Catalog

    return Catalog(_store(url)).entries()


def dataset(name: str, version: str) -> Dataset:
    """Return one version of a dataset."""
    return _dataset(store_url(), name, version)


@st.cache_resource(max_entries=32, show_spinner="Opening the dataset")
def _dataset(url: str, name: str, version: str) -> Dataset:
    from datasets.catalog import open_version

    return open_version(url, name, version)


def bars(name: str, version: str, asset: str) -> Bars:
    """Return the whole history of one asset."""
    return _bars(store_url(), name, version, asset)


@st.cache_resource(max_entries=8, show_spinner="Reading bars")
def _bars(url: str, name: str, version: str, asset: str) -> Bars:
    return _dataset(url, name, version).bars(asset)


# ---------------------------------------------------------------------------------------------------------- strategies


def strategies(engine_name: str = "bars") -> Mapping[str, Strategy]:
    """Return the strategies of an engine that ship with the product, by name."""
    from quantbot.strategies.registry import shipped, shipped_for_books

    return shipped_for_books() if engine_name == "book" else shipped()


def engine(name: str = "bars") -> Engine:
    """Return an engine."""
    return get_engine(name)


def measures(names: Sequence[str], engine_name: str = "bars") -> dict[str, Measure]:
    """Return the declarations of a row's measures, in its order."""
    declared = {measure.name: measure for measure in get_engine(engine_name).measures}
    return {name: declared[name] for name in names if name in declared}


def strategy(reference: str) -> Strategy:
    """Load a strategy by its reference: a user's own module or file, where the user may name one."""
    from quantbot.strategies.loader import load_strategy
    from sweeps.admission import admit_strategy

    policy = reads_user.policy()
    if policy is not None:
        admit_strategy(reference, policy)

    return load_strategy(reference)


# --------------------------------------------------------------------------------------------------------------- plans


def to_toml(document: Mapping[str, Any]) -> str:
    """Return a spec's document as TOML, whether it is valid or not."""
    from sweeps.toml_text import to_toml as write

    return write(document)


def plan(text: str) -> Plan:
    """Check a spec and plan its run: counted and costed, nothing started.

    What somebody who is logged in wrote is checked before anything of it is used: to load a strategy is to run it.
    """
    policy = reads_user.policy()
    if policy is None:
        return _plan(store_url(), text, str(Path.cwd()))
    from sweeps.admission import admit_plan, admit_spec

    admit_spec(text, policy)
    made = _plan(store_url(), text, "")
    admit_plan(made, policy, store())
    return made


@st.cache_resource(ttl=300, max_entries=16, show_spinner="Checking the plan")
def _plan(url: str, text: str, folder: str) -> Plan:
    from sweeps.plan import make_plan
    from sweeps.spec import parse_spec

    return make_plan(parse_spec(text, folder=Path(folder) if folder else None), _store(url))


def cores() -> int:
    """Return how many worker processes this machine takes."""
    return min(len(os.sched_getaffinity(0)), 64)


def cost(plan: Plan, workers: int) -> dict[str, str]:
    """Return what a run needs, in words."""
    estimate = plan.estimate
    seconds = estimate.core_seconds / workers
    return {
        "Work": f"{fmt.duration(estimate.core_seconds)} of one core",
        "Time": f"{fmt.duration(seconds + 2)} to {fmt.duration(1.5 * seconds + 8)}, with starting the workers",
        "Memory": f"{fmt.size(estimate.memory_bytes)} for each worker",
        "Bars": f"{fmt.count(estimate.n_bars)} bar-steps over {fmt.size(estimate.data_bytes)} of data",
        "Rows": fmt.size(estimate.rows_bytes),
    }


def submit(plan: Plan, *, workers: int, priority: int = 0, core_hours: float | None = None) -> str:
    """Write the request, and have a detached process drive it unless runners do; a second call starts nothing."""
    from app.security.roles import Role
    from quantbot.errors import RefusedError
    from sweeps.admission import admit_plan
    from sweeps.service import Budget
    from sweeps.submission import start_driver
    from sweeps.submission import submit as write_request

    about = {"name": plan.spec.name, "trials": str(plan.n_trials)}
    with reads_user.acting("submit", plan.identity, **about) as who:
        policy = reads_user.policy()
        if policy is not None:
            admit_plan(plan, policy, store())
        if priority > 0 and not who.local and who.role < Role.OPERATOR:
            raise RefusedError(f"{who.name} may not go before others: a priority above 0 takes an operator")
        budget = Budget(core_hours=core_hours) if core_hours else None
        name = "" if who.local else who.name
        identity = write_request(plan.spec, store(), plan=plan, user=name, priority=priority, budget=budget)
        if not has_runners():
            drive(identity, start_driver, workers=workers)
    return identity


def has_runners() -> bool:
    """Return whether runs wait for `quantbot runner`, as ``QUANTBOT_RUNNER=service`` says."""
    return os.environ.get("QUANTBOT_RUNNER") == "service"


def resume(identity: str) -> None:
    """Have a runner, or a detached process, drive what is missing of a run."""
    from sweeps.submission import resume as ask_again
    from sweeps.submission import start_driver

    with reads_user.acting("resume", identity, reads_user.owner_of(identity)):
        if has_runners():
            ask_again(store(), identity)
        else:
            drive(identity, start_driver, workers=cores())


def drive(identity: str, start: Callable[..., int], *, workers: int) -> None:
    """Start a driver unless the run is done, is being driven, or one was started here moments ago."""
    with _STARTING:
        fresh = time.monotonic() - _STARTED.get(identity, -math.inf) < _START_S
        if fresh or status(identity).state in ("running", "done"):
            return
        _STARTED[identity] = time.monotonic()
        start(store().url, identity, workers=workers)


def pause(identity: str) -> None:
    """Have a run wait after the blocks in flight; it keeps its place in the queue."""
    from sweeps.submission import pause as ask

    with reads_user.acting("pause", identity, reads_user.owner_of(identity)):
        ask(store(), identity)
    _STARTED.pop(identity, None)


def stop(identity: str) -> None:
    """Ask whoever drives a run to stop; what is finished is kept."""
    from sweeps.submission import cancel

    with reads_user.acting("cancel", identity, reads_user.owner_of(identity)):
        cancel(store(), identity)
    _STARTED.pop(identity, None)


# ---------------------------------------------------------------------------------------------------------------- runs


def runs() -> list[RunSummary]:
    """Return all runs with their states, the newest first; the store is asked once a second for all viewers."""
    return _runs(store_url())


@st.cache_resource(ttl=0.9, max_entries=4, show_spinner=False)
def _runs(url: str) -> list[RunSummary]:
    from sweeps.status import list_runs

    return list_runs(_store(url))


def status(identity: str) -> RunStatus:
    """Return a run's state as the store has it now."""
    from sweeps.status import run_status

    return run_status(store(), identity)


def status_or_none(identity: str) -> RunStatus | None:
    """Return a run's state, None where it was never submitted."""
    from sweeps.runstore import RunStore

    return status(identity) if RunStore(store(), identity).store.exists("request.json") else None


def find_run(text: str) -> RunSummary:
    """Return the run that an address names: an identity, the beginning of one, or a run's name."""
    known = runs()
    for match in (
        [run for run in known if run.identity == text],
        [run for run in known if len(text) >= 4 and run.identity.startswith(text)],
        [run for run in known if run.name == text],
    ):
        if match:
            return match[0]
    raise NotFoundError(
        f"there is no run {text!r:.80} in {store_url()}; it was removed, or the link is another store's"
    )


def spec_of(text: str) -> str:
    """Return the spec of a run as TOML."""
    return open_run(find_run(text).identity, 0).plan.spec_toml


def mark_of(status: RunStatus) -> int:
    """Return the mark of a run as it is now."""
    return status.n_done + (_looks(store_url(), status.identity) if status.state == "done" else 0)


@st.cache_resource(ttl=0.9, max_entries=64, show_spinner=False)
def _looks(url: str, identity: str) -> int:
    from sweeps.looks import looks_at
    from sweeps.runstore import RunStore

    return len(looks_at(RunStore(_store(url), identity)))


def open_run(identity: str, mark: int) -> Run:
    """Return a run as it was when `mark` of its trials were done."""
    return _run(store_url(), identity, mark)


@st.cache_resource(max_entries=8, show_spinner="Reading the run")
def _run(url: str, identity: str, mark: int) -> Run:
    from sweeps.results import open_run as open_stored

    return open_stored(_store(url), identity)


def judged_fold(run: Run) -> str:
    """Return the fold, or the role of several, that a choice is made on."""
    from sweeps.task import judged_folds

    chosen = judged_folds(run.plan)
    return run.plan.folds[chosen[0]].name if len(chosen) == 1 else run.plan.folds[chosen[0]].role


def plane(identity: str, mark: int, *, most: int = MAX_CELLS, **question: Any) -> Plane:
    """Return a measure over two axes: `sweeps.overview.plane`, told by `question`; the rest reduced or pinned."""
    return _plane(store_url(), identity, mark, most, question)


@st.cache_resource(max_entries=64, show_spinner="Reducing the surface")
def _plane(url: str, identity: str, mark: int, most: int, question: Mapping[str, Any]) -> Plane:
    from sweeps import overview

    asked = dict(question)
    return overview.plane(_run(url, identity, mark), asked.pop("x"), asked.pop("y"), most=most, **asked)


def limits(identity: str, mark: int, measure: str, fold: str) -> tuple[float, float]:
    """Return the ends of the colour scale, the same for all of a run's folds of one role."""
    return _limits(store_url(), identity, mark, measure, fold)


@st.cache_resource(max_entries=64, show_spinner=False)
def _limits(url: str, identity: str, mark: int, measure: str, fold: str) -> tuple[float, float]:
    from sweeps import overview

    return overview.limits(_run(url, identity, mark), measure, fold)


def of_run(what: str, identity: str, mark: int, *args: Any, **question: Any) -> Any:
    """Return a reduction of `sweeps.overview`, `importance`, `neighbours` or `pareto`, by its name."""
    return _of_run(store_url(), what, identity, mark, args, question)


@st.cache_resource(max_entries=128, show_spinner="Reading the run")
def _of_run(url: str, what: str, identity: str, mark: int, args: tuple[Any, ...], question: Mapping[str, Any]) -> Any:
    from sweeps import importance, neighbours, overview, pareto

    module = next(module for module in (overview, importance, neighbours, pareto) if what in vars(module))
    return getattr(module, what)(_run(url, identity, mark), *args, **question)


def luck(identity: str, mark: int) -> Luck:
    """Return how much of a run's best is luck, as the ledger has it now: `sweeps.luck.luck`."""
    return open_run(identity, mark).luck(compute=False)


def noise(identity: str, mark: int) -> NullTest | None:
    """Return where a run's best stands among those of prices without memory; None where nobody asked."""
    from sweeps.null import read_null

    try:
        return read_null(open_run(identity, mark))
    except NotFoundError:
        return None


def outline(identity: str, mark: int, measure: str, fold: str, asset: str | None, x: str, y: str) -> NDArray[np.int64]:
    """Return how far the plateau reaches on a map: pairs of indices; none where there is no plateau."""
    return _outline(store_url(), identity, mark, measure, fold, asset, x, y)


@st.cache_resource(max_entries=32, show_spinner="Looking for the plateau's reach")
def _outline(
    url: str, identity: str, mark: int, measure: str, fold: str, asset: str | None, x: str, y: str
) -> NDArray[np.int64]:
    from sweeps import overview
    from sweeps.surface import outline as reach

    run = _run(url, identity, mark)
    found = _plateau(url, identity, mark, measure, fold, asset)
    if found is None:
        return np.empty((0, 2), np.int64)
    values = overview.point_values(run, measure, fold, asset)
    return reach(run.geometry, values, found.point_index, x=x, y=y, better=overview.better(run, measure))


def table(identity: str, mark: int, **question: Any) -> Any:
    """Return one page of a run's rows: `Run.table`; `within` filters points as `sweeps.overview.kept` does."""
    return _table(store_url(), identity, mark, question)


@st.cache_resource(max_entries=32, show_spinner="Sorting the table")
def _table(url: str, identity: str, mark: int, question: Mapping[str, Any]) -> Any:
    from sweeps import overview

    run, asked = _run(url, identity, mark), dict(question)
    keep = overview.kept(run, asked.pop("within", None), asked.pop("of"), asked.get("fold"), asked.get("asset"))
    return run.table(points=keep, **asked)


def export(identity: str, mark: int, kind: Any, **question: Any) -> bytes:
    """Return a run's rows as a file: `sweeps.export.export`."""
    from sweeps import overview
    from sweeps.export import export as write

    run = open_run(identity, mark)
    keep = overview.kept(run, question.get("within"), question["of"], question.get("fold"), question.get("asset"))
    return write(run, kind, fold=question.get("fold"), asset=question.get("asset"), points=keep)


def out_of_sample(identity: str, mark: int) -> tuple[str, ...]:
    """Say what the choice on trains came to in tests; nothing for a run without them."""
    return _out_of_sample(store_url(), identity, mark)


@st.cache_resource(max_entries=16, show_spinner="Choosing again on each train")
def _out_of_sample(url: str, identity: str, mark: int) -> tuple[str, ...]:
    from app.out_of_sample import sentences

    return tuple(sentences(_run(url, identity, mark)))


@st.cache_resource(max_entries=64, show_spinner=False)
def _best(
    url: str, identity: str, mark: int, n: int, measure: str, fold: str, asset: str | None
) -> list[dict[str, Any]]:
    return _run(url, identity, mark).best(n, measure=measure, fold=fold, asset=asset)


def best(identity: str, mark: int, measure: str, fold: str, asset: str | None, n: int = 50) -> list[dict[str, Any]]:
    """Return the best trials by a measure."""
    return _best(store_url(), identity, mark, n, measure, fold, asset)


@st.cache_resource(max_entries=64, show_spinner=False)
def _plateau(url: str, identity: str, mark: int, measure: str, fold: str, asset: str | None) -> Plateau | None:
    return _run(url, identity, mark).plateau(measure=measure, fold=fold, asset=asset)


def plateau(identity: str, mark: int, measure: str, fold: str, asset: str | None) -> Plateau | None:
    """Return the point whose neighbours are good too."""
    return _plateau(store_url(), identity, mark, measure, fold, asset)


def point_values(
    identity: str, mark: int, measure: str, fold_index: int, asset_index: int
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return one measure of every point in one fold of one asset, and what stands behind each: a `CellState`."""
    from app.figures.surface import trial_states

    run = open_run(identity, mark)
    first = run.plan.trial_index(0, asset_index, fold_index)
    here = slice(first, first + run.plan.n_points)
    values = run.values(measure)[here]
    return values, trial_states(values, run.state[here])


def replay(identity: str, mark: int, trial: int) -> tuple[TrialReplay, float]:
    """Replay one trial in full; return it with the seconds that it took."""
    return _replay(store_url(), identity, mark, trial)


@st.cache_resource(max_entries=8, show_spinner="Replaying the trial")
def _replay(url: str, identity: str, mark: int, trial: int) -> tuple[TrialReplay, float]:
    began = time.perf_counter()
    replayed = _run(url, identity, mark).replay(trial)
    return replayed, time.perf_counter() - began


def currency(plan: Plan, asset: str | None = None) -> str:
    """Return the currency of a run's asset, or of all of its assets."""
    assets = (asset,) if asset and not plan.members else plan.symbols
    return _currency(plan.dataset_root_url, plan.dataset_name, plan.dataset_version, assets)


def kinds(plan: Plan) -> tuple[str, ...]:
    """Return of which kinds the books of a run are; none of a run on bars."""
    if not has_sessions(plan):
        return ()
    return _kinds(plan.dataset_root_url, plan.dataset_name, plan.dataset_version, plan.assets)


@st.cache_resource(max_entries=64, show_spinner=False)
def _kinds(root_url: str, name: str, version: str, assets: tuple[str, ...]) -> tuple[str, ...]:
    return kinds_of(root_url, name, version, assets)


@st.cache_resource(max_entries=64, show_spinner=False)
def _currency(root_url: str, name: str, version: str, assets: tuple[str, ...]) -> str:
    return currencies(root_url, name, version, assets)
