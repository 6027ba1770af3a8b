"""How the web server is set up: where it may listen, and what of Streamlit is on, said in full.

Nothing is left to Streamlit's defaults that a later version could change: it listens on one address, refuses requests
and websockets from other sites and under other names, shows no error's details, and takes uploads of bounded size.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path

from app.security.settings import PROXY_SECRET, VARIABLE, Settings
from quantbot.errors import InputError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_MESSAGE_MB = 60


class UnsafeListenerError(InputError):
    """The web app would be reachable from elsewhere without a login or without TLS."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens on `host`.

    Examples
    --------
    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "10.0.0.7", "box.lan")]
    [True, True, True, False, False, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name: whatever it stands for now, it may stand for something else later
        return False


def check_listener(host: str, settings: Settings, tls: Path | None = None) -> None:
    """Raise unless it is safe to listen on `host`: on loopback always, elsewhere behind a login and TLS.

    Parameters
    ----------
    tls
        The folder of our own certificate, if we speak TLS ourselves.

    Raises
    ------
    UnsafeListenerError
        Naming what is missing. Nothing has started then.
    """
    login = settings.login
    if tls is not None:
        for name in ("cert.pem", "key.pem"):
            if not (tls / name).is_file():
                raise InputError(f"no {name} in {tls}; `quantbot certs {tls} --hosts {host}` makes one")
    if login.mode == "proxy" and login.trust == "secret":
        settings.proxy_secret()  # its own error, now and not at the first request
    if is_loopback(host):
        return
    missing = []
    if not settings.has_login:
        missing.append(f"a login (login.mode = proxy or oidc in the file that {VARIABLE} or --security names)")
    if tls is None and not (login.mode == "proxy" and login.tls):
        missing.append("TLS (--tls DIR with cert.pem and key.pem, or a proxy that speaks it: login.tls = true)")
    if login.mode == "proxy" and login.trust == "loopback":
        missing.append(f"a proxy's secret (login.trust = secret, and login.secret_file or {PROXY_SECRET})")
    if missing:
        raise UnsafeListenerError(
            f"{host} can be reached from other machines, and needs {'; and '.join(missing)}."
            " Leave out --host to serve this machine alone"
        )


def streamlit_options(settings: Settings, *, tls: Path | None = None) -> dict[str, str | tuple[str, ...]]:
    """Return what Streamlit is set to, by its names of the options; several values of one as a tuple."""
    hosts = (*LOOPBACK_NAMES, *settings.server.hosts)
    options: dict[str, str | tuple[str, ...]] = {
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.runOnSave": "false",
        "server.enableCORS": "true",
        "server.corsAllowedOrigins": settings.server.origins,
        "server.enableXsrfProtection": "true",
        "server.xsrfCookieSameSite": "strict",
        "server.allowedHosts": hosts,
        "server.enableStaticServing": "false",
        "server.enableAgentApi": "false",
        "server.maxUploadSize": str(settings.upload_mb),
        "server.maxMessageSize": str(max(_MESSAGE_MB, settings.upload_mb)),
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "none",
        "client.toolbarMode": "viewer",
        "client.allowedOrigins": settings.server.origins,
        "logger.level": "warning",
    }
    if tls is not None:
        options |= {"server.sslCertFile": str(tls / "cert.pem"), "server.sslKeyFile": str(tls / "key.pem")}
    if settings.login.mode == "oidc" and settings.login.secrets_file:
        options["secrets.files"] = (str(settings.login.secrets_file),)
    return options


def streamlit_environment(options: Mapping[str, str | tuple[str, ...]]) -> dict[str, str]:
    """Return the variables that set options for ``streamlit run``; a version that doesn't know one ignores it.

    Examples
    --------
    >>> streamlit_environment({"server.enableCORS": "true", "server.allowedHosts": ("a.org", "b.org")})
    {'STREAMLIT_SERVER_ENABLE_CORS': 'true', 'STREAMLIT_SERVER_ALLOWED_HOSTS': 'a.org b.org'}
    """
    texts = {name: value if isinstance(value, str) else " ".join(value) for name, value in options.items()}
    return {_variable(name): text for name, text in texts.items() if text}


def _variable(option: str) -> str:
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", option)
    return "STREAMLIT_" + words.replace(".", "_").upper()
