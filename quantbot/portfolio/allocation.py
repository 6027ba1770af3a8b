"""Allocators: from scenarios to weights, by least CVaR or by an alternative to it, all called and answering alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike

from quantbot.errors import InputError
from quantbot.market import Floats
from quantbot.parameters import nearest
from quantbot.portfolio.constraints import Constraints
from quantbot.portfolio.cvar import Optimum, Problem, Status, maximise_return
from quantbot.portfolio.kernels_model import FEASIBLE
from quantbot.portfolio.model import Scenarios

_ALL = frozenset(field.name for field in fields(Constraints))
_FIXED = frozenset({"lower", "upper", "budget", "previous", "cost"})
_FLAT = 1e-24  # a variance that is nothing but rounding, of returns around 1e-2
_EXACT_DECREMENT = 1e-8


@dataclass(frozen=True)
class Asked:
    """What an allocator gets: the problem, its parts checked, and the numbers that only some of them use."""

    problem: Problem
    constraints: Constraints
    aversion: float | None
    limit: float | None


@dataclass(frozen=True)
class Allocator:
    """One way from scenarios to weights.

    Attributes
    ----------
    title
        For people.
    doc
        One sentence: what it does, and by which formula.
    needs
        Of "aversion", "limit" and "benchmark", those it can't do without; what it doesn't name it may ignore.
    honours
        The fields of `Constraints` that it keeps.
    takes_benchmark
        Whether returns may be measured against a benchmark's.
    answer
        The function behind it; call `allocate`.
    """

    name: str
    title: str
    doc: str
    needs: tuple[str, ...]
    honours: frozenset[str]
    takes_benchmark: bool
    answer: Callable[[Asked], Optimum]

    def check(
        self,
        *,
        aversion: float | None = None,
        limit: float | None = None,
        benchmark: object = None,
        constraints: Constraints | None = None,
    ) -> None:
        """Refuse by name what this method needs and does not get, and what it gets and can't honour.

        Raises
        ------
        InputError
            It looks at no scenarios, so a plan can ask before anything runs.
        """
        given = {"aversion": aversion, "limit": limit, "benchmark": benchmark}
        if missing := [name for name in self.needs if given[name] is None]:
            raise InputError(f"{self.name} needs {' and '.join(missing)}, found none")
        if "aversion" in self.needs and not (aversion is not None and 0 < aversion < np.inf):
            raise InputError(f"aversion must be a number above 0, was {aversion!r}")
        if benchmark is not None and not self.takes_benchmark:
            raise InputError(f"{self.name} can't be measured against a benchmark; {_others('benchmark')} can")
        for field in fields(Constraints) if constraints is not None else ():
            value = getattr(constraints, field.name)
            asked = bool(value) if field.name == "linear" else value is not field.default
            if asked and field.name not in self.honours:
                raise InputError(f"{self.name} can't honour {field.name}; {_others(field.name)} can")


def allocate(
    name: str,
    scenarios: Scenarios,
    *,
    beta: float = 0.95,
    aversion: float | None = None,
    limit: float | None = None,
    benchmark: ArrayLike | None = None,
    constraints: Constraints | None = None,
) -> Optimum:
    """Return the portfolio of allocator `name`.

    Parameters
    ----------
    name
        One of `ALLOCATORS`.
    beta
        In (0, 1): the level of the answer's CVaR and VaR, whether or not the method looks at them.
    aversion
        Above 0: what a unit of risk costs in mean return, for "max_utility" and "mean_variance".
    limit
        Greatest CVaR, for "max_return".
    benchmark
        Shape (n_scenarios,): risk and return are then of the difference from these.
    constraints
        Without: long only, fully invested.

    Returns
    -------
    The weights with cvar, var (losses are positive) and mean (per period, after costs), whatever the method.
    `objective` is what the method made least, `bound` the proof of it:

    - "min_cvar", "tracking": CVaR. "max_utility": CVaR less mean / aversion. "max_return": minus the mean.
    - "min_variance": the variance. "mean_variance": the variance less mean / aversion.
    - "risk_parity": log of volatility over the geometric mean of the weights, which the weights of equal contributions
      make least (Maillard, Roncalli & Teiletche 2010).
    - "equal_weight", "inverse_volatility": NaN, there is none.

    Raises
    ------
    InputError
        If the method is unknown, lacks what it needs, or can't honour a constraint.

    Examples
    --------
    >>> scenarios = Scenarios.of([[0.02, 0.01], [-0.02, 0.01], [0.02, -0.01], [-0.02, -0.01]])
    >>> found = allocate("min_variance", scenarios)
    >>> found.weights.round(12).tolist(), found.gap < 1e-15
    ([0.2, 0.8], True)
    >>> allocate("inverse_volatility", scenarios).weights.round(4).tolist()
    [0.3333, 0.6667]
    """
    allocator = allocator_of(name)
    rules = constraints or Constraints()
    allocator.check(aversion=aversion, limit=limit, benchmark=benchmark, constraints=rules)
    return allocator.answer(Asked(Problem.of(scenarios, beta, rules, benchmark), rules, aversion, limit))


def allocator_of(name: str) -> Allocator:
    """Return an allocator by name, or raise `InputError` with the nearest one."""
    if name not in ALLOCATORS:
        raise InputError(f"method must be one of {', '.join(ALLOCATORS)}; found {name!r}{nearest(name, ALLOCATORS)}")
    return ALLOCATORS[name]


def _least_cvar(asked: Asked) -> Optimum:
    return asked.problem.solve()[0]


def _greatest_return(asked: Asked) -> Optimum:
    assert asked.limit is not None
    problem = asked.problem
    return maximise_return(
        problem.scenarios, limit=asked.limit, beta=problem.beta, constraints=asked.constraints,
        benchmark=problem.benchmark,
    )  # fmt: skip


def _greatest_utility(asked: Asked) -> Optimum:
    assert asked.aversion is not None
    return asked.problem.solve(1.0 / asked.aversion)[0]


def _least_variance(asked: Asked, trade_off: float = 0.0) -> Optimum:
    from quantbot.portfolio.quadratic import Quadratic, solve

    problem = asked.problem
    scenarios = problem.scenarios
    slopes, constant = -trade_off * scenarios.mean, 0.0
    if problem.benchmark is not None:
        away = problem.benchmark - scenarios.probabilities @ problem.benchmark
        slopes = slopes - 2.0 * ((scenarios.probabilities * away) @ scenarios.returns)
        constant = float(scenarios.probabilities @ (away * away))
    program = Quadratic.of(scenarios, problem.limits, slopes, trade_off, constant)
    found = solve(program)
    if found.sure:
        answer = _told(problem, program.weights(found.x), "interior point", found.value, found.bound)
        return replace(answer, violation=found.violation, n_steps=found.n_steps)
    # Which constraints can't hold together is for the linear solver to say: the mean alone has the same ones.
    mean = Scenarios(scenarios.mean[None, :], np.ones(1), scenarios.assets)
    feasible, _ = Problem(mean, problem.beta, problem.limits, None).solve()
    conflict = feasible.conflict if feasible.status == "infeasible" else ()
    return _none(problem, conflict, "interior point", found.n_steps)


def _mean_variance(asked: Asked) -> Optimum:
    assert asked.aversion is not None
    return _least_variance(asked, 1.0 / asked.aversion)


def _equal_weight(asked: Asked) -> Optimum:
    return _scaled(asked.problem, np.ones(len(asked.problem.scenarios.assets)), "closed form")


def _inverse_volatility(asked: Asked) -> Optimum:
    variances = _variances(asked.problem.scenarios)
    if (still := _still(asked.problem, variances, "closed form")) is not None:
        return still
    return _scaled(asked.problem, 1.0 / np.sqrt(variances), "closed form")


def _risk_parity(asked: Asked) -> Optimum:
    from quantbot.portfolio.kernels_quadratic import risk_parity

    problem = asked.problem
    variances = _variances(problem.scenarios)
    if (still := _still(problem, variances, "newton")) is not None:
        return still
    deviations = np.sqrt(variances)
    covariance = problem.scenarios.covariance
    x = np.empty(len(deviations))
    decrement, n_steps = risk_parity(covariance / np.outer(deviations, deviations), x)
    if not decrement < _EXACT_DECREMENT:
        return _none(
            problem, ("equal contributions: a long portfolio of these assets has no variance",), "newton", n_steps
        )
    answer = _scaled(problem, x / deviations, "newton")
    weights = answer.weights / answer.weights.sum()
    objective = math.log(math.sqrt(float(weights @ covariance @ weights))) - float(np.log(weights).mean())
    # Self-concordance: the barrier is at most this above its least (Boyd & Vandenberghe 2004, eq. 9.50).
    slack = (-decrement - math.log1p(-decrement)) / len(x)
    return replace(answer, objective=objective, bound=objective - slack, n_steps=n_steps)


def _scaled(problem: Problem, shares: Floats, method: str) -> Optimum:
    """Return shares scaled to the budget, and the bounds that they break."""
    limits = problem.limits
    weights = shares * ((1.0 if limits.budget is None else limits.budget) / shares.sum())
    answer = _told(problem, weights, method)
    over, under = float((weights - limits.upper).max()), float((limits.lower - weights).max())
    broken = tuple(name for name, beyond in (("lower", under), ("upper", over)) if beyond > FEASIBLE)
    return replace(
        answer, status="infeasible" if broken else "optimal", conflict=broken, violation=max(over, under, 0.0)
    )  # fmt: skip


def _told(
    problem: Problem, weights: Floats, method: str, objective: float = math.nan, bound: float = math.nan
) -> Optimum:
    """Return weights as an answer, with what they earn and risk."""
    cvar, var = problem.tail(weights)
    mean = float(problem.scenarios.mean @ weights) - problem.traded(weights)
    return Optimum("optimal", weights, cvar, var, mean, objective, bound, 0.0, 0, (), method)


def _none(problem: Problem, conflict: tuple[str, ...], method: str, n_steps: int = 0) -> Optimum:
    nothing = np.full(len(problem.scenarios.assets), math.nan)
    nan = math.nan
    status: Status = "infeasible" if conflict else "failed"
    return Optimum(status, nothing, nan, nan, nan, nan, nan, nan, n_steps, conflict, method)


def _variances(scenarios: Scenarios) -> Floats:
    away = scenarios.returns - scenarios.mean
    return np.asarray(scenarios.probabilities @ (away * away))


def _still(problem: Problem, variances: Floats, method: str) -> Optimum | None:
    """Return the answer where an asset never moves, which no weight in proportion to its risk knows how to hold."""
    names = [name for name, variance in zip(problem.scenarios.assets, variances, strict=True) if not variance > _FLAT]
    return _none(problem, tuple(f"no variance: {name}" for name in names), method) if names else None


def _others(ability: str) -> str:
    """Return the names of those that honour a constraint, or take a benchmark."""
    able = [
        one.name for one in _REGISTERED if ability in one.honours or (ability == "benchmark" and one.takes_benchmark)
    ]
    return ", ".join(able)


_REGISTERED = (
    Allocator("min_cvar", "least CVaR", "The least mean loss of the worst 1 - beta of scenarios (Rockafellar & Uryasev"
              " 2000).", (), _ALL, True, _least_cvar),
    Allocator("max_return", "greatest return", "The greatest mean return whose CVaR is at most the limit.",
              ("limit",), _ALL, True, _greatest_return),
    Allocator("max_utility", "greatest utility", "The greatest mean return less aversion times CVaR.",
              ("aversion",), _ALL, True, _greatest_utility),
    Allocator("tracking", "least tracking CVaR", "The least CVaR of falling behind a benchmark's returns.",
              ("benchmark",), _ALL, True, _least_cvar),
    Allocator("min_variance", "least variance", "The least variance (Markowitz 1952).",
              (), _ALL, True, _least_variance),
    Allocator("mean_variance", "mean-variance", "The greatest mean return less aversion times variance.",
              ("aversion",), _ALL, True, _mean_variance),
    Allocator("equal_weight", "equal weights", "The budget in equal parts (DeMiguel, Garlappi & Uppal 2009).",
              (), _FIXED, False, _equal_weight),
    Allocator("inverse_volatility", "inverse volatility", "Weights in inverse proportion to volatility.",
              (), _FIXED, False, _inverse_volatility),
    Allocator("risk_parity", "risk parity", "Weights whose contributions to volatility are equal (Maillard, Roncalli &"
              " Teiletche 2010; Spinu 2013).", (), _FIXED, False, _risk_parity),
)  # fmt: skip
ALLOCATORS = {one.name: one for one in _REGISTERED}
