"""A plan is a value: which trials, in which blocks, at what cost; arithmetic on arrays, no cluster touched."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Job, Points
from quantbot.errors import CorruptError, NotFoundError
from quantbot.parameters import Value
from sweeps.space import grid_points
from sweeps.trial import Axis, Block, Estimate, Fold, Trial

if TYPE_CHECKING:
    from quantbot.strategies.loader import SourceBundle

    from sweeps.spec import Spec

FORMAT = 1  # of `Plan.to_bytes`
_MAX_STORED = 1_000_000_000  # points: 8 GB a column, more than any plan that was ever made


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
    settings
        A value for every setting of strategy and engine; points override those that vary.
    where
        The condition that the grid's points satisfy; empty for sampled points.
    points
        The settings that vary, as columns in the order of `axes`.
    measures
        What rows carry, in their order.
    profile
        The numeric profile under which bits are promised (see `sweeps.identity.numeric_profile`).
    block_starts
        Shape (n_blocks + 1,), int64: the first trial of each block, and the number of trials at the end.
    warnings
        What a person should know before the run starts.
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
    plain_python: bool = False
    warnings: tuple[str, ...] = ()

    @cached_property
    def spec(self) -> Spec:
        """The spec that this plan was made from."""
        from sweeps.spec import read_stored_spec

        return read_stored_spec(self.spec_toml)

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
        """Return trial `index`, counted from 0."""
        asset, fold, row = self._place(index)
        point = tuple(self.points.point(row).items())
        return Trial(index, self.assets[asset], self.folds[fold], point, asset, fold, row)

    def trial_index(self, point_index: int, asset_index: int = 0, fold_index: int = 0) -> int:
        """Return the index of the trial of one point, asset and fold."""
        return (asset_index * len(self.folds) + fold_index) * self.n_points + point_index

    def job(self) -> Job:
        """Return what all blocks have in common; loads the strategy from the plan's own copy of its source."""
        from quantbot.strategies.loader import load_bundle

        return Job(load_bundle(self.bundle), self.settings, self.groups, self.plain_python)

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
                {"name": axis.name, "kind": axis.kind, "sampled": axis.sampled, "values": _encode(axis.values)}
                for axis in self.axes
            ],
            "where": self.where,
            "n_points": self.n_points,
            "points": {name: _encode(column) for name, column in self.points.columns.items()} if sampled else None,
            "settings": dict(self.settings),
            "groups": list(self.groups),
            "measures": list(self.measures),
            "bundle": json.loads(self.bundle.to_json()),
            "profile": dict(self.profile),
            "block_starts": _encode(self.block_starts),
            "estimate": asdict(self.estimate),
            "plain_python": self.plain_python,
            "warnings": list(self.warnings),
        }
        return json.dumps(document, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """Read what `to_bytes` wrote.

        Raises
        ------
        CorruptError
            If the bytes are no plan, or one of another format.
        """
        from quantbot.strategies.loader import SourceBundle

        try:
            document = json.loads(data)
            if document["format"] != FORMAT:
                raise CorruptError(f"the plan has format {document['format']}, this version reads format {FORMAT}")
            axes = tuple(
                Axis(axis["name"], _decode(axis["values"]), axis["kind"], axis["sampled"]) for axis in document["axes"]
            )
            if document["points"] is None:
                points = grid_points(axes, document["where"], constants=document["settings"], limit=_MAX_STORED)
            else:
                columns = {axis.name: _decode(document["points"][axis.name]) for axis in axes}
                points = Points(document["n_points"], columns)
            if points.n_points != document["n_points"]:
                raise CorruptError(f"the plan says {document['n_points']} points, its axes give {points.n_points}")
            return cls(
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
                block_starts=_decode(document["block_starts"]),
                estimate=Estimate(**document["estimate"]),
                plain_python=document["plain_python"],
                warnings=tuple(document["warnings"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptError(f"these bytes are no plan: {type(error).__name__}: {error}") from error

    def _place(self, trial_index: int) -> tuple[int, int, int]:
        """Return asset, fold and point index of a trial."""
        if not 0 <= trial_index < self.n_trials:
            raise NotFoundError(f"no trial {trial_index}; the plan has trials 0 to {self.n_trials - 1}")
        rest, point = divmod(trial_index, self.n_points)
        asset, fold = divmod(rest, len(self.folds))
        return asset, fold, point


def _encode(values: NDArray[Any]) -> Any:
    """Return an array as JSON: text as a list, numbers as their little-endian bytes."""
    if values.dtype.kind == "U":
        return {"text": values.tolist()}
    little = values.astype(values.dtype.newbyteorder("<"))
    return {"dtype": little.dtype.str, "base64": base64.b64encode(little.tobytes()).decode()}


def _decode(document: Any) -> NDArray[Any]:
    if "text" in document:
        return np.array(document["text"], dtype=np.str_)
    if document["dtype"] not in ("<i8", "<f8"):
        raise CorruptError(f"the plan has an array of {document['dtype']!r}; <i8 and <f8 are what plans have")
    raw = np.frombuffer(base64.b64decode(document["base64"], validate=True), dtype=document["dtype"])
    return raw.astype(raw.dtype.newbyteorder("="))
