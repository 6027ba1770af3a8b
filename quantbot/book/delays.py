"""Delays of messages: drawn from a distribution, or recorded at times of day and taken between two samples."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import ParameterError
from quantbot.parameters import RowValue, Table, number

_DAY_NS = 86_400 * 10**9
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d{1,9}))?)?")
_DRAWN_STEPS = 256
_QUANTILES = np.minimum(np.arange(_DRAWN_STEPS + 1) / _DRAWN_STEPS, 0.999)
DELAYS = Table(
    "delays",
    "name",
    (
        number("entry_us", 0.0, 0.0, 1e9, "From a decision to the exchange, of what was sent then.", unit="us"),
        number("answer_us", 0.0, 0.0, 1e9, "From the exchange back, of what it answered then.", unit="us"),
    ),
    doc="Recorded delays by time of day in UTC, for latency = recorded.",
)


def drawn_table(entry_ns: float, answer_ns: float, spread: float) -> NDArray[np.int64]:
    """Return quantiles of delays with a constant and an exponential part, shape (257, 3)."""
    shape = 1.0 - spread * np.log1p(-_QUANTILES)
    rows = [np.round(entry_ns * shape), np.zeros(_DRAWN_STEPS + 1), np.round(answer_ns * shape)]
    return np.stack(rows, axis=1).astype(np.int64)


def samples_of(rows: Mapping[str, Mapping[str, RowValue]]) -> NDArray[np.float64]:
    """Return recorded delays as (time of day in ns, entry in ns, answer in ns), shape (n, 3), by rising time.

    Parameters
    ----------
    rows
        By time of day in UTC, "09:30:00.25", the delays `entry_us` and `answer_us`.

    Raises
    ------
    ParameterError
        If there is none, a name is no time of day, a delay is missing or a time comes twice.

    Examples
    --------
    >>> samples_of({"09:30": {"entry_us": 400.0, "answer_us": 350.0}}).tolist()
    [[34200000000000.0, 400000.0, 350000.0]]
    """
    if not rows:
        raise ParameterError(
            "latency is recorded, which needs samples: a table execution.delays, or delays = a CSV file beside the spec"
            " with the columns time, entry_us, answer_us"
        )
    found = np.empty((len(rows), 3))
    for i, (name, row) in enumerate(rows.items()):
        match = _TIME.fullmatch(name)
        if match is None:
            raise ParameterError(f"{name[:80]!r} is no time of day in UTC such as 14:30:00.25")
        if missing := [field.name for field in DELAYS.fields if field.name not in row]:
            raise ParameterError(f"{name} has no {missing[0]}: each sample has entry_us and answer_us")
        hours, minutes, seconds, fraction = match.groups()
        whole = (int(hours) * 60 + int(minutes)) * 60 + int(seconds or 0)
        at_ns = whole * 10**9 + int((fraction or "0").ljust(9, "0"))
        found[i] = at_ns, 1e3 * float(row["entry_us"]), 1e3 * float(row["answer_us"])  # type: ignore[arg-type]
    found = found[np.argsort(found[:, 0], kind="stable")]
    if (twice := np.flatnonzero(np.diff(found[:, 0]) == 0)).size:
        seconds = found[twice[0], 0] / 1e9
        raise ParameterError(f"two samples have the same time, {seconds:.9f} s after midnight; each needs its own")
    return found


def recorded_table(samples: NDArray[np.float64], span_ns: tuple[int, int], scale: float = 1.0) -> NDArray[np.int64]:
    """Return recorded delays as times of (request, arrival, answer), shape (n_days * n, 3), rising in the first two.

    Samples count on each day (UTC) that the span touches; between two the delay is interpolated, before the first and
    after the last it is theirs. An arrival or an answer never comes before an earlier one: a line keeps its order.

    Examples
    --------
    >>> recorded_table(np.array([[1e9, 4e5, 3e5], [2e9, 2e5, 1e5]]), (0, 10**9)).tolist()
    [[1000000000, 1000400000, 1000700000], [2000000000, 2000200000, 2000300000]]
    """
    days = np.arange(span_ns[0] // _DAY_NS, span_ns[1] // _DAY_NS + 1) * _DAY_NS
    request = (days[:, None] + samples[:, 0].astype(np.int64)).ravel()
    entry, answer = (np.tile(np.round(scale * samples[:, k]).astype(np.int64), days.shape[0]) for k in (1, 2))
    arrival = _rising(request + entry)
    return np.stack([request, arrival, arrival + answer], axis=1)


def _rising(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return times of which none is before an earlier one, a nanosecond apart where they would tie."""
    steps = np.arange(times.shape[0])
    rising: NDArray[np.int64] = np.maximum.accumulate(times - steps) + steps
    return rising
