"""What commands share: the options of every command, examples under the help, and opening the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app import terminal

if TYPE_CHECKING:
    from datasets.store import Store
    from sweeps.executors import Isolation

DEFAULT_STORE = ".quantbot/store"


def _json(value: bool) -> bool:
    terminal.flags.json = terminal.flags.json or value
    return value


StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="QUANTBOT_STORE",
        show_envvar=True,
        metavar="URL",
        help="Where datasets and runs lie: a folder, file://… or s3://bucket/prefix (keys from the environment).",
    ),
]
Json = Annotated[bool, typer.Option("--json", callback=_json, help="Print one JSON document on stdout, for scripts.")]


Isolate = Annotated[
    str,
    typer.Option(
        "--isolate",
        envvar="QUANTBOT_ISOLATE",
        metavar="WHICH",
        help="Blocks that run in processes which are ended when they hang: own (strategies of yours), all or none.",
    ),
]
BlockSeconds = Annotated[
    float | None,
    typer.Option(
        "--block-seconds",
        envvar="QUANTBOT_BLOCK_SECONDS",
        min=0.1,
        help="Longest time of such a block; default: far beyond what the plan expects.",
    ),
]
BlockMemory = Annotated[
    float | None,
    typer.Option("--block-memory", envvar="QUANTBOT_BLOCK_MEMORY", min=100, help="Most memory of such a block, in MB."),
]


def isolation_of(which: str, seconds: float | None, memory_mb: float | None) -> Isolation:
    """Return what the three options say."""
    from quantbot.errors import InputError
    from sweeps.executors import Isolation

    if which not in ("own", "all", "none"):
        raise InputError(f"--isolate is own, all or none, was {which!r:.80}")
    return Isolation(which, seconds, int(memory_mb * 1e6) if memory_mb else None)  # type: ignore[arg-type]


def group(name: str, sentence: str, *, alone: bool = False) -> typer.Typer:
    """Return an empty group of commands; `alone` when its name does something without a command after it."""
    return typer.Typer(name=name, help=sentence, no_args_is_help=not alone, rich_markup_mode=None, add_completion=False)


def examples(*lines: str) -> str:
    r"""Return the examples of a command as its help's epilog; ``\b`` keeps the lines apart."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def open_root(url: str) -> Store:
    """Open the store that holds ``datasets/`` and ``runs/``."""
    from datasets.store import open_store

    return open_store(url)
