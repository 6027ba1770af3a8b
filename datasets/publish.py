"""Tables for anybody with xarray: one writer, Zarr 3, a checksum on every chunk."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from datasets.store import Store

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["open_xarray", "write_xarray"]

# Chunks of whole arrays up to this many bytes: published rows are small, and each chunk is a request.
_CHUNK_BYTES = 4 * 1024**2


def write_xarray(store: Store, prefix: str, dataset: xr.Dataset) -> None:
    """Write `dataset` as a Zarr group at `prefix`, replacing what was there.

    One writer at a time: a chunk that two write is lost. Text variables become variable-length strings.
    """
    from zarr.codecs import BloscCodec, Crc32cCodec

    codecs = [BloscCodec(cname="zstd", clevel=3), Crc32cCodec()]
    encoded = _with_portable_text(dataset)
    encoding = {
        name: {"compressors": codecs, "chunks": _chunks(variable.shape, variable.dtype.itemsize)}
        for name, variable in encoded.variables.items()
        if variable.size
    }
    with warnings.catch_warnings():
        # One request in place of one an array; every reader that doesn't know it ignores it.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part", category=UserWarning)
        encoded.to_zarr(store.zarr(prefix), mode="w", zarr_format=3, consolidated=True, encoding=encoding)


def open_xarray(store: Store, prefix: str) -> xr.Dataset:
    """Return the Zarr group at `prefix`, lazily and without Dask."""
    import xarray as xr

    source = store.zarr(prefix, read_only=True)
    dataset: xr.Dataset = xr.open_zarr(source, zarr_format=3, consolidated=True, chunks=None)
    return dataset


def _with_portable_text(dataset: xr.Dataset) -> xr.Dataset:
    """Return `dataset` with text as variable-length strings: Zarr 3 specifies no other."""
    import numpy as np

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
