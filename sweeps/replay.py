"""Running one block of a run again, watched and without writing: to see what ends it, or whether its bytes repeat."""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from quantbot.errors import NotFoundError
from sweeps.blocks import limits_of
from sweeps.executors.base import Failure, Isolation, Limits
from sweeps.runstore import RunStore
from sweeps.task import recompute

if TYPE_CHECKING:
    from datasets.store import Store


@dataclass(frozen=True)
class Replayed:
    """What became of a block that was run again.

    Attributes
    ----------
    sha256
        Of what its object would be; empty where it failed.
    stored
        Of its object in the store; empty where there is none.
    failure
        Why there are no bytes; None where there are.
    limits
        What it was allowed.
    """

    block: int
    seconds: float
    sha256: str
    stored: str
    failure: Failure | None
    limits: Limits

    @property
    def same(self) -> bool | None:
        """Whether the bytes are those in the store; None where one of them is missing."""
        return self.sha256 == self.stored if self.sha256 and self.stored else None


def replay(
    root: Store, identity: str, block: int, *, seconds: float | None = None, memory_bytes: int | None = None
) -> Replayed:
    """Run one block of a run again in a process of its own; what it prints goes to standard error.

    Parameters
    ----------
    seconds, memory_bytes
        What it may take; by default what it may take in a run.

    Raises
    ------
    NotFoundError
        If there is no such run or block.
    """
    from sweeps.executors.isolation import Children

    run = RunStore(root, identity)
    plan = run.plan()
    plan.block(block)
    limits = limits_of(plan, Isolation("all", seconds, memory_bytes))
    assert limits is not None
    stored = ""
    with contextlib.suppress(NotFoundError):
        stored = hashlib.sha256(run.store.get(run.block_key(block))).hexdigest()
    with contextlib.closing(Children()) as children:
        began = time.monotonic()
        found = children.run(partial(recompute, root.url, identity), block, limits)
        return Replayed(block, time.monotonic() - began, found.value or "", stored, found.failure, limits)
