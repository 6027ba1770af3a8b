"""The noise test: the same sweep on prices in which nothing foretells what comes next, and where the real best stands.

    null/<method>-<block>-<points>/<index>.json      the best of one resample; written once
    null/<method>-<block>-<points>/all-<n>.json      the first n of them

Each resample puts the bars of every asset into another order (`quantbot.selection.surrogates`) and runs the sweep's own
points over it, on the fold that a best is chosen on. Drift stays, so what a rule earns for being in a rising market is
in the null too. The assets of a portfolio are put into one order together: means, risks and correlations stay, and what
weights make of them is in the null; what they make of their changes is not. Of a search that learns, the points that it
came to are run, not the search. A large sweep is represented by a sample of its points, the real best then being that
of the same sample. Resamples are no looks at the data: they don't enter the ledger.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Points, TrialStatus, get_engine
from quantbot.errors import InputError, NotFoundError, RunError
from sweeps.executors.base import Executor, error_of
from sweeps.runstore import SHORT, RunStore, to_json
from sweeps.task import judged_folds, load_data, objective, prepared, run_points, steps_of, warm
from sweeps.trial_digests import point_words

if TYPE_CHECKING:
    from quantbot.market import Bars, Panel
    from sweeps.plan import Plan
    from sweeps.results import Run

Method = Literal["bootstrap", "phase"]
_STEPS = 200_000_000  # bars times trials of one resample: some half a second of compiled kernels
_PLAIN_STEPS = 500_000  # the same in plain Python, some three
_JOINT_PART = 10  # of what a joint engine may take elsewhere: a resample then has a second
MOST = 10_000  # resamples


@dataclass(frozen=True)
class NullTest:
    """Where the real best stands among the bests of resampled prices.

    Attributes
    ----------
    mean_block
        Mean number of neighbouring bars that stay together; 0 for phases, which have no blocks.
    n_points, n_all_points
        Points that were run, and those of the sweep.
    objective, better
        The measure, and +1 when more of it is better, -1 when less is.
    real
        The best of these points on the real prices.
    bests
        The best of each resample, in their order; None where no trial had a value.
    p_value
        Share of all, the real one included, that are as good as the real best: ``(k + 1) / (n + 1)``.
    """

    run: str
    method: Method
    mean_block: float
    n_points: int
    n_all_points: int
    objective: str
    better: int
    real: float
    bests: tuple[float | None, ...]
    p_value: float

    def quantile(self, share: float) -> float:
        """Return the best that a share of the resamples stays below; not a number without any."""
        known = [best for best in self.bests if best is not None]
        return float(np.quantile(known, share)) if known else math.nan


def run_null(
    run: Run,
    executor: Executor,
    *,
    n: int = 100,
    method: Method = "bootstrap",
    mean_block: float | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> NullTest:
    """Run a finished sweep on `n` resamples of its prices; those that were run before are not run again.

    Parameters
    ----------
    method
        "bootstrap": blocks of bars, drawn with repeats. "phase": a permutation with the same autocorrelations.
    mean_block
        Of the bootstrap, in bars; by default the fifth root of the number of bars: 5 for 5,000. Short on purpose, since
        what a rule foretells within a block survives in the null.
    on_progress
        Called with the number of resamples that are done.

    Raises
    ------
    InputError
        If the run is not finished, or its engine does not trade bars.
    """
    _check(run, n, method)
    store = RunStore(run.root, run.identity)
    block = _mean_block(run.plan, mean_block) if method == "bootstrap" else 0.0
    folder = f"null/{method}-{block:g}-{len(_points(run.root.url, run.identity))}"
    done = {int(key.rpartition("/")[2][:-5]) for key in store.store.list(f"{folder}/0")}
    missing = [index for index in range(n) if index not in done]
    tell = on_progress or (lambda _: None)
    tell(n - len(missing))
    if missing:
        executor.check_root(run.root.url)
        executor.prepare(partial(warm, run.root.url, run.identity))
        work = partial(run_resample, run.root.url, run.identity, folder, method, block)
        answers = executor.map(work, missing, label=f"null-{run.identity[:SHORT]}")
        for count, found in enumerate(answers, n - len(missing) + 1):
            if found.failure is not None:
                raise error_of(found.failure)
            tell(count)
    bests = [json.loads(store.read_sealed(f"{folder}/{index:06d}.json"))["best"] for index in range(n)]
    store.put_first(f"{folder}/all-{n:06d}.json", to_json({"method": method, "mean_block": block, "bests": bests}))
    return _judged(run, method, block, bests)


def read_null(run: Run, method: Method | None = None) -> NullTest:
    """Return the noise test of a run with the most resamples.

    Raises
    ------
    NotFoundError
        If none was run.
    """
    store = RunStore(run.root, run.identity)
    keys = [key for key in store.store.list("null/") if "/all-" in key]
    ending = f"-{len(_points(run.root.url, run.identity))}" if keys else ""
    keys = [key for key in keys if key.split("/")[1].endswith(ending)]
    keys = [key for key in keys if method is None or key.startswith(f"null/{method}-")]
    if not keys:
        raise NotFoundError(f"no noise test of run {run.short} was run; `quantbot sweep null {run.short}` runs one")
    said = json.loads(store.read_sealed(max(keys, key=lambda key: (key[-11:], key))))
    return _judged(run, said["method"], said["mean_block"], said["bests"])


def null_document(found: NullTest) -> dict[str, Any]:
    """Return a noise test for scripts and pages."""
    return asdict(found) | {"n": len(found.bests), "median": found.quantile(0.5), "quantile_95": found.quantile(0.95)}


def run_resample(root_url: str, identity: str, folder: str, method: Method, block: float, index: int) -> float | None:
    """Run the sweep's points on one resample and put the best into the store: what a worker does."""
    from datasets.store import open_store
    from sweeps.adaptive import known_plan

    run = RunStore(open_store(root_url), identity)
    plan, engine, job = prepared(root_url, identity)
    name, better = objective(plan)
    group = next(measure.group for measure in engine.measures if measure.name == name)
    job = replace(job, groups=("core",) if group == "hold" else (group,))
    chosen = _points(root_url, identity)
    columns = {axis: column[chosen] for axis, column in known_plan(run, plan).points.columns.items()}
    best = None
    for asset in plan.assets:
        bars = _resampled(load_data(plan, asset), method, block, identity, index)
        for fold in judged_folds(plan):
            window = plan.folds[fold].window(bars.ts_end_ns)
            if window[1] - window[0] < 2:
                continue
            names = tuple(measure.name for measure in engine.measures if measure.group in (*job.groups, "hold"))
            rows = run_points(engine, job, bars, window, Points(len(chosen), columns), names)
            values = better * rows.measures[name][rows.status == TrialStatus.OK]
            values = values[np.isfinite(values)]
            if len(values) and (best is None or values.max() > best):
                best = float(values.max())
    found = None if best is None else better * best
    run.put_once(f"{folder}/{index:06d}.json", to_json({"best": found}))
    return found


def _resampled(bars: Bars | Panel, method: Method, block: float, identity: str, index: int) -> Bars | Panel:
    """Return one resample: assets with as many bars are put into the same order, so that they stay correlated."""
    from quantbot.market import Panel
    from quantbot.selection.surrogates import bar_returns, bootstrap_order, phase_order, reordered, reordered_panel

    seed = hashlib.sha256(to_json([identity, method, block, index])).digest()
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(seed[:16], "little")))
    if isinstance(bars, Panel):
        known = np.nan_to_num(bars.returns())
        order = (
            bootstrap_order(len(bars), block, rng) if method == "bootstrap" else phase_order(known.mean(axis=1), rng)
        )
        return reordered_panel(bars, order)
    if method == "bootstrap":
        return reordered(bars, bootstrap_order(len(bars), block, rng))
    return reordered(bars, phase_order(bar_returns(bars), rng))


@lru_cache(maxsize=8)
def _points(root_url: str, identity: str) -> NDArray[np.int64]:
    """Return the points that are run: all, or those of lowest digest."""
    from datasets.store import open_store
    from sweeps.adaptive import known_plan

    run = RunStore(open_store(root_url), identity)
    plan = known_plan(run, run.plan())
    n_bars = sum(
        int(np.ptp(plan.folds[fold].window(load_data(plan, asset).ts_end_ns)))
        for asset in plan.assets
        for fold in judged_folds(plan)
    )
    steps = steps_of(plan, _STEPS, _PLAIN_STEPS)
    most = max(steps // (_JOINT_PART if plan.members else 1) // max(n_bars, 1), 10)
    if plan.n_known <= most:
        return np.arange(plan.n_known)
    return np.sort(np.argsort(point_words(plan)[: plan.n_known], kind="stable")[:most])


def _mean_block(plan: Plan, asked: float | None) -> float:
    if asked is not None:
        if not 1 <= asked <= 10_000:
            raise InputError(f"the mean block must be from 1 to 10,000 bars, was {asked}")
        return float(asked)
    return float(round(max(len(load_data(plan, asset)) for asset in plan.assets) ** 0.2))


def _judged(run: Run, method: Method, block: float, bests: list[float | None]) -> NullTest:
    name, better = objective(run.plan)
    points = _points(run.root.url, run.identity)
    values = run.values().reshape(len(run.plan.assets), len(run.plan.folds), run.plan.n_points)
    own = better * values[:, judged_folds(run.plan)][:, :, points]
    own = own[np.isfinite(own)]
    real = float(own.max()) if own.size else math.nan
    as_good = sum(best is not None and better * best >= real for best in bests)
    p_value = (as_good + 1) / (len(bests) + 1) if own.size else math.nan
    return NullTest(
        run.identity, method, block, len(points), run.plan.n_points, name, better, better * real, tuple(bests), p_value
    )


def _check(run: Run, n: int, method: str) -> None:
    if run.manifest is None:
        raise InputError(f"run {run.short} is not finished; `quantbot sweep resume {run.short}` goes on with it")
    if method not in get_args(Method):
        raise InputError(f"method must be one of {', '.join(get_args(Method))}; found {method!r}")
    if not 1 <= n <= MOST:
        raise InputError(f"n must be from 1 to {MOST:,} resamples, was {n}")
    if get_engine(run.plan.engine).dataset_kind != "bars":
        raise RunError(f"a noise test resamples bars; engine {run.plan.engine} runs on other data")
