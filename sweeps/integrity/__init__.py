"""Is everything in a store what was written there; what can be put right; what does nothing refer to any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from sweeps.integrity.check import check_store
    from sweeps.integrity.findings import Finding, Health
    from sweeps.integrity.garbage import Garbage, collect_garbage
    from sweeps.integrity.repair import Repair, repair_run

__all__ = ["Finding", "Garbage", "Health", "Repair", "check_store", "collect_garbage", "repair_run"]

__getattr__ = exports(
    __name__,
    {
        "Finding": "sweeps.integrity.findings",
        "Garbage": "sweeps.integrity.garbage",
        "Health": "sweeps.integrity.findings",
        "Repair": "sweeps.integrity.repair",
        "check_store": "sweeps.integrity.check",
        "collect_garbage": "sweeps.integrity.garbage",
        "repair_run": "sweeps.integrity.repair",
    },
)
