"""TOML written: the standard library only reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(document: Mapping[str, Any]) -> str:
    """Return a document of tables as TOML: plain values first, then one table per mapping, mappings in those inline.

    Examples
    --------
    >>> print(to_toml({"version": 1, "axes": {"fast": {"start": 5, "stop": 9}, "a.b": [1, 2.0]}}), end="")
    version = 1
    <BLANKLINE>
    [axes]
    fast = { start = 5, stop = 9 }
    "a.b" = [1, 2.0]
    """
    lines = [f"{_key(key)} = {_value(value)}" for key, value in document.items() if not isinstance(value, Mapping)]
    for key, table in document.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{_key(key)}]", *(f"{_key(name)} = {_value(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case date():
            return value.isoformat()
        case Mapping():
            return "{ " + ", ".join(f"{_key(name)} = {_value(item)}" for name, item in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
    raise TypeError(f"TOML has no {type(value).__name__}")


def _text(text: str) -> str:
    """Quote as a basic string, whose escapes are JSON's; only DEL differs."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
