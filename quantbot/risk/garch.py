"""GARCH(1,1) volatilities of many assets, by the package `arch` (the extra ``quantbot[stats]``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantbot.errors import InputError
from quantbot.market import Floats

_LEAST_PERIODS = 50


@dataclass(frozen=True)
class Garch:
    """``variance_t = omega + alpha * shock_(t-1)^2 + beta * variance_(t-1)`` of each asset.

    Attributes
    ----------
    mean, omega, alpha, beta
        Shape (n_assets,), in units of returns per period and their squares.
    residuals
        Shape (n_periods, n_assets): shocks over the volatility that was expected for their period.
    variance
        Shape (n_assets,): expected for the first period after the last.
    """

    mean: Floats
    omega: Floats
    alpha: Floats
    beta: Floats
    residuals: Floats
    variance: Floats

    def simulate(self, drawn: Floats) -> Floats:
        """Return compound returns, shape (n_paths, n_assets), of residuals of shape (n_paths, horizon, n_assets)."""
        n_paths, horizon, n = drawn.shape
        variance = np.tile(self.variance, (n_paths, 1))
        wealth = np.ones((n_paths, n))
        for h in range(horizon):
            shock = np.sqrt(variance) * drawn[:, h]
            wealth *= 1.0 + self.mean + shock
            variance = self.omega + self.alpha * np.square(shock) + self.beta * variance
        return wealth - 1.0


def fit_garch(returns: Floats, assets: tuple[str, ...]) -> Garch:
    """Fit each asset for itself.

    Parameters
    ----------
    returns
        Shape (n_periods, n_assets), at least 50 periods.

    Notes
    -----
    Bollerslev (1986), "Generalized autoregressive conditional heteroskedasticity", Journal of Econometrics 31, with a
    constant mean, by quasi-likelihood (normal shocks) on returns in units of their deviation.

    Raises
    ------
    InputError
        If `arch` is not installed, there are too few periods, or an asset does not vary or can't be fitted: by name.
    """
    n_periods, n = returns.shape
    if n_periods < _LEAST_PERIODS:
        raise InputError(f"a GARCH fit needs at least {_LEAST_PERIODS} periods, found {n_periods}")
    mean, unit = returns.mean(axis=0), returns.std(axis=0)
    numbers = np.empty((3, n))
    residuals, variance = np.empty((n_periods, n)), np.empty(n)
    for j, asset in enumerate(assets):
        if not unit[j] > 1e-12:
            raise InputError(f"a GARCH fit needs returns that vary; those of {asset} do not")
        shock = (returns[:, j] - mean[j]) / unit[j]
        numbers[:, j], path = _fitted(shock, asset)
        omega, alpha, beta = numbers[:, j]
        residuals[:, j] = shock / np.sqrt(path)
        variance[j] = omega + alpha * shock[-1] ** 2 + beta * path[-1]
    square = np.square(unit)
    return Garch(mean, numbers[0] * square, numbers[1], numbers[2], residuals, variance * square)


def _fitted(shock: Floats, asset: str) -> tuple[Floats, Floats]:
    """Return (omega, alpha, beta) and the path of expected variances of shocks of deviation 1."""
    try:
        from arch.univariate import GARCH, ZeroMean
    except ImportError as error:
        raise InputError("filtered scenarios need the package arch: pip install 'quantbot[stats]'") from error
    model = ZeroMean(shock, volatility=GARCH(1, 0, 1), rescale=False)
    found = model.fit(disp="off", show_warning=False)
    numbers, path = np.asarray(found.params, dtype=np.float64), np.square(np.asarray(found.conditional_volatility))
    if found.convergence_flag or not np.isfinite(numbers).all() or not (path > 0).all():
        raise InputError(f"the GARCH fit of {asset} did not converge (arch: flag {found.convergence_flag})")
    return numbers, path
