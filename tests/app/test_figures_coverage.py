from __future__ import annotations

import numpy as np

from app.figures.coverage import coverage_alt, coverage_figure, states
from datasets.coverage import Coverage

DAY_NS = 86_400 * 10**9
FOUND = Coverage(
    ("A", "B"), np.arange(5, dtype=np.int64) * DAY_NS, np.array([[5, 5, 0, 5], [5, 2, 0, 0]]),
    np.array([[1.0, 1.0, np.nan, 1.0], [1.0, 0.4, np.nan, 0.0]]), np.array([[False] * 4, [True, False, False, False]]),
)  # fmt: skip


def test_states__tell_closed_empty_partial_full_and_bad_apart() -> None:
    assert states(FOUND).tolist() == [[2, 2, -1, 2], [3, 1, -1, 0]]


def test_figure__draws_an_asset_a_row_and_explains_every_colour_it_uses() -> None:
    figure = coverage_figure(FOUND)
    assert list(figure.data[0].y) == ["A", "B"]
    assert {trace.name for trace in figure.data[1:]} == {"no bar", "some bars", "all bars", "a finding"}
    assert np.isnan(np.asarray(figure.data[0].z, float)[:, 2]).all()


def test_alt__counts_assets_with_something_wrong() -> None:
    assert coverage_alt(FOUND) == "Coverage of 2 assets: 1 with an empty span, 1 with a finding"
