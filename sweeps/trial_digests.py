"""What makes two trials one, in whatever run: the same strategy, settings, data, asset and bars.

A digest is 64 bits. Settings enter with their defaults filled in, each by itself, so that it makes no difference
whether one varied or stood still, in which order, or in which run. Of 10^8 trials the chance that any two share a
digest by accident is 0.03 %, and the price one trial counted too few.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sweeps.plan import Plan

Digests = NDArray[np.uint64]
_WORD = "<u8"


def point_words(plan: Plan) -> Digests:
    """Return one word for the settings of each point, shape (n_points,): the part of a digest that all slices share.

    Examples
    --------
    The order of settings plays no part, nor does whether they vary:

    >>> apart = setting_words("fast", np.array([5, 6])) + setting_words("slow", np.array([20]))
    >>> bool(apart[0] == (setting_words("slow", np.array([20])) + setting_words("fast", np.array([5])))[0])
    True
    """
    words = np.zeros(plan.n_points, np.uint64)
    for name, value in plan.settings.items():
        column = plan.points.columns.get(name)
        words += setting_words(name, np.array([value]) if column is None else column)
    return words


def trial_digests(plan: Plan, words: Digests, asset: str, window: tuple[int, int]) -> Digests:
    """Return the digests of the trials of some points on one asset over one window.

    Parameters
    ----------
    words
        Shape (n,): what `point_words` says of these points.
    window
        Half-open range of the asset's bars.
    """
    document: dict[str, Any] = {
        "strategy": plan.bundle.digest,
        "engine": plan.engine,
        "data": plan.dataset_version,
        "asset": asset,
        "window": [int(bar) for bar in window],
    }
    if plan.members:
        document |= {"members": sorted(plan.members), "tables": plan.job().tables}
    text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return _mixed(words + np.frombuffer(hashlib.sha256(text).digest()[:8], _WORD).astype(np.uint64))


def setting_words(name: str, values: NDArray[Any]) -> Digests:
    """Return one word for each value of a setting, shape of `values`; 1 and 1.0 are the same value."""
    key, other = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], _WORD).astype(np.uint64)
    if values.dtype.kind in "UO":
        distinct, places = np.unique(values.astype(np.str_), return_inverse=True)
        digests = b"".join(hashlib.sha256(word.encode()).digest()[:8] for word in distinct.tolist())
        bits = np.frombuffer(digests, _WORD).astype(np.uint64)[places]
    else:
        bits = (values.astype(np.float64) + 0.0).view(np.uint64)  # + 0.0: no minus zero
    return _mixed(_mixed(bits ^ key) + other)


def _mixed(words: Digests) -> Digests:
    """Return each word spread over all 64 bits: Steele, Lea & Flood (2014), the finaliser of SplitMix64."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
