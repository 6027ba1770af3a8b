"""Which runners are alive, and what each is at.

runners/<name>.json     replaced by its runner alone, every third of its length; older than that, it is dead
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from datasets.seals import seal, unseal
from quantbot.errors import CorruptError, InputError, NotFoundError
from sweeps.runstore import to_json

if TYPE_CHECKING:
    from datasets.store import Store

RUNNERS = "runners"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KEY = re.compile(rf"{RUNNERS}/({_NAME.pattern})\.json")
_FORGOTTEN_SECONDS = 86_400.0  # after which a dead runner's object is removed by the next one that starts


@dataclass(frozen=True)
class RunnerState:
    """What a runner said last.

    Attributes
    ----------
    holder
        Process and host, for people.
    state
        "idle", "driving", "waiting" (for what `trouble` names) or "draining".
    trouble
        Why it can't go on: "store down", "scheduler down", "no workers", "all paused", "version refused"; empty else.
    note
        The same in words.
    runs
        The runs that it drives, each with its user.
    counters
        What it counted since it started.
    age_seconds
        Since it said so, by the store's clock.
    alive
        Whether that is fresh.
    """

    name: str
    holder: str = ""
    state: str = ""
    trouble: str = ""
    note: str = ""
    runs: Mapping[str, str] = field(default_factory=dict)
    counters: Mapping[str, float] = field(default_factory=dict)
    started_ns: int = 0
    ttl_seconds: float = 30.0
    age_seconds: float = 0.0
    alive: bool = False


def check_name(name: str) -> str:
    """Return a runner's name, or raise `InputError`."""
    if not _NAME.fullmatch(name) or name.endswith(".json"):
        raise InputError(f"a runner's name is 1 to 100 letters, digits, dots, dashes or underscores, was {name!r:.120}")
    return name


def beat(root: Store, name: str, document: Mapping[str, Any]) -> None:
    """Say that a runner is alive; `document` has fields of `RunnerState`."""
    key = f"{RUNNERS}/{name}.json"
    root.put(key, seal(to_json(dict(document)), key))


def leave(root: Store, name: str) -> None:
    """Say that a runner has ended."""
    root.delete(f"{RUNNERS}/{name}.json")


def runners(root: Store) -> list[RunnerState]:
    """Return all runners, alive and dead, by name."""
    keys = [(key, match[1]) for key, match in ((key, _KEY.fullmatch(key)) for key in root.list(f"{RUNNERS}/")) if match]
    if not keys:
        return []
    now_ns = root.now_ns()
    return [state for state in (_state(root, key, name, now_ns) for key, name in keys) if state is not None]


def forget_dead(root: Store) -> None:
    """Remove what runners left that died more than a day ago."""
    for state in runners(root):
        if not state.alive and state.age_seconds > _FORGOTTEN_SECONDS:
            leave(root, state.name)


def _state(root: Store, key: str, name: str, now_ns: int) -> RunnerState | None:
    try:
        document = json.loads(unseal(root.get(key), key, f"{root.url}/{key}"))
        age = max(now_ns - root.modified_ns(key), 0) / 1e9
        ttl = float(document["ttl_seconds"])
        return RunnerState(**document | {"name": name, "age_seconds": age, "alive": age <= ttl})
    except NotFoundError:  # it ended between the listing and the read
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{root.url}/{key} is no runner's: {error}; remove it") from error
