"""Damage to a store is found, named, and put right where it can be; nothing that is referred to is ever removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from store_faults import WRITES, StoreFaults

from datasets.digests import xxh3
from datasets.store import Store, open_store
from quantbot.errors import CorruptError, InputError, RunError, StoreError
from sweeps.executors import serial
from sweeps.integrity import check_store, collect_garbage, repair_run
from sweeps.lease import acquire
from sweeps.publish import MARKER, ROWS, open_rows
from sweeps.run import drive
from sweeps.runstore import RunStore, forget, to_json

OLD = 48 * 3600


@pytest.fixture(scope="module")
def original(small: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, str]:
    root = small.root(tmp_path_factory.mktemp("original") / "store")
    identity = small.submit(root)
    with serial() as executor:
        return root, identity, drive(root, identity, executor).result_digest


@pytest.fixture
def done(original: tuple[Store, str, str], tmp_path: Path) -> tuple[Store, str, str]:
    """Return a copy of a store, a finished run in it, and the run's result digest."""
    shutil.copytree(original[0].url.removeprefix("file://"), tmp_path / "copy")
    return open_store(tmp_path / "copy"), *original[1:]


def flip(root: Store, key: str, at: int = -20) -> None:
    data = bytearray(root.get(key))
    data[at % len(data)] ^= 4
    root.put(key, bytes(data))


def age(root: Store, seconds: float, *, keys: str = "") -> None:
    """Make every file of a folder store older."""
    then = time.time() - seconds
    for folder, _, files in os.walk(root.url.removeprefix("file://")):
        for file in files:
            if keys in f"{folder}/{file}":
                os.utime(Path(folder) / file, (then, then))


def test_check__of_a_whole_store_finds_nothing(done: tuple[Store, str, str]) -> None:
    seen = list[tuple[int, int, str]]()
    health = check_store(done[0], on_progress=lambda *step: seen.append(step))
    assert health.whole
    assert (health.n_versions, health.n_runs) == (1, 1)
    assert health.n_objects > 30
    assert seen[-1][:2] == (2, 2)


@pytest.mark.parametrize(
    ("fault", "key"),
    [
        ("flip", "blocks/00000001.rows"),
        ("empty", "blocks/00000001.rows"),
        ("missing", "blocks/00000001.rows"),
        ("flip", "manifest.json"),
        ("missing", "manifest.json"),
        ("flip", "request.json"),
        ("missing", "request.json"),
        ("empty", "sources.json"),
        ("flip", "rows.zarr.json"),
        ("missing", "rows.zarr/sharpe/c/0/0/0/0/0"),
        ("flip", "luck/2/selection.json"),
    ],
)
def test_damage_to_a_run__is_found_by_its_key_and_repaired_to_the_same_digest(
    done: tuple[Store, str, str], key: str, fault: str
) -> None:
    root, identity, digest = done
    full = f"runs/{identity}/{key}"
    there = next(each for each in root.list(full.rpartition("/")[0]) if each.startswith(full[:-9]))
    if fault == "flip":
        flip(root, there)
    elif fault == "empty":
        root.put(there, b"")
    else:
        root.delete(there)
    forget()
    found = check_store(root).findings
    if (fault, key) == ("missing", "manifest.json"):
        assert not found  # a run that is not committed is no damage: driving it again commits it
    else:
        assert there in {finding.key for finding in found}
        assert {finding.cure for finding in found} == {"repair"}
    with serial() as executor:
        repaired = repair_run(root, identity, executor)
        assert not repaired.left
        assert repaired.n_computed == (1 if key.startswith("blocks") else 0)
        assert drive(root, identity, executor).result_digest == digest
    assert check_store(root).whole
    assert open_rows(RunStore(root, identity)).load().sizes


def test_published_rows__that_are_missing_or_flipped_are_no_numbers(done: tuple[Store, str, str]) -> None:
    root, identity, _ = done
    run = RunStore(root, identity)
    key = next(key for key in run.store.list("rows.zarr/sharpe/c/"))
    flip(run.store, key)
    with pytest.raises(CorruptError, match=r"sharpe/c/.*expected XXH3-128"):
        open_rows(run)["sharpe"].load()
    run.store.delete(key)
    with pytest.raises(CorruptError, match=r"sharpe/c/.*missing"):
        open_rows(run)["sharpe"].load()


def test_published_rows__whose_segments_have_a_sha256_are_read_and_compared(done: tuple[Store, str, str]) -> None:
    root, identity, _ = done
    run = RunStore(root, identity)
    document = run.read_json(MARKER)
    assert document is not None
    assert document["format"] == 3
    for key, each in document["objects"].items():
        assert each["segments"] == [xxh3(run.store.get(f"{ROWS}/{key}"))]
        each["segments"] = [each["sha256"]]  # as they were written in format 2
    run.replace(MARKER, to_json(document | {"format": 2}))
    assert open_rows(run).load().sizes
    assert check_store(root).whole
    flip(run.store, next(key for key in run.store.list("rows.zarr/sharpe/c/")))
    with pytest.raises(CorruptError, match=r"sharpe/c/.*expected SHA-256"):
        open_rows(run)["sharpe"].load()


def test_published_rows__of_a_run_of_one_fold_are_read(small: Any, root: Store) -> None:
    identity = small.submit(root, small.spec | {"folds": {"method": "none"}}, points=200)
    with serial() as executor:
        drive(root, identity, executor)
    assert open_rows(RunStore(root, identity)).load().sizes["fold"] == 1


def test_damaged_dataset__fails_the_blocks_that_need_it_and_no_others(root: Store, small: Any) -> None:
    identity = small.submit(root)
    key = next(key for key in root.list("datasets/") if "/close/c/" in key)
    flip(root, key, 40)
    with serial() as executor, pytest.raises(RunError, match=r"CorruptError.*close/c/"):
        drive(root, identity, executor)
    found = check_store(root).findings
    assert [(finding.key, finding.cure) for finding in found] == [(key, "ingest")]
    assert "expected XXH3-128" in found[0].problem


def test_missing_pointer__is_found(root: Store) -> None:
    root.delete("datasets/test/small/refs/00000001.json")
    root.put("datasets/test/small/refs/00000002.json", b"{}")
    assert [finding.cure for finding in check_store(root).findings] == ["ingest"]


def test_repair__leaves_a_run_alone_that_somebody_drives(done: tuple[Store, str, str]) -> None:
    root, identity, _ = done
    key = f"runs/{identity}/blocks/00000000.rows"
    flip(root, key)
    lease = acquire(RunStore(root, identity).store)
    assert lease is not None
    with lease, serial() as executor, pytest.raises(RunError, match="is driven by"):
        repair_run(root, identity, executor)
    assert root.exists(key)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_repair__that_the_store_failed_at_any_write_ends_at_the_next_try(
    done: tuple[Store, str, str], moment: Any
) -> None:
    root, identity, digest = done
    fired = True
    n = 0
    while fired:
        n += 1
        flip(root, f"runs/{identity}/blocks/00000002.rows")
        forget()
        with serial() as executor:
            with StoreFaults(n, moment, operations=WRITES) as faults, contextlib.suppress(StoreError):
                repair_run(root, identity, executor)
            fired = faults.fired > 0
            forget()
            age(root, OLD, keys="/lease/")  # of a driver that the store left alone with its lease
            repair_run(root, identity, executor)
        assert check_store(root, datasets=False).whole
        assert RunStore(root, identity).manifest().result_digest == digest  # type: ignore[union-attr]
        n += 5
    assert n > 3


# -- garbage ------------------------------------------------------------------------------------------------------


def litter(root: Store, identity: str) -> set[str]:
    """Leave what killed writers leave; return its keys."""
    version = root.folders("datasets/test/small")[1]
    keys = {
        f"datasets/test/small/{version}/data-0123456789ab/bars.zarr/zarr.json",
        "datasets/test/half/v=" + "ab" * 32 + "/data-0123456789ab/bars.zarr/close/c/0",
        "datasets/test/events/w=0123456789ab/events.zarr/zarr.json",
        f"runs/{identity}/blocks/00009999.rows",
        "runs/" + "cd" * 32 + "/labels/0123.json",
        "doctor/host-1-2",
        "ledger-sums/" + "0" * 32 + "/" + "1" * 32 + ".json",
    }
    for key in keys:
        root.put(key, b"{}")
    folder = Path(root.url.removeprefix("file://")) / ".tmp"
    (folder / "deadbeef").write_bytes(b"half")
    return keys | {"deadbeef"}


def test_garbage__is_exactly_what_nothing_refers_to(done: tuple[Store, str, str]) -> None:
    root, identity, _ = done
    before = set(root.list())
    litter_keys = litter(root, identity)
    assert collect_garbage(root) == []  # all of it is young
    age(root, OLD)
    shown = collect_garbage(root)
    assert {key for each in shown for key in each.keys} == litter_keys
    assert not any(each.removed for each in shown)
    assert set(root.list()) == before | (litter_keys - {"deadbeef"})
    assert {key for each in collect_garbage(root, remove=True) for key in each.keys} == litter_keys
    assert set(root.list()) == before
    assert check_store(root).whole
    assert collect_garbage(root, remove=True) == []


def test_garbage__is_left_where_a_manifest_can_not_be_read_or_a_driver_lives(done: tuple[Store, str, str]) -> None:
    root, identity, _ = done
    litter(root, identity)
    key = next(key for key in root.list("datasets/test/small/") if key.endswith("manifest.json"))
    flip(root, key)
    age(root, OLD)
    lease = acquire(RunStore(root, identity).store)
    assert lease is not None
    with lease:
        keys = {key for each in collect_garbage(root) for key in each.keys}
    assert not any("test/small" in key or identity in key for key in keys)


def test_garbage__of_a_writer_that_goes_on_is_left(done: tuple[Store, str, str]) -> None:
    root, identity, _ = done
    litter(root, identity)
    age(root, OLD)
    root.put("datasets/test/events/w=0123456789ab/events.zarr/0000/zarr.json", b"{}")
    assert not any("events" in key for each in collect_garbage(root) for key in each.keys)


def test_garbage__that_is_committed_meanwhile_stays(root: Store, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest lands after the listing and before the removal."""
    from sweeps.integrity import garbage

    manifest = next(key for key in root.list("datasets/test/small/") if key.endswith("manifest.json"))
    data = root.get(manifest)
    root.delete(manifest)
    age(root, OLD)
    sizes = garbage._size

    def late(store: Store, key: str) -> int:
        root.put(manifest, data)
        return sizes(store, key)

    monkeypatch.setattr(garbage, "_size", late)
    assert collect_garbage(root, remove=True) == []
    assert check_store(root).whole


def test_garbage__of_less_than_a_minute_is_refused(root: Store) -> None:
    with pytest.raises(InputError, match="at least 60 s"):
        collect_garbage(root, older_than_seconds=5)


def test_garbage__collection_that_was_cut_off_is_ended_by_the_next(done: tuple[Store, str, str]) -> None:
    root, identity, _ = done
    n = 0
    fired = 1
    while fired:
        n += 1
        litter(root, identity)
        age(root, OLD)
        with StoreFaults(n, "after", operations=("delete",)) as faults, contextlib.suppress(StoreError):
            collect_garbage(root, remove=True)
        fired = faults.fired
        collect_garbage(root, remove=True)
        assert collect_garbage(root) == []
        assert check_store(root, datasets=True).whole
    assert n > 4
