"""Names and texts that would act in a page: shown as text, on every page and in every report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

ENTRY = Path(__file__).parents[2] / "app" / "streamlit_app.py"
EVIL = "<img src=x onerror=alert(1)>[x](javascript:alert(2))![b](//evil/b.png)$\\href{javascript:a}{y}$"
STRATEGY = f'''
from quantbot.parameters import integer
from quantbot.strategies.contract import strategy


@strategy(parameters=[integer("level", 1, 1, 9, {EVIL!r})])
def evil(close: float, level: float, position: float) -> float:
    """{EVIL.replace(chr(92), chr(92) * 2)}"""
    if level > 5.0:
        raise ValueError({EVIL!r})
    return 1.0 if close > 100.0 else 0.0
'''
SPEC = """
version = 1
[run]
name = "evil"
[data]
dataset = "test/evil"
[strategy]
name = "evil.py:evil"
plain_python = true
[parameters]
level = {{ values = [2, 3, 7] }}
"""
# What Streamlit's markdown, its directives and its mathematics act on, where no backslash stands before it.
ACTIVE = re.compile(r"(?<!\\)(<img|\[x\]|!\[b|\$\\+href|\]\(|javascript:)")
MARKDOWN = {"body", "label", "help", "text", "caption", "captions", "message", "page_label", "title"}
# Their texts are drawn by components that know no markdown, or stand in a field to be edited.
PLAIN = {
    "code",
    "arrow_data_frame",
    "plotly_chart",
    "text_area",
    "text_input",
    "arrow_vega_lite_chart",
    "bidi_component",
}


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A store in which everything that can be named has a hostile name, and the identity of a run there."""
    from datasets.bars import write_bars
    from datasets.columns import BarColumns
    from datasets.schema import BarsMeta
    from datasets.store import open_store
    from sweeps.executors import serial
    from sweeps.plan import make_plan
    from sweeps.run import drive
    from sweeps.spec import parse_spec
    from sweeps.submission import submit

    folder = tmp_path_factory.mktemp("hostile")
    (folder / "evil.py").write_text(STRATEGY)
    root = open_store(folder / "store")
    rng = np.random.default_rng(5)
    stamps = np.datetime64("2019-01-02T21:00", "ns").astype(np.int64) + 86_400 * 10**9 * np.arange(120)
    close = 100 * np.cumprod(1 + 0.01 * rng.standard_normal(120))
    columns = BarColumns(stamps, close, close * 1.01, close * 0.99, close, np.full(120, 1e5))
    meta = BarsMeta(EVIL, EVIL, "1d", 252.0, synthetic=True)
    place = {"ts_end_ns": int(stamps[7]), "text": EVIL}
    finding = {"asset": EVIL, "rule": "outlier", "severity": "warning", "count": 1, "text": EVIL, "places": [place]}
    write_bars(root, "test/evil", {EVIL: columns, "PLAIN": columns}, meta, {"findings": [finding]})
    plan = make_plan(parse_spec(SPEC.format(), folder=folder), root, block_points=1, probe=False)
    identity = submit(plan.spec, root, plan=plan, user=EVIL)
    with serial() as executor:
        drive(root, identity, executor)
    return root.url, identity


def texts(app: AppTest) -> Iterator[tuple[str, str]]:
    """Yield every text of a page that is read as markdown, with the kind of element that has it."""

    def walk(block: Any) -> Iterator[Any]:
        for child in getattr(block, "children", {}).values():
            yield child
            yield from walk(child)

    def strings(message: Any) -> Iterator[str]:
        for field, value in message.ListFields():
            if field.name in MARKDOWN:
                yield from [value] if isinstance(value, str) else [text for text in value if isinstance(text, str)]
            elif field.type == field.TYPE_MESSAGE:
                for part in [value] if hasattr(value, "ListFields") else value:
                    if hasattr(part, "ListFields"):
                        yield from strings(part)

    for element in walk(app._tree.root if hasattr(app._tree, "root") else app._tree):
        kind = str(getattr(element, "type", ""))
        proto = getattr(element, "proto", None)
        if proto is not None and kind not in PLAIN and hasattr(proto, "ListFields"):
            yield from ((kind, text) for text in strings(proto))


def test_escape__would_be_missed_without_it() -> None:
    from app.format import plain

    assert ACTIVE.findall(EVIL)
    assert not ACTIVE.findall(plain(EVIL))


@pytest.mark.parametrize("page", ["runs", "surface", "trial", "compare", "data", "new", "risk", "book", "audit"])
def test_page__shows_hostile_names_as_text(monkeypatch: pytest.MonkeyPatch, evil: tuple[str, str], page: str) -> None:
    url, identity = evil
    monkeypatch.setenv("QUANTBOT_STORE", url)
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    app.run()
    app.query_params["run"] = identity
    for name in ("asset", "r.from", "s.x", "k.a", "from", "dataset"):
        app.query_params[name] = identity if name == "from" else EVIL
    app.switch_page(f"views/{page}.py").run()
    assert not app.exception, app.exception[0].message
    found = list(texts(app))
    assert found
    acting = [(kind, text) for kind, text in found if ACTIVE.search(text)]
    assert acting == []
    if page in ("runs", "data"):
        assert any("onerror" in text for _, text in found), "the names are not on the page, so nothing was tested"


def test_check__finds_names_that_nobody_escaped(monkeypatch: pytest.MonkeyPatch, evil: tuple[str, str]) -> None:
    monkeypatch.setenv("QUANTBOT_STORE", evil[0])
    monkeypatch.setattr("app.format.plain", str)
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    app.run()
    app.query_params["run"] = evil[1]
    app.switch_page("views/runs.py").run()
    assert [text for _, text in texts(app) if ACTIVE.search(text)]


class Tags(HTMLParser):
    """Notes every tag, and each attribute that could act."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.acting: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            if name.startswith("on") or "javascript:" in (value or "").replace(" ", "").lower():
                self.acting.append(f"{tag} {name}={value}")


def test_report__of_a_run_shows_hostile_names_as_text(evil: tuple[str, str]) -> None:
    from app.run_report import run_report
    from sweeps.results import open_run

    html = run_report(open_run(evil[0], evil[1]))
    page = Tags()
    page.feed(html)
    assert "img" not in page.tags
    assert "a" not in page.tags
    assert not [text for text in page.acting if "alert" in text or "javascript" in text]
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_page__that_breaks_shows_a_number_and_the_log_the_rest_without_secrets(
    monkeypatch: pytest.MonkeyPatch, evil: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    from app import reads

    monkeypatch.setenv("QUANTBOT_STORE", evil[0])
    monkeypatch.setenv("DEMO_PASSWORD", "hunter2-hunter2")

    def broken() -> None:
        raise RuntimeError(f"/internal/path {EVIL} hunter2-hunter2")

    monkeypatch.setattr(reads, "catalogue", broken)
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    app.run()
    app.switch_page("views/data.py").run()
    assert not app.exception
    shown = [error.value for error in app.error]
    assert len(shown) == 1
    number = re.fullmatch(r".*under error ([0-9a-f]{8})\.", shown[0])
    assert number is not None
    assert "internal" not in shown[0]
    assert "onerror" not in shown[0]
    assert number[1] in caplog.text
    assert "/internal/path" in caplog.text
    assert "hunter2-hunter2" not in caplog.text
