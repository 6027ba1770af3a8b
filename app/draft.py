"""A sweep as a form has it, on its way to being a spec: axes, their sizes, and the document that `sweeps` checks."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from quantbot.errors import ParameterError
from quantbot.parameters import Parameter, Value

Mode = Literal["one value", "list", "range", "between"]
_SEPARATOR = re.compile(r"[\s,;]+")
_QUOTED = re.compile(r'parse_spec\("""\n(.*?)\n"""\)', re.DOTALL)
MAX_LISTED = 10_000


@dataclass(frozen=True)
class AxisDraft:
    """One row of the form.

    Attributes
    ----------
    mode
        Which of the other fields count.
    value
        Of "one value".
    values
        Of "list": text such as "80, 100, 120".
    start, stop, step
        Of "range", both ends included; the first two are also the ends of "between".
    log
        Of "between": drawn evenly on a logarithmic scale.
    """

    mode: Mode
    value: Value = 0
    values: str | Sequence[str] = ""
    start: float = 0
    stop: float = 0
    step: float = 1
    log: bool = False


@dataclass(frozen=True)
class Draft:
    """The whole form; empty fields are left out of the document, so that the spec's defaults hold."""

    strategy: str
    dataset: str
    name: str = ""
    assets: Sequence[str] = ()
    start: date | None = None
    end: date | None = None
    scenarios: str = ""
    axes: Mapping[str, tuple[Parameter, AxisDraft]] = field(default_factory=dict)
    sections: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    folds: Mapping[str, Any] = field(default_factory=dict)
    groups: Sequence[str] = ()
    metric: str = "sharpe"
    engine: str = "bars"


def axis_form(parameter: Parameter, axis: AxisDraft) -> Any:
    """Return a row as the spec's document has it: one value, or a table.

    Raises
    ------
    ParameterError
        If a list has something that is not a value of this parameter.

    Examples
    --------
    >>> from quantbot.parameters import integer
    >>> axis_form(integer("fast", 20, 2, 500, "Bars in the mean."), AxisDraft("list", values="5, 10 20"))
    {'values': [5, 10, 20]}
    """
    match axis.mode:
        case "one value":
            return parameter.check(axis.value)
        case "list":
            return {"values": listed(parameter, axis.values)}
        case "range":
            numbers = {"start": axis.start, "stop": axis.stop, "step": axis.step}
            return {name: _tidy(parameter, number) for name, number in numbers.items()}
        case "between":
            ends: dict[str, Any] = {"low": _tidy(parameter, axis.start), "high": _tidy(parameter, axis.stop)}
            return ends | ({"scale": "log"} if axis.log else {})


def listed(parameter: Parameter, values: str | Sequence[str]) -> list[Value]:
    """Read a list of values from text, or take chosen words."""
    words = [word for word in _SEPARATOR.split(values) if word] if isinstance(values, str) else list(values)
    if not words:
        raise ParameterError(f"{parameter.name} needs at least one value: {parameter.wanted}")
    if len(words) > MAX_LISTED:
        raise ParameterError(f"{parameter.name} lists {len(words)} values, {MAX_LISTED} are the most; use a range")
    return [parameter.check(word if parameter.kind == "choice" else _number(parameter, word)) for word in words]


def axis_size(form: Any) -> int | None:
    """Return how many values an axis has, by arithmetic alone; None where they are drawn."""
    if not isinstance(form, dict):
        return 1
    if "values" in form:
        return len(dict.fromkeys(form["values"]))
    if "low" in form:
        return None
    start, stop, step = (Decimal(str(form[name])) for name in ("start", "stop", "step"))
    return 0 if step <= 0 or stop < start else int((stop - start) / step) + 1


def is_drawn(search: Mapping[str, Any]) -> bool:
    """Return whether a search's first points are drawn, not laid out as a grid."""
    return "grid" not in (search.get("method", "grid"), search.get("initial"))


def points_counted(forms: Mapping[str, Any], search: Mapping[str, Any]) -> int:
    """Return the number of points, before a condition leaves some out."""
    if is_drawn(search):
        return int(search.get("n") or 0)
    return math.prod(axis_size(form) or 0 for form in forms.values())


def document(draft: Draft) -> dict[str, Any]:
    """Return the spec's document, in the order in which people read it.

    Raises
    ------
    ParameterError
        If a row can't be read.
    """
    data: dict[str, Any] = {"dataset": draft.dataset}
    data |= {"assets": list(draft.assets)} if draft.assets else {}
    data |= {name: moment for name, moment in (("start", draft.start), ("end", draft.end)) if moment is not None}
    data |= {"scenarios": draft.scenarios} if draft.scenarios else {}
    search = {name: value for name, value in draft.search.items() if value not in (None, "")}
    made: dict[str, Any] = {
        "version": 1,
        "run": ({"name": draft.name} if draft.name else {})
        | ({"engine": draft.engine} if draft.engine != "bars" else {}),
        "data": data,
        "strategy": {"name": draft.strategy} if draft.strategy else {},
        "parameters": {name: axis_form(parameter, axis) for name, (parameter, axis) in draft.axes.items()},
        "search": search if search != {"method": "grid"} else {},
        "folds": dict(draft.folds) if draft.folds.get("method", "none") != "none" else {},
        **{section: dict(values) for section, values in draft.sections.items()},
        "measures": {"groups": list(draft.groups)} if draft.groups else {},
        "objective": {"metric": draft.metric},
    }
    return {name: part for name, part in made.items() if part != {}}


def as_python(spec: str, store_url: str, workers: int) -> str:
    """Return a few lines of Python that start the sweep of a spec; `spec_text` reads them back."""
    quoted = spec.strip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return (
        "from datasets.store import open_store\nfrom sweeps import parse_spec, start_driver, submit\n\n"
        f'spec = parse_spec("""\n{quoted}\n""")\n'
        f"root = open_store({store_url!r})\nstart_driver(root.url, submit(spec, root), workers={workers})"
    )


def spec_text(text: str) -> str:
    """Return the TOML of what somebody pasted: TOML as it is, or the lines that `as_python` wrote.

    Examples
    --------
    >>> spec_text(as_python("version = 1", "file:///store", 2))
    'version = 1'
    """
    found = _QUOTED.search(text)
    if found is None:
        return text
    return found[1].replace('\\"\\"\\"', '"""').replace("\\\\", "\\").strip()


def _number(parameter: Parameter, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        raise ParameterError(f"{parameter.name} must be {parameter.wanted}; found {word[:40]!r}") from None
    return number


def _tidy(parameter: Parameter, number: float) -> int | float:
    """Return whole numbers as integers, as people write them."""
    whole = math.isfinite(number) and number == int(number)
    return int(number) if whole and (parameter.kind == "integer" or abs(number) < 2**53) else number
