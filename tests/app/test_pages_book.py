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


def quotes(symbol: str, n: int = 400, day: str = DAY, start: int = START) -> Events:
    """A walking book by price: each tenth event a trade."""
    rng = np.random.default_rng(5)
    instrument = BookInstrument(symbol, 0.01, 1.0, "by_price")
    rows, middle = [], 10_000
    for i in range(n):
        ts = start + i * 50_000_000
        if i % 10 == 9:
            aggressor = int(rng.choice([1, -1]))  # trades through what rests near the middle
            rows.append((ts, Action.TRADE, aggressor, middle + 4 * aggressor, int(rng.integers(1, 9))))
        else:
            side = 1 if i % 2 else -1
            rows.append((ts, Action.SET, side, middle - side * int(rng.integers(1, 15)), int(rng.integers(1, 900))))
    events = Events.of(instrument, day, rows)
    received = events.ts_exchange_ns + LATE
    return Events(instrument, day, **events.columns() | {"ts_received_ns": received})


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("book") / "store")
    with EventsWriter(
        open_store(url), "test/book", EventsMeta("Two books", "made by the test", synthetic=True)
    ) as writer:
        for symbol in ("AAA", "BBB"):
            writer.add(quotes(symbol))
            if symbol == "AAA":
                writer.add(quotes(symbol, day="2024-01-03", start=START + 86_400 * 10**9))
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


MAKER = """
version = 1
[run]
name = "maker"
engine = "book"
[data]
dataset = "test/book"
[strategy]
name = "market_maker"
[measures]
groups = ["core", "fills", "quality", "inventory", "split", "envelope"]
[parameters]
half_spread = { values = [1, 2] }
skew = { values = [0, 0.5] }
"""


@pytest.fixture(scope="module")
def maker(sessions: str) -> tuple[str, str]:
    conftest = importlib.util.spec_from_file_location("pages_stores", Path(__file__).with_name("conftest.py"))
    assert conftest is not None
    assert conftest.loader is not None
    stores: Any = importlib.util.module_from_spec(conftest)
    conftest.loader.exec_module(stores)
    return sessions, stores.add_run(sessions, MAKER)


def test_book__of_a_trial_goes_from_fill_to_fill_and_says_why(
    monkeypatch: pytest.MonkeyPatch, maker: tuple[str, str]
) -> None:
    url, identity = maker
    app = launch(monkeypatch, url, "book", run=identity, trial="0")
    assert not app.error
    first = int(app.query_params["b.t"])
    assert app.query_params["b.clock"] == "exchange"
    text = words(app).replace("\u00a0", " ")
    assert "Fill 1 of " in text
    assert "as maker after resting" in text
    assert "Decided 14:30:0" in text
    assert "at the exchange 500 µs later, behind " in text
    box = next(each for each in app.selectbox if each.label == "Own order")
    assert any("cancelled" in option for option in box.options)
    assert "filled" in box.options[box.options.index(box.format_func(box.value))]
    order = app.query_params["b.order"]
    app.button(key="b.fill.next").click().run()
    assert not app.exception
    assert app.query_params["b.order"] != order
    assert int(app.query_params["b.t"]) > first
    assert "Fill 2 of " in words(app)
    app.button(key="b.fill.previous").click().run()
    assert int(app.query_params["b.t"]) == first
    assert app.button(key="b.fill.previous").disabled


def test_pages__show_a_run_on_books(monkeypatch: pytest.MonkeyPatch, maker: tuple[str, str]) -> None:
    url, identity = maker
    app = launch(monkeypatch, url, "surface", run=identity)
    text = words(app)
    assert "F3: order book by price" in text
    assert "sessions AAA 2024-01-02, AAA 2024-01-03, BBB 2024-01-02" in text
    assert app.selectbox(key="s.session").options == ["all 2 sessions", "2024-01-02", "2024-01-03"]
    assert app.query_params["s.session"] == "all"  # a median over days is the answer, one day is a sample
    app.selectbox(key="s.session").set_value("2024-01-03").run()
    assert not app.exception
    assert (app.query_params["s.instrument"], app.query_params["s.session"]) == ("AAA", "2024-01-03")
    app.selectbox(key="s.instrument").set_value("all").run()
    assert not app.exception
    app = launch(monkeypatch, url, "surface", run=identity, asset="BBB 2024-01-02")
    assert (app.query_params["s.instrument"], app.query_params["s.session"]) == ("BBB", "2024-01-02")
    app = launch(monkeypatch, url, "trial", run=identity, trial="0")
    assert "equals the stored row bit for bit" in words(app).replace("\u00a0", " ")
    parts = "Fills,Profit,Rolling,Distribution,Drawdowns,Trades,Orders,Neighbours,All measures,Export"
    for part in parts.split(","):
        app.button_group(key="t.part").set_value(part).run()
        assert not app.exception, (part, app.exception[0].message)
        assert not app.error, (part, app.error[0].value)
    app.button_group(key="t.part").set_value("Profit").run()
    envelope = next(table.value for table in app.dataframe if "pessimistic" in table.value.columns)
    fills = envelope[envelope["measure"] == "Fills"].iloc[0]
    assert fills["pessimistic"] <= fills["chosen"] <= fills["optimistic"]


def test_book__of_a_run_on_bars_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, stored: Any) -> None:
    url, identities = stored
    assert "engine = book" in words(launch(monkeypatch, url, "book", run=identities["two"]))


def test_book__of_a_trial_that_cannot_be_replayed_still_shows_the_book(
    monkeypatch: pytest.MonkeyPatch, maker: tuple[str, str]
) -> None:
    from app import reads
    from quantbot.errors import StrategyError

    def refuse(*_: Any) -> Any:
        raise StrategyError("bundled with other sources")

    url, identity = maker
    monkeypatch.setattr(reads, "replay", refuse)
    app = launch(monkeypatch, url, "book", run=identity, trial="0")
    assert "can't be replayed here" in words(app)
    assert app.error[0].value == "bundled with other sources"
    assert len(around(app)) == 24
