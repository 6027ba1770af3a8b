"""Tables for anybody with xarray: one writer, Zarr 3, a checksum on every chunk."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets.manifest import StoredObject, VerifiedObjects
from datasets.store import Store

if TYPE_CHECKING:
    import xarray as xr

    from datasets.store_zarr import ZarrStore

__all__ = ["Slab", "Variable", "open_verified", "open_xarray", "slabs", "write_table", "write_xarray"]

# Chunks of whole arrays up to this many bytes: published rows are small, and each chunk is a request.
_CHUNK_BYTES = 4 * 1024**2
_CHUNK_CELLS = 128 * 1024  # of a table: what a reader of a part fetches, 1 MB of numbers
_CHUNKS_A_SHARD = 4  # a shard is one object; all arrays' cells of one shard are in memory at a time
_WRITERS = 4  # arrays that are compressed and written at a time


@dataclass(frozen=True)
class Variable:
    """One array of a table: its type, what stands where nothing was written, and what describes it."""

    dtype: np.dtype[Any]
    fill: float
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Slab:
    """Neighbouring cells of an array, in its flat order, which are whole shards.

    Attributes
    ----------
    start, stop
        Half-open range of cells, the last dimension fastest.
    region
        The same cells by dimension.
    """

    start: int
    stop: int
    region: tuple[slice, ...]


def write_table(
    store: Store,
    prefix: str,
    labels: xr.Dataset,
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    variables: Mapping[str, Variable],
    cells: Callable[[Slab], Mapping[str, NDArray[Any]]],
) -> dict[str, StoredObject]:
    """Write arrays of one shape as a Zarr group at `prefix`, sharded, replacing what was there.

    Returns every object that was written, by its key under `prefix`: what `open_verified` compares with.

    No more than one slab of cells is in memory at a time. One writer at a time, as for `write_xarray`.

    Parameters
    ----------
    labels
        Coordinates and attributes of the group.
    cells
        Gives every variable's cells of a slab, flat; asked for slab after slab, in their order.
    """
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    from datasets.arrays import RecordingZarr

    target = RecordingZarr(store.child(prefix))
    _write(target, labels)
    group = zarr.open_group(target, mode="r+", zarr_format=3)
    chunks, shards = _tiles(shape)
    arrays = {
        name: group.create_array(
            name,
            shape=shape,
            dtype=variable.dtype,
            chunks=chunks,
            shards=shards,
            compressors=[BloscCodec(cname="zstd", clevel=1), Crc32cCodec()],
            fill_value=variable.fill,
            dimension_names=dims,
            attributes=dict(variable.attributes),
            config={"write_empty_chunks": True},  # so that what is absent is lost
        )
        for name, variable in variables.items()
    }

    def write(name: str) -> None:
        arrays[name][slab.region] = found[name].reshape(tuple(part.stop - part.start for part in slab.region))

    with ThreadPoolExecutor(_WRITERS, "publish") as pool:
        for slab in slabs(shape):
            found = cells(slab)
            for _ in pool.map(write, arrays):
                pass
    with _unspecified():
        zarr.consolidate_metadata(target, zarr_format=3)
    return target.written


def slabs(shape: tuple[int, ...]) -> Iterator[Slab]:
    """Yield the cells of a table of this shape, a row of shards at a time, in flat order.

    Examples
    --------
    >>> [(slab.start, slab.stop) for slab in slabs((2, 700_000))]
    [(0, 524288), (524288, 700000), (700000, 1224288), (1224288, 1400000)]
    """
    _, shards = _tiles(shape)
    axis = _cut_axis(shape)
    n_after = math.prod(shape[axis + 1 :])
    for number, before in enumerate(np.ndindex(*shape[:axis])):
        for first in range(0, shape[axis], shards[axis]):
            last = min(first + shards[axis], shape[axis])
            start = (number * shape[axis] + first) * n_after
            whole = tuple(slice(0, size) for size in shape[axis + 1 :])
            lead = tuple(slice(i, i + 1) for i in before)
            yield Slab(start, start + (last - first) * n_after, (*lead, slice(first, last), *whole))


def _cut_axis(shape: tuple[int, ...]) -> int:
    """Return the axis that chunks and shards cut: whole along later ones, single along earlier ones."""
    n_after = 1
    for axis in range(len(shape) - 1, 0, -1):
        if n_after * shape[axis] > _CHUNK_CELLS:
            return axis
        n_after *= shape[axis]
    return 0


def _tiles(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of chunks and of shards, each shard a range of the flat order of cells."""
    axis = _cut_axis(shape)
    n_after = math.prod(shape[axis + 1 :])
    cut = max(1, min(_CHUNK_CELLS // n_after, shape[axis]))
    shard = cut * min(_CHUNKS_A_SHARD, math.ceil(shape[axis] / cut))
    lead, whole = (1,) * axis, shape[axis + 1 :]
    return (*lead, cut, *whole), (*lead, shard, *whole)


def write_xarray(store: Store, prefix: str, dataset: xr.Dataset) -> None:
    """Write `dataset` as a Zarr group at `prefix`, replacing what was there.

    One writer at a time: a chunk that two write is lost. Text variables become variable-length strings.
    """
    _write(store.zarr(prefix), dataset)


def _write(target: ZarrStore, dataset: xr.Dataset) -> None:
    from zarr.codecs import BloscCodec, Crc32cCodec

    codecs = [BloscCodec(cname="zstd", clevel=3), Crc32cCodec()]
    encoded = _with_portable_text(dataset)
    encoding = {
        name: {"compressors": codecs, "chunks": _chunks(variable.shape, variable.dtype.itemsize)}
        for name, variable in encoded.variables.items()
        if variable.size
    }
    with _unspecified():
        encoded.to_zarr(
            target, mode="w", zarr_format=3, consolidated=True, encoding=encoding,
            write_empty_chunks=True,  # so that what is absent is lost: one fold's dates are 0 days after the first
        )  # fmt: skip


def open_xarray(store: Store, prefix: str) -> xr.Dataset:
    """Return the Zarr group at `prefix`, lazily and without Dask; nothing but its checksums is verified."""
    import xarray as xr

    source = store.zarr(prefix, read_only=True)
    dataset: xr.Dataset = xr.open_zarr(source, zarr_format=3, consolidated=True, chunks=None)
    return dataset


def open_verified(store: Store, prefix: str, objects: Mapping[str, StoredObject], label: str) -> xr.Dataset:
    """Return the Zarr group at `prefix`, lazily: what is indexed is read, and compared with `objects`.

    Raises
    ------
    CorruptError
        When something is indexed whose object is missing or is not the one that was written; it names `label`.
    """
    import xarray as xr

    from datasets.store_zarr import VerifiedZarr

    verified = VerifiedObjects(store, {f"{prefix}/{key}": each for key, each in objects.items()}, label)
    dataset: xr.Dataset = xr.open_zarr(VerifiedZarr(verified, prefix), zarr_format=3, consolidated=True, chunks=None)
    return dataset


@contextmanager
def _unspecified() -> Iterator[None]:
    """Consolidate metadata without a warning: one request in place of one an array; who doesn't know it ignores it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part", category=UserWarning)
        yield


def _with_portable_text(dataset: xr.Dataset) -> xr.Dataset:
    """Return `dataset` with text as variable-length strings: Zarr 3 specifies no other."""
    text = {
        name: (variable.dims, variable.values.astype(np.dtypes.StringDType()), variable.attrs)
        for name, variable in dataset.variables.items()
        if variable.dtype.kind in "UO"
    }
    return dataset.assign({name: text[name] for name in text if name in dataset.data_vars}).assign_coords(
        {name: text[name] for name in text if name in dataset.coords}
    )


def _chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return chunks that are whole along the last axes and cut along the first ones."""
    chunks: list[int] = []
    room = max(_CHUNK_BYTES // itemsize, 1)
    for size in reversed(shape):
        chunk = max(1, min(size, room))
        chunks.append(chunk)
        room = max(room // chunk, 1)
    return tuple(reversed(chunks))
