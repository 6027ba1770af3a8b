"""Portfolios of least conditional value at risk, each with the proof that no better one exists.

CVaR (expected shortfall) at level beta is the mean loss of the worst ``1 - beta`` of scenarios; positive is a loss. As
Rockafellar & Uryasev (2000, "Optimization of conditional value-at-risk", Journal of Risk 2(3), theorem 1) showed, it is
the least value over alpha of ``alpha + E[max(loss - alpha, 0)] / (1 - beta)``, which is convex and piecewise linear in
weights and alpha together: constrained quantile regression. `quantbot.portfolio.kernels` steps over its kinks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError
from quantbot.market import Floats
from quantbot.portfolio.constraints import Constraints, Limits, limits
from quantbot.portfolio.kernels import OPTIMAL, certify, optimise
from quantbot.portfolio.kernels_chain import beyond, violation
from quantbot.portfolio.kernels_model import FEASIBLE, VIOLATED, settle_among, start
from quantbot.portfolio.kernels_vertex import AT_LOWER, Tableau, gradient, refactor
from quantbot.portfolio.model import Model, Scenarios, build, violation_at

GAP = 1e-9  # relative to the greater of 1 and the objective: what counts as certified
_MOST_STEPS = 100_000
_SMALL = 5_000  # returns: of so few all scenarios are looked at from the first step on
_MANY = 10_000  # scenarios of which a sample tells first which are in the tail
_SAMPLE = 4_000
_KEPT = 1.5  # times the tail: scenarios that are looked at then
_APART = 1e-9  # what losses of one size are pulled apart by where they tie too often
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_SECANTS = 200
_NONE: Floats = np.empty(0)
_GIVEN = (np.empty((0, 0)), _NONE, _NONE)
_NO_ROWS = np.empty(0, dtype=np.int64)
_RAISE = 1_000.0
_RAISES = 3

Status = Literal["optimal", "infeasible", "failed"]


@dataclass(frozen=True)
class Optimum:
    """An optimisation's answer and its certificate.

    Attributes
    ----------
    status
        "optimal"; "infeasible": see `conflict`; "failed": nothing was certified.
    weights
        Shape (n_assets,); NaN where there is no answer.
    cvar, var
        Of the portfolio's loss, costs included, at the level asked for; positive is a loss.
    mean
        Mean return per period, costs taken off.
    objective
        What was minimised.
    bound
        No feasible portfolio has a smaller objective.
    violation
        Greatest violation of a constraint.
    n_steps
        Vertices visited.
    conflict
        Constraints that can't hold together.
    method
        What found it.
    """

    status: Status
    weights: Floats
    cvar: float
    var: float
    mean: float
    objective: float
    bound: float
    violation: float
    n_steps: int
    conflict: tuple[str, ...] = ()
    method: str = "active set"

    @property
    def gap(self) -> float:
        """Objective less bound."""
        return self.objective - self.bound


def minimise_cvar(
    scenarios: Scenarios,
    *,
    beta: float = 0.95,
    constraints: Constraints | None = None,
    benchmark: ArrayLike | None = None,
) -> Optimum:
    """Return the portfolio of least CVaR.

    Parameters
    ----------
    beta
        In (0, 1): 0.95 is the mean loss of the worst twentieth.
    benchmark
        Shape (n_scenarios,): then it is the CVaR of falling behind these returns.

    Raises
    ------
    InputError
        If `beta` or a constraint is impossible in itself. Constraints that can't hold together are no error but an
        answer with their names.

    Examples
    --------
    >>> found = minimise_cvar(Scenarios.of([[-0.1, 0.0], [0.2, 0.1], [0.0, -0.05], [0.1, 0.1]]), beta=0.5)
    >>> found.status, found.gap < 1e-12
    ('optimal', True)
    """
    return Problem.of(scenarios, beta, constraints, benchmark).solve()[0]


def maximise_utility(
    scenarios: Scenarios,
    *,
    aversion: float,
    beta: float = 0.95,
    constraints: Constraints | None = None,
    benchmark: ArrayLike | None = None,
) -> Optimum:
    """Return the portfolio of greatest ``mean return - aversion * CVaR``, both after costs.

    The answer's objective is what is minimised: CVaR less the mean return over `aversion`, which is above 0.

    Examples
    --------
    >>> scenarios = Scenarios.of([[-0.1, 0.0], [0.2, 0.1], [0.0, -0.05], [0.1, 0.1]])
    >>> maximise_utility(scenarios, aversion=0.01, beta=0.5).weights.tolist()
    [1.0, 0.0]
    """
    if not 0 < aversion < np.inf:
        raise InputError(f"aversion must be a number above 0, was {aversion!r}")
    return Problem.of(scenarios, beta, constraints, benchmark).solve(1.0 / aversion)[0]


def maximise_return(
    scenarios: Scenarios,
    *,
    limit: float,
    beta: float = 0.95,
    constraints: Constraints | None = None,
    benchmark: ArrayLike | None = None,
) -> Optimum:
    """Return the portfolio of greatest mean return, after costs, whose CVaR is at most `limit`.

    The answer's objective is minus its mean return. Where not even the least CVaR keeps the limit, the conflict names
    "cvar_limit" and the weights are those of the least.

    Notes
    -----
    By duality: the greatest mean return at a price of risk, the price found by secants of the frontier, which is
    piecewise linear. Between the two vertices that the last price leaves, CVaR is linear, and so the portfolio between
    them that just keeps the limit is the best.

    Examples
    --------
    >>> scenarios = Scenarios.of([[-0.1, 0.0], [0.2, 0.1], [0.0, -0.05], [0.1, 0.1]])
    >>> found = maximise_return(scenarios, limit=0.04, beta=0.5)
    >>> round(found.cvar, 12), found.gap < 1e-12
    (0.04, True)
    """
    if not np.isfinite(limit):
        raise InputError(f"limit must be a finite number, was {limit!r}")
    problem = Problem.of(scenarios, beta, constraints, benchmark)
    low, model = problem.solve()
    if low.status != "optimal":
        return low
    if low.cvar > limit + FEASIBLE:
        return replace(low, status="infeasible", conflict=("cvar_limit",))
    high, _ = problem.solve(np.inf, near=model)
    if high.status != "optimal" or high.cvar <= limit:
        return high
    n_steps = low.n_steps + high.n_steps
    for _ in range(_SECANTS):
        price = (high.cvar - low.cvar) / (high.mean - low.mean)
        line = low.cvar - price * low.mean
        found, model = problem.solve(price, near=model)
        n_steps += found.n_steps
        if found.status != "optimal":
            return found
        if found.objective >= line - GAP / 10 * max(abs(line), 1.0) or not low.cvar < found.cvar < high.cvar:
            share = (limit - low.cvar) / (high.cvar - low.cvar)
            weights = (1.0 - share) * low.weights + share * high.weights
            return problem.answer(weights, -(limit - found.bound) / price, n_steps)
        low, high = (found, high) if found.cvar <= limit else (low, found)
    return replace(low, status="failed", n_steps=n_steps)


@dataclass(frozen=True)
class Problem:
    """Scenarios and checked constraints, to be solved for one price of risk or many."""

    scenarios: Scenarios
    beta: float
    limits: Limits
    benchmark: Floats | None

    @property
    def against(self) -> Floats:
        """The benchmark's returns; shape (0,) where there is none."""
        return _NONE if self.benchmark is None else self.benchmark

    @staticmethod
    def of(
        scenarios: Scenarios, beta: float, constraints: Constraints | None, benchmark: ArrayLike | None = None
    ) -> Problem:
        """Check what is handed in."""
        if not 0 < beta < 1:
            raise InputError(f"beta must be in (0, 1), was {beta!r}")
        checked = limits(constraints or Constraints(), len(scenarios.assets))
        return Problem(scenarios, beta, checked, _compared(benchmark, len(scenarios.returns)))

    def solve(self, trade_off: float = 0.0, *, near: Model | None = None) -> tuple[Optimum, Model]:
        """Minimise ``CVaR - trade_off * mean return``; `near` is a model of this problem whose vertex is the start."""
        model, status, conflict = self._settled(trade_off, near)
        if status == "failed":
            return self._by_library(trade_off), model
        t = model.tableau
        value, bound, wrong = certify(t, len(model.names))
        weights = model.weights()
        objective, bound = value + model.constant, bound + model.constant
        traded = self.traded(weights)
        mean = float(self.scenarios.mean @ weights) - traded
        if trade_off == np.inf:
            cvar, var = self.tail(weights)
        else:
            cvar, var = objective + trade_off * mean, float(t.x[-1]) + traded
        steps = int(t.size[1])
        return Optimum(status, weights, cvar, var, mean, objective, bound, wrong, steps, conflict), model

    def read(self, model: Model, x: Floats, numbers: Floats) -> Optimum:
        """Return the answer at vertex `x` of a model of least CVaR; `numbers` as `kernels_chain.trace` keeps them."""
        weights = model.weights(x)
        traded = self.traded(weights)
        objective, bound, wrong, steps = (float(number) for number in numbers)
        objective, bound = objective + model.constant, bound + model.constant
        mean = float(self.scenarios.mean @ weights) - traded
        return Optimum("optimal", weights, objective, float(x[-1]) + traded, mean, objective, bound, wrong, int(steps))

    def _by_library(self, trade_off: float) -> Optimum:
        """Solve as a linear program by HiGHS, where the active set ended without a proof."""
        from quantbot.portfolio.highs import solve_dual

        model = build(self.scenarios, self.beta, self.limits, benchmark=self.benchmark, trade_off=trade_off)
        found = solve_dual(model)
        if found is None:
            nothing = np.full(len(model.origin), math.nan)
            return Optimum(
                "failed", nothing, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, 0, (), "highs"
            )
        x, bound = found
        weights = model.weights(x)
        mean = float(self.scenarios.mean @ weights) - self.traded(weights)
        cvar, var = self.tail(weights)
        objective = -mean if trade_off == np.inf else cvar - trade_off * mean
        wrong = violation_at(model, x)
        sure = wrong <= FEASIBLE and objective - bound - model.constant <= GAP * max(1.0, abs(objective))
        return Optimum(
            "optimal" if sure else "failed", weights, cvar, var, mean, objective, bound + model.constant, wrong, 0,
            method="highs",
        )  # fmt: skip

    def answer(self, weights: Floats, bound: float, n_steps: int) -> Optimum:
        """Return weights as the answer to the greatest mean return."""
        cvar, var = self.tail(weights)
        mean = float(self.scenarios.mean @ weights) - self.traded(weights)
        return Optimum("optimal", weights, cvar, var, mean, -mean, bound, 0.0, n_steps)

    def traded(self, weights: Floats) -> float:
        """Return what it costs to come to these weights."""
        if not self.limits.trades:
            return 0.0
        return float(self.limits.cost @ np.abs(weights - self.limits.previous))

    def tail(self, weights: Floats) -> tuple[float, float]:
        """Return CVaR and VaR of weights, costs included: by sorting, for any weights."""
        cvar, var = cvar_of(self._losses(weights), self.beta, self.scenarios.probabilities)
        traded = self.traded(weights)
        return cvar + traded, var + traded

    def _settled(self, trade_off: float, near: Model | None) -> tuple[Model, Status, tuple[str, ...]]:
        """Solve with the scenarios that may be in the tail, and those that are: the others count for nothing."""
        build_with = partial(
            build, self.scenarios, self.beta, self.limits, benchmark=self.benchmark, trade_off=trade_off
        )
        n_scenarios, n_assets = self.scenarios.returns.shape
        n_kept = int(_KEPT * (1.0 - self.beta) * n_scenarios) + n_assets + 50
        if self.scenarios.returns.size < _SMALL or 2 * n_kept > n_scenarios:
            model = build_with(near=near)
            return model, *settle(model)
        if near is not None:
            kept = near.kept
        elif n_scenarios < _MANY:
            kept = self._worst(self._plain(), n_kept)
        else:
            sample = np.arange(0, n_scenarios, n_scenarios // _SAMPLE)
            model = build_with(chosen=sample, sampled=True)
            status, conflict = settle(model)
            if status != "optimal":
                return model, status, conflict
            near = model
            active = model.tableau.active[: model.tableau.size[0]] - len(model.names)
            kept = np.union1d(self._worst(model.weights(), n_kept), sample[active[active >= 0]])
        looked_at = None if trade_off == np.inf else self
        model = build_with(chosen=kept, near=near, room=n_scenarios - len(kept))
        return model, *settle(model, looked_at)

    def _plain(self) -> Floats:
        """Return weights that lose most when most do: those held before, or equal ones, within bounds."""
        limits = self.limits
        n_assets = len(limits.lower)
        budget = 1.0 if limits.budget is None else limits.budget
        return np.clip(limits.previous if limits.trades else np.full(n_assets, budget / n_assets),
                       limits.lower, limits.upper)  # fmt: skip

    def _worst(self, weights: Floats, n: int) -> NDArray[np.int64]:
        """Return the scenarios of greatest loss, rising: `n`, or as many as hold the tail with some to spare."""
        losses, chances = self._losses(weights), self.scenarios.probabilities
        worst = np.argpartition(losses, len(losses) - n)[-n:]
        enough = _KEPT * (1.0 - self.beta)
        if chances[worst].sum() < min(enough, 1.0) * (1.0 - 1e-9):
            order = np.argsort(-losses, kind="stable")
            worst = order[: int(np.searchsorted(np.cumsum(chances[order]), enough)) + 1]
        return np.sort(worst)

    def _losses(self, weights: Floats) -> Floats:
        losses = np.empty(len(self.scenarios.returns))
        beyond(self.scenarios.returns, self.against, weights, 0.0, losses)
        return losses


def cvar_of(losses: Floats, beta: float, probabilities: Floats | None = None) -> tuple[float, float]:
    """Return CVaR and VaR of losses, shape (n_scenarios,).

    Notes
    -----
    Rockafellar & Uryasev (2002), "Conditional value-at-risk for general loss distributions", proposition 8: the
    scenario at the boundary is split, so that exactly ``1 - beta`` is averaged.

    Examples
    --------
    >>> cvar_of(np.array([0.1, 0.0, -0.1, -0.2]), 0.75)
    (0.1, 0.1)
    """
    n = len(losses)
    order = np.argsort(-losses, kind="stable")
    chances = np.full(n, 1.0 / n) if probabilities is None else probabilities[order]
    before = np.concatenate([[0.0], np.cumsum(chances)[:-1]])
    share = np.clip((1.0 - beta) - before, 0.0, chances) / (1.0 - beta)
    worst = losses[order]
    at = int(np.flatnonzero(share > 0)[-1])
    return float(worst[at] + share @ np.maximum(worst - worst[at], 0.0)), float(worst[at])


def _compared(benchmark: ArrayLike | None, n_scenarios: int) -> Floats | None:
    if benchmark is None:
        return None
    found = np.asarray(benchmark, dtype=np.float64)
    if found.shape != (n_scenarios,) or not np.isfinite(found).all():
        raise InputError(f"benchmark must be {n_scenarios} finite numbers, was of shape {found.shape}")
    return found


def settle(model: Model, among: Problem | None = None) -> tuple[Status, tuple[str, ...]]:
    """Bring a model's vertex to the optimum; raise penalties that are not enough, and find what can't hold together.

    Scenarios of `among` that are beyond the value at risk are given a row.
    """
    t, n = model.tableau, len(model.names)
    given = _GIVEN if among is None else (among.scenarios.returns, among.against, among.scenarios.probabilities)
    weights, losses = np.empty(len(model.origin)), np.empty(len(given[0]))
    chosen = _NO_ROWS if model.chosen is None else model.chosen
    raises, apart = 0, False
    while raises < _RAISES:
        found = settle_among(
            t, n, _most_steps(t), *given, model.share, model.asset, model.origin, chosen, weights, losses
        )
        if found == OPTIMAL:
            return "optimal", ()
        if found == VIOLATED:
            t.up[:n] *= _RAISE
            t.down[:n] *= _RAISE
            gradient(t)
            raises, apart = raises + 1, False
        elif apart or not _apart(model):
            return "failed", ()
        else:
            apart = True
    conflict = conflicts(model)
    return ("infeasible", conflict) if conflict else ("failed", ())


def _most_steps(t: Tableau) -> int:
    """Return more steps than any problem takes that does not go round in circles."""
    return 2_000 + 20 * len(t.costs)


def _apart(model: Model) -> bool:
    """Solve again with the scenarios' losses pulled apart by less than matters, and from there as they are.

    Where all scenarios tie (no position at all is the best), steps of no length can go round and round. Which rows and
    columns are priced right does not depend on the losses' sizes, so the vertex found apart is the best for them all.
    """
    t, n = model.tableau, len(model.names)
    bounds = t.bounds.copy()
    t.bounds[n:] += _APART * (1.0 + np.arange(len(bounds) - n) * _GOLDEN % 1.0)
    t.place[t.place >= 0] = AT_LOWER
    start(t, n)
    found = optimise(t, _most_steps(t)) == OPTIMAL
    t.bounds[:] = bounds
    return found and refactor(t) and optimise(t, _most_steps(t)) == OPTIMAL


def violated(model: Model) -> bool:
    """Say whether a constraint is violated at the vertex."""
    return violation(model.tableau, len(model.names)) > FEASIBLE


def conflicts(model: Model) -> tuple[str, ...]:
    """Return the constraints that can't hold together, by Farkas' lemma: those with a price where least is violated."""
    t, n = model.tableau, len(model.names)
    up, down, costs = t.up.copy(), t.down.copy(), t.costs.copy()
    t.up[n:] = 0.0
    t.costs[:] = 0.0
    t.up[:n] = np.where(up[:n] > 0, 1.0, 0.0)
    t.down[:n] = np.where(down[:n] > 0, 1.0, 0.0)
    refactor(t)
    names: tuple[str, ...] = ()
    if optimise(t, _MOST_STEPS) == OPTIMAL and violated(model):
        certify(t, n)
        price = {int(row): abs(float(t.multipliers[k])) for k, row in enumerate(t.active[: t.size[0]])}
        beyond = t.side[:n] * t.residuals[:n] * np.where(t.side[:n] > 0, t.up[:n], t.down[:n]) > FEASIBLE
        names = tuple(name for i, name in enumerate(model.names) if beyond[i] or price.get(i, 0.0) > 1e-9)
    t.up[:], t.down[:], t.costs[:] = up, down, costs
    return names
