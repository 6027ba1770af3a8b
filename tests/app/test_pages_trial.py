"""The trial's and the comparison's pages: each part, each state, and the address that carries them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import format as fmt
from sweeps.results import open_run

_spec = importlib.util.spec_from_file_location("pages_tests", Path(__file__).with_name("test_pages.py"))
assert _spec is not None
assert _spec.loader is not None
pages: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)
launch, words = pages.launch, pages.words
PARTS = ("Months", "Rolling", "Distribution", "Drawdowns", "Trades", "Orders", "Neighbours", "All measures", "Export")
Stored = tuple[str, dict[str, str]]


@pytest.mark.parametrize("name", ["three", "weights"])
def test_trial__shows_every_part_and_keeps_it_in_the_address(
    monkeypatch: pytest.MonkeyPatch, stored: Stored, name: str
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "trial", run=identities[name])
    for part in PARTS:
        app.button_group(key="t.part").set_value(part)
        app.run()
        assert not app.exception, app.exception[0].message
        assert not app.error, (part, app.error[0].value)
        assert app.query_params["t.part"] == part
        assert "nan" not in words(app).lower().split()


def test_trial__obeys_a_click_that_was_sent_before_the_browser_had_the_new_address(
    monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "trial", run=identities["two"])
    app.run()
    before = {key: app.query_params[key] for key in app.query_params if key != "t.part"}
    app.query_params.clear()
    app.query_params.update(before)
    app.button_group(key="t.part").set_value("Drawdowns").run()
    assert app.query_params["t.part"] == "Drawdowns"
    app.button(key="t.fall.1").click()
    app.query_params.update(before | {"t.part": "Months"})
    app.run()
    assert "t" in app.query_params
    assert app.button_group(key="t.part").value == "Drawdowns"
    app.query_params.clear()  # the Back button: no widget was touched
    app.query_params.update(before | {"t.part": "Rolling"})
    app.run()
    assert app.button_group(key="t.part").value == "Rolling"
    assert "t" not in app.query_params


def test_trial__zooms_to_its_worst_drawdown_and_back(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "trial", run=identities["two"], **{"t.part": "Drawdowns"})
    whole = app.date_input(key="t.from").value, app.date_input(key="t.to").value
    app.button(key="t.fall.1").click().run()
    start, _, stop = app.query_params["t"].partition("-")
    assert 0 < int(start) < int(stop)
    zoomed = app.date_input(key="t.from").value, app.date_input(key="t.to").value
    assert whole[0] <= zoomed[0] < zoomed[1] <= whole[1]
    assert zoomed != whole
    again = launch(monkeypatch, url, "trial", run=identities["two"], t=app.query_params["t"])
    assert (again.date_input(key="t.from").value, again.date_input(key="t.to").value) == zoomed
    app.button(key="t.whole").click().run()
    assert "t" not in app.query_params


def test_trial__says_when_the_period_of_a_link_is_gone(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    url, identities = stored
    for text in ("1-2", "x", "-5-7", "9" * 30 + "-1"):
        app = launch(monkeypatch, url, "trial", run=identities["two"], t=text)
        assert "period of the link is not in this trial" in words(app)
        assert "t" not in app.query_params


def test_trial__shows_the_interval_of_its_sharpe_ratio(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    pytest.importorskip("arch", reason="pip install 'quantbot[stats]'")
    url, identities = stored
    app = launch(monkeypatch, url, "trial", run=identities["three"])
    assert "90 % interval" in words(app).replace("\u00a0", " ")
    assert "train" in words(app)


def test_trial__goes_to_the_same_point_in_another_fold(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "trial", run=identities["three"], trial="3")
    point = {name: app.query_params[name] for name in app.query_params if name.startswith("p.")}
    app.selectbox(key="t.fold").select("test").run()
    app.selectbox(key="t.asset").select("BBB").run()
    assert {name: app.query_params[name] for name in point} == point
    assert (app.selectbox(key="t.fold").value, app.selectbox(key="t.asset").value) == ("test", "BBB")
    assert "equals the stored row bit for bit" in words(app)


def test_trial__opens_a_neighbour(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "trial", run=identities["two"], trial="8", **{"t.part": "Neighbours"})
    before = app.query_params["p.fast"]
    app.button(key="t.beside.fast.1").click().run()
    assert int(app.query_params["p.fast"]) == int(before) + 1
    assert app.query_params["t.part"] == "Neighbours"


def test_trial__of_a_mismatch_is_loud(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    from dataclasses import replace

    from sweeps.results import Run

    real = Run.replay

    def other(self: Run, trial: int, **more: Any) -> Any:
        return replace(real(self, trial, **more), equal=False, mismatch="sharpe: stored 1.0, now 2.0")

    monkeypatch.setattr(Run, "replay", other)
    url, identities = stored
    app = launch(monkeypatch, url, "trial", run=identities["two"], trial="5")
    assert any("Not the stored row" in error.value and "stored 1" in error.value for error in app.error)


def compare(monkeypatch: pytest.MonkeyPatch, stored: Stored, *sides: str) -> AppTest:
    url, identities = stored
    named = [side.partition(".") for side in sides]
    texts = [f"{identities.get(name, name)[:12]}{dot}{trial}" for name, dot, trial in named]
    return launch(monkeypatch, url, "compare", **{f"k.{letter}": text for letter, text in zip("abcdef", texts)})  # noqa: B905


def test_compare__says_first_what_is_not_the_same(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    app = compare(monkeypatch, stored, "two.3", "three.1")
    table = app.dataframe[0].value
    assert {"execution.fee_bps", "method of folds"} <= set(table["what"])
    assert "may come from" in words(app)
    assert "common bars" in words(app)


def test_compare__of_one_runs_trials_differs_in_parameters_alone(
    monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    app = compare(monkeypatch, stored, "two.3", "two.8", "two.20")
    assert "only parameters differ" in words(app)
    assert set(app.dataframe[0].value["parameter"]) <= {"fast", "slow"}
    assert {"B minus A", "C minus A"} <= set(app.dataframe[1].value.columns)


def test_compare__shows_the_map_of_two_runs_and_keeps_it_in_the_address(
    monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    app = compare(monkeypatch, stored, "two", "begun")
    assert "no trial with a value yet" in words(app)  # the other side stays, and the page says what to do
    app = compare(monkeypatch, stored, "two", "partial")
    assert "points in both runs" in words(app).replace("\u00a0", " ")
    app.selectbox(key="k.m").select("total_return").run()
    assert app.query_params["k.m"] == "total_return"
    assert app.query_params["k.y"] in ("fast", "slow")


@pytest.mark.parametrize("sides", [(), ("two",), ("f" * 12, "two"), ("two.99999", "two.1"), ("two.1.2", "one.x")])
def test_compare__of_too_little_says_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, stored: Stored, sides: tuple[str, ...]
) -> None:
    app = compare(monkeypatch, stored, *sides)
    assert "needed" in words(app)


def test_compare__of_a_failed_trial_has_no_path_but_its_row(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    app = compare(monkeypatch, stored, "failing.0", "failing.14")
    assert "has no path" in words(app)
    assert "returned NaN" in words(app)


def test_compare__adds_and_removes_sides(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    app = compare(monkeypatch, stored, "two.3")
    app.text_input(key="k.add.trial").input("5").run()
    chosen = app.selectbox(key="k.add.run").value
    app.button(key="k.add").click().run()
    assert app.query_params["k.b"] == f"{chosen.identity[:12]}.5"
    app.button(key="k.remove.A").click().run()
    assert app.query_params["k.a"] == f"{chosen.identity[:12]}.5"
    assert "k.b" not in app.query_params


def test_trial__has_the_interval_that_stands_beside_the_best(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    url, identities = stored
    luck = open_run(url, identities["three"]).luck(compute=False)
    assert luck.best is not None
    assert luck.best.interval is not None
    app = launch(monkeypatch, url, "trial", run=identities["three"], trial=str(luck.best.trial))
    ends = [fmt.signed(end) for end in (luck.best.interval.low, luck.best.interval.high)]
    said = words(app).replace("\u00a0", " ").replace("\u202f", " ")
    assert f"90 % interval {ends[0]} to {ends[1]}" in said, re.findall(r"[^\n]*interval[^\n]*", said)
