"""One version of a dataset, of whatever kind: its manifest says what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasets import references, schema
from datasets.manifest import Manifest
from datasets.seals import check_format
from datasets.store import Store
from quantbot.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from datasets.bars import Dataset
    from datasets.events import EventsDataset

__all__ = ["read_any", "read_manifest"]


def read_manifest(root: Store, name: str, version: str, kinds: tuple[str, ...]) -> Manifest:
    """Return the manifest of a version, which must be of one of `kinds`.

    Raises
    ------
    NotFoundError
        If there is no such version, or it is half written.
    DataError
        If it is of another kind.
    FormatError
        If its objects are of another version's schema.
    """
    references.check_name(name)
    key = f"{references.version_folder(name, references.check_version(version))}/{references.MANIFEST}"
    try:
        data = root.get(key)
    except NotFoundError:
        raise NotFoundError(
            f"there is no version {version[:12]} of dataset {name!r} in {root.url}: it has no {key}"
        ) from None
    place = f"dataset {name}@{version[:12]}: {key} in {root.url}"
    manifest = Manifest.from_bytes(data, place)
    head = manifest.head
    check_format(head.get("schema"), schema.SCHEMA, place)
    if head.get("kind") not in kinds:
        raise DataError(
            f"{place} is {head.get('kind')!r}; {' or '.join(map(repr, kinds))} of schema {schema.SCHEMA} is needed here"
        )
    return manifest


def read_any(root: Store, name: str, version: str) -> Dataset | EventsDataset:
    """Return one version by its 64 hex digits, of whatever kind, or raise `NotFoundError` where it isn't."""
    from datasets import bars, events

    manifest = read_manifest(root, name, version, (bars.KIND, events.KIND))
    reader = bars.read_bars if manifest.head["kind"] == bars.KIND else events.read_events
    return reader(root, name, version, manifest)
