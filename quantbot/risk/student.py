"""The multivariate Student t distribution: fitted by likelihood, and drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from quantbot.errors import InputError
from quantbot.market import Floats

LEAST_DEGREES, MOST_DEGREES = 2.05, 200.0  # below 2 there is no variance, at 200 nothing is left of the tails
_MOST_STEPS = 500
_CLOSE = 1e-10


@dataclass(frozen=True)
class StudentT:
    """A multivariate Student t distribution.

    Attributes
    ----------
    location
        Shape (n_assets,).
    scale
        Shape (n_assets, n_assets); the covariance is ``degrees / (degrees - 2)`` times it.
    degrees
        Degrees of freedom: 3 to 6 for daily returns, large for a normal distribution.
    """

    location: Floats
    scale: Floats
    degrees: float

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Return `n` draws, shape (n, n_assets)."""
        normal = rng.standard_normal((n, len(self.location)))
        mixed = np.sqrt(self.degrees / rng.chisquare(self.degrees, n))
        return np.asarray(self.location + mixed[:, None] * (normal @ np.linalg.cholesky(self.scale).T))


def fit_student_t(returns: Floats, degrees: float | None = None) -> StudentT:
    """Return the distribution of greatest likelihood.

    Parameters
    ----------
    returns
        Shape (n_periods, n_assets), more periods than assets.
    degrees
        Above 2; None: fitted too.

    Notes
    -----
    ECME of Liu & Rubin (1995), "ML estimation of the t distribution using EM and its extensions, ECM and ECME",
    Statistica Sinica 5: location and scale by weights that make little of far periods, degrees by likelihood itself.

    Raises
    ------
    InputError
        If there are too few periods, or assets that are combinations of others.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = fit_student_t(rng.standard_t(4, (4000, 1)))
    >>> 3.5 < found.degrees < 4.5
    True
    """
    n_periods, n = returns.shape
    if n_periods <= n + 1:
        raise InputError(f"a Student t fit of {n} assets needs more than {n + 1} periods, found {n_periods}")
    unit = returns.std(axis=0)
    if not (unit > 0).all():
        raise InputError(f"a Student t fit needs returns that vary; those of asset {int(np.argmin(unit))} do not")
    values = returns / unit
    location, scale = values.mean(axis=0), np.cov(values.T, ddof=0).reshape(n, n)
    nu = degrees or 5.0
    last = -math.inf
    for _ in range(_MOST_STEPS):
        distance, log_det = _distance(values - location, scale)
        if degrees is None:
            nu = _likeliest_degrees(distance, n)
        weight = (nu + n) / (nu + distance)
        location = weight @ values / weight.sum()
        away = values - location
        scale = (away * weight[:, None]).T @ away / n_periods
        likelihood = _log_likelihood(nu, distance, n) - log_det / 2
        if abs(likelihood - last) <= _CLOSE * max(1.0, abs(likelihood)):
            break
        last = likelihood
    return StudentT(location * unit, scale * np.outer(unit, unit), float(nu))


def _distance(away: Floats, scale: Floats) -> tuple[Floats, float]:
    """Return squared Mahalanobis distances and the logarithm of the scale's determinant."""
    try:
        factor = np.linalg.cholesky(scale)
    except np.linalg.LinAlgError:
        factor = None
    if factor is None or np.diag(factor).min() < 1e-7 * np.diag(factor).max():
        raise InputError("a Student t fit needs assets none of which is a combination of the others")
    whitened = np.linalg.solve(factor, away.T)
    return np.square(whitened).sum(axis=0), 2.0 * float(np.log(np.diag(factor)).sum())


def _likeliest_degrees(distance: Floats, n: int) -> float:
    from scipy.optimize import minimize_scalar

    ends = (math.log(LEAST_DEGREES), math.log(MOST_DEGREES))
    found = minimize_scalar(
        lambda log_nu: -_log_likelihood(math.exp(log_nu), distance, n), bounds=ends, method="bounded",
        options={"xatol": 1e-8},
    )  # fmt: skip
    return math.exp(float(found.x))


def _log_likelihood(nu: float, distance: Floats, n: int) -> float:
    """Return the mean log density at these distances, less what does not depend on `nu`."""
    start = math.lgamma((nu + n) / 2) - math.lgamma(nu / 2) - n / 2 * math.log(nu)
    return start - (nu + n) / 2 * float(np.log1p(distance / nu).mean())
