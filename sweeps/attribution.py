"""Who earned what in a trial of a portfolio, who made its drawdowns, and why two of them ended apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import InputError
from quantbot.market import Floats, Nanoseconds

if TYPE_CHECKING:
    from quantbot.engine import Replay
    from quantbot.risk import Difference, DrawdownAttribution, PnlAttribution, TrialPath
    from sweeps.results import Run, TrialReplay

PAID = ("fees", "spread", "impact", "borrow")


def profit(run: Run, replay: TrialReplay) -> PnlAttribution:
    """Return realised profit and loss of a trial by asset, guards, kind of cost, funding and interest.

    Raises
    ------
    InputError
        If the trial holds no portfolio, or the sources do not sum to the change of equity.
    """
    from quantbot.risk import attribute_pnl

    _require(replay)
    curves = replay.curves
    free = without_guards(run, replay.trial)
    same = free is None or np.array_equal(free.by_asset["pnl"], replay.by_asset["pnl"])
    costs = {kind: curves[kind] for kind in PAID} | {"funding": -curves["funding"]}
    return attribute_pnl(
        replay.by_asset["pnl"],
        replay.assets,
        costs={kind: paid for kind, paid in costs.items() if paid.any()},
        cash=curves["interest"],
        unguarded_pnl=None if same or free is None else free.by_asset["pnl"],
        equity=curves["equity"],
        start=_initial_cash(run, replay.trial),
    )


def strategies_profit(replay: TrialReplay) -> Mapping[str, Floats]:
    """Return by strategy on one pool its profit after costs in each bar, shape (n_bars,).

    With interest on cash they sum to the changes of equity. Empty where a trial is of one strategy.
    """
    return replay.tables.get("strategies", {})


def drawdowns(run: Run, replay: TrialReplay, n: int = 5) -> tuple[DrawdownAttribution, ...]:
    """Return the deepest drawdowns of a trial, and what each source of its profit lost in them."""
    from quantbot.risk import attribute_drawdowns

    found = profit(run, replay)
    start = _initial_cash(run, replay.trial)
    return attribute_drawdowns(found.amounts, replay.curves["equity"], start, found.names, n)


def guards_on(run: Run, trial: int) -> tuple[str, ...]:
    """Return the guards that a trial has, in the order of their declaration."""
    from quantbot.portfolio.guards import SWITCHES

    settings = dict(run.plan.settings) | run.plan.trial(trial).settings
    return tuple(name for name in SWITCHES if settings.get(f"guards.{name}"))


def without_guards(run: Run, trial: int, names: Sequence[str] | None = None) -> Replay | None:
    """Return a trial as it would have gone with some of its guards off, by default all; None where none is on."""
    from quantbot.engine import get_engine
    from sweeps.task import load_data

    plan = run.plan
    where = plan.trial(trial)
    settings = dict(plan.settings) | where.settings
    chosen = guards_on(run, trial) if names is None else names
    if not chosen:
        return None
    data = load_data(plan, where.asset)
    off = {f"guards.{name}": type(settings[f"guards.{name}"])(0) for name in chosen}
    return get_engine(plan.engine).replay(
        plan.job(), data, where.fold.window(data.ts_end_ns), dict(where.settings) | off
    )


@dataclass(frozen=True)
class GuardEffect:
    """What a guard did to a trial, beside the same trial without it.

    Attributes
    ----------
    n
        How often it intervened.
    off
        The measures of the trial with this guard off, all others as they are.
    """

    guard: str
    n: int
    off: Mapping[str, float]


def guard_effects(run: Run, replay: TrialReplay) -> tuple[GuardEffect, ...]:
    """Return what each guard of a trial did, one at a time; several together may do less or more."""
    _require(replay)
    done = np.asarray(replay.tables["interventions"]["guard"])
    found = []
    for name in guards_on(run, replay.trial):
        without = without_guards(run, replay.trial, (name,))
        assert without is not None
        found.append(GuardEffect(name, int((done == name).sum()), without.row))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Explained:
    """Why two trials of portfolios ended apart.

    Attributes
    ----------
    ts_end_ns
        Shape (n_bars,): the bars that both have.
    assets
        Of both, in the order of `difference.by_asset`.
    """

    ts_end_ns: Nanoseconds
    assets: tuple[str, ...]
    difference: Difference


def explain(first: tuple[Run, TrialReplay], second: tuple[Run, TrialReplay]) -> Explained:
    """Explain the difference of two trials' returns over their common bars: signal, sizing, guards, costs, the rest.

    Raises
    ------
    InputError
        If a trial holds no portfolio, the two have fewer than two bars in common, or bars between those are missing in
        one of them.
    """
    from quantbot.risk import explain_difference

    for _, replay in (first, second):
        _require(replay)
    times = np.intersect1d(first[1].ts_end_ns, second[1].ts_end_ns)
    if len(times) < 2:
        raise InputError("the two trials have no stretch of time in common")
    assets = tuple(dict.fromkeys((*first[1].assets, *second[1].assets)))
    (one, moves), (other, more) = (_path(run, replay, times, assets) for run, replay in (first, second))
    market = np.where(np.isfinite(moves), moves, more)
    return Explained(times, assets, explain_difference(one, other, market))


def _path(run: Run, replay: TrialReplay, times: Nanoseconds, assets: tuple[str, ...]) -> tuple[TrialPath, Floats]:
    """Return what a trial held and paid on common bars, and what the assets did there."""
    from quantbot.risk import TrialPath
    from sweeps.task import load_data

    bars = np.searchsorted(replay.ts_end_ns, times)
    if not np.array_equal(np.diff(bars), np.ones(len(bars) - 1)):
        raise InputError("one of the trials has bars between the common ones; compare trials of one dataset and fold")
    curves, start = replay.curves, _initial_cash(run, replay.trial)
    before = np.concatenate([[start], curves["equity"][:-1]])
    paid = sum((curves[kind] for kind in PAID), -curves["funding"]) / before
    columns = [assets.index(name) for name in replay.assets]
    free = without_guards(run, replay.trial)
    held = _at_start(replay.by_asset["weight"], bars, columns, len(assets))
    unguarded = None if free is None else _at_start(free.by_asset["weight"], bars, columns, len(assets))
    where = run.plan.trial(replay.trial)
    panel = load_data(run.plan, where.asset)
    begin, stop = where.fold.window(panel.ts_end_ns)
    moves = np.full((len(bars), len(assets)), np.nan)
    moves[:, columns] = panel.returns()[begin:stop][bars]
    # An asset without a bar keeps its value there, and its whole move comes with the next bar.
    moves = np.where(np.isnan(moves) & (held != 0), 0.0, moves)
    return TrialPath(curves["equity"][bars] / before[bars] - 1.0, held, paid[bars], unguarded), moves


def _at_start(weights: Floats, bars: NDArray[np.intp], columns: list[int], n_assets: int) -> Floats:
    """Return what is held while each bar passes: the weights at the close before it."""
    found = np.zeros((len(bars), n_assets))
    inside = bars > 0
    before: Floats = np.zeros((len(bars), weights.shape[1]))
    before[inside] = weights[bars[inside] - 1]
    found[:, columns] = before
    return found


def _initial_cash(run: Run, trial: int) -> float:
    settings = dict(run.plan.settings) | run.plan.trial(trial).settings
    return float(settings["execution.initial_cash"])


def _require(replay: Replay) -> None:
    if "pnl" not in replay.by_asset:
        raise InputError("this trial holds one asset; attribution is of trials of the portfolio engine")
