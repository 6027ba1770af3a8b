from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.figures.book import Own, depth_alt, depth_chart, ladder_chart, own_of
from quantbot.book import Action, Book, BookInstrument, Events, depth_between

L3 = BookInstrument("X", 0.01, 1.0, "by_order", currency="EUR")
EVENTS = Events.of(L3, "s", [
    (10, Action.ADD, 1, 9_999, 1000, 1), (20, Action.ADD, -1, 10_001, 10, 2), (60, Action.EXECUTE, -1, 10_001, 4, 2),
])  # fmt: skip


def picture(**sizes):
    return depth_between(Book(L3), [EVENTS], 0, 100, **{"n_columns": 10, "n_rows": 5, "ticks": (9_998, 10_002)} | sizes)


def test_depth_chart__colours_by_logarithm_and_leaves_what_is_empty_open():
    figure = depth_chart(picture(), L3, 50)
    seen = figure.data[0]
    assert seen.z.shape == (5, 10)
    assert np.isclose(seen.z[1, 5], 3.0)
    assert np.isnan(seen.z[2]).all()
    assert seen.customdata[3, 9] == 6
    assert np.isclose(seen.y0 + seen.dy * 3, 100.01)
    assert np.isclose(seen.x0 - seen.dx / 2, -0.05)  # microseconds from the moment
    assert {trace.name for trace in figure.data} >= {"best bid", "best ask", "trades: buys"}


def test_depth_chart__shows_own_orders_fills_and_what_is_ahead():
    own = Own(
        {"start_ns": np.array([-50, 500]), "end_ns": np.array([60, 600]), "price_ticks": np.array([10_001, 1]),
         "side": np.array([-1, 1]), "filled": np.array([True, False])},
        {"ts_ns": np.array([60]), "price_ticks": np.array([10_001]), "lots": np.array([2]), "side": np.array([-1]),
         "maker": np.array([True]), "reason": np.array(["queue passed"])},
        {"start_ns": np.array([0]), "end_ns": np.array([60]), "side": np.array([-1]), "low": np.array([4.0]),
         "ahead": np.array([6.0]), "high": np.array([10.0])},
    )  # fmt: skip
    figure = depth_chart(picture(), L3, 50, own)
    asks = [trace for trace in figure.data if trace.name == "own asks"]
    assert [trace.line.width for trace in asks] == [8, 5]
    assert np.allclose(asks[1].x[:2], [-0.05, 0.01])  # cut at the window's start
    assert "own bids" not in {trace.name for trace in figure.data}  # it rested later
    told = next(trace for trace in figure.data if trace.name == "own sells" and trace.customdata is not None)
    assert list(told.customdata[0]) == ["60", 2, "maker", "queue passed"]
    names = [trace.name for trace in figure.data]
    assert names[-3:] == ["at least ahead", "between the bounds", "lots ahead"]
    band = figure.data[-2]
    assert band.fillpattern.shape == "/"
    assert band.y.tolist() == [10.0, 10.0]
    exact = replace(own, queue=own.queue | {"low": np.array([6.0]), "high": np.array([6.0])})
    assert [trace.name for trace in depth_chart(picture(), L3, 50, exact).data].count("between the bounds") == 0


LIVES = {
    "sent_ns": np.array([5, 20]), "arrived_ns": np.array([10, 30]), "heard_ns": np.array([15, 35]),
    "cancel_ns": np.array([0, 50]), "end_ns": np.array([60, 70]), "told_ns": np.array([65, 75]),
    "side": np.array([-1, 1]), "ticks": np.array([10_001, 9_999]), "lots": np.array([2, 3]),
    "rested": np.array([True, True]), "ahead": np.array([4.0, 7.0]), "end": np.array(["filled", "cancelled"]),
}  # fmt: skip
NO_FILLS = {name: np.array([], int) for name in ("ts_ns", "ticks", "lots", "side", "maker", "reason")}


def test_own_of__has_orders_that_never_filled_and_the_way_of_the_one_that_is_looked_at():
    path = {"ts_ns": np.array([20, 40, 40]), "side": np.array([-1, -1, 1]), "ticks": np.array([10_001, 10_001, 9_999]),
            "placed_ns": np.array([10, 10, 30]), "ahead": np.array([4.0, 1.0, 7.0]), "low": np.array([4.0, 0.0, 7.0]),
            "high": np.array([4.0, 2.0, 7.0])}  # fmt: skip
    own = own_of(NO_FILLS, LIVES, 0, path)
    assert own.orders["filled"].tolist() == [True, False]
    assert (own.queue["start_ns"].tolist(), own.queue["end_ns"].tolist()) == ([20, 40], [40, 60])
    assert own.queue["ahead"].tolist() == [4.0, 1.0]
    assert [(what, ts) for what, ts, _ in own.way] == [
        ("decided", 5), ("at the exchange", 10), ("known", 15), ("filled", 60), ("end known", 65),
    ]  # fmt: skip
    cancelled = own_of(NO_FILLS, LIVES, 1, path)
    assert [what for what, _, _ in cancelled.way][3:] == ["cancel sent", "cancelled", "end known"]
    figure = depth_chart(picture(), L3, 50, cancelled)
    names = {trace.name for trace in figure.data}
    assert names >= {"own asks", "own bids, not filled", "decided", "known", "cancel sent", "the order's way"}


def test_pictures__of_a_large_window_stay_below_what_a_look_may_send():
    rng = np.random.default_rng(1)
    rows = [(i, Action.ADD, 1 if i % 2 else -1, 10_000 + (-1 if i % 2 else 1) * int(rng.integers(1, 60)), 9, i + 1)
            for i in range(4000)]  # fmt: skip
    rows += [(4000 + i, Action.EXECUTE, -1, 10_001, 1, 1 + 2 * i) for i in range(600)]
    events = Events.of(L3, "s", rows)
    seen = depth_between(Book(L3), [events], 0, 5000, n_columns=300, n_rows=64, max_trades=400)
    book = Book(L3)
    book.apply(events)
    size = len(depth_chart(seen, L3, 100).to_json()) + len(ladder_chart(book.ladder(12), L3).to_json())
    assert size < 300_000


def test_depth_alt__says_what_is_seen_also_of_an_empty_book():
    assert depth_alt(picture(), L3) == (
        "Depth of X: the middle goes from 100.00 to 100.00, the usual spread is 2 ticks, 3 events, 1 trade"
    )
    empty = depth_between(Book(L3), [], 0, 10)
    assert "no book with both sides" in depth_alt(empty, L3)
    assert depth_chart(empty, L3, 5).data[0].z.shape[1] == 400
