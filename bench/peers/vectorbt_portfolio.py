"""vectorbt's side of `bench/portfolio.py`, run in vectorbt's own environment: requests on stdin, answers on stdout.

A request names engine, lookbacks and what is measured; the answer carries the CPU seconds of the call and the results.
As fast as its public functions allow: arrays in place of frames, past returns and the best of them by one vectorised
partition, a few accounts a call, and no result that is not asked for.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import vectorbt as vbt  # noqa: E402


def sizes(close, lookback, request):
    """Return target weights, (n_bars, n_assets): equal in the best by past return, NaN between rebalancings."""
    n_bars, n_assets = close.shape
    bars = np.arange(request["every"], n_bars, request["every"])
    bars = bars[bars >= lookback]
    n_best = max(int(request["share"] * n_assets + 1e-9), 1)
    past = close[bars] / close[bars - lookback]
    if request["paths"]:  # of equal ones the earlier, which a partition does not promise
        best = np.argsort(-past, axis=1, kind="stable")[:, :n_best]
    else:
        best = np.argpartition(-past, n_best - 1, axis=1)[:, :n_best]
    weights = np.zeros((bars.shape[0], n_assets))
    np.put_along_axis(weights, best, 1.0 / n_best, axis=1)
    size = np.full((n_bars, n_assets), np.nan)
    size[bars] = weights
    return size


def run(close, request, lookbacks):
    """Return the accounts of some lookbacks: each a group of columns that share cash."""
    n_assets = close.shape[1]
    parts = [sizes(close, lookback, request) for lookback in lookbacks]
    prices = close if len(parts) == 1 else np.tile(close, (1, len(parts)))
    return vbt.Portfolio.from_orders(
        prices,
        parts[0] if len(parts) == 1 else np.hstack(parts),
        size_type="targetpercent",
        group_by=np.repeat(np.arange(len(parts)), n_assets),
        cash_sharing=True,
        call_seq="auto",
        fees=request["fee"],
        init_cash=request["cash"],
        freq="1D",
        engine=request["engine"],
        max_orders=min(prices.size, request["max_orders"] * len(parts)),
    )


def main():
    """Answer requests until stdin ends."""
    close = np.load(sys.argv[1])
    print(json.dumps({"version": vbt.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        lookbacks = request["lookbacks"]
        start = time.process_time()
        for _ in range(request["calls"]):
            found = {"final_equity": [], "max_drawdown": []}
            for first in range(0, len(lookbacks), request["accounts_a_call"]):
                portfolio = run(close, request, lookbacks[first : first + request["accounts_a_call"]])
                found["final_equity"] += np.ravel(portfolio.final_value()).tolist()
                found["max_drawdown"] += (-np.ravel(portfolio.max_drawdown())).tolist()
        found["seconds"] = (time.process_time() - start) / request["calls"]
        if request["paths"]:
            equity = [np.ravel(run(close, request, [lookback]).value()) for lookback in lookbacks]
            np.save(request["paths"], np.array(equity))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
