"""What a manifest promises of its objects, in the format that is written now and in the first one."""

import json
from dataclasses import replace

import pytest

from datasets import digests, manifest
from datasets.manifest import Manifest, StoredObject, VerifiedObjects, canonical
from datasets.store import Store, open_store
from quantbot.errors import CorruptError, FormatError

SEGMENT = 64
DATA = bytes(range(200))


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "SEGMENT_BYTES", SEGMENT)
    digests.forget()


@pytest.fixture
def store(tmp_path) -> Store:
    root = open_store(tmp_path)
    root.put("x", DATA)
    return root


def first_format(data: bytes) -> bytes:
    """Return a manifest of `x` as the first format had it: segments by SHA-256, and no word of a format."""
    segments = [digests.sha256(data[at : at + SEGMENT]) for at in range(0, len(data), SEGMENT)]
    body = {
        "head": {"kind": "test"},
        "objects": {"x": {"size": len(data), "sha256": digests.sha256(data), "segments": segments}},
    }
    return canonical({"sha256": digests.sha256(canonical(body)), **body})


def newest_format(data: bytes) -> bytes:
    return Manifest({"kind": "test"}, {"x": StoredObject.of(data)}).to_bytes()


both = pytest.mark.parametrize(("write", "name"), [(first_format, "SHA-256"), (newest_format, "XXH3-128")])


def opened(store: Store, data: bytes) -> VerifiedObjects:
    return VerifiedObjects(store, Manifest.from_bytes(data, "the manifest").objects, "test")


@both
def test_object__is_read_whole_and_in_parts(store, write, name):
    objects = opened(store, write(DATA))
    assert objects.problem("x") == ""
    for start, length in ((0, None), (0, 5), (60, 10), (190, 50), (199, 1), (128, 64), (250, 4), (3, 0)):
        stop = None if length is None else start + length
        for _ in range(2):  # from the store, and from memory
            found = objects.get("x", start, length)
            assert type(found) is bytes
            assert found == DATA[start:stop]


@both
def test_object__that_is_not_what_was_written_is_named_with_both_digests(store, write, name):
    bad = DATA[:130] + b"\xff" + DATA[131:]
    for data, said in (
        (bad, rf"object x .*bytes from 128: expected {name} [0-9a-f]+, found [0-9a-f]+"),
        (bad[::-1], rf"object x .*expected {name}"),
        (DATA[:-1], "object x .*ends after 199 bytes"),
        (b"", "object x .*ends after 0 bytes"),
        (DATA + b"x", "object x .*longer"),
    ):
        store.put("x", data)
        objects = opened(store, write(DATA))
        with pytest.raises(CorruptError, match=said):
            objects.get("x")
        assert "object x" in objects.problem("x")
    store.delete("x")
    with pytest.raises(CorruptError, match=r"object x .*missing"):
        opened(store, write(DATA)).get("x", 3, 1)


def test_check__computes_what_nobody_can_forge(store):
    forged = replace(StoredObject.of(DATA), sha256=digests.sha256(b"what was written"))
    objects = VerifiedObjects(store, {"x": forged}, "test")
    assert objects.get("x") == DATA  # as if it had been made to agree
    assert "expected SHA-256" in objects.problem("x")
    assert "expected SHA-256" in objects.damage()[0]


def test_manifest__of_a_newer_format_is_refused_and_the_number_is_sealed():
    text = newest_format(DATA)
    with pytest.raises(FormatError, match="format 3; this version of QuantBot reads format 2"):
        Manifest.from_bytes(text.replace(b'"format":2', b'"format":3'), "the manifest")
    with pytest.raises(CorruptError, match="the manifest was changed"):
        Manifest.from_bytes(text.replace(b'"format":2', b'"format":1'), "the manifest")
    with pytest.raises(FormatError, match="format 0, of an older version"):
        Manifest.from_bytes(text.replace(b'"format":2', b'"format":0'), "the manifest")
    assert json.loads(text)["format"] == 2  # readers of the first format ask for this number, and refuse
    assert "format" not in json.loads(first_format(DATA))


def test_manifest__of_the_first_format_is_written_anew_in_the_newest():
    old = Manifest.from_bytes(first_format(DATA), "the manifest")
    again = Manifest.from_bytes(old.to_bytes(), "the manifest")
    assert again == old
    assert json.loads(old.to_bytes())["format"] == 2
