"""Submitting a run is writing it down; driving it is another act, which any process can take up."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.selftest import check_takes
from quantbot.errors import RunError
from sweeps.quarantine import lift
from sweeps.runstore import SHORT, RunStore, to_json
from sweeps.service.budgets import Budget, write_budget
from sweeps.service.queue import check_priority, enqueue, remove, ticket_of
from sweeps.watch import CANCEL, PAUSE

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.executors import Isolation
    from sweeps.plan import Plan
    from sweeps.spec import Spec

# A finished child is reaped at the next start; dropping it unreaped would leave a zombie and a warning.
_STARTED: list[subprocess.Popen[bytes]] = []


def submit(
    spec: Spec,
    root: Store,
    *,
    plan: Plan | None = None,
    user: str = "",
    priority: int = 0,
    budget: Budget | None = None,
) -> str:
    """Write a run and a ticket for it into the store, and return its identity; nothing is computed.

    The same spec over the same sources and data is the same run: submitted twice it stands there once, with its first
    plan, and under both names. What is done already gets no ticket. Submitting overrules a cancellation or a pause.

    Parameters
    ----------
    plan
        What `make_plan` gave for `spec`, where it was made already.
    user
        Who asks, and whose share of the cluster pays; by default the name of this account.
    priority
        -100 to 100; the higher goes first.
    budget
        What it may cost, in place of the budget that it had; by default it keeps that, and has none at first.

    Raises
    ------
    InputError
        If the priority is none.
    AccessError, FullError
        If these credentials may not write, or the rows have no room.
    """
    check_priority(priority)
    if plan is None:
        from sweeps.plan import make_plan

        plan = make_plan(spec, root)
    run = RunStore(root, plan.identity)
    # Blocks, and the same rows once more for anybody with xarray.
    check_takes(root, 2 * plan.n_trials * (8 * len(plan.measures) + 1))
    run.put_first("plan.json", plan.to_bytes())
    run.put_first("sources.json", plan.bundle.to_json().encode())
    name = spec.run.name or ""
    now_ns = root.now_ns()
    if name:
        label = hashlib.sha256(name.encode()).hexdigest()[:16]
        run.put_first(f"labels/{label}.json", to_json({"name": name, "at_ns": now_ns}))
    who = user or _user()
    # After all that, since listings find a run by its request: whoever finds it finds everything.
    run.put_first("request.json", to_json(_request(plan, name, now_ns, who)))
    _ask(run, who, priority, budget)
    return plan.identity


def resume(root: Store, identity: str, *, user: str = "", priority: int = 0, budget: Budget | None = None) -> None:
    """Ask for a run to go on that was paused, cancelled, failed or out of budget; only what is missing is computed.

    Quarantined blocks are tried again.

    Parameters
    ----------
    user, priority, budget
        As in `submit`; the user is by default who submitted it.
    """
    check_priority(priority)
    run = RunStore(root, identity)
    run.request()
    lift(run)
    _ask(run, user, priority, budget)


def start_driver(
    root_url: str,
    identity: str,
    *,
    workers: int = 2,
    threads: int = 1,
    scheduler: str | None = None,
    tls: str | None = None,
    isolation: Isolation | None = None,
) -> int:
    """Start a detached process that drives the run, and return its process id.

    It lives on when the caller ends; its output is in `driver_log`. A cancellation from before is overruled, one
    that comes while it starts is obeyed.
    """
    from datasets.store import open_store

    root = open_store(root_url)
    run = RunStore(root, identity)
    run.request()
    for key in (CANCEL, PAUSE):
        run.store.delete(key)
    lift(run)
    _STARTED[:] = [child for child in _STARTED if child.poll() is None]
    log = driver_log(identity)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "sweeps.run", root.url, identity, "--keep-cancelled"]
    command += ["--workers", str(workers), "--threads", str(threads)]
    if scheduler:
        command += ["--scheduler", scheduler]
    if tls:
        command += ["--tls", str(Path(tls).absolute())]
    if isolation is not None:
        command += ["--isolation", json.dumps(asdict(isolation))]
    try:
        with log.open("ab") as output:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
    except OSError as error:
        raise RunError(f"can't start a driver for run {identity[:SHORT]}: {error}") from error
    _STARTED.append(child)
    return child.pid


def driver_log(identity: str) -> Path:
    """Return the file that a detached driver on this machine writes its output to."""
    from quantbot.kernels import cache_dir

    return cache_dir() / "drivers" / f"{identity[:SHORT]}.log"


def cancel(root: Store, identity: str) -> None:
    """Ask whoever drives the run to stop between blocks; finished blocks are kept, and `resume` goes on."""
    run = RunStore(root, identity)
    run.request()
    # Read before the cancellation stands, so that a ticket which somebody writes after it is never removed.
    ticket = ticket_of(root, identity)
    run.replace(CANCEL, to_json({"at_ns": root.now_ns()}))
    if ticket is not None:
        remove(root, ticket.keys)


def pause(root: Store, identity: str) -> None:
    """Ask whoever drives the run to give it back after the blocks in flight; it keeps its place in the queue.

    `resume` goes on. A run that is done stays done.
    """
    run = RunStore(root, identity)
    run.request()
    run.replace(PAUSE, to_json({"at_ns": root.now_ns()}))


def _ask(run: RunStore, user: str, priority: int, budget: Budget | None) -> None:
    """Want a run to be driven: overrule what keeps it from that, and write its ticket last."""
    from sweeps.run import is_complete

    if budget is not None:
        write_budget(run, budget)
    for key in (CANCEL, PAUSE):
        run.store.delete(key)
    manifest = run.manifest()
    if manifest is None or not is_complete(run, manifest):
        enqueue(run.root, run.identity, user=user or str(run.request().get("user", "")), priority=priority)


def _request(plan: Plan, name: str, now_ns: int, user: str) -> dict[str, object]:
    return {
        "format": 1,
        "identity": plan.identity,
        "name": name,
        "submitted_ns": now_ns,
        "user": user,
        "spec": plan.spec_toml,
        "engine": plan.engine,
        "strategy": plan.bundle.reference,
        "dataset": plan.dataset_name,
        "dataset_version": plan.dataset_version,
        "objective": plan.spec.objective.metric,
        "n_points": plan.n_points,
        "n_trials": plan.n_trials,
        "axes": [axis.name for axis in plan.axes],
        "assets": list(plan.symbols),
        "folds": [fold.name for fold in plan.folds],
    }


def _user() -> str:
    """Return who submits, for people: the name of the account, or empty where the system has none."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no entry
        return ""
