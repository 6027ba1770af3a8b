"""The portfolio engine: a trial optimises weights through time and trades them in one account of many assets."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from quantbot.bars.alike import alike
from quantbot.blas import one_blas_thread
from quantbot.engine import Job, Points, Replay, Rows, Tables, TrialStatus
from quantbot.errors import InputError, ParameterError
from quantbot.market import BAR_FIELDS, PANEL_FIELDS, Floats, Instrument, Panel
from quantbot.measures import Measure
from quantbot.parameters import Parameter, RowValue, Table, Value, nearest
from quantbot.portfolio import rows as row_measures
from quantbot.portfolio.account import account_returns, memory_bytes, run_accounts
from quantbot.portfolio.chains import MEASURES, Chain, History, make_chain
from quantbot.portfolio.given import GivenScenarios
from quantbot.portfolio.pooled import Pooled, field_of, is_own, strategies
from quantbot.portfolio.sections import CHAIN, GIVEN, SECTIONS, STRATEGIES, TABLES, defaults
from quantbot.portfolio.targets import Targets
from quantbot.risk.scenarios import SCENARIOS

OPTIMISATIONS = "optimise"  # the group of measures that the account does not have
REMEMBERED_BYTES = 64 * 2**20  # of chains that a process keeps, for the next block, a replay, the returns
TARGETS_BYTES = 64 * 2**20  # of target weights that are traded at a time
ACCOUNT_NS = 4.0  # a bar of an asset in an account
# Nanoseconds of an optimisation of 20 assets over 500 scenarios: the next of a chain, from scratch, by secants, drawn.
WARM_NS, COLD_NS, SECANTS_NS, DRAWN_NS = 0.13e6, 0.56e6, 3.3e6, 1.7e6
_BARS_OF = {"week_end": 5, "month_end": 21, "quarter_end": 63, "year_end": 252}  # of daily bars
PROBE_BARS, PROBE_CHAINS, PROBE_POINTS = 1_000, 3, 64

Groups = list[tuple[NDArray[np.intp], Chain | Pooled]]


class PortfolioEngine:
    """Weights by optimisation or rule, traded with costs and guards; see `quantbot.portfolio.sections`."""

    name = "portfolio"
    dataset_kind = "bars"
    joint = "portfolio"
    takes_strategy = False
    sections: Mapping[str, tuple[Parameter, ...]] = SECTIONS
    tables: Mapping[str, Table] = TABLES
    measures: tuple[Measure, ...] = (*row_measures.MEASURES, *MEASURES)
    default_groups: tuple[str, ...] = ("core", "path", "costs", "tail", OPTIMISATIONS)

    def check(self, job: Job) -> None:
        """Compile what `job` needs (warming the kernel cache), by running it on a few bars of three assets."""
        self._account_groups(job)
        assets = ("A", "B", "C")
        steps = np.arange(64)
        close = np.stack([100.0 + (steps * k) % 7 for k in (1, 2, 3)], axis=1).astype(np.float64)
        instruments = tuple(Instrument(name) for name in assets)
        panel = Panel(instruments, steps, close, close, close, close, close, 252.0)
        small: dict[str, Value] = {"scenarios.window": 20, "rebalance.calendar": "bars", "rebalance.every": 10}
        small |= {"rebalance.offset": 0, "optimise.lookback": 5, "scenarios.n_scenarios": 20}
        settings = {name: value for name, value in job.settings.items() if not is_own(name)} | small
        pool: dict[str, dict[str, RowValue]] = {
            name: {"allocation": share, **{field: own[field] for field in CHAIN if field not in small}}
            for name, (share, own) in strategies({**_DEFAULTS, **job.settings}, job.tables).items()
        }
        tables: Tables = {STRATEGIES: pool} if pool else {}
        given = GivenScenarios.of(assets, history_of(panel).returns[1:21])
        self.run(replace(job, settings=settings, tables=tables, given=given), panel, (0, len(panel)), Points(1))

    def run(self, job: Job, data: Panel, window: tuple[int, int], points: Points) -> Rows:
        """Run every point over bars `window[0] <= t < window[1]` of `data`, in cash at its start.

        Points with the same settings of scenarios, optimisation, constraints and rebalancing share their weights.
        A trial's result depends on nothing but its own point and the data.
        """
        groups = self._account_groups(job)
        names = tuple(measure.name for measure in self.measures if measure.group in job.groups)
        rows = Rows({name: np.full(len(points), math.nan) for name in names}, np.zeros(len(points), np.uint8), {})
        reasons: dict[int, str] = {}
        for part in self._parts(job, data, window, points):
            for own, chain in part:
                for name, value in chain.measures(self._settings(job, points, own)).items() if not chain.failed else ():
                    if name in rows.measures:
                        rows.measures[name][own] = value
                if chain.failed:
                    rows.status[own] = TrialStatus.FAILED
                    reasons |= dict.fromkeys(own.tolist(), chain.failed)
            for own, targets in traded(part):
                found = run_accounts(data, window, targets, job.settings, points.take(own), groups)
                for name, values in found.measures.items():
                    rows.measures[name][own] = values
                rows.status[own] = found.status
                reasons |= {int(own[row]): why for row, why in found.reasons.items()}
        failed = rows.status != TrialStatus.OK
        for column in rows.measures.values():
            column[failed] = math.nan
        return Rows(rows.measures, rows.status, dict(sorted(reasons.items())))

    def replay(self, job: Job, data: Panel, window: tuple[int, int], point: Mapping[str, Value]) -> Replay:
        """Run one point and keep everything; its row equals `run`'s bit for bit."""
        from quantbot.portfolio.replay import replay

        return replay(self, job, data, window, point)

    def returns(self, job: Job, data: Panel, window: tuple[int, int], points: Points) -> Floats:
        """Return the simple returns per bar on equity of every point, shape (n_points, n_bars); NaN where it failed."""
        found = np.full((len(points), window[1] - window[0]), math.nan)
        for part in self._parts(job, data, window, points):
            for own, targets in traded(part):
                found[own] = account_returns(data, window, targets, job.settings, points.take(own))
        return found

    def memory_bytes(self, job: Job, n_steps: int, n_points: int) -> int:
        """Return an upper bound of what `run` allocates for so many points over so many steps."""
        n_assets = max(len(job.assets), 1)
        longest = 8 * n_steps * n_assets  # a chain that decides at each bar
        own = min(2 * longest * n_points, 2 * (TARGETS_BYTES + longest)) + REMEMBERED_BYTES
        own += 4 * longest * len(job.tables.get(STRATEGIES, {}))
        drawn = 8 * int(job.settings.get("scenarios.n_scenarios", 0)) * n_assets
        return memory_bytes(n_steps, n_assets, n_points) + own + 6 * longest + 4 * drawn

    def family(self, settings: Mapping[str, Value], points: Points) -> str:
        """Return what trials are counted under: "portfolio/min_cvar"; of several methods all their names."""
        pooled = [
            name.removesuffix(".allocation") for name in settings if is_own(name) and name.endswith(".allocation")
        ]
        methods: set[str] = set()
        for name in [f"{strategy}.optimise.method" for strategy in pooled] or ["optimise.method"]:
            own = name if name in settings else "optimise.method"
            column = points.columns.get(own)
            methods |= {str(settings[own])} if column is None else set(np.unique(column).tolist())
        return f"{self.name}/{'+'.join(sorted(methods))}"

    def sources(self) -> Mapping[str, str]:
        """Return the versions of the libraries behind fallbacks and scenarios."""
        from quantbot.strategies.loader import distribution_versions

        return distribution_versions(("arch", "highspy", "scipy"))

    def problems(
        self, job: Job, load: Callable[[], Any], windows: Sequence[tuple[int, int]], points: Points
    ) -> tuple[list[str], list[str]]:
        """Return refusals and warnings that only the data show; see `quantbot.portfolio.refusals`."""
        from quantbot.portfolio.refusals import problems

        return problems(self, job, load(), windows, points)

    def seams(self, job: Job, points: Points) -> NDArray[np.int64]:
        """Return the points at which another chain begins: mates that stand side by side share a block."""
        changed = np.zeros(len(points), dtype=bool)
        changed[:1] = True
        for name in _of_chains(points):
            column = points.columns[name]
            changed[1:] |= column[1:] != column[:-1]
        return np.flatnonzero(changed)

    def probe(self, job: Job, data: Panel, points: Points) -> tuple[Panel, tuple[int, int], Points]:
        """Return the last bars, and whole chains of points from all over."""
        begins = self.seams(job, points)
        chosen = begins[np.linspace(0, len(begins) - 1, min(PROBE_CHAINS, len(begins))).astype(np.int64)]
        ends = np.append(begins, len(points))
        parts = [np.arange(at, min(ends[np.searchsorted(begins, at) + 1], at + PROBE_POINTS)) for at in chosen]
        few = points.take(np.concatenate(parts))
        windows = [value for name, value in job.settings.items() if name.endswith("scenarios.window")]
        windows += [column.max() for name, column in few.columns.items() if name.endswith("scenarios.window")]
        part = last_bars(data, PROBE_BARS + 1 + int(max(windows)))
        return part, (max(len(part) - PROBE_BARS, 0), len(part)), few

    def nominal_ns(self, job: Job, points: Points) -> float:
        """Return the account's nanoseconds, and those of a chain of its own for each trial."""
        rows = np.unique(np.linspace(0, max(len(points) - 1, 0), 64).astype(np.int64))
        said = ({**_DEFAULTS, **job.settings, **(points.point(row) if len(points) else {})} for row in rows)
        each = [
            sum(_chain_ns(own) for _, own in strategies(one, job.tables).values()) if job.tables.get(STRATEGIES)
            else _chain_ns(one)
            for one in said
        ]  # fmt: skip
        return ACCOUNT_NS * max(len(job.assets), 1) + float(np.mean(each))

    # -- chains -------------------------------------------------------------------------------------------------

    def chain(
        self, job: Job, data: Panel, window: tuple[int, int], settings: Mapping[str, Value], *, most: int | None = None
    ) -> Chain | Pooled:
        """Return what a point's settings decide: a chain, or one of each of the strategies on its pool."""
        if not job.tables.get(STRATEGIES):
            return self._chain(job, data, window, settings, most)
        return Pooled(
            {
                name: (self._chain(job, data, window, own, most), share, own)
                for name, (share, own) in strategies(settings, job.tables).items()
            }
        )

    def _chain(
        self, job: Job, data: Panel, window: tuple[int, int], settings: Mapping[str, Value], most: int | None
    ) -> Chain:
        """Return the chain of settings; a process remembers the last ones."""
        given = job.given.digest if job.given is not None and settings["scenarios.method"] == GIVEN else ""
        key = (window, tuple(settings[name] for name in CHAIN), repr(job.tables), given, most)
        known = _CHAINS.setdefault(data, OrderedDict())
        if key not in known:
            with one_blas_thread():
                known[key] = make_chain(history_of(data), window, settings, job.tables, most=most, given=job.given)
            if len(known) > max(REMEMBERED_BYTES // max(known[key].n_bytes, 1), 1):
                known.popitem(last=False)
        known.move_to_end(key)
        return known[key]

    def _parts(self, job: Job, data: Panel, window: tuple[int, int], points: Points) -> Iterator[Groups]:
        """Yield points with the chain that they share, some chains at a time."""
        if unknown := [name for name in points.columns if name not in _DEFAULTS and not field_of(name, job.tables)]:
            raise ParameterError(
                f"points vary {unknown[0]!r}, which a portfolio has not{nearest(unknown[0], _DEFAULTS)}"
            )
        if not 0 <= window[0] < window[1] <= len(data):
            raise InputError(f"a window must lie within the {len(data)} bars and not be empty; was {window}")
        columns = [points.columns[name] for name in _of_chains(points)]
        groups = alike(columns) if columns and len(points) else [np.arange(len(points), dtype=np.intp)]
        part: Groups = []
        held = 0
        for own in groups:
            if not len(own):
                continue
            chain = self.chain(job, data, window, self._settings(job, points, own))
            part.append((own, chain))
            held += chain.weights.nbytes
            if held > TARGETS_BYTES:
                yield part
                part, held = [], 0
        yield part

    def _settings(self, job: Job, points: Points, own: NDArray[np.intp]) -> dict[str, Value]:
        """Return the settings that points of one chain share."""
        first = {name: column[own[0]].item() for name, column in points.columns.items()}
        return {**_DEFAULTS, **job.settings, **first}

    def _account_groups(self, job: Job) -> tuple[str, ...]:
        """Return the groups of measures that the account reduces; "core" where the job wants none of its."""
        known = (*row_measures.GROUPS, OPTIMISATIONS)
        for group in job.groups:
            if group not in (*known, "hold"):
                raise ParameterError(f"no measure group {group!r}; there are {', '.join(known)}{nearest(group, known)}")
        return tuple(group for group in job.groups if group in row_measures.GROUPS)


def _of_chains(points: Points) -> list[str]:
    """Return the settings among those that vary on which weights depend."""
    return [name for name in points.columns if name in _IN_CHAIN or is_own(name)]


def traded(part: Groups) -> Iterator[tuple[NDArray[np.intp], Targets]]:
    """Yield points and their targets, those together whose chains decide at the same bars."""
    by_bars: dict[bytes, Groups] = {}
    for own, chain in part:
        if not chain.failed:
            by_bars.setdefault(chain.bars.tobytes(), []).append((own, chain))
    for alike_in_time in by_bars.values():
        weights = np.stack([chain.weights for _, chain in alike_in_time])
        points = np.concatenate([own for own, _ in alike_in_time])
        of = np.repeat(np.arange(len(alike_in_time)), [len(own) for own, _ in alike_in_time])
        yield points, Targets(alike_in_time[0][1].bars, weights, of.astype(np.int64))


def last_bars(data: Panel, n_bars: int) -> Panel:
    """Return a panel of the last bars; always another object, of which nothing is remembered."""
    fields = ("ts_end_ns", *BAR_FIELDS, *PANEL_FIELDS)
    parts = {name: own[-n_bars:] for name in fields if (own := getattr(data, name)) is not None}
    return replace(data, **parts)


def _chain_ns(settings: Mapping[str, Value]) -> float:
    """Return the nanoseconds that optimising takes, for each bar."""
    calendar = str(settings["rebalance.calendar"])
    bars = _BARS_OF.get(calendar, int(settings["rebalance.every"]))
    method, drawn = settings["optimise.method"], SCENARIOS[str(settings["scenarios.method"])].draws
    traded = float(settings["constraints.cost_bps"]) > 0.0 or float(settings["constraints.turnover"]) > 0.0
    if drawn:
        return DRAWN_NS / bars
    if method == "max_return":
        return SECANTS_NS / bars
    warm = method == "min_cvar" and settings["scenarios.method"] == "historical" and not traded
    return (WARM_NS if warm else COLD_NS) / bars


def history_of(data: Panel) -> History:
    """Return what decisions see of a panel; a process remembers it."""
    if data not in _HISTORIES:
        _HISTORIES[data] = History.of(data)
    return _HISTORIES[data]


ENGINE = PortfolioEngine()
_DEFAULTS = defaults()
_IN_CHAIN = frozenset(CHAIN)
_HISTORIES: WeakKeyDictionary[Panel, History] = WeakKeyDictionary()
_CHAINS: WeakKeyDictionary[Panel, OrderedDict[Any, Chain]] = WeakKeyDictionary()
