"""What a market is: an instrument and its bars, many instruments on one clock, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import DataError

Floats = NDArray[np.float64]
Nanoseconds = NDArray[np.int64]

BAR_FIELDS = ("open", "high", "low", "close", "volume")
PANEL_FIELDS = ("adjusted_close", "dividend", "split", "funding")  # of a panel, where it has them


@dataclass(frozen=True)
class Instrument:
    """What is traded.

    Attributes
    ----------
    multiplier
        Account currency per price point and unit: 1 for a share, 50 for an E-mini S&P 500 future.
    """

    symbol: str
    currency: str = "USD"
    multiplier: float = 1.0


@dataclass(frozen=True, eq=False)
class Bars:
    """The bars of one instrument, stamped at their end, oldest first.

    Attributes
    ----------
    ts_end_ns
        Shape (n_bars,), int64 nanoseconds UTC, strictly rising: the moment at which each bar is complete.
    open, high, low, close, volume
        Shape (n_bars,), float64, C-contiguous; prices in `instrument.currency` per unit, adjusted where the dataset
        has adjustment factors (so that signals and returns are not broken by splits).
    periods_per_year
        Bars per year by the dataset's own calendar: what annualised measures are scaled with.
    """

    instrument: Instrument
    ts_end_ns: Nanoseconds
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    periods_per_year: float

    def __post_init__(self) -> None:
        n_bars = self.ts_end_ns.shape[0]
        for field in BAR_FIELDS:
            values = getattr(self, field)
            if values.shape != (n_bars,):
                raise DataError(f"{field} of {self.instrument.symbol} must have shape ({n_bars},), was {values.shape}")

    def __len__(self) -> int:
        return int(self.ts_end_ns.shape[0])

    @property
    def currency(self) -> str:
        """The currency of prices and cash."""
        return self.instrument.currency


@dataclass(frozen=True, eq=False)
class Panel:
    """The bars of many instruments on one clock, oldest first: the union of their bars' ends.

    Attributes
    ----------
    instruments
        All of one currency, symbols distinct.
    ts_end_ns
        Shape (n_bars,), int64 nanoseconds UTC, strictly rising.
    open, high, low, close, volume
        Shape (n_bars, n_assets), float64, C-contiguous; raw prices as traded, which is what fills need. NaN where the
        instrument has no bar at that time.
    periods_per_year
        Bars per year by the dataset's own calendar.
    adjusted_close
        Shape (n_bars, n_assets), for signals and returns; None where `close` is it.
    dividend
        Shape (n_bars, n_assets): cash per unit, on the bar on which the instrument goes ex, before its open; None
        where nothing pays.
    split
        Shape (n_bars, n_assets): new units for one old one, before the bar's open; 1 where nothing splits.
    funding
        Shape (n_bars, n_assets), of perpetual futures: the rate that longs pay to shorts on the notional at the bar's
        close; 0 where nothing is due, NaN where it is not known.
    """

    instruments: tuple[Instrument, ...]
    ts_end_ns: Nanoseconds
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    periods_per_year: float
    adjusted_close: Floats | None = None
    dividend: Floats | None = None
    split: Floats | None = None
    funding: Floats | None = None

    def __post_init__(self) -> None:
        shape = (self.ts_end_ns.shape[0], len(self.instruments))
        for field in (*BAR_FIELDS, *PANEL_FIELDS):
            values = getattr(self, field)
            if values is None and field in PANEL_FIELDS:
                continue
            if values.shape != shape or values.dtype != np.float64:
                raise DataError(
                    f"{field} of a panel must be float64 of shape {shape} (n_bars, n_assets), was {values.dtype} of"
                    f" {values.shape}"
                )
            object.__setattr__(self, field, np.ascontiguousarray(values))
        late = np.flatnonzero(np.diff(self.ts_end_ns) <= 0)
        if late.size:
            raise DataError(f"ts_end_ns of a panel must rise strictly; bar {late[0] + 1} does not come after the last")
        if len(set(self.assets)) < len(self.assets):
            twice = next(name for name in self.assets if self.assets.count(name) > 1)
            raise DataError(f"a panel holds each instrument once; found {twice} twice")
        if len(currencies := {instrument.currency for instrument in self.instruments}) > 1:
            raise DataError(f"a panel has one currency; found {', '.join(sorted(currencies))}")

    def __len__(self) -> int:
        return int(self.ts_end_ns.shape[0])

    @property
    def currency(self) -> str:
        """The currency of prices and cash."""
        return self.instruments[0].currency

    @property
    def assets(self) -> tuple[str, ...]:
        """The instruments' symbols."""
        return tuple(instrument.symbol for instrument in self.instruments)

    def returns(self) -> Floats:
        """Return simple returns per bar, shape (n_bars, n_assets), dividends and splits included; the first are NaN.

        With `adjusted_close` they are its growth; without, ``split * (close + dividend) / close before - 1``, a
        dividend being per unit after the split. After bars without a price the return is from the last price that
        there was; it is NaN where the bar has no price, and for the first price of all. What was paid while there was
        no price counts at the next one.

        Examples
        --------
        >>> prices = np.array([[100.0], [49.5]])
        >>> panel = Panel((Instrument("A"),), np.arange(2), *[prices] * 4, prices, 252.0,
        ...               dividend=np.array([[0.0], [0.5]]), split=np.array([[1.0], [2.0]]))
        >>> panel.returns().tolist()
        [[nan], [0.0]]
        """
        price = self.close if self.adjusted_close is None else self.adjusted_close
        raw = self.adjusted_close is None
        one, none = np.ones_like(price), np.zeros_like(price)
        split = self.split if raw and self.split is not None else one
        dividend = self.dividend if raw and self.dividend is not None else none
        out = np.full(price.shape, np.nan)
        if not np.isnan(price).any():
            out[1:] = (split[1:] * price[1:] + split[1:] * dividend[1:]) / price[:-1] - 1.0
            return out
        units = np.cumprod(split, axis=0)  # of one unit held since the first bar
        paid = np.cumsum(units * dividend, axis=0)
        for asset in range(price.shape[1]):
            rows = np.flatnonzero(~np.isnan(price[:, asset]))
            now, last = rows[1:], rows[:-1]
            own = price[:, asset] * units[:, asset]
            out[now, asset] = (own[now] + (paid[now, asset] - paid[last, asset])) / own[last] - 1.0
        return out
