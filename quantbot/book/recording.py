"""One book trial in full: its curves and fills with their reasons, from the very replay that its row comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.bars.replay import trades
from quantbot.book.layout import OrderKind, Reason
from quantbot.book.lives import lives
from quantbot.book.replay import BookReplay
from quantbot.book.session import BookSession
from quantbot.engine import Job, Points, Replay
from quantbot.errors import DivergenceError
from quantbot.parameters import Value

if TYPE_CHECKING:
    from quantbot.book.engine import BookEngine

_MESSAGES = 1 << 18  # kept at first: 12 MB
REASONS: Mapping[int, str] = {
    int(Reason.TRADE_THROUGH): "trade through",
    int(Reason.QUEUE_PASSED): "queue passed",
    int(Reason.DEPTH_CROSSED): "depth crossed",
    int(Reason.TAKEN): "taken",
}


def replay(
    engine: BookEngine, job: Job, data: BookSession, window: tuple[int, int], point: Mapping[str, Value]
) -> Replay:
    """Return everything about one trial; see `quantbot.engine.Replay`.

    Curves are taken at the ends of steps: "equity", "drawdown" (a positive fraction), "position" (lots), "mid",
    "hold_equity" (the initial cash: a maker's alternative is to hold nothing). `orders` are fills, one row each, with
    `bar` (step), `ts_ns`, `side`, `units`, `price`, `fee` (with its tier, without own impact), `reason`, `maker`,
    `lots`, `ticks`, `mid` (before the fill), `queue_lots` (ahead of it when it filled), `placed_ns` (when the exchange
    accepted it), `position`. The table "lives" has every order that was sent; see `quantbot.book.lives.lives`.

    Raises
    ------
    DivergenceError
        If the recorded equity is not bit for bit that of the row.
    """
    points = Points(1, {name: np.array([value]) for name, value in point.items()})
    row = {name: float(column[0]) for name, column in engine.run(job, data, window, points).measures.items()}
    book = _recorded(engine, job, data, window, points)
    equity = book.curve[0]
    if (final := row.get("final_equity", np.nan)) == final and final != equity[-1]:
        raise DivergenceError(f"replayed equity ends at {equity[-1]!r}, the row's at {final!r}")
    ts_end_ns = data.ts_end_ns[window[0] : window[1]]
    capital = float(book.agents[0]["capital"])
    peak = np.maximum(np.maximum.accumulate(equity), capital)
    tick = data.instrument.tick_size
    curves = {
        "equity": equity,
        "hold_equity": np.full(equity.shape[0], capital),
        "drawdown": 1.0 - equity / peak,
        "position": book.positions[0].astype(np.float64),
        "mid": book.mids * tick,
    }
    orders = fills(book, data, ts_end_ns)
    signed = orders | {"units": orders["units"] * orders["side"]}
    trips = trades(signed, capital, data.instrument.multiplier, ts_end_ns, curves["mid"])
    return Replay(ts_end_ns, curves, orders, trips, row, tables={"lives": lives(book)})


def _recorded(
    engine: BookEngine, job: Job, data: BookSession, window: tuple[int, int], points: Points
) -> BookReplay:  # fmt: skip
    """Return the replay with every message kept; once more where there were more than was thought."""
    room = _MESSAGES
    while True:
        book = engine.book_replay(job, data, window, points, curves=True, record=True, n_said=room)
        if int(book.state[0]["n_said"]) <= room:
            return book
        room = int(book.state[0]["n_said"])


def fills(book: BookReplay, data: BookSession, ts_end_ns: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the fills of the first agent as columns, in the order in which they happened."""
    log = book.fills[: int(book.state[0]["n_fills"])]
    log = log[log["agent"] == 0]
    agent, instrument = book.agents[0], data.instrument
    price, units = log["tick"] * instrument.tick_size, log["lots"] * instrument.lot_size
    maker = log["maker"] == 1
    by_value = np.where(maker, agent["maker_bps"], agent["taker_bps"]) * 1e-4 * price * units * instrument.multiplier
    by_value = by_value - _saved(agent, log, maker) * instrument.tick_size * instrument.lot_size * instrument.multiplier
    by_lot = np.where(maker, agent["maker_lot_fee"], agent["taker_lot_fee"]) * log["lots"]
    return {
        "bar": np.minimum(np.searchsorted(ts_end_ns, log["ts_ns"]), len(ts_end_ns) - 1).astype(np.int64),
        "ts_ns": log["ts_ns"].copy(),
        "side": log["side"].astype(np.int64),
        "units": units,
        "price": price,
        "fee": by_value + by_lot + agent["trade_fee"],
        "reason": np.array([REASONS[reason] for reason in log["reason"].tolist()], dtype=str),
        "maker": maker,
        "kind": np.array([OrderKind(kind).name.lower() for kind in log["kind"].tolist()], dtype=str),
        "lots": log["lots"].copy(),
        "ticks": log["tick"].copy(),
        "mid": 0.5 * log["mid2"] * instrument.tick_size,
        "queue_lots": np.maximum(log["front"], 0.0),
        "placed_ns": log["placed_ns"].copy(),
        "position": np.cumsum(log["side"] * log["lots"]),
    }


def _saved(agent: Any, log: NDArray[Any], maker: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the fees that each fill saves by tiers, in ticks x lots; as `kernels_fills.beyond`."""
    if not agent["tiers"]:
        return np.zeros(log.shape[0])
    value = (log["tick"] * log["lots"]).astype(np.float64)
    traded = np.cumsum(value)
    first = np.clip(traded - agent["tier_at"], 0.0, value)
    second = np.clip(traded - agent["tier2_at"], 0.0, value) if agent["tiers"] > 1.0 else np.zeros_like(value)
    base, bps, bps2 = (
        np.where(maker, agent[f"{tier}maker_bps"], agent[f"{tier}taker_bps"]) for tier in ("", "tier_", "tier2_")
    )
    saved: NDArray[np.float64] = (second * (base - bps2) + np.maximum(first - second, 0.0) * (base - bps)) * 1e-4
    return saved
