"""The line that says what is shown, the same on every page and report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app import format as fmt

if TYPE_CHECKING:
    from sweeps.plan import Plan
    from sweeps.status import RunStatus

_MANY = 4
FIDELITIES = {"bars": "F0 bars", "portfolio": "F0 bars", "book": "F3 or F4: order book"}


def scope_parts(plan: Plan, status: RunStatus, currency: str) -> list[str]:
    """Return what follows a run's name: trials, folds, period, data version, currency, fidelity."""
    start, end = min(fold.start_ns for fold in plan.folds), max(fold.end_ns for fold in plan.folds)
    return [
        f"{fmt.count(status.n_done)} of {fmt.plural(plan.n_trials, 'trial')} done, {fmt.count(status.n_failed)} failed",
        listed([fold.name for fold in plan.folds], "fold"),
        f"{fmt.day(start)} to {fmt.day(end - 1)}",
        f"{plan.dataset_name}@{fmt.short(plan.dataset_version)}: {listed(plan.symbols, 'asset')}",
        currency,
        FIDELITIES[plan.engine],
    ]


def listed(names: Sequence[str], noun: str) -> str:
    """Return ``fold all``, ``folds train, test`` or ``37 assets``."""
    if len(names) > _MANY:
        return fmt.plural(len(names), noun)
    return f"{noun}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def currencies(root_url: str, name: str, version: str, assets: Sequence[str]) -> str:
    """Return the currency of assets of a dataset; several where they differ."""
    from sweeps.feeds import open_feed_version

    feed = open_feed_version(root_url, name, version)
    return ", ".join(sorted({feed.currency(asset) for asset in assets}))
