"""The credentials of a store, looked for wherever a cluster that reads and writes with them says or keeps something."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from canaries import PLANTED, assert_none_in, tapped
from streamlit.testing.v1 import AppTest

from app import reads_user
from app.serve import free_port
from datasets.bars import write_bars
from datasets.columns import BarColumns
from datasets.schema import BarsMeta
from datasets.store import open_store
from sweeps.certificates import make_certificates

ENTRY = Path(__file__).parents[2] / "app" / "streamlit_app.py"
SERVER = Path(__file__).parents[2] / "infra" / "s3_server.py"
BUCKET = "quantbot-canaries"
WRONG = "canary/0013+not/the/right/secret"
# Its children live apart from the worker; one point of it fails, and says so in the store, the logs and the pages.
STRATEGY = '''
from quantbot.parameters import integer
from quantbot.strategies.contract import strategy


@strategy(parameters=[integer("level", 1, 1, 9, "Where to buy.")])
def picky(close: float, level: float, position: float) -> float:
    """Buy above a level that it may not like."""
    if level > 3.0:
        raise ValueError("too high a level")
    return 1.0 if close > 100.0 else 0.0
'''
SPEC = """
version = 1
[run]
name = "watched"
[data]
dataset = "test/bars"
[strategy]
name = "picky.py:picky"
plain_python = true
[parameters]
level = { values = [1, 2, 3, 4] }
"""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """URL of an S3 store whose key is planted here, as every other secret is."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_SESSION_TOKEN")  # the server would ask whose it is
    make_certificates(tmp_path / "certs", ["127.0.0.1"])
    identities = [{
        "name": "all", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        "credentials": [{
            "accessKey": PLANTED["AWS_ACCESS_KEY_ID"], "secretKey": PLANTED["AWS_SECRET_ACCESS_KEY"],
        }],
    }]  # fmt: skip
    (tmp_path / "identities.json").write_text(json.dumps({"identities": identities}))
    port = free_port(19_300 + os.getpid() % 50)  # below those that connections take
    command = [
        sys.executable, str(SERVER), "--data", str(tmp_path / "s3"), "--port", str(port),
        "--certs", str(tmp_path / "certs"), "--identities", str(tmp_path / "identities.json"),
    ]  # fmt: skip
    clean = {name: value for name, value in os.environ.items() if name not in PLANTED}
    server = subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    assert server.stdout is not None
    try:
        for line in server.stdout:
            if line.startswith("# ready"):
                break
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"https://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "certs" / "ca.pem"))
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        make_bucket()
        yield f"s3://{BUCKET}/store"
    finally:
        server.terminate()
        server.wait(20)
        server.stdout.close()


def make_bucket() -> None:
    import s3fs

    end = time.monotonic() + 60
    while True:
        try:
            s3fs.S3FileSystem(skip_instance_cache=True, config_kwargs={"s3": {"addressing_style": "path"}}).mkdir(
                BUCKET
            )
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.5)


@pytest.mark.slow
def test_credentials_of_a_store__are_found_nowhere_in_a_cluster_that_uses_them(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = open_store(store)
    stamps = np.datetime64("2019-01-02T21:00", "ns").astype(np.int64) + 86_400 * 10**9 * np.arange(300)
    close = 100 + np.sin(np.arange(300.0))
    columns = BarColumns(stamps, close, close + 1, close - 1, close, np.full(300, 1e5))
    write_bars(root, "test/bars", {"AAA": columns}, BarsMeta("Bars", "drawn", "1d", 252.0), {"findings": []})
    (tmp_path / "picky.py").write_text(STRATEGY)
    (tmp_path / "spec.toml").write_text(SPEC)

    def quantbot(name: str, *words: str, **more: str) -> subprocess.Popen[bytes]:
        environment = os.environ | more | {
            "QUANTBOT_STORE": store, "PYTHONUNBUFFERED": "1", "DASK_DISTRIBUTED__COMM__COMPRESSION": "false",
            "DASK_LOGGING__DISTRIBUTED": "debug",
        }  # fmt: skip
        with (tmp_path / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "app", *words], env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    port = free_port(19_400 + os.getpid() % 50)
    with ExitStack() as stack:
        wired, heard = stack.enter_context(tapped(port))
        address = f"tcp://127.0.0.1:{wired}"
        stack.callback(end, scheduler := quantbot("scheduler", "scheduler", "--port", str(port)))
        until(lambda: connects(port), "the scheduler")
        worker = quantbot("worker", "worker", address, "--directory", str(tmp_path / "worker"))
        stack.callback(end, worker)
        submitting = quantbot("submit", "sweep", "run", str(tmp_path / "spec.toml"), "--submit", "--debug", "--yes")
        assert submitting.wait(120) == 0, said(tmp_path)
        runner = quantbot("runner", "runner", "--scheduler", address, "--once", "--debug")
        assert runner.wait(180) == 0, said(tmp_path)
        reports = (["sweep", "show", "watched", "--json"], ["doctor"], ["store", "check"])
        for words in reports:
            quantbot("commands", *words).wait(120)
        refused = quantbot("refused", "sweep", "list", "--debug", AWS_SECRET_ACCESS_KEY=WRONG)
        assert refused.wait(60) != 0
        assert scheduler.poll() is None
        assert worker.poll() is None

    monkeypatch.setenv("QUANTBOT_STORE", store)
    (tmp_path / "security.toml").write_text('[login]\nmode = "proxy"\n[roles.operator]\nusers = ["ada"]\n')
    monkeypatch.setenv("QUANTBOT_SECURITY", str(tmp_path / "security.toml"))
    proven = {"X-QuantBot-User": "ada", "X-QuantBot-Proxy-Secret": PLANTED["QUANTBOT_PROXY_SECRET"]}
    monkeypatch.setattr(reads_user, "headers", lambda: proven)
    pages = {name: page(name) for name in ("runs", "surface", "data", "overnight", "audit")}
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WRONG)
    pages["refused"] = page("runs")

    artefacts = {f"log of the {file.stem}": file.read_bytes() for file in tmp_path.glob("*.log")}
    artefacts |= {f"page {name}": text.encode() for name, text in pages.items()}
    artefacts |= {"what passed between runner, scheduler and worker": bytes(heard)}
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PLANTED["AWS_SECRET_ACCESS_KEY"])
    artefacts |= {f"object {key}": root.get(key) for key in root.list()}
    # What was looked at is what there is to see.
    assert heard.count(f"s3://{BUCKET}".encode()) > 1, "no task passed"
    assert b"too high a level" in artefacts["log of the commands"]
    assert "1 failed" in pages["runs"]
    assert "4 of 4 trials done" in pages["surface"]
    assert "Nobody can be let in now" in pages["refused"]
    assert b"SignatureDoesNotMatch" in artefacts["log of the refused"]
    assert {f"log of the {name}" for name in ("scheduler", "worker", "runner", "submit")} <= set(artefacts)
    assert all(len(data) > 100 for name, data in artefacts.items() if name.startswith("log of"))
    assert [name for name in artefacts if re.fullmatch(r"object runs/.*/manifest.json", name)]
    assert_none_in(artefacts, [*PLANTED.values(), WRONG])


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def until(holds: object, what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.1)


def said(folder: Path) -> str:
    return "\n".join(f"{file.name}:\n{file.read_text()[-3000:]}" for file in sorted(folder.glob("*.log")))


def page(name: str) -> str:
    """Return everything that a page sends to a browser, as text."""
    import streamlit as st

    st.cache_data.clear()
    st.cache_resource.clear()
    app = AppTest.from_file(str(ENTRY), default_timeout=90)
    app.run()
    app.switch_page(f"views/{name}.py").run()

    def sent(block: object) -> Iterator[str]:
        for child in getattr(block, "children", {}).values():
            yield str(getattr(child, "proto", ""))
            yield from sent(child)

    return "\n".join(sent(app._tree))
