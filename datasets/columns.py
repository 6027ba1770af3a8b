"""The bars of one asset on their way in and out of a dataset: checked columns, and the digest of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datasets import schema
from quantbot.errors import DataError
from quantbot.market import BAR_FIELDS, Floats, Nanoseconds


@dataclass(frozen=True, eq=False)
class BarColumns:
    """The raw bars of one asset, oldest first; refused when they are impossible.

    Attributes
    ----------
    ts_end_ns
        Shape (n_bars,), int64 nanoseconds UTC, strictly rising: when each bar is complete.
    open, high, low, close
        Shape (n_bars,), float64, finite, unadjusted; high and low hold open and close.
    volume
        Shape (n_bars,), float64, finite, >= 0, unadjusted.
    adjustment
        Shape (n_bars,), float64, > 0, or None: prices times it, and volume over it, are the adjusted view.
    split
        Shape (n_bars,), float64, > 0, or None: new units for one old one, before the bar's open.
    dividend
        Shape (n_bars,), float64, >= 0, or None: cash for a unit after the bar's split, to who held it before the bar.
    funding
        Shape (n_bars,), float64, or None: of a perpetual future, what longs pay to shorts for the bar as a share of the
        notional at its close; 0 where nothing is due, NaN where it is not known.

    Raises
    ------
    DataError
        Naming the field, the first bad bar, its value and the rule.
    """

    ts_end_ns: Nanoseconds
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    adjustment: Floats | None = None
    split: Floats | None = None
    dividend: Floats | None = None
    funding: Floats | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ts_end_ns", _owned("ts_end_ns", self.ts_end_ns, np.int64))
        for name in self.names:
            # Minus zero equals zero but has other bytes: adding zero gives both one digest.
            values = _owned(name, getattr(self, name), np.float64) + 0.0
            object.__setattr__(self, name, np.where(np.isnan(values), np.nan, values) if name == "funding" else values)
        self._check()

    def __len__(self) -> int:
        return int(self.ts_end_ns.shape[0])

    @property
    def names(self) -> tuple[str, ...]:
        """The float columns that there are."""
        return (*BAR_FIELDS, *(name for name in schema.NEUTRAL if getattr(self, name) is not None))

    @property
    def has_actions(self) -> bool:
        """Whether splits and dividends are said, so that nothing has to be concluded from factors."""
        return self.split is not None or self.dividend is not None

    @property
    def factor(self) -> Floats | None:
        """What prices are multiplied by in the adjusted view: the stored factors, else what splits and dividends make.

        These are such that holding earns ``split * (close + dividend) / close before - 1``, the last bar's being 1.
        """
        if self.adjustment is not None or not self.has_actions:
            return self.adjustment
        split = np.ones(len(self)) if self.split is None else self.split
        paid = np.zeros(len(self)) if self.dividend is None else self.dividend
        growth = split[1:] * (1.0 + paid[1:] / self.close[1:])
        return np.append(1.0 / np.cumprod(growth[::-1])[::-1], 1.0)

    def items(self) -> Iterator[tuple[str, Floats]]:
        """Give each float column with its name."""
        return ((name, getattr(self, name)) for name in self.names)

    def digest(self) -> str:
        """Return the SHA-256 of the content: the columns' names, their length and their little-endian bytes."""
        digest = hashlib.sha256(f"{','.join(self.names)}\0{len(self)}\0".encode())
        digest.update(self.ts_end_ns.astype("<i8", copy=False).data)
        for _, values in self.items():
            digest.update(values.astype("<f8", copy=False).data)
        return digest.hexdigest()

    def _check(self) -> None:
        n_bars = len(self)
        if n_bars == 0:
            raise DataError("an asset needs at least one bar, there is none")
        one_asset = {"time": n_bars, "asset": 1}
        arrays: dict[str, NDArray[Any]] = {name: values.reshape(-1, 1) for name, values in self.items()}
        schema.check("bars", {"time": self.ts_end_ns, **arrays}, one_asset)
        self._refuse(np.diff(self.ts_end_ns, prepend=self.ts_end_ns[0] - 1) <= 0, "ts_end_ns", "times must rise")
        for name, values in self.items():
            bad = np.isinf(values) if name == "funding" else ~np.isfinite(values)
            self._refuse(bad, name, "values must be finite")
        highest = np.maximum(np.maximum(self.open, self.close), self.low)
        lowest = np.minimum(self.open, self.close)
        self._refuse(self.high < highest, "high", "high must be at least open, low and close")
        self._refuse(self.low > lowest, "low", "low must be at most open and close")
        self._refuse(self.volume < 0, "volume", "volume must not be negative")
        if self.adjustment is not None:
            self._refuse(self.adjustment <= 0, "adjustment", "a factor must be positive")
        if self.has_actions:
            self._refuse(self.close <= 0, "close", "a close must be positive where splits and dividends are said")
        if self.split is not None:
            self._refuse(self.split <= 0, "split", "a split must be positive")
        if self.dividend is not None:
            self._refuse(self.dividend < 0, "dividend", "a dividend must not be negative")

    def _refuse(self, bad: NDArray[np.bool_], name: str, rule: str) -> None:
        if bad.any():
            bar = int(np.argmax(bad))
            value = getattr(self, name)[bar].item()
            when = np.datetime64(int(self.ts_end_ns[bar]), "ns")
            raise DataError(
                f"{name} of bar {bar} ({when} UTC) is {value!r}: {rule} ({int(bad.sum())} of {len(self)} bars fail)"
            )


def _owned(name: str, values: ArrayLike, dtype: type) -> NDArray[Any]:
    """Return `values` contiguous and in `dtype`, or raise when that would change them."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{name} must be one column, had shape {array.shape}")
    if array.dtype == object or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise DataError(f"{name} must be {np.dtype(dtype)}, was {array.dtype}")
    return np.ascontiguousarray(array, dtype=dtype)
