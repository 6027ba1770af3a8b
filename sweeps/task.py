"""What a worker does: one block, from the run's own plan, sources and data to one object in the store.

A worker gets three plain values and opens everything itself; it gives back a receipt. Nothing here is pickled by
value, so the package must be installed where workers run.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Engine, Job, Points, Rows, TrialStatus, get_engine
from quantbot.errors import CorruptError, FormatError, RunError, StrategyError
from sweeps.adaptive import points_of
from sweeps.rows import BlockHeader, canonical, describe, encode
from sweeps.runstore import SHORT, RunStore

if TYPE_CHECKING:
    from sweeps.feeds import Feed
    from sweeps.plan import Plan
    from sweeps.trial import Block

_KEPT = 4  # instruments a process keeps decoded: 10^6 bars are 48 MB
_LONG_AGO = 0.05  # seconds since a look, after which another one is worth its request
_ENOUGH_NS = 10e9  # of a joint engine's nominal time
_LOCK = threading.Lock()  # the threads of a worker load a plan or an instrument once, not once each
# What says nothing about a single trial: raised to the driver, never written into rows.
NOT_A_TRIALS_FAULT = (StrategyError, OSError, MemoryError, ImportError, CorruptError, FormatError, RunError)


@dataclass(frozen=True)
class Receipt:
    """What a worker reports about a block that is in the store now.

    Attributes
    ----------
    computed
        False when the block was there already.
    engine_seconds
        CPU time of the engine alone; 0 when the block was there already.
    bytes_read
        What this process read from stores since its last receipt.
    """

    block: int
    n_trials: int
    n_failed: int
    best_trial: int | None
    best_value: float | None
    seconds: float
    computed: bool
    engine_seconds: float = 0.0
    bytes_read: int = 0


def run_block(root_url: str, identity: str, block_index: int) -> Receipt:
    """Compute one block of a run and put it into the store, unless it is there.

    Raises
    ------
    RunError
        If this process can't give the run's bits: other engine source, or another numeric profile.
    DivergenceError
        If the block is there with other bytes.
    """
    from datasets.store import open_store
    from datasets.traffic import take_bytes_read

    started = time.perf_counter()
    run = RunStore(open_store(root_url), identity)
    with _LOCK:
        plan = run.plan()
    block = plan.block(block_index)
    key = run.block_key(block_index)
    if _is_there(run, plan, block):
        header = run.header(block)
        computed, spent = False, 0.0
    else:
        header, rows, spent = _described(root_url, plan, block)
        computed = run.put_once(key, encode(header, rows))
    return Receipt(
        block_index,
        header.n_trials,
        header.n_failed,
        header.best_trial,
        header.best_value,
        time.perf_counter() - started,
        computed,
        spent,
        take_bytes_read(),
    )


def _is_there(run: RunStore, plan: Plan, block: Block) -> bool:
    """Return whether a block is in the store, as of the moment before it would be computed."""
    key = run.block_key(block.index)
    if run.store.exists(key):
        return True
    looked = time.monotonic()
    with _LOCK:
        _prepare(run.root.url, run.identity)
        _data(plan, block.asset)
    # Compiling and reading take seconds the first time, in which another worker may have put it there.
    return time.monotonic() - looked > _LONG_AGO and run.store.exists(key)


def recompute(root_url: str, identity: str, block_index: int) -> str:
    """Compute one block again and return the SHA-256 of what its object would be; nothing is written."""
    from datasets.store import open_store

    plan = RunStore(open_store(root_url), identity).plan()
    header, rows, _ = _described(root_url, plan, plan.block(block_index))
    return hashlib.sha256(encode(header, rows)).hexdigest()


def _described(root_url: str, plan: Plan, block: Block) -> tuple[BlockHeader, Rows, float]:
    rows, spent = compute(root_url, plan.identity, block)
    name, better = objective(plan)
    return describe(plan.identity, block.index, block.trial_start, rows, name, better), rows, spent


def compute(root_url: str, identity: str, block: Block) -> tuple[Rows, float]:
    """Return the rows of one block, canonical, and the CPU seconds that the engine took; nothing is written."""
    from datasets.store import open_store

    with _LOCK:
        plan, engine, job = _prepare(root_url, identity)
        data = _data(plan, block.asset)
    window = block.fold.window(data.ts_end_ns)
    points, promoted = points_of(RunStore(open_store(root_url), identity), plan, block)
    began = time.thread_time()
    if promoted is None:
        rows = run_points(engine, job, data, window, points, plan.measures)
    else:
        chosen = Points(int(promoted.sum()), {name: column[promoted] for name, column in points.columns.items()})
        found = run_points(engine, job, data, window, chosen, plan.measures) if len(chosen) else None
        rows = _spread(found, promoted, plan.measures)
    spent = time.thread_time() - began
    if tuple(rows.measures) != plan.measures or len(rows) != block.n_trials:
        raise RunError(
            f"engine {engine.name} gave {len(rows)} rows of {tuple(rows.measures)}; the plan of run "
            f"{identity[:SHORT]} wants {block.n_trials} of {plan.measures}"
        )
    return canonical(rows), spent


def preload() -> None:
    """Do what the first block of any process would begin with: import, read the environment, get ready for kernels.

    It starts no thread, so that a process may fork afterwards; blocks that come meanwhile wait for it.
    """
    import datasets.arrays
    import datasets.bars
    import datasets.store_file  # noqa: F401
    import sweeps.feeds
    import sweeps.plan  # noqa: F401
    from quantbot.strategies.indicators import Compiled
    from quantbot.strategies.loader import load_strategy

    with _LOCK:
        load_strategy("sma_cross")
        Compiled("mean", 1)(np.arange(8.0), 3)
        environment()


def warm(root_url: str, identity: str) -> None:
    """Compile what the run needs into the kernel cache that the workers of this machine share."""
    with _LOCK:
        _, engine, job = _prepare(root_url, identity)
    engine.check(job)


def prepared(root_url: str, identity: str) -> tuple[Plan, Engine, Job]:
    """Return plan, engine and job of a run, remembered by this process; see `check_bits` for what is refused."""
    with _LOCK:
        return _prepare(root_url, identity)


def load_data(plan: Plan, asset: str) -> Any:
    """Return the data of one of the plan's assets, or of a joint engine's all, verified, remembered by this process."""
    with _LOCK:
        return _data(plan, asset)


def load_times(plan: Plan, asset: str) -> NDArray[np.int64]:
    """Return the ends of the bars that `load_data` would give; an asset's prices need not be read for it."""
    return np.asarray(load_data(plan, asset).ts_end_ns) if plan.members else feed_of_plan(plan).times(asset)


def feed_of_plan(plan: Plan) -> Feed:
    """Return the dataset of a plan as trials see it."""
    from sweeps.feeds import open_feed_version

    return open_feed_version(plan.dataset_root_url, plan.dataset_name, plan.dataset_version)


def objective(plan: Plan) -> tuple[str, int]:
    """Return the run's objective, and +1 when more of it is better, -1 when less is."""
    name = plan.spec.objective.metric
    better = {measure.name: measure.better for measure in get_engine(plan.engine).measures}.get(name, 1)
    return name, -1 if better < 0 else 1


def judged_folds(plan: Plan) -> list[int]:
    """Return the folds that a choice may be made on: the train of a holdout, so that its test stays one, else "all".

    Several trains each have a test of their own: `sweeps.validation` chooses again on each of them.
    """
    trains = [index for index, fold in enumerate(plan.folds) if fold.role == "train"]
    if len(trains) == 1:
        return trains
    whole = [index for index, fold in enumerate(plan.folds) if fold.role == "all"]
    return whole or trains or list(range(len(plan.folds)))


def steps_of(plan: Plan, compiled: int, plain: int) -> int:
    """Return how many bars of trials some seconds are enough for, from what they are for bars, compiled and plain.

    It follows from the spec alone, so that what is sampled is the same everywhere.
    """
    if plan.plain_python:
        return plain
    engine = get_engine(plan.engine)
    return int(_ENOUGH_NS / engine.nominal_ns(plan.job(), plan.points)) if engine.joint else compiled


def environment() -> dict[str, str]:
    """Return what must be equal in driver and workers, as a table: versions, processor and our own sources."""
    from sweeps.identity import engine_source_digest, numeric_profile

    profile = {name: str(value) for name, value in numeric_profile().items()}
    return profile | {"quantbot": engine_source_digest()[:SHORT], "sweeps": _sweeps_digest()[:SHORT]}


@lru_cache(maxsize=8)
def _prepare(root_url: str, identity: str) -> tuple[Plan, Engine, Job]:
    from datasets.store import open_store

    plan = RunStore(open_store(root_url), identity).plan()
    check_bits(plan)
    return plan, get_engine(plan.engine), plan.job()


def check_bits(plan: Plan) -> None:
    """Refuse to compute for `plan` in a process that would give other bits.

    Raises
    ------
    RunError
        If the engine's source or the numeric profile isn't the plan's; the message has both.
    """
    from sweeps.identity import numeric_profile, run_identity

    if run_identity(plan.spec, plan.bundle, plan.dataset_version, plan.scenarios.version) != plan.identity:
        raise RunError(
            f"run {plan.identity[:SHORT]} was planned with another version of QuantBot's engine than the one "
            "installed here; install that version, or submit the spec again (it gets an identity of its own)"
        )
    here, there = numeric_profile(), dict(plan.profile)
    if here != there:
        rows = [
            f"  {name}: planned {there.get(name, '-')}, here {here.get(name, '-')}"
            for name in sorted({*here, *there})
            if here.get(name) != there.get(name)
        ]
        raise RunError(
            f"run {plan.identity[:SHORT]} was planned on another numeric profile, so its bits can't be promised "
            "here:\n" + "\n".join(rows) + "\nRun it where it was planned"
        )


def _data(plan: Plan, asset: str) -> Any:
    where = plan.dataset_root_url, plan.dataset_name, plan.dataset_version
    return _panel(*where, plan.members) if plan.members else _one(*where, asset)


@lru_cache(maxsize=1)
def _panel(root_url: str, name: str, version: str, assets: tuple[str, ...]) -> Any:
    from sweeps.feeds import open_feed_version

    return open_feed_version(root_url, name, version).panel(assets)


@lru_cache(maxsize=_KEPT)
def _one(root_url: str, name: str, version: str, asset: str) -> Any:
    from sweeps.feeds import open_feed_version

    return open_feed_version(root_url, name, version).data(asset)


def run_points(
    engine: Engine, job: Job, data: Any, window: tuple[int, int], points: Points, measures: tuple[str, ...]
) -> Rows:
    """Run the points; where the engine raises, halve them until it is one that fails, and say so in its row."""
    try:
        return engine.run(job, data, window, points)
    except NOT_A_TRIALS_FAULT:
        raise
    except Exception as error:
        if len(points) == 1:
            values = {name: np.full(1, np.nan) for name in measures}
            text = " ".join(str(error).split())
            return Rows(values, np.array([TrialStatus.FAILED], np.uint8), {0: f"{type(error).__name__}: {text}"})
    middle = len(points) // 2
    first = run_points(engine, job, data, window, points[:middle], measures)
    second = run_points(engine, job, data, window, points[middle:], measures)
    return Rows(
        {name: np.concatenate([first.measures[name], second.measures[name]]) for name in measures},
        np.concatenate([first.status, second.status]),
        dict(first.reasons) | {middle + row: reason for row, reason in second.reasons.items()},
    )


def _spread(found: Rows | None, promoted: NDArray[np.bool_], measures: tuple[str, ...]) -> Rows:
    """Lay out the rows of the promoted points among those that were not."""
    status = np.full(promoted.shape[0], TrialStatus.SKIPPED, np.uint8)
    values = {name: np.full(promoted.shape[0], np.nan) for name in measures}
    if found is None:
        return Rows(values, status)
    status[promoted] = found.status
    for name in values:
        values[name][promoted] = found.measures[name]
    at = np.flatnonzero(promoted)
    return Rows(values, status, {int(at[row]): reason for row, reason in found.reasons.items()})


@lru_cache(maxsize=1)
def _sweeps_digest() -> str:
    """Return the SHA-256 over the files that a worker runs beside the engine."""
    from pathlib import Path

    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
