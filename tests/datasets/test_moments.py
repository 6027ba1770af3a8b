import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import open_store
from datasets.moments import Moments
from quantbot.book import Book
from quantbot.book.depth import depth_between

_SPEC = importlib.util.spec_from_file_location("events_tests", Path(__file__).with_name("test_events.py"))
events_tests: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(events_tests)
N = 5000


@pytest.fixture(scope="module", params=["by_order", "by_price"])
def session(request, tmp_path_factory):
    events = events_tests.drawn(request.param, N)
    root = open_store(tmp_path_factory.mktemp("moments"))
    dataset = events_tests.write(root, [events]).dataset
    return events, Moments(dataset, "X", "2024-01-02")


def test_n_until__counts_by_receipt_as_if_all_were_in_memory(session):
    events, moments = session
    received = events.ts_received_ns
    for ts in (received[0] - 1, *received[[0, 1, 1023, 1024, 2047, 3000, -1]], received[-1] + 1):
        assert moments.n_until(int(ts)) == (received <= ts).sum()
    assert moments.span_ns("received") == (received[0], received[-1])


def test_n_until__by_the_exchanges_clock_never_goes_back(session):
    events, moments = session
    times = [moments.time_of(event, "exchange") for event in range(1020, 1030)]
    assert times[0] == events.ts_exchange_ns[:1021].max()
    assert (np.diff(times[4:]) >= 0).all()
    assert moments.n_until(times[0], "exchange") >= 1021


@pytest.mark.parametrize("clock", ["received", "exchange"])
def test_look__is_the_whole_sessions_book_picture_and_neighbours(session, clock):
    events, moments = session
    at = int(moments.time_of(2500, clock))
    seen = moments.look(at, 200_000, clock, n_levels=7)
    assert seen.n_before == moments.n_until(at, clock) > 2500
    book = Book(events.instrument)
    book.apply(events[: seen.n_before])
    assert seen.ladder.bid_ticks.tolist() == book.ladder(7).bid_ticks.tolist()
    assert seen.ladder.ask_lots.tolist() == book.ladder(7).ask_lots.tolist()
    whole = depth_between(
        Book(events.instrument), [events[i : i + 1024] for i in range(0, N, 1024)], at - 100_000, at + 100_000,
        n_columns=300, n_rows=64, clock=clock, max_trades=400,
    )  # fmt: skip
    if clock == "received":
        assert np.array_equal(seen.picture.lots, whole.lots)
        assert seen.picture.trade_lots.tolist() == whole.trade_lots.tolist()
        assert seen.next_ns == events.ts_received_ns[seen.n_before]
    assert seen.previous_ns < at < seen.next_ns
    assert len(seen.around) == 24
    assert seen.around.order_id[12] == events.order_id[seen.n_before]
    assert seen.times_ns[12] == seen.next_ns


def test_look__beyond_the_ends_shows_what_there_is(session):
    events, moments = session
    first, last = moments.span_ns("received")
    before, after = moments.look(first - 10**9, 1000), moments.look(last + 10**9, 1000)
    assert (before.n_before, before.previous_ns, before.next_ns) == (0, None, first)
    assert len(before.ladder.bid_ticks) == 0
    assert (after.n_before, after.previous_ns, after.next_ns) == (N, last, None)
    book = Book(events.instrument)
    book.apply(events)
    assert after.ladder.ask_ticks.tolist() == book.ladder(12).ask_ticks.tolist()
