"""One contract, kept by every store."""

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from datasets.store import Store, open_store
from quantbot.errors import InputError, NotFoundError

SECOND_NS = 1_000_000_000


@pytest.fixture
def store(store_url: str) -> Store:
    return open_store(store_url)


def test_put_new__writes_once_and_changes_nothing_after(store):
    assert store.put_new("a/b.bin", b"first") is True
    assert store.put_new("a/b.bin", b"second") is False
    assert store.put_new("a/b.bin", b"first") is False
    assert store.get("a/b.bin") == b"first"


def test_put__replaces(store):
    store.put("beat", b"1")
    store.put("beat", b"")
    assert store.get("beat") == b""
    assert store.size("beat") == 0


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, None), (0, 3), (2, 3), (2, None), (8, 10), (9, None), (10, None), (10, 5), (99, 1), (3, 0)],
)
def test_get__cuts_a_range_like_a_slice(store, start, length):
    data = b"0123456789"
    store.put_new("digits", data)
    assert store.get("digits", start, length) == data[start : None if length is None else start + length]


def test_get__brings_large_objects_back(store):
    data = bytes(range(256)) * 40_000
    store.put_new("large", data)
    assert store.get("large") == data
    assert store.get("large", 5_000_000, 1_000) == data[5_000_000:5_001_000]
    assert store.size("large") == len(data)


def test_missing__is_not_found_by_every_question(store):
    store.put_new("folder/there", b"x")
    for key in ("absent", "folder", "folder/there/below", "folder/absent"):
        assert not store.exists(key)
        for ask in (store.get, store.size, store.modified_ns):
            with pytest.raises(NotFoundError, match=key):
                ask(key)
        with pytest.raises(NotFoundError):
            store.get(key, 2, 0)
        if key != "folder":
            store.delete(key)
    assert store.list() == ["folder/there"]
    assert store.list("nowhere/") == [] == store.folders("nowhere")


def test_keys__that_some_store_can_not_hold_are_refused_everywhere(store):
    for key in ("", "../x", "a b", "ü", "a\0", "x" * 901, ".tmp/x"):
        for ask in (store.get, store.exists, store.delete, lambda key: store.put_new(key, b""), store.child):
            if key or ask != store.child:
                with pytest.raises(InputError):
                    ask(key)
    with pytest.raises(InputError):
        store.list("../")


def test_list__is_sorted_by_key_and_takes_any_prefix(store):
    keys = ["a0", "a-b/c", "a.b", "a/b", "a/b2/c", "b/v=1/x"]
    for key in reversed(keys):
        store.put_new(key, b"")
    assert store.list() == sorted(keys)
    assert store.list("a/b") == ["a/b", "a/b2/c"]
    assert store.list("a/") == ["a/b", "a/b2/c"]
    assert store.list("a-") == ["a-b/c"]
    assert store.folders() == ["a", "a-b", "b"]
    assert store.folders("a") == store.folders("a/") == ["b2"]
    assert store.folders("b") == ["v=1"]


def test_list__pages_through_many_keys(s3_url):
    store = open_store(s3_url)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.put(f"many/{i:04d}", b""), range(1_010)))
    assert store.list("many/") == [f"many/{i:04d}" for i in range(1_010)]


def test_delete__removes_and_is_idempotent(store):
    store.put_new("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    assert store.list() == []
    assert store.put_new("a/b", b"y")


def test_child__is_a_view_of_a_folder(store):
    child = store.child("runs/1")
    child.put_new("rows", b"x")
    assert store.get("runs/1/rows") == b"x"
    assert child.list() == ["rows"]
    assert open_store(child.url) == child
    assert store.child("") == store


def test_clock__is_the_store_s_own(store):
    before = store.now_ns()
    store.put_new("x", b"")
    written = store.modified_ns("x")
    after = store.now_ns()
    # S3 counts whole seconds, and server and gateway may round differently.
    assert before - SECOND_NS <= written <= after + SECOND_NS


def test_put_new__has_one_winner_among_threads(store):
    barrier = threading.Barrier(8)

    def write(me: int) -> list[bool]:
        barrier.wait()
        return [store.put_new(f"race/{n}", bytes([me]) * 10_000) for n in range(4)]

    with ThreadPoolExecutor(8) as pool:
        wins = list(pool.map(write, range(8)))
    for n in range(4):
        winners = [me for me in range(8) if wins[me][n]]
        assert len(winners) == 1
        assert store.get(f"race/{n}") == bytes(winners) * 10_000


RACE = """
import sys, time
from datasets.store import open_store
store, me = open_store(sys.argv[1]), sys.argv[2]
store.put(f"ready/{me}", b"")
while len(store.list("ready/")) < 4:
    time.sleep(0.01)
print(*[n for n in range(6) if store.put_new(f"race/{n}", me.encode() * 5000)])
"""


def test_put_new__has_one_winner_among_processes(store):
    command = [sys.executable, "-c", RACE, store.url]
    racers = [subprocess.Popen([*command, str(me)], stdout=subprocess.PIPE, text=True) for me in range(4)]
    won = [racer.communicate(timeout=60)[0].split() for racer in racers]
    assert sorted(n for wins in won for n in wins) == [str(n) for n in range(6)]
    for me, wins in enumerate(won):
        for n in wins:
            assert store.get(f"race/{n}") == str(me).encode() * 5000


def test_list__sees_another_process_s_new_object_at_once(store):
    store.put_new("runs/1", b"")
    assert store.list("runs/") == ["runs/1"]
    script = "import sys; from datasets.store import open_store; open_store(sys.argv[1]).put_new('runs/2', b'')"
    subprocess.run([sys.executable, "-c", script, store.url], check=True, timeout=60)
    assert store.list("runs/") == ["runs/1", "runs/2"]
    assert store.exists("runs/2")


def test_readers__see_whole_objects_while_a_writer_replaces_them(store):
    sizes = {b"a": 300_000, b"b": 170_000}
    store.put("beat", b"a" * sizes[b"a"])
    ended = threading.Event()

    def read() -> int:
        n_reads = 0
        while not ended.is_set():
            data = store.get("beat")
            assert data == data[:1] * sizes[data[:1]]
            n_reads += 1
        return n_reads

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for _ in range(10):
                for letter, size in sizes.items():
                    store.put("beat", letter * size)
        finally:
            ended.set()
        assert all(reader.result(30) > 0 for reader in readers)


def test_store__pickles_as_its_place_without_a_secret(store):
    store.put_new("x", b"hello")
    pickled = pickle.dumps(store)
    assert os.environ.get("AWS_SECRET_ACCESS_KEY", "no secret").encode() not in pickled
    assert len(pickled) < 300
    script = "import sys, pickle; print(pickle.loads(bytes.fromhex(sys.argv[1])).get('x').decode())"
    answer = subprocess.run(
        [sys.executable, "-c", script, pickled.hex()], stdout=subprocess.PIPE, check=True, timeout=60
    )
    assert answer.stdout.strip() == b"hello"


def test_zarr__reads_what_it_wrote_through_the_store(store):
    import numpy as np
    import zarr

    values = np.arange(60.0).reshape(20, 3)
    array = zarr.create_array(
        store.zarr("group"), name="x", shape=values.shape, shards=(10, 3), chunks=(5, 1), dtype="f8"
    )
    array[:] = values
    again = zarr.open_array(store.zarr("group", read_only=True), path="x", mode="r")
    assert (again[7:13, 1] == values[7:13, 1]).all()
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 1.0
