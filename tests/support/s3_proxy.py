"""A proxy in front of the S3 server of the tests that does to requests what networks and servers do.

`with s3_proxy(fault):` points this process (and what it starts) at the proxy; `fault(method, path)` names what becomes
of each request. `first(n, action, of)` is such a fault.
"""

from __future__ import annotations

import http.client
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import SplitResult, urlsplit

import pytest

PASS = "pass"
DENIED, MISSING, BROKEN, LATER, THROTTLED, FULL = "403", "404", "500", "503", "429", "507"
CUT_ANSWER = "cut answer"  # the request lands, nothing comes back
CUT_BODY = "cut body"  # half of the body, then the connection ends
HALF_BODY = "half body"  # half of the body, and a length that says so
RANDOM_BODY = "random body"  # as long as it should be, and other bytes
STALL = "stall"  # half of the body, then silence
DRIP = "drip"  # a byte now and then
SWALLOW = "swallow"  # 200, and nothing is stored
DELAY = "delay"  # 200 at once, stored a moment later
REFUSE = "refuse"  # the connection ends before anything is read

_CODES = {
    DENIED: "AccessDenied", MISSING: "NoSuchKey", BROKEN: "InternalError", LATER: "ServiceUnavailable",
    THROTTLED: "SlowDown", FULL: "InsufficientStorage",
}  # fmt: skip
Fault = Callable[[str, str], str]


@dataclass
class Proxy:
    """What stands between this process and the server.

    Attributes
    ----------
    fault
        Asked about each request; may be replaced at any time.
    seen
        Method, path and action of every request.
    delay_seconds
        How much later than its answer a delayed put is stored.
    """

    fault: Fault
    upstream: SplitResult
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    delay_seconds: float = 0.5
    stopped: threading.Event = field(default_factory=threading.Event)

    def heal(self) -> None:
        """Pass everything on from now on."""
        self.fault = lambda method, path: PASS

    def send(self, method: str, path: str, headers: Message, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Pass a request on; return the answer."""
        server = http.client.HTTPConnection(self.upstream.hostname or "", self.upstream.port, timeout=30)
        kept = {name: value for name, value in headers.items() if name.lower() != "expect"}
        server.request(method, path, body=body or None, headers=kept)
        response = server.getresponse()
        data = response.read()
        server.close()
        return response.status, response.getheaders(), data

    def count(self, action: str) -> int:
        """Return how many requests an action has met."""
        return sum(each[2] == action for each in self.seen)


@contextmanager
def s3_proxy(fault: Fault) -> Iterator[Proxy]:
    """Put a proxy between this process and the server that AWS_ENDPOINT_URL_S3 names."""
    proxy = Proxy(fault, urlsplit(os.environ["AWS_ENDPOINT_URL_S3"]))
    with _Server(("127.0.0.1", 0), _handler(proxy)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
            yield proxy
        proxy.stopped.set()
        server.shutdown()


def first(n: int, action: str, of: str, matching: str = "") -> Fault:
    """Return a fault that meets the first `n` requests with method `of` whose path has `matching` in it."""
    left = [n]

    def fault(method: str, path: str) -> str:
        if method == of and left[0] > 0 and re.search(matching, path):
            left[0] -= 1
            return action
        return PASS

    return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that gave up is what is tested."""


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            action = proxy.fault(self.command, self.path)
            proxy.seen.append((self.command, self.path, action))
            if action == REFUSE:
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if action in _CODES:
                self.fail(int(action), _CODES[action])
            elif action == SWALLOW:
                self.answer(200, [("ETag", '"0"'), ("Content-Length", "0")], b"")
            elif action == DELAY:
                later = threading.Timer(proxy.delay_seconds, proxy.send, [self.command, self.path, self.headers, body])
                later.start()
                self.answer(200, [("ETag", '"0"'), ("Content-Length", "0")], b"")
            else:
                self.spoil(action, *proxy.send(self.command, self.path, self.headers, body))

        def spoil(self, action: str, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
            if action == CUT_ANSWER:
                self.close_connection = True
                return
            half = data[: len(data) // 2]
            if action == RANDOM_BODY:
                data = os.urandom(len(data))
            elif action == HALF_BODY:
                data = half
                headers = [(n, v) for n, v in headers if n.lower() != "content-length"]
                headers.append(("Content-Length", str(len(half))))
            elif action in (CUT_BODY, STALL, DRIP):
                self.close_connection = True
                self.answer(status, headers, b"" if action == DRIP else half)
                self.wfile.flush()
                for at in range(len(data)) if action != CUT_BODY else ():
                    if proxy.stopped.wait(0.2):
                        return
                    if action == DRIP:
                        self.wfile.write(data[at : at + 1])
                return
            self.answer(status, headers, data)

        def fail(self, status: int, code: str) -> None:
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
            self.answer(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))], text)

        def answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = forward

        def log_message(self, *_: object) -> None:
            pass

    return Handler
