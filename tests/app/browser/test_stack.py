"""`make stack`, used and killed as a night would: what the browser submitted ends, with the bits of a quiet run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [
    pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]  # fmt: skip
STACK = Path(__file__).parents[3] / "infra" / "local" / "stack.py"
# Decided in plain Python: half a minute of two cores, in some thirty blocks.
SPEC = """version = 1
[run]
name = "overnight"
[data]
dataset = "toy/minute"
[strategy]
name = "sma_cross"
plain_python = true
[parameters]
fast = { start = 3, stop = 30, step = 3 }
slow = { start = 41, stop = 240, step = 4 }
"""
READY_SECONDS = 120.0
END_SECONDS = 400.0
# Seconds until blocks come again, on a machine that has nothing else to do; the scheduler's and the runner's is issue
# 6's promise, and the lease of the runner's run is a part of it.
BACK_SECONDS = {"app": 60.0, "runner": 60.0, "worker-1": 60.0, "scheduler": 60.0}


@dataclass
class Running:
    """A stack that runs."""

    folder: Path
    process: subprocess.Popen[bytes]
    port: int

    @property
    def password(self) -> str:
        return (self.folder / "secrets" / "operator" / "password.txt").read_text().strip()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def pid(self, name: str) -> int:
        deadline = time.monotonic() + 30
        while True:
            pid = json.loads((self.folder / "processes.json").read_text())["programs"][name]["pid"]
            if pid is not None:
                return int(pid)
            assert time.monotonic() < deadline, f"{name} does not come back"
            time.sleep(0.2)

    def log(self) -> str:
        files = sorted((self.folder / "logs").glob("*.log"))
        tails = [f"== {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in files]
        return "\n".join([(self.folder / "out").read_text(), *tails])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A stack of its own, with a dataset in its store; this process has an operator's access to it."""
    folder = tmp_path_factory.mktemp("stack")
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "out").open("wb") as out:
        command = [sys.executable, str(STACK), "up", "--dir", str(folder), "--port", str(port), "--lease", "6"]
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    running = Running(folder, process, port)
    patch = pytest.MonkeyPatch()
    try:
        deadline = time.monotonic() + READY_SECONDS
        while "Ctrl-C ends it all" not in (folder / "out").read_text():
            assert process.poll() is None, running.log()
            assert time.monotonic() < deadline, running.log()
            time.sleep(0.2)
        for name in [name for name in os.environ if name.startswith(("AWS_", "QUANTBOT_"))]:
            patch.delenv(name)
        for line in (folder / "operator.sh").read_text().splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            patch.setenv(name, value)
        yield running
        print(running.log())
    finally:
        patch.undo()
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
            _, left = psutil.wait_procs(family, 5)
            for each in left:
                each.kill()
    assert process.returncode == 0
    assert not left, "Ctrl-C left processes"


def tab(browser: Any, stack: Running) -> Any:
    """Return a tab of somebody who knows the password."""
    context = browser.new_context(
        viewport={"width": 1400, "height": 1000}, http_credentials={"username": "quantbot", "password": stack.password}
    )
    context.set_default_timeout(60_000)
    return context.new_page()


def submit_in_browser(page: Any, url: str) -> str:
    page.goto(f"{url}/new")
    page.get_by_role("radio", name="TOML").or_(page.get_by_role("button", name="TOML")).first.click()
    field = page.get_by_label("Spec", exact=True)
    field.fill(SPEC)
    field.press("Control+Enter")
    page.get_by_text("450 points x 1 fold x 2 assets").or_(
        page.get_by_text("500 points x 1 fold x 2 assets")
    ).wait_for()
    page.get_by_role("button", name="Start sweep").click()
    page.wait_for_url(re.compile("/runs"))
    page.get_by_role("link", name="overnight").wait_for()
    found = re.search(r"run=([0-9a-f]+)", page.url)
    assert found is not None
    return found.group(1)


def wait_for(holds: Callable[[], bool], seconds: float, stack: Running, what: str) -> float:
    """Wait; return for how long."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"{what} not within {seconds:.0f} s\n{stack.log()}"
        time.sleep(0.2)
    return time.monotonic() - began


def test_sweep__submitted_in_the_browser_survives_the_death_of_every_part(
    stack: Running, browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from datasets.store import open_store
    from datasets.synthetic import synthetic_minute
    from sweeps.executors import serial
    from sweeps.lease import lease_state
    from sweeps.results import find_run, run_status
    from sweeps.run import drive
    from sweeps.runstore import RunStore
    from sweeps.spec import parse_spec
    from sweeps.submission import submit

    root = open_store(os.environ["QUANTBOT_STORE"])
    synthetic_minute(root, "toy/minute", n_assets=2, n_days=60, seed=7)
    page = tab(browser, stack)
    identity = find_run(root, submit_in_browser(page, stack.url))
    run = RunStore(root, identity)
    n_blocks = run.plan().n_blocks
    assert n_blocks >= 10

    def n_done() -> int:
        return len(run.finished())

    wait_for(lambda: n_done() > 0, 120, stack, "the first block")
    page.context.close()  # the browser is gone, and stays away till the end
    recovered: dict[str, float] = {}
    for name in ("app", "runner", "worker-1", "scheduler"):
        before, lease = n_done(), lease_state(run.store).number
        if before == n_blocks:
            break
        os.kill(stack.pid(name), signal.SIGKILL)

        def again(before: int = before, lease: int = lease, name: str = name) -> bool:
            # What a runner left in the workers' hands still ends: it is back once it has the lease anew.
            back = name != "runner" or lease_state(run.store).number > lease
            return n_done() == n_blocks or (back and n_done() > before + 1)

        recovered[name] = wait_for(again, BACK_SECONDS[name], stack, f"blocks after the death of {name}")
    assert list(recovered) == ["app", "runner", "worker-1", "scheduler"], f"it ended before all had died: {recovered}"
    wait_for(lambda: run_status(root, identity).state == "done", END_SECONDS, stack, "the end")
    with capsys.disabled():
        print("\nseconds until blocks came again:", {name: round(value, 1) for name, value in recovered.items()})

    page = tab(browser, stack)
    page.goto(f"{stack.url}/runs")
    page.get_by_text(re.compile("1 run in .*: 1 done")).wait_for()
    page.context.close()

    quiet = open_store(tmp_path / "quiet")
    synthetic_minute(quiet, "toy/minute", n_assets=2, n_days=60, seed=7)
    with serial() as executor:
        undisturbed = drive(quiet, submit(parse_spec(SPEC), quiet), executor)
    assert undisturbed.identity == identity
    assert run_status(root, identity).result_digest == undisturbed.result_digest


def listeners(stack: Running) -> dict[int, tuple[str, str]]:
    """Return the address and the process's name of every port that the stack listens on."""
    root = psutil.Process(stack.process.pid)
    found = {}
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in process.net_connections("inet"):
                if each.status == psutil.CONN_LISTEN:
                    found[each.laddr.port] = each.laddr.ip, process.name()
    return found


def ask(port: int, path: str, *, tls: bool, header: str = "", seconds: float = 5.0) -> bytes:
    """Return what a stranger gets for a request; nothing where the connection is refused or cut."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as plain:
            peer = context.wrap_socket(plain) if tls else plain
            peer.settimeout(seconds)
            peer.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{header}Connection: close\r\n\r\n".encode())
            answer = b""
            while len(answer) < 4096 and (more := peer.recv(4096)):
                answer += more
            return answer
    except OSError:
        return b""


PATHS = (
    "/", "/status", "/info/main/workers.html", "/json/identity.json", "/metrics", "/api/v1/retire_workers", "/runs",
    "/_stcore/health", "/_stcore/host-config", "/quantbot/store/", "/quantbot?list-type=2", "/buckets/quantbot/",
    "/dir/assign", "/vol/status", "/debug/pprof/", "/sitemap.xml",
)  # fmt: skip
# SeaweedFS' master and volume server say that they live, and how full they are; no object, no key, no token.
SAYS_HOW_FULL = {b"<title>SeaweedFS", b'{"DiskStatuses"', b'{"IsLeader"'}


def test_ports__are_on_loopback_and_tell_a_stranger_nothing(stack: Running) -> None:
    # Door, metrics, scheduler, two workers with their health, S3 and its parts.
    wait_for(lambda: len(listeners(stack)) >= 13, 60, stack, "13 ports")
    found = listeners(stack)
    assert {address for address, _ in found.values()} == {"127.0.0.1"}
    told = []
    for port, (_, name) in sorted(found.items()):
        for tls in (False, True):
            for number, path in enumerate(PATHS):
                answer = ask(port, path, tls=tls)
                if not answer and number == 1:
                    break  # it does not speak so, or not to strangers
                head, _, body = answer.partition(b"\r\n\r\n")
                refused = not body or not re.match(rb"HTTP/1\.[01] [123]", head)
                if not refused and not any(text in body for text in SAYS_HOW_FULL):
                    told.append((port, name, path, tls, answer[:300]))
    assert not told


def test_page__needs_the_password_whatever_the_headers_say(stack: Running) -> None:
    for header in ("", "X-QuantBot-User: quantbot\r\n", "Authorization: Basic cXVhbnRib3Q6d3Jvbmc=\r\n"):
        for path in ("/", "/runs", "/_stcore/health", "/_stcore/stream", "/media/x", "/static/js/index.js"):
            answer = ask(stack.port, path, tls=False, header=header, seconds=30)
            assert answer.startswith(b"HTTP/1.1 401"), (header, path, answer)
    health = ask(stack.port, "/healthz", tls=False, seconds=30)
    assert health.startswith(b"HTTP/1.1 200")
    assert health.endswith(b"ok")


def test_secrets__are_in_no_log_no_command_and_no_environment(stack: Running) -> None:
    secrets = stack.folder / "secrets"
    hidden = [stack.password, (secrets / "door" / "proxy-secret").read_text().strip()]
    hidden += [file.read_text().rpartition("= ")[2].strip() for file in secrets.rglob("aws.ini")]
    assert len(hidden) >= 8
    assert all(len(secret) >= 16 for secret in hidden)
    places = {str(file): file.read_text(errors="replace") for file in (stack.folder / "logs").iterdir()}
    for process in psutil.Process(stack.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            places[f"command of {process.name()}"] = " ".join(process.cmdline())
            places[f"environment of {process.name()}"] = str(process.environ())
    assert not [(place, secret[:4]) for place, text in places.items() for secret in hidden if secret in text]
    for file in secrets.rglob("*"):
        assert file.stat().st_mode & 0o077 == 0, file
