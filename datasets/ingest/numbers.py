"""Numbers from text or typed columns: one grammar, exact, never silently 0.

A number is ``[+-] digits [. digits] [e [+-] digits]`` in ASCII, with a digit somewhere before the exponent. Blanks and
tabs around it are ignored. It becomes the float64 nearest to it; one beyond the range of float64 is refused, and so are
``NaN``, ``inf``, an empty cell, a number that would round to 0 without being 0, and a separator of thousands that
`BarOptions.thousands` does not name. ``-0.0`` is 0.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datasets.ingest.table import Mask

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]

_NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,6})?"
_MINUS_LIKE = "\u2212\u2010\u2011\u2012\u2013\u2014\ufe63\uff0d"
_EMPTY_WORDS = ("na", "n/a", "null", "none", "-", "--", "#n/a")
_BLANKS = " \t"
_WHOLE = re.compile(_NUMBER)


def parse_numbers(values: pa.Array, *, decimal: str = ".", thousands: str = "") -> tuple[Floats, Mask]:
    """Read a column as float64.

    Parameters
    ----------
    values
        Shape (n_rows,): text by the grammar above, or an Arrow integer, float or decimal type.

    Returns
    -------
    The numbers (NaN where unreadable) and a mask of the unreadable, both of shape (n_rows,).

    Examples
    --------
    >>> import pyarrow as pa
    >>> parse_numbers(pa.array(["1.5", "1e400", ""]))
    (array([1.5, nan, nan]), array([False,  True,  True]))
    """
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_decimal(values.type):  # through its text: the direct cast is not the nearest float64
        values = values.cast(pa.string())
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return _from_text(values, decimal, thousands)
    numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    bad = ~np.isfinite(numbers)  # nulls have become NaN
    return np.where(bad, np.nan, numbers), bad


def is_number_type(type_: pa.DataType) -> bool:
    """Whether a typed column can hold prices: integers, floats, decimals, or text (dictionary-encoded too)."""
    import pyarrow as pa

    if pa.types.is_dictionary(type_):
        return is_number_type(type_.value_type)
    tests = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_string,
        pa.types.is_large_string,
    )
    return any(test(type_) for test in tests)


def explain_number(value: object, *, decimal: str = ".", thousands: str = "") -> str:
    """Say which rule a value breaks that `parse_numbers` marked as unreadable."""
    if value is None:
        return "is empty (null)"
    if isinstance(value, float):
        return "is not a finite number"
    text = str(value).strip(_BLANKS)
    if not text or text.lower() in _EMPTY_WORDS:
        return "is empty"
    if any(mark in text for mark in _MINUS_LIKE):
        return "has a Unicode minus or dash; write '-' (U+002D)"
    if text.lstrip("+-").lower() in ("nan", "inf", "infinity"):
        return "is not a finite number"
    plain = _plain(text, decimal, thousands)
    if plain is not None and _WHOLE.fullmatch(plain):
        return "is beyond the range of a 64-bit float" if float(plain) else "is too small for a 64-bit float"
    for mark in (",", ".", "'", " ", "_"):
        if mark not in (decimal, thousands) and _plain(text, decimal, mark) is not None and mark in text:
            return f"has a separator {mark!r}; pass thousands={mark!r} (or decimal={mark!r}) if it is one"
    if decimal == "." and _WHOLE.fullmatch(text.replace(",", ".", 1)):
        return "has a decimal comma; pass decimal=','"
    return "is not a number"


def _from_text(values: pa.Array, decimal: str, thousands: str) -> tuple[Floats, Mask]:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.fill_null(values, "")
    good = _matches(text, f"^{_NUMBER}$") if decimal == "." and not thousands else None
    if good is None or not good.all():
        text = pc.utf8_trim(text, _BLANKS)
        if thousands:
            mark, point = re.escape(thousands), re.escape(decimal)
            grouped = _matches(text, rf"^[+-]?[0-9]{{1,3}}({mark}[0-9]{{3}})+({point}[0-9]*)?([eE][+-]?[0-9]+)?$")
            text = pc.if_else(pa.array(grouped), pc.replace_substring(text, thousands, ""), text)
        if decimal != ".":
            # A point is not a decimal here: turn it into something that no number has.
            text = pc.replace_substring(pc.replace_substring(text, ".", "?"), decimal, ".")
        good = _matches(text, f"^{_NUMBER}$")
    readable = text if good.all() else pc.if_else(pa.array(good), text, "nan")
    numbers = readable.cast(pa.float64()).to_numpy(zero_copy_only=False)
    bad = ~np.isfinite(numbers)
    zeros = np.flatnonzero(numbers == 0)
    if zeros.size:  # "1e-400" is not 0
        bad[zeros] |= _matches(text.take(pa.array(zeros)), r"^[^eE]*[1-9]")
    return np.where(bad, np.nan, numbers), bad


def _matches(text: pa.Array, pattern: str) -> Mask:
    import pyarrow.compute as pc

    found: Mask = pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False).astype(bool)
    return found


def _plain(text: str, decimal: str, thousands: str) -> str | None:
    """Give the text with its own marks replaced by the grammar's; None where its thousands are not groups of three."""
    if thousands and thousands in text:
        mark, point = re.escape(thousands), re.escape(decimal)
        if not re.fullmatch(rf"[+-]?[0-9]{{1,3}}({mark}[0-9]{{3}})+({point}[0-9]*)?([eE][+-]?[0-9]+)?", text):
            return None
        text = text.replace(thousands, "")
    if decimal != ".":
        text = text.replace(".", "?").replace(decimal, ".")
    return text
