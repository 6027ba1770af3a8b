"""What may stand in an array's `zarr.json`: checked before anything of it is believed.

Metadata decide what is allocated and which codecs are loaded. Those of a dataset are covered by its manifest, but
whoever made the dataset made the manifest too; so only what our own writers write is accepted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping
from typing import Any

from quantbot.errors import DataError

MAX_CHUNK_BYTES = 64 * 1024**2  # what one read decodes; ours have 8 MiB at most
MAX_SHARD_BYTES = 1024**3
_ITEM_BYTES = {
    "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8,
    "float32": 4, "float64": 8, "string": 16,
}  # fmt: skip
_CODECS = ("bytes", "vlen-utf8", "blosc", "zstd", "crc32c", "sharding_indexed")
_MAX_DIMS = 32


def check_metadata(data: bytes, folder: str, objects: Container[str], where: str) -> None:
    """Raise `DataError` unless `zarr.json` describes a group, or an array whose every chunk is there.

    Parameters
    ----------
    folder
        Where the array's chunks lie.
    objects
        The keys that are there.
    """
    try:
        document = json.loads(data)
        nodes = {"": document}
        consolidated = document.get("consolidated_metadata")
        if consolidated:
            nodes |= consolidated["metadata"]
        for path, node in nodes.items():
            _check_node(node, f"{folder}/{path}".strip("/"), objects, f"{where} {path}".strip())
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where} describes no array that QuantBot writes ({type(error).__name__}: {error})") from error


def _check_node(node: Mapping[str, Any], folder: str, objects: Container[str], where: str) -> None:
    if node["zarr_format"] != 3 or node["node_type"] not in ("group", "array"):
        raise DataError(f"{where} must be a group or an array of Zarr 3, was {node['node_type']!r:.60}")
    if node["node_type"] == "group":
        return
    dtype = node["data_type"]
    if dtype not in _ITEM_BYTES:
        raise DataError(f"{where}: its type must be one of {', '.join(_ITEM_BYTES)}; was {dtype!r:.100}")
    if node.get("storage_transformers"):
        raise DataError(f"{where}: storage transformers are not accepted")
    _check_fill(node["fill_value"], dtype, where)
    shape = _sizes(node["shape"], "shape", where, least=0)
    grid = node["chunk_grid"]
    if grid["name"] != "regular":
        raise DataError(f"{where}: its chunk grid must be regular, was {grid['name']!r:.60}")
    chunks = _sizes(grid["configuration"]["chunk_shape"], "chunk", where)
    if len(chunks) != len(shape):
        raise DataError(f"{where}: a chunk of {len(chunks)} dimensions in an array of {len(shape)}")
    sharded = _check_codecs(node["codecs"], chunks, dtype, where)
    limit = MAX_SHARD_BYTES if sharded else MAX_CHUNK_BYTES
    if math.prod(chunks) * _ITEM_BYTES[dtype] > limit:
        raise DataError(f"{where}: one object of {chunks} {dtype} is more than {limit // 1024**2} MiB")
    encoding = node["chunk_key_encoding"]
    if encoding["name"] != "default" or encoding.get("configuration", {}).get("separator", "/") != "/":
        raise DataError(f"{where}: chunks must be named c/0/0, are {encoding!r:.100}")
    _check_complete(shape, chunks, folder, objects, where)


def _check_complete(
    shape: tuple[int, ...], chunks: tuple[int, ...], folder: str, objects: Container[str], where: str
) -> None:
    """Refuse an array that claims a chunk without an object, the first time: a claim of 10^12 costs nothing."""
    counts = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
    for number in range(math.prod(counts)):
        place = list[str]()
        for count in reversed(counts):
            number, index = divmod(number, count)
            place.insert(0, str(index))
        key = "/".join([folder, "c", *place])
        if key not in objects:
            raise DataError(f"{where}: claims {shape} in {math.prod(counts)} objects, but there is no {key}")


def _check_codecs(codecs: Any, chunks: tuple[int, ...], dtype: str, where: str) -> bool:
    """Check names of codecs, and the inner chunks of a shard; return whether there are any."""
    names = [codec["name"] for codec in codecs]
    unknown = [name for name in names if name not in _CODECS]
    if unknown:
        raise DataError(f"{where}: its codecs must be of {', '.join(_CODECS)}; was {unknown[0]!r:.60}")
    if "sharding_indexed" not in names:
        return False
    inner = codecs[names.index("sharding_indexed")]["configuration"]
    cells = _sizes(inner["chunk_shape"], "inner chunk", where)
    if len(cells) != len(chunks) or any(chunk % cell for chunk, cell in zip(chunks, cells, strict=True)):
        raise DataError(f"{where}: inner chunks {cells} do not divide shards {chunks}")
    if math.prod(cells) * _ITEM_BYTES[dtype] > MAX_CHUNK_BYTES:
        raise DataError(f"{where}: an inner chunk of {cells} {dtype} is more than {MAX_CHUNK_BYTES // 1024**2} MiB")
    if any(codec["name"] == "sharding_indexed" for codec in (*inner["codecs"], *inner["index_codecs"])):
        raise DataError(f"{where}: shards in shards are not accepted")
    _check_codecs(inner["codecs"], cells, dtype, where)
    _check_codecs(inner["index_codecs"], cells, dtype, where)
    return True


def _check_fill(fill: Any, dtype: str, where: str) -> None:
    if dtype == "string":
        good = isinstance(fill, str)
    elif dtype.startswith("float"):
        good = isinstance(fill, (int, float)) or fill in ("NaN", "Infinity", "-Infinity")
    else:
        good = isinstance(fill, int)
    if not good:
        raise DataError(f"{where}: {fill!r:.60} fills no array of {dtype}")


def _sizes(found: Any, what: str, where: str, least: int = 1) -> tuple[int, ...]:
    good = isinstance(found, list) and len(found) <= _MAX_DIMS
    if not good or any(not isinstance(size, int) or isinstance(size, bool) or size < least for size in found):
        raise DataError(f"{where}: its {what} must be at most {_MAX_DIMS} whole numbers, was {found!r:.100}")
    return tuple(found)
