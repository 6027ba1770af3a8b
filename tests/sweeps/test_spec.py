"""Specs: everything that is right about them survives, everything that is wrong is said at once."""

import random
import re
import string
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.errors import SpecError
from sweeps.sections import Interval, Range, Values
from sweeps.spec import load_spec, parse_spec, read_stored_spec
from sweeps.toml_text import to_toml

EXAMPLES = sorted((Path(__file__).parents[2] / "sweeps" / "examples").glob("*.toml"))
BASE = """
version = 1
[run]
name = "sma-sp500"
engine = "bars"
[data]
dataset = "demo/sp500"
assets = ["SPX"]
start = 2001-01-01
[strategy]
name = "sma_cross"
[parameters]
fast = { start = 5, stop = 60, step = 1 }
slow = { values = [80, 100, 120, 160, 200] }
"execution.fee_bps" = { values = [0, 5, 10] }
[search]
method = "grid"
where = "fast < slow"
[folds]
method = "holdout"
test = "20%"
[execution]
fill = "next_open"
fee_bps = 10
slippage_bps = 1
[measures]
groups = ["core", "path", "trades"]
[objective]
metric = "sharpe"
"""


def problems_of(document, **options):
    with pytest.raises(SpecError) as caught:
        parse_spec(document, **options)
    return caught.value.problems


def test_spec__of_the_issue_is_read():
    spec = parse_spec(BASE)
    assert spec.name == "sma-sp500"
    assert spec.parameters["fast"] == Range(start=5, stop=60, step=1)
    assert spec.parameters["slow"] == Values(values=(80, 100, 120, 160, 200))
    assert spec.data.start == date(2001, 1, 1)
    assert spec.execution == {"fill": "next_open", "fee_bps": 10, "slippage_bps": 1}
    assert spec.measures.groups == ("core", "path", "trades")


def test_spec__is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        parse_spec(BASE).data.dataset = "other"


def test_spec__from_python_equals_the_file():
    document = tomllib.loads(BASE)
    assert parse_spec(document) == parse_spec(BASE)
    document["parameters"]["slow"]["values"] = np.array([80, 100, 120, 160, 200])
    document["data"]["assets"] = ("SPX",)
    document["data"]["start"] = "2001-01-01"  # as JSON has it
    assert parse_spec(document) == parse_spec(BASE)


def test_spec__needs_little():
    spec = parse_spec({"version": 1, "data": {"dataset": "demo/sp500@ab12"}, "strategy": {"name": "sma_cross"}})
    assert (spec.name, spec.search.method, spec.folds.method) == ("sma_cross-sp500", "grid", "none")


def test_spec__takes_dotted_settings_without_quotes():
    spec = parse_spec(BASE.replace('"execution.fee_bps" =', "execution.fee_bps ="))
    assert spec == parse_spec(BASE)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_spec__round_trips_as_toml(path):
    spec = load_spec(path)
    again = read_stored_spec(spec.to_toml())
    assert again == spec
    assert again.canonical() == spec.canonical()
    assert again.to_toml() == spec.to_toml()


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(
        st.text(max_size=8).filter(str.isprintable),
        st.text(max_size=20).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.booleans()
        | st.datetimes()
        | st.lists(st.integers(0, 9), max_size=3),
        max_size=5,
    )
)
def test_toml_text__is_read_back_by_the_standard_library(table):
    assert tomllib.loads(to_toml({"table": table, "one": 1}).replace("\r\n", "\n")) == {"table": table, "one": 1}


# ---------------------------------------------------------------- identity


@pytest.mark.parametrize(
    "same",
    [
        BASE.replace('name = "sma-sp500"', 'name = "another-name"'),
        BASE.replace("fee_bps = 10\n", "fee_bps = 10.0\n"),
        BASE.replace("[80, 100, 120, 160, 200]", "[200, 160.0, 120, 100, 80, 80]"),
        BASE.replace("{ start = 5, stop = 60, step = 1 }", "{step=1.0,stop=60.5,start=5}"),
        BASE.replace("{ start = 5, stop = 60, step = 1 }", f"{{ values = {list(range(5, 61))} }}"),
        BASE.replace("fast < slow", "( fast<slow )"),
        BASE.replace('method = "grid"\n', ""),
        BASE.replace('engine = "bars"\n', ""),
        BASE.replace("fee_bps = 10\n", ""),  # the axis overrides it
        BASE.replace('["core", "path", "trades"]', '["trades", "core", "path"]'),
        BASE.replace("slow = { values = [80, 100, 120, 160, 200] }\n", "").replace(
            "[search]", "slow = { values = [80, 100, 120, 160, 200] }\n[search]"
        ),
        "# a comment\n" + BASE.replace("\n", "\r\n"),
    ],
)
def test_canonical__ignores_what_does_not_matter(same):
    assert parse_spec(same).canonical() == parse_spec(BASE).canonical()


@pytest.mark.parametrize(
    "other",
    [
        BASE.replace("demo/sp500", "demo/nasdaq"),
        BASE.replace("2001-01-01", "2001-01-02"),
        BASE.replace("sma_cross", "ema_cross"),
        BASE.replace("stop = 60", "stop = 61"),
        BASE.replace("fast < slow", "fast <= slow"),
        BASE.replace("20%", "25%"),
        BASE.replace("slippage_bps = 1", "slippage_bps = 2"),
        BASE.replace('"path", ', ""),
        BASE.replace('"sharpe"', '"total_return"'),
        BASE.replace('method = "grid"', 'method = "random"\nn = 5'),
    ],
)
def test_canonical__changes_with_what_matters(other):
    assert parse_spec(other).canonical() != parse_spec(BASE).canonical()


@pytest.mark.parametrize(
    ("short", "long", "other"),
    [
        ('"bayes"\nn = 50', '"bayes"\nn = 50\nbatch = 32\nseed = 0', '"bayes"\nn = 50\nbatch = 16'),
        (
            '"halving"\nn = 50\nrungs = 3',
            '"halving"\nn = 50\nrungs = 3\neta = 3\ninitial = "lhs"\nseed = 0',
            '"halving"\nn = 50\nrungs = 3\neta = 2',
        ),
        ('"lhs"\nn = 50', '"lhs"\nn = 50\nseed = 0', '"sobol"\nn = 50'),
    ],
)
def test_canonical__of_a_search_has_its_defaults(short, long, other):
    made = [parse_spec(BASE.replace('"grid"', text)).canonical() for text in (short, long, other)]
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize("search", ['"bayes"\nn = 50', '"halving"\nn = 50\nrungs = 3'])
def test_search_that_learns__is_refused_where_every_bar_is_a_test(search):
    text = BASE.replace('"grid"', search).replace('method = "holdout"\ntest = "20%"', 'method = "kfold"\nn = 4')
    assert 'method = "kfold"' in text
    (problem,) = problems_of(text)
    assert problem.startswith("search.method: a ")
    assert "kfold tests every bar; take folds.method holdout or walk_forward" in problem


def test_canonical__of_a_file_is_its_name_and_not_its_place(tmp_path):
    example = next(path for path in EXAMPLES if path.stem == "user-strategy")
    moved = tmp_path / "elsewhere.toml"
    moved.write_text(example.read_text().replace("my_strategy.py", "sub/my_strategy.py"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "my_strategy.py").write_text((example.parent / "my_strategy.py").read_text())
    assert load_spec(moved).canonical() == load_spec(example).canonical()


# ---------------------------------------------------------------- problems


def test_spec__says_every_problem_at_once_with_its_place_and_the_nearest_name():
    problems = problems_of(
        """
        version = 1
        parametres = 1
        [run]
        naem = "x"
        name = "<img src=x>"
        [data]
        start = "someday"
        assets = []
        [strategy]
        name = "sma_cross"
        [parameters]
        fsat = 5
        fast = { start = 50, stop = 5 }
        slow = { values = [] }
        short = { valeus = [1] }
        "execution.fee_bsp" = 1
        "execution.fee_bps" = { values = [-1, 5, "6"] }
        "execution.fill" = "nxt_open"
        [search]
        method = "gird"
        where = 5
        [folds]
        method = "holdout"
        [execution]
        fee = 1
        slippage_bps = "1"
        [measures]
        groups = ["cor"]
        [objective]
        metric = "sharp"
        """
    )
    for expected in [
        "parametres: no such section; .*did you mean 'parameters'",
        "run.naem: no such field; .*did you mean 'name'",
        "run.name: must have 1 to 128 letters",
        "data.dataset: is required",
        "data.start: must be a date such as 2001-01-31.*found 'someday'",
        "data.assets: must have at least one item",
        "parameters.fsat: .*did you mean 'fast'",
        "parameters.fast: stop 5 lies before start 50",
        "parameters.slow.values: must have at least one item",
        "parameters.short: an axis is .*did you mean 'values'",
        "parameters.execution.fee_bsp: .*did you mean 'execution.fee_bps'",
        "parameters.execution.fee_bps: must be a number .*found -1",
        "parameters.execution.fee_bps: must be a number .*found '6'",
        "parameters.execution.fill: .*did you mean 'next_open'",
        "search.method: must be .*did you mean 'grid'",
        "search.where: must be a valid string; found 5",
        "folds: a holdout needs test",
        "execution.fee: .*did you mean 'fee_bps'",
        "execution.slippage_bps: must be a number .*found '1'",
        "measures.groups\\[0\\]: no group 'cor'.*did you mean 'core'",
        "objective.metric: no measure 'sharp'.*did you mean 'sharpe'",
    ]:
        assert any(re.match(expected, problem) for problem in problems), (expected, problems)
    assert len(problems) == 21


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("version = 1", "version = 2", "version: this QuantBot reads version 1, found 2"),
        ("version = 1", "version = true", "version: .* found true"),
        ("version = 1\n", "", "version: is required"),
        ('"bars"', '"brs"', "run.engine: no engine 'brs'.*did you mean 'bars'"),
        ('"sma_cross"', '"sma_cros"', "strategy.name: .*sma_cros.*did you mean 'sma_cross'"),
        ('"sma_cross"', '"nowhere.py:f"', "strategy.name: .*nowhere.py"),
        ('"sma_cross"', '"nowhere.module:f"', "strategy.name: .*nowhere"),
        ("start = 2001-01-01", "start = 2001-01-02\nend = 2001-01-01", "data: start 2001-01-02 must lie before end"),
        ("start = 2001-01-01", "start = 09:30:00", "data.start: must be a date"),
        ("step = 1", "step = 0", "parameters.fast: step must be more than 0"),
        ("step = 1", "step = 0.5", "parameters.fast.step: fast takes whole numbers"),
        ("step = 1", "steps = 1", "parameters.fast.steps: no such field.*did you mean 'step'"),
        ("start = 5,", "start = 1,", "parameters.fast: must be a whole number from 2"),
        ("start = 5,", "start = true,", "parameters.fast.start: must be a number; found true"),
        ("start = 5,", "start = inf,", "parameters.fast.start: must be a number, finite"),
        ("start = 5,", f"start = {'9' * 40},", "parameters.fast.start: must be a number of a size"),
        ("{ values = [80, 100, 120, 160, 200] }", "[80, 100]", r"parameters.slow: write an axis as \{ values"),
        ("{ values = [80, 100, 120, 160, 200] }", "{ low = 80, high = 200 }", "parameters.slow: a grid needs n"),
        (
            "{ values = [80, 100, 120, 160, 200] }",
            "{ low = 80, high = 20, n = 2 }",
            "parameters.slow: high 20 lies below",
        ),
        ("{ values = [80, 100, 120, 160, 200] }", '"100"', "parameters.slow: must be a whole number .*found '100'"),
        ("{ values = [80, 100, 120, 160, 200] }", "nan", "parameters.slow: must be a number or a text, finite"),
        ("fast < slow", "fast < sloow", "search.where: no setting 'sloow'; did you mean 'slow'"),
        ('method = "grid"', "seed = 3", "search: a grid takes no n and no seed"),
        ('method = "grid"', 'method = "sobol"', "search: a sobol search needs n"),
        ('method = "grid"', 'method = "lhs"\nn = 5\nbatch = 2', "search: a lhs search takes no batch"),
        (
            'method = "grid"',
            'method = "halving"\neta = 3\nbatch = 4',
            "search: a halving search takes no batch; a halving search needs n, .*; halving needs either rungs, or",
        ),
        (
            'method = "grid"',
            'method = "halving"\ninitial = "grid"\nn = 9\nrungs = 3',
            "search: a halving of a grid takes no n",
        ),
        ('method = "grid"', 'method = "halving"\nn = 9\nrungs = 1', "search.rungs: must be greater than or equal to 2"),
        ('method = "grid"', 'method = "halving"\nn = 9\nmin_history = "x"', "search.min_history: a length must be"),
        ('method = "grid"', 'method = "bayes"\nn = 30000', "search: a bayes search takes at most 20,000 points"),
        ('method = "grid"', 'method = "bayse"\nn = 30', "search.method: must be .*did you mean 'bayes'"),
        ('method = "grid"', 'method = "random"\nn = 5\nseed = -1', "search.seed: must be greater than or equal to 0"),
        ('method = "grid"', 'method = "random"\nn = 5\nseed = "x"', "search.seed: must be a valid integer; found 'x'"),
        ('method = "grid"', f'method = "random"\nn = 5\nseed = {2**70}', "search.seed: "),
        ("20%", "twenty", "folds.test: a length must be"),
        ("fee_bps = 10", "fee_bps = -10", "execution.fee_bps: must be a number .*found -10"),
        ("fee_bps = 10", "initial_cash = 0", "execution.initial_cash: must be a number"),
        ("fee_bps = 10", "fee_bps = [1]", r"execution.fee_bps: must be a number or a text; found \[1\]"),
        ('"sharpe"', '"cvar_95"', "objective.metric: cvar_95 is of group tail; add it to measures.groups"),
        ('"sharpe"', '"n_trades"', "objective.metric: more n_trades is neither better nor worse"),
        ("[data]", "[data", r"is no TOML: .*line 6"),
        ("[data]", "[run]", r"is no TOML: .*line 6"),
    ],
)
def test_spec__names_what_is_wrong(before, after, expected):
    assert before in BASE
    problems = problems_of(BASE.replace(before, after, 1))
    assert any(re.match(expected, problem) for problem in problems), problems
    assert len(problems) <= 2


def test_spec__says_which_file_and_not_where_it_looked(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_bytes(b"version = 1\nname = '\xff'\n")
    with pytest.raises(SpecError, match=r"broken\.toml: 1 problem\n  - is no UTF-8 text: byte 0xff in line 2"):
        load_spec(path)
    with pytest.raises(SpecError, match="found a folder"):
        load_spec(tmp_path)
    with pytest.raises(SpecError, match="found nothing"):
        load_spec(tmp_path / "absent.toml")


def test_spec__reads_a_file_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    assert load_spec(path) == parse_spec(BASE)


def test_spec__finds_a_strategy_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = load_spec(next(path for path in EXAMPLES if path.stem == "user-strategy"))
    assert spec.strategy.name == "my_strategy.py:dip"
    assert Path(spec.reference.partition(":")[0]).is_file()


@pytest.mark.parametrize(
    "bomb",
    [
        "a = " + "[" * 100_000,
        "a = " + "{b=" * 100_000,
        ".".join("a" * 300_000) + " = 1",
        "[" + ".".join("a" * 300_000) + "]",
        "a = " + "9" * 900_000,
        "version = 1\n" + "x" * 1_000_001,
        "\n".join(f"k{i} = 1" for i in range(60_000)),
        "version = 1\n[parameters]\n" + "\n".join(f"k{i} = 1" for i in range(60_000)),
        "version = 1\n[parameters]\nfast = { values = [" + "1," * 400_000 + "] }",
        "version = 1\n[parameters]\nfast = { values = [" + "true," * 100_000 + "] }",
        "version = 1\n[parameters]\nfast = { values = [" + "'" + "x" * 900_000 + "'] }",
        "version = 1\n[parameters]\n" + "x" * 900_000 + " = 5",
        "version = 1\n[data]\ndataset = '" + "x" * 900_000 + "'",
        "version = 1\n[strategy]\nname = '" + "x" * 900_000 + "'",
        "version = 1\n[search]\nwhere = '" + "(" * 900_000 + "'",
        "version = 1\nrun = 0x" + "f" * 900_000,
        "a = '''" + "\\u0000" * 100_000,
        "version = 1\n[a]\n" + "[[a.b]]\n" * 100_000,
    ],
    ids=lambda bomb: f"{bomb[:30]!r}",
)
@pytest.mark.timeout(20)
def test_spec__bombs_are_refused_in_short(bomb):
    with pytest.raises(SpecError) as caught:
        parse_spec(bomb)
    assert len(str(caught.value)) < 60_000


def test_spec__from_python_may_be_anything():
    itself: dict[str, object] = {}
    itself["data"] = itself
    for document in (itself, {1: 2}, {"data": object()}, {"data": {"dataset": b"x"}}, {"run": float("nan")}):
        assert problems_of(document)
    assert problems_of({"version": 1, "parameters": {"fast": {"values": np.zeros((600_000,))}}})


# ---------------------------------------------------------------- reliability: whatever comes in, it ends in time

VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.sampled_from(["fast", "grid", "20%", "holdout", "sma_cross", "core", "sharpe", "next_open", "fast < slow"])
)
KEYS = st.sampled_from(
    ["values", "start", "stop", "step", "low", "high", "n", "scale", "method", "name", "test", "fast", "seed", "where"]
) | st.text(max_size=6)
TREES = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)


def places_in(document, prefix=()):
    """Return the path of every value in a document."""
    found = []
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        found.append((*prefix, key))
        if isinstance(value, dict | list):
            found += places_in(value, (*prefix, key))
    return found


PLACES = places_in(tomllib.loads(BASE))


@st.composite
def mutated_documents(draw):
    document = tomllib.loads(BASE)
    for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=4)):
        node = document
        for key in place[:-1]:
            node = node[key] if isinstance(node, dict) and key in node else None
            if not isinstance(node, dict):
                break
        if not isinstance(node, dict):
            continue
        match draw(st.sampled_from(["drop", "replace", "add", "rename"])):
            case "drop":
                node.pop(place[-1], None)
            case "replace":
                node[place[-1]] = draw(TREES)
            case "add":
                node[draw(KEYS)] = draw(TREES)
            case "rename":
                node[draw(KEYS)] = node.pop(place[-1], 1)
    return document


def test_section_without_a_value__is_as_good_as_none():
    document = tomllib.loads(BASE)
    document["execution"] = {}
    spec = parse_spec(document)
    assert spec.sections == {}
    assert read_stored_spec(spec.to_toml()) == spec


@settings(deadline=None, max_examples=400)
@given(mutated_documents())
def test_spec__mutated_ends_in_a_spec_or_a_spec_error(document):
    try:
        spec = parse_spec(document)
    except SpecError as error:
        problems = error.problems
    else:
        problems = ["none"]
        assert read_stored_spec(spec.to_toml()) == spec
        assert spec.canonical() == read_stored_spec(spec.to_toml()).canonical()
    assert problems
    assert all(isinstance(problem, str) and 0 < len(problem) < 5_000 for problem in problems)


def test_spec__with_broken_characters_ends_in_a_spec_or_a_spec_error():
    generator = random.Random(20260101)
    n_valid = 0
    for _ in range(600):
        text = bytearray(BASE.encode())
        for _ in range(generator.randint(1, 6)):
            at = generator.randrange(len(text))
            match generator.randrange(4):
                case 0:
                    text[at] = generator.randrange(256)
                case 1:
                    del text[at : at + generator.randint(1, 20)]
                case 2:
                    text[at:at] = generator.choice(string.printable).encode() * generator.randint(1, 5)
                case 3:
                    text[at:at] = text[at : at + generator.randint(1, 60)]
        try:
            parse_spec(bytes(text))
            n_valid += 1
        except SpecError:
            pass
    assert 0 < n_valid < 600


def test_moments__keep_their_zone():
    spec = parse_spec(BASE.replace("start = 2001-01-01", "start = 2001-01-01T09:30:00-05:00"))
    assert spec.data.start == datetime(2001, 1, 1, 14, 30, tzinfo=UTC)
    assert read_stored_spec(spec.to_toml()) == spec


def test_interval__on_a_log_scale_needs_positive_ends():
    with pytest.raises(ValueError, match="a log scale needs low above 0"):
        Interval(low=0, high=1, n=3, scale="log")


@pytest.mark.parametrize(
    ("metric", "groups", "said"),
    [
        ("profit_factor", ["core", "trades"], "objective.metric: profit_factor of several ranges .* choose one of"),
        ("cvar_95", ["tail"], "objective.metric: cvar_95 .* needs the returns"),
        ("sortino", ["path"], "measures.groups: sortino on a train of several folds needs core too"),
    ],
)
def test_folds__of_several_pieces_want_an_objective_that_rows_can_pool(metric, groups, said):
    document = {
        "version": 1,
        "data": {"dataset": "demo/sp500"},
        "strategy": {"name": "sma_cross"},
        "measures": {"groups": groups},
        "objective": {"metric": metric},
    }
    parse_spec({**document, "folds": {"method": "walk_forward", "n": 3}})  # each train is one fold
    for folds in ({"method": "kfold", "n": 4}, {"method": "cpcv", "groups": 6, "test_groups": 2}):
        with pytest.raises(SpecError, match=said):
            parse_spec({**document, "folds": folds})
