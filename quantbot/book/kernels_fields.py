"""Fields of delimited text as exact integers: decimals in a fixed number of digits, never through a float."""

from __future__ import annotations

from typing import Any

import numpy as np

from quantbot.kernels import inner, jit

# How a field is read.
NUMBER, ROUNDED, WORD, SKIPPED = 0, 1, 2, 3  # exact; rounded to its digits; a hash of the text; anything
# How a table ended.
FINE, NO_NUMBER, TOO_FINE, TOO_LARGE, FEW_FIELDS, MANY_FIELDS = 0, 1, 2, 3, 4, 5
EMPTY = -(2**63)  # an empty number

_LIMIT = 922_337_203_685_477_580  # int64 max // 10


@jit
def parse(text: Any, separator: Any, kinds: Any, digits: Any, out: Any, ends: Any) -> tuple[int, int, int, int]:
    """Read lines of `text` (uint8, whole lines) into `out`, one row a line, numbers times ``10 ** digits``.

    `kinds` and `digits` say how each field is read. `ends` gets where each line ends. Returns a status, and the row,
    the field and the byte at which it stopped.
    """
    n = text.shape[0]
    n_fields = kinds.shape[0]
    at = 0
    row = 0
    while at < n and row < out.shape[0]:
        field = 0
        while True:
            start = at
            while at < n and text[at] != separator and text[at] != 10:
                at += 1
            stop = at
            last = at >= n or text[at] == 10
            if last and stop > start and text[stop - 1] == 13:
                stop -= 1
            if field >= n_fields:
                return MANY_FIELDS, row, field, start
            kind = kinds[field]
            if kind == WORD:
                out[row, field] = _hash(text, start, stop)
            elif kind != SKIPPED:
                status, value = _number(text, start, stop, digits[field], kind == ROUNDED)
                if status != FINE:
                    return status, row, field, start
                out[row, field] = value
            field += 1
            at += 1
            if last:
                break
        if field < n_fields:
            return FEW_FIELDS, row, field, start
        ends[row] = at
        row += 1
    return FINE, row, 0, at


@inner
def _hash(text: Any, start: int, stop: int) -> Any:
    # FNV-1a; the sign bit is cleared so that the hash is a plain positive int64.
    value = np.uint64(0xCBF29CE484222325)
    for k in range(start, stop):
        value = (value ^ np.uint64(text[k])) * np.uint64(0x100000001B3)
    return np.int64(value >> np.uint64(1))


@jit
def _number(text: Any, start: int, stop: int, digits: int, rounded: bool) -> Any:
    if start == stop:
        return FINE, np.int64(EMPTY)
    negative = text[start] == 45
    at = start + 1 if negative or text[start] == 43 else start
    mantissa: Any = np.int64(0)
    scale = 0  # digits after the point that the mantissa has
    after_point = False
    n_seen = 0
    half: Any = -1  # the first digit beyond `digits`, where they are cut
    rest = False  # whether anything but 0 follows it
    while at < stop:
        c = text[at]
        if 48 <= c <= 57:
            digit = np.int64(c - 48)
            n_seen += 1
            if mantissa > _LIMIT - 1 or (after_point and scale >= 18):
                # Too long for the mantissa: only what follows the point may be left out.
                if not after_point:
                    return TOO_LARGE, np.int64(0)
                if half < 0:
                    half = digit
                elif digit:
                    rest = True
            else:
                mantissa = mantissa * 10 + digit
                if after_point:
                    scale += 1
        elif c == 46 and not after_point:
            after_point = True
        elif (c == 101 or c == 69) and n_seen:
            break
        else:
            return NO_NUMBER, np.int64(0)
        at += 1
    if not n_seen:
        return NO_NUMBER, np.int64(0)
    if at < stop:  # an exponent
        at += 1
        minus = at < stop and text[at] == 45
        if at < stop and (minus or text[at] == 43):
            at += 1
        if at >= stop or stop - at > 3:
            return NO_NUMBER, np.int64(0)
        exponent: Any = 0
        while at < stop:
            if not 48 <= text[at] <= 57:
                return NO_NUMBER, np.int64(0)
            exponent = exponent * 10 + np.int64(text[at] - 48)
            at += 1
        scale += exponent if minus else -exponent
    beyond = half > 0 or rest
    if scale > digits:
        while scale > digits:
            if half > 0 or rest:
                rest = True
            half = mantissa % 10
            mantissa //= 10
            scale -= 1
            if half:
                beyond = True
            if mantissa == 0 and scale > digits + 1:
                rest = rest or half > 0
                half = 0
                break
        if beyond and not rounded:
            return TOO_FINE, np.int64(0)
        if half > 5 or (half == 5):
            mantissa += 1
    elif beyond and not rounded and scale == digits:
        return TOO_FINE, np.int64(0)
    else:
        if beyond and scale < digits:  # digits were left out that the result needs
            return TOO_LARGE, np.int64(0)
        if mantissa and digits - scale > 18:
            return TOO_LARGE, np.int64(0)
        if mantissa:
            while scale < digits:
                if mantissa > _LIMIT:
                    return TOO_LARGE, np.int64(0)
                mantissa *= 10
                scale += 1
        if half >= 5:
            mantissa += 1
    return FINE, -mantissa if negative else mantissa


@jit
def word(text: Any) -> int:
    """Return the hash that a field of this text has."""
    return _hash(text, 0, text.shape[0])  # type: ignore[no-any-return]
