"""A small OpenID provider on loopback: discovery, a page that asks who one is, tokens by code and PKCE, keys."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

CLIENT, SECRET = "quantbot", "the-secret-of-the-client-at-the-provider"


@dataclass
class Provider:
    """What the provider knows and was asked.

    Attributes
    ----------
    people
        The claims of everybody who may log in, by the name that the page shows.
    forge
        Whether tokens are signed by a key that the provider doesn't publish.
    changes
        What of the claims is another in the next tokens: an audience, a time.
    asked
        The paths that were asked for.
    """

    people: Mapping[str, Mapping[str, Any]]
    issuer: str = ""
    forge: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)


@contextmanager
def provider(people: Mapping[str, Mapping[str, Any]]) -> Iterator[Provider]:
    """Run a provider while inside."""
    from joserfc import jwk, jwt

    published, unknown = (jwk.RSAKey.generate_key(2048, parameters={"kid": "one", "alg": "RS256"}) for _ in range(2))
    found = Provider(people)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(self, code: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
            self.send_response(code)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def json(self, document: object, code: int = 200) -> None:
            self.answer(code, json.dumps(document).encode())

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            given = {name: values[0] for name, values in parse_qs(place.query).items()}
            found.asked.append(place.path)
            match place.path:
                case "/.well-known/openid-configuration":
                    self.json(_metadata(found.issuer))
                case "/jwks":
                    self.json({"keys": [published.as_dict(private=False)]})
                case "/authorize":
                    self.answer(200, _choice(found, place.query).encode(), "text/html; charset=utf-8")
                case "/chosen":
                    code = secrets.token_urlsafe(16)
                    found.codes[code] = given
                    target = f"{given['redirect_uri']}?{urlencode({'code': code, 'state': given['state']})}"
                    self.answer(302, b"", Location=target)
                case _:
                    self.json({"error": "not_found"}, 404)

        def do_POST(self) -> None:
            found.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            given = {name: values[0] for name, values in parse_qs(body).items()}
            began = found.codes.pop(given.get("code", ""), None)
            if self.path != "/token" or began is None or (why := _wrong(self.headers, given, began)):
                self.json({"error": "invalid_grant", "error_description": why if began else "no such code"}, 400)
                return
            now = int(time.time())
            claims = {
                "iss": found.issuer, "aud": CLIENT, "sub": began["who"], "iat": now, "exp": now + 600,
                "nonce": began.get("nonce", ""), **found.people[began["who"]], **found.changes,
            }  # fmt: skip
            key = unknown if found.forge else published
            token = jwt.encode({"alg": "RS256", "kid": "one"}, claims, key)
            self.json({"access_token": secrets.token_urlsafe(8), "token_type": "Bearer", "expires_in": 600,
                       "id_token": token})  # fmt: skip

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.issuer = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def _metadata(issuer: str) -> dict[str, Any]:
    return {
        "issuer": issuer, "authorization_endpoint": f"{issuer}/authorize", "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks", "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }  # fmt: skip


def _choice(found: Provider, query: str) -> str:
    links = "".join(
        f'<p><a href="/chosen?{escape(query)}&amp;{urlencode({"who": who})}">{escape(who)}</a></p>'
        for who in found.people
    )
    return f"<!doctype html><title>Who are you?</title><h1>Who are you?</h1>{links}"


def _wrong(headers: Any, given: Mapping[str, str], began: Mapping[str, str]) -> str:
    """Say what of a request for a token is not as it must be; nothing where all is."""
    shown = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
    by_post = (given.get("client_id"), given.get("client_secret")) == (CLIENT, SECRET)
    if headers.get("Authorization", "") != f"Basic {shown}" and not by_post:
        return "not the client"
    if given.get("redirect_uri") != began["redirect_uri"] or began["client_id"] != CLIENT:
        return "another address than the one that was asked for"
    hashed = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()
    return "" if began.get("code_challenge") == challenge else "not who began (PKCE)"
