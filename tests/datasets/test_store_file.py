"""What only a folder can do to a store."""

import os
import subprocess
import sys
import time

import pytest

from datasets import store_file
from datasets.store import open_store
from quantbot.errors import NotFoundError, StoreError

KILLED = """
import os, sys
from datasets.store import open_store
def stop(_):
    print("synced", flush=True)
    sys.stdin.read()
os.fsync, sync = stop, os.fsync
open_store(sys.argv[1]).put_new("a/b", b"x" * 1_000_000)
"""


def test_killed_writer__leaves_nothing_that_a_listing_shows(tmp_path):
    store = open_store(tmp_path / "store")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, store.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout.readline() == b"synced\n"
        writer.kill()
    assert store.list() == [] == store.folders()
    assert not store.exists("a/b")
    assert store.put_new("a/b", b"y")
    assert store.list() == ["a/b"]


def test_failed_write__leaves_no_temporary_file(tmp_path, monkeypatch):
    store = open_store(tmp_path / "store")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_file.os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left.*free some space"):
        store.put_new("a/b", b"x")
    monkeypatch.undo()
    assert store.list() == []
    assert os.listdir(tmp_path / "store" / ".tmp") == []


def test_folder_in_the_way__is_an_error_and_no_lost_race(tmp_path):
    store = open_store(tmp_path)
    store.put_new("a/b", b"x")
    with pytest.raises(StoreError):
        store.put_new("a", b"x")
    with pytest.raises(StoreError):
        store.put("a", b"x")
    with pytest.raises(StoreError):
        store.put_new("a/b/c", b"x")
    with pytest.raises(NotFoundError):
        store.get("a")
    assert store.list() == ["a/b"]


def test_file_system_without_links__is_named(tmp_path, monkeypatch):
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(store_file.os, "link", no_links)
    with pytest.raises(StoreError, match="hard links"):
        open_store(tmp_path).put_new("a", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; run as another user")
def test_read_only_folder__says_what_to_check(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="permissions"):
            open_store(tmp_path).put_new("a", b"x")
    finally:
        tmp_path.chmod(0o700)


def test_put__moves_the_time_of_an_object(tmp_path):
    store = open_store(tmp_path)
    store.put("beat", b"1")
    first = store.modified_ns("beat")
    time.sleep(0.05)
    store.put("beat", b"1")
    assert store.modified_ns("beat") > first
    assert abs(store.now_ns() - store.modified_ns("beat")) < 5_000_000_000


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="asks /proc what a descriptor is")
def test_put_new__is_durable_before_it_has_a_name_and_its_name_before_it_returns(tmp_path, monkeypatch):
    """What a power loss leaves: bytes reach the disk, then the name, then the folder that has it."""
    store = open_store(tmp_path / "store")
    store.put_new("a/first", b"x")
    done = []
    sync, link = os.fsync, os.link

    def synced(descriptor: int) -> None:
        done.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    def linked(source: str, target: str) -> None:
        done.append(("link", target))
        link(source, target)

    monkeypatch.setattr(store_file.os, "fsync", synced)
    monkeypatch.setattr(store_file.os, "link", linked)
    store.put_new("a/second", b"y")
    (temporary, name, folder) = done
    assert temporary[0] == "sync"
    assert "/.tmp/" in temporary[1]
    assert name == ("link", str(tmp_path / "store" / "a" / "second"))
    assert folder == ("sync", str(tmp_path / "store" / "a"))
