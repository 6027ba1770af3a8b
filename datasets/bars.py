"""Datasets of bars: written once under the digest of their content, read verified.

A version lies in `datasets/<name>/v=<version>/`: Zarr arrays, `quality.json`, and a manifest that comes last. A name
points to versions through `datasets/<name>/refs/<n>.json`; the largest n is the newest.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets import layout, references, schema
from datasets.columns import BarColumns
from datasets.landing import commit
from datasets.manifest import Manifest, StoredObject, VerifiedObjects, canonical
from datasets.schema import BarsMeta
from datasets.store import Store
from datasets.versions import read_manifest
from quantbot.errors import CorruptError, DataError, NotFoundError, TooLargeError
from quantbot.market import BAR_FIELDS, Bars, Floats, Nanoseconds, Panel
from quantbot.parameters import nearest

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["BarColumns", "BarsMeta", "Dataset", "read_version", "version_of", "write_bars"]

KIND = "bars"
_QUALITY = "quality.json"
_ZARR = "bars.zarr"
# More than this is no table that anybody looks at whole; read the assets that are needed.
_MAX_UNION_BYTES = 4 * 1024**3


@dataclass(frozen=True, eq=False)
class Dataset:
    """One version of a dataset; opening reads its manifest, everything else is read when it is asked for.

    Attributes
    ----------
    root
        The store that holds `datasets/`; it pickles as its URL.
    """

    root: Store
    name: str
    version: str
    manifest: Manifest

    @property
    def kind(self) -> str:
        """What the dataset holds: "bars"."""
        return str(self.manifest.head["kind"])

    @property
    def url(self) -> str:
        """Where exactly this version is: what `open_dataset` takes from anywhere."""
        return f"{self.root.url}/datasets/{self.name}@{self.version}"

    @property
    def zarr_url(self) -> str:
        """The Zarr group, for anybody with xarray; nothing is verified on that way."""
        return f"{self.root.url}/{references.version_folder(self.name, self.version)}/{self._folder}/{_ZARR}"

    @cached_property
    def meta(self) -> BarsMeta:
        """Title, source, interval, currency, calendar and the rest."""
        return BarsMeta.from_dict(self.manifest.head["meta"])

    @cached_property
    def assets(self) -> tuple[str, ...]:
        """The symbols, sorted."""
        return tuple(asset["symbol"] for asset in self.manifest.head["assets"])

    @property
    def interval(self) -> str:
        """The time that one bar covers: "1d", "1min"."""
        return self.meta.interval

    @property
    def layout(self) -> layout.Name:
        """Whether the arrays are (time, asset) or asset after asset."""
        name: layout.Name = self.manifest.head["layout"]
        return name

    @property
    def n_times(self) -> int:
        """Number of distinct times of all assets together."""
        return int(self.manifest.head["n_times"])

    @property
    def start_ns(self) -> int:
        """End of the first bar of any asset."""
        return min(int(asset["start_ns"]) for asset in self.manifest.head["assets"])

    @property
    def end_ns(self) -> int:
        """End of the last bar of any asset."""
        return max(int(asset["end_ns"]) for asset in self.manifest.head["assets"])

    @property
    def variables(self) -> tuple[str, ...]:
        """The float variables that are stored."""
        return tuple(self.manifest.head["variables"])

    def n_bars(self, asset: str) -> int:
        """Return how many bars `asset` has."""
        return int(self._asset(asset)["n_bars"])

    def span(self, asset: str) -> tuple[int, int]:
        """Return the ends of the first and the last bar of `asset`."""
        entry = self._asset(asset)
        return int(entry["start_ns"]), int(entry["end_ns"])

    def digest(self, asset: str) -> str:
        """Return the SHA-256 of the raw bars of `asset`: equal bars have equal digests, in whatever version."""
        return str(self._asset(asset)["sha256"])

    def bars(self, asset: str) -> Bars:
        """Return the whole history of `asset`, verified, in the adjusted view.

        Where the dataset has adjustment factors, or splits and dividends, prices are multiplied and volume is divided
        by them, so that a split is no return; `columns` gives the raw bars. Funding is not in them.

        Raises
        ------
        NotFoundError
            If there is no such asset; the message names the nearest.
        CorruptError
            If a stored object, or what it decodes to, isn't what was written.
        """
        raw = self.columns(asset)
        factor = raw.factor
        columns = dict(raw.items())
        if factor is not None:
            columns = {name: columns[name] * factor for name in ("open", "high", "low", "close")}
            columns["volume"] = raw.volume / factor
        return Bars(
            instrument=self.meta.instrument(asset),
            ts_end_ns=raw.ts_end_ns,
            periods_per_year=self.meta.periods_per_year,
            **{name: columns[name] for name in BAR_FIELDS},
        )

    def panel(self, assets: Sequence[str] | None = None) -> Panel:
        """Return the whole history of assets on one clock, verified: raw prices, NaN where an asset has no bar.

        Where the dataset has adjustment factors, the panel has adjusted closes too. Where it also has splits and
        dividends, these are the panel's. Where it has not, each change of an asset's factor gives so many new units for
        an old one: holding it then earns its adjusted return. That is exact of a split; of a dividend it means that it
        is put into the asset that paid it. Funding is 0 for assets that have none.

        Parameters
        ----------
        assets
            In the order of the columns; all where not said.

        Raises
        ------
        NotFoundError
            If there is no such asset; the message names the nearest.
        CorruptError
            If a stored object, or what it decodes to, isn't what was written.
        """
        from datasets.panels import put_together

        chosen = self.assets if assets is None else tuple(assets)
        instruments = tuple(self.meta.instrument(asset) for asset in chosen)
        return put_together(instruments, [self.columns(asset) for asset in chosen], self.meta.periods_per_year)

    def columns(self, asset: str) -> BarColumns:
        """Return the raw bars of `asset`: each stored byte is compared with the manifest before it is decoded.

        That the decoded bars have the digest which the version is made of is looked at by `damage`: hashing them would
        cost half of what decoding does, and differ only where somebody forged the manifest too.
        """
        entry = self._asset(asset)
        times, values = self._read(asset, tuple(entry["columns"]))
        try:
            return BarColumns(times, **values)
        except DataError as error:
            raise CorruptError(f"{self._label}: {asset} decodes to impossible bars ({error})") from error

    def times(self, asset: str) -> Nanoseconds:
        """Return the end of every bar of `asset`, shape (n_bars,), int64 ns UTC, without reading its prices."""
        if self.layout == "dense" and self.n_bars(asset) == self.n_times:
            return self._array("time")[:]  # type: ignore[no-any-return]
        return self._read(asset, ("close",))[0]

    @property
    def quality(self) -> dict[str, Any]:
        """The quality report of the ingest, as it was stored."""
        report: dict[str, Any] = json.loads(self._verified.get(f"{self._folder}/{_QUALITY}"))
        return report

    def to_xarray(self) -> xr.Dataset:
        """Return the raw bars with dims (time, asset), NaN where an asset has no bar.

        A dense dataset is lazy: what is indexed is read, and verified. A ragged one is put together in memory.
        """
        import xarray as xr

        if self.layout == "dense":
            lazy: xr.Dataset = xr.open_zarr(self._zarr, consolidated=False, chunks=None, zarr_format=3)
            return lazy
        n_bytes = self.n_times * len(self.assets) * len(self.variables) * layout.ITEM_BYTES
        if n_bytes > _MAX_UNION_BYTES:
            raise TooLargeError(
                f"{self._label} as one table needs {n_bytes / 1024**3:.1f} GiB, mostly NaN: its "
                f"{len(self.assets)} assets share few times; read them one by one with bars(asset)"
            )
        return self._union()

    def damage(self) -> list[str]:
        """Read everything and return what is wrong, one line an object or asset; empty when all is as written."""
        return self.damaged_objects() or self.other_content()

    def damaged_objects(self) -> list[str]:
        """Read every object and return which are not what was written, one line each; nothing is decoded."""
        return self._verified.damage()

    def other_content(self) -> list[str]:
        """Return the assets whose bars are not those that the version was made of, though every object is whole."""
        found = []
        for asset in self.assets:
            expected = self.digest(asset)
            try:
                digest = self.columns(asset).digest()
            except CorruptError as error:
                found.append(str(error))
                continue
            if digest != expected:
                found.append(f"{self._label}: {asset} decodes to other bars: expected {expected}, found {digest}")
        return found

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, version={self.version[:12]!r}, assets={len(self.assets)}, times={self.n_times})"

    @property
    def _label(self) -> str:
        return f"dataset {self.name}@{self.version[:12]}"

    @property
    def _folder(self) -> str:
        return str(self.manifest.head["folder"])

    @cached_property
    def _verified(self) -> VerifiedObjects:
        folder = self.root.child(references.version_folder(self.name, self.version))
        return VerifiedObjects(folder, self.manifest.objects, self._label)

    @property
    def _zarr(self) -> Any:
        from datasets.store_zarr import VerifiedZarr

        return VerifiedZarr(self._verified, f"{self._folder}/{_ZARR}")

    def _array(self, name: str) -> Any:
        import zarr

        return zarr.open_array(self._zarr, path=name, mode="r", zarr_format=3)

    def _asset(self, asset: str) -> Mapping[str, Any]:
        entry: Mapping[str, Any] | None = self._by_symbol.get(asset)
        if entry is None:
            raise NotFoundError(f"{self._label} has no asset {asset!r}{nearest(asset, self.assets)}")
        return entry

    @cached_property
    def _by_symbol(self) -> dict[str, Mapping[str, Any]]:
        return {entry["symbol"]: {**entry, "index": i} for i, entry in enumerate(self.manifest.head["assets"])}

    def _read(self, asset: str, columns: tuple[str, ...]) -> tuple[Nanoseconds, dict[str, Floats]]:
        entry = self._asset(asset)
        if self.layout == "ragged":
            rows = slice(entry["first_bar"], entry["first_bar"] + entry["n_bars"])
            return self._array("time")[rows], {name: self._array(name)[rows] for name in columns}
        whole = {name: self._array(name)[:, entry["index"]] for name in columns}
        times = self._array("time")[:]
        if entry["n_bars"] == self.n_times:
            return times, whole
        there = ~np.isnan(whole["close"])
        return times[there], {name: values[there] for name, values in whole.items()}

    def _union(self) -> xr.Dataset:
        import xarray as xr

        times = np.unique(np.concatenate([self.times(asset) for asset in self.assets]))
        tables = {name: np.full((len(times), len(self.assets)), np.nan) for name in self.variables}
        for column, asset in enumerate(self.assets):
            raw = self.columns(asset)
            rows = np.searchsorted(times, raw.ts_end_ns)
            for name, values in raw.items():
                tables[name][rows, column] = values
            for name, nothing in schema.NEUTRAL.items():
                if name in tables and name not in raw.names:
                    tables[name][rows, column] = nothing
        documented = {variable.name: variable for variable in schema.VOCABULARY[KIND]}
        return xr.Dataset(
            {
                name: (("time", "asset"), table, {"units": documented[name].unit, "long_name": documented[name].doc})
                for name, table in tables.items()
            },
            coords={"time": times.astype("datetime64[ns]"), "asset": list(self.assets)},
            attrs=_group_attributes(self.meta),
        )


def write_bars(
    root: Store, name: str, columns: Mapping[str, BarColumns], meta: BarsMeta, quality: Mapping[str, Any]
) -> Dataset:
    """Write the bars of every asset as one version of the dataset `name`, and point the name to it.

    Nobody sees anything of it before everything is there. The same content and description are the same version on
    every store: then its objects are read and compared, and nothing is written but, where another version was the
    newest, the pointer. Where one of them is damaged, the version is written again.

    Parameters
    ----------
    root
        The store that holds `datasets/`.
    name
        Segments of a-z, 0-9, dot, dash and underscore, joined by "/": "demo/sp500".
    columns
        By symbol. A lazy mapping is asked twice for each asset, and one shard's assets are held at a time.
    quality
        The report that is stored beside the data; JSON types.

    Raises
    ------
    DataError
        If an asset's columns are impossible or there is no asset.
    """
    references.check_name(name)
    symbols = sorted(columns)
    _check_symbols(symbols)
    entries, times = _describe(symbols, columns)
    version = _version(entries, meta)
    dataset, damaged = None, False
    try:
        dataset = read_version(root, name, version)
        damaged = bool(dataset.damaged_objects())
    except NotFoundError:
        pass
    except CorruptError:
        damaged = True
    if dataset is None or damaged:
        described = _Described(columns, entries, times, meta, quality)
        dataset = _write_version(root, name, version, described, replace=damaged)
    references.point(root, name, version)
    return dataset


def version_of(columns: Mapping[str, BarColumns], meta: BarsMeta) -> str:
    """Return the version that `write_bars` would give: SHA-256 over content and description, 64 hex digits."""
    symbols = sorted(columns)
    _check_symbols(symbols)
    return _version(_describe(symbols, columns)[0], meta)


def read_version(root: Store, name: str, version: str) -> Dataset:
    """Return one version by its 64 hex digits, or raise `NotFoundError` where it isn't (or is half written)."""
    return read_bars(root, name, version, read_manifest(root, name, version, (KIND,)))


def read_bars(root: Store, name: str, version: str, manifest: Manifest) -> Dataset:
    """Return the dataset of a manifest, or raise `CorruptError` where it belongs to another version."""
    found = _version(manifest.head["assets"], BarsMeta.from_dict(manifest.head["meta"]))
    if found != version:
        key = f"{references.version_folder(name, version)}/{references.MANIFEST}"
        place = f"dataset {name}@{version[:12]}: {key} in {root.url}"
        raise CorruptError(f"{place} belongs to another version: expected {version}, found {found}")
    return Dataset(root, name, version, manifest)


def _version(entries: list[dict[str, Any]], meta: BarsMeta) -> str:
    """Return the digest of the assets' digests and the description: equal exactly when all of that is."""
    content = [[entry["symbol"], entry["n_bars"], entry["sha256"]] for entry in entries]
    described = {"schema": schema.SCHEMA, "kind": KIND, "meta": meta.to_dict(), "assets": content}
    return hashlib.sha256(canonical(described)).hexdigest()


def _check_symbols(symbols: list[str]) -> None:
    if not symbols:
        raise DataError("a dataset needs at least one asset, there is none")
    for symbol in symbols:
        if not isinstance(symbol, str) or not symbol.strip() or symbol != symbol.strip() or not symbol.isprintable():
            raise DataError(f"a symbol is printable text without blanks at its ends, was {symbol!r:.100}")
        if len(symbol) > references.MAX_NAME:
            raise DataError(f"a symbol has at most {references.MAX_NAME} characters, was {symbol[:60]!r}...")


def _describe(symbols: list[str], columns: Mapping[str, BarColumns]) -> tuple[list[dict[str, Any]], Nanoseconds]:
    """Return what the manifest says of each asset, and the union of all times."""
    entries: list[dict[str, Any]] = []
    union: Nanoseconds | None = None
    first_bar = 0
    for symbol in symbols:
        try:
            of_asset = columns[symbol]
        except DataError as error:
            raise DataError(f"{symbol}: {error}") from error
        entries.append(
            {
                "symbol": symbol,
                "n_bars": len(of_asset),
                "first_bar": first_bar,
                "start_ns": int(of_asset.ts_end_ns[0]),
                "end_ns": int(of_asset.ts_end_ns[-1]),
                "columns": list(of_asset.names),
                "sha256": of_asset.digest(),
            }
        )
        first_bar += len(of_asset)
        union = _merge(union, of_asset.ts_end_ns)
    assert union is not None
    return entries, union


def _merge(union: Nanoseconds | None, times: Nanoseconds) -> Nanoseconds:
    if union is None or np.array_equal(union, times):
        return times
    return np.union1d(union, times)


@dataclass(frozen=True, eq=False)
class _Described:
    """What a version is made of."""

    columns: Mapping[str, BarColumns]
    entries: list[dict[str, Any]]
    times: Nanoseconds
    meta: BarsMeta
    quality: Mapping[str, Any]


def _write_version(root: Store, name: str, version: str, described: _Described, *, replace: bool) -> Dataset:
    """Write objects, then the manifest, and return the version of whoever wrote it first.

    Each attempt has a folder of its own, so that two writers, or the rest of a killed one, never mix. With `replace`
    the manifest takes the place of one whose objects are damaged: the content is the same.
    """
    from datasets.arrays import BarArrays

    columns, entries, times, meta = described.columns, described.entries, described.times, described.meta

    store = root.child(references.version_folder(name, version))
    folder = f"data-{uuid.uuid4().hex[:12]}"
    lengths = [entry["n_bars"] for entry in entries]
    symbols = [entry["symbol"] for entry in entries]
    variables = list(dict.fromkeys(column for entry in entries for column in entry["columns"]))
    chosen = layout.choose(len(times), lengths)
    arrays = BarArrays(columns, symbols, lengths, times, chosen, variables, _group_attributes(meta))
    objects = {f"{folder}/{_ZARR}/{key}": each for key, each in arrays.write(store.child(f"{folder}/{_ZARR}")).items()}
    report = canonical(dict(described.quality))
    store.put(f"{folder}/{_QUALITY}", report)
    objects[f"{folder}/{_QUALITY}"] = StoredObject.of(report)
    head = {
        "schema": schema.SCHEMA,
        "kind": KIND,
        "layout": chosen,
        "folder": folder,
        "n_times": len(times),
        "variables": variables,
        "assets": entries,
        "meta": meta.to_dict(),
    }
    manifest = Manifest(head, objects)
    if commit(store, manifest, store, references.MANIFEST, replace=replace):
        return Dataset(root, name, version, manifest)
    for key in objects:
        store.delete(key)  # this attempt's own folder: nobody else knows of it
    return read_version(root, name, version)


def _group_attributes(meta: BarsMeta) -> dict[str, Any]:
    described = {key: value for key, value in meta.to_dict().items() if value not in (None, "", {})}
    return {"Conventions": "CF-1.11", "quantbot_schema": schema.SCHEMA, **described}
