"""Every page launches from the entry file in every state that a store can be in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

ENTRY = Path(__file__).parents[2] / "app" / "streamlit_app.py"
VIEWS = sorted(path.stem for path in (ENTRY.parent / "views").glob("[a-z]*.py"))
RUNS = (
    "three",
    "two",
    "one",
    "none",
    "words",
    "sampled",
    "learning",
    "halved",
    "five",
    "locked",
    "flat",
    "partial",
    "begun",
    "failing",
    "weights",
)


def launch(monkeypatch: pytest.MonkeyPatch, url: str, page: str, **params: str) -> AppTest:
    monkeypatch.setenv("QUANTBOT_STORE", url)
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    app.run()
    for name, value in params.items():
        app.query_params[name] = value
    app.switch_page(f"views/{page}.py").run()
    assert not app.exception, app.exception[0].message
    unexpected = [error.value for error in app.error if "failed unexpectedly" in error.value]
    assert not unexpected
    return app


def words(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error, app.subheader)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def test_views__are_the_pages_of_the_app() -> None:
    assert VIEWS == ["audit", "book", "compare", "data", "new", "overnight", "risk", "runs", "surface", "trial"]


@pytest.mark.parametrize("page", VIEWS)
def test_page__of_an_empty_store_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: str) -> None:
    text = words(launch(monkeypatch, str(tmp_path / "nothing"), page))
    assert "yet" in text


@pytest.mark.parametrize("page", VIEWS)
def test_page__launches_without_an_address(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]], page: str
) -> None:
    launch(monkeypatch, stored[0], page)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("page", ["surface", "trial"])
def test_page__shows_a_run_of_every_kind(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]], page: str, name: str
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, page, run=identities[name])
    assert identities[name][:12] in words(app)
    assert "nan" not in words(app).lower().split()


def test_scope__says_what_is_shown(monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "surface", run=identities["three"])
    scope = next(text.value for text in app.markdown if identities["three"][:12] in text.value).replace("\\", "")
    for part in (
        "three",
        "108 of 108 trials done, 0 failed",
        "folds all, train, test",
        "2019-01-0",
        "test/pair@",
        "USD",
        "F0",
    ):
        assert part in scope.replace("\u00a0", " "), part


def test_runs__lists_every_run_with_its_state(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    url, identities = stored
    text = words(launch(monkeypatch, url, "runs")).replace("\u00a0", " ")
    assert f"{len(identities)} runs in" in text
    assert "12 done" in text
    assert "3 waiting" in text
    for identity in identities.values():
        assert identity[:12] in text
    assert len(re.findall(r"deflated [01]\.\d\d, luck \+\d", text)) >= 8  # beside every best that has one
    assert text.count("luck unknown") + text.count(", luck +") <= 11


def test_surface__of_a_partial_run_offers_no_pretence(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "surface", run=identities["partial"])
    assert "20 of 36 trials done" in words(app).replace("\u00a0", " ")


def test_surface__of_a_failing_run_says_why(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "surface", run=identities["failing"], **{"p.window": "20", "p.depth": "0.02"})
    text = words(app)
    assert "6 failed" in text.replace("\u00a0", " ")
    assert "returned NaN" in text


def test_surface__keeps_the_view_that_a_link_names(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    url, identities = stored
    view = {"run": identities["three"], "s.x": "execution.fee_bps", "s.y": "fast", "s.m": "max_drawdown",
            "s.how": "max", "fold": "test", "asset": "BBB", "s.at.slow": "20"}  # fmt: skip
    app = launch(monkeypatch, url, "surface", **view)
    chosen = {box.key: box.value for box in app.selectbox}
    assert (chosen["s.x"], chosen["s.y"], chosen["s.m"]) == ("execution.fee_bps", "fast", "max_drawdown")
    assert (chosen["fold"], chosen["asset"], chosen["s.how"]) == ("test", "BBB", "max")
    assert app.select_slider(key="s.at.slow").value == 20
    app.run()
    assert {key: app.query_params[key] for key in view} == view


def test_surface__says_which_part_of_a_link_is_gone(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "surface", **{"run": identities["two"], "s.x": "lookback"})
    assert "'lookback' of the link is not here" in words(app)


@pytest.mark.parametrize("page", ["surface", "trial"])
def test_page__of_a_run_that_is_gone_says_so(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]], page: str
) -> None:
    assert "there is no run" in words(launch(monkeypatch, stored[0], page, run="0" * 64))


def test_surface__changes_the_measure_and_the_address_with_it(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "surface", run=identities["two"])
    app.selectbox(key="s.m").select("total_return").run()
    assert app.query_params["s.m"] == "total_return"
    assert not app.exception


def test_surface__selects_the_cell_that_was_chosen_by_keyboard(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "surface", run=identities["two"])
    app.selectbox(key="card.x").select(4).run()
    app.selectbox(key="card.y").select(10).run()
    assert (app.query_params["p.fast"], app.query_params["p.slow"]) == ("4", "10")


def test_trial__equals_the_stored_row(monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "trial", run=identities["two"], trial="3")
    assert "equals the stored row bit for bit" in words(app)
    labels = [metric.label for metric in app.metric]
    assert "Sharpe ratio" in labels


def test_trial__that_failed_shows_its_reason(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "trial", run=identities["failing"], trial="14")
    assert "returned NaN" in words(app)


@pytest.mark.parametrize("trial", ["99999", "-1", "x"])
def test_trial__that_is_not_there_says_which_are(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]], trial: str
) -> None:
    url, identities = stored
    assert "has trials 0 to" in words(launch(monkeypatch, url, "trial", run=identities["two"], trial=trial))


def test_trial__steps_to_the_neighbouring_point(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "trial", run=identities["two"], trial="0")
    before = app.query_params["p.fast"]
    app.button(key="t.step.fast.1").click().run()
    assert int(app.query_params["p.fast"]) == int(before) + 1


def test_new__refuses_in_words_and_keeps_the_form(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    app = launch(monkeypatch, stored[0], "new")
    app.text_input(key="n.name").input("kept")
    app.text_input(key="n.where").input("fast < nothing").run()
    assert "nothing" in words(app)
    assert app.text_input(key="n.name").value == "kept"
    assert not [button for button in app.button if button.key == "n.start"]


def test_new__counts_trials_as_the_form_changes(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    app = launch(monkeypatch, stored[0], "new")
    before = next(metric.value for metric in app.metric if metric.label == "Trials")
    app.selectbox(key="n.sma_cross.fast.mode").select("list").run()
    app.text_input(key="n.sma_cross.fast.list").input("5, 10").run()
    after = next(metric.value for metric in app.metric if metric.label == "Trials")
    assert before != after


@pytest.mark.parametrize(
    ("method", "written"),
    [("none", None), ("holdout", 'test = "20%"'), ("walk_forward", "n = 5"), ("kfold", "n = 5"),
     ("cpcv", "test_groups = 2")],
)  # fmt: skip
def test_new__writes_every_way_to_divide_time(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]], method: str, written: str | None
) -> None:
    app = launch(monkeypatch, stored[0], "new")
    app.button_group(key="n.folds").set_value(method).run()
    assert not app.error, [error.value for error in app.error]
    spec = app.session_state["n.written"]
    assert ("[folds]" in spec) == (written is not None)
    assert written is None or written in spec
    assert [button for button in app.button if button.key == "n.start"]


def test_new__keeps_the_form_while_another_page_is_shown(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    app = launch(monkeypatch, stored[0], "new")
    app.text_input(key="n.name").input("kept")
    app.button_group(key="n.method").set_value("lhs").run()
    app.number_input(key="n.n").set_value(77).run()
    app.switch_page("views/data.py").run()
    app.switch_page("views/new.py").run()
    assert not app.exception
    assert app.text_input(key="n.name").value == "kept"
    assert app.number_input(key="n.n").value == 77


@pytest.mark.parametrize("face", ["toml", "python"])
def test_new__takes_back_what_it_wrote(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]], face: str
) -> None:
    app = launch(monkeypatch, stored[0], "new")
    written = {code.language: code.value for code in app.code}
    before = next(metric.value for metric in app.metric if metric.label == "Trials")
    app.button_group(key="n.face").set_value("TOML").run()
    app.text_area(key="n.toml").input("nonsense").run()
    assert not [metric for metric in app.metric if metric.label == "Trials"]
    app.text_area(key="n.toml").input(written[face]).run()
    assert next(metric.value for metric in app.metric if metric.label == "Trials") == before


@pytest.mark.parametrize(
    "strategy",
    [
        "momentum",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("ema_cross", "donchian", "bollinger", "rsi")),
    ],
)
def test_new__has_a_form_for_every_strategy(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]], strategy: str
) -> None:
    from app import reads
    from quantbot.errors import SpecError
    from quantbot.strategies.registry import shipped

    def refuse(text: str) -> None:  # planning would compile a kernel, which this test is not about
        raise SpecError("not planned in this test")

    monkeypatch.setattr(reads, "plan", refuse)
    app = launch(monkeypatch, stored[0], "new")
    app.selectbox(key="n.strategy").select(strategy).run()
    text = words(app)
    assert not app.exception
    assert all(parameter.name in text for parameter in shipped()[strategy].parameters)


def test_data__shows_quality_and_that_data_are_synthetic(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    app = launch(monkeypatch, stored[0], "data")
    text = words(app)
    assert "Synthetic" in text
    findings = launch(monkeypatch, stored[0], "data", **{"d.view": "findings"})
    assert "a jump" in str(findings.dataframe[1].value)


@pytest.mark.parametrize(
    ("name", "view", "told"),
    [
        ("locked", {"fold": "test"}, "sweep unlock"),
        ("flat", {}, "undefined for all that ran"),
        ("begun", {}, "No trial is done yet"),
    ],
)
def test_surface__says_why_there_is_no_best(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]], name: str, view: dict[str, str], told: str
) -> None:
    url, identities = stored
    text = words(launch(monkeypatch, url, "surface", run=identities[name], **view))
    assert told in text
    assert name == "begun" or "yet" not in text.replace("nobody has looked at it", "")


def test_surface__shows_a_noise_test_where_one_was_run(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    from sweeps.executors import serial
    from sweeps.null import run_null
    from sweeps.results import open_run

    url, identities = stored
    assert not launch(monkeypatch, url, "surface", run=identities["words"]).expander
    with serial() as executor:
        found = run_null(open_run(url, identities["words"]), executor, n=5)
    (noise,) = launch(monkeypatch, url, "surface", run=identities["words"]).expander
    label = noise.label.replace("\\", "")
    assert label.startswith("Noise test: ")
    assert label.endswith(f"p = {found.p_value:.3f}")


def test_surface__table_is_sorted_as_the_link_says(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    url, identities = stored
    view = {"run": identities["two"], "s.view": "Table", "s.sort": "slow", "s.order": "falling", "s.state": "ok"}
    app = launch(monkeypatch, url, "surface", **view)
    rows = app.dataframe[0].value
    assert rows["slow"].tolist() == sorted(rows["slow"].tolist(), key=int, reverse=True)
    app.run()
    assert {key: app.query_params[key] for key in view} == view


def test_surface__weighs_two_measures_and_says_which_tab_is_gone(
    monkeypatch: pytest.MonkeyPatch, stored: tuple[str, dict[str, str]]
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "surface", **{"run": identities["two"], "s.view": "Pareto", "s.m2": "volatility"})
    assert "beaten by none in both Sharpe ratio and Volatility" in words(app)
    app = launch(monkeypatch, url, "surface", **{"run": identities["one"], "s.view": "3-D"})
    assert "the tab '3-D' of the link is not here" in words(app)
