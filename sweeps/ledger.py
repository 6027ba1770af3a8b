"""The trial ledger: every evaluated trial of a strategy on a dataset, in whatever run, by whomever, whenever.

    ledger/<family>/<run>           the trials of one committed run, written once (`sweeps.ledger_entry`)
    ledger/<family>/<run>-looked    those that its locked holdout hid until somebody looked
    ledger-sums/<family>/<digest of a set of entries>.json    what they add up to, for whoever reads them next

A family is a strategy (its reference without the folder) on a dataset (its name without the version). Trials are
known by their digests (`sweeps.trial_digests`), so the union over entries counts each once: a sweep that is divided
into ten runs, renamed or run again adds nothing.

What counts is every (point, asset, fold) that was evaluated, failed ones too; not what a search did not promote, nor a
locked test before somebody looks. A *choice* is a trial on a fold that a best is chosen on: the whole period and the
rungs of a halving; of a holdout the train, and the test too where it can be seen. Groups and steps of a k-fold, a CPCV
or a walk forward are parts of the whole period and no tries of their own. The effective number is that of the choices.

An entry also carries the returns of its choices of lowest digest, over buckets of time that all entries share. The
lowest digests of the union are among the lowest of its parts, so the family's sample does not depend on how trials
were divided into runs either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantbot.errors import NotFoundError
from sweeps.ledger_entry import CHOICE, LEDGER, SAMPLED, Sample, Trials, encode_entry, entry_key, family_digest
from sweeps.ledger_sums import open_entry, sums, sums_key
from sweeps.looks import hidden_trials, is_locked
from sweeps.runstore import RunStore
from sweeps.surface import CellStatus
from sweeps.task import feed_of_plan, load_data, steps_of
from sweeps.trial_digests import point_words, trial_digests
from sweeps.trial_returns import trial_returns

if TYPE_CHECKING:
    from datasets.store import Store
    from quantbot.selection import EffectiveTrials
    from sweeps.plan import Plan
    from sweeps.results import Run

PLAIN_STEPS = 2_000_000  # bars times trials that a sample in plain Python steps over, some ten seconds: it keeps fewer
BUCKETS = 512  # of the dataset's whole span, at most; between half as many and so many
_SHARPE = "sharpe"


@dataclass(frozen=True)
class Family:
    """What shares a ledger.

    Attributes
    ----------
    strategy
        As a spec names it, a file without its folder.
    dataset
        Its name, without the version.
    """

    strategy: str
    dataset: str

    @property
    def digest(self) -> str:
        """The name of the family's folder: 32 hexadecimal digits."""
        return family_digest(self.strategy, self.dataset)


@dataclass(frozen=True)
class LedgerEntry:
    """One run's line in the ledger.

    Attributes
    ----------
    name, user
        What the run was called last, and who submitted it; empty when the run is gone from the store.
    at_ns
        When the entry was written, by the store's clock.
    looked
        Whether these are the trials of a locked holdout that somebody looked at.
    n_trials, n_choices
        Distinct evaluated trials of this entry, and those of them that a choice may be made on.
    """

    run: str
    name: str
    user: str
    at_ns: int
    looked: bool
    dataset_version: str
    n_trials: int
    n_choices: int


@dataclass(frozen=True, eq=False)
class Ledger:
    """All evaluated trials of a family.

    Attributes
    ----------
    n_trials
        Distinct evaluated trials.
    n_choices
        Those of them that a choice may be made on.
    effective
        What the choices are worth as independent trials (`quantbot.selection.effective_trials`).
    mean_sharpe, variance_sharpe
        Of the annual Sharpe ratios of all distinct trials that have one; not a number without.
    entries
        By run and time, the oldest first.
    """

    family: Family
    n_trials: int
    n_choices: int
    effective: EffectiveTrials
    mean_sharpe: float
    variance_sharpe: float
    entries: tuple[LedgerEntry, ...]

    @property
    def n_effective(self) -> float:
        """Independent trials that the family's choices are worth."""
        return self.effective.n_effective


def family_of(plan: Plan) -> Family:
    """Return the family that a plan's trials belong to."""
    path, colon, function = plan.bundle.reference.rpartition(":")
    strategy = f"{PurePath(path).name}:{function}" if colon and path.endswith(".py") else plan.bundle.reference
    return Family(strategy, plan.dataset_name)


def families(root: Store) -> list[Family]:
    """Return every family that has an entry, sorted."""
    found = []
    for digest in root.folders(f"{LEDGER}/"):
        keys = root.list(f"{LEDGER}/{digest}/")
        if keys:
            head = open_entry(root.url, keys[0]).head
            found.append(Family(head["strategy"], head["dataset"]))
    return sorted(found, key=lambda family: (family.strategy, family.dataset))


def find_family(root: Store, which: str) -> Family:
    """Return the family that `which` names: "strategy on dataset", or the strategy or dataset alone if it is the only.

    Raises
    ------
    NotFoundError
        If none or several are meant; the message lists what there is.
    """
    known = families(root)
    strategy, _, dataset = which.partition(" on ")
    found = [f for f in known if (f.strategy, f.dataset) == (strategy, dataset)] or [
        f for f in known if which in (f.strategy, f.dataset, f.digest)
    ]
    if len(found) == 1:
        return found[0]
    there = "; ".join(f"{f.strategy} on {f.dataset}" for f in found or known) or "none yet"
    raise NotFoundError(f"{which!r} must mean one family of trials, found {len(found)}; there are: {there}")


def is_recorded(run: RunStore, plan: Plan) -> bool:
    """Return whether the run's entries are there: its own, and that of a locked holdout that somebody looked at."""
    family, owed = family_of(plan), [False]
    if plan.spec.folds.locked and not is_locked(run, plan):
        owed.append(True)
    return all(run.root.exists(_key(family, run.identity, looked)) for looked in owed)


def record(store: RunStore, run: Run) -> None:
    """Write the entries of a committed run that are not there yet; killed at any moment, the next call writes them."""
    plan = run.plan
    hidden = hidden_trials(plan) if plan.spec.folds.locked else None
    for looked in (False, True):
        if looked and (hidden is None or run.locked):
            continue
        key = _key(family_of(plan), store.identity, looked)
        if not store.root.exists(key):
            skipped = None if hidden is None else (~hidden if looked else hidden)
            store.root.put_new(key, _encoded(run, skipped, looked))


def read_ledger(root: Store, family: Family, *, remember: bool = False, lines: bool = True) -> Ledger:
    """Return what the ledger of a family adds up to.

    Entries never change, so their sums are remembered by the set of entries. Memory is bounded: pages of all entries
    are read together, whatever the number of trials.

    Parameters
    ----------
    remember
        Write the sums into the store too, for other processes.
    lines
        Read what is known of each run, too; else `entries` is empty. A few reads from the store for each run.

    Raises
    ------
    NotFoundError
        If the family has no entry.
    """
    keys = tuple(root.list(f"{LEDGER}/{family.digest}/"))
    if not keys:
        raise NotFoundError(f"no trial of {family.strategy} on {family.dataset} is in the ledger of {root.url}")
    found = sums(root.url, keys)
    if remember:
        root.put_new(sums_key(keys), found.to_bytes(sums_key(keys)))
    known = (_line(root, key) for key in (keys if lines else ()))
    entries = sorted(known, key=lambda entry: (entry.at_ns, entry.run, entry.looked))
    counted = {name: getattr(found, name) for name in ("n_trials", "n_choices", "effective")}
    moments = [math.nan if value is None else value for value in (found.mean_sharpe, found.variance_sharpe)]
    return Ledger(family, **counted, mean_sharpe=moments[0], variance_sharpe=moments[1], entries=tuple(entries))


# -- writing ------------------------------------------------------------------------------------------------------


def choice_folds(plan: Plan) -> list[int]:
    """Return the folds whose trials count as tries for the best: see the head of this file."""
    roles = [fold.role for fold in plan.folds]
    wanted = {"all", "rung"}
    if roles.count("train") == 1 or "all" not in roles:
        wanted |= {"train", "test"}
    return [index for index, role in enumerate(roles) if role in wanted]


def _key(family: Family, identity: str, looked: bool) -> str:
    return entry_key(family.digest, identity, looked=looked)


def _encoded(run: Run, skipped: NDArray[np.bool_] | None, looked: bool) -> bytes:
    plan = run.plan
    n_sampled = _n_sampled(plan)
    trials, low, indices = _evaluated(run, skipped, n_sampled)
    family = family_of(plan)
    head = {
        "strategy": family.strategy,
        "dataset": family.dataset,
        "dataset_version": plan.dataset_version,
        "run": plan.identity,
        "engine": plan.engine,
        "looked": looked,
        "n_asked": n_sampled,
    }
    return encode_entry(head, trials, _sampled(plan, low, indices))


def _n_sampled(plan: Plan) -> int:
    if not plan.plain_python and not plan.members:
        return SAMPLED
    longest = max(len(load_data(plan, asset)) for asset in plan.assets)
    return min(max(steps_of(plan, 0, PLAIN_STEPS) // max(longest, 1), 64 if plan.members else 8), SAMPLED)


def _evaluated(
    run: Run, skipped: NDArray[np.bool_] | None, n_sampled: int
) -> tuple[Trials, NDArray[np.uint64], NDArray[np.int64]]:
    """Return the distinct evaluated trials, and digests and indices of those that are sampled."""
    plan = run.plan
    words, choices = point_words(plan), set(choice_folds(plan))
    sharpe = run.values(_SHARPE) if _SHARPE in plan.measures else None
    evaluated = (run.state == CellStatus.VALUE) | (run.state == CellStatus.FAILED)
    if skipped is not None:
        evaluated &= ~skipped
    digests, ratios, low, indices = [], [], [], []
    for number in range(len(plan.assets) * len(plan.folds)):
        asset, fold = divmod(number, len(plan.folds))
        window = plan.folds[fold].window(load_data(plan, plan.assets[asset]).ts_end_ns)
        here = number * plan.n_points + np.flatnonzero(evaluated[number * plan.n_points :][: plan.n_points])
        if window[1] - window[0] < 2 or not len(here):
            continue  # without a return nothing was seen
        found = trial_digests(plan, words[here - number * plan.n_points], plan.assets[asset], window) & ~CHOICE
        if fold in choices:
            found |= CHOICE
            first = np.argpartition(found, n_sampled)[:n_sampled] if len(found) > n_sampled else slice(None)
            low.append(found[first])
            indices.append(here[first])
        digests.append(found)
        ratios.append((np.full(len(here), np.nan) if sharpe is None else sharpe[here]).astype(np.float32))
    everything = Trials(_joined(digests, np.uint64), _joined(ratios, np.float32)).distinct()
    lowest, places = np.unique(_joined(low, np.uint64), return_index=True)
    return everything, lowest[:n_sampled], _joined(indices, np.int64)[places][:n_sampled]


def _sampled(plan: Plan, digests: NDArray[np.uint64], trials: NDArray[np.int64]) -> Sample:
    """Compute the returns of these trials, by time bucket."""
    dataset = feed_of_plan(plan).dataset
    start, end = dataset.start_ns, dataset.end_ns
    shift = next(bits for bits in range(64) if (end >> bits) - (start >> bits) < BUCKETS)
    first = start >> shift
    returns = np.full((len(trials), (end >> shift) - first + 1), np.nan, np.float32)
    for piece in trial_returns(plan, trials):
        buckets = (piece.ts_end_ns >> shift) - first
        starts = np.flatnonzero(np.r_[True, buckets[1:] != buckets[:-1]])
        returns[piece.places[:, None], buckets[starts]] = np.add.reduceat(piece.returns, starts, axis=1)
    return Sample(digests, shift, first, returns)


def _joined(parts: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts])


def _line(root: Store, key: str) -> LedgerEntry:
    head = open_entry(root.url, key).head
    run = RunStore(root, head["run"])
    request = run.read_json("request.json") or {}
    labels = run.labels()
    return LedgerEntry(
        run=head["run"],
        name=labels[-1] if labels else str(request.get("name", "")),
        user=str(request.get("user", "")),
        at_ns=root.modified_ns(key),
        looked=bool(head["looked"]),
        dataset_version=head["dataset_version"],
        n_trials=int(head["n_trials"]),
        n_choices=int(head["n_choices"]),
    )
