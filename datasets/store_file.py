"""A store in a folder: temporary file, fsync, hard link.

A hard link fails when its name exists and appears whole when it doesn't, on every POSIX file system that has links;
fsspec's local "create" mode leaves a partial file under the final name when it is interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from datasets.store_urls import TEMPORARY, Keys, check_key, check_prefix
from datasets.traffic import count_bytes_read
from quantbot.errors import AccessError, FullError, NotFoundError, OutageError, StoreError

if TYPE_CHECKING:
    from datasets.store_zarr import ZarrStore

# What the system's errors mean: our error, and what to do.
_FAULTS: tuple[tuple[tuple[int, ...], type[StoreError], str], ...] = (
    (
        (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV),
        StoreError,
        "; a store needs a file system with hard links",
    ),
    ((errno.EACCES, errno.EROFS), AccessError, "; check the owner and the permissions of the folder"),
    ((errno.ENOSPC, errno.EDQUOT), FullError, "; free some space: nothing was left half written"),
    # A disk or a network mount that went away, or too many open files: all of them pass.
    (
        (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN, errno.EMFILE, errno.ENFILE),
        OutageError,
        "; is the disk or the network mount there?",
    ),
)


class FileStore:
    """The store in the folder `root`, which the first write makes.

    Parameters
    ----------
    temporaries
        Where half-written files are, on the same file system. A child shares its parent's, so that a Zarr group
        holds nothing that isn't Zarr's.
    """

    def __init__(self, root: str | Path, temporaries: str | None = None) -> None:
        self._root = os.path.abspath(os.fspath(root))
        self._temporaries = temporaries or os.path.join(self._root, TEMPORARY)

    @property
    def url(self) -> str:
        """The folder as a `file://` URL."""
        return Path(self._root).as_uri()

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object unless `key` exists; return whether this call wrote it."""
        path = self._path(key)
        if os.path.isfile(path):
            return False
        with self._temporary(key, data) as temporary:
            return self._place(temporary, path, key, replace=False)

    def put(self, key: str, data: bytes) -> None:
        """Write or replace an object, atomically."""
        with self._temporary(key, data) as temporary:
            self._place(temporary, self._path(key), key, replace=True)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return an object's bytes `[start, start + length)`, cut at its end."""
        with self._errors("read", key), open(self._path(key), "rb") as file:
            file.seek(start)
            return count_bytes_read(file.read(-1 if length is None else length))

    def exists(self, key: str) -> bool:
        """Return whether there is an object under `key`."""
        return os.path.isfile(self._path(key))

    def size(self, key: str) -> int:
        """Return an object's length in bytes."""
        return self._stat(key).st_size

    def list(self, prefix: str = "") -> Keys:
        """Return, sorted, every key that starts with `prefix`."""
        check_prefix(prefix)
        folder, _, start = prefix.rpartition("/")
        top = os.path.join(self._root, folder)
        keys: Keys = []
        with self._errors("list", prefix):
            for at, folders, files in os.walk(top, onerror=_raise_unless_gone):
                if at == top and start:
                    folders[:] = [name for name in folders if name.startswith(start)]
                    files = [name for name in files if name.startswith(start)]
                folders[:] = [name for name in folders if name != TEMPORARY]
                below = os.path.relpath(at, self._root)
                keys.extend(name if below == "." else f"{below}/{name}" for name in files)
        return sorted(keys)

    def folders(self, prefix: str = "") -> Keys:
        """Return, sorted, the names directly under the folder `prefix` that have keys below them."""
        check_prefix(prefix)
        try:
            with self._errors("list", prefix), os.scandir(os.path.join(self._root, prefix)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir() and entry.name != TEMPORARY)
        except NotFoundError:
            return []

    def delete(self, key: str) -> None:
        """Remove an object; one that isn't there is no error."""
        with self._errors("delete", key), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._path(key))

    def modified_ns(self, key: str) -> int:
        """Return when the object was written, by the clock of the file system."""
        return self._stat(key).st_mtime_ns

    def now_ns(self) -> int:
        """Return the clock of the file system: another machine's, when the folder is a network mount."""
        with self._temporary("the clock", b"") as temporary, self._errors("read", "the clock"):
            return os.stat(temporary).st_mtime_ns

    def free_bytes(self) -> int | None:
        """Return the free space of the file system, as far as this account may use it."""
        folder = self._root
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        with self._errors("read", "the free space"):
            found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def temporaries(self, before_ns: int) -> Keys:
        """Return the names of half-written files that were last touched before a moment of the file system's clock."""
        found: Keys = []
        with (
            contextlib.suppress(NotFoundError),
            self._errors("list", TEMPORARY),
            os.scandir(self._temporaries) as files,
        ):
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    if file.stat().st_mtime_ns < before_ns:
                        found.append(file.name)
        return sorted(found)

    def discard_temporary(self, name: str) -> None:
        """Remove a half-written file; one that isn't there is no error."""
        with self._errors("delete", check_key(name)), contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._temporaries, name))

    def child(self, prefix: str) -> FileStore:
        """Return the store in the folder `prefix` of this one."""
        below = prefix.strip("/")
        return FileStore(os.path.join(self._root, check_key(below)), self._temporaries) if below else self

    def zarr(self, prefix: str = "", read_only: bool = False) -> ZarrStore:
        """Return the folder `prefix` as a store that zarr and xarray take."""
        from datasets.store_zarr import ZarrStore

        return ZarrStore(self.child(prefix), read_only=read_only)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileStore) and other._root == self._root

    def __hash__(self) -> int:
        return hash(self._root)

    def __repr__(self) -> str:
        return f"FileStore({self._root!r})"

    def __reduce__(self) -> tuple[type[FileStore], tuple[str, str]]:
        return type(self), (self._root, self._temporaries)

    def _path(self, key: str) -> str:
        return os.path.join(self._root, check_key(key))

    def _stat(self, key: str) -> os.stat_result:
        path = self._path(key)
        with self._errors("read", key):
            if os.path.isdir(path):
                raise FileNotFoundError(errno.ENOENT, "a folder", path)
            return os.stat(path)

    @contextmanager
    def _temporary(self, key: str, data: bytes) -> Iterator[str]:
        """Give the path of a durable file with `data` that no listing shows; it is gone afterwards."""
        path = os.path.join(self._temporaries, uuid.uuid4().hex)
        try:
            with self._errors("write", key):
                os.makedirs(self._temporaries, exist_ok=True)
                with open(path, "xb") as file:
                    _reserve(file.fileno(), len(data))
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            yield path
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _place(self, temporary: str, path: str, key: str, *, replace: bool) -> bool:
        """Give the file `temporary` its final name; return False when that exists and may not be replaced."""
        folder = os.path.dirname(path)
        with self._errors("write", key):
            made = _make_folders(folder)
            if replace:
                os.replace(temporary, path)
            else:
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    if not os.path.isfile(path):
                        raise
                    return False
            for changed in (folder, *made):
                _fsync_folder(changed)
            return True

    @contextmanager
    def _errors(self, action: str, key: str) -> Iterator[None]:
        """Turn the system's errors into ours."""
        try:
            yield
        except FileNotFoundError as error:
            if action == "write":
                self._fail(action, key, error)
            raise NotFoundError(f"no object {key!r} in {self.url}") from error
        except (IsADirectoryError, NotADirectoryError) as error:
            if action == "write":
                self._fail(action, key, error)
            raise NotFoundError(f"no object {key!r} in {self.url} (a folder or a file is in its way)") from error
        except OSError as error:
            self._fail(action, key, error)

    def _fail(self, action: str, key: str, error: OSError) -> NoReturn:
        kind, advice = next((found[1:] for found in _FAULTS if error.errno in found[0]), (StoreError, ""))
        raise kind(f"can't {action} {key!r} in {self.url}: {error.strerror or type(error).__name__}{advice}") from error


def _reserve(descriptor: int, n_bytes: int) -> None:
    """Take the space before anything is written: a full disk is known at once, and other writers lose none of it."""
    if n_bytes and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, n_bytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM):
                raise


def _make_folders(folder: str) -> list[str]:
    """Make `folder`; return the parents of what was made: the folders whose entries changed."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    if missing:
        os.makedirs(missing[0], exist_ok=True)
    return [os.path.dirname(made) for made in missing]


def _fsync_folder(folder: str) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error
