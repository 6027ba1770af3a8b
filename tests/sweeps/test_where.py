"""The expression language of `search.where`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantbot.errors import SpecError
from sweeps.trial import Axis
from sweeps.where import MAX_LENGTH, bind_where, canonical_where, parse_where

KINDS = {
    "fast": "integer",
    "slow": "integer",
    "band": "number",
    "execution.fee_bps": "number",
    "execution.fill": "choice",
}
CHOICES = {"execution.fill": ("next_open", "same_close")}
COLUMNS = {
    "fast": np.array([5, 20, 60, 100]),
    "slow": np.array([100, 20, 90, 50]),
    "band": np.array([0.0, -1.5, 2.0, 0.5]),
    "execution.fee_bps": np.array([0.0, 10.0, 5.0, 1.0]),
    "execution.fill": np.array(["next_open", "same_close", "next_open", "same_close"]),
}


def holds(text):
    return parse_where(text, KINDS, CHOICES)(COLUMNS).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fast < slow", [True, False, True, False]),
        ("fast <= slow and band >= 0", [True, False, True, False]),
        ("5 < fast < slow", [False, False, True, False]),
        ("not fast < slow", [False, True, False, True]),
        ("fast == 5 or slow != 20 and band > 1", [True, False, True, False]),
        ("slow - fast > 2 * fast", [True, False, False, False]),
        ("slow / fast >= 1.5", [True, False, True, False]),
        ("fast % 20 == 0", [False, True, True, True]),
        ("min(fast, slow, 30) == 30", [False, False, True, True]),
        ("max(fast, slow) < 95", [False, True, True, False]),
        ("abs(band) > 1", [False, True, True, False]),
        ("-band < +1", [True, False, True, True]),
        ("execution.fee_bps * 2 <= 10", [True, False, True, True]),
        ("execution.fill == 'next_open'", [True, False, True, False]),
        ('"next_open" != execution.fill', [False, True, False, True]),
        ("execution.fill == execution.fill", [True] * 4),
        ("(fast\n  < slow)", [True, False, True, False]),
        ("1 < 2", [True] * 4),
        ("band / band == 1", [False, True, True, True]),  # 0 / 0 satisfies nothing
        ("1 / band > 0", [True, False, True, True]),  # 1 / 0 is infinite
    ],
)
def test_where__means_what_it_says(text, expected):
    assert holds(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid syntax"),
        ("fast <", "invalid syntax"),
        ("fsat < slow", "did you mean 'fast'"),
        ("execution.fee < 1", "no setting 'execution.fee'"),
        ("fast", "not a condition"),
        ("fast + 1", "not a condition"),
        ("fast and slow", "a condition is needed here"),
        ("(fast < slow) < slow", "join conditions with and, or"),
        ("(fast < slow) + 1 > 0", "a number is needed here"),
        ("fast < 'x'", "can't be compared"),
        ("execution.fill < 'x'", "== and != only"),
        ("execution.fill == 'nxt_open'", "did you mean 'next_open'"),
        ("fast ** 2 < slow", "Pow"),
        ("fast // 2 < slow", "FloorDiv"),
        ("fast in (1, 2)", "Tuple"),
        ("fast is 5", "Is"),
        ("~fast < 1", "Invert"),
        ("True", "finite number or a text"),
        ("1j < fast", "finite number or a text"),
        ("1e999 > fast", "finite number or a text"),
        ("9" * 1000 + " > fast", "finite number or a text"),
        ("9" * 5000, "are the most"),
        ("__import__('os').system('true') == 0", "can't be called"),
        ("().__class__ == 1", "not part of the language"),
        ("fast.__class__ == 1", "no setting 'fast.__class__'"),
        ("max(fast) < 1", "two or more"),
        ("abs(fast, slow) < 1", "one number"),
        ("min(fast, slow, key=abs) < 1", "can't be called"),
        ("min(*fast) < 1", "Starred"),
        ("[x for x in fast]", "ListComp"),
        ("(lambda: fast)() < 1", "can't be called"),
        ("f'{fast}' == 'a'", "JoinedStr"),
        ("(fast := 3) < 4", "NamedExpr"),
        ("fast < 1 # slow", "comments"),
        ("fast < slow\0", "can't be read|null|invalid"),
        ("(" * 300 + "fast < slow" + ")" * 300, "parenthes|can't be read"),
        ("not " * 400 + "fast < slow", "nested deeper|can't be read"),
        ("1+" * 500 + "1 < fast", "nested deeper"),
        ("\ud800 < fast", "search.where"),
    ],
)
def test_where__refuses_everything_else(text, reason):
    with pytest.raises(SpecError, match=reason) as caught:
        parse_where(text, KINDS, CHOICES)
    assert all(problem.startswith("search.where: ") for problem in caught.value.problems)
    assert len(str(caught.value)) < 600


def test_where__says_the_place_of_an_unknown_name():
    with pytest.raises(SpecError, match="at character 15 of 'fast < slow < sloow'"):
        parse_where("fast < slow < sloow", KINDS)


def test_where__sees_what_does_not_vary():
    fast = Axis("fast", np.array([5, 150]), "integer")
    condition = bind_where("fast < slow and execution.fill == 'x'", [fast], {"slow": 100, "execution.fill": "x"})
    assert condition({"fast": fast.values}).tolist() == [True, False]
    assert bind_where("slow > 1", [], {"slow": 100})({}, 3).tolist() == [True] * 3


def test_where__has_one_spelling():
    assert canonical_where("( fast<slow )and  (band>1)") == canonical_where("fast < slow and band > 1")
    assert canonical_where("fast < < slow") == "fast < < slow"


NAMES = st.sampled_from(["fast", "slow", "band", "execution.fee_bps"])
NUMBERS = st.recursive(
    NAMES | st.integers(0, 100).map(str) | st.floats(0, 100).map(repr),
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"({' '.join(parts)})")
        | inner.map(lambda text: f"abs({text})")
        | st.tuples(inner, inner).map(lambda parts: f"max({parts[0]}, {parts[1]})")
    ),
    max_leaves=6,
)
CONDITIONS = st.recursive(
    st.tuples(NUMBERS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS).map(" ".join),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})")
        | inner.map(lambda text: f"not ({text})")
    ),
    max_leaves=4,
)


@settings(deadline=None, max_examples=150)
@given(CONDITIONS)
def test_where__agrees_with_python_row_by_row(text):
    mask = parse_where(text, KINDS)(COLUMNS)
    for row in range(4):
        names = {
            name.replace(".", "_"): float(COLUMNS[name][row]) for name in ("fast", "slow", "band", "execution.fee_bps")
        }
        python = eval(text.replace("execution.fee_bps", "execution_fee_bps"), {"max": max, "abs": abs}, names)
        assert bool(mask[row]) == bool(python), (text, row)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60) | st.text("fastlow <>=()+-*/.,'\"0123456789notandr", max_size=MAX_LENGTH // 20))
def test_where__ends_in_a_condition_or_a_spec_error(text):
    try:
        condition = parse_where(text, KINDS, CHOICES)
    except SpecError:
        return
    assert condition(COLUMNS).shape == (4,)


def test_where__knows_the_settings_that_it_mentions():
    assert parse_where("slow > 3 and fast < slow", KINDS).names == ("fast", "slow")
