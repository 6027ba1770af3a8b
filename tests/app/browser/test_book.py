"""The Book page in a real browser: any moment of a session, from event to event, and the same picture from a link."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.events import EventsMeta
from datasets.events_writer import EventsWriter
from datasets.store import open_store

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]
_spec = importlib.util.spec_from_file_location("book_pages", Path(__file__).parents[1] / "test_pages_book.py")
assert _spec is not None
assert _spec.loader is not None
pages: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)


def moment(page: Any) -> int:
    found = re.search(r"b\.t=(\d+)", page.url)
    assert found
    return int(found[1])


def settled(page: Any) -> None:
    """Wait until the script that the last action asked for has run, and what it drew is there."""
    page.wait_for_timeout(100)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.get_by_test_id("stSpinner").first.wait_for(state="detached")
    page.wait_for_timeout(200)
    assert page.get_by_text("failed unexpectedly").count() == 0


def test_book__walks_from_event_to_event_and_a_link_shows_the_same(
    page: Any, serve: Callable[[str], str], tmp_path: Path
) -> None:
    url = str(tmp_path / "store")
    with EventsWriter(open_store(url), "test/book", EventsMeta("A book", "test", synthetic=True)) as writer:
        writer.add(pages.quotes("AAA"))
        writer.finish()
    at = pages.START + 5 * 10**9
    base = serve(url)
    page.goto(f"{base}/book?b.t={at}")
    picture = page.get_by_label(re.compile("^Depth of AAA: the middle goes from")).first
    picture.wait_for()
    page.get_by_label(re.compile(r"^Ladder at 2024-01-02 14:30:05\.000 000 000: best bid")).first.wait_for()
    settled(page)
    page.get_by_role("button", name="Next event").click()
    page.wait_for_url(re.compile(f"b.t={at + pages.LATE}"))
    settled(page)
    page.get_by_label(re.compile(r"^Ladder at 2024-01-02 14:30:05\.000 250 000: best bid")).first.wait_for()
    page.locator(".js-plotly-plot .scatterlayer .trace .points path").nth(2).click(force=True)  # a trade: go there
    page.wait_for_url(re.compile(rf"b\.t=(?!{at + pages.LATE})\d+"))
    settled(page)
    assert (moment(page) - pages.START - pages.LATE) % (10 * 50_000_000) == 9 * 50_000_000
    link = page.url
    other = page.context.browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    other.goto(link)
    other.get_by_label(re.compile("^Depth of AAA")).first.wait_for()
    assert moment(other) == moment(page)
    other.context.close()
