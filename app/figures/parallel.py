"""Parallel coordinates as bytes for the component that draws and brushes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app import format as fmt
from app.figures import theme
from quantbot.measures import Measure

if TYPE_CHECKING:
    from quantbot.engine import Points
    from sweeps.overview import Sample
    from sweeps.trial import Axis

HEIGHT = 420
_TICKS = 6


def parallel_bytes(
    sample: Sample,
    points: Points,
    axes: tuple[Axis, ...],
    *,
    measure: Measure,
    within: Mapping[str, tuple[float, float]],
    alt: str = "",
    height: int = HEIGHT,
) -> bytes:
    """Return what the component draws: a line a point, an axis a parameter and one for the measure.

    Parameters
    ----------
    within
        The ranges that are kept now, as `sweeps.overview.kept` takes them; drawn as brushes.
    """
    columns, headers = [], []
    lines = points.take(sample.points)
    for axis in axes:
        low, high = scale_of(axis)
        places = _places(axis, lines.columns[axis.name])
        columns.append((places - low) / (high - low))
        headers.append(_header(axis.name, axis.name, (low, high), _ticks_of(axis), within))
    ends = measure_scale(sample.values)
    columns.append((sample.values - ends[0]) / (ends[1] - ends[0]))
    ticks = [(part, fmt.measure(ends[0] + part * (ends[1] - ends[0]), measure)) for part in np.linspace(0, 1, 5)]
    headers.append(_header(measure.name, measure.label, ends, ticks, within))
    header: dict[str, Any] = {
        "axes": headers,
        "n": len(sample.points),
        "first_top": int(np.argmax(sample.top)) if sample.top.any() else len(sample.points),
        "colour": theme.VERMILLION,
        "alt": alt,
        "height": height,
    }
    body = np.clip(np.array(columns, np.float32), 0, 1).astype("<f4").tobytes()
    key = hashlib.blake2b(json.dumps(header, sort_keys=True).encode() + body, digest_size=8).hexdigest()
    text = json.dumps(header | {"key": key}, allow_nan=False).encode()
    return len(text).to_bytes(4, "little") + text + body


def range_of(brush: tuple[float, float], axis: Axis | None, ends: tuple[float, float]) -> tuple[float, float]:
    """Return a brushed part of an axis, in [0, 1], as a range of its values; of words, of their indices.

    Parameters
    ----------
    axis
        None for the measure's, whose ends are `ends`.
    """
    low, high = ends if axis is None else scale_of(axis)
    first, last = (low + part * (high - low) for part in brush)
    if axis is not None and (axis.kind == "choice" or axis.values.dtype.kind == "i"):
        return float(np.ceil(first)), float(max(np.floor(last), np.ceil(first)))
    return float(f"{first:.6g}"), float(f"{last:.6g}")


def scale_of(axis: Axis) -> tuple[float, float]:
    """Return the ends of an axis; of words, of their indices."""
    if axis.kind == "choice":
        return -0.5, len(axis) - 0.5
    low, high = float(axis.values[0]), float(axis.values[-1])
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def measure_scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of the measure's axis: those of the lines."""
    low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    if not low < high:
        middle = low if np.isfinite(low) else 0.0
        return middle - 0.5, middle + 0.5
    return low, high


def _places(axis: Axis, column: NDArray[Any]) -> NDArray[np.float64]:
    if axis.kind != "choice":
        return column.astype(np.float64)
    order = {word: float(place) for place, word in enumerate(axis.values.tolist())}
    return np.array([order[word] for word in column.tolist()])


def _ticks_of(axis: Axis) -> list[tuple[float, str]]:
    low, high = scale_of(axis)
    if axis.kind == "choice":
        return [((place - low) / (high - low), fmt.value(word)) for place, word in enumerate(axis.values.tolist())]
    # Values of the axis that are nearest to even places: a tick says a number that was tried.
    wanted = np.linspace(float(axis.values[0]), float(axis.values[-1]), _TICKS)
    places = {int(np.argmin(np.abs(axis.values - value))) for value in wanted}
    values = axis.values if len(axis) <= _TICKS else axis.values[sorted(places)]
    return [((float(value) - low) / (high - low), f"{float(value):.4g}") for value in values.tolist()]


def _header(
    name: str, label: str, ends: tuple[float, float], ticks: list[tuple[float, str]],
    within: Mapping[str, tuple[float, float]],
) -> dict[str, Any]:  # fmt: skip
    kept = None
    if name in within:
        parts = [(value - ends[0]) / (ends[1] - ends[0]) for value in within[name]]
        kept = [min(max(part, 0.0), 1.0) for part in parts]
    return {"name": name, "label": label, "range": kept, "ticks": [[float(part), text] for part, text in ticks]}
