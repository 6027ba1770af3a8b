"""What weights may be: bounds, budget, groups, a target, and limits on what is held and traded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from quantbot.errors import InputError
from quantbot.market import Floats


@dataclass(frozen=True)
class Linear:
    """``low <= coefficients @ weights <= high``: a group, a sector, a factor exposure.

    Attributes
    ----------
    name
        What messages call it.
    coefficients
        Shape (n_assets,).
    low, high
        Either may be infinite; equal ones are an equation.
    """

    name: str
    coefficients: ArrayLike
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True)
class Constraints:
    """What weights may be; a weight is a share of capital, negative where sold short.

    Attributes
    ----------
    lower, upper
        One number, or shape (n_assets,); finite.
    budget
        Sum of the weights; None leaves it free.
    linear
        Groups, sectors and other linear limits.
    target_return
        Least mean return per period, or None.
    gross
        Greatest sum of absolute weights, or None.
    previous
        Shape (n_assets,): the weights that are held before; without it nothing is.
    turnover
        Greatest sum of absolute changes against `previous`, or None.
    cost
        What a change of one costs, as a share of capital: one number or shape (n_assets,), 0 or more. It is added to
        each scenario's loss.

    Examples
    --------
    >>> Constraints(upper=0.4, linear=(Linear("technology", [1, 1, 0], high=0.5),)).upper
    0.4
    """

    lower: ArrayLike = 0.0
    upper: ArrayLike = 1.0
    budget: float | None = 1.0
    linear: Sequence[Linear] = ()
    target_return: float | None = None
    gross: float | None = None
    previous: ArrayLike | None = None
    turnover: float | None = None
    cost: ArrayLike = 0.0


@dataclass(frozen=True)
class Limits:
    """Constraints, checked and filled in for a number of assets."""

    lower: Floats
    upper: Floats
    budget: float | None
    linear: tuple[tuple[str, Floats, float, float], ...]
    target_return: float | None
    gross: float | None
    previous: Floats
    turnover: float | None
    cost: Floats
    trades: bool = field(default=False)


def limits(constraints: Constraints, n_assets: int) -> Limits:
    """Check constraints for `n_assets` and fill them in.

    Raises
    ------
    InputError
        Naming the field, what was needed and what was found. What is in itself possible, but not together, is not
        refused here: an optimisation names it.
    """
    lower = _vector("lower", constraints.lower, n_assets)
    upper = _vector("upper", constraints.upper, n_assets)
    if (crossed := lower > upper).any():
        at = int(crossed.argmax())
        raise InputError(f"lower must not be above upper, found {lower[at]:g} and {upper[at]:g} for asset {at}")
    cost = _vector("cost", constraints.cost, n_assets)
    if cost.min(initial=0.0) < 0:
        raise InputError(f"cost must be 0 or more, found {cost.min():g}")
    held = 0.0 if constraints.previous is None else constraints.previous
    for name in ("gross", "turnover"):
        value = getattr(constraints, name)
        if value is not None and not 0 <= value < np.inf:
            raise InputError(f"{name} must be a number of 0 or more, found {value!r}")
    for name in ("budget", "target_return"):
        value = getattr(constraints, name)
        if value is not None and not np.isfinite(value):
            raise InputError(f"{name} must be a finite number, found {value!r}")
    return Limits(
        lower,
        upper,
        constraints.budget,
        tuple(_linear(one, n_assets) for one in constraints.linear),
        constraints.target_return,
        constraints.gross,
        _vector("previous", held, n_assets),
        constraints.turnover,
        cost,
        constraints.turnover is not None or bool(cost.any()),
    )


def _vector(name: str, value: ArrayLike, n_assets: int) -> Floats:
    number: object = value  # the usual case needs no array first
    if isinstance(number, (int, float)) and math.isfinite(number):
        return np.full(n_assets, float(number))
    found = np.asarray(value, dtype=np.float64)
    if found.ndim == 0:
        found = np.full(n_assets, float(found))
    if found.shape != (n_assets,):
        raise InputError(f"{name} must be one number or of shape ({n_assets},), was of shape {found.shape}")
    if not np.isfinite(found).all():
        at = int(np.flatnonzero(~np.isfinite(found))[0])
        raise InputError(f"{name} must be finite, found {found[at]} for asset {at}")
    return found


def _linear(one: Linear, n_assets: int) -> tuple[str, Floats, float, float]:
    coefficients = _vector(f"the coefficients of {one.name}", one.coefficients, n_assets)
    if not one.low <= one.high or one.low == np.inf or one.high == -np.inf:
        raise InputError(f"{one.name} must have low <= high, found {one.low:g} and {one.high:g}")
    if not coefficients.any():
        raise InputError(f"the coefficients of {one.name} must not all be 0")
    return one.name, coefficients, float(one.low), float(one.high)
