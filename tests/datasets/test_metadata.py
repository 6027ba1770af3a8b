"""A dataset that somebody made to hurt: its manifest fits its objects, and what they claim is refused all the same."""

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from numcodecs import blosc, zstd

from datasets.bars import BarsMeta, Dataset, write_bars
from datasets.codecs import zstd_bytes
from datasets.manifest import Manifest, StoredObject
from datasets.metadata import check_metadata
from datasets.store import open_store
from quantbot.errors import CorruptError, DataError, QuantBotError

META = BarsMeta("Some bars", "tests", "1d", 252.0, synthetic=True)
ARRAY: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4],
    "data_type": "float64",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": "NaN",
    "codecs": [{"name": "bytes"}, {"name": "blosc"}, {"name": "crc32c"}],
}


def grid(*chunk: int) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": list(chunk)}}


def checked(**changes: Any) -> None:
    check_metadata(json.dumps(ARRAY | changes).encode(), "x/close", {"x/close/c/0"}, "test: x/close/zarr.json")


def test_metadata__that_we_write_are_accepted() -> None:
    checked()
    checked(fill_value=0, data_type="int64")
    checked(data_type="string", fill_value="", codecs=[{"name": "vlen-utf8"}, {"name": "zstd"}])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": [10**12]}, r"claims \(1000000000000,\) in 250000000000 objects, but there is no x/close/c/1"),
        ({"shape": [10**12], "chunk_grid": grid(10**12)}, "is more than 64 MiB"),
        ({"shape": [-4]}, "its shape must be"),
        ({"shape": [True]}, "its shape must be"),
        ({"shape": [4] * 33, "chunk_grid": grid(*[1] * 33)}, "at most 32"),
        ({"chunk_grid": grid(0)}, "its chunk must be"),
        ({"chunk_grid": {"name": "variable"}}, "must be regular"),
        ({"data_type": "float128"}, "its type must be one of"),
        ({"data_type": "object"}, "its type must be one of"),
        ({"data_type": {"name": "structured", "configuration": {}}}, "no array that QuantBot writes|its type"),
        ({"codecs": [{"name": "numcodecs.pickle"}]}, "its codecs must be of"),
        ({"codecs": [{"name": "mine.evil"}]}, "its codecs must be of"),
        ({"codecs": "bytes"}, "no array that QuantBot writes"),
        ({"data_type": "int64", "fill_value": "NaN"}, "fills no array of int64"),
        ({"fill_value": [1]}, "fills no array"),
        ({"zarr_format": 2}, "Zarr 3"),
        ({"storage_transformers": [{"name": "x"}]}, "storage transformers"),
        ({"chunk_key_encoding": {"name": "v2"}}, "must be named"),
    ],
)
def test_metadata__that_claim_too_much_are_refused_at_once(changes: dict[str, Any], said: str) -> None:
    began = time.perf_counter()
    with pytest.raises(DataError, match=said):
        checked(**changes)
    assert time.perf_counter() - began < 0.5


def test_metadata__of_shards_are_checked_inside(tmp_path: Path) -> None:
    def sharded(inner: int, *codecs: str) -> list[dict[str, Any]]:
        return [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [inner],
                    "codecs": [{"name": name} for name in codecs],
                    "index_codecs": [{"name": "bytes"}],
                },
            }
        ]

    checked(codecs=sharded(2, "bytes"))
    for inner, codecs in ((3, ("bytes",)), (2, ("mine",)), (2, ("sharding_indexed",))):
        with pytest.raises(DataError):
            checked(codecs=sharded(inner, *codecs))
    metadata = {"a": ARRAY | {"data_type": "O"}}
    consolidated = {"zarr_format": 3, "node_type": "group", "consolidated_metadata": {"metadata": metadata}}
    with pytest.raises(DataError, match="its type"):
        check_metadata(json.dumps(consolidated).encode(), "x", set(), "group")


@pytest.fixture
def forged(tmp_path: Path, some_bars: Callable[..., Any]) -> Callable[[str, bytes], Dataset]:
    """Replace one object of a good dataset, and its line in the manifest."""

    def forge(ending: str, data: bytes) -> Dataset:
        good = write_bars(open_store(tmp_path), "test/x", {"A": some_bars(64)}, META, {})
        key = next(key for key in good.manifest.objects if key.endswith(ending))
        good.root.put(f"datasets/test/x/v={good.version}/{key}", data)
        manifest = Manifest(good.manifest.head, {**good.manifest.objects, key: StoredObject.of(data)})
        return Dataset(good.root, "test/x", good.version, Manifest.from_bytes(manifest.to_bytes(), "forged"))

    return forge


def test_forged_zarr_json__never_reaches_zarr(forged: Callable[[str, bytes], Dataset]) -> None:
    claim = json.dumps(ARRAY | {"shape": [10**12, 1], "chunk_grid": grid(10**6, 1)}).encode()
    tracemalloc.start()
    with pytest.raises(DataError, match=r"close/zarr\.json .*10\*\*12|close/zarr\.json .*1000000000000"):
        forged("close/zarr.json", claim).columns("A")
    assert tracemalloc.get_traced_memory()[1] < 32e6
    tracemalloc.stop()


def with_checksum(frame: bytes) -> bytes:
    return frame + google_crc32c.value(frame).to_bytes(4, "little")


def test_blosc_bomb__is_refused_before_it_unpacks(forged: Callable[[str, bytes], Dataset]) -> None:
    bomb = bytes(blosc.compress(np.zeros(32 * 1024**2, np.float64), b"zstd", 9, 1))  # 256 MiB from some kB
    assert len(bomb) < 2e6
    shard = with_checksum(bomb)
    index = np.array([0, len(shard)], "<u8").tobytes()
    dataset = forged("close/c/0/0", shard + with_checksum(index))
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(QuantBotError, match=r"has 512 bytes, its frame says 268435456"):
        dataset.columns("A")
    assert time.perf_counter() - began < 0.5
    assert tracemalloc.get_traced_memory()[1] < 64e6
    tracemalloc.stop()


@pytest.mark.parametrize("n", [0, 1, 255, 256, 300, 65_791, 65_792, 70_000, 10**6])
def test_zstd_bytes__are_what_a_frame_unpacks_to(n: int) -> None:
    assert zstd_bytes(bytes(zstd.compress(bytes(n), 1))[:18]) == n


def test_zstd_bytes__of_no_frame_are_refused() -> None:
    for head in (b"", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\x00\x00", b"no frame at all"):
        with pytest.raises(CorruptError):
            zstd_bytes(head)
