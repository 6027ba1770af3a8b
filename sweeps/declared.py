"""A spec against the declarations of engine and strategy: names, types, bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from quantbot.engine import Engine, Tables, engine_names, get_engine
from quantbot.errors import InputError, ParameterError, QuantBotError, SpecError
from quantbot.parameters import Parameter, nearest
from quantbot.selection.pooling import columns_of
from quantbot.strategies.contract import Strategy
from sweeps.sections import AxisForm, Folds, Interval, Measures, Objective, Range, Run, Search, Values
from sweeps.space import range_last
from sweeps.where import parse_where

MAX_PARAMETERS = 100
_MOST_VALUES = 5  # of one axis that an error lists
_POOLING = ("kfold", "cpcv")  # methods whose trains are several folds, taken together from rows


def declared_settings(
    engine: Engine, strategy: Strategy | None, tables: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Parameter]:
    """Return everything that a spec may set, in its one order: the strategy's parameters, then the engine's, dotted.

    Parameters
    ----------
    tables
        The spec's: the fields of rows that points may vary follow, as "table.row.field".
    """
    declared = {parameter.name: parameter for parameter in (strategy.parameters if strategy else ())}
    for section, parameters in engine.sections.items():
        for parameter in parameters:
            name = f"{section}.{parameter.name}"
            declared[name] = replace(parameter, name=name)
    for table in engine.tables:
        for row in (tables or {}).get(table, {}) if engine.tables[table].varies else ():
            for field in engine.tables[table].fields:
                declared[f"{table}.{row}.{field.name}"] = replace(field, name=f"{table}.{row}.{field.name}")
    return declared


def checked_tables(tables: Mapping[str, Mapping[str, Mapping[str, Any]]], engine: Engine) -> Tables:
    """Return a spec's tables with the types that the engine declares."""
    return {
        name: {row: engine.tables[name].check(fields) for row, fields in rows.items()} for name, rows in tables.items()
    }


def spec_engine(run: Run | None) -> Engine:
    """Return the engine that a spec names, or the default."""
    name = (run or Run()).engine
    if name not in engine_names():
        known = ", ".join(engine_names())
        raise SpecError(f"run.engine: no engine {name[:80]!r}; there are {known}{nearest(name, engine_names())}")
    return get_engine(name)


def load_declared(reference: str) -> Strategy:
    """Load the strategy that a spec names, or say under the spec's own key why not."""
    from quantbot.strategies.loader import load_strategy
    from quantbot.strategies.registry import shipped

    if reference in shipped():
        return shipped()[reference]  # reading its sources, which the loader does, can wait for the plan
    try:
        strategy: Strategy = load_strategy(reference)
    except QuantBotError as error:
        raise SpecError(f"strategy.name: {error}") from error
    return strategy


def declaration_problems(parts: Mapping[str, Any], engine: Engine, strategy: Strategy | None) -> Iterator[str]:
    """Yield everything in which the sections of a spec disagree with the declarations.

    Parameters
    ----------
    parts
        The sections that were readable, by name; what is missing is not checked.
    strategy
        None where it can't be loaded: its parameters are not checked then.
    """
    declared = declared_settings(engine, strategy, parts.get("tables", {}))
    search: Search = parts.get("search", Search())
    yield from _section_problems(parts.get("sections", {}), engine, declared)
    yield from _table_problems(parts.get("tables", {}), engine)
    yield from _parameter_problems(parts.get("parameters", {}), declared, engine, strategy, search)
    yield from _search_problems(search, parts.get("folds", Folds()))
    if search.where and (strategy is not None or not engine.takes_strategy):
        yield from _where_problems(search.where, declared)
    measures, objective = parts.get("measures", Measures()), parts.get("objective", Objective())
    yield from _measure_problems(measures, objective, engine)
    if parts.get("folds", Folds()).method in _POOLING:
        yield from _pooling_problems(measures, objective, engine)


def _section_problems(
    sections: Mapping[str, Mapping[str, Any]], engine: Engine, declared: Mapping[str, Parameter]
) -> Iterator[str]:
    for section, values in sections.items():
        known = [parameter.name for parameter in engine.sections[section]]
        for name, value in values.items():
            if name not in known:
                near = nearest(name[:80], known)
                yield f"{section}.{name[:80]}: the engine has no such setting; it has {_listed(known)}{near}"
                continue
            try:
                declared[f"{section}.{name}"].check(value)
            except ParameterError as error:
                yield f"{section}.{name}: {_without_name(error, f'{section}.{name}')}"


def _table_problems(tables: Mapping[str, Mapping[str, Any]], engine: Engine) -> Iterator[str]:
    for name, rows in tables.items():
        for row, fields in rows.items():
            if engine.tables[name].varies and not row.isidentifier():
                yield f"{name}.{row[:80]}: needs a name of letters, digits and underscores, since points may vary it"
            try:
                engine.tables[name].check(fields)
            except ParameterError as error:
                yield f"{name}.{row[:80]}: {error}"


def _parameter_problems(
    parameters: Mapping[str, AxisForm],
    declared: Mapping[str, Parameter],
    engine: Engine,
    strategy: Strategy | None,
    search: Search,
) -> Iterator[str]:
    if len(parameters) > MAX_PARAMETERS:
        yield f"parameters: {len(parameters):,} of them, {MAX_PARAMETERS} are the most"
        return
    for name, form in parameters.items():
        if name in declared:
            yield from _form_problems(form, declared[name], search)
        elif strategy is not None or "." in name or not engine.takes_strategy:
            own = f"{strategy.name} and the engine have" if strategy else "the engine has"
            near = nearest(name[:80], declared)
            yield f"parameters.{name[:80]}: {own} no such setting; known are {_listed(declared)}{near}"


def _form_problems(form: AxisForm, parameter: Parameter, search: Search) -> Iterator[str]:
    place = f"parameters.{parameter.name}"
    if isinstance(form, (Range, Interval)) and parameter.kind == "choice":
        yield f"{place}: is a choice; list its values of {', '.join(parameter.choices)}"
        return
    values: tuple[Any, ...]
    match form:
        case Values():
            values = form.values
        case Range():
            values = (form.start, range_last(form))
            if parameter.kind == "integer" and not float(form.step).is_integer():
                yield f"{place}.step: {parameter.name} takes whole numbers; found a step of {form.step}"
        case Interval():
            values = (form.low, form.high)
            if search.design == "grid" and form.n is None:
                yield f"{place}: a grid needs n, the number of values between low and high"
            if search.design != "grid" and form.n is not None:
                yield f"{place}.n: a {search.method} search draws from low to high; leave n out, or list values"
        case _:
            values = (form,)
    refused = 0
    for value in values:
        try:
            parameter.check(value)
        except ParameterError as error:
            refused += 1
            if refused <= _MOST_VALUES:
                yield f"{place}: {_without_name(error, parameter.name)}"
    if refused > _MOST_VALUES:
        yield f"{place}: ... and {refused - _MOST_VALUES:,} more of its values"


def _search_problems(search: Search, folds: Folds) -> Iterator[str]:
    if search.method in ("bayes", "halving") and folds.method in ("kfold", "cpcv"):
        yield (
            f"search.method: a {search.method} search learns from a train fold that shares no bar with any test, and a "
            f"{folds.method} tests every bar; take folds.method holdout or walk_forward, or search lhs or sobol"
        )


def _where_problems(where: str, declared: Mapping[str, Parameter]) -> Iterator[str]:
    kinds = {name: parameter.kind for name, parameter in declared.items()}
    choices = {name: parameter.choices for name, parameter in declared.items()}
    try:
        parse_where(where, kinds, choices)
    except SpecError as error:
        yield from error.problems


def _measure_problems(measures: Measures, objective: Objective, engine: Engine) -> Iterator[str]:
    known = list(dict.fromkeys(measure.group for measure in engine.measures))
    groups = measures.groups or engine.default_groups
    for index, group in enumerate(groups):
        if group not in known:
            near = nearest(group[:80], known)
            yield f"measures.groups[{index}]: no group {group[:80]!r}; there are {_listed(known)}{near}"
    metrics = {measure.name: measure for measure in engine.measures}
    if objective.metric not in metrics:
        near = nearest(objective.metric[:80], metrics)
        yield f"objective.metric: no measure {objective.metric[:80]!r}; there are {_listed(metrics)}{near}"
        return
    metric = metrics[objective.metric]
    if metric.group not in (*groups, "hold"):
        yield f"objective.metric: {metric.name} is of group {metric.group}; add it to measures.groups"
    if metric.better == 0:
        yield f"objective.metric: more {metric.name} is neither better nor worse; choose another measure"


def _pooling_problems(measures: Measures, objective: Objective, engine: Engine) -> Iterator[str]:
    """Say why the objective can't be had on a train of several folds, from the rows that the spec asks for."""
    declared = {measure.name: measure for measure in engine.measures}
    if objective.metric not in declared:
        return
    try:
        needed = columns_of(objective.metric)
    except InputError as error:
        yield f"objective.metric: {error}"
        return
    groups = (*(measures.groups or engine.default_groups), "hold")
    missing = {declared[name].group for name in needed if name in declared} - set(groups)
    if missing:
        yield f"measures.groups: {objective.metric} on a train of several folds needs {_listed(sorted(missing))} too"


def _without_name(error: ParameterError, name: str) -> str:
    """Return the message without the name that its place says already."""
    return str(error).removeprefix(f"{name} ")


def _listed(names: Any) -> str:
    names = list(names)
    return ", ".join(names) if len(names) <= 40 else f"{', '.join(names[:40])}, ..."
