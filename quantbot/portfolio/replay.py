"""One portfolio trial in full: its account, what was decided and why, from the same arithmetic as its row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Job, Points, Replay
from quantbot.errors import DataError
from quantbot.market import Floats, Panel
from quantbot.parameters import Value
from quantbot.portfolio.chains import Chain
from quantbot.portfolio.pooled import Pooled
from quantbot.portfolio.sections import defaults
from quantbot.portfolio.targets import Targets

if TYPE_CHECKING:
    from quantbot.portfolio.engine import PortfolioEngine
    from quantbot.portfolio.recording import AccountPath

HELD_BY = "weight of "  # and a strategy: what it holds by asset, as a share of equity
DECISIONS = ("solved", "fallback", "waiting")
_NO_TRADES = ("entry_bar", "entry_ns", "exit_bar", "exit_ns", "n_bars", "open")
_NO_MONEY = ("entry_price", "exit_price", "units", "pnl", "return")


def replay(
    engine: PortfolioEngine, job: Job, data: Panel, window: tuple[int, int], point: Mapping[str, Value]
) -> Replay:
    """Return everything about one trial; see `quantbot.engine.Replay`.

    Curves are "equity", "drawdown" (a positive fraction of the peak), "cash", "gross", "net", "exposure" (gross),
    "traded" (value of a bar's orders over equity) and each kind of cost. By asset there are "close", "weight" and
    "target" (shares of equity at each close), "units", "pnl" (before costs) and "cost". Tables are "decisions" (one a
    row of targets) and "interventions". A portfolio has no round trips: `trades` is empty. Of strategies on one pool
    there are also the weights of each, by asset ("weight of calm"), a table "strategies" of their profit after costs in
    each bar, and a column `strategy` in "decisions".

    Raises
    ------
    DataError
        If the trial fails; the message is that of its row.
    """
    from quantbot.portfolio.recording import replay_account

    points = Points(1, {name: np.array([value]) for name, value in point.items()})
    settings = {**defaults(), **job.settings, **point}
    rows = engine.run(job, data, window, points)
    if rows.reasons:
        raise DataError(rows.reasons[0])
    chain = engine.chain(job, data, window, settings)
    if isinstance(chain, Pooled):
        targets, decisions = chain.targets, _pooled_decisions(chain, data, window)
    else:
        targets = Targets(chain.bars, chain.weights[None], np.zeros(1, dtype=np.int64))
        decisions = _decisions(chain, data, window)
    path = replay_account(data, window, targets, job.settings, point)
    return Replay(
        path.ts_end_ns,
        _curves(path, float(settings["execution.initial_cash"])),
        path.orders,
        {
            **{name: np.empty(0, np.int64) for name in _NO_TRADES},
            **{name: np.empty(0) for name in _NO_MONEY},
        },
        {name: float(values[0]) for name, values in rows.measures.items()},
        data.assets,
        {
            "close": data.close[slice(*window)],
            "weight": path.weights,
            "target": _targets(chain, window),
            "units": path.units,
            "pnl": path.pnl,
            "cost": path.asset_costs,
            **{f"{HELD_BY}{name}": values for name, values in path.weights_by_strategy.items()},
        },
        {
            "decisions": decisions,
            "interventions": path.interventions,
            **({"strategies": path.by_strategy} if path.by_strategy else {}),
        },
    )


def _curves(path: AccountPath, cash: float) -> dict[str, Floats]:
    peak = np.maximum.accumulate(np.maximum(path.equity, cash))
    traded = np.zeros(len(path.equity))
    np.add.at(traded, path.orders["bar"], path.orders["units"] * path.orders["market_price"])
    gross = np.abs(path.weights).sum(axis=1)
    return {
        "equity": path.equity,
        "drawdown": 1.0 - path.equity / peak,
        "cash": path.cash,
        "gross": gross,
        "net": path.weights.sum(axis=1),
        "exposure": gross,
        "traded": traded / path.equity,
        **path.costs,
    }


def _targets(chain: Chain | Pooled, window: tuple[int, int]) -> Floats:
    """Return the targets in force at each close, shape (n_bars, n_assets); 0 before the first, kept ones carried on."""
    found = np.zeros((window[1] - window[0], chain.weights.shape[1]))
    for bar, row in zip((chain.bars - window[0]).tolist(), chain.weights, strict=True):
        if not np.isnan(row).any():
            found[bar:] = row
    return found


def _pooled_decisions(chain: Pooled, data: Panel, window: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Return the decisions of all strategies, in the order of time."""
    each = {name: _decisions(own, data, window) for name, (own, _, _) in chain.parts.items()}
    order = np.argsort(np.concatenate([own["bar"] for own in each.values()]), kind="stable")
    names = np.repeat(np.array(list(each), dtype=str), [len(own["bar"]) for own in each.values()])
    first = next(iter(each.values()))
    joined = {column: np.concatenate([own[column] for own in each.values()])[order] for column in first}
    return {"bar": joined.pop("bar"), "strategy": names[order], **joined}


def _decisions(chain: Chain, data: Panel, window: tuple[int, int]) -> dict[str, NDArray[Any]]:
    return {
        "bar": chain.bars - window[0],
        "ts_ns": data.ts_end_ns[chain.bars],
        "status": np.array([DECISIONS[status] for status in chain.status.tolist()], dtype=str),
        "cvar": chain.cvar,
        "var": chain.var,
        "mean": chain.mean,
        "gap": chain.gap,
        "n_assets": chain.n_assets,
        "why": np.array([chain.why.get(place, "") for place in range(len(chain.bars))], dtype=str),
    }
