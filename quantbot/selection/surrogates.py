"""Prices as they might have been: the same bars in another order, so that nothing in them foretells what comes next.

Each surrogate is an order of the bars. A bar keeps its shape (open, high, low and close against the close before it)
and its volume, and so do drift, volatility and fat tails; what goes is the order that a rule could have known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError
from quantbot.market import BAR_FIELDS, Bars, Floats, Panel
from quantbot.portfolio.targets import signal_prices

Order = NDArray[np.int64]


def bootstrap_order(n_bars: int, mean_block: float, rng: np.random.Generator) -> Order:
    """Return bars in the order of a stationary bootstrap, shape (n_bars,): blocks of random length, drawn with repeats.

    Parameters
    ----------
    mean_block
        Mean number of neighbouring bars that stay together, at least 1. What a rule earns within a block survives, so
        blocks should be shorter than the time for which it holds; 1 leaves nothing but the distribution.

    Notes
    -----
    Politis & Romano (1994), "The Stationary Bootstrap", JASA 89(428): a block ends at each bar with probability
    ``1 / mean_block``; after the last bar comes the first.

    Examples
    --------
    >>> order = bootstrap_order(1000, 5, np.random.default_rng(0))
    >>> bool(150 < (np.diff(order) != 1).sum() < 250)
    True
    """
    if n_bars < 1 or not mean_block >= 1:
        raise InputError(f"a bootstrap needs a bar and blocks of at least 1, found {n_bars} and {mean_block}")
    begins = rng.random(n_bars) < 1.0 / mean_block
    begins[0] = True
    block = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    starts = rng.integers(0, n_bars, len(first))
    return np.asarray((starts[block] + np.arange(n_bars) - first[block]) % n_bars, np.int64)


def phase_order(returns: ArrayLike, rng: np.random.Generator) -> Order:
    """Return bars in the order of a phase-randomised series: the same returns with nearly the same autocorrelations.

    Parameters
    ----------
    returns
        Shape (n_bars,), finite: by the return of each bar the order is told.

    Returns
    -------
    Shape (n_bars,), a permutation.

    Notes
    -----
    The amplitude-adjusted Fourier transform of Theiler, Eubank, Longtin, Galdrikian & Farmer (1992), "Testing for
    nonlinearity in time series", Physica D 58: normal numbers in the ranks of the returns get random phases, and the
    returns are put into the ranks of what comes out. Linear autocorrelation survives; clusters of volatility do not.

    Examples
    --------
    >>> order = phase_order([0.01, -0.02, 0.03, 0.0], np.random.default_rng(0))
    >>> sorted(order.tolist())
    [0, 1, 2, 3]
    """
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise InputError(f"returns must be finite numbers of shape (n_bars,), were of shape {values.shape}")
    n = len(values)
    order = np.argsort(values, kind="stable")
    normal = np.empty(n)
    normal[order] = np.sort(rng.normal(size=n))
    spectrum = np.fft.rfft(normal)
    phases = rng.uniform(0.0, 2.0 * np.pi, len(spectrum))
    phases[0] = 0.0
    if n % 2 == 0:
        phases[-1] = 0.0  # the highest frequency of an even number is real
    shuffled = np.fft.irfft(np.abs(spectrum) * np.exp(1j * phases), n)
    found = np.empty(n, np.int64)
    found[np.argsort(shuffled, kind="stable")] = order
    return found


def reordered(bars: Bars, order: Order) -> Bars:
    """Return bars put together in another order, at the times of the given ones, from the same first price.

    Parameters
    ----------
    order
        Shape (n_bars,): which bar's shape comes next.

    Raises
    ------
    InputError
        If a price is not above 0.
    """
    prices = (bars.open, bars.high, bars.low, bars.close)
    if not all((price > 0).all() for price in prices):
        raise InputError(f"{bars.instrument.symbol} has prices of 0 or less, so its bars have no returns to reorder")
    before = np.concatenate([bars.open[:1], bars.close[:-1]])
    shapes = [(price / before)[order] for price in prices]
    closes = bars.open[0] * np.cumprod(shapes[3])
    base = np.concatenate([bars.open[:1], closes[:-1]])
    opens, highs, lows = (np.ascontiguousarray(shape * base) for shape in shapes[:3])
    return Bars(
        instrument=bars.instrument,
        ts_end_ns=bars.ts_end_ns,
        open=opens,
        high=highs,
        low=lows,
        close=closes,
        volume=np.ascontiguousarray(bars.volume[order]),
        periods_per_year=bars.periods_per_year,
    )


def reordered_panel(panel: Panel, order: Order) -> Panel:
    """Return many instruments' bars put together in one other order, so that they move together as they did.

    Each asset has bars when it had them. Where the bar that comes next is one that an asset lacks, it takes the next
    one that it has (after its last comes its first): else assets move together as they did. Prices are of the adjusted
    view: splits are no returns, dividends are put into the asset that paid them. Volume and funding go with their bars.

    Parameters
    ----------
    order
        Shape (n_bars,): which bar's shape comes next.

    Raises
    ------
    InputError
        If a price is not above 0.

    Examples
    --------
    >>> from quantbot.market import Instrument
    >>> close = np.array([[10.0, 20.0], [11.0, 22.0], [11.0, 33.0]])
    >>> panel = Panel((Instrument("A"), Instrument("B")), np.arange(3), *[close] * 5, 252.0)
    >>> reordered_panel(panel, np.array([0, 2, 1])).close.round(12).tolist()
    [[10.0, 20.0], [10.0, 30.0], [11.0, 33.0]]
    """
    with np.errstate(invalid="ignore"):
        if bool((panel.close <= 0).any()) or bool((panel.open <= 0).any()):
            raise InputError("a panel has prices of 0 or less, so its bars have no returns to reorder")
    factor = signal_prices(panel) / panel.close
    made = {name: np.full(panel.close.shape, np.nan) for name in BAR_FIELDS}
    funding = None if panel.funding is None else np.zeros(panel.close.shape)
    for asset in range(len(panel.instruments)):
        known = np.flatnonzero(~np.isnan(panel.close[:, asset]))
        if not known.size:
            continue
        own = {name: getattr(panel, name)[known, asset] * factor[known, asset] for name in BAR_FIELDS[:4]}
        source = np.searchsorted(known, order[known]) % known.size
        before = np.concatenate([own["open"][:1], own["close"][:-1]])
        shapes = {name: (prices / before)[source] for name, prices in own.items()}
        closes = own["open"][0] * np.cumprod(shapes["close"])
        base = np.concatenate([own["open"][:1], closes[:-1]])
        for name in ("open", "high", "low"):
            made[name][known, asset] = shapes[name] * base
        made["close"][known, asset] = closes
        made["volume"][known, asset] = (panel.volume[known, asset] / factor[known, asset])[source]
        if funding is not None and panel.funding is not None:
            funding[known, asset] = panel.funding[known, asset][source]
    return Panel(panel.instruments, panel.ts_end_ns, **made, periods_per_year=panel.periods_per_year, funding=funding)


def bar_returns(bars: Bars) -> Floats:
    """Return the return of each bar against the close before it, shape (n_bars,); the first against its own open."""
    return np.asarray(bars.close / np.concatenate([bars.open[:1], bars.close[:-1]]) - 1.0)
