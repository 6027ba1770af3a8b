"""The server itself: other sites, other names, uploads without a session, certificates; over real sockets."""

from __future__ import annotations

import base64
import http.client
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.serve import free_port, serving


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a web app as `quantbot app` starts it."""
    chosen = free_port(18_600)
    with serving(str(tmp_path_factory.mktemp("guards")), port=chosen):
        yield chosen


def handshake(port: int, **headers: str) -> int:
    """Return the status with which the server answers a websocket's first request."""
    lines = {
        "Host": f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), "Sec-WebSocket-Protocol": "streamlit",
    } | {name.replace("_", "-"): value for name, value in headers.items()}  # fmt: skip
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as peer:
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        peer.sendall(f"GET /_stcore/stream HTTP/1.1\r\n{text}\r\n".encode())
        return int(peer.recv(200).split()[1])


def request(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as peer:
        peer.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = peer.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_websocket__of_this_site_is_opened(port: int) -> None:
    assert handshake(port, Origin=f"http://127.0.0.1:{port}") == 101


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1.evil.example", "null"])
def test_websocket__from_another_site_is_refused(port: int, origin: str) -> None:
    assert handshake(port, Origin=origin) in (400, 403)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.nip.io"])
def test_websocket__under_another_name_is_refused(port: int, host: str) -> None:
    assert handshake(port, Host=host, Origin=f"http://{host}") in (400, 403)


@pytest.mark.parametrize("path", ["/_stcore/upload_file/none/none", "/_stcore/upload_file/../../x/none"])
def test_upload__without_session_and_token_is_refused(port: int, path: str) -> None:
    status, _, _ = request(port, "PUT", path, b"x", Origin="https://evil.example", Content_Type="text/csv")
    assert status in (400, 401, 403, 404, 405)


@pytest.mark.parametrize("path", ["/_stcore/agent/openapi.json", "/_stcore/agent/interact", "/_stcore/agent/mcp"])
def test_app__is_driven_by_browsers_alone(port: int, path: str) -> None:
    status, headers, body = request(port, "POST", path, b"{}")
    assert status >= 400 or "json" not in headers.get("content-type", ""), body[:200]


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/media/../../etc/passwd", "/app/static/x", "/%2e%2e/%2e%2e/etc/passwd"]
)
def test_files__of_this_machine_are_not_served(port: int, path: str) -> None:
    _, _, body = request(port, "GET", path)
    assert b"root:" not in body


def test_pages__allow_no_other_origin_to_read_them(port: int) -> None:
    _, headers, _ = request(port, "GET", "/_stcore/health", Origin="https://evil.example")
    assert headers.get("access-control-allow-origin") in (None, f"http://127.0.0.1:{port}")


@pytest.mark.slow
def test_https__is_served_with_a_certificate_of_ours(tmp_path: Path) -> None:
    import ssl

    from sweeps.certificates import make_certificates

    make_certificates(tmp_path / "certs", ["127.0.0.1"], days=1.0)
    chosen = free_port(18_700)
    with serving(str(tmp_path / "store"), port=chosen, tls=tmp_path / "certs") as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=tmp_path / "certs" / "ca.pem")
        with closing(http.client.HTTPSConnection("127.0.0.1", chosen, timeout=10, context=context)) as peer:
            peer.request("GET", "/_stcore/health")
            assert peer.getresponse().status == 200
        with pytest.raises((OSError, http.client.HTTPException)):
            request(chosen, "GET", "/")
