"""Axes become values, values become points."""

import itertools
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.errors import SpecError, TooLargeError
from quantbot.parameters import choice, integer, number
from sweeps.sections import Interval, Range, Values
from sweeps.space import axis_size, axis_values, canonical_axis, check_size, grid_points
from sweeps.trial import Axis

WHOLE = integer("fast", 5, -1000, 10**6, "A whole number.")
REAL = number("band", 1, -1e6, 1e6, "A number.")
WORD = choice("fill", "a", ("a", "b", "c"), "A word.")


def values(form, parameter=REAL):
    return axis_values(form, parameter)[0].tolist()


def test_range__includes_its_stop_and_has_clean_decimals():
    assert values(Range(start=0.1, stop=0.5, step=0.1)) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert values(Range(start=-0.3, stop=0.3, step=0.3)) == [-0.3, 0.0, 0.3]
    assert values(Range(start=5, stop=11, step=3), WHOLE) == [5, 8, 11]
    assert values(Range(start=5, stop=10, step=3), WHOLE) == [5, 8]
    assert values(Range(start=1e-7, stop=3e-7, step=1e-7)) == [1e-7, 2e-7, 3e-7]


@settings(deadline=None, max_examples=100)
@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4), st.integers(0, 50), st.integers(0, 6))
def test_range__gives_the_nearest_float_of_every_decimal(first, rise, n_steps, decimals):
    scale = 10**decimals
    form = Range(start=first / scale, stop=(first + n_steps * rise) / scale, step=rise / scale)
    wide = number("wide", 0, -1e12, 1e12, "A number.")
    assert values(form, wide) == [float(Fraction(first + i * rise, scale)) for i in range(n_steps + 1)]
    assert axis_size(form) == n_steps + 1


def test_range__counts_without_building():
    began = time.process_time()
    form = Range(start=0, stop=10**15, step=1)
    assert axis_size(form) == 10**15 + 1
    with pytest.raises(TooLargeError, match=r"1,000,000,000,000,001 values but 1,000,000 is the limit"):
        axis_values(form, REAL)
    assert time.process_time() - began < 1


def test_interval__is_even_on_its_scale():
    assert values(Interval(low=0, high=1, n=5)) == [0, 0.25, 0.5, 0.75, 1]
    assert values(Interval(low=0.1, high=0.4, n=4)) == [0.1, 0.2, 0.3, 0.4]
    assert values(Interval(low=1, high=1000, n=4, scale="log")) == [1, 10, 100, 1000]
    assert values(Interval(low=0.001, high=10, n=5, scale="log")) == [0.001, 0.01, 0.1, 1, 10]
    assert values(Interval(low=2, high=2, n=1)) == [2]


def test_interval__of_whole_numbers_is_rounded_and_collapsed():
    column, n_collapsed = axis_values(Interval(low=1, high=4, n=7), WHOLE)
    assert column.tolist() == [1, 2, 3, 4]
    assert column.dtype == np.int64
    assert n_collapsed == 3


def test_values__are_typed_by_the_declaration():
    column, n_collapsed = axis_values(Values(values=[2, 1.0, 1, 2.0]), WHOLE)
    assert (column.tolist(), column.dtype, n_collapsed) == ([1, 2], np.int64, 2)
    column, n_collapsed = axis_values(Values(values=[2, 0.5, 2.0]), REAL)
    assert (column.tolist(), column.dtype, n_collapsed) == ([0.5, 2.0], np.float64, 1)
    assert values(Values(values=["c", "a", "c"]), WORD) == ["c", "a"]


@pytest.mark.parametrize(
    ("form", "parameter", "reason"),
    [
        (Values(values=[1, "1"]), WHOLE, "whole number"),
        (Values(values=[1.5]), WHOLE, "whole number"),
        (Values(values=["d"]), WORD, "one of a, b, c"),
        (Range(start=1, stop=3, step=0.5), WHOLE, "whole number"),
        (Range(start=-2000, stop=3, step=1), WHOLE, "from -1000"),
        (Interval(low=0, high=1e7, n=3), REAL, "from -1e\\+06 to 1e\\+06"),
    ],
)
def test_axis__outside_its_declaration_is_refused(form, parameter, reason):
    with pytest.raises(SpecError, match=reason):
        axis_values(form, parameter)


def test_canonical_axis__is_the_same_for_the_same_values():
    same = [
        Values(values=[5, 6, 7]),
        Values(values=[7, 6.0, 5, 5]),
        Range(start=5, stop=7, step=1),
        Range(start=5.0, stop=7.5, step=1),
    ]
    assert len({str([float(value) for value in canonical_axis(form, "grid")]) for form in same}) == 1
    assert canonical_axis(Values(values=[5]), "grid") == canonical_axis(5, "grid")


def test_grid__is_every_combination_last_axis_fastest():
    axes = [
        Axis("a", np.array([1, 2, 3]), "integer"),
        Axis("b", np.array([0.5, 1.5]), "number"),
        Axis("c", np.array(["x", "y"]), "choice"),
    ]
    points = grid_points(axes)
    rows = list(zip(*(points.columns[name].tolist() for name in "abc"), strict=True))
    assert rows == list(itertools.product([1, 2, 3], [0.5, 1.5], ["x", "y"]))
    assert points.point(3) == {"a": 1, "b": 1.5, "c": "y"}


def test_grid__of_nothing_is_one_point():
    assert (grid_points([]).n_points, dict(grid_points([]).columns)) == (1, {})


def test_grid__keeps_where_across_chunks(monkeypatch):
    monkeypatch.setattr("sweeps.space._CHUNK", 7)
    axes = [Axis("a", np.arange(10), "integer"), Axis("b", np.arange(9), "integer")]
    points = grid_points(axes, "a < b and c > 1", constants={"c": 2})
    kept = list(zip(points.columns["a"].tolist(), points.columns["b"].tolist(), strict=True))
    assert kept == [(a, b) for a in range(10) for b in range(9) if a < b]


def test_grid__without_a_point_is_refused():
    with pytest.raises(SpecError, match="leaves none of the 3 points"):
        grid_points([Axis("a", np.arange(3), "integer")], "a > 5")


def test_grid__of_a_trillion_is_refused_by_arithmetic():
    axes = [Axis(f"p{i}", np.arange(1000), "integer") for i in range(4)]
    began = time.process_time()
    with pytest.raises(TooLargeError, match=r"1,000,000,000,000 points .* 10,000,000 is the limit"):
        grid_points(axes)
    assert time.process_time() - began < 0.5


def test_grid__empty_axis_is_refused():
    with pytest.raises(SpecError, match=r"parameters\.fast: has no value"):
        check_size({"slow": 3, "fast": 0})


def test_grid__of_a_million_points_is_quick_and_light():
    axes = [Axis(name, np.arange(100), "integer") for name in ("a", "b", "c")]
    began = time.process_time()
    points = grid_points(axes, "a <= b or c < 50")
    assert time.process_time() - began < 2
    assert points.n_points == 5050 * 100 + 4950 * 50
