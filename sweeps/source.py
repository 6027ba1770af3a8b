"""The data that a spec names: which version, which assets, which folds of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Engine
from quantbot.errors import SpecError
from quantbot.parameters import nearest
from sweeps.folds import boundary_ns, make_folds
from sweeps.rungs import rung_folds
from sweeps.trial import Fold

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.events import EventsDataset
    from datasets.scenarios import ScenariosDataset
    from datasets.store import Store
    from quantbot.market import Nanoseconds
    from sweeps.feeds import Feed
    from sweeps.sections import Data
    from sweeps.spec import Spec


@dataclass(frozen=True, eq=False)
class Source:
    """What of a dataset a run uses.

    Attributes
    ----------
    assets
        What a trial runs on, one each, in the dataset's order, whatever the spec's; of a joint engine its one word.
    times
        By asset, the ends of all its steps: bars, or what an order book's results lie on.
    members
        The assets that each trial of a joint engine takes together; empty for other engines.
    scenarios
        What the spec hands in; None where it hands in nothing.
    """

    feed: Feed
    assets: tuple[str, ...]
    folds: tuple[Fold, ...]
    times: Mapping[str, Nanoseconds]
    warnings: tuple[str, ...]
    members: tuple[str, ...] = ()
    scenarios: ScenariosDataset | None = None

    @property
    def dataset(self) -> Dataset | EventsDataset:
        """The dataset."""
        return self.feed.dataset

    @property
    def root_url(self) -> str:
        """The store that holds the dataset."""
        return str(self.dataset.root.url)

    def first(self) -> Any:
        """Return the data of the first trials: of one asset, or a joint engine's panel."""
        return self._first

    @cached_property
    def _first(self) -> Any:
        return self.feed.panel(self.members) if self.members else self.feed.data(self.assets[0])

    def windows(self, asset: str) -> list[tuple[int, int]]:
        """Return the half-open range of an asset's bars in each fold."""
        return [fold.window(self.times[asset]) for fold in self.folds]

    def window_sizes(self) -> NDArray[np.int64]:
        """Return the number of bars of each asset in each fold, shape (n_assets, n_folds)."""
        windows = [self.windows(asset) for asset in self.assets]
        return np.array([[stop - start for start, stop in row] for row in windows], dtype=np.int64)

    def bars_until_end(self) -> dict[str, int]:
        """Return by asset the bars up to the end of the period, history included."""
        return {asset: max(stop for _, stop in self.windows(asset)) for asset in self.assets}


def open_source(spec: Spec, root: Store, engine: Engine) -> Source:
    """Open the dataset of a spec and divide its time.

    Raises
    ------
    NotFoundError
        If there is no such dataset, or there are no such scenarios.
    SpecError
        If it has another kind than the engine needs, lacks an asset, or its period is too short for the folds.
    """
    from datasets.scenarios import open_scenarios
    from sweeps.feeds import open_feed

    if spec.data.scenarios is not None and "scenarios" not in engine.sections:
        raise SpecError(f"data.scenarios: engine {engine.name} takes no scenarios; engine portfolio does")
    feed = open_feed(spec.data.dataset, root)
    dataset = feed.dataset
    if dataset.kind != engine.dataset_kind:
        raise SpecError(
            f"data.dataset: engine {engine.name} needs {engine.dataset_kind}, {dataset.name} has {dataset.kind}"
        )
    assets = chosen = _assets(spec.data.assets, feed)
    times = {asset: feed.times(asset) for asset in assets}
    _check_tables(spec, engine, chosen)
    start_ns, end_ns = _period(spec.data, times, feed.zone)
    all_times = _all_times(list(times.values()))
    if engine.joint:
        assets, times = (engine.joint,), {engine.joint: all_times}
    folds = make_folds(spec.folds, all_times, start_ns, end_ns, feed.zone)
    if spec.search.method == "halving":
        folds = (*folds, *rung_folds(spec.search, folds, all_times))
    source = Source(feed, assets, folds, times, ())
    warnings = [
        f"{asset} has {found} in fold {fold.name}: its trials there have no result"
        for asset, row in zip(assets, source.window_sizes(), strict=True)
        for fold, n_bars in zip(folds, row.tolist(), strict=True)
        if (found := "no bar" if n_bars == 0 else "only one bar" if n_bars == 1 else "")
    ]
    if len(warnings) > 10:
        warnings = [*warnings[:10], f"... and {len(warnings) - 10:,} more pairs of asset and fold without bars"]
    if dataset.kind == "bars" and not engine.joint and "funding" in dataset.variables:  # type: ignore[union-attr]
        warnings.append(f"engine {engine.name} charges no funding, which {dataset.name} has; engine portfolio does")
    repeated = len(spec.data.assets or ()) - len(set(spec.data.assets or ()))
    if repeated:
        warnings.append(f"data.assets: {repeated:,} repeated, each counts once")
    given = open_scenarios(spec.data.scenarios, root) if spec.data.scenarios is not None else None
    return replace(source, warnings=tuple(warnings), members=chosen if engine.joint else (), scenarios=given)


def _check_tables(spec: Spec, engine: Engine, chosen: Sequence[str]) -> None:
    """Refuse tables that name assets which the run has not."""
    problems = []
    for name, rows in spec.tables.items():
        declared = engine.tables[name]
        for row, fields in rows.items():
            named = [row] if declared.by == "asset" else fields.get("assets", ())
            problems += [
                f"{name}.{row[:80]}: {asset[:80]!r} is not among the run's assets{nearest(asset[:80], chosen)}"
                for asset in named
                if asset not in chosen
            ]
    if problems:
        raise SpecError(problems[:20] + [f"... and {len(problems) - 20:,} more assets"] * (len(problems) > 20))


def _assets(wanted: Sequence[str] | None, feed: Feed) -> tuple[str, ...]:
    if wanted is None:
        return feed.assets
    meant = {name: feed.named(name) for name in wanted}
    problems = [
        f"data.assets: {feed.dataset.name} has no asset {name[:80]!r}{nearest(name[:80], feed.assets)}"
        for name in wanted
        if not meant[name]
    ]
    if problems:
        raise SpecError(problems[:20] + [f"... and {len(problems) - 20:,} more assets"] * (len(problems) > 20))
    chosen = {asset for assets in meant.values() for asset in assets}
    return tuple(asset for asset in feed.assets if asset in chosen)


def _period(data: Data, times: Mapping[str, Nanoseconds], zone: str) -> tuple[int, int]:
    """Return the half-open period: what the spec says, else from the first bar to the last."""
    first = min((int(of[0]) for of in times.values() if of.shape[0]), default=0)
    last = max((int(of[-1]) for of in times.values() if of.shape[0]), default=0)
    start_ns = boundary_ns(data.start, zone) if data.start is not None else first
    end_ns = boundary_ns(data.end, zone, end=True) if data.end is not None else last + 1
    return start_ns, end_ns


def _all_times(times: list[Nanoseconds]) -> Nanoseconds:
    union = times[0]
    for of in times[1:]:
        if not np.array_equal(union, of):
            union = np.union1d(union, of)
    return union
