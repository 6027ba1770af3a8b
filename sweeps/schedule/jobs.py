"""The objects of schedules and their jobs: who writes which key, and what it means that one is there.

    schedules/<name>/schedule.json      what the last scheduler read: title, rule, text; for whoever shows it
                     since.json         from when on times count; what was due before is nobody's
                     paused.json        somebody paused it
                     open/<due>         a job that isn't finished yet: what schedulers look for
                     jobs/<due>/job.json            the job, put-if-absent: one due time is one job, whoever saw it
                                lease/<number>.json who works at it (`sweeps.lease`)
                                refresh/<i>.<try>.json   what each try of an ingest came to
                                tasks.json          the runs that it consists of, each with its spec and data version
                                submitted/<i>.json  the run that became of each, or why none did
                                ended/<i>.json      how each ended
                                record.json         the morning report as plain values
                                webhook/<try>.json  what each try to post it came to
                                done.json           the end
    reports/<name>/<due>.html           the morning report for people

Everything of a job is put-if-absent and derived from what was put before, so that whoever takes it up goes on where
the last one was killed; and sealed (`datasets.seals`), so that what was changed or put elsewhere is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from datasets.seals import seal, unseal
from quantbot.errors import CorruptError, InputError, NotFoundError
from sweeps.lease import lease_state
from sweeps.runstore import to_json
from sweeps.schedule.rules import NS

if TYPE_CHECKING:
    from datasets.store import Store

SCHEDULES, REPORTS = "schedules", "reports"
_KEY = re.compile(r"\d{8}T\d{6}Z")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

JobState = Literal["waiting", "running", "interrupted", "ok", "partial", "failed"]


def due_key(due_ns: int) -> str:
    """Return a due time as a key that sorts by time.

    Examples
    --------
    >>> due_key(1_773_093_600 * NS)
    '20260309T220000Z'
    """
    return f"{datetime.fromtimestamp(due_ns // NS, UTC):%Y%m%dT%H%M%SZ}"


def due_of(key: str) -> int:
    """Return the due time of such a key, ns UTC."""
    if not _KEY.fullmatch(key):
        raise InputError(f"a due time looks like 20260309T220000Z, was {key!r:.80}")
    return int(datetime.strptime(key, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()) * NS


@dataclass(frozen=True)
class Job:
    """One due time of a schedule, in the store `root`."""

    root: Store
    schedule: str
    due_ns: int

    @property
    def key(self) -> str:
        """The due time as a key."""
        return due_key(self.due_ns)

    @property
    def store(self) -> Store:
        """The job's own objects."""
        return self.root.child(self._folder)

    @property
    def report_key(self) -> str:
        """Where its report for people is."""
        return f"{REPORTS}/{self.schedule}/{self.key}.html"

    def read(self, key: str) -> dict[str, Any] | None:
        """Return one of its objects, None where there is none."""
        return read_json(self.root, f"{self._folder}/{key}")

    def put_first(self, key: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Write an object unless there is one; return what stands there then."""
        place = f"{self._folder}/{key}"
        self.root.put_new(place, seal(to_json(document), place))
        stands = self.read(key)
        if stands is None:
            raise CorruptError(f"{self.root.url}/{place} was written, and is not there")
        return stands

    @property
    def _folder(self) -> str:
        return f"{SCHEDULES}/{self.schedule}/jobs/{self.key}"

    @property
    def state(self) -> JobState:
        """Where it stands, from its objects alone."""
        done = self.read("done.json")
        if done is not None:
            outcome: JobState = done.get("outcome", "failed")
            return outcome
        lease = lease_state(self.store)
        if lease.alive:
            return "running"
        return "interrupted" if lease.number and not lease.released else "waiting"


@dataclass(frozen=True)
class Shelf:
    """The objects of one schedule in the store `root`."""

    root: Store
    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"no schedule can be called {self.name!r:.100}")

    @property
    def store(self) -> Store:
        """The schedule's own objects."""
        return self.root.child(f"{SCHEDULES}/{self.name}")

    def job(self, due_ns: int) -> Job:
        """Return the job of a due time, whether there is one or not."""
        return Job(self.root, self.name, due_ns)

    def jobs(self) -> list[Job]:
        """Return every job that there is, oldest first."""
        return [self.job(due_of(key)) for key in self.store.folders("jobs/") if _KEY.fullmatch(key)]

    def open_jobs(self) -> list[Job]:
        """Return the jobs that aren't finished, oldest first."""
        keys = [key.removeprefix("open/") for key in self.store.list("open/")]
        return [self.job(due_of(key)) for key in keys if _KEY.fullmatch(key)]

    def add(self, due_ns: int, document: dict[str, Any]) -> bool:
        """Make the job of a due time; return False where somebody made it before.

        Killed between the job and its mark that it is open, the next look marks it (`mark`): it is the newest then.
        """
        made = self._put_new(f"jobs/{due_key(due_ns)}/job.json", document)
        self.mark(self.job(due_ns))
        return made

    def mark(self, job: Job) -> None:
        """Count a job among the open ones, unless it is finished."""
        if not job.store.exists("done.json"):
            self.store.put_new(f"open/{job.key}", b"")

    def forget_mark(self, job: Job) -> None:
        """Take a job off the open ones: it is finished, or never was."""
        self.store.delete(f"open/{job.key}")

    def since_ns(self, now_ns: int) -> int:
        """Return from when on times count: when the first scheduler saw it, or when it was resumed."""
        self._put_new("since.json", {"since_ns": now_ns})
        return int((self.read("since.json") or {}).get("since_ns", now_ns))

    @property
    def paused(self) -> bool:
        """Whether nothing falls due until it is resumed."""
        return self.store.exists("paused.json")

    def pause(self, who: str, now_ns: int) -> None:
        """Let nothing fall due; open jobs are finished."""
        self._put("paused.json", {"who": who, "at_ns": now_ns})

    def resume(self, now_ns: int) -> None:
        """Let it fall due again, from now on: what was due meanwhile is nobody's."""
        self._put("since.json", {"since_ns": now_ns})
        self.store.delete("paused.json")

    def show(self, document: Mapping[str, Any]) -> None:
        """Let pages and other machines see what a scheduler has read, if it is another than before."""
        try:
            if self.read("schedule.json") == json.loads(to_json(document)):
                return
        except CorruptError:  # shown for people alone: the next look mends it
            pass
        self._put("schedule.json", document)

    def read(self, key: str) -> dict[str, Any] | None:
        """Return one of its objects, verified, None where there is none."""
        return read_json(self.root, f"{SCHEDULES}/{self.name}/{key}")

    def _put(self, key: str, document: Mapping[str, Any]) -> None:
        place = f"{SCHEDULES}/{self.name}/{key}"
        self.root.put(place, seal(to_json(document), place))

    def _put_new(self, key: str, document: Mapping[str, Any]) -> bool:
        place = f"{SCHEDULES}/{self.name}/{key}"
        return self.root.put_new(place, seal(to_json(document), place))


def schedule_names(root: Store) -> list[str]:
    """Return the names of all schedules that a scheduler has seen, sorted."""
    return [name for name in root.folders(f"{SCHEDULES}/") if _NAME.fullmatch(name)]


def read_json(root: Store, key: str) -> dict[str, Any] | None:
    """Return a sealed object as a mapping, verified, None where there is none."""
    where = f"{root.url}/{key}"
    try:
        document = json.loads(unseal(root.get(key), key, where))
    except NotFoundError:
        return None
    except ValueError as error:
        raise CorruptError(f"{where} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise CorruptError(f"{where} must be a JSON object")
    return document
