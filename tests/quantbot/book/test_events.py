import pickle

import numpy as np
import pytest

from quantbot.book import Action, BookInstrument, Events, Flag
from quantbot.errors import DataError, InputError

L2 = BookInstrument("X", 0.01, 1.0, "by_price")
L3 = BookInstrument("X", 0.01, 1.0, "by_order")


def test_events__keep_their_columns_through_slices_joins_and_pickles():
    events = Events.of(L3, "2024-01-02", [(t, Action.ADD, 1, 100 + t, 5, t + 1) for t in range(9)])
    parts = Events.joined([events[:4], pickle.loads(pickle.dumps(events[4:]))])
    assert all(np.array_equal(a, b) for a, b in zip(parts.columns().values(), events.columns().values(), strict=True))
    assert [len(events), len(events[2:5]), events.flags[0]] == [9, 3, Flag.LAST]


def test_check__counts_exchange_times_that_go_back_or_refuses_them():
    events = Events.of(L2, "s", [(5, Action.SET, 1, 1, 1), (9, Action.HALT, 0, 0, 0, 0, Flag.GAP)])
    back = Events(L2, "s", **events.columns() | {"ts_exchange_ns": np.array([7, 4])})
    found = back.check()
    assert (found.times_back, found.first_back, found.received_early, found.gaps, found.halts) == (1, 1, 1, 1, 1)
    with pytest.raises(DataError, match="goes back at event 101"):
        back.check(times_back="refuse", first=100)


@pytest.mark.parametrize(
    ("instrument", "row", "rule"),
    [
        (L2, (9, 11, 1, 1, 1), "action"),
        (L2, (9, 0, 1, 1, 1), "action"),
        (L2, (9, Action.SET, 2, 1, 1), "side"),
        (L2, (9, Action.SET, -128, 1, 1), "side"),
        (L2, (9, Action.SET, 0, 1, 1), "side"),
        (L2, (9, Action.SET, 1, 1, -1), "size_lots"),
        (L2, (9, Action.SET, 1, 1, 2**60), "size_lots"),
        (L2, (9, Action.SET, 1, -(2**63), 1), "price_ticks"),
        (L2, (9, Action.SET, 1, 1, 1, 0, 64), "flags"),
        (L2, (2, Action.SET, 1, 1, 1), "ts_received_ns"),
        (L2, (9, Action.ADD, 1, 1, 1, 1), "no order actions"),
        (L3, (9, Action.SET, 1, 1, 1), "no SET"),
        (L3, (9, Action.ADD, 1, 1, 1, 0), "order_id"),
        (L3, (9, Action.ADD, 0, 1, 1, 1), "side"),
        (L3, (9, Action.MODIFY, 1, 1, 0, 1), "size above 0"),
    ],
)
def test_check__names_the_event_and_the_broken_rule(instrument, row, rule):
    events = Events.of(instrument, "s", [(5, Action.TRADE, 0, 1, 1), row])
    with pytest.raises(DataError, match=f"event 1 of X/s.*{rule}"):
        events.check()


def test_events__refuse_columns_of_another_type_or_length():
    columns = Events.of(L2, "s", [(5, Action.TRADE, 0, 1, 1)]).columns()
    with pytest.raises(DataError, match="side of X/s must be int8"):
        Events(L2, "s", **columns | {"side": np.zeros(1)})
    with pytest.raises(DataError, match="flags"):
        Events(L2, "s", **columns | {"flags": np.zeros(2, np.uint8)})


@pytest.mark.parametrize(
    "changed", [{"tick_size": 0.0}, {"lot_size": float("nan")}, {"kind": "L2"}, {"multiplier": -1}]
)
def test_instrument__refuses_sizes_that_are_none(changed):
    with pytest.raises(InputError, match=next(iter(changed))):
        BookInstrument(**{"symbol": "X", "tick_size": 0.1, "lot_size": 1.0, "kind": "by_price", **changed})


def test_empty_events__are_events():
    assert Events.of(L2, "s", []).check().n_events == 0
