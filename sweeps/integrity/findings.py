"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cure = Literal["repair", "ingest", "submit", "restore", "upgrade"]


@dataclass(frozen=True)
class Finding:
    """One object that is not what was written.

    Attributes
    ----------
    key
        The object, from the store's root.
    problem
        What was expected and what was found.
    cure
        "repair": computed again from what is there. "ingest": the dataset's source is needed. "submit": the run must be
        submitted again. "restore": only a copy of the object helps. "upgrade": a newer version of QuantBot reads it.
    owner
        The dataset ("demo/sp500@3fa2…") or the run (its identity) that it belongs to; empty for neither.
    """

    key: str
    problem: str
    cure: Cure
    owner: str


@dataclass(frozen=True)
class Health:
    """What a check came to.

    Attributes
    ----------
    n_objects, n_bytes
        What was read and compared; bytes of objects whose size a manifest says.
    """

    n_versions: int
    n_runs: int
    n_objects: int
    n_bytes: int
    findings: tuple[Finding, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing was found."""
        return not self.findings
