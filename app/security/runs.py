"""What a runner takes from the queue, where the security settings say that others put runs there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.security.roles import Role
from app.security.settings import settings
from quantbot.errors import QuantBotError
from sweeps import audit
from sweeps.admission import admit_plan

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.plan import Plan
    from sweeps.service.queue import Ticket


def admission(root: Store) -> Callable[[Ticket, Plan], None] | None:
    """Return what a runner checks of a run before it drives it; None where nobody logs in.

    The app has checked a run when it was submitted. What lies in the store may have been put there past the app, so a
    runner believes nothing but the plan itself: data of this store or an allowed prefix, registered sources, a size
    that its user may start. Who is an operator is told by the user's name alone: a ticket carries no groups.
    """
    if not settings().has_login:
        return None

    def admit(ticket: Ticket, plan: Plan) -> None:
        found = settings()
        role = found.role_of(ticket.user, ()) or Role.RESEARCHER
        try:
            admit_plan(plan, found.policy(role), root)
        except QuantBotError as error:
            audit.record(
                root, "run", user=ticket.user or "nobody", subject=plan.identity, outcome="refused",
                details={"reason": str(error)},
            )  # fmt: skip
            raise

    return admit
