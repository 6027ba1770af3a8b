"""Fills that a feed tells apart from what they take out of the book, joined to executions."""

from __future__ import annotations

from typing import Any

from quantbot.kernels import jit

ADD, CANCEL, MODIFY, EXECUTE, TRADE, CLEAR, LAST = 1, 2, 4, 5, 6, 8, 2


@jit
def join(letters: Any, ids: Any, sizes: Any, told: Any, kept: Any, actions: Any, flags: Any) -> int:
    """Choose records of market by order, and say what each is as an event.

    Within one exchange event (up to LAST): a fill F becomes EXECUTE, and the cancel C of the same order and size that
    follows it goes; a print T goes where fills account for it. Where a whole exchange event goes but its end, LAST is
    moved to the last that stays.

    Parameters
    ----------
    letters, ids, sizes, told
        (n,) of each record: its action's letter, order, size, flags as `quantbot.book.Flag`.
    kept, actions, flags
        (n,) int64, filled: which records stay, their action and flags.

    Returns
    -------
    How many stay.
    """
    n = letters.shape[0]
    n_kept = 0
    start = 0
    while start < n:
        stop = start
        while stop < n and not told[stop] & LAST:
            stop += 1
        stop = min(stop + 1, n)
        n_fills = 0
        for i in range(start, stop):
            n_fills += letters[i] == 70
        first = n_kept
        for i in range(start, stop):
            letter = letters[i]
            action = 0
            if letter == 65:
                action = ADD
            elif letter == 77:
                action = MODIFY
            elif letter == 82:
                action = CLEAR
            elif letter == 70:
                action = EXECUTE
            elif letter == 84:
                action = 0 if n_fills else TRADE
            elif letter == 67:
                action = CANCEL
                if n_fills:
                    # The fills and cancels of this order up to here, in lots: what a fill took is not taken again.
                    left = 0
                    for j in range(start, i + 1):
                        if ids[j] == ids[i]:
                            if letters[j] == 70:
                                left += sizes[j]
                            elif letters[j] == 67:
                                left = left - sizes[j] if j < i and left >= sizes[j] else left
                    if left >= sizes[i]:
                        action = 0
            if action:
                kept[n_kept], actions[n_kept], flags[n_kept] = i, action, told[i] & ~LAST
                n_kept += 1
        if n_kept > first and told[stop - 1] & LAST:
            flags[n_kept - 1] |= LAST
        start = stop
    return n_kept
