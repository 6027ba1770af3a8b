"""Returns as common factors and what is an asset's own: exposures by least squares, and risk by factor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from quantbot.errors import InputError
from quantbot.market import Floats

_SINGULAR = 1e-10  # of a factor's length: what others leave of it that is rounding


@dataclass(frozen=True)
class FactorFit:
    """Returns on factor returns by ordinary least squares.

    Attributes
    ----------
    alpha
        Shape (n_assets,): mean return per period that no factor explains.
    exposures
        Shape (n_assets, n_factors): what an asset's return moves by with one of the factor's.
    standard_errors
        Shape (n_assets, n_factors), of the exposures, for residuals that are independent and of one variance.
    residuals
        Shape (n_periods, n_assets).
    r_squared
        Shape (n_assets,): share of the variance that factors explain; NaN where an asset does not vary.
    """

    alpha: Floats
    exposures: Floats
    standard_errors: Floats
    residuals: Floats
    r_squared: Floats


def regress(returns: ArrayLike, factors: ArrayLike, *, names: tuple[str, ...] | None = None) -> FactorFit:
    """Regress returns, shape (n_periods, n_assets), on factor returns, shape (n_periods, n_factors), and a constant.

    Parameters
    ----------
    names
        Of the factors, for messages.

    Raises
    ------
    InputError
        If periods are too few, a value is not finite, or a factor is constant or a combination of those before it: by
        name.

    Examples
    --------
    >>> market = np.array([[0.01], [-0.02], [0.03], [0.0]])
    >>> found = regress(0.001 + 1.5 * market, market)
    >>> found.exposures.round(12).tolist(), found.alpha.round(12).tolist()
    ([[1.5]], [0.001])
    """
    y, x = _matrix("returns", returns), _matrix("factors", factors)
    n_periods, n_factors = x.shape
    if len(y) != n_periods:
        raise InputError(f"factors must be of the {len(y)} periods of the returns, found {n_periods}")
    if n_periods < n_factors + 2:
        raise InputError(f"{n_factors} factors need at least {n_factors + 2} periods, found {n_periods}")
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    away_x, away_y = x - mean_x, y - mean_y
    basis, upper = np.linalg.qr(away_x)
    _check_rank(x, upper, names)
    exposures = np.linalg.solve(upper, basis.T @ away_y).T
    residuals = away_y - away_x @ exposures.T
    left = np.square(residuals).sum(axis=0)
    inverse = np.linalg.solve(upper, np.eye(n_factors))
    spread = np.square(inverse).sum(axis=1)
    errors = np.sqrt(np.outer(left / (n_periods - n_factors - 1), spread))
    whole = np.square(away_y).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r_squared = np.where(whole > 0, 1.0 - left / whole, np.nan)
    return FactorFit(mean_y - exposures @ mean_x, exposures, errors, residuals, r_squared)


def _check_rank(x: Floats, upper: Floats, names: tuple[str, ...] | None) -> None:
    """Refuse the first factor of which those before it (and the constant) leave nothing."""
    length = np.sqrt(np.square(x).sum(axis=0))
    alone = np.abs(np.diag(upper))
    singular = np.flatnonzero(~(alone > _SINGULAR * length))
    if singular.size:
        at = int(singular[0])
        label = names[at] if names else f"factor {at}"
        own = np.abs(upper[:, at]).max(initial=0.0)
        why = "is constant" if not own > _SINGULAR * length[at] else "is a combination of the factors before it"
        raise InputError(f"factors are singular: {label} {why}; leave it out")


def _matrix(name: str, values: ArrayLike) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or not found.size:
        raise InputError(f"{name} must be of shape (n_periods, n_columns), was of shape {found.shape}")
    if not np.isfinite(found).all():
        row, column = np.argwhere(~np.isfinite(found))[0]
        raise InputError(f"{name} must be finite, found {found[row, column]} in period {row}, column {column}")
    return found
