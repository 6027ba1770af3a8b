"""vectorbt's side of `bench/bars.py`, run in vectorbt's own environment: requests on stdin, answers on stdout.

A request names engine, strategy and grid; the answer carries the CPU seconds of the call and the results. As fast as
its public functions allow: arrays in place of frames, each distinct mean computed once, a few combinations a call,
small record buffers, and no result that is not asked for.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import vectorbt as vbt  # noqa: E402

MOST_ORDERS = 200_000  # of one combination: vectorbt's default buffer has one slot for each bar


class Indicators:
    """vectorbt's indicators of one request, each computed once."""

    def __init__(self, bars, engine):
        self.bars, self.engine, self.known = bars, engine, {}

    def get(self, name, *arguments):
        """Return one series, (n_bars,)."""
        key = (name, *arguments)
        if key not in self.known:
            self.known[key] = getattr(self, name)(*arguments)
        return self.known[key]

    def sma(self, window):
        return vbt.MA.run(self.bars["close"], window, engine=self.engine).ma.to_numpy().ravel()

    def ema(self, window):
        return vbt.MA.run(self.bars["close"], window, ewm=True, engine=self.engine).ma.to_numpy().ravel()

    def deviation(self, window):
        return vbt.MSTD.run(self.bars["close"], window, engine=self.engine).mstd.to_numpy().ravel()

    def rsi(self, window):
        return vbt.RSI.run(self.bars["close"], window, ewm=True, engine=self.engine).rsi.to_numpy().ravel()

    def highest(self, window):
        return before(vbt.nb.rolling_max_1d_nb(self.bars["high"], window))

    def lowest(self, window):
        return before(vbt.nb.rolling_min_1d_nb(self.bars["low"], window))

    def past_return(self, window):
        close, out = self.bars["close"], np.full(self.bars["close"].shape, np.nan)
        out[window:] = close[window:] / close[:-window] - 1.0
        return out

    def volatility(self, window):
        return vbt.nb.rolling_std_1d_nb(self.get("past_return", 1), window, ddof=1)


def before(values):
    """Return the values one bar later, so that a bar sees those before it."""
    out = np.full(values.shape, np.nan)
    out[1:] = values[:-1]
    return out


def signals(name, close, point, get):
    """Return entries and exits of one combination, (n_bars,) each."""
    match name:
        case "sma_cross":
            fast, slow = get("sma", point["fast"]), get("sma", point["slow"])
            return fast > slow, fast < slow
        case "ema_cross":
            fast, slow = get("ema", point["fast"]), get("ema", point["slow"])
            return fast > slow, fast < slow
        case "donchian":
            return close > get("highest", point["entry"]), close < get("lowest", point["leave"])
        case "bollinger":
            mean = get("sma", point["window"])
            return close < mean - point["width"] * get("deviation", point["window"]), close >= mean
        case "rsi":
            strength = get("rsi", point["window"])
            return strength < point["lower"], strength >= point["leave"]
        case "dip_buyer":
            mean = get("sma", point["window"])
            return close < mean * (1.0 - point["dip"]), close > mean
    raise ValueError(name)


def sizes(close, point, request, get):
    """Return the share of equity that momentum wants from each bar on, NaN where it stays, (n_bars,)."""
    past = get("past_return", point["window"])
    volatility = get("volatility", point["volatility_window"]) * request["periods_per_year"] ** 0.5
    size = np.where(past > 0.0, np.minimum(1.0, point["target"] / volatility), 0.0)
    size[np.isnan(past) | np.isnan(volatility)] = 0.0
    return before(np.where(np.diff(size, prepend=0.0) != 0.0, size, np.nan))


def later(flags):
    """Return the flags one bar later: decided at a close, filled at the next open."""
    out = np.zeros_like(flags)
    out[1:] = flags[:-1]
    return out


def run(bars, request, indicators):
    """Return final equity (and drawdown and Sharpe where asked for) of each combination."""
    name, close = request["strategy"], bars["close"]
    points = [
        dict(zip(request["point"], values, strict=True)) for values in zip(*request["point"].values(), strict=True)
    ]
    common = {"price": bars["open"][:, None], "fees": request["fee"], "init_cash": 100_000.0, "freq": "1D"}
    common["engine"] = request["engine"]
    if name == "momentum":
        size = np.column_stack([sizes(close, point, request, indicators.get) for point in points])
        return results(vbt.Portfolio.from_orders(close[:, None], size, size_type="targetpercent", **common), request)
    pairs = [signals(name, close, point, indicators.get) for point in points]
    entries, exits = (later(np.column_stack(part)) for part in zip(*pairs, strict=True))
    return results(
        vbt.Portfolio.from_signals(
            close[:, None],
            entries,
            exits,
            direction="longonly",
            max_orders=min(MOST_ORDERS, close.shape[0]),
            **common,
            **stops_of(bars, request),
        ),
        request,
    )


def stops_of(bars, request):
    """Return the stops that a request asks for, and the prices that vectorbt watches them with."""
    if not request.get("stops"):
        return {}
    return {**request["stops"], **{name: bars[name][:, None] for name in ("open", "high", "low")}}


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
        for _ in range(request["calls"]):
            indicators = Indicators(data, request["engine"])
            parts = [run(data, part, indicators) for part in chunks(request)]
        seconds = (time.process_time() - start) / request["calls"]
        answer = {name: [value for part in parts for value in part[name]] for name in parts[0]}
        answer["seconds"] = seconds
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
