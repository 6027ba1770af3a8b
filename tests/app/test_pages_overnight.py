"""The Overnight page and the morning report: what changed, what failed, and nothing that a name could break."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
from schedules import Clock, Vendor, hands, write_schedule

from app import morning
from app.morning_report import morning_report
from app.scheduling import publish
from datasets.store import open_store
from sweeps.schedule.document import load_schedules
from sweeps.schedule.jobs import Shelf
from sweeps.schedule.rules import ns_of
from sweeps.schedule.scheduler import tick

_spec = importlib.util.spec_from_file_location("pages_tests", Path(__file__).with_name("test_pages.py"))
assert _spec is not None
assert _spec.loader is not None
pages: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)
launch = pages.launch
NASTY = "<script>alert(1)</script> **x** [a](javascript:b) $\\\\href{c}{d}$"


def told(app: Any) -> str:
    text: str = pages.words(app).replace("\u00a0", " ")
    return text


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with three nights of a sweep and a pin: the first, one on which a conclusion fell, one without data."""
    folder = tmp_path_factory.mktemp("nights")
    root, clock = open_store(folder / "store"), Clock(ns_of("2026-03-01T12:00Z"))
    file = write_schedule(folder / "schedules", "ny", calendar="XNYS", zone="America/New_York",
                          when='after_close = "XNYS"\ndelay = "2h"')  # fmt: skip
    text = file.read_text().replace('"the one we trade"', f"'{NASTY}'").replace("retries = 1", "retries = 0")
    file.write_text(text.replace("total_return > 0.0", "sharpe > -1.075"))  # -1.0777 on the first night, then -1.0726
    vendor = Vendor("XNYS", "America/New_York", folder / "schedules" / "ny.csv", 5)
    work = hands(root, clock, publish=publish)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("N_DRAWS", "_SPA_DRAWS"):
            patch.setattr(f"sweeps.assessment.{name}", 100)
        for moment in ("2026-03-01T13:00Z", "2026-03-02T23:30Z", "2026-03-03T23:30Z", "2026-03-04T23:30Z"):
            clock.set(moment)
            vendor.write(clock.ns, torn=moment.startswith("2026-03-04"))
            tick(root, load_schedules(folder / "schedules"), work)
    return str(folder / "store")


def record_of(url: str, index: int) -> dict[str, Any]:
    return Shelf(open_store(url), "ny").jobs()[index].read("record.json") or {}


def test_page__opens_with_the_newest_job_and_its_failure(monkeypatch: pytest.MonkeyPatch, nights: str) -> None:
    text = told(launch(monkeypatch, nights, "overnight"))
    assert "1 schedule in" in text
    assert "2026-03-04 23:00 UTC (18:00 EST)" in text
    assert "sim/ny could not be refreshed in 1 try" in text
    assert "no scheduler has taken it up" in text  # these nights are long gone


def test_page__shows_the_job_of_its_address_with_what_changed(monkeypatch: pytest.MonkeyPatch, nights: str) -> None:
    app = launch(monkeypatch, nights, "overnight", schedule="ny", due="20260303T230000Z")
    text = told(app)
    assert "sharpe > -1.075 holds now; moved by the market (new bars)" in text
    assert "Nothing failed." in text
    assert dict(app.query_params.items()) == {"schedule": "ny", "due": "20260303T230000Z"}
    app.button(key="o.before").click().run()
    assert "The first report: there is nothing to compare with." in told(app)


@pytest.mark.parametrize("due", ["20260303T230000Z", pytest.param("20260304T230000Z", marks=pytest.mark.slow)])
def test_page__has_every_part_of_a_job(monkeypatch: pytest.MonkeyPatch, nights: str, due: str) -> None:
    app = launch(monkeypatch, nights, "overnight", schedule="ny", due=due)
    for tab in ("Pins", "Data", "Cost"):
        app.session_state["o.tab"] = tab
        app.run()
        assert not app.exception
        assert not app.error
        assert "nan" not in told(app).lower().split()


def test_page__says_when_a_link_leads_nowhere(monkeypatch: pytest.MonkeyPatch, nights: str) -> None:
    assert "is not among the newest" in told(launch(monkeypatch, nights, "overnight", schedule="ny", due="x"))


def test_page__pauses_and_resumes_a_schedule(monkeypatch: pytest.MonkeyPatch, nights: str, tmp_path: Path) -> None:
    url = str(tmp_path / "copy")
    shutil.copytree(nights, url)
    app = launch(monkeypatch, url, "overnight")
    app.button(key="Pause-ny").click().run()
    assert Shelf(open_store(url), "ny").paused
    app.button(key="Resume-ny").click().run()
    assert not Shelf(open_store(url), "ny").paused


def test_report__shows_names_and_errors_as_text(nights: str) -> None:
    record = record_of(nights, 2)
    record["title"] = record["data"][0]["error"] = NASTY
    text = morning_report(record)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "http" not in text
    record["title"] = record["runs"][0]["name"] = "\u202eup \u20666 % \x1b[2J" + 200 * "W"
    text = morning_report(record)
    assert text.count("&lt;U+202E>up &lt;U+2066>6 % &lt;U+001B>[2J") >= 3
    assert not set("\u202e\u2066\x1b") & set(text)


def test_report__is_the_same_bytes_for_the_same_record(nights: str) -> None:
    job = Shelf(open_store(nights), "ny").jobs()[1]
    assert job.root.get(job.report_key).decode() == morning_report(record_of(nights, 1))


def test_report__tells_best_last_best_and_drift(nights: str) -> None:
    record = record_of(nights, 1)
    text = morning_report(record).replace("\u00a0", " ")
    run, pin = record["runs"][0], record["pins"][0]
    assert (
        run["previous"]["value_now"] == pytest.approx(run["best"]["value"])
        or run["best"]["point"] != (run["previous"]["best"]["point"])
    )
    assert pin["moved"] is not None
    for words in ("What changed", "Drift watch", "Last best now", "luck line", "Cost"):
        assert words in text
    assert morning.summary(record)["changed"] == morning.changes(record)


def test_summary__is_small_and_plain(nights: str) -> None:
    import json

    for index in range(3):
        assert len(json.dumps(morning.summary(record_of(nights, index)))) < 5_000
