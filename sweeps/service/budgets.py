"""Budgets: how much a run may cost before it stops with what it has.

runs/<identity>/service/budget/<number>.json    written put-if-absent; the highest number stands
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from quantbot.errors import CorruptError, InputError
from sweeps.runstore import RunStore, to_json
from sweeps.service.metering import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = "service/budget"
_KEY = re.compile(rf"{FOLDER}/(\d{{8}})\.json")


@dataclass(frozen=True)
class Budget:
    """What a run may take, over all its drives together; None is no limit.

    Attributes
    ----------
    core_hours
        Hours of a worker's slot, summed over blocks.
    wall_hours
        Hours during which somebody drives it; waiting costs nothing.

    Raises
    ------
    InputError
        If a limit isn't a positive number.
    """

    core_hours: float | None = None
    wall_hours: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"a budget's {name} is a positive number of hours, was {value!r}")

    def spent(self, usage: Usage) -> str:
        """Return which limit `usage` has reached, in words; empty while there is some left.

        Examples
        --------
        >>> Budget(core_hours=2).spent(Usage(core_seconds=7300.0))
        '2.03 of 2 core-hours'
        >>> Budget(core_hours=2).spent(Usage(core_seconds=10.0))
        ''
        """
        for name, limit, seconds in (
            ("core-hours", self.core_hours, usage.core_seconds),
            ("hours of wall time", self.wall_hours, usage.wall_seconds),
        ):
            if limit is not None and seconds >= limit * 3600:
                return f"{seconds / 3600:.3g} of {limit:.3g} {name}"
        return ""


def write_budget(run: RunStore, budget: Budget) -> None:
    """Give a run a budget in place of the one that it had; `Budget()` lifts every limit."""
    data = to_json(asdict(budget))
    while True:
        newest = _newest(run.store.list(f"{FOLDER}/"))
        if run.put_first(f"{FOLDER}/{newest + 1:08d}.json", data):
            return


def budget_of(run: RunStore, keys: Sequence[str] | None = None) -> Budget:
    """Return the budget that stands.

    Parameters
    ----------
    keys
        The run's keys under ``service/``, where they were listed already.
    """
    newest = _newest(run.store.list(f"{FOLDER}/") if keys is None else keys)
    document = run.read_json(f"{FOLDER}/{newest:08d}.json") if newest else None
    try:
        return Budget(**document or {})
    except (TypeError, ValueError) as error:
        raise CorruptError(f"{run.url}/{FOLDER}/{newest:08d}.json is no budget: {error}") from error


def _newest(keys: Sequence[str]) -> int:
    return max((int(match[1]) for match in map(_KEY.fullmatch, keys) if match), default=0)
