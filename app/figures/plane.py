"""The map of a plane as bytes for the component that draws it, and as a plotly figure where it is not there.

Both take the same arguments. The bytes hold data only: a length, a header in JSON and arrays, about 6 to 8 bytes a
cell, so a map of 200 x 200 is at most 320 kB.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.colors
import plotly.graph_objects as go
from numpy.typing import NDArray

from app import format as fmt
from app.figures import theme
from app.figures.surface import CellState, Marks, surface_map, trial_states, window_of
from quantbot.measures import Measure
from quantbot.parameters import Value
from sweeps.surface import CellStatus, Plane
from sweeps.trial import Axis

HEIGHT = 560
_WORDS = {
    CellStatus.NOT_RUN: (CellState.MISSING, "not run yet"),
    CellStatus.FAILED: (CellState.FAILED, "failed"),
    CellStatus.SKIPPED: (CellState.SKIPPED, "not promoted"),
    CellStatus.LOCKED: (CellState.LOCKED, "locked"),
    CellStatus.EXCLUDED: (CellState.EXCLUDED, "excluded"),
}


def plane_bytes(
    plane: Plane,
    *,
    measure: Measure,
    limits: tuple[float, float],
    marks: Marks | None = None,
    outline: NDArray[np.int64] | None = None,
    title: str = "",
    alt: str = "",
    caption: str = "",
    height: int = HEIGHT,
) -> bytes:
    """Return what the component draws.

    Parameters
    ----------
    limits
        Of the colour scale; what lies beyond has the end's colour, which the bar's labels say.
    marks
        Points to mark, by their values on the two axes.
    outline
        Shape (n, 2): indices on x and y of the points of the plateau, as `sweeps.surface.outline` gives them.
    title
        What a cell shows: "median Sharpe".
    alt
        The finding in words.
    caption
        What is shown, for a picture that leaves the page.
    """
    states = trial_states(plane.value, plane.status)
    behind = int(plane.n_planned.max(initial=0))
    short = plane.n_planned - plane.n_trials
    arrays: dict[str, NDArray[Any]] = {"value": plane.value.astype(np.float32)}
    if (states != CellState.VALUE).any():
        arrays["states"] = states
    if (plane.n_planned != behind).any():
        arrays["planned"] = _counts(plane.n_planned)
    if short.any():
        arrays["short"] = _counts(short)
    if outline is not None and len(outline):
        arrays["outline"] = _squares(plane, outline).astype(np.uint32)
    n_y, n_x = plane.value.shape
    header: dict[str, Any] = {
        "nx": n_x,
        "ny": n_y,
        "x": _axis(plane.x, plane.x_axis, plane.x_values, plane.x_edges),
        "y": _axis(plane.y, plane.y_axis, plane.y_values, plane.y_edges),
        "zoomed": is_zoomed(plane),
        "behind": behind,
        "limits": [float(limit) for limit in limits],
        "stops": _stops(measure),
        "ticks": _ticks(measure, limits),
        "format": number_format(measure),
        "legend": [[int(state), words] for state, words in legend(plane)],
        "marks": _marks(plane, marks or Marks()),
        "title": title or measure.label,
        "alt": alt,
        "caption": caption or title or measure.label,
        "file": re.sub(r"[^\w.-]+", "-", f"{caption or title or measure.name}").strip("-")[:80] + ".png",
        "height": height,
    }
    return _packed(header, arrays)


def plane_figure(
    plane: Plane,
    *,
    measure: Measure,
    limits: tuple[float, float],
    marks: Marks | None = None,
    outline: NDArray[np.int64] | None = None,
    title: str = "",
    alt: str = "",
    caption: str = "",
    height: int = HEIGHT,
) -> go.Figure:
    """Return the same map as a plotly figure: for reports, and where the component is not there.

    The plateau's reach is drawn as a dashed line around its squares.
    """
    window = window_of(plane)
    figure = surface_map(
        window, window.states, x=plane.x, y=plane.y, measure=measure, limits=limits, marks=_placed(plane, marks),
        value_name=title, height=height,
    )  # fmt: skip
    if outline is not None and len(outline):
        for colour, width, dash in (("white", 4, "solid"), ("black", 1.5, "dash")):
            xs, ys = _border(plane, _squares(plane, outline))
            line = {"color": colour, "width": width, "dash": dash}
            figure.add_trace(go.Scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False))
    figure.update_layout(meta={"alt": alt, "caption": caption})
    return figure


def largest(axes: Sequence[Axis]) -> list[str]:
    """Return the names of the axes that make the best map: the two with most values; of drawn ones the first."""
    names = [axis.name for axis in axes]
    if len(axes) < 3 or any(axis.sampled for axis in axes):
        return names[:2]
    return [axis.name for axis in sorted(axes, key=lambda axis: -len(axis))[:2]]


def legend(plane: Plane) -> list[tuple[CellState, str]]:
    """Return an entry for each state that trials without a value are in, with how many of them."""
    found = [
        (state, f"{words} {fmt.count(plane.counts[status])}")
        for status, (state, words) in _WORDS.items()
        if plane.counts.get(status, 0)
    ]
    if plane.n_undefined:
        found.insert(1 if found else 0, (CellState.UNDEFINED, f"undefined {fmt.count(plane.n_undefined)}"))
    return found


def square_words(plane: Plane) -> str:
    """Say what one square stands for: ``1 square = 5 x 5 points x 50 = 1 250 trials``.

    Examples
    --------
    >>> import numpy as np
    >>> from sweeps.geometry import Geometry
    >>> from sweeps.space import grid_points
    >>> from sweeps.surface import plane
    >>> from sweeps.trial import Axis
    >>> axes = (Axis("a", np.arange(10), "integer"), Axis("b", np.arange(8), "integer"))
    >>> found = plane(Geometry.of(axes, grid_points(axes)), np.zeros((3, 80)), np.zeros((3, 80), np.uint8),
    ...               np.array([0, 80, 160]), x="a", y="b", most=4)
    >>> square_words(found).replace(fmt.SPACE, " ")
    '1 square = 3 x 2 points x 3 = 18 trials'
    """
    behind = int(plane.n_planned.max(initial=0))
    if not plane.pooled:
        return "1 square = 1 trial" if behind == 1 else f"1 square = {fmt.plural(behind, 'trial')}"
    wide, high = int(np.diff(plane.x_edges).max()), int(np.diff(plane.y_edges).max())
    rest = behind // (wide * high)
    if rest * wide * high != behind:  # drawn points: how many fall into a square varies
        low = int(plane.n_planned[plane.n_planned > 0].min(initial=behind))
        return f"1 square = {fmt.count(low)} to {fmt.plural(behind, 'trial')}"
    pool = f"{fmt.count(wide)} x {fmt.count(high)} points" if plane.y else f"{fmt.plural(wide, 'point')}"
    return f"1 square = {pool}{f' x {fmt.count(rest)}' if rest > 1 else ''} = {fmt.plural(behind, 'trial')}"


def is_zoomed(plane: Plane) -> bool:
    """Whether the plane is a window of a larger one."""
    return any(
        edges[0] > 0 or edges[-1] < len(axis)
        for edges, axis in ((plane.x_edges, plane.x_axis), (plane.y_edges, plane.y_axis))
    )


def number_format(measure: Measure) -> dict[str, Any]:
    """Return how the browser writes a measure's value; `app.format.measure` is what it must agree with."""
    scale, decimals, suffix = {
        "ratio": (1, 2, ""),
        "fraction": (100, 1, f"{fmt.SPACE}%"),
        "fraction per year": (100, 1, f"{fmt.SPACE}%/year"),
        "bars": (1, 1, f"{fmt.SPACE}bars"),
        "count": (1, 1, ""),
        "money": (1, 2, ""),
        "per year": (1, 1, f"{fmt.SPACE}/year"),
    }[measure.unit]
    whole = measure.unit in ("bars", "count")  # written without decimals where they are whole
    sign = measure.signed and measure.unit in ("ratio", "fraction", "fraction per year")
    fine = scale == 100  # with two digits where one decimal would leave fewer
    return {"scale": scale, "decimals": decimals, "sign": sign, "whole": whole, "fine": fine, "suffix": suffix}


def place_of(plane: Plane, value: tuple[Value, ...]) -> tuple[int, int] | None:
    """Return the square in which values of the two axes lie, None where they are not values of the axes."""
    found = []
    for number, axis, edges in zip((*value, 0.0)[:2], (plane.x_axis, plane.y_axis), (plane.x_edges, plane.y_edges),
                                   strict=True):  # fmt: skip
        at = np.flatnonzero(axis == number)
        if not at.size:
            return None
        index = int(np.searchsorted(edges, at[0], side="right")) - 1
        found.append(index if edges[0] <= at[0] < edges[-1] else -1)
    return found[0], found[1]


def _packed(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> bytes:
    blobs, table, offset = [], [], 0
    for name, array in arrays.items():
        flat = np.ascontiguousarray(array).ravel()
        blob = flat.astype(flat.dtype.newbyteorder("<")).tobytes()
        table.append([name, f"{flat.dtype.kind}{flat.dtype.itemsize}", offset, flat.size])
        blobs.append(blob)
        offset += len(blob)
    body = b"".join(blobs)
    header = header | {"arrays": table}
    digest = hashlib.blake2b(json.dumps(header, sort_keys=True).encode() + body, digest_size=8)
    text = json.dumps(header | {"key": digest.hexdigest()}, allow_nan=False).encode()
    return len(text).to_bytes(4, "little") + text + body


def _axis(name: str, axis: NDArray[Any], values: NDArray[Any], edges: NDArray[np.int64]) -> dict[str, Any]:
    labels = [fmt.value(value) for value in values.tolist()] if name else [""]
    found: dict[str, Any] = {"name": name, "labels": labels, "edges": edges.tolist(), "n": len(axis)}
    if (np.diff(edges) > 1).any():
        found["first"] = [fmt.value(value) for value in axis[edges[:-1]].tolist()]
        found["last"] = [fmt.value(value) for value in axis[edges[1:] - 1].tolist()]
    return found


def _counts(numbers: NDArray[Any]) -> NDArray[Any]:
    return numbers.astype(np.uint16 if numbers.max(initial=0) < 1 << 16 else np.uint32)


def _stops(measure: Measure) -> list[list[int]]:
    """Return the colours of the scale, evenly spaced, as red, green and blue of 0 to 255."""
    scale = plotly.colors.get_colorscale(theme.DIVERGING if measure.signed else theme.SEQUENTIAL)
    places = np.linspace(0, 1, 21).tolist()
    return [[round(float(band)) for band in re.findall(r"[\d.]+", colour)[:3]]
            for colour in plotly.colors.sample_colorscale(scale, places)]  # fmt: skip


def _ticks(measure: Measure, limits: tuple[float, float]) -> list[tuple[float, str]]:
    parts = np.linspace(0, 1, 5).tolist()
    texts = [fmt.measure(limits[0] + part * (limits[1] - limits[0]), measure) for part in parts]
    texts[0], texts[-1] = f"≤ {texts[0]}", f"≥ {texts[-1]}"
    return list(zip(parts, texts, strict=True))


def _marks(plane: Plane, marks: Marks) -> list[dict[str, Any]]:
    found = []
    for kind in ("best", "plateau", "pinned", "selected"):
        value = getattr(marks, kind)
        place = None if value is None else place_of(plane, value)
        if place is not None:
            found.append({"kind": kind, "x": place[0], "y": place[1], "away": min(place) < 0})
    return found


def _placed(plane: Plane, marks: Marks | None) -> Marks:
    """Return marks at the values that stand for their squares."""
    shown: dict[str, tuple[Value, ...]] = {}
    for mark in _marks(plane, marks or Marks()):
        if not mark["away"]:
            shown[mark["kind"]] = plane.x_values[mark["x"]].item(), plane.y_values[mark["y"]].item()
    return Marks(**shown)


def _squares(plane: Plane, outline: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the squares, counted row by row, that hold these pairs of indices."""
    columns = np.searchsorted(plane.x_edges, outline[:, 0], side="right") - 1
    rows = np.searchsorted(plane.y_edges, outline[:, 1], side="right") - 1
    n_y, n_x = plane.value.shape
    inside = (columns >= 0) & (columns < n_x) & (rows >= 0) & (rows < n_y)
    return np.unique(rows[inside] * n_x + columns[inside])


def _border(plane: Plane, squares: NDArray[np.int64]) -> tuple[Sequence[float | None], Sequence[float | None]]:
    """Return the sides of squares that no other one shares, as one broken line in units of squares."""
    n_y, n_x = plane.value.shape
    held = np.zeros((n_y + 2, n_x + 2), np.bool_)
    rows, columns = np.divmod(squares, n_x)
    held[rows + 1, columns + 1] = True
    xs: list[float | None] = []
    ys: list[float | None] = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        for down, right, (ax, ay, bx, by) in (
            (0, -1, (-0.5, -0.5, -0.5, 0.5)), (0, 1, (0.5, -0.5, 0.5, 0.5)),
            (-1, 0, (-0.5, -0.5, 0.5, -0.5)), (1, 0, (-0.5, 0.5, 0.5, 0.5)),
        ):  # fmt: skip
            if not held[row + 1 + down, column + 1 + right]:
                xs += [column + ax, column + bx, None]
                ys += [row + ay, row + by, None]
    return xs, ys
