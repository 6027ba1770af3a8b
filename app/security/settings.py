"""The security settings: one TOML file, named by ``QUANTBOT_SECURITY`` or ``quantbot app --security``.

    [login]
    mode = "proxy"                          # none (the default) | proxy | oidc
    secret_file = "/run/secrets/proxy"      # proxy: what it sends in X-QuantBot-Proxy-Secret; or the environment's
    tls = true                              # proxy: it speaks TLS to browsers
    [roles.operator]
    users = ["ada@example.com"]
    [roles.researcher]
    groups = ["quants"]
    [roles.viewer]
    users = ["*"]                           # everybody who is logged in

Without a file there is no login, every user is the one who started the app, and it listens on loopback only. The file
is read again when it changes, so that a role that is taken away counts at the next action.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app.security.roles import Role
from quantbot.errors import InputError
from quantbot.redaction import Secret
from sweeps.admission import MAX_TRIALS, Policy

VARIABLE = "QUANTBOT_SECURITY"
PROXY_SECRET = "QUANTBOT_PROXY_SECRET"
_MAX_BYTES = 1_000_000
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_MIN_SECRET = 16

Names = Annotated[tuple[str, ...], Field(strict=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Login(_Part):
    """How people log in.

    Attributes
    ----------
    mode
        "none": nobody does. "proxy": a reverse proxy does it, and says who in headers. "oidc": Streamlit does, with an
        OpenID provider that its secrets file names.
    trust
        Which requests count as the proxy's: those with its "secret", or, of an app that listens on loopback, all from
        "loopback", which means everybody who has an account on this machine.
    secret_file
        Holds the proxy's secret; without it the variable QUANTBOT_PROXY_SECRET does.
    tls
        The proxy speaks TLS to browsers; without it, or a certificate of our own, only loopback is served.
    secrets_file
        Streamlit's secrets with the [auth] table.
    user_claim, groups_claim
        What of an OpenID token names the user and their groups.
    domains
        Of user names (``ada@example.com``) that may log in; all where empty.
    hours
        After which a login has to be made again.
    """

    mode: Literal["none", "proxy", "oidc"] = "none"
    trust: Literal["secret", "loopback"] = "secret"
    secret_file: str | None = None
    tls: bool = False
    user_header: str = "X-QuantBot-User"
    groups_header: str = "X-QuantBot-Groups"
    secret_header: str = "X-QuantBot-Proxy-Secret"
    secrets_file: str | None = None
    user_claim: str = "email"
    groups_claim: str = "groups"
    domains: Names = ()
    hours: Annotated[float, Field(gt=0, le=24 * 30, strict=False)] = 12.0

    @field_validator("user_header", "groups_header", "secret_header")
    @classmethod
    def _header(cls, name: str) -> str:
        if not _HEADER.fullmatch(name):
            raise ValueError("must be the name of a header: 1 to 64 letters, digits and dashes")
        return name


class Members(_Part):
    """Who has a role: users and groups by name; "*" is everybody who is logged in."""

    users: Names = ()
    groups: Names = ()


class Server(_Part):
    """What browsers may call the app, besides localhost.

    Attributes
    ----------
    hosts
        Names by which it is reached (``quantbot.example.com``); a websocket under another name is refused.
    origins
        Other sites that may open a websocket (``https://portal.example.com``); none as a rule.
    """

    hosts: Names = ()
    origins: Names = ()


class Limits(_Part):
    """How much a user may hand in; `trials` is no limit for operators, `upload_mb` is 50 where people log in."""

    trials: Annotated[int, Field(gt=0)] = MAX_TRIALS
    upload_mb: Annotated[int, Field(gt=0, le=1_000)] | None = None


class Datasets(_Part):
    """S3 prefixes whose datasets a spec may name, besides the store's own catalogue."""

    prefixes: Names = ()


class Strategies(_Part):
    """Strategies that may be named besides those that ship: by reference, the digest of their sources."""

    allowed: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(default_factory=dict)
    uploaded_code: bool = False


class Settings(_Part):
    """All security settings; `read_settings` makes it.

    Attributes
    ----------
    revoked
        By user, the time until which logins don't count any more: whoever logs in later is let in.
    """

    login: Login = Login()
    roles: dict[Literal["viewer", "researcher", "operator"], Members] = Field(default_factory=dict)
    server: Server = Server()
    limits: Limits = Limits()
    datasets: Datasets = Datasets()
    strategies: Strategies = Strategies()
    revoked: dict[str, datetime] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        if self.login.mode != "none" and not self.roles:
            raise ValueError(
                "roles: nobody has a role, so nobody could do anything; add [roles.operator] users = [...]"
            )
        if self.login.mode == "oidc" and not self.login.secrets_file:
            raise ValueError("login.secrets_file: names Streamlit's secrets with the [auth] table, and is required")
        if naive := [user for user, at in self.revoked.items() if at.tzinfo is None]:
            raise ValueError(f"revoked: the time of {naive[0]!r:.80} needs a zone (2026-11-20T10:00:00Z)")
        self.policy(Role.OPERATOR)  # its own errors, now
        return self

    @property
    def has_login(self) -> bool:
        """Whether people log in at all."""
        return self.login.mode != "none"

    @property
    def upload_mb(self) -> int:
        """Megabytes of one file that is handed in."""
        return self.limits.upload_mb or (50 if self.has_login else 100)

    def role_of(self, user: str, groups: tuple[str, ...]) -> Role | None:
        """Return the highest role that a user or one of their groups has."""
        for role in reversed(Role):
            members = self.roles.get(role.word)  # type: ignore[call-overload]
            if members and (user in members.users or "*" in members.users or set(groups) & set(members.groups)):
                return role
        return None

    def policy(self, role: Role) -> Policy:
        """Return what a spec of somebody with this role may name and cost."""
        return Policy(
            self.datasets.prefixes,
            self.strategies.allowed,
            self.strategies.uploaded_code,
            None if role is Role.OPERATOR else self.limits.trials,
        )

    def proxy_secret(self, environment: Mapping[str, str] = os.environ) -> Secret:
        """Return what the proxy proves itself with.

        Raises
        ------
        InputError
            If there is none, or one that could be guessed.
        """
        if self.login.secret_file:
            try:
                text = Path(self.login.secret_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"login.secret_file can't be read: {type(error).__name__}") from error
        else:
            text = environment.get(PROXY_SECRET, "")
        if len(text) < _MIN_SECRET:
            raise InputError(
                f"the proxy's secret needs {_MIN_SECRET} characters or more, found {len(text)}; put one into the file "
                f"that login.secret_file names, or into {PROXY_SECRET}"
            )
        return Secret(text)


def settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings in force now: those of the file that ``QUANTBOT_SECURITY`` names, else the defaults."""
    name = environment.get(VARIABLE, "")
    return read_settings(Path(name)) if name else Settings()


def read_settings(path: Path) -> Settings:
    """Read a file of settings, anew when it has changed.

    Raises
    ------
    InputError
        With every problem of the file at once. An app whose file is broken lets nobody do anything.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"no security settings at {path}: {error.strerror}") from error
    return _read(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=8)
def _read(path: Path, changed_ns: int, size: int) -> Settings:
    if size > _MAX_BYTES:
        raise InputError(f"{path} has {size:,} bytes, {_MAX_BYTES:,} are the most for settings")
    try:
        return Settings(**tomllib.loads(path.read_bytes().decode()))
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    except ValidationError as error:
        raise InputError("\n".join([f"{path}:", *(f"  - {_told(problem)}" for problem in error.errors())])) from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is no TOML of settings: {str(error)[:300]}") from None


def _told(problem: Any) -> str:
    """Say what is wrong where; never the value, which may be a secret in the wrong place."""
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else str(problem["msg"]).removeprefix("Value error, ")
