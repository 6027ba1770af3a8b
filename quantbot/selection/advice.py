"""What a careful colleague would say of a result before anybody believes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quantbot.selection.sharpe import min_backtest_length, min_track_record_length, moments

Floats = NDArray[np.float64]
Code = Literal[
    "few_trades",
    "flat_equity",
    "one_trade",
    "no_costs",
    "at_edge",
    "lone_spike",
    "short_track_record",
    "short_backtest",
    "sharpe_too_good",
]

# Thresholds are conventions, not theorems; each is a number in its advice, so that a reader can disagree.
FEW_TRADES = 30  # the sample size from which textbooks trust the normal approximation of a mean
FLAT_SHARE = 0.9  # of bars without any return
FLAT_RUN = 0.5  # of the window, in one piece without any return
ONE_TRADE_SHARE = 0.5  # of the whole profit
TOO_GOOD = 3.0  # annual; on daily bars or slower, what is higher has mostly been a mistake in data, fills or costs


@dataclass(frozen=True)
class Advice:
    """One warning.

    Attributes
    ----------
    code
        What it is about, for programs.
    sentence
        What it is about, for people; says what to do where that is known.
    numbers
        What it rests on, by name.
    """

    code: Code
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of a chosen trial; nothing is warned of for lack of what is not given.

    Attributes
    ----------
    periods_per_year
        Bars per year.
    sharpe
        Annual. Not needed with `returns`, which also tell skewness and kurtosis.
    n_bars
        Bars of the window. Not needed with `returns`.
    returns
        Shape (n_bars,), simple returns per bar (`Engine.returns`, or from the equity of a replay).
    n_trades
        Round trips, as a row has them. Not needed with `pnl`.
    pnl
        Shape (n_trades,), profit of each round trip after costs, as a replay has them.
    costs
        Every setting that costs money, by name: fees, spread, slippage. All of them 0 is free trading.
    annual_return, turnover
        Fraction per year, and traded value over mean equity per year: they tell which cost would eat the return.
    n_trials
        Effective number of trials among which the trial was chosen; see `quantbot.selection.effective_trials`.
    edges
        Names of the axes on whose edge the chosen point lies; see `quantbot.selection.choose`.
    spike
        Value of the best point and median of its neighbours, where the best is a lone spike.
    """

    periods_per_year: float
    sharpe: float = math.nan
    n_bars: int = 0
    returns: Floats | None = None
    n_trades: float = math.nan
    pnl: Floats | None = None
    costs: Mapping[str, float] | None = None
    annual_return: float = math.nan
    turnover: float = math.nan
    n_trials: float = 1.0
    edges: Sequence[str] = ()
    spike: tuple[float, float] | None = None


def advise(evidence: Evidence) -> list[Advice]:
    """Return every warning that the evidence gives rise to, the gravest kinds first.

    Examples
    --------
    >>> evidence = Evidence(252, sharpe=4.2, n_bars=504, n_trades=12, costs={"fee_bps": 0}, n_trials=100)
    >>> [advice.code for advice in advise(evidence)]
    ['sharpe_too_good', 'no_costs', 'few_trades']
    """
    rules: tuple[Callable[[Evidence], Advice | None], ...] = (
        sharpe_too_good,
        no_costs,
        short_backtest,
        short_track_record,
        flat_equity,
        one_trade,
        few_trades,
        lone_spike,
        at_edge,
    )
    found = (rule(evidence) for rule in rules)
    return [advice for advice in found if advice is not None]


def few_trades(evidence: Evidence) -> Advice | None:
    """Warn of fewer than 30 round trips."""
    n = _n_trades(evidence)
    if not n < FEW_TRADES:
        return None
    trips = "1 round trip" if n == 1 else f"{n:g} round trips"
    sentence = f"{trips}: too few to tell a rule from chance (at least {FEW_TRADES}); take more bars or a faster rule"
    return Advice("few_trades", sentence, {"n_trades": n, "least": FEW_TRADES})


def flat_equity(evidence: Evidence) -> Advice | None:
    """Warn of equity that hardly ever moves, or not at all for half of the window."""
    if evidence.returns is None or not len(evidence.returns):
        return None
    still = evidence.returns == 0.0
    share, longest = float(still.mean()), _longest(still)
    if share < FLAT_SHARE and longest < FLAT_RUN * len(still):
        return None
    numbers = {"share_flat": share, "longest_flat_bars": float(longest), "n_bars": float(len(still))}
    if share == 1.0:
        return Advice("flat_equity", "the equity never moves: the strategy never trades on these bars", numbers)
    return Advice(
        "flat_equity",
        f"the equity is flat on {100 * share:.1f} % of the bars, at the longest for {longest} of {len(still)}: its"
        " measures describe the few others",
        numbers,
    )


def one_trade(evidence: Evidence) -> Advice | None:
    """Warn of a profit of which one round trip made more than half."""
    if evidence.pnl is None or not len(evidence.pnl):
        return None
    total, best = float(evidence.pnl.sum()), float(evidence.pnl.max())
    if not total > 0.0 or best < ONE_TRADE_SHARE * total:
        return None
    rest = "a loss" if total - best < 0.0 else f"{100 * (1.0 - best / total):.1f} % of it"
    rest = "nothing" if total == best else rest
    return Advice(
        "one_trade",
        f"one of {len(evidence.pnl)} round trips made {100 * best / total:.1f} % of the profit: without it, {rest} is"
        " left",
        {"share": best / total, "largest_pnl": best, "total_pnl": total, "n_trades": float(len(evidence.pnl))},
    )


def no_costs(evidence: Evidence) -> Advice | None:
    """Warn of trading that costs nothing, and say which cost would eat the return."""
    costs = evidence.costs
    if not costs or any(value != 0 for value in costs.values()) or _n_trades(evidence) == 0:
        return None
    numbers = {name: float(value) for name, value in costs.items()}
    sentence = f"trading is free ({', '.join(costs)} all 0)"
    if evidence.annual_return > 0.0 and evidence.turnover > 0.0:
        numbers["break_even_bps"] = 1e4 * evidence.annual_return / evidence.turnover
        sentence += f"; about {numbers['break_even_bps']:.1f} bps of the traded value would eat the return"
    return Advice("no_costs", f"{sentence}: set what your broker and the spread cost", numbers)


def at_edge(evidence: Evidence) -> Advice | None:
    """Warn of a choice on the edge of what was tried."""
    if not evidence.edges:
        return None
    names = " and ".join(evidence.edges)
    return Advice(
        "at_edge",
        f"the choice lies on the edge of {names}: what lies beyond was not tried; widen the grid",
        {"n_edges": float(len(evidence.edges))},
    )


def lone_spike(evidence: Evidence) -> Advice | None:
    """Warn of a best point whose neighbours are far worse."""
    if evidence.spike is None:
        return None
    value, around = evidence.spike
    return Advice(
        "lone_spike",
        f"the best point ({value:+.2f}) is a lone spike: half of its neighbours are at {around:+.2f} or worse; prefer"
        " the plateau",
        {"value": value, "around": around},
    )


def short_track_record(evidence: Evidence) -> Advice | None:
    """Warn of fewer bars than a single trial with this Sharpe ratio needs to be above 0 with 95 % (MinTRL)."""
    sharpe, n_bars, skew, kurtosis = _sharpe(evidence)
    if not sharpe > 0.0 or n_bars < 2:
        return None
    needed = float(min_track_record_length(sharpe, skew=skew, kurtosis=kurtosis))
    if n_bars >= needed:
        return None
    years, wanted = n_bars / evidence.periods_per_year, needed / evidence.periods_per_year
    return Advice(
        "short_track_record",
        f"{years:.1f} years are too short for an annual Sharpe ratio of {_annual(evidence, sharpe):+.2f} to be above 0"
        f" with 95 % confidence, even as the only trial: it needs {wanted:.1f}",
        {"n_bars": float(n_bars), "needed_bars": needed, "years": years, "needed_years": wanted},
    )


def short_backtest(evidence: Evidence) -> Advice | None:
    """Warn of a Sharpe ratio that the best of so many trials without edge would show on so few bars (MinBTL)."""
    sharpe, n_bars, _, _ = _sharpe(evidence)
    if not sharpe > 0.0 or n_bars < 2 or not evidence.n_trials > 1.0:
        return None
    needed = float(min_backtest_length(evidence.n_trials, sharpe))
    if n_bars >= needed:
        return None
    years, wanted = n_bars / evidence.periods_per_year, needed / evidence.periods_per_year
    return Advice(
        "short_backtest",
        f"the best of {evidence.n_trials:.0f} independent trials without any edge is expected at this annual Sharpe"
        f" ratio ({_annual(evidence, sharpe):+.2f}) on {wanted:.1f} years; these are {years:.1f}",
        {"n_trials": evidence.n_trials, "n_bars": float(n_bars), "needed_bars": needed, "needed_years": wanted},
    )


def sharpe_too_good(evidence: Evidence) -> Advice | None:
    """Warn of an annual Sharpe ratio above 3."""
    sharpe, _, _, _ = _sharpe(evidence)
    annual = _annual(evidence, sharpe)
    if not annual > TOO_GOOD:
        return None
    return Advice(
        "sharpe_too_good",
        f"an annual Sharpe ratio of {annual:+.2f} is too good to be true: look for look-ahead, bad prices, fills that"
        " could not be had and missing costs",
        {"sharpe": annual, "limit": TOO_GOOD},
    )


def _n_trades(evidence: Evidence) -> float:
    return evidence.n_trades if evidence.pnl is None else float(len(evidence.pnl))


def _sharpe(evidence: Evidence) -> tuple[float, int, float, float]:
    """Return (Sharpe ratio per bar, bars, skewness, kurtosis); normal where only a row is known."""
    if evidence.returns is None:
        return evidence.sharpe / math.sqrt(evidence.periods_per_year), evidence.n_bars, 0.0, 3.0
    found = moments(evidence.returns)
    return float(found.sharpe), len(evidence.returns), float(found.skew), float(found.kurtosis)


def _annual(evidence: Evidence, sharpe: float) -> float:
    return sharpe * math.sqrt(evidence.periods_per_year)


def _longest(still: NDArray[np.bool_]) -> int:
    """Return the length of the longest run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], still.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))
