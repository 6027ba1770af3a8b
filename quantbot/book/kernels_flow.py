"""The events that lead from one row of a book's best levels to the next."""

from __future__ import annotations

from typing import Any

from quantbot.kernels import plain


@plain
def flow(
    kinds: Any, direction: Any, price: Any, size: Any, ticks: Any, lots: Any, before_ticks: Any, before_lots: Any,
    out: Any, tally: Any,
) -> int:  # fmt: skip
    """Turn rows of a book's best levels, each with the message that led to it, into events by price.

    Parameters
    ----------
    kinds
        (n_rows,) int64: what the message did: 1 adds, 2 takes off, 3 a trade with a resting order (takes off), 4 a
        trade with none, 0 nothing is known of it (then `tally` counts nothing).
    direction
        (n_rows,) int64: +1 bid, -1 ask: of the resting order.
    ticks, lots
        (n_rows, 2, n_levels) after each message, best first, 0 lots where a level is missing.
    before_ticks, before_lots
        (2, n_levels): before the first row; left as after the last.
    out
        row, action, side, price, size of each event, (n_rows * (4 * n_levels + 1),) int64 each, rows of no event left
        out. Action 6 is a trade, whose side is the aggressor's, 7 sets a level.
    tally
        int64 (3,): rows checked against their message, rows that disagree, rows in which a level came in from outside.

    Returns
    -------
    The number of events.
    """
    row_of, action, side_of, price_of, size_of = out
    n_levels = ticks.shape[2]
    n = 0
    for row in range(ticks.shape[0]):
        if kinds[row]:
            _check(
                kinds[row],
                direction[row],
                price[row],
                size[row],
                ticks[row],
                lots[row],
                before_ticks,
                before_lots,
                tally,
            )
        if kinds[row] >= 3:
            row_of[n], action[n], side_of[n], price_of[n], size_of[n] = row, 6, -direction[row], price[row], size[row]
            n += 1
        for gone in range(2):  # first what goes, so that no event crosses the book
            for side in range(2):
                a = b = 0
                better = 1 if side == 0 else -1
                while a < n_levels or b < n_levels:
                    old = a < n_levels and before_lots[side, a] > 0
                    new = b < n_levels and lots[row, side, b] > 0
                    if not old and not new:
                        break
                    # Where both have levels, the better one is first.
                    lead = 0
                    if old and new:
                        lead = better * (before_ticks[side, a] - ticks[row, side, b])
                    if new and (not old or lead < 0):
                        if gone == 1:
                            row_of[n], action[n], side_of[n] = row, 7, better
                            price_of[n], size_of[n] = ticks[row, side, b], lots[row, side, b]
                            n += 1
                        b += 1
                    elif old and (not new or lead > 0):
                        if gone == 0:
                            row_of[n], action[n], side_of[n] = row, 7, better
                            price_of[n], size_of[n] = before_ticks[side, a], 0
                            n += 1
                        a += 1
                    else:
                        if gone == 1 and before_lots[side, a] != lots[row, side, b]:
                            row_of[n], action[n], side_of[n] = row, 7, better
                            price_of[n], size_of[n] = ticks[row, side, b], lots[row, side, b]
                            n += 1
                        a += 1
                        b += 1
        for side in range(2):
            for level in range(n_levels):
                before_ticks[side, level], before_lots[side, level] = ticks[row, side, level], lots[row, side, level]
    return n


@plain
def _check(
    kind: int,
    direction: int,
    price: int,
    size: int,
    ticks: Any,
    lots: Any,
    before_ticks: Any,
    before_lots: Any,
    tally: Any,
) -> None:
    """Compare one row with the row before and the message, on every level that these two can know."""
    n_levels = ticks.shape[1]
    changed = kind != 4
    mine = 0 if direction > 0 else 1
    agrees = True
    outside = False
    for side in range(2):
        a = 0
        left = size if changed and side == mine else 0
        sign = 1 if kind == 1 else -1
        better = 1 if side == 0 else -1
        full = before_lots[side, n_levels - 1] > 0
        for b in range(n_levels):
            # The next level that is expected: of the row before, with the message applied.
            while a < n_levels and before_lots[side, a] > 0 and left and sign < 0 and before_ticks[side, a] == price:
                if before_lots[side, a] - left > 0:
                    break
                a += 1
                left = 0
            have = a < n_levels and before_lots[side, a] > 0
            new_level = left and sign > 0 and (not have or better * (price - before_ticks[side, a]) > 0)
            if new_level:
                expected_tick, expected_lots = price, left
                left = 0
            elif have:
                expected_tick, expected_lots = before_ticks[side, a], before_lots[side, a]
                if left and expected_tick == price:
                    expected_lots += sign * left
                    left = 0
                a += 1
            else:
                # Nothing is known here: where the row before was full, a level from outside may have come in.
                if lots[side, b] > 0:
                    if full:
                        outside = True
                    else:
                        agrees = False
                continue
            if lots[side, b] != expected_lots or ticks[side, b] != expected_tick:
                agrees = False
    tally[0] += 1
    tally[1] += not agrees
    tally[2] += outside
