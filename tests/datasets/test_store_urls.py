from pathlib import Path

import pytest

from datasets.store import open_store, parse_store_url
from datasets.store_urls import check_key
from quantbot.errors import InputError

REFUSED = [
    "",
    "   ",
    "http://127.0.0.1:8333/bucket",
    "https://bucket.s3.amazonaws.com/x",
    "http://169.254.169.254/latest/meta-data",
    "memory://store",
    "reference://store",
    "zip://store.zip",
    "zip://x::s3://bucket/store.zip",
    "simplecache::s3://bucket/prefix",
    "/data/store::zip",
    "S3://bucket/prefix",
    "s3://",
    "s3:///prefix",
    "s3://b/prefix",
    "s3://Bucket/prefix",
    "s3://bucket:9000/prefix",
    "s3://bucket/a/../other",
    "s3://bucket/%2e%2e/other",
    "s3://bucket/pre fix",
    "s3://bucket/pre\0fix",
    "s3://bucket/a//b",
    "s3://bucket/prefix?versionId=1",
    "s3://bucket/prefix#x",
    "s3://bucket/.tmp",
    "file://host/data",
    "file://data",
    "file:///",
    "file:///data/../etc",
    "file:///data?x=1",
    "file:///da\nta",
    "file:///da%00ta",
    "/data/../etc",
    "../data",
    "/",
]


@pytest.mark.parametrize("url", REFUSED)
def test_open_store__refuses_other_places_and_lists_what_is_accepted(url):
    with pytest.raises(InputError, match=r"file:///data/store.*s3://bucket/prefix"):
        open_store(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAKEY:hunter2secret@bucket/prefix",
        "s3://bucket/prefix?AWSAccessKeyId=hunter2secret",
        "s3://bucket/prefix?x=1#hunter2secret",
        "http://user:hunter2secret@host/x",
        "x::s3://k:hunter2secret@bucket",
        "k:hunter2secret@bucket::x",
        "s3://bucket/hunter2secret@x",
    ],
)
def test_open_store__repeats_no_credential(url):
    with pytest.raises(InputError) as error:
        open_store(url)
    assert "hunter2secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("/data/store/", "file:///data/store"),
        (Path("/data/store"), "file:///data/store"),
        ("file:///data/my%20store", "file:///data/my%20store"),
        ("/data/my store", "file:///data/my%20store"),
        ("file://localhost/data", "file:///data"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://my.bucket-1/a", "s3://my.bucket-1/a"),
    ],
)
def test_open_store__gives_one_url_to_one_place(url, canonical):
    store = open_store(url)
    assert store.url == canonical == str(parse_store_url(url))
    assert open_store(store.url) == store


def test_open_store__reads_a_relative_path_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_store(".quantbot/store").url == (tmp_path / ".quantbot/store").as_uri()


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", "..", "a/../b", ".", "a/./b", "a b", "ü", "a\0", "a\n", "a\\b", "a:b", "a*", ".tmp/x",
     "x" * 251, "/".join(["x" * 100] * 10), "a%2e"],
)  # fmt: skip
def test_check_key__refuses_what_some_store_can_not_hold(key):
    with pytest.raises(InputError):
        check_key(key)


@pytest.mark.parametrize("key", ["a", "a/b.c", "v=12ab/c/0/0", "zarr.json", "A-_.=", "..a", "/".join(["x" * 99] * 9)])
def test_check_key__takes_the_keys_that_are_in_use(key):
    assert check_key(key) == key
