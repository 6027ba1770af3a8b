"""`quantbot doctor`: each trouble has a line with what to do."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from app import doctor
from app.cli import main
from app.doctor import Check, examine


def _by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_doctor__finds_this_environment_well(store_url: str) -> None:
    checks = _by_name(examine(store_url))
    for name in ("python", "datasets", "packages", "kernel cache", "store", "clock", "s3"):
        assert checks[name].verdict == "ok", checks[name]


def test_doctor__leaves_nothing_in_the_store(store_url: str) -> None:
    from datasets.store import open_store

    examine(store_url)
    assert open_store(store_url).list() == []


def test_doctor__says_why_a_store_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert _by_name(examine(str(tmp_path / "file")))["store"].verdict == "fail"
    bad = _by_name(examine("ftp://host/x"))["store"]
    assert bad.verdict == "fail"
    assert "s3://" in bad.sentence


def test_doctor__says_that_a_store_without_conditional_writes_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.store_file import FileStore

    def overwrite(self: FileStore, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True

    monkeypatch.setattr(FileStore, "put_new", overwrite)
    check = _by_name(examine(str(tmp_path)))["store"]
    assert check.verdict == "fail"
    assert "If-None-Match" in check.sentence


def test_doctor__reaches_a_scheduler_or_says_why_not(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert _by_name(examine(str(tmp_path), address))["scheduler"].verdict == "ok"
    assert _by_name(examine(str(tmp_path), address))["scheduler"].verdict == "fail"
    assert "tcp://host:port" in _by_name(examine(str(tmp_path), "http://x"))["scheduler"].sentence


def test_doctor__names_half_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "K")
    assert "AWS_SECRET_ACCESS_KEY is not set" in _by_name(examine(str(tmp_path)))["s3"].sentence


def test_doctor__warns_of_a_clock_that_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.store_file import FileStore

    monkeypatch.setattr(FileStore, "now_ns", lambda self: 0)
    assert _by_name(examine(str(tmp_path)))["clock"].verdict == "warn"


def test_doctor__warns_of_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file stands where the folder should be")
    monkeypatch.setenv("QUANTBOT_CACHE_DIR", str(tmp_path / "cache"))
    check = _by_name(examine(str(tmp_path)))["kernel cache"]
    assert check.verdict == "warn"
    assert "QUANTBOT_CACHE_DIR" in check.sentence


def test_doctor__ends_with_three_and_json_when_a_check_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        doctor, "_packages", lambda: iter([Check("packages", "fail", "numba is 0.1, needed is >=0.62")])
    )
    assert main(["doctor", "--json", "--store", str(tmp_path)]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert {"name": "packages", "verdict": "fail", "sentence": "numba is 0.1, needed is >=0.62"} in document["checks"]
