"""A locked holdout: its test is computed with everything else, and hidden until somebody puts a name to looking at it.

    looks/<digest of who>.json      who looked at which run, and when; written once, never replaced

Looking can't be undone: whatever is changed after it was chosen with the test in sight. So the first look opens the
holdout for everybody, every look stays on record, and the trial ledger counts them.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import CorruptError, InputError
from sweeps.runstore import SHORT, RunStore, to_json

if TYPE_CHECKING:
    from sweeps.plan import Plan

_MOST_CHARACTERS = 200


@dataclass(frozen=True)
class Look:
    """That somebody saw the test of a locked holdout.

    Attributes
    ----------
    at_ns
        When, nanoseconds UTC by the store's clock.
    run
        The run's identity.
    """

    who: str
    at_ns: int
    run: str


def record_look(run: RunStore, plan: Plan, who: str) -> Look:
    """Write down that `who` looks at the test of a locked holdout; who did before has that first look.

    Raises
    ------
    InputError
        If the run has no locked holdout, is not finished, or `who` is empty.
    """
    who = " ".join(who.split())
    if not 0 < len(who) <= _MOST_CHARACTERS:
        raise InputError(f"who looks must have 1 to {_MOST_CHARACTERS} characters, had {len(who)}")
    if not plan.spec.folds.locked:
        raise InputError(f"run {run.identity[:SHORT]} has no locked holdout: everybody sees its folds")
    if run.manifest() is None:
        raise InputError(
            f"run {run.identity[:SHORT]} is not finished; a look before its end would cost the holdout for nothing"
        )
    key = f"looks/{hashlib.sha256(who.encode()).hexdigest()[:16]}.json"
    run.put_first(key, to_json(asdict(Look(who, run.root.now_ns(), run.identity))))
    return _read(run, key)


def looks_at(run: RunStore) -> tuple[Look, ...]:
    """Return who looked at the run's locked holdout, the first one first; empty when nobody did or it has none."""
    return tuple(sorted((_read(run, key) for key in run.store.list("looks/")), key=lambda look: (look.at_ns, look.who)))


def is_locked(run: RunStore, plan: Plan) -> bool:
    """Return whether the run has a locked holdout that nobody looked at."""
    return plan.spec.folds.locked and not any(True for _ in run.store.list("looks/"))


def hidden_trials(plan: Plan) -> NDArray[np.bool_]:
    """Return which trials a locked holdout hides, shape (n_trials,)."""
    hidden = np.array([fold.role == "test" for fold in plan.folds])
    return np.repeat(np.tile(hidden, len(plan.assets)), plan.n_points)


def _read(run: RunStore, key: str) -> Look:
    try:
        look = Look(**run.read_json(key) or {})
    except TypeError as error:
        raise CorruptError(f"{run.url}/{key} is no look: {error}") from error
    if look.run != run.identity:
        raise CorruptError(f"{run.url}/{key} is a look at run {look.run[:SHORT]}")
    return look
