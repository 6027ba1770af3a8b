import importlib.util
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quantbot.book import Action, Book, BookInstrument, Events, Flag, ladders
from quantbot.errors import InputError

_SPEC = importlib.util.spec_from_file_location("oracles_rebuild", Path(__file__).parents[2] / "oracles_rebuild.py")
oracles: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(oracles)

L2 = BookInstrument("X", 0.01, 1.0, "by_price")
L3 = BookInstrument("X", 0.01, 1.0, "by_order")
# Prices inside a small window, around its ends, and far outside: each way to hold a level.
PRICES = st.one_of(st.integers(90, 110), st.integers(-200, 400), st.sampled_from([-(2**40), 2**40, 0]))
SIDES = st.sampled_from([1, -1])
SIZES = st.integers(1, 6)
FLAGS = st.sampled_from([0, Flag.LAST, Flag.LAST, Flag.SNAPSHOT, Flag.LAST | Flag.GAP])
IDS = st.integers(1, 12)
BY_PRICE = st.one_of(
    st.tuples(st.just(0), st.just(Action.SET), SIDES, PRICES, st.integers(0, 4), st.just(0), FLAGS),
    st.tuples(st.just(0), st.sampled_from([Action.TRADE, Action.HALT]), SIDES, PRICES, SIZES, st.just(0), FLAGS),
    st.tuples(st.just(0), st.just(Action.CLEAR), st.sampled_from([0, 1, -1]), PRICES, SIZES, st.just(0), FLAGS),
)
BY_ORDER = st.one_of(
    st.tuples(st.just(0), st.sampled_from([Action.ADD, Action.MODIFY]), SIDES, PRICES, SIZES, IDS, FLAGS),
    st.tuples(st.just(0), st.sampled_from([Action.ADD, Action.MODIFY]), SIDES, PRICES, SIZES, IDS, FLAGS),
    st.tuples(
        st.just(0), st.sampled_from([Action.CANCEL, Action.DELETE, Action.EXECUTE]), SIDES, PRICES, SIZES, IDS, FLAGS
    ),
    st.tuples(st.just(0), st.just(Action.CLEAR), st.sampled_from([0, 1, -1]), PRICES, SIZES, st.just(0), FLAGS),
)


def _agree(events: Events, cut: int) -> None:
    plain, book, looks = oracles.PlainBook(), Book(events.instrument, window_ticks=64), []
    for part in (events[:cut], events[cut:]):
        looks += book.ladders(part, np.arange(len(part)), 4)
    for i, ladder in enumerate(looks):
        plain.apply(events[i : i + 1])
        for side, table in (
            (1, (ladder.bid_ticks, ladder.bid_lots, ladder.bid_orders)),
            (-1, (ladder.ask_ticks, ladder.ask_lots, ladder.ask_orders)),
        ):
            assert list(zip(*(each.tolist() for each in table), strict=True)) == plain.side(side)[:4]
    assert +Counter(asdict(book.counts)) == +plain.counts
    snapshot = book.snapshot()
    if events.instrument.kind == "by_order":
        for side in (1, -1):
            for price, queue in plain.queues[side].items():
                ids, sizes = book.queue(side, price)
                assert [list(pair) for pair in zip(ids.tolist(), sizes.tolist(), strict=True)] == queue
    again = Book(events.instrument, window_ticks=256)
    again.restore(snapshot)
    for name in ("side", "price_ticks", "size_lots", "order_id"):
        assert np.array_equal(getattr(again.snapshot(), name), getattr(snapshot, name))


@settings(deadline=None, max_examples=60)
@given(st.lists(BY_PRICE, max_size=60), st.integers(0, 60))
@example([(0, Action.SET, 1, 2**40, 1, 0, 2), (0, Action.SET, 1, 5, 1, 0, 2), (0, Action.SET, 1, 2**40, 0, 0, 2)], 2)
def test_a_book_by_price__is_the_plain_one_after_every_event(rows, cut):
    _agree(Events.of(L2, "s", rows), cut)


@settings(deadline=None, max_examples=100)
@given(st.lists(BY_ORDER, max_size=60), st.integers(0, 60))
def test_a_book_by_order__is_the_plain_one_after_every_event(rows, cut):
    _agree(Events.of(L3, "s", rows), cut)


def test_a_book__outgrows_its_tables_without_a_change():
    rng = np.random.default_rng(3)
    n = 40_000
    ids = rng.permutation(n) + 1
    ticks = rng.integers(-(2**30), 2**30, n)
    rows = [
        (i, Action.ADD, 1 if tick < 0 else -1, int(tick), 1, int(key))
        for i, (tick, key) in enumerate(zip(ticks, ids, strict=True))
    ]
    book = Book(L3, window_ticks=64)
    book.apply(Events.of(L3, "s", rows))
    whole = book.snapshot()
    assert sorted(whole.order_id.tolist()) == list(range(1, n + 1))
    assert book.best_bid_ticks == ticks[ticks < 0].max()
    assert book.best_ask_ticks == ticks[ticks >= 0].min()
    gone = [(0, Action.DELETE, 0, 0, 0, key) for key in ids.tolist()]
    assert book.apply(Events.of(L3, "s", gone)).unknown_ids == 0
    assert len(book.snapshot()) == 0
    assert book.best_bid_ticks is None


def test_the_window__follows_prices_that_wander_away():
    path = np.cumsum(np.random.default_rng(1).integers(-3, 4, 20_000)) + 1000
    rows = []
    for i, tick in enumerate(path.tolist()):
        rows += [
            (i, Action.SET, 1, tick - 1, 5),
            (i, Action.SET, -1, tick + 1, 5),
            (i, Action.SET, 1, tick - 1, 0),
            (i, Action.SET, -1, tick + 1, 0),
        ]
    events = Events.of(L2, "s", rows)
    book = Book(L2, window_ticks=64)
    for at in range(0, len(events), 997):
        book.apply(events[at : at + 997])
    assert len(book.snapshot()) == 0
    assert book.counts.absent_levels == 0


def test_ladders__refuse_moments_that_are_not_there():
    events = Events.of(L2, "s", [(0, Action.SET, 1, 1, 1)])
    for at in ([1], [-1], [0, 0]):
        with pytest.raises(InputError, match="moments"):
            ladders(events, np.array(at))
    with pytest.raises(InputError, match="by_price takes no events by_order"):
        Book(L2).apply(Events.of(L3, "s", []))
