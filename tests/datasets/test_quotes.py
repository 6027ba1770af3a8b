"""Bars of quotes against a slow twin that walks event by event, and against the levels that LOBSTER prints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets import open_store
from datasets.columns import BarColumns
from datasets.events import EventsMeta
from datasets.events_writer import EventsWriter
from datasets.ingest.events import EventOptions, scaled_events
from datasets.ingest.lobster import find_pair
from datasets.ingest.text_rows import Field, rows
from datasets.quotes import bars_of_quotes, ingest_bars_of_quotes
from quantbot.book import Action, BookInstrument, Events, Flag
from quantbot.errors import DataError, InputError

DATA = Path(__file__).parents[3] / "shared" / "data" / "lobster"
L2 = BookInstrument("X", 0.5, 1.0, "by_price")
Quote = tuple[int, int, int]  # time, bid, ask in ticks; 0 where a side is empty


def slow(quotes: list[Quote], step: int, of: str) -> list[tuple[int, int, int, int, int]]:
    """End, open, high, low, close of each interval, in half ticks: what held at its start, then each quote in it."""
    value = {
        "mid": lambda bid, ask: bid + ask,
        "bid": lambda bid, ask: 2 * bid,
        "ask": lambda bid, ask: 2 * ask,
        "spread": lambda bid, ask: 2 * (ask - bid),
    }[of]
    bars, held, at = [], None, 0
    clock = 0
    timed = []
    for time, bid, ask in quotes:
        clock = max(clock, time)
        timed.append((clock, value(bid, ask) if bid and ask and bid < ask else None))
    for number in range(timed[0][0] // step, timed[-1][0] // step + 1):
        seen = [] if held is None else [held]
        while at < len(timed) and timed[at][0] // step == number:
            held = timed[at][1]
            seen += [] if held is None else [held]
            at += 1
        if seen:
            bars.append(((number + 1) * step, seen[0], max(seen), min(seen), seen[-1]))
    return bars


def told(bars: BarColumns, tick: float) -> list[tuple[int, int, int, int, int]]:
    prices = [np.round(each / (tick / 2)).astype(int).tolist() for each in (bars.open, bars.high, bars.low, bars.close)]
    return list(zip(bars.ts_end_ns.tolist(), *prices, strict=True))


def drawn(seed: int) -> tuple[Events, list[Quote]]:
    """Levels set and cleared at random; the book that they make, by hand."""
    rng = np.random.default_rng(seed)
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    made, quotes, time = [], [], 10**9
    for _ in range(300):
        time += int(rng.integers(-5, 400)) * 10**6
        side = 1 if rng.random() < 0.5 else -1
        own = bids if side > 0 else asks
        flags = int(Flag.LAST) if rng.random() < 0.7 else 0
        if rng.random() < 0.03:
            own.clear()
            made.append((time, Action.CLEAR, side, 0, 0, 0, flags))
        else:
            price, size = (
                100 - side * int(rng.choice([-1, 0, 1, 2, 3, 4], p=[0.02, 0.02, *[0.24] * 4])),
                int(rng.integers(0, 3)),
            )
            own[price] = size
            made.append((time, Action.SET, side, price, size, 0, flags))
        if flags:
            best_bid = max((price for price, size in bids.items() if size), default=0)
            quotes.append((time, best_bid, min((price for price, size in asks.items() if size), default=0)))
    return Events.of(L2, "2024-01-02", made), quotes


@pytest.mark.parametrize("of", ["mid", "bid", "ask", "spread"])
def test_bars_of_quotes__are_those_of_the_slow_twin_whatever_the_blocks(of):
    for seed in range(6):
        events, quotes = drawn(seed)
        wanted = slow(quotes, 10**9, of)
        assert len(wanted) > 20
        for cuts in ([], [150], [1, 2, 77, 299]):
            parts = [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True)]
            assert told(bars_of_quotes(parts, "1s", of), 0.5) == wanted


@pytest.mark.skipif(not DATA.is_dir(), reason="no real data beside the project")
def test_bars_of_quotes__of_a_real_day_are_those_of_the_printed_levels():
    reader = find_pair(DATA / "LOBSTER_SampleFile_AMZN_2012-06-21_1.zip")
    events = [each for each, _ in scaled_events(reader, EventOptions(tick_size=0.0001))]
    times, prices = [], []
    fields = [Field("time", "rounded", 9), *(Field(str(k), "skipped") for k in range(5))]
    for block in rows(reader._paths[0], fields, max_bytes=1 << 30, member=reader._members[0]):
        times += block.columns["time"].tolist()
    for block in rows(
        reader._paths[1], [Field(str(k)) for k in range(4)], max_bytes=1 << 30, member=reader._members[1]
    ):
        prices += zip(block.columns["2"].tolist(), block.columns["0"].tolist(), strict=True)
    midnight = int(np.datetime64("2012-06-21T04:00", "ns").astype(np.int64))
    quotes = [(midnight + time, bid, ask) for time, (bid, ask) in zip(times, prices, strict=True)]
    assert len(quotes) == 57_515
    for interval, step in (("1min", 60 * 10**9), ("1s", 10**9)):
        wanted = slow(quotes, step, "mid")
        assert told(bars_of_quotes(events, interval, "mid"), 0.0001) == wanted
    assert len(wanted) == 23_400  # each second of the session


def test_bars_of_quotes__are_written_session_after_session(tmp_path):
    root = open_store(tmp_path)
    events, quotes = drawn(1)
    shifted = Events(events.instrument, "2024-01-03", **{
        name: values + (10**12 if name.startswith("ts_") else 0) for name, values in events.columns().items()
    })  # fmt: skip
    with EventsWriter(root, "mine/x", EventsMeta("x", "x")) as writer:
        for part in (events, shifted):
            received = np.maximum.accumulate(part.ts_received_ns)
            writer.add(Events(part.instrument, part.session, **{**part.columns(), "ts_received_ns": received}))
        dataset = writer.finish().dataset
    result = ingest_bars_of_quotes(root, "mine/mids", dataset, "1s")
    n_bars = len(slow(quotes, 10**9, "mid"))
    assert len(result.dataset.bars("X")) == 2 * n_bars
    with pytest.raises(DataError, match="meet within one interval"):
        ingest_bars_of_quotes(root, "mine/days", dataset, "1d")


def test_bars_of_quotes__need_a_quote_and_an_interval_of_time():
    with pytest.raises(DataError, match="no quote"):
        bars_of_quotes([Events.of(L2, "s", [(1, 7, 1, 99, 3)])])
    with pytest.raises(InputError, match="seconds to days"):
        bars_of_quotes([], "1mo")
    with pytest.raises(InputError, match="of must be one of mid, bid, ask, spread"):
        bars_of_quotes([], "1s", "last")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="intervals from first to last"):
        bars_of_quotes([Events.of(L2, "s", [(1, 7, 1, 9, 3), (2, 7, -1, 10, 3), (10**18, 7, 1, 8, 1)])], "1s")
