"""What a timer's wake-up sees: noted as the exchange's book passes by, or from a book of what was received."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.book.events import Events
from quantbot.book.replay import Agents, BookReplay, Exchange
from quantbot.book.strategy import book_strategy
from quantbot.book.window import tick_window
from quantbot.errors import InputError

_SPEC = importlib.util.spec_from_file_location("rides_book", Path(__file__).parents[2] / "rides_book.py")
rides: Any = importlib.util.module_from_spec(_SPEC)  # type: ignore[arg-type]
_SPEC.loader.exec_module(rides)  # type: ignore[union-attr]

MS = rides.MS


@book_strategy(n_memory=2)
def witness(
    now_ns: Any, start_ns: Any, bid_ticks: Any, ask_ticks: Any, bid_lots: Any, ask_lots: Any, trade_ticks: Any,
    trade_side: Any, buy_volume_lots: Any, sell_volume_lots: Any, bid_depth_lots: Any, ask_depth_lots: Any,
    memory: Any, buy_ticks: Any, buy_lots: Any,
) -> None:  # fmt: skip
    """Quote by what it sees, and keep a sum of all that it saw."""
    if bid_lots > 0 and ask_lots > 0:
        seen = bid_ticks + 3.0 * ask_ticks + 7.0 * bid_lots + 11.0 * ask_lots + 13.0 * trade_ticks + 17.0 * trade_side
        seen = seen + 19.0 * buy_volume_lots + 23.0 * sell_volume_lots + 29.0 * bid_depth_lots + 31.0 * ask_depth_lots
        memory[0] = 0.5 * memory[0] + seen + 1e-9 * (now_ns - start_ns)
        memory[1] = memory[1] + seen
        buy_ticks[0], buy_lots[0] = bid_ticks, 1


def _replay(events: Events, feeds: list[int], periods: list[int], cuts: list[int], *, received: bool) -> BookReplay:
    n = len(feeds) * len(periods)
    zero = np.zeros(n, np.int64)
    agents = Agents(
        {"entry_ns": zero + MS, "answer_ns": zero + MS},
        np.zeros((n, 0)),
        np.repeat(periods, len(feeds)),
        zero,
        np.tile(feeds, len(periods)),
    )
    start, stop = int(events.ts_exchange_ns[0]), int(events.ts_received_ns[-1]) + 300 * MS
    replay = BookReplay(
        events.instrument, witness, agents, Exchange(), start_ns=start, stop_ns=stop, ticks=tick_window(events)
    )
    if received:  # an order of the events, though it be their own, asks for a book of what was received
        replay.feed(events, final=True, order_of=np.arange(len(events)))
    else:
        for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True):
            replay.feed(events[first:last])
        replay.feed(events[:0], final=True)
    return replay


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), kind=st.sampled_from(["by_order", "by_price"]), cut=st.integers(1, 299),
    feeds=st.lists(st.integers(0, 250).map(lambda ms: ms * MS), min_size=1, max_size=3),
    periods=st.lists(st.sampled_from([MS // 3, 5 * MS, 20 * MS, 90 * MS]), min_size=1, max_size=2),
)  # fmt: skip
def test_looks__are_the_book_of_what_was_received(
    seed: int, kind: str, cut: int, feeds: list[int], periods: list[int]
) -> None:
    events = rides.random_market(seed, 300, kind=kind, late_us=[10, 300, 200_000][seed % 3])
    noted = _replay(events, feeds, periods, [cut, cut], received=False)
    kept = _replay(events, feeds, periods, [], received=True)
    assert noted.state[0]["ahead"] == 1
    assert kept.state[0]["ahead"] == 0
    assert (noted.agents["n_wakes"] > 0).all()
    assert noted.memory.tobytes() == kept.memory.tobytes()
    assert noted.agents.tobytes() == kept.agents.tobytes()


def test_order_of__is_refused_after_a_part() -> None:
    events = rides.random_market(1, 100)
    replay = _replay(events[:50], [0], [MS], [], received=False)
    with pytest.raises(InputError, match="a day in one part"):
        replay.feed(events[50:], order_of=np.arange(50))
