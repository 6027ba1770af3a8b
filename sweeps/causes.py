"""Why a run isn't going on: each cause by its name, from the objects of the run, its ticket and the runners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sweeps.lease import LeaseState
from sweeps.runstore import RunStore
from sweeps.service.budgets import budget_of
from sweeps.service.heartbeat import runners
from sweeps.service.metering import Usage
from sweeps.service.queue import ticket_of
from sweeps.watch import CANCEL, PAUSE

State = Literal["waiting", "running", "stalled", "paused", "budget spent", "failed", "cancelled", "done"]
_LONGEST_SILENCE = 60.0  # seconds without a block before a driven run counts as stalled; reliability.md, P4

Cause = tuple[State, str, str]


def cause(
    run: RunStore, lease: LeaseState, silent: float, any_done: bool, usage: Usage, service: Sequence[str]
) -> Cause:
    """Return the state of a run that isn't committed, the name of its trouble, and both in words.

    Parameters
    ----------
    silent
        Seconds since its newest block.
    service
        Its keys under ``service/``.
    """
    if lease.alive:
        return _driven(lease, silent, paused=PAUSE in service)
    if run.store.exists(CANCEL):
        return "cancelled", "", "cancelled; what is finished is kept, and resume goes on from there"
    if PAUSE in service:
        return "paused", "", "paused; what is finished is kept, and resume goes on from there"
    if words := budget_of(run, service).spent(usage):
        return "budget spent", "", f"{words} are spent; resume with a larger budget goes on from there"
    if lease.number and not lease.released:
        text = f"{lease.holder} died or lost the store {lease.age_seconds:.0f} s ago; "
        waiting = _queued(run)
        return "stalled", waiting[1] if waiting else "", text + (waiting[2] if waiting else "resume goes on")
    if lease.note.startswith("failed: ") and ticket_of(run.root, run.identity) is None:
        poison = "poison block" if run.store.list("quarantine/") else ""
        return "failed", poison, lease.note
    if (waiting := _queued(run)) is not None:
        state, trouble, text = waiting
        if lease.trouble:
            return "stalled", lease.trouble, lease.note
        if trouble == "no runner":
            text = "interrupted; resume goes on" if any_done or lease.number else text
        return state, trouble, text
    if lease.trouble:
        return "stalled", lease.trouble, lease.note
    if lease.note and lease.note not in ("drained", "yielded", "interrupted"):
        return "waiting", "", lease.note
    return "waiting", "", "interrupted; resume goes on" if any_done or lease.number else "nobody has started it yet"


def _driven(lease: LeaseState, silent: float, *, paused: bool) -> Cause:
    if lease.trouble:
        return "stalled", lease.trouble, lease.note or f"{lease.holder} waits: {lease.trouble}"
    if silent > _LONGEST_SILENCE:
        return "stalled", "no blocks", f"no block ended for {silent:.0f} s, though {lease.holder} is alive"
    return "running", "", "pausing after the blocks in flight" if paused else ""


def _queued(run: RunStore) -> Cause | None:
    """Return why a run that has a ticket waits; None where it has none."""
    if ticket_of(run.root, run.identity) is None:
        return None
    known = runners(run.root)
    alive = [runner for runner in known if runner.alive]
    if not alive:
        if known:
            return "stalled", "no runner", f"no runner is alive, the last one was {known[-1].name}: start one"
        return "waiting", "no runner", "nobody has started it yet"
    if all(runner.trouble and runner.state != "driving" for runner in alive):
        return "stalled", alive[0].trouble, f"runner {alive[0].name} waits: {alive[0].note}"
    return "waiting", "", "in the queue: a runner takes it when its turn comes"
