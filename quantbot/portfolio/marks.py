"""A panel as kernels want it, checked once: what positions are marked at, which bars have actions, calendar days."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
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
            open=writeable(panel.open),
            close=writeable(panel.close),
            volume=writeable(panel.volume),
            marks=writeable(_marks(panel)),
            split=_NONE if panel.split is None else writeable(panel.split),
            dividend=_NONE if panel.dividend is None else writeable(panel.dividend),
            funding=_NONE if panel.funding is None else writeable(panel.funding),
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
    gone = np.isnan(panel.close)
    if not gone.any():
        return panel.close
    rows = np.arange(len(panel))[:, None]
    last = np.maximum.accumulate(np.where(gone, -1, rows), axis=0)
    marks = np.take_along_axis(panel.close, np.maximum(last, 0), axis=0)
    if panel.split is not None:
        units = np.cumprod(panel.split, axis=0)
        marks = marks / (units / np.take_along_axis(units, np.maximum(last, 0), axis=0))
    found: Floats = np.where(last < 0, np.nan, marks)
    return found


def writeable(values: NDArray[Any]) -> NDArray[Any]:
    """Return an array that a kernel can take: a read-only one would be compiled for a second time."""
    return np.require(values, requirements=["C", "W"])


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
