"""Logging in by an OpenID provider, from the button to the role: a real browser, a real server, a small provider."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from oidc_provider import CLIENT, SECRET, Provider, provider
from schedules import Clock, Vendor, hands, write_refresh

from app.serve import free_port, serving
from datasets.store import Store, open_store
from sweeps import audit
from sweeps.schedule.document import load_schedules
from sweeps.schedule.jobs import Shelf
from sweeps.schedule.rules import ns_of
from sweeps.schedule.scheduler import tick

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
PEOPLE = {
    "Ada": {"email": "ada@example.com", "email_verified": True, "groups": ["desk"]},
    "Vic": {"email": "vic@example.com", "email_verified": True, "groups": ["readers"]},
    "Eve": {"email": "eve@elsewhere.com", "email_verified": True, "groups": ["desk"]},
    "Una": {"email": "una@example.com", "email_verified": False, "groups": ["desk"]},
}
SETTINGS = """
[login]
mode = "oidc"
secrets_file = "{secrets}"
domains = ["example.com"]
[roles.operator]
groups = ["desk"]
[roles.viewer]
groups = ["readers"]
"""


class Site:
    """The app that people log in to, with the provider and the files behind it."""

    def __init__(self, url: str, root: Store, file: Path, known: Provider) -> None:
        self.url, self.root, self.file, self.provider = url, root, file, known
        self.settings = file.read_text()

    def rules(self, text: str) -> None:
        """Replace the security settings, as an operator does while the app runs."""
        part = self.file.with_suffix(".part")
        part.write_text(text)
        part.replace(self.file)
        os.utime(self.file, (time.time() + 5, time.time() + 5))

    @property
    def log(self) -> list[tuple[str, str, str]]:
        return [(entry.user, entry.action, entry.outcome) for entry in audit.entries(self.root)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    pytest.importorskip("authlib", reason="pip install 'quantbot[login]'")
    folder = tmp_path_factory.mktemp("login")
    root, clock = open_store(folder / "store"), Clock(ns_of("2026-03-01T12:00Z"))
    when = 'after_close = "XNYS"\ndelay = "1h"'
    write_refresh(folder / "schedules", "ny", calendar="XNYS", zone="America/New_York", when=when)
    Vendor("XNYS", "America/New_York", folder / "schedules" / "ny.csv", 5).write(clock.ns)
    tick(root, load_schedules(folder / "schedules"), hands(root, clock))
    port = free_port(18_800 + os.getpid() % 50)
    with provider(PEOPLE) as known:
        (folder / "streamlit.toml").write_text(
            f'[auth]\nredirect_uri = "http://127.0.0.1:{port}/oauth2callback"\ncookie_secret = "{"c" * 40}"\n'
            f'client_id = "{CLIENT}"\nclient_secret = "{SECRET}"\n'
            f'server_metadata_url = "{known.issuer}/.well-known/openid-configuration"\n'
        )
        (folder / "security.toml").write_text(SETTINGS.format(secrets=folder / "streamlit.toml"))
        with serving(root.url, port=port, security=folder / "security.toml") as server:
            yield Site(server.url, root, folder / "security.toml", known)


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """The app, whose settings and provider a test may change."""
    yield running
    running.rules(running.settings)
    running.provider.forge = False
    running.provider.changes.clear()


def log_in(page: Any, site: Site, who: str, path: str = "overnight") -> Any:
    page.goto(f"{site.url}/{path}")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Who are you?").wait_for()
    page.get_by_role("link", name=who).click()
    page.wait_for_url(re.compile(re.escape(site.url)))
    return page.get_by_test_id("stMain")


def test_login__gives_the_role_of_the_claims_and_takes_it_away_at_the_next_click(page: Any, site: Site) -> None:
    main = log_in(page, site, "Ada")
    main.get_by_text("ada@example.com, operator").wait_for()
    assert {"/.well-known/openid-configuration", "/authorize", "/token", "/jwks"} <= set(site.provider.asked)
    assert ("ada@example.com", "log in", "allowed") in site.log
    page.goto(f"{site.url}/overnight")
    main.get_by_role("button", name="Pause").click()
    main.get_by_role("button", name="Resume").wait_for()
    assert Shelf(site.root, "ny").paused

    # Her page still has the button when her group is one of viewers only.
    site.rules(site.settings.replace('groups = ["desk"]', "groups = []").replace('["readers"]', '["readers", "desk"]'))
    main.get_by_role("button", name="Resume").click()
    main.get_by_text("Not allowed.").wait_for()
    assert Shelf(site.root, "ny").paused
    assert ("ada@example.com", "schedule", "refused") in site.log
    main.get_by_text("ada@example.com, viewer").wait_for()
    assert main.get_by_role("button", name="Resume").count() == 0

    # A login that was revoked is none, wherever its cookie is.
    site.rules(site.settings + f'[revoked]\n"ada@example.com" = {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n')
    page.goto(f"{site.url}/overnight")
    main.get_by_text("this login was revoked").wait_for()
    assert main.get_by_text("ada@example.com").count() == 0


def test_login__of_a_viewer_shows_pages_and_no_action(page: Any, site: Site) -> None:
    main = log_in(page, site, "Vic")
    main.get_by_text("vic@example.com, viewer").wait_for()
    page.goto(f"{site.url}/overnight")
    main.get_by_text("1 h after each close of XNYS").first.wait_for()
    assert main.get_by_role("button", name=re.compile("Pause|Resume")).count() == 0
    page.goto(f"{site.url}/audit")
    main.get_by_text("Not allowed.").wait_for()
    assert ("vic@example.com", "read audit", "refused") in site.log
    main.get_by_role("button", name="Log out").click()
    main.get_by_role("button", name="Log in").wait_for()


@pytest.mark.parametrize(("who", "told"), [("Eve", "not of a domain that may log in"), ("Una", "not verified")])
def test_login__of_a_stranger_is_turned_away(page: Any, site: Site, who: str, told: str) -> None:
    main = log_in(page, site, who)
    main.get_by_text("Not allowed.").wait_for()
    main.get_by_text(told).wait_for()
    assert main.get_by_text("XNYS").count() == 0


@pytest.mark.parametrize("fault", ["another key", "another audience", "another issuer", "over"])
def test_login__by_a_token_that_is_not_the_providers_is_none(page: Any, site: Site, fault: str) -> None:
    site.provider.forge = fault == "another key"
    site.provider.changes |= {
        "another audience": {"aud": "somebody-else"},
        "another issuer": {"iss": "http://127.0.0.1:9"},
        "over": {"iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600},
    }.get(fault, {})
    log_in(page, site, "Ada")
    page.goto(f"{site.url}/overnight")
    page.get_by_role("button", name="Log in").wait_for()
    assert page.get_by_text("operator").count() == 0
    assert page.get_by_text("XNYS").count() == 0
