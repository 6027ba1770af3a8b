"""From scenarios and constraints to the columns and rows that the kernel steps over, and back to weights.

A weight is the sum of pieces, each from 0 to its length; without gross, turnover and cost there is one piece an asset,
from its lower to its upper bound. Those three are not linear in a weight but in its pieces: the bounds are cut at 0 and
at the previous weight, and each piece has a slope of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quantbot.errors import InputError
from quantbot.market import Floats
from quantbot.portfolio.constraints import Limits
from quantbot.portfolio.kernels_model import lay_out, start
from quantbot.portfolio.kernels_vertex import AT_LOWER, AT_UPPER, Tableau, refactor

PENALTY = 100.0  # times the greatest loss: the first slope of a constraint, raised where it was not enough
_NONE: Floats = np.empty(0)


@dataclass(frozen=True)
class Scenarios:
    """Joint returns of all assets, and how likely each is.

    Attributes
    ----------
    returns
        Shape (n_scenarios, n_assets), simple returns per period.
    probabilities
        Shape (n_scenarios,), sum 1.
    assets
        Names, in the order of the columns.
    """

    returns: Floats
    probabilities: Floats
    assets: tuple[str, ...]

    @staticmethod
    def of(
        returns: ArrayLike, *, probabilities: ArrayLike | None = None, assets: tuple[str, ...] | None = None
    ) -> Scenarios:
        """Check returns and fill in equal probabilities and numbered assets.

        Raises
        ------
        InputError
            If a return is not finite, shapes don't agree, or probabilities are negative or don't sum to 1.
        """
        values = np.ascontiguousarray(returns, dtype=np.float64)
        if values.ndim != 2 or not values.size:
            raise InputError(f"returns must be of shape (n_scenarios, n_assets), was of shape {values.shape}")
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise InputError(f"returns must be finite, found {values[row, column]} in scenario {row}, asset {column}")
        n_scenarios, n_assets = values.shape
        names = _numbered(n_assets) if assets is None else tuple(assets)
        if len(names) != n_assets:
            raise InputError(f"assets must name {n_assets} columns, found {len(names)} names")
        if probabilities is None:
            return Scenarios(values, np.full(n_scenarios, 1.0 / n_scenarios), names)
        chances = np.asarray(probabilities, dtype=np.float64)
        if chances.shape != (n_scenarios,) or not (chances >= 0).all() or not abs(chances.sum() - 1) < 1e-9:
            raise InputError(
                f"probabilities must be {n_scenarios} numbers of 0 or more with sum 1, found shape {chances.shape},"
                f" least {chances.min():g}, sum {chances.sum():g}"
            )
        return Scenarios(values, chances, names)

    @cached_property
    def mean(self) -> Floats:
        """Mean return of each asset, shape (n_assets,)."""
        return np.asarray(self.probabilities @ self.returns)

    @cached_property
    def covariance(self) -> Floats:
        """Covariance of the assets' returns, shape (n_assets, n_assets): of these scenarios, so nothing less than n."""
        from quantbot.portfolio.kernels_quadratic import covariance

        return covariance(self.returns, self.probabilities, self.mean)


@lru_cache(maxsize=64)
def _numbered(n_assets: int) -> tuple[str, ...]:
    return tuple(f"asset {j}" for j in range(n_assets))


@dataclass(frozen=True)
class Model:
    """A problem in the kernel's form.

    Attributes
    ----------
    tableau
        Columns: the pieces, then the value at risk. Rows: the constraints, then the scenarios.
    names
        Of the constraints.
    chosen
        The scenarios that have a row, in the order of the rows, and room for more; None: all, in their order.
    asset
        Asset of each piece.
    origin
        Weights where all pieces are 0.
    constant
        What the objective has beyond the tableau's.
    share
        A scenario's slope per unit of its chance.
    """

    tableau: Tableau
    names: tuple[str, ...]
    chosen: NDArray[np.int64] | None
    asset: NDArray[np.int64]
    origin: Floats
    constant: float
    share: float

    @property
    def kept(self) -> NDArray[np.int64]:
        """The scenarios that have a row."""
        n = int(self.tableau.size[3]) - len(self.names)
        return np.arange(n) if self.chosen is None else self.chosen[:n]

    def weights(self, x: Floats | None = None) -> Floats:
        """Return weights, shape (n_assets,): those of the vertex, or of a given `x`."""
        pieces = (self.tableau.x if x is None else x)[:-1]
        return self.origin + np.bincount(self.asset, pieces, len(self.origin))


def build(
    scenarios: Scenarios,
    beta: float,
    limits: Limits,
    *,
    benchmark: Floats | None = None,
    trade_off: float = 0.0,
    chosen: NDArray[np.int64] | None = None,
    sampled: bool = False,
    near: Model | None = None,
    room: int = 0,
) -> Model:
    """Return the model of ``CVaR(loss) - trade_off * mean return``, both after costs, at a vertex to start from.

    Parameters
    ----------
    benchmark
        Shape (n_scenarios,): returns that the portfolio's are measured against, or None.
    trade_off
        What a unit of mean return is worth; infinite: nothing else counts.
    chosen
        Scenarios that get a row; the others are taken not to be in the tail. None: all.
    sampled
        The chosen stand for all others.
    near
        A model with the same constraints whose vertex is the first; its active scenarios must be among the chosen.
    room
        For how many scenarios more than the chosen.
    """
    returns, chances = scenarios.returns, scenarios.probabilities
    rows = np.arange(len(returns)) if chosen is None else chosen
    asset, begin, length, starts_full = pieces(limits)
    names, coefficients, sides, equations = constraint_rows(scenarios, limits, asset, begin + length / 2)
    # Of CVaR and mean return, each with a share in the objective.
    risk, reward = (0.0, 1.0) if trade_off == np.inf else (1.0, trade_off)
    t = _tableau(len(names) + len(rows) + room, length, starts_full)
    t.rows[: len(names), :-1], t.rows[: len(names), -1] = coefficients, 0.0
    t.bounds[: len(names)] = sides
    share = risk / (1.0 - beta)
    if sampled:
        share /= float(chances[rows].sum()) or 1.0
    lay_out(t, equations, returns, chances, rows, asset, limits.lower, _NONE if benchmark is None else benchmark,
            share, PENALTY)  # fmt: skip
    t.costs[-1] = risk
    constant = 0.0
    if limits.cost.any():
        t.costs[:-1] += (risk + reward) * limits.cost[asset] * np.sign(begin + length / 2 - limits.previous[asset])
        constant += (risk + reward) * float(limits.cost @ np.abs(limits.lower - limits.previous))
    if reward:
        t.costs[:-1] -= reward * scenarios.mean[asset]
        constant -= reward * float(scenarios.mean @ limits.lower)
    if room:
        chosen = np.concatenate([rows, np.empty(room, dtype=np.int64)])
    model = Model(t, names, chosen, asset, limits.lower, constant, share)
    if near is None:
        start(t, len(names))
    else:
        follow(model, near)
    return model


def violation_at(model: Model, x: Floats) -> float:
    """Return the greatest violation of a constraint or bound at `x`, shape (n_columns,)."""
    t, first = model.tableau, len(model.names)
    residuals = t.rows[:first] @ x - t.bounds[:first]
    wrong = np.where(residuals > 0, residuals * (t.up[:first] > 0), -residuals * (t.down[:first] > 0))
    bounds = np.maximum(t.lower[:-1] - x[:-1], x[:-1] - t.upper[:-1])
    return float(max(wrong.max(initial=0.0), bounds.max(initial=0.0)))


def follow(model: Model, near: Model) -> None:
    """Put the vertex of another model of the same constraints."""
    t, other, first = model.tableau, near.tableau, len(model.names)
    m = int(other.size[0])
    t.size[:3] = m, other.size[1], 0
    t.place[:] = other.place
    t.free[:m] = other.free[:m]
    active = other.active[:m].copy()
    scenarios = active >= first
    ids = active[scenarios] - first
    ids = ids if near.chosen is None else near.chosen[ids]
    if model.chosen is not None:
        place = np.argsort(model.kept, kind="stable")
        ids = place[np.searchsorted(model.kept, ids, sorter=place)]
    active[scenarios] = first + ids
    t.active[:m] = active
    t.side[:first] = other.side[:first]
    t.side[first:] = -1
    t.side[active] = 0
    refactor(t)


def _tableau(n_rows: int, length: Floats, starts_full: NDArray[np.bool_]) -> Tableau:
    """Return a tableau of no constraints and scenarios yet, of pieces of some length and the value at risk."""
    n_columns = len(length) + 1
    room = n_columns + 1
    lower, upper = np.zeros(n_columns), np.empty(n_columns)
    upper[:-1] = length
    lower[-1], upper[-1] = -np.inf, np.inf
    place = np.full(n_columns, AT_LOWER, dtype=np.int64)
    place[:-1][starts_full] = AT_UPPER
    return Tableau(
        columns=np.empty((n_columns, n_rows)),
        rows=np.empty((n_rows, n_columns)),
        bounds=np.empty(n_rows),
        up=np.empty(n_rows),
        down=np.empty(n_rows),
        costs=np.zeros(n_columns),
        lower=lower,
        upper=upper,
        x=np.zeros(n_columns),
        residuals=np.empty(n_rows),
        gradient=np.empty(n_columns),
        side=np.empty(n_rows, dtype=np.int8),
        place=place,
        free=np.zeros(room, dtype=np.int64),
        active=np.zeros(room, dtype=np.int64),
        inverse=np.empty((room, room)),
        size=np.zeros(4, dtype=np.int64),
        slopes=np.empty(n_rows),
        move=np.empty(room),
        passed_at=np.empty(n_rows),
        passed=np.empty(n_rows, dtype=np.int64),
        multipliers=np.empty(room),
        reduced=np.empty(n_columns),
        lengths=np.ones(n_columns),
        scale=np.ones(1),
        own=np.empty(room),
        counted=np.arange(room),
    )


def pieces(limits: Limits) -> tuple[NDArray[np.int64], Floats, Floats, NDArray[np.bool_]]:
    """Return asset, begin, length of each piece, and whether it is full at the start: where nothing is traded."""
    n_assets = len(limits.lower)
    if limits.gross is None and not limits.trades:
        return np.arange(n_assets), limits.lower, limits.upper - limits.lower, np.zeros(n_assets, dtype=bool)
    low, high = limits.lower, limits.upper
    home = np.clip(limits.previous, low, high)
    cuts = [np.clip(0.0, low, high)] if limits.gross is not None else []
    cuts += [home] if limits.trades else []
    ends = np.sort(np.column_stack([low, *cuts, high]), axis=1)
    real = ends[:, 1:] > ends[:, :-1]
    real[:, 0] |= low == high  # a fixed weight is one piece of no length
    begin, end = ends[:, :-1][real], ends[:, 1:][real]
    asset = np.nonzero(real)[0]
    return asset, begin, end - begin, end <= home[asset]


def constraint_rows(
    scenarios: Scenarios, limits: Limits, asset: NDArray[np.int64], middle: Floats
) -> tuple[tuple[str, ...], Floats, Floats, NDArray[np.bool_]]:
    """Return names, coefficients over the pieces, right-hand sides and which are equations; the others are ``<=``."""
    origin = limits.lower
    found: list[tuple[str, Floats, float, bool]] = []
    if limits.budget is not None:
        found.append(("budget", np.ones(len(asset)), limits.budget - float(origin.sum()), True))
    for name, coefficients, low, high in limits.linear:
        own, base = coefficients[asset], float(coefficients @ origin)
        if low == high:
            found.append((name, own, low - base, True))
            continue
        if high < np.inf:
            found.append((f"{name} (at most {high:g})", own, high - base, False))
        if low > -np.inf:
            found.append((f"{name} (at least {low:g})", -own, base - low, False))
    if limits.target_return is not None:
        mean = scenarios.mean
        found.append(("target_return", -mean[asset], float(mean @ origin) - limits.target_return, False))
    if limits.gross is not None:
        found.append(("gross", np.sign(middle), limits.gross - float(np.abs(origin).sum()), False))
    if limits.turnover is not None:
        held = limits.previous
        side = limits.turnover - float(np.abs(origin - held).sum())
        found.append(("turnover", np.sign(middle - held[asset]), side, False))
    coefficients = np.empty((len(found), len(asset)))
    sides = np.empty(len(found))
    for i, (_, own, side, _) in enumerate(found):
        scale = float(np.abs(own).max(initial=0.0)) or 1.0
        coefficients[i], sides[i] = own / scale, side / scale
    return tuple(name for name, *_ in found), coefficients, sides, np.array([one[3] for one in found], dtype=bool)
