"""Groups of points found on arrays are those that a loop over the points finds."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.bars.alike import alike
from quantbot.bars.columns import Wanted, arrange, batches
from quantbot.bars.execution import EXECUTION, SECTION, Route, _route, routes
from quantbot.engine import Points
from quantbot.strategies.indicators import sma

VALUES: dict[str, list[Any]] = {
    "fill": ["next_open", "same_close", "next_close"],
    "direction": ["long_only", "long_short", "short_only"],
    "size": ["all_cash", "fixed_cash", "volatility_target"],
    "stop_rule": ["pessimistic", "optimistic"],
    "stop_loss": [0.0, 0.1, 0.2],
    "trailing_stop": [0.0, 0.1],
    "fee_fixed": [0.0, 1.0],
    "lot_size": [0.0, 1.0],
    "max_exposure": [0.5, 1.0, 2.0],
    "rebalance_band": [0.0, 1.0, 1.5],
    "fee_bps": [0.0, 1.0, 2.0],
}


@st.composite
def points(draw: st.DrawFn) -> Points:
    n = draw(st.integers(0, 30))
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True))
    columns = {
        f"{SECTION}.{name}": np.array(draw(st.lists(st.sampled_from(VALUES[name]), min_size=n, max_size=n)), dtype)
        for name in names
        for dtype in [np.str_ if isinstance(VALUES[name][0], str) else np.float64]
    }
    return Points(n, columns)


@given(points())
@settings(deadline=None)
def test_routes__are_those_of_each_point_alone(chosen: Points) -> None:
    defaults = {f"{SECTION}.{parameter.name}": parameter.default for parameter in EXECUTION}
    expected: dict[Route, list[int]] = {}
    for row in range(len(chosen)):
        values = {name.removeprefix(f"{SECTION}."): value for name, value in (defaults | chosen.point(row)).items()}
        expected.setdefault(_route(values), []).append(row)
    found = routes(defaults, chosen)
    assert {route: rows.tolist() for route, rows in found.items()} == expected
    assert list(found) == list(expected)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), min_size=1, max_size=40))
@settings(deadline=None)
def test_alike__groups_by_all_columns_in_the_order_of_appearance(rows: list[tuple[int, str]]) -> None:
    expected: dict[tuple[int, str], list[int]] = {}
    for at, row in enumerate(rows):
        expected.setdefault(row, []).append(at)
    numbers, texts = zip(*rows, strict=True)
    assert [group.tolist() for group in alike([np.array(numbers), np.array(texts)])] == list(expected.values())


def wants(rows: list[list[int]]) -> tuple[Wanted, ...]:
    indicator = sma("window")
    arguments = tuple((float(i),) for i in range(10))
    return tuple(Wanted(f"w{k}", indicator, arguments, np.array(own, np.intp)) for k, own in enumerate(rows))


@given(
    st.integers(1, 60).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 9), min_size=n, max_size=n), min_size=1, max_size=3)
    ),
    st.integers(1, 12),
)
@settings(deadline=None)
def test_batches__are_cut_just_before_the_budget_is_exceeded(rows: list[list[int]], most: int) -> None:
    n, n_bars = len(rows[0]), 10
    wanted = wants(rows)
    found = list(batches(wanted, n, n_bars, 8 * n_bars * most))
    most = max(most, len(rows))
    assert sorted(np.concatenate(found).tolist()) == list(range(n))

    def n_series(part: list[int]) -> int:
        return sum(len({own[point] for point in part}) for own in rows)

    for batch, after in zip(found, [*found[1:], None], strict=True):
        assert n_series(batch.tolist()) <= most
        if after is not None:
            assert n_series([*batch.tolist(), int(after[0])]) > most


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=70))
@settings(deadline=None)
def test_lanes__hold_every_point_and_say_what_eight_have_in_common(rows: list[tuple[int, int]]) -> None:
    columns = [np.array(column, np.int64) for column in zip(*sorted(rows), strict=True)]
    lanes, kinds = arrange(columns, len(rows))
    assert set(lanes.tolist()) == set(range(len(rows)))
    for own, kind in zip(columns, kinds, strict=True):
        gaps = np.diff(own[lanes].reshape(-1, 8), axis=1)
        assert len(set(kind[(gaps == 0).all(axis=1)].tolist())) <= 1
        assert kind.shape[0] == gaps.shape[0]
