"""The book engine behind the engines' seam."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.book.replay import Agents
from quantbot.book.sentinel import check_book_lookahead
from quantbot.book.session import BookSession
from quantbot.engine import Job, Points, Rows, get_engine
from quantbot.errors import ParameterError, StrategyError
from quantbot.strategies.loader import load_strategy
from quantbot.strategies.registry import shipped, shipped_for_books

_SPEC = importlib.util.spec_from_file_location("rides_book", Path(__file__).parents[2] / "rides_book.py")
rides: Any = importlib.util.module_from_spec(_SPEC)  # type: ignore[arg-type]
_SPEC.loader.exec_module(rides)  # type: ignore[union-attr]

ENGINE = get_engine("book")
ALL = (*ENGINE.default_groups, "tail", "envelope")
BY_ORDER = rides.random_market(4, 3_000)
BY_PRICE = rides.degraded(BY_ORDER)
SETTINGS = {"execution.period_ms": 10.0, "execution.maker_bps": -0.2, "execution.taker_bps": 1.0}


def session(events: Any = BY_PRICE) -> BookSession:
    return BookSession.of(events, step_ns=10**8)


def job(name: str = "market_maker", **own: Any) -> Job:
    return Job(load_strategy(name), {**SETTINGS, **own}, groups=ALL)


def same(a: Rows, b: Rows, i: int, j: int) -> bool:
    return all(np.array_equal(a.measures[name][i], b.measures[name][j], equal_nan=True) for name in a.measures)


@pytest.mark.parametrize("name", list(shipped_for_books()))
def test_shipped__trade_and_replay_their_own_row(name: str) -> None:
    own = {"threshold": 0.2} if name == "imbalance_taker" else {"parent_lots": 40} if "schedule" in name else {}
    data = session()
    work = job(name, **own)
    rows = ENGINE.run(work, data, (3, len(data)), Points(2, {"execution.entry_us": np.array([200.0, 900.0])}))
    assert rows.status.tolist() == [0, 0]
    replay = ENGINE.replay(work, data, (3, len(data)), {"execution.entry_us": 900.0})
    assert {k: v for k, v in replay.row.items() if v == v} == {
        k: v[1] for k, v in rows.measures.items() if v[1] == v[1]
    }
    assert len(replay.orders["ts_ns"]) == rows.measures["n_fills"][1] > 0
    assert replay.orders["ts_ns"].min() >= data.bounds_ns((3, 4))[0]
    assert set(replay.orders["reason"]) <= {"trade through", "queue passed", "depth crossed", "taken"}
    returns = ENGINE.returns(work, data, (3, len(data)), Points(1, {"execution.entry_us": np.array([900.0])}))
    assert np.prod(1.0 + returns[0]) - 1.0 == pytest.approx(rows.measures["total_return"][1], abs=1e-12)


def test_row__adds_up() -> None:
    data = session()
    m = ENGINE.run(job(), data, (0, len(data)), Points(1)).measures
    total = m["pnl_spread"] + m["pnl_inventory"] + m["pnl_fees"]
    assert total == pytest.approx(m["final_equity"] - 100_000.0, abs=1e-7)
    assert m["n_fills"] == m["n_maker"] + m["n_taker"]
    assert m["markout_1s"] != m["markout_10s"]


def test_trial__depends_on_nothing_but_its_own_point() -> None:
    data = session()
    columns = {"half_spread": np.array([0.5, 1.0, 1.5]), "execution.latency": np.array(["drawn", "constant", "drawn"])}
    columns["execution.exchange"] = np.array(["partial", "no_partial", "partial"])
    points = Points(3, columns)
    together = ENGINE.run(job(), data, (0, len(data)), points)
    for i in range(3):
        assert same(together, ENGINE.run(job(), data, (0, len(data)), points[i : i + 1]), i, 0)


def test_markouts__are_taken_on_time_whoever_else_is_woken_then() -> None:
    data = BookSession.of(BY_PRICE, step_ns=3 * 10**9)
    points = Points(2, {"execution.period_ms": np.array([10.0, 900.0])})
    together = ENGINE.run(job(), data, (0, len(data)), points)
    assert same(together, ENGINE.run(job(), data, (0, len(data)), points[1:]), 1, 0)


WHOLE = {kind: session(events) for kind, events in (("by_order", BY_ORDER), ("by_price", BY_PRICE))}
THREE = Points(3, {"execution.latency": np.array(["drawn", "constant", "drawn"]), "half_spread": np.array([0.5, 1, 2])})


@functools.cache
def whole_rows(kind: str) -> Rows:
    return ENGINE.run(job(), WHOLE[kind], (2, len(WHOLE[kind]) - 3), THREE)


@settings(max_examples=12, deadline=None)
@given(kind=st.sampled_from(["by_order", "by_price"]), block=st.integers(60, 4_000), first=st.integers(0, 4_000))
def test_session__in_blocks_of_any_size_gives_the_same_rows_bit_for_bit(kind: str, block: int, first: int) -> None:
    events = BY_ORDER if kind == "by_order" else BY_PRICE
    cuts = [0, *range(min(first, len(events)), len(events), block), len(events)]
    blocks = replace(WHOLE[kind], read=lambda: (events[a:b] for a, b in pairwise(cuts)))
    rows = ENGINE.run(job(), blocks, (2, len(blocks) - 3), THREE)
    assert all(same(rows, whole_rows(kind), i, i) for i in range(3))


def test_envelope__holds_the_exact_queue_between_its_bounds() -> None:
    inside = total = 0
    for seed in range(6):
        data = session(rides.random_market(seed, 1_500))
        points = Points(8, {"half_spread": np.repeat([0.5, 1.0], 4), "skew": np.tile([0.0, 0.05, 0.1, 0.2], 2)})
        m = ENGINE.run(job(), data, (0, len(data)), points).measures
        inside += int(((m["n_fills_pessimistic"] <= m["n_fills"]) & (m["n_fills"] <= m["n_fills_optimistic"])).sum())
        total += 8
    assert inside >= 0.9 * total  # a range of scenarios: decisions part ways after the first different fill


def test_problems__refuse_a_queue_that_the_data_do_not_show() -> None:
    data = session()
    asked = job(**{"execution.queue": "fifo"})
    assert "needs events by order" in ENGINE.problems(asked, lambda: data, [(0, 9)], Points(1))[0][0]
    with pytest.raises(ParameterError, match="needs events by order"):
        ENGINE.run(asked, data, (0, len(data)), Points(1))


def test_engine__refuses_what_is_not_its_own() -> None:
    data = session()
    with pytest.raises(StrategyError, match="declared with @book_strategy"):
        ENGINE.run(Job(shipped()["sma_cross"], {}), data, (0, 5), Points(1))
    with pytest.raises(ParameterError, match="did you mean 'half_spread'"):
        ENGINE.run(job(), data, (0, 5), Points(1, {"half_spred": np.array([1.0])}))


def riders(name: str, feed_ns: int = 0, **point: float) -> tuple[Any, Agents]:
    strategy: Any = load_strategy(name)
    values = strategy.defaults() | point
    n = np.ones(1, np.int64)
    columns = {"entry_ns": 300_000 * n, "answer_ns": 300_000 * n, "capital": 1e6 * n}
    matrix = np.array([[float(values[p.name]) for p in strategy.parameters]])
    return strategy, Agents(columns, matrix, 5_000_000 * n, 0 * n, feed_ns * n)


@pytest.mark.parametrize("name", list(shipped_for_books()))
def test_shipped__use_nothing_before_it_is_received(name: str) -> None:
    for events in (BY_PRICE, BY_ORDER):
        assert check_book_lookahead(*_with_events(riders(name), events), n_cuts=6).ok


def _with_events(pair: tuple[Any, Agents], events: Any) -> tuple[Any, Any, Agents]:
    return pair[0], events[:1_200], pair[1]


def test_sentinel__finds_a_leak_of_one_millisecond() -> None:
    strategy, events, agents = _with_events(riders("market_maker", feed_ns=-1_000_000, half_spread=0.5), BY_PRICE)
    assert not check_book_lookahead(strategy, events, agents, n_cuts=40).ok
