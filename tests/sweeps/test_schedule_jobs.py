"""What falls due becomes one job, whoever sees it and whoever is killed meanwhile; and every job leaves its record."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from schedules import HOUR, Clock, Vendor, hands, write_refresh, write_schedule
from store_faults import WRITES, StoreFaults

from datasets.store import Store, open_store
from quantbot.errors import CorruptError, OutageError, RunError
from sweeps.schedule.document import Schedule, load_schedules
from sweeps.schedule.jobs import Job, Shelf, due_of
from sweeps.schedule.rules import NS, between, iso, ns_of
from sweeps.schedule.scheduler import Ticked, missed, serve, tick
from sweeps.schedule.steps import Hands, refresh_tries

NY = 'after_close = "XNYS"\ndelay = "2h"'
SHORT = 0.05  # seconds of a lease


class Killed(BaseException):
    """The process ends here, as by SIGKILL: no store is told anything more."""


def dead(*_: str) -> BaseException:
    """End the scheduler's own thread; the one that renews its lease only finds no store any more."""
    return Killed() if threading.current_thread() is threading.main_thread() else OutageError("dead")


class World:
    """A folder of schedules, a store, and a clock."""

    def __init__(self, folder: Path, start: str, *, n_days: int = 20) -> None:
        self.root: Store = open_store(folder / "store")
        self.folder = folder / "schedules"
        self.clock = Clock(ns_of(start))
        self.vendors: list[Vendor] = []
        self.n_days = n_days

    def vendor(self, name: str, calendar: str, zone: str, seed: int = 5) -> Vendor:
        made = Vendor(calendar, zone, self.folder / f"{name}.csv", seed, first="2026-02-02")
        self.vendors.append(made)
        return made

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        return load_schedules(self.folder)

    def tick(self, **more: Any) -> Ticked:
        return tick(self.root, self.schedules, hands(self.root, self.clock, **more))

    def jobs(self, name: str) -> list[Job]:
        return Shelf(self.root, name).jobs()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A schedule that refreshes New York's bars each session, first seen on Sunday 1 March."""
    made = World(tmp_path, "2026-03-01T12:00Z")
    write_refresh(made.folder, "ny", calendar="XNYS", zone="America/New_York", when=NY)
    made.vendor("ny", "XNYS", "America/New_York").write(made.clock.ns)
    made.tick()
    return made


def turn(world: World, to: str) -> None:
    world.clock.set(to)
    for vendor in world.vendors:
        vendor.write(world.clock.ns)


def test_tick__makes_no_job_of_what_was_due_before_the_schedule_was_seen(world: World) -> None:
    assert world.jobs("ny") == []


def test_tick__makes_each_due_time_one_job_and_finishes_it(world: World) -> None:
    turn(world, "2026-03-02T23:30Z")
    first, second = world.tick(), world.tick()
    assert [iso(job.due_ns) for job in first.made] == ["2026-03-02T23:00:00Z"]
    assert [outcome for _, outcome in first.finished] == ["ok"]
    assert (second.made, second.finished) == ((), ())
    record = world.jobs("ny")[0].read("record.json")
    assert record is not None
    assert record["data"][0]["end_ns"] == ns_of("2026-03-02T21:00Z")


def test_tick__at_once_makes_a_job_of_now_after_what_was_due_before(world: World) -> None:
    turn(world, "2026-03-02T23:30Z")
    done = tick(world.root, world.schedules, hands(world.root, world.clock), at_once=True)
    assert [iso(job.due_ns) for job in done.made] == ["2026-03-02T23:00:00Z", "2026-03-02T23:30:00Z"]
    assert [outcome for _, outcome in done.finished] == ["ok", "ok"]


@pytest.mark.parametrize(("policy", "days"), [
    ('policy = "all"', ["03", "04", "05"]), ('policy = "last"', ["05"]), ('policy = "all"\nlimit = 2', ["04", "05"]),
])  # fmt: skip
def test_catch_up__takes_what_the_policy_says_and_records_what_it_leaves(
    world: World, policy: str, days: list[str]
) -> None:
    write_refresh(world.folder, "ny", calendar="XNYS", zone="America/New_York", when=NY,
                  more=f"[catch_up]\n{policy}")  # fmt: skip
    turn(world, "2026-03-02T23:30Z")
    world.tick()
    turn(world, "2026-03-05T23:30Z")
    done = world.tick()
    assert [job.key[6:8] for job in done.made] == days
    record = done.made[0].read("record.json")
    assert record is not None
    assert (record["left_out"] or {"n": 0})["n"] == 3 - len(days)
    assert world.tick().made == ()


def test_missed__counts_what_it_leaves_without_holding_it(world: World) -> None:
    text = (world.folder / "ny.toml").read_text().replace(NY, 'cron = "* * * * *"\nzone = "UTC"')
    (world.folder / "ny.toml").write_text(text)
    start = ns_of("2026-03-01T00:00Z")
    taken, n_left, first = missed(world.schedules[0], start, start + 10 * 24 * HOUR)
    assert (len(taken), n_left, first) == (10, 10 * 24 * 60 - 10, start + 60 * NS)


def test_refresh__that_fails_is_tried_again_and_then_given_up(world: World) -> None:
    world.clock.set("2026-03-02T23:05Z")
    world.vendors[0].write(world.clock.ns, torn=True)
    done = world.tick()
    assert "tried again at 2026-03-02T23:35:00Z" in done.waiting[0][1]
    world.clock.set("2026-03-02T23:36Z")
    done = world.tick()
    job, outcome = done.finished[0]
    assert outcome == "failed"
    assert len(refresh_tries(job, 0)) == 2
    record = job.read("record.json")
    assert record is not None
    assert record["data"][0]["error"].startswith("DataError: ny.csv, line ")


def test_refresh__that_fails_once_is_mended_by_the_next_try(world: World) -> None:
    world.clock.set("2026-03-02T23:05Z")
    world.vendors[0].write(world.clock.ns, torn=True)
    world.tick()
    turn(world, "2026-03-02T23:40Z")
    job, outcome = world.tick().finished[0]
    record = job.read("record.json")
    assert record is not None
    assert (outcome, record["data"][0]["n_tries"]) == ("ok", 2)


def test_schedulers__two_alive_do_each_job_once(world: World) -> None:
    published: list[str] = []

    def publish(job: Job, _: Any) -> None:
        time.sleep(0.01)
        if job.root.put_new(job.report_key, b"<p>"):
            published.append(job.key)

    def work() -> None:
        for hour in range(30, 100, 2):
            clock = Clock(world.clock.ns + hour * HOUR)
            tick(world.root, schedules, hands(world.root, clock, publish=publish))

    schedules = world.schedules
    world.vendors[0].write(ns_of("2026-03-06T00:00Z"))
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tick(world.root, schedules, hands(world.root, Clock(world.clock.ns + 100 * HOUR), publish=publish))
    assert sorted(published) == [job.key for job in world.jobs("ny")]
    assert [key[6:8] for key in sorted(published)] == ["02", "03", "04"]
    assert [job.state for job in world.jobs("ny")] == ["ok"] * 3
    assert all(len(job.store.list("refresh/")) == 1 for job in world.jobs("ny"))


def test_job__killed_at_any_write_goes_on_to_the_same_record(world: World) -> None:
    """Before every odd and after every even write of its scheduler; the next one finds the lease ended."""
    turn(world, "2026-03-03T12:00Z")
    schedules = world.schedules

    def work(clock: Clock) -> Ticked:
        def publish(job: Job, record: Any) -> None:
            job.root.put_new(job.report_key, repr(sorted(record)).encode())

        return tick(world.root, schedules, hands(world.root, clock, publish=publish, ttl_seconds=SHORT))

    with StoreFaults(operations=WRITES, matching="", nth=None) as counted:
        work(Clock(world.clock.ns))
    n_writes = counted.n
    assert n_writes > 8
    told = world.jobs("ny")[0].read("record.json")
    day = 0
    for moment in ("before", "after"):
        for nth in range(1 + (moment == "after"), n_writes + 1, 2):
            day += 1
            due = list(between(schedules[0].rule, world.clock.ns, world.clock.ns + 24 * HOUR * 400))[day - 1]
            clock = Clock(due + HOUR)
            faults = StoreFaults(nth, moment, forever=True, operations=WRITES,  # type: ignore[arg-type]
                                 error=dead)  # fmt: skip
            try:
                with faults:
                    work(clock)
            except Killed:
                time.sleep(SHORT * 1.2)
            work(clock)
            job = Shelf(world.root, "ny").job(due)
            assert job.state == "ok", (moment, nth)
            record = job.read("record.json")
            assert record is not None
            assert sorted(record) == sorted(told or {})
            assert job.root.exists(job.report_key)
            assert Shelf(world.root, "ny").open_jobs() == []
    assert len(world.jobs("ny")) == day + 1


def test_job__that_was_tampered_with_is_an_error_and_no_other_schedules_trouble(world: World) -> None:
    write_refresh(world.folder, "ldn", calendar="XLON", zone="Europe/London", when='after_close = "XLON"')
    world.vendor("ldn", "XLON", "Europe/London")
    turn(world, "2026-03-02T08:00Z")
    world.tick()
    turn(world, "2026-03-02T23:30Z")
    vendor = world.vendors[1]
    vendor.path.write_text("torn")
    world.tick()  # London waits for its next try
    job = world.jobs("ldn")[0]
    body = job.store.get("job.json").replace(b"ldn overnight", b"LDN overnight").replace(b"XLON", b"XNYS")
    job.store.put("job.json", body)
    turn(world, "2026-03-03T23:30Z")
    done = world.tick()
    assert [one.schedule for one, _ in done.finished] == ["ny"]
    assert "job.json is not what was written" in done.troubles[0]
    with pytest.raises(CorruptError, match=r"job\.json"):
        job.read("job.json")


def test_pause__lets_nothing_fall_due_and_resume_goes_on_from_then(world: World) -> None:
    shelf = Shelf(world.root, "ny")
    shelf.pause("ada", world.clock.ns)
    turn(world, "2026-03-04T23:30Z")
    assert world.tick().made == ()
    shelf.resume(world.clock.ns)
    turn(world, "2026-03-05T23:30Z")
    assert [job.key[:8] for job in world.tick().made] == ["20260305"]


def test_serve__outlives_a_broken_file_and_a_store_that_is_down(world: World) -> None:
    said: list[str] = []
    stop = threading.Event()
    good = world.schedules
    states = iter([good, RunError("broken"), good, None])
    turn(world, "2026-03-02T23:30Z")
    work = hands(world.root, world.clock)

    def read() -> Any:
        state = next(states)
        if isinstance(state, Exception):
            raise state
        if state is None:
            stop.set()
            return good
        return state

    with StoreFaults(3, operations=WRITES):
        serve(world.root, read, work, stop, say=said.append, poll_seconds=0.01)
    assert any("schedules can't be read, the last ones go on: broken" in line for line in said)
    assert any(line.startswith("OutageError: injected") for line in said)
    assert "ny: job of 2026-03-02T23:00:00Z ended ok" in said


def test_keys__of_due_times_are_read_back() -> None:
    assert iso(due_of("20260309T220000Z")) == "2026-03-09T22:00:00Z"


# ---------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def first_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A schedule with a sweep and a pin, on Monday 2 March after its first job."""
    folder = tmp_path_factory.mktemp("first")
    made = World(folder, "2026-03-01T12:00Z")
    write_schedule(made.folder, "ny", calendar="XNYS", zone="America/New_York", when=NY)
    made.vendor("ny", "XNYS", "America/New_York").write(made.clock.ns)
    made.tick()
    turn(made, "2026-03-02T23:30Z")
    made.tick()
    return folder


@pytest.fixture
def swept(first_job: Path, tmp_path: Path) -> World:
    """That schedule and its store, to go on with."""
    shutil.copytree(first_job, tmp_path / "world")
    made = World(tmp_path / "world", "2026-03-02T23:30Z")
    made.vendor("ny", "XNYS", "America/New_York")
    return made


def record_of(world: World, day: str) -> dict[str, Any]:
    job = next(job for job in world.jobs("ny") if job.key.startswith(day))
    found = job.read("record.json")
    assert found is not None
    return found


def test_drift__splits_a_move_into_code_data_and_market(swept: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts add up, and a cause that wasn't there has exactly 0."""
    first = record_of(swept, "20260302")["pins"][0]
    assert first["moved"] is None
    swept.vendors[0].restated = {2, 3, 5, 8, 9, 12}
    _pretend_new_engine(monkeypatch)
    turn(swept, "2026-03-03T23:30Z")
    swept.tick()
    record = record_of(swept, "20260303")
    pin = record["pins"][0]
    assert pin["moved"]["code"] == 0.0  # the same rows, from what counts as another engine
    assert pin["moved"]["data"] != 0.0
    assert sum(pin["moved"].values()) == pytest.approx(pin["value"] - first["value"], abs=1e-12)
    assert record["runs"][0]["changed"] == ["engine", "old data", "new data"]
    assert record["data"][0]["changes"]["n_changed"] == 6
    job = next(job for job in swept.jobs("ny") if job.key.startswith("20260303"))
    steps = [task["step"] for task in (job.read("tasks.json") or {})["tasks"]]
    assert steps == ["now", "now", "code", "data"]


def _pretend_new_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sweeps.identity", "sweeps.task", "sweeps.blocks"):
        try:
            monkeypatch.setattr(f"{module}.engine_source_digest", lambda: "0" * 64)
        except AttributeError:
            continue


def test_job__without_new_data_takes_what_is_there(swept: World) -> None:
    swept.clock.set("2026-03-03T23:30Z")  # the vendor has written nothing
    swept.tick()
    record = record_of(swept, "20260303")
    assert [run["reused"] for run in [*record["runs"], *record["pins"]]] == [True, True]
    assert record["cost"]["core_seconds"] == 0
    assert (record["runs"][0]["changed"], record["conclusions"]) == ([], [])


def test_job__whose_data_failed_leaves_out_what_needs_them_and_compares_with_the_one_before(swept: World) -> None:
    swept.clock.set("2026-03-03T23:30Z")
    swept.vendors[0].write(swept.clock.ns, torn=True)
    swept.tick()
    swept.clock.set("2026-03-04T00:30Z")
    swept.tick()
    failed = record_of(swept, "20260303")
    assert failed["outcome"] == "failed"
    assert failed["runs"][0]["state"] == "left out"
    turn(swept, "2026-03-04T23:30Z")
    swept.tick()
    record = record_of(swept, "20260304")
    assert record["runs"][0]["previous"]["due_ns"] == ns_of("2026-03-02T23:00Z")
    assert record["pins"][0]["previous"]["due_ns"] == ns_of("2026-03-02T23:00Z")
    assert record["data"][0]["changes"]["n_added"] == 2


def test_job__waits_for_a_runner_and_reports_what_is_there_when_its_time_is_over(swept: World) -> None:
    turn(swept, "2026-03-03T23:30Z")
    waiting = Hands(now_ns=swept.clock)
    done = tick(swept.root, swept.schedules, waiting)
    assert "2 of its runs, till 2026-03-04T11:30:00Z" in done.waiting[0][1]
    swept.clock.set("2026-03-04T12:00Z")
    job, outcome = tick(swept.root, swept.schedules, waiting).finished[0]
    record = job.read("record.json")
    assert record is not None
    assert (outcome, record["runs"][0]["state"]) == ("failed", "unfinished")
    assert record["runs"][0]["error"] == "not finished within 12 h"


def test_job__whose_run_fails_says_why(swept: World) -> None:
    from contextlib import nullcontext

    def refuse(identity: str) -> None:
        raise RunError("block 0 could not be computed: ValueError: no")

    turn(swept, "2026-03-03T23:30Z")
    work = Hands(now_ns=swept.clock, driving=lambda: nullcontext(refuse))
    job, outcome = tick(swept.root, swept.schedules, work).finished[0]
    record = job.read("record.json")
    assert record is not None
    assert outcome == "failed"  # though the data are fresh
    assert record["runs"][0]["error"] == "RunError: block 0 could not be computed: ValueError: no"
