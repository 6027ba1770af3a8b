"""Points drawn from a space: uniform, stratified or low-discrepancy, unique, the same for the same space and seed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Points
from quantbot.errors import SpecError
from quantbot.parameters import Parameter, Value
from sweeps.sections import AxisForm, Interval, Search
from sweeps.space import axis_values, canonical_axis
from sweeps.trial import Axis, Column
from sweeps.where import Condition, bind_where

_MOST_DRAWS = 200  # candidates per wanted point before a condition counts as too narrow
_BATCH = 1 << 20
_DIGITS = 6  # of a drawn number, relative to its range: what a person can read and type again


@dataclass(frozen=True)
class _Dimension:
    """One axis that is drawn: how uniform numbers in [0, 1) become its values, and how many distinct ones there are."""

    parameter: Parameter
    draw: Callable[[NDArray[np.float64]], Column]
    n_distinct: float


def sample_points(
    forms: Mapping[str, AxisForm], declared: Mapping[str, Parameter], search: Search, constants: Mapping[str, Value]
) -> tuple[tuple[Axis, ...], Points]:
    """Draw `search.n` distinct points that satisfy `search.where`.

    Parameters
    ----------
    forms
        The axes that vary, in the plan's order.
    declared
        The declaration of every setting.
    constants
        Settings that do not vary, which the condition may mention too.

    Returns
    -------
    The axes, whose values are what was drawn, and the points in the order of drawing, so that a sobol search's first
    `k` points are spread evenly too.

    Raises
    ------
    SpecError
        If the space has fewer distinct points than wanted, or the condition leaves too few.
    """
    wanted = search.n or 0
    dimensions = {name: _dimension(form, declared[name]) for name, form in forms.items()}
    available = math.prod(dimension.n_distinct for dimension in dimensions.values())
    if not forms:
        raise SpecError(
            f"search: nothing varies, so a {search.method} search has nothing to draw; give [parameters] an axis"
        )
    if available < wanted:
        raise SpecError(f"search.n: {wanted:,} points, but the space has {int(available):,} distinct ones; take fewer")
    empty = {name: dimension.draw(np.empty(0)) for name, dimension in dimensions.items()}
    axes = tuple(Axis(name, column, declared[name].kind, sampled=True) for name, column in empty.items())
    condition = bind_where(search.where, axes, constants) if search.where else None
    columns = _draw_unique(dimensions, _uniforms(forms, search), condition, wanted, exact=search.design == "lhs")
    made = tuple(Axis(name, np.unique(column), declared[name].kind, sampled=True) for name, column in columns.items())
    return made, Points(wanted, columns)


def _draw_unique(
    dimensions: Mapping[str, _Dimension],
    uniforms: Callable[[int], NDArray[np.float64]],
    condition: Condition | None,
    wanted: int,
    exact: bool,
) -> dict[str, Column]:
    """Draw until enough distinct points satisfy the condition; `exact`: the first draw has as many as are wanted."""
    columns: dict[str, Column] = {}
    n_drawn = 0
    while n_drawn < _MOST_DRAWS * max(wanted, 100):
        n_have = next(iter(columns.values())).shape[0] if columns else 0
        n_batch = min(_BATCH, 1 << max(6, (wanted - n_have - 1).bit_length()))  # powers of two: sobol's balance
        if exact and n_drawn == 0:  # a Latin hypercube has one point in each of n layers
            n_batch = min(_BATCH, wanted)
        uniform = uniforms(n_batch)
        n_drawn += n_batch
        drawn = {name: dimension.draw(uniform[:, i]) for i, (name, dimension) in enumerate(dimensions.items())}
        if condition is not None:
            mask = condition(drawn, n_batch)
            drawn = {name: column[mask] for name, column in drawn.items()}
        columns = _unique({name: np.concatenate([columns[name], drawn[name]]) for name in drawn} if columns else drawn)
        if next(iter(columns.values())).shape[0] >= wanted:
            return {name: column[:wanted] for name, column in columns.items()}
    n_have = next(iter(columns.values())).shape[0]
    raise SpecError(
        f"search.n: {wanted:,} distinct points, but {n_drawn:,} draws gave {n_have:,}; take fewer, or widen axes or "
        "where"
    )


def _unique(columns: dict[str, Column]) -> dict[str, Column]:
    """Drop repeated points, keeping the first of each and the order."""
    code = np.zeros(next(iter(columns.values())).shape[0], dtype=np.int64)
    for column in columns.values():  # renumbered after every column, so that codes stay below the square of n
        values, inverse = np.unique(column, return_inverse=True)
        _, code = np.unique(code * values.shape[0] + inverse, return_inverse=True)
    _, first = np.unique(code, return_index=True)
    first.sort()
    return {name: column[first] for name, column in columns.items()}


def _uniforms(forms: Mapping[str, AxisForm], search: Search) -> Callable[[int], NDArray[np.float64]]:
    """Return a stream of rows in [0, 1), keyed by the space and the seed alone."""
    key = stream_key(forms, search, search.design)
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))  # sobol spawns from the sequence
    if search.design == "random":
        return lambda n_rows: generator.random((n_rows, len(forms)))
    from scipy.stats import qmc

    kind = qmc.Sobol if search.design == "sobol" else qmc.LatinHypercube
    sampler = kind(len(forms), scramble=True, rng=generator)

    def draw(n_rows: int) -> NDArray[np.float64]:
        rows: NDArray[np.float64] = sampler.random(n_rows)
        return rows

    return draw


def stream_key(forms: Mapping[str, AxisForm], search: Search, *words: str | int) -> int:
    """Return 256 bits that depend on nothing but the space, the seed and the words."""
    space = {name: canonical_axis(form, search.method) for name, form in forms.items()}
    text = json.dumps([space, *words, search.seed or 0], sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "little")


def _dimension(form: AxisForm, parameter: Parameter) -> _Dimension:
    if not isinstance(form, Interval):
        values, _ = axis_values(form, parameter)
        n_values = values.shape[0]
        return _Dimension(
            parameter, lambda u: values[np.minimum((u * n_values).astype(np.int64), n_values - 1)], n_values
        )
    low, high = float(form.low), float(form.high)
    if parameter.kind == "integer":
        low, high = math.ceil(low), math.floor(high)
        if high < low:
            raise SpecError(f"parameters.{parameter.name}: no whole number lies from {form.low} to {form.high}")

        def whole(u: NDArray[np.float64]) -> NDArray[np.int64]:
            if form.scale == "log":  # each number owns its half-open neighbourhood, so that both ends count fully
                x = np.rint(np.exp(np.log(low - 0.5) + u * np.log((high + 0.5) / (low - 0.5))))
            else:
                x = np.floor(low + u * (high - low + 1))
            clipped: NDArray[np.float64] = np.clip(x, low, high)
            return clipped.astype(np.int64)

        return _Dimension(parameter, whole, high - low + 1)

    def real(u: NDArray[np.float64]) -> NDArray[np.float64]:
        x = low * np.exp(u * np.log(high / low)) if form.scale == "log" else low + u * (high - low)
        return readable(x, form)

    return _Dimension(parameter, real, math.inf if high > low else 1)


def readable(x: NDArray[np.float64], form: Interval) -> NDArray[np.float64]:
    """Round numbers drawn from an interval to what a person can read and type again."""
    low, high = float(form.low), float(form.high)
    if form.scale == "log":
        return np.clip(_rounded(x, _DIGITS - 1 - np.floor(np.log10(x))), low, high)
    span = high - low
    decimals = _DIGITS - np.floor(np.log10(span)) if span else np.float64(0)
    return np.clip(_rounded(x, np.full(x.shape, decimals)) if span else x, low, high)


def _rounded(x: NDArray[np.float64], decimals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round each number to so many decimals; dividing last keeps 0.3 at 0.3."""
    with np.errstate(over="ignore", invalid="ignore"):
        up, down = 10.0 ** np.maximum(decimals, 0), 10.0 ** np.maximum(-decimals, 0)
        rounded: NDArray[np.float64] = np.rint(x * up / down) * down / up
    return np.where(np.isfinite(rounded), rounded, x)
