"""vectorbt's side of `bench/bars.py`, run in vectorbt's own environment: requests on stdin, answers on stdout.

A request names engine, strategy and grid; the answer carries the CPU seconds of the call and the results. As fast as
its public functions allow: arrays in place of frames, each distinct mean computed once, a few combinations a call,
small record buffers, and no result that is not asked for.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import vectorbt as vbt  # noqa: E402

MOST_ORDERS = 200_000  # of one combination: vectorbt's default buffer has one slot for each bar


def moving_average(means, bars, window, engine, *, ewm=False):
    """Return one moving average of the closes; each is computed once a request."""
    if window not in means:
        means[window] = vbt.MA.run(bars["close"], window, ewm=ewm, engine=engine).ma.to_numpy().ravel()
    return means[window]


def signals(name, bars, point, engine, means):
    """Return entries and exits, (n_bars, n_combinations), from vectorbt's own indicators where it has them."""
    close = bars["close"]
    match name:
        case "sma_cross" | "ema_cross":
            ewm = name == "ema_cross"
            fast = np.column_stack([moving_average(means, bars, w, engine, ewm=ewm) for w in point["fast"]])
            slow = np.column_stack([moving_average(means, bars, w, engine, ewm=ewm) for w in point["slow"]])
            return fast > slow, fast < slow
        case "dip_buyer":
            mean = moving_average(means, bars, int(point["window"][0]), engine)
            return (close < mean * (1.0 - point["dip"][0]))[:, None], (close > mean)[:, None]
        case "donchian":
            high = vbt.nb.rolling_max_1d_nb(bars["high"], int(point["entry"][0]))
            low = vbt.nb.rolling_min_1d_nb(bars["low"], int(point["leave"][0]))
            entries, exits = np.zeros(close.shape, bool), np.zeros(close.shape, bool)
            entries[1:], exits[1:] = close[1:] > high[:-1], close[1:] < low[:-1]
            return entries[:, None], exits[:, None]
        case "bollinger":
            bands = vbt.BBANDS.run(close, int(point["window"][0]), alpha=point["width"][0], engine=engine)
            entries, exits = close < bands.lower.to_numpy().ravel(), close >= bands.middle.to_numpy().ravel()
            return entries[:, None], exits[:, None]
        case "rsi":
            strength = vbt.RSI.run(close, int(point["window"][0]), ewm=True, engine=engine).rsi.to_numpy().ravel()
            return (strength < point["lower"][0])[:, None], (strength >= point["leave"][0])[:, None]
    raise ValueError(name)


def later(flags):
    """Return the flags one bar later: decided at a close, filled at the next open."""
    out = np.zeros_like(flags)
    out[1:] = flags[:-1]
    return out


def run(bars, request, means):
    """Return final equity (and drawdown and Sharpe where asked for) of each combination."""
    name, engine, point = request["strategy"], request["engine"], request["point"]
    close, price = bars["close"], bars["open"]
    if name == "momentum":
        return run_momentum(bars, request)
    entries, exits = signals(name, bars, point, engine, means)
    portfolio = vbt.Portfolio.from_signals(
        close[:, None], later(entries), later(exits), price=price[:, None], fees=request["fee"], init_cash=100_000.0,
        direction="longonly", freq="1D", max_orders=min(MOST_ORDERS, close.shape[0]), engine=engine,
        **stops_of(bars, request),
    )  # fmt: skip
    return results(portfolio, request)


def stops_of(bars, request):
    """Return the stops that a request asks for, and the prices that vectorbt watches them with."""
    if not request.get("stops"):
        return {}
    return {**request["stops"], **{name: bars[name][:, None] for name in ("open", "high", "low")}}


def run_momentum(bars, request):
    """Time-series momentum as target percentages of equity, with an order on each change."""
    close, point, engine = bars["close"], request["point"], request["engine"]
    window, spread = int(point["window"][0]), int(point["volatility_window"][0])
    returns = np.full(close.shape, np.nan)
    returns[1:] = close[1:] / close[:-1] - 1.0
    volatility = vbt.nb.rolling_std_1d_nb(returns, spread, ddof=1) * np.sqrt(request["periods_per_year"])
    past = np.full(close.shape, np.nan)
    past[window:] = close[window:] / close[:-window] - 1.0
    size = np.where(past > 0.0, np.minimum(1.0, point["target"][0] / volatility), 0.0)
    size[np.isnan(past) | np.isnan(volatility)] = 0.0
    later_size = np.full(size.shape, np.nan)
    later_size[1:] = np.where(np.diff(size, prepend=0.0) != 0.0, size, np.nan)[:-1]
    portfolio = vbt.Portfolio.from_orders(
        close, later_size, size_type="targetpercent", price=bars["open"], fees=request["fee"], init_cash=100_000.0,
        freq="1D", engine=engine,
    )  # fmt: skip
    return results(portfolio, request)


def results(portfolio, request):
    """Take no more from the portfolio than what was asked for."""
    if not request["measures"]:
        return {"final_equity": np.ravel(portfolio.final_value()).tolist()}
    return {
        "final_equity": np.ravel(portfolio.final_value()).tolist(),
        "max_drawdown": (-np.ravel(portfolio.max_drawdown())).tolist(),
        "sharpe": np.ravel(portfolio.sharpe_ratio()).tolist(),
    }


def chunks(request):
    """Yield the request in calls of a few combinations each."""
    n = max(len(values) for values in request["point"].values())
    for first in range(0, n, request["combinations_a_call"]):
        rows = slice(first, first + request["combinations_a_call"])
        yield {**request, "point": {name: values[rows] for name, values in request["point"].items()}}


def main():
    """Answer requests until stdin ends."""
    with np.load(sys.argv[1]) as arrays:
        bars = {name: np.ascontiguousarray(arrays[name], dtype=np.float64) for name in arrays.files}
    print(json.dumps({"version": vbt.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        vbt.settings.returns["year_freq"] = f"{request['periods_per_year']}D"
        data = {name: values[: request["n_bars"]] for name, values in bars.items()}
        start = time.process_time()
        means = {}
        parts = [run(data, part, means) for part in chunks(request)]
        seconds = time.process_time() - start
        answer = {name: [value for part in parts for value in part[name]] for name in parts[0]}
        answer |= {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
