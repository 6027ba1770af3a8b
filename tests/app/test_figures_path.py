"""Figures of a path and of a comparison: what they draw is what was reduced."""

from __future__ import annotations

import numpy as np
import pytest

from app.figures.compare import compare_chart, difference_map
from app.figures.trial_path import distribution_chart, months_alt, months_table, rolling_chart
from quantbot.measures import Measure
from quantbot.paths import distribution, monthly_returns, rolling
from sweeps.compare import Aligned

DAY_NS = 86_400 * 10**9
STAMPS = np.datetime64("2018-06-01", "ns").astype(np.int64) + DAY_NS * np.arange(700, dtype=np.int64)
RETURNS = np.random.default_rng(5).normal(0, 0.01, 700)
SHARPE = Measure("sharpe", "Sharpe", "core", "ratio", 1, True, "Mean over deviation.")


def test_months__each_cell_has_its_number_in_ink_that_can_be_read() -> None:
    months = monthly_returns(STAMPS, np.cumprod(1 + RETURNS), 1.0)
    figure = months_table(months)
    cells, totals = figure.data
    np.testing.assert_array_equal(cells.z, months.returns.astype(np.float32))
    assert len(figure.layout.annotations) == np.isfinite(months.returns).sum() + len(months.years)
    assert figure.layout.yaxis.ticktext == tuple(str(year) for year in months.years)
    assert totals.zmax > cells.zmax
    assert {note.font.color for note in figure.layout.annotations} <= {"black", "white"}
    assert "best year" in months_alt(months)


def test_rolling__draws_the_window_that_is_shown() -> None:
    found = rolling(RETURNS, 60, 252.0)
    whole = rolling_chart(STAMPS, found)
    assert len(whole.data[0].x) == len(found.last)
    assert max(whole.data[2].y) <= 0
    part = rolling_chart(STAMPS, found, window=(int(STAMPS[100]), int(STAMPS[199])))
    assert len(part.data[0].x) == 100


def test_distribution__draws_every_bar_once() -> None:
    figure = distribution_chart(distribution(RETURNS))
    assert sum(figure.data[0].y) == 700
    assert not distribution_chart(distribution([0.0])).data


def test_compare__draws_each_side_with_a_dash_of_its_own() -> None:
    paths = Aligned(STAMPS, np.stack([RETURNS, RETURNS * 0.5, -RETURNS]), (0, 0, 0))
    figure = compare_chart(paths, ["A", "B", "C"])
    shown = [trace for trace in figure.data if trace.showlegend is not False]
    assert [trace.name for trace in shown] == ["A", "B", "C"]
    assert len({trace.line.dash for trace in shown}) == 3
    ahead = [trace for trace in figure.data if trace.yaxis == "y3"]
    assert [trace.name for trace in ahead] == ["B", "C"]
    assert figure.layout.yaxis3.title.text == "ahead of A"


@pytest.mark.parametrize("better", [1, -1])
def test_difference__blue_is_better_and_no_pair_is_grey(better: int) -> None:
    from dataclasses import replace

    from quantbot.engine import Points
    from sweeps.surface import Geometry, plane
    from sweeps.trial import Axis

    axis = Axis("fast", np.array([1, 2, 3]), "integer")
    geometry = Geometry.of((axis,), Points(3, {"fast": axis.values}))
    found = plane(
        geometry, np.array([[1.0, -1.0, np.nan]]), np.array([[0, 0, 1]], np.uint8), np.zeros(1, np.int64), x="fast"
    )
    missing, values = difference_map(found, replace(SHARPE, better=better), ("first", "second")).data
    np.testing.assert_array_equal(np.isfinite(missing.z), [[False, False, True]])
    np.testing.assert_array_equal(values.z, found.value.astype(np.float32))
    first, last = (int(values.colorscale[place][1][4:].split(",")[0]) for place in (0, -1))
    assert (first > last) == (better > 0)  # the low end is red where more is better
