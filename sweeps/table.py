"""The rows of a run as columns, each read from the store when somebody asks for it, and only then.

A run of 10^7 trials has gigabytes of rows; a page wants the state and a measure or two of them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quantbot.engine import Rows
from sweeps.plan import Plan
from sweeps.rows import REASONS, STATUS
from sweeps.runstore import Manifest, RunStore
from sweeps.surface import CellStatus

KEPT_BYTES = 512 * 2**20  # of columns; the one that was asked for longest ago goes first
_KEPT_BLOCKS = 4  # of which whole rows were asked for
CELL_OF = np.array([CellStatus.VALUE, CellStatus.FAILED, CellStatus.SKIPPED], np.uint8)  # by `TrialStatus`


class Table:
    """All rows of a run, in trial order, as far as these blocks have them; verified as they are read.

    Parameters
    ----------
    blocks
        Indices of the blocks that are there, rising.
    manifest
        What the blocks must be; None while the run isn't committed.
    hidden
        Shape (n_trials,): trials whose rows nobody may see; None where there are none.
    """

    def __init__(
        self,
        store: RunStore,
        plan: Plan,
        blocks: Sequence[int],
        manifest: Manifest | None = None,
        hidden: NDArray[np.bool_] | None = None,
    ) -> None:
        self._store, self._plan, self._manifest, self._hidden = store, plan, manifest, hidden
        self._indices = np.array(blocks, np.int64)
        self._columns: OrderedDict[str, NDArray[np.float64]] = OrderedDict()
        self._rows: OrderedDict[int, Rows] = OrderedDict()
        self._lock = threading.RLock()  # a page's threads read a column once

    @cached_property
    def state(self) -> NDArray[np.uint8]:
        """Shape (n_trials,), uint8 of `CellStatus`."""
        state = np.full(self._plan.n_trials, CellStatus.NOT_RUN, np.uint8)
        blocks = [self._plan.block(int(index)) for index in self._indices]
        for block, status in zip(blocks, self._store.read_parts(STATUS, blocks, self._manifest), strict=True):
            state[block.trial_start : block.trial_stop] = CELL_OF[status]
        if self._hidden is not None:
            state[self._hidden] = CellStatus.LOCKED
        return state

    def column(self, measure: str) -> NDArray[np.float64]:
        """Return a measure of every trial, shape (n_trials,); NaN where there is none."""
        with self._lock:
            if measure not in self._columns:
                self._columns[measure] = self._read(measure)
                while len(self._columns) > 1 and sum(own.nbytes for own in self._columns.values()) > KEPT_BYTES:
                    self._columns.popitem(last=False)
            self._columns.move_to_end(measure)
            return self._columns[measure]

    def rows(self, trials: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Return every measure of a few trials, shape (n_chosen,) each, from their blocks alone."""
        found = {name: np.full(trials.shape[0], np.nan) for name in self._plan.measures}
        with self._lock:
            there = dict(self._columns)
        for name, column in there.items():
            found[name][:] = column[trials]
        missing = [name for name in found if name not in there]
        if not missing:
            return found
        shown = np.ones(trials.shape[0], np.bool_) if self._hidden is None else ~self._hidden[trials]
        owners = np.searchsorted(self._plan.block_starts, trials, side="right") - 1
        for index in np.intersect1d(owners[shown], self._indices).tolist():
            here = shown & (owners == index)
            rows, start = self._block(index), int(self._plan.block_starts[index])
            for name in missing:
                found[name][here] = rows.measures[name][trials[here] - start]
        return found

    def reason(self, trial: int) -> str:
        """Return why a trial failed; empty where it did not, or nobody may see it."""
        if self.state[trial] != CellStatus.FAILED:
            return ""
        index = int(np.searchsorted(self._plan.block_starts, trial, side="right")) - 1
        return self._block(index).reasons.get(trial - int(self._plan.block_starts[index]), "")

    def failures(self) -> dict[str, tuple[int, int]]:
        """Return for each reason how many trials failed for it, and the first of them."""
        found: dict[str, tuple[int, int]] = {}
        blocks = [self._plan.block(int(index)) for index in self._indices]
        blocks = [block for block in blocks if self._has_failures(block.trial_start, block.trial_stop)]
        for block, groups in zip(blocks, self._store.read_parts(REASONS, blocks, self._manifest), strict=True):
            for reason, rows in groups:
                n, first = found.get(reason, (0, block.trial_start + rows[0]))
                found[reason] = n + len(rows), min(first, block.trial_start + rows[0])
        return found

    def failed(self, reason: str | None = None) -> NDArray[np.int64]:
        """Return the trials that failed, rising; only those for one reason where it is given."""
        trials = np.flatnonzero(self.state == CellStatus.FAILED).astype(np.int64)
        if reason is None or not trials.size:
            return trials
        blocks = [self._plan.block(int(index)) for index in self._indices]
        blocks = [block for block in blocks if self._has_failures(block.trial_start, block.trial_stop)]
        found = [
            block.trial_start + np.asarray(rows, np.int64)
            for block, groups in zip(blocks, self._store.read_parts(REASONS, blocks, self._manifest), strict=True)
            for why, rows in groups
            if why == reason
        ]
        return np.intersect1d(trials, np.concatenate(found)) if found else trials[:0]

    def _has_failures(self, start: int, stop: int) -> bool:
        return bool((self.state[start:stop] == CellStatus.FAILED).any())

    def _read(self, measure: str) -> NDArray[np.float64]:
        column = np.full(self._plan.n_trials, np.nan)
        blocks = [self._plan.block(int(index)) for index in self._indices]
        for block, values in zip(blocks, self._store.read_parts(measure, blocks, self._manifest), strict=True):
            column[block.trial_start : block.trial_stop] = values
        if self._hidden is not None:
            column[self._hidden] = np.nan
        return column

    def _block(self, index: int) -> Rows:
        with self._lock:
            if index not in self._rows:
                entry = self._manifest.blocks[index] if self._manifest else None
                self._rows[index] = self._store.read_block(self._plan.block(index), entry)[1]
                while len(self._rows) > _KEPT_BLOCKS:
                    self._rows.popitem(last=False)
            self._rows.move_to_end(index)
            return self._rows[index]
