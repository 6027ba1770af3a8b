"""Demo data: real daily index bars that the package `arch` ships, and a synthetic minute market that says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from quantbot.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from datasets.ingest import IngestResult
    from datasets.store import Store

Progress = Callable[[float, str], None]

SYNTHETIC_ASSETS, SYNTHETIC_DAYS, SYNTHETIC_SEED = 5, 250, 2026
SOURCE = "Python package arch (data from Yahoo! Finance)"


@dataclass(frozen=True)
class _Index:
    """A daily index of the package: where its file is, and what it is called here."""

    symbol: str
    title: str
    file: str


_SPX = _Index("SPX", "S&P 500, daily bars 1999 to 2018", "data/sp500/sp500.csv.gz")
_IXIC = _Index("IXIC", "NASDAQ Composite, daily bars 1999 to 2018", "data/nasdaq/nasdaq.csv.gz")
_DATASETS: Mapping[str, tuple[str, tuple[_Index, ...]]] = {
    "demo/sp500": (_SPX.title, (_SPX,)),
    "demo/nasdaq": (_IXIC.title, (_IXIC,)),
    "demo/indices": ("S&P 500 and NASDAQ Composite, daily bars 1999 to 2018", (_SPX, _IXIC)),
}


def ingest_demo(root: Store, progress: Progress | None = None) -> dict[str, IngestResult]:
    """Write the demo datasets: ``demo/sp500``, ``demo/nasdaq``, ``demo/indices`` and ``demo/synthetic-minute``.

    The index bars go the way of every CSV file and are stamped at the closes of calendar XNYS; so this needs the extra
    `demo`, which has both packages. Again is quick: the same content is the same version, and nothing is written.

    Parameters
    ----------
    root
        The store that holds ``datasets/``.
    progress
        Called now and then with the fraction done (0 to 1) and what is being done.

    Returns
    -------
    Name -> what was made of it.

    Raises
    ------
    InputError
        If the extra `demo` is not installed.
    """
    from datasets.synthetic import synthetic_minute

    tell = progress or _silent
    folder = _package_folder()
    made: dict[str, IngestResult] = {}
    for done, (name, (title, indices)) in enumerate(_DATASETS.items()):
        tell(0.1 * done, f"reading {title}")
        made[name] = _ingest_indices(root, name, title, indices, folder)
    name = "demo/synthetic-minute"
    made[name] = synthetic_minute(
        root, name, SYNTHETIC_ASSETS, SYNTHETIC_DAYS, SYNTHETIC_SEED,
        progress=lambda done, text: tell(0.3 + 0.7 * done, text),
    )  # fmt: skip
    return made


def _ingest_indices(root: Store, name: str, title: str, indices: tuple[_Index, ...], folder: Path) -> IngestResult:
    from datasets.ingest.bars import ingest_sources
    from datasets.ingest.csv import CsvReader
    from datasets.ingest.options import BarOptions

    options = BarOptions(time_format="%m/%d/%Y", calendar="XNYS", interval="1d", title=title, source=SOURCE)
    sources = []
    for index in indices:
        path = folder / index.file
        if not path.is_file():
            raise NotFoundError(f"{path} is not there: this version of arch ships no {index.title}; install arch>=7.2")
        sources.append(CsvReader(path, options).source(index.symbol))
    return ingest_sources(root, name, sources, options)


def _package_folder() -> Path:
    """Find the package without importing it, which would take seconds."""
    found = find_spec("arch")
    if found is None or not found.submodule_search_locations or find_spec("exchange_calendars") is None:
        raise InputError("the demo data need the packages arch and exchange_calendars: install quantbot[demo]")
    return Path(found.submodule_search_locations[0])


def _silent(done: float, text: str) -> None:
    del done, text
