"""Chains of optimisations: from one decision to the next through a window of bars, each from the one before.

A chain belongs to a point's settings of scenarios, optimisation, constraints and rebalancing, and to a window. It
begins cold at the window's first decision, and again where the assets that have a whole history change: both are given
by the settings and the data, so its bits don't depend on who computes it, or what else is computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Tables
from quantbot.errors import InputError
from quantbot.market import Floats, Panel
from quantbot.measures import Measure
from quantbot.parameters import Value
from quantbot.portfolio.allocation import allocate
from quantbot.portfolio.constraints import Constraints
from quantbot.portfolio.cvar import Optimum, cvar_of
from quantbot.portfolio.dates import decision_bars
from quantbot.portfolio.given import GivenScenarios
from quantbot.portfolio.model import Scenarios
from quantbot.portfolio.rolling import windows_cvar
from quantbot.portfolio.rules import Rules, called
from quantbot.portfolio.sections import GIVEN, MOMENTUM, horizon_of
from quantbot.portfolio.targets import signal_prices
from quantbot.risk.scenarios import SCENARIOS, compound, make_scenarios, seed_of

Masks = NDArray[np.bool_]
SOLVED, FALLBACK, WAITING = 0, 1, 2  # of a decision; waiting: no asset has a whole window yet


@dataclass(frozen=True, eq=False)
class History:
    """What decisions see: returns on one clock.

    Attributes
    ----------
    prices, returns
        Shape (n_bars, n_assets): adjusted closes and simple returns per bar; NaN where an asset has no price.
    """

    prices: Floats
    returns: Floats
    ts_end_ns: NDArray[np.int64]
    assets: tuple[str, ...]
    periods_per_year: float

    @classmethod
    def of(cls, panel: Panel) -> History:
        """Return what decisions see of a panel."""
        return cls(signal_prices(panel), panel.returns(), panel.ts_end_ns, panel.assets, panel.periods_per_year)


@dataclass(frozen=True, eq=False)
class Chain:
    """What was decided.

    Attributes
    ----------
    bars
        Shape (n,): the bar at whose close each decision falls.
    weights
        Shape (n, n_assets): targets; NaN: what is held is kept.
    status
        Shape (n,), uint8: `SOLVED`, `FALLBACK` or `WAITING`.
    cvar, var, mean, gap
        Shape (n,): of each answer, before costs, per horizon of the scenarios; positive CVaR and VaR are losses. The
        gap is relative to the greater of 1 and the objective; NaN where the method has no bound.
    n_assets
        Shape (n,): assets with a whole history.
    realised
        Shape (n_bars,): returns per bar of the weights from the first decision on, drifting between decisions, before
        costs; what is not invested earns nothing.
    why
        For each fallback, by its place, the reason.
    failed
        Why there is nothing to trade; empty when there is.
    """

    bars: NDArray[np.int64]
    weights: Floats
    status: NDArray[np.uint8]
    cvar: Floats
    var: Floats
    mean: Floats
    gap: Floats
    n_assets: NDArray[np.int64]
    realised: Floats
    why: Mapping[int, str]
    failed: str = ""

    @property
    def n_bytes(self) -> int:
        """Return roughly what it takes to remember it."""
        return int(self.weights.nbytes + self.realised.nbytes + 64 * len(self.bars))

    def measures(self, settings: Mapping[str, Value]) -> dict[str, float]:
        """Return what the row of a trial says of its optimisations; see `MEASURES`."""
        decided = self.status != WAITING
        gaps = self.gap[np.isfinite(self.gap)]
        told = self.cvar[np.isfinite(self.cvar)]
        lost = -compound(self.realised[:, None], horizon_of(settings))[:, 0]
        beta = float(settings["optimise.beta"])
        return {
            "n_problems": float(decided.sum()),
            "n_fallbacks": float((self.status == FALLBACK).sum()),
            "worst_gap": float(gaps.max()) if gaps.size else math.nan,
            "mean_assets": float(self.n_assets[decided].mean()) if decided.any() else math.nan,
            "n_excluded": float((self.weights.shape[1] - self.n_assets[decided]).sum()),
            "cvar_forecast": float(told.mean()) if told.size else math.nan,
            "cvar_realised": cvar_of(lost, beta)[0] if lost.size and np.isfinite(lost).all() else math.nan,
        }


MEASURES = (
    Measure("n_problems", "Optimisations", "optimise", "count", 0, False,
            "Decisions on which at least one asset had a whole history."),
    Measure("n_fallbacks", "Fallbacks", "optimise", "count", -1, False,
            "Decisions without an answer: rebalance.fallback says what was done."),
    Measure("worst_gap", "Worst gap", "optimise", "ratio", -1, False,
            "Largest proven distance of an answer from the best: (objective - bound) / max(1, |objective|)."),
    Measure("mean_assets", "Assets decided on", "optimise", "count", 0, False,
            "Mean number of assets with a whole history at a decision."),
    Measure("n_excluded", "Assets left out", "optimise", "count", -1, False,
            "Assets without a whole history, summed over decisions."),
    Measure("cvar_forecast", "CVaR foretold", "optimise", "fraction", 0, False,
            "Mean CVaR of the chosen weights over the scenarios, at optimise.beta, before costs; positive is a loss."),
    Measure("cvar_realised", "CVaR come true", "optimise", "fraction", -1, False,
            "CVaR at optimise.beta of what the weights earned afterwards, drifting between decisions, before costs, per"
            " horizon of the scenarios; to be compared with what was foretold. Positive is a loss."),
)  # fmt: skip


def make_chain(
    history: History,
    window: tuple[int, int],
    settings: Mapping[str, Value],
    tables: Tables,
    *,
    most: int | None = None,
    given: GivenScenarios | None = None,
) -> Chain:
    """Optimise at every decision of a window.

    Parameters
    ----------
    settings
        By dotted name: every setting of `quantbot.portfolio.sections`.
    most
        End after so many decisions that have an asset to decide on.
    given
        What `scenarios.method` "user" takes.
    """
    return _Maker(history, window, settings, tables, given).make(most)


class _Maker:
    def __init__(
        self,
        history: History,
        window: tuple[int, int],
        settings: Mapping[str, Value],
        tables: Tables,
        given: GivenScenarios | None,
    ) -> None:
        self.history, self.settings, self.tables, self.given = history, settings, tables, given
        is_given = settings["scenarios.method"] == GIVEN
        self.length = 1 if is_given else int(settings["scenarios.window"])
        self.beta = float(settings["optimise.beta"])
        self.method = str(settings["optimise.method"])
        self.stop = window[1]
        self.returns = _settled(history.returns, str(settings["scenarios.missing"]))
        bars = decision_bars(
            history.ts_end_ns, window, str(settings["rebalance.calendar"]), int(settings["rebalance.every"]),
            int(settings["rebalance.offset"]),
        )  # fmt: skip
        self.bars = bars[bars >= self.length]  # the first bar has no return
        self.whole = whole_windows(self.returns, self.length)[self.bars]
        if is_given:
            self.whole &= self._given(given)[self.bars]
        self.rules = Rules(settings, tables, history.assets, history.periods_per_year)
        self.cost = self.rules.cost
        self.traded = self.cost > 0.0 or float(settings["constraints.turnover"]) > 0.0

    def make(self, most: int | None) -> Chain:
        """Return the chain, of at most so many decisions."""
        n, n_assets = len(self.bars), len(self.history.assets)
        self.weights = np.full((n, n_assets), math.nan)
        self.status = np.full(n, WAITING, np.uint8)
        self.numbers = {name: np.full(n, math.nan) for name in ("cvar", "var", "mean", "gap")}
        self.why: dict[int, str] = {}
        ready = np.flatnonzero(self.whole.any(axis=1))
        failed = ""
        if not ready.size:
            failed = (
                f"no decision: no asset has {self.length} returns before any of them; shorten scenarios.window or"
                " begin later"
            )
            if self.settings["scenarios.method"] == GIVEN:
                failed = "no decision: at none of them is a set of scenarios known; date them earlier, or begin later"
        for begin, end in _runs(self.whole, ready[: ready.size if most is None else most]):
            failed = self._run(begin, end, first=begin == ready[0])
            if failed:
                break
        if not failed and (self.status == WAITING).all():
            failed = "no decision: no asset has a price optimise.lookback bars before any of them; shorten it"
        n_bars = len(self.history.returns)
        realised = np.empty(0) if failed or most is not None else self._realised(n_bars)
        return Chain(
            self.bars, self.weights, self.status, **self.numbers, n_assets=self.whole.sum(axis=1), realised=realised,
            why=self.why, failed=failed,
        )  # fmt: skip

    def _run(self, begin: int, end: int, *, first: bool) -> str:
        """Decide from `begin` to `end`, where the same assets have a whole history; return why the first has failed."""
        columns = np.flatnonzero(self.whole[begin])
        try:
            if self.method == MOMENTUM:
                return self._momentum(begin, end, self.rules.constraints(columns, None))
            if self.method == "min_cvar" and self.settings["scenarios.method"] == "historical" and not self.traded:
                constraints = self.rules.constraints(columns, None)
                begins = self.bars[begin:end] - self.length + 1
                own = np.ascontiguousarray(self.returns[:, columns])
                answers = windows_cvar(own, self.length, begins, self.beta, constraints)
                for place, answer in enumerate(answers, begin):
                    if failed := self._keep(place, columns, answer, None, first=first and place == begin):
                        return failed
                return ""
        except InputError as error:
            return self._without(begin, end, called(error), first=first)
        for place in range(begin, end):
            if failed := self._one(place, columns, first=first and place == begin):
                return failed
        return ""

    def _one(self, place: int, columns: NDArray[np.int64], *, first: bool) -> str:
        """Decide once, from scratch."""
        bar = int(self.bars[place])
        own = self.returns[bar - self.length + 1 : bar + 1, columns]
        previous = self._held(place) if self.traded else None
        try:
            scenarios = self.scenarios(own, columns, bar)
            answer = allocate(
                self.method,
                scenarios,
                beta=self.beta,
                constraints=self.rules.constraints(columns, None if previous is None else previous[columns]),
                **self.rules.extra(scenarios, columns),
            )
        except InputError as error:
            return self._without(place, place + 1, called(error), first=first)
        return self._keep(place, columns, answer, scenarios, first=first, previous=previous)

    def scenarios(self, own: Floats, columns: NDArray[np.int64], bar: int) -> Scenarios:
        """Return the scenarios of a decision: seeded by the setting, the method and the time alone."""
        names = tuple(self.history.assets[column] for column in columns)
        method = str(self.settings["scenarios.method"])
        if method == "historical":
            return Scenarios.of(own, assets=names)
        if method == GIVEN and self.given is not None:
            return self.given.of_assets(int(self.history.ts_end_ns[bar]), names)
        said = {one.name: self.settings[f"scenarios.{one.name}"] for one in SCENARIOS[method].parameters}
        seed = seed_of("scenarios", int(self.settings["scenarios.seed"]), method, int(self.history.ts_end_ns[bar]))
        return make_scenarios(method, own, seed=seed, assets=names, **said)

    def _given(self, given: GivenScenarios | None) -> Masks:
        """Return for each bar, shape (n_bars, n_assets), of which assets scenarios are known."""
        if given is None:
            raise InputError(f"scenarios.method {GIVEN} needs scenarios that are handed in")
        known = given.known_at(self.history.ts_end_ns)
        return np.asarray(known[:, None] & np.isin(np.array(self.history.assets), np.array(given.assets)))

    def _momentum(self, begin: int, end: int, constraints: Constraints) -> str:
        """Hold the best of the past in equal weights: no scenarios, and no constraint that it could keep."""
        from quantbot.portfolio.kernels_signals import top_share

        asked = [one.name for one in fields(constraints) if getattr(constraints, one.name) != one.default]
        if asked:
            raise InputError(f"{MOMENTUM} can't honour {asked[0]}")
        lookback = np.array([int(self.settings["optimise.lookback"])], dtype=np.int64)
        found = np.zeros((1, end - begin, len(self.history.assets)))
        share = float(self.settings["optimise.share"])
        top_share(self.history.prices, self.bars[begin:end], lookback, share, found)
        self.weights[begin:end] = found[0]
        self.status[begin:end] = np.where(np.isnan(found[0, :, 0]), WAITING, SOLVED)
        return ""

    def _keep(
        self,
        place: int,
        columns: NDArray[np.int64],
        answer: Optimum,
        scenarios: Scenarios | None,
        *,
        first: bool,
        previous: Floats | None = None,
    ) -> str:
        """Keep an answer; return why the first has failed."""
        if answer.status != "optimal":
            return self._without(place, place + 1, self._conflict(answer), first=first)
        row = np.zeros(len(self.history.assets))
        row[columns] = answer.weights
        self.weights[place] = row
        self.status[place] = SOLVED
        cvar, var, mean = answer.cvar, answer.var, answer.mean
        if self.method == "tracking" and scenarios is not None:
            cvar, var = cvar_of(-(scenarios.returns @ answer.weights), self.beta, scenarios.probabilities)
            mean = float(scenarios.mean @ answer.weights)
        elif self.cost:
            held = 0.0 if previous is None else previous[columns]
            paid = self.cost * float(np.abs(answer.weights - held).sum())
            cvar, var, mean = cvar - paid, var - paid, mean + paid
        gap = answer.gap / max(1.0, abs(answer.objective))
        for name, value in (("cvar", cvar), ("var", var), ("mean", mean), ("gap", gap)):
            self.numbers[name][place] = value
        return ""

    def _conflict(self, answer: Optimum) -> str:
        if answer.status != "infeasible":
            return f"{self.method} found no answer that it could prove"
        named = " and ".join(answer.conflict) or "the constraints"
        low, high = (float(self.settings[f"constraints.{side}_weight"]) for side in ("min", "max"))
        return f"{named} can't hold with weights from {low:g} to {high:g}"

    def _without(self, begin: int, end: int, why: str, *, first: bool) -> str:
        """Fall back from `begin` to `end`, or return why the first decision has no answer."""
        if first:
            when = np.datetime64(int(self.history.ts_end_ns[self.bars[begin]]), "ns").astype("datetime64[s]")
            return f"the first decision, at {when}Z, has no answer: {why}"
        for place in range(begin, end):
            self.status[place] = FALLBACK
            self.why[place] = why
            if self.settings["rebalance.fallback"] == "cash":
                self.weights[place] = 0.0
        return ""

    def _held(self, place: int) -> Floats | None:
        """Return the last targets, drifted to the decision at `place`; None where there are none."""
        for before in range(place - 1, -1, -1):
            if not np.isnan(self.weights[before, 0]):
                return _drifted(self.weights[before], self._moves(before, int(self.bars[place])))[1]
        return None

    def _moves(self, place: int, until: int) -> Floats:
        """Return the returns after decision `place` up to bar `until`; none where there is no price."""
        return np.nan_to_num(self.history.returns[self.bars[place] + 1 : until + 1])

    def _realised(self, n_bars: int) -> Floats:
        """Return what the weights earned from the first decision on."""
        chosen = [place for place in range(len(self.bars)) if not np.isnan(self.weights[place, 0])]
        parts = []
        for place, following in zip(chosen, [*chosen[1:], -1], strict=True):
            until = int(self.bars[following]) if following >= 0 else self.stop - 1
            parts.append(_drifted(self.weights[place], self._moves(place, until))[0])
        return np.concatenate(parts)


def whole_windows(returns: Floats, length: int) -> Masks:
    """Return for each bar, shape (n_bars, n_assets), whether the last `length` returns are all there."""
    missing = np.cumsum(np.isnan(returns), axis=0)
    whole = np.zeros(returns.shape, dtype=bool)
    whole[length:] = missing[length:] == missing[:-length]
    return whole


def _settled(returns: Floats, missing: str) -> Floats:
    """Return returns with those filled in that the rule for missing prices says."""
    if missing == "exclude":
        return returns
    known = np.maximum.accumulate(~np.isnan(returns), axis=0)
    return np.where(known & np.isnan(returns), 0.0, returns)


def _runs(whole: Masks, ready: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the ranges of neighbouring decisions that have the same assets."""
    if not ready.size:
        return []
    changed = (whole[ready[1:]] != whole[ready[:-1]]).any(axis=1) | (np.diff(ready) > 1)
    cuts = np.concatenate([[0], np.flatnonzero(changed) + 1, [ready.size]])
    return [(int(ready[a]), int(ready[b - 1]) + 1) for a, b in pairwise(cuts)]


def _drifted(weights: Floats, moves: Floats) -> tuple[Floats, Floats]:
    """Return the returns of weights that drift with `moves`, shape (n_bars, n_assets), and the weights at the end."""
    if not len(moves):
        return np.empty(0), weights
    growth = np.cumprod(1.0 + moves, axis=0)
    value = 1.0 - weights.sum() + (growth * weights).sum(axis=1)
    if not value.min() > 0.0:  # shorts that lost everything
        return np.full(len(value), math.nan), weights
    before = np.concatenate([[1.0], value[:-1]])
    return np.asarray(value / before - 1.0), np.asarray(weights * growth[-1] / value[-1])
