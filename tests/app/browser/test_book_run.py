"""From the surface of a run on order books to a trial, to the book at one of its fills, and back, in a real browser."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.store import open_store
from sweeps.executors import serial
from sweeps.run import drive

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]
_spec = importlib.util.spec_from_file_location("book_runs", Path(__file__).parents[2] / "sweeps" / "test_book_runs.py")
assert _spec is not None
assert _spec.loader is not None
runs: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(runs)


def settled(page: Any) -> None:
    """Wait until the script that the last action asked for has run, and what it drew is there."""
    page.wait_for_timeout(100)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.get_by_test_id("stSpinner").first.wait_for(state="detached")
    page.wait_for_timeout(200)
    assert page.get_by_text("failed unexpectedly").count() == 0


def told(page: Any) -> tuple[int, int]:
    """Return which fill the Book page explains, and how many there are."""
    found = re.search(r"Fill ([\d,]+) of ([\d,]+): (bought|sold)", page.get_by_text(re.compile("^Fill ")).inner_text())
    assert found
    return int(found[1].replace(",", "")), int(found[2].replace(",", ""))


def moment(page: Any) -> int:
    found = re.search(r"b\.t=(\d+)", page.url)
    assert found
    return int(found[1])


def test_fill__is_found_from_the_surface_explained_on_the_book_and_led_back_from(
    page: Any, serve: Callable[[str], str], tmp_path: Path
) -> None:
    root = open_store(tmp_path / "store")
    runs.write_books(root)
    identity = runs.submitted(root)
    with serial() as executor:
        drive(root, identity, executor)
    page.goto(f"{serve(str(tmp_path / 'store'))}/surface?run={identity}")
    page.locator("canvas.over[data-ready]").first.wait_for()
    settled(page)
    page.get_by_role("link", name=re.compile("Open (best|plateau)")).first.click()
    page.wait_for_url(re.compile("/trial"))
    page.get_by_text("equals the stored row bit for bit").wait_for()
    settled(page)
    trial = page.url
    page.get_by_role("radio", name="Fills").or_(page.get_by_role("button", name="Fills")).first.click()
    page.get_by_text("Choose a fill to open the book there.").wait_for()
    settled(page)
    table = page.get_by_test_id("stDataFrame").first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    page.mouse.click(box["x"] + 16, box["y"] + 35 + 35 + 17)  # the second row: below the head and the first
    page.get_by_role("link", name="Book at this fill").click()
    page.wait_for_url(re.compile("/book.*b.t="))
    settled(page)
    fill, n_fills = told(page)
    assert fill == 2
    assert n_fills > 3
    second = moment(page)
    page.get_by_label(re.compile("^Depth of ")).first.wait_for()
    page.get_by_label(re.compile(r"^Ladder at ")).first.wait_for()

    page.get_by_role("button", name="Next fill").click()
    page.wait_for_url(re.compile(rf"b\.t=(?!{second})\d+"))
    settled(page)
    assert told(page)[0] == 3
    assert moment(page) > second
    page.get_by_role("button", name="Previous fill").click()
    page.wait_for_url(re.compile(rf"b\.t={second}"))
    settled(page)
    assert told(page) == (2, n_fills)

    page.get_by_role("link", name="Back to the trial").click()
    page.wait_for_url(re.compile("/trial"))
    page.get_by_text("equals the stored row bit for bit").wait_for()
    assert re.findall(r"trial=\d+", page.url) == re.findall(r"trial=\d+", trial)
