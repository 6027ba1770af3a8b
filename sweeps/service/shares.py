"""Who goes first: priority, then whoever took the least lately, then whoever has waited longest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sweeps.service.metering import Usage
from sweeps.service.queue import Ticket


def in_order(
    waiting: Iterable[Ticket], usage: Mapping[str, Usage], n_driven: Mapping[str, int] | None = None
) -> list[Ticket]:
    """Return tickets in the order in which runners take them; it follows from the arguments alone.

    Parameters
    ----------
    usage
        What each user took lately (`usage_of_users`); within a priority the user with the fewest core-seconds goes
        first.
    n_driven
        Runs of each user that are being driven now: decides between users who took the same.

    Examples
    --------
    >>> def ticket(user, priority, at):
    ...     return Ticket(user * 32, user, priority, at, ())
    >>> waiting = [ticket("ab", 0, 1), ticket("cd", 0, 2), ticket("ef", 5, 3)]
    >>> [found.user for found in in_order(waiting, {"ab": Usage(core_seconds=60.0)})]
    ['ef', 'cd', 'ab']
    """
    driven = n_driven or {}

    def rank(ticket: Ticket) -> tuple[int, float, int, int, str]:
        taken = usage.get(ticket.user, Usage()).core_seconds
        return -ticket.priority, taken, driven.get(ticket.user, 0), ticket.submitted_ns, ticket.identity

    return sorted(waiting, key=rank)


def deserves_more(other: Ticket, mine: Ticket, usage: Mapping[str, Usage], *, slice_over: bool) -> bool:
    """Return whether `other`, which waits, should have the place of `mine`, which is being driven.

    A higher priority at once; another user who took less lately, once the slice of time is over.
    """
    if other.priority != mine.priority:
        return other.priority > mine.priority
    took = {ticket.user: usage.get(ticket.user, Usage()).core_seconds for ticket in (other, mine)}
    return slice_over and other.user != mine.user and took[other.user] < took[mine.user]
