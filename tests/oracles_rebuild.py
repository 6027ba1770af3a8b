"""A book rebuilt the slow, obvious way: dicts of levels, lists of orders."""

from __future__ import annotations

from collections import Counter

from quantbot.book import Action, Events, Flag


class PlainBook:
    def __init__(self) -> None:
        self.levels: dict[int, dict[int, int]] = {1: {}, -1: {}}
        self.queues: dict[int, dict[int, list[list[int]]]] = {1: {}, -1: {}}  # side -> price -> [id, size]
        self.where: dict[int, tuple[int, int]] = {}
        self.counts: Counter[str] = Counter()

    def apply(self, events: Events) -> None:
        columns = zip(*(values.tolist() for values in events.columns().values()), strict=True)
        for _, _, action, side, price, size, order_id, flags in columns:
            self.counts["events"] += 1
            self._one(Action(action), side, price, size, order_id)
            self.counts["snapshots"] += bool(flags & Flag.SNAPSHOT)
            self.counts["gaps"] += bool(flags & Flag.GAP)
            if flags & Flag.LAST:
                self.counts["looks"] += 1
                bids, asks = self.side(1), self.side(-1)
                if bids and asks and bids[0][0] >= asks[0][0]:
                    self.counts["locked" if bids[0][0] == asks[0][0] else "crossed"] += 1

    def _one(self, action: Action, side: int, price: int, size: int, order_id: int) -> None:
        if action == Action.SET:
            if size:
                self.levels[side][price] = size
            elif self.levels[side].pop(price, None) is None:
                self.counts["absent_levels"] += 1
        elif action == Action.ADD:
            if order_id in self.where:
                self.counts["duplicates"] += 1
            else:
                self._append(side, price, size, order_id)
        elif action == Action.MODIFY:
            if order_id not in self.where:
                self.counts["unknown_modifies"] += 1
                return
            old_side, old_price = self.where[order_id]
            order = next(each for each in self.queues[old_side][old_price] if each[0] == order_id)
            if (old_side, old_price) == (side, price) and size <= order[1]:
                order[1] = size
            else:
                self._drop(order_id)
                self._append(side, price, size, order_id)
        elif action in (Action.CANCEL, Action.DELETE, Action.EXECUTE):
            self.counts["executions"] += action == Action.EXECUTE
            if order_id not in self.where:
                self.counts["unknown_executions" if action == Action.EXECUTE else "unknown_cancels"] += 1
                return
            old_side, old_price = self.where[order_id]
            order = next(each for each in self.queues[old_side][old_price] if each[0] == order_id)
            self.counts["other_price"] += action == Action.EXECUTE and price != old_price
            if action == Action.DELETE or size >= order[1]:
                self.counts["oversized"] += action != Action.DELETE and size > order[1]
                self._drop(order_id)
            else:
                order[1] -= size
        elif action == Action.TRADE:
            self.counts["trades"] += 1
        elif action == Action.CLEAR:
            for each in (1, -1):
                if side in (0, each):
                    self.levels[each] = {}
                    self.queues[each] = {}
                    self.where = {key: place for key, place in self.where.items() if place[0] != each}
        elif action == Action.HALT:
            self.counts["halts"] += 1

    def _append(self, side: int, price: int, size: int, order_id: int) -> None:
        self.queues[side].setdefault(price, []).append([order_id, size])
        self.where[order_id] = (side, price)

    def _drop(self, order_id: int) -> None:
        side, price = self.where.pop(order_id)
        queue = [each for each in self.queues[side][price] if each[0] != order_id]
        if queue:
            self.queues[side][price] = queue
        else:
            del self.queues[side][price]

    def side(self, side: int) -> list[tuple[int, int, int]]:
        """(price, lots, orders), best first."""
        found = {price: (lots, 0) for price, lots in self.levels[side].items()}
        found |= {price: (sum(size for _, size in queue), len(queue)) for price, queue in self.queues[side].items()}
        return sorted(((price, *rest) for price, rest in found.items()), reverse=side > 0)
