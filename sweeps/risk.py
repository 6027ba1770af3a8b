"""What may hurt a portfolio, seen from one close: of a trial of a run, or of holdings that somebody brings along.

Everything is estimated from the bars up to that close. Scenarios, contributions, frontier and stress tests are
`quantbot.risk`'s and `quantbot.portfolio`'s; this file says which bars and weights they get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import InputError
from quantbot.market import Floats, Nanoseconds
from quantbot.portfolio.sections import GIVEN
from sweeps.holdings import Holdings

if TYPE_CHECKING:
    from quantbot.market import Bars
    from quantbot.portfolio import Constraints, Frontier, Scenarios
    from quantbot.risk import (
        ContributionIntervals,
        Contributions,
        FactorRisk,
        RollingContributions,
        StressTest,
    )
    from quantbot.risk.contributions import Method

REST = "the rest"
MARKET = "mean of all assets"
FALLS = (-0.05, -0.10, -0.20, 0.10)
LONG_ONLY, OWN_LIMITS = "long", "own"
# By frontier, the greatest sum of absolute weights: 160 % is 130 % long and 30 % short.
FRONTIERS: Mapping[str, float] = {LONG_ONLY: 1.0, "130/30": 1.6, "150/50": 2.0, "200/100": 3.0}
_CLOUD_POINTS = 12
_MOST_TIMES = 120
_DRAWN = 2_000  # scenarios of a method that draws


@dataclass(frozen=True, eq=False)
class RiskView:
    """A portfolio's risk as seen from one close.

    Attributes
    ----------
    bar
        The close, as an index into the holdings' bars.
    rows
        The bars of history that it is estimated from, all assets of `kept` known.
    kept
        Indices of the assets with a whole history there; others that are held are in `left_out`.
    left_out
        By asset that is held but has no whole history: its weight.
    method, beta
        How scenarios are made, and the level of VaR and CVaR.
    """

    holdings: Holdings
    bar: int
    rows: NDArray[np.int64]
    kept: NDArray[np.int64]
    left_out: Mapping[str, float]
    method: str
    beta: float
    seed: int = 0
    settings: Mapping[str, float] = field(default_factory=dict)

    @property
    def assets(self) -> tuple[str, ...]:
        """Of the columns below."""
        return tuple(self.holdings.assets[at] for at in self.kept)

    @property
    def weights(self) -> Floats:
        """Shape (n_kept,)."""
        return np.asarray(self.holdings.weights[self.bar, self.kept])

    @property
    def history(self) -> Floats:
        """Shape (n_rows, n_kept)."""
        return np.asarray(self.holdings.returns[np.ix_(self.rows, self.kept)])

    @cached_property
    def scenarios(self) -> Scenarios:
        """What may come in the next bar; of scenarios that were handed in, over their horizon."""
        from quantbot.risk import make_scenarios, seed_of

        if self.method == GIVEN:
            return self._given
        seed = seed_of("risk", self.method, int(self.holdings.ts_end_ns[self.bar]), self.seed)
        return make_scenarios(
            self.method, self.history, seed=seed, assets=self.assets, window=len(self.rows), **self.settings
        )

    @property
    def _given(self) -> Scenarios:
        given, ts_ns = self.holdings.given, int(self.holdings.ts_end_ns[self.bar])
        if given is None or given.at(ts_ns) is None:
            raise InputError(
                "no scenarios were handed to this run"
                if given is None
                else "no set of scenarios is known at this close"
            )
        if missing := [name for name in self.assets if name not in given.assets]:
            raise InputError(f"the scenarios that were handed in have no column for {', '.join(missing[:5])}")
        return given.of_assets(ts_ns, self.assets)

    def contributions(self, method: Method = "cvar") -> Contributions:
        """Return what each asset adds to volatility, VaR or CVaR."""
        from quantbot.risk import risk_contributions

        return risk_contributions(self.weights, self.scenarios, method=method, beta=self.beta)

    def intervals(self) -> ContributionIntervals:
        """Return CVaR's contributions with bootstrap intervals, from the history's own returns."""
        from quantbot.portfolio import Scenarios
        from quantbot.risk import contribution_intervals

        return contribution_intervals(
            self.weights, Scenarios.of(self.history, assets=self.assets), beta=self.beta, confidence=0.9, n_draws=200
        )

    def diversification(self) -> float:
        """Return the weighted risks of single assets over the portfolio's volatility; 1 is none."""
        from quantbot.risk import diversification_ratio

        return diversification_ratio(self.weights, self.scenarios)

    def tail(self, n: int = 15) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Return the `n` worst bars of the history: their indices, the portfolio's loss, each asset's part of it."""
        parts = -self.history * self.weights
        losses = parts.sum(axis=1)
        worst = np.argsort(-losses, kind="stable")[:n]
        return self.rows[worst], losses[worst], parts[worst]

    def by_strategy(self, method: Method = "cvar") -> Contributions:
        """Return what each strategy on the pool adds to volatility, VaR or CVaR; they sum to the portfolio's."""
        from quantbot.risk import risk_contributions

        held = self.holdings.by_strategy
        if not held:
            raise InputError(f"{self.holdings.title} is not of several strategies")
        parts = np.array([weights[self.bar, self.kept] for weights in held.values()])
        return risk_contributions(parts, self.scenarios, method=method, beta=self.beta, names=tuple(held))

    def limits(self, which: str = LONG_ONLY) -> Constraints | None:
        """Return what a frontier's weights may be.

        Parameters
        ----------
        which
            One of `FRONTIERS` (from 0 to 1; or long and short with a sum of 1 and a limit on the sum of absolute
            weights), or "own": what the run says of weights, before costs and turnover.

        Raises
        ------
        InputError
            If there is no such frontier, or no run that says something.
        """
        from quantbot.portfolio import Constraints

        if which == LONG_ONLY:
            return None
        if which == OWN_LIMITS:
            if self.holdings.rules is None:
                raise InputError(f"{self.holdings.title} has no limits of its own that a frontier could keep")
            own = self.holdings.rules.constraints(self.kept, None)
            return replace(own, cost=0.0, turnover=None, target_return=None)
        if which not in FRONTIERS:
            raise InputError(f"a frontier is one of {', '.join(FRONTIERS)}; found {which!r}")
        gross = FRONTIERS[which]
        short = (gross - 1.0) / 2.0
        return Constraints(lower=-short, upper=1.0 + short, gross=gross)

    def frontier(self, n_points: int = 40, which: str = LONG_ONLY) -> Frontier:
        """Return the frontier of these scenarios: portfolios of least CVaR for rising mean returns; see `limits`."""
        from quantbot.portfolio import efficient_frontier

        return efficient_frontier(self.scenarios, n_points=n_points, beta=self.beta, constraints=self.limits(which))

    def cloud(self, n: int = 20, which: str = LONG_ONLY) -> tuple[Frontier, ...]:
        """Return frontiers of histories drawn again from this one: how far the frontier itself may be off."""
        from quantbot.portfolio import Scenarios, efficient_frontier

        rng = np.random.default_rng([self.seed, self.bar])
        drawn = [self.history[rng.integers(0, len(self.rows), len(self.rows))] for _ in range(n)]
        said: dict[str, Any] = {"n_points": _CLOUD_POINTS, "beta": self.beta, "constraints": self.limits(which)}
        return tuple(efficient_frontier(Scenarios.of(own), **said) for own in drawn)

    def stress(self) -> StressTest:
        """Return the loss under shocks of the spec's own, falls of everything, and stretches of history over again."""
        from quantbot.risk import historical_shocks, stress_test, uniform_shock

        past = slice(0, self.bar + 1)
        own = historical_shocks(self.holdings.ts_end_ns[past], self.holdings.returns[past][:, self.kept])
        named = [replace(shock, returns=shock.returns[self.kept]) for shock in self.holdings.shocks]
        shocks = [*named, *(uniform_shock(len(self.kept), move) for move in FALLS), *own]
        return stress_test(self.weights, shocks, self.assets)

    def factors(
        self, factors: Floats | None = None, names: tuple[str, ...] = (MARKET,), method: Method = "cvar"
    ) -> FactorRisk:
        """Return exposures to factors, and what each factor and the assets' own moves add to the risk.

        Parameters
        ----------
        factors
            Shape (n_rows, n_factors), of the bars `rows`; where not given, the market: the mean of all assets.

        Raises
        ------
        InputError
            If factors are singular or too many, by name.
        """
        from quantbot.portfolio import Scenarios
        from quantbot.risk import factor_risk

        chosen = self.history.mean(axis=1, keepdims=True) if factors is None else factors
        own = Scenarios.of(self.history, assets=self.assets)
        return factor_risk(self.weights, own, chosen, method=method, beta=self.beta, names=names)


def risk_view(
    holdings: Holdings,
    *,
    bar: int | None = None,
    beta: float | None = None,
    window: int | None = None,
    method: str = "historical",
    seed: int = 0,
) -> RiskView:
    """Look at holdings from one close.

    Parameters
    ----------
    bar
        By default the last one at which something is held.
    window
        Bars of history; fewer where there are not so many, 20 at least.

    Raises
    ------
    InputError
        If nothing is held, the history is too short, or a level is outside (0, 1).
    """
    beta = holdings.beta if beta is None else beta
    if not 0.0 < beta < 1.0:
        raise InputError(f"beta must be in (0, 1), such as 0.95; was {beta!r}")
    held = np.flatnonzero(np.abs(holdings.weights).sum(axis=1) > 0)
    if not held.size:
        raise InputError(f"{holdings.title} never holds anything, so there is no risk to look at")
    bar = int(held[-1]) if bar is None else bar
    if not 0 <= bar < len(holdings.ts_end_ns):
        raise InputError(f"bar must be from 0 to {len(holdings.ts_end_ns) - 1}, was {bar}")
    window = min(holdings.window if window is None else window, bar + 1)
    rows = np.arange(bar + 1 - window, bar + 1)
    # A first bar without returns is what every history begins with: it is not the assets' fault.
    rows = rows[np.isfinite(holdings.returns[rows]).any(axis=1)]
    kept = np.flatnonzero(np.isfinite(holdings.returns[rows]).all(axis=0))
    if rows.size < 20 or not kept.size:
        raise InputError(
            f"risk needs 20 bars of history in which an asset has all its returns, found {rows.size} bars and "
            f"{kept.size} assets; take a later close or another window"
        )
    away = np.setdiff1d(np.flatnonzero(holdings.weights[bar]), kept)
    left_out = {holdings.assets[at]: float(holdings.weights[bar, at]) for at in away}
    return RiskView(holdings, bar, rows, kept, left_out, method, beta, seed)


def through_time(
    holdings: Holdings,
    *,
    window: int | None = None,
    beta: float | None = None,
    method: Method = "cvar",
    most: int = _MOST_TIMES,
) -> tuple[Nanoseconds, RollingContributions]:
    """Return who carried the risk at evenly spread closes, each judged by the bars before it.

    Assets without a whole history in any of the windows are left out.

    Returns
    -------
    Shape (n_times,) the closes; the contributions.
    """
    from quantbot.risk import rolling_contributions

    window = min(holdings.window if window is None else window, len(holdings.returns) // 2)
    begin = max(holdings.first - window + 1, 0)
    known = np.flatnonzero(np.isfinite(holdings.returns).any(axis=1))
    begin = max(begin, int(known[0]) if known.size else 0)
    returns, weights = holdings.returns[begin:], holdings.weights[begin:]
    kept = np.asarray(np.isfinite(returns).all(axis=0))
    if len(returns) < window or not kept.any():
        raise InputError(f"no asset has {window} returns in a row over all the bars shown; take a shorter window")
    step = max((len(returns) - window) // most, 1)
    found = rolling_contributions(
        weights[:, kept], returns[:, kept], window=window, step=step, method=method,
        beta=holdings.beta if beta is None else beta,
        assets=tuple(name for name, keep in zip(holdings.assets, kept, strict=True) if keep),
    )  # fmt: skip
    return holdings.ts_end_ns[begin + found.ends - 1], found


def returns_between(factors: Sequence[Bars], seen: RiskView) -> Floats:
    """Return what instruments did from close to close of a view's bars, by their last closes that were known then.

    Returns
    -------
    Shape (n_rows, n_factors), simple returns.

    Raises
    ------
    InputError
        If an instrument has no close before the first of the bars, or none after it.
    """
    stamps = seen.holdings.ts_end_ns
    ends, begins = stamps[seen.rows], stamps[np.maximum(seen.rows - 1, 0)]
    found = []
    for bars in factors:
        now, then = (np.searchsorted(bars.ts_end_ns, at, side="right") - 1 for at in (ends, begins))
        then = np.where(seen.rows > 0, then, now - 1)
        if then[0] < 0 or bars.ts_end_ns[-1] < ends[-1] - (ends[-1] - ends[0]) // 10:
            first, last = (np.datetime64(int(at), "ns").astype("datetime64[D]") for at in bars.ts_end_ns[[0, -1]])
            raise InputError(
                f"{bars.instrument.symbol} has closes from {first} to {last}, which does not cover the history of this "
                "view; take another factor, close or window"
            )
        found.append(bars.close[now] / bars.close[then] - 1.0)
    return np.column_stack(found)


def largest(values: Floats, names: Sequence[str], n: int = 12) -> tuple[Floats, tuple[str, ...]]:
    """Keep the `n` columns of greatest mean size, in their order, and add the others up as the last one.

    Examples
    --------
    >>> kept, names = largest(np.array([[5.0, 1.0, 2.0, 0.5]]), ("a", "b", "c", "d"), n=2)
    >>> kept.tolist(), names
    ([[5.0, 2.0, 1.5]], ('a', 'c', 'the rest'))
    """
    if values.shape[1] <= n:
        return values, tuple(names)
    size = np.abs(values).mean(axis=0)
    chosen = np.sort(np.argsort(-size, kind="stable")[:n])
    rest = np.setdiff1d(np.arange(values.shape[1]), chosen)
    return (
        np.column_stack([values[:, chosen], values[:, rest].sum(axis=1)]),
        (*(names[at] for at in chosen.tolist()), REST),
    )
