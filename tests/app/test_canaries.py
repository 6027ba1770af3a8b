"""Secrets that are planted wherever a process finds some, and looked for wherever something is written or shown."""

from __future__ import annotations

import contextlib
import io
import logging
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from canaries import PLANTED, assert_none_in
from streamlit.testing.v1 import AppTest

from app import reads_user
from app.cli import main
from app.security import guard
from sweeps.executors.serial import SerialExecutor

ENTRY = Path(__file__).parents[2] / "app" / "streamlit_app.py"
IN_A_URL = "canary/0011@in+url"
TYPED = "canary-0012-guessed-by-a-stranger"
SPEC = """
version = 1
[run]
name = "watched"
[data]
dataset = "{dataset}"
[strategy]
name = "sma_cross"
[parameters]
fast = {{ values = [3, 4] }}
slow = {{ values = [10, 2000] }}
"""


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[io.StringIO]:
    """Plant them all, and yield what every logger of this process writes, down to the last detail."""
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "security.toml").write_text('[login]\nmode = "proxy"\n[roles.operator]\nusers = ["ada"]\n')
    written = io.StringIO()
    handler, root = logging.StreamHandler(written), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(before)


class Wiretap(SerialExecutor):
    """Keeps every task as it would travel to a worker."""

    def __init__(self, sent: list[bytes]) -> None:
        self._sent = sent

    def map(self, run: Callable[..., Any], items: Iterable[Any], **more: Any) -> Iterator[Any]:
        listed = list(items)
        self._sent.append(pickle.dumps((run, listed)))
        return super().map(run, listed, **more)


def test_secrets__are_found_in_no_object_task_log_page_or_error(
    planted: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.bars import write_bars
    from datasets.columns import BarColumns
    from datasets.schema import BarsMeta
    from datasets.store import open_store

    root = open_store(tmp_path / "store")
    stamps = np.datetime64("2019-01-02T21:00", "ns").astype(np.int64) + 86_400 * 10**9 * np.arange(100)
    close = 100 + np.sin(np.arange(100.0))
    columns = BarColumns(stamps, close, close + 1, close - 1, close, np.full(100, 1e5))
    write_bars(root, "test/bars", {"AAA": columns}, BarsMeta("Bars", "drawn", "1d", 252.0), {"findings": []})
    (tmp_path / "spec.toml").write_text(SPEC.format(dataset="test/bars"))
    (tmp_path / "leaky.toml").write_text(SPEC.format(dataset=f"s3://{IN_A_URL}@bucket/datasets/x"))

    said, sent = io.StringIO(), list[bytes]()
    monkeypatch.setattr("sweeps.executors.serial", lambda: Wiretap(sent))
    leaky_url = f"s3://{PLANTED['AWS_ACCESS_KEY_ID']}:{IN_A_URL}@bucket/x"
    lines = [
        ["sweep", "run", str(tmp_path / "spec.toml"), "--serial", "--debug"],
        ["sweep", "plan", str(tmp_path / "leaky.toml"), "--debug", "--json"],
        ["sweep", "list", "--debug", "--store", leaky_url],
        ["sweep", "show", "watched", "--json"],
        ["sweep", "show", PLANTED["SOME_API_TOKEN"], "--debug"],
        ["doctor"],
    ]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        codes = [main([*line, *([] if "--store" in line else ["--store", root.url])]) for line in lines]
    assert codes[:5] == [0, 2, 2, 0, 4]
    assert sent, "no task was sent, so none was looked at"

    monkeypatch.setenv("QUANTBOT_STORE", root.url)
    monkeypatch.setenv("QUANTBOT_SECURITY", str(tmp_path / "security.toml"))
    guard._STRANGERS.clear()
    pages = [page({"X-QuantBot-User": "ada", "X-QuantBot-Proxy-Secret": TYPED}, monkeypatch)]
    proven = {"X-QuantBot-User": "ada", "X-QuantBot-Proxy-Secret": PLANTED["QUANTBOT_PROXY_SECRET"]}
    pages += [page(proven, monkeypatch, name) for name in ("runs", "data", "audit")]

    def broken() -> None:
        raise RuntimeError(f"no answer with {PLANTED} of {leaky_url}")

    monkeypatch.setattr("app.reads.catalogue", broken)
    pages.append(page(proven, monkeypatch, "data"))
    assert "under error" in pages[-1]

    artefacts = {f"object {key}": root.get(key) for key in root.list()}
    artefacts |= {f"task {number}": data for number, data in enumerate(sent)}
    artefacts |= {f"page {number}": text.encode() for number, text in enumerate(pages)}
    artefacts |= {"what commands said": said.getvalue().encode(), "logs": planted.getvalue().encode()}
    assert len(artefacts) > 20
    assert b"no answer with" in artefacts["logs"]
    assert_none_in(artefacts, [*PLANTED.values(), IN_A_URL, TYPED])


def page(headers: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str = "runs") -> str:
    """Return everything that a page sends to a browser with these headers, as text."""
    monkeypatch.setattr(reads_user, "headers", lambda: headers)
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    app.run()
    app.switch_page(f"views/{name}.py").run()
    assert not app.exception

    def sent(block: Any) -> Iterator[str]:
        for child in getattr(block, "children", {}).values():
            yield str(getattr(child, "proto", ""))
            yield from sent(child)

    return "\n".join(sent(app._tree))
