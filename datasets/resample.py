"""Trades into bars: what an event dataset's prints come to over equal intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from datasets.columns import BarColumns
from datasets.ingest.options import Interval
from quantbot.book import Action, Events, Flag
from quantbot.errors import DataError, InputError

if TYPE_CHECKING:
    from datasets.events import EventsDataset
    from datasets.ingest.bars import IngestResult
    from datasets.store import Store

__all__ = ["bars_of_trades", "ingest_bars_of_trades", "nearest_decimals", "write_resampled"]

_PER_YEAR_NS = int(365.2425 * 86_400 * 10**9)


def bars_of_trades(blocks: Iterable[Events], interval: str = "1min") -> BarColumns:
    """Return the bars of the trades in consecutive blocks; an interval without a trade has none.

    Trades are prints (TRADE) and executions of resting orders (EXECUTE), by the exchange's time; what a snapshot says
    of the past is none. A bar holds the trades from its start until just before its end, at which it is stamped.

    Parameters
    ----------
    interval
        "1s", "1min", "5min", "1h", "1d": by UTC.

    Raises
    ------
    DataError
        If there is no trade, or a block's trades go back beyond the bar that the block before ended with.

    Examples
    --------
    >>> from quantbot.book import BookInstrument
    >>> book = BookInstrument("X", 0.5, 0.1, "by_price")
    >>> bars = bars_of_trades([Events.of(book, "s", [(1, 6, 1, 20, 3), (2, 6, -1, 22, 1), (10**9, 6, 1, 19, 2)])], "1s")
    >>> bars.close.tolist(), bars.ts_end_ns.tolist()
    ([11.0, 9.5], [1000000000, 2000000000])
    """
    parsed = Interval.parse(interval)
    if interval.endswith(("w", "mo")):
        raise InputError(f"interval must be of seconds to days, was {interval!r}")
    step = parsed.ns
    parts: list[np.ndarray] = []  # end, open, high, low, close, volume; ticks and lots
    tick = lot = 0.0
    for events in blocks:
        tick, lot = events.instrument.tick_size, events.instrument.lot_size
        trades = (events.action == Action.TRADE) | (events.action == Action.EXECUTE)
        trades &= (events.flags & (Flag.SNAPSHOT)) == 0
        if not trades.any():
            continue
        order = np.argsort(events.ts_exchange_ns[trades], kind="stable")
        ends = (events.ts_exchange_ns[trades][order] // step + 1) * step
        price, size = events.price_ticks[trades][order], events.size_lots[trades][order]
        starts = np.flatnonzero(np.append(True, ends[1:] != ends[:-1]))
        stops = np.append(starts[1:], len(ends))
        bars = np.stack([
            ends[starts], price[starts], np.maximum.reduceat(price, starts), np.minimum.reduceat(price, starts),
            price[stops - 1], np.add.reduceat(size, starts),
        ])  # fmt: skip
        if parts and bars[0, 0] < parts[-1][0, -1]:
            raise DataError(f"trades of {events.instrument.symbol} go back over the bar that ends at {bars[0, 0]} ns")
        if parts and bars[0, 0] == parts[-1][0, -1]:
            last, first = parts[-1][:, -1], bars[:, 0].copy()
            last[2], last[3] = max(last[2], first[2]), min(last[3], first[3])
            last[4], last[5] = first[4], last[5] + first[5]
            bars = bars[:, 1:]
        if bars.shape[1]:
            parts.append(bars)
    if not parts:
        raise DataError("there is no trade among these events")
    whole = np.concatenate(parts, axis=1)
    prices = [nearest_decimals(row, tick) for row in whole[1:5]]
    volume = nearest_decimals(whole[5], lot)
    return BarColumns(whole[0], **dict(zip(("open", "high", "low", "close"), prices, strict=True)), volume=volume)


def nearest_decimals(steps: np.ndarray, step: float) -> np.ndarray:
    """Return `steps` times `step` as the nearest decimals: 22382 ticks of 0.01 are 223.82, not 223.82000000000002."""
    return np.round(steps * step, max(-int(np.floor(np.log10(step))) + 3, 0))


def ingest_bars_of_trades(
    root: Store, name: str, source: EventsDataset, interval: str = "1min", *, periods_per_year: float | None = None
) -> IngestResult:
    """Write the bars of all trades of a dataset of events as the dataset of bars `name`; sessions follow each other."""
    columns = {
        asset: bars_of_trades(
            (block for session in source.sessions(asset) for block in source.blocks(asset, session)), interval
        )
        for asset in source.assets
    }
    return write_resampled(
        root, name, source, columns, interval, f"{interval} bars of trades", periods_per_year=periods_per_year
    )


def write_resampled(
    root: Store,
    name: str,
    source: EventsDataset,
    columns: Mapping[str, BarColumns],
    interval: str,
    what: str,
    *,
    periods_per_year: float | None = None,
) -> IngestResult:
    """Write bars that were made of a dataset of events as the dataset `name`."""
    from datasets.bars import write_bars
    from datasets.ingest.bars import IngestResult
    from datasets.quality import check_bars
    from datasets.references import check_name, references
    from datasets.schema import BarsMeta

    check_name(name)
    step = Interval.parse(interval).ns
    instruments = [source.instrument(asset) for asset in source.assets]
    meta = BarsMeta(
        title=f"{', '.join(source.assets[:3])}, {what}",
        source=f"{source.name}@{source.version[:12]}",
        interval=interval,
        periods_per_year=periods_per_year or _PER_YEAR_NS / step,
        synthetic=source.meta.synthetic,
        currency={each.symbol: each.currency for each in instruments},
        multiplier={each.symbol: each.multiplier for each in instruments},
        zone=source.meta.zone,
    )
    report = check_bars(columns, interval_ns=step, zone=meta.zone)
    before = {pointer.version for pointer in references(root, name)}
    dataset = write_bars(root, name, columns, meta, report.to_dict())
    return IngestResult(dataset, report, dataset.version not in before)
