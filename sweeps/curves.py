"""The equity of one replayed trial as returns, on which everything beside its row rests: months, windows, drawdowns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quantbot.paths import (
    Distribution,
    Drawdown,
    Months,
    Rolling,
    RoundTrips,
    distribution,
    monthly_returns,
    rolling,
    round_trips,
    worst_drawdowns,
)
from sweeps.task import load_data

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.results import Run, TrialReplay

_WINDOWS_A_YEAR = (0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True, eq=False)
class TrialCurves:
    """One trial's path.

    Attributes
    ----------
    replay
        The trial in full.
    initial_cash
        Equity before the first bar.
    periods_per_year
        Bars per year, by the dataset.
    """

    replay: TrialReplay
    initial_cash: float
    periods_per_year: float

    @property
    def ts_end_ns(self) -> NDArray[np.int64]:
        """The ends of the bars, shape (n_bars,)."""
        return self.replay.ts_end_ns

    @property
    def equity(self) -> NDArray[np.float64]:
        """Equity at each bar's end, shape (n_bars,)."""
        return self.replay.curves["equity"]

    @cached_property
    def returns(self) -> NDArray[np.float64]:
        """Simple return of each bar on equity, shape (n_bars,); the first one's on the initial cash."""
        before = np.concatenate([[self.initial_cash], self.equity[:-1]])
        return np.asarray(self.equity / before - 1.0)

    def months(self) -> Months:
        """Return the return of each month and year."""
        return monthly_returns(self.ts_end_ns, self.equity, self.initial_cash)

    def rolling(self, n_bars: int) -> Rolling:
        """Return what windows of `n_bars` came to."""
        return rolling(self.returns, n_bars, self.periods_per_year)

    def window_sizes(self) -> list[int]:
        """Return windows worth offering, in bars: a quarter of a year to two, of those that fit twice."""
        n_bars = self.ts_end_ns.shape[0]
        sizes = {max(round(self.periods_per_year * share), 2) for share in _WINDOWS_A_YEAR}
        fitting = sorted(size for size in sizes if 2 * size <= n_bars)
        return fitting or [max(n_bars // 4, 2)]

    def distribution(self) -> Distribution:
        """Return how the returns are distributed."""
        return distribution(self.returns)

    def drawdowns(self, n: int = 10) -> tuple[Drawdown, ...]:
        """Return the `n` worst drawdowns."""
        return worst_drawdowns(self.equity, self.initial_cash, n)

    def round_trips(self) -> RoundTrips:
        """Return what the trades say."""
        return round_trips(self.replay.trades["pnl"], self.replay.trades["return"])

    def window_of(self, fall: Drawdown) -> tuple[int, int]:
        """Return the stamps between which a drawdown is seen whole: a tenth of its length beside it, at least 2 bars.

        Examples
        --------
        Of a drawdown from bar 10 to bar 30 the stamps of bars 8 and 32.
        """
        last = self.ts_end_ns.shape[0] - 1
        end = fall.recovery if fall.recovery is not None else last
        margin = max((end - fall.peak) // 10, 2)
        first, stop = max(fall.peak - margin, 0), min(end + margin, last)
        return int(self.ts_end_ns[first]), int(self.ts_end_ns[stop])

    def frame(self) -> pd.DataFrame:
        """Return every curve by bar, with time (UTC) and the return."""
        import pandas as pd

        columns = {"time": self.ts_end_ns.astype("datetime64[ns]"), "return": self.returns}
        return pd.DataFrame(columns | dict(self.replay.curves))


def curves_of(run: Run, replay: TrialReplay) -> TrialCurves:
    """Return the path of a replayed trial of `run`."""
    where = run.plan.trial(replay.trial)
    settings = dict(run.plan.settings) | where.settings
    cash = float(settings.get("execution.initial_cash", replay.curves["equity"][0]))
    return TrialCurves(replay, cash, float(load_data(run.plan, where.asset).periods_per_year))


def order_frame(replay: TrialReplay) -> pd.DataFrame:
    """Return the orders of a trial as a table; times are UTC."""
    import pandas as pd

    orders = replay.orders
    columns = {
        "time": orders["ts_ns"].astype("datetime64[ns]"),
        "side": np.where(np.asarray(orders["side"]) > 0, "buy", "sell"),
    }
    return pd.DataFrame(columns | {name: orders[name] for name in orders if name not in ("bar", "ts_ns", "side")})


def trade_frame(replay: TrialReplay) -> pd.DataFrame:
    """Return the round trips of a trial as a table; times are UTC, `units` is negative when short."""
    import pandas as pd

    trades = replay.trades
    columns = {
        name.removesuffix("_ns"): column.astype("datetime64[ns]") if name.endswith("_ns") else column
        for name, column in trades.items()
        if name not in ("entry_bar", "exit_bar")
    }
    return pd.DataFrame(columns | {"open": np.asarray(trades["open"], dtype=bool)})
