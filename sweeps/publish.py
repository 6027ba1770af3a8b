"""A finished run as Zarr, for anybody with xarray: one writer, after the commit."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from quantbot.errors import DivergenceError
from sweeps.runstore import Manifest, RunStore, to_json

if TYPE_CHECKING:
    from sweeps.plan import Plan

ROWS = "rows.zarr"
_MARKER = "rows.zarr.json"


def publish(run: RunStore, plan: Plan, manifest: Manifest) -> None:
    """Write the committed rows as a Zarr group, then a marker that names the manifest they come from.

    The caller holds the run's lease, so there is one writer. A publication that was interrupted is written again.
    """
    from datasets.publish import write_xarray
    from sweeps.results import Run

    if is_published(run):
        return
    write_xarray(run.store, ROWS, Run(run, plan, manifest).to_xarray())
    marker = {"manifest": hashlib.sha256(manifest.to_bytes()).hexdigest(), "result_digest": manifest.result_digest}
    if not run.put_first(_MARKER, to_json(marker)) and run.read_json(_MARKER) != marker:
        raise DivergenceError(f"{run.url}/{_MARKER} names another manifest than the one that is there")


def is_published(run: RunStore) -> bool:
    """Return whether the rows are there as a whole Zarr group."""
    return run.store.exists(_MARKER)
