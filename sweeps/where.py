"""A small expression language over settings: ``fast < slow and execution.fee_bps <= 10``.

Names of settings, numbers, text in quotes for choices, chained comparisons, ``and or not``, ``+ - * / %``,
``min max abs`` and parentheses: nothing else. The text is parsed by `ast`, checked node by node against this list and
turned into functions of columns; nothing is ever evaluated as Python.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import SpecError
from quantbot.parameters import Kind, Value, nearest
from quantbot.syntax import parse_expression
from sweeps.trial import Axis

MAX_LENGTH = 2_000  # characters: the parser's own stack is safe far beyond
MAX_DEPTH = 40

_Columns = Mapping[str, Any]
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Mod: np.mod,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"min": np.minimum, "max": np.maximum, "abs": np.abs}
_HELP = "use settings' names, numbers, 'text', < <= == != >= >, and, or, not, + - * / %, min, max, abs"


@dataclass(frozen=True)
class _Term:
    """A checked part of the expression: its type ("number", "text", "truth") and its value on columns."""

    kind: str
    value: Callable[[_Columns], Any]
    setting: str = ""  # the choice that this is, if it is one
    text: str = ""  # the constant that this is, if it is a text


@dataclass(frozen=True, eq=False)
class Condition:
    """A parsed `where`; call it with columns to get a mask.

    Attributes
    ----------
    text
        The expression in one canonical spelling.
    names
        The settings that it mentions.
    """

    text: str
    names: tuple[str, ...]
    _term: _Term

    constants: Mapping[str, Value] = field(default_factory=dict)

    def __call__(self, columns: _Columns, n_points: int | None = None) -> NDArray[np.bool_]:
        """Return where the condition holds.

        Parameters
        ----------
        columns
            For each mentioned setting that is no constant a column of shape (n_points,).
        n_points
            Needed only where no column is given.

        Returns
        -------
        Shape (n_points,); arithmetic is that of float64, and what involves a division of zero by zero is false.
        """
        if n_points is None:
            n_points = max((np.shape(column)[0] for column in columns.values()), default=1)
        with np.errstate(all="ignore"):
            mask = self._term.value({**self.constants, **columns})
        return np.broadcast_to(np.asarray(mask, dtype=np.bool_), (n_points,))


def parse_where(text: str, kinds: Mapping[str, Kind], choices: Mapping[str, Sequence[str]] | None = None) -> Condition:
    """Parse and check a condition.

    Parameters
    ----------
    kinds
        The kind of every setting that may be mentioned.
    choices
        The words of each choice, where they are to be checked.

    Raises
    ------
    SpecError
        With the place in the text, and the nearest name for an unknown one.

    Examples
    --------
    >>> condition = parse_where("10 < fast < slow / 2", {"fast": "integer", "slow": "integer"})
    >>> condition({"fast": np.array([5, 20, 60]), "slow": np.array([100, 100, 100])}).tolist()
    [False, True, False]
    """
    line = _one_line(text)
    tree = _parse(line)
    builder = _Builder(line, kinds, choices or {})
    term = builder.build(tree, 0)
    if term.kind != "truth":
        raise SpecError(f"search.where: {_show(line)} is a {term.kind}, not a condition; compare it with something")
    return Condition(ast.unparse(tree), tuple(sorted(builder.names)), term)


def _one_line(text: str) -> str:
    """Return the text as one line: in TOML it may have several."""
    if len(text) > MAX_LENGTH:
        raise SpecError(f"search.where: {len(text):,} characters, {MAX_LENGTH:,} are the most")
    if "#" in text:
        raise SpecError(f"search.where: comments (#) have no place in it; {_HELP}")
    return " ".join(text.split())


def _parse(line: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's hints about odd literals: the errors here say what is wrong
            return parse_expression(line)
    except SyntaxError as error:
        place = f"at character {error.offset or 1} of {_show(line)}"
        raise SpecError(f"search.where: {error.msg} {place}; {_HELP}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise SpecError(f"search.where: can't be read ({type(error).__name__}); {_HELP}") from None


def _show(line: str) -> str:
    return repr(line if len(line) <= 80 else f"{line[:80]}...")


def bind_where(text: str, axes: Sequence[Axis], constants: Mapping[str, Value]) -> Condition:
    """Parse a condition over axes and settings that do not vary."""
    kinds: dict[str, Kind] = {
        name: "choice" if isinstance(value, str) else "number" for name, value in constants.items()
    }
    kinds |= {axis.name: axis.kind for axis in axes}
    return replace(parse_where(text, kinds), constants=dict(constants))


def canonical_where(text: str) -> str:
    """Return a condition in one spelling, whatever its blanks and parentheses; unreadable ones as they are."""
    try:
        return ast.unparse(_parse(_one_line(text)))
    except SpecError:
        return text


class _Builder:
    """Turns allowed nodes into terms and refuses every other."""

    def __init__(self, line: str, kinds: Mapping[str, Kind], choices: Mapping[str, Sequence[str]]) -> None:
        self.line, self.kinds, self.choices = line, kinds, choices
        self.names: set[str] = set()

    def build(self, node: ast.expr, depth: int) -> _Term:
        if depth > MAX_DEPTH:
            raise self.error(node, f"nested deeper than {MAX_DEPTH}")
        match node:
            case ast.Constant():
                return self.constant(node)
            case ast.Name() | ast.Attribute():
                return self.setting(node)
            case ast.BoolOp():
                return self.boolean(node, depth)
            case ast.UnaryOp():
                return self.unary(node, depth)
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                function = _ARITHMETIC[type(node.op)]
                left = self.number(node.left, depth)
                right = self.number(node.right, depth)
                return _Term("number", lambda columns: function(left.value(columns), right.value(columns)))
            case ast.Compare():
                return self.comparison(node, depth)
            case ast.Call():
                return self.call(node, depth)
        found = type(node.op if isinstance(node, ast.BinOp) else node).__name__
        raise self.error(node, f"{found} is not part of the language; {_HELP}")

    def constant(self, node: ast.Constant) -> _Term:
        value = node.value
        if isinstance(value, str):
            return _Term("text", lambda columns: value, text=value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                number = np.float64(value)
            except OverflowError:
                number = np.float64(math.inf)
            if np.isfinite(number):
                return _Term("number", lambda columns: number)
        raise self.error(node, "a constant must be a finite number or a text")

    def setting(self, node: ast.expr) -> _Term:
        name = _dotted(node)
        if name is None:
            raise self.error(node, f"Attribute is not part of the language; {_HELP}")
        if name not in self.kinds:
            raise self.error(node, f"no setting {name!r}{nearest(name, self.kinds)}")
        self.names.add(name)
        if self.kinds[name] == "choice":
            return _Term("text", lambda columns: columns[name], setting=name)
        return _Term("number", lambda columns: np.asarray(columns[name], dtype=np.float64))

    def boolean(self, node: ast.BoolOp, depth: int) -> _Term:
        terms = [self.truth(value, depth) for value in node.values]
        function = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return _Term("truth", lambda columns: reduce(function, (term.value(columns) for term in terms)))

    def unary(self, node: ast.UnaryOp, depth: int) -> _Term:
        if isinstance(node.op, ast.Not):
            term = self.truth(node.operand, depth)
            return _Term("truth", lambda columns: np.logical_not(term.value(columns)))
        if isinstance(node.op, (ast.USub, ast.UAdd)):
            term, sign = self.number(node.operand, depth), -1.0 if isinstance(node.op, ast.USub) else 1.0
            return _Term("number", lambda columns: sign * term.value(columns))
        raise self.error(node, f"{type(node.op).__name__} is not part of the language; {_HELP}")

    def comparison(self, node: ast.Compare, depth: int) -> _Term:
        terms = [self.build(part, depth + 1) for part in (node.left, *node.comparators)]
        pairs = []
        for op, left, right in zip(node.ops, terms, terms[1:], strict=False):
            if type(op) not in _COMPARISONS:
                raise self.error(node, f"{type(op).__name__} is not part of the language; {_HELP}")
            self.check_pair(node, op, left, right)
            pairs.append((_COMPARISONS[type(op)], left, right))

        def value(columns: _Columns) -> Any:
            return reduce(
                np.logical_and, (compare(left.value(columns), right.value(columns)) for compare, left, right in pairs)
            )

        return _Term("truth", value)

    def check_pair(self, node: ast.expr, op: ast.cmpop, left: _Term, right: _Term) -> None:
        if "truth" in (left.kind, right.kind):
            raise self.error(node, "a comparison can't be compared; join conditions with and, or")
        if left.kind != right.kind:
            raise self.error(node, f"a {left.kind} can't be compared with a {right.kind}")
        if left.kind == "text":
            if not isinstance(op, (ast.Eq, ast.NotEq)):
                raise self.error(node, "texts compare with == and != only")
            for choice, constant in ((left, right), (right, left)):
                words = self.choices.get(choice.setting)
                if words and not constant.setting and constant.text not in words:
                    near = nearest(constant.text, words)
                    raise self.error(
                        node, f"{choice.setting} is one of {', '.join(words)}, never {constant.text!r}{near}"
                    )

    def call(self, node: ast.Call, depth: int) -> _Term:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name not in _FUNCTIONS or node.keywords:
            called = _dotted(node.func) or "that"
            raise self.error(node, f"{called!r} can't be called; the functions are {', '.join(_FUNCTIONS)}")
        terms = [self.number(argument, depth) for argument in node.args]
        wanted = "one number" if name == "abs" else "two or more numbers"
        if (len(terms) != 1) if name == "abs" else (len(terms) < 2):
            raise self.error(node, f"{name} takes {wanted}, found {len(terms)}")
        function = _FUNCTIONS[name]
        if name == "abs":
            return _Term("number", lambda columns: function(terms[0].value(columns)))
        return _Term("number", lambda columns: reduce(function, (term.value(columns) for term in terms)))

    def number(self, node: ast.expr, depth: int) -> _Term:
        return self.wanted(node, depth, "number")

    def truth(self, node: ast.expr, depth: int) -> _Term:
        return self.wanted(node, depth, "truth")

    def wanted(self, node: ast.expr, depth: int, kind: str) -> _Term:
        term = self.build(node, depth + 1)
        if term.kind != kind:
            noun = "condition" if kind == "truth" else kind
            raise self.error(node, f"a {noun} is needed here, found a {term.kind}")
        return term

    def error(self, node: ast.expr, reason: str) -> SpecError:
        return SpecError(f"search.where: {reason} (at character {node.col_offset + 1} of {_show(self.line)})")


def _dotted(node: ast.expr) -> str | None:
    """Return ``execution.fee_bps`` for the nodes of it; None for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])
