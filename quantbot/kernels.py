"""How kernels are compiled, and where their machine code is kept: the one policy that every kernel follows."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import linecache
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import llvmlite  # type: ignore[import-untyped]
import numba
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from quantbot.errors import StrategyError

F = TypeVar("F", bound=Callable[..., object])

LOCK_SECONDS = 120.0  # longest wait for another process that compiles the same kernel


def jit(kernel: F) -> F:
    """Compile `kernel` without the GIL and with IEEE arithmetic, and keep its machine code on disk.

    No fastmath: a reordered sum would make a trial depend on the machine that ran it. Division follows numpy (x / 0 is
    infinite or NaN), so that a kernel never raises.
    """
    dispatcher = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)(kernel)
    dispatcher._cache = MachineCode(dispatcher.py_func)
    return cast("F", dispatcher)


def inner(function: F) -> F:
    """Compile `function` for kernels that call it, never for Python: half the time, and nothing to keep on disk.

    numba would compile it again for each constant that it is given, and for each width of integer: here all are int64.
    """
    return _once(_part(function))


def _once(dispatcher: F) -> F:
    """Give `dispatcher` one form for all constants and integers that it is called with."""
    made: Any = dispatcher
    template = made.get_call_template
    made.get_call_template = lambda args, kws: template(
        tuple(map(_widened, args)), {name: _widened(kind) for name, kind in kws.items()}
    )
    return dispatcher


def _widened(kind: Any) -> Any:
    """Return the type that stands for a constant's or a narrow integer's."""
    kind = numba.types.unliteral(kind)
    narrow = isinstance(kind, numba.types.Integer) and (kind.signed or kind.bitwidth < 64)
    return numba.types.int64 if narrow else kind


def inlined(function: F) -> F:
    """Compile `function` into each kernel that calls it, so that a lane loop around the call can be vectorised."""
    return _part(function, forceinline=True)


def plain(kernel: F) -> F:
    """Compile `kernel` as `jit` does, without counting references to its arrays; it must allocate none.

    A kernel that hands many arrays from function to function spends most of its time, and of its compilation, on
    these counts, which are atomic. Views of arrays are fine: the caller holds the arrays while the kernel runs.
    """
    dispatcher = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, _nrt=False)(kernel)
    dispatcher._cache = MachineCode(dispatcher.py_func)
    return cast("F", dispatcher)


def plain_inner(function: F) -> F:
    """Compile `function` for `plain` kernels that call it, never for Python."""
    return _once(_part(function, _nrt=False))


def plain_inlined(function: F) -> F:
    """Compile `function` into each `plain` kernel that calls it."""
    return _once(_part(function, forceinline=True, _nrt=False))


def _part(function: F, **options: bool) -> F:
    """Compile `function` as far as kernels that call it need: no wrappers for Python, no machine code of its own.

    Its kernel links and optimises it anyway. numba would make both for every part of every kernel, which is a third
    of the time that compiling takes.
    """
    made = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)
    dispatcher = made(getattr(function, "py_func", function))

    def customize(flags: Any) -> Any:
        flags.no_compile = True
        return flags

    def add_overload(result: CompileResult) -> None:
        key = object()  # by which the lowering of a caller finds it; an address of machine code otherwise
        result.target_context.insert_user_function(key, result.fndesc, [result.library])
        dispatcher.overloads[tuple(result.signature.args)] = result._replace(entry_point=key)

    dispatcher._compiler._customize_flags = customize
    dispatcher.add_overload = add_overload
    return cast("F", dispatcher)


def generated(name: str, text: str, scope: Mapping[str, object]) -> Callable[..., Any]:
    """Return function `name` of the Python source `text`, its globals `scope`, not yet compiled.

    The source shows in tracebacks. Hand the function to `jit` to compile it.
    """
    filename = f"<quantbot {name} {hashlib.sha256(text.encode()).hexdigest()[:12]}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    # The cache finds a function's globals by its module's name, which must be importable: ours is.
    globals_: dict[str, Any] = {**scope, "__name__": __name__}
    exec(compile(text, filename, "exec"), globals_)
    return cast("Callable[..., Any]", globals_[name])


def cache_dir() -> Path:
    """Return the folder of compiled kernels: `QUANTBOT_CACHE_DIR`, or ``~/.cache/quantbot``."""
    chosen = os.environ.get("QUANTBOT_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    try:
        return Path.home() / ".cache" / "quantbot"
    except RuntimeError:  # no home folder
        return Path(tempfile.gettempdir()) / f"quantbot-{os.getuid()}"


class MachineCode(_Cache):  # type: ignore[misc]  # numba is untyped
    """The compiled forms of one function on disk, in the place of numba's own cache.

    numba looks at the text of a function's own file alone, so it serves stale code when a helper in another file
    changes, and never finds a kernel made from a generated text or a closure again. Here the name of a file is a
    digest of everything that was compiled into it: the function's code, the code of all that it calls, the constants
    that it reads (`quantbot.strategies.fingerprint`), its argument types, numba, Python and the CPU. Files are never
    changed, only made. A file that is damaged is made again; without a writable folder there is just no cache.

    Of several processes that want the same missing file, one compiles while the others wait for it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._digest: str | None = None
        self._lock: IO[bytes] | None = None

    @property
    def cache_path(self) -> str:
        """The folder of the files."""
        return str(cache_dir() / "kernels")

    def load_overload(self, sig: object, target_context: Any) -> Any:
        """Return the compiled form for signature `sig`, or None (and then hold the lock until it is saved)."""
        target_context.refresh()
        path = self._path(sig, target_context.codegen().magic_tuple())
        if path is None:
            return None
        found = self._read(path, target_context)
        if found is None:
            self._acquire(path)
            found = self._read(path, target_context)
            if found is not None:
                self.release()
        return found

    def save_overload(self, sig: object, data: Any) -> None:
        """Keep the compiled form `data` for signature `sig`."""
        try:
            path = self._path(sig, data.codegen.magic_tuple())
            if path is not None and not data.lifted and not data.library.has_dynamic_globals:
                payload = dumps(data._reduce())
                with contextlib.suppress(OSError):
                    _write_whole(path, hashlib.sha256(payload).digest() + payload)
        finally:
            self.release()

    def release(self) -> None:
        """Let others compile: called when a form is saved, and when compiling fails."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def enable(self) -> None:
        """Do nothing: it always is."""

    def disable(self) -> None:
        """Do nothing: set `QUANTBOT_CACHE_DIR` to an empty folder to start afresh."""

    def flush(self) -> None:
        """Do nothing: files are named by what they hold and never go stale."""

    def _path(self, sig: object, machine: object) -> Path | None:
        if self._digest is None:
            from quantbot.strategies.fingerprint import fingerprint

            try:
                self._digest = fingerprint(self._function)
            except StrategyError:  # it reads something that may change: not to be kept
                self._digest = ""
        if not self._digest:
            return None
        parts = (self._digest, str(sig), repr(machine), numba.__version__, llvmlite.__version__, sys.version)
        name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]
        return Path(self.cache_path) / f"{self._function.__name__}-{name}.bin"

    @staticmethod
    def _read(path: Path, target_context: Any) -> Any:
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, payload = content[:32], content[32:]
        if hashlib.sha256(payload).digest() == digest:
            with contextlib.suppress(Exception):  # an unreadable pickle is a damaged file like any other
                return CompileResult._rebuild(target_context, *pickle.loads(payload))
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def _acquire(self, path: Path) -> None:
        self.release()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.with_suffix(".lock").open("wb")
        except OSError:
            return
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:  # better to compile twice than to wait for a stuck process
                    break
                time.sleep(0.02)
            except OSError:  # a file system without locks
                break
        self._lock = lock


@contextlib.contextmanager
def compiling(*dispatchers: Any) -> Iterator[None]:
    """Free the locks of `dispatchers` if compiling them fails inside."""
    try:
        yield
    finally:
        for dispatcher in dispatchers:
            cache = getattr(dispatcher, "_cache", None)
            if isinstance(cache, MachineCode):
                cache.release()


def _write_whole(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
