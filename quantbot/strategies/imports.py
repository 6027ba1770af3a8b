"""Importing a bundle's modules from its own text, under names that no other bundle has."""

from __future__ import annotations

import builtins
import os
import shutil
import sys
import uuid
from collections.abc import Mapping, Sequence
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

PREFIX = "quantbot_bundle_"
_LOCK = Lock()


def publish(digest: str, files: Mapping[str, str]) -> str:
    """Make `files` importable below one package, and return its name.

    The files are also written to the cache folder, so that tracebacks and the compiler can show their lines; what is
    imported is the text handed in.
    """
    package = _package(digest)
    with _LOCK:
        if package not in _FINDER.bundles:
            _write(folder(digest), files)
            _FINDER.bundles[package] = (folder(digest), dict(files))
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)
    return package


def forget(digest: str) -> None:
    """Drop the modules of a bundle whose import failed, so that the next try starts afresh."""
    package = _package(digest)
    with _LOCK:
        for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
            del sys.modules[name]


def folder(digest: str) -> Path:
    """Return where the files of a bundle lie."""
    from quantbot.kernels import cache_dir

    return cache_dir() / "strategies" / digest


def _package(digest: str) -> str:
    return PREFIX + digest[:24]


def _write(target: Path, files: Mapping[str, str]) -> None:
    """Write `files` below `target`, whole or not at all; many processes may do so at once."""
    if _holds(target, files):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    for path, text in files.items():
        place = fresh / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode())
    try:
        os.rename(fresh, target)
    except OSError:  # somebody was faster, or a file there was edited: then put ours in its place, one by one
        if not _holds(target, files):
            for path in files:
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(fresh / path, target / path)
        shutil.rmtree(fresh, ignore_errors=True)


def _holds(target: Path, files: Mapping[str, str]) -> bool:
    try:
        return all((target / path).read_bytes() == text.encode() for path, text in files.items())
    except OSError:
        return False


class _Finder(MetaPathFinder):
    """Finds the modules of published bundles, by package name; everything else is none of its business."""

    def __init__(self) -> None:
        self.bundles: dict[str, tuple[Path, dict[str, str]]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, inner = fullname.partition(".")
        if package not in self.bundles:
            return None
        root, files = self.bundles[package]
        stem = inner.replace(".", "/")
        for key, is_package in ((f"{stem}/__init__.py".lstrip("/"), True), (f"{stem}.py", False)):
            if inner and key in files:
                return _spec(fullname, root / key, files[key], is_package, _import_inside(package, files))
        if not inner or any(key.startswith(stem + "/") for key in files):  # the bundle itself, a folder of modules
            return _spec(fullname, root / stem / "__init__.py", "", True, _import_inside(package, files))
        return None


_FINDER = _Finder()


def _spec(name: str, path: Path, text: str, is_package: bool, import_inside: Any) -> ModuleSpec:
    spec = ModuleSpec(name, _Loader(path, text, is_package, import_inside), origin=str(path), is_package=is_package)
    spec.has_location = True
    if is_package:
        spec.submodule_search_locations = [str(path.parent)]
    return spec


class _Loader(ExecutionLoader):
    """Executes a module's text with an `import` that looks into the bundle first."""

    def __init__(self, path: Path, text: str, is_package: bool, import_inside: Any) -> None:
        self.path, self.text, self.package, self.import_inside = path, text, is_package, import_inside

    def get_source(self, fullname: str) -> str:
        return self.text

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def is_package(self, fullname: str) -> bool:
        return self.package

    def exec_module(self, module: ModuleType) -> None:
        # A module's import statements call the `__import__` of its own builtins.
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self.import_inside}
        super().exec_module(module)


def _import_inside(package: str, files: Mapping[str, str]) -> Any:
    """Return an `__import__` for which the bundle's top-level modules hide whatever else has their names."""
    inside = {key.split("/")[0].removesuffix(".py") for key in files}

    def scoped(
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - Python's own signature
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or top not in inside:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = builtins.__import__(f"{package}.{name}", globals, locals, fromlist or (), 0)
        return module if fromlist else sys.modules[f"{package}.{top}"]

    return scoped
