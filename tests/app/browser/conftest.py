"""A real server and a real browser: Debian's chromium, driven by Playwright, which downloads nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

ENTRY = Path(__file__).parents[3] / "app" / "streamlit_app.py"
CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(path).exists()), "")
# The last two draw WebGL in software, which large maps need; a headless machine has no GPU.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip
START_S = 60.0


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless chromium."""
    if not CHROMIUM:
        pytest.skip("no chromium: apt-get install chromium (as root), then run the tests again")
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: install the project's dev extra")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh tab that keeps a list of every request that leaves this machine."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(30_000)
    tab = context.new_page()
    tab.foreign = []
    tab.on("request", lambda request: _note(tab.foreign, request.url))
    yield tab
    print(f"last page: {tab.url}\n{tab.locator('body').inner_text()[:3000]}")  # pytest shows it when a test fails
    context.close()
    assert not tab.foreign, "requests left this machine"


def _note(foreign: list[str], url: str) -> None:
    if not url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")):
        foreign.append(url)


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Return a function that serves the app over a store and gives its URL."""
    servers: list[subprocess.Popen[bytes]] = []
    logs = tmp_path_factory.mktemp("servers")

    def start(store_url: str) -> str:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", str(ENTRY), "--server.port", str(port)]
        log = (logs / f"server-{port}.log").open("wb")
        environment = os.environ | {"QUANTBOT_STORE": store_url}
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        log.close()
        servers.append(server)
        _wait(f"http://127.0.0.1:{port}/_stcore/health", server)
        return f"http://127.0.0.1:{port}"

    yield start
    for server in servers:
        server.send_signal(signal.SIGTERM)
    for server in servers:
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended as it started"
        try:
            with urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.1)
    raise AssertionError("the server did not start in time")


@pytest.fixture(scope="session")
def pages_module() -> Any:
    """The module that makes stores for tests of pages."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("pages_conftest", Path(__file__).parents[1] / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fresh_store(tmp_path: Path, pages_module: Any) -> str:
    """A store with one small dataset and no run."""
    url = str(tmp_path / "store")
    pages_module.add_dataset(url)
    return url


@pytest.fixture(scope="session")
def shown(serve: Callable[[str], str], stored: tuple[str, dict[str, str]]) -> tuple[str, dict[str, str]]:
    """The URL of an app that shows a run of every kind, and their identities by name; tests only read it."""
    url, identities = stored
    return serve(url), identities


@pytest.fixture(scope="session")
def large_run(tmp_path_factory: pytest.TempPathFactory, pages_module: Any) -> tuple[str, str]:
    """A store, and the identity of its run of 100,000 trials over five axes."""
    from datasets.store import open_store
    from sweeps.executors import serial
    from sweeps.plan import make_plan
    from sweeps.run import drive
    from sweeps.spec import parse_spec
    from sweeps.submission import submit

    url = str(tmp_path_factory.mktemp("large") / "store")
    pages_module.add_dataset(url)
    text = pages_module.HEAD.format(name="large", strategy="sma_cross", data='assets = ["AAA"]') + (
        "[parameters]\nfast = { start = 2, stop = 26, step = 1 }\nslow = { start = 27, stop = 126, step = 1 }\n"
        '"execution.fee_bps" = { start = 0, stop = 4, step = 1 }\n'
        '"execution.stop_loss" = { values = [0, 0.02, 0.05, 0.1] }\n'
        '"execution.fill" = { values = ["next_open", "same_close"] }\n'
    )
    root, spec = open_store(url), parse_spec(text)
    plan = make_plan(spec, root, probe=False)
    identity = submit(spec, root, plan=plan)
    with serial() as executor:
        drive(root, identity, executor)
    return url, identity
