"""The runs that a job consists of: decided once, after its data were refreshed, and written down before any starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from quantbot.errors import QuantBotError, StoreError
from sweeps.schedule.jobs import Job, Shelf
from sweeps.schedule.pins import pinned_spec

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.events import EventsDataset
    from sweeps.schedule.document import Schedule, ScheduledSpec
    from sweeps.spec import Spec

LOOK_BACK = 60  # jobs before this one that are searched for what it is compared with

Step = Literal["now", "code", "data"]


def make_tasks(job: Job, schedule: Schedule, failed_data: Collection[str]) -> list[dict[str, Any]]:
    """Return the tasks of a job.

    Parameters
    ----------
    failed_data
        Datasets that could not be refreshed: what needs them is left out.

    Returns
    -------
    For each run, pin, and step between a pin's last value and its new one: `kind` ("run" or "pin"), `index` among its
    kind, `step` ("now", or "code" and "data" of a pin), `name`, the file of its `spec`, its `toml` with the version of
    the data in it, `folder`, `data`, and `left_out`: why there is none, empty where there is.
    """
    made = []
    for index, each in enumerate(schedule.runs):
        made.append(_task("run", index, each, schedule, job, failed_data))
    for index, each in enumerate(schedule.pins):
        task = _task("pin", index, each, schedule, job, failed_data)
        made.append(task)
        if not task["left_out"]:
            before = last_pin(job, task["name"])
            made += _steps(job, schedule, each, task, before) if before else []
    return made


def last_pin(job: Job, name: str) -> dict[str, Any] | None:
    """Return what the newest record before a job says of a pin that had a value then."""
    for record in records_before(job):
        for pin in record.get("pins", ()):
            if pin["name"] == name and pin.get("value") is not None:
                return {**pin, "due_ns": record["due_ns"]}
    return None


def records_before(job: Job) -> Iterator[dict[str, Any]]:
    """Yield the records of the jobs before this one, the newest first."""
    earlier = [other for other in Shelf(job.root, job.schedule).jobs() if other.due_ns < job.due_ns]
    for other in reversed(earlier[-LOOK_BACK:]):
        record = other.read("record.json")
        if record is not None:
            yield record


def spec_digest(spec: Spec) -> str:
    """Return the SHA-256 of what identifies a spec, but for the data's version."""
    document = json.loads(spec.canonical())
    document["data"].pop("dataset", None)
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def past_changed(older: Dataset | EventsDataset, newer: Dataset | EventsDataset) -> bool:
    """Return whether anything but bars after the last old one is new: old bars, or what results are scaled with."""
    from datasets.bars import Dataset
    from datasets.changes import changes

    if older.version == newer.version:
        return False
    if not isinstance(older, Dataset) or not isinstance(newer, Dataset):
        return True  # events have no comparison bar by bar: a run tells
    told = ("interval", "periods_per_year", "currency", "multiplier", "zone", "calendar")
    if any(getattr(older.meta, name) != getattr(newer.meta, name) for name in told):
        return True
    return any(
        change.n_changed or change.n_removed or (change.what == "changed" and change.first_ns <= older.end_ns)
        for change in changes(older, newer)
    )


def _task(
    kind: str, index: int, each: ScheduledSpec, schedule: Schedule, job: Job, failed_data: Collection[str]
) -> dict[str, Any]:
    entry, spec = each.entry, each.spec
    name = entry.name if kind == "pin" and entry.name else spec.name
    task: dict[str, Any] = {
        "kind": kind, "index": index, "step": "now", "name": name, "spec": entry.spec, "toml": "", "left_out": "",
        "folder": _relative(each.folder, schedule.folder), "data": {}, "spec_digest": "",
        "priority": getattr(entry, "priority", 0), "engine": spec.run.engine, "objective": spec.objective.metric,
    }  # fmt: skip
    dataset = spec.data.dataset.partition("@")[0]
    if dataset in failed_data:
        return task | {"left_out": f"{dataset} could not be refreshed"}

    def make() -> Spec:
        return pinned_spec(each) if kind == "pin" else spec

    return task | _at_version(job, make, spec.data.dataset)


def _at_version(job: Job, make: Callable[[], Spec], reference: str) -> dict[str, Any]:
    """Return the part of a task that depends on the data: the version in force now is the job's from here on."""
    from datasets.catalog import open_any

    try:
        dataset = open_any(reference, job.root)
        spec = make()
        told = {"name": dataset.name, "version": dataset.version, "kind": dataset.kind, "end_ns": dataset.end_ns}
        base = reference.partition("@")[0]
        versioned = _versioned(spec, f"{base}@{dataset.version}")
        return {"toml": versioned.to_toml(), "data": told, "spec_digest": spec_digest(spec)}
    except StoreError:
        raise
    except QuantBotError as error:
        return {"left_out": f"{type(error).__name__}: {error}"}


def _steps(
    job: Job, schedule: Schedule, each: ScheduledSpec, task: dict[str, Any], before: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the runs between a pin's last value and its new one, as many as can differ."""
    from datasets.catalog import open_any
    from sweeps.plan import make_plan

    if before["spec_digest"] != task["spec_digest"]:
        return []  # the pin itself is another: there is nothing to compare
    base = each.spec.data.dataset.partition("@")[0]
    old = f"{base}@{before['data']['version']}"
    made = []
    try:
        older = open_any(old, job.root)
        again = _versioned(pinned_spec(each), old)
        # The same point on the same data is the same run, unless engine, strategy or a library is another.
        if make_plan(again, job.root, probe=False).identity != before["identity"]:
            made.append(task | {"step": "code", "toml": again.to_toml()})
        newer = open_any(f"{base}@{task['data']['version']}", job.root)
        if past_changed(older, newer):
            cut = _versioned(pinned_spec(each, end_ns=older.end_ns), f"{base}@{task['data']['version']}")
            made.append(task | {"step": "data", "toml": cut.to_toml()})
    except StoreError:
        raise
    except QuantBotError:  # the old version is gone, or the new code refuses it: the move stays whole
        return made
    return made


def _versioned(spec: Spec, dataset: str) -> Spec:
    return spec.model_copy(update={"data": spec.data.model_copy(update={"dataset": dataset})})


def _relative(folder: Path, base: Path) -> str:
    try:
        return folder.relative_to(base).as_posix()
    except ValueError:
        return str(folder)
