"""Where a portfolio's risk comes from: Euler contributions to volatility, VaR and CVaR, which sum to the whole.

All three are homogeneous in the weights, so ``risk = sum_i w_i d(risk)/d(w_i)`` (Tasche 1999, "Risk contributions and
performance measurement"). Each is also a weighted sum of the scenarios' losses, ``risk = q . losses``, with q the
slope: for CVaR the tail's probabilities over ``1 - beta``, for VaR the scenario at the boundary, for volatility the
losses' distances from their mean. What any part of the portfolio contributes is q times that part's losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError
from quantbot.market import Floats
from quantbot.portfolio.model import Scenarios
from quantbot.risk.blocks import block_length as optimal_length
from quantbot.risk.blocks import draw_counts

Method = Literal["volatility", "var", "cvar"]
METHODS = ("volatility", "var", "cvar")
_TIE = 1e-14  # of the greatest loss: losses that close are one
_CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Contributions:
    """Parts of a portfolio's risk.

    Attributes
    ----------
    method
        "volatility" (a deviation per period), "var" or "cvar" (losses as a share of capital, positive is a loss).
    beta
        Level of VaR and CVaR; volatility has none.
    names
        Of the parts: assets, groups or strategies.
    total
        The portfolio's risk.
    component
        Shape (n_parts,), sum `total`; negative where a part hedges the rest.
    marginal
        Shape (n_assets,): slope of the risk in each asset's weight.
    """

    method: Method
    beta: float
    names: tuple[str, ...]
    total: float
    component: Floats
    marginal: Floats

    @property
    def share(self) -> Floats:
        """Each component over the total, sum 1; NaN where there is no risk."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(self.total != 0, self.component / self.total, np.nan))


@dataclass(frozen=True)
class ContributionIntervals:
    """Contributions and how far they may be off: `low` and `high` enclose the share `confidence` of the draws.

    Attributes
    ----------
    low, high
        Shape (n_parts,), of the components.
    total_low, total_high
        Of the total.
    """

    value: Contributions
    low: Floats
    high: Floats
    total_low: float
    total_high: float
    confidence: float
    block_length: float
    n_draws: int


def risk_contributions(
    weights: ArrayLike,
    scenarios: Scenarios,
    *,
    method: Method = "cvar",
    beta: float = 0.95,
    groups: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> Contributions:
    """Return what each asset, group or strategy contributes to a portfolio's risk.

    Parameters
    ----------
    weights
        Shape (n_assets,): contributions by asset. Shape (n_strategies, n_assets): by strategy, the portfolio being
        their sum.
    groups
        Shape (n_assets,): a label for each asset; contributions by group, in the order in which they first occur.
    names
        Of the strategies.

    Notes
    -----
    The scenario at the boundary of the tail counts with the fraction that fills ``1 - beta``, so that CVaR's components
    sum to it exactly; scenarios of equal loss there share that fraction by their probabilities. VaR is the loss at the
    boundary; its components are those of that scenario alone (or of those that tie there), and so hang on little: see
    `contribution_intervals`.

    Raises
    ------
    InputError
        If weights do not match the assets or are not finite, or beta is outside (0, 1).

    Examples
    --------
    >>> scenarios = Scenarios.of([[-0.10, 0.02], [-0.02, -0.04], [0.04, 0.01], [0.05, 0.03]], assets=("a", "b"))
    >>> found = risk_contributions([0.5, 0.5], scenarios, beta=0.5)
    >>> round(found.total, 12), found.component.round(12).tolist()
    (0.035, [0.03, 0.005])
    """
    parts, labels = _parts(weights, scenarios, groups, names)
    whole = parts if parts.ndim == 1 else parts.sum(axis=0)
    losses = portfolio_losses(whole, scenarios)
    slope = risk_slope(losses, scenarios.probabilities, method, beta)
    marginal = _marginal(scenarios, slope)
    component = parts * marginal if parts.ndim == 1 else parts @ marginal
    return Contributions(method, beta, labels, float(slope @ losses), component, marginal)


def contribution_intervals(
    weights: ArrayLike,
    scenarios: Scenarios,
    *,
    method: Method = "cvar",
    beta: float = 0.95,
    groups: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    confidence: float = 0.95,
    n_draws: int = 500,
    block_length: float | None = None,
    seed: int = 0,
) -> ContributionIntervals:
    """Return percentile intervals of contributions, the scenarios drawn again in blocks.

    Parameters
    ----------
    scenarios
        In the order of time, as history is; equally likely or not.
    block_length
        Mean number of scenarios in a block; by default the optimal one of the portfolio's losses.
    seed
        Of the draws: see `quantbot.risk.seed_of`.

    Raises
    ------
    InputError
        As `risk_contributions`; if `arch` is not installed, or confidence or n_draws make no interval.

    Examples
    --------
    >>> scenarios = Scenarios.of(np.random.default_rng(0).normal(0, 0.01, (500, 2)))
    >>> found = contribution_intervals([0.5, 0.5], scenarios, n_draws=100)
    >>> bool((found.low < found.value.component).all() and (found.value.component < found.high).all())
    True
    """
    if not 0 < confidence < 1 or n_draws < 20:
        raise InputError(f"confidence must be in (0, 1) and n_draws at least 20, were {confidence!r} and {n_draws!r}")
    value = risk_contributions(weights, scenarios, method=method, beta=beta, groups=groups, names=names)
    parts, _ = _parts(weights, scenarios, groups, names)
    losses = portfolio_losses(parts if parts.ndim == 1 else parts.sum(axis=0), scenarios)
    length = optimal_length(losses) if block_length is None else float(block_length)
    if not length >= 1:
        raise InputError(f"block_length must be at least 1, was {length:g}")
    rng = np.random.Generator(np.random.Philox(key=seed))
    found = np.empty((n_draws, len(value.component) + 1))
    for i, counts in enumerate(draw_counts(len(losses), length, n_draws, rng)):
        chances = scenarios.probabilities * counts
        slope = risk_slope(losses, chances / chances.sum(), method, beta)
        marginal = _marginal(scenarios, slope)
        found[i, :-1] = parts * marginal if parts.ndim == 1 else parts @ marginal
        found[i, -1] = slope @ losses
    low, high = np.quantile(found, [0.5 - confidence / 2, 0.5 + confidence / 2], axis=0)
    return ContributionIntervals(
        value, low[:-1], high[:-1], float(low[-1]), float(high[-1]), confidence, length, n_draws
    )  # fmt: skip


def incremental_risk(
    weights: ArrayLike, scenarios: Scenarios, *, method: Method = "cvar", beta: float = 0.95
) -> Floats:
    """Return the risk less that of the portfolio without each asset (its weight in cash), shape (n_assets,).

    Examples
    --------
    >>> scenarios = Scenarios.of([[-0.10, 0.02], [-0.02, -0.04], [0.04, 0.01], [0.05, 0.03]])
    >>> incremental_risk([0.5, 0.5], scenarios, beta=0.5).round(12).tolist()
    [0.0275, 0.005]
    """
    held, _ = _parts(weights, scenarios, None, None)
    losses = portfolio_losses(held, scenarios)
    whole = _risks(losses[:, None], scenarios.probabilities, method, beta)[0]
    return np.asarray(whole - _in_chunks(held, scenarios, losses, method, beta))


def diversification_ratio(
    weights: ArrayLike, scenarios: Scenarios, *, method: Method = "volatility", beta: float = 0.95
) -> float:
    """Return the sum of the risks of the positions alone over the risk of the whole; 1 without any diversification.

    Notes
    -----
    With volatility the ratio of Choueifaty & Coignard (2008), "Toward maximum diversification", Journal of Portfolio
    Management 35(1), equation 2. NaN where the whole has no risk.

    Examples
    --------
    >>> scenarios = Scenarios.of([[0.01, 0.01], [-0.01, 0.01], [0.01, -0.01], [-0.01, -0.01]])
    >>> round(diversification_ratio([0.5, 0.5], scenarios), 6)  # two uncorrelated positions of one size
    1.414214
    """
    held, _ = _parts(weights, scenarios, None, None)
    losses = portfolio_losses(held, scenarios)
    whole = float(_risks(losses[:, None], scenarios.probabilities, method, beta)[0])
    alone = _in_chunks(held, scenarios, None, method, beta)
    return float(alone.sum() / whole) if whole > 0 else float("nan")


def portfolio_losses(weights: Floats, scenarios: Scenarios) -> Floats:
    """Return a portfolio's loss in each scenario, shape (n_scenarios,); positive is a loss."""
    return -(scenarios.returns @ weights)


def risk_slope(losses: Floats, probabilities: Floats, method: Method, beta: float) -> Floats:
    """Return the slope of a risk in each scenario's loss, shape (n_scenarios,): times the losses it is the risk.

    Parameters
    ----------
    losses
        Shape (n_scenarios,).
    probabilities
        Shape (n_scenarios,), sum 1.
    """
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}; found {method!r}")
    if method == "volatility":
        away = losses - probabilities @ losses
        deviation = float(np.sqrt(probabilities @ np.square(away)))
        moves = deviation > _TIE * float(np.abs(losses).max(initial=0.0))
        return np.asarray(probabilities * away / deviation) if moves else np.zeros(len(losses))
    if not 0 < beta < 1:
        raise InputError(f"beta must be in (0, 1), was {beta!r}")
    boundary = losses[_boundary(losses, probabilities, beta)]
    near = np.abs(losses - boundary) <= _TIE * float(np.abs(losses).max(initial=0.0))
    at = np.where(near, probabilities, 0.0)
    if method == "var":
        return np.asarray(at / at.sum())
    beyond = np.where((losses > boundary) & ~near, probabilities, 0.0)
    return np.asarray((beyond + at * ((1.0 - beta - beyond.sum()) / at.sum())) / (1.0 - beta))


def _boundary(losses: Floats, probabilities: Floats, beta: float) -> int:
    """Return the scenario in which the mass of greater losses reaches ``1 - beta``."""
    order = np.argsort(-losses, kind="stable")
    reached = np.cumsum(probabilities[order])
    # As `cvar_of`: a scenario that only rounding leaves in the tail is not in it.
    at = int(np.searchsorted(reached, (1.0 - beta) * (1.0 - 1e-12)))
    return int(order[min(at, len(order) - 1)])


def _marginal(scenarios: Scenarios, slope: Floats) -> Floats:
    """Return the slope in each weight, from the scenarios alone that have one."""
    rows = np.flatnonzero(slope)
    if 2 * len(rows) > len(slope):
        return -(slope @ scenarios.returns)
    return -(slope[rows] @ scenarios.returns[rows])


def _in_chunks(held: Floats, scenarios: Scenarios, losses: Floats | None, method: Method, beta: float) -> Floats:
    """Return the risk of each position alone or, with `losses` of the whole, of the whole without it."""
    n_scenarios, n = scenarios.returns.shape
    found = np.empty(n)
    width = max(_CHUNK_BYTES // (8 * n_scenarios), 1)
    for begin in range(0, n, width):
        part = slice(begin, begin + width)
        own = -scenarios.returns[:, part] * held[part]
        found[part] = _risks(own if losses is None else losses[:, None] - own, scenarios.probabilities, method, beta)
    return found


def _risks(losses: Floats, probabilities: Floats, method: Method, beta: float) -> Floats:
    """Return the risk of each column of losses, shape (n_scenarios, n_columns)."""
    return np.array([risk_slope(column, probabilities, method, beta) @ column for column in losses.T])


def _parts(
    weights: ArrayLike, scenarios: Scenarios, groups: Sequence[str] | None, names: Sequence[str] | None
) -> tuple[Floats, tuple[str, ...]]:
    """Return the parts' weights, (n_assets,) where each asset is one, else (n_parts, n_assets), and their names."""
    n = len(scenarios.assets)
    held = np.asarray(weights, dtype=np.float64)
    if held.ndim not in (1, 2) or held.shape[-1] != n:
        raise InputError(f"weights must match the {n} assets, shape ({n},) or (n_strategies, {n}); was {held.shape}")
    if not np.isfinite(held).all():
        at = np.argwhere(~np.isfinite(held))[0]
        raise InputError(f"weights must be finite, found {held[tuple(at)]} for {scenarios.assets[int(at[-1])]}")
    if held.ndim == 2:
        if groups is not None:
            raise InputError(
                "contributions are by strategy or by group, not by both: sum the strategies' weights first"
            )
        labels = tuple(names) if names is not None else tuple(f"strategy {k}" for k in range(len(held)))
        if len(labels) != len(held):
            raise InputError(f"names must name {len(held)} strategies, found {len(labels)}")
        return held, labels
    if groups is None:
        return held, scenarios.assets
    if len(groups) != n:
        raise InputError(f"groups must have a label for each of the {n} assets, found {len(groups)}")
    labels = tuple(dict.fromkeys(groups))
    place: NDArray[np.bool_] = np.array(labels)[:, None] == np.array(groups)[None, :]
    return np.where(place, held, 0.0), labels
