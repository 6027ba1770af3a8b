"""What an S3 store does when the server, the network or the credentials fail."""

import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from s3_proxy import CUT_ANSWER, CUT_BODY, LATER, PASS, first, s3_proxy

from datasets import store_s3
from datasets.store import open_store
from quantbot.errors import NotFoundError, StoreError


def test_put_new__takes_its_own_lost_answer_for_success(s3_url, monkeypatch):
    store = open_store(s3_url)
    with s3_proxy(first(2, CUT_ANSWER, "PUT")):
        assert store.put_new("x", b"mine") is True
        assert store.put_new("x", b"mine") is False
    assert store.get("x") == b"mine"


def test_put_new__takes_a_repeat_below_it_for_its_own(s3_url, monkeypatch):
    store = open_store(s3_url)
    cut = []
    with s3_proxy(lambda method, _: cut.pop() if method == "PUT" and cut else PASS):
        for n in range(5):
            store.put(f"warm/{n}", b"")  # keeps the connection, on which aiohttp repeats a request in silence
            cut.append(CUT_ANSWER)
            assert store.put_new(f"x/{n}", b"mine") is True


def test_put_new__takes_another_s_object_for_a_conflict_after_a_lost_answer(s3_url, monkeypatch):
    store = open_store(s3_url)
    store.put_new("x", b"the same bytes")
    with s3_proxy(first(1, CUT_ANSWER, "PUT")):
        assert store.put_new("x", b"the same bytes") is False


def test_put_new__has_one_winner_though_answers_are_lost(s3_url, monkeypatch):
    store = open_store(s3_url)
    seen = iter(range(1_000))

    def fault(method: str, _: str) -> str:
        return CUT_ANSWER if method == "PUT" and next(seen) % 3 == 0 else PASS

    def race(key: str, me: int) -> bool:
        return store.put_new(key, b"%d" % me)

    # The second round meets kept connections, on which aiohttp repeats a request by itself.
    for key in ("race/1", "race/2"):
        with s3_proxy(fault), ThreadPoolExecutor(4) as pool:
            wins = list(pool.map(partial(race, key), range(4)))
        assert wins.count(True) == 1
        assert store.get(key) == b"%d" % wins.index(True)


def test_requests__are_repeated_while_the_server_says_later(s3_url, monkeypatch):
    store = open_store(s3_url)
    store.put_new("x", b"0123456789")
    with s3_proxy(first(2, LATER, "GET")):
        assert store.get("x") == b"0123456789"
    with s3_proxy(first(2, LATER, "PUT")):
        assert store.put_new("y", b"") is True


def test_get__never_returns_half_a_body(s3_url, monkeypatch):
    store = open_store(s3_url)
    data = os.urandom(200_000)
    store.put_new("x", data)
    with s3_proxy(first(2, CUT_BODY, "GET")):
        assert store.get("x") == data


def test_outage__ends_in_an_error_that_names_the_endpoint(s3_url, monkeypatch):
    monkeypatch.setattr(store_s3, "_OUTAGE_SECONDS", 1.0)
    said = r"http://127\.0\.0\.1:\d+ failed \(503.*list_objects_v2"
    with s3_proxy(first(1_000, LATER, "GET")), pytest.raises(StoreError, match=said):
        open_store(s3_url).list()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no-such-host.invalid"])
def test_unreachable__is_said_within_fifteen_seconds(endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setattr(store_s3, "_UNREACHABLE_SECONDS", 1.0)
    began = time.monotonic()
    with pytest.raises(StoreError, match="can't be reached") as error:
        open_store("s3://bucket/x").get("key")
    assert endpoint in str(error.value)
    assert time.monotonic() - began < 15


def test_wrong_secret__is_access_denied_without_the_secret(s3_url, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2secret")
    store = open_store(s3_url)
    for ask in (lambda: store.get("x"), lambda: store.put_new("x", b""), store.list, lambda: store.delete("x")):
        with pytest.raises(StoreError, match=r"access denied.*s3:ListBucket") as error:
            ask()
        assert "hunter2secret" not in str(error.value)


def test_reader__may_read_and_is_told_what_it_may_not(s3_url, monkeypatch):
    open_store(s3_url).put_new("x", b"hello")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "quantbot-reader")
    store = open_store(s3_url)
    assert store.get("x") == b"hello"
    assert store.list() == ["x"]
    for action, act in {
        "put_object": lambda: store.put_new("y", b""),
        "delete_object": lambda: store.delete("x"),
    }.items():
        with pytest.raises(StoreError, match=f"access denied.*{action}"):
            act()
    assert store.list() == ["x"]


def test_no_credentials__are_asked_for(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID"):
        open_store("s3://bucket/x").list()


def test_missing_bucket__is_named(s3_root):
    store = open_store("s3://quantbot-none/x")
    for ask in (store.list, lambda: store.put_new("x", b""), lambda: store.get("x")):
        with pytest.raises(StoreError, match="no bucket 'quantbot-none'"):
            ask()


def test_child_process__opens_a_client_of_its_own_after_a_fork(s3_url):
    store = open_store(s3_url)
    store.put_new("x", b"hello")
    script = """
import os, sys
from datasets.store import open_store
store = open_store(sys.argv[1])
assert store.get("x") == b"hello"
child = os.fork()
if child == 0:
    os._exit(0 if store.get("x") == b"hello" and store.put_new("y", b"1") else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, s3_url], check=True, timeout=60)
    assert store.get("y") == b"1"


def test_zarr_store__pickles_without_a_secret(s3_url):
    store = open_store(s3_url)
    store.list()
    pickled = pickle.dumps(store.zarr("group"))
    assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in pickled
    assert pickle.loads(pickled) == store.zarr("group")


def test_get__of_nothing_is_not_found(s3_url):
    with pytest.raises(NotFoundError, match="'absent' in s3://"):
        open_store(s3_url).get("absent")
