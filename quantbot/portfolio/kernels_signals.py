"""Signals across assets, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quantbot.kernels import jit


@jit
def top_share(
    prices: NDArray[np.float64],
    bars: NDArray[np.int64],
    lookbacks: NDArray[np.int64],
    share: float,
    weights: NDArray[np.float64],
) -> None:
    """Write equal weights of the best by past return into `weights`, zeros before, (n_sets, n_rebalances, n_assets)."""
    n = prices.shape[1]
    past, best = np.empty(n), np.empty(n, dtype=np.int64)
    for i in range(lookbacks.shape[0]):
        for k in range(bars.shape[0]):
            t, before = bars[k], bars[k] - lookbacks[i]
            n_known = 0
            for j in range(n):
                past[j] = prices[t, j] / prices[before, j] if before >= 0 else np.nan
                n_known += past[j] == past[j]
            if n_known == 0:
                weights[i, k] = np.nan
                continue
            wanted = max(int(share * n_known + 1e-9), 1)
            n_best = 0
            for j in range(n):
                if past[j] != past[j] or (n_best == wanted and not past[j] > past[best[n_best - 1]]):
                    continue
                place = min(n_best, wanted - 1)
                while place > 0 and past[j] > past[best[place - 1]]:
                    best[place] = best[place - 1]
                    place -= 1
                best[place] = j
                n_best = min(n_best + 1, wanted)
            for place in range(n_best):
                weights[i, k, best[place]] = 1.0 / n_best
