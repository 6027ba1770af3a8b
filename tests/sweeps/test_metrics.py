"""What Prometheus reads of a runner, and who may read it."""

from __future__ import annotations

import pickle
import ssl
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from datasets.store import Store, open_store
from quantbot.errors import InputError, StoreError
from sweeps.certificates import make_certificates
from sweeps.executors import serial
from sweeps.metrics import Metrics
from sweeps.runstore import RunStore
from sweeps.service.runner import Runner


class Samples(dict[tuple[str, frozenset[str]], float]):
    def __getitem__(self, key: Any) -> float:
        return super().__getitem__((key[0], frozenset(key[1:])))


def read(text: str) -> Samples:
    """Return each sample by its name and the values of its labels."""
    return Samples(
        {
            (sample.name, frozenset(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    )


def test_metrics__say_what_a_runner_did_and_what_its_store_took(root: Store, small: Any) -> None:
    brief = {"parameters": {"fast": {"values": [3, 5]}, "slow": {"values": [8, 16]}}, "folds": {"method": "none"}}
    identity = small.submit(root, {**small.spec, **brief}, points=1)
    metrics = Metrics()
    runner = Runner(metrics.observe(root), serial, name="ada")
    metrics.watch(runner)
    with metrics.serve(0) as port:
        before = read(urlopen(f"http://127.0.0.1:{port}/metrics").read().decode())
        runner.run(once=True)
        after = read(urlopen(f"http://127.0.0.1:{port}/metrics").read().decode())
    assert before["quantbot_runner_blocks_total", "ada"] == 0
    n_blocks = RunStore(root, identity).plan().n_blocks
    assert n_blocks > 1
    assert after["quantbot_runner_blocks_total", "ada"] == n_blocks
    assert after["quantbot_runner_runs_total", "ada", "done"] == 1
    assert after["quantbot_runner_runs_total", "ada", "failed"] == 0
    assert after["quantbot_runner_core_seconds_total", "ada"] > 0
    assert after["quantbot_runner_leases", "ada"] == 0
    assert [after["quantbot_runner_state", "ada", state] for state in ("idle", "driving")] == [0, 0]
    assert after["quantbot_runner_state", "ada", "draining"] == 1
    for operation in ("get", "list", "put_new"):
        assert after["quantbot_store_operation_seconds_count", operation] > 0
        assert after["quantbot_store_operation_seconds_sum", operation] > 0


def test_metrics__count_what_fails_and_name_what_is_waited_for(tmp_path: Path) -> None:
    class Broken:
        url = "file:///broken"

        def get(self, *_: object) -> bytes:
            raise StoreError("no answer")

    metrics = Metrics()
    observed = metrics.observe(Broken())  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(StoreError):
            observed.get("key")
    with pytest.raises(LookupError):
        metrics.observe(open_store(tmp_path)).get("missing")
    runner = Runner(open_store(tmp_path), serial, name="ada")
    runner._troubles[0] = ("store down", "no answer")
    metrics.watch(runner)
    with metrics.serve(0) as port:
        found = read(urlopen(f"http://127.0.0.1:{port}/metrics").read().decode())
    assert found["quantbot_store_errors_total", "get", "StoreError"] == 3
    assert ("quantbot_store_errors_total", frozenset({"get", "NotFoundError"})) not in found
    assert found["quantbot_runner_trouble", "ada", "store down"] == 1


def test_metrics__beyond_loopback_need_certificates(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"listening on 0\.0\.0\.0 needs certificates"), Metrics().serve(0, "0.0.0.0"):
        pass


def test_metrics__are_told_over_tls_to_certificate_holders_alone(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        make_certificates(folder, ["127.0.0.1"])
    metrics = Metrics()
    metrics.watch(Runner(open_store(tmp_path / "store"), serial, name="ada"), tls=ours)

    def context(shown: Path | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(ours / "ca.pem"))
        if shown is not None:
            made.load_cert_chain(shown / "cert.pem", shown / "key.pem")
        return made

    with metrics.serve(0, tls=ours) as port:
        url = f"https://127.0.0.1:{port}/metrics"
        for stranger in (None, theirs):
            with pytest.raises((URLError, OSError)):
                urlopen(url, context=context(stranger), timeout=5).read()
        with pytest.raises((URLError, OSError)):
            urlopen(url.replace("https", "http"), timeout=5).read()
        found = read(urlopen(url, context=context(ours), timeout=5).read().decode())
    assert found["quantbot_certificate_end_timestamp_seconds", "ada"] > 1.7e9


def test_observed_store__is_the_same_store_and_pickles_as_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    observed = Metrics().observe(store)
    assert observed == Metrics().observe(open_store(tmp_path))
    assert pickle.loads(pickle.dumps(observed)) == store
    assert observed.child("a").url == store.child("a").url
