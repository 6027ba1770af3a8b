"""Making sure that what was written is there, before something says that it is.

A store that answers "written" and has nothing, or shows it seconds later, would leave a manifest with a hole in it. So
sizes are asked for before a manifest names objects, and the manifest's own after it was put.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from datasets.manifest import Manifest
from datasets.store import Store
from quantbot.errors import NotFoundError, OutageError

PATIENCE_SECONDS = 20.0  # S3 shows what it took at once, and other servers within seconds
_FIRST_PAUSE_SECONDS = 0.1
_ASKERS = 8


def confirm(store: Store, sizes: Mapping[str, int], patience_seconds: float | None = None) -> None:
    """Return once every object is there in its size.

    Raises
    ------
    OutageError
        If one isn't, for so long (`PATIENCE_SECONDS` where not said); what the store acknowledged is not what it has.
    """
    end = time.monotonic() + (PATIENCE_SECONDS if patience_seconds is None else patience_seconds)
    pause = _FIRST_PAUSE_SECONDS
    waiting = dict(sizes)
    with ThreadPoolExecutor(min(_ASKERS, max(len(sizes), 1)), "confirm") as pool:
        while True:
            found = dict(zip(waiting, pool.map(lambda key: _size(store, key), waiting), strict=True))
            waiting = {key: size for key, size in waiting.items() if found[key] != size}
            if not waiting:
                return
            if time.monotonic() + pause > end:
                break
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
    key, size = next(iter(waiting.items()))
    has = "nothing" if found[key] is None else f"{found[key]} bytes"
    raise OutageError(
        f"{store.url} acknowledged {len(waiting)} of {len(sizes)} objects and doesn't show them: {key!r} must have "
        f"{size} bytes, there is {has}. Nothing was committed; try again"
    )


def commit(base: Store, manifest: Manifest, store: Store, key: str, *, replace: bool = False) -> bool:
    """Write a manifest under `key` of `store`, once its objects are in `base`; return whether this call wrote it.

    Parameters
    ----------
    replace
        Whether to put it in the place of one whose objects are damaged.
    """
    confirm(base, {name: each.size for name, each in manifest.objects.items()})
    data = manifest.to_bytes()
    if replace:
        store.put(key, data)
    elif not store.put_new(key, data):
        return False
    confirm(store, {key: len(data)})
    return True


def _size(store: Store, key: str) -> int | None:
    try:
        return store.size(key)
    except NotFoundError:
        return None
