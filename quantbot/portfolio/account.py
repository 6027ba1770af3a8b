"""Accounts: one pool of cash in many instruments, stepped through a panel's bars, one for each point.

`quantbot.portfolio.execution` says what happens in a bar and what it costs, `quantbot.portfolio.guards` what guards do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot import buffers
from quantbot.bars.rows import tail
from quantbot.engine import Points, Rows, TrialStatus
from quantbot.errors import InputError, ParameterError
from quantbot.market import Floats, Panel
from quantbot.parameters import Value, nearest
from quantbot.portfolio import layout
from quantbot.portfolio import rows as row_measures
from quantbot.portfolio.execution import Settings
from quantbot.portfolio.marks import market, writeable
from quantbot.portfolio.targets import Targets

RETURNS_BYTES = 32 * 2**20  # of per-bar returns that lie in memory at once, when a tail is asked for


def run_accounts(
    panel: Panel,
    window: tuple[int, int],
    targets: Targets,
    settings: Mapping[str, Value],
    points: Points,
    groups: tuple[str, ...] = ("core", "path", "costs", "guards"),
) -> Rows:
    """Run one account for each point over bars `window[0] <= t < window[1]`, all in cash at its start.

    Bars before the window are history for guards and impact; decisions outside it do not count. A trial's result
    depends on nothing but its own point and the panel.

    Parameters
    ----------
    targets
        What each point trades; `targets.of` has one entry for each point.
    settings, points
        Values by dotted name ("execution.fee_bps", "guards.max_gross"), and columns of those that vary; what is in
        neither has its default. Names of other sections are left alone.
    groups
        Of measures: "core", "path", "costs", "tail", "guards".

    Raises
    ------
    ParameterError
        If a setting or group is unknown or out of bounds.
    InputError, DataError
        If window, targets or panel can't be used.

    Examples
    --------
    >>> from quantbot.market import Instrument
    >>> close = np.array([[10.0, 20.0], [11.0, 20.0], [12.1, 20.0]])
    >>> panel = Panel((Instrument("A"), Instrument("B")), np.arange(3), *[close] * 5, 252.0)
    >>> rows = run_accounts(panel, (0, 3), Targets.one([0], [[0.5, 0.5]]), {"execution.fill": "same_close"}, Points(1))
    >>> float(rows.measures["total_return"][0].round(12))
    0.105
    """
    return _Run(panel, window, targets, settings, points, groups).rows()


def account_returns(
    panel: Panel, window: tuple[int, int], targets: Targets, settings: Mapping[str, Value], points: Points
) -> Floats:
    """Return simple returns per bar on equity, shape (n_points, n_bars), the first against the initial cash.

    A failed point's are NaN. They are the very numbers that `run_accounts` reduces to a row; 8 bytes a point and bar.
    """
    run = _Run(panel, window, targets, settings, points, ("core",))
    returns = np.full((len(points), run.n_bars), np.nan)
    if len(points):
        accounts = run.step(slice(0, len(points)), returns)
        returns[accounts["status"] != layout.FINE] = np.nan
    return returns


def equity_of(returns: Floats, settings: Mapping[str, Value], points: Points) -> Floats:
    """Return equity at each close, shape (n_points, n_bars), from returns per bar (to rounding)."""
    cash = Settings(settings, points).column("execution.initial_cash")
    return cash[:, None] * np.cumprod(1.0 + returns, axis=1)


def memory_bytes(n_bars: int, n_assets: int, n_points: int) -> int:
    """Return an upper bound of what `run_accounts` allocates beside its arguments."""
    market_bytes = 8 * n_bars * n_assets * 3  # marks, returns, and one in the making
    rows = n_points * (layout.RULE.itemsize + layout.ACCOUNT.itemsize + 24 * len(row_measures.MEASURES))
    return market_bytes + rows + RETURNS_BYTES + 8 * n_bars + 2 * layout.ASSET.itemsize * n_assets


class _Run:
    """Some points over one window of bars."""

    def __init__(
        self,
        panel: Panel,
        window: tuple[int, int],
        targets: Targets,
        settings: Mapping[str, Value],
        points: Points,
        groups: tuple[str, ...],
    ) -> None:
        self.panel, self.targets, self.points = panel, targets, points
        self.groups = _checked_groups(groups)
        self.start, self.stop = window
        self.n_bars = self.stop - self.start
        if not 0 <= self.start < self.stop <= len(panel):
            raise InputError(f"a window must lie within the {len(panel)} bars and not be empty; was {window}")
        targets.check(panel)
        if targets.of.shape != (len(points),):
            raise InputError(f"targets are for {targets.of.shape[0]} points, there are {len(points)}")
        self.settings = Settings(settings, points)
        needs_returns = self.settings.any("guards.max_volatility", "guards.max_cvar", "execution.impact")
        self.market = market(panel, returns=needs_returns)
        self.rules = self.settings.rules(panel.periods_per_year)

    def rows(self) -> Rows:
        """Return a row for each point."""
        n = len(self.points)
        accounts = np.zeros(n, dtype=layout.ACCOUNT)
        tails = np.full((n, 2), np.nan)
        if "tail" in self.groups:
            most = max(RETURNS_BYTES // (8 * self.n_bars), 1)
            for first in range(0, n, most):
                part = slice(first, min(first + most, n))
                returns = np.empty((part.stop - first, self.n_bars))
                accounts[part] = self.step(part, returns)
                for i in np.flatnonzero(accounts["status"][part] == layout.FINE).tolist():
                    tails[first + i] = tail(returns[i])
        elif n:
            accounts[:] = self.step(slice(0, n), buffers.empty(self.n_bars)[None])
        failed = accounts["status"] != layout.FINE
        accounts["equity"][failed] = np.nan
        cash = self.settings.column("execution.initial_cash")
        found = row_measures.measures(accounts, cash, self.n_bars, self.panel.periods_per_year, self.groups)
        if "tail" in self.groups:
            found = {**found, "var_95": tails[:, 0].copy(), "cvar_95": tails[:, 1].copy()}
        columns = {name: np.where(failed, np.nan, found[name]) for name in row_measures.names(self.groups)}
        status = np.where(failed, TrialStatus.FAILED, TrialStatus.OK).astype(np.uint8)
        return Rows(columns, status, {int(i): self._why(accounts[i]) for i in np.flatnonzero(failed)})

    def step(self, part: slice, returns: Floats, tape: Any = None) -> NDArray[np.void]:
        """Step some points, write their returns per bar, and return their accounts, shape (n,) of `layout.ACCOUNT`."""
        from quantbot.portfolio import kernels_account
        from quantbot.portfolio.kernels_market import Plan
        from quantbot.portfolio.recording import new_book, new_tape

        rules = self.rules[part]
        accounts = np.zeros(rules.shape[0], dtype=layout.ACCOUNT)
        accounts["worst"] = 1.0
        targets, n_assets = self.targets, len(self.panel.instruments)
        plan = Plan(
            writeable(targets.bars), writeable(targets.weights), writeable(targets.of[part]), targets.kind == "units"
        )
        book = new_book(n_assets, int(rules["risk_window"].max()))
        kept = new_tape(self.start, 0, n_assets, 0, 0) if tape is None else tape
        kernels_account.run(self.market, plan, self.start, self.stop, rules, accounts, returns, book, kept)
        return accounts

    def _why(self, account: np.void) -> str:
        t = int(account["bar"])
        when = f"bar {t} ({np.datetime64(int(self.panel.ts_end_ns[t]), 'ns').astype('datetime64[s]')}Z)"
        if account["status"] == layout.NO_FUNDING:
            asset = self.panel.assets[int(account["asset"])]
            return (
                f"the funding rate of {asset} is not known at {when} while it is held; fill it in, or set"
                " execution.missing_funding to flag"
            )
        return f"ruined: equity was zero or less at {when}"


def _checked_groups(groups: tuple[str, ...]) -> frozenset[str]:
    known = row_measures.GROUPS
    for group in groups:
        if group not in known:
            raise ParameterError(f"no measure group {group!r}; there are {', '.join(known)}{nearest(group, known)}")
    return frozenset(groups)
