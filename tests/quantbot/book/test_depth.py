import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.book import Action, Book, BookInstrument, Events, Flag, depth_between
from quantbot.errors import InputError

_SPEC = importlib.util.spec_from_file_location("oracles_rebuild", Path(__file__).parents[2] / "oracles_rebuild.py")
oracles: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(oracles)

L2 = BookInstrument("X", 0.01, 1.0, "by_price")
L3 = BookInstrument("X", 0.01, 1.0, "by_order")
STEPS = st.integers(-2, 6)
FLAGS = st.sampled_from([0, Flag.LAST, Flag.LAST, Flag.SNAPSHOT])
ROWS = st.one_of(
    st.tuples(STEPS, st.just(Action.SET), st.sampled_from([1, -1]), st.integers(95, 105), st.integers(0, 4), FLAGS),
    st.tuples(
        STEPS, st.just(Action.TRADE), st.sampled_from([1, 0, -1]), st.integers(95, 105), st.integers(0, 4), FLAGS
    ),
)


def _events(rows: list[tuple[int, ...]]) -> Events:
    at, table = 0, []
    for step, action, side, price, size, flags in rows:
        at += step  # exchange times go back now and then
        table.append((at, action, side, price, size, 0, flags))
    events = Events.of(L2, "s", table)
    received = np.maximum.accumulate(events.ts_exchange_ns) + 3
    return Events(L2, "s", **events.columns() | {"ts_received_ns": received})


@given(st.lists(ROWS, max_size=40), st.integers(0, 40), st.integers(-5, 30), st.integers(1, 60), st.integers(1, 7),
       st.integers(1, 12), st.sampled_from(["exchange", "received"]))  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_depth__is_the_book_of_the_slow_twin_at_each_columns_end(
    rows: list[tuple[int, ...]], cut: int, start: int, span: int, n_columns: int, n_rows: int, clock: Any
) -> None:
    events = _events(rows)
    times = np.maximum.accumulate(events.ts_exchange_ns) if clock == "exchange" else events.ts_received_ns
    blocks = [events[:cut], events[cut:]]
    seen = depth_between(
        Book(L2, window_ticks=64), blocks, start, start + span, n_columns=n_columns, n_rows=n_rows, ticks=(96, 104),
        clock=clock, max_trades=3,
    )  # fmt: skip
    assert seen.low_ticks == 96
    assert seen.high_ticks >= 104
    assert seen.lots.shape[1] <= n_rows
    for column in range(n_columns):
        end = start + span * (column + 1) // n_columns
        assert seen.ends_ns[column] == end
        plain = oracles.PlainBook()
        complete = [i for i in range(len(events)) if times[i] <= end and events.flags[i] & Flag.LAST]
        plain.apply(events[: complete[-1] + 1] if complete else events[:0])
        wanted = np.zeros(seen.lots.shape[1], np.int64)
        for side in (1, -1):
            for price, lots, _ in plain.side(side):
                if 96 <= price <= 104:
                    wanted[(price - 96) // seen.row_ticks] += lots
        assert seen.lots[column].tolist() == wanted.tolist()
        for side, best, size in ((1, seen.bid_ticks, seen.bid_lots), (-1, seen.ask_ticks, seen.ask_lots)):
            first = plain.side(side)[:1]
            assert (best[column], size[column]) == (first[0][:2] if first else (pytest.approx(np.nan, nan_ok=True), 0))
    within = (times > start) & (times <= start + span)
    traded = within & (events.action == Action.TRADE) & (events.size_lots > 0) & ~(events.flags & 1).astype(bool)
    assert seen.n_events == within.sum()
    assert seen.n_trades == traded.sum()
    assert seen.traded_lots.sum() == events.size_lots[traded].sum()
    assert sorted(seen.trade_lots, reverse=True) == sorted(events.size_lots[traded], reverse=True)[:3]
    assert (np.diff(seen.trade_ns) >= 0).all()


def test_depth__gives_executions_the_aggressors_side_and_continues_from_the_book_it_is_given() -> None:
    before = Events.of(L3, "s", [(1, Action.ADD, 1, 99, 5, 7), (2, Action.ADD, -1, 101, 4, 8)])
    after = Events.of(L3, "s", [(12, Action.EXECUTE, 1, 99, 2, 7), (30, Action.DELETE, -1, 101, 0, 8)])
    book = Book(L3)
    book.apply(before)
    seen = depth_between(book, [after], 10, 20, n_columns=2, n_rows=9)
    assert (seen.trade_side.tolist(), seen.trade_ticks.tolist(), seen.trade_lots.tolist()) == ([-1], [99], [2])
    assert seen.bid_lots.tolist() == [3, 3]
    assert seen.ask_lots.tolist() == [4, 4]
    assert seen.low_ticks < 99 < 101 < seen.high_ticks  # without prices given, those around the best ones
    assert book.ladder(1).ask_lots.tolist() == [4]  # what came after the end was not applied


def test_depth__says_where_more_levels_rest_than_it_reads() -> None:
    events = Events.of(L2, "s", [(i, Action.SET, 1, 1000 - i, 1) for i in range(300)])
    seen = depth_between(Book(L2), [events], -1, 400, n_columns=1, n_rows=400, ticks=(650, 1049))
    lots = seen.lots[0]
    assert lots[1000 - 650] == lots[1000 - 255 - 650] == 1
    assert (lots[: 1000 - 255 - 650] == -1).all()
    assert (lots[351:] == 0).all()


def test_depth__needs_time_and_cells() -> None:
    with pytest.raises(InputError, match="found 5 to 5, 400 x 80"):
        depth_between(Book(L2), [], 5, 5)
