"""What trials run on, whatever the dataset holds: instruments' bars, or sessions of order-book events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sweeps.sessions import name_of

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.events import EventsDataset
    from datasets.store import Store
    from quantbot.book import BookSession, Events
    from quantbot.market import Bars, Nanoseconds, Panel

_KEPT_EVENTS = 2_500_000  # sessions up to this many stay decoded between two blocks: 105 MB


class Feed(Protocol):
    """A dataset as trials see it.

    Attributes
    ----------
    assets
        What a trial may run on, one each: an instrument, or an instrument's session ("AAPL 2012-06-21").
    zone
        Where days begin.
    """

    @property
    def dataset(self) -> Dataset | EventsDataset: ...  # noqa: D102
    @property
    def assets(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def zone(self) -> str: ...  # noqa: D102

    def named(self, name: str) -> tuple[str, ...]:
        """Return the assets that a spec means by a name: itself, all sessions of an instrument, or none."""
        ...

    def times(self, asset: str) -> Nanoseconds:
        """Return the ends of an asset's steps: of its bars, or what a session's results lie on."""
        ...

    def data(self, asset: str) -> Any:
        """Return what a trial on one asset runs on."""
        ...

    def panel(self, assets: tuple[str, ...]) -> Panel:
        """Return what a trial on many assets together runs on."""
        ...

    def currency(self, asset: str) -> str:
        """Return the currency of an asset."""
        ...

    def periods_per_year(self, asset: str) -> float:
        """Return how many steps of an asset a year has."""
        ...


class BarsFeed:
    """Instruments' bars."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.assets = dataset.assets
        self.zone = dataset.meta.zone

    def named(self, name: str) -> tuple[str, ...]:
        """Return the asset itself, or none."""
        return (name,) if name in set(self.assets) else ()

    def times(self, asset: str) -> Nanoseconds:
        """Return the ends of an asset's bars."""
        return self.dataset.times(asset)

    def data(self, asset: str) -> Bars:
        """Return an asset's bars."""
        return self.dataset.bars(asset)

    def panel(self, assets: tuple[str, ...]) -> Panel:
        """Return the bars of many assets together."""
        return self.dataset.panel(assets)

    def currency(self, asset: str) -> str:
        """Return the currency of an asset."""
        return self.dataset.meta.instrument(asset).currency

    def periods_per_year(self, asset: str) -> float:
        """Return how many bars a year has."""
        return float(self.dataset.meta.periods_per_year)


class EventsFeed:
    """Sessions of order-book events, each a thing of its own to trade on."""

    def __init__(self, dataset: EventsDataset) -> None:
        self.dataset = dataset
        self._places: Mapping[str, tuple[str, str]] = {
            name_of(symbol, session): (symbol, session)
            for symbol in dataset.assets
            for session in dataset.sessions(symbol)
        }
        self.assets = tuple(self._places)
        self.zone = dataset.meta.zone

    def named(self, name: str) -> tuple[str, ...]:
        """Return the session itself, or all of an instrument."""
        return tuple(asset for asset, (symbol, _) in self._places.items() if name in (asset, symbol))

    def place(self, asset: str) -> tuple[str, str]:
        """Return instrument and session of an asset."""
        return self._places[asset]

    def times(self, asset: str) -> NDArray[np.int64]:
        """Return the ends of a session's steps."""
        return self.data(asset).ts_end_ns

    def data(self, asset: str) -> BookSession:
        """Return a session; its events are read as a replay comes to them."""
        from quantbot.book import BookSession

        symbol, session = self._places[asset]
        about = self.dataset.session(symbol, session)
        read = partial(self.dataset.blocks, symbol, session)
        return BookSession.between(
            self.dataset.instrument(symbol), session, (about.start_ns, about.end_ns),
            (about.low_ticks, about.high_ticks), about.n_events,
            _Kept(read) if about.n_events <= _KEPT_EVENTS else read,
        )  # fmt: skip

    def panel(self, assets: tuple[str, ...]) -> Panel:
        """Refuse: sessions are traded one by one."""
        from quantbot.errors import SpecError

        raise SpecError(f"data.dataset: {self.dataset.name} has order-book events; bars are needed here")

    def currency(self, asset: str) -> str:
        """Return the currency of an instrument."""
        return self.dataset.instrument(self._places[asset][0]).currency

    def periods_per_year(self, asset: str) -> float:
        """Return how many steps of such a session a year has."""
        return self.data(asset).periods_per_year


class _Kept:
    """Events that stay in memory from the first reading on."""

    def __init__(self, read: Any) -> None:
        self._read = read
        self._events: tuple[Events, ...] | None = None

    def __call__(self) -> Iterable[Events]:
        if self._events is None:
            self._events = tuple(self._read())
        return self._events


def feed_of(dataset: Dataset | EventsDataset) -> Feed:
    """Return a dataset as trials see it."""
    from datasets.events import EventsDataset

    return EventsFeed(dataset) if isinstance(dataset, EventsDataset) else BarsFeed(dataset)


def open_feed(reference: str, root: Store) -> Feed:
    """Open the dataset that a spec names; as `datasets.catalog.open_dataset`."""
    from datasets.catalog import open_any

    return feed_of(open_any(reference, root))


def open_feed_version(root_url: str, name: str, version: str) -> Feed:
    """Open exactly one version, by its 64 hex digits: what a worker does."""
    from datasets.store import open_store
    from datasets.versions import read_any

    return feed_of(read_any(open_store(root_url), name, version))
