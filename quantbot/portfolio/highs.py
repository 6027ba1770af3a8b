"""The second tier: the same model as a linear program, solved by HiGHS, where the active set ends without a proof.

The dual has a row for each column of the model and a box-bounded column for each of its rows; with a few assets and
thousands of scenarios that is by far the faster form of the two.
"""

from __future__ import annotations

import numpy as np

from quantbot.market import Floats
from quantbot.portfolio.model import Model

_OPTIONS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def solve_dual(model: Model) -> tuple[Floats, float] | None:
    """Return the columns' values, shape (n_columns,), and a lower bound of the tableau's objective; None without one.

    Notes
    -----
    ``max -b.u + lower.s - upper.r`` over ``-down <= u <= up``, ``s, r >= 0`` and ``c + A'u = s - r``; the value at risk
    has no bounds and so neither s nor r. The columns' values are the multipliers of these equations.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, eye_array, hstack

    t, first = model.tableau, len(model.names)
    n_columns, n_rows = t.columns.shape
    up, down = t.up.copy(), t.down.copy()
    up[:first] = np.where(up[:first] > 0, np.inf, 0.0)
    down[:first] = np.where(down[:first] > 0, np.inf, 0.0)
    slack = eye_array(n_columns, n_columns - 1)
    equations = hstack([csr_array(t.columns), -slack, slack]).tocsr()
    price = np.concatenate([t.bounds, -t.lower[:-1], t.upper[:-1]])
    bounds = np.zeros((len(price), 2))
    bounds[:n_rows, 0], bounds[:n_rows, 1] = -down, up
    bounds[n_rows:, 1] = np.inf
    found = linprog(price, A_eq=equations, b_eq=-t.costs, bounds=bounds, method="highs", options=_OPTIONS)
    if found.status != 0:
        return None
    u = np.clip(found.x[:n_rows], -down, up)
    reduced = t.costs + t.columns @ u
    bound = -float(t.bounds @ u) + float(np.minimum(reduced[:-1] * t.lower[:-1], reduced[:-1] * t.upper[:-1]).sum())
    # The equation of the value at risk must hold exactly: what it lacks counts with the greatest loss.
    reach = float(np.abs(t.rows[first:, :-1]).max(initial=0.0)) * float(np.abs(t.upper[:-1]).sum())
    return np.asarray(found.eqlin.marginals), bound - abs(float(reduced[-1])) * reach
