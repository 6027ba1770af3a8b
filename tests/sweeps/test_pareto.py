"""The front of two measures against a look at every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra.numpy import arrays

from sweeps.pareto import front


@settings(deadline=None, max_examples=60)
@given(arrays(np.int64, some.tuples(some.integers(1, 40), some.just(2)), elements=some.integers(0, 6)))
def test_front__has_whatever_no_other_point_beats(pairs: np.ndarray) -> None:
    x, y = pairs.T.astype(np.float64)
    order, on_front = front(x, y)
    as_good = (x[:, None] >= x) & (y[:, None] >= y)  # row beats column, or equals it
    beaten = (as_good & ((x[:, None] > x) | (y[:, None] > y))).any(axis=0)
    np.testing.assert_array_equal(on_front, ~beaten[order])
    assert sorted(order.tolist()) == list(range(len(x)))
    assert (np.diff(x[order]) <= 0).all()


@pytest.mark.parametrize("n", [0, 1])
def test_front__of_few_points_is_all_of_them(n: int) -> None:
    order, on_front = front(np.zeros(n), np.zeros(n))
    assert on_front.all()
    assert len(order) == n
