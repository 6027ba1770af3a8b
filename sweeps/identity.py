"""What makes two runs one: the spec, the sources, the engine and the data; and the profile under which bits repeat."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantbot.strategies.loader import SourceBundle
    from sweeps.spec import Spec


def run_identity(spec: Spec, bundle: SourceBundle, dataset_version: str, scenarios_version: str = "") -> str:
    """Return the identity of a run, 64 hexadecimal digits.

    It changes with anything that can change a row: the spec (not its name, formatting or order of keys), the
    strategy's source or that of a helper which it imports, the versions of installed packages which it imports, the
    engine's source, the format of rows, the content of the data and of scenarios that are handed in. It does not change
    with the place of the data or of the strategy's file, the partition into blocks, or the machine.
    """
    document = json.loads(spec.canonical())
    del document["data"]["dataset"]  # its version says what it holds, wherever it lies
    if document["data"].pop("scenarios", None) is not None:
        document["data"]["scenarios"] = scenarios_version
    parts = {
        "spec": document,
        "strategy": bundle.digest,
        "engine": engine_source_digest(),
        "data": dataset_version,
        "rows": _rows_format(),
    }
    text = json.dumps(parts, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def engine_source_digest() -> str:
    """Return the SHA-256 over the source of the package `quantbot`: names and contents of its Python files, sorted."""
    import quantbot

    root = Path(quantbot.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        data = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


@cache
def numeric_profile() -> dict[str, Any]:
    """Return what the bits of a result may depend on, beyond its identity.

    Two machines of one profile promise the same bits; `exp`, `log` and `pow` of the platform change with the features
    of the processor, and code generation with the versions of the compiler.

    Examples
    --------
    >>> sorted(numeric_profile())[:4]
    ['cpu', 'cpu_features', 'libc', 'llvmlite']
    """
    import llvmlite.binding as llvm  # type: ignore[import-untyped]

    features = sorted(name for name, present in llvm.get_host_cpu_features().items() if present)
    overrides = {name: os.environ[name] for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES") if name in os.environ}
    return {
        "cpu": llvm.get_host_cpu_name(),
        "cpu_features": hashlib.sha256(",".join(features).encode()).hexdigest()[:16],
        "libc": " ".join(platform.libc_ver()),
        "llvmlite": _version("llvmlite"),
        "machine": platform.machine(),
        "numba": _version("numba"),
        "numpy": _version("numpy"),
        "python": platform.python_version(),
        **({"overrides": overrides} if overrides else {}),
    }


def _rows_format() -> int:
    from sweeps import rows

    return rows.VERSION


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
