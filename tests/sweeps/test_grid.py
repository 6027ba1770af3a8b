"""Points that are made of axes as they are asked for are those of the whole grid."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.geometry import Geometry
from sweeps.grid import GridPoints
from sweeps.space import grid_points
from sweeps.trial import Axis


@st.composite
def axes(draw: st.DrawFn) -> list[Axis]:
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    found = []
    for index, size in enumerate(sizes):
        if index == 1:
            found.append(Axis("word", np.array(["d", "b", "c", "a", "e"][:size]), "choice"))
        else:
            found.append(Axis(f"n{index}", np.arange(size) * 3 - 2, "integer"))
    return found


@given(axes(), st.integers(-2, 10), st.data())
@settings(deadline=None)
def test_grid__is_the_product_of_its_axes_that_a_condition_leaves(declared: list[Axis], most: int, data: Any) -> None:
    names = [axis.name for axis in declared]
    rows = [dict(zip(names, row, strict=True)) for row in itertools.product(*(a.values.tolist() for a in declared))]
    rows = [row for row in rows if row["n0"] <= most]
    points = grid_points(declared, f"n0 <= {most}")
    assert isinstance(points, GridPoints)
    assert [points.point(row) for row in range(len(points))] == rows
    for name in names:
        assert points.columns[name].tolist() == [row[name] for row in rows]
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(0, len(rows)))
    part = points[start:stop]
    assert [part.point(row) for row in range(len(part))] == rows[start:stop]
    chosen = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=5)), np.int64)
    assert [points.take(chosen).point(row) for row in range(len(chosen))] == [rows[i] for i in chosen.tolist()]


@given(axes(), st.integers(-2, 10))
@settings(deadline=None)
def test_geometry__of_a_grid_is_that_of_its_columns(declared: list[Axis], most: int) -> None:
    from quantbot.engine import Points

    points = grid_points(declared, f"n0 <= {most}")
    found = Geometry.of(declared, points)
    slow = Geometry.of(declared, Points(len(points), dict(points.columns)))
    for ours, theirs in zip(found.digits, slow.digits, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(found.cells, slow.cells)
    assert (found.sizes, found.in_order, found.dense) == (slow.sizes, slow.in_order, slow.dense)
