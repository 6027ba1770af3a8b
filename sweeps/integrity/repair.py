"""Putting a run right: what is damaged is removed, and computed again from what is whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantbot.errors import RunError
from sweeps.integrity.check import check_run
from sweeps.integrity.findings import Finding
from sweeps.lease import lease_state
from sweeps.ledger_sums import SUMS
from sweeps.publish import MARKER, ROWS
from sweeps.runstore import RUNS, SHORT, RunStore, forget

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.executors import Executor
    from sweeps.progress import Progress


@dataclass(frozen=True)
class Repair:
    """What became of a run.

    Attributes
    ----------
    mended
        What was found and is whole now.
    left
        What is still wrong, with what would help.
    n_computed
        Blocks that were computed again.
    result_digest
        Of the run now; empty where it is not committed.
    """

    identity: str
    mended: tuple[Finding, ...]
    left: tuple[Finding, ...]
    n_computed: int
    result_digest: str


def repair_run(
    root: Store,
    identity: str,
    executor: Executor,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> Repair:
    """Compute again what is damaged or missing of a run, and nothing else; the result must be the one it was.

    A committed run's new blocks are compared with its manifest. A damaged manifest is made again from the blocks.

    Raises
    ------
    RunError
        If somebody drives the run now, or this process can't give the run's bits (other sources, another processor);
        then nothing is removed.
    DivergenceError
        If a block that was computed again is not the one that the manifest names.
    """
    from sweeps.run import drive
    from sweeps.submission import submit
    from sweeps.task import prepared

    before = check_run(root, identity)
    curable = [finding for finding in before if finding.cure == "repair"]
    run = RunStore(root, identity)
    lease = lease_state(run.store)
    if not curable:
        return Repair(identity, (), tuple(before), 0, _digest(run))
    if lease.alive:
        raise RunError(f"run {identity[:SHORT]} is driven by {lease.holder}; repair it when it has ended, or cancel it")
    n_computed = 0
    if any(finding.cure == "submit" for finding in before):
        return Repair(identity, (), tuple(before), 0, "")
    if any("/blocks/" in finding.key for finding in curable):
        prepared(root.url, identity)  # refuses before anything is removed
    was_committed = run.store.exists("manifest.json")
    _remove(run, curable)
    forget()
    plan = run.plan()
    submit(plan.spec, root, plan=plan)  # a request or sources that were lost
    if was_committed:
        outcome = drive(root, identity, executor, on_progress=on_progress)
        n_computed = outcome.n_computed
    forget()
    after = check_run(root, identity)
    left = {finding.key for finding in after}
    mended = tuple(finding for finding in curable if finding.key not in left)
    return Repair(identity, mended, tuple(after), n_computed, _digest(run))


def discard_sums(root: Store, findings: Sequence[Finding]) -> list[Finding]:
    """Remove damaged sums of the ledger, which whoever reads it computes again; return what was removed."""
    damaged = [finding for finding in findings if finding.key.startswith(f"{SUMS}/")]
    for finding in damaged:
        root.delete(finding.key)
    return damaged


def _remove(run: RunStore, findings: list[Finding]) -> None:
    """Remove damaged objects: whatever drives the run then finds them missing."""
    own = f"{RUNS}/{run.identity}/"
    rows = False
    for finding in findings:
        key = finding.key.removeprefix(own)
        if key.startswith((f"{ROWS}/", MARKER)):
            rows = True
        elif finding.key.startswith(own):
            run.store.delete(key)
        elif not finding.key.endswith("/"):
            run.root.delete(finding.key)
    if rows:  # written again as a whole
        run.store.delete(MARKER)
        for key in run.store.list(f"{ROWS}/"):
            run.store.delete(key)


def _digest(run: RunStore) -> str:
    manifest = run.manifest()
    return manifest.result_digest if manifest is not None else ""
