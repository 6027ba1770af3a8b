"""How much of a run's best trial is luck: what was assessed with the run, joined with the trial ledger as it is now."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from quantbot.errors import CorruptError, NotFoundError, StoreError
from quantbot.parameters import Value
from quantbot.selection.advice import Advice, Evidence, short_backtest
from sweeps.assessment import BOOTSTRAP, CONFIDENCE, SELECTION, assess, has_arch
from sweeps.ledger import Ledger, family_of, is_recorded, read_ledger, record
from sweeps.looks import Look
from sweeps.runstore import Manifest, RunStore

if TYPE_CHECKING:
    from sweeps.plan import Plan
    from sweeps.results import Run

_FIELD_OF = {"sharpe": "sharpe", "cagr": "annual_return", "max_drawdown": "max_drawdown"}  # of a bootstrap
_FIRST_CODES = ("sharpe_too_good", "no_costs")  # the warnings that are graver than a short backtest


@dataclass(frozen=True)
class Interval:
    """Where a measure lies with probability `level`, by the stationary bootstrap of the replayed trial."""

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class JudgedTrial:
    """A trial that a choice fell on, judged as the best of the ledger's trials would be.

    Attributes
    ----------
    trial, asset, fold, point
        Which one; `point` has the settings that vary.
    value
        The run's objective.
    sharpe
        Annual; None where equity never moves.
    years
        Length of the fold.
    interval
        Of the objective; None where it has no bootstrap.
    intervals
        By measure: "sharpe", "cagr", "max_drawdown".
    probabilistic_sharpe
        Probability that the true Sharpe ratio is above 0, were this the only trial.
    deflated_sharpe
        Probability that it is above what the best of the ledger's trials would show by luck.
    min_track_record_years
        How long a record must be for this Sharpe ratio to be above 0 with 95 %, were this the only trial.
    min_backtest_years
        How long it must be for luck alone to show no more than this as the best of the ledger's trials.
    luck_line
        Annual Sharpe ratio that the best of the ledger's trials is expected at on a fold as long as this when none has
        an edge.
    """

    trial: int
    asset: str
    fold: str
    point: Mapping[str, Value]
    value: float
    sharpe: float | None = None
    years: float = 0.0
    interval: Interval | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    probabilistic_sharpe: float | None = None
    deflated_sharpe: float | None = None
    min_track_record_years: float | None = None
    min_backtest_years: float | None = None
    luck_line: float | None = None


@dataclass(frozen=True)
class JudgedPlateau(JudgedTrial):
    """The trial at the point whose neighbourhood is best: the mean of the worse half of it and its neighbours.

    Attributes
    ----------
    point_index
        Index of the point.
    score, worst, median
        Of the objective (the median over assets): the neighbourhood's score, the worst of it, and the point's own.
    n_neighbours
        Neighbours with a value.
    edges
        Axes of the strategy on whose edge the point lies.
    """

    point_index: int = 0
    score: float = math.nan
    worst: float = math.nan
    median: float = math.nan
    n_neighbours: int = 0
    edges: tuple[str, ...] = ()


@dataclass(frozen=True)
class Luck:
    """What is known of the luck in a run; whatever is None has its reason in `unknown`.

    Attributes
    ----------
    run, objective
        The run's identity, and the measure that a best is chosen by.
    best
        The best trial on the fold that is chosen on (the train of a holdout, else the whole period).
    best_edges, best_is_spike
        Axes on whose edge the best point lies, and whether its neighbours are far worse.
    plateau
        The trial with the best neighbourhood; None for drawn points, which have no neighbours.
    chosen
        Which of the two to take: the plateau, where there is one.
    best_interval, deflated_sharpe, probabilistic_sharpe, luck_line, min_track_record_years, min_backtest_years
        Of the best, as `JudgedTrial` has them.
    n_trials, n_choices, n_effective
        The ledger's distinct trials; those of them that a best is chosen among; as many independent ones as these are
        worth.
    pbo
        Probability of backtest overfitting, by combinatorially symmetric cross-validation of the sample.
    p
        Chance that the best of the sample does so well when none of it has an edge: the larger of the next two.
    spa_p, reality_check_p
        p-values of Hansen's SPA and of White's reality check: the chance that the best of the sample does so well when
        none of it has an edge.
    n_sampled, n_population
        Trials in the sample, and on the fold that it was taken from.
    warnings
        What a careful colleague would say of the best.
    looks
        Who looked at a locked holdout.
    unknown
        By field, why it is None.
    """

    run: str
    objective: str
    best: JudgedTrial | None = None
    best_edges: tuple[str, ...] = ()
    best_is_spike: bool = False
    plateau: JudgedPlateau | None = None
    chosen: Literal["plateau", "best"] = "best"
    best_interval: Interval | None = None
    deflated_sharpe: float | None = None
    probabilistic_sharpe: float | None = None
    luck_line: float | None = None
    min_track_record_years: float | None = None
    min_backtest_years: float | None = None
    n_trials: int | None = None
    n_choices: int | None = None
    n_effective: float | None = None
    pbo: float | None = None
    p: float | None = None
    spa_p: float | None = None
    reality_check_p: float | None = None
    n_sampled: int | None = None
    n_population: int | None = None
    warnings: tuple[Advice, ...] = ()
    looks: tuple[Look, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)


_OF_BEST = (
    "deflated_sharpe",
    "probabilistic_sharpe",
    "luck_line",
    "min_track_record_years",
    "min_backtest_years",
)
_OF_LEDGER = ("deflated_sharpe", "luck_line", "min_backtest_years", "n_trials", "n_choices", "n_effective")
_OF_SELECTION = ("best", "best_interval", "plateau", *_OF_BEST, "pbo", "n_sampled", "n_population")
_OF_TEST = ("p", "spa_p", "reality_check_p")
_OF_BOOTSTRAP = ("best_interval", *_OF_TEST)


def luck(run: Run, *, compute: bool = False) -> Luck:
    """Return how much of the best of a run is luck.

    Parameters
    ----------
    compute
        Compute and store what a finished run lacks, which takes seconds: runs of earlier versions, or drives that died
        between their commit and their end. Otherwise nothing is computed or written, and it is unknown.

    Examples
    --------
    ``luck(open_run(root, "sma-sp500")).deflated_sharpe``
    """
    store, unknown = RunStore(run.root, run.identity), dict[str, str]()
    manifest = run.manifest or store.manifest()  # a page may hold a run that was opened just before its end
    if manifest is None:
        everything = {*_OF_SELECTION, *_OF_BOOTSTRAP, *_OF_LEDGER}
        return Luck(run.identity, run.objective, unknown=dict.fromkeys(sorted(everything), "the run is not finished"))
    if compute:
        unknown |= settle(store, run.plan, manifest, run if run.manifest else None)
    selection, bootstrap = store.read_json(SELECTION), store.read_json(BOOTSTRAP)
    ledger = _ledger(run, store, unknown)
    hint = f"not computed yet: `quantbot sweep luck {run.short}` does it"
    if selection is None:
        unknown |= dict.fromkeys((*_OF_SELECTION, *_OF_BOOTSTRAP), unknown.get("assessment", hint))
    elif bootstrap is None:
        lacking = f"needs the package arch: pip install 'quantbot[stats]', then `quantbot sweep luck {run.short}`"
        unknown |= dict.fromkeys(_OF_BOOTSTRAP, unknown.get("assessment", hint) if has_arch() else lacking)
    return _joined(run, selection or {}, bootstrap or {}, ledger, unknown)


def settle(store: RunStore, plan: Plan, manifest: Manifest, run: Run | None = None) -> dict[str, str]:
    """Write what a committed run owes to its luck: its entry in the ledger, and its assessment.

    Neither can fail the run: what goes wrong is returned, by "ledger" and "assessment", and tried again the next time.

    Raises
    ------
    StoreError
        If the store can't be written.
    """
    from sweeps.results import Run

    problems = {}
    run = run or Run(store, plan, manifest)
    for name, act in (("ledger", _enter), ("assessment", assess)):
        try:
            act(store, run)
        except StoreError:
            raise
        except Exception as error:  # a user's strategy may raise anything
            problems[name] = f"{type(error).__name__}: {error}"
    return problems


def settle_stored(root_url: str, identity: str) -> dict[str, str]:
    """Settle a run that is named by plain values: for a process of its own, since it runs the strategy again."""
    from datasets.store import open_store

    run = RunStore(open_store(root_url), identity)
    manifest = run.manifest()
    return {"ledger": "the run is not committed"} if manifest is None else settle(run, run.plan(), manifest)


def luck_document(found: Luck) -> dict[str, Any]:
    """Return a `Luck` for scripts."""
    return asdict(found)


def _enter(store: RunStore, run: Run) -> None:
    """Enter the run's trials, and leave what the ledger adds up to now for whoever reads it."""
    record(store, run)
    read_ledger(store.root, family_of(run.plan), remember=True, lines=False)


def _ledger(run: Run, store: RunStore, unknown: dict[str, str]) -> Ledger | None:
    try:
        if is_recorded(store, run.plan):
            return read_ledger(run.root, family_of(run.plan), lines=False)
        reason = f"the run is not in the ledger yet: `quantbot sweep luck {run.short}` enters it"
    except (CorruptError, NotFoundError) as error:
        reason = str(error)
    unknown |= dict.fromkeys(_OF_LEDGER, unknown.get("ledger", reason))
    return None


def _joined(
    run: Run, selection: dict[str, Any], bootstrap: dict[str, Any], ledger: Ledger | None, unknown: dict[str, str]
) -> Luck:
    from quantbot.selection import RealityCheck

    best = _judged(run, selection, bootstrap, "best", ledger)
    around = selection.get("plateau")
    plateau = None
    if around is not None:
        judged = _judged(run, selection, bootstrap, "plateau", ledger)
        assert judged is not None
        plateau = JudgedPlateau(
            **{name: getattr(judged, name) for name in JudgedTrial.__dataclass_fields__},
            point_index=judged.trial % run.plan.n_points,
            score=around["score"],
            worst=around["worst"],
            median=around["median"],
            n_neighbours=around["n_neighbours"],
            edges=tuple(around["edges"]),
        )
    found, reality = selection.get("overfitting") or {}, bootstrap.get("reality") or {}
    values: dict[str, Any] = {name: getattr(best, name, None) for name in _OF_BEST}
    values |= {
        "best": best,
        "plateau": plateau,
        "best_interval": best.interval if best else None,
        "pbo": found.get("probability"),
        "p": RealityCheck(**reality).p if reality else None,
        "spa_p": reality.get("consistent"),
        "reality_check_p": reality.get("white"),
        "n_sampled": selection.get("n_sampled"),
        "n_population": selection.get("n_population"),
        "n_trials": ledger.n_trials if ledger else None,
        "n_choices": ledger.n_choices if ledger else None,
        "n_effective": ledger.n_effective if ledger else None,
    }
    return Luck(
        run.identity,
        run.objective,
        **values,
        best_edges=tuple((selection.get("best") or {}).get("edges", ())),
        best_is_spike=(selection.get("best") or {}).get("spike") is not None,
        chosen="best" if plateau is None else "plateau",
        warnings=_warnings(selection, ledger),
        looks=run.looks(),
        unknown=_reasons(run, values, selection, bootstrap, unknown),
    )


def _judged(
    run: Run, selection: dict[str, Any], bootstrap: dict[str, Any], which: str, ledger: Ledger | None
) -> JudgedTrial | None:
    """Join a trial's moments with the ledger."""
    from quantbot.selection import (
        deflated_sharpe,
        expected_max_sharpe,
        min_backtest_length,
        min_track_record_length,
        null_variance,
        probabilistic_sharpe,
    )

    said = selection.get(which)
    if said is None:
        return None
    known: dict[str, Any] = {name: said[name] for name in ("trial", "asset", "fold", "point")}
    known["value"] = math.nan if said["value"] is None else said["value"]
    years = said["periods_per_year"]
    n, ratio = said["n_bars"], said["sharpe"]
    known |= {"years": n / years, "intervals": _intervals(bootstrap.get(which))}
    known["interval"] = known["intervals"].get(run.objective)
    if n < 2:
        return JudgedTrial(**known)
    variance = null_variance(n)
    if ledger is not None:
        known["luck_line"] = float(expected_max_sharpe(ledger.n_effective, variance)) * math.sqrt(years)
    if ratio is None:
        return JudgedTrial(**known)
    shape = {"skew": said["skew"], "kurtosis": said["kurtosis"]}
    annual = ratio * math.sqrt(years)
    known |= {"sharpe": annual, "probabilistic_sharpe": float(probabilistic_sharpe(ratio, n, **shape))}
    known["min_track_record_years"] = float(min_track_record_length(ratio, **shape)) / years
    if ledger is not None:
        trials = ledger.n_effective
        known["deflated_sharpe"] = float(deflated_sharpe(ratio, n, n_trials=trials, variance=variance, **shape))
        known["min_backtest_years"] = float(min_backtest_length(trials, annual)) if annual > 0 else math.inf
    return JudgedTrial(**known)


def _intervals(said: dict[str, Any] | None) -> dict[str, Interval]:
    found = {}
    for measure, name in _FIELD_OF.items():
        ends = (said or {}).get(name)
        if ends and ends["low"] is not None and ends["high"] is not None:
            found[measure] = Interval(ends["low"], ends["high"], CONFIDENCE)
    return found


def _warnings(selection: dict[str, Any], ledger: Ledger | None) -> tuple[Advice, ...]:
    found = [Advice(**advice) for advice in selection.get("warnings", ())]
    best = selection.get("best")
    if ledger is None or best is None or best["sharpe"] is None:
        return tuple(found)
    years = best["periods_per_year"]
    evidence = Evidence(years, best["sharpe"] * math.sqrt(years), best["n_bars"], n_trials=ledger.n_effective)
    if (short := short_backtest(evidence)) is not None:
        found.insert(sum(advice.code in _FIRST_CODES for advice in found), short)
    return tuple(found)


def _reasons(
    run: Run,
    values: Mapping[str, Any],
    selection: dict[str, Any],
    bootstrap: dict[str, Any],
    unknown: dict[str, str],
) -> dict[str, str]:
    """Return why each field is None."""
    said = {"pbo": selection.get("unknown", {}).get("pbo")}
    from_bootstrap = bootstrap.get("unknown", {})
    said |= dict.fromkeys(_OF_TEST, from_bootstrap.get("reality"))
    said["best_interval"] = from_bootstrap.get("best_interval")
    if bootstrap and run.objective not in _FIELD_OF:
        said["best_interval"] = f"there is no bootstrap of {run.objective}; `best.intervals` has the Sharpe ratio's"
    if selection and values["best"] is None:
        unknown = dict.fromkeys(("best", "best_interval", *_OF_BEST), "no trial has a value") | unknown
    elif selection:
        flat = "the equity of the best trial never moves"
        unknown = dict.fromkeys(("best_interval", *_OF_BEST), flat) | unknown
        drawn = "drawn points have no neighbours" if run.geometry.sampled else "nothing varies"
        unknown = {"plateau": drawn} | unknown
    reasons = unknown | {name: reason for name, reason in said.items() if reason}
    return {name: reasons.get(name, "not known") for name, value in values.items() if value is None}
