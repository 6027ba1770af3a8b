"""How a book trial trades: the settings of a spec's `execution` section, each declared once.

What each queue model assumes, and what no model can know from the data, is told in `docs/concepts/book.md`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.book.delays import drawn_table, recorded_table, samples_of
from quantbot.book.events import BookInstrument
from quantbot.book.layout import Latency, Queue
from quantbot.book.replay import Agents, Exchange
from quantbot.book.strategy import BookStrategy
from quantbot.engine import Points
from quantbot.errors import ParameterError
from quantbot.parameters import Parameter, RowValue, Value, choice, number

SECTION = "execution"
QUEUES = ("auto", "risk_averse", "power", "power2", "power3", "log", "log2", "fifo", "pro_rata", "optimistic")
EXECUTION: tuple[Parameter, ...] = (
    choice("queue", "auto", QUEUES, "Model of the place in the queue; auto: fifo by order, power3 by price."),
    number("queue_power", 3.0, 0.1, 100.0, "Exponent of the power models; more of it: decreases are behind us."),
    choice("exchange", "partial", ("partial", "no_partial"), "Whether an order fills in parts, by what is there."),
    choice("on_gap", "cancel", ("cancel", "keep"), "What happens to resting orders at a gap, a clear or a halt."),
    number("recover_ms", 0.0, 0.0, 1e9, "When lots that we took are back for us; 0: with the level's next life."),
    choice("latency", "constant", ("constant", "drawn", "recorded"), "Where delays come from."),
    number("latency_scale", 1.0, 0.0, 1000.0, "What recorded delays are multiplied by."),
    number("latency_spread", 0.5, 0.0, 100.0, "Mean of the exponential part of a drawn delay.", unit="of the constant"),
    number("feed_us", 0.0, 0.0, 1e9, "Delay of the feed beyond the times of receipt in the data.", unit="us"),
    number("entry_us", 500.0, 0.0, 1e9, "From a decision to the exchange.", unit="us"),
    number("answer_us", 500.0, 0.0, 1e9, "From the exchange to knowing of a fill or an acknowledgement.", unit="us"),
    number("period_ms", 100.0, 0.01, 1e9, "Time between two decisions of a strategy that wakes by timer.", unit="ms"),
    number("phase_ms", 0.0, 0.0, 1e9, "Offset of the timer.", unit="ms"),
    number("maker_bps", 0.0, -100.0, 1000.0, "Fee on the value of maker fills; below 0 a rebate.", unit="bps"),
    number("taker_bps", 0.0, -100.0, 1000.0, "Fee on the value of taker fills.", unit="bps"),
    number("maker_per_unit", 0.0, -1e6, 1e6, "Fee for each unit filled as maker.", unit="money per unit"),
    number("taker_per_unit", 0.0, -1e6, 1e6, "Fee for each unit filled as taker.", unit="money per unit"),
    number("fee_per_fill", 0.0, -1e6, 1e6, "Fee for each fill.", unit="money"),
    number("tier_value", 0.0, 0.0, 1e18, "Traded value from which the tier's fees hold; 0: none.", unit="money"),
    number("tier_maker_bps", 0.0, -100.0, 1000.0, "Maker fee of the tier.", unit="bps"),
    number("tier_taker_bps", 0.0, -100.0, 1000.0, "Taker fee of the tier.", unit="bps"),
    number("tier2_value", 0.0, 0.0, 1e18, "Likewise of a second tier, above the first.", unit="money"),
    number("tier2_maker_bps", 0.0, -100.0, 1000.0, "Maker fee of the second tier.", unit="bps"),
    number("tier2_taker_bps", 0.0, -100.0, 1000.0, "Taker fee of the second tier.", unit="bps"),
    number("traded_before", 0.0, 0.0, 1e18, "Value traded before the session that counts for the tiers.", unit="money"),
    number("impact_bps", 0.0, 0.0, 1000.0, "What taking `impact_lots` at once costs beyond its prices.", unit="bps"),
    number("impact_lots", 100.0, 1e-6, 1e12, "Lots that cost `impact_bps`; others as the square root.", unit="lots"),
    number("position_limit", 0.0, 0.0, 1e12, "Most held or on its way, either side; 0: no limit.", unit="lots"),
    number("kill_loss", 0.0, 0.0, 1e12, "Loss before fees at which it closes and stops; 0: never.", unit="money"),
    number("initial_cash", 100_000.0, 1e-6, 1e15, "What returns are measured against.", unit="money"),
)  # fmt: skip
SHARED = tuple(f"{SECTION}.{name}" for name in ("exchange", "on_gap", "recover_ms"))  # of a whole pass
_TIERS = ("tier", "tier2")


def defaults() -> dict[str, Value]:
    """Return every setting's default, by dotted name."""
    return {f"{SECTION}.{parameter.name}": parameter.default for parameter in EXECUTION}


class Settings:
    """Settings of many points as columns: a point's own, else the job's, else the default."""

    def __init__(self, settings: Mapping[str, Value], points: Points, strategy: BookStrategy) -> None:
        self._settings, self.points = {**defaults(), **strategy.defaults(), **settings}, points

    def __getitem__(self, name: str) -> NDArray[Any]:
        column = self.points.columns.get(name)
        return np.full(len(self.points), self._settings[name]) if column is None else column

    def own(self, name: str) -> NDArray[np.float64]:
        """Return a number of the execution section, (n_points,)."""
        return self[f"{SECTION}.{name}"].astype(np.float64)

    def one(self, name: str) -> Value:
        """Return what all points have in common."""
        value: Value = self[f"{SECTION}.{name}"][0].item()
        return value


def exchange_of(settings: Settings) -> Exchange:
    """Return how the exchange treats orders, the same for all points."""
    return Exchange(
        partial=settings.one("exchange") == "partial",
        cancel_on_gap=settings.one("on_gap") == "cancel",
        recover_ns=round(float(settings.one("recover_ms")) * 1e6),
    )


def queue_models(
    names: NDArray[Any], powers: NDArray[np.float64], kind: str
) -> tuple[NDArray[np.int32], list[tuple[int, float]]]:
    """Return (each point's model, the models).

    Raises
    ------
    ParameterError
        If first in, first out is asked of data by price, which don't show the queue.
    """
    auto = "fifo" if kind == "by_order" else "power3"
    asked = [(auto if name == "auto" else str(name), float(power)) for name, power in zip(names, powers, strict=True)]
    if kind == "by_price" and any(name == "fifo" for name, _ in asked):
        raise ParameterError(
            f"{SECTION}.queue is fifo, which needs events by order; these are by price: use risk_averse, power3, ..."
        )
    keys = [(int(Queue[name.upper()]), power if name.startswith("power") else 0.0) for name, power in asked]
    models = sorted(set(keys))
    return np.array([models.index(key) for key in keys], np.int32), models


def agents_of(
    settings: Settings, strategy: BookStrategy, instrument: BookInstrument, *, envelope: bool,
    delays: Mapping[str, Mapping[str, RowValue]] | None = None, span_ns: tuple[int, int] = (0, 0),
) -> Agents:  # fmt: skip
    """Return an agent for each point; with `envelope` two more, with the pessimistic and the optimistic queue.

    The second third of the agents has the pessimistic queue, the last the optimistic one. `delays` are recorded ones,
    by time of day; `span_ns` is the time that they are needed for.
    """
    own, n = settings.own, len(settings.points)
    unit = instrument.tick_size * instrument.lot_size * instrument.multiplier
    queue, models = queue_models(settings[f"{SECTION}.queue"], own("queue_power"), instrument.kind)
    columns: dict[str, NDArray[Any]] = {
        "entry_ns": np.round(own("entry_us") * 1e3).astype(np.int64),
        "answer_ns": np.round(own("answer_us") * 1e3).astype(np.int64),
        "maker_bps": own("maker_bps"),
        "taker_bps": own("taker_bps"),
        "maker_lot_fee": own("maker_per_unit") * instrument.lot_size,
        "taker_lot_fee": own("taker_per_unit") * instrument.lot_size,
        "trade_fee": own("fee_per_fill"),
        "limit_lots": own("position_limit").astype(np.int64),
        "kill_at": own("kill_loss") / unit,
        "capital": own("initial_cash"),
        "queue": queue,
        **_tiers(settings, unit),
        "impact": own("impact_bps") * 1e-4 / np.sqrt(own("impact_lots")),
    }
    latencies: list[NDArray[Any]] = []
    drawn, recorded = (settings[f"{SECTION}.latency"] == word for word in ("drawn", "recorded"))
    if drawn.any():
        keys = np.stack([columns["entry_ns"], columns["answer_ns"], own("latency_spread")], axis=1)
        distinct, table = np.unique(keys, axis=0, return_inverse=True)
        latencies = [drawn_table(*row) for row in distinct]
        columns["latency"] = np.where(drawn, int(Latency.DRAWN), int(Latency.CONSTANT))
        columns["table"] = table.ravel()
        columns["key"] = trial_keys(settings, strategy)
    if recorded.any():
        samples = samples_of(delays or {})
        scales, table = np.unique(own("latency_scale"), return_inverse=True)
        columns["latency"] = np.where(recorded, int(Latency.RECORDED), columns.get("latency", int(Latency.CONSTANT)))
        columns["table"] = np.where(recorded, len(latencies) + table, columns.get("table", 0))
        latencies += [recorded_table(samples, span_ns, scale) for scale in scales.tolist()]
    parameters = np.stack([settings[p.name].astype(np.float64) for p in strategy.parameters] or [np.zeros(n)], axis=1)
    timing = [np.round(own(name) * scale).astype(np.int64) for name, scale in
              (("period_ms", 1e6), ("phase_ms", 1e6), ("feed_us", 1e3))]  # fmt: skip
    if envelope:
        bounds = [(int(Queue.RISK_AVERSE), 0.0), (int(Queue.OPTIMISTIC), 0.0)]
        models = [*models, *bounds]
        columns = {name: np.tile(column, 3) for name, column in columns.items()}
        columns["queue"] = np.concatenate([queue, np.full(n, len(models) - 2), np.full(n, len(models) - 1)])
        parameters, timing = np.tile(parameters, (3, 1)), [np.tile(column, 3) for column in timing]
    period, phase, feed = timing
    return Agents(columns, parameters, period, phase, feed, models, latencies)


def _tiers(settings: Settings, unit: float) -> dict[str, NDArray[Any]]:
    """Return the tiers' columns: how many there are, from which traded ticks x lots, and their fees."""
    fees = [f"{tier}_{side}_bps" for tier in _TIERS for side in ("maker", "taker")]
    columns: dict[str, NDArray[Any]] = {name: settings.own(name) for name in fees}
    for tier in _TIERS:
        columns[f"{tier}_at"] = (settings.own(f"{tier}_value") - settings.own("traded_before")) / unit
    there = [settings.own(f"{tier}_value") > 0.0 for tier in _TIERS]
    columns["tiers"] = np.where(there[1], 2.0, np.where(there[0], 1.0, 0.0))
    columns["tier_at"] = np.where(there[0], columns["tier_at"], np.inf)
    return columns


def trial_keys(settings: Settings, strategy: BookStrategy) -> NDArray[np.uint64]:
    """Return what each trial's draws are keyed by: its settings, so that no other trial changes them."""
    names = [*sorted(defaults()), *(parameter.name for parameter in strategy.parameters)]
    columns = [settings[name].tolist() for name in names]
    keys = []
    for values in zip(*columns, strict=True):
        text = repr([float(v) if isinstance(v, (int, float)) else v for v in values]).encode()
        keys.append(zlib.crc32(text) << 32 | zlib.adler32(text))
    return np.array(keys, np.uint64)
