"""From the sums that a kernel leaves to the measures of a row; each declared once, with formula, sign and source.

A window has `n` bars and so `n` simple returns ``r = equity / previous equity - 1``, the first against the initial
cash. Warm-up bars count, with returns of 0. ``ppy`` is the dataset's bars per year.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from quantbot.market import Floats
from quantbot.measures import Measure

MEASURES: tuple[Measure, ...] = (
    Measure("total_return", "Total return", "core", "fraction", 1, True, "Final equity / initial cash - 1."),
    Measure(
        "final_equity", "Final equity", "core", "money", 1, False,
        "Cash and position at the last close; an open position is marked, not sold.",
    ),
    Measure(
        "cagr", "CAGR", "core", "fraction per year", 1, True,
        "Compound annual growth: (final equity / initial cash) ** (ppy / n) - 1.",
    ),
    Measure(
        "volatility", "Volatility", "core", "fraction per year", -1, False,
        "Standard deviation of returns (ddof 1) times sqrt(ppy).",
    ),
    Measure(
        "sharpe", "Sharpe ratio", "core", "ratio", 1, True,
        "Mean over standard deviation (ddof 1) of returns, times sqrt(ppy), no risk-free rate; not a number when equity"
        " never moves. Sharpe (1994); vectorbt's convention.",
    ),
    Measure(
        "max_drawdown", "Maximum drawdown", "core", "fraction", -1, False,
        "Largest fraction of the running peak of equity lost (the initial cash counts as a peak); 0 is best.",
    ),
    Measure(
        "sortino", "Sortino ratio", "path", "ratio", 1, True,
        "Mean return over sqrt(mean(min(r, 0) ** 2)), times sqrt(ppy); not a number when no return is negative."
        " Sortino & Price (1994), target 0.",
    ),
    Measure(
        "calmar", "Calmar ratio", "path", "ratio", 1, True,
        "CAGR over maximum drawdown, over the whole window; not a number without a drawdown. Young (1991).",
    ),
    Measure(
        "drawdown_bars", "Longest drawdown", "path", "bars", -1, False,
        "Most bars in a row with equity below its peak (by more than rounding, a 1e-12th).",
    ),
    Measure(
        "exposure", "Exposure", "path", "fraction", 0, False,
        "Mean over all bars of |position value| / equity at the close.",
    ),
    Measure(
        "turnover", "Turnover", "path", "per year", -1, False,
        "Traded value (buys and sales) over mean equity, per year.",
    ),
    Measure("fees_paid", "Fees paid", "path", "money", -1, False, "All fees; spread and slippage are in the prices."),
    Measure(
        "n_trades", "Trades", "trades", "count", 0, False,
        "Round trips from flat to flat or to a change of side; one that is open at the end counts.",
    ),
    Measure(
        "hit_rate", "Hit rate", "trades", "fraction", 1, False,
        "Share of round trips with a profit after costs, the open one marked at the last close.",
    ),
    Measure(
        "profit_factor", "Profit factor", "trades", "ratio", 1, False,
        "Sum of profits over sum of losses of round trips; not a number when none lost.",
    ),
    Measure(
        "holding_bars", "Holding time", "trades", "bars", 0, False,
        "Mean number of closes at which a round trip was open.",
    ),
    Measure(
        "var_95", "VaR 95 %", "tail", "fraction", -1, False,
        "Loss per bar that is exceeded in at most 5 % of bars: the ceil(0.05 n)-th largest loss; positive is bad.",
    ),
    Measure(
        "cvar_95", "CVaR 95 %", "tail", "fraction", -1, False,
        "Mean loss per bar in exactly the worst 5 % of bars, the boundary bar split; positive is bad."
        " Rockafellar & Uryasev (2002), proposition 8.",
    ),
    Measure(
        "hold_total_return", "Total return of holding", "hold", "fraction", 1, True,
        "Last close / first close of the window - 1: bought at the first close, without costs.",
    ),
    Measure(
        "hold_sharpe", "Sharpe ratio of holding", "hold", "ratio", 1, True,
        "As the Sharpe ratio, of buying at the first close (its bar returns 0) and holding, without costs.",
    ),
    Measure(
        "hold_max_drawdown", "Maximum drawdown of holding", "hold", "fraction", -1, False,
        "Largest fraction of the running peak of closes lost.",
    ),
)  # fmt: skip

ROUNDING = 1e-12  # a drawdown that small is what rounding leaves of none at all
GROUPS = ("core", "path", "trades", "tail")


def names(groups: frozenset[str]) -> tuple[str, ...]:
    """Return the measures of a row with these groups, in order."""
    return tuple(measure.name for measure in MEASURES if measure.group in groups or measure.group == "hold")


def measures(
    sums: Mapping[str, Floats],
    initial_cash: Floats,
    fee_rate: Floats,
    n_bars: int,
    periods_per_year: float,
    groups: frozenset[str],
) -> dict[str, Floats]:
    """Return each measure but those of the tail and of holding, shape (n_trials,), from the kernel's states.

    Powers are taken one by one in Python: numpy's vectors would round the last bit by a value's place in the array.
    """
    out: dict[str, Floats] = {}
    equity = sums["equity"]
    ratio = equity / initial_cash
    with np.errstate(divide="ignore", invalid="ignore"):
        if groups & {"core", "path"}:
            sharpe, volatility = sharpe_ratio(sums["sum_returns"], sums["sum_squares"], n_bars, periods_per_year)
            drawdown = 1.0 - sums["worst"]
            drawdown = np.where(drawdown > ROUNDING, drawdown, 0.0)
            cagr = np.array([growth_rate(value, periods_per_year / n_bars) for value in ratio.tolist()])
        if "core" in groups:
            out |= {"total_return": ratio - 1.0, "final_equity": equity, "cagr": cagr, "volatility": volatility}
            out |= {"sharpe": sharpe, "max_drawdown": drawdown}
        if "path" in groups:
            downside = np.sqrt(sums["sum_downside"] / n_bars)
            mean = sums["sum_returns"] / n_bars
            out["sortino"] = _divided(mean * math.sqrt(periods_per_year), downside)
            out["calmar"] = _divided(cagr, drawdown)
            out["drawdown_bars"] = sums["longest"]
            out["exposure"] = sums.get("invested", sums["in_market"]) / n_bars
            out["turnover"] = sums["traded"] / (sums["sum_equity"] / n_bars) / (n_bars / periods_per_year)
            out["fees_paid"] = sums["paid"] if "paid" in sums else sums["traded"] * fee_rate
        if "trades" in groups:
            is_open = open_at_end(sums)
            earned = np.where(is_open, equity - sums["started"], 0.0)
            n_trades = sums["n_trades"] + is_open
            gains = sums["gains"] + np.maximum(earned, 0.0)
            losses = sums["losses"] - np.minimum(earned, 0.0)
            out["n_trades"] = n_trades
            out["hit_rate"] = _divided(sums["wins"] + (earned > 0.0), n_trades)
            out["profit_factor"] = _divided(gains, losses)
            out["holding_bars"] = _divided(sums["in_market"], n_trades)
    return out


def open_at_end(sums: Mapping[str, Floats]) -> Floats:
    """Return 1 for each trial that holds a position at the last close, else 0."""
    if "units" in sums:
        return np.where(sums["units"] != 0.0, 1.0, 0.0)
    return sums["holding"]


def sharpe_ratio(total: Floats, squares: Floats, n_bars: int, periods_per_year: float) -> tuple[Floats, Floats]:
    """Return (Sharpe ratio, volatility), both per year, from sums of returns and of their squares.

    A deviation below a millionth of the root mean square is what rounding leaves of none at all: it counts as 0.
    """
    scale = math.sqrt(periods_per_year)
    mean = total / n_bars
    spread = squares - total * mean
    spread = np.where(spread > 1e-12 * squares, spread, 0.0)
    deviation = np.sqrt(spread / (n_bars - 1)) if n_bars > 1 else np.full_like(total, np.nan)
    return _divided(mean * scale, deviation), deviation * scale


def growth_rate(ratio: float, exponent: float) -> float:
    """Return ``ratio ** exponent - 1``; not a number when nothing or less is left, infinite beyond a float's range."""
    if not ratio > 0.0:
        return math.nan
    try:
        return float(ratio**exponent) - 1.0
    except OverflowError:
        return math.inf


def tail(returns: Floats, beta: float = 0.95) -> tuple[float, float]:
    """Return (VaR, CVaR) of one trial's returns, both losses: positive is bad.

    Parameters
    ----------
    returns
        Shape (n_bars,), simple returns.

    Examples
    --------
    >>> import numpy as np
    >>> var, cvar = tail(np.array([-0.1, 0.0, 0.1, 0.2]), beta=0.75)
    >>> round(var, 12), round(cvar, 12)
    (0.1, 0.1)
    """
    weight = (1.0 - beta) * returns.shape[0]
    nearest = round(weight)
    weight = float(nearest) if nearest and abs(weight - nearest) < 1e-9 * nearest else weight
    count = max(math.ceil(weight), 1)
    worst = np.sort(np.partition(returns, count - 1)[:count])
    boundary = -float(worst[-1])
    beyond = -float(sum(worst[:-1].tolist()))
    return boundary, (beyond + (weight - (count - 1)) * boundary) / weight


def _divided(value: Floats, by: Floats) -> Floats:
    return np.where(by != 0.0, value / np.where(by != 0.0, by, 1.0), np.nan)
