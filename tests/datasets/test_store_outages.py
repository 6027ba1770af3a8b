"""What a proxy between us and an S3 server does to requests, and what we make of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from s3_proxy import (
    BROKEN,
    CUT_BODY,
    DELAY,
    DENIED,
    DRIP,
    FULL,
    HALF_BODY,
    LATER,
    MISSING,
    PASS,
    RANDOM_BODY,
    REFUSE,
    STALL,
    SWALLOW,
    THROTTLED,
    first,
    s3_proxy,
)

from datasets import landing, store_s3
from datasets.bars import BarsMeta, write_bars
from datasets.catalog import Catalog
from datasets.selftest import check_takes
from datasets.store import open_store
from quantbot.errors import AccessError, CorruptError, FullError, NotFoundError, OutageError, StoreError

META = BarsMeta("Some bars", "tests", "1d", 252.0, synthetic=True)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every wait a small part of what it is."""
    monkeypatch.setattr(store_s3, "_OUTAGE_SECONDS", 2.5)
    monkeypatch.setattr(store_s3, "_UNREACHABLE_SECONDS", 1.0)
    monkeypatch.setattr(store_s3, "_READ_SECONDS", 1.0)
    monkeypatch.setattr(landing, "PATIENCE_SECONDS", 1.5)


@pytest.mark.parametrize(
    ("action", "kind", "said"),
    [
        (DENIED, AccessError, "access denied"),
        (MISSING, NotFoundError, "no object 'x'"),
        (FULL, FullError, "no space left"),
    ],
)
@pytest.mark.parametrize("of", ["GET", "PUT"])
def test_answers__that_mean_what_they_say_are_believed_at_once(
    s3_url: str, short: None, action: str, kind: type[Exception], said: str, of: str
) -> None:
    store = open_store(s3_url)
    with s3_proxy(first(9, action, of)) as proxy:
        if (action, of) == (MISSING, "PUT"):
            kind, said = StoreError, "no bucket"
        with pytest.raises(kind, match=said) as caught:
            store.get("x") if of == "GET" else store.put_new("x", b"1")
    assert proxy.count(action) == 1
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("action", [BROKEN, LATER, THROTTLED, REFUSE, STALL, DRIP, CUT_BODY])
def test_answers__that_pass_are_asked_for_again(s3_url: str, short: None, action: str) -> None:
    store = open_store(s3_url)
    data = os.urandom(100_000)
    store.put_new("x", data)
    with s3_proxy(lambda *_: PASS) as proxy:
        store.size("x")
        proxy.fault = first(1, action, "GET")
        began = time.monotonic()
        assert store.get("x") == data
        assert time.monotonic() - began < 3.5
        assert proxy.count(action) == 1


@pytest.mark.parametrize("action", [LATER, REFUSE])
def test_outage__that_is_ridden_out_and_one_that_is_not(s3_url: str, short: None, action: str) -> None:
    store = open_store(s3_url)
    store.put_new("x", b"0123456789")
    with s3_proxy(lambda *_: PASS) as proxy:
        store.get("x")
        began = time.monotonic()
        proxy.fault = lambda *_: PASS if time.monotonic() - began > 0.8 else action
        assert store.get("x") == b"0123456789"
        proxy.fault = lambda *_: action
        began = time.monotonic()
        with pytest.raises(OutageError) as caught:
            store.get("x")
        assert caught.value.kind == "outage"
        assert 0.8 < time.monotonic() - began < 8


@pytest.fixture
def prices(s3_url: str, some_bars: Callable[..., Any]) -> str:
    write_bars(open_store(s3_url), "test/x", {"AAA": some_bars(40, 1)}, META, {})
    return s3_url


@pytest.mark.parametrize("action", [RANDOM_BODY, HALF_BODY])
def test_wrong_bytes__are_read_again_and_then_refused(prices: str, short: None, action: str) -> None:
    right = Catalog(open_store(prices)).open("test/x").columns("AAA").digest()
    with s3_proxy(first(1, action, "GET", "close/c/")) as proxy:
        assert Catalog(open_store(prices)).open("test/x").columns("AAA").digest() == right
        assert proxy.count(action) == 1
        proxy.fault = first(99, action, "GET", "close/c/")
        with pytest.raises(CorruptError, match=r"close/c/0/0 .*expected"):
            Catalog(open_store(prices)).open("test/x").columns("AAA")


def test_ingest__waits_for_objects_that_show_late_and_refuses_those_that_never_do(
    s3_url: str, some_bars: Callable[..., Any], short: None
) -> None:
    root, columns = open_store(s3_url), {"AAA": some_bars(40, 1)}
    with s3_proxy(first(1, SWALLOW, "PUT", "close/c/")) as proxy:
        with pytest.raises(OutageError, match="acknowledged"):
            write_bars(root, "test/x", columns, META, {})
        assert Catalog(root).names() == []
        proxy.fault = first(1, DELAY, "PUT", "close/c/")
        assert write_bars(root, "test/x", columns, META, {}).damage() == []
        assert proxy.count(DELAY) == 1


def test_credentials__that_read_but_do_not_write_are_told_before_anything_is_written(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_takes(open_store(s3_url))
    assert open_store(s3_url).list() == []
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "quantbot-reader")
    with pytest.raises(AccessError, match="put_object"):
        check_takes(open_store(s3_url))


def test_self_test__tells_a_server_without_conditional_writes(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def overwrites(store: Any, key: str, data: bytes) -> bool:
        store.put(key, data)
        return True

    monkeypatch.setattr(store_s3.S3Store, "put_new", overwrites)
    with pytest.raises(StoreError, match="conditional writes"):
        check_takes(open_store(s3_url))


def test_self_test__leaves_what_it_may_not_delete(s3_url: str) -> None:
    with s3_proxy(first(9, DENIED, "DELETE")):
        check_takes(open_store(s3_url))
    assert len(open_store(s3_url).list("selftest/")) == 1


@pytest.mark.slow
def test_stall__is_given_up_within_twenty_seconds(s3_url: str) -> None:
    store = open_store(s3_url)
    store.put_new("x", b"0123456789" * 1000)
    with s3_proxy(lambda *_: PASS) as proxy:
        store.size("x")
        proxy.fault = first(1, STALL, "GET")
        began = time.monotonic()
        assert len(store.get("x")) == 10_000
        assert 10 < time.monotonic() - began < 20


@pytest.mark.slow
def test_outage__of_45_seconds_is_ridden_out_and_one_of_90_is_told(s3_url: str) -> None:
    store = open_store(s3_url)
    with s3_proxy(lambda *_: PASS) as proxy:
        store.list()
        began = time.monotonic()
        proxy.fault = lambda *_: PASS if time.monotonic() - began > 45 else LATER
        assert store.put_new("x", b"1")
        proxy.fault = lambda *_: LATER
        began = time.monotonic()
        with pytest.raises(OutageError):
            store.put_new("y", b"1")
        assert 50 < time.monotonic() - began < 90
