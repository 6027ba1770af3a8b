"""A finished run as Zarr, for anybody with xarray: one writer, after the commit, a slab of cells at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets.manifest import StoredObject
from datasets.seals import check_format
from quantbot.errors import DivergenceError, NotFoundError
from sweeps.layout import STATUS, Layout, run_attributes
from sweeps.runstore import SHORT, Manifest, RunStore, to_json
from sweeps.surface import CellStatus
from sweeps.table import CELL_OF

if TYPE_CHECKING:
    import xarray as xr

    from datasets.publish import Slab
    from quantbot.engine import Rows
    from sweeps.plan import Plan
    from sweeps.rows import BlockHeader

ROWS = "rows.zarr"
MARKER = "rows.zarr.json"
_FORMAT = 3
_OLDEST_FORMAT = 2  # segments of objects by SHA-256


def publish(run: RunStore, plan: Plan, manifest: Manifest) -> None:
    """Write the committed rows as a Zarr group, then a marker that names the manifest they come from.

    The caller holds the run's lease, so there is one writer. A publication that was interrupted is written again.
    What a locked holdout hides is not in it.
    """
    import xarray as xr

    from datasets.publish import Variable, write_table
    from sweeps.adaptive import known_plan

    if is_published(run):
        return
    plan = known_plan(run, plan)
    layout = Layout.of(plan)
    labels = xr.Dataset(coords=layout.coords(), attrs=run_attributes(plan, manifest, complete=True))
    variables = {name: Variable(np.dtype(np.float64), np.nan, layout.attributes(name)) for name in plan.measures}
    variables[STATUS] = Variable(np.dtype(np.uint8), int(CellStatus.EXCLUDED), layout.attributes(STATUS))
    source = _Source(run, layout, manifest)
    written = write_table(run.store, ROWS, labels, layout.dims, layout.shape, variables, source.cells)
    of = {"manifest": hashlib.sha256(manifest.to_bytes()).hexdigest(), "result_digest": manifest.result_digest}
    objects = {key: each.to_dict() for key, each in sorted(written.items())}
    if not run.put_first(MARKER, to_json({"format": _FORMAT, **of, "objects": objects})):
        found = run.read_json(MARKER) or {}
        if {name: found.get(name) for name in of} != of:
            raise DivergenceError(f"{run.url}/{MARKER} names another manifest than the one that is there")


def is_published(run: RunStore) -> bool:
    """Return whether the rows are there as a whole Zarr group."""
    return run.store.exists(MARKER)


def published_objects(run: RunStore) -> dict[str, StoredObject]:
    """Return the objects of the published rows, by key inside their group, or raise `NotFoundError`."""
    where = f"{run.url}/{MARKER}"
    document = run.read_json(MARKER)
    if document is None:
        raise NotFoundError(f"the rows of run {run.identity[:SHORT]} are not published: there is no {where}")
    check_format(document.get("format", 0), _FORMAT, where, oldest=_OLDEST_FORMAT)
    return {key: StoredObject.from_dict(each) for key, each in document["objects"].items()}


def open_rows(run: RunStore) -> xr.Dataset:
    """Return the published rows, lazily: what is indexed is compared with what was written.

    Raises
    ------
    CorruptError
        When something is indexed whose object is missing or damaged; it names the object.
    """
    from datasets.publish import open_verified

    return open_verified(run.store, ROWS, published_objects(run), f"rows of run {run.identity[:SHORT]}")


class _Source:
    """Reads the blocks once, in order, and hands out their rows as ranges of cells, which must rise."""

    def __init__(self, run: RunStore, layout: Layout, manifest: Manifest) -> None:
        from sweeps.looks import is_locked

        plan = layout.plan
        self._layout = layout
        locked = is_locked(run, plan)
        self._hidden = [locked and fold.role == "test" for fold in plan.folds]
        self._blocks = run.read_blocks([plan.block(index) for index in range(plan.n_blocks)], manifest)
        self._block: tuple[BlockHeader, Rows] | None = None

    def cells(self, slab: Slab) -> Mapping[str, NDArray[Any]]:
        """Return every array's cells `slab.start` to `slab.stop`, flat."""
        n, measures = slab.stop - slab.start, self._layout.plan.measures
        found: dict[str, NDArray[Any]] = {name: np.full(n, np.nan) for name in measures}
        found[STATUS] = np.full(n, int(CellStatus.EXCLUDED), np.uint8)
        for first, trials, places in self._pieces(slab.start, slab.stop):
            hidden = self._hidden[first // self._layout.n_cells % len(self._hidden)]
            for start, rows, here in self._rows(trials.start, trials.stop):
                at = places[start - trials.start : start - trials.start + here.stop - here.start]
                found[STATUS][at] = CellStatus.LOCKED if hidden else CELL_OF[rows.status[here]]
                for name in () if hidden else measures:
                    found[name][at] = rows.measures[name][here]
        return found

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, range, NDArray[np.int64]]]:
        """Yield, for each asset and fold in a range of cells: its first cell, its trials, and their places in it."""
        n_cells, n_points, cells = self._layout.n_cells, self._layout.plan.n_points, self._layout.cells
        for index in range(start // n_cells, (stop - 1) // n_cells + 1):
            base = index * n_cells
            low, high = max(start - base, 0), min(stop - base, n_cells)
            if cells is None:
                first, last, places = low, high, np.arange(low, high)
            else:
                first, last = np.searchsorted(cells, np.array([low, high], cells.dtype)).tolist()
                places = cells[first:last].astype(np.int64)
            yield base, range(index * n_points + first, index * n_points + last), places + (base - start)

    def _rows(self, start: int, stop: int) -> Iterator[tuple[int, Rows, slice]]:
        """Yield the rows of a range of trials block by block: the first trial, the block's rows, which of them."""
        while start < stop:
            while self._block is None or self._block[0].trial_stop <= start:
                self._block = next(self._blocks)
            header, rows = self._block
            end = min(stop, header.trial_stop)
            yield start, rows, slice(start - header.trial_start, end - header.trial_start)
            start = end
