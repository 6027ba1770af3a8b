"""Specs from outside: a catalogue's names, registered strategies, and nothing that leaves the house."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest

from quantbot.errors import InputError, NotFoundError, RefusedError, SpecError, TooLargeError
from quantbot.strategies.loader import SourceBundle, bundle
from sweeps.admission import Policy, admit_bundle, admit_dataset, admit_plan, admit_spec, admit_strategy
from sweeps.plan import make_plan
from sweeps.spec import parse_spec

POLICY = Policy(prefixes=("s3://shared/lab",))
REFUSED = [
    # other machines, and this one by its other names (D1)
    "http://169.254.169.254/latest/meta-data", "http://localhost:8786/datasets/x", "http://[::1]/datasets/x",
    "http://2130706433/datasets/x", "http://0x7f.1/datasets/x", "https://example.com/datasets/demo/x",
    "http://127.0.0.1.nip.io/datasets/x", "ftp://example.com/datasets/x", "gs://bucket/datasets/x",
    "abfs://container/datasets/x", "ws://example.com/datasets/x", "HTTP://EXAMPLE.COM/datasets/x",
    # files of this machine
    "file:///etc/passwd", "file:///data/store/datasets/demo/x", "local:///data/datasets/x", "/data/store/datasets/x",
    "/etc/passwd", "~/store/datasets/x", "~root/datasets/x", "./store/datasets/x", "../store", "..", "demo/../x",
    "c:\\data\\x", "\\\\host\\share\\x", "file:/etc/passwd", "file://localhost/data/datasets/x",
    # what fsspec would unfold
    "memory://datasets/x", "zip://x.zip::s3://shared/lab/datasets/x", "zip::http://127.0.0.1/x.zip",
    "reference::http://127.0.0.1/x", "reference://datasets/x", "simplecache::s3://shared/lab/datasets/x",
    "s3://shared/lab/datasets/x::http://127.0.0.1", "dask://datasets/x", "github://a:b@c/datasets/x",
    "data:,datasets/x", "blockcache::file:///etc/passwd",
    # other places of S3, and ways out of ours (D3)
    "s3://other/datasets/x", "s3://shared/datasets/x", "s3://shared/laboratory/datasets/x",
    "s3://shared/lab/../secret/datasets/x", "s3://shared/lab/%2e%2e/secret/datasets/x", "s3://shared/./lab/datasets/x",
    "s3://shared/lab\\..\\x/datasets/x", "S3://shared/lab/datasets/x",
    "s3://SHARED/lab/datasets/x", "s3://shared/lab", "s3://shared/lab/demo/x", "s3:///shared/lab/datasets/x",
    "s3a://shared/lab/datasets/x", "s3://other/s3://shared/lab/datasets/x",
    # credentials, endpoints, what hides in a query (D4)
    "s3://KEY:hunter2@shared/lab/datasets/x", "s3://hunter2@shared/lab/datasets/x", "s3://shared:9000/lab/datasets/x",
    "s3://shared/lab/datasets/x?endpoint_url=http://127.0.0.1", "s3://shared/lab?token=hunter2/datasets/x",
    "s3://shared/lab#/datasets/x", "s3://shared/lab/datasets/x#hunter2",
    # no names at all
    "", " ", "demo/x\0", "s3://shared/lab/\0/datasets/x", "demo/x\n", "demo x", "x" * 1_100,
    "s3://shared/" + "x/" * 600, "Demo/X", "<img src=x onerror=alert(1)>", "demo/x@",
    "demo/x@g", "demo/x@@3f", "\u202edemo", None, 7, ["demo/x"], {"url": "demo/x"},
]  # fmt: skip


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail whoever makes a socket or asks for a name."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a packet would have been sent")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, never)
    monkeypatch.setattr(socket, "getaddrinfo", never)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("reference", REFUSED, ids=lambda text: repr(text)[:60])
def test_dataset__of_any_other_place_is_refused_and_not_echoed(reference: object) -> None:
    with pytest.raises(RefusedError) as error:
        admit_dataset(reference, POLICY)
    said = str(error.value)
    assert "catalogue" in said
    assert "s3://shared/lab" in said
    assert "hunter2" not in said
    assert "onerror" not in said


def test_list__of_refused_references_is_long_enough() -> None:
    assert len(REFUSED) >= 60


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "reference",
    [
        "demo/sp500",
        "demo/sp500@3fa2",
        "s3://shared/lab/datasets/demo/x",
        "s3://shared/lab/deep/er/datasets/x@3fa2",
        "s3://shared//lab/datasets/x",
    ],
)
def test_dataset__of_the_catalogue_or_an_allowed_prefix_is_admitted(reference: str) -> None:
    admit_dataset(reference, POLICY)


def test_dataset__elsewhere_is_refused_where_no_prefix_is_allowed() -> None:
    with pytest.raises(RefusedError, match="elsewhere"):
        admit_dataset("s3://shared/lab/datasets/x", Policy())


@pytest.mark.parametrize("prefix", ["file:///data", "/data", "http://x/y", "s3://a:b@bucket/x"])
def test_policy__takes_s3_prefixes_only(prefix: str) -> None:
    with pytest.raises(InputError):
        Policy(prefixes=(prefix,))


@pytest.mark.parametrize(
    "name",
    ["mine.py:mine", "/tmp/x.py:f", "os:system", "package.module:function", "../x.py:f", "sma_cros", "", None, 3,
     "sma_cross:sma_cross", "quantbot.strategies.sma_cross:sma_cross"],
)  # fmt: skip
def test_strategy__that_is_not_registered_is_refused_and_never_imported(name: object) -> None:
    with pytest.raises(RefusedError, match="registered strategy"):
        admit_strategy(name, POLICY)


def test_strategy__near_a_registered_one_is_told_its_name() -> None:
    with pytest.raises(RefusedError, match="sma_cross"):
        admit_strategy("sma_crss", Policy())


def test_code__of_ones_own_is_let_through_where_an_operator_said_so() -> None:
    admit_strategy("mine.py:mine", Policy(uploaded_code=True))


def test_spec__is_checked_before_its_strategy_runs(tmp_path: Any) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    text = f'version = 1\n[data]\ndataset = "demo/x"\n[strategy]\nname = "{tmp_path}/evil.py:f"'
    with pytest.raises(RefusedError, match="registered"):
        admit_spec(text, Policy())


@pytest.mark.parametrize("field", ["dataset", "scenarios"])
def test_spec__names_no_data_elsewhere(field: str) -> None:
    with pytest.raises(RefusedError, match=rf"data\.{field}"):
        admit_spec(f'[data]\n{field} = "http://localhost/x"', Policy())


@pytest.mark.parametrize(
    "text",
    ["x = '" + "a" * 1_000_001 + "'", "a = " + "[" * 100_000, "a = " + "{b=" * 50 + "1" + "}" * 50, b"\xff\xfe", "= ="],
    ids=["large", "deep", "nested", "bytes", "broken"],
)
def test_spec__that_is_too_large_or_deep_or_broken_ends_in_time(text: Any) -> None:
    with pytest.raises(SpecError):
        admit_spec(text, Policy())


def test_spec__with_sections_of_the_wrong_kind_is_left_to_the_parser() -> None:
    admit_spec("data = 1\nstrategy = []", Policy())


def test_bundle__carries_the_sources_that_are_installed_here() -> None:
    admit_bundle(bundle("sma_cross"), Policy())


@pytest.mark.parametrize("kind", ["shipped", "file", "engine"])
def test_bundle__that_somebody_put_into_the_store_is_refused(kind: Any) -> None:
    forged = SourceBundle("sma_cross", kind, "evil", "sma_cross", {"evil.py": "raise SystemExit"}, {})
    with pytest.raises(RefusedError):
        admit_bundle(forged, Policy())


def test_bundle__of_a_registered_digest_is_admitted_and_of_another_refused() -> None:
    made = SourceBundle("lab.mine:f", "module", "mine", "f", {"mine.py": "x = 1"}, {})
    admit_bundle(made, Policy(strategies={"lab.mine:f": made.digest}))
    with pytest.raises(RefusedError, match="digest"):
        admit_bundle(replace(made, files={"mine.py": "x = 2"}), Policy(strategies={"lab.mine:f": made.digest}))


def test_plan__of_a_registered_strategy_over_its_own_store_is_admitted(small: Any, tmp_path: Any) -> None:
    root = small.root(tmp_path)
    plan = make_plan(parse_spec(small.spec), root, probe=False)
    admit_plan(plan, Policy(), root)
    with pytest.raises(TooLargeError, match="operator"):
        admit_plan(plan, Policy(max_trials=plan.n_trials - 1), root)
    with pytest.raises(RefusedError, match="elsewhere"):
        admit_plan(replace(plan, dataset_root_url="file:///elsewhere"), Policy(), root)
    admit_plan(replace(plan, dataset_root_url="s3://shared/lab/x"), POLICY, root)


@pytest.mark.parametrize("name", ["a/../b", "a\0b", "x" * 200, "a b", "<b>", "-x", ".hidden/x", "..", "a/b"])
def test_names__that_become_keys_are_of_a_safe_set(tmp_path: Any, name: str) -> None:
    from datasets.catalog import open_dataset
    from datasets.scenarios import open_scenarios
    from datasets.store import open_store

    document = {"version": 1, "data": {"dataset": "demo/x"}, "strategy": {"name": "sma_cross"}, "run": {"name": name}}
    with pytest.raises(SpecError, match="1 to 128 letters"):
        parse_spec(document)
    root = open_store(tmp_path)
    for open_named in (open_dataset, open_scenarios):
        with pytest.raises((InputError, NotFoundError)):
            open_named(name, root)
