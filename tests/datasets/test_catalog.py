import time

import pytest

from datasets import references
from datasets.bars import BarsMeta, write_bars
from datasets.catalog import Catalog, dataset_url, open_dataset, open_version, split_reference
from datasets.store import open_store
from quantbot.errors import InputError, NotFoundError

META = BarsMeta(title="Some bars", source="drawn", interval="1d", periods_per_year=252.0)


@pytest.fixture
def root(store_url):
    return open_store(store_url)


def test_empty_store__has_no_names_and_says_so(root):
    catalog = Catalog(root)
    assert catalog.names() == [] == catalog.entries()
    for ask in (catalog.open, catalog.versions):
        with pytest.raises(NotFoundError, match="none yet"):
            ask("demo/sp500")


def test_names__are_sorted_and_may_lie_inside_each_other(root, some_bars):
    for name in ("demo/sp500", "demo", "b", "demo/sp500/daily", "a.b-c_d/e"):
        write_bars(root, name, {"A": some_bars(5)}, META, {})
    catalog = Catalog(root)
    assert catalog.names() == ["a.b-c_d/e", "b", "demo", "demo/sp500", "demo/sp500/daily"]
    for name in catalog.names():
        assert catalog.open(name).name == name


def test_entries__sum_up_the_newest_version(root, some_bars):
    write_bars(root, "demo/x", {"A": some_bars(5)}, META, {})
    newest = write_bars(root, "demo/x", {"A": some_bars(7), "B": some_bars(6)}, META, {})
    (entry,) = Catalog(root).entries()
    assert (entry.name, entry.version, entry.n_versions) == ("demo/x", newest.version, 2)
    assert (entry.assets, entry.n_times, entry.title, entry.interval) == (("A", "B"), 7, "Some bars", "1d")
    assert (entry.start_ns, entry.end_ns) == (newest.start_ns, newest.end_ns)
    assert abs(entry.created_ns - time.time_ns()) < 60_000_000_000
    assert entry.problem == ""


def test_entries__name_the_dataset_that_can_not_be_opened(root, some_bars):
    write_bars(root, "demo/good", {"A": some_bars(5)}, META, {})
    bad = write_bars(root, "demo/bad", {"A": some_bars(6)}, META, {})
    root.put(f"datasets/demo/bad/v={bad.version}/manifest.json", b"{}")
    root.put("datasets/demo/worse/refs/00000001.json", b"{}")
    entries = {entry.name: entry.problem for entry in Catalog(root).entries()}
    assert entries["demo/good"] == ""
    assert "manifest.json" in entries["demo/bad"]
    assert "refs/00000001.json" in entries["demo/worse"]


def test_open__takes_the_beginning_of_a_version(root, some_bars):
    first = write_bars(root, "demo/x", {"A": some_bars(5)}, META, {})
    second = write_bars(root, "demo/x", {"A": some_bars(6)}, META, {})
    catalog = Catalog(root)
    assert catalog.open("demo/x").version == second.version
    for dataset in (first, second):
        assert catalog.open(f"demo/x@{dataset.version}").version == dataset.version
        assert catalog.open(f"demo/x@{dataset.version[:12]}").version == dataset.version
    assert [each.version for each in catalog.versions("demo/x")] == [second.version, first.version]
    absent = next(digit for digit in "0123456789abcdef" if digit not in (first.version[0], second.version[0]))
    with pytest.raises(NotFoundError, match=first.version[:12]):
        catalog.open(f"demo/x@{absent}")
    for bad in ("demo/x@", "demo/x@XYZ", "demo/x@12@34", "demo/x@" + "0" * 65):
        with pytest.raises(InputError):
            catalog.open(bad)


def test_open__says_when_a_beginning_is_not_unique(tmp_path):
    root = open_store(tmp_path)
    for version in ("ab" + "0" * 62, "ab" + "1" * 62):
        references.point(root, "demo/x", version)
    with pytest.raises(InputError, match=r"not unique: ab1111111111, ab0000000000"):
        Catalog(root).open("demo/x@ab")
    assert Catalog(root).resolve("demo/x@ab1") == ("demo/x", "ab" + "1" * 62)


def test_unknown_name__suggests_the_nearest(root, some_bars):
    write_bars(root, "demo/sp500", {"A": some_bars(5)}, META, {})
    with pytest.raises(NotFoundError, match="demo/sp500"):
        Catalog(root).open("demo/sp50")
    with pytest.raises(NotFoundError):
        Catalog(root).open("demo")


def test_open_dataset__takes_a_name_or_a_whole_url(root, tmp_path, some_bars):
    dataset = write_bars(root, "demo/x", {"A": some_bars(5)}, META, {})
    elsewhere = open_store(tmp_path / "elsewhere")
    for reference, at in [
        ("demo/x", root),
        (dataset.url, elsewhere),
        (dataset_url(root, "demo/x"), elsewhere),
        (dataset_url(root, "demo/x", dataset.version[:8]), elsewhere),
    ]:
        assert open_dataset(reference, at).version == dataset.version
    assert open_version(root.url, "demo/x", dataset.version).columns("A").digest() == some_bars(5).digest()


@pytest.mark.parametrize(
    "reference",
    ["http://host/datasets/demo/x", "s3://bucket/demo/x", "file:///x/demo", "s3://k:secret@b/datasets/x",
     "../datasets/x", "/x/../datasets/y", "demo/../x", "DEMO", "", "@12", "memory://datasets/x"],
)  # fmt: skip
def test_open_dataset__refuses_what_names_no_dataset(tmp_path, reference):
    with pytest.raises(InputError) as error:
        open_dataset(reference, open_store(tmp_path))
    assert "secret" not in str(error.value)


def test_split_reference__takes_a_plain_path_too():
    assert split_reference("/data/store/datasets/demo/x@12") == ("/data/store", "demo/x@12")


def test_half_written_version__is_invisible(root, some_bars):
    dataset = write_bars(root, "demo/x", {"A": some_bars(5)}, META, {})
    other = "0" * 64
    root.put(f"datasets/demo/x/v={other}/data-1/quality.json", b"{}")
    root.put(f"datasets/demo/y/v={other}/data-1/quality.json", b"{}")
    catalog = Catalog(root)
    assert catalog.names() == ["demo/x"]
    assert [each.version for each in catalog.versions("demo/x")] == [dataset.version]
    with pytest.raises(NotFoundError):
        open_version(root.url, "demo/x", other)
