"""The Book page: a session of events at any moment, with and without a trial."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.events import EventsMeta
from datasets.events_writer import EventsWriter
from datasets.store import open_store
from quantbot.book import Action, BookInstrument, Events

_spec = importlib.util.spec_from_file_location("pages_tests", Path(__file__).with_name("test_pages.py"))
assert _spec is not None
assert _spec.loader is not None
pages: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)
launch, words = pages.launch, pages.words
DAY = "2024-01-02"
START = 1_704_205_800 * 10**9  # 14:30 UTC that day
LATE = 250_000  # nanoseconds from the exchange to us


def quotes(symbol: str, n: int = 400) -> Events:
    """A walking book by price: each tenth event a trade."""
    rng = np.random.default_rng(5)
    instrument = BookInstrument(symbol, 0.01, 1.0, "by_price")
    rows, middle = [], 10_000
    for i in range(n):
        ts = START + i * 50_000_000
        if i % 10 == 9:
            rows.append((ts, Action.TRADE, int(rng.choice([1, -1])), middle, int(rng.integers(1, 9))))
        else:
            side = 1 if i % 2 else -1
            rows.append((ts, Action.SET, side, middle - side * int(rng.integers(1, 15)), int(rng.integers(1, 900))))
    events = Events.of(instrument, DAY, rows)
    received = events.ts_exchange_ns + LATE
    return Events(instrument, DAY, **events.columns() | {"ts_received_ns": received})


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("book") / "store")
    with EventsWriter(
        open_store(url), "test/book", EventsMeta("Two books", "made by the test", synthetic=True)
    ) as writer:
        for symbol in ("AAA", "BBB"):
            writer.add(quotes(symbol))
        writer.finish()
    return url


def around(app: Any) -> Any:
    """The table of events."""
    return next(table.value for table in app.dataframe if "latency µs" in table.value.columns)


def marked(app: Any) -> int:
    """The number of the last event until the moment."""
    table = around(app)
    return int(table["event"][table[""] == "▶"].iloc[0])


def test_book__shows_a_session_of_a_dataset_without_any_run(monkeypatch: pytest.MonkeyPatch, sessions: str) -> None:
    app = launch(monkeypatch, sessions, "book")
    assert not app.error
    text = words(app).replace("\u00a0", " ")
    assert "AAA 2024-01-02: 400 events, market by price" in text
    assert app.query_params["asset"] == "AAA"
    assert int(app.query_params["b.t"]) > START
    assert around(app)["latency µs"].tolist() == [LATE / 1e3] * 24
    assert "nan" not in text.lower().split()


def test_book__of_a_link_shows_the_same_moment_window_and_clock(monkeypatch: pytest.MonkeyPatch, sessions: str) -> None:
    view = {"dataset": "test/book", "asset": "BBB", "b.session": DAY, "b.t": str(START + 5 * 10**9 + 7),
            "b.span": str(10**9), "b.clock": "exchange", "b.step": str(10**6)}  # fmt: skip
    app = launch(monkeypatch, sessions, "book", **view)
    assert {key: app.query_params[key] for key in view} == view
    assert marked(app) == 100
    assert app.text_input(key="b.at").value == "2024-01-02 14:30:05.000 000 007"


def test_book__steps_from_event_to_event_and_by_time(monkeypatch: pytest.MonkeyPatch, sessions: str) -> None:
    app = launch(monkeypatch, sessions, "book", **{"b.t": str(START + 5 * 10**9), "b.step": str(10**9)})
    assert marked(app) == 99
    app.button(key="b.next").click().run()
    assert (marked(app), app.query_params["b.t"]) == (100, str(START + 5 * 10**9 + LATE))
    app.button(key="b.previous").click().run()
    app.button(key="b.previous").click().run()
    assert marked(app) == 98
    app.button(key="b.later").click().run()
    assert (marked(app), app.query_params["b.t"]) == (118, str(START + 98 * 50_000_000 + LATE + 10**9))
    app.text_input(key="b.at").set_value("14:30:01.5").run()
    assert app.query_params["b.t"] == str(START + 1_500_000_000)
    assert not app.exception


def test_book__stays_within_the_session(monkeypatch: pytest.MonkeyPatch, sessions: str) -> None:
    app = launch(monkeypatch, sessions, "book", **{"b.t": str(START * 2)})
    assert "not in this session" in words(app)
    assert marked(app) == 399
    assert app.button(key="b.next").disabled
    app.text_input(key="b.at").set_value("no time at all").run()
    assert marked(app) == 399
