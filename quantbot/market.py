"""What a market is: an instrument and its bars, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import DataError

Floats = NDArray[np.float64]
Nanoseconds = NDArray[np.int64]

BAR_FIELDS = ("open", "high", "low", "close", "volume")


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
