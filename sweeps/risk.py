"""What may hurt a portfolio, seen from one close: of a trial of a run, or of holdings that somebody brings along.

Everything is estimated from the bars up to that close. Scenarios, contributions, frontier and stress tests are
`quantbot.risk`'s and `quantbot.portfolio`'s; this file says which bars and weights they get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import InputError
from quantbot.market import Floats, Nanoseconds
from quantbot.portfolio.sections import GIVEN

if TYPE_CHECKING:
    from datasets.holdings import ReturnsTable
    from quantbot.engine import Tables
    from quantbot.market import Bars
    from quantbot.portfolio import Frontier, Scenarios
    from quantbot.portfolio.given import GivenScenarios
    from quantbot.risk import (
        ContributionIntervals,
        Contributions,
        FactorRisk,
        RollingContributions,
        Shock,
        StressTest,
    )
    from quantbot.risk.contributions import Method
    from sweeps.results import Run, TrialReplay

REST = "the rest"
MARKET = "mean of all assets"
FALLS = (-0.05, -0.10, -0.20, 0.10)
DEFAULT_WINDOW, DEFAULT_BETA = 500, 0.95
_CLOUD_POINTS = 12
_MOST_TIMES = 120
_DRAWN = 2_000  # scenarios of a method that draws


@dataclass(frozen=True, eq=False)
class Holdings:
    """What is held through time, and the returns that it is judged by.

    Attributes
    ----------
    ts_end_ns
        Shape (n_bars,), int64 UTC.
    returns
        Shape (n_bars, n_assets), simple returns per bar; NaN where unknown.
    weights
        Shape (n_bars, n_assets): shares of equity at each close, after what fills at it.
    first
        The first bar that is shown; what comes before is history.
    beta, window
        What the holdings themselves go by, where they do.
    given
        Scenarios that the run was handed, where it was.
    shocks
        Named shocks of the spec's own, each a move of every asset.
    """

    title: str
    assets: tuple[str, ...]
    ts_end_ns: Nanoseconds
    returns: Floats
    weights: Floats
    periods_per_year: float
    first: int = 0
    beta: float = DEFAULT_BETA
    window: int = DEFAULT_WINDOW
    notes: tuple[str, ...] = ()
    given: GivenScenarios | None = None
    shocks: tuple[Shock, ...] = ()


def holdings_of(run: Run, replay: TrialReplay) -> Holdings:
    """Return what a trial of a portfolio run holds.

    Raises
    ------
    InputError
        If the run's trials hold no portfolio.
    """
    from quantbot.market import Panel
    from sweeps.task import load_data

    where = run.plan.trial(replay.trial)
    panel = load_data(run.plan, where.asset)
    if not isinstance(panel, Panel):
        raise InputError(f"trials of {run.plan.engine} hold one asset each; risk is of trials of the portfolio engine")
    start, stop = where.fold.window(panel.ts_end_ns)
    weights = np.zeros((stop, len(panel.assets)))
    weights[start:stop] = replay.by_asset["weight"]
    settings = dict(run.plan.settings) | where.settings
    return Holdings(
        f"{run.plan.spec.name}, trial {replay.trial}",
        panel.assets,
        panel.ts_end_ns[:stop],
        panel.returns()[:stop],
        weights,
        panel.periods_per_year,
        start,
        float(settings.get("optimise.beta", DEFAULT_BETA)),
        int(settings.get("scenarios.window", DEFAULT_WINDOW)),
        given=run.plan.job().given,
        shocks=shocks_of(run.plan.job().tables, panel.assets),
    )


def shocks_of(tables: Tables, assets: Sequence[str]) -> tuple[Shock, ...]:
    """Return the shocks that a spec names in [stress.shocks].

    Examples
    --------
    >>> (found,) = shocks_of({"stress.shocks": {"rates": {"assets": ("B",), "move": -0.1, "others": -0.02}}}, "AB")
    >>> found.name, found.returns.tolist()
    ('rates', [-0.02, -0.1])
    """
    from quantbot.risk import Shock

    found = []
    for name, row in tables.get("stress.shocks", {}).items():
        named = cast("tuple[str, ...]", row["assets"])
        moves = (float(cast("float", row.get(side, 0.0))) for side in ("move", "others"))
        found.append(Shock(name, np.where(np.isin(np.array(list(assets)), np.array(named)), *moves)))
    return tuple(found)


def holdings_from(table: ReturnsTable, weights: Mapping[str, float] | None, *, title: str = "your files") -> Holdings:
    """Return holdings that somebody brings along; without weights an equal share of each asset.

    Raises
    ------
    InputError
        If an asset that is held has no returns, by name.
    """
    held = {asset: 1.0 / len(table.assets) for asset in table.assets} if weights is None else dict(weights)
    if missing := [asset for asset in held if asset not in table.assets]:
        named = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise InputError(
            f"{named}: held, but {'without' if len(missing) == 1 else 'all without'} returns; the returns have "
            f"{', '.join(table.assets[:10])}{', ...' if len(table.assets) > 10 else ''}"
        )
    row = np.array([held.get(asset, 0.0) for asset in table.assets])
    days = max((int(table.ts_end_ns[-1]) - int(table.ts_end_ns[0])) / 86_400e9, 1.0)
    a_year = (len(table.ts_end_ns) - 1) * 365.25 / days
    usual = min((252.0, 52.0, 12.0, 365.0), key=lambda n: abs(np.log(n / a_year)))
    notes = () if weights is not None else ("No positions were given: an equal share of each asset is shown.",)
    return Holdings(
        title, table.assets, table.ts_end_ns, table.returns, np.tile(row, (len(table.returns), 1)),
        usual if 0.8 < a_year / usual < 1.25 else a_year, notes=notes,
    )  # fmt: skip


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

    def frontier(self, n_points: int = 40) -> Frontier:
        """Return the long-only frontier of these scenarios, each weight from 0 to 1."""
        from quantbot.portfolio import efficient_frontier

        return efficient_frontier(self.scenarios, n_points=n_points, beta=self.beta)

    def cloud(self, n: int = 20) -> tuple[Frontier, ...]:
        """Return frontiers of histories drawn again from this one: how far the frontier itself may be off."""
        from quantbot.portfolio import Scenarios, efficient_frontier

        rng = np.random.default_rng([self.seed, self.bar])
        drawn = [self.history[rng.integers(0, len(self.rows), len(self.rows))] for _ in range(n)]
        return tuple(efficient_frontier(Scenarios.of(own), n_points=_CLOUD_POINTS, beta=self.beta) for own in drawn)

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
