"""Phases of a search that learns: which blocks belong to which, and what an earlier phase's rows chose for the next.

    bayes      points |  0 .. 31  |  32 .. 63  |  64 .. 95  | ...     a phase is a batch of points, in every fold
    halving    folds  |  rung 1   |  rung 2    |  whole, train, test  a phase is a rung, over every point

The partition into blocks is fixed before anything runs. The blocks of a phase start when all rows of the phases before
it are in the store; what it evaluates follows from the plan and those rows alone (`sweeps.adaptive`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets.seals import check_format
from quantbot.engine import Points
from quantbot.errors import CorruptError
from sweeps.trial import Fold

if TYPE_CHECKING:
    from sweeps.sections import Search

FORMAT = 1  # of `Phase.to_bytes`
_DTYPES = ("<i8", "<f8")


@dataclass(frozen=True, eq=False)
class Phases:
    """How a plan's trials are divided into phases: by point, or by fold.

    Attributes
    ----------
    point_starts
        Shape (n_batches + 1,): the first point of each batch, and the number of points; one batch where points are
        all known beforehand.
    fold_phases
        Shape (n_folds,): the first phase in which a fold is evaluated.

    Examples
    --------
    >>> phases = Phases(np.array([0, 4, 8, 10]), np.array([0, 0]))
    >>> len(phases), phases.of(point=9, fold=1).item()
    (3, 2)
    """

    point_starts: NDArray[np.int64]
    fold_phases: NDArray[np.int64]

    @classmethod
    def plan(cls, search: Search, n_points: int, folds: Sequence[Fold]) -> Phases:
        """Divide the trials of a search; one that learns nothing has one phase."""
        filled = search.filled()
        step = int(str(filled["batch"])) if search.method == "bayes" else max(n_points, 1)
        starts = np.append(np.arange(0, n_points, step, dtype=np.int64), n_points)
        rungs = [index for index, fold in enumerate(folds) if fold.role == "rung"]
        of_fold = np.full(len(folds), len(rungs), np.int64)
        of_fold[rungs] = np.arange(len(rungs))
        return cls(starts, of_fold)

    def __len__(self) -> int:
        n_batches = int(self.point_starts.shape[0]) - 1
        return max(n_batches, int(self.fold_phases.max(initial=0)) + 1)

    def of(self, point: Any, fold: Any) -> NDArray[np.int64]:
        """Return the phase of a point in a fold; arrays of indices give arrays."""
        batch = np.searchsorted(self.point_starts, point, side="right") - 1
        return np.asarray(np.maximum(batch, self.fold_phases[fold]), np.int64)

    def name(self, phase: int) -> str:
        """Return a phase as people see it; empty where there is only one.

        Examples
        --------
        >>> Phases(np.array([0, 9]), np.array([2, 0, 1])).name(1)
        'rung 2 of 3'
        """
        if len(self) == 1:
            return ""
        return f"{'rung' if self.point_starts.shape[0] == 2 else 'batch'} {phase + 1} of {len(self)}"

    def points(self, phase: int) -> slice:
        """Return the points that a phase evaluates, or chooses from."""
        if self.point_starts.shape[0] == 2:
            return slice(0, int(self.point_starts[1]))
        return slice(int(self.point_starts[phase]), int(self.point_starts[phase + 1]))


@dataclass(frozen=True, eq=False)
class Phase:
    """What one phase evaluates; there is one for each phase but the first, of which the plan says it.

    Attributes
    ----------
    points
        Bayesian search: the settings of the batch, in the order in which they were chosen.
    promoted
        Halving: shape (n_points,), whether a point goes on.
    """

    index: int
    points: Points | None = None
    promoted: NDArray[np.bool_] | None = None

    def to_bytes(self) -> bytes:
        """Return this phase as canonical JSON."""
        document: dict[str, Any] = {"format": FORMAT, "phase": self.index}
        if self.points is not None:
            columns = {name: encode_array(column) for name, column in self.points.columns.items()}
            document |= {"n_points": self.points.n_points, "points": columns}
        if self.promoted is not None:
            bits = base64.b64encode(np.packbits(self.promoted).tobytes()).decode()
            document |= {"n_points": self.promoted.shape[0], "promoted": bits}
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Phase:
        """Read what `to_bytes` wrote, or raise `CorruptError`, or `FormatError` for another version's."""
        try:
            document = json.loads(data)
            check_format(document["format"], FORMAT, where)
            n_points = int(document["n_points"])
            if "promoted" in document:
                raw = np.frombuffer(base64.b64decode(document["promoted"], validate=True), np.uint8)
                return cls(document["phase"], promoted=np.unpackbits(raw, count=n_points).astype(np.bool_))
            columns = {name: decode_array(column) for name, column in document["points"].items()}
            return cls(document["phase"], points=Points(n_points, columns))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise CorruptError(f"{where} can't be read: {type(error).__name__}: {error}") from error


def padded(columns: Mapping[str, NDArray[Any]], n_points: int) -> Points:
    """Return columns of `n_points`, the first point standing in for those that are not chosen yet."""
    return Points(
        n_points,
        {
            name: np.concatenate([column, np.broadcast_to(column[:1], n_points - column.shape[0])])
            for name, column in columns.items()
        },
    )


def encode_array(values: NDArray[Any]) -> Any:
    """Return an array as JSON: text as a list, numbers as their little-endian bytes."""
    if values.dtype.kind == "U":
        return {"text": values.tolist()}
    little = values.astype(values.dtype.newbyteorder("<"))
    return {"dtype": little.dtype.str, "base64": base64.b64encode(little.tobytes()).decode()}


def decode_array(document: Any) -> NDArray[Any]:
    """Read what `encode_array` wrote."""
    if "text" in document:
        return np.array(document["text"], dtype=np.str_)
    if document["dtype"] not in _DTYPES:
        raise CorruptError(f"there is an array of {document['dtype']!r}; {' and '.join(_DTYPES)} are what is written")
    raw = np.frombuffer(base64.b64decode(document["base64"], validate=True), dtype=document["dtype"])
    return raw.astype(raw.dtype.newbyteorder("="))
