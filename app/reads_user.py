"""Who uses the app, asked anew at every run of a page and at every action; and what becomes of a refusal."""

from __future__ import annotations

import functools
import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import streamlit as st

from app import format as fmt
from app.security import guard
from app.security.identity import NotLoggedInError, local_user, oidc_user, proxy_user
from app.security.roles import User, may
from app.security.settings import Settings, settings
from quantbot.errors import InputError, QuantBotError, RefusedError, StoreError, TooLargeError
from quantbot.redaction import redact
from sweeps import audit
from sweeps.admission import Policy

if TYPE_CHECKING:
    from datasets.store import Store

_LOG = logging.getLogger(__name__)
_TROUBLE = "trouble of an action"
_MOST_UPLOADS = 50  # different files of one session
P = ParamSpec("P")
T = TypeVar("T")


def in_force() -> Settings:
    """Return the security settings as their file has them now."""
    return settings()


def user() -> User:
    """Return who uses this session.

    Raises
    ------
    NotLoggedInError
        If nobody has logged in.
    RefusedError
        If they have no role.
    """
    found = in_force()
    match found.login.mode:
        case "proxy":
            return proxy_user(found, headers())
        case "oidc":
            return oidc_user(found, claims())
        case _:
            return local_user()


def headers() -> Mapping[str, str]:
    """Return the headers with which the browser's session was opened."""
    return dict(st.context.headers.items())


def claims() -> Mapping[str, Any]:
    """Return what the OpenID token of this session says."""
    return {str(name): value for name, value in st.user.items()}


def allowed(action: str, owner: str | None = None) -> bool:
    """Return whether the user may do something: for what is shown. What acts asks `acting`."""
    try:
        return may(user(), action, owner)
    except RefusedError:
        return False


@contextmanager
def acting(action: str, subject: str = "", owner: str | None = None, **details: str) -> Iterator[User]:
    """Do something inside, if the user of this session may now; it is in the audit log either way.

    Raises
    ------
    RefusedError
        If they may not.
    """
    from app import reads

    root = reads.store()
    try:
        who = user()
    except RefusedError as error:
        guard.stranger(root, f"{action}: {error}")
        raise
    with guard.acting(root, who, action, subject=subject, owner=owner, details=details):
        yield who


def policy() -> Policy | None:
    """Return what a spec of this user may name and cost; None where nobody logs in: whoever is here may all."""
    who = user()
    return None if who.local else in_force().policy(who.role)


def uploading(name: str, data: bytes) -> None:
    """Return if the user may hand in a file of this size; the log has it once a session.

    Raises
    ------
    RefusedError
        If they may not.
    TooLargeError
        If it is larger than the settings allow, or the session has handed in many.
    """
    seen: set[str] = st.session_state.setdefault("uploads", set())
    digest = hashlib.sha256(data).hexdigest()
    if digest in seen and allowed("upload"):
        return
    most = in_force().upload_mb
    with acting("upload", name, bytes=str(len(data)), sha256=digest):
        if len(data) > most * 2**20:
            raise TooLargeError(f"{name} has {len(data):,} bytes, {most} MB are the most; ingest it as a dataset")
        if len(seen) >= _MOST_UPLOADS:
            raise TooLargeError(f"this session has handed in {len(seen)} files, which are the most; open a new one")
    seen.add(digest)


def exporting(write: Callable[[], T], subject: str, what: str) -> Callable[[], T]:
    """Return what makes a file for somebody to take away, if they may when they ask for it.

    A file is made outside of any page's run, where nobody's headers are: who asks is who saw the button, and what they
    may is asked again.
    """
    from app import reads

    who, root = user(), reads.store()

    def written() -> T:
        with guard.acting(root, _as_of_now(who), "export", subject=subject, details={"what": what}):
            return write()

    return written


def _as_of_now(who: User) -> User:
    if who.local:
        return who
    role = in_force().role_of(who.name, who.groups)
    if role is None:
        raise RefusedError(f"{who.name} has no role here any more")
    return replace(who, role=role)


def owner_of(identity: str) -> str:
    """Return who submitted a run."""
    from app import reads_runs

    return str(reads_runs.request(identity).get("user", ""))


def audit_log(newest: int) -> list[audit.Entry]:
    """Return the newest entries of the audit log, the last first; operators only."""
    return audit.entries(_audited(), newest=newest)[::-1]


def verify_audit() -> audit.Verified:
    """Return whether the audit log is whole; operators only."""
    return audit.verify(_audited())


def _audited() -> Store:
    from app import reads

    who, root = user(), reads.store()
    if not may(who, "read audit"):
        guard.permit(root, who, "read audit")  # refuses, on record; that somebody reads it is not
    return root


# ------------------------------------------------------------------------------------------------------------- pages


def gate() -> User:
    """Return the user of this session; whoever is none gets a page that says why, and nothing else."""
    try:
        who = user()
        _note_login(who)
        return who
    except NotLoggedInError as error:
        _login_page(error)
    except RefusedError as error:
        _turn_away(error)
    except (InputError, StoreError):
        number = secrets.token_hex(4)
        _LOG.exception("nobody can be let in, error %s", number)
        st.error(f"Nobody can be let in now. The server's log has the details under error {number}.")
    return st.stop()


def badge(who: User) -> None:
    """Say who is logged in, and let them log out."""
    if who.local:
        return
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", key="who"):
        st.caption(fmt.plain(f"{who.name}, {who.role.word}"))
        if in_force().login.mode == "oidc":
            st.button("Log out", key="who.out", type="tertiary", on_click=st.logout)


def _login_page(error: NotLoggedInError) -> None:
    st.subheader("Log in", anchor=False)
    st.markdown(fmt.plain(str(error)))
    if in_force().login.mode == "oidc":
        st.button("Log in", key="who.in", type="primary", on_click=st.login)
    elif headers():
        from app import reads

        guard.stranger(reads.store(), str(error), address=st.context.ip_address or "")


def _turn_away(error: RefusedError) -> None:
    from app import reads

    if not st.session_state.get("turned away"):
        st.session_state["turned away"] = True
        guard.stranger(reads.store(), str(error))
    refusal(error)
    if in_force().login.mode == "oidc":
        st.button("Log out", key="who.out", on_click=st.logout)


def _note_login(who: User) -> None:
    """Write the session's login into the audit log, once."""
    if who.local or st.session_state.get("logged in as") == who.name:
        return
    from app import reads

    audit.record(reads.store(), "log in", user=who.name, role=who.role.word)
    st.session_state["logged in as"] = who.name


def refusal(error: RefusedError) -> None:
    """Show that something was refused, and why."""
    st.error(f"**Not allowed.** {fmt.plain(redact(str(error)))}", icon=":material/block:")


# --------------------------------------------------------------------------------------------------------- callbacks


def told(act: Callable[P, object]) -> Callable[P, None]:
    """Wrap what a button does before its page runs, so that what goes wrong is said on the page."""

    @functools.wraps(act)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            act(*args, **kwargs)
        except QuantBotError as error:
            st.session_state[_TROUBLE] = error

    return guarded


def trouble() -> QuantBotError | None:
    """Return what went wrong in a button's act, once."""
    found: QuantBotError | None = st.session_state.pop(_TROUBLE, None)
    return found
