"""Every page in every state: empty, partial, failed, locked, with one axis and with five, and with nothing but NaN.

Each row is one load in one tab that all rows share; then the tab turns dark, where the same words must stand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]
Shown = tuple[str, dict[str, str]]

EMPTY = [
    ("", "There is no run yet"),
    ("new", "There is no dataset to sweep over yet"),
    ("surface", "There is no run yet"),
    ("trial", "There is no run yet"),
    ("compare", "There is no run yet"),
    ("data", "There is no dataset yet"),
]
# How bright the page's ground is, 0 to 255.
GROUND = "parseInt(getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor.slice(4))"
# The state, the address with names of runs in braces, and words that must be there.
STATES = [
    ("partial", "runs?run={partial}", ["20 of 36", "16 not run yet", "interrupted"]),
    ("partial", "new?from={partial}", ["in the store already, waiting: 20 trials done", "Go on with it"]),
    ("partial", "surface?run={partial}", ["56 % done, waiting", "not run yet 16", "the run is not finished"]),
    ("partial", "trial?run={partial}&trial=35", ["the store has no row of it yet", "Total return"]),
    ("partial", "compare?k.a={partial}.0&k.b={two}.3", ["What is not the same", "Measures"]),
    ("partial", "data?d.view=versions", ["There is one version"]),
    ("begun", "surface?run={begun}", ["No trial is done yet", "0 of 30 trials done"]),
    ("failed", "runs?run={failing}", ["6 failed", "Retry these", "First failed trial"]),
    ("failed", "new?from=0000", ["there is no run"]),
    ("failed", "surface?run={failing}&s.view=Failures", ["failed 6", "Retry what failed"]),
    ("failed", "trial?run={failing}&trial=14", ["This trial failed: brittle returned NaN"]),
    ("failed", "compare?k.a={failing}.14&k.b={failing}.0", ["has no path"]),
    ("failed", "data?dataset=gone&d.view=findings", ["of the link is not here", "Choose a line"]),
    ("gone", "surface?run=00000000", ["there is no run"]),
    ("one axis", "surface?run={one}", ["10 values of fast; this run varies nothing else"]),
    ("one axis", "trial?run={one}", ["equals the stored row bit for bit"]),
    ("five axes", "surface?run={five}", ["1 square = 12 trials", "execution.slippage_bps", "Over the rest"]),
    ("five axes", "trial?run={five}", ["equals the stored row bit for bit", "execution.fill"]),
    ("NaN only", "surface?run={flat}", ["undefined for all that ran", "undefined 12"]),
    ("NaN only", "trial?run={flat}&trial=0", ["equals the stored row bit for bit", "no trades"]),
    ("locked", "runs?run={locked}", ["24 locked", "quantbot sweep unlock"]),
    ("locked", "surface?run={locked}&fold=test", ["locked 24", "quantbot sweep unlock"]),
    ("locked", "trial?run={locked}&trial=30", ["Locked: this trial tests a holdout", "quantbot sweep unlock"]),
    ("not promoted", "surface?run={halved}", ["not promoted"]),
    ("nothing varies", "surface?run={none}", ["Nothing varies in this run"]),
    ("whole", "compare?k.a={two}.3&k.b={two}.9", ["Through time", "only parameters differ"]),
    ("whole", "data?d.view=coverage", ["one square is 2 days"]),
]


@pytest.fixture(scope="module")
def tab(browser: Any) -> Iterator[Any]:
    """A tab that the rows share, so that only the first one pays for the scripts of the pages."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, color_scheme="light")
    context.set_default_timeout(30_000)
    page = context.new_page()
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url))
    yield page
    context.close()
    own = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
    assert not [url for url in foreign if not url.startswith(own)], "requests left this machine"


@pytest.fixture(scope="module")
def nothing(serve: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of an app over an empty store."""
    return serve(str(tmp_path_factory.mktemp("nothing")))


@pytest.mark.parametrize(("address", "told"), EMPTY)
def test_empty__says_what_to_do_next(tab: Any, nothing: str, address: str, told: str) -> None:
    check(tab, f"{nothing}/{address}", [told])
    link = tab.get_by_test_id("stPageLink").or_(tab.get_by_test_id("stCode"))
    link.first.wait_for()


@pytest.mark.parametrize(("state", "address", "told"), STATES, ids=[f"{row[0]}-{row[1][:12]}" for row in STATES])
def test_state__is_told_in_words(tab: Any, shown: Shown, state: str, address: str, told: list[str]) -> None:
    url, identities = shown
    check(tab, f"{url}/{address.format(**identities)}", told)


def check(tab: Any, address: str, told: list[str]) -> None:
    tab.emulate_media(color_scheme="light")
    tab.goto(address)
    tab.wait_for_function(f"document.querySelector('[data-testid=stApp]') && {GROUND} > 200")
    main = tab.get_by_test_id("stMain")
    for text in told:
        main.get_by_text(re.compile(re.escape(text).replace(r"\ ", r"\s"), re.IGNORECASE)).first.wait_for()
    look(tab, address)
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_function(f"{GROUND} < 60")
    look(tab, address)


def look(tab: Any, address: str) -> None:
    """Nothing on the page may be an error, unexplained, or too wide."""
    found = tab.evaluate(
        """() => ({
            wide: document.documentElement.scrollWidth,
            words: document.querySelector('[data-testid=stMain]').innerText,
            broken: document.querySelectorAll('[data-testid=stException]').length,
        })"""
    )
    assert found["broken"] == 0, address
    assert "failed unexpectedly" not in found["words"], address
    assert found["wide"] <= 1400, f"{address} is {found['wide']} px wide"
    own = {"NaN"} if "brittle returned NaN" in found["words"] else set()  # what the strategy of the tests says
    assert not {"nan", "NaN", "None"} & set(found["words"].split()) - own, address
