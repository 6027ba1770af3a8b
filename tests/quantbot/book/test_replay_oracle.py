"""The compiled replay fills what the slow, obvious exchange fills."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.book.strategy import book_strategy
from quantbot.parameters import integer


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


oracle, rides = _load("oracles_book"), _load("rides_book")
PARAMETERS = [
    integer("distance", 0, -2, 9, "Ticks behind the touch."),
    integer("lots", 1, 1, 99, "Size of a quote."),
    integer("most", 9, 1, 99, "Largest position."),
    integer("takes", 0, 0, 1, "Whether it takes as well."),
]


@book_strategy(parameters=PARAMETERS, levels=2)
def ladder(
    bid_ticks: Any, ask_ticks: Any, bid_lots: Any, ask_lots: Any, position_lots: Any, distance: Any, lots: Any,
    most: Any, takes: Any, buy_ticks: Any, buy_lots: Any, sell_ticks: Any, sell_lots: Any, take_ticks: Any,
    take_lots: Any,
) -> None:  # fmt: skip
    """Quote two levels a side, and take now and then."""
    if bid_lots > 0 and ask_lots > 0:
        for i in range(2):
            if position_lots < most:
                buy_ticks[i], buy_lots[i] = bid_ticks - distance - 2 * i, lots
            if position_lots > 0 - most:
                sell_ticks[i], sell_lots[i] = ask_ticks + distance + 2 * i, lots
        if takes == 1 and (bid_ticks + ask_ticks) % 5 == 0:
            side = 1 if position_lots <= 0 else -1
            take_ticks[0] = ask_ticks + 1 if side > 0 else bid_ticks - 1
            take_lots[0] = side * 3 * lots


def plainly(point: dict[str, int]) -> Callable[[dict[str, Any]], Any]:
    """Return the same decisions for the oracle."""

    values = [point[parameter.name] for parameter in PARAMETERS]

    def decide(seen: dict[str, Any]) -> Any:
        wants = [[0, 0] for _ in range(4)]
        take = [[0], [0]]
        ladder.decide(seen["bid"], seen["ask"], 1, 1, seen["position"], *values, *wants, *take)
        sides = [{t: q for t, q in zip(wants[i], wants[i + 1], strict=True) if q} for i in (0, 2)]
        return *sides, (take[0][0], take[1][0])

    return decide


def power3(n: float) -> Callable[[float, float], float]:
    return lambda front, back: 1.0 - _power(_divided(front, front + back), n)


def power(n: float) -> Callable[[float, float], float]:
    return lambda front, back: _divided(_power(back, n), _power(back, n) + _power(front, n))


def log(lot: float) -> Callable[[float, float], float]:
    def share(front: float, back: float) -> float:
        behind = math.log(1.0 + back * lot)
        return _divided(behind, behind + math.log(1.0 + front * lot))

    return share


def _power(x: float, n: float) -> float:
    return x**n if x >= 0 or n == int(n) else math.nan


def _divided(a: float, b: float) -> float:
    return a / b if b else math.nan


QUEUES: dict[str, Callable[..., Any]] = {
    "risk_averse": lambda lots, *_: oracle.ByPrice(lots, None),
    "optimistic": lambda lots, *_: oracle.ByPrice(lots, lambda f, b: 0.0),
    "power": lambda lots, *_: oracle.ByPrice(lots, power(3.0)),
    "power3": lambda lots, *_: oracle.ByPrice(lots, power3(3.0)),
    "log": lambda lots, *_: oracle.ByPrice(lots, log(0.1)),
    "fifo": lambda lots, sequence, _: oracle.Fifo(lots, sequence),
}


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    queue=st.sampled_from(sorted(QUEUES)),
    partial=st.booleans(),
    point=st.fixed_dictionaries(
        {
            "distance": st.integers(-1, 3),
            "lots": st.integers(1, 6),
            "most": st.integers(1, 20),
            "takes": st.integers(0, 1),
        }
    ),
    entry=st.sampled_from([0, 400, 5_000]),
    answer=st.sampled_from([0, 900, 30_000]),
)
def test_replay__fills_what_a_plain_exchange_fills(
    seed: int, queue: str, partial: bool, point: dict[str, int], entry: int, answer: int
) -> None:
    events = rides.random_market(seed, 300, kind="by_order" if queue == "fifo" else "by_price")
    replay = rides.ride(events, ladder, [point], queue=queue, partial=partial, entry_us=entry, answer_us=answer)
    plain, _ = oracle.run(
        events, plainly(point), QUEUES[queue], period=10 * rides.MS, entry=entry * 1000, answer=answer * 1000,
        partial=partial,
    )  # fmt: skip
    assert rides.fills(replay) == sorted(fill[:5] for fill in plain)


def test_replay__names_the_oracles_reasons() -> None:
    from quantbot.book.recording import REASONS

    events = rides.random_market(5, 1_500)
    point = {"distance": 0, "lots": 2, "most": 20, "takes": 1}
    replay = rides.ride(events, ladder, [point], queue="fifo", partial=True)
    plain, _ = oracle.run(
        events, plainly(point), QUEUES["fifo"], period=10 * rides.MS, entry=500_000, answer=700_000, partial=True
    )
    log_ = replay.fills[: int(replay.state[0]["n_fills"])]
    found = sorted(zip(log_["ts_ns"].tolist(), (REASONS[r] for r in log_["reason"].tolist()), strict=True))
    assert found == sorted((fill[0], fill[5]) for fill in plain)
    assert len({reason for _, reason in found}) >= 3


@pytest.mark.parametrize("queue", ["fifo", "risk_averse", "optimistic"])
def test_plain_python__decides_as_the_compiled_strategy(queue: str) -> None:
    events = rides.random_market(3, 600)
    points = [{"distance": 0, "lots": 2, "most": 5, "takes": 1}]
    compiled, plain = (rides.ride(events, ladder, points, queue=queue, plain_python=flag) for flag in (False, True))
    assert compiled.agents.tobytes() == plain.agents.tobytes()
    assert rides.fills(compiled)
