"""Whether damage to a store is ever taken for a number.

One object at a time is damaged, read by everything that reads it, and put back.

    python bench/corruption.py --count 10000 --seed 7
    python bench/corruption.py --count 500 --store s3://bucket/corruption
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from datasets import digests, references
from datasets.bars import BarColumns, BarsMeta, write_bars
from datasets.catalog import Catalog
from datasets.events import STORED, EventsMeta
from datasets.events_writer import EventsWriter
from datasets.store import Store, open_store
from datasets.versions import read_any
from quantbot.book import BookInstrument, Events
from quantbot.errors import CorruptError, DataError, FormatError, NotFoundError
from sweeps import adaptive, ledger, ledger_sums, rows
from sweeps.executors import serial
from sweeps.integrity import check_store
from sweeps.ledger_entry import PAGES
from sweeps.plan import make_plan
from sweeps.publish import open_rows
from sweeps.run import drive
from sweeps.runstore import RunStore, forget
from sweeps.spec import parse_spec
from sweeps.submission import submit

DAY_NS = 86_400 * 10**9
KINDS = ("data", "rows", "block", "manifest")
FAULTS = ("flip", "truncate", "extend", "empty", "missing", "swap", "stale", "random")
TYPED = (CorruptError, FormatError, NotFoundError, DataError)


@dataclass(frozen=True)
class Target:
    """An object, how everything that comes of it is read, and what once stood, or stands elsewhere, in its place."""

    kind: str
    key: str
    read: Callable[[], bytes]
    owner: str
    stale: str = ""


@dataclass
class Tally:
    """What became of the faults."""

    by_reader: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_check: Counter[tuple[str, str]] = field(default_factory=Counter)
    unnamed: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def n(self) -> int:
        """Number of faults."""
        return self.by_reader.total() + self.by_check.total() + len(self.unseen) + len(self.wrong)


# -- a store with one of everything -------------------------------------------------------------------------------


def market(seed: int, n: int = 600) -> dict[str, BarColumns]:
    """Return two assets of daily bars."""
    found = {}
    for number, symbol in enumerate(("AAA", "BBB")):
        draws = np.random.default_rng([seed, number])
        close = 100 * np.exp(np.cumsum(draws.normal(0, 0.01, n)))
        first = np.concatenate([[100.0], close[:-1]])
        stamps = (12_000 + np.arange(n, dtype=np.int64)) * DAY_NS
        high, low = np.maximum(first, close) * 1.001, np.minimum(first, close) * 0.999
        found[symbol] = BarColumns(stamps, first, high, low, close, np.round(draws.lognormal(7, 1, n)))
    return found


def write_events(root: Store, seed: int) -> None:
    """Write a session of a book whose best prices wander."""
    draws = np.random.default_rng(seed)
    book = BookInstrument("X", 0.01, 1.0, "by_price")
    ticks = 1000 + np.cumsum(draws.integers(-1, 2, 4000))
    events = [(i + 1, 7, 1 if i % 2 else -1, int(t) + (0 if i % 2 else 3), 5) for i, t in enumerate(ticks.tolist())]
    with EventsWriter(root, "test/book", EventsMeta("X", "drawn"), chunk_events=1024, snapshot_every=512) as writer:
        writer.add(Events.of(book, "2024-01-02", events))
        writer.finish()


def spec(**changes: Any) -> dict[str, Any]:
    """Return a small sweep."""
    return {
        "version": 1,
        "run": {"name": "small"},
        "data": {"dataset": "test/bars"},
        "strategy": {"name": "sma_cross"},
        "parameters": {
            "fast": {"start": 3, "stop": 12, "step": 1},
            "slow": {"values": [8, 16, 24, 32]},
            "execution.fee_bps": 3,
        },
        "search": {"where": "fast < slow"},
        "folds": {"method": "holdout", "test": "25%"},
    } | changes


def build(root: Store, *, small: bool = False) -> list[str]:
    """Write two versions of two datasets and three finished runs; return the runs' identities, the older one first.

    A small store has two runs, neither of which learns in phases.
    """
    for seed in (1, 2):
        meta = BarsMeta("Two wandering assets", "drawn", "1d", 252.0, synthetic=True)
        write_bars(root, "test/bars", market(seed), meta, {})
        write_events(root, seed)
    identities = []
    halving = {"method": "halving", "initial": "grid", "rungs": 2, "where": "fast < slow"}
    specs = (spec(execution={"slippage_bps": 2}), spec(), spec(search=halving))
    for changed in specs[: 2 if small else 3]:
        parsed = parse_spec(changed)
        identity = submit(parsed, root, plan=make_plan(parsed, root, block_points=8, probe=False))
        with serial() as executor:
            drive(root, identity, executor)
        identities.append(identity)
    return identities


# -- everything that reads an object ------------------------------------------------------------------------------


def digest(*parts: Any) -> bytes:
    """Return a digest of arrays and of whatever has a repr."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return found.digest()


def read_dataset(root: Store, name: str, version: str) -> bytes:
    """Read all of a version."""
    dataset: Any = read_any(root, name, version)
    if dataset.kind == "bars":
        columns = [dataset.columns(asset) for asset in dataset.assets]
        arrays = [values for each in columns for _, values in each.items()] + [each.ts_end_ns for each in columns]
        table = dataset.to_xarray().load()
        return digest(*arrays, *(table[each].values for each in table.variables if each != "asset"), dataset.quality)
    session = dataset.sessions("X")[0]
    events = dataset.events("X", session)
    book = [dataset.snapshot("X", session, n) for n in range(dataset.session("X", session).n_snapshots)]
    arrays = [getattr(events, column) for column in (*list(STORED)[2:], "ts_exchange_ns", "ts_received_ns")]
    return digest(*arrays, dataset.snapshot_events("X", session), *(b.price_ticks for b in book), dataset.quality)


def read_by_name(root: Store, name: str) -> bytes:
    """Say which version a name means, and which it meant."""
    return digest(Catalog(root).versions(name), references.newest(root, name))


def read_block(root: Store, identity: str, index: int) -> bytes:
    """Read a block whole, and in parts."""
    run = RunStore(root, identity)
    plan, manifest = run.plan(), run.manifest()
    assert manifest is not None
    block, entry = plan.block(index), manifest.blocks[index]
    header, found = run.read_block(block, entry)
    parts = [run.read_part(part, block, entry) for part in (plan.measures[0], rows.STATUS)]
    return digest(header, *found.measures.values(), found.status, found.reasons, *parts)


def read_run(root: Store, identity: str) -> bytes:
    """Read what is known of a run beside its rows; no manifest is no result, and said so."""
    run = RunStore(root, identity)
    plan, manifest = run.plan(), run.manifest()
    if manifest is None:
        raise NotFoundError("manifest.json: not committed")
    phases = [adaptive.read_phase(run, index) for index in range(1, len(plan.phases))]
    own = [key for key in run.store.list() if key in ("sources.json",) or key.startswith(("luck/", "labels/"))]
    owed = ["sources.json", "luck/2/selection.json", "luck/2/bootstrap.json"]
    if not set(owed) <= set(own):
        raise NotFoundError(f"{set(owed) - set(own)}: not there")
    return digest(plan.to_bytes(), manifest, run.request(), run.labels(), phases, *map(run.read_json, own))


def read_published(root: Store, identity: str) -> bytes:
    """Read the published rows."""
    table = open_rows(RunStore(root, identity)).load()
    return digest(*(table[name].values for name in table.variables))


def read_entry(root: Store, key: str) -> bytes:
    """Read an entry of the ledger."""
    entry = ledger_sums.open_entry(root.url, key)
    pages = [array for page in entry.pages(0, PAGES) for array in (page.digests, page.sharpe)]
    return digest(entry.head, *pages, entry.sample().returns)


def read_sums(root: Store, key: str) -> bytes:
    """Read what a ledger adds up to."""
    known = next(f for f in ledger.families(root) if f.digest in key)
    root.size(key)
    return digest(ledger.read_ledger(root, known, lines=False).n_trials)


def targets(root: Store, identities: list[str]) -> Iterator[Target]:
    """Yield every object of the newer versions and runs, with its reader and its older counterpart."""
    for name in ("test/bars", "test/book"):
        new, old = (each.version for each in Catalog(root).versions(name))
        read = partial(read_dataset, root, name, new)
        fresh, before = (read_any(root, name, version) for version in (new, old))
        for key in fresh.manifest.objects:
            tail = key.partition("/")[2]
            folder = references.folder(name) if fresh.kind == "events" else references.version_folder(name, new)
            back = references.folder(name) if fresh.kind == "events" else references.version_folder(name, old)
            earlier = [f"{back}/{k}" for k in before.manifest.objects if k.partition("/")[2] == tail]
            yield Target("data", f"{folder}/{key}", read, name, *earlier[:1])
        here, there = (f"{references.version_folder(name, each)}/{references.MANIFEST}" for each in (new, old))
        yield Target("manifest", here, read, name, there)
        refs = root.list(f"{references.folder(name)}/refs/")
        for key in refs:
            yield Target("manifest", key, partial(read_by_name, root, name), name, refs[0])
    for identity in identities[1:]:
        run = RunStore(root, identity)
        for key in run.store.list():
            full, old = f"runs/{identity}/{key}", f"runs/{identities[0]}/{key}"
            if key.startswith("blocks/"):
                yield Target("block", full, partial(read_block, root, identity, int(key[7:15])), identity, old)
            elif key.startswith("rows.zarr"):
                yield Target("rows", full, partial(read_published, root, identity), identity, old)
            elif key.endswith(".json") and not key.startswith(("lease/", "labels/", "service/")):
                yield Target("manifest", full, partial(read_run, root, identity), identity, old)
    entries = root.list("ledger/")
    for key in entries:
        yield Target("manifest", key, partial(read_entry, root, key), "", entries[0])


# -- faults -------------------------------------------------------------------------------------------------------


def damaged(fault: str, data: bytes, other: bytes, draws: np.random.Generator) -> bytes | None:
    """Return what stands there after a fault, None for nothing."""
    match fault:
        case "flip":
            at = int(draws.integers(len(data)))
            return data[:at] + bytes([data[at] ^ 1 << int(draws.integers(8))]) + data[at + 1 :]
        case "truncate":
            return data[: int(draws.integers(1, max(len(data), 2)))]
        case "extend":
            return data + draws.bytes(int(draws.integers(1, 64)))
        case "random":
            return draws.bytes(len(data))
        case "empty":
            return b""
        case "missing":
            return None
    return other


def attack(root: Store, identities: list[str], count: int, seed: int, show: Callable[[int], None]) -> Tally:
    """Damage one object after the other, and see who notices."""
    draws = np.random.default_rng(seed)
    known = {kind: [each for each in targets(root, identities) if each.kind == kind] for kind in KINDS}
    originals = {each.key: root.get(each.key) for each in (e for kind in known.values() for e in kind)}
    readers = {str(each.read): each.read for each in (e for kind in known.values() for e in kind)}
    clean = {name: _forgotten(read) for name, read in readers.items()}
    tally = Tally()
    while tally.n < count:
        kind, fault = str(draws.choice(KINDS)), str(draws.choice(FAULTS))
        target = known[kind][int(draws.integers(len(known[kind])))]
        data = originals[target.key]
        sibling = known[kind][int(draws.integers(len(known[kind])))]
        elsewhere = target.stale if fault == "stale" and target.stale and root.exists(target.stale) else sibling.key
        now = damaged(fault, data, root.get(elsewhere), draws) if len(data) else None
        if now == data:
            continue
        root.delete(target.key)
        if now is not None:
            root.put(target.key, now)
        _judge(root, target, fault, clean[str(target.read)], tally)
        root.put(target.key, data)
        show(tally.n)
    return tally


def _judge(root: Store, target: Target, fault: str, clean: bytes, tally: Tally) -> None:
    label = f"{fault} of {target.key}"
    try:
        found = _forgotten(target.read)
    except TYPED as error:
        tally.by_reader[target.kind, fault] += 1
        names = (target.key.rpartition("/")[2], target.key.rpartition("/")[0], "manifest.json", "not there")
        if not any(name in str(error) for name in names):
            tally.unnamed.append(f"{label}: {error}")
        return
    if found != clean and "/refs/" not in target.key:
        tally.wrong.append(label)
        return
    # Without its newest pointer a name means its older version, whose numbers are its own: only the check can tell.
    # Else nobody needed what was damaged: then the numbers are right, and the check must see it.
    forget()
    if any(finding.key for finding in check_store(root, only=target.owner).findings):
        tally.by_check[target.kind, fault] += 1
    else:
        tally.unseen.append(label)


def _forgotten(read: Callable[[], bytes]) -> bytes:
    """Read as a new process would, with nothing remembered."""
    forget()
    digests.forget()
    for cached in (adaptive._read, adaptive._known, ledger_sums.open_entry, ledger_sums.sums):
        cached.cache_clear()
    return read()


def main(arguments: list[str] | None = None) -> int:
    """Attack a store and print a table; 0 when no fault became a number and none went unseen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--store", help="an empty folder or S3 prefix (default: a temporary folder)")
    said = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = open_store(said.store or f"{folder}/store")
        identities = build(root)
        began = time.perf_counter()
        watched = sys.stderr.isatty()
        tally = attack(
            root, identities, said.count, said.seed,
            lambda n: print(f"\r{n}", end="", file=sys.stderr) if watched and n % 100 == 0 else None,
        )  # fmt: skip
        print(f"\n{tally.n} faults in {time.perf_counter() - began:.0f} s\n")
        print("| object | " + " | ".join(FAULTS) + " |\n|---|" + "--:|" * len(FAULTS))
        for kind in KINDS:
            cells = [f"{tally.by_reader[kind, fault]} + {tally.by_check[kind, fault]}" for fault in FAULTS]
            print(f"| {kind} | " + " | ".join(cells) + " |")
        print("\n(found by whoever reads it + found by the check, where no reader needs what was damaged)")
        for what, lines in (("WRONG", tally.wrong), ("unseen", tally.unseen), ("not named", tally.unnamed)):
            print(f"{what}: {len(lines)}", *lines[:20], sep="\n  ")
    return 1 if tally.wrong or tally.unseen else 0


if __name__ == "__main__":
    sys.exit(main())
