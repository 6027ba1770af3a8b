"""The textbook forms, slow and obvious."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import block_array, csr_array, eye_array

from quantbot.portfolio import Constraints, Scenarios
from quantbot.portfolio.constraints import limits

TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def least_cvar(scenarios: Scenarios, beta: float, constraints: Constraints, benchmark: np.ndarray | None = None) -> Any:
    """Rockafellar & Uryasev's linear program with a row for each scenario, by HiGHS; scipy's answer."""
    returns, checked = scenarios.returns, limits(constraints, len(scenarios.assets))
    n_scenarios, n = returns.shape
    names = {"w": n, "alpha": 1, "beyond": n_scenarios, "buy": n, "sell": n, "long": n, "short": n}
    start = dict(zip(names, np.cumsum([0, *names.values()])[:-1].tolist(), strict=True))
    width = sum(names.values())

    def row(**parts: Any) -> np.ndarray:
        found = np.zeros(width)
        for name, values in parts.items():
            found[start[name] : start[name] + names[name]] = values
        return found

    price = row(alpha=1.0, beyond=scenarios.probabilities / (1 - beta), buy=checked.cost, sell=checked.cost)
    loss = block_array(
        [[csr_array(-returns), csr_array(-np.ones((n_scenarios, 1))), -eye_array(n_scenarios),
          csr_array((n_scenarios, 4 * n))]]
    )  # fmt: skip
    below, side = [], []
    equal, value = [], []
    if checked.budget is not None:
        equal.append(row(w=1.0))
        value.append(checked.budget)
    for _, coefficients, low, high in checked.linear:
        if np.isfinite(high):
            below.append(row(w=coefficients))
            side.append(high)
        if np.isfinite(low):
            below.append(row(w=-coefficients))
            side.append(-low)
    if checked.target_return is not None:
        below.append(row(w=-scenarios.mean))
        side.append(-checked.target_return)
    if checked.gross is not None:
        below.append(row(long=1.0, short=1.0))
        side.append(checked.gross)
    if checked.turnover is not None:
        below.append(row(buy=1.0, sell=1.0))
        side.append(checked.turnover)
    for j in range(n):
        one = np.eye(n)[j]
        equal += [row(w=one, buy=-one, sell=one), row(w=one, long=-one, short=one)]
        value += [checked.previous[j], 0.0]
    inequalities = block_array([[loss], [csr_array(np.array(below).reshape(-1, width))]]) if below else loss
    against = np.zeros(n_scenarios) if benchmark is None else -benchmark
    free = [(checked.lower[j], checked.upper[j]) for j in range(n)] + [(None, None)]
    return linprog(
        price,
        A_ub=csr_array(inequalities),
        b_ub=np.concatenate([against, side]),
        A_eq=csr_array(np.array(equal)),
        b_eq=np.array(value),
        bounds=free + [(0, None)] * (width - n - 1),
        method="highs",
        options=TIGHT,
    )


def random_problem(
    seed: int, *, n_scenarios: tuple[int, ...] = (1, 2, 3, 5, 20, 60, 150)
) -> tuple[Scenarios, float, Constraints, np.ndarray | None]:
    """Draw a problem: rounded, repeated, equal and single scenarios, every constraint, often too many of them."""
    from quantbot.portfolio import Linear

    rng = np.random.default_rng(seed)
    n, rows = int(rng.integers(1, 12)), int(rng.choice(n_scenarios))
    kind = rng.integers(0, 6)
    returns = rng.standard_t(4, (rows, n)) * 0.02 + rng.normal(0, 0.002, n)
    match kind:
        case 1:
            returns = np.round(returns, 2)
        case 2:
            returns = np.repeat(returns[:, :1], n, 1)
        case 3:
            returns = np.full((rows, n), rng.choice([0, 0.01]))
        case 4:
            returns = np.round(returns[rng.integers(0, rows, rows)], 2)
    options: dict[str, Any] = {}
    if rng.random() < 0.5:
        options["lower"] = -rng.random()
    if rng.random() < 0.4:
        options["upper"] = rng.uniform(0.2, 1.5, n)
    if rng.random() < 0.2:
        options["budget"] = float(rng.choice([0, 0.5, 1]))
    elif rng.random() < 0.1:
        options["budget"] = None
    linear = []
    for i in range(rng.integers(0, 3)):
        coefficients = rng.integers(-1, 2, n).astype(float)
        low, high = sorted(rng.uniform(-0.5, 1, 2))
        low, high = [(low, high), (-np.inf, high), (low, np.inf), (low, low)][rng.integers(0, 4)]
        if coefficients.any():
            linear.append(Linear(f"group {i}", coefficients, low, high))
    options["linear"] = tuple(linear)
    mean = returns.mean(0)
    if rng.random() < 0.3:
        options["target_return"] = float(rng.choice([mean.mean(), mean.max(), mean.max() * 1.1 + 1e-4]))
    if rng.random() < 0.4:
        options["gross"] = float(rng.uniform(0.8, 2))
    if rng.random() < 0.5:
        options["previous"] = rng.dirichlet(np.ones(n)) * rng.choice([0, 1])
        if rng.random() < 0.6:
            options["turnover"] = float(rng.choice([0, 0.1, 0.5, 2]))
        if rng.random() < 0.5:
            options["cost"] = rng.choice([0.0001, 0.001, 0.01])
    chances = None
    if rng.random() < 0.4:
        chances = rng.dirichlet(np.ones(rows))
        if rng.random() < 0.3 and rows > 1:
            chances[rng.integers(0, rows)] = 0
            chances /= chances.sum()
    benchmark = returns[:, 0].copy() if rng.random() < 0.2 else None
    beta = float(rng.choice([0.01, 0.5, 0.9, 0.95, 0.99, 0.9999999]))
    return Scenarios.of(returns, probabilities=chances), beta, Constraints(**options), benchmark
