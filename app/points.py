"""Parameter points as words: ``fast=20,slow=100``."""

from __future__ import annotations

from collections.abc import Iterable

from quantbot.errors import ParameterError
from quantbot.parameters import Value


def parse_point(words: Iterable[str]) -> dict[str, Value]:
    """Return the settings that `words` name; each word is one or more ``name=value``, parted by commas.

    Raises
    ------
    ParameterError
        If a part is no ``name=value``, or a name stands twice.

    Examples
    --------
    >>> parse_point(["fast=20,slow=1e2", "execution.fill=same_close"])
    {'fast': 20, 'slow': 100.0, 'execution.fill': 'same_close'}
    """
    point: dict[str, Value] = {}
    for part in (part.strip() for word in words for part in word.split(",")):
        if not part:
            continue
        name, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not text:
            raise ParameterError(f"a point is name=value,name=value (such as fast=20,slow=100); found {part!r}")
        if name in point:
            raise ParameterError(f"{name} has two values, {point[name]} and {text}; give one")
        point[name] = _value(text)
    return point


def _value(text: str) -> Value:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
