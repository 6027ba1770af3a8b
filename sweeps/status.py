"""What state a run is in: derived from its objects each time it is asked, never stored, so it can't lie."""

from __future__ import annotations

import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sweeps.causes import State, cause
from sweeps.lease import lease_state
from sweeps.progress import Tally, eta
from sweeps.runstore import SHORT, Manifest, RunStore, run_identities
from sweeps.service.metering import Usage, usage_of_run

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.plan import Plan
    from sweeps.trial import Block

_TIMED = 32  # blocks whose times are asked for: each is a request


@dataclass(frozen=True)
class RunStatus:
    """One look at a run.

    Attributes
    ----------
    state
        "waiting": nobody drives it yet, or it was interrupted. "running": a driver is alive. "stalled": its driver
        died without a word, lives but nothing gets done, or waits for what `trouble` names. "paused", "cancelled":
        somebody wanted so. "budget spent". "failed": it can't be computed; see `note`. "done": committed.
    n_done, n_failed
        Trials that are in the store, and those of them that failed.
    rate
        Trials per second over the newest blocks, by the store's clock; 0 while unknown.
    eta_seconds
        Shortest and longest time left; None while unknown or when nobody drives.
    best_trial, best_value
        The best by the objective among what is done.
    driver
        Process and host; empty when nobody drives.
    note
        Why it isn't going on, in words; empty when it is.
    trouble
        Why it can't go on, by a name: "no runner", "no workers", "all paused", "scheduler down", "store down",
        "version refused", "poison block"; empty else.
    usage
        What it took so far, in all its drives.
    """

    identity: str
    state: State
    n_trials: int
    n_done: int
    n_failed: int
    n_blocks: int
    n_blocks_done: int
    objective: str
    rate: float = 0.0
    eta_seconds: tuple[float, float] | None = None
    best_trial: int | None = None
    best_value: float | None = None
    driver: str = ""
    note: str = ""
    result_digest: str = ""
    trouble: str = ""
    usage: Usage = field(default_factory=Usage)

    @property
    def short(self) -> str:
        """The identity's first digits, as people see it."""
        return self.identity[:SHORT]

    @property
    def driver_alive(self) -> bool:
        """Whether a process drives the run now."""
        return bool(self.driver)


@dataclass(frozen=True)
class RunSummary:
    """One line of a list of runs.

    Attributes
    ----------
    name
        The newest name that it was submitted under; may be empty.
    submitted_ns
        When it was first submitted, nanoseconds UTC by the store's clock.
    """

    identity: str
    name: str
    submitted_ns: int
    engine: str
    strategy: str
    dataset: str
    dataset_version: str
    objective: str
    n_points: int
    axes: tuple[str, ...]
    assets: tuple[str, ...]
    folds: tuple[str, ...]
    status: RunStatus

    @property
    def short(self) -> str:
        """The identity's first digits, as people see it."""
        return self.identity[:SHORT]

    @property
    def state(self) -> State:
        """The run's state."""
        return self.status.state


def list_runs(root: Store) -> list[RunSummary]:
    """Return all submitted runs with their states, the newest first."""
    with ThreadPoolExecutor(8, "runs") as pool:
        found = list(pool.map(lambda identity: summary(root, identity), run_identities(root)))
    return sorted(found, key=lambda run: (-run.submitted_ns, run.identity))


def summary(root: Store, identity: str) -> RunSummary:
    """Return one run as a line of the list."""
    run = RunStore(root, identity)
    request = _request(root.url, identity)
    labels = run.labels()
    return RunSummary(
        identity=identity,
        name=labels[-1] if labels else str(request.get("name", "")),
        submitted_ns=int(request.get("submitted_ns", 0)),
        engine=str(request.get("engine") or _engine_of(str(request.get("spec", "")))),
        strategy=str(request.get("strategy", "")),
        dataset=str(request.get("dataset", "")),
        dataset_version=str(request.get("dataset_version", "")),
        objective=str(request.get("objective", "")),
        n_points=int(request.get("n_points", 0)),
        axes=tuple(request.get("axes", ())),
        assets=tuple(request.get("assets", ())),
        folds=tuple(request.get("folds", ())),
        status=run_status(root, identity),
    )


@lru_cache(maxsize=512)
def _engine_of(spec: str) -> str:
    """Return the engine that a spec names: older requests don't say it beside the spec."""
    return str(tomllib.loads(spec).get("run", {}).get("engine", "bars"))


def run_status(root: Store, identity: str) -> RunStatus:
    """Return the state of a run, from its objects alone.

    Raises
    ------
    NotFoundError
        If there is no such run.
    """
    run = RunStore(root, identity)
    if run.store.exists("manifest.json"):
        return _done(run)
    plan = run.plan()
    done = [plan.block(index) for index in run.finished() if index < plan.n_blocks]
    if len(plan.phases) > 1:
        done.sort(key=lambda block: (plan.phase_of(block), block.index))
    counts = _counts(run, plan, done)
    lease = lease_state(run.store)
    rate, recent, silent = _speed(run, done) if lease.alive else (0.0, None, 0.0)
    service = run.store.list("service/")
    usage = usage_of_run(run, service)
    state, trouble, note = cause(run, lease, silent, bool(done), usage, service)
    return RunStatus(
        identity=identity,
        state=state,
        n_trials=plan.n_trials,
        n_blocks=plan.n_blocks,
        n_blocks_done=len(done),
        objective=plan.spec.objective.metric,
        rate=rate,
        eta_seconds=eta(plan.n_trials - counts["n_done"], rate, recent) if state == "running" else None,
        driver=lease.holder if lease.alive else "",
        note=note,
        trouble=trouble,
        usage=usage,
        **counts,
    )


def _counts(run: RunStore, plan: Plan, blocks: list[Block]) -> dict[str, Any]:
    tally = run.tally(Tally(plan), blocks)
    best = tally.best
    return {"n_done": tally.n_done, "n_failed": tally.n_failed, "best_trial": best.trial, "best_value": best.value}


def _speed(run: RunStore, done: list[Block]) -> tuple[float, float | None, float]:
    """Return trials per second over the newest blocks, over the newest half of those, and seconds since the last.

    Blocks are started in their order in `done`, by phase and index, so the last ones are the newest, or nearly.
    """
    if not done:
        return 0.0, None, 0.0
    newest = done[-_TIMED:]
    timed = sorted((_modified_ns(run.root.url, run.identity, block.index), block.n_trials) for block in newest)
    silent = max(run.store.now_ns() - timed[-1][0], 0) / 1e9
    return _rate(timed), _rate(timed[len(timed) // 2 :]) or None, silent


def _rate(timed: list[tuple[int, int]]) -> float:
    seconds = sum(later - earlier for (earlier, _), (later, _) in pairwise(timed)) / 1e9
    return sum(n_trials for _, n_trials in timed[1:]) / seconds if seconds > 0 else 0.0


def _done(run: RunStore) -> RunStatus:
    manifest, objective, best_trial, best_value, usage = _committed(run.root.url, run.identity)
    return RunStatus(
        identity=run.identity,
        state="done",
        n_trials=manifest.n_trials,
        n_done=manifest.n_trials,
        n_failed=manifest.n_failed,
        n_blocks=len(manifest.blocks),
        n_blocks_done=len(manifest.blocks),
        objective=objective,
        best_trial=best_trial,
        best_value=best_value,
        result_digest=manifest.result_digest,
        usage=usage,
    )


@lru_cache(maxsize=512)
def _committed(root_url: str, identity: str) -> tuple[Manifest, str, int | None, float | None, Usage]:
    """Return what never changes about a committed run; remembered per process."""
    from datasets.store import open_store

    run = RunStore(open_store(root_url), identity)
    manifest = run.manifest()
    assert manifest is not None
    plan = run.plan()
    counts = _counts(run, plan, [plan.block(index) for index in range(plan.n_blocks)])
    return manifest, plan.spec.objective.metric, counts["best_trial"], counts["best_value"], usage_of_run(run)


@lru_cache(maxsize=4096)
def _modified_ns(root_url: str, identity: str, index: int) -> int:
    from datasets.store import open_store

    run = RunStore(open_store(root_url), identity)
    return run.store.modified_ns(run.block_key(index))


@lru_cache(maxsize=4096)
def _request(root_url: str, identity: str) -> dict[str, Any]:
    from datasets.store import open_store

    return RunStore(open_store(root_url), identity).request()
