"""What the entries of a ledger add up to: each trial once, whichever entries it is in."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from datasets.seals import seal, unseal
from quantbot.errors import CorruptError, NotFoundError
from sweeps.identity import engine_source_digest
from sweeps.ledger_entry import CHOICE, PAGES, SAMPLED, Entry, Sample, Trials
from sweeps.runstore import to_json

if TYPE_CHECKING:
    from quantbot.selection import EffectiveTrials

SUMS = "ledger-sums"
_BATCH_BYTES = 64 * 2**20  # of entries read at a time


@lru_cache(maxsize=4096)
def open_entry(root_url: str, key: str) -> Entry:
    """Return an entry whose header is read; remembered by this process, since entries never change."""
    from datasets.store import open_store

    root = open_store(root_url)
    where = f"{root_url}/{key}"
    entry = Entry(lambda offset, length: root.get(key, offset, length), where)
    if entry.key != key:
        raise CorruptError(f"{where}: is another entry, that of {entry.key}")
    return entry


@dataclass(frozen=True)
class Sums:
    """What a set of entries adds up to; see `sweeps.ledger.Ledger`."""

    n_trials: int
    n_choices: int
    mean_sharpe: float | None
    variance_sharpe: float | None
    effective: EffectiveTrials

    def to_bytes(self, key: str) -> bytes:
        """Return these sums as canonical JSON, sealed for `key`."""
        document = asdict(self)
        if math.isnan(self.effective.mean_correlation):
            document["effective"]["mean_correlation"] = None
        return seal(to_json(document), key)

    @classmethod
    def from_bytes(cls, data: bytes) -> Sums:
        """Read what was sealed."""
        from quantbot.selection import EffectiveTrials

        said = json.loads(data)
        if said["effective"]["mean_correlation"] is None:
            said["effective"]["mean_correlation"] = math.nan
        return cls(**said | {"effective": EffectiveTrials(**said["effective"])})


def sums_key(keys: tuple[str, ...]) -> str:
    """Return the key under which the sums of these entries are remembered."""
    family = keys[0].split("/")[1]
    method = engine_source_digest()  # another version may estimate the effective number otherwise
    return f"{SUMS}/{family}/{hashlib.sha256(to_json([method, keys])).hexdigest()[:32]}.json"


@lru_cache(maxsize=64)
def sums(root_url: str, keys: tuple[str, ...]) -> Sums:
    """Return what entries add up to: remembered by this process, else by the store, else computed."""
    from datasets.store import open_store

    try:
        key = sums_key(keys)
        return Sums.from_bytes(unseal(open_store(root_url).get(key), key, f"{root_url}/{key}"))
    except NotFoundError:
        n_trials, n_choices, mean, variance = _counted(root_url, keys)
        return Sums(n_trials, n_choices, mean, variance, _effective(root_url, keys, n_choices))


def _counted(root_url: str, keys: tuple[str, ...]) -> tuple[int, int, float | None, float | None]:
    """Return (distinct trials, distinct choices, mean and variance of their Sharpe ratios).

    Page by page, so that the sums are the same whichever run a trial came from.
    """
    entries = [open_entry(root_url, key) for key in keys]
    step = max(PAGES * _BATCH_BYTES // max(12 * sum(entry.n_trials for entry in entries), 1), 1)
    n_trials = n_choices = n = 0
    total = squares = 0.0
    for start in range(0, PAGES, step):
        stop = min(start + step, PAGES)
        for parts in zip(*(entry.pages(start, stop) for entry in entries), strict=True):
            page = Trials(
                np.concatenate([part.digests for part in parts]), np.concatenate([part.sharpe for part in parts])
            ).distinct()
            n_trials += len(page)
            n_choices += int(np.count_nonzero(page.digests & CHOICE))
            ratios = page.sharpe[np.isfinite(page.sharpe)].astype(np.float64)
            n, total, squares = n + len(ratios), total + float(ratios.sum()), squares + float(np.square(ratios).sum())
    mean = total / n if n else 0.0
    variance = max(squares - n * mean * mean, 0.0) / (n - 1) if n > 1 else None
    return n_trials, n_choices, mean if n else None, variance


def _effective(root_url: str, keys: tuple[str, ...], n_choices: int) -> EffectiveTrials:
    from quantbot.selection import effective_trials

    merged: Sample | None = None
    keep = SAMPLED  # no more than the smallest sample that was asked for: so many of the union are in its parts
    for key in keys:
        entry = open_entry(root_url, key)
        own = entry.sample()
        keep = min(keep, entry.head.get("n_asked", SAMPLED))
        merged = own if merged is None else _merged(merged, own)
    assert merged is not None
    returns = merged.returns[:keep].astype(np.float64)
    return effective_trials(returns, max(n_choices, len(returns)))


def _merged(one: Sample, other: Sample) -> Sample:
    """Return the trials of lowest digest of two samples."""
    shift = max(one.shift, other.shift)
    one, other = one.coarser(shift), other.coarser(shift)
    first = min(one.first_bucket, other.first_bucket)
    last = max(sample.first_bucket + sample.returns.shape[1] for sample in (one, other))
    digests, places = np.unique(np.concatenate([one.digests, other.digests]), return_index=True)
    digests, places = digests[:SAMPLED], places[:SAMPLED]
    returns = np.full((len(digests), last - first), np.nan, np.float32)
    for sample, offset in ((one, 0), (other, len(one.digests))):
        own = (places >= offset) & (places < offset + len(sample.digests))
        at = sample.first_bucket - first
        returns[own, at : at + sample.returns.shape[1]] = sample.returns[places[own] - offset]
    return Sample(digests, shift, first, returns)
