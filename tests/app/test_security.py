"""Who may do what: settings, logins, roles, the check that every action passes, and where the server may listen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.security import guard
from app.security.identity import NotLoggedInError, local_user, oidc_user, proxy_user
from app.security.roles import ACTIONS, Role, User, may
from app.security.runs import admission
from app.security.server import UnsafeListenerError, check_listener, streamlit_environment, streamlit_options
from app.security.settings import Settings, read_settings, settings
from datasets.store import Store, open_store
from quantbot.errors import InputError, RefusedError, StoreError
from sweeps import audit

SECRET = "correct-horse-battery-staple"
PROXY = {
    "login": {"mode": "proxy"},
    "roles": {
        "operator": {"users": ["ada@example.com"]},
        "researcher": {"users": ["rob@example.com"], "groups": ["quants"]},
        "viewer": {"users": ["*"]},
    },
}
OIDC = PROXY | {"login": {"mode": "oidc", "secrets_file": "secrets.toml"}}
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTBOT_PROXY_SECRET", SECRET)
    monkeypatch.delenv("QUANTBOT_SECURITY", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def headers(user: str = "", groups: str = "", secret: str = SECRET) -> dict[str, str]:
    return {"X-Quantbot-User": user, "X-QuantBot-Groups": groups, "x-quantbot-proxy-secret": secret}


def claims(email: str = "rob@example.com", age_hours: float = 1.0, **more: Any) -> dict[str, Any]:
    at = (NOW - timedelta(hours=age_hours)).timestamp()
    return {"is_logged_in": True, "email": email, "iat": at, **more}


# ----------------------------------------------------------------------------------------------------------- settings


def test_settings__without_a_file_know_no_login() -> None:
    assert not settings({}).has_login
    assert local_user().local
    assert all(may(local_user(), action, owner="somebody") for action in ACTIONS)


def test_settings__tell_every_problem_at_once_and_no_value(tmp_path: Path) -> None:
    file = tmp_path / "security.toml"
    file.write_text(
        '[login]\nmode = "password"\nhunter2 = "hunter2hunter2"\n[roles.king]\nusers = []\n[limits]\ntrials = 0'
    )
    with pytest.raises(InputError) as error:
        read_settings(file)
    text = str(error.value)
    for place in ("login.mode", "login.hunter2", "roles.king", "limits.trials"):
        assert place in text
    assert "hunter2hunter2" not in text


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"login": {"mode": "proxy"}}, "roles"),
        ({"login": {"mode": "oidc"}, "roles": PROXY["roles"]}, "secrets_file"),
        ({"login": {"user_header": "X Bad: header"}}, "header"),
        ({"datasets": {"prefixes": ["http://x/y"]}}, "not accepted"),
        ({"datasets": {"prefixes": ["/etc"]}}, "S3 prefix"),
        ({"revoked": {"ada": datetime(2026, 1, 1)}}, "zone"),  # noqa: DTZ001 - that it has none is the point
        ({"login": {"hours": 0}}, "hours"),
    ],
)
def test_settings__that_would_let_in_too_many_or_nobody_are_refused(document: dict[str, Any], word: str) -> None:
    with pytest.raises((InputError, ValueError), match=word):
        Settings(**document)


def test_settings__are_read_again_when_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "security.toml"
    text = '[login]\nmode = "proxy"\n[roles.{}]\nusers = ["eve"]\n'
    file.write_text(text.format("operator"))
    assert proxy_user(settings({"QUANTBOT_SECURITY": str(file)}), headers("eve")).role is Role.OPERATOR
    file.write_text(text.format("viewer"))
    os.utime(file, ns=(1, 1))
    assert proxy_user(settings({"QUANTBOT_SECURITY": str(file)}), headers("eve")).role is Role.VIEWER
    file.write_text("[[[")
    with pytest.raises(InputError):
        settings({"QUANTBOT_SECURITY": str(file)})


@pytest.mark.parametrize("secret", ["", "short", " " * 40])
def test_secret__of_the_proxy_is_long_or_the_app_does_not_start(secret: str) -> None:
    with pytest.raises(InputError, match="characters"):
        Settings(**PROXY).proxy_secret({"QUANTBOT_PROXY_SECRET": secret.strip()})


# -------------------------------------------------------------------------------------------------------------- logins


@pytest.mark.parametrize(
    ("user", "groups", "role"),
    [
        ("ada@example.com", "", Role.OPERATOR),
        ("ada@example.com", "quants", Role.OPERATOR),
        ("rob@example.com", "", Role.RESEARCHER),
        ("zoe@example.com", "sales, quants", Role.RESEARCHER),
        ("zoe@example.com", "sales", Role.VIEWER),
    ],
)
def test_proxy__names_user_and_groups_and_the_highest_role_counts(user: str, groups: str, role: Role) -> None:
    found = proxy_user(Settings(**PROXY), headers(user, groups))
    assert (found.name, found.role, found.local) == (user, role, False)


@pytest.mark.parametrize(
    "given",
    [
        {},
        headers("ada@example.com", secret=""),
        headers("ada@example.com", secret=SECRET[:-1]),
        headers("ada@example.com", secret="*"),
        headers(""),
        headers("ada@example.com\nX: y"),
        headers("<img src=x>"),
        headers("*"),
        headers("a" * 200),
    ],
)
def test_headers__that_are_not_the_proxys_name_nobody(given: Mapping[str, str]) -> None:
    with pytest.raises(NotLoggedInError):
        proxy_user(Settings(**PROXY), given)


def test_loopback__is_trusted_only_where_the_settings_say_so() -> None:
    trusting = Settings(**PROXY | {"login": {"mode": "proxy", "trust": "loopback"}})
    assert proxy_user(trusting, headers("ada@example.com", secret="")).role is Role.OPERATOR


def test_user__without_a_role_is_turned_away() -> None:
    few = Settings(**PROXY | {"roles": {"operator": {"users": ["ada@example.com"]}}})
    with pytest.raises(RefusedError, match="no role"):
        proxy_user(few, headers("eve@example.com"))


def test_oidc__takes_user_and_groups_from_the_claims() -> None:
    found = oidc_user(Settings(**OIDC), claims("zoe@example.com", groups=["quants", {"no": "group"}]), NOW)
    assert (found.role, found.groups) == (Role.RESEARCHER, ("quants",))


@pytest.mark.parametrize(
    ("document", "given", "kind"),
    [
        ({}, {}, NotLoggedInError),
        ({}, {"is_logged_in": False, "email": "ada@example.com"}, NotLoggedInError),
        ({}, claims(age_hours=13), NotLoggedInError),
        ({}, claims(age_hours=-1), NotLoggedInError),
        ({}, claims() | {"iat": None}, NotLoggedInError),
        ({}, claims() | {"iat": True}, NotLoggedInError),
        ({}, claims(email=""), RefusedError),
        ({}, claims(email_verified=False), RefusedError),
        ({"login": {"mode": "oidc", "secrets_file": "x", "domains": ["example.org"]}}, claims(), RefusedError),
        ({"revoked": {"rob@example.com": NOW}}, claims(), NotLoggedInError),
    ],
)
def test_oidc__login_that_is_old_revoked_or_of_elsewhere_is_none(
    document: dict[str, Any], given: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        oidc_user(Settings(**OIDC | document), given, NOW)


def test_oidc__login_after_a_revocation_counts_again() -> None:
    revoked = Settings(**OIDC | {"revoked": {"rob@example.com": NOW - timedelta(hours=2)}})
    assert oidc_user(revoked, claims(age_hours=1), NOW).name == "rob@example.com"


# ------------------------------------------------------------------------------------------------------------- actions

ADA, ROB, VIC = (
    User(f"{name}@example.com", role) for name, role in zip(("ada", "rob", "vic"), reversed(Role), strict=True)
)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_viewer__may_view_and_nothing_else(action: str) -> None:
    assert may(VIC, action) is (action == "view")


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_operator__may_do_everything_to_everybody(action: str) -> None:
    assert may(ADA, action, owner=ROB.name)


@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "unlock"])
def test_researcher__changes_runs_of_their_own_only(action: str) -> None:
    assert may(ROB, action, owner=ROB.name)
    assert not may(ROB, action, owner=ADA.name)
    assert not may(ROB, action, owner="")


def test_action__that_nobody_has_listed_is_nobodys() -> None:
    assert not any(may(user, "reboot") for user in (ADA, ROB, VIC, local_user()))


def test_refusal__does_nothing_and_is_in_the_log(root: Store) -> None:
    done: list[str] = []
    with pytest.raises(RefusedError, match="takes a researcher"), guard.acting(root, VIC, "submit", subject="abc"):
        done.append("submitted")
    with pytest.raises(RefusedError, match=r"this one is ada@example\.com's"):
        guard.permit(root, ROB, "cancel", subject="abc", owner=ADA.name)
    assert done == []
    assert [(entry.user, entry.action, entry.outcome, entry.subject) for entry in audit.entries(root)] == [
        (VIC.name, "submit", "refused", "abc"),
        (ROB.name, "cancel", "refused", "abc"),
    ]


def test_act__is_in_the_log_before_it_is_done_and_again_when_it_fails(root: Store) -> None:
    with guard.acting(root, ROB, "submit", subject="abc"):
        assert [entry.outcome for entry in audit.entries(root)] == ["allowed"]
    with pytest.raises(ValueError, match="boom"), guard.acting(root, ROB, "submit", subject="abd"):
        raise ValueError("boom with s3://key:hunter2hunter2@bucket")
    last = audit.entries(root)[-1]
    assert (last.outcome, last.role) == ("failed", "researcher")
    assert "hunter2" not in last.details["error"]


def test_act__that_cannot_be_recorded_is_not_done(root: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreError("away")

    monkeypatch.setattr(audit, "record", away)
    done: list[str] = []
    with pytest.raises(StoreError), guard.acting(root, ROB, "submit"):
        done.append("submitted")
    with pytest.raises(RefusedError), guard.acting(root, VIC, "submit"):
        done.append("submitted")
    assert done == []


def test_strangers__cannot_fill_the_log(root: Store) -> None:
    for _ in range(50):
        guard.stranger(root, "not through the proxy", address="10.0.0.7")
    found = audit.entries(root)
    assert [(entry.user, entry.outcome) for entry in found] == [("unknown", "refused")]


def test_export__of_somebody_without_login_needs_no_writable_store(root: Store) -> None:
    with guard.acting(root, local_user(), "export"):
        pass
    assert audit.entries(root) == []


# -------------------------------------------------------------------------------------------------------------- server


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_listener__on_loopback_needs_nothing(host: str) -> None:
    check_listener(host, Settings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "192.168.1.1", "box.lan", "", "127.0.0.1.nip.io"])
def test_listener__on_any_other_address_is_refused_without_login_and_tls(host: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeListenerError, match=r"a login .* and TLS"):
        check_listener(host, Settings())
    with pytest.raises(UnsafeListenerError, match="needs TLS"):
        check_listener(host, Settings(**PROXY))
    loose = {"login": {"mode": "proxy", "trust": "loopback", "tls": True}}
    with pytest.raises(UnsafeListenerError, match="proxy's secret"):
        check_listener(host, Settings(**PROXY | loose))
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    with pytest.raises(UnsafeListenerError, match="needs a login"):
        check_listener(host, Settings(), tmp_path)


def test_listener__behind_login_and_tls_is_allowed(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    check_listener("0.0.0.0", Settings(**OIDC), tmp_path)
    check_listener("0.0.0.0", Settings(**PROXY | {"login": {"mode": "proxy", "tls": True}}))


def test_listener__names_the_certificate_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cert\.pem"):
        check_listener("127.0.0.1", Settings(), tmp_path)


def test_command__refuses_an_open_listener_before_anything_starts(tmp_path: Path, capsys: Any) -> None:
    from app.cli import main

    assert main(["app", "--store", str(tmp_path), "--host", "0.0.0.0", "--port", "9"]) == 2
    assert "0.0.0.0 can be reached from other machines" in capsys.readouterr().err


def test_streamlit__is_told_everything_that_guards_it() -> None:
    from streamlit import config

    options = streamlit_options(Settings(**OIDC | {"server": {"hosts": ["quantbot.example.com"]}}))
    assert options["client.showErrorDetails"] == "none"
    assert options["server.enableXsrfProtection"] == options["server.enableCORS"] == "true"
    assert options["server.enableAgentApi"] == "false"
    assert options["server.maxUploadSize"] == "50"
    assert "quantbot.example.com" in options["server.allowedHosts"]
    known = config.get_config_options()
    assert set(options) <= set(known)
    written = streamlit_environment(options)
    for name in options:
        if options[name]:
            assert known[name].env_var in written


# -------------------------------------------------------------------------------------------------------------- runner


def test_runner__without_login_takes_what_it_finds(root: Store) -> None:
    assert admission(root) is None


def test_runner__with_login_refuses_sources_that_nobody_registered(
    root: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from quantbot.strategies.loader import SourceBundle

    file = tmp_path / "security.toml"
    file.write_text('[login]\nmode = "proxy"\n[roles.operator]\nusers = ["ada"]\n')
    monkeypatch.setenv("QUANTBOT_SECURITY", str(file))
    forged = SourceBundle("sma_cross", "shipped", "evil", "sma_cross", {"evil.py": ""}, {})
    plan = SimpleNamespace(bundle=forged, identity="ab" * 32)
    admit = admission(root)
    assert admit is not None
    with pytest.raises(RefusedError, match="digest"):
        admit(SimpleNamespace(user="eve"), plan)  # type: ignore[arg-type]
    entry = audit.entries(root)[0]
    assert (entry.user, entry.action, entry.outcome) == ("eve", "run", "refused")


def test_audit_command__lists_and_verifies(root: Store, capsys: Any) -> None:
    from app.cli import main

    audit.record(root, "submit", user="ada", subject="ab" * 32, details={"name": "sma"})
    assert main(["audit", "list", "--store", root.url]) == 0
    assert "ada" in capsys.readouterr().out
    assert main(["audit", "verify", "--store", root.url]) == 0
    head = capsys.readouterr().out.split("head ")[1].strip()
    assert main(["audit", "verify", "--store", root.url, "--kept", head]) == 0
    assert main(["audit", "verify", "--store", root.url, "--kept", "7:" + "0" * 64]) == 3
    assert main(["audit", "verify", "--store", root.url, "--kept", "nonsense"]) == 2


def test_docs__show_settings_that_are_settings() -> None:
    import re
    import tomllib

    page = Path(__file__).parents[2] / "docs" / "how-to" / "security.md"
    blocks = re.findall(r"^```toml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    modes = [Settings(**tomllib.loads(block)).login.mode for block in blocks]
    assert modes == ["proxy", "oidc", "none"]
    from app.security import settings as module

    shown = "\n".join(line[4:] for line in (module.__doc__ or "").splitlines() if line.startswith("    "))
    assert Settings(**tomllib.loads(shown)).login.mode == "proxy"
