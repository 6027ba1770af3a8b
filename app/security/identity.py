"""Who a request is from: what a trusted proxy's headers say, or an OpenID login's claims."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.security.roles import Role, User
from app.security.settings import Settings
from quantbot.errors import RefusedError

# What may stand for a user or group: it goes into the store, the log and pages.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+\\/ -]{0,127}")
_MOST_GROUPS = 200
_CLOCK_SKEW_S = 300.0


class NotLoggedInError(RefusedError):
    """Nobody has logged in, or the login counts no more."""


def local_user() -> User:
    """Return the user of an app without login: whoever started it."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no entry
        name = ""
    return User(name or "local", Role.OPERATOR, local=True)


def proxy_user(settings: Settings, headers: Mapping[str, str]) -> User:
    """Return the user whom the proxy's headers name.

    Raises
    ------
    NotLoggedInError
        If they are not the proxy's, or name nobody.
    RefusedError
        If the user has no role.
    """
    login = settings.login
    given = {name.lower(): value for name, value in headers.items()}
    if login.trust == "secret" and not settings.proxy_secret().equals(given.get(login.secret_header.lower(), "")):
        raise NotLoggedInError("this request did not come through the proxy that people log in at; open its address")
    name = _name(given.get(login.user_header.lower(), ""))
    if not name:
        raise NotLoggedInError(f"the proxy named no user in {login.user_header}; log in at its address")
    groups = (group.strip() for group in given.get(login.groups_header.lower(), "").split(","))
    return _with_role(settings, name, tuple(group for group in groups if _name(group))[:_MOST_GROUPS])


def oidc_user(settings: Settings, claims: Mapping[str, Any], now: datetime | None = None) -> User:
    """Return the user whom the claims of an OpenID login name; Streamlit has checked the token.

    Raises
    ------
    NotLoggedInError
        If nobody is logged in, or the login is too old, or was revoked.
    RefusedError
        If the user is of another domain, or has no role.
    """
    login = settings.login
    if not claims.get("is_logged_in"):
        raise NotLoggedInError("log in to go on")
    name = _name(claims.get(login.user_claim, ""))
    if not name:
        raise RefusedError(f"the login has no {login.user_claim} that names a user; set login.user_claim")
    if login.user_claim == "email" and claims.get("email_verified") is False:
        raise RefusedError(f"the provider has not verified the address {name}")
    if login.domains and name.rpartition("@")[2].lower() not in {domain.lower() for domain in login.domains}:
        raise RefusedError(f"{name} is not of a domain that may log in here")
    at = _login_time(claims)
    age = (now or datetime.now(UTC)).timestamp() - at
    if age > login.hours * 3600 or age < -_CLOCK_SKEW_S:
        raise NotLoggedInError(f"the login is older than {login.hours:g} hours; log in again")
    until = settings.revoked.get(name)
    if until is not None and at <= until.timestamp():
        raise NotLoggedInError("this login was revoked; log in again")
    raw = claims.get(login.groups_claim, ())
    listed = [raw] if isinstance(raw, str) else list(raw) if isinstance(raw, (list, tuple)) else []
    return _with_role(settings, name, tuple(group for group in listed if _name(group))[:_MOST_GROUPS])


def _with_role(settings: Settings, name: str, groups: tuple[str, ...]) -> User:
    role = settings.role_of(name, groups)
    if role is None:
        raise RefusedError(f"{name} has no role here; ask an operator for one")
    return User(name, role, groups)


def _login_time(claims: Mapping[str, Any]) -> float:
    """Return when somebody logged in, as seconds since 1970; a token that does not say is as old as can be."""
    value = claims.get("iat")
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


def _name(value: Any) -> str:
    """Return a name that is fit to stand in the log and in pages, else nothing."""
    text = value.strip() if isinstance(value, str) else ""
    return text if _NAME.fullmatch(text) else ""
