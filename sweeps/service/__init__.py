"""The service: requests wait in the store as tickets, runners lease and drive them, nobody else holds a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantbot.lazy import exports

if TYPE_CHECKING:
    from sweeps.service.budgets import Budget
    from sweeps.service.heartbeat import RunnerState, runners
    from sweeps.service.metering import Usage, usage_of_run, usage_of_users
    from sweeps.service.queue import Ticket, enqueue, tickets
    from sweeps.service.runner import Runner
    from sweeps.service.shares import in_order

_HOMES = {
    "Budget": "sweeps.service.budgets",
    "Runner": "sweeps.service.runner",
    "RunnerState": "sweeps.service.heartbeat",
    "Ticket": "sweeps.service.queue",
    "Usage": "sweeps.service.metering",
    "enqueue": "sweeps.service.queue",
    "in_order": "sweeps.service.shares",
    "runners": "sweeps.service.heartbeat",
    "tickets": "sweeps.service.queue",
    "usage_of_run": "sweeps.service.metering",
    "usage_of_users": "sweeps.service.metering",
}

__all__ = [
    "Budget",
    "Runner",
    "RunnerState",
    "Ticket",
    "Usage",
    "enqueue",
    "in_order",
    "runners",
    "tickets",
    "usage_of_run",
    "usage_of_users",
]

__getattr__ = exports(__name__, _HOMES)
