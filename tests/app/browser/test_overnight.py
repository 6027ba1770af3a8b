"""The Overnight page in a real browser: calendar, last status, trend, report; and names that would act are text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from schedules import Clock, Vendor, hands, write_refresh, write_schedule

from app.scheduling import publish
from datasets.store import open_store
from sweeps.schedule.document import load_schedules
from sweeps.schedule.jobs import Shelf
from sweeps.schedule.rules import ns_of
from sweeps.schedule.scheduler import tick

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>[x](javascript:alert(3))**b**$x$"
LONG = "W" * 200
FOLDER, STRATEGY = "<img src=x onerror=alert(5)>", "s" * 100  # a strategy's file has no other signs than its function
TURNED = "\u202e<b onclick=alert(4)>dessecorp"
NIGHTS = [f"2026-03-{day:02}T23:30Z" for day in (2, 3, 4, 5, 6)]
# What a name could have made of the page: elements that act, and attributes.
ACTING = """() => [...document.querySelectorAll('*')].filter(each =>
    each.matches('[data-testid=stMain] script, img[src=x], a[href^="javascript:"]')
    || [...each.attributes].some(one => one.name.startsWith('on') && one.value.includes('alert'))).length"""


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with a week of a sweep whose every name is hostile, and of a refresh with a long title."""
    folder = tmp_path_factory.mktemp("nights")
    root, clock = open_store(folder / "store"), Clock(ns_of("2026-03-01T12:00Z"))
    when = 'after_close = "XNYS"\ndelay = "1h"'
    place = {"calendar": "XNYS", "zone": "America/New_York"}
    file = write_schedule(folder / "schedules", "ny", when=when, **place)
    text = file.read_text().replace('"ny overnight"', f"'{EVIL}'").replace('"the one we trade"', f"'{EVIL}'")
    file.write_text(text.replace("retries = 1", "retries = 0"))
    long = write_refresh(folder / "schedules", "a" * 64, when=when, **place)
    long.write_text(long.read_text().replace("version = 1\n", f'version = 1\ntitle = "{LONG}"\n', 1))
    own = folder / "schedules" / "specs"
    (own / FOLDER).mkdir()
    (own / FOLDER / f"{STRATEGY}.py").write_text(
        "from quantbot.parameters import integer\nfrom quantbot.strategies.contract import strategy\n\n\n"
        f"@strategy(parameters=[integer('fast', 3, 1, 99, {EVIL!r}), integer('slow', 8, 1, 99, {LONG!r})])\n"
        f"def {STRATEGY}(close: float, fast: float, slow: float, position: float) -> float:\n"
        f'    """{EVIL}"""\n'
        "    return 1.0 if close * fast > 100.0 * fast else 0.0\n"
    )
    spec = own / "ny.toml"
    named = f"'{FOLDER}/{STRATEGY}.py:{STRATEGY}'\nplain_python = true"
    spec.write_text(spec.read_text().replace('"sma_cross"', named))
    vendors = [Vendor("XNYS", "America/New_York", folder / "schedules" / f"{name}.csv", seed)
               for seed, name in enumerate(("ny", "a" * 64), 5)]  # fmt: skip
    work = hands(root, clock, publish=publish)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("N_DRAWS", "_SPA_DRAWS"):
            patch.setattr(f"sweeps.assessment.{name}", 100)
        schedules = load_schedules(folder / "schedules")
        for moment in ("2026-03-01T13:00Z", *NIGHTS):
            clock.set(moment)
            for vendor in vendors:
                vendor.write(clock.ns)
            if moment == NIGHTS[-1]:  # a vendor's file may say anything
                rows = vendors[0].path.read_text().splitlines()
                vendors[0].path.write_text("\n".join([*rows[:-1], f"{TURNED},1,1,1,1,1"]) + "\n")
            done = tick(root, schedules, work)
            assert done.troubles == ()
    return root.url


def test_overnight__shows_calendar_status_trend_and_report(
    page: Any, serve: Callable[[str], str], nights: str, tmp_path: Path
) -> None:
    asked = list[str]()
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    url = serve(nights)
    page.goto(f"{url}/overnight")
    main = page.get_by_test_id("stMain")

    # Every name stands there as it was written, and the newest job, which failed, says why.
    row = main.locator(".st-key-schedule-ny")
    row.get_by_text(EVIL, exact=True).wait_for()
    assert main.locator(f".st-key-schedule-{'a' * 64}").get_by_text(LONG, exact=True).is_visible()
    row.get_by_text("failed").wait_for()
    said = main.get_by_text("could not be refreshed").first.inner_text()
    assert "<b onclick=alert(4)>dessecorp" in said
    assert "\u202e" not in main.inner_text()
    chart = main.get_by_label(re.compile("^Jobs of 2 schedules: 1 failed, 9 all done"))
    chart.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert page.evaluate(ACTING) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400

    # The calendar leads to the night before, whose trend has every night so far.
    done = chart.locator(".scatterlayer .trace").nth(1)  # after what failed: five of the refresh, then the sweep's
    box = done.locator(".point").nth(5).bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url(re.compile(r"due=20260305T220000Z"))
    main.get_by_text("Nothing failed.").wait_for()
    main.get_by_label(re.compile("^Best .* of ny over 4 jobs")).locator(".main-svg").first.wait_for()
    assert page.evaluate(ACTING) == 0
    for tab in ("Pins (1)", "Data (1)", "Cost"):
        main.get_by_role("radio", name=tab).or_(main.get_by_role("button", name=tab)).first.click()
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        page.wait_for_timeout(200)
        assert page.get_by_test_id("stException").count() == 0
        assert page.get_by_text("failed unexpectedly").count() == 0
        assert page.evaluate(ACTING) == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 1400

    # Its report is the one in the store, and acts as little.
    with page.expect_download() as saved:
        main.get_by_test_id("stDownloadButton").filter(has_text="Report").click()
    report = Path(saved.value.path()).read_text(encoding="utf-8")
    job = next(job for job in Shelf(open_store(nights), "ny").jobs() if job.key == "20260305T220000Z")
    assert report == job.root.get(job.report_key).decode()
    page.set_content(report)
    page.get_by_role("heading", name=EVIL).wait_for()
    assert page.evaluate(ACTING) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400
    page.wait_for_timeout(300)
    assert asked == []
