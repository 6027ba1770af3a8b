"""A run whose store is full, swallows, lies or goes away: it ends in the same digest, or in an error with a name."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3_proxy import DENIED, LATER, PASS, RANDOM_BODY, SWALLOW, first, s3_proxy
from store_faults import READS, WRITES, StoreFaults

from datasets import landing, store_s3
from datasets.seals import seal
from datasets.store import Store, open_store
from quantbot.errors import AccessError, CorruptError, FormatError, FullError, OutageError, StoreError
from sweeps.executors import serial
from sweeps.executors.base import ClusterError
from sweeps.integrity import check_store
from sweeps.ledger_entry import Entry
from sweeps.publish import MARKER, ROWS, open_rows, publish
from sweeps.run import Outcome, drive
from sweeps.runstore import RunStore, forget


def driven(root: Store, identity: str) -> Outcome:
    with serial() as executor:
        return drive(root, identity, executor)


def full(operation: str, key: str) -> StoreError:
    return FullError(f"no space for {operation} {key}")


@pytest.fixture(scope="module")
def original(small: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, str]:
    root = small.root(tmp_path_factory.mktemp("original") / "store")
    identity = small.submit(root)
    return root, identity, driven(root, identity).result_digest


@pytest.fixture
def copy(original: tuple[Store, str, str], tmp_path: Path) -> Callable[..., Store]:
    """Copy the finished run's store, without some of it."""

    def make(*without: str) -> Store:
        folder = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        shutil.copytree(original[0].url.removeprefix("file://"), folder)
        root = open_store(folder)
        for key in root.list(f"runs/{original[1]}/"):
            if key.partition(f"{original[1]}/")[2].startswith(without):
                root.delete(key)
        return root

    return make


def test_disk_full__in_the_middle_of_the_commit_leaves_none_and_resume_commits(
    copy: Callable[..., Store], original: tuple[Store, str, str]
) -> None:
    _, identity, digest = original
    root = copy("manifest.json", ROWS, "lease/")
    faults = StoreFaults(1, error=full, matching="manifest.json", operations=WRITES, forever=True)
    with faults, pytest.raises(FullError) as caught:
        driven(root, identity)
    assert caught.value.kind == "full"
    assert RunStore(root, identity).manifest() is None
    again = driven(root, identity)
    assert (again.n_computed, again.result_digest) == (0, digest)
    assert check_store(root).whole


def test_disk_full__while_blocks_are_written_keeps_those_that_are(
    root: Store, small: Any, original: tuple[Store, str, str]
) -> None:
    identity = small.submit(root)
    faults = StoreFaults(4, error=full, matching="blocks/", operations=("put_new",), forever=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.blocks._RETRIES", 1)
        with faults, pytest.raises((ClusterError, StoreError)):
            driven(root, identity)
    kept = len(RunStore(root, identity).finished())
    assert kept == 3
    again = driven(root, identity)
    assert again.n_reused == kept
    assert again.result_digest == original[2]


@pytest.mark.parametrize("n", [1, 3])
def test_block__that_the_store_swallowed_is_computed_again(
    root: Store, small: Any, original: tuple[Store, str, str], n: int
) -> None:
    identity = small.submit(root)
    with StoreFaults(n, "lost", matching="blocks/", operations=("put_new",)) as faults:
        found = driven(root, identity)
    assert faults.fired == 1
    assert found.result_digest == original[2]
    assert check_store(root).whole


def test_manifest__that_the_store_swallowed_is_no_commit(
    copy: Callable[..., Store], original: tuple[Store, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, identity, digest = original
    monkeypatch.setattr(landing, "PATIENCE_SECONDS", 0.3)
    root = copy("manifest.json", ROWS, "lease/")
    faults = StoreFaults(1, "lost", matching="manifest.json", operations=("put_new",))
    with faults, pytest.raises(OutageError, match=r"'manifest\.json' must have \d+ bytes, there is nothing"):
        driven(root, identity)
    assert driven(root, identity).result_digest == digest


def test_publication__that_failed_at_some_write_is_whole_after_the_next(
    copy: Callable[..., Store], original: tuple[Store, str, str]
) -> None:
    root = copy(ROWS, MARKER)
    run = RunStore(root, original[1])
    plan, manifest = run.plan(), run.manifest()
    assert manifest is not None
    n, fired = 1, 1
    while fired:
        with StoreFaults(n, "after", operations=WRITES) as faults:
            try:
                publish(run, plan, manifest)
            except StoreError:
                assert faults.fired
        fired = faults.fired
        publish(run, plan, manifest)
        assert open_rows(run).load()["sharpe"].size
        for key in run.store.list(ROWS):
            run.store.delete(key)
        n += 19  # each array is written alike
    assert n > 20


def test_reading__that_failed_at_any_operation_says_so_or_is_right(original: tuple[Store, str, str]) -> None:
    root, identity, digest = original
    run = RunStore(root, identity)

    def read() -> tuple[str, float]:
        forget()
        manifest = run.manifest()
        assert manifest is not None
        blocks = [run.plan().block(index) for index in range(3)]
        parts = run.read_parts(run.plan().measures[0], blocks, manifest)
        return manifest.result_digest, sum(float(np.nansum(each)) for each in parts)

    clean = read()
    assert clean[0] == digest
    n, fired = 0, 1
    while fired:
        n += 1
        with StoreFaults(n, operations=READS) as faults:
            try:
                assert read() == clean
            except OutageError:
                assert faults.fired
        fired = faults.fired
        assert read() == clean
    assert n > 5


# -- newer formats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["plan.json", "manifest.json", MARKER])
def test_newer_format__is_refused_with_both_named_and_left_alone(
    copy: Callable[..., Store], original: tuple[Store, str, str], key: str
) -> None:
    root, identity = copy(), original[1]
    run = RunStore(root, identity)
    document = json.loads(run.read_sealed(key))
    known = document["format"]
    newer = seal(json.dumps(document | {"format": known + 1, "more": 1}).encode(), f"runs/{identity}/{key}")
    run.store.put(key, newer)
    forget()
    with pytest.raises(FormatError, match=rf"{re.escape(key)} is of format {known + 1}; .* reads format {known}: inst"):
        open_rows(run) if key == MARKER else run.manifest()
    assert {finding.cure for finding in check_store(root).findings} <= {"upgrade", "repair"}
    assert run.store.get(key) == newer


def test_newer_block__is_neither_read_nor_discarded(
    copy: Callable[..., Store], original: tuple[Store, str, str]
) -> None:
    root, identity = copy("manifest.json", ROWS, "lease/"), original[1]
    run = RunStore(root, identity)
    key = run.block_key(0)
    data = run.store.get(key)
    newer = data[:8] + (9).to_bytes(4, "little") + data[12:48] + b"[another header]" + data[64:]
    run.store.put(key, newer)
    with pytest.raises(FormatError, match="is of format 9"):
        driven(root, identity)
    assert run.store.get(key) == newer
    run.store.put(key, data[:8] + (9).to_bytes(4, "little") + data[12:])  # ours, with a changed number: damage
    forget()
    assert driven(root, identity).result_digest == original[2]


def test_newer_ledger_entry__is_refused(original: tuple[Store, str, str]) -> None:
    root = original[0]
    data = bytearray(root.get(next(iter(root.list("ledger/")))))
    data[8] += 1
    with pytest.raises(FormatError, match="format 2; this version of QuantBot reads format 1"):
        Entry(lambda offset, length: bytes(data[offset : offset + length]), "entry")


# -- S3 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_s3, "_OUTAGE_SECONDS", 2.0)
    monkeypatch.setattr(store_s3, "_READ_SECONDS", 2.0)
    monkeypatch.setattr(landing, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr("sweeps.blocks._RETRIES", 1)


@pytest.mark.slow
def test_run__on_a_store_with_faults_gives_the_same_digest(
    s3_url: str, small: Any, original: tuple[Store, str, str], short: None
) -> None:
    root = small.root(s3_url)
    identity = small.submit(root)
    with s3_proxy(first(2, LATER, "PUT", "blocks/")) as proxy:
        later, lost = first(2, LATER, "PUT", "blocks/"), first(1, SWALLOW, "PUT", r"blocks/00000002")
        wrong = first(1, RANDOM_BODY, "GET", r"blocks/00000001")
        proxy.fault = lambda *asked: next((a for a in (lost(*asked), wrong(*asked), later(*asked)) if a != PASS), PASS)
        found = driven(root, identity)
        assert {action for *_, action in proxy.seen} == {PASS, LATER, SWALLOW, RANDOM_BODY}
    assert found.result_digest == original[2]
    assert found.n_failed == 0


@pytest.mark.slow
def test_run__ends_in_a_named_outage_and_goes_on_where_it_was(
    s3_url: str, small: Any, original: tuple[Store, str, str], short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_s3, "_OUTAGE_SECONDS", 0.3)
    root = small.root(s3_url)
    identity = small.submit(root)
    seen = [0]

    def down(method: str, path: str) -> str:
        """Fail every put from the fourth block on."""
        seen[0] += method == "PUT" and "blocks/" in path
        return LATER if seen[0] > 3 and method == "PUT" else PASS

    with s3_proxy(down) as proxy:
        with pytest.raises((ClusterError, StoreError)) as caught:
            driven(root, identity)
        assert "503" in str(caught.value)
        proxy.heal()
        kept = len(RunStore(root, identity).finished())
        again = driven(root, identity)
    assert kept == 3
    assert (again.n_reused, again.result_digest) == (kept, original[2])


def test_submit__with_credentials_that_only_read_is_refused_and_writes_nothing(
    s3_url: str, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = small.root(s3_url)
    plan = small.plan(root)
    before = root.list()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "quantbot-reader")
    from sweeps.submission import submit

    with pytest.raises(AccessError, match="put_object"):
        submit(plan.spec, root, plan=plan)
    assert root.list() == before


def test_denied_reads__are_access_and_no_damage(s3_url: str, small: Any, short: None) -> None:
    root = small.root(s3_url)
    identity = small.submit(root)
    with s3_proxy(first(999, DENIED, "GET", "blocks/|plan")):
        forget()
        with pytest.raises(AccessError):
            RunStore(root, identity).plan()
    assert not isinstance(AccessError("x"), CorruptError)
