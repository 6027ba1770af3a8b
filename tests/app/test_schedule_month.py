"""A month of two exchanges by a clock that tests turn: every job once, a report of each that a person can read."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from schedules import HOUR, Clock, Vendor, hands, write_refresh, write_schedule

from app.scheduling import publish
from datasets.store import open_store
from sweeps.schedule.document import load_schedules
from sweeps.schedule.jobs import Shelf
from sweeps.schedule.rules import between, iso, ns_of
from sweeps.schedule.scheduler import tick

START, END = "2026-03-01T12:00Z", "2026-04-01T04:00Z"
DOWN = ns_of("2026-03-18T06:00Z"), ns_of("2026-03-20T06:00Z")
TORN = ns_of("2026-03-24T12:00Z"), ns_of("2026-03-25T14:00Z")
RULES = {
    "ny": ("XNYS", "America/New_York", 'after_close = "XNYS"\ndelay = "2h"'),
    # Tuesdays and Fridays, so that the month has about thirty jobs in all.
    "ldn": ("XLON", "Europe/London", 'cron = "30 18 * * tue,fri"\nzone = "Europe/Berlin"\nsessions = "XLON"'),
}


def live(folder: Path, write: Any, *, hours: int, first: str) -> tuple[Any, list[tuple[str, str]]]:
    """Let a month go by, a look every few hours: two days without a scheduler, one day with a torn file."""
    root, clock = open_store(folder / "store"), Clock(ns_of(START))
    vendors = {
        name: Vendor(calendar, zone, folder / "schedules" / f"{name}.csv", seed, first=first)
        for seed, (name, (calendar, zone, _)) in enumerate(RULES.items(), 5)
    }
    for name, (calendar, zone, when) in RULES.items():
        write(folder / "schedules", name, calendar=calendar, zone=zone, when=when)
    schedules = load_schedules(folder / "schedules")
    work = hands(root, clock, publish=publish)
    ended: list[tuple[str, str]] = []
    while clock.ns <= ns_of(END):
        if not DOWN[0] <= clock.ns < DOWN[1]:
            if clock.ns > ns_of("2026-03-12T12:00Z"):
                vendors["ny"].restated = {3, 5, 60, 61}
            for name, vendor in vendors.items():
                vendor.write(clock.ns, torn=name == "ny" and TORN[0] < clock.ns < TORN[1])
            done = tick(root, schedules, work)
            assert done.troubles == ()
            ended += [(job.schedule, job.key) for job, _ in done.finished]
        clock.ns += hours * HOUR
    return root, ended


class _Words(HTMLParser):
    """What a page says, and what it would fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.active: list[str] = []
        self._skip = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skip = tag == "style"
        reached = [name for name, value in attrs if name in ("src", "href", "srcset") or name.startswith("on")]
        if tag in ("script", "iframe", "link", "img", "object") or reached:
            self.active.append(tag)

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self.words.append(data)


def check_month(root: Any, ended: list[tuple[str, str]], folder: Path) -> dict[str, list[dict[str, Any]]]:
    records: dict[str, list[dict[str, Any]]] = {}
    for schedule in load_schedules(folder / "schedules"):
        due = list(between(schedule.rule, ns_of(START), ns_of(END)))
        jobs = Shelf(root, schedule.name).jobs()
        assert [job.due_ns for job in jobs] == due  # each once, none left out
        assert sorted(key for name, key in ended if name == schedule.name) == [job.key for job in jobs]
        assert Shelf(root, schedule.name).open_jobs() == []
        records[schedule.name] = [job.read("record.json") or {} for job in jobs]
        for job in jobs:
            text = root.get(job.report_key).decode()
            page = _Words(text)
            said = " ".join(page.words)
            assert page.active == []
            assert iso(job.due_ns)[:10] in said
            assert not re.search(r"\b(nan|None|inf|True|False)\b", said), said
            assert len(text) < 60_000
    return records


def assert_what_happened(records: dict[str, list[dict[str, Any]]], root: Any) -> None:
    assert 28 <= sum(len(each) for each in records.values()) <= 34
    ny = {iso(record["due_ns"])[:10]: record for record in records["ny"]}
    hours = [iso(ny[day]["due_ns"])[11:13] for day in ("2026-03-06", "2026-03-09")]
    assert hours == ["23", "22"]  # the clocks went forward in New York between them
    berlin = {iso(record["due_ns"])[:10]: iso(record["due_ns"])[11:13] for record in records["ldn"]}
    assert (berlin["2026-03-27"], berlin["2026-03-31"]) == ("17", "16")
    assert [day for day, record in ny.items() if record["outcome"] != "ok"] == ["2026-03-24"]
    assert "ny.csv, line" in ny["2026-03-24"]["data"][0]["error"]
    late = [day for day, record in ny.items() if record["made_ns"] - record["due_ns"] > 7 * HOUR]
    assert late == ["2026-03-18", "2026-03-19"]
    restated = [day for day, record in ny.items() if ((record["data"][0]["changes"] or {}).get("n_changed"))]
    assert restated == ["2026-03-12"]
    failed = root.get(f"reports/ny/{Shelf(root, 'ny').jobs()[16].key}.html").decode()
    assert "could not be refreshed in 2 tries" in failed


def test_month__of_refreshes_runs_each_job_once_and_reports_each(tmp_path: Path) -> None:
    root, ended = live(tmp_path, write_refresh, hours=8, first="2026-02-16")
    assert_what_happened(check_month(root, ended, tmp_path), root)


@pytest.mark.slow
def test_month__of_sweeps_watches_their_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("N_DRAWS", "_SPA_DRAWS"):
        monkeypatch.setattr(f"sweeps.assessment.{name}", 100)
    root, ended = live(tmp_path, write_schedule, hours=2, first="2025-10-01")
    records = check_month(root, ended, tmp_path)
    assert_what_happened(records, root)
    for record in [*records["ny"], *records["ldn"]]:
        pin = record["pins"][0]
        if pin["moved"] is not None:
            assert sum(pin["moved"].values()) == pytest.approx(pin["value"] - pin["previous"]["value"], abs=1e-12)
            assert pin["moved"]["code"] == 0.0
    moved = {iso(record["due_ns"])[:10]: (record["pins"][0]["moved"] or {}).get("data") for record in records["ny"]}
    assert [day for day, part in moved.items() if part] == ["2026-03-12"]
    assert len(records["ny"][-1]["runs"][0]["trend"]) == 21  # all but the day without data
