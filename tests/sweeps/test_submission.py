"""Submitting is writing down: once per identity, found by name, driven by whoever comes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from datasets.store import Store, open_store
from quantbot.errors import InputError, NotFoundError
from sweeps.executors import serial
from sweeps.results import list_runs, open_run, run_status
from sweeps.run import drive
from sweeps.runstore import RunStore
from sweeps.spec import parse_spec
from sweeps.submission import cancel, driver_log, start_driver, submit


def named(small: Any, name: str, **more: Any) -> dict[str, Any]:
    return {**small.spec, "run": {"name": name}, **more}


def test_submit_twice__is_one_run_with_its_first_plan_and_both_names(root: Store, small: Any) -> None:
    first = small.submit(root, named(small, "one"), points=16)
    before = {key: root.get(key) for key in root.list(f"runs/{first}/")}
    second = small.submit(root, named(small, "two"), points=3)
    assert second == first
    assert all(root.get(key) == data for key, data in before.items())
    assert sorted(RunStore(root, first).labels()) == ["one", "two"]
    assert [run.identity for run in list_runs(root)] == [first]
    assert open_run(root, "one").identity == open_run(root, "two").identity == first


def test_submit__writes_the_source_and_computes_nothing(root: Store, small: Any) -> None:
    identity = submit(parse_spec(small.spec), root)
    keys = [key.split("/", 2)[2] for key in root.list(f"runs/{identity}/")]
    assert [key for key in keys if "/" not in key] == ["plan.json", "request.json", "sources.json"]
    assert not [key for key in keys if key.startswith(("blocks/", "lease/"))]
    assert b"sma_cross" in root.get(f"runs/{identity}/sources.json")
    status = run_status(root, identity)
    assert (status.state, status.n_done, status.note) == ("waiting", 0, "nobody has started it yet")


def test_list__shows_each_run_with_its_state_newest_first(root: Store, small: Any) -> None:
    assert list_runs(root) == []
    old = small.submit(root, named(small, "old"))
    time.sleep(0.01)
    new = small.submit(root, named(small, "new", parameters={"fast": 5, "slow": {"values": [20, 30]}}, search={}))
    with serial() as executor:
        drive(root, old, executor)
    runs = list_runs(root)
    assert [(run.identity, run.name, run.state) for run in runs] == [(new, "new", "waiting"), (old, "old", "done")]
    assert runs[1].strategy == "sma_cross"
    assert runs[1].axes == ("fast", "slow", "execution.fee_bps")
    assert runs[1].folds == ("all", "train", "test")
    assert runs[1].status.n_done == runs[1].status.n_trials == runs[1].n_points * 6


def test_list__ignores_what_is_half_submitted(root: Store, small: Any) -> None:
    identity = small.submit(root)
    root.delete(f"runs/{identity}/request.json")
    assert list_runs(root) == []
    with pytest.raises(NotFoundError):
        open_run(root, identity)


def test_open__takes_identity_prefix_or_name_and_says_what_there_is(root: Store, small: Any) -> None:
    identity = small.submit(root, named(small, "alpha"))
    for which in (identity, identity[:12], identity[:6], "alpha"):
        assert open_run(root.url, which).identity == identity
    with pytest.raises(NotFoundError, match="did you mean 'alpha'"):
        open_run(root, "alpa")
    with pytest.raises(NotFoundError):
        open_run(root, identity[:5])


def test_open__by_name_takes_the_newest_and_refuses_an_ambiguous_prefix(root: Store, small: Any) -> None:
    small.submit(root, named(small, "same"))
    time.sleep(0.01)
    newest = small.submit(root, named(small, "same", parameters={"fast": 5, "slow": {"values": [20, 30]}}, search={}))
    assert open_run(root, "same").identity == newest
    twin = newest[:6] + "0" * 58
    for key in ("plan.json", "request.json"):
        root.put_new(f"runs/{twin}/{key}", root.get(f"runs/{newest}/{key}"))
    with pytest.raises(InputError, match=r"2 runs begin with .* give more digits"):
        open_run(root, newest[:6])


def test_start_driver__finishes_the_run_without_us(
    root: Store, small: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from quantbot.kernels import cache_dir

    monkeypatch.chdir(tmp_path)  # a driver works from any folder
    identity = small.submit(root)
    pid = start_driver(root.url, identity, workers=1)
    assert pid > 0
    end = time.monotonic() + 90
    while run_status(root, identity).state != "done":
        assert time.monotonic() < end, driver_log(identity).read_text()
        time.sleep(0.2)
    status = run_status(root, identity)
    assert (status.n_done, status.driver) == (status.n_trials, "")
    assert driver_log(identity).is_relative_to(cache_dir())


def test_cancel__before_anybody_drives_is_seen_and_overruled_by_resume(root: Store, small: Any) -> None:
    identity = small.submit(root)
    cancel(root, identity)
    assert run_status(root, identity).state == "cancelled"
    with serial() as executor:
        stopped = drive(root, identity, executor, resume=False)
        assert (stopped.state, stopped.n_computed) == ("cancelled", 0)
        assert drive(root, identity, executor).state == "done"
    assert run_status(root, identity).state == "done"


def test_cancel__wants_a_run(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no run abababababab"):
        cancel(open_store(tmp_path), "ab" * 32)
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        cancel(open_store(tmp_path), "ab")
