"""The bucket's policies: each role may do what the code does in that role, and no more than it must."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.store import Store, open_store
from datasets.store_file import FileStore

POLICIES = Path(__file__).parents[2] / "infra" / "policies"
ROLES = ("ingest", "worker", "runner", "app", "schedule", "reader", "gc")
BUCKET = "arn:aws:s3:::quantbot"
ACTIONS = {
    "put_new": "s3:PutObject", "put": "s3:PutObject", "get": "s3:GetObject", "exists": "s3:GetObject",
    "size": "s3:GetObject", "modified_ns": "s3:GetObject", "delete": "s3:DeleteObject", "list": "s3:ListBucket",
    "folders": "s3:ListBucket",
}  # fmt: skip
DAY_NS = 86_400 * 10**9


def statements(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((POLICIES / f"{name}.json").read_text())["Statement"]
    return found


def holds(statement: dict[str, Any], action: str, key: str, *, new: bool, tls: bool = True) -> bool:
    """Return whether a statement speaks of a request."""
    resource = BUCKET if action == "s3:ListBucket" else f"{BUCKET}/store/{key}"
    actions, resources = statement["Action"], statement["Resource"]
    if not any(fnmatchcase(action, each) for each in ([actions] if isinstance(actions, str) else actions)):
        return False
    if not any(fnmatchcase(resource, each) for each in ([resources] if isinstance(resources, str) else resources)):
        return False
    for test, wanted in statement.get("Condition", {}).items():
        for name, value in wanted.items():
            given = {"s3:if-none-match": not new, "aws:SecureTransport": tls}
            if test in ("Null", "Bool"):
                if given[name] is not (value == "true"):
                    return False
            elif test == "StringLike" and name == "s3:prefix":
                if not any(fnmatchcase(f"store/{key}", each) for each in value):
                    return False
            else:
                raise AssertionError(f"the test does not know {test} {name}")
    return True


def allowed(role: str, action: str, key: str, *, new: bool = False, tls: bool = True) -> bool:
    """Decide as S3 does: a Deny of the bucket, else an Allow of the role."""
    request = {"new": new, "tls": tls}
    if any(holds(each, action, key, **request) for each in statements("bucket")):
        return False
    return any(holds(each, action, key, **request) for each in statements(role))


@contextmanager
def recorded(patch: pytest.MonkeyPatch, root: Path) -> Iterator[set[tuple[str, str]]]:
    """Note every operation of stores below `root` while inside, with its key from the root."""
    seen: set[tuple[str, str]] = set()
    with patch.context() as inner:
        for name in ACTIONS:
            plain = getattr(FileStore, name)

            def note(
                self: FileStore, key: str = "", *rest: Any, _plain: Any = plain, _name: str = name, **more: Any
            ) -> Any:
                place = Path(self._root)
                if place.is_relative_to(root):
                    seen.add((_name, f"{place.relative_to(root).as_posix()}/{key}".removeprefix("./")))
                return _plain(self, key, *rest, **more)

            inner.setattr(FileStore, name, note)
        yield seen


def write_market(root: Store) -> None:
    from datasets.bars import BarColumns, BarsMeta, write_bars

    close = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, 300)))
    columns = BarColumns((12_000 + np.arange(300)) * DAY_NS, close, close, close, close, np.full(300, 1.0))
    write_bars(root, "test/one", {"AAA": columns}, BarsMeta("One", "tests", "1d", 252.0, synthetic=True), {})


SPEC = """version = 1
run = { name = "roles" }
data = { dataset = "test/one" }
strategy = { name = "sma_cross" }
parameters = { fast = { values = [3, 5, 8] }, slow = { values = [20, 30] } }
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[str, str]]]:
    """What each role did to a store in a run from data to a read surface."""
    from sweeps.executors import serial
    from sweeps.plan import make_plan
    from sweeps.results import list_runs, open_run
    from sweeps.service.runner import Runner
    from sweeps.spec import parse_spec
    from sweeps.submission import cancel, resume, submit
    from sweeps.task import run_block

    folder = tmp_path_factory.mktemp("store")
    root = open_store(folder)
    found: dict[str, set[tuple[str, str]]] = {}
    with pytest.MonkeyPatch.context() as patch:
        with recorded(patch, folder) as found["ingest"]:
            write_market(root)
        with recorded(patch, folder) as found["app"]:
            spec = parse_spec(SPEC)
            identity = submit(spec, root, plan=make_plan(spec, root, block_points=2, probe=False))
            cancel(root, identity)
            resume(root, identity)
        with recorded(patch, folder) as found["worker"]:
            run_block(root.url, identity, 0)
        with recorded(patch, folder) as found["runner"]:
            # Its own process computes nothing elsewhere; here it stands for the driver and its workers.
            Runner(root, serial, name="one").run(once=True)
        found["schedule"] = _scheduled(patch, root, folder, tmp_path_factory.mktemp("schedules"))
        with recorded(patch, folder) as found["reader"]:
            list_runs(root)
            open_run(root, identity).surface("sharpe")
    assert open_run(root, identity).status.state == "done"
    return found


def _scheduled(patch: pytest.MonkeyPatch, root: Store, folder: Path, place: Path) -> set[tuple[str, str]]:
    """Return what a scheduler did to a store for one job, whose runs a runner drove."""
    from schedules import Vendor, write_schedule

    from app.scheduling import make_hands
    from sweeps.executors import serial
    from sweeps.schedule.document import load_schedules
    from sweeps.schedule.rules import ns_of
    from sweeps.schedule.scheduler import tick
    from sweeps.service.runner import Runner

    write_schedule(place, "ny", calendar="XNYS", zone="America/New_York", when='after_close = "XNYS"')
    Vendor("XNYS", "America/New_York", place / "ny.csv", 5).write(ns_of("2026-03-06T22:00Z"))
    schedules, hands = load_schedules(place), make_hands(root, None)
    with recorded(patch, folder) as first:
        assert tick(root, schedules, hands, at_once=True).waiting
    Runner(root, serial, name="two").run(once=True)
    with recorded(patch, folder) as second:
        assert [outcome for _, outcome in tick(root, schedules, hands).finished] == ["ok"]
    return first | second


@pytest.mark.slow
@pytest.mark.parametrize("role", ["ingest", "app", "worker", "runner", "schedule", "reader"])
def test_role__may_do_what_the_code_does_in_it(role: str, done: dict[str, set[tuple[str, str]]]) -> None:
    assert len(done[role]) > 5
    refused = [
        (name, key) for name, key in sorted(done[role]) if not allowed(role, ACTIONS[name], key, new=name == "put_new")
    ]
    assert not refused


@pytest.mark.parametrize(
    ("role", "action", "key", "new"),
    [
        ("worker", "s3:DeleteObject", "runs/a/blocks/1.rows", False),
        ("worker", "s3:PutObject", "runs/a/blocks/1.rows", False),  # over what may be there
        ("worker", "s3:PutObject", "runs/a/manifest.json", True),
        ("worker", "s3:PutObject", "datasets/a/v=1/x", True),
        ("worker", "s3:PutObject", "queue/a.json", True),
        ("runner", "s3:PutObject", "runs/a/blocks/1.rows", False),
        ("runner", "s3:PutObject", "runs/a/manifest.json", False),
        ("runner", "s3:PutObject", "datasets/a/v=1/x", True),
        ("runner", "s3:DeleteObject", "datasets/a/v=1/x", False),
        ("runner", "s3:DeleteObject", "runs/a/request.json", False),
        ("app", "s3:PutObject", "runs/a/blocks/1.rows", True),
        ("app", "s3:PutObject", "runs/a/manifest.json", True),
        ("app", "s3:PutObject", "datasets/a/v=1/x", True),
        ("app", "s3:DeleteObject", "runs/a/blocks/1.rows", False),
        ("app", "s3:DeleteObject", "audit/1.json", False),
        ("schedule", "s3:PutObject", "runs/a/blocks/1.rows", True),
        ("schedule", "s3:PutObject", "runs/a/manifest.json", True),
        ("schedule", "s3:DeleteObject", "schedules/a/jobs/b/job.json", False),
        ("schedule", "s3:DeleteObject", "datasets/a/v=1/x", False),
        ("reader", "s3:PutObject", "queue/a.json", True),
        ("reader", "s3:DeleteObject", "runs/a/cancel.json", False),
        ("ingest", "s3:PutObject", "runs/a/blocks/1.rows", True),
        ("ingest", "s3:DeleteObject", "datasets/a/v=1/x", False),
        ("gc", "s3:PutObject", "runs/a/blocks/1.rows", True),
        ("gc", "s3:DeleteObject", "datasets/a/v=1/x", False),
        ("gc", "s3:DeleteObject", "audit/1.json", False),
    ],
)
def test_role__may_not(role: str, action: str, key: str, new: bool) -> None:
    assert not allowed(role, action, key, new=new)


@pytest.mark.parametrize("role", ROLES)
def test_role__speaks_tls_and_is_told_of_what_is_missing(role: str) -> None:
    assert not allowed(role, "s3:GetObject", "runs/a/plan.json", tls=False)
    # Without it a missing key is "forbidden", and nobody could tell one from the other.
    assert any("s3:ListBucket" in each["Action"] for each in statements(role))
    for each in statements(role):
        assert each["Effect"] == "Allow"
        for resource in [each["Resource"]] if isinstance(each["Resource"], str) else each["Resource"]:
            assert re.fullmatch(r"arn:aws:s3:::quantbot(/store/.+)?", resource)
