"""Strategies by reference, and what is said when there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from quantbot.errors import CorruptError, StrategyError
from quantbot.strategies import imports
from quantbot.strategies.fingerprint import fingerprint
from quantbot.strategies.kernels import compilable
from quantbot.strategies.loader import SourceBundle, bundle, load_bundle, load_strategy
from quantbot.strategies.registry import shipped


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Unpack bundles into a folder that no other run has used; for this file alone, since it compiles all anew."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("QUANTBOT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


HEADER = """
from quantbot.parameters import integer
from quantbot.strategies.contract import strategy
from quantbot.strategies.indicators import sma
"""
RULE = '''
@strategy(parameters=[integer("window", 20, 2, 500, "Bars in the mean.")], indicators={"mean": sma("window")})
def revert(close, mean, position):
    """Buy below the mean, leave above it."""
    return 1.0 if close < FACTOR * mean else 0.0
'''
MINE = HEADER + "FACTOR = 0.5\n" + RULE
Write = Callable[..., str]


@pytest.mark.parametrize("name", list(shipped()))
def test_shipped__loads_the_very_strategy(name: str) -> None:
    assert load_strategy(name) is shipped()[name]
    loaded = load_bundle(SourceBundle.from_json(bundle(name).to_json()))
    assert loaded is shipped()[name]


def test_file__loads_and_decides(write: Write) -> None:
    mine = load_strategy(write(mine=MINE))
    assert mine.name == "revert"
    assert [mine(close, 1.0, 0.0) for close in (0.4, 0.6)] == [1.0, 0.0]
    assert [compilable(mine.decide)(close, 1.0, 0.0) for close in (0.4, 0.6)] == [1.0, 0.0]


def test_module__loads_from_the_current_folder(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write({"rules/__init__": "", "rules/mine": MINE})
    monkeypatch.chdir(tmp_path)
    mine = bundle("rules.mine:revert")
    assert sorted(mine.files) == ["rules/__init__.py", "rules/mine.py"]
    assert load_bundle(mine)(0.4, 1.0, 0.0) == 1.0


IMPORTS = {
    "import helper": ("import helper\nFACTOR = helper.FACTOR", {"helper": "FACTOR = 0.5"}, ["helper.py"]),
    "from helper import": ("from helper import FACTOR", {"helper": "FACTOR = 0.5"}, ["helper.py"]),
    "from . import": ("from . import helper\nFACTOR = helper.FACTOR", {"helper": "FACTOR = 0.5"}, ["helper.py"]),
    "from .helper import": ("from .helper import FACTOR", {"helper": "FACTOR = 0.5"}, ["helper.py"]),
    "folder without __init__": (
        "import lib.means\nFACTOR = lib.means.FACTOR",
        {"lib/means": "FACTOR = 0.5"},
        ["lib/means.py"],
    ),
    "import a.b as c": ("import lib.means as m\nFACTOR = m.FACTOR", {"lib/means": "FACTOR = 0.5"}, ["lib/means.py"]),
    "package": (
        "from lib import FACTOR",
        {"lib/__init__": "from .means import FACTOR", "lib/means": "from . import base\nFACTOR = base.FACTOR / 2",
         "lib/base": "FACTOR = 1.0"},
        ["lib/__init__.py", "lib/base.py", "lib/means.py"],
    ),
    "through another": (
        "from one import FACTOR",
        {"one": "import two\nFACTOR = two.FACTOR", "two": "import math\nFACTOR = math.sqrt(0.25)"},
        ["one.py", "two.py"],
    ),
    "inside a function": (
        "def factor():\n    from helper import FACTOR\n    return FACTOR\nFACTOR = factor()",
        {"helper": "FACTOR = 0.5"},
        ["helper.py"],
    ),
    "beside, hiding Python's own": ("from statistics import FACTOR", {"statistics": "FACTOR = 0.5"}, ["statistics.py"]),
    "in a circle": (
        "import one\nFACTOR = one.FACTOR",
        {"one": "import two\nFACTOR = 0.5", "two": "import one"},
        ["one.py", "two.py"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IMPORTS)
def test_bundle__follows_imports_and_loads_from_itself_alone(case: str, write: Write, tmp_path: Path) -> None:
    text, helpers, followed = IMPORTS[case]
    reference = write({"mine": HEADER + text + RULE, "unrelated": "raise SystemExit", **helpers})
    carried = SourceBundle.from_json(bundle(reference).to_json())
    assert sorted(carried.files) == sorted(["mine.py", *followed])
    for path in sorted(tmp_path.rglob("*.py")):
        path.unlink()
    assert [load_bundle(carried)(close, 1.0, 0.0) for close in (0.4, 0.6)] == [1.0, 0.0]


def test_bundle__of_a_file_in_a_package_keeps_its_relative_imports(write: Write) -> None:
    rule = HEADER + "from ..base import FACTOR" + RULE
    reference = write(
        {"pack/rules/mine": rule, "pack/__init__": "", "pack/rules/__init__": "", "pack/base": "FACTOR = 0.5"}
    )
    found = bundle(reference)
    assert found.entry == "pack.rules.mine"
    assert sorted(found.files) == ["pack/__init__.py", "pack/base.py", "pack/rules/__init__.py", "pack/rules/mine.py"]
    assert load_bundle(found)(0.4, 1.0, 0.0) == 1.0


def test_bundle__records_versions_of_the_installed_and_none_of_pythons_own(write: Write) -> None:
    import numpy as np

    versions = bundle(write(mine="import math, json\nimport numpy.linalg\n" + MINE)).versions
    assert versions["numpy"] == np.__version__
    assert versions["quantbot"].startswith("0.1.0+")
    assert {"numpy", "numba", "quantbot"} <= set(versions)
    assert not {"math", "json", "dataclasses"} & set(versions)


def test_digest__changes_with_any_followed_source_and_with_nothing_else(write: Write, tmp_path: Path) -> None:
    reference = write(mine=HEADER + "from helper import FACTOR" + RULE, helper="FACTOR = 0.5", other="")
    first = bundle(reference).digest
    (tmp_path / "other.py").write_text("FACTOR = 9", encoding="utf-8")
    assert bundle(reference).digest == first
    (tmp_path / "helper.py").write_text("FACTOR = 0.6", encoding="utf-8")
    second = bundle(reference).digest
    (tmp_path / "mine.py").write_text(HEADER + "from helper import FACTOR" + RULE + "\n# more\n", encoding="utf-8")
    assert len({first, second, bundle(reference).digest}) == 3


def test_digest__does_not_depend_on_the_folder(write: Write, tmp_path: Path) -> None:
    write({"a/mine": MINE, "b/mine": MINE})
    assert bundle(f"{tmp_path}/a/mine.py:revert").digest == bundle(f"{tmp_path}/b/mine.py:revert").digest


def test_two_versions__live_in_one_process_each_with_its_own_helper(write: Write, tmp_path: Path) -> None:
    helper = "def limit(mean):\n    return FACTOR * mean\nFACTOR = "
    rule = RULE.replace("FACTOR * mean", "helper.limit(mean)")
    reference = write(mine=HEADER + "import helper" + rule, helper=helper + "0.5")
    old = load_strategy(reference)
    (tmp_path / "helper.py").write_text(helper + "0.7", encoding="utf-8")
    new = load_strategy(reference)
    for one, wanted in ((old, 0.0), (new, 1.0), (old, 0.0)):
        assert one(0.6, 1.0, 0.0) == wanted
        assert compilable(one.decide)(0.6, 1.0, 0.0) == wanted
    assert fingerprint(old.decide) != fingerprint(new.decide)
    assert "helper" not in sys.modules


def test_helpers__are_compiled_however_they_are_reached(write: Write) -> None:
    helper = "import numba\n@numba.njit\ndef half(x):\n    return x / 2\ndef quarter(x):\n    return half(x) / 2\n"
    text = "import helper\nfrom helper import quarter\ndef limit(x):\n    return quarter(x) + helper.quarter(x)\n"
    mine = load_strategy(write(mine=HEADER + text + RULE.replace("FACTOR * mean", "limit(mean)"), helper=helper))
    for close, wanted in ((0.4, 1.0), (0.6, 0.0)):
        assert compilable(mine.decide)(close, 1.0, 0.0) == mine(close, 1.0, 0.0) == wanted


BAD = {
    "misspelt shipped name": (None, "sma_cros", "did you mean 'sma_cross'"),
    "no function given": (MINE, "{file}", "must name the function too: {file}:revert"),
    "no such file": (MINE, "{folder}/mini.py:revert", "did you mean 'mine.py'"),
    "no such folder": (None, "{folder}/x/y.py:revert", "no file"),
    "no such module": (None, "nowhere.rules:revert", "no module 'nowhere.rules'"),
    "no module at all": (None, "no-where:revert", "must be an importable name"),
    "no such function": (MINE, "{file}:rever", "it declares revert; did you mean 'revert'"),
    "no name after the colon": (MINE, "{file}:", "must end in a function's name"),
    "syntax error": ("x = 1\ndef broken(:\n", "{file}:revert", "mine.py, line 2: invalid syntax"),
    "null byte": ("x = '\0'", "{file}:revert", "null byte"),
    "plain function": ("def revert(close):\n    return 1.0\n", "{file}:revert", "@strategy(parameters="),
    "not a function": ("revert = 3\n", "{file}:revert", "'revert' is a int, no strategy"),
    "missing import": (
        "import nowhere_at_all\n",
        "{file}:revert",
        "mine.py, line 1: importing it raised ModuleNotFound",
    ),
    "fails at import": ("x = 1\ny = x / 0\n", "{file}:revert", "line 2: importing it raised ZeroDivisionError"),
    "leaves at import": ("raise SystemExit(3)\n", "{file}:revert", "importing it raised SystemExit"),
    "no docstring": (MINE.replace('"""Buy below the mean, leave above it."""', "x = 1"), "{file}:revert", "docstring"),
    "unknown argument": (MINE.replace("revert(close", "revert(clos"), "{file}:revert", "did you mean 'close'"),
    "unfit file name": (None, "{folder}/my-rule.py:revert", "letters, digits and underscores"),
}


@pytest.mark.parametrize("case", BAD)
def test_load__says_what_is_wrong(case: str, write: Write, tmp_path: Path) -> None:
    text, reference, wanted = BAD[case]
    (tmp_path / "my-rule.py").write_text(MINE, encoding="utf-8")
    names = {"folder": str(tmp_path), "file": str(tmp_path / "mine.py")}
    if text is not None:
        write(mine=text)
    with pytest.raises(StrategyError) as caught:
        load_strategy(reference.format(**names))
    assert wanted.format(**names) in str(caught.value)


def test_load__starts_afresh_after_a_failed_import(write: Write) -> None:
    reference = write(mine=HEADER + "import nowhere_at_all\nFACTOR = 1\n" + RULE)
    for _ in range(2):
        with pytest.raises(StrategyError, match="nowhere_at_all"):
            load_strategy(reference)


def test_source__must_be_utf8(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
    with pytest.raises(StrategyError, match="UTF-8"):
        bundle(f"{tmp_path}/mine.py:revert")


@pytest.mark.parametrize("damage", ["text", "path", "kind", "json", "digest"])
def test_from_json__refuses_what_was_not_written(damage: str, write: Write) -> None:
    text = bundle(write(mine=MINE)).to_json()
    edits = {
        "text": ("0.5", "0.6"), "path": ("mine.py", "../mine.py"), "kind": ('"file"', '"fule"'), "json": ("{", "["),
        "digest": ('"digest"', '"digits"'),
    }  # fmt: skip
    with pytest.raises(CorruptError):
        SourceBundle.from_json(text.replace(*edits[damage]))


def test_load_bundle__refuses_other_versions_than_it_was_made_with(write: Write) -> None:
    mine = bundle(write(mine=MINE))
    other = SourceBundle(mine.reference, mine.kind, mine.entry, mine.function, mine.files, {"numpy": "0.1"})
    with pytest.raises(StrategyError, match=r"with numpy 0\.1, here is"):
        load_bundle(other)
    ours = bundle("sma_cross")
    edited = {**ours.files, "quantbot/strategies/sma_cross.py": "# edited"}
    with pytest.raises(StrategyError, match=r"sma_cross\.py differ"):
        load_bundle(SourceBundle("sma_cross", "shipped", ours.entry, "sma_cross", edited, ours.versions))


def test_load_bundle__repairs_an_edited_file_in_the_cache(write: Write) -> None:
    text = MINE + "# edited in the cache\n"
    mine = bundle(write(mine=text))
    place = imports.folder(mine.digest) / "mine.py"
    place.parent.mkdir(parents=True)
    place.write_text("raise SystemExit", encoding="utf-8")
    assert load_bundle(mine)(0.4, 1.0, 0.0) == 1.0
    assert place.read_text(encoding="utf-8") == text


def test_load_bundle__works_in_many_processes_at_once(write: Write, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text(bundle(write(mine=MINE)).to_json(), encoding="utf-8")
    code = (
        "import sys; from quantbot.strategies.loader import *\n"
        "print(load_bundle(SourceBundle.from_json(open(sys.argv[1]).read()))(0.4, 1.0, 0.0))"
    )

    def load(_: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "bundle.json")], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(load, range(4))) == ["1.0"] * 4
    assert [path.name for path in imports.folder("x").parent.iterdir() if path.name.startswith(".")] == []
