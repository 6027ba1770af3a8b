"""The oracle of least CVaR, loaded from its file: tests are no packages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def oracles() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "oracles_portfolio", Path(__file__).parents[2] / "oracles_portfolio.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["oracles_portfolio"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
