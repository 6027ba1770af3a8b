import json

import numpy as np
import pytest
import xarray as xr

from datasets.publish import open_xarray, write_xarray
from datasets.store import open_store


@pytest.fixture
def rows() -> xr.Dataset:
    return xr.Dataset(
        {
            "sharpe": (("asset", "fold", "fast"), np.linspace(-1, 1, 12).reshape(2, 2, 3), {"unit": "1"}),
            "status": (("asset", "fold", "fast"), np.zeros((2, 2, 3), dtype=np.uint8)),
            "reason": ("fast", np.array(["", "too short", "ü"])),
        },
        coords={
            "asset": ["SPX", "IXIC"],
            "fold": np.array(["train", "test"], dtype=object),
            "fast": [5, 10, 15],
            "start": ("fold", np.array([1, 2], dtype="datetime64[ns]")),
        },
        attrs={"identity": "ab" * 32},
    )


def test_write_xarray__comes_back_equal(store_url, rows):
    store = open_store(store_url)
    write_xarray(store, "runs/1/rows.zarr", rows)
    again = open_xarray(store, "runs/1/rows.zarr")
    xr.testing.assert_equal(again.load(), rows)
    assert again.attrs == rows.attrs
    assert again["sharpe"].attrs == {"unit": "1"}
    assert float(again["sharpe"].sel(asset="IXIC", fold="test", fast=15)) == 1.0


def test_write_xarray__replaces_what_was_there(store_url, rows):
    store = open_store(store_url)
    write_xarray(store, "rows.zarr", rows)
    write_xarray(store, "rows.zarr", rows[["status"]].isel(fast=slice(1)))
    again = open_xarray(store, "rows.zarr")
    assert list(again.data_vars) == ["status"]
    assert again.sizes["fast"] == 1


def test_write_xarray__puts_a_checksum_on_every_chunk(tmp_path, rows):
    store = open_store(tmp_path)
    write_xarray(store, "rows.zarr", rows)
    for key in store.list("rows.zarr/"):
        if key.endswith("/zarr.json") and key != "rows.zarr/zarr.json":
            assert json.loads(store.get(key))["codecs"][-1]["name"] == "crc32c"
    key = next(key for key in store.list("rows.zarr/sharpe/") if "/c/" in key)
    data = bytearray(store.get(key))
    data[len(data) // 2] ^= 1
    store.put(key, bytes(data))
    with pytest.raises(ValueError, match="checksum"):
        open_xarray(store, "rows.zarr").load()


def test_published_rows__open_with_xarray_alone(tmp_path, rows):
    store = open_store(tmp_path)
    write_xarray(store, "rows.zarr", rows)
    xr.testing.assert_equal(xr.open_zarr(tmp_path / "rows.zarr", chunks=None).load(), rows)
