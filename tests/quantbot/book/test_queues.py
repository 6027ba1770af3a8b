"""Each queue model by hand: ten lots ahead, eight behind, and what then happens at the level."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantbot.book.events import Action, BookInstrument, Events
from quantbot.book.replay import BookReplay
from quantbot.strategies.market_maker import market_maker

_SPEC = importlib.util.spec_from_file_location("rides_book", Path(__file__).parents[2] / "rides_book.py")
rides: Any = importlib.util.module_from_spec(_SPEC)  # type: ignore[arg-type]
_SPEC.loader.exec_module(rides)  # type: ignore[union-attr]

SET, TRADE, ADD, DELETE, EXECUTE = Action.SET, Action.TRADE, Action.ADD, Action.DELETE, Action.EXECUTE
POINT = {"half_spread": 2.0, "skew": 0.0, "lots": 4, "most": 4}
START = [(1, SET, 1, 100, 10), (1, SET, -1, 104, 10)]  # asked at 11 ms: 4 lots at 100, 10 ahead
JOINED = (15, SET, 1, 100, 18)  # eight more behind us


def front(rows: list[tuple[int, ...]], queue: str, power: float = 3.0) -> float:
    """Return the lots ahead of our bid at 100 after these events by price, while it rests."""
    return float(cohort(ride([*START, *rows], queue, power))["front"])


def events_of(rows: list[tuple[int, ...]], kind: Any = "by_price") -> Events:
    """Return events at milliseconds, and a last one far from the touch so that what is sent arrives."""
    far = (40, SET, -1, 120, 1) if kind == "by_price" else (40, ADD, -1, 120, 1, 99)
    timed = [(row[0] * rides.MS, *row[1:]) for row in [*rows, far]]
    return Events.of(BookInstrument("Q", 1.0, 1.0, kind), "q", timed)


def ride(
    rows: list[tuple[int, ...]], queue: str, power: float = 3.0, kind: Any = "by_price", **asked: Any
) -> BookReplay:
    asked = {"queue": queue, "power": power, **asked}
    replay: BookReplay = rides.ride(events_of(rows, kind), market_maker, [POINT], **asked)
    return replay


def cohort(replay: BookReplay) -> Any:
    """Return the queue state of our bid at 100."""
    order = replay.orders[(replay.orders["resting"] == 1) & (replay.orders["tick"] == 100)]
    return replay.cohorts[order["cohort"][0]]


@pytest.mark.parametrize("queue", ["risk_averse", "optimistic", "power", "power2", "power3", "log", "log2"])
def test_queue__all_of_the_level_is_ahead_on_arrival_and_what_joins_is_behind(queue: str) -> None:
    assert front([], queue) == 10
    assert front([JOINED], queue) == 10


def test_trade__moves_every_model_by_its_lots_and_not_again_when_the_level_shows_it() -> None:
    rows = [JOINED, (20, TRADE, -1, 100, 3), (20, SET, 1, 100, 15)]
    for queue in ("risk_averse", "optimistic", "power", "power3", "log"):
        assert front(rows, queue) == pytest.approx(7)


def test_risk_averse__counts_cancels_as_behind_until_the_level_is_smaller_than_what_was_ahead() -> None:
    assert front([JOINED, (20, SET, 1, 100, 12)], "risk_averse") == 10
    assert front([JOINED, (20, SET, 1, 100, 7)], "risk_averse") == 7


def test_optimistic__counts_cancels_as_ahead() -> None:
    assert front([JOINED, (20, SET, 1, 100, 12)], "optimistic") == 4


def test_power_models__split_a_cancel_by_what_is_ahead_and_behind() -> None:
    # 6 leave with 10 ahead and 8 behind: p is the chance that a lot leaves behind us; 6 (1 - p) leave ahead.
    rows = [JOINED, (20, SET, 1, 100, 12)]
    expected = {
        "power": 8**2 / (8**2 + 10**2),
        "power2": 8**2 / 18**2,
        "power3": 1 - (10 / 18) ** 2,
        "log": math.log(9) / (math.log(9) + math.log(11)),
        "log2": math.log(9) / math.log(19),
    }
    for queue, p in expected.items():
        assert front(rows, queue, power=2.0) == pytest.approx(10 - 6 * (1 - p)), queue


def test_fifo__moves_up_only_when_somebody_ahead_leaves_and_fills_when_somebody_behind_trades() -> None:
    rows = [(1, ADD, 1, 100, 6, 1), (1, ADD, 1, 100, 4, 2), (1, ADD, -1, 104, 9, 3), (15, ADD, 1, 100, 8, 4)]
    assert cohort(ride(rows, "fifo", kind="by_order"))["front"] == 10
    assert cohort(ride([*rows, (20, DELETE, 1, 100, 8, 4)], "fifo", kind="by_order"))["front"] == 10
    assert cohort(ride([*rows, (20, DELETE, 1, 100, 4, 2)], "fifo", kind="by_order"))["front"] == 6
    ahead = [*rows, (20, EXECUTE, 1, 100, 6, 1), (20, EXECUTE, 1, 100, 4, 2)]
    assert rides.fills(ride(ahead, "fifo", kind="by_order")) == []
    behind = [*ahead, (20, EXECUTE, 1, 100, 3, 4)]
    assert [f[3] for f in rides.fills(ride(behind, "fifo", kind="by_order", partial=True))] == [3]
    assert [f[3] for f in rides.fills(ride(behind, "fifo", kind="by_order"))] == [4]


def test_pro_rata__gives_a_trade_to_all_by_size() -> None:
    # 4 of 14 lots are ours: a trade of 7 gives 2; then 4 of 14 again (the level shows 10): 7 more give the other 2.
    rows = [*START, (20, TRADE, -1, 100, 7), (21, TRADE, -1, 100, 3), (22, TRADE, -1, 100, 4)]
    assert [f[3] for f in rides.fills(ride(rows, "pro_rata", partial=True))] == [2, 2]


def test_cohorts__are_shared_by_those_who_come_together_only() -> None:
    events = events_of([*START, (12, SET, 1, 100, 11)])
    replay = rides.ride(events, market_maker, [POINT] * 5, entry_us=[500, 500, 500, 2_000, 2_000])
    resting = replay.orders[(replay.orders["resting"] == 1) & (replay.orders["tick"] == 100)]
    own = dict(zip(resting["agent"].tolist(), resting["cohort"].tolist(), strict=True))
    assert own[0] == own[1] == own[2] != own[3] == own[4]
    assert np.unique(replay.cohorts["front"][[own[0], own[3]]]).tolist() == [10.0, 11.0]
