"""From trials to cells: a grid by reshaping its array, any other points by one sort."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quantbot.parameters import Value
from sweeps.geometry import CellStatus, Geometry

How = Literal["median", "mean", "min", "max", "quantile"]
Floats = NDArray[np.float64]
_OUTSIDE = 255  # the state of trials that were filtered away


@dataclass(frozen=True, eq=False)
class Request:
    """What `sweeps.surface.plane` was asked; see there."""

    geometry: Geometry
    values: Floats
    state: NDArray[np.uint8]
    firsts: NDArray[np.int64]
    x: str
    y: str
    how: How
    q: float
    better: int
    at: Mapping[str, Value]
    keep: NDArray[np.bool_] | None
    x_edges: NDArray[np.int64]
    y_edges: NDArray[np.int64]

    @property
    def sign(self) -> float:
        """+1 where the best trial behind a cell is the largest."""
        return {"max": 1.0, "min": -1.0}.get(self.how, -1.0 if self.better < 0 else 1.0)


@dataclass(frozen=True, eq=False)
class Cells:
    """Value, trials, planned ones, status and best trial of each cell, row by row; and the counts."""

    arrays: tuple[NDArray[Any], ...]
    counts: Mapping[CellStatus, int]
    n_undefined: int


def _status(n_planned: NDArray[Any], n_of: Mapping[CellStatus, NDArray[Any]]) -> NDArray[np.uint8]:
    """Return what each cell stands for, from how many of its trials are in which state."""
    failed, skipped = n_of[CellStatus.FAILED], n_of[CellStatus.SKIPPED]
    conditions = {
        CellStatus.VALUE: n_of[CellStatus.VALUE] > 0,
        CellStatus.EXCLUDED: n_planned == 0,
        CellStatus.FAILED: failed == n_planned,
        CellStatus.SKIPPED: failed + skipped == n_planned,
        CellStatus.LOCKED: n_of[CellStatus.LOCKED] == n_planned,
    }
    status = np.select(list(conditions.values()), [int(code) for code in conditions], int(CellStatus.NOT_RUN))
    return status.astype(np.uint8)


def _counts(state: NDArray[np.uint8], n_excluded: int = 0) -> dict[CellStatus, int]:
    """Count states by one pass per state: faster than a histogram, which widens bytes to 8 of them."""
    counts = {code: int(np.count_nonzero(state == code)) for code in CellStatus}
    counts[CellStatus.EXCLUDED] += n_excluded
    return counts


# -- a grid: dimensions of an array -----------------------------------------------------------------------------------


def reduce_grid(request: Request) -> Cells:
    """Reduce a grid: axes are dimensions, so a cell's trials are found by reshaping alone."""
    place = request.geometry
    n_slices, n_cells = len(request.firsts), int(np.prod(place.sizes, dtype=np.int64))
    full = place.points.n_points == n_cells
    state = request.state
    if request.keep is not None:
        state = np.where(request.keep, state, np.uint8(_OUTSIDE))
    values = request.values
    if not full:
        spread = np.full((n_slices, n_cells), np.nan)
        spread[:, place.cells] = values
        codes = np.full((n_slices, n_cells), int(CellStatus.EXCLUDED), np.uint8)
        codes[:, place.cells] = state
        values, state = spread, codes
    sizes = (n_slices, *place.sizes)
    strides = [int(np.prod(sizes[axis + 1 :], dtype=np.int64)) for axis in range(len(sizes))]
    pins = {place.index(name) + 1: _digit(place, name, value) for name, value in request.at.items()}
    pick = tuple(pins.get(axis, slice(None)) for axis in range(len(sizes)))
    pinned_values, pinned_state = values.reshape(sizes)[pick], state.reshape(sizes)[pick]
    counts = _counts(pinned_state)
    n_undefined = int(np.count_nonzero((pinned_state == CellStatus.VALUE) & ~np.isfinite(pinned_values)))

    left = [axis for axis in range(len(sizes)) if axis not in pins]
    base = sum(digit * strides[axis] for axis, digit in pins.items())
    edges = {place.index(request.x) + 1: request.x_edges}
    if request.y:
        edges[place.index(request.y) + 1] = request.y_edges
    lanes, codes, offsets = _lanes(
        pinned_values, pinned_state, [(strides[axis], edges.get(axis)) for axis in left],
        order=[left.index(axis) for axis in reversed(list(edges))],
    )  # fmt: skip
    value, n_trials, n_planned, status, best = _reduce_lanes(lanes, codes, request)
    flat = base + offsets[0] + offsets[1][np.maximum(best, 0)]
    cell = flat % n_cells
    point = cell if full else np.searchsorted(place.cells, cell)
    argbest = np.where(best >= 0, request.firsts[flat // n_cells] + point, -1)
    return Cells((value, n_trials, n_planned, status, argbest), counts, n_undefined)


def _digit(geometry: Geometry, name: str, value: Value) -> int:
    labels = geometry.labels[geometry.index(name)]
    found = np.flatnonzero(labels == value)
    if not found.size:
        geometry.pinned({name: value})  # raises, with what there is
    return int(found[0])


def _lanes(
    values: Floats, state: NDArray[np.uint8], dims: list[tuple[int, NDArray[np.int64] | None]], *, order: list[int]
) -> tuple[Floats, NDArray[np.uint8], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Lay out an array as (cells, trials behind each), in the order of trials.

    Parameters
    ----------
    dims
        For each dimension its stride among all trials, and where it is shown, the edges of its cells.
    order
        The dimensions that are shown: rows, then columns.

    Returns
    -------
    Values and states, shape (n_cells, n_behind); the first trial's offset of each cell, and that of each lane.
    """
    shape: list[int] = []
    shown: dict[int, int] = {}  # dimension -> where its cells are among the split dimensions
    rest: list[int] = []
    steps: list[int] = []
    for axis, (stride, edges) in enumerate(dims):
        if edges is not None:
            start, stop, step = int(edges[0]), int(edges[-1]), int(edges[1] - edges[0])
            window = (slice(None),) * axis + (slice(start, stop),)
            values, state = values[window], state[window]
            short = -(stop - start) % step
            if short:
                pad = [(0, 0)] * values.ndim
                pad[axis] = (0, short)
                values = np.pad(values, pad, constant_values=np.nan)
                state = np.pad(state, pad, constant_values=_OUTSIDE)
            shown[axis] = len(shape)
            shape += [len(edges) - 1]
            steps += [step * stride]
        rest.append(len(shape))
        shape += [values.shape[axis] // (shape[-1] if edges is not None else 1)]
        steps += [stride]
    first = [shown[axis] for axis in order]
    permuted = (*first, *rest)
    n_cells = int(np.prod([shape[axis] for axis in first], dtype=np.int64))
    offsets = tuple(
        sum(
            (np.arange(shape[axis]) * steps[axis]).reshape([-1 if axis == other else 1 for other in group])
            for axis in group
        )
        for group in (first, rest)
    )
    corner = sum(int(edges[0]) * stride for stride, edges in dims if edges is not None)
    values = values.reshape(shape).transpose(permuted).reshape(n_cells, -1)
    state = state.reshape(shape).transpose(permuted).reshape(n_cells, -1)
    return values, state, (np.ravel(offsets[0]) + corner, np.ravel(offsets[1]))


def _reduce_lanes(lanes: Floats, codes: NDArray[np.uint8], request: Request) -> tuple[NDArray[Any], ...]:
    """Reduce each row of (n_cells, n_behind): value, trials, planned ones, status, and which lane is best."""
    n_cells, n_behind = lanes.shape
    usable = np.isfinite(lanes)
    if codes.any():
        usable &= codes == CellStatus.VALUE
        n_of = {code: np.count_nonzero(codes == code, axis=1) for code in CellStatus}
        n_planned = n_behind - n_of[CellStatus.EXCLUDED] - np.count_nonzero(codes == _OUTSIDE, axis=1)
    else:
        n_planned = np.full(n_cells, n_behind)
        n_of = dict.fromkeys(CellStatus, np.zeros(n_cells, np.int64)) | {CellStatus.VALUE: n_planned}
    n_trials, status = n_of[CellStatus.VALUE], _status(n_planned, n_of)
    gaps = not usable.all()
    if gaps:
        lanes = np.where(usable, lanes, np.nan)
    if n_behind == 1:
        value, best = lanes[:, 0].copy(), np.where(usable[:, 0], 0, -1)
        return value, n_trials, n_planned, status, best
    signed = request.sign * lanes
    best = (np.where(usable, signed, -np.inf) if gaps else signed).argmax(axis=1)
    n_usable = np.count_nonzero(usable, axis=1) if gaps else np.full(n_cells, n_behind)
    best = np.where(n_usable > 0, best, -1)
    return _reduced(lanes, n_usable, best, request, gaps=gaps), n_trials, n_planned, status, best


def _reduced(
    lanes: Floats, n_usable: NDArray[np.int64], best: NDArray[np.int64], request: Request, *, gaps: bool
) -> Floats:
    rows = np.arange(len(lanes))
    if request.how in ("min", "max"):
        return np.where(best >= 0, lanes[rows, best], np.nan)
    if request.how == "mean":
        sums = np.where(np.isfinite(lanes), lanes, 0.0).sum(axis=1) if gaps else lanes.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / n_usable)
    position = (n_usable - 1) * (0.5 if request.how == "median" else request.q)
    low = np.floor(np.maximum(position, 0)).astype(np.intp)
    high = np.minimum(low + 1, np.maximum(n_usable - 1, 0))
    places = sorted({int(low[0]), int(high[0])})  # without gaps the same in all rows
    ordered = np.sort(lanes, axis=1) if gaps else np.partition(lanes, places, axis=1)  # NaN last
    part = position - low
    return np.where(n_usable > 0, _between(ordered[rows, low], ordered[rows, high], part), np.nan)


def _between(low: Floats, high: Floats, part: Floats) -> Floats:
    """Return what lies at `part` between two numbers; halves as a median is computed, equal numbers as they are."""
    found = np.where(part == 0.5, 0.5 * (low + high), low + part * (high - low))
    return np.where(part == 0, low, found)


# -- any points: one sort ---------------------------------------------------------------------------------------------


def reduce_points(request: Request) -> Cells:
    """Reduce points that lie anywhere."""
    place = request.geometry
    n_x, n_y = len(request.x_edges) - 1, len(request.y_edges) - 1
    keep = place.pinned(request.at)
    if request.keep is not None:
        keep &= request.keep
    inside = keep.copy()
    cell = np.zeros(place.points.n_points, np.int64)
    for name, edges, stride in ((request.x, request.x_edges, 1), (request.y, request.y_edges, n_x)):
        if name:
            digits, axis = place.scale(name)
            column = np.searchsorted(edges, np.arange(len(axis)), side="right") - 1
            column[edges[-1] :] = -1
            inside &= column[digits] >= 0
            cell += stride * column[digits]
    points = np.flatnonzero(keep)
    counted = request.state[:, points]
    ran = counted == CellStatus.VALUE
    n_undefined = int(np.count_nonzero(ran & ~np.isfinite(request.values[:, points])))
    counts = _counts(counted, _n_left_out(request) * len(request.firsts))
    points = np.flatnonzero(inside)
    trials = (request.firsts[:, None] + points).ravel()
    cells = np.broadcast_to(cell[points], (len(request.firsts), len(points))).ravel()
    arrays = _reduce_sorted(cells, request.values[:, points].ravel(), request.state[:, points].ravel(), trials,
                            n_y * n_x, request)  # fmt: skip
    return Cells(arrays, counts, n_undefined)


def _n_left_out(request: Request) -> int:
    """Return how many points of a grid `where` left out, at these pins; 0 for drawn points."""
    place = request.geometry
    if place.sampled:
        return 0
    sizes = [size for axis, size in zip(place.axes, place.sizes, strict=True) if axis.name not in request.at]
    return int(np.prod(sizes, dtype=np.int64)) - int(place.pinned(request.at).sum())


def _reduce_sorted(
    cells: NDArray[np.int64], values: Floats, state: NDArray[np.uint8], trials: NDArray[np.int64], n_cells: int,
    request: Request,
) -> tuple[NDArray[Any], ...]:  # fmt: skip
    """Reduce trials to cells by sorting them by value, then by cell; the lowest of equal trials stays first."""
    done = state == CellStatus.VALUE
    n_of = {code: np.bincount(cells[state == code], minlength=n_cells) for code in CellStatus}
    n_planned, n_trials = np.bincount(cells, minlength=n_cells), n_of[CellStatus.VALUE]
    value, argbest = np.full(n_cells, np.nan), np.full(n_cells, -1, np.int64)
    usable = done & np.isfinite(values)
    if usable.any():
        narrow = np.uint16 if n_cells <= 1 << 16 else np.int64  # 16 bits are sorted by radix
        cells, values, trials = cells[usable].astype(narrow), values[usable], trials[usable]
        order = np.argsort(-request.sign * values, kind="stable")
        order = order[np.argsort(cells[order], kind="stable")]
        cells, values, trials = cells[order], values[order], trials[order]
        starts = np.flatnonzero(np.r_[True, cells[1:] != cells[:-1]])
        counts = np.diff(np.r_[starts, len(cells)])
        at = cells[starts]
        argbest[at] = trials[starts]
        if request.how == "mean":
            value[at] = np.add.reduceat(values, starts) / counts
        elif request.how in ("min", "max"):
            value[at] = values[starts]
        else:
            share = 0.5 if request.how == "median" else request.q
            position = (counts - 1) * (share if request.sign < 0 else 1 - share)  # values fall where more is better
            low = np.floor(position).astype(np.intp)
            high = np.minimum(low + 1, counts - 1)
            value[at] = _between(values[starts + low], values[starts + high], position - low)
    return value, n_trials, n_planned, _status(n_planned, n_of), argbest
