"""Roles, and what each may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What somebody may do; each may do what those before it may."""

    VIEWER = 1
    RESEARCHER = 2
    OPERATOR = 3

    @property
    def word(self) -> str:
        """The role as settings and pages write it."""
        return self.name.lower()


# The least role for each action. On a run of somebody else, what changes it takes an operator.
ACTIONS = {
    "view": Role.VIEWER,
    "submit": Role.RESEARCHER,
    "cancel": Role.RESEARCHER,
    "pause": Role.RESEARCHER,
    "resume": Role.RESEARCHER,
    "retry": Role.RESEARCHER,
    "upload": Role.RESEARCHER,
    "export": Role.RESEARCHER,
    "unlock": Role.RESEARCHER,
    "delete": Role.OPERATOR,
    "schedule": Role.OPERATOR,
    "read audit": Role.OPERATOR,
}
_OF_ITS_OWNER = frozenset({"cancel", "pause", "resume", "unlock"})


@dataclass(frozen=True)
class User:
    """Somebody who uses the app.

    Attributes
    ----------
    name
        As the login says it; of an app without one, the name of the account that started it.
    local
        Whether there is no login: whoever sits at this machine may do everything that its account may.
    """

    name: str
    role: Role
    groups: tuple[str, ...] = ()
    local: bool = False


def may(user: User, action: str, owner: str | None = None) -> bool:
    """Return whether a user may do something; an action that nobody has listed is nobody's.

    Parameters
    ----------
    owner
        Who submitted the run that it is about, where it is about one.

    Examples
    --------
    >>> ada = User("ada", Role.RESEARCHER)
    >>> may(ada, "cancel", owner="ada"), may(ada, "cancel", owner="bob"), may(ada, "read audit")
    (True, False, False)
    """
    if user.local:
        return action in ACTIONS
    if action not in ACTIONS or user.role < ACTIONS[action]:
        return False
    foreign = owner is not None and owner != user.name and action in _OF_ITS_OWNER
    return not foreign or user.role is Role.OPERATOR


def why_not(user: User, action: str, owner: str | None = None) -> str:
    """Say why a user may not do something."""
    least = ACTIONS.get(action)
    if least is not None and user.role >= least:
        return f"{user.name} may {action} runs of their own only; this one is {owner or 'nobody'}'s. Ask an operator"
    wanted = least.word if least is not None else "role that there is not"
    return f"{user.name} is {_a(user.role.word)}; to {action} takes {_a(wanted)}. Ask an operator for the role"


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
