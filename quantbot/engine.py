"""The seam between engines and everything else.

An engine says what data it needs, which settings a spec may give it, which measures its rows carry; it runs many
points over one block of data, and replays one point in full. Spec, plan, executors, store, surface, command and app
know engines only through this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import NotFoundError
from quantbot.measures import Measure
from quantbot.parameters import Parameter, RowValue, Table, Value, nearest
from quantbot.strategies.contract import Strategy


class TrialStatus(IntEnum):
    """How a trial ended; stored as one byte of its row."""

    OK = 0
    FAILED = 1  # `Rows.reasons` says why; its measures are NaN
    SKIPPED = 2  # never run, since the search did not promote its point; its measures are NaN


Tables = Mapping[str, Mapping[str, Mapping[str, RowValue]]]  # by dotted name, by row, by field


@dataclass(frozen=True)
class Job:
    """What a block of trials has in common.

    Attributes
    ----------
    settings
        A value for every parameter of the strategy (by name) and of the engine's sections (dotted:
        "execution.fee_bps"); points override some of them.
    groups
        Measure groups to reduce.
    assets
        What a trial of a joint engine may hold, in the order of its data; empty for other engines.
    tables
        By dotted name of a declared table ("constraints.groups"), its rows; no point varies them.
    plain_python
        Decide with the strategy's plain Python function in place of the compiled one: slow, same decisions.
    given
        Scenarios that the spec hands in, where the engine takes some: `quantbot.portfolio.given.GivenScenarios`.
    """

    strategy: Strategy
    settings: Mapping[str, Value]
    groups: tuple[str, ...] = ("core",)
    plain_python: bool = False
    assets: tuple[str, ...] = ()
    tables: Tables = field(default_factory=dict)
    given: Any = None  # a strategy's sources are bundled with what this file imports: no more than it must


@dataclass(frozen=True, eq=False)
class Points:
    """Many parameter settings as columns.

    Attributes
    ----------
    columns
        For each varying setting, shape (n_points,): int64 or float64, or str for a choice. What is not a column has
        the job's value.
    """

    n_points: int
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.n_points

    def __getitem__(self, rows: slice) -> Points:
        start, stop, _ = rows.indices(self.n_points)
        return Points(max(stop - start, 0), {name: column[start:stop] for name, column in self.columns.items()})

    def take(self, rows: NDArray[np.int64]) -> Points:
        """Return the points with these indices."""
        return Points(rows.shape[0], {name: column[rows] for name, column in self.columns.items()})

    def point(self, row: int) -> dict[str, Value]:
        """Return one point as plain Python values."""
        return {name: column[row].item() for name, column in self.columns.items()}


@dataclass(frozen=True, eq=False)
class Rows:
    """One row per point: what a block of trials gives back.

    Attributes
    ----------
    measures
        For each measure of the job's groups, in the engine's order, shape (n_points,) float64; NaN where undefined.
    status
        Shape (n_points,), uint8 of `TrialStatus`.
    reasons
        For each failed row, none that was skipped, by its index in this block, one sentence.
    """

    measures: Mapping[str, NDArray[np.float64]]
    status: NDArray[np.uint8]
    reasons: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.status.shape[0])


@dataclass(frozen=True, eq=False)
class Replay:
    """One trial in full.

    Attributes
    ----------
    ts_end_ns
        Shape (n_steps,), int64 UTC: the time of each element of the curves.
    curves
        By name, shape (n_steps,) float64: "equity", "hold_equity", "drawdown", "exposure", "target", the prices and
        each indicator.
    orders, trades
        By column name, shape (n_orders,) and (n_trades,). Orders have `bar` (index into the steps), `ts_ns`, `side`
        (+1 buy, -1 sell), `units`, `price`, `fee`, `reason`; trades have entry and exit of each, `units`, `pnl`,
        `return`, `n_bars`, `open` (1 when still open at the end).
    row
        The measures of this trial: bit for bit those of `Engine.run`.
    assets
        Of a joint engine, what the trial may hold.
    by_asset
        Of a joint engine, by name, shape (n_steps, n_assets) float64: "weight", "pnl", "cost", ...
    tables
        Of a joint engine, by name of the table and of the column: "rebalances", "interventions", "contributions", ...
    """

    ts_end_ns: NDArray[np.int64]
    curves: Mapping[str, NDArray[np.float64]]
    orders: Mapping[str, NDArray[Any]]
    trades: Mapping[str, NDArray[Any]]
    row: Mapping[str, float]
    assets: tuple[str, ...] = ()
    by_asset: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)


class Engine(Protocol):
    """What every engine promises.

    Attributes
    ----------
    name
        As a spec writes it: "bars".
    dataset_kind
        The kind of dataset whose blocks `run` takes.
    joint
        Empty where a trial runs on one asset at a time. Else a trial takes all assets of the spec together, its data
        are a `quantbot.market.Panel`, and this word stands where others have the asset's name.
    takes_strategy
        Whether a spec names a strategy; without one the engine's settings decide.
    sections
        By section of the spec ("execution"), the parameters that a spec may set there.
    tables
        By dotted name ("constraints.groups"), the tables that a spec may give there.
    measures
        Every measure it can reduce, in the order in which rows carry them; a measure's group says when.
    default_groups
        The groups that a spec gets when it names none.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def dataset_kind(self) -> str: ...  # noqa: D102
    @property
    def joint(self) -> str: ...  # noqa: D102
    @property
    def takes_strategy(self) -> bool: ...  # noqa: D102
    @property
    def sections(self) -> Mapping[str, tuple[Parameter, ...]]: ...  # noqa: D102
    @property
    def tables(self) -> Mapping[str, Table]: ...  # noqa: D102
    @property
    def measures(self) -> tuple[Measure, ...]: ...  # noqa: D102
    @property
    def default_groups(self) -> tuple[str, ...]: ...  # noqa: D102

    def check(self, job: Job) -> None:
        """Compile what `job` needs (warming the kernel cache), or raise an error that says what is wrong."""
        ...

    def run(self, job: Job, data: Any, window: tuple[int, int], points: Points) -> Rows:
        """Run every point over bars `window[0] <= t < window[1]` of `data`, flat at its start.

        What comes before the window is history: indicators see it, no trade happens in it.
        """
        ...

    def replay(self, job: Job, data: Any, window: tuple[int, int], point: Mapping[str, Value]) -> Replay:
        """Run one point and keep everything; its row equals `run`'s bit for bit."""
        ...

    def returns(self, job: Job, data: Any, window: tuple[int, int], points: Points) -> NDArray[np.float64]:
        """Return the simple returns per bar on equity of every point, the first against the initial cash.

        Returns
        -------
        Shape (n_points, n_bars of the window), whatever the job's groups; a failed point's are NaN. They are the very
        numbers that `run` reduces to a row. The caller bounds the memory: 8 bytes a point and bar, beside
        `memory_bytes` of the same job with every group.
        """
        ...

    def memory_bytes(self, job: Job, n_steps: int, n_points: int) -> int:
        """Return an upper bound of what `run` allocates for so many points over so many steps."""
        ...

    def family(self, settings: Mapping[str, Value], points: Points) -> str:
        """Return what trials without a strategy are counted under: "portfolio/min_cvar"."""
        ...

    def sources(self) -> Mapping[str, str]:
        """Return the versions of installed packages that its results depend on, beyond the numeric profile."""
        ...

    def problems(
        self, job: Job, load: Callable[[], Any], windows: Sequence[tuple[int, int]], points: Points
    ) -> tuple[list[str], list[str]]:
        """Return what only the data show, before anything runs: refusals, each with its place, and warnings.

        Parameters
        ----------
        load
            Returns the data of a trial.
        windows
            Of each fold.
        """
        ...

    def seams(self, job: Job, points: Points) -> NDArray[np.int64] | None:
        """Return, rising from 0, where a block may begin so that no work is done twice; None: anywhere."""
        ...

    def probe(self, job: Job, data: Any, points: Points) -> tuple[Any, tuple[int, int], Points]:
        """Return data, window and a few points whose time per bar and point is that of all."""
        ...

    def nominal_ns(self, job: Job, points: Points) -> float:
        """Return the nanoseconds that a bar of one trial is taken to need where nobody measures."""
        ...


_ENGINES: dict[str, str] = {
    "bars": "quantbot.bars:ENGINE",
    "portfolio": "quantbot.portfolio.engine:ENGINE",
    "book": "quantbot.book.engine:ENGINE",
}


def engine_names() -> Sequence[str]:
    """Return the names of all engines."""
    return tuple(_ENGINES)


def get_engine(name: str) -> Engine:
    """Return the engine called `name`."""
    from importlib import import_module

    if name not in _ENGINES:
        raise NotFoundError(f"no engine {name!r}; there are {', '.join(_ENGINES)}{nearest(name, _ENGINES)}")
    module, attribute = _ENGINES[name].split(":")
    engine: Engine = getattr(import_module(module), attribute)
    return engine
