"""The shape of the house, kept by a test: layers, one home per heavy dependency, no logic at import."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("quantbot", "datasets", "sweeps", "app")
# A heavy dependency and the files that may import it, as globs from the project's root.
HOMES = {
    "numba": ("quantbot/**/kernels*.py", "quantbot/kernels*.py"),
    "llvmlite": ("quantbot/**/kernels*.py", "quantbot/kernels*.py", "sweeps/identity.py"),
    "zarr": ("datasets/*.py",),
    "s3fs": ("datasets/store*.py",),
    "fsspec": ("datasets/store*.py",),
    "dask": ("sweeps/executors/*.py",),
    "distributed": ("sweeps/executors/*.py",),
    "streamlit": ("app/door.py", "app/streamlit_app.py", "app/reads*.py", "app/views/*.py"),
    "plotly": ("app/figures/*.py", "app/sheet.py"),
    "typer": ("app/cli.py", "app/commands/*.py"),
    "pydantic": (
        "app/security/settings.py",
        "sweeps/spec.py",
        "sweeps/sections.py",
        "sweeps/reading.py",
        "sweeps/schedule/sections.py",
        "sweeps/schedule/document.py",
    ),
    "sqlalchemy": ("datasets/ingest/sql.py",),
    "exchange_calendars": ("datasets/calendars.py",),
    "cronsim": ("sweeps/schedule/rules.py",),
    "arch": (
        "datasets/demo.py",
        "quantbot/risk/blocks.py",
        "quantbot/risk/garch.py",
        "quantbot/selection/bootstrap.py",
        "quantbot/selection/paired.py",
    ),
    "optuna": ("sweeps/bayes.py",),
    "cryptography": ("sweeps/certificates.py",),
    "prometheus_client": ("sweeps/metrics.py",),
}
FORBIDDEN_CALLS = {"eval", "exec"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve"}
# No data reach these: they compile our own templates, and keep machine code in the user's own cache folder.
COMPILERS = {"quantbot/kernels.py", "quantbot/bars/generate.py"}
FILES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_layers__import_only_what_stands_to_their_left(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    to_the_right = LAYERS[LAYERS.index(layer) + 1 :]
    found = [
        f"line {line}: {module}"
        for line, module in _imports(path)
        if module.split(".")[0] in (*to_the_right, "infra", "tests")
    ]
    assert not found, f"{_name(path)} ({layer}) must not import {found}"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_heavy_dependencies__have_one_home(path: Path) -> None:
    for line, module in _imports(path):
        homes = HOMES.get(module.split(".")[0])
        if homes is not None:
            allowed = {file for home in homes for file in ROOT.glob(home)}
            assert path in allowed, f"{_name(path)} line {line} imports {module}, whose home is {', '.join(homes)}"


@pytest.mark.parametrize("path", [path for path in FILES if _name(path) not in COMPILERS], ids=_name)
def test_data_paths__neither_unpickle_nor_evaluate(path: Path) -> None:
    assert not [module for _, module in _imports(path) if module in FORBIDDEN_MODULES]
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id in FORBIDDEN_CALLS]


@pytest.mark.parametrize("path", sorted((ROOT / "app").rglob("*.py")), ids=_name)
def test_pages__hand_no_markup_of_anybodys_to_the_browser(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        assert not [word.arg for word in node.keywords if word.arg in ("unsafe_allow_html", "unsafe_allow_javascript")]
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("html", "iframe"):
            assert isinstance(node.args[0], ast.Name), f"{_name(path)} line {node.lineno}"
            assert node.args[0].id.isupper(), f"{_name(path)} line {node.lineno} shows HTML that is no constant of ours"


def test_nothing__imports_infra() -> None:
    assert not list((ROOT / "infra").rglob("__init__.py"))


@pytest.mark.parametrize("package", LAYERS)
def test_importing_a_package__starts_nothing_heavy(package: str) -> None:
    heavy = ("numba", "distributed", "streamlit", "xarray", "zarr", "scipy", "pandas", "s3fs", "plotly")
    code = f"import sys, {package}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def _lazy_packages() -> list[Path]:
    files = [path for layer in LAYERS for path in (ROOT / layer).rglob("__init__.py")]
    return sorted(path for path in files if "exports(__name__" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", _lazy_packages(), ids=_name)
def test_lazy_names__are_no_names_of_modules_which_would_take_their_place(path: Path) -> None:
    package = importlib.import_module(".".join(path.parent.relative_to(ROOT).parts))
    modules = {other.stem for other in path.parent.glob("*.py")} | {other.name for other in path.parent.iterdir()}
    assert not modules.intersection(package.__all__)
