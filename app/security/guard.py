"""The check that every action passes, in the code that acts: who may not is refused; the audit log has both."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from app.security.roles import User, may, why_not
from quantbot.errors import RefusedError, StoreError
from sweeps import audit

if TYPE_CHECKING:
    from datasets.store import Store

_LOG = logging.getLogger(__name__)
# What a user of an app without login does on this machine is recorded where it changes the store anyway: such a store
# may be one that this account can only read.
_QUIET_LOCALLY = frozenset({"view", "export", "upload"})
# Whoever is not known can't fill the log: one entry for each reason and minute.
_STRANGERS_EVERY_S = 60.0
_STRANGERS: dict[tuple[str, str], float] = {}
_LOCK = threading.Lock()


def permit(
    root: Store,
    user: User,
    action: str,
    *,
    subject: str = "",
    owner: str | None = None,
    details: Mapping[str, str] | None = None,
) -> None:
    """Return if `user` may do this, with an entry in the audit log, before anything is done.

    Parameters
    ----------
    subject
        What it is about: a run's identity, a file's name.
    owner
        Who submitted the run that it is about; None where it is about none.

    Raises
    ------
    RefusedError
        If they may not, in words for them; the log has the attempt.
    """
    if not may(user, action, owner):
        reason = why_not(user, action, owner)
        refused(root, user, action, subject=subject, reason=reason)
        raise RefusedError(reason)
    if not (user.local and action in _QUIET_LOCALLY):
        audit.record(root, action, user=user.name, role=_role(user), subject=subject, details=details)


@contextmanager
def acting(
    root: Store,
    user: User,
    action: str,
    *,
    subject: str = "",
    owner: str | None = None,
    details: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Do something inside, if `user` may; where it fails, the log says that as well. Otherwise as `permit`."""
    permit(root, user, action, subject=subject, owner=owner, details=details)
    try:
        yield
    except RefusedError as error:
        refused(root, user, action, subject=subject, reason=str(error))
        raise
    except Exception as error:
        _record(root, action, user, subject, "failed", {"error": f"{type(error).__name__}: {error}"})
        raise


def refused(root: Store, user: User, action: str, *, subject: str = "", reason: str) -> None:
    """Write into the log that `user` was refused; a store that is away does not make it allowed."""
    _record(root, action, user, subject, "refused", {"reason": reason})


def stranger(root: Store, reason: str, name: str = "", address: str = "") -> None:
    """Write into the log that somebody without a login or role was turned away, at most once a minute."""
    now = time.monotonic()
    with _LOCK:
        if now - _STRANGERS.get((root.url, reason), -_STRANGERS_EVERY_S) < _STRANGERS_EVERY_S:
            return
        if len(_STRANGERS) > 1_000:
            _STRANGERS.clear()
        _STRANGERS[root.url, reason] = now
    details = {"reason": reason} | ({"address": address} if address else {})
    try:
        audit.record(root, "log in", user=name or "unknown", outcome="refused", details=details)
    except StoreError:
        _LOG.exception("the audit log can't be written")


def _record(
    root: Store, action: str, user: User, subject: str, outcome: audit.Result, details: Mapping[str, str]
) -> None:
    try:
        audit.record(root, action, user=user.name, role=_role(user), subject=subject, outcome=outcome, details=details)
    except StoreError:
        _LOG.exception("the audit log can't be written: %s %s %s", user.name, outcome, action)


def _role(user: User) -> str:
    return "local" if user.local else user.role.word
