"""The page of runs: one of them in full, what failed and how to run it again, stopping, a locked holdout."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("pages_tests", Path(__file__).with_name("test_pages.py"))
assert _spec is not None
assert _spec.loader is not None
pages: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)
launch, words = pages.launch, pages.words
Stored = tuple[str, dict[str, str]]


def told(app: Any) -> str:
    text: str = words(app).replace("\u00a0", " ")
    return text


def test_details__group_failures_by_reason_with_their_first_point(
    monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "runs", run=identities["failing"])
    table = app.dataframe[0].value
    assert table["trials"].sum() == 6
    assert "returned NaN" in table["reason"][0]
    assert "window=15, depth=0.02" in table["first point"].tolist()
    assert "9 trials with a row" in told(app)
    assert "6 failed" in told(app)


def test_details__retry_fills_the_form_with_exactly_what_failed(
    monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    url, identities = stored
    monkeypatch.chdir(Path(url).parent)  # where the strategy's file lies
    app = launch(monkeypatch, url, "runs", run=identities["failing"])
    app.button(key="details.retry").click().run()
    assert not app.exception
    spec = tomllib.loads(app.text_area(key="n.toml").value)
    assert spec["parameters"] == {"window": {"values": [15, 20, 25]}, "depth": {"values": [0.02, 0.03]}}
    assert spec["run"]["name"] == "failing-retry"
    assert next(metric.value for metric in app.metric if metric.label == "Trials") == "6"


@pytest.mark.parametrize(
    ("name", "state", "number"),
    [("locked", "locked", 24), ("halved", "not promoted", None), ("partial", "not run yet", 16)],
)  # fmt: skip
def test_details__tell_the_ways_of_having_no_row_apart(
    monkeypatch: pytest.MonkeyPatch, stored: Stored, name: str, state: str, number: int | None
) -> None:
    url, identities = stored
    text = told(launch(monkeypatch, url, "runs", run=identities[name]))
    others = {"locked", "not promoted", "not run yet"} - {state}
    assert f"{state} (" in text
    assert number is None or f"{number} {state} (" in text
    assert not any(f"{other} (" in text for other in others)


def test_details__of_a_run_that_is_gone_say_so_above_the_others(
    monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    text = told(launch(monkeypatch, stored[0], "runs", run="0" * 64))
    assert "there is no run" in text
    assert "runs in" in text


def test_details__offer_the_report_of_the_run(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    from app import reads, reads_runs

    url, identities = stored
    launch(monkeypatch, url, "runs", run=identities["two"])
    mark = reads.mark_of(reads.status(identities["two"]))
    assert reads_runs.report(identities["two"], mark).startswith("<!doctype html>")


def test_details__open_from_a_row_and_close(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "runs")
    app.button(key=f"open-{identities['two']}").click().run()
    assert app.query_params["run"] == identities["two"]
    app.button(key="details.close").click().run()
    assert "run" not in app.query_params
    assert not app.exception


def test_stop__asks_once_and_says_what_is_kept(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    from dataclasses import replace

    from app import reads

    url, identities = stored
    identity = identities["partial"]
    stopped: list[str] = []
    known = listed(url)
    running = [replace(run, status=replace(run.status, state="running")) if run.identity == identity else run
               for run in known]  # fmt: skip
    monkeypatch.setattr(reads, "runs", lambda: running)
    monkeypatch.setattr(reads, "stop", stopped.append)
    app = launch(monkeypatch, url, "runs")
    app.button(key=f"stop-{identity}").click().run()
    assert not stopped
    assert "All of its 20 finished trials stay" in told(app)
    app.button(key=f"yes-{identity}").click().run()
    assert stopped == [identity]
    assert "Stop it?" not in told(app)


def listed(url: str) -> list[Any]:
    from datasets.store import open_store
    from sweeps.status import list_runs

    return list_runs(open_store(url))


def test_look__at_a_locked_holdout_shows_at_once_what_was_hidden(
    monkeypatch: pytest.MonkeyPatch, stored: Stored, store_of: Callable[[str], str]
) -> None:
    from sweeps import open_run

    url, identity = store_of(stored[0]), stored[1]["locked"]
    app = launch(monkeypatch, url, "trial", run=identity, trial="30")
    assert "Locked: this trial tests a holdout" in told(app)
    assert "sweep unlock" in told(app)
    open_run(url, identity).unlock("Ada Lovelace")
    import time

    time.sleep(1.0)  # looks are asked for once a second
    app.run()
    assert "Locked" not in told(app)
    assert "equals the stored row bit for bit" in told(app)
