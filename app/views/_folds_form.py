"""How time is divided, as a part of the form: which folds, how long, and how far apart."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.views._keeping import first

METHODS = {
    "none": "none", "holdout": "holdout", "walk_forward": "walk-forward", "kfold": "k-fold", "cpcv": "CPCV",
}  # fmt: skip
_MEANINGS = {
    "none": "The whole period, once: nothing is kept back to test a choice.",
    "holdout": "Choose on the first part, test on the last.",
    "walk_forward": "Choose again and again, each time on what came before, and test on what follows.",
    "kfold": "Each part is the test once; the others are its train, cut where they touch it.",
    "cpcv": "Every combination of groups is a test: many choices, and several paths through all of time.",
}


def folds_form() -> dict[str, Any]:
    """Show the form of folds and return the spec's section; what stands at its default is left out."""
    with st.expander("Folds", expanded=st.session_state.get("n.folds", "none") != "none"):
        first("n.folds", "none")
        method = str(
            st.segmented_control(
                "Divide time", list(METHODS), key="n.folds", format_func=METHODS.__getitem__, required=True
            )
        )
        st.caption(_MEANINGS[method])
        if method == "none":
            return {"method": "none"}
        made: dict[str, Any] = {"method": method}
        left, middle, right = st.columns(3)
        with left:
            made |= _own(method)
        with middle:
            made["purge"] = _whole("Purge (bars)", "n.purge", 0, 10**9, 0, "Bars that a label reaches ahead.")
        with right:
            made["embargo"] = _whole("Embargo (bars)", "n.embargo", 0, 10**9, 0, "More bars left out beside a test.")
        if method == "walk_forward":
            first("n.window", "rolling")
            window = st.segmented_control(
                "Train", ["rolling", "anchored"], key="n.window", required=True,
                help="Whether it keeps its length, or always begins at the beginning.",
            )  # fmt: skip
            made |= {"window": window} if window != "rolling" else {}
        if method == "holdout" and st.toggle(
            "Lock the test", key="n.locked",
            help="Nobody sees the test until somebody unlocks it, which is put on record and counted.",
        ):  # fmt: skip
            made["locked"] = True
    return {name: value for name, value in made.items() if value != 0}


def _own(method: str) -> dict[str, Any]:
    """Show what only this method takes."""
    match method:
        case "holdout":
            first("n.test", "20%")
            text: str = st.text_input("Test", key="n.test", help="The last part (20%, 250, 90d), or its first day.")
            return {"test": int(text) if text.strip().isdecimal() else text.strip()}
        case "cpcv":
            groups = _whole("Groups", "n.groups_of_time", 2, 1_000, 6, "Parts into which time is divided.")
            tests = _whole("Groups in a test", "n.test_groups", 1, 1_000, 2, "Every combination of so many is a test.")
            return {"groups": groups, "test_groups": tests}
    return {"n": _whole("Number of tests", "n.tests", 1 if method == "walk_forward" else 2, 1_000, 5)}


def _whole(label: str, key: str, low: int, high: int, default: int, told: str | None = None) -> int:
    first(key, default)
    st.session_state[key] = min(max(int(st.session_state[key]), low), high)
    return int(st.number_input(label, low, high, key=key, help=told))
