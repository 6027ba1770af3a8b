"""The page of data: coverage, findings that open the bars there, versions side by side, and who used it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("pages_tests", Path(__file__).with_name("test_pages.py"))
assert _spec is not None
assert _spec.loader is not None
pages: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)
launch, words = pages.launch, pages.words
Stored = tuple[str, dict[str, str]]


@pytest.mark.parametrize("part", ["bars", "coverage", "findings", "versions", "used by"])
def test_data__shows_every_part_and_keeps_it_in_the_address(
    monkeypatch: pytest.MonkeyPatch, stored: Stored, part: str
) -> None:
    app = launch(monkeypatch, stored[0], "data", **{"d.view": part})
    assert not app.error
    assert app.query_params["d.view"] == part


def test_data__opens_the_bars_where_a_finding_is(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    from app import reads
    from app.views import _data_parts

    app = launch(monkeypatch, stored[0], "data", **{"d.view": "findings", "asset": "BBB"})
    finding = next(iter(app.dataframe[1].value.to_dict("records")))
    assert (finding["severity"], finding["asset"]) == ("warning", "AAA")
    entry = reads.catalogue()[0]
    state: dict[str, Any] = {}
    monkeypatch.setattr("streamlit.session_state", state)
    dataset = reads.dataset(entry.name, entry.version)
    place = dataset.quality["findings"][0]["places"][0]["ts_end_ns"]
    _data_parts._goto(dataset, "AAA", place)
    assert state["d.goto"]["asset"] == "AAA"
    assert state["d.goto"]["d.view"] == "bars"
    assert state["d.goto"]["d.from"] <= "2019-01-09" <= state["d.goto"]["d.to"]


def test_data__shows_what_changed_between_versions(
    monkeypatch: pytest.MonkeyPatch, stored: Stored, store_of: Callable[[str], str]
) -> None:
    from datasets.bars import write_bars
    from datasets.catalog import Catalog
    from datasets.columns import BarColumns
    from datasets.store import open_store

    url = store_of(stored[0])
    root = open_store(url)
    old = Catalog(root).open("test/pair")
    raw = old.columns("AAA")
    fewer = BarColumns(raw.ts_end_ns[:-5], **{name: values[:-5] for name, values in raw.items()})
    write_bars(root, "test/pair", {"AAA": fewer, "BBB": old.columns("BBB")}, old.meta, {})
    app = launch(monkeypatch, url, "data", **{"d.view": "versions"})
    table = app.dataframe[2].value
    assert table[["asset", "what", "bars removed"]].values.tolist() == [["AAA", "changed", 5]]
    used = words(launch(monkeypatch, url, "data", **{"d.view": "used by"}))
    assert "not the version in force" in used


def test_data__used_by_links_its_runs(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    text = words(launch(monkeypatch, stored[0], "data", **{"d.view": "used by"}))
    assert "sma_cross" in text
    assert "not the version in force" not in text


def test_data__shows_the_sessions_of_a_dataset_of_events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from datasets import open_store
    from datasets.synthetic_book import synthetic_book

    synthetic_book(open_store(tmp_path), "mine/drawn", 2000, 1, n_sessions=2)
    app = launch(monkeypatch, str(tmp_path), "data")
    assert not app.exception
    assert not app.error
    assert [row["session"] for row in app.dataframe[1].value.to_dict("records")] == ["2024-01-02", "2024-01-03"]
    assert "market by order" in words(app)
