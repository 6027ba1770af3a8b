"""Small charts side by side as data for the component that draws them: slices through a point, and a Pareto front."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app import format as fmt
from app.figures import theme
from quantbot.measures import Measure

if TYPE_CHECKING:
    from quantbot.engine import Points
    from sweeps.overview import Slice
    from sweeps.pareto import Pareto

Floats = NDArray[np.float64]
_BAND = "rgba(86,180,233,0.30)"
_COLUMNS, _PANEL_HEIGHT, _PARETO_HEIGHT = 3, 250, 440
_FEW = 8  # values of an axis that have a label each


def slices_panels(slices: Sequence[Slice], *, measure: Measure, fold: str, alt: str = "") -> dict[str, Any]:
    """Return a line a parameter through the selected point, with the range over folds as a band."""
    ends = _ends([part for one in slices for part in (one.middle, one.low, one.high)])
    panels = [_slice_panel(one, ends, measure) for one in slices]
    band = "range over folds" if slices and slices[0].through_point else "quartiles"
    kinds = {series["kind"] for panel in panels for series in panel["series"]}
    legend = [{"kind": "band", "name": band, "colour": _BAND}] if "band" in kinds else []
    legend += [{"kind": "line", "name": f"fold {fold}", "colour": theme.BLUE}, {"kind": "ring", "name": "selected"}]
    return _document(panels, legend, measure, ends, _PANEL_HEIGHT, alt)


def pareto_panel(
    found: Pareto, points: Points, *, first: Measure, second: Measure, selected: int | None = None, alt: str = ""
) -> dict[str, Any]:
    """Return the points by two measures: the front as steps, the others as grey dots."""
    x_ends, y_ends = _ends([found.first]), _ends([found.second])
    x, y = _parts(found.first, x_ends), _parts(found.second, y_ends)
    chosen = points.take(found.points)
    columns = {name: [fmt.value(value) for value in column.tolist()] for name, column in chosen.columns.items()}
    tips = [
        "\n".join([f"{first.label} {fmt.measure(a, first)}", f"{second.label} {fmt.measure(b, second)}",
                   *(f"{name} {texts[row]}" for name, texts in columns.items())])
        for row, (a, b) in enumerate(zip(found.first.tolist(), found.second.tolist(), strict=True))
    ]  # fmt: skip
    series: list[dict[str, Any]] = []
    for kind, colour, wanted in (("dots", theme.GREY, False), ("steps", theme.VERMILLION, True)):
        rows = np.flatnonzero(found.on_front == wanted).tolist()
        if rows:
            series.append({
                "kind": kind, "colour": colour, "x": [x[row] for row in rows], "y": [y[row] for row in rows],
                "tips": [tips[row] for row in rows], "ids": [int(found.points[row]) for row in rows], "alpha": 0.45,
            })  # fmt: skip
    legend = [{"kind": "steps", "name": f"front, {fmt.plural(found.n_front, 'point')}", "colour": theme.VERMILLION},
              {"kind": "dots", "name": "beaten in both measures", "colour": theme.GREY}]  # fmt: skip
    if selected is not None and selected in found.points:
        row = int(np.flatnonzero(found.points == selected)[0])
        series.append({"kind": "ring", "x": [x[row]], "y": [y[row]]})
        legend.append({"kind": "ring", "name": "selected"})
    panel = {"name": first.label, "series": series, "ticks": _measure_ticks(first, x_ends)}
    return _document([panel], legend, second, y_ends, _PARETO_HEIGHT, alt)


def _slice_panel(one: Slice, ends: tuple[float, float], measure: Measure) -> dict[str, Any]:
    texts = [fmt.value(value) for value in one.values.tolist()]
    words = one.values.dtype.kind == "U"
    places = np.arange(len(one.values), dtype=np.float64) if words else one.values.astype(np.float64)
    span = (-0.5, len(texts) - 0.5) if words else (places[0], places[-1])
    x = _parts(places, span if span[1] > span[0] else (span[0] - 0.5, span[0] + 0.5))
    middle, low, high = (_parts(values, ends) for values in (one.middle, one.low, one.high))
    series: list[dict[str, Any]] = []
    if not words and (one.high > one.low).any():
        series.append({"kind": "band", "x": x, "low": low, "high": high, "colour": _BAND})
    tips = [_slice_tip(one, row, text, measure) for row, text in enumerate(texts)]
    series.append({"kind": "dots" if words else "line", "x": x, "y": middle, "colour": theme.BLUE, "tips": tips})
    if one.selected >= 0 and middle[one.selected] is not None:
        series.append({"kind": "ring", "x": [x[one.selected]], "y": [middle[one.selected]]})
    few = range(len(texts)) if len(texts) <= _FEW else _spread(one.values)
    return {"name": one.axis, "series": series, "ticks": [[x[place], texts[place]] for place in few]}


def _slice_tip(one: Slice, row: int, text: str, measure: Measure) -> str:
    told = f"{one.axis} {text}\n{measure.label} {fmt.measure(float(one.middle[row]), measure)}"
    if one.high[row] > one.low[row]:
        ends = (fmt.measure(float(end), measure) for end in (one.low[row], one.high[row]))
        told += f"\n{'over folds' if one.through_point else 'quartiles'} {' to '.join(ends)}"
    return told


def _spread(values: NDArray[Any]) -> list[int]:
    """Return the places of values that are nearest to even steps along an axis."""
    if values.dtype.kind == "U":
        return list(range(0, len(values), -(-len(values) // _FEW)))
    wanted = np.linspace(float(values[0]), float(values[-1]), 6)
    return sorted({int(np.argmin(np.abs(values - value))) for value in wanted})


def _document(
    panels: list[dict[str, Any]], legend: list[dict[str, Any]], measure: Measure, ends: tuple[float, float],
    height: int, alt: str,
) -> dict[str, Any]:  # fmt: skip
    document = {
        "panels": panels, "legend": legend, "name": measure.label, "ticks": _measure_ticks(measure, ends),
        "columns": _COLUMNS, "height": height, "alt": alt,
    }  # fmt: skip
    text = json.dumps(document, sort_keys=True, allow_nan=False)
    return document | {"key": hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}


def _ends(columns: Sequence[Floats]) -> tuple[float, float]:
    """Return the ends of a scale that holds these numbers, with some room."""
    finite = np.concatenate([column[np.isfinite(column)] for column in columns]) if columns else np.empty(0)
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    room = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - room, high + room


def _parts(values: Floats, ends: tuple[float, float]) -> list[float | None]:
    parts = (values - ends[0]) / (ends[1] - ends[0])
    return [round(part, 5) if np.isfinite(part) else None for part in parts.tolist()]


def _measure_ticks(measure: Measure, ends: tuple[float, float]) -> list[list[Any]]:
    """Return round numbers between the ends, and where they are."""
    step = _round_step((ends[1] - ends[0]) / 5)
    numbers = step * np.arange(np.ceil(ends[0] / step), np.floor(ends[1] / step) + 1)
    found: Mapping[str, float] = {fmt.measure(float(number), measure): number for number in numbers}
    return [[round(float((number - ends[0]) / (ends[1] - ends[0])), 5), text] for text, number in found.items()]


def _round_step(least: float) -> float:
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(digit * power for digit in (1, 2, 5, 10) if digit * power >= least * (1 - 1e-9)))
