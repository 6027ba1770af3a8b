"""The sections of a spec as models: what each holds, what is required, what is in bounds by itself."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from quantbot.selection.splits import MAX_SPLITS, n_combinations
from sweeps.folds import parse_length

MAX_SAMPLES = 10_000_000
MAX_BAYES = 20_000  # the time to choose a point grows with the number of points before it
DEFAULT_BATCH = 32
DEFAULT_ETA = 3
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# How each method is called in a sentence, and what it takes.
_FOLD_FIELDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "none": ("none", ()),
    "holdout": ("a holdout", ("test", "purge", "embargo", "locked")),
    "walk_forward": ("a walk-forward", ("n", "train", "test", "window", "purge", "embargo")),
    "kfold": ("a k-fold", ("n", "purge", "embargo")),
    "cpcv": ("a CPCV", ("groups", "test_groups", "purge", "embargo")),
}
_MOMENT = "must be a date such as 2001-01-31 or a time such as 2001-01-31T16:00:00Z"


def _scalar(value: object) -> object:
    """Refuse what is no single value with one sentence, where a union would give one for each of its types."""
    if isinstance(value, str):
        if len(value) > 200:
            raise ValueError("a text has at most 200 characters")
        return value
    return _number(value, "a number or a text")


def _number(value: object, noun: str = "a number") -> object:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"must be {noun}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be {noun}, finite")
    if abs(value) > (2**53 if isinstance(value, int) else 1e300):
        raise ValueError(f"must be {noun} of a size that arithmetic keeps exact")
    return value


def _moment(value: object) -> object:
    """Accept the ISO text of a date or time, as JSON has it, where TOML has dates of its own."""
    if isinstance(value, str):
        try:
            return date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(_MOMENT) from None
    if isinstance(value, date):  # a datetime is one too
        return value
    raise ValueError(_MOMENT)


def _length(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError('must be a number of bars, or a text such as "20%", "90d", "6h" or "30min"')
    parse_length(value)
    return value


def _test(value: object) -> object:
    if isinstance(value, date) or (isinstance(value, str) and re.match(r"\d{4}-", value)):
        return _moment(value)
    return _length(value)


Scalar = Annotated[int | float | str, BeforeValidator(_scalar)]
Number = Annotated[int | float, BeforeValidator(_number)]
Moment = Annotated[datetime | date, BeforeValidator(_moment)]
Length = Annotated[int | str, BeforeValidator(_length)]
Test = Annotated[datetime | date | int | str, BeforeValidator(_test)]
Texts = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(strict=False)]


class Section(BaseModel):
    """What all sections share: no conversion between types, no unknown field, no change once made."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Run(Section):
    """How the run is called and what executes it."""

    name: str | None = None
    engine: str = "bars"

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str | None) -> str | None:
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError("must have 1 to 128 letters, digits, dots, dashes or underscores, a letter or digit first")
        return name


class Data(Section):
    """Which bars.

    Attributes
    ----------
    start, end
        Dates or times. A bar belongs if it ends after `start` and at or before `end`; an end that is a date includes
        its day. Dates are days of the dataset's own zone; times without a zone are UTC.
    scenarios
        Scenarios that are handed in, by the name under which `quantbot ingest scenarios` has stored them; for
        ``scenarios.method = "user"`` of the portfolio engine.
    """

    dataset: Annotated[str, Field(min_length=1, max_length=1_000)]
    assets: Annotated[Texts, Field(min_length=1, max_length=100_000)] | None = None
    start: Moment | None = None
    end: Moment | None = None
    scenarios: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Data:
        if self.start is not None and self.end is not None:
            first, last = as_datetime(self.start), as_datetime(self.end)
            if last < first or (last == first and isinstance(self.end, datetime)):
                raise ValueError(f"start {self.start} must lie before end {self.end}")
        return self


class StrategyChoice(Section):
    """Which strategy, and whether its plain Python function decides in place of the compiled one (slow)."""

    name: Annotated[str, Field(min_length=1, max_length=1_000)]
    plain_python: bool = False


class Values(Section):
    """An axis of listed values."""

    values: Annotated[tuple[Scalar, ...], Field(strict=False, min_length=1)]


class Range(Section):
    """An axis from `start` to `stop`, both included, in exact decimal steps."""

    start: Number
    stop: Number
    step: Number = 1

    @model_validator(mode="after")
    def _rising(self) -> Range:
        if self.step <= 0:
            raise ValueError(f"step must be more than 0, found {self.step}")
        if self.stop < self.start:
            raise ValueError(f"stop {self.stop} lies before start {self.start}: the axis is empty")
        return self


class Interval(Section):
    """An axis from `low` to `high`: `n` evenly spaced values on a grid, drawn from within when the search samples."""

    low: Number
    high: Number
    n: Annotated[int, Field(ge=1, le=100_000)] | None = None
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _ordered(self) -> Interval:
        if self.high < self.low:
            raise ValueError(f"high {self.high} lies below low {self.low}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"a log scale needs low above 0, found {self.low}")
        return self


AxisForm = Values | Range | Interval | int | float | str


class Search(Section):
    """How points are chosen.

    Attributes
    ----------
    n, seed
        Number of points and seed of every search but a grid.
    where
        A condition that points must satisfy (see `sweeps.where`).
    batch
        Bayesian search: how many points are chosen at a time, all from the results of the batches before.
    initial
        Halving: how its first points are laid out: "lhs", "sobol", "random" or "grid".
    eta
        Halving: of so many points one is promoted to the next rung, which has so many times the history.
    rungs, min_history
        Halving: the number of rungs, or the least history of the first (bars, "10%", "90d", "6h"); one of the two.
    """

    method: Literal["grid", "random", "sobol", "lhs", "bayes", "halving"] = "grid"
    n: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    where: Annotated[str, Field(max_length=2_000)] = ""
    batch: Annotated[int, Field(ge=1, le=4_096)] | None = None
    initial: Literal["lhs", "sobol", "random", "grid"] | None = None
    eta: Annotated[int, Field(ge=2, le=1_000)] | None = None
    rungs: Annotated[int, Field(ge=2, le=20)] | None = None
    min_history: Length | None = None

    @property
    def design(self) -> Literal["grid", "random", "sobol", "lhs"]:
        """How the points are laid out that don't depend on results."""
        if self.method == "bayes":
            return "sobol"
        return (self.initial or "lhs") if self.method == "halving" else self.method

    def filled(self) -> dict[str, object]:
        """Return the fields that matter for the method, defaults filled in."""
        fields: dict[str, object] = {"method": self.method}
        if self.where:
            fields["where"] = self.where
        if self.design != "grid":
            fields |= {"n": self.n, "seed": self.seed or 0}
        if self.method == "bayes":
            fields["batch"] = self.batch or DEFAULT_BATCH
        if self.method == "halving":
            fields |= {"initial": self.design, "eta": self.eta or DEFAULT_ETA}
            fields |= {"rungs": self.rungs} if self.rungs is not None else {"min_history": self.min_history}
        return fields

    @model_validator(mode="after")
    def _complete(self) -> Search:
        problems = []
        given = self.model_fields_set - {"method", "where"}
        given = {name for name in given if getattr(self, name) is not None}
        layout = {"n", "seed"} if self.design != "grid" else set()
        own = {"bayes": {"batch"}, "halving": {"initial", "eta", "rungs", "min_history"}}.get(self.method, set())
        if self.method == "grid" and given & {"n", "seed"}:
            problems.append('a grid takes no n and no seed; say method = "random" or "sobol", or leave them out')
            given -= {"n", "seed"}
        if extra := sorted(given - layout - own):
            of_grid = self.method == "halving" and self.design == "grid"
            what = "halving of a grid" if of_grid else f"{self.method} search"
            problems.append(f"a {what} takes no {' and no '.join(extra)}")
        if self.design != "grid" and self.n is None:
            problems.append(f"a {self.method} search needs n, the number of points")
        if self.method == "bayes" and self.n is not None and self.n > MAX_BAYES:
            problems.append(f"a bayes search takes at most {MAX_BAYES:,} points, each chosen by looking at all before")
        if self.method == "halving" and (self.rungs is None) == (self.min_history is None):
            problems.append("halving needs either rungs, or min_history, the history of the first rung")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class Folds(Section):
    """How time is divided (see `sweeps.folds`).

    Attributes
    ----------
    test
        Holdout: the last part, such as "20%", or the first day of the test. Walk-forward: length of a test.
    n
        Walk-forward and k-fold: the number of tests.
    train, window
        Walk-forward: the length of a train range (as `test`: bars, "20%", "90d", "6h", "30min"); whether it rolls or
        stays anchored at the beginning.
    groups, test_groups
        CPCV: groups into which time is divided, and how many of them each combination tests.
    purge
        Bars left out of each train range where a test follows; of a k-fold and a CPCV also where one goes before.
    embargo
        Bars left out at the beginning of each test range; of a k-fold and a CPCV, after each test and its purge.
    locked
        Holdout: hide the test until somebody unlocks it, which is recorded.
    """

    method: Literal["none", "holdout", "walk_forward", "kfold", "cpcv"] = "none"
    test: Test | None = None
    train: Length | None = None
    n: Annotated[int, Field(ge=1, le=1_000)] | None = None
    window: Literal["rolling", "anchored"] = "rolling"
    groups: Annotated[int, Field(ge=2, le=1_000)] | None = None
    test_groups: Annotated[int, Field(ge=1, le=1_000)] | None = None
    purge: Annotated[int, Field(ge=0, le=10**9)] = 0
    embargo: Annotated[int, Field(ge=0, le=10**9)] = 0
    locked: bool = False

    @model_validator(mode="after")
    def _complete(self) -> Folds:
        problems = [*self._refused(), *self._missing()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _refused(self) -> list[str]:
        """Say what the method has no use for."""
        called, taken = _FOLD_FIELDS[self.method]
        extra = [name for name in type(self).model_fields if name in self.model_fields_set - {"method", *taken}]
        if extra and self.method == "none":
            return [f'method "none" takes no {extra[0]}; say "holdout", "walk_forward", "kfold" or "cpcv"']
        has = ", ".join(taken)
        return [f"{called} takes no {' and no '.join(extra)}; it has {has}"] if extra else []

    def _missing(self) -> list[str]:
        """Say what the method needs."""
        match self.method:
            case "holdout" if self.test is None:
                return ['a holdout needs test: "20%" or the first day of the test']
            case "walk_forward" if self.n is not None and (self.train is not None or self.test is not None):
                return ["a walk-forward takes n, or train and test, not both"]
            case "walk_forward" if self.n is None and (self.train is None or self.test is None):
                return ["a walk-forward needs either n, or both train and test"]
            case "kfold" if self.n is None or self.n < 2:
                return ["a k-fold needs n, the number of tests, 2 or more"]
            case "cpcv":
                return self._uncombinable()
        return []

    def _uncombinable(self) -> list[str]:
        if self.groups is None or self.test_groups is None:
            missing = [name for name in ("groups", "test_groups") if getattr(self, name) is None]
            return [f"a CPCV needs {' and '.join(missing)}, such as groups = 10 and test_groups = 2"]
        if self.test_groups >= self.groups:
            return [f"a CPCV needs more groups than test_groups, found {self.groups} and {self.test_groups}"]
        if (n := n_combinations(self.groups, self.test_groups)) > MAX_SPLITS:
            return [
                f"{self.test_groups} test_groups of {self.groups} make {n:.3g} combinations, {MAX_SPLITS:,} at most"
            ]
        return []


class Measures(Section):
    """Which groups of measures rows carry; the engine's default where none is named."""

    groups: Annotated[Texts, Field(min_length=1, max_length=100)] | None = None


class Objective(Section):
    """The measure that ranks trials; the engine says whether more is better."""

    metric: str = "sharpe"


def as_datetime(moment: date) -> datetime:
    """Return a date or time as a time with a zone: midnight of a date, UTC where none is said."""
    if not isinstance(moment, datetime):
        return datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
