"""When a path of equity lay under water: from which peak, how deep, and until when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from quantbot.errors import InputError

ROUNDING = 1e-12  # as in a row: a drawdown that small is what rounding leaves of none


@dataclass(frozen=True)
class Drawdown:
    """One time under water.

    Attributes
    ----------
    peak
        Index of the bar whose peak was lost; -1 when it is the equity before the first bar.
    trough
        Index of the lowest bar.
    recovery
        Index of the first bar back at the peak; None while it is not reached.
    depth
        Fraction of the peak lost at the trough, > 0.
    n_bars
        Bars from the peak to the recovery, or to the last bar.
    """

    peak: int
    trough: int
    recovery: int | None
    depth: float
    n_bars: int


def worst_drawdowns(equity: ArrayLike, start: float, n: int = 10) -> tuple[Drawdown, ...]:
    """Return the `n` deepest drawdowns, the deepest first; of equals the earlier.

    Parameters
    ----------
    equity
        Shape (n_bars,), at each bar's end.
    start
        Equity before the first bar, which counts as a peak.

    Examples
    --------
    >>> worst_drawdowns([110.0, 99.0, 120.0, 90.0], 100.0, 1)
    (Drawdown(peak=2, trough=3, recovery=None, depth=0.25, n_bars=1),)
    """
    level = np.asarray(equity, dtype=np.float64)
    if level.ndim != 1:
        raise InputError(f"equity must be one path, shape (n_bars,); was {level.shape}")
    if not level.size:
        return ()
    peak = np.maximum(np.maximum.accumulate(level), start)
    lost = 1.0 - level / peak
    under = np.concatenate([[False], lost > ROUNDING, [False]])
    starts, stops = np.flatnonzero(~under[:-1] & under[1:]), np.flatnonzero(under[:-1] & ~under[1:])
    if not starts.size:
        return ()
    depths = np.maximum.reduceat(lost, starts)
    # A segment of reduceat reaches to the next start; what lies between is above water and never its largest.
    found = []
    for at in np.argsort(-depths, kind="stable")[: max(n, 0)]:
        first, stop = int(starts[at]), int(stops[at])
        trough = first + int(np.argmax(lost[first:stop]))
        recovery = stop if stop < level.size else None
        end = recovery if recovery is not None else level.size - 1
        found.append(Drawdown(first - 1, trough, recovery, float(depths[at]), end - (first - 1)))
    return tuple(found)
