"""Reading everything that a store says it has, and comparing it with what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from datasets import digests, references
from datasets.seals import unseal
from quantbot.errors import CorruptError, FormatError, NotFoundError, QuantBotError, StoreError
from sweeps.integrity.datasets import UNREADABLE, Shelf, StoredVersion, committed, shelves
from sweeps.integrity.findings import Cure, Finding, Health
from sweeps.ledger import is_recorded
from sweeps.ledger_entry import LEDGER, PAGES, Entry
from sweeps.ledger_sums import SUMS
from sweeps.publish import MARKER, ROWS, published_objects
from sweeps.runstore import RUNS, Manifest, RunStore

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.plan import Plan

_SEALED = ("plan.json", "sources.json", "request.json", "manifest.json", MARKER)
_LOST_FOR_GOOD = ("looks/", "service/budget/", "service/meter/")  # nothing else in the store says the same
_SEALED_FOLDERS = ("labels/", "phases/", "luck/", "null/", "quarantine/", *_LOST_FOR_GOOD)
_SEALED_AT_THE_ROOT: dict[str, Cure] = {f"{SUMS}/": "repair", "usage/": "restore", "queue/": "submit"}
_PAGES_AT_ONCE = 32


def check_store(
    root: Store,
    *,
    datasets: bool = True,
    runs: bool = True,
    only: str = "",
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Health:
    """Read every object of every dataset, run and ledger, and report each that is not what was written.

    Nothing is changed, and whatever runs beside it may go on: what is written meanwhile is seen or not.

    Parameters
    ----------
    datasets, runs
        What is read.
    only
        A dataset's name or a run's identity: nothing else is read.
    on_progress
        Called with how many datasets' versions and runs are done, how many there are, and which is read now.

    Raises
    ------
    StoreError
        If the store can't be read.

    Examples
    --------
    >>> import tempfile
    >>> from datasets.store import open_store
    >>> check_store(open_store(tempfile.mkdtemp())).whole
    True
    """
    return _Check(root, on_progress or (lambda *_: None)).everything(datasets, runs, only)


def check_run(root: Store, identity: str) -> list[Finding]:
    """Return what is wrong with one run and its entries in the ledger."""
    check = _Check(root, lambda *_: None)
    check.run(identity)
    check.ledger_of(identity)
    return check.findings


class _Check:
    """One walk through a store."""

    def __init__(self, root: Store, tell: Callable[[int, int, str], None]) -> None:
        self.root, self._tell = root, tell
        self.findings: list[Finding] = []
        self._n_objects = self._n_bytes = 0

    def everything(self, datasets: bool, runs: bool, only: str) -> Health:
        digests.forget()
        versions = list(self._versions(only)) if datasets else []
        identities = [name for name in self.root.folders(f"{RUNS}/") if only in ("", name)] if runs else []
        total = len(versions) + len(identities)
        for done, version in enumerate(versions):
            self._tell(done, total, version.label[:60])
            self._version(version)
        for done, identity in enumerate(identities, len(versions)):
            self._tell(done, total, f"run {identity[:12]}")
            self.run(identity)
        if runs and not only:
            self._ledgers()
        self._tell(total, total, "")
        return Health(len(versions), len(identities), self._n_objects, self._n_bytes, tuple(self.findings))

    # -- datasets -------------------------------------------------------------------------------------------------

    def _versions(self, only: str) -> Iterator[StoredVersion]:
        for shelf in shelves(self.root):
            for name in shelf.names():
                if only in ("", name):
                    self._pointers(shelf, name)
                    yield from committed(shelf, name)

    def _pointers(self, shelf: Shelf, name: str) -> None:
        """Read the pointers of a name; what they point to must be there, and nothing else."""
        folder = f"{shelf.prefix}{references.folder(name)}"
        try:
            pointed = {pointer.version for pointer in references.references(shelf.root, name)}
        except CorruptError as error:
            self._found(f"{folder}/refs/", error, "ingest", name)
            return
        there = {version for version in shelf.versions(name) if shelf.is_committed(name, version)}
        for version in sorted(pointed - there):
            key = f"{folder}/v={version}/{references.MANIFEST}"
            self._found(key, f"{key} is missing: {name} points to this version", "ingest", f"{name}@{version}")
        for version in sorted(there - pointed):
            key = f"{folder}/refs/"
            self._found(key, f"no pointer of {name} names version {version}: one is missing", "ingest", name)

    def _version(self, version: StoredVersion) -> None:
        try:
            objects = version.objects
        except UNREADABLE as error:
            self._found(version.manifest_key, error, "ingest", version.label)
            return
        self._n_objects += 1 + len(objects.objects)
        self._n_bytes += sum(each.size for each in objects.objects.values())
        whole = True
        for key in sorted(objects.objects):
            problem = objects.problem(key)
            if problem:
                self._found(f"{version.shelf.prefix}{version.folder}/{key}", problem, "ingest", version.label)
                whole = False
        for problem in version.other_content() if whole else ():
            self._found(version.manifest_key, problem, "ingest", version.label)

    # -- runs -----------------------------------------------------------------------------------------------------

    def run(self, identity: str) -> None:
        run = RunStore(self.root, identity)
        keys = run.store.list()
        documents = [key for key in keys if key in _SEALED or key.startswith(_SEALED_FOLDERS)]
        for key in documents:
            self._document(run, key)
        if "plan.json" not in keys:
            if any(key.startswith("blocks/") or key in ("request.json", "manifest.json") for key in keys):
                self._found(f"{RUNS}/{identity}/plan.json", "the plan is missing", "submit", identity)
            return
        if "request.json" not in keys and "manifest.json" in keys:
            self._found(f"{RUNS}/{identity}/request.json", "the request is missing", "repair", identity)
        try:
            plan = run.plan()
        except QuantBotError:
            return  # said above
        try:
            manifest = run.manifest()
        except (CorruptError, FormatError) as error:
            manifest = None
            if not any(finding.key.endswith(f"{identity}/manifest.json") for finding in self.findings):
                self._found(f"{RUNS}/{identity}/manifest.json", error, _cure(error, "repair"), identity)
        self._blocks(run, plan, manifest)
        self._rows(run, keys)
        if manifest is not None and not is_recorded(run, plan):
            self._found(f"{LEDGER}/", f"the ledger has no entry of run {identity}", "repair", identity)

    def _document(self, run: RunStore, key: str) -> None:
        self._n_objects += 1
        try:
            run.read_json(key)
            if key == "plan.json":
                run.plan()
        except (CorruptError, FormatError) as error:
            cure: Cure = "restore" if key.startswith(_LOST_FOR_GOOD) else "submit" if key == "plan.json" else "repair"
            self._found(f"{RUNS}/{run.identity}/{key}", error, _cure(error, cure), run.identity)

    def _blocks(self, run: RunStore, plan: Plan, manifest: Manifest | None) -> None:
        there = set(run.finished())
        wanted = range(plan.n_blocks) if manifest is not None else sorted(there.intersection(range(plan.n_blocks)))
        for index in wanted:
            key = f"{RUNS}/{run.identity}/{run.block_key(index)}"
            entry = manifest.blocks[index] if manifest is not None else None
            self._n_objects += 1
            if index not in there and entry is not None:
                said = f"{key} is missing; expected {entry.size} bytes, SHA-256 of its header {entry.sha256}"
                self._found(key, said, "repair", run.identity)
                continue
            try:
                header, _ = run.read_block(plan.block(index), entry)
                self._n_bytes += header.size
            except (CorruptError, FormatError) as error:
                self._found(key, error, _cure(error, "repair"), run.identity)

    def _rows(self, run: RunStore, keys: list[str]) -> None:
        if MARKER not in keys:
            return
        from datasets.manifest import VerifiedObjects

        try:
            objects = published_objects(run)
        except QuantBotError:
            return  # said with the documents
        verified = VerifiedObjects(run.store.child(ROWS), objects, f"rows of run {run.identity[:12]}")
        self._n_objects += len(objects)
        self._n_bytes += sum(each.size for each in objects.values())
        for key in sorted(objects):
            problem = verified.problem(key)
            if problem:
                self._found(f"{RUNS}/{run.identity}/{ROWS}/{key}", problem, "repair", run.identity)

    # -- the ledger -----------------------------------------------------------------------------------------------

    def _ledgers(self) -> None:
        for key in self.root.list(f"{LEDGER}/"):
            self._entry(key)
        for folder, cure in _SEALED_AT_THE_ROOT.items():
            for key in self.root.list(folder):
                self._sealed(key, cure)

    def _sealed(self, key: str, cure: Cure) -> None:
        self._n_objects += 1
        try:
            unseal(self.root.get(key), key, f"{self.root.url}/{key}")
        except NotFoundError:
            pass  # a ticket whose run has ended meanwhile
        except (CorruptError, FormatError) as error:
            self._found(key, error, _cure(error, cure), "")

    def ledger_of(self, identity: str) -> None:
        for key in self.root.list(f"{LEDGER}/"):
            if identity in key:
                self._entry(key)

    def _entry(self, key: str) -> None:
        self._n_objects += 1
        where = f"{self.root.url}/{key}"
        run = key.rpartition("/")[2][:64]
        try:
            entry = Entry(lambda offset, length: self.root.get(key, offset, length), where)
            if entry.key != key:
                raise CorruptError(f"{where} is another entry, that of {entry.key}")
            size = self.root.size(key)
            if size != entry.size:
                raise CorruptError(f"{where} must have {entry.size} bytes by its header, found {size}")
            self._n_bytes += size
            entry.sample()
            for first in range(0, PAGES, _PAGES_AT_ONCE):
                for _ in entry.pages(first, first + _PAGES_AT_ONCE):
                    pass
        except (CorruptError, FormatError, NotFoundError) as error:
            self._found(key, error, _cure(error, "repair"), run)

    def _found(self, key: str, problem: object, cure: Cure, owner: str) -> None:
        if isinstance(problem, StoreError):
            raise problem
        self.findings.append(Finding(key, str(problem), cure, owner))


def _cure(error: Exception, else_: Cure) -> Cure:
    return "upgrade" if isinstance(error, FormatError) and "install a newer one" in str(error) else else_
