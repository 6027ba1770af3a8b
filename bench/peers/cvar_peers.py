"""The peers' side of `bench/cvar.py`, run in their own environment: requests on stdin, answers on stdout.

A request names a peer, a problem and a file of returns; the answer carries the CPU seconds of each call, building of
the model included, and the weights. skfolio and Riskfolio are called as their manuals do, with their default solver.
HiGHS gets the linear program in the form that is faster here: the dual, a row for each asset and a box-bounded column
for each scenario.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

warnings.simplefilter("ignore")

import highspy  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402


def skfolio(returns, request):
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    options = {"risk_measure": RiskMeasure.CVAR, "cvar_beta": request["beta"]}
    if "groups" in request:
        n = returns.shape[1]
        options |= {
            "groups": [["first"] * (n // 2) + ["second"] * (n - n // 2)],
            "linear_constraints": [f"first <= {request['groups']}"],
            "previous_weights": np.full(n, 1.0 / n),
            "max_turnover": request["turnover"] / n,  # theirs is of each asset, ours of all
            "min_return": request["target"],
        }
    if "points" in request:
        options["efficient_frontier_size"] = request["points"]
    model = MeanRisk(**options)
    model.fit(returns)
    return model.weights_


def riskfolio(returns, request):
    import riskfolio as rp

    frame = pd.DataFrame(returns, columns=[f"a{j}" for j in range(returns.shape[1])])
    portfolio = rp.Portfolio(returns=frame, alpha=1 - request["beta"])
    portfolio.assets_stats(method_mu="hist", method_cov="hist")
    if "points" in request:
        return portfolio.efficient_frontier(model="Classic", rm="CVaR", points=request["points"]).to_numpy().T
    return portfolio.optimization(model="Classic", rm="CVaR", obj="MinRisk", hist=True).to_numpy().ravel()


def highs(returns, request):
    """Maximise g over u in [0, 1 / (T (1 - beta))] with sum 1 and ``-(returns' u)_j >= g``; weights are the duals."""
    n_scenarios, n = returns.shape
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = n_scenarios + 1, n + 1
    program.col_cost_ = np.append(np.zeros(n_scenarios), -1.0)
    program.col_lower_ = np.append(np.zeros(n_scenarios), -highspy.kHighsInf)
    program.col_upper_ = np.append(np.full(n_scenarios, 1 / n_scenarios / (1 - request["beta"])), highspy.kHighsInf)
    program.row_lower_ = np.append(np.full(n, -highspy.kHighsInf), 1.0)
    program.row_upper_ = np.append(np.zeros(n), 1.0)
    values = np.empty((n_scenarios, n + 1))
    values[:, :n], values[:, n] = returns, 1.0
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = np.append(np.arange(n_scenarios + 1) * (n + 1), n_scenarios * (n + 1) + n)
    program.a_matrix_.index_ = np.append(np.tile(np.arange(n + 1), n_scenarios), np.arange(n))
    program.a_matrix_.value_ = np.append(values.ravel(), np.ones(n))
    solver = highspy.Highs()
    for name, value in (("output_flag", False), ("threads", 1), ("solver", request.get("solver", "choose")),
                        ("primal_feasibility_tolerance", 1e-10), ("dual_feasibility_tolerance", 1e-10)):  # fmt: skip
        solver.setOptionValue(name, value)
    solver.passModel(program)
    solver.run()
    return -np.array(solver.getSolution().row_dual[:n])


def component_cvar(returns, request):
    """Return skfolio's contribution of each asset to a portfolio's CVaR."""
    from skfolio import Portfolio, RiskMeasure

    portfolio = Portfolio(X=returns, weights=np.array(request["weights"]))
    return np.asarray(portfolio.contribution(RiskMeasure.CVAR))


PEERS = {"skfolio": skfolio, "riskfolio": riskfolio, "highs": highs, "component": component_cvar}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        returns = np.load(request["returns"])
        windows = request.get("windows") or [[0, len(returns)]]
        call = PEERS[request["peer"]]
        weights, seconds = [], []
        for begin, end in windows:
            part = np.ascontiguousarray(returns[begin:end])
            start = time.process_time()
            found = call(part, request)
            seconds.append(time.process_time() - start)
            weights.append(np.asarray(found, dtype=float).tolist())
        print(json.dumps({"seconds": seconds, "weights": weights}), flush=True)


if __name__ == "__main__":
    main()
