import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import bars as bars_module
from datasets import layout, manifest
from datasets.bars import BarColumns, BarsMeta, read_version, version_of, write_bars
from datasets.catalog import Catalog
from datasets.store import open_store
from quantbot.errors import CorruptError, DataError, FormatError, InputError, NotFoundError, StoreError, TooLargeError

META = BarsMeta(title="Some bars", source="drawn", interval="1d", periods_per_year=252.0, synthetic=True)
NAME = "test/some"


def assert_same(found: BarColumns, expected: BarColumns) -> None:
    assert found.names == expected.names
    np.testing.assert_array_equal(found.ts_end_ns, expected.ts_end_ns)
    for name, values in expected.items():
        np.testing.assert_array_equal(getattr(found, name), values)


@pytest.fixture
def dense(some_bars):
    """Assets of different length that share most times; one has adjustment factors."""
    return {"B/USD": some_bars(300, 1, 10_100, adjusted=True), "A": some_bars(500), "^C": some_bars(400, 2, 10_050)}


@pytest.fixture
def ragged(some_bars):
    """Assets that share no time."""
    return {"A": some_bars(300), "B": some_bars(200, 1, 20_000, adjusted=True), "C": some_bars(500, 2, 30_000)}


@pytest.mark.parametrize("shape", ["dense", "ragged"])
def test_write_bars__gives_back_what_was_written(store_url, shape, request):
    columns = request.getfixturevalue(shape)
    root = open_store(store_url)
    quality = {"findings": [], "note": "ü"}
    written = write_bars(root, NAME, columns, META, quality)
    opened = read_version(open_store(store_url), NAME, written.version)
    assert opened.layout == shape
    assert opened.assets == tuple(sorted(columns))
    assert opened.quality == quality
    assert opened.meta == META
    assert opened.kind == "bars"
    assert opened.start_ns == min(each.ts_end_ns[0] for each in columns.values())
    assert opened.end_ns == max(each.ts_end_ns[-1] for each in columns.values())
    assert opened.n_times == len(np.unique(np.concatenate([each.ts_end_ns for each in columns.values()])))
    for asset, expected in columns.items():
        assert_same(opened.columns(asset), expected)
        np.testing.assert_array_equal(opened.times(asset), expected.ts_end_ns)
        assert opened.n_bars(asset) == len(expected)
        assert opened.span(asset) == (expected.ts_end_ns[0], expected.ts_end_ns[-1])
    assert opened.damage() == []


def test_bars__are_the_adjusted_view(tmp_path, dense):
    dataset = write_bars(open_store(tmp_path), NAME, dense, META, {})
    raw, view = dense["B/USD"], dataset.bars("B/USD")
    np.testing.assert_array_equal(view.close, raw.close * raw.adjustment)
    np.testing.assert_array_equal(view.volume, raw.volume / raw.adjustment)
    np.testing.assert_array_equal(dataset.bars("A").close, dense["A"].close)
    assert view.periods_per_year == 252.0
    assert view.instrument.symbol == "B/USD"
    assert view.close.flags.c_contiguous


@pytest.mark.parametrize("shape", ["dense", "ragged"])
def test_to_xarray__is_time_by_asset_with_nan_where_there_is_no_bar(store_url, shape, request):
    columns = request.getfixturevalue(shape)
    table = write_bars(open_store(store_url), NAME, columns, META, {}).to_xarray()
    assert table["close"].dims == ("time", "asset")
    assert table["time"].dtype == "datetime64[ns]"
    for asset, expected in columns.items():
        for name, values in expected.items():
            series = table[name].sel(asset=asset).dropna("time")
            np.testing.assert_array_equal(series.values, values)
            np.testing.assert_array_equal(series["time"].values.astype(np.int64), expected.ts_end_ns)


def test_to_xarray__of_both_layouts_is_one_table(tmp_path, dense, monkeypatch):
    lazy = write_bars(open_store(tmp_path / "dense"), NAME, dense, META, {}).to_xarray().load()
    monkeypatch.setattr(layout, "DENSE_LIMIT", 0.0)
    dataset = write_bars(open_store(tmp_path / "ragged"), NAME, dense, META, {})
    assert dataset.layout == "ragged"
    xr.testing.assert_equal(lazy, dataset.to_xarray())
    monkeypatch.setattr(bars_module, "_MAX_UNION_BYTES", 1_000)
    with pytest.raises(TooLargeError, match="one by one"):
        dataset.to_xarray()


def test_zarr_group__opens_with_xarray_alone(tmp_path, dense):
    dataset = write_bars(open_store(tmp_path), NAME, dense, META, {})
    table = xr.open_zarr(dataset.zarr_url, consolidated=False, chunks=None)
    np.testing.assert_array_equal(table["close"].sel(asset="A").values, dense["A"].close)
    assert table.attrs["title"] == "Some bars"
    assert table["close"].attrs["units"] == "currency per unit"


def test_layout__cuts_large_arrays_into_shards_that_are_written_and_read_whole(tmp_path, some_bars, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK_BYTES", 800)
    monkeypatch.setattr(layout, "SHARD_BYTES", 3_200)
    columns = {f"A{n:02d}": some_bars(950 - n, n) for n in range(5)}
    for limit, name in ((2.0, "dense"), (0.0, "ragged")):
        monkeypatch.setattr(layout, "DENSE_LIMIT", limit)
        dataset = write_bars(open_store(tmp_path / name), NAME, columns, META, {})
        shards = [key for key in dataset.manifest.objects if "/close/c/" in key]
        assert len(shards) > 10
        for asset, expected in columns.items():
            assert_same(dataset.columns(asset), expected)


@pytest.mark.parametrize(
    ("rows", "assets"),
    [(1, 1), (5_000, 500), (500_000, 100), (3_000_000, 1), (10_000_000, 20), (262_145, None), (7, None)],
)
def test_grid__keeps_chunks_and_shards_in_their_bounds(rows, assets):
    grid = layout.grid(rows, assets)
    chunk_bytes, shard_bytes = np.prod(grid.chunks) * 8, np.prod(grid.shards) * 8
    assert chunk_bytes <= layout.CHUNK_BYTES
    assert shard_bytes <= layout.SHARD_BYTES * 1.01
    assert all(shard % chunk == 0 for shard, chunk in zip(grid.shards, grid.chunks, strict=True))
    if rows > 200_000:
        assert chunk_bytes >= layout.CHUNK_BYTES / 2
    covered = sum(int(np.prod([part.stop - part.start for part in region])) for region in grid.regions())
    assert covered == np.prod(grid.shape)


def test_one_asset__is_read_without_the_others(tmp_path, some_bars, monkeypatch):
    monkeypatch.setattr(manifest, "SEGMENT_BYTES", 4_096)
    columns = {f"A{n:03d}": some_bars(2_000, n) for n in range(60)}
    dataset = write_bars(open_store(tmp_path), NAME, columns, META, {})
    read: list[int] = []
    get = type(dataset.root).get

    def counted(self, key, start=0, length=None):
        data = get(self, key, start, length)
        read.append(len(data))
        return data

    monkeypatch.setattr(type(dataset.root), "get", counted)
    assert_same(dataset.columns("A031"), columns["A031"])
    stored = sum(each.size for each in dataset.manifest.objects.values())
    assert sum(read) < stored / 10


def test_version__is_the_same_on_every_store_and_in_every_process(tmp_path, s3_url, dense):
    on_disk = write_bars(open_store(tmp_path / "a"), NAME, dense, META, {"n": 1})
    on_s3 = write_bars(open_store(s3_url), "another/name", dict(reversed(dense.items())), META, {"n": 2})
    assert on_disk.version == on_s3.version == version_of(dense, META)
    assert len(on_disk.version) == 64


def test_version__moves_with_content_and_description_only(some_bars):
    columns = {"A": some_bars(100)}
    version = version_of(columns, META)
    fields = {name: getattr(columns["A"], name).copy() for name in ("ts_end_ns", *columns["A"].names)}
    assert version_of({"A": BarColumns(**fields)}, META) == version
    others = [{"B": columns["A"]}, {"A": some_bars(99)}, {"A": columns["A"], "B": columns["A"]}]
    others.append({"A": BarColumns(**fields, adjustment=np.ones(100))})
    for name in fields:
        changed = {key: values.copy() for key, values in fields.items()}
        changed[name][7] = (
            changed[name][7] + 1 if name in ("ts_end_ns", "volume") else np.nextafter(changed[name][7], 0)
        )
        if name == "high":
            changed[name][7] = fields[name][7] + 1
        if name == "low":
            changed[name][7] = fields[name][7] - 1
        others.append({"A": BarColumns(**changed)})
    versions = [version_of(other, META) for other in others]
    versions.append(version_of(columns, BarsMeta("Some bars", "drawn", "1d", 253.0, synthetic=True)))
    assert len({version, *versions}) == len(versions) + 1


def test_minus_zero__is_zero(some_bars):
    bars = some_bars(10)
    volume = np.zeros(10)
    plus = BarColumns(bars.ts_end_ns, bars.open, bars.high, bars.low, bars.close, volume)
    minus = BarColumns(bars.ts_end_ns, bars.open, bars.high, bars.low, bars.close, -volume)
    assert plus.digest() == minus.digest()


def test_same_content__is_written_once(store_url, dense):
    root = open_store(store_url)
    first = write_bars(root, NAME, dense, META, {"n": 1})
    before = {key: root.modified_ns(key) for key in root.list()}
    again = write_bars(root, NAME, dense, META, {"n": 2})
    assert again.version == first.version
    assert again.quality == {"n": 1}
    assert {key: root.modified_ns(key) for key in root.list()} == before


def test_older_version__becomes_the_newest_by_a_pointer_alone(tmp_path, dense, some_bars):
    root = open_store(tmp_path)
    first = write_bars(root, NAME, dense, META, {})
    second = write_bars(root, NAME, {"A": some_bars(10)}, META, {})
    n_objects = len(root.list())
    write_bars(root, NAME, dense, META, {})
    assert len(root.list()) == n_objects + 1
    assert Catalog(root).open(NAME).version == first.version
    assert [each.version for each in Catalog(root).versions(NAME)] == [first.version, second.version]


def test_writers_at_once__make_one_version(store_url, dense, some_bars):
    root = open_store(store_url)
    jobs = [dense, dense, {"A": some_bars(50)}, dense]
    with ThreadPoolExecutor(4) as pool:
        datasets = list(pool.map(lambda columns: write_bars(root, NAME, columns, META, {}), jobs))
    assert len({dataset.version for dataset in datasets}) == 2
    for dataset in datasets:
        assert dataset.damage() == []
    catalog = Catalog(root)
    assert {each.version for each in catalog.versions(NAME)} == {dataset.version for dataset in datasets}
    folders = {key.split("/data-")[1].split("/")[0] for key in root.list("datasets/") if "/data-" in key}
    assert len(folders) == 2, "the attempts that lost clean up after themselves"


KILLED = """
import sys
import numpy as np
from datasets.bars import BarColumns, BarsMeta, write_bars
from datasets.store import open_store
root = open_store(sys.argv[1])
left = int(sys.argv[2])
put = type(root).put
def counted(self, key, data):
    global left
    if left == 0:
        print("half way", flush=True)
        sys.stdin.read()
    left -= 1
    put(self, key, data)
type(root).put = counted
type(root).put_new = lambda self, key, data: counted(self, key, data) or True
close = np.linspace(1, 2, 100)
columns = {"A": BarColumns(np.arange(100), close, close, close, close, close)}
write_bars(root, "test/some", columns, BarsMeta("Some bars", "drawn", "1d", 252.0), {})
print("done", flush=True)
"""


def test_killed_writer__leaves_no_dataset_and_does_not_disturb_the_next(store_url):
    root = open_store(store_url)
    close = np.linspace(1, 2, 100)
    columns = {"A": BarColumns(np.arange(100), close, close, close, close, close)}
    meta = BarsMeta("Some bars", "drawn", "1d", 252.0)
    for n_objects in (5, 16) if store_url.startswith("file") else (16,):
        command = [sys.executable, "-c", KILLED, store_url, str(n_objects)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"half way\n"
            writer.kill()
        assert len(root.list()) >= n_objects
        assert Catalog(root).names() == []
        with pytest.raises(NotFoundError):
            read_version(root, "test/some", version_of(columns, meta))
    dataset = write_bars(root, "test/some", columns, meta, {})
    assert_same(Catalog(root).open("test/some").columns("A"), columns["A"])
    assert dataset.damage() == []


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


DAMAGE = {
    "flipped": flipped,
    "first byte": lambda data: bytes([data[0] ^ 128]) + data[1:],
    "halved": lambda data: data[: len(data) // 2],
    "one byte less": lambda data: data[:-1],
    "seven bytes more": lambda data: data + b"1234567",
    "empty": lambda _: b"",
    "missing": None,
    "random": lambda data: os.urandom(len(data)),
}


def damaged_then_read(root, dataset, asset="A"):
    """Read through a fresh dataset, which has nothing cached."""
    return read_version(root, dataset.name, dataset.version).columns(asset)


@pytest.mark.parametrize("shape", ["dense", "ragged"])
@pytest.mark.parametrize("at", ["close/c/", "close/zarr.json", "time/c/"])
def test_damage__is_found_before_a_number_is_seen(store_url, shape, at, request):
    columns = request.getfixturevalue(shape)
    root = open_store(store_url)
    dataset = write_bars(root, NAME, columns, META, {})
    key = next(key for key in root.list() if f"bars.zarr/{at}" in key)
    inside = key.partition(f"v={dataset.version}/")[2]
    good = root.get(key)
    for damage in DAMAGE.values():
        if damage is None:
            root.delete(key)
        else:
            root.put(key, damage(good))
        with pytest.raises(CorruptError) as error:
            damaged_then_read(root, dataset)
        for said in (NAME, dataset.version[:12], inside, dataset.manifest.objects[inside].sha256, root.url):
            assert said in str(error.value)
        assert len(read_version(root, NAME, dataset.version).damage()) == 1
        root.put(key, good)
    assert_same(damaged_then_read(root, dataset), columns["A"])


def test_damage__of_swapped_objects_is_found(store_url, dense):
    root = open_store(store_url)
    dataset = write_bars(root, NAME, dense, META, {})
    high, low = (next(key for key in root.list() if f"{name}/c/" in key) for name in ("high", "low"))
    first, second = root.get(high), root.get(low)
    root.put(high, second)
    root.put(low, first)
    with pytest.raises(CorruptError, match="is not what was written"):
        damaged_then_read(root, dataset)
    assert len(dataset.damage()) == 2


def test_damage__of_the_manifest_is_found(store_url, dense, some_bars):
    root = open_store(store_url)
    dataset = write_bars(root, NAME, dense, META, {})
    other = write_bars(root, "test/other", {"A": some_bars(10)}, META, {})
    key = next(key for key in root.list(f"datasets/{NAME}/") if key.endswith("manifest.json"))
    good = root.get(key)
    others = root.get(next(key for key in root.list("datasets/test/other/") if key.endswith("manifest.json")))
    for bad in [
        *(damage(good) for damage in DAMAGE.values() if damage),
        good.replace(b"252.0", b"365.0"),
        b"{}",
        b"[" * 9_000,
    ]:
        root.put(key, bad)
        with pytest.raises(CorruptError, match=r"manifest\.json"):
            read_version(root, NAME, dataset.version)
    root.put(key, others)
    with pytest.raises(CorruptError, match="another version"):
        read_version(root, NAME, dataset.version)
    root.delete(key)
    with pytest.raises(NotFoundError):
        read_version(root, NAME, dataset.version)
    assert other.damage() == []


def test_damage__that_a_manifest_blesses_is_found_by_the_content(tmp_path, dense):
    root = open_store(tmp_path)
    dataset = write_bars(root, NAME, dense, META, {})
    objects = dict(dataset.manifest.objects)
    high, low = (next(key for key in objects if f"/{name}/c/" in key) for name in ("high", "open"))
    folder = f"datasets/{NAME}/v={dataset.version}"
    first, second = root.get(f"{folder}/{high}"), root.get(f"{folder}/{low}")
    root.put(f"{folder}/{high}", second)
    root.put(f"{folder}/{low}", first)
    objects[high], objects[low] = objects[low], objects[high]
    root.put(f"{folder}/manifest.json", manifest.Manifest(dataset.manifest.head, objects).to_bytes())
    (said,) = [line for line in read_version(root, NAME, dataset.version).damage() if " A " in line]
    assert "decodes to other bars" in said or "impossible bars" in said


def test_lazy_table__is_verified_too(tmp_path, dense):
    root = open_store(tmp_path)
    dataset = write_bars(root, NAME, dense, META, {})
    key = next(key for key in root.list() if "close/c/" in key)
    root.put(key, flipped(root.get(key)))
    with pytest.raises(CorruptError, match="close"):
        dataset.to_xarray()["close"].load()


def test_outage__is_no_corruption(tmp_path, dense, monkeypatch):
    dataset = write_bars(open_store(tmp_path), NAME, dense, META, {})

    def down(*_: object) -> bytes:
        raise StoreError("down")

    monkeypatch.setattr(type(dataset.root), "get", down)
    with pytest.raises(StoreError, match="down"):
        dataset.columns("A")


def test_newer_schema__is_refused_by_name(tmp_path, dense):
    root = open_store(tmp_path)
    dataset = write_bars(root, NAME, dense, META, {})
    newer = manifest.Manifest({**dataset.manifest.head, "schema": 2}, dataset.manifest.objects)
    root.put(f"datasets/{NAME}/v={dataset.version}/manifest.json", newer.to_bytes())
    with pytest.raises(FormatError, match=r"format 2; this version of QuantBot reads format 1"):
        read_version(root, NAME, dataset.version)


def test_unknown_asset__suggests_the_nearest(tmp_path, dense):
    dataset = write_bars(open_store(tmp_path), NAME, dense, META, {})
    with pytest.raises(NotFoundError, match="B/USD"):
        dataset.bars("B/US")


def test_dataset__pickles_without_a_secret_and_reads_on(store_url, dense):
    dataset = write_bars(open_store(store_url), NAME, dense, META, {})
    dataset.bars("A")
    pickled = pickle.dumps(dataset)
    assert os.environ.get("AWS_SECRET_ACCESS_KEY", "no secret").encode() not in pickled
    assert_same(pickle.loads(pickled).columns("A"), dense["A"])


BAD_BARS = {
    "times fall": ({"ts_end_ns": [1, 3, 2]}, "times must rise"),
    "times repeat": ({"ts_end_ns": [1, 2, 2]}, "times must rise"),
    "times are floats": ({"ts_end_ns": [1.0, 2.0, 3.0]}, "int64"),
    "NaN": ({"close": [1.0, np.nan, 1.0]}, r"close of bar 1 .* finite"),
    "infinite": ({"volume": [1.0, np.inf, 1.0]}, "finite"),
    "high is low": ({"high": [1.0, 0.5, 1.0]}, r"high of bar 1 .*0\.5"),
    "low is high": ({"low": [1.0, 1.5, 1.0], "high": [2.0, 2.0, 2.0]}, r"low of bar 1"),
    "negative volume": ({"volume": [1.0, -1.0, 1.0]}, "negative"),
    "factor zero": ({"adjustment": [1.0, 0.0, 1.0]}, "positive"),
    "lengths differ": ({"open": [1.0, 1.0]}, "shape"),
    "two columns": ({"open": np.ones((3, 2))}, "one column"),
    "objects": ({"open": np.array([1, None, 2], dtype=object)}, "float64"),
    "text": ({"open": ["1", "1", "1"]}, "float64"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_BARS)
def test_columns__refuse_impossible_bars(case):
    bad, said = BAD_BARS[case]
    good = {"ts_end_ns": [1, 2, 3], **{name: [1.0, 1.0, 1.0] for name in ("open", "high", "low", "close", "volume")}}
    BarColumns(**{name: np.array(values) for name, values in good.items()})
    with pytest.raises(DataError, match=said):
        BarColumns(**{name: np.array(values) for name, values in {**good, **bad}.items()})


def test_columns__need_a_bar():
    nothing = np.array([], dtype=np.float64)
    with pytest.raises(DataError, match="at least one bar"):
        BarColumns(np.array([], dtype=np.int64), nothing, nothing, nothing, nothing, nothing)


@pytest.mark.parametrize(
    "name", ["", "/", "A", "a//b", "a/", "/a", "a b", "..", "a/../b", ".a", "-a", "a/refs", "v=1", "x" * 129]
)
def test_write_bars__refuses_names_that_are_no_names(tmp_path, name, dense):
    with pytest.raises(InputError, match="name"):
        write_bars(open_store(tmp_path), name, dense, META, {})


@pytest.mark.parametrize("symbol", ["", " A", "A\n", "x" * 129])
def test_write_bars__refuses_symbols_that_nobody_can_read(tmp_path, symbol, dense):
    with pytest.raises(DataError, match="symbol"):
        write_bars(open_store(tmp_path), NAME, {symbol: dense["A"]}, META, {})
    with pytest.raises(DataError, match="at least one asset"):
        write_bars(open_store(tmp_path), NAME, {}, META, {})
    assert open_store(tmp_path).list() == []


def test_meta__survives_json_and_says_everything_that_is_wrong():
    meta = BarsMeta(
        "t", "s", "5min", 1e5, currency={"A": "EUR"}, multiplier={"A": 50.0}, zone="Europe/Berlin", calendar="XETR"
    )
    assert BarsMeta.from_dict(json.loads(json.dumps(meta.to_dict()))) == meta
    assert meta.instrument("A").multiplier == 50.0
    assert meta.instrument("A").currency == "EUR"
    assert meta.instrument("B").currency == "USD"
    with pytest.raises(InputError) as error:
        BarsMeta("", "s", "daily", -1.0, currency="eur", zone="Mars/Olympus", stamp="middle")
    for said in ("title", "interval", "periods_per_year", "currency", "Mars/Olympus", "stamp"):
        assert said in str(error.value)
    with pytest.raises(InputError, match=r"titel.*title"):
        BarsMeta.from_dict({"titel": "t", "source": "s", "interval": "1d", "periods_per_year": 1.0})


prices = st.floats(1e-6, 1e9, allow_nan=False)


@st.composite
def any_columns(draw):
    times = sorted(draw(st.sets(st.integers(-(2**62), 2**62), min_size=1, max_size=12)))
    n = len(times)
    rows = draw(st.lists(st.lists(prices, min_size=4, max_size=4).map(sorted), min_size=n, max_size=n))
    low, open_, close, high = (np.array(column) for column in zip(*rows, strict=True))
    volume = np.array(draw(st.lists(st.floats(0, 1e15), min_size=n, max_size=n)))
    factor = draw(st.none() | st.lists(prices, min_size=n, max_size=n).map(np.array))
    return BarColumns(np.array(times), open_, high, low, close, volume, factor)


@settings(deadline=None, max_examples=20)
@given(st.dictionaries(st.text("ABC^/é", min_size=1, max_size=4), any_columns(), min_size=1, max_size=4))
def test_any_bars__come_back_bit_for_bit(tmp_path_factory, columns):
    root = open_store(tmp_path_factory.mktemp("any"))
    dataset = write_bars(root, NAME, columns, META, {})
    for asset, expected in columns.items():
        assert_same(dataset.columns(asset), expected)
