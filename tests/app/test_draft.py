from __future__ import annotations

import math
from datetime import date

import pytest

from app.draft import (
    AxisDraft,
    Draft,
    as_python,
    axis_form,
    axis_size,
    document,
    listed,
    points_counted,
    spec_text,
)
from quantbot.errors import ParameterError
from quantbot.parameters import choice, integer, number

FAST = integer("fast", 20, 2, 500, "Bars in the fast mean.")
BAND = number("band", 1.5, 0.1, 5, "Deviations.")
FILL = choice("fill", "next_open", ["next_open", "same_close"], "When orders fill.")


def test_axis__of_one_value_is_that_value() -> None:
    assert axis_form(FAST, AxisDraft("one value", value=30.0)) == 30
    assert axis_form(FILL, AxisDraft("one value", value="same_close")) == "same_close"


def test_axis__of_a_range_has_whole_numbers_where_it_can() -> None:
    assert axis_form(FAST, AxisDraft("range", start=5.0, stop=60.0, step=1.0)) == {"start": 5, "stop": 60, "step": 1}
    assert axis_form(BAND, AxisDraft("range", start=0.5, stop=2.0, step=0.25))["step"] == 0.25


def test_axis__between_says_its_scale_only_when_it_is_logarithmic() -> None:
    assert axis_form(BAND, AxisDraft("between", start=1, stop=2)) == {"low": 1, "high": 2}
    assert axis_form(BAND, AxisDraft("between", start=1, stop=2, log=True))["scale"] == "log"


@pytest.mark.parametrize("text", ["5,10,20", "5 10 20", " 5; 10,\n20 "])
def test_list__takes_commas_spaces_and_lines(text: str) -> None:
    assert listed(FAST, text) == [5, 10, 20]


@pytest.mark.parametrize("text", ["", "five", "5, 1e9", "2.5", "nan", "1" * 400])
def test_list__names_what_it_can_not_take(text: str) -> None:
    with pytest.raises(ParameterError, match="fast"):
        listed(FAST, text)


def test_list__of_words_is_a_choice() -> None:
    assert listed(FILL, ["same_close"]) == ["same_close"]


@pytest.mark.parametrize(
    ("form", "size"),
    [(20, 1), ("word", 1), ({"values": [1, 2, 2]}, 2), ({"start": 5, "stop": 60, "step": 1}, 56),
     ({"start": 0.1, "stop": 0.7, "step": 0.1}, 7), ({"start": 5, "stop": 1, "step": 1}, 0),
     ({"low": 1, "high": 2}, None)],
)  # fmt: skip
def test_size__counts_without_building(form: object, size: int | None) -> None:
    assert axis_size(form) == size


def test_points__multiply_on_a_grid_and_are_given_when_drawn() -> None:
    forms = {"fast": {"start": 1, "stop": 10, "step": 1}, "fee": {"values": [0, 5]}, "slow": 100}
    assert points_counted(forms, {"method": "grid"}) == 20
    assert points_counted(forms, {"method": "sobol", "n": 64}) == 64
    assert points_counted(forms, {"method": "bayes", "n": 64, "batch": 8}) == 64
    assert points_counted(forms, {"method": "halving", "initial": "grid", "rungs": 3}) == 20


def test_document__leaves_out_what_is_empty() -> None:
    made = document(Draft("sma_cross", "demo/sp500", search={"method": "grid", "where": ""}, folds={"method": "none"}))
    assert made == {
        "version": 1,
        "data": {"dataset": "demo/sp500"},
        "strategy": {"name": "sma_cross"},
        "objective": {"metric": "sharpe"},
    }


def test_document__is_a_spec() -> None:
    from sweeps.spec import parse_spec
    from sweeps.toml_text import to_toml

    draft = Draft(
        "sma_cross",
        "demo/sp500",
        name="mine",
        assets=["SPX"],
        start=date(2001, 1, 1),
        axes={"fast": (FAST, AxisDraft("range", start=5, stop=9, step=1)), "slow": (FAST, AxisDraft("list", values="50 90"))},  # noqa: E501
        search={"method": "grid", "where": "fast < slow"},
        folds={"method": "holdout", "test": "20%"},
        metric="sharpe",
    )  # fmt: skip
    made = document(draft)
    assert math.prod(axis_size(form) or 0 for form in made["parameters"].values()) == 10
    assert parse_spec(to_toml(made)).name == "mine"


@pytest.mark.parametrize(
    "spec", ["version = 1", '[run]\nname = "a \\"b\\" \\\\ c"', 'where = """\nfast < slow\n"""', "path = 'C:\\new'"]
)
def test_python__of_a_spec_reads_back_as_that_spec(spec: str) -> None:
    written = as_python(spec, "file:///store", 2)
    assert spec_text(written) == spec
    compile(written, "pasted", "exec")


def test_python__of_a_spec_is_the_spec_to_python_too() -> None:
    import ast

    spec = 'name = "\\u00e9"\nwhere = """a < b"""'
    calls = [node for node in ast.walk(ast.parse(as_python(spec, "x", 1))) if isinstance(node, ast.Call)]
    quoted = next(call.args[0] for call in calls if getattr(call.func, "id", "") == "parse_spec")
    assert isinstance(quoted, ast.Constant)
    assert str(quoted.value).strip() == spec


def test_pasted__toml_stays_as_it_is() -> None:
    assert spec_text("version = 1\n[run]\n") == "version = 1\n[run]\n"
