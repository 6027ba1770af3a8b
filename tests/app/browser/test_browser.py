"""What only a browser can show: a sweep from the form to its surface, a reload in the middle, a click on a cell."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]


def params(page: Any) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(page.url).query).items()}


def settle(page: Any) -> None:
    """Wait until the script that the last action asked for has run, and what it drew is there."""
    page.wait_for_timeout(100)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.get_by_test_id("stSpinner").first.wait_for(state="detached")
    page.wait_for_timeout(200)


def fill(page: Any, label: str, text: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(text)
    field.press("Enter")
    settle(page)


def pick(page: Any, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).first.click()
    page.get_by_role("option", name=option, exact=True).click()
    settle(page)


def wait_for_map(page: Any) -> None:
    page.locator("canvas.over[data-ready]").first.wait_for()


def click_cell(page: Any, column: int, row: int) -> None:
    """Click the middle of a cell of the map, counted from the lower left."""
    wait_for_map(page)
    over = page.locator("canvas.over").first
    place = over.evaluate(
        """(canvas, [column, row]) => {
            const [x, y, w, h] = canvas.dataset.plot.split(",").map(Number), box = canvas.getBoundingClientRect();
            return [box.x + x + (column + 0.5) * w / canvas.dataset.nx,
                    box.y + y + h - (row + 0.5) * h / canvas.dataset.ny];
        }""",
        [column, row],
    )
    page.mouse.move(place[0] - 3, place[1] - 3)
    page.mouse.click(*place)


def test_sweep__goes_from_the_form_to_a_finished_surface_over_reloads(
    page: Any, serve: Callable[[str], str], fresh_store: str
) -> None:
    url = serve(fresh_store)
    page.goto(f"{url}/new")
    page.get_by_text("What it will cost").wait_for()
    settle(page)
    fill(page, "Name of the run", "from-the-form")
    pick(page, "How fast varies", "list")
    fill(page, "fast", "3, 5, 8")
    pick(page, "How slow varies", "list")
    fill(page, "slow", "10, 20, 30, 40")
    page.get_by_text("12 points x 1 fold x 2 assets").wait_for()
    assert "fast = { values = [3, 5, 8] }" in page.get_by_test_id("stCode").first.inner_text()
    page.get_by_role("button", name="Start sweep").dblclick()

    # Runs shows it; a reload in the middle, in a session of its own, finds it again.
    page.wait_for_url(re.compile("/runs"))
    page.get_by_role("link", name="from-the-form").wait_for()
    identity = params(page)["run"]
    page.reload()
    page.get_by_role("link", name="from-the-form").wait_for()
    page.get_by_text(re.compile("1 run in .*")).wait_for()
    page.get_by_text(re.compile("1 run in .*: 1 done")).wait_for(timeout=60_000)  # no click: the page looks by itself

    page.get_by_role("link", name="from-the-form").click()
    page.wait_for_url(re.compile("/surface"))
    page.get_by_text("24 of 24 trials done, 0 failed").wait_for()
    wait_for_map(page)
    assert params(page)["run"] == identity


def test_click__on_a_cell_opens_its_trial_and_the_way_back_keeps_the_view(
    page: Any, shown: tuple[str, dict[str, str]]
) -> None:
    url, identities = shown
    page.goto(f"{url}/surface?run={identities['three']}&s.m=max_drawdown&s.x=fast&s.y=slow&s.at.execution.fee_bps=10")
    settle(page)
    click_cell(page, 1, 2)
    page.wait_for_url(re.compile("p.fast=5"))
    assert params(page)["p.slow"] == "30"
    settle(page)
    view = params(page)
    page.get_by_role("link", name="Open trial").click()
    page.wait_for_url(re.compile("/trial"))
    page.get_by_text("equals the stored row bit for bit").wait_for()
    opened = params(page)
    assert (opened["p.fast"], opened["p.slow"], opened["p.execution.fee_bps"]) == ("5", "30", "10")

    page.reload()
    page.get_by_text("equals the stored row bit for bit").wait_for()
    page.get_by_role("link", name="Back to the surface").click()
    page.wait_for_url(re.compile("/surface"))
    wait_for_map(page)
    settle(page)
    back = params(page)
    assert {key: back.get(key) for key in view if key.startswith("s.")} == {
        key: value for key, value in view.items() if key.startswith("s.")
    }


def test_link__shows_a_colleague_the_same_picture(page: Any, shown: tuple[str, dict[str, str]]) -> None:
    url, identities = shown
    page.goto(f"{url}/surface?run={identities['failing']}")
    wait_for_map(page)
    assert "failed 6" in [text.replace("\u00a0", " ") for text in page.locator(".legend .entry").all_text_contents()]
    click_cell(page, 3, 1)
    page.get_by_text("returned NaN").wait_for()
    settle(page)
    other = page.context.browser.new_context(viewport={"width": 1400, "height": 1000})
    colleague = other.new_page()
    colleague.goto(page.url)
    colleague.get_by_text("returned NaN").wait_for(timeout=30_000)
    assert parse_qs(urlsplit(colleague.url).query) == parse_qs(urlsplit(page.url).query)
    other.close()


def picture(page: Any) -> str:
    """Return the digest of what the map has drawn."""
    wait_for_map(page)
    return str(page.locator("canvas.over").first.get_attribute("data-ready"))


def show_tab(page: Any, name: str) -> None:
    page.get_by_test_id("stButtonGroup").get_by_text(name, exact=True).first.click()
    settle(page)


@pytest.mark.slow
def test_surface__of_a_hundred_thousand_trials_answers_every_hand_and_its_link_draws_the_same(
    page: Any, serve: Callable[[str], str], large_run: tuple[str, str]
) -> None:
    received = [0]
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(len(frame))))
    url = serve(large_run[0])
    page.goto(f"{url}/surface?run={large_run[1]}")
    drawn = [picture(page)]
    settle(page)
    page.get_by_text("100\u00a0000 of 100\u00a0000 trials done").wait_for()
    page.get_by_text("1 square = 40 trials").wait_for()

    def answers(act: Callable[[], object], key: str = "") -> None:
        """Do something; another picture has to come, with a few bytes, and its view into the address."""
        received[:] = [0]
        act()
        page.wait_for_function(
            "([canvas, before]) => canvas.dataset.ready !== before",
            arg=[page.locator("canvas.over").first.element_handle(), drawn[-1]],
        )
        settle(page)
        drawn.append(picture(page))
        assert not key or key in params(page), page.url
        assert sum(received) < 300_000

    slider = page.get_by_role("slider").first
    slider.focus()
    answers(lambda: slider.press("ArrowRight"), "s.at.execution.fill")
    page.get_by_text("1 square = 20 trials").wait_for()
    over = page.locator("canvas.over").first
    over.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    answers(lambda: page.keyboard.press("Enter"), "p.slow")
    over.focus()
    answers(lambda: page.keyboard.press("+"), "s.win")
    pick(page, "Over the rest", "10 % quantile")
    assert params(page)["s.how"] == "q10"
    drawn.append(picture(page))

    other = page.context.browser.new_context(viewport={"width": 1400, "height": 1000})
    colleague = other.new_page()
    colleague.goto(page.url)
    colleague.locator("canvas.over[data-ready]").first.wait_for(timeout=30_000)
    settle(colleague)
    assert picture(colleague) == drawn[-1]
    assert len(set(drawn)) == len(drawn)
    other.close()


def test_surface__shows_every_tab_and_a_brush_filters_the_map(page: Any, shown: tuple[str, dict[str, str]]) -> None:
    url, identities = shown
    page.goto(f"{url}/surface?run={identities['three']}")
    wait_for_map(page)
    settle(page)
    names = ["3-D", "Importance", "Pareto", "Train / test", "Table", "Failures (0)", "Spec", "Slices", "Parallel"]
    for name in names:
        show_tab(page, name)
        assert page.get_by_test_id("stException").count() == 0, name
        assert page.get_by_text("failed unexpectedly").count() == 0, name
    chart = page.locator(".parallel canvas")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    before = picture(page)
    page.mouse.move(box["x"] + 80, box["y"] + 34 + 375)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + 34 + 120, steps=4)
    page.mouse.up()
    page.get_by_text("Only points with fast 3 to").wait_for()
    settle(page)
    assert picture(page) != before
    assert "s.in.fast" in params(page)
    show_tab(page, "Table")  # a filter holds in every tab, and leaving this one loses nothing
    page.get_by_role("button", name="Show all").click()
    page.get_by_text("Only points with").wait_for(state="detached")
    settle(page)
    assert picture(page) == before


def test_surface__opens_by_keyboard_alone(page: Any, shown: tuple[str, dict[str, str]]) -> None:
    url, identities = shown
    page.goto(f"{url}/surface?run={identities['two']}")
    wait_for_map(page)
    settle(page)
    over = page.locator("canvas.over").first
    assert "best +" in (over.get_attribute("aria-label") or "")  # the finding, in words
    over.focus()
    page.keyboard.press("ArrowLeft")  # the best one first
    page.keyboard.press("ArrowLeft")
    assert "1 of 1 trial" in page.locator(".live").first.inner_text().replace("\u00a0", " ")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"p\.fast=4"))
    settle(page)
    over.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/trial"))
    page.get_by_text("equals the stored row bit for bit").wait_for()
