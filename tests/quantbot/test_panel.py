from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quantbot.errors import DataError
from quantbot.market import Instrument, Panel


def panel(close: list[list[float]], **more: np.ndarray) -> Panel:
    prices = np.array(close)
    names = tuple(Instrument(name) for name in "ABCDEF"[: prices.shape[1]])
    return Panel(names, np.arange(prices.shape[0]), *[prices] * 4, np.ones_like(prices), 252.0, **more)


def test_returns__are_those_of_the_adjusted_close_where_there_is_one() -> None:
    found = panel([[100.0], [50.0]], adjusted_close=np.array([[50.0], [51.0]])).returns()
    assert np.isnan(found[0, 0])
    assert found[1, 0] == pytest.approx(0.02)


def test_returns__count_what_was_paid_over_a_gap_at_the_next_price() -> None:
    zero, one = np.zeros((4, 1)), np.ones((4, 1))
    zero[1], one[2] = 1.0, 2.0  # a dividend and then a split, both without a bar
    found = panel([[100.0], [np.nan], [np.nan], [52.0]], dividend=zero, split=one).returns()
    assert np.isnan(found[:3]).all()
    assert found[3, 0] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"close": np.ones((3, 1))}, "close of a panel must be float64"),
        ({"dividend": np.ones((2, 2), dtype=np.int64)}, "dividend of a panel must be float64"),
        ({"ts_end_ns": np.array([5, 5])}, "bar 1 does not come after"),
        ({"instruments": (Instrument("A"), Instrument("A"))}, "found A twice"),
        ({"instruments": (Instrument("A"), Instrument("B", "EUR"))}, "found EUR, USD"),
    ],
)
def test_panel__names_what_is_wrong(change: dict[str, object], named: str) -> None:
    with pytest.raises(DataError, match=named):
        replace(panel([[1.0, 2.0], [3.0, 4.0]]), **change)  # type: ignore[arg-type]
