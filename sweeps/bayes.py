"""Bayesian search: which points to try next, given what those before came to.

The sampler is Optuna's tree-structured Parzen estimator (Bergstra et al., "Algorithms for hyper-parameter
optimization", NIPS 2011), multivariate, with the constant liar for the points of a batch: those asked for and not
yet told count as bad, so that a batch spreads out. (Its Gaussian process needs PyTorch, hundreds of MB, and time that
grows with the cube of the number of points; a point of ours costs milliseconds.)

Nothing is kept between batches. A batch is a function of the space, the seed and the rows before it, told in the order
of the points, so the order in which trials ended can't change it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Points
from quantbot.errors import InputError
from quantbot.parameters import Parameter, Value
from sweeps.sampling import readable, stream_key
from sweeps.sections import AxisForm, Interval, Search
from sweeps.space import axis_values

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_TRIES = 30  # asked for a point that is new and allowed, before one of the space-filling sample takes its place
_STARTUP = 10  # results before the estimator is trusted


@dataclass(frozen=True, eq=False)
class Told:
    """What is known of the points that were evaluated.

    Attributes
    ----------
    scores
        Shape (n_told,): the objective; NaN where there is none.
    failed
        Shape (n_told,): whether a point has no score since its trials failed. A point without a score that did not
        fail (it never traded) counts as worse than any with one.
    """

    points: Points
    scores: NDArray[np.float64]
    failed: NDArray[np.bool_]


@dataclass(frozen=True)
class _Knob:
    """One axis as Optuna has it: numbers from an interval as they are, listed ones by their place in the list."""

    distribution: BaseDistribution
    encode: Callable[[Value], Any]
    decode: Callable[[Any], Value]


def propose(
    forms: Mapping[str, AxisForm],
    declared: Mapping[str, Parameter],
    search: Search,
    told: Told,
    reserve: Points,
    n_wanted: int,
    *,
    better: int,
    allowed: Callable[[Mapping[str, NDArray[Any]], int], NDArray[np.bool_]] | None = None,
) -> Points:
    """Choose the next points: new ones, which the condition allows.

    Parameters
    ----------
    reserve
        Distinct allowed points, at least as many as there will be in all: where asking gives no new one, the next of
        these is taken.
    better
        +1 when more of the score is better, -1 when less is.
    allowed
        The search's condition (`sweeps.where.bind_where`); all points where there is none.
    """
    optuna = require_optuna()
    knobs = {name: _knob(form, declared[name]) for name, form in forms.items()}
    key = stream_key(forms, search, "bayes", told.points.n_points)
    study = _study(optuna, knobs, told, key % 2**32, better)
    space = {name: knob.distribution for name, knob in knobs.items()}
    seen = set(_tuples(told.points))
    spare = (point for point in _tuples(reserve) if point not in seen)

    def fits(point: tuple[Value, ...]) -> bool:
        if point in seen:
            return False
        columns = {name: np.array([value]) for name, value in zip(knobs, point, strict=True)}
        return allowed is None or bool(allowed(columns, 1)[0])

    chosen: list[tuple[Value, ...]] = []
    for _ in range(n_wanted):
        point = _ask(study, space, knobs, fits) or next(spare)
        seen.add(point)
        chosen.append(point)
    return Points(n_wanted, {name: np.array([point[i] for point in chosen]) for i, name in enumerate(knobs)})


def require_optuna() -> Any:
    """Return the module `optuna`, or say how to install it."""
    try:
        import optuna
    except ImportError as error:
        raise InputError("a bayes search needs Optuna: pip install 'quantbot[opt]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _ask(
    study: Any,
    space: Mapping[str, BaseDistribution],
    knobs: Mapping[str, _Knob],
    fits: Callable[[tuple[Value, ...]], bool],
) -> tuple[Value, ...] | None:
    """Return the first point asked for that fits, if one does.

    All that were asked for stay open, those that don't fit too: the liar then leads the next ones away from them. (Told
    as failed they would be forgotten, and under a narrow condition asked for again and again: 28 tries a point, not 5.)
    """
    for _ in range(_TRIES):
        trial = study.ask(dict(space))
        point = tuple(knob.decode(trial.params[name]) for name, knob in knobs.items())
        if fits(point):
            return point
    return None


def _study(optuna: Any, knobs: Mapping[str, _Knob], told: Told, seed: int, better: int) -> Any:
    """Return a study that was told every point in order."""
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=_STARTUP)
    study = optuna.create_study(direction="maximize" if better >= 0 else "minimize", sampler=sampler)
    space = {name: knob.distribution for name, knob in knobs.items()}
    states = optuna.trial.TrialState
    trials = []
    for row, point in enumerate(_tuples(told.points)):
        score = float(told.scores[row])
        state = states.COMPLETE if math.isfinite(score) else states.FAIL if told.failed[row] else states.PRUNED
        params = {name: knob.encode(value) for (name, knob), value in zip(knobs.items(), point, strict=True)}
        value = score if state == states.COMPLETE else None
        trials.append(optuna.trial.create_trial(state=state, params=params, distributions=space, value=value))
    study.add_trials(trials)
    return study


def _tuples(points: Points) -> Iterator[tuple[Value, ...]]:
    return zip(*(column.tolist() for column in points.columns.values()), strict=True)


def _knob(form: AxisForm, parameter: Parameter) -> _Knob:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(form, Interval):
        values: list[Value] = axis_values(form, parameter)[0].tolist()
        if parameter.kind == "choice":
            return _Knob(CategoricalDistribution(values), _same, _same)
        place = {value: index for index, value in enumerate(values)}
        return _Knob(IntDistribution(0, len(values) - 1), place.__getitem__, values.__getitem__)
    log = form.scale == "log"
    if parameter.kind == "integer":
        return _Knob(IntDistribution(math.ceil(form.low), math.floor(form.high), log=log), _same, int)
    return _Knob(
        FloatDistribution(float(form.low), float(form.high), log=log),
        _same,
        lambda value: float(readable(np.array([value]), form)[0]),
    )


def _same(value: Any) -> Any:
    return value
