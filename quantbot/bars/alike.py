"""Points that are alike: grouped on arrays, since a block has tens of thousands of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]


def distinct(columns: list[NDArray[Any]]) -> tuple[Indices, Indices]:
    """Return (the first point of each distinct combination, each point's combination), combinations in order.

    Examples
    --------
    >>> first, rows = distinct([np.array([2, 1, 2]), np.array([0, 5, 0])])
    >>> first.tolist(), rows.tolist()
    ([1, 0], [1, 0, 1])
    """
    if len(columns) == 1:
        _, first, rows = np.unique(columns[0], return_index=True, return_inverse=True)
        return first, rows.astype(np.intp)
    order = np.lexsort(columns[::-1])
    changed = np.zeros(order.shape[0], dtype=bool)
    for column in columns:
        changed[1:] |= column[order][1:] != column[order][:-1]
    rows = np.empty(order.shape[0], dtype=np.intp)
    rows[order] = np.cumsum(changed)
    return order[np.concatenate([[True], changed[1:]])], rows


def alike(columns: list[NDArray[Any]]) -> list[Indices]:
    """Return the points of each distinct combination, rising; combinations in the order of their first points.

    Examples
    --------
    >>> [points.tolist() for points in alike([np.array(["b", "a", "b"]), np.array([True, True, True])])]
    [[0, 2], [1]]
    """
    _, rows = distinct(columns)
    order = np.argsort(rows, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(rows[order])) + 1)
    return sorted(groups, key=lambda group: int(group[0]))
