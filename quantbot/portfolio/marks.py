"""A panel as kernels want it, checked once: what positions are marked at, which bars have actions, calendar days."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import DataError
from quantbot.market import BAR_FIELDS, Floats, Panel

if TYPE_CHECKING:
    from quantbot.portfolio.kernels_market import Market

DAY_NS = 86_400_000_000_000
_NONE = np.empty((0, 0))
_MARKETS: WeakKeyDictionary[Panel, Market] = WeakKeyDictionary()


def market(panel: Panel, *, returns: bool) -> Market:
    """Return the arrays of a panel, made once.

    Parameters
    ----------
    returns
        Whether somebody needs past returns.

    Raises
    ------
    DataError
        If a price is not above zero, or a bar has an open without a close; it names field, asset and bar.
    """
    from quantbot.portfolio.kernels_market import Market

    if panel not in _MARKETS:
        _check(panel)
        events = np.zeros(len(panel), dtype=np.bool_)
        if panel.split is not None:
            events |= (panel.split != 1.0).any(axis=1)
        if panel.dividend is not None:
            events |= (panel.dividend != 0.0).any(axis=1)
        _MARKETS[panel] = Market(
            open=_writeable(panel.open),
            close=_writeable(panel.close),
            volume=_writeable(panel.volume),
            marks=_writeable(_marks(panel)),
            split=_writeable(panel.split),
            dividend=_writeable(panel.dividend),
            funding=_writeable(panel.funding),
            returns=_NONE,
            multiplier=np.array([instrument.multiplier for instrument in panel.instruments], dtype=np.float64),
            days=(panel.ts_end_ns - 1) // DAY_NS,  # a bar that ends at midnight is of the day before
            events=events,
            periods_per_year=float(panel.periods_per_year),
        )
    found = _MARKETS[panel]
    if returns and not found.returns.size:
        found = _MARKETS[panel] = found._replace(returns=np.nan_to_num(panel.returns(), nan=0.0))
    return found


def _marks(panel: Panel) -> Floats:
    """Return the last close that there was, in units of each bar: a split between divides it."""
    if not np.isnan(panel.close).any():
        return panel.close
    marks = panel.close.copy()
    for t in range(1, len(panel)):
        gone = np.isnan(marks[t])
        if gone.any():
            before = marks[t - 1] if panel.split is None else marks[t - 1] / panel.split[t]
            marks[t, gone] = before[gone]
    return marks


def _writeable(values: Floats | None) -> Floats:
    """Return an array that a kernel can take: a read-only one would be compiled for a second time."""
    return _NONE if values is None else np.require(values, dtype=np.float64, requirements=["C", "W"])


def _check(panel: Panel) -> None:
    known = ~np.isnan(panel.close)
    for field in BAR_FIELDS[:4]:
        values = getattr(panel, field)
        _refuse(panel, field, known & ~((values > 0.0) & (values < np.inf)), "above zero and finite where it closes")
        _refuse(panel, field, ~known & ~np.isnan(values), "missing (NaN) where the close is")
    _refuse(panel, "volume", panel.volume < 0.0, "0 or more")
    if panel.split is not None:
        _refuse(panel, "split", ~((panel.split > 0.0) & (panel.split < np.inf)), "above zero and finite")
    if panel.dividend is not None:
        _refuse(panel, "dividend", ~np.isfinite(panel.dividend), "finite")
    if panel.funding is not None:
        _refuse(panel, "funding", np.isinf(panel.funding), "finite, or NaN where it is not known")
    if not (panel.periods_per_year > 0.0 and np.isfinite(panel.periods_per_year)):
        raise DataError(f"periods_per_year of a panel must be above 0; was {panel.periods_per_year}")


def _refuse(panel: Panel, field: str, wrong: NDArray[np.bool_], rule: str) -> None:
    if wrong.any():
        t, asset = np.argwhere(wrong)[0].tolist()
        value = getattr(panel, field)[t, asset]
        raise DataError(f"{field} of {panel.assets[asset]} must be {rule}; was {value} at bar {t}")
