"""A scheduler and a worker as processes of their own: closed, and ended in order."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from quantbot.errors import InputError
from sweeps.certificates import make_certificates
from sweeps.executors import dask_executor
from sweeps.executors.nodes import serve_scheduler, serve_worker


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[str, dict[str, subprocess.Popen[bytes]]]]:
    """A TLS scheduler's address, and its process and its worker's."""
    make_certificates(tmp_path, ["127.0.0.1"])
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address, tls = f"tls://127.0.0.1:{port}", ["--tls", str(tmp_path)]
    commands = {
        "scheduler": ["scheduler", "--port", str(port), *tls],
        "worker": ["worker", address, "--directory", str(tmp_path), *tls],
    }
    with (tmp_path / "log").open("wb") as log:
        started = {
            name: subprocess.Popen([sys.executable, "-m", "app", *words], stdout=log, stderr=log)
            for name, words in commands.items()
        }
    deadline = time.monotonic() + 60
    while not listeners(started["scheduler"]).get(port):
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.1)
    yield address, started
    for process in started.values():
        process.kill()
        process.wait()


def listeners(process: subprocess.Popen[bytes]) -> dict[int, str]:
    """Return the ports that a process and its children listen on, with the addresses."""
    root = psutil.Process(process.pid)
    family = [root, *root.children(recursive=True)]
    found = [each for member in family for each in member.net_connections("inet") if each.status == "LISTEN"]
    return {each.laddr.port: each.laddr.ip for each in found}


def _request(port: int, path: str) -> bytes:
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 2) as peer:
        peer.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return peer.recv(1000)
    return b""


def test_nodes__compute_over_tls_tell_nobody_else_anything_and_end_on_sigterm(
    nodes: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    address, started = nodes
    with dask_executor(scheduler=address, tls=tmp_path) as executor:
        assert [found.value for found in executor.map(abs, [-5])] == [5]
    open_ports = {port: host for process in started.values() for port, host in listeners(process).items()}
    assert len(open_ports) >= 4  # scheduler, its health, nanny, worker
    assert set(open_ports.values()) == {"127.0.0.1"}
    for port in open_ports:
        for path in (
            "/",
            "/status",
            "/info/main/workers.html",
            "/json/identity.json",
            "/metrics",
            "/api/v1/retire_workers",
        ):
            answer = _request(port, path)
            assert not answer or answer.startswith(b"HTTP/1.1 404"), (port, path, answer)
    assert started["scheduler"].poll() is None
    for name in ("worker", "scheduler"):
        started[name].send_signal(signal.SIGTERM)
        assert started[name].wait(20) == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "::"])
def test_nodes__listen_beyond_loopback_with_certificates_only(host: str) -> None:
    with pytest.raises(InputError, match="needs certificates"):
        serve_scheduler(host, 8786)
    with pytest.raises(InputError, match="needs certificates"):
        serve_worker("tcp://127.0.0.1:8786", host=host)


def test_worker__takes_no_scheduler_in_the_clear_with_certificates(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is tls://host:port, without tcp://host:port; was tcp://x:1"):
        serve_worker("tcp://x:1", tls=tmp_path)


@pytest.mark.slow
def test_sweep__on_a_tls_cluster_from_the_command_needs_its_certificates(
    nodes: tuple[str, dict[str, Any]], tmp_path: Path, root: Any, small: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from app import terminal
    from app.cli import main

    address, _ = nodes
    identity = small.submit(root, small.spec, points=8)
    words = ["sweep", "resume", identity[:12], "--store", root.url, "--scheduler", address, "--json"]
    try:
        assert main(words) == 2
        assert "needs certificates: name their folder" in capsys.readouterr().err
        assert main([*words, "--tls", str(tmp_path)]) == 0
    finally:
        terminal.flags = terminal.Flags()
    assert '"state": "done"' in capsys.readouterr().out
