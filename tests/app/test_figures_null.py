"""The noise test drawn."""

from __future__ import annotations

from app.figures.null import null_chart
from quantbot.measures import Measure
from sweeps.null import NullTest

SHARPE = Measure("sharpe", "Sharpe ratio", "core", "ratio", 1, True, "Mean over deviation.")


def test_chart__has_the_resamples_and_the_real_best() -> None:
    found = NullTest("0" * 64, "bootstrap", 5.0, 10, 10, "sharpe", 1, 1.25, (0.5, None, 0.75), 0.25)
    chart = null_chart(found, SHARPE)
    assert list(chart.data[0].x) == [0.5, 0.75]
    assert chart.layout.shapes[0].x0 == 1.25
    assert "+1.25, p = 0.250" in chart.layout.annotations[0].text
