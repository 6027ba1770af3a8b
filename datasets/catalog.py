"""Which datasets a store has, and how a reference names one.

A reference is a name ("demo/sp500": its newest version), a name with the beginning of a version
("demo/sp500@3fa2"), or either after a store's URL ("s3://bucket/prefix/datasets/demo/sp500@3fa2").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from datasets import references
from datasets.bars import Dataset, read_version
from datasets.events import EventsDataset
from datasets.store import Store, open_store
from datasets.versions import read_any
from quantbot.errors import DataError, InputError, NotFoundError
from quantbot.parameters import nearest

__all__ = [
    "Catalog",
    "Entry",
    "Version",
    "dataset_url",
    "open_any",
    "open_dataset",
    "open_events",
    "open_version",
    "split_reference",
]

_PREFIX = re.compile(r"[0-9a-f]{1,64}")


@dataclass(frozen=True)
class Version:
    """A version of a name; `created_ns` is when the name first pointed to it, by the store's clock (UTC ns)."""

    version: str
    created_ns: int


@dataclass(frozen=True)
class Entry:
    """One line of the catalogue: the newest version of a name.

    Attributes
    ----------
    problem
        Why the dataset can't be opened, empty when it can; the other fields are then empty too.
    """

    name: str
    version: str
    created_ns: int
    n_versions: int
    kind: str = ""
    title: str = ""
    source: str = ""
    interval: str = ""
    synthetic: bool = False
    assets: tuple[str, ...] = ()
    n_times: int = 0
    start_ns: int = 0
    end_ns: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Catalog:
    """The datasets of the store `root`; every answer is asked of the store.

    Examples
    --------
    >>> import tempfile
    >>> Catalog(open_store(tempfile.mkdtemp())).names()
    []
    """

    root: Store

    def names(self) -> list[str]:
        """Return the sorted names that point to a version."""
        found = []
        waiting = [""]
        while waiting:
            name = waiting.pop()
            subfolders = self.root.folders(f"{references.ROOT}/{name}".rstrip("/"))
            if name and references.is_dataset(subfolders):
                found.append(name)
            # A version's folder can't be mistaken for a name: it has a "=".
            below = [folder for folder in subfolders if _is_name(folder)]
            waiting += [f"{name}/{folder}".lstrip("/") for folder in below]
        return sorted(found)

    def versions(self, name: str) -> list[Version]:
        """Return the versions of `name`, the one in force first, or raise `NotFoundError` naming the nearest name."""
        pointers = references.references(self.root, name)
        if not pointers:
            raise self._unknown(name)
        first: dict[str, int] = {}
        for pointer in pointers:
            first.setdefault(pointer.version, pointer.created_ns)
        in_force = dict.fromkeys(pointer.version for pointer in reversed(pointers))
        return [Version(version, first[version]) for version in in_force]

    def resolve(self, reference: str) -> tuple[str, str]:
        """Return name and full version of "name" or "name@beginning of a version"."""
        name, _, beginning = reference.partition("@")
        references.check_name(name)
        if "@" in reference and not _PREFIX.fullmatch(beginning):
            raise InputError(
                f"after @ comes the beginning of a version (hex digits in lower case), was {beginning!r:.100}"
            )
        if not beginning:
            pointer = references.newest(self.root, name)
            if pointer is None:
                raise self._unknown(name)
            return name, pointer.version
        if len(beginning) == 64:
            return name, beginning
        known = [version.version for version in self.versions(name)]
        matching = [version for version in known if version.startswith(beginning)]
        if len(matching) == 1:
            return name, matching[0]
        shown = ", ".join(version[:12] for version in (matching or known)[:10])
        if matching:
            raise InputError(f"{reference!r} is not unique: {shown}; write more digits")
        raise NotFoundError(f"{name!r} has no version {beginning!r} in {self.root.url}; it has {shown}")

    def open(self, reference: str) -> Dataset:
        """Return the dataset of bars that `reference` names in this store."""
        return read_version(self.root, *self.resolve(reference))

    def open_any(self, reference: str) -> Dataset | EventsDataset:
        """Return the dataset that `reference` names in this store, of whatever kind."""
        return read_any(self.root, *self.resolve(reference))

    def entries(self) -> list[Entry]:
        """Return one line a name, sorted; a dataset that can't be opened says why in its line."""
        return [self._entry(name) for name in self.names()]

    def _entry(self, name: str) -> Entry:
        try:
            versions = self.versions(name)
        except (NotFoundError, RuntimeError) as error:
            return Entry(name, "", 0, 0, problem=str(error))
        about = (name, versions[0].version, versions[0].created_ns, len(versions))
        try:
            dataset = read_any(self.root, name, versions[0].version)
            meta = dataset.meta
        except (NotFoundError, InputError, RuntimeError) as error:
            return Entry(*about, problem=str(error))
        return Entry(
            *about,
            kind=dataset.kind,
            title=meta.title,
            source=meta.source,
            interval=meta.interval,
            synthetic=meta.synthetic,
            assets=dataset.assets,
            n_times=dataset.n_times,
            start_ns=dataset.start_ns,
            end_ns=dataset.end_ns,
        )

    def _unknown(self, name: str) -> NotFoundError:
        known = self.names()
        if not known:
            return NotFoundError(f"there is no dataset {name!r}: {self.root.url} has none yet; ingest one first")
        shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
        return NotFoundError(f"there is no dataset {name!r} in {self.root.url}; it has {shown}{nearest(name, known)}")


def open_dataset(reference: str, root: Store) -> Dataset:
    """Return the dataset of bars that `reference` names: in `root`, or where its own URL says.

    Parameters
    ----------
    reference
        "demo/sp500", "demo/sp500@3fa2", or a URL that ends in `datasets/` and such a name.
    """
    at, name = split_reference(reference)
    return Catalog(root if at is None else open_store(at)).open(name)


def open_any(reference: str, root: Store) -> Dataset | EventsDataset:
    """Return the dataset that `reference` names, of whatever kind; otherwise as `open_dataset`."""
    at, name = split_reference(reference)
    return Catalog(root if at is None else open_store(at)).open_any(name)


def open_events(reference: str, root: Store) -> EventsDataset:
    """Return the dataset of events that `reference` names, or raise `DataError` where it has something else."""
    dataset = open_any(reference, root)
    if not isinstance(dataset, EventsDataset):
        raise DataError(f"{reference} has {dataset.kind}; events are needed here")
    return dataset


def open_version(root_url: str, name: str, version: str) -> Dataset:
    """Return exactly one version, by its 64 hex digits: what a worker does."""
    return read_version(open_store(root_url), name, version)


def split_reference(reference: str) -> tuple[str | None, str]:
    """Return the URL of the store (None for a bare name) and the name with what follows it.

    Examples
    --------
    >>> split_reference("s3://bucket/lab/datasets/demo/sp500@3fa2")
    ('s3://bucket/lab', 'demo/sp500@3fa2')
    >>> split_reference("demo/sp500")
    (None, 'demo/sp500')
    """
    if "://" not in reference and not reference.startswith(("/", "~")):
        return None, reference
    at, separator, name = reference.rpartition(f"/{references.ROOT}/")
    if not separator or at.count("://") != reference.count("://"):
        open_store(reference.partition("@")[0])  # a place that isn't accepted at all has a better message
        raise InputError(
            f"a dataset's URL is a store, /{references.ROOT}/ and a name (s3://bucket/prefix/datasets/demo/sp500); "
            f"this one has no /{references.ROOT}/"
        )
    return at, name


def dataset_url(root: Store, name: str, version: str = "") -> str:
    """Return the URL under which `open_dataset` finds a dataset from anywhere."""
    url = f"{root.url}/{references.folder(name)}"
    return f"{url}@{version}" if version else url


def _is_name(segment: str) -> bool:
    try:
        references.check_name(segment)
    except InputError:
        return False
    return True
