"""Secrets to plant wherever a process finds some, and a wire that keeps what passes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping

PLANTED = {
    "AWS_ACCESS_KEY_ID": "AKIACANARYCANARY0001",
    "AWS_SECRET_ACCESS_KEY": "canary/0002+aws/secret",
    "AWS_SESSION_TOKEN": "canary-0003-session",
    "QUANTBOT_PROXY_SECRET": "canary-0004-proxy-secret",
    "QUANTBOT_WEBHOOK": "https://hooks.example.com/canary-0005",
    "QUANTBOT_WEBHOOK_SECRET": "canary-0006-signs-webhooks",
    "DATABASE_PASSWORD": "canary-0007-database",
    "STREAMLIT_SERVER_COOKIE_SECRET": "canary-0008-cookies",
    "SOME_API_TOKEN": "canary-0009-token",
    "CLIENT_PRIVATE_KEY": "canary-0010-private-key",
}


def assert_none_in(artefacts: Mapping[str, bytes], secrets: Iterable[str]) -> None:
    """Fail where a secret is in something that somebody could read, naming both."""
    for name, data in artefacts.items():
        for secret in (*secrets, "canary-00", "canary/00"):
            assert secret.encode() not in data, f"{secret} is in {name}: {data[:2000]!r}"


@contextlib.contextmanager
def tapped(port: int) -> Iterator[tuple[int, bytearray]]:
    """Yield a port of loopback that leads to another, and everything that passes there, in both directions."""
    heard = bytearray()
    lock = threading.Lock()
    door = socket.create_server(("127.0.0.1", 0))
    open_: list[socket.socket] = [door]

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                with lock:
                    heard.extend(data)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = door.accept()
                far = socket.create_connection(("127.0.0.1", port), 10)
                far.settimeout(None)
                open_.extend((near, far))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield door.getsockname()[1], heard
    finally:
        for each in open_:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
