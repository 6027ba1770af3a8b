"""What a spec sets: which settings are fixed, which vary, and what a person should know about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quantbot.engine import Engine, Points
from quantbot.errors import SpecError, TooLargeError
from quantbot.parameters import Parameter, Value
from quantbot.strategies.contract import Strategy
from sweeps.declared import checked_tables, declared_settings
from sweeps.sampling import sample_points
from sweeps.sections import AxisForm, Interval, Range, Values
from sweeps.space import MAX_POINTS, axis_size, axis_values, check_size, grid_points
from sweeps.spec import Spec
from sweeps.trial import Axis


@dataclass(frozen=True, eq=False)
class Settings:
    """A spec's settings against the declarations.

    Attributes
    ----------
    values
        For every declared setting its value: the parameter table's, else the section's, else the default.
    forms
        The settings that vary, in the order of the declarations, whatever the order of the spec's keys.
    """

    values: Mapping[str, Value]
    forms: Mapping[str, AxisForm]
    declared: Mapping[str, Parameter]
    warnings: tuple[str, ...]

    def points(self, spec: Spec, limit: int = MAX_POINTS) -> tuple[tuple[Axis, ...], Points, tuple[str, ...]]:
        """Build axes and points; return them with the warnings that came up.

        Of a Bayesian search these are the points that it would take without results: a Sobol sample.
        """
        if spec.search.design != "grid":
            if (spec.search.n or 0) > limit:
                raise TooLargeError(f"search.n: {spec.search.n:,} points, but {limit:,} is the limit; draw fewer")
            axes, points = sample_points(self.forms, self.declared, spec.search, self.values)
            return axes, points, ()
        axes, warnings = grid_axes(self.forms, self.declared, limit)
        return axes, grid_points(axes, spec.search.where, constants=self.values, limit=limit), warnings


def resolve_settings(spec: Spec, engine: Engine, strategy: Strategy | None) -> Settings:
    """Resolve what a checked spec sets.

    Raises
    ------
    SpecError
        If an axis has a value outside its declaration that only shows when it is built.
    """
    in_rows = {
        f"{table}.{row}.{field}": value
        for table, rows in checked_tables(spec.tables, engine).items()
        if engine.tables[table].varies
        for row, fields in rows.items()
        for field, value in fields.items()
        if not isinstance(value, tuple)
    }
    fixed = declared_settings(engine, strategy)
    declared = {
        name: parameter
        for name, parameter in declared_settings(engine, strategy, spec.tables).items()
        if name in fixed or name in in_rows or name in spec.parameters  # a row inherits what it does not say
    }
    values = {name: in_rows.get(name, parameter.default) for name, parameter in declared.items()}
    for section, given in spec.sections.items():
        for name, value in given.items():
            values[f"{section}.{name}"] = declared[f"{section}.{name}"].check(value)
    forms: dict[str, AxisForm] = {}
    warnings = []
    for name in declared:
        if name not in spec.parameters:
            continue
        form = spec.parameters[name]
        section, _, key = name.rpartition(".")
        if name in in_rows:
            warnings.append(f"{name}: [parameters] sets it too, so the {in_rows[name]} in its row is unused")
        if key in spec.sections.get(section, {}):
            warnings.append(
                f"{name}: [parameters] sets it too, so the {spec.sections[section][key]} in [{section}] is unused"
            )
        if _varies(form):
            forms[name] = form
            continue
        (values[name],) = axis_values(form, declared[name])[0].tolist()
    return Settings(values, forms, declared, tuple(warnings))


def grid_axes(
    forms: Mapping[str, AxisForm], declared: Mapping[str, Parameter], limit: int = MAX_POINTS
) -> tuple[tuple[Axis, ...], tuple[str, ...]]:
    """Build the axes of a grid, counted before anything is built; return them with the duplicates that collapsed."""
    check_size({name: axis_size(form) for name, form in forms.items()}, limit=max(limit, 10**12))
    axes, warnings = [], []
    for name, form in forms.items():
        values, n_collapsed = axis_values(form, declared[name])
        axes.append(Axis(name, values, declared[name].kind))
        if n_collapsed:
            noun = "duplicate" if n_collapsed == 1 else "duplicates"
            warnings.append(
                f"parameters.{name}: {n_collapsed:,} {noun} collapsed, {len(values):,} distinct values left"
            )
    check_size({axis.name: len(axis) for axis in axes}, limit)
    return tuple(axes), tuple(warnings)


def warm_up_problems(
    axes: tuple[Axis, ...], settings: Settings, n_bars: Mapping[str, int]
) -> tuple[list[str], list[str]]:
    """Return the refusals and the warnings about windows that are longer than the data.

    Parameters
    ----------
    n_bars
        By asset, the bars up to the end of the period.
    """
    most = max(n_bars.values())
    varying = {axis.name: axis for axis in axes}
    refused, warned = [], []
    for name, parameter in settings.declared.items():
        if parameter.kind != "integer" or parameter.unit != "bars" or "." in name:
            continue
        if name in varying:
            values = varying[name].values
            shortest, longest = int(values.min()), int(values.max())
        else:
            shortest = longest = int(settings.values[name])
        if shortest > most:
            refused.append(f"parameters.{name}: {shortest:,} bars or more, but the data end after {most:,}; shorten it")
        for asset, bars in n_bars.items():
            if shortest <= most and longest > bars:
                warned.append(f"{name} of up to {longest:,} bars never warms up on {asset}, which has {bars:,}")
    return refused, warned


def _varies(form: AxisForm) -> bool:
    if isinstance(form, Interval) and form.n is None:
        return form.low != form.high
    if isinstance(form, (Values, Range, Interval)):
        return axis_size(form) > 1
    return False


def require(problems: list[str]) -> None:
    """Raise the problems, if there are any."""
    if problems:
        raise SpecError(problems)
