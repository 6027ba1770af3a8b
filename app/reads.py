"""Everything that pages read or start, and all caching; what is cached is named by what it depends on.

Pages never touch a store, a plan or a dataset by themselves. A growing run is cached under the number of its finished
trials (its *mark*), so that nothing on a page is stale and nothing moves under the reader's eye either: the page keeps
its mark until the reader asks for the new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from quantbot.engine import Engine, get_engine
from quantbot.measures import Measure

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.catalog import Entry
    from datasets.store import Store
    from quantbot.market import Bars
    from quantbot.strategies.contract import Strategy
    from sweeps.plan import Plan

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
        "Time": f"about {fmt.duration(0.8 * seconds)} to {fmt.duration(1.5 * seconds + 5)}, starting the workers included",
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
