"""The store that fails on purpose, and what ingest and reading come to when it does."""

from pathlib import Path
from typing import Any

import pytest
from store_faults import WRITES, StoreFaults

from datasets.bars import BarsMeta, write_bars
from datasets.catalog import Catalog
from datasets.store import open_store
from quantbot.errors import FullError, OutageError, StoreError

META = BarsMeta("Some bars", "tests", "1d", 252.0, synthetic=True)


def test_faults__fail_the_nth_operation_of_every_store_of_the_process(tmp_path: Path) -> None:
    with StoreFaults(3) as faults:
        open_store(tmp_path).put_new("a", b"1")
        assert open_store(tmp_path).get("a") == b"1"
        with pytest.raises(OutageError, match="injected: list"):
            open_store(tmp_path).list()
        assert open_store(tmp_path).list() == ["a"]
    assert (faults.n, faults.fired) == (4, 1)
    open_store(tmp_path).list()
    assert faults.n == 4


@pytest.mark.parametrize(("moment", "there"), [("before", False), ("after", True), ("lost", False)])
def test_faults__strike_before_or_after_the_effect(tmp_path: Path, moment: Any, there: bool) -> None:
    store = open_store(tmp_path)
    with StoreFaults(1, moment, operations=WRITES):
        if moment == "lost":
            assert store.put_new("a", b"1") is True
        else:
            with pytest.raises(StoreError):
                store.put_new("a", b"1")
    assert store.exists("a") is there


@pytest.mark.parametrize("moment", ["before", "after"])
def test_ingest__that_failed_at_any_write_is_whole_after_another_try(
    tmp_path: Path, some_bars: Any, moment: Any
) -> None:
    columns = {"AAA": some_bars(40, 1), "BBB": some_bars(40, 2)}
    n = 0
    while True:
        n += 2 if moment == "before" else 5
        root = open_store(tmp_path / str(n))
        with StoreFaults(n, moment, operations=WRITES) as faults:
            try:
                write_bars(root, "test/x", columns, META, {})
            except StoreError:
                assert faults.fired
        if not faults.fired:
            break
        names = Catalog(root).names()  # either nothing of it is seen, or all
        if names:
            assert Catalog(root).open("test/x").damage() == []
        again = write_bars(root, "test/x", columns, META, {})
        assert again.damage() == []
        assert again.columns("BBB").digest() == columns["BBB"].digest()
    assert n > 10


@pytest.mark.parametrize("ending", ["close/c/0/0", "manifest.json", "refs/00000001.json", "time/zarr.json"])
@pytest.mark.parametrize("fault", ["flipped", "missing"])
def test_ingest__of_what_is_stored_and_damaged_makes_it_whole(
    tmp_path: Path, some_bars: Any, ending: str, fault: str
) -> None:
    root, columns = open_store(tmp_path), {"AAA": some_bars(40, 1)}
    write_bars(root, "test/x", columns, META, {})
    key = next(key for key in root.list() if key.endswith(ending))
    if fault == "missing":
        root.delete(key)
    else:
        root.put(key, root.get(key)[:-9] + b"x" + root.get(key)[-8:])
    again = write_bars(root, "test/x", columns, META, {})
    assert again.damage() == []
    assert Catalog(root).open("test/x").columns("AAA").digest() == columns["AAA"].digest()


@pytest.mark.parametrize("matching", ["close/c/", "manifest.json"])
def test_ingest__into_a_store_that_swallows_objects_commits_nothing(
    tmp_path: Path, some_bars: Any, matching: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.landing.PATIENCE_SECONDS", 0.3)
    root, columns = open_store(tmp_path), {"AAA": some_bars(40, 1)}
    with (
        StoreFaults(1, "lost", operations=("put", "put_new"), matching=matching) as faults,
        pytest.raises(OutageError, match=r"acknowledged 1 of .* doesn't show them"),
    ):
        write_bars(root, "test/x", columns, META, {})
    assert faults.fired == 1
    assert Catalog(root).names() == []
    assert write_bars(root, "test/x", columns, META, {}).damage() == []


def test_disk_full__is_an_error_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("datasets.store_file.os.fsync", full)
    with pytest.raises(FullError, match="free some space") as caught:
        open_store(tmp_path).put_new("a", b"x")
    assert caught.value.kind == "full"
