"""What a strategy is made of: its own source, that of every module it imports, versions of what is installed."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import site
import sys
import sysconfig
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from quantbot import syntax
from quantbot.errors import StrategyError

OURS = "quantbot"


@dataclass(frozen=True)
class Sources:
    """Followed imports: files by their path inside the bundle, versions by distribution."""

    files: Mapping[str, str]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Module:
    """One module on disk; `root` is the folder in which its top-level package stands."""

    name: str
    root: Path
    path: Path

    @property
    def is_package(self) -> bool:
        """Return whether it is a package's ``__init__``."""
        return self.path.name == "__init__.py"

    @property
    def key(self) -> str:
        """Return its path inside a bundle: ``package/module.py``."""
        return self.path.relative_to(self.root).as_posix()


def follow(entry: Module) -> Sources:
    """Return the source of `entry` and of every module that it imports, transitively.

    Followed are modules beside the entry, modules of its package, and whatever else is importable but neither part
    of Python nor installed. Of an installed distribution only the version is kept; of QuantBot itself the version and
    a digest of the modules in use, since they decide too. Imports are read from the source, nothing is executed, so
    ``importlib.import_module(name)`` is not seen.

    Raises
    ------
    StrategyError
        If a source can't be read, or is no Python: names file and line.
    """
    files, outside = _closure([entry], tuple(dict.fromkeys((entry.root, entry.path.parent))))
    return Sources(files, _versions(outside))


def installed_versions(files: Mapping[str, str]) -> Mapping[str, str]:
    """Return the versions, as installed here, of what the modules in `files` (a bundle's) import from outside it."""
    inside = {key.split("/")[0].removesuffix(".py") for key in files}
    outside = set[str]()
    for key, text in files.items():
        name = key.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        outside.update(_imported(Module(name, Path(), Path(key)), text))
    return _versions({name for name in outside if name.partition(".")[0] not in inside})


def _closure(entries: Iterable[Module], folders: Sequence[Path]) -> tuple[dict[str, str], set[str]]:
    """Return the files of `entries` and all they import, and the names that lead elsewhere."""
    files: dict[str, str] = {}
    outside = set[str]()
    waiting = deque(module for entry in entries for module in _with_packages(entry))
    shipped = any(module.name.partition(".")[0] == OURS for module in waiting)
    while waiting:
        module = waiting.popleft()
        if module.key in files:
            continue
        files[module.key] = read_source(module.path)
        for name in _imported(module, files[module.key]):
            found = None if name.partition(".")[0] == OURS and not shipped else find_module(name, folders)
            if found is None:
                outside.add(name)
            else:
                waiting.extend(_with_packages(found))
    inside = {key.split("/")[0].removesuffix(".py") for key in files}
    return files, {name for name in outside if name.partition(".")[0] not in inside}


def find_module(name: str, folders: Sequence[Path] = ()) -> Module | None:
    """Return module `name` if its source is to be followed: from `folders` first, as Python does for a script.

    None for what is part of Python, is installed, or does not exist.
    """
    top = name.partition(".")[0]
    for folder in folders:
        if (found := _module_in(folder, name)) is not None:
            return found
        if any((folder / part).is_file() for part in (f"{top}.py", f"{top}/__init__.py")):
            return None  # the top-level name is there, the rest of it is an attribute
    if top in sys.stdlib_module_names:
        return None
    root = _root_of(top)
    return None if root is None else _module_in(root, name)


def read_source(path: Path) -> str:
    """Return the text of a Python file, or raise `StrategyError` when it can't be read as UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise StrategyError(f"can't read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise StrategyError(f"{path} must be UTF-8 text; byte {error.start} is not") from error


def parse(text: str, name: str) -> ast.Module:
    """Return the syntax tree of `text`, or raise `StrategyError` with file and line."""
    try:
        return syntax.parse(text, name)
    except SyntaxError as error:
        where = f"{name}, line {error.lineno}"
        raise StrategyError(f"{where}: {error.msg}: {(error.text or '').strip()}") from error
    except ValueError as error:  # a null byte
        raise StrategyError(f"{name} is no Python source: {error}") from error


def _with_packages(module: Module) -> Iterator[Module]:
    """Yield `module` after the packages around it, which Python imports first."""
    parts = module.name.split(".")
    for depth in range(1, len(parts)):
        around = _module_in(module.root, ".".join(parts[:depth]))
        if around is not None:
            yield around
    yield module


def _module_in(folder: Path, name: str) -> Module | None:
    path = folder.joinpath(*name.split("."))
    for candidate in (path / "__init__.py", path.with_name(path.name + ".py")):
        if candidate.is_file():
            return Module(name, folder, candidate)
    return None


def _imported(module: Module, text: str) -> Iterator[str]:
    """Yield the dotted names that may be modules and that `module` imports, packages first."""
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    for node in ast.walk(parse(text, module.key)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                around = package.split(".") if package else []
                kept = around[: max(len(around) - node.level + 1, 0)]
                base = ".".join([*kept, *([base] if base else [])])
            if base:
                yield base
            for alias in node.names:
                if alias.name != "*":
                    yield f"{base}.{alias.name}" if base else alias.name


def _root_of(top: str) -> Path | None:
    """Return the folder that holds top-level module `top`; None when it is installed, built in or unknown."""
    if top == OURS:
        return Path(__file__).parents[2]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        spec = None
    places = [] if spec is None else [spec.origin] if spec.has_location else list(spec.submodule_search_locations or ())
    if spec is None:
        return Path.cwd() if any((Path.cwd() / part).exists() for part in (f"{top}.py", top)) else None
    for place in places:
        if place and not _is_installed(Path(place)):
            path = Path(place)
            return path.parent.parent if path.name == "__init__.py" else path.parent
    return None


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _installed_folders())


@lru_cache(maxsize=1)
def _installed_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    folders = [paths[key] for key in ("purelib", "platlib", "stdlib", "platstdlib")]
    return tuple(Path(folder) for folder in (*folders, *site.getsitepackages(), site.getusersitepackages()))


def _versions(names: Collection[str]) -> dict[str, str]:
    """Return the versions of the installed distributions that hold the modules `names`."""
    names = set(names)
    versions = {}
    if any(name.partition(".")[0] == OURS for name in names):
        # QuantBot's own: the modules in use decide as well, and a checkout's version stays while they change.
        found = (find_module(name) for name in names if name.partition(".")[0] == OURS)
        files, outside = _closure([module for module in found if module is not None], ())
        versions[OURS] = f"{metadata.version(OURS)}+{_digest(files)[:16]}"
        names |= outside
    for top in {name.partition(".")[0] for name in names} - {OURS, *sys.stdlib_module_names}:
        versions.update({name: metadata.version(name) for name in _distributions().get(top, ())})
    return versions


@lru_cache(maxsize=1)
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _digest(files: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for key, text in sorted(files.items()):
        digest.update(f"{len(key)}:{key}{len(text.encode())}:".encode() + text.encode())
    return digest.hexdigest()
