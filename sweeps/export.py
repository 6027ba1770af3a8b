"""A run's rows for other programs: CSV and Parquet of a selection, NetCDF of the whole labelled cube."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.results import Run

Kind = Literal["csv", "parquet", "netcdf"]
_CHUNK_ROWS = 100_000


def export(
    run: Run,
    kind: Kind,
    *,
    fold: str | None = None,
    asset: str | None = None,
    points: NDArray[np.bool_] | None = None,
) -> bytes:
    """Return a file's bytes.

    Parameters
    ----------
    kind
        "csv" and "parquet" have a row a trial as `Run.table` has; "netcdf" is `Run.to_xarray`, whole.
    fold, asset, points
        Which trials a table has; all where not said. `points` is a mask of shape (n_points,).
    """
    if kind in ("csv", "parquet"):
        return _table(run, kind, fold, asset, points)
    if kind == "netcdf":
        return _netcdf(run)
    raise InputError(f"kind must be csv, parquet or netcdf; found {kind!r}")


def _table(run: Run, kind: Kind, fold: str | None, asset: str | None, points: NDArray[np.bool_] | None) -> bytes:
    """Write the table part by part: a million rows are never text columns all at once."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    target = io.BytesIO()
    open_writer = pyarrow.csv.CSVWriter if kind == "csv" else pyarrow.parquet.ParquetWriter
    writer = None
    for part in _parts(run, fold, asset, points):
        words = [name for name in part.columns if part[name].dtype.kind in "OU"]
        table = pa.Table.from_pandas(part.astype(dict.fromkeys(words, "string")), preserve_index=False)
        writer = writer or open_writer(target, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return target.getvalue()


def _parts(run: Run, fold: str | None, asset: str | None, points: NDArray[np.bool_] | None) -> Iterator[pd.DataFrame]:
    offset = 0
    while True:
        part = run.table(offset, _CHUNK_ROWS, fold=fold, asset=asset, points=points)
        if len(part) or not offset:  # an empty table has its header
            yield part
        offset += _CHUNK_ROWS
        if len(part) < _CHUNK_ROWS:
            return


def _netcdf(run: Run) -> bytes:
    """Write NetCDF 3 with 64-bit offsets, which scipy writes and every reader reads.

    It has no 64-bit integers: trials' status stays a byte, and times are seconds as doubles.
    """
    cube = run.to_xarray()
    seconds = {"units": "seconds since 1970-01-01", "dtype": "float64"}
    encoding = {name: seconds for name in ("fold_start", "fold_end") if name in cube.coords}
    cube = cube.rename({name: name.replace(".", "_") for name in map(str, [*cube.dims, *cube.coords]) if "." in name})
    cube["status"] = cube["status"].astype(np.int8)
    found = cube.to_netcdf(engine="scipy", encoding=encoding, format="NETCDF3_64BIT")
    return bytes(found)
