"""How a strategy is declared: indicators, parameters and one function that decides.

A strategy is a function from what is known at a bar's close to the target exposure from then on. The names of its
arguments say what it wants: its own indicators and parameters, fields of the bar (`open`, `high`, `low`, `close`,
`volume`), and `position`, the target in force when it is asked (0 after a stop).

    @strategy(
        parameters=[integer("window", 20, 2, 500, "Bars in the mean.", unit="bars"),
                    number("band", 1.0, 0.1, 5.0, "Deviations below the mean at which to buy.")],
        indicators={"mean": sma("window"), "deviation": stdev("window")},
    )
    def revert(close, mean, deviation, band, position):
        '''Buy far below the mean, leave at the mean.'''
        if close < mean - band * deviation:
            return 1.0
        if close > mean:
            return 0.0
        return position

The function must compile under numba *and* run as plain Python with the same decisions: stick to comparisons,
+ - * /, `min`, `max`, `abs` and conditional expressions (`v**3`, sums of arrays and division by zero differ).
It may call plain helper functions and use constants of its module: engines compile it with
`quantbot.strategies.kernels.compilable(decide)`, which compiles the helpers too, and name what they cache by
`quantbot.strategies.fingerprint.fingerprint(decide)`, which covers the helpers and the constants as well.

An indicator that needs the calendar (an annualised volatility) names `PERIODS_PER_YEAR` among its arguments; engines
pass `Bars.periods_per_year` for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quantbot.errors import StrategyError
from quantbot.market import BAR_FIELDS
from quantbot.parameters import Parameter, Value, nearest

POSITION = "position"
PERIODS_PER_YEAR = "periods_per_year"  # as an indicator's argument: the bars' own, by their dataset's calendar


@dataclass(frozen=True)
class Indicator:
    """A causal series of one instrument's bars, computed once for each distinct value of its arguments.

    Attributes
    ----------
    function
        ``function(*inputs, *arguments) -> (n_bars,) float64``; element `t` may use `inputs[: t + 1]` only. Elements
        before the first finite one are the warm-up: no trial that uses the series decides before its end.
    inputs
        Fields of the bars that the function takes, each (n_bars,) float64.
    arguments
        For each further argument, the name of a parameter, `PERIODS_PER_YEAR` or a constant.
    """

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    arguments: tuple[str | float, ...]


@dataclass(frozen=True)
class Strategy:
    """A declared strategy; made by the `strategy` decorator.

    Attributes
    ----------
    name
        The function's name.
    decide
        The plain Python function; engines compile it themselves.
    """

    name: str
    decide: Callable[..., float]
    parameters: tuple[Parameter, ...]
    indicators: Mapping[str, Indicator]
    doc: str
    arguments: tuple[str, ...] = field(default=())

    def defaults(self) -> dict[str, Value]:
        """Return each parameter's default, by name."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def parameter(self, name: str) -> Parameter:
        """Return the declaration of parameter `name`."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        known = [parameter.name for parameter in self.parameters]
        raise StrategyError(f"{self.name} has no parameter {name!r}; it has {', '.join(known)}{nearest(name, known)}")

    def __call__(self, *args: float, **kwargs: float) -> float:
        """Decide as plain Python."""
        return self.decide(*args, **kwargs)


def strategy(
    *, parameters: Sequence[Parameter] = (), indicators: Mapping[str, Indicator] | None = None
) -> Callable[[Callable[..., float]], Strategy]:
    """Declare the decorated function as a strategy.

    Raises
    ------
    StrategyError
        If the function asks for a name that is neither indicator, parameter, field of the bar nor `position`, if a
        name is declared twice, or if an indicator wants an input or argument that does not exist.
    """

    def declare(decide: Callable[..., float]) -> Strategy:
        named = dict(indicators or {})
        parameter_names = [parameter.name for parameter in parameters]
        known = [*named, *parameter_names, *BAR_FIELDS, POSITION]
        if PERIODS_PER_YEAR in named or PERIODS_PER_YEAR in parameter_names:
            raise StrategyError(f"{decide.__name__} declares {PERIODS_PER_YEAR!r}, a reserved name; choose another")
        if twice := sorted({name for name in known if known.count(name) > 1}):
            raise StrategyError(f"{decide.__name__} declares {', '.join(twice)} twice; give each its own name")
        arguments = tuple(inspect.signature(decide).parameters)
        for argument in arguments:
            if argument not in known:
                raise StrategyError(
                    f"{decide.__name__} asks for {argument!r}, which is no indicator, parameter or field of the bar"
                    f" of it; known are {', '.join(known)}{nearest(argument, known)}"
                )
        for name, indicator in named.items():
            if wrong := [field for field in indicator.inputs if field not in BAR_FIELDS]:
                raise StrategyError(
                    f"indicator {name} of {decide.__name__} wants {wrong[0]!r}; bars have {', '.join(BAR_FIELDS)}"
                )
            texts = [a for a in indicator.arguments if isinstance(a, str) and a != PERIODS_PER_YEAR]
            if wrong := [argument for argument in texts if argument not in parameter_names]:
                raise StrategyError(
                    f"indicator {name} of {decide.__name__} wants parameter {wrong[0]!r}, which is not declared"
                    f"{nearest(wrong[0], parameter_names)}"
                )
        doc = inspect.getdoc(decide) or ""
        if not doc:
            raise StrategyError(f"{decide.__name__} needs a docstring: one sentence that says when it buys and sells")
        return Strategy(decide.__name__, decide, tuple(parameters), named, doc, arguments)

    return declare
