"""One row of the form: a declared parameter as one value, a list, a range, or an interval to draw from."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st

from app import draft as drafts
from app import format as fmt
from app.draft import AxisDraft, Mode
from app.views._keeping import first
from quantbot.errors import ParameterError
from quantbot.parameters import Parameter

_WIDTHS = [2.2, 1.6, 4.6, 1.1]


def row(parameter: Parameter, key: str, *, sampled: bool, varied: bool = False) -> AxisDraft:
    """Show one parameter and return what is asked of it.

    Parameters
    ----------
    sampled
        Whether points are drawn: "between" is offered then.
    varied
        Whether the row starts as a range around its default, in place of one value.
    """
    name, mode_place, inputs, size = st.columns(_WIDTHS, vertical_alignment="center")
    with name:
        unit = f" ({parameter.unit})" if parameter.unit else ""
        st.markdown(fmt.plain(f"{parameter.name}{unit}"), help=fmt.plain(f"{parameter.doc} {parameter.wanted}."))
    modes: list[Mode] = ["one value", "list"]
    if parameter.kind != "choice":
        modes += ["range", "between"] if sampled else ["range"]
    mode_key = f"{key}.mode"
    if st.session_state.get(mode_key) not in modes:
        st.session_state[mode_key] = "range" if varied else "one value"
    with mode_place:
        mode: Mode = st.selectbox(f"How {parameter.name} varies", modes, key=mode_key, label_visibility="collapsed")
    with inputs:
        axis = _word(parameter, mode, key) if parameter.kind == "choice" else _numeric(parameter, mode, key)
    with size:
        st.caption(_size(parameter, axis))
    return axis


def _word(parameter: Parameter, mode: Mode, key: str) -> AxisDraft:
    choices = parameter.choices
    if mode == "one value":
        first(f"{key}.value", str(parameter.default))
        value = st.selectbox(parameter.name, choices, key=f"{key}.value", label_visibility="collapsed")
        return AxisDraft(mode, value=value)
    first(f"{key}.words", list(choices))
    words = st.multiselect(parameter.name, choices, key=f"{key}.words", label_visibility="collapsed")
    return AxisDraft(mode, values=words)


def _numeric(parameter: Parameter, mode: Mode, key: str) -> AxisDraft:
    start, stop, step = suggested_range(parameter)
    if mode == "one value":
        return AxisDraft(mode, value=_number(parameter, "value", parameter.default, key))
    if mode == "list":
        example = ", ".join(dict.fromkeys(fmt.value(number) for number in (start, parameter.default, stop)))
        first(f"{key}.list", example)
        text = st.text_input(parameter.name, key=f"{key}.list", label_visibility="collapsed")
        return AxisDraft(mode, values=text)
    left, middle, right = st.columns(3, gap="xsmall")
    with left:
        low = _number(parameter, "from", start, key)
    with middle:
        high = _number(parameter, "to", stop, key)
    with right:
        if mode == "range":
            return AxisDraft(mode, start=low, stop=high, step=_number(parameter, "step", step, key))
        return AxisDraft(mode, start=low, stop=high, log=st.checkbox("log scale", key=f"{key}.log"))


def _number(parameter: Parameter, label: str, default: Any, key: str) -> float:
    whole = parameter.kind == "integer"
    kind = int if whole else float
    bounds: dict[str, Any] = {}
    if label != "step":
        low, high = parameter.low, parameter.high
        bounds = {
            "min_value": kind(low) if math.isfinite(low) else None,
            "max_value": kind(high) if math.isfinite(high) else None,
        }
    first(f"{key}.{label}", kind(default))
    number: float = st.number_input(
        f"{parameter.name} {label}",
        key=f"{key}.{label}",
        label_visibility="collapsed",
        help=None,
        format="%d" if whole else "%.6g",
        step=kind(1) if whole else None,
        **bounds,
    )
    return number


def suggested_range(parameter: Parameter) -> tuple[float, float, float]:
    """Return a range around the default, within the bounds, of about ten round steps.

    Examples
    --------
    >>> from quantbot.parameters import integer
    >>> suggested_range(integer("fast", 20, 2, 500, "Bars in the mean."))
    (10, 40, 5)
    """
    default = float(parameter.default)
    reach = abs(default) or 10.0
    start, stop = max(default - reach / 2, parameter.low), min(default + reach, parameter.high)
    if parameter.kind == "integer":
        step = max(_round((stop - start) / 8), 1)
        return math.floor(start), math.ceil(stop), int(step)
    return float(f"{start:.6g}"), float(f"{stop:.6g}"), _round((stop - start) / 8) or 1.0


def _round(step: float) -> float:
    """Return 1, 2 or 5 times a power of ten, near `step`."""
    if step <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(step))
    nearest = min((1, 2, 5, 10), key=lambda digit: abs(digit - step / power))
    return float(f"{nearest * power:.6g}")


def _size(parameter: Parameter, axis: AxisDraft) -> str:
    try:
        n_values = drafts.axis_size(drafts.axis_form(parameter, axis))
    except ParameterError:
        return ":red[not readable]"
    if n_values is None:
        return "drawn"
    return "fixed" if n_values == 1 and axis.mode == "one value" else fmt.plural(n_values, "value")
