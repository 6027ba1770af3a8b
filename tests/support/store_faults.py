"""A store that fails at its n-th operation, before or after that took effect, whoever opened it.

`StoreFaults` stands in front of every store of this process while its `with` lasts: also of those that a worker or a
cache opens by their URL, which a wrapper around one object would miss. Other processes are not touched, so drive with
`sweeps.executors.serial`. pytest has this folder on its path: `from store_faults import StoreFaults`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

from datasets.store_file import FileStore
from datasets.store_s3 import S3Store
from quantbot.errors import OutageError, StoreError

WRITES = ("put_new", "put", "delete")
READS = ("get", "exists", "size", "list", "folders", "modified_ns", "now_ns")
Moment = Literal["before", "after", "lost"]


class StoreFaults:
    """Counts the operations of all stores of this process, and fails some of them.

    Parameters
    ----------
    nth
        The operation that fails, from 1; None only counts.
    moment
        "before": nothing happened. "after": the object was written (or read, or deleted), and the answer is the error.
        "lost": nothing happened, and the answer says that it did (a `put_new` or `put` that stored nothing).
    forever
        Whether every operation from the n-th on fails, as in an outage; else only that one.
    error
        Makes what is raised, given the operation and the key.
    operations, matching
        Which operations count: their names, and a part that their key must have.

    Examples
    --------
    >>> import tempfile
    >>> from datasets.store import open_store
    >>> store = open_store(tempfile.mkdtemp())
    >>> with StoreFaults(2, "after") as faults:
    ...     store.put_new("a", b"1")
    ...     try:
    ...         store.put_new("b", b"2")
    ...     except OutageError as error:
    ...         print(error)
    True
    injected: put_new 'b', after it took effect
    >>> store.list(), faults.seen
    (['a', 'b'], [('put_new', 'a'), ('put_new', 'b')])
    """

    def __init__(
        self,
        nth: int | None = None,
        moment: Moment = "before",
        *,
        forever: bool = False,
        error: Callable[[str, str], BaseException] | None = None,
        operations: tuple[str, ...] = (*WRITES, *READS),
        matching: str = "",
    ) -> None:
        self.nth, self.moment, self.forever = nth, moment, forever
        self.operations, self.matching = operations, matching
        self.seen: list[tuple[str, str]] = []
        self.fired = 0
        self._error = error or self._outage
        self._lock = threading.Lock()
        self._inside = threading.local()
        self._before: list[tuple[type[Any], str, Any]] = []

    @property
    def n(self) -> int:
        """Operations that counted so far."""
        return len(self.seen)

    def heal(self) -> None:
        """Fail nothing from now on."""
        self.nth = None

    def __enter__(self) -> StoreFaults:
        for kind in (FileStore, S3Store):
            for name in self.operations:
                self._before.append((kind, name, kind.__dict__[name]))
                setattr(kind, name, self._faulty(name, kind.__dict__[name]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for owner, name, method in reversed(self._before):
            setattr(owner, name, method)
        self._before.clear()

    def _faulty(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(store: Any, *arguments: Any, **named: Any) -> Any:
            if getattr(self._inside, "deep", False):  # an operation that another is made of
                return method(store, *arguments, **named)
            key = str(arguments[0]) if arguments else str(named.get("key", named.get("prefix", "")))
            if self.matching not in key or not self._counts(name, key):
                return self._run(method, store, arguments, named)
            if self.moment == "after":
                self._run(method, store, arguments, named)
            if self.moment == "lost":
                return True if name == "put_new" else None
            raise self._error(name, key)

        return call

    def _run(self, method: Callable[..., Any], store: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self._inside.deep = True
        try:
            return method(store, *arguments, **named)
        finally:
            self._inside.deep = False

    def _counts(self, name: str, key: str) -> bool:
        """Count an operation; return whether it is to fail."""
        with self._lock:
            self.seen.append((name, key))
            fails = self.nth is not None and (self.n == self.nth or (self.forever and self.n >= self.nth))
            self.fired += fails
            return fails

    def _outage(self, name: str, key: str) -> StoreError:
        effect = "after it took effect" if self.moment == "after" else "before it did anything"
        return OutageError(f"injected: {name} {key!r}, {effect}")
