"""A plan is a value: which trials, in which blocks, at what cost; arithmetic on arrays, no cluster touched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets.seals import check_format
from quantbot.engine import Engine, Job, Points, get_engine
from quantbot.errors import CorruptError, NotFoundError, TooLargeError
from quantbot.parameters import Value
from sweeps.adaptive import searcher
from sweeps.declared import checked_tables, load_declared
from sweeps.identity import numeric_profile, run_identity
from sweeps.partition import (
    Machine,
    block_starts,
    data_bytes,
    memory_bytes,
    points_per_block,
    probe_ns,
)
from sweeps.phases import Phases, decode_array, encode_array, padded
from sweeps.rungs import evaluated_points, guide_fold
from sweeps.settings import require, resolve_settings, warm_up_problems
from sweeps.source import open_source
from sweeps.space import MAX_POINTS, grid_points
from sweeps.trial import Axis, Block, Estimate, Fold, Trial

if TYPE_CHECKING:
    from datasets.store import Store
    from quantbot.portfolio.given import GivenScenarios
    from quantbot.strategies.loader import SourceBundle
    from sweeps.spec import Spec

FORMAT = 1  # of `Plan.to_bytes`
_MAX_STORED = 1_000_000_000  # points: 8 GB a column, more than any plan that was ever made


@dataclass(frozen=True)
class Handed:
    """Which stored scenarios a run takes; empty where it takes none."""

    name: str = ""
    version: str = ""
    root_url: str = ""

    def read(self) -> GivenScenarios | None:
        """Return them, verified, or None."""
        if not self.version:
            return None
        from datasets.scenarios import read_scenarios
        from datasets.store import open_store

        return read_scenarios(open_store(self.root_url), self.name, self.version).given


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that the execution of a run depends on; the first one of a run is stored with it and stands.

    Attributes
    ----------
    identity
        64 hexadecimal digits: the same spec, sources, engine and data give the same (see `sweeps.identity`).
    spec_toml
        The spec as TOML; `spec` parses it.
    engine
        Name of the engine.
    assets
        What a trial runs on, one each; of a joint engine its one word for them all.
    members
        The assets that each trial of a joint engine takes together; empty for other engines.
    settings
        A value for every setting of strategy and engine; points override those that vary.
    where
        The condition that the grid's points satisfy; empty for sampled points.
    points
        The settings that vary, as columns in the order of `axes`.
    n_known
        Points from this one on are chosen later, from the rows of those before (`sweeps.adaptive.known_plan` returns
        the plan with those that were chosen meanwhile); their columns hold the first point's values till then.
    measures
        What rows carry, in their order.
    profile
        The numeric profile under which bits are promised (see `sweeps.identity.numeric_profile`).
    block_starts
        Shape (n_blocks + 1,), int64: the first trial of each block, and the number of trials at the end.
    searcher
        Versions of what chooses the later points.
    warnings
        What a person should know before the run starts.
    scenarios
        Where scenarios lie that are handed in.
    """

    identity: str
    spec_toml: str
    engine: str
    dataset_name: str
    dataset_version: str
    dataset_root_url: str
    assets: tuple[str, ...]
    folds: tuple[Fold, ...]
    axes: tuple[Axis, ...]
    where: str
    points: Points
    settings: Mapping[str, Value]
    groups: tuple[str, ...]
    measures: tuple[str, ...]
    bundle: SourceBundle
    profile: Mapping[str, Any]
    block_starts: NDArray[np.int64]
    estimate: Estimate
    n_known: int
    searcher: Mapping[str, str] = field(default_factory=dict)
    plain_python: bool = False
    warnings: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    scenarios: Handed = Handed()

    @cached_property
    def spec(self) -> Spec:
        """The spec that this plan was made from."""
        from sweeps.spec import read_stored_spec

        return read_stored_spec(self.spec_toml)

    @cached_property
    def phases(self) -> Phases:
        """Which trials wait for the rows of which others: one phase where the search learns nothing."""
        return Phases.plan(self.spec.search, self.n_points, self.folds)

    def phase_of(self, block: Block) -> int:
        """Return the phase that a block belongs to."""
        return int(self.phases.of(block.point_start, block.fold_index))

    def phase_blocks(self, phase: int) -> NDArray[np.int64]:
        """Return the indices of a phase's blocks, rising."""
        return np.flatnonzero(self._block_phases == phase)

    @cached_property
    def _block_phases(self) -> NDArray[np.int64]:
        slices, points = np.divmod(self.block_starts[:-1], self.n_points)
        return self.phases.of(points, slices % len(self.folds))

    @property
    def symbols(self) -> tuple[str, ...]:
        """The dataset's assets that trials trade: one each, or all of them together."""
        return self.members or self.assets

    @property
    def n_points(self) -> int:
        """Number of points."""
        return self.points.n_points

    @property
    def n_trials(self) -> int:
        """Number of trials: points x folds x assets."""
        return self.n_points * len(self.folds) * len(self.assets)

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return int(self.block_starts.shape[0]) - 1

    def block(self, index: int) -> Block:
        """Return block `index`, counted from 0."""
        if not 0 <= index < self.n_blocks:
            raise NotFoundError(f"no block {index}; the plan has blocks 0 to {self.n_blocks - 1}")
        start, stop = int(self.block_starts[index]), int(self.block_starts[index + 1])
        asset, fold, point = self._place(start)
        return Block(index, self.assets[asset], self.folds[fold], point, point + stop - start, start, stop, asset, fold)

    def block_of(self, trial_index: int) -> Block:
        """Return the block that computes trial `trial_index`."""
        self._place(trial_index)
        return self.block(int(np.searchsorted(self.block_starts, trial_index, side="right")) - 1)

    def trial(self, index: int) -> Trial:
        """Return trial `index`, counted from 0; its point is empty while it isn't chosen."""
        asset, fold, row = self._place(index)
        point = tuple(self.points.point(row).items()) if row < self.n_known else ()
        return Trial(index, self.assets[asset], self.folds[fold], point, asset, fold, row)

    def trial_index(self, point_index: int, asset_index: int = 0, fold_index: int = 0) -> int:
        """Return the index of the trial of one point, asset and fold."""
        return (asset_index * len(self.folds) + fold_index) * self.n_points + point_index

    def job(self) -> Job:
        """Return what all blocks have in common; loads the strategy from the plan's own copy of its source."""
        return self._job

    @cached_property
    def _job(self) -> Job:
        from quantbot.strategies.loader import load_bundle

        tables = checked_tables(self.spec.tables, get_engine(self.engine))
        return Job(
            load_bundle(self.bundle), self.settings, self.groups, self.plain_python, self.members, tables,
            self.scenarios.read(),
        )  # fmt: skip

    def to_bytes(self) -> bytes:
        """Return this plan as JSON: the same plan gives the same bytes on every machine.

        The points of a grid are not written, since axes and condition say them; sampled ones are.
        """
        sampled = any(axis.sampled for axis in self.axes)
        document = {
            "format": FORMAT,
            "identity": self.identity,
            "spec": self.spec_toml,
            "engine": self.engine,
            "dataset": {
                "name": self.dataset_name,
                "version": self.dataset_version,
                "root_url": self.dataset_root_url,
            },
            "assets": list(self.assets),
            "folds": [asdict(fold) for fold in self.folds],
            "axes": [
                {"name": axis.name, "kind": axis.kind, "sampled": axis.sampled, "values": encode_array(axis.values)}
                for axis in self.axes
            ],
            "where": self.where,
            "n_points": self.n_points,
            "n_known": self.n_known,
            "points": {name: encode_array(column[: self.n_known]) for name, column in self.points.columns.items()}
            if sampled
            else None,
            "searcher": dict(self.searcher),
            "settings": dict(self.settings),
            "groups": list(self.groups),
            "measures": list(self.measures),
            "bundle": json.loads(self.bundle.to_json()),
            "profile": dict(self.profile),
            "block_starts": encode_array(self.block_starts),
            "estimate": asdict(self.estimate),
            "plain_python": self.plain_python,
            "warnings": list(self.warnings),
            **({"members": list(self.members)} if self.members else {}),
            **({"scenarios": asdict(self.scenarios)} if self.scenarios.version else {}),
        }
        return json.dumps(document, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "the plan") -> Plan:
        """Read what `to_bytes` wrote.

        Raises
        ------
        CorruptError
            If the bytes are no plan; `where` names the object.
        FormatError
            If it is of another version's format.
        """
        from quantbot.strategies.loader import SourceBundle

        try:
            document = json.loads(data)
            check_format(document["format"], FORMAT, where)
            axes = tuple(
                Axis(axis["name"], decode_array(axis["values"]), axis["kind"], axis["sampled"])
                for axis in document["axes"]
            )
            if document["points"] is None:
                points = grid_points(axes, document["where"], constants=document["settings"], limit=_MAX_STORED)
            else:
                columns = {axis.name: decode_array(document["points"][axis.name]) for axis in axes}
                points = padded(columns, document["n_points"])
                if any(column.shape[0] != document["n_known"] for column in columns.values()):
                    raise CorruptError(f"{where} says {document['n_known']} known points, its columns have others")
            if points.n_points != document["n_points"]:
                raise CorruptError(f"{where} says {document['n_points']} points, its axes give {points.n_points}")
            plan = cls(
                identity=document["identity"],
                spec_toml=document["spec"],
                engine=document["engine"],
                dataset_name=document["dataset"]["name"],
                dataset_version=document["dataset"]["version"],
                dataset_root_url=document["dataset"]["root_url"],
                assets=tuple(document["assets"]),
                folds=tuple(Fold(**fold) for fold in document["folds"]),
                axes=axes,
                where=document["where"],
                points=points,
                settings=document["settings"],
                groups=tuple(document["groups"]),
                measures=tuple(document["measures"]),
                bundle=SourceBundle.from_json(json.dumps(document["bundle"])),
                profile=document["profile"],
                block_starts=decode_array(document["block_starts"]),
                estimate=Estimate(**document["estimate"]),
                n_known=document.get("n_known", document["n_points"]),
                searcher=document.get("searcher", {}),
                plain_python=document["plain_python"],
                warnings=tuple(document["warnings"]),
                members=tuple(document.get("members", ())),
                scenarios=Handed(**document.get("scenarios", {})),
            )
            starts = plan.block_starts
            if starts[0] != 0 or starts[-1] != plan.n_trials or np.any(np.diff(starts) < 1):
                raise CorruptError(f"{where}: its blocks do not divide its {plan.n_trials:,} trials")
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise CorruptError(f"{where} is no plan: {type(error).__name__}: {error}") from error
        return plan

    def _place(self, trial_index: int) -> tuple[int, int, int]:
        """Return asset, fold and point index of a trial."""
        if not 0 <= trial_index < self.n_trials:
            raise NotFoundError(f"no trial {trial_index}; the plan has trials 0 to {self.n_trials - 1}")
        rest, point = divmod(trial_index, self.n_points)
        asset, fold = divmod(rest, len(self.folds))
        return asset, fold, point


def make_plan(
    spec: Spec,
    root: Store,
    *,
    workers: int | None = None,
    memory_limit_bytes: int | None = None,
    block_seconds: float = 2.0,
    block_points: int | None = None,
    max_trials: int = MAX_POINTS,
    probe: bool = True,
) -> Plan:
    """Plan a run: resolve, check and count everything that it needs; nothing is started and nothing written.

    Parameters
    ----------
    root
        The store that holds the dataset, unless the spec says a URL.
    workers
        How many processes will share the work; this machine's cores where not said.
    memory_limit_bytes
        Most that one block may need; half of this machine's memory over the workers where not said.
    block_seconds
        How long a block should take.
    block_points
        Exactly so many points a block, in place of what the above would give.
    probe
        Measure how fast the engine is here. Without it the partition depends on nothing but the spec and the data.

    Raises
    ------
    SpecError, NotFoundError, StrategyError
        If the spec asks for what is not there.
    TooLargeError
        If the plan can't fit: too many trials, or a block larger than a worker's memory.
    """
    from quantbot.strategies.loader import load_bundle

    engine = get_engine(spec.run.engine)
    strategy = load_declared(spec.reference) if engine.takes_strategy else None
    settings = resolve_settings(spec, engine, strategy)
    groups = _groups(spec, engine)
    axes, points, axis_warnings = settings.points(spec, max_trials)
    sources = _sources(spec, engine, settings.values, points)

    source = open_source(spec, root, engine)
    job = Job(
        strategy or load_bundle(sources), settings.values, groups, spec.plain_python, source.members,
        checked_tables(spec.tables, engine), source.scenarios.given if source.scenarios is not None else None,
    )  # fmt: skip
    phases = Phases.plan(spec.search, points.n_points, source.folds)
    if len(phases) > 1:
        guide_fold(source.folds)  # refuses folds that leave nothing to learn from
    n_known = phases.points(0).stop
    known = points if n_known == points.n_points else points[:n_known]
    if n_known < points.n_points:  # a Bayesian search: the rest of the sample is what it would take without results
        axes = tuple(replace(axis, values=np.unique(known.columns[axis.name])) for axis in axes)
    n_evaluated = evaluated_points(spec.search, points.n_points, source.folds)
    n_bars = {asset: source.times[asset].shape[0] for asset in source.assets}
    n_trials = points.n_points * len(source.folds) * len(source.assets)
    if n_trials > max_trials:
        raise TooLargeError(
            f"the plan has {n_trials:,} trials ({points.n_points:,} points x {len(source.folds)} folds x "
            f"{len(source.assets)} assets) but {max_trials:,} is the limit; take fewer of one"
        )
    refused, warm_up_warnings = warm_up_problems(axes, settings, source.bars_until_end())
    require(refused)
    engine.check(job)
    refused, data_warnings = engine.problems(job, source.first, source.windows(source.assets[0]), known)
    require(refused)

    windows = source.window_sizes()
    ns = probe_ns(engine, job, source.first(), known) if probe else engine.nominal_ns(job, known)
    machine = Machine.here(workers, memory_limit_bytes, nominal=not probe)
    longest = max(n_bars.values())
    size = points_per_block(engine, job, n_known, windows.size, longest, int(windows.max()), ns, block_seconds, machine)
    seams = engine.seams(job, points) if block_points is None and n_known == points.n_points else None
    if block_points is not None:
        size = min(block_points, n_known)
    measures = tuple(measure.name for measure in engine.measures if measure.group in (*groups, "hold"))
    given = source.scenarios
    handed = Handed() if given is None else Handed(given.name, given.version, str(given.root.url))
    n_steps = int((windows.sum(axis=0) * n_evaluated).sum())
    return Plan(
        identity=run_identity(spec, sources, source.dataset.version, handed.version),
        spec_toml=spec.to_toml(),
        engine=spec.run.engine,
        dataset_name=source.dataset.name,
        dataset_version=source.dataset.version,
        dataset_root_url=source.root_url,
        assets=source.assets,
        folds=source.folds,
        axes=axes,
        where="" if spec.search.design != "grid" else spec.search.where,
        points=points if known is points else padded(known.columns, points.n_points),
        settings=settings.values,
        groups=groups,
        measures=measures,
        bundle=sources,
        profile=numeric_profile(),
        block_starts=block_starts(points.n_points, windows.size, size, phases.point_starts, seams),
        estimate=Estimate(
            core_seconds=n_steps * ns * 1e-9,
            memory_bytes=memory_bytes(engine, job, longest, size if seams is None else 2 * size),
            data_bytes=data_bytes(longest, max(len(source.members), 1)),
            rows_bytes=n_trials * (8 * len(measures) + 1),
            n_bars=n_steps,
        ),
        n_known=n_known,
        searcher=searcher(spec.search),
        plain_python=spec.plain_python,
        warnings=(*settings.warnings, *axis_warnings, *source.warnings, *warm_up_warnings, *data_warnings),
        members=source.members,
        scenarios=handed,
    )


def _sources(spec: Spec, engine: Engine, settings: Mapping[str, Value], points: Points) -> SourceBundle:
    """Return the strategy's sources, or what stands for them where the engine decides."""
    from quantbot.strategies.loader import bundle, engine_bundle

    if spec.strategy is None:
        return engine_bundle(engine.family(settings, points), engine.sources())
    return replace(bundle(spec.reference), reference=spec.strategy.name)  # not where it lies on this machine


def _groups(spec: Spec, engine: Engine) -> tuple[str, ...]:
    """Return the groups of measures that a spec asks for, in the engine's order."""
    wanted = spec.measures.groups or engine.default_groups
    return tuple(dict.fromkeys(measure.group for measure in engine.measures if measure.group in wanted))
