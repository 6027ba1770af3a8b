"""The Risk page in a real browser: of a finished run, of uploaded files, and the way there and back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]
Shown = tuple[str, dict[str, str]]


def settled(page: Any) -> None:
    """Wait until the script that the last action asked for has run, and what it drew is there."""
    page.wait_for_timeout(100)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.get_by_test_id("stSpinner").first.wait_for(state="detached")
    page.wait_for_timeout(200)


def part(page: Any, name: str) -> None:
    """Open a part of the page, and wait until it is there."""
    page.get_by_role("radio", name=name, exact=True).or_(
        page.get_by_role("button", name=name, exact=True)
    ).first.click()
    page.wait_for_url(re.compile(r"r\.part=" + re.sub(" ", "(\\\\+|%20)", name)))
    settled(page)
    assert page.get_by_test_id("stException").count() == 0
    assert page.get_by_text("failed unexpectedly").count() == 0


def drawn(page: Any, words: str) -> None:
    """Wait for a chart whose alternative text begins so."""
    page.get_by_label(re.compile(f"^{words}")).first.wait_for()
    page.locator(".js-plotly-plot .main-svg").first.wait_for()


def test_risk__of_a_finished_run_answers_where_it_comes_from(page: Any, shown: Shown) -> None:
    url, identities = shown
    page.goto(f"{url}/trial?run={identities['weights']}&trial=1")
    page.get_by_text("equals the stored row bit for bit").wait_for()
    page.get_by_test_id("stMain").get_by_role("link", name="Risk", exact=True).click()  # not the navigation's
    page.wait_for_url(re.compile(r"/risk\?.*trial=1"))
    drawn(page, "Parts of CVaR: ")
    page.get_by_text("The parts sum to CVaR").wait_for()
    for name, words in (
        ("Through time", "CVaR through time"), ("Frontier", "Frontier of mean return"), ("Stress", "Shocks: "),
        ("Weights", "Weights through time"), ("Profit", "Profit by source"), ("Drawdowns", "Who made this drawdown"),
    ):  # fmt: skip
        part(page, name)
        drawn(page, words)
    link = page.url
    other = page.context.browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    other.goto(link)
    drawn(other, "Who made this drawdown")
    other.context.close()


@pytest.mark.slow
def test_risk__of_uploaded_files_shows_the_same_page(page: Any, shown: Shown, tmp_path: Path) -> None:
    url, _ = shown
    values = 0.01 * np.random.default_rng(1).standard_normal((150, 3))
    days = np.datetime64("2025-01-01") + np.arange(150)
    rows = [f"{day},{','.join(f'{value:.6f}' for value in row)}" for day, row in zip(days, values, strict=True)]
    returns, held = tmp_path / "returns.csv", tmp_path / "held.csv"
    returns.write_text("\n".join(["date,AAA,BBB,CCC", *rows]))
    held.write_text("asset,weight\nAAA,0.7\nBBB,-0.2\n")
    page.goto(f"{url}/risk?r.from=files")
    inputs = page.locator("input[type=file]")
    inputs.first.set_input_files(str(returns))
    page.get_by_text("an equal share of each asset is shown").wait_for()
    inputs.last.set_input_files(str(held))
    page.get_by_text("held.csv").first.wait_for()
    settled(page)
    drawn(page, "Parts of CVaR: ")
    page.get_by_text(re.compile("90.%.*50.%")).first.wait_for()  # gross and net
    part(page, "Frontier")
    drawn(page, "Frontier of mean return")
