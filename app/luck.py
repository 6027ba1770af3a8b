"""How much of the best is luck, as the terminal says it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from app import format as fmt

if TYPE_CHECKING:
    from quantbot.measures import Measure
    from sweeps.ledger import Ledger
    from sweeps.luck import Interval, JudgedTrial, Luck
    from sweeps.null import NullTest
    from sweeps.results import Run

_CALLED = {
    "best_interval": "interval",
    "deflated_sharpe": "deflated Sharpe ratio",
    "luck_line": "luck line",
    "n_trials": "trials in the ledger",
    "pbo": "probability of overfitting",
    "plateau": "plateau",
    "probabilistic_sharpe": "probabilistic Sharpe ratio",
    "p": "p",
    "reality_check_p": "reality check",
    "spa_p": "SPA",
}


def luck_sentences(run: Run, found: Luck) -> list[str]:
    """Say what to choose, how sure its measure is, and what the best of so many would show by luck alone."""
    declared = run.measures[run.objective]
    lines = []
    if found.plateau is not None:
        plateau = found.plateau
        edge = f"; {' and '.join(plateau.edges)} at the edge of the grid: widen it" if plateau.edges else ""
        lines.append(
            f"plateau: {_trial(plateau, declared)}; worse half of it and its"
            f" {fmt.plural(plateau.n_neighbours, 'neighbour')} {fmt.measure(plateau.score, declared)} on average, worst"
            f" {fmt.measure(plateau.worst, declared)}{edge}"
        )
    if found.best is not None:
        remarks = ["a lone spike"] * found.best_is_spike
        remarks += [f"at the edge of {' and '.join(found.best_edges)}"] * bool(found.best_edges)
        lines.append("; ".join([f"best: {_trial(found.best, declared)}", *remarks]))
    if found.luck_line is not None and found.n_trials is not None and found.n_effective is not None:
        lines.append(luck_line(found, declared))
    lines += [line] if (line := _tests(found)) else []
    lines += [f"warning: {advice.sentence}" for advice in found.warnings]
    return lines + unknown_sentences(found)


def luck_line(found: Luck, objective: Measure) -> str:
    """Say what the best would show by luck: ``best +1.92; noise alone would reach about +1.6 in 1 000 000 trials``."""
    assert found.luck_line is not None
    assert found.n_trials is not None
    assert found.n_effective is not None
    best = found.best.sharpe if found.best is not None else None
    said = "best" if objective.name == "sharpe" else "Sharpe ratio of the best"
    own = fmt.UNDEFINED if best is None else fmt.signed(best)
    independent = fmt.count(round(found.n_effective))
    return (
        f"luck: {said} {own}; noise alone would reach about {fmt.signed(found.luck_line, 1)} in"
        f" {fmt.plural(found.n_trials, 'trial')} (as many as {independent} independent ones)"
    )


def unknown_sentences(found: Luck) -> list[str]:
    """Say what isn't known, one line a reason."""
    fields: dict[str, list[str]] = {}
    for name, reason in found.unknown.items():
        if name in _CALLED:
            fields.setdefault(reason, []).append(_CALLED[name])
    return [f"unknown: {', '.join(names)}: {reason}" for reason, names in fields.items()]


def ledger_rows(found: Ledger) -> list[tuple[str, str]]:
    """Return what a family's ledger adds up to, line by line."""
    effective = found.effective
    spread = math.sqrt(found.variance_sharpe) if found.variance_sharpe >= 0 else math.nan
    return [
        ("strategy", found.family.strategy),
        ("data", found.family.dataset),
        (
            "trials",
            f"{fmt.count(found.n_trials)}, each counted once; a best is chosen among {fmt.count(found.n_choices)}",
        ),
        (
            "independent",
            f"about {fmt.count(round(found.n_effective))}, from {fmt.plural(effective.n_sampled, 'trial')} with a mean"
            f" correlation of {fmt.signed(effective.mean_correlation)}",
        ),
        ("Sharpe ratio", f"{fmt.signed(found.mean_sharpe)} on average, deviation {fmt.signed(spread).lstrip('+')}"),
    ]


def null_rows(run: Run, found: NullTest) -> list[tuple[str, str]]:
    """Return what a noise test came to, line by line."""
    declared = run.measures[found.objective]
    sample = "all" if found.n_points == found.n_all_points else f"{fmt.count(found.n_points)} of"
    kept = f"blocks of {found.mean_block:g} bars on average" if found.method == "bootstrap" else "random phases"
    quantiles = ((0.05, "5 %"), (0.5, "median"), (0.95, "95 %"))
    return [
        ("points", f"{sample} {fmt.count(found.n_all_points)}"),
        ("prices", f"{found.method}: {kept}"),
        ("real best", f"{declared.label} {fmt.measure(found.real, declared)}"),
        *((f"noise, {words}", fmt.measure(found.quantile(share), declared)) for share, words in quantiles),
        ("p", f"{found.p_value:.3f}: the share of bests, the real one included, that are as good as it"),
    ]


def null_sentence(found: NullTest, declared: Measure) -> str:
    """Say where the real best stands among those of a noise test."""
    return (
        f"Noise test: the best of {fmt.plural(found.n_points, 'point')} has {declared.label}"
        f" {fmt.measure(found.real, declared)}; on {fmt.plural(len(found.bests), 'resample')} of the prices"
        f" ({found.method}) it has {fmt.measure(found.quantile(0.5), declared)} in the median, and as good a one with"
        f" p = {found.p_value:.3f}"
    )


def _trial(judged: JudgedTrial, declared: Measure) -> str:
    said = f"{fmt.point(dict(judged.point))} with {declared.label} {fmt.measure(judged.value, declared)}"
    if judged.interval is not None:
        said += f" {_interval(judged.interval, declared)}"
    if judged.deflated_sharpe is not None:
        said += f", deflated Sharpe ratio {judged.deflated_sharpe:.2f}"
    return said


def _interval(interval: Interval, declared: Measure) -> str:
    ends = (fmt.measure(end, declared) for end in (interval.low, interval.high))
    return f"[{', '.join(ends)}]"


def _tests(found: Luck) -> str:
    """Say what the tests across trials came to."""
    said = [] if found.pbo is None else [f"probability of overfitting {found.pbo:.2f}"]
    if found.p is not None:
        said.append(
            f"p {found.p:.2f}, the larger of SPA {found.spa_p:.2f} and reality check {found.reality_check_p:.2f}"
        )
    if not said or found.n_sampled is None or found.n_population is None:
        return ""
    of = f"{fmt.count(found.n_sampled)} of " if found.n_sampled < found.n_population else "all "
    return f"tests: {', '.join(said)} ({of}{fmt.plural(found.n_population, 'trial')})"
