"""What is computed once about the luck of a finished run, beside its rows, and kept with it.

    luck/2/selection.json    the best trial and the plateau: moments of their returns, warnings; overfitting by CSCV
    luck/2/bootstrap.json    intervals of both, and the reality check; there only where `arch` is installed

Written once, never replaced; the same trials give the same numbers in whatever run, since seeds come from their
digests. Intervals are drawn as the Trial page draws them, so that a trial has the same one everywhere. The number in
the keys grows when the method changes: runs from before are assessed anew when somebody asks.

The tests across trials rest on a sample of at most 1,000: of the run's trials on the fold that a best is chosen on,
those of lowest digest, or all. A best that is not among them is not added: a test knows no luck of trials that are left
out, so the winner of a million among a thousand would look better than it is. What the tests reject for the sample is
rejected for the whole; they are blind to an edge that only trials outside of it have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import DivergenceError, InputError
from quantbot.selection import (
    backtest_overfitting,
    bootstrap_intervals,
    choose,
    moments,
    reality_check,
    slice_sums,
)
from quantbot.selection.advice import Evidence, advise
from quantbot.selection.plateau import nanmedian
from sweeps.runstore import RunStore, to_json
from sweeps.surface import CellStatus
from sweeps.task import judged_folds, load_data, steps_of
from sweeps.trial import is_condition
from sweeps.trial_digests import point_words, trial_digests
from sweeps.trial_returns import trial_returns

if TYPE_CHECKING:
    from sweeps.results import Run

SELECTION, BOOTSTRAP = "luck/2/selection.json", "luck/2/bootstrap.json"
SAMPLED = 1000
CONFIDENCE = 0.9
N_DRAWS = 1000  # of an interval
N_SLICES = 12  # of CSCV: 924 combinations; the paper's 16 take fourteen times as long, and say the same within 0.02
_STEPS = 100_000_000  # bars times trials that a sample steps over: some three seconds of compiled kernels
_PLAIN_STEPS = 1_000_000  # the same in plain Python, some five
_LEAST_JOINT = 64  # trials of a joint engine, of which each may take a good part of a second
_SPA_DRAWS = 1000
_SPA_WORK = 16_000_000  # trials times buckets squared: about a second of arch
_CHUNK_POINTS = 1 << 20  # whose digests are held at a time
_COSTS = ("fee", "spread", "slippage")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Shown:
    """The trials that are shown, the best and that of the plateau, and what lies around them."""

    best: int | None = None
    edges: Sequence[str] = ()
    spike: tuple[float, float] | None = None  # the best's value and the median of its neighbours
    plateau: int | None = None
    around: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Sample:
    """Returns of a sample of trials on the judged fold, over the bars of any asset; NaN where a trial has none."""

    n_population: int
    seed: int  # of the tests across trials: that of the trials, whatever run they are in
    sums: tuple[Floats, Floats, Floats]  # of CSCV's slices
    buckets: Floats


def is_assessed(store: RunStore) -> bool:
    """Return whether everything is there that could be computed here."""
    return store.store.exists(SELECTION) and (store.store.exists(BOOTSTRAP) or not has_arch())


def has_arch() -> bool:
    """Return whether the package is installed that intervals and the reality check need."""
    return find_spec("arch") is not None


def assess(store: RunStore, run: Run) -> None:
    """Compute and write what is not there yet of a committed run.

    Raises
    ------
    DivergenceError
        If the engine here does not give the returns behind the run's rows.
    """
    if is_assessed(store):
        return
    shown = _shown(run)
    returns = _shown_returns(run, [trial for trial in (shown.best, shown.plateau) if trial is not None])
    sample = _sampled(run)
    if not store.store.exists(SELECTION):
        store.put_first(SELECTION, to_json(_plain(_selection(run, shown, returns, sample))))
    if has_arch() and not store.store.exists(BOOTSTRAP):
        store.put_first(BOOTSTRAP, to_json(_plain(_bootstrap(run, shown, returns, sample))))


# -- what is shown ------------------------------------------------------------------------------------------------


def _shown(run: Run) -> _Shown:
    """Return the best trial on the judged folds, and that of the plateau's point on the same asset and fold."""
    found = run.best(1)
    if not found:
        return _Shown()
    best = int(found[0]["trial"])
    slice_, point = divmod(best, run.plan.n_points)
    if not run.plan.axes or run.geometry.sampled:
        return _Shown(best)
    grid, better, values = run.geometry.grid, _better(run), _point_values(run)
    edges = _axes(run, grid.edges(point))
    chosen = choose(grid, values, better=better, how="cvar")
    if chosen is None:
        return _Shown(best, edges)
    own, of_best = run.values()[slice_ * run.plan.n_points :][: run.plan.n_points], chosen
    if len(run.plan.assets) * len(judged_folds(run.plan)) > 1:  # else the surface above is the best trial's own
        judged = choose(grid, own, better=better, how="cvar")
        assert judged is not None
        of_best = judged
    spike = (float(own[point]), of_best.best_around) if of_best.best_is_spike else None
    around = {
        "score": chosen.score,
        "worst": chosen.worst,
        "median": chosen.value,
        "n_neighbours": chosen.n_neighbours,
        "edges": _axes(run, chosen.edges),
    }
    return _Shown(best, edges, spike, slice_ * run.plan.n_points + chosen.point, around)


def _point_values(run: Run) -> Floats:
    """Return the objective of each point, shape (n_points,): the median over assets on the judged folds."""
    values = run.values().reshape(len(run.plan.assets), len(run.plan.folds), run.plan.n_points)
    judged = values[:, judged_folds(run.plan)].reshape(-1, run.plan.n_points)
    return judged[0] if len(judged) == 1 else nanmedian(judged)


def _better(run: Run) -> int:
    return -1 if run.measures[run.objective].better < 0 else 1


# -- what is written ----------------------------------------------------------------------------------------------


def _selection(run: Run, shown: _Shown, returns: Mapping[int, Floats], sample: _Sample) -> dict[str, Any]:
    best, plateau = shown.best, shown.plateau
    document: dict[str, Any] = {"best": None, "plateau": None, "warnings": [], "overfitting": None, "unknown": {}}
    document |= {"n_population": sample.n_population, "n_sampled": len(sample.buckets)}
    if best is not None:
        document["best"] = _described(run, best, returns[best])
        document["best"] |= {"edges": shown.edges, "spike": shown.spike}
        document["warnings"] = [asdict(advice) for advice in advise(_evidence(run, best, returns[best], shown))]
    if plateau is not None:
        document["plateau"] = _described(run, plateau, returns[plateau]) | shown.around
    try:
        found = backtest_overfitting(*sample.sums)
        document["overfitting"] = {
            "probability": found.probability,
            "slope": found.slope,
            "loss": found.loss,
            "n_trials": found.n_trials,
            "n_slices": sample.sums[0].shape[1],
        }
    except InputError as error:
        document["unknown"]["pbo"] = str(error)
    return document


def _bootstrap(run: Run, shown: _Shown, returns: Mapping[int, Floats], sample: _Sample) -> dict[str, Any]:
    document: dict[str, Any] = {"best": None, "plateau": None, "reality": None, "unknown": {}}
    for name, trial in (("best", shown.best), ("plateau", shown.plateau)):
        if trial is None:
            continue
        years = _periods_per_year(run, trial)
        try:
            found = bootstrap_intervals(returns[trial], years, confidence=CONFIDENCE, n_draws=N_DRAWS)
            document[name] = asdict(found)
        except InputError as error:
            document["unknown"][f"{name}_interval"] = str(error)
    try:
        checked = reality_check(np.nan_to_num(sample.buckets), n_draws=_SPA_DRAWS, seed=sample.seed)
        document["reality"] = asdict(checked)
    except InputError as error:
        document["unknown"]["reality"] = str(error)
    return document


def _described(run: Run, trial: int, returns: Floats) -> dict[str, Any]:
    row = run.row(trial)
    found = moments(returns)
    return {
        "trial": trial,
        "asset": row["asset"],
        "fold": row["fold"],
        "point": row["point"],
        "value": row["value"],
        "n_bars": len(returns),
        "periods_per_year": _periods_per_year(run, trial),
        "sharpe": float(found.sharpe),
        "skew": float(found.skew),
        "kurtosis": float(found.kurtosis),
    }


def _axes(run: Run, edges: tuple[int, ...]) -> list[str]:
    """Return names of axes; a cost is often at its lowest, which means nothing."""
    return [name for axis in edges if not is_condition(name := run.plan.axes[axis].name)]


def _evidence(run: Run, trial: int, returns: Floats, shown: _Shown) -> Evidence:
    row = run.row(trial)
    settings = dict(run.plan.settings) | row["point"]
    costs = {name: float(value) for name, value in settings.items() if "." in name and _is_cost(name)}
    return Evidence(
        _periods_per_year(run, trial),
        returns=returns,
        pnl=None if run.plan.members else np.asarray(run.replay(trial).trades["pnl"], np.float64),
        costs=costs,
        annual_return=row["measures"].get("cagr", math.nan),
        turnover=row["measures"].get("turnover", math.nan),
        edges=shown.edges,
        spike=shown.spike,
    )


def _is_cost(name: str) -> bool:
    return any(word in name.rpartition(".")[2].split("_") for word in _COSTS)


# -- returns ------------------------------------------------------------------------------------------------------


def _shown_returns(run: Run, trials: list[int]) -> dict[int, Floats]:
    """Return the returns of the trials that are shown, having compared them with their rows."""
    found = {}
    for piece in trial_returns(run.plan, np.array(trials, np.int64)):
        for place, returns in zip(piece.places.tolist(), piece.returns, strict=True):
            found[trials[place]] = returns
            here = float(moments(returns).sharpe) * math.sqrt(piece.periods_per_year)
            stored = run.row(trials[place])["measures"].get("sharpe", math.nan)
            if math.isfinite(stored) and not math.isclose(here, stored, rel_tol=1e-6, abs_tol=1e-9):
                raise DivergenceError(
                    f"trial {trials[place]} of run {run.short} has a Sharpe ratio of {stored!r}, but its returns give "
                    f"{here!r} here: another version of the engine ran it. Submit the spec again"
                )
    return found


def _periods_per_year(run: Run, trial: int) -> float:
    return float(load_data(run.plan, run.plan.trial(trial).asset).periods_per_year)


def _sampled(run: Run) -> _Sample:
    """Draw the evaluated trials of lowest digest on the judged folds, and run them again."""
    plan, folds = run.plan, judged_folds(run.plan)
    slices = [(asset, fold) for asset in range(len(plan.assets)) for fold in folds]
    times = [load_data(plan, plan.assets[asset]).ts_end_ns for asset, _ in slices]
    windows = [plan.folds[fold].window(own) for (_, fold), own in zip(slices, times, strict=True)]
    n_bars = max(stop - start for start, stop in windows)
    least = _LEAST_JOINT if plan.members else 2
    n_most = min(max(steps_of(plan, _STEPS, _PLAIN_STEPS) // max(n_bars, 1), least), SAMPLED)
    words, state = point_words(plan), run.state
    digests, trials, n_population = [], [], 0
    for (asset, fold), window in zip(slices, windows, strict=True):
        offset = (asset * len(plan.folds) + fold) * plan.n_points
        for first in range(0, plan.n_points, _CHUNK_POINTS):
            own = state[offset + first : offset + min(first + _CHUNK_POINTS, plan.n_points)]
            here = first + np.flatnonzero((own == CellStatus.VALUE) | (own == CellStatus.FAILED))
            n_population += len(here)
            found = trial_digests(plan, words[here], plan.assets[asset], window)
            lowest = np.argpartition(found, n_most)[:n_most] if len(found) > n_most else slice(None)
            digests.append(found[lowest])
            trials.append(offset + here[lowest])
    known = np.concatenate(digests)
    order = np.argsort(known, kind="stable")[:n_most]
    seed = int(known[order[0]] >> np.uint64(32)) if len(order) else 0
    bars = np.unique(np.concatenate([own[slice(*window)] for own, window in zip(times, windows, strict=True)]))
    return _reduced(run, np.concatenate(trials)[order], bars, n_population, seed)


def _reduced(run: Run, trials: NDArray[np.int64], times: NDArray[np.int64], n_population: int, seed: int) -> _Sample:
    """Run the sample again, piece by piece, and keep what the tests need: sums over slices and buckets of bars."""
    n, n_bars = len(trials), len(times)
    n_slices = max(min(N_SLICES, n_bars // 8 * 2), 2)
    n_buckets = min(max(math.isqrt(_SPA_WORK // max(n, 1)), 100), 512, n_bars)
    sums = tuple(np.zeros((n, n_slices)) for _ in range(3))
    buckets = np.full((n, n_buckets), np.nan)
    edges = np.linspace(0, n_bars, n_buckets + 1).round().astype(np.int64)
    for piece in trial_returns(run.plan, trials):
        at = np.searchsorted(times, piece.ts_end_ns)
        if len(at) == n_bars and n_bars >= 2 * n_slices:
            whole = piece.returns
        else:
            whole = np.full((len(piece.places), n_bars), np.nan)
            whole[:, at] = piece.returns
        if n_bars >= 2 * n_slices:
            for kept, own in zip(sums, slice_sums(whole, n_slices), strict=True):
                kept[piece.places] = own
        there = np.isfinite(whole)
        total = np.add.reduceat(np.where(there, whole, 0.0), edges[:-1], axis=1)
        buckets[piece.places] = np.where(np.logical_or.reduceat(there, edges[:-1], axis=1), total, np.nan)
    return _Sample(n_population, seed, sums, buckets)  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    """Return `value` as JSON has it: what is not a number becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
