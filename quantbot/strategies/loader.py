"""A strategy by reference: from those that ship, an importable module, or a file; and its sources as one bundle.

A bundle carries a strategy to where it runs: the text of its file and of every module of yours that it imports. It is
imported from there under names of its own, so two versions of one file (and of its helpers) live in one process.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from quantbot.errors import CorruptError, StrategyError
from quantbot.parameters import nearest
from quantbot.strategies import imports
from quantbot.strategies.contract import Strategy
from quantbot.strategies.registry import BOOK_MODULES, MODULES
from quantbot.strategies.sources import (
    OURS,
    Module,
    Sources,
    find_module,
    follow,
    installed_versions,
    parse,
    read_source,
)

HOW_TO_DECLARE = """declare it with the decorator:

    from quantbot.parameters import integer
    from quantbot.strategies.contract import strategy
    from quantbot.strategies.indicators import sma

    @strategy(parameters=[integer("window", 50, 2, 500, "Bars in the mean.")], indicators={"mean": sma("window")})
    def {name}(close, mean):
        '''Buy while the close is above its mean.'''
        return 1.0 if close > mean else 0.0
"""
_FILE = re.compile(r"([A-Za-z_]\w*/)*[A-Za-z_]\w*\.py")


@dataclass(frozen=True)
class SourceBundle:
    """A strategy's sources: all that decides but the engine and the data.

    Attributes
    ----------
    reference
        As the user wrote it; no part of the digest. Of the kind "engine", which has no strategy, what its trials are
        counted under: "portfolio/min_cvar".
    entry, function
        The module that holds the strategy, and its name there.
    files
        By path inside the bundle (``helpers/means.py``), the text of the strategy's file and of each module that it
        imports and that is not installed.
    versions
        Of each installed distribution that they import.
    """

    reference: str
    kind: Literal["shipped", "module", "file", "engine"]
    entry: str
    function: str
    files: Mapping[str, str]
    versions: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 over entry, function, files and versions."""
        document = [self.entry, self.function, sorted(self.files.items()), sorted(self.versions.items())]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the bundle as JSON, its digest included, the same text for the same bundle."""
        fields = ("reference", "kind", "entry", "function", "digest")
        document: dict[str, Any] = {name: getattr(self, name) for name in fields}
        document |= {"files": dict(self.files), "versions": dict(self.versions)}
        return json.dumps(document, sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> SourceBundle:
        """Read what `to_json` wrote; `CorruptError` when it is something else or its digest does not match."""
        try:
            document = json.loads(text)
            digest = document.pop("digest")
            bundle = cls(**document)
            whole = digest == bundle.digest and bundle.kind in ("shipped", "module", "file", "engine")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptError(f"no strategy bundle: {type(error).__name__}: {error}") from error
        if not whole or not all(_FILE.fullmatch(path) for path in bundle.files):
            raise CorruptError(f"the bundle of strategy {bundle.reference!r} is not what was written: digest or paths")
        return bundle


def load_strategy(reference: str) -> Strategy:
    """Return the strategy that `reference` names.

    Parameters
    ----------
    reference
        A shipped one's name (``sma_cross``), ``package.module:function``, or ``path/to/file.py:function``.

    Raises
    ------
    StrategyError
        If there is no such name, file, module or function, if the source is no Python or fails when imported, or if
        the function is not declared as a strategy.

    Examples
    --------
    >>> load_strategy("sma_cross").defaults()["slow"]
    100
    """
    return load_bundle(bundle(reference))


def bundle(reference: str) -> SourceBundle:
    """Return the sources of the strategy that `reference` names, without importing it."""
    if ":" not in reference:
        modules = {**MODULES, **BOOK_MODULES}
        if reference not in modules:
            raise StrategyError(_unknown(reference))
        entry = find_module(modules[reference])
        if entry is None:
            raise StrategyError(f"the source of strategy {reference!r} is missing from the installation")
        return _bundled(reference, "shipped", entry, reference)
    place, _, function = reference.rpartition(":")
    if not function.isidentifier():
        raise StrategyError(f"{reference!r} must end in a function's name after the colon, found {function!r}")
    if place.endswith(".py") or "/" in place:
        return _bundled(reference, "file", _file(Path(place)), function)
    return _bundled(reference, "module", _module(place), function)


def engine_bundle(reference: str, versions: Mapping[str, str]) -> SourceBundle:
    """Return what stands for the sources where the engine decides by its own settings.

    Parameters
    ----------
    versions
        Of the installed distributions that the engine's results depend on.
    """
    return SourceBundle(reference, "engine", "", "", {}, dict(versions))


def distribution_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of installed distributions; those that are not installed are left out."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def load_bundle(bundle: SourceBundle) -> Strategy:
    """Return the strategy that `bundle` carries, imported from the bundle's own text.

    Raises
    ------
    StrategyError
        If it can't be imported, or if an installed distribution (QuantBot among them) has another version than the
        bundle was made with.
    """
    _check_same(bundle)
    if bundle.kind == "engine":
        return Strategy(bundle.reference, _undecided, (), {}, "The engine decides by its own settings.")
    module_name = bundle.entry
    if bundle.entry.partition(".")[0] != OURS:
        module_name = f"{imports.publish(bundle.digest, bundle.files)}.{bundle.entry}"
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        imports.forget(bundle.digest)
        raise StrategyError(_import_failure(bundle, error)) from error
    return _declared(vars(module), bundle)


def _undecided() -> float:
    raise StrategyError("this engine takes no strategy, so there is no function that decides")


def _bundled(reference: str, kind: Literal["shipped", "module", "file"], entry: Module, function: str) -> SourceBundle:
    sources = follow(entry)
    return SourceBundle(reference, kind, entry.name, function, sources.files, sources.versions)


def _file(path: Path) -> Module:
    path = path.expanduser().resolve()
    if not path.is_file():
        near = nearest(path.name, [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else [])
        raise StrategyError(f"no file {path}{near}")
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise StrategyError(f"{path.name} must be a Python file named in letters, digits and underscores: rename it")
    root, names = path.parent, [path.stem]
    while (root / "__init__.py").is_file() and root.name.isidentifier():
        names.insert(0, root.name)
        root = root.parent
    return Module(".".join(names), root, path)


def _module(name: str) -> Module:
    if not all(part.isidentifier() for part in name.split(".")):
        raise StrategyError(f"{name!r} must be an importable name, package.module, or a path that ends in .py")
    found = find_module(name, (Path.cwd(),)) or _installed(name)
    if found is None:
        raise StrategyError(
            f"no module {name!r} in {Path.cwd()} or on Python's path; give its file instead: path/to/file.py:function"
        )
    return found


def _installed(name: str) -> Module | None:
    """Return an installed module: its package's modules are followed all the same, it is the strategy's own."""
    from importlib.util import find_spec

    try:
        spec = find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    depth = len(name.split(".")) - (path.name != "__init__.py")
    return Module(name, path.parents[depth], path)


def _check_same(bundle: SourceBundle) -> None:
    """Raise when what is installed here is not what the bundle was made with."""
    if bundle.entry.partition(".")[0] == OURS:
        entry = find_module(bundle.entry)
        here = Sources({}, {}) if entry is None else follow(entry)
        if dict(here.files) != dict(bundle.files):
            changed = sorted(
                path for path in {*here.files, *bundle.files} if here.files.get(path) != bundle.files.get(path)
            )
            raise StrategyError(
                f"strategy {bundle.reference!r} was bundled with other sources than those installed here:"
                f" {', '.join(changed)} differ; install that version of QuantBot, or submit the run again"
            )
        versions = here.versions
    elif bundle.kind == "engine":
        versions = distribution_versions(bundle.versions)
    else:
        versions = installed_versions(bundle.files)
    for name, wanted in bundle.versions.items():
        found = versions.get(name, "nothing")
        if found != wanted:
            raise StrategyError(
                f"strategy {bundle.reference!r} was bundled with {name} {wanted}, here is {found};"
                " install the same version, or submit the run again"
            )


def _declared(module: Mapping[str, Any], bundle: SourceBundle) -> Strategy:
    where, name = bundle.reference, bundle.function
    if name not in module:
        known = [key for key, value in module.items() if isinstance(value, Strategy)]
        others = f"it declares {', '.join(known)}" if known else "it declares no strategy"
        raise StrategyError(f"{where}: there is no {name!r}; {others}{nearest(name, known or list(module))}")
    found = module[name]
    if isinstance(found, Strategy):
        return found
    raise StrategyError(
        f"{where}: {name!r} is a {type(found).__name__}, no strategy; {HOW_TO_DECLARE.replace('{name}', name)}"
    )


def _import_failure(bundle: SourceBundle, error: BaseException) -> str:
    """Say where in the user's own files an import failed, and how."""
    folder = imports.folder(bundle.digest)
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(folder):
            place = f"{path.relative_to(folder).as_posix()}, line {frame.lineno}: "
    if isinstance(error, StrategyError):
        return f"{bundle.reference}: {place}{error}"
    return f"{bundle.reference}: {place}importing it raised {type(error).__name__}: {error}"


def _unknown(reference: str) -> str:
    if reference.endswith(".py"):
        path = Path(reference)
        names = _strategies_in(path) if path.is_file() else []
        example = names[0] if names else "function"
        return f"{reference!r} must name the function too: {reference}:{example}"
    return (
        f"no strategy {reference!r}; there are {', '.join((*MODULES, *BOOK_MODULES))}"
        f"{nearest(reference, (*MODULES, *BOOK_MODULES))}"
        " (your own: package.module:function or path/to/file.py:function)"
    )


def _strategies_in(path: Path) -> list[str]:
    """Return the functions of a file that carry a decorator called `strategy`."""
    return [
        node.name
        for node in parse(read_source(path), str(path)).body
        if isinstance(node, ast.FunctionDef)
        and any("strategy" in ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list)
    ]
