"""Whether a store takes what is about to be written: asked before anything is."""

from __future__ import annotations

import contextlib
import uuid

from datasets.store import Store
from quantbot.errors import AccessError, FullError, OutageError, StoreError

_FOLDER = "selftest"


def check_takes(root: Store, n_bytes: int = 0) -> None:
    """Write, read and remove a small object, and see whether there is room.

    Parameters
    ----------
    n_bytes
        What is to be written about; compared with the free space where a store knows it.

    Raises
    ------
    AccessError
        If these credentials, or this account, may not write: better now than at the first block.
    FullError
        If there is less free space.
    StoreError
        If the store doesn't keep its promises: puts only if absent, reads what was written.

    Examples
    --------
    >>> import tempfile
    >>> from datasets.store import open_store
    >>> check_takes(open_store(tempfile.mkdtemp()), 1_000_000)
    """
    free = root.free_bytes()
    if free is not None and free < n_bytes:
        raise FullError(
            f"{root.url} has {free / 1e9:,.2f} GB free, and about {n_bytes / 1e9:,.2f} GB are to be written; free some "
            "space, or ask for less"
        )
    key, data = f"{_FOLDER}/{uuid.uuid4().hex}", b"quantbot"
    first, again = root.put_new(key, data), root.put_new(key, b"another")
    try:
        found = root.get(key)
    except LookupError as error:
        raise OutageError(f"{root.url} acknowledged {key!r} and doesn't have it") from error
    finally:
        # A role that may not delete leaves it to the garbage collection.
        with contextlib.suppress(AccessError):
            root.delete(key)
    if not first or again or found != data:
        raise StoreError(
            f"{root.url} does not keep its promises: an object that was put only if absent was overwritten or came "
            "back changed; it needs a server with conditional writes (If-None-Match)"
        )
