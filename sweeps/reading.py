"""From bytes to the sections of a spec, with every problem on the way; whatever comes in, it ends in time."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Container, Mapping
from datetime import date
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from quantbot.engine import Engine
from quantbot.errors import SpecError
from quantbot.parameters import nearest
from sweeps.sections import (
    AxisForm,
    Data,
    Folds,
    Interval,
    Measures,
    Objective,
    Range,
    Run,
    Scalar,
    Search,
    Section,
    StrategyChoice,
    Values,
)

VERSION = 1
MAX_BYTES = 1_000_000  # reliability.md, B6
MAX_PROBLEMS = 50
_MAX_DEPTH = 8  # a spec has 4
_MAX_ITEMS = 500_000  # 1 MB of TOML holds fewer
_MAX_DOTS = 64  # tomllib takes time quadratic in the parts of a dotted key
_NO_KEY = re.compile(r"[,=\[\]{}#\n]")
_SECTIONS: dict[str, type[Section]] = {
    "run": Run,
    "data": Data,
    "strategy": StrategyChoice,
    "search": Search,
    "folds": Folds,
    "measures": Measures,
    "objective": Objective,
}
_MOST_ROWS = 10_000  # of one table
_SCALAR: TypeAdapter[Any] = TypeAdapter(Scalar)
_FORM_KEYS: dict[type[Section], set[str]] = {form: set(form.model_fields) for form in (Values, Range, Interval)}

T = TypeVar("T")


def parse_toml(text: str | bytes, source: str) -> dict[str, Any]:
    """Parse TOML of bounded size and depth, or raise `SpecError` with line and column."""
    if len(text) > MAX_BYTES:
        raise SpecError(f"is larger than {MAX_BYTES:,} bytes; a spec says axes, not points", source)
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            wrong = error.object[error.start]
            raise SpecError(f"is no UTF-8 text: byte 0x{wrong:02x} in line {line}", source) from None
    text = text.removeprefix("\ufeff")
    if any(piece.count(".") > _MAX_DOTS for piece in _NO_KEY.split(text)):
        raise SpecError(f"has a name of more than {_MAX_DOTS} dots", source)
    try:
        return plain_table(tomllib.loads(text), source)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"is no TOML: {str(error)[:300]}", source) from None
    except RecursionError:
        raise SpecError(f"is nested deeper than {_MAX_DEPTH} levels", source) from None
    except SpecError:
        raise
    except ValueError as error:  # numbers that Python refuses: thousands of digits, a 13th month
        raise SpecError(f"is no TOML: {str(error)[:300]}", source) from None


def plain_table(document: Mapping[Any, Any], source: str) -> dict[str, Any]:
    """Copy a document into plain dictionaries, lists and values, of bounded size and depth."""
    budget = [_MAX_ITEMS]

    def copy(value: Any, depth: int) -> Any:
        budget[0] -= 1
        if depth > _MAX_DEPTH:
            raise SpecError(f"is nested deeper than {_MAX_DEPTH} levels", source)
        if budget[0] < 0:
            raise SpecError(f"has more than {_MAX_ITEMS:,} items; say a long axis as start, stop, step", source)
        if isinstance(value, Mapping):
            if wrong := [key for key in value if not isinstance(key, str)]:
                raise SpecError(f"keys must be texts, found {show(wrong[0])}", source)
            return {key: copy(item, depth + 1) for key, item in value.items()}
        if isinstance(value, np.ndarray):
            if value.size > budget[0]:
                raise SpecError(f"has more than {_MAX_ITEMS:,} items; say a long axis as start, stop, step", source)
            return copy(value.tolist(), depth)
        if isinstance(value, (list, tuple, range)):
            return [copy(item, depth + 1) for item in value]
        return value.item() if isinstance(value, np.generic) else value

    table: dict[str, Any] = copy(document, 0)
    return table


class Reading:
    """The sections of a document, read one by one, so that a broken one does not hide the next one's problems.

    Attributes
    ----------
    parts
        What could be read, by the names of `Spec`'s fields.
    problems
        What could not.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.parts: dict[str, Any] = {}
        self.problems: list[str] = []
        if "run" in document:
            self._section("run", Run)

    def attempt(self, make: Callable[[], T]) -> T | None:
        """Return what `make` makes, or note why it can't."""
        try:
            return make()
        except SpecError as error:
            self.problems += error.problems
            return None

    def read(self, engine: Engine) -> None:
        """Read everything but [run]."""
        own = list(engine.sections)
        required = ("data", "strategy") if engine.takes_strategy else ("data",)
        self._version()
        self._unknown([*_SECTIONS, "version", "parameters", *own])
        for name, model in _SECTIONS.items():
            if name == "strategy" and name in self.document and not engine.takes_strategy:
                self.problems.append(f"strategy: engine {engine.name} decides by its own settings; leave it out")
            elif name in self.document and name != "run":
                self._section(name, model)
            elif name in required:
                self.problems.append(f"{name}: is required; add a [{name}] table")
        self.parts["parameters"] = self._parameters(own)
        self.parts["tables"] = {name: rows for name in engine.tables if (rows := self._rows(name))}
        self.parts["sections"] = {
            name: values for name in own if name in self.document and (values := self._values(name, engine.tables))
        }

    def _version(self) -> None:
        version = self.document.get("version")
        if version is None:
            self.problems.append(f"version: is required; write version = {VERSION} at the top")
        elif version != VERSION or isinstance(version, bool) or not isinstance(version, int):
            self.problems.append(f"version: this QuantBot reads version {VERSION}, found {show(version)}")
        else:
            self.parts["version"] = VERSION

    def _unknown(self, known: list[str]) -> None:
        for key in [key for key in self.document if key not in known][:MAX_PROBLEMS]:
            self.problems.append(f"{key[:80]}: no such section; there are {', '.join(known)}{nearest(key[:80], known)}")

    def _section(self, name: str, model: type[Section]) -> None:
        if (table := self._table(name)) is None:
            return
        try:
            self.parts[name] = model.model_validate(table)
        except ValidationError as error:
            self._note(error, name, model)

    def _table(self, name: str) -> dict[str, Any] | None:
        table = self.document[name]
        if isinstance(table, dict):
            return table
        self.problems.append(f"{name}: must be a table ([{name}]), found {show(table)}")
        return None

    def _parameters(self, engine_sections: list[str]) -> dict[str, AxisForm]:
        table = self._table("parameters") if "parameters" in self.document else None
        flat: dict[str, Any] = {}
        for name, value in (table or {}).items():
            if name in engine_sections and isinstance(value, dict):  # execution.fee_bps without quotes
                flat |= {f"{name}.{key}": item for key, item in value.items()}
            else:
                flat[name] = value
        forms = ((name, self._form(name, value)) for name, value in flat.items())
        return {name: form for name, form in forms if form is not None}

    def _form(self, name: str, value: Any) -> AxisForm | None:
        place = f"parameters.{name[:80]}"
        if isinstance(value, list):
            self.problems.append(f"{place}: write an axis as {{ values = [...] }}, found a list")
            return None
        if not isinstance(value, dict):
            scalar: AxisForm | None = self._scalar(place, value)
            return scalar
        overlap = {form: len(keys & value.keys()) for form, keys in _FORM_KEYS.items()}
        form = max(overlap, key=lambda form: overlap[form])
        if not overlap[form]:
            keys = sorted(set.union(*_FORM_KEYS.values()))
            near = nearest(next(iter(value), "")[:80], keys)
            self.problems.append(
                f"{place}: an axis is {{ values }}, {{ start, stop, step }} or {{ low, high, n, scale }}, found "
                f"{show(value)}{near}"
            )
            return None
        try:
            made: AxisForm = form.model_validate(value)  # type: ignore[assignment]
        except ValidationError as error:
            self._note(error, place, form)
            return None
        return made

    def _values(self, name: str, tables: Container[str]) -> dict[str, Any]:
        table = self._table(name) or {}
        values = {
            key: self._scalar(f"{name}.{key[:80]}", value)
            for key, value in table.items()
            if f"{name}.{key}" not in tables
        }
        return {key: value for key, value in values.items() if value is not None}

    def _rows(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the rows of a table within a section, each a table itself; what they hold is checked elsewhere."""
        section, _, key = name.partition(".")
        whole = self.document.get(section)
        rows = whole.get(key, {}) if isinstance(whole, dict) else {}
        if not isinstance(rows, dict):
            self.problems.append(f"{name}: must be a table ([{name}]), found {show(rows)}")
            return {}
        if len(rows) > _MOST_ROWS:
            self.problems.append(f"{name}: must have at most {_MOST_ROWS:,} rows, found {len(rows):,}")
            return {}
        for row, fields in rows.items():
            if not isinstance(fields, dict):
                self.problems.append(f"{name}.{row[:80]}: must be a table such as {{ ... }}, found {show(fields)}")
        return {row: _flat(fields) for row, fields in rows.items() if isinstance(fields, dict)}

    def _scalar(self, place: str, value: Any) -> Any:
        try:
            return _SCALAR.validate_python(value, strict=True)
        except ValidationError as error:
            self._note(error, place, None)
            return None

    def _note(self, error: ValidationError, place: str, model: type[Section] | None) -> None:
        details = error.errors(include_url=False)
        self.problems += [problem_text(detail, place, model) for detail in details[:MAX_PROBLEMS]]
        if len(details) > MAX_PROBLEMS:
            self.problems.append(f"{place}: ... and {len(details) - MAX_PROBLEMS:,} more problems")


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a row, those of tables within it dotted: [pool.strategies.calm.optimise] beta = 0.9."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        found |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
    return found


def problem_text(detail: ErrorDetails, place: str, model: type[Section] | None) -> str:
    """Say one problem as ``data.assets[0]: what was needed; found this``."""
    fields = list(model.model_fields) if model else []
    for part in detail["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part[:80]}"
    match detail["type"]:
        case "extra_forbidden":
            name = str(detail["loc"][-1])[:80]
            return f"{place}: no such field; there are {', '.join(fields)}{nearest(name, fields)}"
        case "missing":
            return f"{place}: is required"
        case "too_short":
            return f"{place}: must have at least one item"
        case "too_long" | "string_too_long":
            return f"{place}: must have at most {detail['ctx']['max_length']:,} items or characters"
        case "value_error":
            reason = str(detail["ctx"]["error"])
            return reason_with_found(place, reason, detail["input"])
        case "literal_error":
            reason = f"must be {detail['ctx']['expected']}"
            words = re.findall(r"'([^']*)'", reason)
            return reason_with_found(place, reason, detail["input"]) + nearest(str(detail["input"])[:80], words)
    return reason_with_found(place, detail["msg"].replace("Input should be", "must be"), detail["input"])


def reason_with_found(place: str, reason: str, found: Any) -> str:
    """Join place, reason and what was found, unless it is a whole table."""
    return f"{place}: {reason}" if isinstance(found, (dict, Section)) else f"{place}: {reason}; found {show(found)}"


def show(value: Any) -> str:
    """Return what was found, short, whatever it is."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return "a number beyond 64 bits"
    if isinstance(value, (dict, list)) and len(value) > 8:
        return f"a {'table' if isinstance(value, dict) else 'list'} of {len(value):,} items"
    if isinstance(value, (date, bool)):
        return str(value).lower() if isinstance(value, bool) else value.isoformat()
    try:
        text = repr(value[:80] if isinstance(value, (str, bytes, list)) else value)
    except Exception as error:
        return f"a {type(value).__name__} ({type(error).__name__})"
    return text if len(text) <= 100 else f"{text[:100]}..."
