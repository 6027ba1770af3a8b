"""Scenarios that somebody hands in: read from CSV, stored once under the digest of their content, read verified.

They lie beside the datasets of a store, in `scenarios/`, under names of their own: Zarr arrays (scenario, asset) and a
manifest that comes last.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from datasets import layout, references, schema
from datasets.catalog import Catalog, split_reference
from datasets.ingest.files import list_files, unpacked
from datasets.ingest.options import BarOptions
from datasets.ingest.small import MOST_TOLD, read_numbers, read_times, split_rows
from datasets.ingest.table import Problems, place, shown
from datasets.landing import commit
from datasets.manifest import Manifest, VerifiedObjects, canonical
from datasets.store import Store, open_store
from datasets.versions import read_manifest
from quantbot.errors import CorruptError, DataError, InputError, NotFoundError
from quantbot.market import Nanoseconds
from quantbot.portfolio.given import ALWAYS, GivenScenarios

KIND = "scenarios"
_FOLDER = "scenarios"
_ZARR = "scenarios.zarr"
_KNOWN = ("known", "known_at", "time", "date", "timestamp", "datetime", "as_of")
_CHANCE = ("probability", "chance")
_DAY_NS = 86_400_000_000_000
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class ScenariosDataset:
    """One version of scenarios that were handed in."""

    root: Store
    name: str
    version: str
    manifest: Manifest

    @cached_property
    def given(self) -> GivenScenarios:
        """The scenarios, compared with what was written.

        Raises
        ------
        CorruptError
            If a stored object, or what it decodes to, isn't what was written.
        """
        import zarr

        from datasets.store_zarr import VerifiedZarr

        label = f"scenarios {self.name}@{self.version[:12]}"
        stored = VerifiedZarr(self._verified, f"{self.manifest.head['folder']}/{_ZARR}")
        known, returns, chances = (
            zarr.open_array(stored, path=name, mode="r", zarr_format=3)[:]
            for name in ("known", "returns", "probability")
        )
        given = GivenScenarios(tuple(self.manifest.head["assets"]), known, returns, chances)
        if _version(given) != self.version:
            raise CorruptError(f"{label} decodes to other scenarios: expected {self.version}, found {_version(given)}")
        return given

    def damage(self) -> list[str]:
        """Read everything and return what is wrong, one line an object; empty when all is as written."""
        return self._verified.damage()

    @property
    def _verified(self) -> VerifiedObjects:
        folder = self.root.child(_FOLDER).child(references.version_folder(self.name, self.version))
        return VerifiedObjects(folder, self.manifest.objects, f"scenarios {self.name}@{self.version[:12]}")


def read_csv(path: str | Path) -> GivenScenarios:
    """Read scenarios: a row each, a column of returns for each asset, named by it.

    A column `known` (or date, time, as_of) says from when on a row is known: rows of one moment are a set. A time is a
    moment, UTC where it has no offset; a date means the end of that day, UTC. A column `probability` says how likely a
    row is within its set; else all are equally.

    Raises
    ------
    DataError
        Naming file, line, column and value of the first places that break a rule, and the rule.
    """
    (file,) = list_files(path)
    source = str(file)
    header, lines, rows = split_rows(b"".join(unpacked(file, _MAX_BYTES)), source)
    _check_header(source, header)
    named = {name.lower(): at for at, name in enumerate(header)}
    time, chance = (next((named[word] for word in words if word in named), None) for words in (_KNOWN, _CHANCE))
    problems = Problems()
    known = np.full(len(rows), ALWAYS)
    if time is not None:
        known = _known([row[time] for row in rows], header[time], source, lines, problems)
    columns = [at for at in range(len(header)) if at not in (time, chance)]
    returns = np.empty((len(rows), len(columns)))
    for number, at in enumerate(columns):
        returns[:, number] = read_numbers([row[at] for row in rows], header[at], source, lines, problems)
        for row in np.flatnonzero(returns[:, number] < -1)[:MOST_TOLD].tolist():
            problems.add(
                "is below -1: nobody loses more than all", place(source, "line", lines[row]),
                f"{header[at]} {returns[row, number]:g}", hint="returns in percent? divide them by 100",
            )  # fmt: skip
    chances = None
    if chance is not None:
        chances = read_numbers([row[chance] for row in rows], header[chance], source, lines, problems)
    problems.raise_if_any()
    try:
        return GivenScenarios.of([header[at] for at in columns], returns, known_ns=known, probabilities=chances)
    except DataError as error:
        raise DataError(f"{source}: {error}") from error


def write_scenarios(root: Store, name: str, given: GivenScenarios) -> ScenariosDataset:
    """Write scenarios under a name; the same content is the same version, and writes nothing.

    Examples
    --------
    >>> import tempfile
    >>> root = open_store(tempfile.mkdtemp())
    >>> written = write_scenarios(root, "mine/views", GivenScenarios.of(("A",), [[0.1], [-0.1]]))
    >>> open_scenarios("mine/views", root).given.returns.tolist()
    [[0.1], [-0.1]]
    """
    from datasets.arrays import RecordingZarr

    references.check_name(name)
    own, version = root.child(_FOLDER), _version(given)
    dataset, damaged = None, False
    try:
        dataset = read_scenarios(root, name, version)
        damaged = bool(dataset.damage())
    except NotFoundError:
        pass
    except CorruptError:
        damaged = True
    if dataset is None or damaged:
        store = own.child(references.version_folder(name, version))
        folder = f"data-{uuid.uuid4().hex[:12]}"
        target = RecordingZarr(store.child(f"{folder}/{_ZARR}"))
        _write_arrays(target, given)
        objects = {f"{folder}/{_ZARR}/{key}": each for key, each in target.written.items()}
        head: dict[str, Any] = {
            "schema": schema.SCHEMA,
            "kind": KIND,
            "folder": folder,
            "assets": list(given.assets),
            "n_rows": len(given.known_ns),
            "n_sets": len(given.sets_ns),
        }
        manifest = Manifest(head, objects)
        if commit(store, manifest, store, references.MANIFEST, replace=damaged):
            dataset = ScenariosDataset(root, name, version, manifest)
        else:
            for key in objects:
                store.delete(key)  # this attempt's own folder: nobody else knows of it
            dataset = read_scenarios(root, name, version)
    references.point(own, name, version)
    return dataset


def open_scenarios(reference: str, root: Store) -> ScenariosDataset:
    """Return the scenarios that a reference names: "mine/views", or "mine/views@3fa2"; in `root`, or where a URL says.

    Raises
    ------
    NotFoundError
        If there are none; the message names the nearest.
    """
    if reference.endswith((".csv", ".csv.gz")):
        raise InputError(
            f"{reference!r} is a file; store it first: quantbot ingest scenarios mine/views {Path(reference).name}"
        )
    at, name = split_reference(reference)
    store = root if at is None else open_store(at)
    try:
        return read_scenarios(store, *Catalog(store.child(_FOLDER)).resolve(name))
    except NotFoundError as error:
        raise NotFoundError(f"no scenarios {reference!r}: {error}") from error


def scenario_names(root: Store) -> list[str]:
    """Return the names under which scenarios are stored, sorted."""
    return Catalog(root.child(_FOLDER)).names()


def read_scenarios(root: Store, name: str, version: str) -> ScenariosDataset:
    """Return one version by its 64 hex digits, or raise `NotFoundError` where it isn't (or is half written)."""
    return ScenariosDataset(root, name, version, read_manifest(root.child(_FOLDER), name, version, (KIND,)))


def _version(given: GivenScenarios) -> str:
    described = {"schema": schema.SCHEMA, "kind": KIND, "content": given.digest}
    return hashlib.sha256(canonical(described)).hexdigest()


def _write_arrays(target: Any, given: GivenScenarios) -> None:
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    group = zarr.create_group(target, zarr_format=3, attributes={"quantbot_schema": schema.SCHEMA, "kind": KIND})
    n_rows, n_assets = given.returns.shape
    about = {
        "known": (given.known_ns, layout.grid(n_rows), ["scenario"], "ns since 1970-01-01 UTC"),
        "probability": (given.probabilities, layout.grid(n_rows), ["scenario"], "1"),
        "returns": (given.returns, layout.grid(n_rows, n_assets), ["scenario", "asset"], "1"),
    }
    for name, (values, grid, dims, unit) in about.items():
        array = group.create_array(
            name, shape=grid.shape, shards=grid.shards, chunks=grid.chunks, dtype=values.dtype,
            compressors=[BloscCodec(typesize=8, cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()],
            fill_value=0, dimension_names=dims, attributes={"units": unit}, config={"write_empty_chunks": True},
        )  # fmt: skip
        array[:] = values
    group.create_array("asset", data=np.array(given.assets, dtype=np.dtypes.StringDType()), dimension_names=["asset"])


def _check_header(source: str, header: list[str]) -> None:
    from datasets.ingest.reading import symbol_problem

    lower = [name.lower() for name in header]
    for words, what in ((_KNOWN, "times"), (_CHANCE, "probabilities")):
        if len(found := [header[at] for at, name in enumerate(lower) if name in words]) > 1:
            raise DataError(f"{source} has two columns of {what}: {' and '.join(found)}")
    assets = [name for name, low in zip(header, lower, strict=True) if low not in (*_KNOWN, *_CHANCE)]
    if not assets:
        raise DataError(f"{source} has no column of returns, named by its asset; found {', '.join(header)}")
    for name in assets:
        if problem := symbol_problem(name):
            raise DataError(f"{source}: a column should be named by its asset, but {name!r:.80} {problem}")
        if assets.count(name) > 1:
            raise DataError(f"{source} names the column {name!r} twice; rename one of them")


def _known(texts: list[str], name: str, source: str, lines: list[int], problems: Problems) -> Nanoseconds:
    stamps, kind = read_times(texts, name, source, lines, problems, BarOptions(zone="UTC"))
    if problems:
        return np.full(len(texts), ALWAYS)
    for row in (np.flatnonzero(np.diff(stamps) < 0) + 1)[:MOST_TOLD].tolist():
        problems.add("is before the line before", place(source, "line", lines[row]), f"{name} {shown(texts[row])}")
    return stamps + _DAY_NS if kind == "date" else stamps


__all__ = ["ScenariosDataset", "open_scenarios", "read_csv", "read_scenarios", "scenario_names", "write_scenarios"]
