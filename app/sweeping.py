"""Sweeps as the terminal shows them: what a plan costs, how a run goes, what came out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from app import format as fmt
from app import terminal

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.executors import Executor, Isolation
    from sweeps.plan import Plan
    from sweeps.progress import Progress
    from sweeps.results import Run
    from sweeps.run import Outcome
    from sweeps.service import Usage
    from sweeps.status import RunStatus


@dataclass(frozen=True)
class Cluster:
    """Where blocks run, as the command line says it."""

    workers: int | None = None
    threads: int = 1
    processes: bool = True
    scheduler: str | None = None
    serial: bool = False
    tls: str | None = None
    isolation: Isolation | None = None

    @property
    def n_workers(self) -> int:
        """Number of workers of a cluster on this machine; one a core where nothing was said."""
        import os

        return self.workers or len(os.sched_getaffinity(0))

    def executor(self) -> AbstractContextManager[Executor]:
        """Return the executor; what it starts ends when its context is left."""
        from sweeps import executors

        if self.serial:
            return executors.serial()
        return executors.dask_executor(
            self.n_workers, self.threads, self.processes, self.scheduler, tls=self.tls, isolation=self.isolation
        )


@dataclass(frozen=True)
class Driven:
    """An outcome, and how many trials this drive computed itself."""

    outcome: Outcome
    n_trials_computed: int

    def sentence(self) -> str:
        """Say what was computed and what was there."""
        outcome = self.outcome
        failed = f"; {fmt.plural(outcome.n_failed, 'trial')} failed" if outcome.n_failed else ""
        if outcome.state != "done":
            kept = f"{fmt.count(outcome.n_computed + outcome.n_reused)} of {fmt.plural(outcome.n_blocks, 'block')}"
            return f"{outcome.state} after {fmt.duration(outcome.seconds)}; {kept} are kept{failed}"
        if outcome.n_computed == 0 and not outcome.followed:
            return f"nothing to compute: all {fmt.count(outcome.n_trials)} trials were there{failed}"
        if outcome.n_computed == 0:
            return f"another process computed it; {fmt.plural(outcome.n_trials, 'trial')} are there{failed}"
        computed = (
            f"computed {fmt.plural(self.n_trials_computed, 'trial')} in {fmt.plural(outcome.n_computed, 'block')},"
            f" {fmt.duration(outcome.seconds)}"
        )
        n_there = outcome.n_trials - self.n_trials_computed
        there = (
            f"; {fmt.count(n_there)} in {fmt.plural(outcome.n_reused, 'block')} were there" if outcome.n_reused else ""
        )
        return computed + there + failed

    def document(self) -> dict[str, Any]:
        """Return what a script reads."""
        return asdict(self.outcome) | {"n_trials_computed": self.n_trials_computed}


def drive_shown(root: Store, plan: Plan, cluster: Cluster) -> Driven:
    """Drive a submitted run to its end, with a progress bar on stderr; Ctrl-C keeps what is finished."""
    from sweeps.run import drive

    before: list[int] = []
    with cluster.executor() as executor, _bar(plan.spec.name, plan.n_trials) as show:

        def on_progress(progress: Progress) -> None:
            # The first look comes before the first block.
            if not before:
                before.append(progress.n_done)
            show(progress)

        try:
            outcome = drive(root, plan.identity, executor, on_progress=on_progress)
        except KeyboardInterrupt as stop:
            again = f"quantbot sweep resume {fmt.short(plan.identity)}"
            raise terminal.Interrupted(
                f"interrupted; finished blocks are kept, and `{again}` goes on from there"
            ) from stop
    n_before = before[0] if before else outcome.n_trials
    n_computed = max(outcome.n_trials - n_before, 0) if outcome.n_computed else 0
    return Driven(outcome, n_computed)


@contextmanager
def _bar(name: str, n_trials: int) -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with terminal.progress(*columns) as bars:
        task = bars.add_task(name, total=n_trials, words="starting the cluster")

        def show(progress: Progress) -> None:
            bars.update(task, completed=progress.n_done, words=_words(progress))

        yield show


@contextmanager
def counted(what: str, n: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr of so many of something; what is yielded takes how many are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    with terminal.progress(TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()) as bars:
        task = bars.add_task(what, total=n)
        yield lambda done: bars.update(task, completed=done)


def _words(progress: Progress) -> str:
    """Say how far a run is: done, failed, rate, time left."""
    if progress.n_done == 0 and progress.rate == 0 and not progress.note:
        return "compiling kernels, starting workers"
    words = [f"{fmt.count(progress.n_done)} / {fmt.count(progress.n_trials)} trials"]
    if progress.n_failed:
        words.append(f"{fmt.count(progress.n_failed)} failed")
    if progress.rate > 0:
        words.append(f"{fmt.count(round(progress.rate))}/s")
    if progress.eta_seconds and progress.n_done < progress.n_trials:
        words.append(f"{time_left(progress.eta_seconds)} left")
    if progress.n_done == progress.n_trials and not progress.followed:
        words.append("verifying and publishing")
    if progress.note:
        words.append(progress.note)
    return "  ".join(words)


def time_left(eta_seconds: tuple[float, float]) -> str:
    """Write a range of time left.

    Examples
    --------
    >>> [time_left(seconds).replace(fmt.SPACE, " ") for seconds in ((0.2, 0.4), (0.6, 24.3), (40.0, 95.0))]
    ['1 s', '1 to 25 s', '40 s to 1 min 35 s']
    """
    low, high = (max(math.ceil(seconds), 1) for seconds in eta_seconds)
    if high < 60:
        return f"{low}{fmt.SPACE}s" if low == high else f"{low} to {high}{fmt.SPACE}s"
    return f"{fmt.duration(low)} to {fmt.duration(high)}"


def computed_trials(plan: Plan, root: Store) -> int:
    """Return how many trials of this run the store has already, under whatever partition it was first planned."""
    from quantbot.errors import NotFoundError
    from sweeps.runstore import RunStore

    run = RunStore(root, plan.identity)
    try:
        stored = run.plan()
    except NotFoundError:
        return 0
    return sum(stored.block(index).n_trials for index in run.finished())


def status_words(status: RunStatus) -> str:
    """Say how much of a run is there: ``all 5 868``, ``412 of 5 868, 3 failed, 2.0 s left``."""
    whole = fmt.count(status.n_trials)
    words = [f"all {whole}" if status.n_done == status.n_trials else f"{fmt.count(status.n_done)} of {whole}"]
    if status.n_failed:
        words.append(f"{fmt.count(status.n_failed)} failed")
    if status.eta_seconds:
        words.append(f"{time_left(status.eta_seconds)} left")
    return ", ".join(words)


def usage_words(usage: Usage) -> str:
    """Say what a run took; empty where nobody has counted.

    Examples
    --------
    >>> from sweeps.service import Usage
    >>> usage_words(Usage(core_seconds=90.0, bytes_read=2_000_000, n_blocks=12)).replace(fmt.SPACE, " ")
    '1 min 30 s of workers, 12 blocks, 2.0 MB read'
    """
    if not usage.n_blocks:
        return ""
    blocks = fmt.plural(usage.n_blocks, "block")
    return f"{fmt.duration(usage.core_seconds)} of workers, {blocks}, {fmt.size(usage.bytes_read)} read"


def run_rows(run: Run) -> list[tuple[str, str]]:
    """Return what a run is and how far, line by line."""
    plan, status = run.plan, run.status
    axes = _axes(plan)
    speed = f"; {fmt.count(round(status.rate))} trials/s" if status.rate else ""
    rows = {
        "run": f"{run.short} ({plan.spec.name})",
        "state": f"{status.state}: {status_words(status)} trials{speed}",
        "driver": status.driver,
        "cause": status.trouble if status.state == "stalled" else "",
        "note": status.note,
        "took": usage_words(status.usage),
        "strategy": plan.bundle.reference,
        "data": f"{plan.dataset_name}@{fmt.short(plan.dataset_version)}: {_few(plan.symbols)}",
        "folds": ", ".join(_fold(fold.name, fold.start_ns, fold.end_ns) for fold in plan.folds),
        "points": f"{fmt.count(plan.n_points)} of {axes}" + (f", where {plan.where}" if plan.where else ""),
        "search": search_words(plan),
        "digest": status.result_digest,
    }
    return [(name, text) for name, text in rows.items() if text]


def show_results(run: Run, n_best: int) -> None:
    """Print the best trials of a run, and why trials failed."""
    from app.best import show_best

    if n_best:
        show_best(run, n_best)
    failures = run.failures()
    if len(failures):
        rows = [
            (fmt.count(row["n_trials"]), str(row["reason"]), f"{row['first_trial']} ({fmt.point(row['first_point'])})")
            for row in failures.head(20).to_dict(orient="records")
        ]
        terminal.say("")
        terminal.print_table(("failed", "reason", "first trial"), rows, right=("failed",))


def run_document(run: Run, n_best: int) -> dict[str, Any]:
    """Return a run for scripts."""
    from app.best import best_trials, plateau_document
    from app.out_of_sample import document
    from sweeps.luck import luck_document

    return {
        "name": run.spec.name,
        "status": asdict(run.status),
        "objective": run.objective,
        "best": best_trials(run, n_best),
        "plateau": plateau_document(run),
        "luck": luck_document(run.luck(compute=False)),
        "out_of_sample": document(run),
        "locked": run.locked,
        "looks": [asdict(look) for look in run.looks()],
        "failures": run.failures().to_dict(orient="records"),
    }


def plan_rows(plan: Plan, n_computed: int) -> list[tuple[str, str]]:
    """Return what a plan says, line by line; `n_computed` of its trials are in the store."""
    estimate = plan.estimate
    axes = _axes(plan)
    verb = "drawn from" if any(axis.sampled for axis in plan.axes) else "of"
    where = f", where {plan.where}" if plan.where else ""
    left = f"about {fmt.duration(estimate.core_seconds * (1 - n_computed / plan.n_trials))} of one core"
    return [
        ("run", fmt.short(plan.identity)),
        ("strategy", plan.bundle.reference),
        ("data", f"{plan.dataset_name}@{fmt.short(plan.dataset_version)}: {_few(plan.symbols)}"),
        ("folds", _folds(plan)),
        ("points", f"{fmt.count(plan.n_points)} {verb} {axes}{where}"),
        *([("search", words)] if (words := search_words(plan)) else []),
        ("trials", f"{fmt.count(plan.n_trials)} in {fmt.plural(plan.n_blocks, 'block')}"),
        ("measures", ", ".join(plan.groups)),
        ("computed", "all: nothing to compute" if n_computed == plan.n_trials else f"{fmt.count(n_computed)} trials"),
        ("to compute", left if n_computed < plan.n_trials else "nothing"),
        ("bar-steps", fmt.count(estimate.n_bars)),
        ("memory", f"{fmt.size(estimate.memory_bytes)} a worker, {fmt.size(estimate.data_bytes)} of it bars"),
        ("rows", f"{fmt.size(estimate.rows_bytes)} in the store"),
    ]


def plan_document(plan: Plan, n_computed: int) -> dict[str, Any]:
    """Return what a plan says, for scripts."""
    return {
        "identity": plan.identity,
        "name": plan.spec.name,
        "engine": plan.engine,
        "strategy": plan.bundle.reference,
        "dataset": {"name": plan.dataset_name, "version": plan.dataset_version, "root_url": plan.dataset_root_url},
        "assets": plan.symbols,
        "folds": [asdict(fold) for fold in plan.folds],
        "axes": [{"name": axis.name, "n_values": len(axis), "sampled": axis.sampled} for axis in plan.axes],
        "where": plan.where,
        "n_points": plan.n_points,
        "n_phases": len(plan.phases),
        "search": search_words(plan),
        "n_trials": plan.n_trials,
        "n_computed": n_computed,
        "n_blocks": plan.n_blocks,
        "measures": plan.measures,
        "estimate": asdict(plan.estimate),
        "warnings": plan.warnings,
    }


def _folds(plan: Plan, most: int = 9) -> str:
    from sweeps.splits import splits_of

    names = tuple(_fold(fold.name, fold.start_ns, fold.end_ns) for fold in plan.folds)
    if len(names) <= most:
        return ", ".join(names)
    found = splits_of(plan)
    choices = (
        f"{fmt.plural(len(found.splits), 'choice')} on a train each, {fmt.plural(len(found.paths), 'path')} of tests"
    )
    return f"{_few(names, 3)}; {choices}"


def search_words(plan: Plan) -> str:
    """Say how a search that learns goes about it; empty for one that doesn't."""
    if len(plan.phases) == 1:
        return ""
    from sweeps.rungs import evaluated_points, guide_fold

    guide = plan.folds[guide_fold(plan.folds)]
    if plan.spec.search.method == "bayes":
        size = plan.phases.points(0).stop
        return f"{fmt.count(len(plan.phases))} batches of {fmt.count(size)}, each learning from fold {guide.name}"
    rungs = [
        f"{fmt.plural(n, 'point')} on {_fold(fold.name, fold.start_ns, fold.end_ns)}"
        for fold, n in zip(plan.folds, evaluated_points(plan.spec.search, plan.n_points, plan.folds), strict=True)
        if fold.role == "rung"
    ]
    last = evaluated_points(plan.spec.search, plan.n_points, plan.folds)[guide_fold(plan.folds)]
    return f"{', '.join(rungs)}, at most {fmt.count(last)} on {guide.name} and all other folds"


def _axes(plan: Plan) -> str:
    """Return the axes and, as far as they are chosen, how many values each has."""
    known = plan.n_known == plan.n_points
    names = (f"{axis.name} ({fmt.count(len(axis))})" if known else axis.name for axis in plan.axes)
    return " x ".join(names) or "one point"


def _fold(name: str, start_ns: int, end_ns: int) -> str:
    return f"{name} ({fmt.day(start_ns)} to {fmt.day(end_ns - 1)})"


def _few(names: tuple[str, ...], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
