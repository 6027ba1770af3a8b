"""Scenarios of the next period from history: as it was, weighted, drawn again, filtered, or by a model of it.

Each method is declared once, with the parameters it takes; a spec's section, a form and this module's `make_scenarios`
are derived from that. What is drawn depends on the seed alone: derive it with `seed_of` from the words that identify
what is computed, never from a clock or a worker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from quantbot.errors import InputError
from quantbot.market import Floats
from quantbot.parameters import Parameter, Value, choice, integer, nearest, number
from quantbot.portfolio.model import Scenarios
from quantbot.risk.blocks import arch_bootstrap, block_length
from quantbot.risk.garch import fit_garch
from quantbot.risk.student import LEAST_DEGREES, MOST_DEGREES, fit_student_t

WINDOW = integer(
    "window",
    500,
    1,
    1_000_000,
    "Latest periods of history that count; more is calmer and slower to learn.",
    unit="bars",
)
HALF_LIFE = number(
    "half_life", 60.0, 0.1, 1e6, "Age at which a period counts half; greater is nearer to equal weights.", unit="bars"
)
N_SCENARIOS = integer("n_scenarios", 1000, 1, 1_000_000, "Scenarios that are drawn; more is less noise and more work.")
BLOCK = number(
    "block_length", 0.0, 0.0, 1e6, "Periods in the blocks that stay together (in the mean, where that varies); 0: the"
    " optimal number for the equally weighted mean (Politis & White 2004).", unit="bars",
)  # fmt: skip
HORIZON = integer("horizon", 1, 1, 1000, "Periods that one scenario compounds.", unit="bars")
DEGREES = number(
    "degrees", 0.0, 0.0, MOST_DEGREES, f"Degrees of freedom, at least {LEAST_DEGREES:g}, fewer is fatter tails; 0: the"
    " likeliest.",
)  # fmt: skip
N_FACTORS = integer(
    "n_factors", 3, 1, 100, "Principal components that are the common risk, where no factors are given."
)

Maker = Callable[["History", Mapping[str, Any], np.random.Generator], tuple[Floats, Floats | None]]


@dataclass(frozen=True)
class History:
    """What a method makes scenarios of.

    Attributes
    ----------
    returns
        Shape (n_periods, n_assets), the window alone.
    factors
        Shape (n_periods, n_factors) of the same periods, or None.
    """

    returns: Floats
    assets: tuple[str, ...]
    factors: Floats | None


@dataclass(frozen=True)
class ScenarioMethod:
    """One way from history to scenarios.

    Attributes
    ----------
    parameters
        What it takes; other declared ones it ignores.
    draws
        Whether it depends on the seed.
    make
        The function behind it: returns of the scenarios, and probabilities or None; call `make_scenarios`.
    """

    name: str
    title: str
    doc: str
    parameters: tuple[Parameter, ...]
    draws: bool
    make: Maker


def seed_of(*words: object) -> int:
    """Return a seed, 128 bits, that depends on nothing but the words: numbers, texts, and lists and dicts of them.

    Examples
    --------
    >>> seed_of("scenarios", 7) == seed_of("scenarios", 7) != seed_of("scenarios", 8)
    True
    """
    text = json.dumps(words, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def make_scenarios(
    method: str,
    returns: ArrayLike,
    *,
    seed: int = 0,
    assets: tuple[str, ...] | None = None,
    factors: ArrayLike | None = None,
    **settings: Value,
) -> Scenarios:
    """Return scenarios of the period after the last.

    Parameters
    ----------
    method
        One of `SCENARIOS`.
    returns
        Shape (n_periods, n_assets), simple returns per period, the oldest first. The last `window` of them count, so
        what a decision may not know must not be handed in. For "user" they are the scenarios.
    seed
        From 0, below 2^128: see `seed_of`. The same input and seed give the same scenarios.
    factors
        Shape (n_periods, n_factors), for "factor_model".
    settings
        Values of `SCENARIO_PARAMETERS` by name; the default where there is none.

    Raises
    ------
    InputError
        If the method or a setting is unknown or out of bounds, or the returns are too few for it or not finite.

    Examples
    --------
    >>> history = [[0.01, 0.0], [-0.02, 0.01], [0.0, 0.03]]
    >>> make_scenarios("exponential", history, window=2, half_life=1.0).probabilities.round(4).tolist()
    [0.3333, 0.6667]
    >>> drawn = make_scenarios("stationary_bootstrap", history, seed=seed_of("an example"), window=3, block_length=2)
    >>> drawn.returns.shape
    (1000, 2)
    """
    if method not in SCENARIOS:
        raise InputError(f"method must be one of {', '.join(SCENARIOS)}; found {method!r}{nearest(method, SCENARIOS)}")
    for name in settings:
        if name not in SCENARIO_PARAMETERS or name == "method":
            raise InputError(f"{name} is no parameter of scenarios{nearest(name, SCENARIO_PARAMETERS)}")
    if not 0 <= seed < 2**128:
        raise InputError(f"seed must be from 0 to 2^128 - 1, was {seed}")
    chosen = SCENARIOS[method]
    checked: dict[str, Any] = {one.name: one.check(settings.get(one.name, one.default)) for one in chosen.parameters}
    whole = np.asarray(returns, dtype=np.float64)
    if whole.ndim != 2:
        raise InputError(f"returns must be of shape (n_periods, n_assets), was of shape {whole.shape}")
    window = checked.get("window", len(whole))
    if len(whole) < window:
        raise InputError(f"window needs {window} periods of returns, found {len(whole)}")
    own = Scenarios.of(whole[len(whole) - window :], assets=assets)
    history = History(own.returns, own.assets, _factors(factors, len(whole), window))
    found, chances = chosen.make(history, checked, np.random.Generator(np.random.Philox(key=seed)))
    return Scenarios.of(found, probabilities=chances, assets=own.assets)


def _factors(factors: ArrayLike | None, n_periods: int, window: int) -> Floats | None:
    if factors is None:
        return None
    values = np.asarray(factors, dtype=np.float64)
    if values.ndim != 2 or len(values) != n_periods or not np.isfinite(values).all():
        raise InputError(f"factors must be finite, of shape ({n_periods}, n_factors), was of shape {values.shape}")
    return values[n_periods - window :]


def _as_they_are(history: History, _: Mapping[str, Any], __: np.random.Generator) -> tuple[Floats, None]:
    return history.returns, None


def _exponential(history: History, settings: Mapping[str, Any], _: np.random.Generator) -> tuple[Floats, Floats]:
    age = np.arange(len(history.returns))[::-1]
    weight = np.exp2(-age / settings["half_life"])
    return history.returns, weight / weight.sum()


def _stationary(history: History, settings: Mapping[str, Any], rng: np.random.Generator) -> tuple[Floats, None]:
    length = _length(history, settings, "stationary")
    return _drawn(arch_bootstrap().StationaryBootstrap(length, history.returns, seed=rng), history, settings), None


def _blocks(history: History, settings: Mapping[str, Any], rng: np.random.Generator) -> tuple[Floats, None]:
    length = round(_length(history, settings, "circular"))
    return _drawn(
        arch_bootstrap().CircularBlockBootstrap(max(length, 1), history.returns, seed=rng), history, settings
    ), None


def _length(history: History, settings: Mapping[str, Any], kind: str) -> float:
    asked: float = settings["block_length"]
    return max(asked, 1.0) if asked else block_length(history.returns.mean(axis=1), kind)


def _drawn(sampler: Any, history: History, settings: Mapping[str, Any]) -> Floats:
    """Return compound returns of paths of `horizon` periods, cut from as many resampled histories as it takes."""
    n, horizon = settings["n_scenarios"], settings["horizon"]
    each = len(history.returns) // horizon
    if not each:
        raise InputError(f"horizon must be at most the window of {len(history.returns)} periods, was {horizon}")
    draws = (positional[0] for positional, _ in sampler.bootstrap(-(-n // each)))
    return np.concatenate([compound(drawn, horizon) for drawn in draws])[:n]


def compound(returns: Floats, horizon: int) -> Floats:
    """Return compound returns of each `horizon` periods, one after the other, shape (n_periods // horizon, n_assets).

    Examples
    --------
    >>> compound(np.array([[0.1], [0.1], [0.0], [-0.5]]), 2).round(12).tolist()
    [[0.21], [-0.5]]
    """
    if horizon == 1:
        return returns
    n_whole = len(returns) // horizon
    folded = 1.0 + returns[: n_whole * horizon].reshape(n_whole, horizon, -1)
    return np.asarray(folded.prod(axis=1) - 1.0)


def _filtered(history: History, settings: Mapping[str, Any], rng: np.random.Generator) -> tuple[Floats, None]:
    model = fit_garch(history.returns, history.assets)
    rows = rng.integers(0, len(model.residuals), (settings["n_scenarios"], settings["horizon"]))
    return model.simulate(model.residuals[rows]), None


def _student_t(history: History, settings: Mapping[str, Any], rng: np.random.Generator) -> tuple[Floats, None]:
    degrees = settings["degrees"]
    if degrees and degrees < LEAST_DEGREES:
        raise InputError(f"degrees must be 0 (fitted) or at least {LEAST_DEGREES:g}, was {degrees:g}")
    return fit_student_t(history.returns, degrees or None).draw(settings["n_scenarios"], rng), None


def _factor_model(history: History, settings: Mapping[str, Any], rng: np.random.Generator) -> tuple[Floats, None]:
    from quantbot.risk.factors import regress

    factors = history.factors
    if factors is None:
        factors = principal_factors(history.returns, settings["n_factors"])
    fit = regress(history.returns, factors)
    n = settings["n_scenarios"]
    common = factors[rng.integers(0, len(factors), n)]
    n_periods, n_assets = fit.residuals.shape
    own = np.take_along_axis(fit.residuals, rng.integers(0, n_periods, (n, n_assets)), axis=0)
    return fit.alpha + common @ fit.exposures.T + own, None


def principal_factors(returns: Floats, n_factors: int) -> Floats:
    """Return the first principal components of returns, shape (n_periods, n_factors): portfolios that move most.

    Notes
    -----
    The sign, which the decomposition leaves open, makes the sum of a component's loadings positive.

    Raises
    ------
    InputError
        If the returns don't move in so many directions.
    """
    away = returns - returns.mean(axis=0)
    _, sizes, directions = np.linalg.svd(away, full_matrices=False)
    n_moving = int((sizes > 1e-10 * max(float(sizes[0]), 1e-300)).sum())
    if n_factors > n_moving:
        raise InputError(
            f"n_factors must be at most {n_moving}, the directions in which these returns move; was {n_factors}"
        )
    chosen = directions[:n_factors]
    signs = np.where(chosen.sum(axis=1) < 0, -1.0, 1.0)
    return np.asarray(returns @ (chosen * signs[:, None]).T)


_REGISTERED = (
    ScenarioMethod("historical", "history as it was", "Each period of the window once, all equally likely.",
                   (WINDOW,), False, _as_they_are),
    ScenarioMethod("exponential", "exponentially weighted", "Each period of the window, likelier the younger it is"
                   " (Boudoukh, Richardson & Whitelaw 1998).", (WINDOW, HALF_LIFE), False, _exponential),
    ScenarioMethod("stationary_bootstrap", "stationary bootstrap", "Blocks of geometric length drawn from the window"
                   " (Politis & Romano 1994).", (WINDOW, N_SCENARIOS, BLOCK, HORIZON), True, _stationary),
    ScenarioMethod("block_bootstrap", "block bootstrap", "Blocks of one length drawn from the window, its ends joined"
                   " (Politis & Romano 1992).", (WINDOW, N_SCENARIOS, BLOCK, HORIZON), True, _blocks),
    ScenarioMethod("filtered_historical", "filtered history", "Shocks of the window over their GARCH(1,1) volatility,"
                   " drawn and scaled to the volatility expected now (Barone-Adesi, Giannopoulos & Vosper 1999).",
                   (WINDOW, N_SCENARIOS, HORIZON), True, _filtered),
    ScenarioMethod("student_t", "Student t", "Draws from the multivariate t distribution of greatest likelihood.",
                   (WINDOW, N_SCENARIOS, DEGREES), True, _student_t),
    ScenarioMethod("factor_model", "factor model", "Drawn returns of common factors times exposures, and of each asset"
                   " residuals of its own, drawn apart from the others'.",
                   (WINDOW, N_SCENARIOS, N_FACTORS), True, _factor_model),
    ScenarioMethod("user", "handed in", "The rows that are handed in; each spans `horizon` periods.", (HORIZON,), False,
                   _as_they_are),
)  # fmt: skip
SCENARIOS = {one.name: one for one in _REGISTERED}
METHOD = choice("method", "historical", tuple(SCENARIOS), "How history becomes scenarios of the next period.")
SCENARIO_PARAMETERS: dict[str, Parameter] = {
    one.name: one for one in (METHOD, WINDOW, HALF_LIFE, N_SCENARIOS, BLOCK, HORIZON, DEGREES, N_FACTORS)
}
