"""The Risk page of a trial and of files, and the explanation of a difference on Compare."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.views.runs import _best
from datasets.store import open_store
from sweeps.spec import parse_spec
from sweeps.status import _engine_of, summary

_spec = importlib.util.spec_from_file_location("pages_tests", Path(__file__).with_name("test_pages.py"))
assert _spec is not None
assert _spec.loader is not None
pages: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pages)
launch, words = pages.launch, pages.words
Stored = tuple[str, dict[str, str]]
OF_BOTH = ("Contributions", "Through time", "Frontier", "Tail", "Factors", "Stress")
OF_TRIALS = ("Weights", "Profit", "Drawdowns", "Guards")


def returns_csv(n: int = 150) -> bytes:
    values = 0.01 * np.random.default_rng(1).standard_normal((n, 3))
    days = np.datetime64("2025-01-01") + np.arange(n)
    lines = [f"{day},{','.join(f'{value:.6f}' for value in row)}" for day, row in zip(days, values, strict=True)]
    return "\n".join(["date,AAA,BBB,CCC", *lines]).encode()


def test_risk__shows_every_part_of_a_trial_and_keeps_it_in_the_address(
    monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "risk", run=identities["weights"], trial="1")
    assert [metric.label.replace("\u00a0", " ") for metric in app.metric][:2] == [
        "CVaR 80 %",
        "VaR 80 %",
    ]  # the trial's own level
    assert "2 assets" in words(app).replace("\u00a0", " ") or "AAA, BBB" in words(app)
    for part in (*OF_BOTH, *OF_TRIALS):
        app.button_group(key="r.part").set_value(part).run()
        assert not app.exception, (part, app.exception[0].message)
        assert not app.error, (part, app.error[0].value)
        assert app.query_params["r.part"] == part
        assert "nan" not in words(app).lower().split(), part
    assert app.query_params["trial"] == "1"


def test_risk__of_a_link_shows_the_same_close_level_and_scenarios(
    monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    url, identities = stored
    view = {"r.at": "2019-09-02", "r.beta": "0.9", "r.win": "125", "r.how": "exponential", "r.part": "Tail"}
    app = launch(monkeypatch, url, "risk", run=identities["weights"], trial="0", **view)
    assert {key: app.query_params[key] for key in view} == view
    assert "2019-09-0" in words(app)
    assert app.metric[0].label.replace("\u00a0", " ") == "CVaR 90 %"


def test_risk__of_another_engines_run_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    url, identities = stored
    app = launch(monkeypatch, url, "risk", run=identities["two"])
    assert "hold one asset each" in words(app)


def test_risk__of_uploaded_files_needs_no_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = launch(monkeypatch, str(tmp_path / "nothing"), "risk", **{"r.from": "files"})
    assert "nothing is stored" in words(app)
    app.file_uploader(key="r.returns").upload("mine.csv", returns_csv(), "text/csv")
    app.run()
    assert "equal share" in words(app)
    app.file_uploader(key="r.positions").upload("held.csv", b"asset,weight\nAAA,0.7\nBBB,-0.2\n", "text/csv")
    app.run()
    assert app.metric[4].value.replace("\u00a0", " ") == "90 % / 50 %"
    for part in OF_BOTH:
        app.button_group(key="r.part").set_value(part).run()
        assert not app.exception, (part, app.exception[0].message)
        assert not app.error, (part, app.error[0].value)
    assert part in app.query_params["r.part"]
    app.file_uploader(key="r.positions").upload("held.csv", b"asset,weight\nAAA,0.7\nZZZ,0.2\n", "text/csv")
    app.run()
    assert "ZZZ: held, but without returns" in app.error[0].value.replace("\\", "")
    app.file_uploader(key="r.returns").upload("mine.csv", b"date,AAA\n2025-01-01,0.1\n2025-01-02,x\n", "text/csv")
    app.run()
    assert "mine.csv, line 3: AAA 'x' is not a number" in app.error[0].value.replace("\\", "")


def test_compare__explains_two_portfolios(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    url, identities = stored
    sides = {f"k.{letter}": f"{identities['weights'][:12]}.{trial}" for letter, trial in (("a", 0), ("b", 1))}
    app = launch(monkeypatch, url, "compare", **sides)
    text = words(app).replace("\u00a0", " ")
    assert "Why B" in text
    assert "linked so that they sum to it" in text
    effects = next(table.value for table in app.dataframe if "effect" in table.value.columns)
    assert effects["effect"].tolist() == ["signal", "sizing", "guards", "costs", "other"]
    assert effects["points of return"].iloc[3] != effects["points of return"].iloc[2]  # the fee is all that differs


def test_new__writes_a_sweep_over_portfolios_and_counts_it(monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    app = launch(monkeypatch, stored[0], "new")
    app.button_group(key="n.engine").set_value("portfolio").run()
    app.number_input(key="n.portfolio.scenarios.window.value").set_value(40).run()
    app.selectbox(key="n.portfolio.optimise.beta.mode").select("list").run()
    app.text_input(key="n.portfolio.optimise.beta.list").set_value("0.8, 0.9").run()
    assert not app.exception
    assert not app.error, app.error[0].value
    text = next(code.value for code in app.code if "[data]" in code.value)
    assert 'engine = "portfolio"' in text
    assert "[strategy]" not in text
    spec = parse_spec(text)
    assert spec.sections["scenarios"] == {"window": 40}
    assert [metric.value for metric in app.metric if metric.label == "Trials"] == ["2"]


POOL = """
version = 1
[run]
name = "pool"
engine = "portfolio"
[data]
dataset = "test/pair"
scenarios = "mine/views"
[scenarios]
window = 40
[optimise]
method = "equal_weight"
[stress.shocks]
squeeze = { assets = ["AAA"], move = 0.3, others = -0.2 }
[pool.strategies.trend]
allocation = 0.4
optimise = { method = "momentum", lookback = 20, share = 0.5 }
[pool.strategies.viewed]
allocation = 0.6
scenarios.method = "user"
[parameters]
"pool.strategies.trend.allocation" = { values = [0.2, 0.4] }
"""


def test_pool__shows_strategies_shocks_and_scenarios_of_its_own(
    monkeypatch: pytest.MonkeyPatch, stored: Stored, store_of: Callable[[str], str]
) -> None:
    from datasets.scenarios import write_scenarios
    from datasets.store import open_store
    from quantbot.portfolio.given import GivenScenarios
    from sweeps.executors import serial
    from sweeps.run import drive
    from sweeps.submission import submit

    url = store_of(stored[0])
    root = open_store(url)
    draws = 0.02 * np.random.default_rng(4).standard_normal((50, 2))
    write_scenarios(root, "mine/views", GivenScenarios.of(("AAA", "BBB"), draws))
    identity = submit(parse_spec(POOL), root)
    with serial() as executor:
        assert drive(root, identity, executor).n_failed == 0

    app = launch(monkeypatch, url, "risk", run=identity, trial="1", **{"r.part": "Strategies", "r.how": "user"})
    table = next(one.value for one in app.dataframe if "strategy" in one.value.columns)
    assert table["strategy"].tolist() == ["trend", "viewed"]
    assert "sum to the change of equity" in words(app)
    assert "50 scenarios" in words(app).replace("\u00a0", " ")
    app.button_group(key="r.part").set_value("Stress").run()
    assert "Shocks of the spec's own" in words(app)
    app.button_group(key="r.part").set_value("Frontier").run()
    app.selectbox(key="r.front").set_value("130/30").run()
    assert not app.exception
    assert not app.error, app.error[0].value
    assert app.query_params["r.front"] == "130/30"
    assert "sum of absolute weights at most 1.6" in words(app)

    sides = {f"k.{letter}": f"{identity[:12]}.{trial}" for letter, trial in (("a", 0), ("b", 1))}
    compared = launch(monkeypatch, url, "compare", **sides)
    table = next(one.value for one in compared.dataframe if "strategy" in one.value.columns)
    assert table["strategy"].tolist() == ["trend", "viewed"]
    assert float(table["difference"][0].replace(",", "")) != 0


def test_runs__tell_the_best_by_a_measure_of_the_runs_own_engine(stored: Stored) -> None:
    url, identities = stored
    run = summary(open_store(url), identities["weights"])
    assert run.engine == "portfolio"
    assert _engine_of("[run]\nname = 'older'\nengine = 'book'\n") == "book"
    status = replace(run.status, objective="cvar_realised", best_value=0.0123)
    assert _best(status, run.engine).replace("\u00a0", " ") == "CVaR come true 1.2 %"
