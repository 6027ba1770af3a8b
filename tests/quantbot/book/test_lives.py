"""What a trial's orders went through, and the lots ahead of them on the way."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantbot.book import recording
from quantbot.book.session import BookSession
from quantbot.book.watch import queue_path
from quantbot.engine import Job, Replay, get_engine
from quantbot.strategies.loader import load_strategy

_SPEC = importlib.util.spec_from_file_location("rides_book", Path(__file__).parents[2] / "rides_book.py")
rides: Any = importlib.util.module_from_spec(_SPEC)  # type: ignore[arg-type]
_SPEC.loader.exec_module(rides)  # type: ignore[union-attr]

ENGINE: Any = get_engine("book")
BY_ORDER = rides.random_market(4, 3_000)
JOB = Job(
    load_strategy("market_maker"),
    {"execution.period_ms": 10.0, "execution.entry_us": 300.0, "execution.answer_us": 900.0, "half_spread": 1.0},
    ("core", "fills"),
)


def session(kind: str) -> BookSession:
    return BookSession.of(BY_ORDER if kind == "by_order" else rides.degraded(BY_ORDER), step_ns=10**8)


@pytest.fixture(scope="module")
def found() -> Replay:
    data = session("by_order")
    replay: Replay = ENGINE.replay(JOB, data, (0, len(data)), {})
    return replay


def test_lives__are_all_orders_with_their_legs(found: Replay) -> None:
    lives = {name: np.asarray(column) for name, column in found.tables["lives"].items()}
    assert len(lives["sent_ns"]) == found.row["n_orders"] > 0
    assert (lives["arrived_ns"] - lives["sent_ns"] == 300_000).all()
    rested = lives["rested"]
    assert (lives["heard_ns"][rested] - lives["arrived_ns"][rested] == 900_000).all()
    assert (lives["end_ns"] >= lives["arrived_ns"])[rested].all()
    assert set(lives["end"]) >= {"filled", "cancelled"}
    assert (lives["end"] == "filled").sum() <= found.row["n_filled"]
    cancelled = lives["end"] == "cancelled"
    assert (lives["end_ns"] - lives["cancel_ns"] == 300_000)[cancelled].all()
    orders = found.orders
    began = set(zip(lives["arrived_ns"].tolist(), lives["ticks"].tolist(), lives["side"].tolist(), strict=True))
    made = orders["maker"]
    fills = zip(*(orders[name][made].tolist() for name in ("placed_ns", "ticks", "side")), strict=True)
    assert set(fills) <= began


def test_lives__outgrow_the_room_without_a_loss(found: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "_MESSAGES", 7)
    data = session("by_order")
    again = ENGINE.replay(JOB, data, (0, len(data)), {})
    for name, column in found.tables["lives"].items():
        assert np.array_equal(column, again.tables["lives"][name])


@pytest.mark.parametrize("kind", ["by_order", "by_price"])
def test_queue_path__starts_behind_the_level_and_holds_the_model_between_its_bounds(kind: str, found: Replay) -> None:
    data = session(kind)
    span = data.bounds_ns((2, 8))
    path = queue_path(ENGINE, JOB, data, (0, len(data)), {}, span, 200)
    assert len(path["ts_ns"]) > 50
    assert span[0] <= path["ts_ns"].min() <= path["ts_ns"].max() <= span[1]
    assert (path["placed_ns"] <= path["ts_ns"]).all()
    assert (path["low"] <= path["ahead"]).all()
    assert (path["ahead"] <= path["high"]).all()
    assert (path["low"] < path["high"]).any() == (kind == "by_price")
    signed = path["placed_ns"] * path["side"]  # a buy and a sell may come to the exchange together
    for order in np.unique(signed):  # nobody gets in front of an order that rests
        assert (np.diff(path["ahead"][signed == order]) <= 0).all()
    if kind == "by_order":
        lives = found.tables["lives"]
        ahead = dict(zip((lives["arrived_ns"] * lives["side"]).tolist(), lives["ahead"].tolist(), strict=True))
        pairs = zip(signed.tolist(), path["ahead"].tolist(), strict=True)
        assert all(lots <= ahead[order] for order, lots in pairs)


def test_queue_path__has_at_each_moment_what_rests_then(found: Replay) -> None:
    data, lives = session("by_order"), found.tables["lives"]
    span = data.bounds_ns((1, 9))
    path = queue_path(ENGINE, JOB, data, (0, len(data)), {}, span, 300)
    for ts in np.linspace(*span, 300).astype(np.int64)[1:-1]:
        here = path["ts_ns"] == ts
        rests = lives["rested"] & (lives["arrived_ns"] < ts) & (lives["end_ns"] > ts)
        assert sorted(path["placed_ns"][here]) == sorted(lives["arrived_ns"][rests])


def test_queue_path__does_not_depend_on_how_the_day_comes() -> None:
    data = session("by_price")
    events = data.read()[0]  # type: ignore[index]
    parts = replace(data, read=lambda: (events[:900], events[900:901], events[901:]))
    a, b = (queue_path(ENGINE, JOB, each, (0, len(each)), {}, each.bounds_ns((0, 12)), 60) for each in (data, parts))
    assert all(np.array_equal(a[name], b[name]) for name in a)
