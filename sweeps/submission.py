"""Submitting a run is writing it down; driving it is another act, which any process can take up."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from quantbot.errors import RunError
from sweeps.run import CANCEL
from sweeps.runstore import SHORT, RunStore, to_json

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.plan import Plan
    from sweeps.spec import Spec

# A finished child is reaped at the next start; dropping it unreaped would leave a zombie and a warning.
_STARTED: list[subprocess.Popen[bytes]] = []


def submit(spec: Spec, root: Store, *, plan: Plan | None = None) -> str:
    """Write a run into the store and return its identity; nothing is computed.

    The same spec over the same sources and data is the same run: submitted twice it stands there once, with its first
    plan, and under both names.

    Parameters
    ----------
    plan
        What `make_plan` gave for `spec`, where it was made already.
    """
    if plan is None:
        from sweeps.plan import make_plan

        plan = make_plan(spec, root)
    run = RunStore(root, plan.identity)
    run.put_first("plan.json", plan.to_bytes())
    run.put_first("sources.json", plan.bundle.to_json().encode())
    name = spec.run.name or ""
    now_ns = root.now_ns()
    if name:
        label = hashlib.sha256(name.encode()).hexdigest()[:16]
        run.put_first(f"labels/{label}.json", to_json({"name": name, "at_ns": now_ns}))
    # Last, since listings find a run by its request: whoever finds it finds everything.
    run.put_first("request.json", to_json(_request(plan, name, now_ns)))
    return plan.identity


def start_driver(
    root_url: str, identity: str, *, workers: int = 2, threads: int = 1, scheduler: str | None = None
) -> int:
    """Start a detached process that drives the run, and return its process id.

    It lives on when the caller ends; its output is in `driver_log`. A cancellation from before is overruled, one
    that comes while it starts is obeyed.
    """
    from datasets.store import open_store

    root = open_store(root_url)
    run = RunStore(root, identity)
    run.request()
    run.store.delete(CANCEL)
    _STARTED[:] = [child for child in _STARTED if child.poll() is None]
    log = driver_log(identity)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "sweeps.run", root.url, identity, "--keep-cancelled"]
    command += ["--workers", str(workers), "--threads", str(threads)]
    if scheduler:
        command += ["--scheduler", scheduler]
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
    """Ask whoever drives the run to stop between blocks; finished blocks are kept, and driving it again goes on."""
    run = RunStore(root, identity)
    run.request()
    run.store.put(CANCEL, to_json({"at_ns": root.now_ns()}))


def _request(plan: Plan, name: str, now_ns: int) -> dict[str, object]:
    return {
        "format": 1,
        "identity": plan.identity,
        "name": name,
        "submitted_ns": now_ns,
        "user": _user(),
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
