"""Returns as common factors and what is an asset's own: exposures by least squares, and risk by factor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from quantbot.errors import InputError
from quantbot.market import Floats
from quantbot.portfolio.model import Scenarios
from quantbot.risk.contributions import Method, portfolio_losses, risk_contributions, risk_slope

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


@dataclass(frozen=True)
class FactorRisk:
    """A portfolio's risk by factor.

    Attributes
    ----------
    names
        Of the factors.
    total
        The portfolio's risk: of the given method, see `Contributions`.
    component
        Shape (n_factors,), what each factor contributes.
    specific
        What the assets' own residuals contribute.
    constant
        What the mean return that no factor explains contributes: it lowers VaR and CVaR where it is a gain, and has no
        part in volatility. Components, specific and constant sum to `total`.
    specific_by_asset
        Shape (n_assets,), sum `specific`.
    exposures
        Shape (n_factors,), of the portfolio.
    fit
        Of the assets.
    """

    names: tuple[str, ...]
    total: float
    component: Floats
    specific: float
    constant: float
    specific_by_asset: Floats
    exposures: Floats
    fit: FactorFit

    @property
    def systematic_share(self) -> float:
        """Share of the risk that the factors contribute."""
        return float(self.component.sum() / self.total) if self.total else float("nan")


def factor_risk(
    weights: ArrayLike,
    scenarios: Scenarios,
    factors: ArrayLike,
    *,
    method: Method = "cvar",
    beta: float = 0.95,
    names: tuple[str, ...] | None = None,
) -> FactorRisk:
    """Return what common factors and the assets' own residuals contribute to a portfolio's risk.

    Parameters
    ----------
    weights
        Shape (n_assets,).
    factors
        Shape (n_scenarios, n_factors): the factors' returns in the scenarios.

    Notes
    -----
    A portfolio's loss is the sum of exposures times factors, residuals and a constant, so Euler contributions apply to
    these as to positions: the tail mean of each.

    Raises
    ------
    InputError
        As `regress` and `risk_contributions`.

    Examples
    --------
    >>> market = np.array([[0.01], [-0.02], [0.03], [-0.01]])
    >>> found = factor_risk([0.5, 0.5], Scenarios.of(market @ [[1.0, 2.0]]), market, beta=0.75, names=("market",))
    >>> found.component.round(12).tolist(), abs(round(found.specific, 12))
    ([0.03], 0.0)
    """
    held = np.asarray(weights, dtype=np.float64)
    whole = risk_contributions(held, scenarios, method=method, beta=beta)
    fit = regress(scenarios.returns, factors, names=names, probabilities=scenarios.probabilities)
    common = _matrix("factors", factors)
    slope = risk_slope(portfolio_losses(held, scenarios), scenarios.probabilities, method, beta)
    exposures = held @ fit.exposures
    own = -(slope @ fit.residuals) * held
    labels = names or tuple(f"factor {k}" for k in range(common.shape[1]))
    constant = -float(slope.sum()) * float(fit.alpha @ held)
    return FactorRisk(
        labels, whole.total, -(slope @ common) * exposures, float(own.sum()), constant, own, exposures, fit
    )


def regress(
    returns: ArrayLike,
    factors: ArrayLike,
    *,
    names: tuple[str, ...] | None = None,
    probabilities: ArrayLike | None = None,
) -> FactorFit:
    """Regress returns, shape (n_periods, n_assets), on factor returns, shape (n_periods, n_factors), and a constant.

    Parameters
    ----------
    names
        Of the factors, for messages.
    probabilities
        Shape (n_periods,), sum 1: how much each period counts; None: all alike.

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
    if names is not None and len(names) != n_factors:
        raise InputError(f"names must name {n_factors} factors, found {len(names)}")
    chances = np.full(n_periods, 1.0 / n_periods) if probabilities is None else np.asarray(probabilities, np.float64)
    root = np.sqrt(n_periods * chances)[:, None]
    mean_x, mean_y = chances @ x, chances @ y
    away_x, away_y = x - mean_x, y - mean_y
    basis, upper = np.linalg.qr(away_x * root)
    _check_rank(x, upper, names)
    exposures = np.linalg.solve(upper, basis.T @ (away_y * root)).T
    residuals = away_y - away_x @ exposures.T
    left = np.square(residuals * root).sum(axis=0)
    inverse = np.linalg.solve(upper, np.eye(n_factors))
    spread = np.square(inverse).sum(axis=1)
    errors = np.sqrt(np.outer(left / (n_periods - n_factors - 1), spread))
    whole = np.square(away_y * root).sum(axis=0)
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
