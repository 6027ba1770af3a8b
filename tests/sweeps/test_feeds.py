"""What trials run on: a dataset of bars, and sessions of order-book events."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.catalog import open_events
from datasets.events import EventsMeta
from datasets.events_writer import EventsWriter
from datasets.store import open_store
from quantbot.book import Action, BookInstrument, Events
from quantbot.errors import SpecError
from sweeps import feeds
from sweeps.feeds import EventsFeed, open_feed, open_feed_version
from sweeps.trial import Fold

S = 10**9
DAYS = {"2024-01-02": 1_704_205_800 * S, "2024-01-03": 1_704_292_200 * S}


@pytest.fixture
def root(tmp_path):
    root = open_store(tmp_path / "store")
    with EventsWriter(root, "test/book", EventsMeta("Books", "test", zone="America/New_York")) as writer:
        for symbol, currency in (("AAA", "EUR"), ("BBB", "USD")):
            instrument = BookInstrument(symbol, 0.01, 1.0, "by_price", currency)
            for day, start in DAYS.items():
                rows = [(start + i * S, Action.SET, 1 if i % 2 else -1, 100 - i % 2, 1 + i) for i in range(120)]
                writer.add(Events.of(instrument, day, rows))
        writer.finish()
    return root


def test_events_feed__makes_each_session_of_each_instrument_an_asset(root):
    feed = open_feed("test/book", root)
    assert feed.assets == ("AAA 2024-01-02", "AAA 2024-01-03", "BBB 2024-01-02", "BBB 2024-01-03")
    assert feed.named("AAA") == feed.assets[:2]
    assert feed.named("BBB 2024-01-03") == feed.assets[3:]
    assert feed.named("BB") == ()
    assert (feed.currency("AAA 2024-01-02"), feed.zone) == ("EUR", "America/New_York")
    assert feed.place("BBB 2024-01-03") == ("BBB", "2024-01-03")
    with pytest.raises(SpecError, match="bars are needed here"):
        feed.panel(feed.assets)


def test_events_feed__gives_a_session_on_steps_that_folds_divide(root):
    feed = open_feed("test/book", root)
    data = feed.data("AAA 2024-01-03")
    assert np.array_equal(data.ts_end_ns, feed.times("AAA 2024-01-03"))
    assert (data.step_ns, len(data), data.n_events) == (S, 119, 120)
    assert data.periods_per_year == feed.periods_per_year("AAA 2024-01-03") == 252 * 119
    second = Fold("late", "test", DAYS["2024-01-03"] + 60 * S + 1, DAYS["2024-01-03"] + 3600 * S)
    window = second.window(data.ts_end_ns)
    assert data.bounds_ns(window) == (DAYS["2024-01-03"] + 60 * S, DAYS["2024-01-03"] + 119 * S)
    assert second.window(feed.times("AAA 2024-01-02")) == (119, 119)


@pytest.mark.parametrize("most", [0, 1000])
def test_events_feed__reads_the_events_of_a_version_again_and_again(root, monkeypatch, most):
    monkeypatch.setattr(feeds, "_KEPT_EVENTS", most)
    dataset = open_events("test/book", root)
    feed = open_feed_version(root.url, "test/book", dataset.version)
    assert isinstance(feed, EventsFeed)
    data = feed.data("BBB 2024-01-02")
    expected = dataset.events("BBB", "2024-01-02")
    for _ in range(2):
        found = Events.joined(list(data.read()))
        assert np.array_equal(found.ts_received_ns, expected.ts_received_ns)
        assert np.array_equal(found.size_lots, expected.size_lots)
    parts = [list(data.read()), list(data.read())]
    assert (parts[0][0] is parts[1][0]) is (most > 0)  # small sessions stay decoded
