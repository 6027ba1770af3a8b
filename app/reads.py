"""Everything that pages read or start, and all caching; what is cached is named by what it depends on.

Pages never touch a store, a plan or a dataset by themselves. A growing run is cached under the number of its finished
trials (its *mark*), so that nothing on a page is stale and nothing moves under the reader's eye either: the page keeps
its mark until the reader asks for the new one.
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
from quantbot.engine import Engine, get_engine
from quantbot.errors import NotFoundError
from quantbot.measures import Measure

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.catalog import Entry
    from datasets.store import Store
    from quantbot.market import Bars
    from quantbot.parameters import Value
    from quantbot.strategies.contract import Strategy
    from sweeps.plan import Plan
    from sweeps.results import Run, TrialReplay
    from sweeps.status import RunStatus, RunSummary
    from sweeps.surface import Plane, Plateau

DEFAULT_STORE = ".quantbot/store"
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


def strategies() -> Mapping[str, Strategy]:
    """Return the strategies that ship with the product, by name."""
    from quantbot.strategies.registry import shipped

    return shipped()


def engine(name: str = "bars") -> Engine:
    """Return an engine."""
    return get_engine(name)


def measures(names: Sequence[str], engine_name: str = "bars") -> dict[str, Measure]:
    """Return the declarations of a row's measures, in its order."""
    declared = {measure.name: measure for measure in get_engine(engine_name).measures}
    return {name: declared[name] for name in names if name in declared}


def strategy(reference: str) -> Strategy:
    """Load a strategy by its reference: a user's own module or file."""
    from quantbot.strategies.loader import load_strategy

    return load_strategy(reference)


# --------------------------------------------------------------------------------------------------------------- plans


def to_toml(document: Mapping[str, Any]) -> str:
    """Return a spec's document as TOML, whether it is valid or not."""
    from sweeps.toml_text import to_toml as write

    return write(document)


def plan(text: str) -> Plan:
    """Check a spec and plan its run: counted and costed, nothing started."""
    return _plan(store_url(), text)


@st.cache_resource(ttl=300, max_entries=16, show_spinner="Checking the plan")
def _plan(url: str, text: str) -> Plan:
    from sweeps.plan import make_plan
    from sweeps.spec import parse_spec

    return make_plan(parse_spec(text, folder=Path.cwd()), _store(url))


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


def submit(plan: Plan, *, workers: int) -> str:
    """Write the request and have a detached process drive it; a second call for the same run starts nothing."""
    from sweeps.submit import start_driver
    from sweeps.submit import submit as write_request

    identity = write_request(plan.spec, store(), plan=plan)
    drive(identity, start_driver, workers=workers)
    return identity


def resume(identity: str) -> None:
    """Have a detached process drive what is missing of a run."""
    from sweeps.submit import start_driver

    drive(identity, start_driver, workers=cores())


def drive(identity: str, start: Callable[..., int], *, workers: int) -> None:
    """Start a driver unless the run is done, is being driven, or one was started here moments ago."""
    with _STARTING:
        fresh = time.monotonic() - _STARTED.get(identity, -math.inf) < _START_S
        if fresh or status(identity).state in ("running", "done"):
            return
        _STARTED[identity] = time.monotonic()
        start(store().url, identity, workers=workers)


def stop(identity: str) -> None:
    """Ask whoever drives a run to stop; what is finished is kept."""
    from sweeps.submit import cancel

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


def open_run(identity: str, mark: int) -> Run:
    """Return a run as it was when `mark` of its trials were done."""
    return _run(store_url(), identity, mark)


@st.cache_resource(max_entries=8, show_spinner="Reading the run")
def _run(url: str, identity: str, mark: int) -> Run:
    from sweeps.results import open_run as open_stored

    return open_stored(_store(url), identity)


def plane(
    identity: str,
    mark: int,
    x: str,
    y: str,
    measure: str,
    how: str,
    at: Mapping[str, Value],
    fold: str,
    asset: str | None,
) -> Plane:
    """Return a measure over two axes; the rest reduced or pinned."""
    return _plane(store_url(), identity, mark, x, y, measure, how, tuple(at.items()), fold, asset)


@st.cache_resource(max_entries=64, show_spinner="Reducing the surface")
def _plane(
    url: str,
    identity: str,
    mark: int,
    x: str,
    y: str,
    measure: str,
    how: Any,
    at: tuple[tuple[str, Value], ...],
    fold: str,
    asset: str | None,
) -> Plane:
    return _run(url, identity, mark).plane(x, y, measure, how=how, at=dict(at), fold=fold, asset=asset)


def limits(identity: str, mark: int, measure: Measure, fold: str) -> tuple[float, float]:
    """Return the ends of the colour scale, the same for all of a run's folds of one role.

    They stay put while axes, pins and reductions move; a year's test is another matter than twenty years.
    """
    return _limits(store_url(), identity, mark, measure, fold)


@st.cache_resource(max_entries=64, show_spinner=False)
def _limits(url: str, identity: str, mark: int, measure: Measure, fold: str) -> tuple[float, float]:
    from app.figures.surface import colour_limits

    run = _run(url, identity, mark)
    role = next(other.role for other in run.plan.folds if other.name == fold)
    alike = [other.role == role for other in run.plan.folds]
    values = run.values(measure.name).reshape(-1, len(alike), run.plan.n_points)[:, alike]
    return colour_limits(values, measure)


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
    return _currency(plan.dataset_root_url, plan.dataset_name, plan.dataset_version, (asset,) if asset else plan.assets)


@st.cache_resource(max_entries=64, show_spinner=False)
def _currency(root_url: str, name: str, version: str, assets: tuple[str, ...]) -> str:
    from datasets.catalog import open_version

    meta = open_version(root_url, name, version).meta
    return ", ".join(sorted({meta.instrument(asset).currency for asset in assets}))
