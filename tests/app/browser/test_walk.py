"""What an analyst does of a morning, and the same by keyboard alone."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]
Shown = tuple[str, dict[str, str]]
WALK_S = 60.0  # of clicks, on a machine that has nothing else to do
PIXELS = "canvas => canvas.toDataURL()"
PERIOD = "chart => chart.layout?.xaxis?.range?.map(String) ?? null"


def params(page: Any) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(page.url).query).items()}


def settled(page: Any) -> None:
    """Wait until the script that the last action asked for has run, and what it drew is there."""
    page.wait_for_timeout(100)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.get_by_test_id("stSpinner").first.wait_for(state="detached")
    page.wait_for_timeout(200)


def metric(page: Any, label: str) -> str:
    tile = page.get_by_test_id("stMetric").filter(has_text=label)
    return str(tile.get_by_test_id("stMetricValue").inner_text())


def pixels(page: Any) -> str:
    canvas = page.locator("canvas.over[data-ready]").first
    canvas.wait_for()
    page.mouse.move(2, 2)  # away from the map: what is under the pointer is drawn on it
    return str(page.locator("canvas").first.evaluate(PIXELS))


def colleague(page: Any) -> Any:
    """Return a tab of somebody else, in a browser that has seen nothing."""
    other = page.context.browser.new_context(viewport={"width": 1400, "height": 1000})
    other.set_default_timeout(30_000)
    return other.new_page()


def download(page: Any, label: str) -> Path:
    with page.expect_download() as saved:
        # Not by its name alone: a table's own toolbar has a "Download as CSV", which asks where to.
        ours = page.get_by_test_id("stDownloadButton").filter(has_text=label)
        ours.or_(page.get_by_role("button", name=label, exact=True)).first.click()
    return Path(saved.value.path())


def test_walk__from_a_finished_run_to_its_worst_drawdown_and_out_as_csv(page: Any, shown: Shown) -> None:
    url, _ = shown
    began = time.perf_counter()
    page.goto(url)

    # Find the best plateau of a finished run ...
    page.get_by_role("link", name="three", exact=False).first.click()
    page.wait_for_url(re.compile("/surface"))
    map_seen = pixels(page)
    plateau = metric(page, "Plateau of Sharpe ratio")
    assert re.fullmatch(r"[+\u2212]?\d+\.\d\d", plateau)
    # ... see whether it is luck ...
    deflated, line = metric(page, "Deflated Sharpe"), metric(page, "Luck line")
    assert 0 <= float(deflated) < 0.95
    assert float(line.replace("\u2212", "-")) > float(metric(page, "Best Sharpe ratio").replace("\u2212", "-"))
    page.get_by_text("in the ledger").wait_for()
    surface = page.url
    settled(page)
    page.get_by_role("radio", name="Table").or_(page.get_by_role("button", name="Table")).first.click()
    page.get_by_text("Sort by").first.wait_for()
    settled(page)
    assert len(download(page, "CSV").read_text().splitlines()) == 1 + 18  # this fold of this asset, and the names
    assert download(page, "PNG").read_bytes().startswith(b"\x89PNG")
    page.get_by_role("link", name="Open plateau").click()

    # ... open its worst drawdown ...
    page.wait_for_url(re.compile("/trial"))
    page.get_by_text("equals the stored row bit for bit").wait_for()
    settled(page)
    page.get_by_role("radio", name="Drawdowns").or_(page.get_by_role("button", name="Drawdowns")).first.click()
    chart = page.locator(".js-plotly-plot").first
    whole = chart.evaluate(PERIOD)
    page.get_by_role("button", name="Zoom there").first.click()
    page.wait_for_url(re.compile(r"[?&]t=\d+-\d+"))
    settled(page)
    until = time.perf_counter() + 15  # it is drawn some time after the address
    while (period := chart.evaluate(PERIOD)) in (
        whole,
        None,
    ) and time.perf_counter() < until:
        page.wait_for_timeout(100)
    assert period not in (whole, None)
    clicks = time.perf_counter() - began

    # ... share it: a colleague sees the same surface and the same period of the same trial ...
    other = colleague(page)
    other.goto(surface)
    assert pixels(other) == map_seen
    other.goto(page.url)
    other.get_by_text("equals the stored row bit for bit").wait_for()
    settled(other)
    other.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert other.locator(".js-plotly-plot").first.evaluate(PERIOD) == period
    assert params(other) == params(page)
    other.context.close()

    # ... and take the path home.
    began = time.perf_counter()
    page.get_by_role("radio", name="Export").or_(page.get_by_role("button", name="Export")).first.click()
    page.get_by_text("Copy Python").wait_for()
    settled(page)
    lines = download(page, "CSV").read_text().splitlines()
    clicks += time.perf_counter() - began
    assert "equity" in lines[0]
    assert len(lines) > 100
    print(f"the walk took {clicks:.1f} s")
    assert clicks < WALK_S


def tab_to(page: Any, wanted: str, most: int = 80) -> None:
    """Press Tab until the focus is on what has these words as its name; the page must let it through."""
    for _ in range(most):
        page.keyboard.press("Tab")
        name = page.evaluate(
            """() => { let e = document.activeElement;
                while (e.shadowRoot && e.shadowRoot.activeElement) e = e.shadowRoot.activeElement;
                const own = e.matches('button, a, input, [role=radio]');
                return own ? e.getAttribute('aria-label') || e.innerText : e.tagName }"""
        )
        if wanted in name:
            return
    raise AssertionError(f"{most} presses of Tab did not lead to {wanted!r}; the last was at {name!r}")


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("runs?run={failing}", "Retry these"),
        ("new", "Start sweep"),
        pytest.param("runs", "two", marks=pytest.mark.slow),
        pytest.param("trial?run={two}&trial=3&t.part=Drawdowns", "Zoom there", marks=pytest.mark.slow),
        pytest.param("compare?k.a={two}.3&k.b={two}.9", "Remove", marks=pytest.mark.slow),
        # Of such a row the chosen one; arrows lead on from it.
        pytest.param("data?d.view=findings", "Findings", marks=pytest.mark.slow),
    ],
)
def test_keyboard__reaches_what_a_page_is_for(page: Any, shown: Shown, address: str, wanted: str) -> None:
    url, identities = shown
    page.goto(f"{url}/{address.format(**identities)}")
    page.get_by_text(wanted).first.wait_for()
    settled(page)
    tab_to(page, wanted)
    ring = page.evaluate(
        """() => { let e = document.activeElement; const s = getComputedStyle(e);
            return s.outlineStyle !== 'none' || s.boxShadow !== 'none' || s.backgroundColor !== 'rgba(0, 0, 0, 0)' }"""
    )
    assert ring, "nobody can see where the focus is"
