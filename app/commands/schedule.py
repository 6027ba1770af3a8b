"""``quantbot schedule``: what runs at night, when, and what came of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import terminal
from app.commands.options import DEFAULT_STORE, Json, StoreUrl, examples, group, open_root
from app.commands.sweep import Processes, Scheduler, Serial, Threads, Workers
from app.terminal import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datasets.store import Store
    from sweeps.schedule.document import Schedule
    from sweeps.schedule.jobs import Job

app = group("schedule", "Refresh data and run sweeps by the clock.")

Place = Annotated[Path, typer.Argument(metavar="PATH", help="A folder of schedules (*.toml), or one of them.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A schedule: its file's name without .toml.")]
_PLACE = Path("schedules")


@app.command(
    "check",
    short_help="Check schedules and all that they name.",
    epilog=examples("quantbot schedule check", "quantbot schedule check schedules/sp500.toml --json"),
)
def check(place: Place = _PLACE, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Check schedules, every spec that they name, and that their data are there or refreshed; all problems at once."""
    from quantbot.errors import SpecError
    from sweeps.schedule.document import load_schedules

    found, root = load_schedules(place), open_root(store)
    problems = [problem for schedule in found for problem in _missing_data(schedule, root)]
    if problems:
        raise SpecError(problems, str(place))
    if json:
        terminal.print_json([_document(schedule) for schedule in found])
        return
    rows = [
        (
            schedule.name,
            str(schedule.rule),
            ", ".join(entry.dataset for entry in schedule.refreshes) or "nothing",
            ", ".join(each.spec.name for each in schedule.runs) or "none",
            ", ".join(str(getattr(each.entry, "name", "")) for each in schedule.pins) or "none",
            f"{schedule.catch_up.policy}, at most {schedule.catch_up.limit}",
        )
        for schedule in found
    ]
    terminal.print_table(("schedule", "due", "refreshes", "runs", "pins", "catches up"), rows)


def _missing_data(schedule: Schedule, root: Store) -> Iterator[str]:
    """Yield the data that a schedule's specs need, that it doesn't refresh, and that aren't there."""
    from datasets.catalog import open_any
    from quantbot.errors import InputError, NotFoundError

    fresh = [entry.dataset for entry in schedule.refreshes]
    for each in (*schedule.runs, *schedule.pins):
        if each.spec.data.dataset.partition("@")[0] not in fresh:
            try:
                open_any(each.spec.data.dataset, root)
            except (NotFoundError, InputError) as error:
                yield f"{schedule.name}.toml: {each.entry.spec}: data.dataset: {error}"


@app.command(
    "next",
    short_help="Say when schedules fall due next.",
    epilog=examples("quantbot schedule next", "quantbot schedule next schedules/sp500.toml -n 20"),
)
def next_times(
    place: Place = _PLACE,
    n: Annotated[int, typer.Option("--number", "-n", min=1, max=1000, help="How many times of each.")] = 5,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Say when schedules fall due next, in UTC and in their own zone; of one that is paused, when it would."""
    import time
    from itertools import islice

    from app import format as fmt
    from sweeps.schedule.document import load_schedules
    from sweeps.schedule.jobs import Shelf
    from sweeps.schedule.rules import iso

    now_ns, root = time.time_ns(), open_root(store)
    found = [(schedule, list(islice(schedule.rule.after(now_ns), n))) for schedule in load_schedules(place)]
    paused = {schedule.name for schedule, _ in found if Shelf(root, schedule.name).paused}
    if json:
        terminal.print_json(
            [{"schedule": one.name, "paused": one.name in paused, "due": [iso(due) for due in times]}
             for one, times in found]
        )  # fmt: skip
        return
    rows = [
        (
            schedule.name,
            fmt.instant(due, schedule.rule.zone),
            "paused" if schedule.name in paused else f"in {fmt.duration((due - now_ns) / 1e9)}",
        )
        for schedule, times in found
        for due in times
    ]
    terminal.print_table(("schedule", "due", ""), rows)


@app.command(
    "list",
    short_help="List jobs and how they ended, the newest first.",
    epilog=examples("quantbot schedule list", "quantbot schedule list sp500 -n 100 --store s3://bucket/quantbot"),
)
def list_jobs(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only of this schedule.")] = "",
    n: Annotated[int, typer.Option("--number", "-n", min=1, help="How many of each.")] = 10,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """List the jobs of every schedule that the store knows, with where their reports are."""
    from app import format as fmt
    from quantbot.errors import NotFoundError
    from quantbot.parameters import nearest
    from sweeps.schedule.jobs import Shelf, schedule_names

    root = open_root(store)
    names = schedule_names(root)
    if name and name not in names:
        known = ", ".join(names) or "none yet"
        raise NotFoundError(f"no schedule {name!r} in {root.url}; there is {known}{nearest(name, names)}")
    jobs = [job for one in names if name in ("", one) for job in reversed(Shelf(root, one).jobs()[-n:])]
    rows = [(job, job.state, _report(job)) for job in jobs]
    if json:
        terminal.print_json(
            [{"schedule": job.schedule, "due_ns": job.due_ns, "due": job.key, "state": state, "report": report}
             for job, state, report in rows]
        )  # fmt: skip
        return
    if not rows:
        terminal.say(f"{root.url} has no job yet; `quantbot schedule run` makes them as they fall due")
        return
    terminal.print_table(
        ("schedule", "due", "state", "report"),
        [(job.schedule, fmt.instant(job.due_ns), state, report or "none yet") for job, state, report in rows],
    )


@app.command(
    "run",
    short_help="Do what falls due; for ever, or once.",
    epilog=examples(
        "quantbot schedule run                               a service: looks twice a minute till it is ended",
        "quantbot schedule run --once                        one look: for cron, or a Kubernetes CronJob",
        "quantbot schedule run night.toml --once --now --drive   try one at once",
        "quantbot schedule run schedules --drive --workers 4  drives the runs itself, where there is no runner",
    ),
)
def run(
    place: Place = _PLACE,
    once: Annotated[bool, typer.Option("--once", help="Look once and leave.")] = False,
    now: Annotated[
        bool, typer.Option("--now", help="With --once: count this moment as a due time, to try it.")
    ] = False,
    drive: Annotated[
        bool, typer.Option("--drive", help="Drive the runs here; without, they wait for `quantbot runner`.")
    ] = False,
    workers: Workers = None,
    threads: Threads = 1,
    processes: Processes = True,
    serial: Serial = False,
    scheduler: Scheduler = None,
    tls: Annotated[
        str | None, typer.Option("--tls", metavar="DIR", help="Certificates to show a tls:// scheduler.")
    ] = None,
    poll: Annotated[
        float, typer.Option("--poll", min=0.1, max=3600, metavar="SECONDS", help="Between two looks.")
    ] = 30.0,
    store: StoreUrl = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Do what falls due: refresh data, submit runs, wait for them (or drive them), and write the morning reports.

    Each due time is one job, however many schedulers are alive, and a job whose scheduler was killed goes on. Files are
    read again before every look. With --once, ends with exit code 3 when a job that ended did so with a failure.
    """
    from app.scheduling import make_hands
    from app.sweeping import Cluster
    from quantbot.errors import InputError, NotFoundError
    from sweeps.schedule.document import load_schedules
    from sweeps.schedule.scheduler import lines_of, serve, tick

    if now and not once:
        raise InputError("--now goes with --once: a service would count every look as a due time")
    root = open_root(store)
    cluster = Cluster(workers, threads, processes, scheduler, serial, tls) if drive else None
    hands = make_hands(root, cluster)
    if not once:
        try:
            load_schedules(place)  # a broken file is refused at the start; later, the last good ones go on
        except NotFoundError as error:
            if not place.is_dir():
                raise
            _say(f"{error}; looking again every {poll:g} s")
        try:
            serve(root, lambda: load_schedules(place), hands, threading.Event(), say=_say, poll_seconds=poll)
        except KeyboardInterrupt:  # SIGTERM is one too: how a service ends
            _say("ended; the next scheduler goes on with what is open")
        return
    done = tick(root, load_schedules(place), hands, at_once=now)
    if json:
        terminal.print_json(
            {
                "made": [_job(job) for job in done.made],
                "finished": [_job(job) | {"outcome": outcome} for job, outcome in done.finished],
                "waiting": [_job(job) | {"for": waits} for job, waits in done.waiting],
                "troubles": done.troubles,
            }
        )
    else:
        for line in [*lines_of(done), *(f"{job.schedule}: {job.key} waits: {waits}" for job, waits in done.waiting)]:
            terminal.say(line)
        if not (done.made or done.finished or done.waiting or done.troubles):
            terminal.say("nothing is due")
    for trouble in done.troubles:
        terminal.note(f"error: {trouble}")
    if done.troubles or any(outcome != "ok" for _, outcome in done.finished):
        raise typer.Exit(ExitCode.SOME_FAILED)


@app.command("pause", short_help="Let a schedule rest.", epilog=examples("quantbot schedule pause sp500"))
def pause(name: Name, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Let a schedule rest: nothing of it falls due till `resume`; jobs that are open are finished."""
    from sweeps.submission import _user

    shelf = _known(name, store)
    shelf.pause(_user(), shelf.root.now_ns())
    _said(name, f"{name} is paused; `quantbot schedule resume {name}` ends that", paused=True, json=json)


@app.command("resume", short_help="Let a paused schedule go on.", epilog=examples("quantbot schedule resume sp500"))
def resume(name: Name, store: StoreUrl = DEFAULT_STORE, json: Json = False) -> None:
    """Let a paused schedule go on from now; what would have been due meanwhile is left out."""
    shelf = _known(name, store)
    shelf.resume(shelf.root.now_ns())
    _said(name, f"{name} falls due again", paused=False, json=json)


def _said(name: str, sentence: str, *, paused: bool, json: bool) -> None:
    if json:
        terminal.print_json({"schedule": name, "paused": paused})
    else:
        terminal.say(sentence)


def _known(name: str, store: str) -> Any:
    from quantbot.errors import NotFoundError
    from quantbot.parameters import nearest
    from sweeps.schedule.jobs import Shelf, schedule_names

    root = open_root(store)
    names = schedule_names(root)
    if name not in names:
        known = ", ".join(names) or "none yet"
        raise NotFoundError(f"no schedule {name!r} in {root.url}; there is {known}{nearest(name, names)}")
    return Shelf(root, name)


def _say(line: str) -> None:
    from datetime import UTC, datetime

    terminal.say(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}")


def _report(job: Job) -> str:
    return f"{job.root.url}/{job.report_key}" if job.root.exists(job.report_key) else ""


def _job(job: Job) -> dict[str, Any]:
    return {"schedule": job.schedule, "due": job.key, "due_ns": job.due_ns}


def _document(schedule: Schedule) -> dict[str, Any]:
    return {
        "schedule": schedule.name,
        "title": schedule.title,
        "rule": str(schedule.rule),
        "zone": schedule.rule.zone,
        "refreshes": [entry.dataset for entry in schedule.refreshes],
        "runs": [each.spec.name for each in schedule.runs],
        "pins": [getattr(each.entry, "name", "") for each in schedule.pins],
    }
