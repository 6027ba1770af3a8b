"""Serving the web app: a Streamlit child process that ends when we do."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from quantbot.errors import InputError, RunError

LOCALHOST = "127.0.0.1"
PORTS_TO_TRY = 50
START_TIMEOUT_S = 60.0
# How long a process that was asked to end may take before it is ended.
GRACE_S = 5.0
_ENTRY = Path(__file__).with_name("streamlit_app.py")


@dataclass(frozen=True)
class Server:
    """A web app that answers."""

    url: str
    process: subprocess.Popen[bytes]


def surface_path(identity: str) -> str:
    """Return the path of a run's surface page.

    Examples
    --------
    >>> surface_path("3fa2c41b" * 8)
    '/surface?run=3fa2c41b3fa2'
    """
    return f"/surface?run={identity[:12]}"


def free_port(wanted: int, host: str = LOCALHOST) -> int:
    """Return `wanted`, or the next port above it that nobody listens on.

    Raises
    ------
    InputError
        If none of the next 50 is free.
    """
    for port in range(wanted, min(wanted + PORTS_TO_TRY, 65536)):
        with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((host, port))
                return port
    raise InputError(f"no free port on {host} from {wanted} to {wanted + PORTS_TO_TRY - 1}; name another with --port")


@contextmanager
def serving(
    store_url: str, *, port: int, host: str = LOCALHOST, tls: Path | None = None, security: Path | None = None
) -> Iterator[Server]:
    """Serve the web app over the store while inside; afterwards nothing that it started is left.

    Parameters
    ----------
    tls
        The folder with ``cert.pem`` and ``key.pem`` to serve https with.
    security
        The file of security settings; by default the one that ``QUANTBOT_SECURITY`` names.

    Raises
    ------
    UnsafeListenerError
        If `host` can be reached from elsewhere without a login or TLS; nothing has started then.
    RunError
        If the app does not answer within a minute; with the last lines that it printed.
    """
    from app.security.server import check_listener, streamlit_environment, streamlit_options
    from app.security.settings import VARIABLE, settings

    named = {VARIABLE: str(security.resolve())} if security is not None else {}
    found = settings(os.environ | named)
    check_listener(host, found, tls)
    options = streamlit_options(found, tls=tls)
    if find_spec("streamlit") is None:
        raise RunError("the web app needs the package streamlit, which is not installed")
    environment = os.environ | streamlit_environment(options) | named | {"QUANTBOT_STORE": store_url}
    # A session of its own: a Ctrl-C on the terminal reaches us alone, and we end the child in order.
    process = subprocess.Popen(
        _command(port, host, options), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=None, start_new_session=True,
    )  # fmt: skip
    try:
        shown = f"[{host}]" if ":" in host else host
        scheme = "https" if tls is not None else "http"
        url = f"{scheme}://{shown}:{port}"
        _wait_until_it_answers(f"{scheme}://{_reachable(shown)}:{port}/_stcore/health", process)
        yield Server(url, process)
    finally:
        end_tree(process)


def _command(port: int, host: str, options: Mapping[str, str | tuple[str, ...]]) -> list[str]:
    flags = ["--server.port", str(port), "--server.address", host]
    # By a flag, since a variable would be split at a blank of the path.
    flags += [word for file in options.get("secrets.files", ()) for word in ("--secrets.files", file)]
    return [sys.executable, "-m", "streamlit", "run", str(_ENTRY), *flags]


def _reachable(host: str) -> str:
    return LOCALHOST if host in ("0.0.0.0", "[::]") else host


def _wait_until_it_answers(health_url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    # Nothing is sent: whether it is up is all that is asked, of an address of ours that its certificate may not name.
    context = ssl._create_unverified_context() if health_url.startswith("https") else None
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RunError(
                f"the web app ended as it started, with exit code {process.returncode}; its words stand above"
            )
        with suppress(URLError, OSError), urlopen(health_url, timeout=2, context=context) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise RunError(f"the web app did not answer at {health_url} within {START_TIMEOUT_S:.0f} s")


def wait(server: Server) -> None:
    """Return on Ctrl-C or SIGTERM, the way in which serving is meant to end.

    Raises
    ------
    RunError
        If the web app ended by itself.
    """
    with suppress(KeyboardInterrupt):
        raise RunError(f"the web app ended by itself, with exit code {server.process.wait()}; its words stand above")


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """End `process` and everything that it started: ask, wait, then kill.

    Children are found before the first signal: one whose parent has ended belongs to init and can't be told apart.
    """
    import psutil

    try:
        root = psutil.Process(process.pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=GRACE_S)
    for member in left:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
