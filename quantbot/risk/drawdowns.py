"""Who made a drawdown: what each source lost from the peak to the trough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from quantbot.errors import InputError
from quantbot.market import Floats
from quantbot.paths.drawdowns import Drawdown, worst_drawdowns
from quantbot.risk.pnl import check_closes


@dataclass(frozen=True)
class DrawdownAttribution:
    """One drawdown by source.

    Attributes
    ----------
    names
        Of the sources.
    component
        Shape (n_sources,), shares of the equity at the peak, sum ``-drawdown.depth``; negative is a loss.
    """

    drawdown: Drawdown
    names: tuple[str, ...]
    component: Floats


def attribute_drawdowns(
    amounts: ArrayLike, equity: ArrayLike, start: float, names: Sequence[str], n: int = 10
) -> tuple[DrawdownAttribution, ...]:
    """Return the `n` deepest drawdowns, and what each source lost in them.

    Parameters
    ----------
    amounts
        Shape (n_bars, n_sources), money: profit and loss of each asset, costs, cash, ... that sum to the changes of
        equity; `PnlAttribution` has them.
    equity
        Shape (n_bars,), at each bar's end.
    start
        Equity before the first bar.

    Raises
    ------
    InputError
        If the sources do not sum to the changes of equity: the bar and the amount.

    Examples
    --------
    >>> (worst,) = attribute_drawdowns([[10.0, 0.0], [-15.0, 4.0]], [110.0, 99.0], 100.0, ("stocks", "bonds"), 1)
    >>> round(worst.drawdown.depth, 12), worst.component.round(4).tolist()
    (0.1, [-0.1364, 0.0364])
    """
    table, level = np.asarray(amounts, dtype=np.float64), np.asarray(equity, dtype=np.float64)
    if level.ndim != 1 or table.shape != (len(level), len(names)):
        raise InputError(
            f"amounts must be of shape ({len(level)}, {len(names)}) (bars of the equity, names), was {table.shape}"
        )
    check_closes(table, level, start)
    found = []
    for one in worst_drawdowns(level, start, n):
        peak = level[one.peak] if one.peak >= 0 else start
        component = table[one.peak + 1 : one.trough + 1].sum(axis=0) / peak
        found.append(DrawdownAttribution(one, tuple(names), component))
    return tuple(found)
