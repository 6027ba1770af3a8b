"""Scenarios that somebody hands in: joint returns, each set from the moment at which it was known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import DataError
from quantbot.market import Floats, Nanoseconds
from quantbot.portfolio.model import Scenarios

ALWAYS = np.iinfo(np.int64).min  # known before any bar: scenarios without a time


@dataclass(frozen=True, eq=False)
class GivenScenarios:
    """Sets of scenarios, one after the other; refused when they are impossible.

    Attributes
    ----------
    assets
        Of the columns.
    known_ns
        Shape (n_rows,), int64 ns UTC, never falling: rows of one moment are one set, which decisions take from the
        close at that moment or after it until the next set; `ALWAYS` where no time is said.
    returns
        Shape (n_rows, n_assets), simple returns over the horizon of a scenario, finite, -1 or more.
    probabilities
        Shape (n_rows,), 0 or more, of each set with sum 1.

    Raises
    ------
    DataError
        Naming row, asset and value.

    Examples
    --------
    >>> sets = GivenScenarios.of(("A", "B"), [[0.1, 0.0], [-0.1, 0.0], [0.0, 0.2]], known_ns=[5, 5, 9])
    >>> [sets.at(bar) is None for bar in (4, 5, 8)], sets.at(8).returns.tolist(), sets.at(9).returns.tolist()
    ([True, False, False], [[0.1, 0.0], [-0.1, 0.0]], [[0.0, 0.2]])
    """

    assets: tuple[str, ...]
    known_ns: Nanoseconds
    returns: Floats
    probabilities: Floats

    @classmethod
    def of(
        cls,
        assets: Sequence[str],
        returns: object,
        *,
        known_ns: object = None,
        probabilities: object = None,
    ) -> GivenScenarios:
        """Return scenarios, of one set that is always known and equally likely where nothing else is said."""
        values = np.array(returns, dtype=np.float64)
        n_rows = len(values)
        known = np.full(n_rows, ALWAYS) if known_ns is None else np.array(known_ns, dtype=np.int64)
        if probabilities is None:
            _, of, sizes = np.unique(known, return_inverse=True, return_counts=True)
            chances = 1.0 / sizes[of]
        else:
            chances = np.array(probabilities, dtype=np.float64)
        return cls(tuple(assets), known, values, chances)

    def __post_init__(self) -> None:
        n_rows, n_assets = len(self.known_ns), len(self.assets)
        if self.returns.shape != (n_rows, n_assets) or not self.returns.size or self.probabilities.shape != (n_rows,):
            raise DataError(
                f"scenarios need returns of shape ({n_rows}, {n_assets}) (rows, assets) and a probability for each row;"
                f" found {self.returns.shape} and {self.probabilities.shape}"
            )
        if len(set(self.assets)) < n_assets:
            twice = next(name for name in self.assets if self.assets.count(name) > 1)
            raise DataError(f"scenarios name each asset once; found {twice} twice")
        wrong = ~(np.isfinite(self.returns) & (self.returns >= -1.0))
        if wrong.any():
            row, asset = np.argwhere(wrong)[0].tolist()
            found = self.returns[row, asset]
            raise DataError(
                f"the return of {self.assets[asset]} in scenario {row} must be finite and -1 or more; was {found:g}"
            )
        if (np.diff(self.known_ns) < 0).any():
            raise DataError("times of scenarios must not fall")
        for start, stop in self._ranges:
            chances = self.probabilities[start:stop]
            if not ((chances >= 0.0).all() and abs(chances.sum() - 1.0) < 1e-9):
                raise DataError(
                    f"probabilities of scenarios {start} to {stop - 1} must be 0 or more with sum 1; their least is"
                    f" {chances.min():g}, their sum {chances.sum():g}"
                )

    @cached_property
    def _ranges(self) -> list[tuple[int, int]]:
        cuts = np.flatnonzero(np.diff(self.known_ns)) + 1
        return list(zip([0, *cuts.tolist()], [*cuts.tolist(), len(self.known_ns)], strict=True))

    @cached_property
    def sets_ns(self) -> Nanoseconds:
        """When each set was known, shape (n_sets,), rising."""
        return np.unique(self.known_ns)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the content."""
        digest = hashlib.sha256("\0".join((*self.assets, "")).encode())
        for values in (self.known_ns.astype("<i8"), self.returns.astype("<f8"), self.probabilities.astype("<f8")):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    @property
    def dated(self) -> bool:
        """Whether times say from when on scenarios were known."""
        return bool(self.known_ns[0] != ALWAYS)

    def known_at(self, ts_ns: Nanoseconds) -> NDArray[np.bool_]:
        """Return for each of some closes whether a set is known there."""
        return np.asarray(np.asarray(ts_ns) >= self.known_ns[0])

    def at(self, ts_ns: int) -> Scenarios | None:
        """Return the set in force at a close, or None before the first."""
        place = int(np.searchsorted(self.sets_ns, ts_ns, side="right")) - 1
        if place < 0:
            return None
        start, stop = self._ranges[place]
        return Scenarios.of(self.returns[start:stop], probabilities=self.probabilities[start:stop], assets=self.assets)

    def of_assets(self, ts_ns: int, assets: Sequence[str]) -> Scenarios:
        """Return the set in force at a close, of some assets in their order; a set must be known and have them all."""
        whole = self.at(ts_ns)
        assert whole is not None
        columns = [self.assets.index(name) for name in assets]
        return Scenarios.of(whole.returns[:, columns], probabilities=whole.probabilities, assets=tuple(assets))
