"""Pinned trials: one point of a spec, run again on each new version of the data; and what moved it since last time.

A move from one job to the next is taken apart by running the same point between the two: the new code on the old data,
then on the new version cut where the old one ended, then on all of it. The steps add up to the move, and each is a run
like any other, so what nothing changed for is not computed again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quantbot.errors import ParameterError, SpecError
from quantbot.parameters import nearest
from sweeps.declared import declared_settings, load_declared, spec_engine
from sweeps.reading import show
from sweeps.where import parse_where

if TYPE_CHECKING:
    from quantbot.measures import Measure
    from sweeps.schedule.document import ScheduledSpec
    from sweeps.spec import Spec


def pin_problems(each: ScheduledSpec) -> Iterator[str]:
    """Yield what of a pin doesn't fit its spec, each with its field."""
    entry, spec = each.entry, each.spec
    point: Mapping[str, Any] = getattr(entry, "point", {})
    engine = spec_engine(spec.run)
    strategy = load_declared(spec.reference) if spec.strategy is not None else None
    declared = declared_settings(engine, strategy, spec.tables)
    axes = [name for name, form in spec.parameters.items() if not isinstance(form, (int, float, str))]
    for name, value in point.items():
        if name not in declared:
            yield f"point.{name[:80]}: the spec has no such setting{nearest(name[:80], declared)}"
            continue
        try:
            declared[name].check(value)
        except ParameterError as error:
            yield f"point.{name}: {str(error).removeprefix(f'{name} ')}"
    if missing := [name for name in axes if name not in point]:
        yield f"point: the spec varies {', '.join(missing)} too; give each a value"
    holds = getattr(entry, "holds", None)
    if holds is not None:
        try:
            parse_where(holds, {measure.name: "number" for measure in engine.measures})
        except SpecError as error:
            for problem in error.problems:
                yield f"holds: {problem.removeprefix('search.where: ')}"
    asset = getattr(entry, "asset", None)
    if asset is not None and spec.data.assets is not None and asset not in spec.data.assets:
        yield f"asset: {show(asset)} is not among the spec's {', '.join(spec.data.assets)}"


def pinned_spec(each: ScheduledSpec, *, dataset: str | None = None, end_ns: int | None = None) -> Spec:
    """Return the spec of a pin's one point.

    Parameters
    ----------
    dataset
        A version of the data, in place of the newest.
    end_ns
        The end of the last bar that belongs, where the spec's own end is not before it.
    """
    from sweeps.sections import Search

    entry, spec = each.entry, each.spec
    data: dict[str, Any] = {} if dataset is None else {"dataset": dataset}
    asset = getattr(entry, "asset", None)
    if asset is not None:
        data["assets"] = (asset,)
    if end_ns is not None:
        data["end"] = datetime.fromtimestamp(end_ns // 10**9, UTC)
    return spec.model_copy(
        update={
            "run": type(spec.run)(name=_run_name(getattr(entry, "name", "")), engine=spec.run.engine),
            "data": spec.data.model_copy(update=data),
            "parameters": {**spec.parameters, **dict(getattr(entry, "point", {}))},
            "search": Search(),
        }
    )


def holds(condition: str | None, objective: Measure, measures: Mapping[str, float]) -> bool | None:
    """Return whether a conclusion holds, None where the trial has no value.

    Parameters
    ----------
    condition
        Over measures; without one, that the objective is better than 0.
    """
    import numpy as np

    if condition is None:
        value = measures.get(objective.name, math.nan)
        return None if math.isnan(value) else bool(value * (objective.better or 1) > 0)
    parsed = parse_where(condition, dict.fromkeys(measures, "number"))
    if any(math.isnan(measures.get(name, math.nan)) for name in parsed.names):
        return None
    return bool(parsed({name: np.array([measures[name]]) for name in parsed.names}, 1)[0])


def _run_name(name: str) -> str:
    import re

    return (re.sub(r"[^A-Za-z0-9._-]+", "-", f"pin-{name}").strip("-._") or "pin")[:128]


__all__ = ["holds", "pin_problems", "pinned_spec"]
