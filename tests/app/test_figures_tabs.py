"""The figures below the map, without a page."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from app.figures.panels import pareto_panel, slices_panels
from app.figures.parallel import parallel_bytes, range_of
from app.figures.strip import fold_strip
from app.figures.tabs import importance_figure, slices_figure, surface_3d
from quantbot.measures import Measure
from sweeps.importance import shares
from sweeps.overview import Sample, Slice
from sweeps.pareto import Pareto
from sweeps.space import grid_points
from sweeps.surface import Geometry, plane
from sweeps.trial import Axis

SHARPE = Measure("sharpe", "Sharpe", "core", "ratio", 1, True, "Mean over deviation.")
AXES = (
    Axis("fast", np.array([2, 5, 10, 50]), "integer"),
    Axis("band", np.array([0.5, 1.0, 2.0]), "number"),
    Axis("fill", np.array(["open", "close"]), "choice"),
)


def a_slice(axis: Axis) -> Slice:
    n = len(axis)
    middle = np.linspace(0, 1, n)
    middle[0] = np.nan
    return Slice(axis.name, axis.values, middle, middle - 0.1, middle + 0.2, np.arange(n), n - 1, True)


def test_slices__draw_a_line_a_parameter_and_the_range_over_folds() -> None:
    figure = slices_figure([a_slice(axis) for axis in AXES], measure=SHARPE, fold="train")
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [len(trace.x) for trace in lines] == [4, 3]
    bands = [trace for trace in figure.data if trace.fill == "tonexty"]
    assert [len(trace.x) for trace in bands] == [3, 2]  # what has no number is not in the band
    words = [trace for trace in figure.data if trace.mode == "markers" and trace.name == "fold train"]
    assert list(words[0].x) == ["open", "close"]  # words are not joined by a line
    assert sum(bool(trace.showlegend) and trace.name == "selected" for trace in figure.data) == 1


def test_slices_panels__place_every_number_within_its_panel() -> None:
    document = slices_panels([a_slice(axis) for axis in AXES], measure=SHARPE, fold="train", alt="words")
    fast, band, fill = document["panels"]
    assert [series["kind"] for series in fast["series"]] == ["band", "line", "ring"]
    assert [series["kind"] for series in fill["series"]] == ["dots", "ring"]  # words are not joined by a line
    assert fast["series"][1]["y"][0] is None  # what has no number is a gap
    assert fast["series"][1]["x"] == [0.0, 0.0625, 0.16667, 1.0]
    assert [text for _, text in band["ticks"]] == ["0.5", "1", "2"]
    assert fast["series"][1]["tips"][3] == "fast 50\nSharpe +1.00\nover folds +0.90 to +1.20"
    parts = [part for panel in document["panels"] for series in panel["series"]
             for part in [*series["x"], *series.get("y", []), *series.get("low", [])] if part is not None]  # fmt: skip
    assert min(parts) >= 0
    assert max(parts) <= 1
    ticks = {text: part for part, text in document["ticks"]}
    assert ticks["+1.00"] == pytest.approx(fast["series"][1]["y"][3], abs=1e-4)
    json.dumps(document, allow_nan=False)


def test_pareto_panel__gives_the_front_its_own_shape_and_the_points_behind_it() -> None:
    found = Pareto(np.array([7, 3, 5]), np.array([2.0, 1.0, 0.5]), np.array([0.3, 0.1, 0.2]),
                   np.array([True, True, False]), 12, 2)  # fmt: skip
    fall = Measure("max_drawdown", "Drawdown", "core", "fraction", -1, False, "The deepest fall.")
    panel = pareto_panel(found, grid_points(AXES), first=SHARPE, second=fall, selected=3)["panels"][0]
    dots, front, ring = panel["series"]
    assert (dots["kind"], front["kind"]) == ("dots", "steps")
    assert (dots["ids"], front["ids"]) == ([5], [7, 3])
    assert (ring["x"], ring["y"]) == ([front["x"][1]], [front["y"][1]])
    assert front["tips"][0].splitlines()[:2] == ["Sharpe +2.00", "Drawdown 30.0\u00a0%"]


def test_relief__leaves_holes_where_nothing_is() -> None:
    place = Geometry.of(AXES[:2], grid_points(AXES[:2]))
    values = np.arange(12.0)[None]
    values[0, 4] = np.nan
    found = plane(place, values, np.zeros((1, 12), np.uint8), np.zeros(1, np.int64), x="fast", y="band")
    figure = surface_3d(found, measure=SHARPE, limits=(-1, 1), title="Sharpe")
    assert np.isnan(figure.data[0].z).sum() == 1
    assert figure.data[0].connectgaps is False
    assert list(figure.layout.scene.xaxis.ticktext) == ["2", "5", "10", "50"]


def test_importance__draws_the_largest_above_with_an_interval() -> None:
    first, second = (part.ravel() for part in np.indices((4, 5)))
    figure = importance_figure(shares(3.0 * first + second + first * second, [first, second], [4, 5], ["a", "b"]))
    assert figure.layout.yaxis.categoryarray[-1] == "a"
    assert {trace.name for trace in figure.data} == {"main effect", "interaction"}
    assert all(low >= 0 for trace in figure.data for low in trace.error_x.arrayminus)


def unpack(data: bytes) -> tuple[dict[str, Any], np.ndarray]:
    length = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + length])
    return header, np.frombuffer(data, "<f4", offset=4 + length).reshape(len(header["axes"]), header["n"])


def test_parallel__places_every_line_between_the_ends_of_each_axis() -> None:
    points = grid_points(AXES)
    chosen = np.arange(24)
    sample = Sample(chosen, np.linspace(-1, 1, 24), chosen >= 21, 24)
    header, places = unpack(parallel_bytes(sample, points, AXES, measure=SHARPE, within={"band": (0.5, 1.25)}))
    assert [axis["name"] for axis in header["axes"]] == ["fast", "band", "fill", "sharpe"]
    np.testing.assert_allclose(places[0], (points.columns["fast"] - 2) / 48, rtol=1e-6)
    assert set(places[2].round(3).tolist()) == {0.25, 0.75}
    assert header["first_top"] == 21
    assert header["axes"][1]["range"] == [0.0, 0.5]
    assert {text for _, text in header["axes"][0]["ticks"]} == {"2", "5", "10", "50"}


@pytest.mark.parametrize(
    ("axis", "brush", "expected"),
    [(AXES[0], (0.0, 0.5), (2, 26)), (AXES[1], (0.5, 1.0), (1.25, 2.0)), (AXES[2], (0.6, 0.9), (1, 1)),
     (None, (0.0, 0.25), (-1.0, -0.5))],
)  # fmt: skip
def test_brush__becomes_a_range_of_values(axis: Axis | None, brush: tuple[float, float], expected: Any) -> None:
    assert range_of(brush, axis, (-1.0, 1.0)) == expected


def test_parallel__of_a_thousand_lines_is_small() -> None:
    points = grid_points(AXES)
    sample = Sample(np.resize(np.arange(24), 1000), np.linspace(-1, 1, 1000), np.arange(1000) >= 900, 10**6)
    assert len(parallel_bytes(sample, points, AXES, measure=SHARPE, within={})) < 20_000


def test_strip__draws_a_bar_a_fold_and_reads_names_as_text() -> None:
    svg = fold_strip(np.array([1.0, np.nan, -0.5]), ["all", "<script>", "test"], ["all", "train", "test"])
    assert svg.count("<rect") == 3
    assert "<script>" not in svg
