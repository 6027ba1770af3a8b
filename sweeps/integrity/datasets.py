"""The versions of every dataset and of every set of scenarios in a store, as their pointers name them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from datasets import references
from datasets.bars import read_bars
from datasets.catalog import Catalog
from datasets.manifest import Manifest, VerifiedObjects
from datasets.scenarios import read_scenarios
from datasets.versions import read_any, read_manifest
from quantbot.errors import CorruptError, FormatError, InputError, NotFoundError

if TYPE_CHECKING:
    from datasets.store import Store

SCENARIOS = "scenarios"  # the folder that has datasets of scenarios, laid out as the root is
KINDS = ("bars", "events", "scenarios")
UNREADABLE = (CorruptError, FormatError, InputError, NotFoundError)


@dataclass(frozen=True)
class Shelf:
    """A folder with `datasets/` in it: the store's root, or that of scenarios."""

    root: Store
    prefix: str

    def names(self) -> list[str]:
        """Return the names that point to versions."""
        return Catalog(self.root).names()

    def versions(self, name: str) -> list[str]:
        """Return the versions whose folders are there, pointed to or not."""
        folders = self.root.folders(references.folder(name))
        return [folder.removeprefix("v=") for folder in folders if folder.startswith("v=")]

    def is_committed(self, name: str, version: str) -> bool:
        """Return whether a version has its manifest, readable or not."""
        return self.root.exists(f"{references.version_folder(name, version)}/{references.MANIFEST}")


@dataclass(frozen=True)
class StoredVersion:
    """One committed version."""

    shelf: Shelf
    name: str
    version: str

    @property
    def label(self) -> str:
        """Name and version, as a reference has them."""
        return f"{self.name}@{self.version}"

    @property
    def manifest_key(self) -> str:
        """The manifest's key, from the store's root."""
        return f"{self.shelf.prefix}{references.version_folder(self.name, self.version)}/{references.MANIFEST}"

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, verified; raises one of `UNREADABLE`."""
        found = read_manifest(self.shelf.root, self.name, self.version, KINDS)
        if found.head["kind"] == "scenarios":
            read_scenarios(self.shelf.root, self.name, self.version)
        else:  # its reader compares the version with what the manifest says
            read_any(self.shelf.root, self.name, self.version)
        return found

    @property
    def folder(self) -> str:
        """The folder that keys of the manifest begin in, from the shelf: an event stream's objects lie beside it."""
        if self.manifest.head["kind"] == "events":
            return references.folder(self.name)
        return references.version_folder(self.name, self.version)

    @property
    def objects(self) -> VerifiedObjects:
        """The objects, verified as they are read."""
        label = f"dataset {self.name}@{self.version[:12]}"
        return VerifiedObjects(self.shelf.root.child(self.folder), self.manifest.objects, label)

    def other_content(self) -> list[str]:
        """Return what decodes to something else than the version was made of, though its objects are whole."""
        if self.manifest.head["kind"] != "bars":
            return []
        return read_bars(self.shelf.root, self.name, self.version, self.manifest).other_content()

    @property
    def keys(self) -> list[str]:
        """The keys of all objects, from the shelf."""
        return [f"{self.folder}/{key}" for key in self.manifest.objects]


def shelves(root: Store) -> list[Shelf]:
    """Return where datasets lie."""
    return [Shelf(root, ""), Shelf(root.child(SCENARIOS), f"{SCENARIOS}/")]


def committed(shelf: Shelf, name: str) -> Iterator[StoredVersion]:
    """Yield the committed versions of a name, whether something points to them or not."""
    for version in shelf.versions(name):
        if shelf.is_committed(name, version):
            yield StoredVersion(shelf, name, version)
